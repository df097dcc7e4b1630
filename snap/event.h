/* snap/event: what happened to a store, for people and programs that follow it: the last 1,000 lines are kept in
 * STORE/log/events, one JSON object a line, with ids that grow and never come again. Threads: any. */
#ifndef VARVE_SNAP_EVENT_H
#define VARVE_SNAP_EVENT_H

#include "snap/store/store.h"

#define EVENTS_KEPT 1000
#define EVENT_TEXT_MAX 1000

struct event {
    uint64_t id;
    int64_t time_ns;
    const char *kind;   /* "snapshot-created", "volume-deleted", "disk-low", ... */
    const char *volume; /* "" for the store as a whole */
    const char *text;   /* a sentence */
};

/* events_attach: reads what is there; a torn last line is dropped. On a store that is not written, events live in memory
 * only. -E_NOMEM, -E_IO. events_detach: before the store is closed; a store that was not attached is allowed. */
int events_attach(struct store *s);
void events_detach(struct store *s);

/* event_emit: gives the event's id; 0 when the store is not attached or memory is out (the log has it in any case). A file
 * that cannot be written is logged and costs no caller anything. */
uint64_t event_emit(struct store *s, const char *kind, const char *volume, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

/* events_each: those with id > after, oldest first; cb non-zero ends it with that value. volume: only its own and those of
 * the store as a whole; NULL: all. The event is valid during the call; cb must not emit. */
int events_each(struct store *s, uint64_t after, const char *volume,
                int (*cb)(void *arg, const struct event *e), void *arg);
uint64_t events_last(struct store *s); /* id of the newest, 0 none yet */

/* event_json: one line without its newline, as in the file. event_parse: back; strings lie in buf. -E_PROTO. */
int event_json(const struct event *e, struct buf *out);
int event_parse(const char *line, size_t len, struct buf *buf, struct event *ret);

#endif
