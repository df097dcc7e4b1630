/* Repositories that are open for reading, some handles each. */
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/io.h"
#include "fs/recall_i.h"
#include "tier/tierd.h"

#define REST_NS 60000000000ll

static bool is_canceled(void *arg)
{
    io_move();
    return __atomic_load_n(&((struct recall *)arg)->closing, __ATOMIC_RELAXED);
}

int recall_wait_locked(struct recall *rc, int64_t until_ns)
{
    int64_t now = clock_mono_ns(), step = MIN_OF(until_ns, now + 100000000);
    struct timespec at = {.tv_sec = step / 1000000000, .tv_nsec = step % 1000000000};

    if (__atomic_load_n(&rc->closing, __ATOMIC_RELAXED))
        return -E_CANCELED;
    if (now >= until_ns)
        return -E_TIMEOUT;
    io_move();
    pthread_cond_timedwait(&rc->change, &rc->lock, &at);
    return 0;
}

struct pool *pool_find_locked(struct recall *rc, const struct conf_repo *conf)
{
    struct pool *p;

    for (p = rc->pools; p; p = p->next)
        if (strcmp(p->conf.url, conf->url) == 0 &&
            strcmp(p->conf.passphrase_file, conf->passphrase_file) == 0 &&
            strcmp(p->conf.key_file, conf->key_file) == 0)
            return p;
    p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->conf = *conf;
    p->used_ns = clock_mono_ns();
    p->next = rc->pools;
    rc->pools = p;
    return p;
}

static struct backend_call call_until(struct recall *rc, int64_t until_ns)
{
    int64_t left = (until_ns - clock_mono_ns()) / 1000000;

    return (struct backend_call){
        .timeout_ms = (int)MAX_OF(left, (int64_t)1), .canceled = is_canceled, .arg = rc, .wake = true};
}

static int open_again(struct recall *rc, struct pool *p, int64_t until_ns, struct repo **ret, struct buf *err)
{
    struct backend_call call = call_until(rc, until_ns);
    char cache[PATH_MAX];
    struct backend *b = NULL;
    int r = conf_repo_cache(cache);

    if (r < 0)
        return r;
    pthread_mutex_lock(&rc->lock);
    if (p->shared)
        b = tierd_share(p->shared);
    pthread_mutex_unlock(&rc->lock);
    if (!b)
        r = tierd_open(p->conf.url, false, &call, &b, err);
    return r < 0 ? r : repo_open_again(b, &call, &p->keys, cache, ret);
}

/* The key is derived once for each repository. */
static int open_first(struct recall *rc, struct pool *p, int64_t until_ns, struct repo **ret, struct buf *err)
{
    struct backend_call call = call_until(rc, until_ns);
    cleanup(repo_place_free) struct repo_place *place = calloc(1, sizeof(*place));
    int r;

    if (!place)
        return -E_NOMEM;
    place->conf = p->conf;
    r = repo_place_open(place, &call, NULL, ret, err);
    if (r == 0 && (r = repo_sync(*ret)) < 0)
        repo_close(TAKE(*ret));
    return r;
}

static int pool_open(struct recall *rc, struct pool *p, int64_t until_ns, struct repo **ret, struct buf *err)
{
    cleanup(buf_free) struct buf ignored = {0};
    bool first = !p->has_keys;
    int r;

    p->open++;
    p->opening = first;
    pthread_mutex_unlock(&rc->lock);
    r = first ? open_first(rc, p, until_ns, ret, err ? err : &ignored)
              : open_again(rc, p, until_ns, ret, err ? err : &ignored);
    pthread_mutex_lock(&rc->lock);
    if (first)
        p->opening = false;
    if (r == 0 && first && !p->has_keys) {
        repo_keys_of(*ret, &p->keys);
        p->has_keys = true;
    }
    if (r == 0 && !p->shared)
        p->shared = tierd_share((*ret)->b);
    if (r < 0)
        p->open--;
    pthread_cond_broadcast(&rc->change);
    return r;
}

int pool_take(struct recall *rc, struct pool *p, int64_t until_ns, struct repo **ret, struct buf *err)
{
    int r = 0;

    pthread_mutex_lock(&rc->lock);
    for (;;) {
        if (p->nfree > 0) {
            *ret = p->free[--p->nfree];
            break;
        }
        if (p->open < POOL_MAX && !p->opening) {
            r = pool_open(rc, p, until_ns, ret, err);
            break;
        }
        if ((r = recall_wait_locked(rc, until_ns)) < 0)
            break;
    }
    pthread_mutex_unlock(&rc->lock);
    if (r == 0)
        (*ret)->call = call_until(rc, until_ns);
    return r;
}

void pool_give(struct recall *rc, struct pool *p, struct repo *r)
{
    bool over;

    repo_chunks_drop(r);
    pthread_mutex_lock(&rc->lock);
    over = p->nfree == POOL_MAX;
    if (!over)
        p->free[p->nfree++] = r;
    else
        p->open--;
    p->used_ns = clock_mono_ns();
    pthread_cond_broadcast(&rc->change);
    pthread_mutex_unlock(&rc->lock);
    if (over)
        repo_close(r);
}

void recall_lend(struct store *s, const struct conf_repo *place, struct repo *r)
{
    struct recall *rc = recall_of(s);
    struct pool *p;

    if (!rc) {
        repo_close(r);
        return;
    }
    pthread_mutex_lock(&rc->lock);
    p = pool_find_locked(rc, place);
    if (p) {
        p->open++;
        if (!p->has_keys) {
            repo_keys_of(r, &p->keys);
            p->has_keys = true;
        }
    }
    pthread_mutex_unlock(&rc->lock);
    if (p)
        pool_give(rc, p, r);
    else
        repo_close(r);
}

void pool_rest(struct recall *rc)
{
    int64_t before = clock_mono_ns() - REST_NS;

    for (;;) {
        struct backend *shared = NULL;
        struct repo *idle = NULL;

        pthread_mutex_lock(&rc->lock);
        for (struct pool *p = rc->pools; p && !idle; p = p->next)
            if (p->nfree > 0 && p->used_ns < before) {
                idle = p->free[--p->nfree];
                p->open--;
                if (p->open == 0)
                    shared = TAKE(p->shared);
            }
        pthread_mutex_unlock(&rc->lock);
        if (shared)
            backend_close(shared);
        if (!idle)
            return;
        repo_close(idle);
    }
}

void pools_free(struct recall *rc)
{
    while (rc->pools) {
        struct pool *p = rc->pools;

        rc->pools = p->next;
        while (p->nfree > 0)
            repo_close(p->free[--p->nfree]);
        if (p->shared)
            backend_close(p->shared);
        repo_keys_wipe(&p->keys);
        free(p);
    }
}
