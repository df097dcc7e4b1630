/* fs/session_i: inside of the sessions: fs/session.c (life, the list of all), session_begin.c (the first message),
 * session_worker.c (the loop), session_watch.c (leaving, and being watched over). Only they include it. */
#ifndef VARVE_FS_SESSION_I_H
#define VARVE_FS_SESSION_I_H

#include "fs/op.h"

#define SESSION_SETTLE_STEP_NS 500000

struct worker {
    struct session *ss;
    uint8_t *in, *room;       /* OP_BUF_SIZE each; room is untouched until used */
    struct ring_entry *entry; /* NULL: its requests come the classic way */
    uint32_t setxattr_flags;
    struct answer_rec answer;
    bool known; /* answer is that of a former daemon to this request */
    pthread_t thread;
    uint64_t serial;  /* of this process, from 1 */
    uint64_t turns;   /* atomic: how often it has begun to wait for a request */
    bool spins;       /* of fs/session_spin.c, with the next two */
    int64_t waits_ns; /* since */
    long switches;
    bool stays;          /* on its queue's processor; of a ring */
    bool settles;        /* atomic: its request waits for others, in session_settle */
    struct worker *next; /* all of this process; guarded by workers_lock in fs/session_worker.c */
    uint64_t moved;      /* atomic: see io_moved */
    int64_t since_ns;    /* atomic: when its request came; 0: it has none */
    uint64_t seen_moved; /* of session_still_ms() */
    int64_t seen_ns;
    unsigned over; /* requests in a row after which it was one of too many */
    bool touched;  /* much of room is in memory */
};

extern atomic_bool session__leaving; /* no more requests are read */

/* session__list_hold: keeps sessions from coming and going until session__list_release. */
void session__list_hold(void);
void session__list_release(void);
void session__list_add(struct session *ss);

/* session__worker_init: its buffers; with_room: for answers, too. session__receive: one request into w->in; 0 when the connection
 * has ended, SESSION_RESTS when the worker is to leave. session__serve: carries it out in this thread. */
#define SESSION_RESTS SIZE_MAX
int session__worker_init(struct worker *w, struct session *ss, bool with_room); /* -E_NOMEM */
void session__worker_release(struct worker *w);
size_t session__receive(struct worker *w);
void session__serve(struct worker *w, size_t len);

/* A worker's life: on the list of all, off it, and done with ss, which may be gone then. session__thread: a thread that nobody joins;
 * 0 or an errno. */
void session__worker_enter(struct worker *w);
void session__worker_leave(struct worker *w);
void session__worker_gone(struct session *ss);
int session__thread(pthread_t *ret, void *(*fn)(void *), void *arg);

/* session__answer: what libfuse has to say, to whoever asked: for its custom I/O. */
ssize_t session__answer(int fd, struct iovec *iov, int n, void *arg);

/* fs/session_ring.c: FUSE over io_uring. A processor's queue of the kernel, and our threads at it. */
struct ring_queue {
    struct session *ss;
    unsigned number;
    atomic_uint threads, idle;
    atomic_ullong empty_at; /* the ticket of session_settle after which it was seen empty */
};
extern atomic_ullong session__ticket;

/* prepare: where it was not asked for, or cannot be had, the kernel's first message is changed to one that does not offer it: whoever
 * takes the connection over decides likewise. start: when that message has been answered. */
int session__ring_prepare(struct session *ss, void *init, size_t len);
int session__ring_start(struct session *ss);
ssize_t session__ring_answer(struct ring_entry *e, const struct iovec *iov, int n);

/* fs/session_spin.c: around each wait for a request. begin: true: look for one without sleeping while goes_on; end in any case, when
 * it is there or the look was in vain. held: somebody else needs the processors. */
bool session__spin_begin(struct worker *w);
bool session__spin_goes_on(const struct worker *w);
void session__spin_end(struct worker *w);
bool session__spin_held(void);

/* session__worker_mine: of the thread that asks; NULL: it serves no request. */
struct worker *session__worker_mine(void);

/* session__workers_each: under the list's lock. */
void session__workers_each(void (*cb)(struct worker *w, void *arg), void *arg);

#endif
