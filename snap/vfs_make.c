#include <sys/stat.h>

#include "snap/ns.h"
#include "snap/store/ilock.h"
#include "snap/store/room.h"

/* The parts that every new name has: the slot in the directory, the dirent, the directory's times and links. */
struct make {
    struct ns_name name;
    struct inode dir;
    uint64_t hash;
};

static int make_begin(struct ns *o, uint64_t dir, const char *name, struct make *m)
{
    int r = ns_name_init(name, &m->name);

    if (r == 0)
        r = ns_dir_inode(o, dir, true, &m->dir);
    if (r == 0)
        r = ns_dirent_slot(o, dir, &m->name, &m->hash);
    return r;
}

static int make_end(struct ns *o, const struct make *m, struct inode *in)
{
    int r;

    in->parent = m->dir.ino;
    in->parent_hash = m->hash;
    r = ns_dirent_put(o, m->dir.ino, m->hash, in->ino, in->mode, &m->name);
    if (r == 0)
        r = ns_new_put(o, in);
    if (r == 0)
        r = ns_edit_dir(o, m->dir.ino, S_ISDIR(in->mode) ? 1 : 0);
    return r;
}

static bool kind_known(uint32_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFIFO:
    case S_IFSOCK:
    case S_IFCHR:
    case S_IFBLK: return true;
    default: return false;
    }
}

static enum op_kind op_of(uint32_t mode)
{
    if (S_ISDIR(mode))
        return OP_MKDIR;
    return S_ISREG(mode) ? OP_CREATE : OP_MKNOD;
}

static int mknod_in(struct ns *o, uint64_t dir, const char *name, uint32_t mode, uint64_t rdev,
                    struct inode *in)
{
    struct make m;
    int r = make_begin(o, dir, name, &m);

    if (r < 0)
        return r;
    if (S_ISDIR(mode) && m.dir.nlink >= NS_LINK_MAX)
        return -E_MLINK;
    r = ns_new(o, &m.dir, mode, rdev, 0, in);
    return r < 0 ? r : make_end(o, &m, in);
}

static int mknod_once(struct vol *v, const struct vfs_ctx *c, vfs_node dir, const char *name, uint32_t mode,
                      uint64_t rdev, struct vfs_attr *ret)
{
    struct inode in;
    struct ns o;
    uint64_t dir_ino;
    int r = ns_change(v, c, op_of(mode), dir, &o, &dir_ino);

    if (r < 0)
        return r;
    r = ns_end(&o, mknod_in(&o, dir_ino, name, mode & (S_IFMT | 07777), rdev, &in));
    if (r == 0 && ret != NULL)
        ns_attr(&o, &in, ret);
    return r;
}

int vfs_mknod(struct vol *v, const struct vfs_ctx *c, vfs_node dir, const char *name, uint32_t mode,
              uint64_t rdev, struct vfs_attr *ret)
{
    struct room room = {0};
    int r;

    if (!kind_known(mode))
        return -E_INVAL;
    do
        r = mknod_once(v, c, dir, name, mode, rdev, ret);
    while (room_await(v, r, &room));
    return r;
}

static int target_put(struct ns *o, uint64_t ino, const char *target, size_t len)
{
    uint8_t key[10];
    int r = 0;

    for (size_t at = 0; r == 0 && at < len; at += PIECE_SIZE) {
        put_be64(key, ino);
        put_be16(key + 8, (uint16_t)(at / PIECE_SIZE));
        r = vt_put(&o->t, KEEP_FIRM, (struct txn_owner){0}, o->to, TAB_DATA, key, target + at,
                   MIN_OF(len - at, (size_t)PIECE_SIZE));
    }
    return r;
}

static int symlink_in(struct ns *o, uint64_t dir, const char *name, const char *target, struct inode *in)
{
    size_t len = strlen(target);
    struct make m;
    int r = make_begin(o, dir, name, &m);

    if (r < 0)
        return r;
    r = ns_new(o, &m.dir, S_IFLNK | 0777, 0, 1, in);
    if (r < 0)
        return r;
    in->size = len;
    in->flags |= INODE_INLINE;
    r = target_put(o, in->ino, target, len);
    return r < 0 ? r : make_end(o, &m, in);
}

static int symlink_once(struct vol *v, const struct vfs_ctx *c, vfs_node dir, const char *name,
                        const char *target, struct vfs_attr *ret)
{
    struct inode in;
    struct ns o;
    uint64_t dir_ino;
    int r = ns_change(v, c, OP_SYMLINK, dir, &o, &dir_ino);

    if (r < 0)
        return r;
    r = ns_end(&o, symlink_in(&o, dir_ino, name, target, &in));
    if (r == 0 && ret != NULL)
        ns_attr(&o, &in, ret);
    return r;
}

int vfs_symlink(struct vol *v, const struct vfs_ctx *c, vfs_node dir, const char *name, const char *target,
                struct vfs_attr *ret)
{
    size_t len = strlen(target);
    struct room room = {0};
    int r;

    if (len == 0)
        return -E_NOENT;
    if (len > NS_SYMLINK_MAX)
        return -E_NAMETOOLONG;
    do
        r = symlink_once(v, c, dir, name, target, ret);
    while (room_await(v, r, &room));
    return r;
}

static int readlink_in(struct ns *o, uint64_t ino, struct buf *ret)
{
    struct vt_scan sc;
    struct vt_val val;
    const uint8_t *key;
    struct inode in;
    uint8_t prefix[8];
    size_t was = ret->len;
    int r = ns_inode(o, ino, &in);

    if (r < 0)
        return r;
    if (!S_ISLNK(in.mode))
        return -E_INVAL;
    put_be64(prefix, ino);
    vt_scan_init(&sc, &o->t, KEEP_PENDING, o->at, TAB_DATA, prefix, sizeof(prefix));
    while ((r = vt_scan_next(&sc, &key, &val)) == 1) {
        r = buf_add(ret, val.data, val.len);
        if (r < 0)
            return r;
    }
    if (r == 0 && ret->len - was != in.size)
        r = -E_CORRUPT;
    if (r == 0 && buf_cstr(ret) == NULL)
        r = -E_NOMEM;
    if (r < 0)
        ret->len = was;
    return r;
}

int vfs_readlink(struct vol *v, vfs_node n, struct buf *ret)
{
    struct ns o;
    uint64_t ino;
    int r = ns_read(v, n, &o, &ino);

    return r < 0 ? r : ns_end(&o, readlink_in(&o, ino, ret));
}

static int tmpfile_in(struct ns *o, uint64_t dir, uint32_t mode, struct inode *in)
{
    struct inode d;
    int r = ns_dir_inode(o, dir, true, &d);

    if (r == 0)
        r = ns_new(o, &d, mode, 0, 0, in);
    if (r < 0)
        return r;
    in->nlink = 0;
    r = ns_new_put(o, in);
    return r < 0 ? r : ns_orphan_put(o, in->ino);
}

int vfs_tmpfile(struct vol *v, const struct vfs_ctx *c, vfs_node dir, uint32_t mode, struct vfs_attr *ret)
{
    struct inode in;
    struct ns o;
    uint64_t dir_ino;
    int r = ns_change(v, c, OP_TMPFILE, dir, &o, &dir_ino);

    if (r < 0)
        return r;
    r = ns_end(&o, tmpfile_in(&o, dir_ino, S_IFREG | (mode & 07777), &in));
    if (r == 0 && ret != NULL)
        ns_attr(&o, &in, ret);
    return r;
}

static int link_in(struct ns *o, uint64_t ino, uint64_t dir, const char *name, struct inode *ret)
{
    struct inode in;
    struct make m;
    int r = ns_inode(o, ino, &in);

    if (r == 0 && S_ISDIR(in.mode))
        r = -E_PERM;
    if (r == 0)
        r = make_begin(o, dir, name, &m);
    if (r == 0)
        r = ns_dirent_put(o, dir, m.hash, ino, in.mode, &m.name);
    if (r == 0)
        r = ns_link_add(o, &in, dir, m.hash);
    if (r == 0)
        r = ns_edit_dir(o, dir, 0);
    return r < 0 ? r : ns_inode(o, ino, ret);
}

static int link_once(struct vol *v, const struct vfs_ctx *c, vfs_node n, vfs_node dir, const char *name,
                     struct vfs_attr *ret)
{
    uint64_t ino = vfs_node_ino(n), dir_ino;
    cleanup(ilock_drop) struct ilock lock = {0};
    struct inode in;
    struct ns o;
    int r = ns_both_live(v, n, dir);

    if (r < 0)
        return r;
    ilock_take(v->store, &lock, v->rec.id, &ino, 1, true);
    r = file_settle_locked(v, ino); /* F1: a name of its own must not be firm before the bytes are */
    if (r < 0)
        return r == -E_NOENT ? -E_STALE : r;
    r = ns_change(v, c, OP_LINK, dir, &o, &dir_ino);
    if (r < 0)
        return r;
    r = ns_end(&o, ns_holds(&o, n) ? link_in(&o, ino, dir_ino, name, &in) : -E_STALE);
    if (r == 0 && ret != NULL)
        ns_attr(&o, &in, ret);
    return r;
}

int vfs_link(struct vol *v, const struct vfs_ctx *c, vfs_node n, vfs_node dir, const char *name,
             struct vfs_attr *ret)
{
    struct room room = {0};
    int r;

    do
        r = link_once(v, c, n, dir, name, ret);
    while (room_await(v, r, &room));
    return r;
}
