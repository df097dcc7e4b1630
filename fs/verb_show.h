/* fs/verb_show: the forms in which things are shown: aligned columns, sizes and times for people, objects for programs. */
#ifndef VARVE_FS_VERB_SHOW_H
#define VARVE_FS_VERB_SHOW_H

#include "base/jw.h"
#include "snap/event.h"
#include "snap/job.h"
#include "snap/snapshot.h"

#define SHOW_COLS_MAX 12
/* Columns: cells row by row, then show_cols_print() aligns them. right: bit n set, column n is a number. */
struct show_cols {
    size_t ncols;
    unsigned right;
    struct buf cells; /* each with its NUL */
    int err;
};
void show_cell(struct show_cols *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
void show_cell_name(struct show_cols *c, const char *name); /* quoted as one word */
void show_cell_size(struct show_cols *c, uint64_t bytes);
int show_cols_print(struct show_cols *c, const char *indent, struct buf *out); /* frees the cells */

void show_time(int64_t ns, char out[32]); /* "2026-11-20 22:00:00Z", "-" for 0 */

/* Members of an open object. */
void show_volume_json(struct jw *j, const struct volume_info *i);
void show_layer_json(struct jw *j, const struct layer_rec *rec, const char *text, size_t len);
void show_job_json(struct jw *j, const struct job_info *i, const char *volume);
void show_event_json(struct jw *j, const struct event *e);
int show_event_text(const struct event *e, struct buf *out); /* one line */
const char *show_layer_state(uint32_t state);

/* Holds and labels in a snapshot's text: cb gets ("hold", TAG, "") or ("label", KEY, VALUE). */
int show_text_each(const char *text, size_t len,
                   int (*cb)(void *arg, const char *what, const char *a, const char *b), void *arg);

#endif
