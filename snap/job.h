/* snap/job: work that takes longer than an answer may: it gets an id at once, goes on behind in a few threads, shows what it
 * has done, can be cancelled, and is in the tables (TAB_JOB), so that it is known after the daemon's death: kinds that may
 * be done again go on then, others are shown as interrupted. Threads: any. */
#ifndef VARVE_SNAP_JOB_H
#define VARVE_SNAP_JOB_H

#include "snap/store/store.h"

#define JOBS_KEPT 100 /* ended ones; older are forgotten */
#define JOB_VERB_MAX 31
#define JOB_TEXT_MAX 255
#define JOB_DETAIL_MAX 1800 /* a URL with its options, paths */

/* Numbers are format. */
enum job_state {
    JOB_QUEUED = 1,
    JOB_RUNNING = 2,
    JOB_DONE = 3,
    JOB_FAILED = 4,
    JOB_CANCELED = 5,
    JOB_INTERRUPTED = 6
};
static inline bool job_state_ended(enum job_state s)
{
    return s >= JOB_DONE;
}
const char *job_state_name(enum job_state s); /* "queued", ... */

struct job_info {
    uint64_t id;
    uint32_t vol; /* id of the volume; 0: the store */
    enum job_state state;
    bool cancel;                                               /* was asked for */
    int result;                                                /* 0, or why it failed */
    uint64_t items_done, items_total, bytes_done, bytes_total; /* totals 0: not known */
    int64_t created_ns, started_ns, ended_ns;                  /* wall clock; 0: not yet */
    uint64_t bytes_per_s, items_per_s;                         /* while running */
    int64_t eta_ns;                                            /* what is left; -1: not known */
    char verb[JOB_VERB_MAX + 1];
    char detail[JOB_DETAIL_MAX + 1]; /* what the verb works on: all that it needs to be done again */
    char text[JOB_TEXT_MAX + 1];     /* how it ended, for people */
};

struct job; /* a running one, as its function sees it */

struct job_kind {
    const char *verb;
    /* Asks job_canceled() often enough; -E_CANCELED then. text for people: job_say(). */
    int (*run)(struct job *j, struct store *s, const struct job_info *info);
    bool again; /* may be begun anew after the daemon's death */
};

/* jobs_attach: kinds must live as long as the store is attached. Jobs of a dead process go on or become interrupted.
 * jobs_detach: asks running ones to stop, waits for them (those that may be done again will go on at the next attach). */
int jobs_attach(struct store *s, const struct job_kind *kinds, size_t nkinds);
void jobs_detach(struct store *s);

/* job_start: queues it. On a store that is not written it lives in memory only. -E_NOSYS: no such kind, -E_NOMEM, -E_NOSPC. */
int job_start(struct store *s, const char *verb, uint32_t vol, const char *detail, uint64_t *ret_id);
/* job_join: likewise, but the same that has not ended, and that nobody has cancelled, is that job: what is asked again after the daemon died
 * does not run beside what goes on by itself. */
int job_join(struct store *s, const char *verb, uint32_t vol, const char *detail, uint64_t *ret_id);

int job_get(struct store *s, uint64_t id, struct job_info *ret);                           /* -E_NOENT */
int jobs_each(struct store *s, int (*cb)(void *arg, const struct job_info *i), void *arg); /* oldest first */
/* job_wait: 0 it is done; -E_AGAIN still running after timeout_ms; else why it failed. -E_NOENT. */
int job_wait(struct store *s, uint64_t id, unsigned timeout_ms);
int job_cancel(struct store *s, uint64_t id); /* -E_NOENT; an ended one: -E_INVAL */
/* job_report: lines that a job said with job_report_line(), of this process's life only. */
int job_report(struct store *s, uint64_t id, struct buf *out);
uint64_t jobs_running(struct store *s); /* queued ones included */

/* For the functions of kinds. */
bool job_canceled(struct job *j);
void job_total(struct job *j, uint64_t items, uint64_t bytes);
void job_progress(struct job *j, uint64_t items, uint64_t bytes); /* done in all */
void job_say(struct job *j, const char *fmt, ...) PRINTF_LIKE(2, 3);
void job_report_line(struct job *j, const char *line);
/* The same as callbacks of others; arg is the struct job. job_step: done in all; -E_CANCELED when it is to end. */
bool job_stopped(void *arg);
int job_step(void *arg, uint64_t items, uint64_t bytes);

/* job_record_*: the value of TAB_JOB: fixed numbers, then verb, detail, name of the result, text, each with its NUL. */
int job_record_encode(const struct job_info *i, struct buf *out);
int job_record_decode(uint64_t id, const uint8_t *p, size_t len, struct job_info *ret); /* -E_CORRUPT */
/* Each in a transaction of its own; no lock of the caller's may be one that transactions wait for. write: one without an id gets the next
 * number into it. each: cb with the oldest first, info NULL where it cannot be read (which is logged); non-zero ends it with that value. */
int job_record_write(struct store *s, struct job_info *info);
int job_record_delete(struct store *s, uint64_t id);
int job_records_each(struct store *s, int (*cb)(void *arg, uint64_t id, const struct job_info *info),
                     void *arg);

#endif
