#include <sys/stat.h>

#include "snap/ns.h"
#include "snap/store/room.h"

static void link_key(uint64_t ino, uint64_t dir, uint64_t hash, uint8_t key[24])
{
    put_be64(key, ino);
    put_be64(key + 8, dir);
    put_be64(key + 16, hash);
}

static int link_put(struct ns *o, uint64_t ino, uint64_t dir, uint64_t hash)
{
    uint8_t key[24];

    link_key(ino, dir, hash, key);
    return vt_put(&o->t, KEEP_FIRM, (struct txn_owner){0}, o->to, TAB_LINK, key, "", 0);
}

static int link_del(struct ns *o, uint64_t ino, uint64_t dir, uint64_t hash)
{
    uint8_t key[24];

    link_key(ino, dir, hash, key);
    return vt_del(&o->t, KEEP_FIRM, (struct txn_owner){0}, o->to, TAB_LINK, key);
}

static bool is_parent(const struct inode *in, uint64_t dir, uint64_t hash)
{
    return in->parent == dir && in->parent_hash == hash;
}

int ns_link_add(struct ns *o, const struct inode *in, uint64_t dir, uint64_t hash)
{
    struct ns_edit e = {.set = NS_CTIME, .more.links = 1, .ctime = *ns_time(o)};
    int r;

    if (in->nlink >= NS_LINK_MAX)
        return -E_MLINK;
    if (in->nlink == 0) {
        r = ns_orphan_del(o, in->ino);
        e.set |= NS_PARENT;
        e.parent = dir;
        e.parent_hash = hash;
    } else {
        r = link_put(o, in->ino, dir, hash);
    }
    return r < 0 ? r : ns_edit(o, in->ino, &e, NULL);
}

/* The link that the inode's record holds goes: the first of TAB_LINK takes its place. */
static int promote(struct ns *o, const struct inode *in, struct ns_edit *e)
{
    struct vt_scan sc;
    struct vt_val val;
    const uint8_t *key;
    uint8_t prefix[8];
    int r = 0;

    e->set |= NS_PARENT;
    e->parent = e->parent_hash = 0;
    if (S_ISDIR(in->mode) || in->nlink <= 1 || BROKEN(VARVE_BREAK_link_promote))
        return 0;
    put_be64(prefix, in->ino);
    vt_scan_init(&sc, &o->t, KEEP_PENDING, o->at, TAB_LINK, prefix, 8);
    r = vt_scan_next(&sc, &key, &val);
    if (r <= 0)
        return r < 0 ? r : -E_CORRUPT;
    e->parent = get_be64(key + 8);
    e->parent_hash = get_be64(key + 16);
    return link_del(o, in->ino, e->parent, e->parent_hash);
}

int ns_link_drop(struct ns *o, const struct inode *in, uint64_t dir, uint64_t hash)
{
    bool is_dir = S_ISDIR(in->mode);
    struct ns_edit e = {
        .set = NS_CTIME, .more.links = is_dir ? -(int32_t)in->nlink : -1, .ctime = *ns_time(o)};
    int r;

    assert(in->nlink > 0);
    r = is_parent(in, dir, hash) ? promote(o, in, &e) : link_del(o, in->ino, dir, hash);
    if (r < 0)
        return r;
    if ((is_dir || in->nlink == 1) && !BROKEN(VARVE_BREAK_orphan_list)) {
        r = ns_orphan_put(o, in->ino);
        if (r < 0)
            return r;
    }
    return ns_edit(o, in->ino, &e, NULL);
}

int ns_link_move(struct ns *o, const struct inode *in, uint64_t dir, uint64_t hash, uint64_t to_dir,
                 uint64_t to_hash)
{
    struct ns_edit e = {.set = NS_CTIME, .ctime = *ns_time(o)};
    int r;

    if (is_parent(in, dir, hash)) {
        e.set |= NS_PARENT;
        e.parent = to_dir;
        e.parent_hash = to_hash;
        return ns_edit(o, in->ino, &e, NULL);
    }
    r = link_del(o, in->ino, dir, hash);
    if (r == 0)
        r = link_put(o, in->ino, to_dir, to_hash);
    return r < 0 ? r : ns_edit(o, in->ino, &e, NULL);
}

int ns_orphan_put(struct ns *o, uint64_t ino)
{
    uint8_t key[8];

    room_orphan(o->v);
    put_be64(key, ino);
    return vt_put(&o->t, KEEP_FIRM, (struct txn_owner){0}, o->to, TAB_ORPHAN, key, "", 0);
}

int ns_orphan_del(struct ns *o, uint64_t ino)
{
    uint8_t key[8];

    put_be64(key, ino);
    return vt_del(&o->t, KEEP_FIRM, (struct txn_owner){0}, o->to, TAB_ORPHAN, key);
}

int ns_orphan_is(struct ns *o, uint64_t ino)
{
    struct vt_val val;
    uint8_t key[8];

    put_be64(key, ino);
    return vt_get(&o->t, KEEP_PENDING, o->at, TAB_ORPHAN, key, &val);
}
