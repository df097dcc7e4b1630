/* fs/verb_client: a verb's way from the command line to the store: over the daemon's socket, or in this process when no
 * daemon runs. */
#ifndef VARVE_FS_VERB_CLIENT_H
#define VARVE_FS_VERB_CLIENT_H

#include "base/sock.h"
#include "fs/verb_target.h"
#include "fs/verb.h"

/* what a daemon answers, and what is made here in its place */
#define verb_answer sock_answer
#define verb_answer_free sock_answer_free

/* verb_ask: the daemon of the store runs a. -E_NOTMOUNTED: there is none. */
int verb_ask(const struct verb_target *t, const struct verb_args *a, struct verb_answer *ret);

/* verb_do: by the daemon, or here; waits a few seconds for a daemon that is just coming or going. Negative: not even
 * tried, with a sentence in ret->err. */
int verb_do(const struct verb_target *t, const struct verb_args *a, struct verb_answer *ret);

/* verb_retry: a store is busy while a daemon comes or goes: true, after a short pause, until some seconds have passed since
 * *began_ns (0 at first). */
bool verb_retry(int r, int64_t *began_ns);

#endif
