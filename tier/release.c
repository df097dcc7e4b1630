#include "tier/release.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "snap/store/cold.h"
#include "snap/store/object.h"
#include "snap/store/record.h"
#include "snap/store/store.h"
#include "snap/tier.h"
#include "snap/walk.h"
#include "tier/idset.h"
#include "tier/map.h"
#include "tier/restore.h"

#define RANGES_TOGETHER 256u /* in one transaction */

struct release {
    struct repo *r;
    const struct point *p;
    struct vol *v;
    struct vt_at at;
    const struct release_opts *o;
    bool ready;         /* the repository was asked what it has */
    struct idset packs; /* that are there: the number is their length */
    struct buf ranges;  /* struct part each, not put yet */
    uint64_t pending;   /* bytes of them */
    uint64_t last;      /* the file that was counted last */
    struct release_result res;
    uint64_t items;
};

/* Blocks of a file that are to go. */
struct part {
    struct cold_range range;
    uint64_t ino;
};

/* --- what the repository has ------------------------------------------------------------------------------------------ */

static int pack_seen(void *arg, const char *name, const struct backend_stat *st)
{
    struct release *w = arg;
    struct sha sha;
    struct id16 id;
    uint64_t *size;
    int r;

    if (pack_name_parse(name, &sha) < 0)
        return 0;
    id = sha_half(&sha);
    r = idset_put(&w->packs, &id, &size);
    if (r == 0)
        *size = st->size;
    return r;
}

/* Not before there is something to be released. */
static int get_ready(struct release *w)
{
    int r = w->ready ? 0 : repo_sync(w->r);

    if (r == 0 && !w->ready)
        r = backend_list(w->r->b, &w->r->call, "packs/", "", pack_seen, w);
    w->ready |= r == 0;
    return r;
}

/* 1: the slice's chunk lies in a pack that is there and long enough. */
static int is_there(struct release *w, const struct slice *s)
{
    struct have_chunk c;
    struct id16 id;
    const uint64_t *size;
    int r = have_get_chunk(w->r->have, &s->chunk, &c);

    if (r == -E_NOENT)
        return BROKEN(VARVE_BREAK_release_blind) ? 1 : 0;
    if (r < 0)
        return r;
    id = sha_half(&c.pack);
    size = idset_get(&w->packs, &id);
    return (size && *size >= (uint64_t)c.off + c.stored_len && s->off + (uint64_t)s->len <= c.plain_len) ||
           BROKEN(VARVE_BREAK_release_blind);
}

/* --- ranges ---------------------------------------------------------------------------------------------------------- */

/* Is it pinned now? What the snapshot's file was called then does not matter; one that is gone is not. */
static int ino_pinned(struct release *w, struct txn *t, uint64_t ino, struct tier_near *near)
{
    int r = tier_pinned(t, vol_now(w->v), ino, near);

    return r == -E_NOENT ? 0 : r;
}

/* Of a volume whatever, by its id; one that is gone pins nothing. */
static int pinned_in(struct release *w, struct txn *t, uint32_t vol, uint64_t ino)
{
    struct vol *v = vol_by_id(w->v->store, vol);
    struct tier_near near = {0};
    int r = v && !(v->rec.flags & VOLUME_DELETED) ? tier_pinned(t, vol_now(v), ino, &near) : 0;

    return r == -E_NOENT ? 0 : r;
}

/* Files that share the object with it have their say, too. */
static int sharers_pinned(struct release *w, struct txn *t, uint64_t object)
{
    uint8_t from[KEY_SIZE_MAX];
    const uint8_t *key;
    struct txn_val val;
    struct branch_rec b;
    size_t n = key_objref(from, object, 0, 0), klen;
    int r = 0;

    while (r == 0 && (r = txn_ge(t, KEEP_PENDING, from, n, 9, &key, &klen, &val)) == 0) {
        r = branch_get(w->v->store, get_be32(key + 9), &b);
        if (r == 0)
            r = pinned_in(w, t, b.vol, get_be64(key + 13));
        memcpy(from, key, klen);
        put_be64(from + 13, get_be64(key + 13) + 1); /* numbers of inodes have 40 bits */
    }
    return r == -E_NOENT ? 0 : r;
}

/* In the transaction that releases it: whoever was told that it is pinned was told so before or after that. What a clone shows are
 * objects of its origin: the origin has its say. */
static int part_pinned(struct release *w, struct txn *t, const struct part *p, struct tier_near *near)
{
    struct object_rec rec;
    int r = BROKEN(VARVE_BREAK_pin) ? 0 : ino_pinned(w, t, p->ino, near);

    if (r != 0 || object_get(t, p->range.object, &rec) < 0)
        return r;
    if (rec.vol != w->v->rec.id && !BROKEN(VARVE_BREAK_pin_origin))
        r = pinned_in(w, t, rec.vol, rec.ino);
    if (r == 0 && (rec.flags & OBJECT_SHARED) && w->o->replaced_by) /* another file may show it */
        return 1;
    if (r != 0 || !(rec.flags & OBJECT_SHARED) || BROKEN(VARVE_BREAK_pin_shared))
        return r;
    return sharers_pinned(w, t, p->range.object);
}

static int part_put(struct release *w, struct txn *t, const struct part *p, struct tier_near *near)
{
    uint64_t bytes = (uint64_t)p->range.blocks * BLOCK_SIZE;
    int r = part_pinned(w, t, p, near);

    if (r != 0) {
        w->res.pinned += r > 0 ? bytes : 0;
        return r < 0 ? r : 0;
    }
    r = cold_release(t, &p->range);
    if (r == -E_EXIST || r == -E_NOENT) { /* released before; or it went while this was looking */
        w->res.had += r == -E_EXIST ? bytes : 0;
        return 0;
    }
    if (r < 0)
        return r;
    w->res.bytes += bytes;
    w->res.files += w->last != p->ino;
    w->last = p->ino;
    return 0;
}

/* A transaction with all of these, or, where one of them is there already, with the rest. */
static int batch_put(struct release *w, const struct part *v, size_t n)
{
    struct release_result was = w->res;
    struct tier_near near = {0};
    struct txn t;
    int r = txn_begin(w->v->store, TXN_WRITE, OP_COLD, w->v, &t);

    if (r < 0)
        return r;
    for (size_t i = 0; i < n && r == 0; i++)
        r = part_put(w, &t, &v[i], &near);
    if (r == 0)
        r = txn_commit(&t);
    else
        txn_abort(&t);
    if (r < 0)
        w->res = was;
    return r;
}

/* However many a file has: one that is released in part reads as before. */
static int ranges_put(struct release *w)
{
    const struct part *v = (const struct part *)(const void *)w->ranges.data;
    size_t n = w->ranges.len / sizeof(*v);
    int r = 0;

    for (size_t i = 0; i < n && r == 0; i += RANGES_TOGETHER)
        r = batch_put(w, v + i, MIN_OF(n - i, RANGES_TOGETHER));
    w->ranges.len = 0;
    w->pending = 0;
    return r;
}

static int range_add(struct release *w, uint64_t ino, const struct file_run *run, const struct extent *x,
                     uint64_t from, uint64_t to)
{
    struct cold_range range = {.object = run->object,
                               .first = run->obj_block + (from - run->block),
                               .blocks = (uint32_t)(to - from),
                               .source = w->o->source,
                               .ref = {.len = SLICE_SIZE, .skip = (uint32_t)(from - x->block)}};
    struct enc e = {range.ref.p};
    int r = is_there(w, &x->s);

    if (r == 0)
        w->res.unproved += (to - from) * BLOCK_SIZE;
    w->pending += r > 0 ? (to - from) * BLOCK_SIZE : 0;
    if (r <= 0)
        return r;
    slice_encode(&e, &x->s);
    return buf_add(&w->ranges, &(struct part){range, ino}, sizeof(struct part));
}

/* The file's blocks here and in the recovery point, laid side by side. */
struct beside {
    struct release *w;
    uint64_t ino;
    const struct extents *there;
    size_t at; /* in there */
};

static int beside_run(void *arg, const struct file_run *run)
{
    struct beside *b = arg;
    uint64_t end = run->block + run->count;
    int r = 0;

    if (run->kind != SPAN_OBJECT)
        return 0;
    while (b->at < b->there->n && b->there->v[b->at].block + b->there->v[b->at].blocks <= run->block)
        b->at++;
    for (size_t i = b->at; r == 0 && i < b->there->n && b->there->v[i].block < end; i++) {
        const struct extent *x = &b->there->v[i];
        uint64_t filled = x->block + (x->s.len + TIER_BLOCK - 1) / TIER_BLOCK;

        if (x->kind == EXTENT_SLICE && filled > run->block)
            r = range_add(b->w, b->ino, run, x, MAX_OF(run->block, x->block), MIN_OF(end, filled));
    }
    return r;
}

static int file_runs(struct release *w, const struct inode *in, const struct extents *there, uint64_t from,
                     uint64_t to)
{
    struct beside b = {.w = w, .ino = in->ino, .there = there};
    struct txn t;
    int r = txn_begin(w->v->store, TXN_READ, OP_NONE, w->v, &t);

    if (r < 0)
        return r;
    r = file_ranges(&t, w->at, in, from, MIN_OF(to, (in->size + BLOCK_SIZE - 1) / BLOCK_SIZE), beside_run,
                    &b);
    txn_abort(&t);
    return r;
}

/* --- files ----------------------------------------------------------------------------------------------------------- */

static bool is_asked(const struct release *w, const struct inode *in)
{
    int64_t changed = (int64_t)in->mtime.tv_sec * 1000000000 + in->mtime.tv_nsec;

    return !(in->flags & INODE_INLINE) && in->size > 0 && in->size >= w->o->least_bytes &&
           (!w->o->before_ns || changed < w->o->before_ns);
}

/* 1: enough was released. */
static int file_done(struct release *w)
{
    bool enough = w->o->most_bytes && w->res.bytes + w->pending >= w->o->most_bytes;
    int r = 0;

    if (enough || w->ranges.len >= RANGES_TOGETHER * sizeof(struct part))
        r = ranges_put(w);
    w->items++;
    if (r == 0 && w->o->progress)
        r = w->o->progress(w->o->arg, w->items, w->res.bytes);
    return r < 0 ? r : w->o->most_bytes && w->res.bytes >= w->o->most_bytes;
}

static int file_release(struct release *w, const struct inode *in)
{
    struct extents there = {0};
    int r;

    if (!S_ISREG(in->mode))
        return 0;
    if (!is_asked(w, in)) {
        w->res.stay++;
        return 0;
    }
    r = get_ready(w);
    if (r == 0)
        r = map_load(w->r, &w->p->tree, in->ino, &there);
    if (r == 0)
        r = file_runs(w, in, &there, 0, UINT64_MAX);
    extents_free(&there);
    return r < 0 ? r : file_done(w);
}

static int all_files(struct release *w)
{
    struct inode *in = calloc(WALK_BATCH, sizeof(*in));
    uint64_t after = 0;
    size_t n = 0;
    int r = in ? 0 : -E_NOMEM;

    while (r == 0 && (r = walk_inodes(w->v, w->at, after, in, &n)) == 0 && n > 0) {
        for (size_t i = 0; i < n && r == 0; i++)
            r = file_release(w, &in[i]);
        after = in[n - 1].ino;
    }
    free(in);
    return r;
}

static int note_entry(void *arg, const struct walk_dirent *e)
{
    return buf_add(arg, &e->ino, sizeof(e->ino));
}

/* A file, or all that lies below a directory. */
static int below(struct release *w, uint64_t root)
{
    cleanup(buf_free) struct buf todo = {0}; /* u64 each */
    int r = buf_add(&todo, &root, sizeof(root));

    while (r == 0 && todo.len > 0) {
        struct inode in;
        uint64_t ino;

        todo.len -= sizeof(ino);
        memcpy(&ino, todo.data + todo.len, sizeof(ino));
        r = walk_inode(w->v, w->at, ino, &in);
        if (r == 0)
            r = S_ISDIR(in.mode) ? walk_dirents(w->v, w->at, ino, note_entry, &todo) : file_release(w, &in);
    }
    return r;
}

static int next_files(struct release *w)
{
    struct inode in;
    uint64_t ino;
    int r = 0;

    while (r == 0 && (r = w->o->next(w->o->arg, &ino)) == 1) {
        r = walk_inode(w->v, w->at, ino, &in);
        r = r == -E_NOENT ? 0 : r < 0 ? r : file_release(w, &in);
    }
    return r;
}

/* --- what only snapshots need ------------------------------------------------------------------------------------------ */

static int changed_runs(struct release *w, const struct inode *in, const struct extents *there,
                        const struct walk_change *c)
{
    int r = 0;

    if (!c->same)
        return file_runs(w, in, there, 0, UINT64_MAX);
    for (size_t i = 0; i < c->nranges && r == 0; i++) {
        uint64_t end = c->ranges[i].off_bytes + c->ranges[i].len_bytes;

        r = file_runs(w, in, there, c->ranges[i].off_bytes / BLOCK_SIZE, (end + BLOCK_SIZE - 1) / BLOCK_SIZE);
    }
    return r;
}

static int changed_file(void *arg, const struct walk_change *c)
{
    struct release *w = arg;
    struct extents there = {0};
    struct inode in;
    int r = c->same && c->nranges == 0 ? -E_NOENT : walk_inode(w->v, w->at, c->ino, &in);

    if (r < 0)
        return r == -E_NOENT ? 0 : r;
    if (!S_ISREG(in.mode) || (in.flags & INODE_INLINE) || in.nlink == 0)
        return 0;
    r = get_ready(w);
    if (r == 0)
        r = map_load(w->r, &w->p->tree, in.ino, &there);
    if (r == 0)
        r = changed_runs(w, &in, &there, c);
    extents_free(&there);
    return r < 0 ? r : file_done(w);
}

static int asked_files(struct release *w, struct buf *err)
{
    int r = 0;

    if (w->o->replaced_by)
        return walk_changes(w->v, w->at, *w->o->replaced_by, changed_file, w);
    if (w->o->next)
        return next_files(w);
    for (size_t i = 0; i < w->o->npaths && r == 0; i++) {
        uint64_t ino = 0;

        r = restore_lookup(w->r, &w->p->tree, point_names(w->p), w->o->paths[i], &ino);
        if (r < 0)
            buf_printf(err, "%s: %s in %s@%s", w->o->paths[i], err_text(r), w->p->volume_name,
                       w->p->snapshot_name);
        else
            r = below(w, ino);
    }
    return w->o->npaths ? r : all_files(w);
}

int release_run(struct repo *r, const struct point *p, struct vol *v, const struct layer_rec *rec,
                const struct release_opts *o, struct release_result *ret, struct buf *err)
{
    struct release w = {.r = r, .p = p, .v = v, .at = {rec->branch, rec->layer}, .o = o};
    int x = cold_begin(v->store), e;

    if (x == 0 && (!uuid_equal(&p->snapshot, &rec->uuid) || rec->state != LAYER_DURABLE)) {
        buf_printf(err, "recovery point %.12s was not made from snapshot %s", p->id, rec->name);
        x = -E_INVAL;
    }
    if (x ==
        0) /* what was recalled a moment ago is here, and its ranges are to go before there can be new ones */
        x = cold_settle(v->store);
    if (x == 0 && o->npaths)
        x = get_ready(&w);
    if (x == 0)
        x = asked_files(&w, err);
    e = ranges_put(&w);
    x = x < 0 ? x : e < 0 ? e : 0;
    if (x == -E_STALE && err->len == 0)
        buf_puts(err, "what keeps the recovery point for the volume has ended just now; run it again");
    e = store_flush(v->store);
    idset_free(&w.packs);
    buf_free(&w.ranges);
    *ret = w.res;
    return x < 0 ? x : e;
}
