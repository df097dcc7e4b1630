/* snap/store/answer_i: what answer.c and answer_replay.c share. */
#ifndef VARVE_SNAP_STORE_ANSWER_I_H
#define VARVE_SNAP_STORE_ANSWER_I_H

#include <pthread.h>

#include "snap/store/answer.h"

#define ACKED_KEPT 256u /* more than that are not told: they stay known after a death, no more */

struct answer {
    struct answer *prev, *next;
    struct answer_rec rec;
    bool owned;      /* its request is being carried out */
    int64_t came_ns; /* monotonic: found at the open; 0: made by this process */
};

struct answers {
    pthread_mutex_t lock; /* guards the ring, acked and spare */
    struct answer head;   /* of the ring, oldest first */
    size_t count;
    uint64_t acked[ACKED_KEPT]; /* numbers of records whose replies have been written, to be told */
    size_t nacked;
    struct answer *spare; /* memory for answers to come, by next */
    struct answer_key {
        uint64_t conn, unique;
    } * stored; /* what TAB_RESULT holds; the store's lock */
    size_t nstored, cap;
};

void answer__link(struct answers *a, struct answer *w); /* with the lock */
void answer__unlink(struct answers *a, struct answer *w);
bool answer__place(struct answers *a); /* makes place for one more, if it can */

#endif
