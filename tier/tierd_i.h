/* tier/tierd_i: the asking side of varve-tierd: one process and its lines. Private to tierd_client.c, tierd_process.c. */
#ifndef VARVE_TIER_TIERD_I_H
#define VARVE_TIER_TIERD_I_H

#include <limits.h>
#include <pthread.h>

#include "base/msg.h"
#include "tier/tierd.h"

#define ASK_MS 200 /* how often a waiting call asks whether it was cancelled */
#define HELLO_MS 30000
#define HEAD_ROOM 4096u
#define VIEW_ROOM (4 * ((1u << 20) + (64u << 10))) /* four chunks that are one block of a file each, sealed */

struct client {
    struct backend b;
    unsigned refs; /* atomic */
    char url[PATH_MAX + 8];
    pthread_mutex_t
        lock; /* guards all below; held while the process is started and ended, not during a call */
    pthread_cond_t freed; /* a line is free, or the process that was dead is ended */
    struct line {
        int fd;
        bool busy;
        const uint8_t *room; /* VIEW_ROOM bytes that the process writes to; NULL: none yet */
    } line[TIERD_LINES];
    unsigned nlines, nbusy; /* nlines 0: none is running */
    bool dead;              /* it was killed; ended when all its calls have noticed */
    pid_t pid;
};

/* tierd_process.c, all with the lock held, or where nobody else knows of c yet. */
/* process_start: the process, and its lines; make: the place may be made. -E_CANCELED, -E_TIMEOUT: it has not answered within the call's
 * time; what it answered, with its words in err (may be NULL). */
int process_start(struct client *c, bool make, const struct backend_call *call, struct buf *err);
/* process_end: it ends when its sockets close; one that hangs is killed, and one that cannot even die is left. */
void process_end(struct client *c);

/* answer_split: "NAME\0rest": the code that NAME is; -E_PROTO. */
int answer_split(const struct msg *m, const uint8_t **rest, size_t *len);

#endif
