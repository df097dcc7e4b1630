/* What changed of a database lies all over the disk. Read one after the other, each range waits for the disk twice, for where it lies and
 * for itself; read by some threads a little ahead, the ranges wait side by side, and the backup finds them in the page cache. */
#include <pthread.h>
#include <stdlib.h>

#include "base/mark.h"
#include "base/task.h"
#include "tier/backup_i.h"

#define THREADS 8u
#define RANGES_MIN 32u   /* fewer are not worth threads */
#define AHEAD 1024u      /* ranges: 4 MiB of pages of a database */
#define ROOM (64u << 10) /* of a longer range its beginning: the kernel reads on by itself */
#define TOLD_EACH 64u

struct backup_ahead {
    struct vol *v;
    struct vt_at at;
    uint64_t ino;
    const struct diff_range *ranges;
    size_t n;
    struct task_pool *pool;
    pthread_mutex_t lock;
    pthread_cond_t more;
    size_t next, to; /* guarded by the lock: the next one to be read, and how far */
    bool ends;
};

/* 1: *ret; 0: there is no more. */
static int range_take(struct backup_ahead *a, size_t *ret)
{
    int r;

    pthread_mutex_lock(&a->lock);
    while (!a->ends && a->next < a->n && a->next >= a->to)
        pthread_cond_wait(&a->more, &a->lock);
    r = !a->ends && a->next < a->n;
    *ret = a->next++;
    pthread_mutex_unlock(&a->lock);
    return r;
}

/* What cannot be read is told by who reads it in earnest. */
static void read_ahead(struct task *t, void *arg)
{
    struct backup_ahead *a = arg;
    uint8_t *room = malloc(ROOM);
    size_t i, got;

    while (room && !task_canceled(t) && range_take(a, &i) == 1)
        (void)file_read(a->v, a->at, a->ino, room, (size_t)MIN_OF(a->ranges[i].len_bytes, (uint64_t)ROOM),
                        a->ranges[i].off_bytes, &got);
    free(room);
}

static void started(struct backup_ahead *a)
{
    int r = task_pool_new("ahead", THREADS, THREADS, &a->pool);

    for (unsigned i = 0; r == 0 && i < THREADS; i++)
        r = task_submit(a->pool, read_ahead, a, NULL);
    if (r == 0)
        MARK("backup: ranges are read ahead");
}

struct backup_ahead *backup_ahead_new(struct backup *b, uint64_t ino, const struct diff_range *v, size_t n)
{
    struct backup_ahead *a;

    if (n < RANGES_MIN || b->cold || !(a = calloc(1, sizeof(*a))))
        return NULL;
    a->v = b->v;
    a->at = b->at;
    a->ino = ino;
    a->ranges = v;
    a->n = n;
    a->to = AHEAD;
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->more, NULL);
    started(a);
    return a;
}

void backup_ahead_at(struct backup_ahead *a, size_t i)
{
    if (!a || i % TOLD_EACH)
        return;
    pthread_mutex_lock(&a->lock);
    a->next = MAX_OF(a->next, i);
    a->to = i + AHEAD;
    pthread_cond_broadcast(&a->more);
    pthread_mutex_unlock(&a->lock);
}

void backup_ahead_free(struct backup_ahead *a)
{
    if (!a)
        return;
    pthread_mutex_lock(&a->lock);
    a->ends = true;
    pthread_cond_broadcast(&a->more);
    pthread_mutex_unlock(&a->lock);
    task_pool_stop(a->pool);
    pthread_cond_destroy(&a->more);
    pthread_mutex_destroy(&a->lock);
    free(a);
}
