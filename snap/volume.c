#include "snap/volume.h"

#include <stdio.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "snap/idle.h"
#include "snap/internal.h"
#include "snap/space.h"
#include "snap/store/record.h"

#define SIZE_MIN ((uint64_t)1 << 20)
#define KEPT_NS (24 * 3600 * 1000000000ll)
#define ROOT_SIZE 4096u

int volume_name_check(const char *name)
{
    static const char *const taken[] = {"meta", "journal", "data", "cache",  "config",
                                        "log",  "sock",    "lock", "version"};

    if (strlen(name) > NAME_LEN_MAX)
        return -E_NAMETOOLONG;
    if (!name[0] || name[0] == '.' || strpbrk(name, "/@#"))
        return -E_NAME;
    for (const char *p = name; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return -E_NAME;
    for (size_t i = 0; i < ARRAY_LEN(taken); i++)
        if (strcmp(name, taken[i]) == 0)
            return -E_NAME;
    return 0;
}

int volume_name_put(struct txn *t, const char *name, uint32_t vol)
{
    uint8_t key[KEY_SIZE_MAX], val[4];

    put_le32(val, vol);
    return txn_put_plain(t, key, key_name(key, TAB_VOLNAME, name), val, sizeof(val));
}

static int name_del(struct txn *t, const char *name)
{
    uint8_t key[KEY_SIZE_MAX];

    return txn_del(t, KEEP_FIRM, (struct txn_owner){0}, key, key_name(key, TAB_VOLNAME, name));
}

static int size_check(uint64_t size_limit)
{
    return size_limit && size_limit < SIZE_MIN ? -E_INVAL : 0;
}

static int put_root(struct txn *t, const struct volume_rec *vr, const struct volume_opts *o)
{
    struct inode in = {.ino = INO_ROOT, .size = ROOT_SIZE, .nlink = 2, .change = 1};

    in.gen = hash_sum(vr->head, &vr->uuid, sizeof(vr->uuid));
    in.mode = S_IFDIR | ((o->mode ? o->mode : 0755) & 07777);
    in.uid = o->uid;
    in.gid = o->gid;
    inode_now(&in.mtime);
    in.atime = in.ctime = in.btime = in.mtime;
    return inode_put_new(t, (struct vt_at){vr->head, vr->layer}, &in);
}

void volume_fill(struct volume_rec *vr, const char *name, const struct volume_opts *o)
{
    *vr = (struct volume_rec){.flags = 0};
    vr->uuid = uuid_new();
    vr->family = vr->uuid;
    hash_random(vr->hash_key, sizeof(vr->hash_key));
    vr->layer = 1;
    vr->next_view = 1;
    vr->size_limit = o->size_limit;
    vr->inode_limit = o->inode_limit;
    vr->snap_limit = o->snap_limit;
    vr->created_ns = clock_wall_ns();
    snprintf(vr->name, sizeof(vr->name), "%s", name);
}

int volume_bare(struct txn *t, struct volume_rec *vr, uint64_t inodes, struct vol **ret)
{
    struct vstat_rec st = {.inodes = inodes, .next_ino = INO_ROOT + 1};
    struct branch_rec b = {.first_layer = 1};
    struct vol *v;
    int r;

    if (vol_by_name(t->store, vr->name))
        return -E_EXIST;
    if ((r = vol_new(t, &v)) < 0)
        return r;
    b.vol = vr->id = v->rec.id;
    b.id = vr->head = txn_next_branch(t);
    if ((r = branch_put(t, &b)) < 0 || (r = vol_put(t, v, vr)) < 0 || (r = vol_put_stat(t, v, &st)) < 0)
        return r;
    *ret = v;
    return 0;
}

static int create(struct txn *t, const char *name, const struct volume_opts *o, struct vol **ret)
{
    struct volume_rec vr;
    int r;

    volume_fill(&vr, name, o);
    if ((r = volume_bare(t, &vr, 1, ret)) < 0 || (r = volume_name_put(t, name, vr.id)) < 0)
        return r;
    return put_root(t, &vr, o);
}

int volume_create(struct store *s, const char *name, const struct volume_opts *o, struct vol **ret)
{
    static const struct volume_opts none;
    struct vol *v;
    struct txn t;
    int r;

    o = o ? o : &none;
    if ((r = volume_name_check(name)) < 0 || (r = size_check(o->size_limit)) < 0)
        return r;
    if ((r = txn_begin(s, TXN_WRITE, OP_VOLUME, NULL, &t)) < 0)
        return r;
    r = create(&t, name, o, &v);
    if (r < 0) {
        txn_abort(&t);
        return r;
    }
    if ((r = txn_commit(&t)) == 0 && ret)
        *ret = v;
    return r;
}

int volume_find(struct store *s, const char *name, struct vol **ret)
{
    struct vol *v;
    struct txn t;
    int r;

    if ((r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t)) < 0)
        return r;
    v = vol_by_name(s, name);
    txn_abort(&t);
    if (!v)
        return -E_NOENT;
    *ret = v;
    return 0;
}

int volume_rename(struct vol *v, const char *name)
{
    struct volume_rec vr;
    struct vol *other;
    struct txn t;
    int r;

    if ((r = volume_name_check(name)) < 0)
        return r;
    if ((r = txn_begin(v->store, TXN_WRITE, OP_VOLUME, v, &t)) < 0)
        return r;
    vr = v->rec;
    other = vol_by_name(v->store, name);
    if (vr.flags & (VOLUME_DELETED | VOLUME_GHOST))
        r = -E_NOENT;
    else if (other && other != v)
        r = -E_EXIST;
    if (r == 0)
        r = name_del(&t, vr.name);
    if (r == 0)
        r = volume_name_put(&t, name, vr.id);
    snprintf(vr.name, sizeof(vr.name), "%s", name);
    if (r == 0)
        r = vol_put(&t, v, &vr);
    if (r == 0)
        return txn_commit(&t);
    txn_abort(&t);
    return r;
}

int volume_resize(struct vol *v, uint64_t size_limit)
{
    struct volume_rec vr;
    struct txn t;
    int r;

    if ((r = size_check(size_limit)) < 0)
        return r;
    if ((r = txn_begin(v->store, TXN_WRITE, OP_VOLUME, v, &t)) < 0)
        return r;
    vr = v->rec;
    vr.size_limit = size_limit;
    r = vr.flags & (VOLUME_DELETED | VOLUME_GHOST) ? -E_NOENT : vol_put(&t, v, &vr);
    if (r == 0)
        return txn_commit(&t);
    txn_abort(&t);
    return r;
}

/* --- deleting --- */

struct clones {
    struct store *store;
    uint32_t vol;
    char *why;
    size_t len;
    bool any;
};

/* A branch of another volume that begins in this one. */
static int name_clone(void *arg, const struct branch_rec *b)
{
    struct clones *c = arg;
    struct branch_rec up;
    struct vol *v;

    if (b->vol == c->vol || !b->parent || (b->flags & BRANCH_FLATTENED))
        return 0;
    if (branch_get(c->store, b->parent, &up) < 0 || up.vol != c->vol || !(v = vol_by_id(c->store, b->vol)))
        return 0;
    if (c->why && c->len < 250)
        c->len += (size_t)snprintf(c->why + c->len, 256 - c->len, "%s%s", c->any ? ", " : "", v->rec.name);
    c->any = true;
    return 0;
}

static int delete_check(struct vol *v, char *why)
{
    struct clones c = {.store = v->store, .vol = v->rec.id, .why = why};
    int r;

    if (v->rec.flags & (VOLUME_DELETED | VOLUME_GHOST))
        return -E_NOENT;
    if (v->mounts)
        return -E_MOUNTED;
    if (why)
        why[0] = 0;
    r = branch_each(v->store, name_clone, &c);
    return r == 0 && c.any ? -E_CLONES : r;
}

int volume_delete(struct vol *v, char *why)
{
    struct volume_rec vr;
    struct txn t;
    int r;

    if ((r = txn_begin_freeing(v->store, OP_VOLUME, v, &t)) < 0)
        return r;
    r = delete_check(v, why);
    vr = v->rec;
    vr.flags |= VOLUME_DELETED;
    vr.deleted_ns = clock_wall_ns();
    if (r == 0)
        r = name_del(&t, vr.name);
    if (r == 0)
        r = vol_put(&t, v, &vr);
    if (r == 0)
        return txn_commit(&t);
    txn_abort(&t);
    return r;
}

int volume_undelete(struct store *s, const char *name, struct vol **ret)
{
    struct vol *v, *found = NULL;
    struct volume_rec vr;
    struct txn t;
    int r;

    if ((r = txn_begin(s, TXN_WRITE, OP_VOLUME, NULL, &t)) < 0)
        return r;
    for (v = vol_first(s); v; v = v->next)
        if ((v->rec.flags & (VOLUME_DELETED | VOLUME_GHOST)) == VOLUME_DELETED &&
            strcmp(v->rec.name, name) == 0 && (!found || v->rec.deleted_ns > found->rec.deleted_ns))
            found = v;
    r = !found ? -E_NOENT : vol_by_name(s, name) ? -E_EXIST : 0;
    if (r == 0) {
        vr = found->rec;
        vr.flags &= ~(uint32_t)VOLUME_DELETED;
        vr.deleted_ns = 0;
        r = volume_name_put(&t, name, vr.id);
    }
    if (r == 0)
        r = vol_put(&t, found, &vr);
    if (r < 0) {
        txn_abort(&t);
        return r;
    }
    if ((r = txn_commit(&t)) == 0 && ret)
        *ret = found;
    return r;
}

int volume_purge(struct vol *v)
{
    int r;

    /* what is pending of it belongs to records that go, so it must not come later */
    if ((r = file_make_firm(v->store, v->rec.id, v->rec.layer)) < 0)
        return r;
    return volume_reclaim_begin(v);
}

static bool purge_is_due(const struct volume_rec *vr, int64_t now)
{
    return (vr->flags & (VOLUME_DELETED | VOLUME_GHOST)) == VOLUME_DELETED && now - vr->deleted_ns >= KEPT_NS;
}

int volume_purge_due(struct store *s)
{
    int64_t now = clock_wall_ns();
    struct vol *v;
    struct txn t;
    int r;

    do {
        if ((r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t)) < 0)
            return r;
        for (v = vol_first(s); v && !purge_is_due(&v->rec, now);)
            v = v->next;
        txn_abort(&t);
        if (v && (r = volume_purge(v)) == 0)
            log_note("snap", "purge", "volume=%u", v->rec.id);
    } while (v && r == 0);
    return r;
}

void volume_forget_gone(struct store *s)
{
    struct vol *v;

    while ((v = vol_gone_take(s))) {
        idle_free_vol(v);
        vol_gone_free(v);
    }
}

/* --- looking --- */

static int count_shown(void *arg, const struct layer *l)
{
    *(uint64_t *)arg += layer_shown(&l->rec);
    return 0;
}

int volume_get_info(struct vol *v, struct volume_info *ret)
{
    struct volume_info info = {0};
    uint64_t blocks = 0;
    struct txn t;
    int r;

    if ((r = txn_begin(v->store, TXN_READ, OP_NONE, v, &t)) < 0)
        return r;
    info.rec = v->rec;
    info.used_bytes = vol_used_blocks(v) * BLOCK_SIZE;
    info.used_inodes = v->stat.inodes;
    info.mounts = v->mounts;
    r = layer_each(&t, v->rec.id, count_shown, &info.snapshots);
    if (r == 0)
        r = space_held(&t, v, &blocks);
    txn_abort(&t);
    info.snapshot_bytes = blocks * BLOCK_SIZE;
    if (r == 0)
        *ret = info;
    return r;
}

int volume_each(struct store *s, int (*cb)(void *arg, struct vol *v), void *arg)
{
    cleanup(buf_free) struct buf all = {0};
    struct vol *v;
    struct txn t;
    int r;

    if ((r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t)) < 0)
        return r;
    for (v = vol_first(s); v && r == 0; v = v->next)
        if (!(v->rec.flags & (VOLUME_DELETED | VOLUME_GHOST)))
            r = buf_add(&all, &v, sizeof(v));
    txn_abort(&t);
    for (size_t off = 0; r == 0 && off < all.len; off += sizeof(v)) {
        memcpy(&v, all.data + off, sizeof(v));
        r = cb(arg, v);
    }
    return r;
}
