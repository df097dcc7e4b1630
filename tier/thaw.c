#include "tier/thaw.h"

#include <time.h>

#include "base/clock.h"
#include "tier/idset.h"
#include "tier/map.h"
#include "tier/restore.h"

#define PAUSE_FIRST_MS 500
#define PAUSE_MAX_MS 60000
#define LOOK_MS 200 /* how often it is asked whether to go on */

struct thaw {
    struct repo *r;
    const struct thaw_opts *o;
    struct thaw_result *res;
    struct idset seen;  /* halves of packs' names */
    struct buf packs;   /* PACK_NAME bytes each: that are needed */
    struct buf inodes;  /* u64 each: whose records are to be looked at still */
    uint64_t ready, of; /* of those that were in an archive */
};

static int needs(struct thaw *w, const struct slice *s)
{
    struct have_chunk c;
    struct id16 id;
    char name[PACK_NAME] = "";
    int r = have_get_chunk(w->r->have, &s->chunk, &c);

    if (r < 0)
        return r == -E_NOENT ? 0 : r; /* the restore tells that */
    id = sha_half(&c.pack);
    if (idset_get(&w->seen, &id))
        return 0;
    r = idset_put(&w->seen, &id, NULL);
    pack_name(&c.pack, name);
    w->res->packs++;
    return r < 0 ? r : buf_add(&w->packs, name, sizeof(name));
}

static int record(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    struct thaw *w = arg;
    struct point_dirent e;
    struct slice s;
    int r = record_slice(key, klen, val, vlen, &s);

    if (r == 1)
        return needs(w, &s);
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
static int below(struct thaw *w, const struct tree *t, const char *path)
{
    uint64_t ino;
    int r = restore_lookup(w->r, t, path, &ino);

    if (r == 0)
        r = buf_add(&w->inodes, &ino, sizeof(ino));
    while (r == 0 && w->inodes.len) {
        struct tree_key k;

        w->inodes.len -= sizeof(ino);
        memcpy(&ino, w->inodes.data + w->inodes.len, sizeof(ino));
        k = tree_key_ino(ino);
        r = tree_scan(w->r, t, &k, NULL, record, w);
    }
    return r == -E_NOENT || r == -E_NOTDIR ? 0 : r; /* the restore says so */
}

static int needed(struct thaw *w, const struct tree *t)
{
    static const struct tree_key all;
    int r = 0;

    if (!w->o->npaths)
        return tree_scan(w->r, t, &all, NULL, record, w);
    for (size_t i = 0; r == 0 && i < w->o->npaths; i++)
        r = below(w, t, w->o->paths[i]);
    return r;
}

static int on(struct thaw *w)
{
    return w->o->progress ? w->o->progress(w->o->arg, w->ready, w->of) : 0;
}

/* Those that can be read leave the list. */
static int look(struct thaw *w, bool ask)
{
    char *v = (char *)w->packs.data;
    size_t n = w->packs.len / PACK_NAME, left = 0;
    int r = 0;

    for (size_t i = 0; r >= 0 && i < n; i++) {
        r = backend_wake(w->r->b, &w->r->call, v + i * PACK_NAME, ask);
        if (r == -E_NOENT)
            r = 0;
        if (r > 0)
            memmove(v + left++ * PACK_NAME, v + i * PACK_NAME, PACK_NAME);
        if (r >= 0)
            r = MIN_OF(on(w), 0);
    }
    if (r < 0)
        return r;
    w->packs.len = left * PACK_NAME;
    if (ask)
        w->of = w->res->asked = left;
    w->ready = w->of - left;
    return 0;
}

static int pause_ms(struct thaw *w, int64_t ms)
{
    int r = 0;

    for (int64_t gone = 0; r == 0 && gone < ms; gone += LOOK_MS) {
        nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000}, NULL);
        r = MIN_OF(on(w), 0);
    }
    return r;
}

int thaw_run(struct repo *r, const struct point *p, const struct thaw_opts *o, struct thaw_result *ret,
             struct buf *err)
{
    struct thaw w = {.r = r, .o = o, .res = ret};
    int64_t ms = PAUSE_FIRST_MS;
    int x;

    *ret = (struct thaw_result){.packs = 0};
    x = needed(&w, &p->tree);
    if (x == 0)
        x = look(&w, !BROKEN(VARVE_BREAK_thaw_unasked));
    for (; x == 0 && w.packs.len; ms = MIN_OF(2 * ms, (int64_t)PAUSE_MAX_MS)) {
        x = pause_ms(&w, ms);
        if (x == 0)
            x = look(&w, false);
    }
    if (x < 0)
        buf_puts(err, backend_text(x));
    idset_free(&w.seen);
    buf_free(&w.packs);
    buf_free(&w.inodes);
    return x;
}
