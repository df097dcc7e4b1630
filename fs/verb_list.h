/* fs/verb_list: lists of jobs and events, as text or an object: for the verbs and for control files. */
#ifndef VARVE_FS_VERB_LIST_H
#define VARVE_FS_VERB_LIST_H

#include "fs/verb_show.h"
#include "snap/store/vol.h"

/* v NULL: of all volumes of the store. */
int verb_jobs_of(struct store *s, struct vol *v, const char *verb, bool json,
                 struct buf *out); /* of one verb; NULL: all */
int verb_jobs_list(struct store *s, struct vol *v, bool json, struct buf *out);
int verb_events_list(struct store *s, struct vol *v, uint64_t since, bool json, struct buf *out);

#endif
