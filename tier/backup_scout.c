/* A hundred files that changed among a million lie in as many pages of the store's tables, as many of the history, and as many places of the
 * disk. Looked at one after the other, each waits for each; by some threads a little ahead, they wait side by side. */
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/mark.h"
#include "base/task.h"
#include "tier/backup_i.h"

#define THREADS 8u
#define INODES_MIN 16u /* fewer are not worth threads */
#define SPARSE 256u /* one in so many: hardly two of them lie in what is read around a page of the tables */
#define AHEAD 64u   /* inodes */
#define BLOCKS_MOST (16u << 10) /* of a file, from its beginning: where its first ranges lie */
#define RANGES_MOST 16u
#define ENTRIES_MOST 64u
#define ROOM (64u << 10)

struct backup_scouts {
    const struct backup *b;
    const struct walk_changed *w;
    struct task_pool *pool;
    pthread_mutex_t lock;
    pthread_cond_t more;
    size_t next;      /* guarded by the lock, as the rest: as walk_changed_next() has it */
    size_t taken, at; /* inodes that scouts took; and where the walk is */
    bool ends;
    bool scattered; /* the store was told */
};

/* 1: *ret; 0: there is no more. */
static int inode_take(struct backup_scouts *s, size_t *ret)
{
    uint64_t ino;
    bool any;

    pthread_mutex_lock(&s->lock);
    while (!s->ends && s->taken >= s->at + AHEAD)
        pthread_cond_wait(&s->more, &s->lock);
    any = !s->ends && walk_changed_next(s->w, &s->next, &ino);
    s->taken++;
    *ret = s->next;
    pthread_mutex_unlock(&s->lock);
    return any;
}

static int entry_seen(void *arg, const struct walk_dirent *e)
{
    (void)arg;
    (void)e;
    return 0;
}

static int xattr_seen(void *arg, const char *name, size_t name_len, const void *p, size_t len)
{
    (void)arg;
    (void)name;
    (void)name_len;
    (void)p;
    (void)len;
    return 0;
}

/* What cannot be read is told by who reads it in earnest. */
static void look_at(const struct backup *b, const struct walk_change *c, uint8_t *room)
{
    const struct inode *in = c->is;
    size_t got;

    if (in->nxattr)
        (void)walk_xattrs(b->v, b->at, in->ino, xattr_seen, NULL);
    for (size_t i = 0; i < c->nhashes && i < ENTRIES_MOST; i++)
        (void)walk_dirent(b->v, b->at, in->ino, c->hashes[i], entry_seen, NULL);
    if (!S_ISREG(in->mode) || b->cold)
        return;
    if (!c->same || in->size <= ROOM)
        (void)file_read(b->v, b->at, in->ino, room, (size_t)MIN_OF(in->size, (uint64_t)ROOM), 0, &got);
    else
        for (size_t i = 0; i < c->nranges && i < RANGES_MOST; i++)
            (void)file_read(b->v, b->at, in->ino, room,
                            (size_t)MIN_OF(c->ranges[i].len_bytes, (uint64_t)ROOM), c->ranges[i].off_bytes,
                            &got);
}

static void scout(struct task *t, void *arg)
{
    struct backup_scouts *s = arg;
    struct walk_changed *w = NULL;
    uint8_t *room = malloc(ROOM);
    struct walk_change c;
    size_t at;

    if (room && walk_changed_peer(s->w, &w) == 0)
        while (!task_canceled(t) && inode_take(s, &at) == 1)
            if (walk_changed_look(w, at, 0, BLOCKS_MOST, &c) == 1 && c.is)
                look_at(s->b, &c, room);
    walk_changed_free(w);
    free(room);
}

/* How many are there to look at? At the most so many are counted. */
static uint64_t count(const struct walk_changed *w, uint64_t most)
{
    uint64_t n = 0, ino;
    size_t at = 0;

    while (n < most && walk_changed_next(w, &at, &ino))
        n++;
    return n;
}

static void started(struct backup_scouts *s)
{
    int r = task_pool_new("scout", THREADS, THREADS, &s->pool);

    for (unsigned i = 0; r == 0 && i < THREADS; i++)
        r = task_submit(s->pool, scout, s, NULL);
    if (r == 0)
        MARK("backup: inodes are looked at ahead");
}

struct backup_scouts *backup_scouts_new(struct backup *b, const struct walk_changed *w, uint64_t inodes)
{
    uint64_t sparse = inodes / SPARSE, n = count(w, MAX_OF(sparse, (uint64_t)INODES_MIN));
    struct backup_scouts *s;

    if (n < INODES_MIN || !(s = calloc(1, sizeof(*s))))
        return NULL;
    s->b = b;
    s->w = w;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->more, NULL);
    s->scattered = n < sparse;
    if (s->scattered)
        store_pages_scattered(b->v->store, true);
    started(s);
    return s;
}

/* One more that the walk has come to. */
void backup_scouts_at(struct backup_scouts *s, size_t at)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->at++;
    s->taken = MAX_OF(s->taken, s->at);
    s->next = MAX_OF(s->next, at);
    pthread_cond_broadcast(&s->more);
    pthread_mutex_unlock(&s->lock);
}

void backup_scouts_free(struct backup_scouts *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->ends = true;
    pthread_cond_broadcast(&s->more);
    pthread_mutex_unlock(&s->lock);
    task_pool_stop(s->pool);
    if (s->scattered)
        store_pages_scattered(s->b->v->store, false);
    pthread_cond_destroy(&s->more);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
