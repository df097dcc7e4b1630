#include "tier/repo_ahead.h"

#include <stdlib.h>

#include "base/mark.h"
#include "base/task.h"
#include "tier/repo_kept.h"

#define THREADS 4 /* however many processors there are: while one unpacks, others wait for the repository */
#define SLOTS (THREADS + 2)

struct repo_ahead {
    struct task_pool *pool;
    struct ahead_slot {
        struct repo *r;
        struct id16 id;
        enum ahead_form form;
        struct buf bytes;
        struct task *task; /* NULL: the slot is free */
        int result;
    } v[SLOTS];
};

static struct repo_ahead *ahead_new(void)
{
    struct repo_ahead *a = calloc(1, sizeof(*a));

    if (!a)
        return NULL;
    if (task_pool_new("fetch", THREADS, SLOTS, &a->pool) == 0)
        return a;
    free(a);
    return NULL;
}

static void fetch_one(struct task *t, void *arg)
{
    struct ahead_slot *s = arg;

    s->result = task_canceled(t)         ? -E_CANCELED
                : s->form == AHEAD_PLAIN ? repo_chunk_read(s->r, &s->id, &s->bytes)
                                         : repo_sealed_read(s->r, &s->id, &s->bytes);
}

static struct ahead_slot *slot_of(struct repo_ahead *a, const struct id16 *id)
{
    for (unsigned i = 0; i < SLOTS; i++)
        if (a->v[i].task && memcmp(a->v[i].id.b, id->b, sizeof(id->b)) == 0)
            return &a->v[i];
    return NULL;
}

static struct ahead_slot *slot_free(struct repo_ahead *a)
{
    for (unsigned i = 0; i < SLOTS; i++)
        if (!a->v[i].task)
            return &a->v[i];
    return NULL;
}

bool repo_ahead(struct repo *r, const struct id16 *chunk, enum ahead_form form)
{
    struct ahead_slot *s;

    if (repo_chunk_kept(r, chunk))
        return true;
    if (!r->ahead && !(r->ahead = ahead_new()))
        return false;
    if (slot_of(r->ahead, chunk))
        return true;
    if (!(s = slot_free(r->ahead)))
        return false;
    s->r = r;
    s->id = *chunk;
    s->form = form;
    buf_reset(&s->bytes);
    return task_submit_wait(r->ahead->pool, fetch_one, s, &s->task) == 0;
}

static void slot_end(struct ahead_slot *s)
{
    task_wait(s->task, -1);
    task_unref(TAKE(s->task));
}

/* Where it could not be read, repo_chunk() tries itself: that one knows what to do, and whom to tell why. */
bool repo_ahead_take(struct repo *r, const struct id16 *chunk, struct buf *sealed, struct buf *plain,
                     enum ahead_form *ret)
{
    struct ahead_slot *s = r->ahead ? slot_of(r->ahead, chunk) : NULL;
    struct buf *to = s && s->form == AHEAD_SEALED ? sealed : plain, was = *to;

    if (!s)
        return false;
    slot_end(s);
    if (s->result < 0)
        return false;
    MARK("repo: a chunk was read ahead");
    *ret = s->form;
    *to = s->bytes;
    s->bytes = was;
    return true;
}

void repo_ahead_drop(struct repo *r)
{
    for (unsigned i = 0; r->ahead && i < SLOTS; i++) {
        if (r->ahead->v[i].task)
            slot_end(&r->ahead->v[i]);
        buf_free(&r->ahead->v[i].bytes);
    }
}

void repo_ahead_end(struct repo *r)
{
    if (!r->ahead)
        return;
    task_pool_stop(r->ahead->pool);
    for (unsigned i = 0; i < SLOTS; i++) {
        task_unref(r->ahead->v[i].task);
        buf_free(&r->ahead->v[i].bytes);
    }
    free(TAKE(r->ahead));
}
