#include <sys/stat.h>

#include "base/log.h"
#include "snap/ns.h"

int vfs_place(struct vol *v, vfs_node n, struct vfs_place *ret)
{
    struct ns o;
    uint64_t ino;
    int r = ns_read(v, n, &o, &ino);

    if (r < 0)
        return r;
    *ret = (struct vfs_place){.at = o.at, .ino = ino, .live = o.live};
    return ns_end(&o, 0);
}

static int lookup(struct ns *o, uint64_t dir, const struct ns_name *name, struct vfs_attr *ret)
{
    struct inode in;
    struct ns_dirent e;
    int r = ns_dirent_find(o, dir, name, &e);

    if (r == -E_NOENT) { /* is it a directory at all? A name that was found says so itself. */
        int dr = ns_dir_inode(o, dir, false, &in);

        return dr < 0 ? dr : r;
    }
    if (r < 0)
        return r;
    r = ns_inode(o, e.ino, &in);
    if (r == -E_STALE)
        return log_err(-E_CORRUPT, "snap", "dir=%llu names ino=%llu, which is not there",
                       (unsigned long long)dir, (unsigned long long)e.ino);
    if (r == 0)
        ns_attr(o, &in, ret);
    return r;
}

int vfs_lookup(struct vol *v, vfs_node dir, const char *name, struct vfs_attr *ret)
{
    struct ns_name nm;
    struct ns o;
    uint64_t ino;
    int r = ns_name_init(name, &nm);

    if (r < 0)
        return r;
    r = ns_read(v, dir, &o, &ino);
    if (r < 0)
        return r;
    return ns_end(&o, lookup(&o, ino, &nm, ret));
}

int vfs_getattr(struct vol *v, vfs_node n, struct vfs_attr *ret)
{
    struct inode in;
    struct ns o;
    uint64_t ino;
    int r = ns_read(v, n, &o, &ino);

    if (r < 0)
        return r;
    r = ns_inode(&o, ino, &in);
    if (r == 0)
        ns_attr(&o, &in, ret);
    return ns_end(&o, r);
}

int vfs_parent(struct vol *v, vfs_node dir, vfs_node *ret)
{
    struct inode in;
    struct ns o;
    uint64_t ino;
    int r = ns_read(v, dir, &o, &ino);

    if (r < 0)
        return r;
    r = ns_dir_inode(&o, ino, false, &in);
    if (r == 0 && (ino == INO_ROOT || (!o.live && ino == o.view_dir))) {
        *ret = dir;
    } else if (r == 0 && in.parent == 0) {
        r = -E_NOENT; /* a removed directory has none */
    } else if (r == 0) {
        bool root = o.live && in.parent == INO_ROOT;

        *ret = root ? (vfs_node){INO_ROOT} : vfs_node_make(o.view, in.parent);
    }
    return ns_end(&o, r);
}

/* Blocks and files of the quota, where there is one, else of the filesystem below. */
static void statfs_fill(const struct vol *v, const struct store_state *st, struct statvfs *ret)
{
    uint64_t disk_free = st->disk_free / BLOCK_SIZE, used = vol_used_blocks(v);
    uint64_t limit = v->rec.size_limit / BLOCK_SIZE, ilimit = v->rec.inode_limit;

    *ret = (struct statvfs){.f_bsize = BLOCK_SIZE, .f_frsize = BLOCK_SIZE, .f_namemax = NAME_LEN_MAX};
    if (limit != 0) {
        ret->f_blocks = limit;
        ret->f_bfree = limit > used ? limit - used : 0;
    } else {
        ret->f_blocks = st->disk_total / BLOCK_SIZE;
        ret->f_bfree = disk_free;
    }
    ret->f_bavail = MIN_OF(ret->f_bfree, disk_free);
    if (ilimit == 0)
        ilimit = MAX_OF((uint64_t)UINT32_MAX, v->stat.inodes * 2);
    ret->f_files = ilimit;
    ret->f_ffree = ilimit > v->stat.inodes ? ilimit - v->stat.inodes : 0;
    ret->f_favail = ret->f_ffree;
}

int vfs_statfs(struct vol *v, struct statvfs *ret)
{
    struct store_state st;
    struct txn t;
    int r;

    store_get_state(v->store, &st);
    r = txn_begin(v->store, TXN_READ, OP_NONE, v, &t);
    if (r < 0)
        return r;
    statfs_fill(v, &st, ret);
    txn_abort(&t);
    return 0;
}
