#include "tier/thaw.h"

#include <time.h>

#include "base/clock.h"
#include "tier/map.h"
#include "tier/restore.h"
#include "tier/tree_diff.h"

#define PAUSE_FIRST_MS 500
#define PAUSE_MAX_MS 60000
#define LOOK_MS 200 /* how often it is asked whether to go on */

struct thaw {
    struct repo *r;
    const struct thaw_opts *o;
    struct thaw_packs packs;
    struct buf inodes; /* u64 each: whose records are to be looked at still */
};

/* --- packs ---------------------------------------------------------------------------------------------------------- */

void thaw_packs_free(struct thaw_packs *w)
{
    idset_free(&w->seen);
    buf_free(&w->names);
    *w = (struct thaw_packs){.packs = 0};
}

int thaw_packs_add(struct thaw_packs *w, const struct repo *r, const struct id16 *chunk)
{
    struct have_chunk c;
    struct id16 id;
    char name[PACK_NAME] = "";
    int x = have_get_chunk(r->have, chunk, &c);

    if (x < 0)
        return x == -E_NOENT ? 0 : x;
    id = sha_half(&c.pack);
    if (idset_get(&w->seen, &id))
        return 0;
    x = idset_put(&w->seen, &id, NULL);
    pack_name(&c.pack, name);
    w->packs++;
    return x < 0 ? x : buf_add(&w->names, name, sizeof(name));
}

/* 1: it is still to be waited for. */
static int look_at(struct repo *r, const char *name, bool ask)
{
    int x = backend_wake(r->b, &r->call, name, ask);

    return x == -E_NOENT ? 0 : MIN_OF(x, 1);
}

int thaw_packs_look(struct thaw_packs *w, struct repo *r, bool ask,
                    int (*on)(void *arg, uint64_t ready, uint64_t of), void *arg)
{
    char *v = (char *)w->names.data;
    size_t n = w->names.len / PACK_NAME, left = 0, i = 0;
    int x = 0;

    for (; i < n; i++) {
        if ((x = look_at(r, v + i * PACK_NAME, ask)) < 0)
            break;
        if (x > 0)
            memmove(v + left++ * PACK_NAME, v + i * PACK_NAME, PACK_NAME);
        if (on && (x = on(arg, w->ready, w->of)) < 0) {
            i++;
            break;
        }
    }
    if (i < n) /* those that were not looked at stay */
        memmove(v + left * PACK_NAME, v + i * PACK_NAME, (n - i) * PACK_NAME);
    left += n - i;
    w->names.len = left * PACK_NAME;
    if (x < 0)
        return x;
    if (ask)
        w->of = left;
    w->ready = w->of - left;
    return 0;
}

static int pause_ms(const struct thaw_packs *w, int64_t ms, int (*on)(void *arg, uint64_t ready, uint64_t of),
                    void *arg)
{
    int r = 0;

    for (int64_t gone = 0; r == 0 && gone < ms; gone += LOOK_MS) {
        nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000}, NULL);
        r = on ? MIN_OF(on(arg, w->ready, w->of), 0) : 0;
    }
    return r;
}

int thaw_packs_wait(struct thaw_packs *w, struct repo *r, int (*on)(void *arg, uint64_t ready, uint64_t of),
                    void *arg)
{
    int64_t ms = PAUSE_FIRST_MS;
    int x = thaw_packs_look(w, r, !BROKEN(VARVE_BREAK_thaw_unasked), on, arg);

    for (; x == 0 && w->names.len; ms = MIN_OF(2 * ms, (int64_t)PAUSE_MAX_MS)) {
        x = pause_ms(w, ms, on, arg);
        if (x == 0)
            x = thaw_packs_look(w, r, false, on, arg);
    }
    return x;
}

/* --- of a recovery point ---------------------------------------------------------------------------------------------- */

static int record(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    struct thaw *w = arg;
    struct point_dirent e;
    struct slice s;
    int r = record_slice(key, klen, val, vlen, &s);

    if (r == 1)
        return thaw_packs_add(&w->packs, w->r, &s.chunk);
    if (klen >= 9 && key[8] == REC_XATTR)
        return 0; /* of one that is damaged the restore tells */
    if (r < 0)
        return r;
    if (key[8] == REC_DIRENT && w->o->npaths) {
        r = point_dirent_decode(val, vlen, &e);
        return r < 0 ? r : buf_add(&w->inodes, &e.ino, sizeof(e.ino));
    }
    return 0;
}

/* What a path names, and all below it. */
static int below(struct thaw *w, const struct point *p, const char *path)
{
    uint64_t ino;
    int r = restore_lookup(w->r, &p->tree, point_names(p), path, &ino);

    if (r == 0)
        r = buf_add(&w->inodes, &ino, sizeof(ino));
    while (r == 0 && w->inodes.len) {
        struct tree_key k;

        w->inodes.len -= sizeof(ino);
        memcpy(&ino, w->inodes.data + w->inodes.len, sizeof(ino));
        k = tree_key_ino(ino);
        r = tree_scan(w->r, &p->tree, &k, NULL, record, w);
    }
    return r == -E_NOENT || r == -E_NOTDIR ? 0 : r; /* the restore says so */
}

static int differs(void *arg, const struct tree_rec *was, const struct tree_rec *is)
{
    (void)was;
    return is ? record(arg, is->key, is->klen, is->val, is->vlen) : 0;
}

static int needed(struct thaw *w, const struct point *p)
{
    static const struct tree_key all;
    int r = 0;

    if (!w->o->npaths && w->o->but)
        return tree_diff(w->r, w->o->but, &p->tree, differs, w);
    if (!w->o->npaths)
        return tree_scan(w->r, &p->tree, &all, NULL, record, w);
    for (size_t i = 0; r == 0 && i < w->o->npaths; i++)
        r = below(w, p, w->o->paths[i]);
    return r;
}

int thaw_run(struct repo *r, const struct point *p, const struct thaw_opts *o, struct thaw_result *ret,
             struct buf *err)
{
    struct thaw w = {.r = r, .o = o};
    int x = needed(&w, p);

    if (x == 0)
        x = thaw_packs_wait(&w.packs, r, o->progress, o->arg);
    *ret = (struct thaw_result){.packs = w.packs.packs, .asked = w.packs.of};
    if (x < 0)
        buf_puts(err, backend_text(x));
    thaw_packs_free(&w.packs);
    buf_free(&w.inodes);
    return x;
}
