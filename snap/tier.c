#include "snap/tier.h"

#include <inttypes.h>
#include <sys/stat.h>

#include "snap/layer.h"
#include "snap/ns.h"
#include "snap/schedule.h"
#include "snap/snapshot.h"
#include "snap/store/cold.h"
#include "snap/store/ilock.h"
#include "snap/store/span.h"

#define DEPTH_MAX 4096u /* of directories: a ring of them is damage, not a reason to hang */

/* --- pins ------------------------------------------------------------------------------------------------------------- */

static void pin(struct inode *in, void *arg)
{
    const bool *on = arg;

    in->flags = *on ? in->flags | INODE_PINNED : in->flags & ~(uint32_t)INODE_PINNED;
}

int tier_pin(struct vol *v, uint64_t ino, bool on)
{
    cleanup(ilock_drop) struct ilock lock = {0};
    struct inode in;
    struct ns o;
    int r;

    ilock_take(v->store, &lock, v->rec.id, &ino, 1, true);
    r = ns_change(v, NULL, OP_SETATTR, vfs_node_make(v->rec.live_view, ino), &o, &ino);
    if (r < 0)
        return r;
    r = ns_inode(&o, ino, &in);
    if (r == 0 && !(in.flags & INODE_PINNED) == on)
        r = inode_update(&o.t, o.to, ino, pin, &on, NULL);
    return ns_end(&o, r);
}

/* A directory and those above it. */
static int dir_pinned(struct txn *t, struct vt_at at, uint64_t dir, struct tier_near *near)
{
    uint64_t first = dir;
    int r = 0;

    if (near->dir == dir)
        return near->pinned;
    for (unsigned depth = 0; dir && depth < DEPTH_MAX && r == 0; depth++) {
        struct inode in;

        r = inode_get(t, at, dir, &in);
        if (r == 0 && (in.flags & INODE_PINNED) && !BROKEN(VARVE_BREAK_pin_above))
            r = 1;
        dir = r == 0 && dir != INO_ROOT ? in.parent : 0;
    }
    if (r >= 0)
        *near = (struct tier_near){first, r};
    return r;
}

/* Names beside the one that the inode tells. */
static int links_pinned(struct txn *t, struct vt_at at, uint64_t ino, struct tier_near *near)
{
    const uint8_t *key;
    uint8_t prefix[8];
    struct vt_scan sc;
    struct vt_val val;
    int r, pinned = 0;

    put_be64(prefix, ino);
    vt_scan_init(&sc, t, KEEP_PENDING, at, TAB_LINK, prefix, sizeof(prefix));
    while (pinned == 0 && (r = vt_scan_next(&sc, &key, &val)) != 0)
        pinned = r < 0 ? r : dir_pinned(t, at, get_be64(key + 8), near);
    return pinned;
}

int tier_pinned(struct txn *t, struct vt_at at, uint64_t ino, struct tier_near *near)
{
    struct inode in;
    int r = inode_get(t, at, ino, &in);

    if (r < 0 || (in.flags & INODE_PINNED))
        return r < 0 ? r : 1;
    if (in.parent && ino != INO_ROOT)
        r = dir_pinned(t, at, in.parent, near);
    if (r == 0 && in.nlink > 1 && !S_ISDIR(in.mode))
        r = links_pinned(t, at, ino, near);
    return r;
}

/* --- paths ------------------------------------------------------------------------------------------------------------ */

/* The names are gathered from the end, each reversed; then all of it is reversed. */
static void reverse(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n / 2; i++) {
        uint8_t c = p[i];

        p[i] = p[n - 1 - i];
        p[n - 1 - i] = c;
    }
}

static int name_of(struct txn *t, struct vt_at at, const struct inode *in, struct buf *ret)
{
    struct ns_dirent e;
    struct vt_val val;
    uint8_t key[16];
    int r;

    put_be64(key, in->parent);
    put_be64(key + 8, in->parent_hash);
    r = vt_get(t, KEEP_PENDING, at, TAB_DIRENT, key, &val);
    if (r == 0)
        r = ns_dirent_parse(in->parent_hash, val.data, val.len, &e);
    if (r == 0)
        r = buf_add(ret, e.name, e.name_len);
    if (r == 0)
        reverse(ret->data + ret->len - e.name_len, e.name_len);
    return r;
}

int tier_path(struct txn *t, struct vt_at at, uint64_t ino, struct buf *ret)
{
    size_t from = ret->len;
    int r = 0;

    for (unsigned depth = 0; ino != INO_ROOT && r == 0; depth++) {
        struct inode in;

        r = depth < DEPTH_MAX ? inode_get(t, at, ino, &in) : -E_CORRUPT;
        if (r == 0 && !in.parent)
            r = -E_NOENT;
        if (r == 0 && depth)
            r = buf_add(ret, "/", 1);
        if (r == 0)
            r = name_of(t, at, &in, ret);
        ino = in.parent;
    }
    if (r == 0)
        reverse(ret->data + from, ret->len - from);
    return r;
}

/* --- states ----------------------------------------------------------------------------------------------------------- */

const char *tier_state_name(enum tier_state s)
{
    static const char *const names[] = {"local", "both", "partial", "remote", "pinned"};

    return names[s];
}

/* The newest layer of the live branch that a backup was made of, and which is here. */
struct backed {
    uint32_t branch, layer;
};

static int see_snapshot(void *arg, const struct layer_rec *rec, const char *text, size_t len)
{
    const char *p = text, *end = text + len;
    struct backed *b = arg;
    struct layer_text t;

    if (rec->branch != b->branch || rec->layer <= b->layer || rec->state != LAYER_DURABLE)
        return 0;
    while (layer_text_next(&p, end, &t) == 1)
        if (strcmp(t.kind, "label") == 0 && strncmp(t.key, SCHEDULE_BASE, strlen(SCHEDULE_BASE)) == 0)
            b->layer = rec->layer;
    return 0;
}

struct looking {
    struct txn *t;
    uint32_t backed;
    uint64_t blocks, remote, saved;
};

static int see_run(void *arg, const struct file_run *run)
{
    struct looking *l = arg;
    uint64_t missing;
    int r;

    if (run->kind != SPAN_OBJECT)
        return 0;
    r = cold_missing(l->t, run->object, run->obj_block, run->count, &missing);
    if (r < 0)
        return r;
    l->blocks += run->count;
    l->remote += missing;
    if (l->backed && run->data_born <= l->backed)
        l->saved += run->count;
    return 0;
}

static enum tier_state state_of(const struct looking *l, int pinned)
{
    if (pinned)
        return TIER_PINNED;
    if (l->remote)
        return l->remote == l->blocks ? TIER_REMOTE : TIER_PARTIAL;
    return l->blocks && l->saved == l->blocks ? TIER_BOTH : TIER_LOCAL;
}

static int look(struct ns *o, uint64_t ino, uint32_t backed, struct tier_file *ret)
{
    struct looking l = {.t = &o->t, .backed = backed};
    struct tier_near near = {0};
    struct inode in;
    int r = ns_inode(o, ino, &in), pinned;

    if (r < 0)
        return r;
    pinned = tier_pinned(&o->t, o->at, ino, &near);
    if (pinned >= 0 && S_ISREG(in.mode) && !(in.flags & INODE_INLINE))
        r = file_ranges(&o->t, o->at, &in, 0, (in.size + BLOCK_SIZE - 1) / BLOCK_SIZE, see_run, &l);
    if (pinned < 0 || r < 0)
        return pinned < 0 ? pinned : r;
    *ret = (struct tier_file){state_of(&l, pinned), l.blocks * BLOCK_SIZE, l.remote * BLOCK_SIZE};
    return 0;
}

int tier_look(struct vol *v, vfs_node n, struct tier_file *ret)
{
    struct backed b = {.branch = v->rec.head};
    struct ns o;
    uint64_t ino;
    int r = snap_each(v, see_snapshot, &b);

    if (r == 0)
        r = ns_read(v, n, &o, &ino);
    if (r < 0)
        return r;
    return ns_end(&o, look(&o, ino, o.at.branch == b.branch ? b.layer : 0, ret));
}

int tier_xattr(struct vol *v, vfs_node n, const char *name, struct buf *ret)
{
    bool remote = strcmp(name, TIER_REMOTE_XATTR) == 0;
    struct tier_file f;
    int r = remote || strcmp(name, TIER_XATTR) == 0 ? tier_look(v, n, &f) : -E_NODATA;

    if (r < 0)
        return r;
    return remote ? buf_printf(ret, "%" PRIu64, f.remote_bytes) : buf_puts(ret, tier_state_name(f.state));
}
