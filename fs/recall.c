#include "fs/recall.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mark.h"
#include "fs/recall_i.h"
#include "fs/session.h"
#include "snap/event.h"
#include "snap/store/cold.h"

#define UNPACKED_BYTES (32u << 20)
#define WHOLE_LEAST (128u << 10) /* smaller ones lie together in chunks */
#define UNPACKED_REST_NS 5000000000ll
#define WAITING_MAX 48u      /* reads under way: each has a thread */
#define DEATHS 2u            /* of varve-tierd, that one read lives through */
#define AGAIN_NS 200000000ll /* between tries; then twice as long, up to */
#define AGAIN_MAX_NS 2000000000ll
#define STALL_NS 5000000000ll /* nothing came for so long: further reads than these fail at once */

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER; /* guards registry */
static struct recall *registry;

struct recall *recall_of(struct store *s)
{
    struct recall *rc;

    pthread_mutex_lock(&registry_lock);
    for (rc = registry; rc && rc->s != s;)
        rc = rc->next;
    pthread_mutex_unlock(&registry_lock);
    return rc;
}

/* --- chunks --------------------------------------------------------------------------------------------------------- */

static void unpacked_free(struct unpacked *u)
{
    buf_free(&u->plain);
    free(u);
}

static void unlink_locked(struct recall *rc, struct unpacked *u)
{
    struct unpacked **at = &rc->unpacked;

    while (*at != u)
        at = &(*at)->next;
    *at = u->next;
    rc->unpacked_bytes -= u->plain.len;
}

/* Those that nobody reads go, oldest first, until all are `most` bytes; all that were used before then. */
static void unpacked_trim_locked(struct recall *rc, size_t most, int64_t before_ns)
{
    for (;;) {
        struct unpacked *oldest = NULL;

        for (struct unpacked *u = rc->unpacked; u; u = u->next)
            if (u->ready && u->refs == 0 && (!oldest || u->used_ns < oldest->used_ns))
                oldest = u;
        if (!oldest || (rc->unpacked_bytes <= most && oldest->used_ns >= before_ns))
            return;
        unlink_locked(rc, oldest);
        unpacked_free(oldest);
    }
}

static int load_with(struct repo *repo, const struct id16 *id, struct buf *ret)
{
    int r = repo_chunk_get(repo, id, ret);

    if (r == -E_NOENT || r == -E_CORRUPT) { /* packs are written anew now and then */
        r = repo_sync(repo);
        if (r == 0)
            r = repo_chunk_get(repo, id, ret);
    }
    return r == -E_NOENT ? -E_CORRUPT : r;
}

static int load(struct recall *rc, struct pool *p, const struct id16 *id, int64_t until_ns, struct buf *ret,
                struct buf *err)
{
    struct repo *repo;
    int r = pool_take(rc, p, until_ns, &repo, err);

    if (r < 0)
        return r;
    r = load_with(repo, id, ret);
    if (r < 0)
        buf_puts(err, backend_text(r));
    pool_give(rc, p, repo);
    return r;
}

static struct unpacked *find_locked(struct recall *rc, const struct id16 *id)
{
    struct unpacked *u = rc->unpacked;

    while (u && memcmp(u->id.b, id->b, sizeof(id->b)) != 0)
        u = u->next;
    return u;
}

/* Somebody else unpacks it, or did. */
static int join_locked(struct recall *rc, struct unpacked *u, int64_t until_ns)
{
    int r = 0;

    u->refs++;
    while (r == 0 && !u->ready)
        r = recall_wait_locked(rc, until_ns);
    return r < 0 ? r : u->result;
}

static int begin_locked(struct recall *rc, struct pool *p, const struct id16 *id, int64_t until_ns,
                        struct unpacked **ret, struct buf *err)
{
    struct unpacked *u = calloc(1, sizeof(*u));
    struct buf plain = {0};
    int r;

    if (!u)
        return -E_NOMEM;
    *u = (struct unpacked){.id = *id, .refs = 1, .next = rc->unpacked};
    rc->unpacked = *ret = u;
    pthread_mutex_unlock(&rc->lock);
    r = load(rc, p, id, until_ns, &plain, err);
    pthread_mutex_lock(&rc->lock);
    u->plain = plain;
    u->ready = true;
    u->result = r;
    rc->unpacked_bytes += plain.len;
    if (r < 0)
        unlink_locked(rc, u); /* the next one tries anew, while others still have this answer */
    pthread_cond_broadcast(&rc->change);
    return r;
}

/* The chunk stays until unpacked_put(). */
static int unpacked_get(struct recall *rc, struct pool *p, const struct id16 *id, int64_t until_ns,
                        struct unpacked **ret, struct buf *err)
{
    int r;

    pthread_mutex_lock(&rc->lock);
    *ret = find_locked(rc, id);
    r = *ret ? join_locked(rc, *ret, until_ns) : begin_locked(rc, p, id, until_ns, ret, err);
    pthread_mutex_unlock(&rc->lock);
    return r;
}

static void unpacked_put(struct recall *rc, struct unpacked *u)
{
    if (!u)
        return;
    pthread_mutex_lock(&rc->lock);
    u->refs--;
    u->used_ns = clock_mono_ns();
    if (u->refs == 0 && u->result < 0)
        unpacked_free(u);
    unpacked_trim_locked(rc, UNPACKED_BYTES, INT64_MIN);
    pthread_mutex_unlock(&rc->lock);
}

/* --- a read --------------------------------------------------------------------------------------------------------- */

static int source_read(struct recall *rc, uint32_t source, struct recall_source *ret)
{
    cleanup(buf_free) struct buf text = {0};
    int r = cold_source_get(rc->s, source, &text);

    return r < 0 ? r : recall_source_parse(text.data, text.len, ret);
}

/* The number of a source that went is given to another one: what was read before counts as long as it says the same. */
static struct from *from_find_locked(struct recall *rc, uint32_t source, const struct pool *p,
                                     const struct recall_source *src)
{
    struct from *f = rc->froms;

    while (f && (f->number != source || f->pool != p || !uuid_equal(&f->volume, &src->volume)))
        f = f->next;
    return f;
}

static struct from *from_make_locked(struct recall *rc, uint32_t source, struct pool *p,
                                     const struct recall_source *src)
{
    struct from *f = calloc(1, sizeof(*f));

    if (!f)
        return NULL;
    *f = (struct from){.next = rc->froms, .number = source, .pool = p, .volume = src->volume};
    memcpy(f->name, src->name, sizeof(f->name));
    return rc->froms = f;
}

int recall_from_of(struct recall *rc, uint32_t source, struct from **ret)
{
    struct recall_source *src = calloc(1, sizeof(*src));
    int r = src ? source_read(rc, source, src) : -E_NOMEM;

    if (r == 0) {
        pthread_mutex_lock(&rc->lock);
        struct pool *p = pool_find_locked(rc, &src->conf);
        struct from *f = p ? from_find_locked(rc, source, p, src) : NULL;

        if (p && !f)
            f = from_make_locked(rc, source, p, src);
        pthread_mutex_unlock(&rc->lock);
        *ret = f;
        r = f ? 0 : -E_NOMEM;
    }
    free(src);
    return r;
}

/* One more request waits for bytes. Each holds a thread, so they are bounded: where nothing moves, further ones do not wait. */
static int wait_begin(struct recall *rc)
{
    int64_t until = clock_mono_ns() + (int64_t)rc->opts.timeout_ms * 1000000;
    int r = 0;

    pthread_mutex_lock(&rc->lock);
    if (rc->waiting == 0)
        rc->moved_ns = clock_mono_ns();
    while (r == 0 && rc->waiting >= WAITING_MAX)
        r = clock_mono_ns() - rc->moved_ns > STALL_NS ? -E_BUSY : recall_wait_locked(rc, until);
    if (r == 0)
        rc->waiting++;
    pthread_mutex_unlock(&rc->lock);
    return r;
}

static int on_waits(void *arg, bool begins)
{
    struct recall *rc = arg;
    int r = begins ? wait_begin(rc) : 0;

    if (r < 0)
        return r;
    session_waits(begins);
    if (begins)
        return 0;
    pthread_mutex_lock(&rc->lock);
    rc->waiting--;
    pthread_cond_broadcast(&rc->change);
    pthread_mutex_unlock(&rc->lock);
    return 0;
}

static void moved(struct recall *rc)
{
    pthread_mutex_lock(&rc->lock);
    rc->moved_ns = clock_mono_ns();
    pthread_mutex_unlock(&rc->lock);
}

/* Said once when a repository cannot be read any more, and once when it can. */
static void say(struct recall *rc, struct pool *p, int r, const struct buf *err)
{
    bool lost = r < 0 && r != -E_CANCELED && r != -E_NOMEM, changed;

    if (r < 0 && !lost)
        return;
    pthread_mutex_lock(&rc->lock);
    changed = p->lost != lost;
    p->lost = lost;
    pthread_mutex_unlock(&rc->lock);
    if (changed && lost)
        event_emit(rc->s, "recall-failed", "",
                   "%.300s: %.300s; what was not read from there yet gives EIO until it can be read again",
                   p->conf.url, err->len ? (const char *)err->data : err_text(r));
    else if (changed)
        event_emit(rc->s, "recall-works", "", "%.300s can be read again", p->conf.url);
}

static int copy_out(const struct unpacked *u, const struct slice *s, uint32_t skip, uint32_t blocks,
                    void *out)
{
    size_t from = (size_t)skip * TIER_BLOCK, want = (size_t)blocks * TIER_BLOCK, n;

    memset(out, 0, want);
    if (s->off > u->plain.len || s->len > u->plain.len - s->off)
        return -E_CORRUPT;
    if (from >= s->len)
        return 0;
    n = MIN_OF(want, s->len - from);
    memcpy(out, u->plain.data + s->off + from, n);
    return 0;
}

/* What is a chunk of its own goes to its place at once, and is not kept. 0: it is not one, or somebody unpacks it. */
static int fetch_whole(struct recall *rc, struct pool *p, const struct slice *s, uint32_t blocks,
                       int64_t until, void *out)
{
    cleanup(buf_free) struct buf ignored = {0};
    size_t room = (size_t)blocks * TIER_BLOCK, len = 0;
    struct repo *repo;
    bool known;
    int r;

    pthread_mutex_lock(&rc->lock);
    known = find_locked(rc, &s->chunk) != NULL;
    pthread_mutex_unlock(&rc->lock);
    if (known)
        return 0;
    r = pool_take(rc, p, until, &repo, &ignored);
    if (r < 0)
        return 0;
    repo->call.wake = false; /* fetch_part() asks for what is archived, and says why it fails */
    r = repo_chunk_into(repo, &s->chunk, out, room, &len);
    pool_give(rc, p, repo);
    if (r < 0 || len < s->len)
        return 0;
    memset((uint8_t *)out + s->len, 0, room - s->len);
    MARK("recall: a chunk is unpacked where it belongs");
    return 1;
}

static int fetch_part(struct recall *rc, struct pool *p, const struct slice *s, const struct cold_ref *ref,
                      uint32_t blocks, int64_t until, void *out, struct buf *err)
{
    struct unpacked *u = NULL;
    int r = unpacked_get(rc, p, &s->chunk, until, &u, err);

    if (r == 0)
        r = copy_out(u, s, ref->skip, blocks, out);
    unpacked_put(rc, u);
    return r;
}

/* A varve-tierd that died, perhaps long ago, is no failure: another one is started. */
static int fetch_once(struct recall *rc, struct pool *p, const struct slice *s, const struct cold_ref *ref,
                      uint32_t blocks, bool whole, void *out)
{
    int64_t until = clock_mono_ns() + (int64_t)rc->opts.timeout_ms * 1000000;
    cleanup(buf_free) struct buf err = {0};
    int r = 0;

    for (unsigned n = 0; n <= DEATHS; n++) {
        buf_reset(&err);
        r = 0;
        if (!whole || fetch_whole(rc, p, s, blocks, until, out) == 0)
            r = fetch_part(rc, p, s, ref, blocks, until, out, &err);
        if (r != -E_CLOSED || BROKEN(VARVE_BREAK_recall_deaths))
            break;
        MARK("recall: again, with another process");
    }
    if (r == 0)
        moved(rc);
    else if (r == -E_ARCHIVED)
        __atomic_fetch_add(&rc->archived, 1, __ATOMIC_RELAXED);
    (void)buf_cstr(&err);
    say(rc, p, r, &err);
    return r;
}

void recall_moved(struct recall *rc, struct pool *p)
{
    static const struct buf none;

    moved(rc);
    say(rc, p, 0, &none);
}

/* Does it help to try again? */
static bool is_passing(int r)
{
    return r < 0 && r != -E_CANCELED && r != -E_NOMEM && r != -E_CORRUPT && r != -E_KEY && r != -E_SHREDDED;
}

static int pause_until(struct recall *rc, int64_t at_ns)
{
    int r = 0;

    while (r == 0 && (r = recall_is_canceled() ? -E_CANCELED : 0) == 0) {
        pthread_mutex_lock(&rc->lock);
        r = recall_wait_locked(rc, at_ns);
        pthread_mutex_unlock(&rc->lock);
    }
    return r == -E_TIMEOUT ? 0 : r;
}

/* Whoever wants it so waits for a repository that is away. */
static int fetch(struct recall *rc, struct pool *p, const struct slice *s, const struct cold_ref *ref,
                 uint32_t blocks, bool whole, void *out)
{
    int64_t until = clock_mono_ns() + (int64_t)rc->opts.wait_ms * 1000000;
    int r = fetch_once(rc, p, s, ref, blocks, whole, out);

    for (int64_t step = AGAIN_NS;
         is_passing(r) && (clock_mono_ns() < until || BROKEN(VARVE_BREAK_recall_endless));
         step = MIN_OF(2 * step, AGAIN_MAX_NS)) {
        int w = pause_until(rc, MIN_OF(clock_mono_ns() + step, until));

        if (w < 0)
            return w;
        r = fetch_once(rc, p, s, ref, blocks, whole, out);
    }
    return r;
}

bool recall_slice(const struct cold_ref *ref, uint32_t blocks, struct slice *ret, bool *ret_whole)
{
    struct dec d = dec_of(ref->p, ref->len);

    *ret = slice_decode(&d);
    *ret_whole =
        ret->off == 0 && ref->skip == 0 && ret->len <= (size_t)blocks * TIER_BLOCK && ret->len >= WHOLE_LEAST;
    return !d.bad && !d.left;
}

int recall_on_fetch(void *arg, uint32_t source, const struct cold_ref *ref, uint32_t blocks, void *out)
{
    struct recall *rc = arg;
    struct from *f;
    struct slice s;
    bool whole;
    int r = recall_slice(ref, blocks, &s, &whole) ? recall_from_of(rc, source, &f) : -E_CORRUPT;

    if (r == 0)
        r = recall_limit_take(rc, f, (uint64_t)blocks * TIER_BLOCK,
                              clock_mono_ns() + (int64_t)rc->opts.timeout_ms * 1000000);
    return r < 0 ? r : fetch(rc, f->pool, &s, ref, blocks, whole, out);
}

/* --- life ----------------------------------------------------------------------------------------------------------- */

int recall_attach(struct store *s, const struct recall_opts *o)
{
    struct recall *rc = calloc(1, sizeof(*rc));
    pthread_condattr_t mono;

    if (!rc)
        return -E_NOMEM;
    rc->s = s;
    rc->opts = *o;
    rc->began_ns = clock_mono_ns();
    if (!rc->opts.timeout_ms)
        rc->opts.timeout_ms = RECALL_TIMEOUT_MS;
    pthread_mutex_init(&rc->lock, NULL);
    pthread_condattr_init(&mono);
    pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
    pthread_cond_init(&rc->change, &mono);
    pthread_cond_init(&rc->ahead_change, &mono);
    pthread_condattr_destroy(&mono);
    pthread_mutex_init(&rc->ahead_lock, NULL);
    pthread_mutex_lock(&registry_lock);
    rc->next = registry;
    registry = rc;
    pthread_mutex_unlock(&registry_lock);
    store_set_cold(s, &(struct cold_hooks){.arg = rc,
                                           .fetch = recall_on_fetch,
                                           .fetch_run = recall_on_run,
                                           .waits = on_waits,
                                           .ahead = recall_on_ahead});
    return 0;
}

void recall_detach(struct store *s)
{
    struct recall *rc = recall_of(s);

    if (!rc)
        return;
    __atomic_store_n(&rc->closing, true, __ATOMIC_RELAXED);
    recall_ahead_end(rc);
    store_set_cold(s, NULL);
    pthread_mutex_lock(&registry_lock);
    for (struct recall **at = &registry; *at; at = &(*at)->next)
        if (*at == rc) {
            *at = rc->next;
            break;
        }
    pthread_mutex_unlock(&registry_lock);
    pools_free(rc);
    while (rc->froms) {
        struct from *f = rc->froms;

        rc->froms = f->next;
        free(f);
    }
    while (rc->budgets) {
        struct budget *b = rc->budgets;

        rc->budgets = b->next;
        free(b);
    }
    unpacked_trim_locked(rc, 0, INT64_MAX);
    pthread_cond_destroy(&rc->ahead_change);
    pthread_mutex_destroy(&rc->ahead_lock);
    pthread_cond_destroy(&rc->change);
    pthread_mutex_destroy(&rc->lock);
    free(rc);
}
