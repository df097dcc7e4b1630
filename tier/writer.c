#include "tier/writer.h"

#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "tier/domains.h"

#define PAUSE_FIRST_NS ((int64_t)50000000)
#define PAUSE_DOUBLED 5u /* times at the most */
#define PAUSE_TICK_NS 20000000

int writer_begin(struct writer *w, struct repo *r)
{
    int x = repo_may_write(r);

    *w = (struct writer){.r = r};
    if (x == 0)
        x = backend_now(r->b, &r->call, &w->began_ns);
    return x == 0 ? repo_sync(r) : x;
}

void writer_end(struct writer *w)
{
    packer_free(w->p);
    condemned_release(&w->gone);
}

/* --- packs that somebody is about to delete ------------------------------------------------------------------------- */

/* The repository is asked, not what this machine knows of it. */
static int base_there(struct writer *w)
{
    struct backend_stat st;
    char name[80];

    snprintf(name, sizeof(name), "points/%s", w->base);
    return backend_stat(w->r->b, &w->r->call, name, &st);
}

/* The lists as they are now; is the recovery point that is gone on from whole in spite of them? */
static int lists_read(struct writer *w)
{
    struct point base = {.flags = 0};
    bool based = w->base[0];
    int r = based ? point_get(w->r, w->base, &base) : 0;

    condemned_release(&w->gone);
    w->gone = (struct condemned){.base_kept = true};
    if (r == 0 && based)
        r = base_there(w); /* while it is, nothing of it was ever unneeded */
    if (r == 0)
        r = condemned_read(w->r, based ? &base : NULL, &w->gone);
    point_release(&base);
    if (r == -E_NOENT) /* the base was deleted: what only it needs may be condemned any time */
        r = -E_AGAIN;
    return r;
}

/* Nothing that the tree refers to, or that an index will name, is condemned or gone. From w->guarded_ns on (the backend's clock) the writer
 * has half a grace. -E_AGAIN: it is not so. */
static int guard(struct writer *w)
{
    int r = backend_now(w->r->b, &w->r->call, &w->guarded_ns);

    if (r == 0)
        r = lists_read(w);
    if (r == 0 && !w->gone.base_kept)
        r = -E_AGAIN;
    if (r == 0 && (r = packer_relies(w->p, &w->gone.packs)) == 0)
        r = repo_stale(w->r);
    if (r == 0 && w->guarded_ns - w->began_ns > CONDEMNED_GRACE_NS / 2)
        r = packer_recheck(w->p);
    if (r == 0 &&
        !BROKEN(
            VARVE_BREAK_relied_gone)) /* what this machine knows may have been read anew by another process since */
        r = packer_gone(w->p);
    if (r == 1 && !BROKEN(VARVE_BREAK_condemned))
        r = -E_AGAIN;
    return MIN_OF(r, 0);
}

/* Half of the grace is over: by whose clock ever it was slow. */
static int guard_late(struct writer *w)
{
    int64_t now;
    int r = backend_now(w->r->b, &w->r->call, &now);

    return r < 0 ? r : now - w->guarded_ns > CONDEMNED_GRACE_NS / 2;
}

int writer_base(struct writer *w, const char *base)
{
    int r;

    snprintf(w->base, sizeof(w->base), "%s", base);
    r = lists_read(w);
    if (r == -E_AGAIN || (r == 0 && !w->gone.base_kept)) {
        w->base[0] = 0;
        r = lists_read(w);
    }
    return r < 0 ? r : packer_new(w->r, &w->gone.packs, &w->p);
}

int writer_pause(struct repo *r, unsigned n)
{
    int64_t until = clock_mono_ns() + (n ? PAUSE_FIRST_NS << MIN_OF(n - 1, PAUSE_DOUBLED) : 0);

    while (clock_mono_ns() < until) {
        if (r->call.canceled && r->call.canceled(r->call.arg))
            return -E_CANCELED;
        nanosleep(&(struct timespec){.tv_nsec = PAUSE_TICK_NS}, NULL);
    }
    return 0;
}

int writer_failed(struct writer *w, int r)
{
    if ((r != -E_CORRUPT && r != -E_NOENT) || !w->p)
        return r;
    if (w->base[0] && base_there(w) == -E_NOENT)
        return -E_AGAIN;
    return repo_stale(w->r) == 1 || packer_gone(w->p) == 1 ? -E_AGAIN : r;
}

/* --- putting -------------------------------------------------------------------------------------------------------- */

int writer_ready(struct writer *w)
{
    int r = packer_flush(w->p);

    if (r == 0)
        r = guard(w);
    return r < 0 ? r : packer_index(w->p);
}

static int point_take_back(struct writer *w, const struct point *p)
{
    struct backend_call call = {.timeout_ms = REPO_CALL_MS}; /* also where the work was cancelled */
    char name[80];
    int r;

    snprintf(name, sizeof(name), "points/%s", p->id);
    r = backend_del(w->r->b, &call, name);
    return r == -E_NOENT ? 0 : r;
}

/* A recovery point that came too late for its guard stays only if that still holds. */
static int point_late(struct writer *w, const struct point *p)
{
    int r = guard(w), x;

    if (r == 0)
        return 0;
    x = point_take_back(w, p);
    return x < 0 ? x : r;
}

int writer_put(struct writer *w, struct point *p)
{
    struct packer_stat st;
    int r = repo_may_write(w->r);

    if (r == 0)
        r = repo_into_still(w->r);
    if (r == 0 && (r = guard_late(w)) == 1)
        r = guard(w);
    buf_reset(&p->regarded);
    if (r == 0)
        r = buf_add(&p->regarded, w->gone.lists.data, w->gone.lists.len);
    if (r < 0)
        return r;
    p->id[0] = 0;
    r = point_put(w->r, p);
    if (r < 0 && p->id[0])
        (void)point_take_back(
            w, p); /* it may have been put all the same, or come later than it was guarded for */
    if (r == 0 && (r = guard_late(w)) == 1)
        r = point_late(w, p);
    if (r == 0) {
        packer_get_stat(w->p, &st);
        have_rest(w->r->have, st.blobs - st.known, w->r->call.canceled, w->r->call.arg);
    }
    return r;
}
