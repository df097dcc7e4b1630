#include "tests/crash/crash.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>

#include "base/clock.h"

/* One operation: decided by its own random numbers and the state before, so that a repetition decides the same. */
struct play {
    struct c_run *c;
    uint32_t k;
    uint64_t rng;
    unsigned vol; /* which it concerns */
    struct vol *v;
    const struct o_tree *before;
    struct o_tree *now;               /* NULL: only play */
    struct o_tree *const *all_before; /* of every volume */
    struct o_tree *const *all_now;
    struct vfs_ctx ctx;
};

static uint64_t pick(struct play *p, uint64_t below)
{
    return test_rand(&p->rng) % below;
}

#define SAY(p, ...) snprintf((p)->c->what, sizeof((p)->c->what), __VA_ARGS__)
#define U(x) ((unsigned long long)(x))

static vfs_node node(const struct play *p, uint64_t ino)
{
    return ino == INO_ROOT ? (vfs_node){INO_ROOT} : vfs_node_make(p->v->rec.live_view, ino);
}

static const struct o_ino *pick_type(struct play *p, uint32_t type)
{
    size_t from = pick(p, p->before->n);

    for (size_t i = 0; i < p->before->n; i++) {
        const struct o_ino *in = p->before->v[(from + i) % p->before->n];
        if ((in->mode & S_IFMT) == type && in->nlink > 0)
            return in;
    }
    return NULL;
}

void c_promise(struct c_life *l, unsigned vol, uint64_t ino, uint32_t op)
{
    struct c_firm *f = &l->firm[vol][ino];

    assert(ino < INOS_MAX);
    if (f->n == f->cap) {
        f->cap = f->cap ? f->cap * 2 : 8;
        f->op = realloc(f->op, f->cap * sizeof(*f->op));
        assert(f->op);
    }
    f->op[f->n++] = op;
}

static void promise(struct play *p, uint64_t ino)
{
    if (!p->now)
        return;
    o_mut(p->now, ino)->pending = false;
    c_promise(&p->c->life, p->vol, ino, p->k);
}

static void flushed(struct play *p)
{
    if (p->now)
        p->c->life.flushed[p->k] = true;
}

/* After a change of bytes: what lies in the tables is firm at once, unless older bytes of the file are not yet. */
static void follow(struct play *p, uint64_t ino)
{
    struct vfs_attr a;
    struct o_ino *in;

    if (vfs_getattr(p->v, node(p, ino), &a) < 0)
        return;
    in = o_mut(p->now, ino);
    in->pending |= !in->is_inline || !(a.flags & INODE_INLINE);
    in->is_inline = a.flags & INODE_INLINE;
    if (!in->pending)
        promise(p, ino);
}

static void fill(struct play *p, size_t len)
{
    uint64_t x = p->c->life_seed * 1000003 + p->k;

    for (size_t i = 0; i < len; i += 8) {
        uint64_t w = test_rand(&x) | 0x0101010101010101u;
        memcpy(p->c->bytes2 + i, &w, 8);
    }
}

static int do_write(struct play *p, uint64_t ino, uint64_t off, size_t len)
{
    int r;

    fill(p, len);
    SAY(p, "write %llu off %llu len %zu", U(ino), U(off), len);
    r = vfs_write(p->v, &p->ctx, node(p, ino), p->c->bytes2, len, off, false);
    if (r == 0 && p->now) {
        struct o_ino *in = o_mut(p->now, ino);
        pages_write(&in->data, p->c->bytes2, len, off, p->k);
        in->size = MAX_OF(in->size, off + len);
        follow(p, ino);
    }
    return r;
}

static int play_write(struct play *p)
{
    const struct o_ino *in = pick_type(p, S_IFREG);
    uint64_t off;
    size_t len = 1 + pick(p, pick(p, 10) ? 9000 : 70000);

    if (!in)
        return 0;
    off = pick(p, 3) ? pick(p, in->size + 1) : pick(p, 12) * PG_SIZE;
    if (pick(p, 500) == 0)
        off = (1u << 20) - pick(p, 9000); /* where spans meet */
    return do_write(p, in->ino, MIN_OF(off, (uint64_t)(1u << 20)), len);
}

static void cut(struct o_ino *in, uint64_t size, uint64_t stamp)
{
    uint64_t last = (size + PG_SIZE - 1) / PG_SIZE;

    if (size < in->size) {
        pages_zero(&in->data, size, last * PG_SIZE - size, stamp);
        pages_set(&in->data, last, UINT64_MAX - last, PG_HOLE, -1, stamp);
    }
    in->size = size;
}

static int play_truncate(struct play *p)
{
    const struct o_ino *in = pick_type(p, S_IFREG);
    struct vfs_setattr a = {.set = VFS_SIZE};
    struct vfs_attr got;
    int r;

    if (!in)
        return 0;
    a.size = pick(p, 4) ? pick(p, in->size + 8192) : 0;
    SAY(p, "truncate %llu from %llu to %llu", U(in->ino), U(in->size), U(a.size));
    r = vfs_setattr(p->v, &p->ctx, node(p, in->ino), &a, &got);
    if (r == 0 && p->now) {
        cut(o_mut(p->now, in->ino), a.size, p->k);
        follow(p, in->ino);
    }
    return r;
}

static int play_punch(struct play *p)
{
    const struct o_ino *in = pick_type(p, S_IFREG);
    int mode =
        pick(p, 2) ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE : FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
    uint64_t off, len;
    int r;

    if (!in)
        return 0;
    off = pick(p, in->size + 1), len = 1 + pick(p, 40000);
    SAY(p, "%s %llu off %llu len %llu", mode & FALLOC_FL_PUNCH_HOLE ? "punch" : "zero", U(in->ino), U(off),
        U(len));
    p->c->life.steps[p->k] = true;
    r = vfs_fallocate(p->v, &p->ctx, node(p, in->ino), mode, off, len);
    if (r == 0 && p->now) {
        pages_zero(&o_mut(p->now, in->ino)->data, off, len, p->k);
        follow(p, in->ino);
    }
    return r;
}

static int play_copy(struct play *p)
{
    const struct o_ino *src = pick_type(p, S_IFREG), *dst = pick_type(p, S_IFREG);
    uint64_t from, to, len, done = 0;
    int r;

    if (!src || src == dst || src->size == 0)
        return 0;
    from = pick(p, src->size) / PG_SIZE * PG_SIZE, to = pick(p, 2) ? from : pick(p, 20) * PG_SIZE;
    len = MIN_OF(1 + pick(p, 60000), src->size - from);
    SAY(p, "copy %llu off %llu to %llu off %llu len %llu", U(src->ino), U(from), U(dst->ino), U(to), U(len));
    p->c->life.steps[p->k] = true;
    r = vfs_copy(p->v, &p->ctx, node(p, src->ino), from, node(p, dst->ino), to, len, &done);
    if (r == 0 &&
        done < MIN_OF(len, src->size - from)) /* there is room: it was cut, and nobody heard its answer */
        r = -E_CRASH;
    if (r == 0 && p->now) {
        struct o_ino *in = o_mut(p->now, dst->ino);
        pages_read(&o_get(p->before, src->ino)->data, p->c->bytes2, done, from);
        pages_write(&in->data, p->c->bytes2, done, to, p->k);
        in->size = MAX_OF(in->size, to + done);
        follow(p, dst->ino);
    }
    return r;
}

static void enter(struct play *p, uint64_t dir, const char *name, uint64_t ino)
{
    struct o_ino *d = o_mut(p->now, dir);

    o_ent_add(d, name, ino);
    if (o_is_dir(o_get(p->now, ino))) {
        d->nlink++;
        o_mut(p->now, ino)->parent = dir;
    }
}

static int make(struct play *p, uint64_t dir, const char *name, uint32_t mode, uint64_t *ret_ino)
{
    struct vfs_attr a;
    struct o_ino *in;
    int r = vfs_mknod(p->v, &p->ctx, node(p, dir), name, mode, 0, &a);

    if (r < 0)
        return r;
    *ret_ino = vfs_node_ino(a.node);
    if (!p->now)
        return 0;
    in = o_add(p->now, *ret_ino);
    in->mode = mode, in->nlink = S_ISDIR(mode) ? 2 : 1;
    in->is_inline = S_ISREG(mode);
    enter(p, dir, name, in->ino);
    promise(p, in->ino);
    return 0;
}

static int play_create(struct play *p)
{
    uint32_t mode = pick(p, 5) ? S_IFREG | 0644 : S_IFDIR | 0755;
    uint64_t dir = pick(p, 3) ? INO_ROOT : pick_type(p, S_IFDIR)->ino, ino;
    char name[32];

    snprintf(name, sizeof(name), "n%u", (unsigned)pick(p, 6));
    if (o_ent_find(o_get(p->before, dir), name))
        return play_write(p);
    SAY(p, "create %s in %llu", name, U(dir));
    return make(p, dir, name, mode, &ino);
}

/* Takes a name away from the state; the inode goes with its last name. */
static void leave(struct play *p, uint64_t dir, const char *name)
{
    uint64_t ino = o_ent_find(o_get(p->now, dir), name)->ino;
    struct o_ino *in = o_mut(p->now, ino), *d = o_mut(p->now, dir);

    o_ent_del(d, name);
    if (o_is_dir(in))
        d->nlink--;
    in->nlink -= o_is_dir(in) ? in->nlink : 1;
    if (in->nlink == 0)
        o_del(p->now, ino);
}

static int play_unlink(struct play *p)
{
    uint64_t dir = pick(p, 2) ? INO_ROOT : pick_type(p, S_IFDIR)->ino, ino;
    const struct o_ino *d = o_get(p->before, dir), *in;
    char name[NAME_LEN_MAX + 1];
    int r;

    if (d->nent == 0)
        return 0;
    snprintf(name, sizeof(name), "%s", d->ent[pick(p, d->nent)].name);
    ino = o_ent_find(d, name)->ino;
    in = o_get(p->before, ino);
    if (o_is_dir(in) && in->nent)
        return 0;
    SAY(p, "unlink %.60s in %llu (%llu)", name, U(dir), U(ino));
    r = o_is_dir(in) ? vfs_rmdir(p->v, &p->ctx, node(p, dir), name)
                     : vfs_unlink(p->v, &p->ctx, node(p, dir), name);
    if (r == 0 && (o_is_dir(in) || in->nlink == 1))
        r = vfs_orphan_drop(p->v, ino);
    if (p->now)
        leave(p, dir, name);
    return r;
}

/* Writes a file and gives it the name of another: what programs do to replace one safely. One operation in parts, so the
 * state in between is an operation of its own: this one only renames. */
static int play_rename(struct play *p)
{
    const struct o_ino *root = o_get(p->before, INO_ROOT), *in, *old;
    char from[NAME_LEN_MAX + 1], to[NAME_LEN_MAX + 1];
    const struct o_ent *e;
    int r;

    if (root->nent == 0)
        return 0;
    snprintf(from, sizeof(from), "%s", root->ent[pick(p, root->nent)].name);
    if (pick(p, 2))
        snprintf(to, sizeof(to), "%s", root->ent[pick(p, root->nent)].name);
    else
        snprintf(to, sizeof(to), "n%u", (unsigned)pick(p, 6));
    in = o_get(p->before, o_ent_find(root, from)->ino);
    e = o_ent_find(root, to);
    old = e ? o_get(p->before, e->ino) : NULL;
    if (old == in || (old && (o_is_dir(old) || o_is_dir(in))))
        return 0;
    SAY(p, "rename %.60s to %.60s (%llu over %llu)", from, to, U(in->ino), U(old ? old->ino : 0));
    r = vfs_rename(p->v, &p->ctx, node(p, INO_ROOT), from, node(p, INO_ROOT), to, 0);
    if (r == 0 && old && old->nlink == 1)
        r = vfs_orphan_drop(p->v, old->ino);
    if (p->now) {
        uint64_t ino = in->ino;
        struct o_ino *d;

        if (old)
            leave(p, INO_ROOT, to);
        d = o_mut(p->now, INO_ROOT);
        o_ent_del(d, from);
        o_ent_add(d, to, ino);
        promise(p, ino);
    }
    return r;
}

static int play_link(struct play *p)
{
    const struct o_ino *in = pick_type(p, S_IFREG);
    struct vfs_attr a;
    char name[32];
    int r;

    snprintf(name, sizeof(name), "l%u", (unsigned)pick(p, 3));
    if (!in || o_ent_find(o_get(p->before, INO_ROOT), name))
        return 0;
    SAY(p, "link %llu as %s", U(in->ino), name);
    r = vfs_link(p->v, &p->ctx, node(p, in->ino), node(p, INO_ROOT), name, &a);
    if (r == 0 && p->now) {
        o_mut(p->now, in->ino)->nlink++;
        o_ent_add(o_mut(p->now, INO_ROOT), name, in->ino);
        promise(p, in->ino);
    }
    return r;
}

static int play_attr(struct play *p)
{
    const struct o_ino *in = pick_type(p, pick(p, 4) ? S_IFREG : S_IFDIR);
    struct vfs_setattr a = {.set = VFS_MODE};
    struct vfs_attr got;
    char name[32], val[200];
    int r;

    if (!in)
        return 0;
    if (pick(p, 2)) {
        a.mode = (in->mode & S_IFMT) | (uint32_t)pick(p, 01000);
        SAY(p, "chmod %llu %o", U(in->ino), a.mode);
        r = vfs_setattr(p->v, &p->ctx, node(p, in->ino), &a, &got);
        if (r == 0 && p->now)
            o_mut(p->now, in->ino)->mode = a.mode;
        return r;
    }
    snprintf(name, sizeof(name), "user.x%u", (unsigned)pick(p, 3));
    memset(val, 'a' + (int)pick(p, 26), sizeof(val));
    SAY(p, "setxattr %llu %s", U(in->ino), name);
    r = vfs_setxattr(p->v, &p->ctx, node(p, in->ino), name, val, sizeof(val), 0, false);
    if (r == 0 && p->now)
        o_xattr_set(o_mut(p->now, in->ino), name, val, sizeof(val));
    return r;
}

static int play_fsync(struct play *p)
{
    const struct o_ino *in = pick_type(p, pick(p, 6) ? S_IFREG : S_IFDIR);
    int r;

    if (!in)
        return 0;
    SAY(p, "fsync %llu", U(in->ino));
    r = vfs_fsync(p->v, node(p, in->ino));
    if (r == 0) {
        promise(p, in->ino);
        flushed(p);
    }
    return r;
}

static void promise_all(struct play *p)
{
    for (size_t i = 0; p->now && i < p->now->n; i++)
        promise(p, p->now->v[i]->ino);
}

static void promise_store(struct play *p)
{
    struct play q = *p;

    for (q.vol = 0; p->now && q.vol < VOLS; q.vol++) {
        q.now = p->all_now[q.vol];
        promise_all(&q);
    }
}

static int play_store(struct play *p)
{
    switch (pick(p, 8)) {
    case 0: {
        int r;
        SAY(p, "sync");
        r = store_sync(p->c->s);
        if (r == 0) {
            promise_store(p);
            flushed(p);
        }
        return r;
    }
    case 1:
    case 2: SAY(p, "checkpoint"); return store_checkpoint(p->c->s);
    case 3: SAY(p, "reclaim_idle"); return store_reclaim_idle(p->c->s);
    case 4: {
        int r;
        SAY(p, "flush");
        r = store_flush(p->c->s);
        if (r == 0)
            flushed(p);
        return r;
    }
    default: {
        int r;
        SAY(p, "tick");
        r = store_tick(p->c->s);
        return r < 0 ? r : 0;
    }
    }
}

static struct c_snap *snap_know(struct play *p, unsigned vol, const char *name, const struct o_tree *t)
{
    struct c_life *l = &p->c->life;
    struct c_snap *sn;

    assert(l->nsnaps < SNAPS_MAX);
    sn = &l->snap[l->nsnaps++];
    *sn = (struct c_snap){
        .vol = vol, .twin = -1, .created = p->k, .deleted = NEVER, .durable = NEVER, .tree = o_tree_copy(t)};
    snprintf(sn->name, sizeof(sn->name), "%s", name);
    return sn;
}

static bool snap_is_there(const struct play *p, const struct c_snap *sn)
{
    return sn->vol == p->vol && sn->created < p->k && sn->deleted >= p->k;
}

/* One of those that were there before this operation. */
static struct c_snap *pick_snap(struct play *p)
{
    struct c_life *l = &p->c->life;
    size_t n = 0, wanted;

    for (size_t i = 0; i < l->nsnaps; i++)
        n += snap_is_there(p, &l->snap[i]);
    if (n == 0)
        return NULL;
    wanted = pick(p, n);
    for (size_t i = 0;; i++)
        if (snap_is_there(p, &l->snap[i]) && wanted-- == 0)
            return &l->snap[i];
}

/* Is there room to know two more? The same answer in a repetition. */
static bool snaps_full(const struct play *p)
{
    const struct c_life *l = &p->c->life;
    size_t n = 0;

    for (size_t i = 0; i < l->nsnaps; i++)
        n += l->snap[i].created < p->k;
    return n + 2 > SNAPS_MAX;
}

static int play_group(struct play *p, const char *name)
{
    struct c_life *l = &p->c->life;
    int first = (int)l->nsnaps, r;

    SAY(p, "group snapshot %s", name);
    r = snap_create_group(p->c->vol, VOLS, name);
    for (unsigned i = 0; i < VOLS && r == 0 && p->now; i++)
        snap_know(p, i, name, p->all_before[i])->twin = first + 1 - (int)i;
    return r;
}

static int play_snap(struct play *p)
{
    char name[64];
    struct layer_rec rec;
    int r;

    if (snaps_full(p))
        return 0;
    snprintf(name, sizeof(name), "s%u-%u", p->c->life_no, p->k);
    if (pick(p, 4) == 0)
        return play_group(p, name);
    SAY(p, "snapshot %s", name);
    r = snap_create(p->v, &p->ctx, name, &rec);
    if (r == 0 && p->now)
        snap_know(p, p->vol, name, p->before);
    return r;
}

static int play_durable(struct play *p)
{
    struct layer_rec rec;
    struct c_snap *sn = pick_snap(p);
    int r;

    if (!sn)
        return play_snap(p);
    SAY(p, "wait_durable %.90s", sn->name);
    r = snap_find(p->v, sn->name, &rec);
    if (r == 0)
        r = snap_wait_durable(p->v, rec.layer);
    if (r == 0 && p->now)
        sn->durable = MIN_OF(sn->durable, p->k);
    return r;
}

static int play_snapdel(struct play *p)
{
    struct c_snap *sn = pick_snap(p);
    int r;

    if (!sn)
        return play_snap(p);
    SAY(p, "snapshot delete %.90s", sn->name);
    r = snap_delete(p->v, &p->ctx, sn->name);
    if (r == 0 && p->now)
        sn->deleted = p->k;
    return r;
}

static int play_rollback(struct play *p)
{
    struct c_snap *sn = pick_snap(p);
    char kept[NAME_LEN_MAX + 1] = "";
    struct o_tree *t;
    int r;

    if (!sn || snaps_full(p))
        return 0;
    SAY(p, "rollback to %.90s", sn->name);
    r = snap_rollback(p->v, &p->ctx, sn->name, kept);
    if (r == -E_DEPTH)
        return 0;
    if (r < 0 || !p->now)
        return r;
    sn->durable = MIN_OF(sn->durable, p->k);
    snap_know(p, p->vol, kept, p->before);
    t = o_tree_copy(sn->tree);
    for (size_t i = 0; i < p->now->n;)
        o_del(p->now, p->now->v[i]->ino);
    for (size_t i = 0; i < t->n; i++) { /* the same inodes: numbers are kept */
        struct o_ino *in = o_add(p->now, t->v[i]->ino);
        o_ino_assign(in, t->v[i]);
    }
    o_tree_free(t);
    promise_all(p);
    return 0;
}

static const struct {
    unsigned weight;
    int (*fn)(struct play *p);
} plays[] = {{28, play_write}, {6, play_truncate}, {4, play_punch},   {5, play_copy},    {14, play_create},
             {6, play_unlink}, {8, play_rename},   {3, play_link},    {6, play_attr},    {8, play_fsync},
             {5, play_store},  {4, play_snap},     {2, play_durable}, {5, play_snapdel}, {1, play_rollback}};

/* One of them; nothing may come of it when what it needs is not there. */
static int play_one(struct play *p)
{
    unsigned sum = 0, i = 0;
    uint64_t at;

    for (size_t k = 0; k < ARRAY_LEN(plays); k++)
        sum += plays[k].weight;
    for (at = pick(p, sum); at >= plays[i].weight; i++)
        at -= plays[i].weight;
    return plays[i].fn(p);
}

static void say_trace(const struct play *p, int r)
{
    struct c_run *c = p->c;

    if (c->disk_trace.len)
        printf("%.*s", (int)c->disk_trace.len, (const char *)c->disk_trace.data);
    buf_reset(&c->disk_trace);
    printf("%7u %u: %s%s%s\n", p->k, p->vol, c->what, r < 0 ? ": " : "", r < 0 ? err_name(r) : "");
}

int c_play(struct c_run *c, uint32_t k, struct o_tree *const before[VOLS], struct o_tree *const now[VOLS])
{
    struct play p = {.c = c, .k = k, .rng = c->life_seed * 7919 + k, .all_before = before, .all_now = now};
    int r = 0;

    c->op = k;
    clock_test_advance(1 + (int64_t)pick(&p, 200000000));
    c->what[0] = 0;
    while (!c->what[0]) {
        p.vol = (unsigned)pick(&p, VOLS);
        p.v = c->vol[p.vol];
        p.before = before[p.vol];
        p.now = now ? now[p.vol] : NULL;
        r = play_one(&p);
    }
    if (c->trace)
        say_trace(&p, r);
    return r;
}

void c_life_free(struct c_life *l)
{
    c_cuts_free(l);
    for (uint32_t k = 0; k <= OPS_MAX; k++)
        for (unsigned i = 0; i < VOLS; i++)
            o_tree_free(TAKE(l->state[k][i]));
    for (size_t i = 0; i < l->nsnaps; i++)
        o_tree_free(l->snap[i].tree);
    l->nsnaps = 0;
    for (unsigned i = 0; i < VOLS; i++)
        for (uint64_t ino = 0; ino < INOS_MAX; ino++)
            free(l->firm[i][ino].op);
    memset(l->firm, 0, sizeof(l->firm));
    memset(l->flushed, 0, sizeof(l->flushed));
    memset(l->steps, 0, sizeof(l->steps));
    l->ops = 0;
    l->writes = 0;
}
