/* tier/why: why the last call of a backend failed, in words. Threads: any. */
#ifndef VARVE_TIER_WHY_H
#define VARVE_TIER_WHY_H

#include "base/buf.h"
#include "base/lock.h"

struct why {
    struct lock lock; /* guards what follows */
    int code;         /* 0: nothing is written down */
    char text[512];
};
void why_init(struct why *w);
void why_release(struct why *w);

int why_say(struct why *w, int code, const char *fmt, ...) PRINTF_LIKE(3, 4); /* writes it down; the code */
int why_recode(struct why *w, int code); /* what was written down is told with this code */
/* why_tell: appends it, if it is of this code. */
void why_tell(struct why *w, int code, struct buf *ret);

#endif
