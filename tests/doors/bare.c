/* A varve that keeps nothing for a daemon that may take over: no request's number in the journal, no results of requests. It exists to
 * tell what that costs (`make bench ONLY=takeover`). */
#include "snap/store/answer.h"

__attribute__((constructor)) static void open_door(void)
{
    answer_none = true;
}
