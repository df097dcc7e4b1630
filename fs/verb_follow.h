/* fs/verb_follow: events as STORE/log/events has them: read by the command line itself, so that no daemon is kept waiting
 * and none is needed. */
#ifndef VARVE_FS_VERB_FOLLOW_H
#define VARVE_FS_VERB_FOLLOW_H

#include "base/buf.h"

/* Prints to standard output: those after since, of the volume ("": all). follow: goes on until nobody reads. json: one
 * object, or with follow one a line. */
int verb_events_file(const char *store, const char *volume, uint64_t since, bool follow, bool json,
                     struct buf *err);

#endif
