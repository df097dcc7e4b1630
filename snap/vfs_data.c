/* Bytes: which inode and place a node means; the rest is snap/store/file. */
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snap/idle.h"
#include "snap/ns.h"
#include "snap/store/cold.h"
#include "snap/store/room.h"

/* Where a node's bytes lie, and that it is a regular file. */
static int find_file(struct vol *v, vfs_node n, struct vfs_place *ret)
{
    struct inode in;
    struct ns o;
    uint64_t ino;
    int r = ns_read(v, n, &o, &ino);

    if (r < 0)
        return r;
    r = ns_inode(&o, ino, &in);
    if (r == 0 && !S_ISREG(in.mode))
        r = S_ISDIR(in.mode) ? -E_ISDIR : -E_INVAL;
    if (r == 0)
        *ret = (struct vfs_place){.at = o.at, .ino = ino, .live = o.live};
    return ns_end(&o, r);
}

/* The same without a look at the inode, of what lies in the live tree. */
static bool live_place(struct vol *v, vfs_node n, struct vfs_place *ret)
{
    uint32_t branch;

    if (vfs_node_ino(n) == 0 || !vol_live(v, vfs_node_view(n), &branch))
        return false;
    *ret = (struct vfs_place){.at = {branch, LAYER_NOW}, .ino = vfs_node_ino(n), .live = true};
    return true;
}

/* The same for changing it. */
static int find_to_change(struct vol *v, vfs_node n, uint64_t *ret_ino, struct file_req *rq)
{
    struct vfs_place p;
    int r;

    *ret_ino = vfs_node_ino(n);
    if (live_place(v, n, &p)) { /* what else there is to say is said where it is changed */
        rq->branch = p.at.branch;
        return 0;
    }
    r = find_file(v, n, &p);
    if (r == 0)
        r = ns_changeable(v, n);
    if (r == 0) {
        *ret_ino = p.ino;
        rq->branch = p.at.branch;
    }
    return r;
}

/* What was read at a place is good only if that was there to the end: the records of a snapshot that is deleted go away one by
 * one, and only after its view is gone. */
static int still_there(struct vol *v, vfs_node n, const struct vfs_place *at, int r)
{
    struct vfs_place now;
    int e = at->live ? 0 : vfs_place(v, n, &now);

    return e < 0 ? e : r;
}

/* The inode went away between looking and doing. */
static int gone(int r)
{
    return r == -E_NOENT ? -E_STALE : r;
}

static struct file_req request(const struct vfs_ctx *c, bool kill_priv)
{
    if (c == NULL)
        return (struct file_req){.kill_priv = kill_priv};
    return (struct file_req){
        .conn = c->conn, .unique = c->unique, .keep_times = c->kernel_times, .kill_priv = kill_priv};
}

int vfs_read(struct vol *v, vfs_node n, void *p, size_t len, uint64_t off, size_t *ret_len)
{
    uint64_t brought = cold_brought;
    struct vfs_place at;
    int r = live_place(v, n, &at) ? 0 : vfs_place(v, n, &at);

    if (r == 0)
        r = still_there(v, n, &at, gone(file_read_regular(v, at.at, at.ino, p, len, off, ret_len)));
    if (r == 0 && at.live)
        idle_note(v, at.ino, cold_brought != brought);
    return r;
}

int vfs_write(struct vol *v, const struct vfs_ctx *c, vfs_node n, const void *p, size_t len, uint64_t off,
              bool kill_priv)
{
    struct file_req rq = request(c, kill_priv);
    struct room room = {0};
    uint64_t ino = 0;
    int r = find_to_change(v, n, &ino, &rq);

    if (r < 0)
        return r;
    do
        r = file_write(v, &rq, ino, p, len, off, NULL);
    while (room_await(v, r, &room));
    return gone(r);
}

static int alloc_mode(int mode, enum file_alloc *ret)
{
    switch (mode) {
    case 0: *ret = FILE_ALLOCATE; return 0;
    case FALLOC_FL_KEEP_SIZE: *ret = FILE_ALLOCATE_KEEP; return 0;
    case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE: *ret = FILE_PUNCH; return 0;
    case FALLOC_FL_ZERO_RANGE: *ret = FILE_ZERO; return 0;
    case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE: *ret = FILE_ZERO_KEEP; return 0;
    default: return -E_NOTSUP;
    }
}

/* The kernel does not say whether the caller may keep suid bits: only root does. */
static bool kills_priv(const struct vfs_ctx *c)
{
    return c != NULL && c->uid != 0;
}

int vfs_fallocate(struct vol *v, const struct vfs_ctx *c, vfs_node n, int mode, uint64_t off, uint64_t len)
{
    struct file_req rq = request(c, kills_priv(c));
    struct room room = {0};
    enum file_alloc what;
    uint64_t ino = 0;
    int r = alloc_mode(mode, &what);

    if (r < 0)
        return r;
    if (len == 0)
        return -E_INVAL;
    r = find_to_change(v, n, &ino, &rq);
    if (r < 0)
        return r;
    do
        r = file_allocate(v, &rq, ino, what, off, len);
    while (room_await(v, r, &room));
    return gone(r);
}

int vfs_seek(struct vol *v, vfs_node n, int whence, uint64_t off, uint64_t *ret)
{
    struct vfs_place at;
    int r;

    if (whence != SEEK_DATA && whence != SEEK_HOLE)
        return -E_INVAL;
    r = find_file(v, n, &at);
    if (r < 0)
        return r;
    return still_there(v, n, &at, gone(file_seek(v, at.at, at.ino, whence == SEEK_HOLE, off, ret)));
}

int vfs_copy(struct vol *v, const struct vfs_ctx *c, vfs_node src, uint64_t src_off, vfs_node dst,
             uint64_t dst_off, uint64_t len, uint64_t *ret_len)
{
    struct file_req rq = request(c, kills_priv(c));
    struct room room = {0};
    struct vfs_place from;
    uint64_t ino = 0;
    int r = find_file(v, src, &from);

    if (r == 0)
        r = find_to_change(v, dst, &ino, &rq);
    if (r < 0)
        return r;
    do
        r = file_copy(v, &rq, from.at, from.ino, src_off, ino, dst_off, len, ret_len);
    while (room_await(v, r, &room));
    return still_there(v, src, &from, gone(r));
}

int vfs_fsync(struct vol *v, vfs_node n)
{
    struct vfs_place at;
    struct inode in;
    struct ns o;
    uint64_t ino;
    int r = ns_read(v, n, &o, &ino);

    if (r < 0)
        return r;
    r = ns_inode(&o, ino, &in);
    at = (struct vfs_place){.at = o.at, .ino = ino, .live = o.live};
    r = ns_end(&o, r);
    if (r < 0)
        return r;
    /* a snapshot's files are synced with the snapshot */
    return gone(file_sync(v, at.live && S_ISREG(in.mode) ? at.ino : 0));
}
