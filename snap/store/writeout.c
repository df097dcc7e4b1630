#include "snap/store/writeout.h"

#include <pthread.h>
#include <stdlib.h>

#include "snap/store/store_int.h"

#define PLACES 256u

struct writeout {
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t given, done;
    pthread_t thread;
    bool stop;
    uint64_t ngiven, ndone; /* what lies between them is at i % PLACES */
    struct piece {
        uint64_t object, off, len;
    } v[PLACES];
};

static void *work(void *arg)
{
    struct store *s = arg;
    struct writeout *w = s->writeout;

    pthread_mutex_lock(&w->lock);
    while (!w->stop) {
        struct piece p;

        if (w->ndone == w->ngiven) {
            pthread_cond_wait(&w->given, &w->lock);
            continue;
        }
        p = w->v[w->ndone % PLACES];
        pthread_mutex_unlock(&w->lock);
        objfd_write_out(s, p.object, p.off, p.len);
        pthread_mutex_lock(&w->lock);
        w->ndone++;
        pthread_cond_broadcast(&w->done);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void writeout_free(struct writeout *w)
{
    pthread_cond_destroy(&w->given);
    pthread_cond_destroy(&w->done);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

int writeout_start(struct store *s)
{
    struct writeout *w = calloc(1, sizeof(*w));

    if (!w)
        return -E_NOMEM;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->given, NULL);
    pthread_cond_init(&w->done, NULL);
    s->writeout = w;
    if (pthread_create(&w->thread, NULL, work, s) == 0)
        return 0;
    writeout_free(TAKE(s->writeout));
    return -E_NOMEM;
}

void writeout_stop(struct store *s)
{
    struct writeout *w = s->writeout;

    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_broadcast(&w->given);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    writeout_free(TAKE(s->writeout));
}

void writeout_give(struct store *s, uint64_t object, uint64_t off, uint64_t len)
{
    struct writeout *w = s->writeout;

    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    if (w->ngiven - w->ndone < PLACES) {
        w->v[w->ngiven++ % PLACES] = (struct piece){object, off, len};
        pthread_cond_signal(&w->given);
    }
    pthread_mutex_unlock(&w->lock);
}

void writeout_wait(struct store *s)
{
    struct writeout *w = s->writeout;
    uint64_t upto;

    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    upto = w->ngiven;
    while (w->ndone < upto)
        pthread_cond_wait(&w->done, &w->lock);
    pthread_mutex_unlock(&w->lock);
}
