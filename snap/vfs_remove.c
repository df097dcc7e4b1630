#include <sys/stat.h>

#include "snap/ns.h"
#include "snap/store/object.h"
#include "snap/store/ilock.h"

#define ORPHAN_BATCH 64
#define ORPHAN_PUTS 128u /* in one transaction, before the last inode of it */

/* What a name stood for when it was looked up before the locks were taken, and in which state of the store. */
static int resolve(struct vol *v, vfs_node dir, const struct ns_name *name, struct ns_dirent *ret,
                   uint64_t *ret_state)
{
    struct inode in;
    struct ns o;
    uint64_t ino;
    int r = ns_read(v, dir, &o, &ino);

    if (r < 0)
        return r;
    if (!o.live) {
        ns_end(&o, 0);
        r = ns_changeable(v, dir);
        return r < 0 ? r : -E_AGAIN;
    }
    *ret_state = txn_state(&o.t);
    r = ns_dirent_find(&o, ino, name, ret);
    if (r == -E_NOENT) {
        int dr = ns_dir_inode(&o, ino, false, &in);

        r = dr < 0 ? dr : r;
    }
    return ns_end(&o, r);
}

static int unlink_in(struct ns *o, uint64_t dir, const struct ns_name *name, const struct ns_dirent *seen,
                     uint64_t state)
{
    struct ns_dirent e = *seen;
    struct inode in;
    int r = txn_state(&o->t) == state ? 0 : ns_dirent_find(o, dir, name, &e);

    if (r < 0)
        return r;
    if (e.ino != seen->ino)
        return -E_AGAIN;
    r = ns_inode(o, e.ino, &in);
    if (r < 0)
        return r == -E_STALE ? -E_CORRUPT : r;
    if (S_ISDIR(in.mode))
        return -E_ISDIR;
    r = ns_dirent_del(o, dir, e.hash);
    if (r == 0)
        r = ns_link_drop(o, &in, dir, e.hash);
    return r < 0 ? r : ns_edit_dir(o, dir, 0);
}

static int unlink_once(struct vol *v, const struct vfs_ctx *c, vfs_node dir, const struct ns_name *name)
{
    cleanup(ilock_drop) struct ilock lock = {0};
    struct ns_dirent e;
    struct ns o;
    uint64_t dir_ino, state;
    int r = resolve(v, dir, name, &e, &state);

    if (r < 0)
        return r;
    ilock_take(v->store, &lock, v->rec.id, &e.ino, 1, true);
    r = ns_change(v, c, OP_UNLINK, dir, &o, &dir_ino);
    return r < 0 ? r : ns_end(&o, unlink_in(&o, dir_ino, name, &e, state));
}

int vfs_unlink(struct vol *v, const struct vfs_ctx *c, vfs_node dir, const char *name)
{
    struct ns_name nm;
    int r = ns_name_init(name, &nm);

    if (r < 0)
        return r;
    r = -E_AGAIN;
    for (int i = 0; r == -E_AGAIN && i < NS_TRIES; i++)
        r = unlink_once(v, c, dir, &nm);
    if (BROKEN(VARVE_BREAK_orphan_now) && r == 0)
        (void)vfs_orphans_drop_all(v);
    return r;
}

static int rmdir_in(struct ns *o, uint64_t dir, const struct ns_name *name)
{
    struct inode in, up;
    struct ns_dirent e;
    int r = ns_dir_inode(o, dir, false, &up);

    if (r == 0)
        r = ns_dirent_find(o, dir, name, &e);
    if (r < 0)
        return r;
    r = ns_dir_inode(o, e.ino, false, &in);
    if (r < 0)
        return r == -E_STALE ? -E_CORRUPT : r;
    r = ns_dir_empty(o, e.ino);
    if (r == 0)
        r = ns_dirent_del(o, dir, e.hash);
    if (r == 0)
        r = ns_link_drop(o, &in, dir, e.hash);
    return r < 0 ? r : ns_edit_dir(o, dir, -1);
}

int vfs_rmdir(struct vol *v, const struct vfs_ctx *c, vfs_node dir, const char *name)
{
    struct ns_name nm;
    struct ns o;
    uint64_t dir_ino;
    int r = ns_name_init(name, &nm);

    if (r < 0)
        return r;
    r = ns_change(v, c, OP_RMDIR, dir, &o, &dir_ino);
    return r < 0 ? r : ns_end(&o, rmdir_in(&o, dir_ino, &nm));
}

/* 1: it has more records than one transaction should take away. */
static int orphan_in(struct ns *o, uint64_t ino)
{
    int r = ns_orphan_is(o, ino);

    if (r == -E_NOENT && !BROKEN(VARVE_BREAK_orphan_linked)) /* it was linked again, or is freed already */
        return 0;
    if (r == 0 || BROKEN(VARVE_BREAK_orphan_linked))
        r = inode_drop(&o->t, o->v, o->to, ino);
    return r == 0 ? ns_orphan_del(o, ino) : r;
}

/* One transaction: how many of them are freed. */
static int orphans_step(struct vol *v, const uint64_t *inos, int n)
{
    cleanup(ilock_drop) struct ilock lock = {0};
    struct ns o;
    uint64_t root;
    int r, done = 0;

    ilock_take(v->store, &lock, v->rec.id, inos, n, true);
    r = ns_change(v, NULL, OP_RECLAIM, (vfs_node){INO_ROOT}, &o, &root);
    if (r < 0)
        return r;
    while (r == 0 && done < n && o.t.nputs < ORPHAN_PUTS) {
        r = orphan_in(&o, inos[done]);
        done += r == 0;
    }
    r = ns_end(&o, MIN_OF(r, 0));
    if (r == -E_AGAIN && n == 1) /* a snapshot sees bytes of it that are not on disk yet */
        r = file_make_firm_ino(v, o.to.branch, inos[0]);
    return r < 0 ? r : done;
}

int vfs_orphans_drop(struct vol *v, const uint64_t *inos, size_t n)
{
    size_t most = ILOCK_MAX;
    int first = 0;

    for (size_t at = 0; at < n;) {
        int r = orphans_step(v, inos + at, (int)MIN_OF(n - at, most));

        if (r >= 0) {
            at += (size_t)r;
        } else if (most > 1 && !BROKEN(VARVE_BREAK_orphans_singly)) {
            most = 1; /* one of them is not as the others */
        } else {
            first = first < 0 ? first : r;
            at++;
        }
    }
    return first;
}

/* Orphans after the given one, at most n. Returns how many. */
static int orphans_get(struct vol *v, uint64_t after, uint64_t *inos, int n)
{
    struct vt_scan sc;
    struct vt_val val;
    const uint8_t *key;
    struct ns o;
    uint64_t root;
    uint8_t from[8];
    int count = 0, r = ns_read(v, (vfs_node){INO_ROOT}, &o, &root);

    if (r < 0)
        return r;
    put_be64(from, after + 1);
    vt_scan_init(&sc, &o.t, KEEP_PENDING, o.at, TAB_ORPHAN, from, 0);
    vt_scan_from(&sc, from, sizeof(from));
    while (count < n && (r = vt_scan_next(&sc, &key, &val)) == 1)
        inos[count++] = get_be64(key);
    return ns_end(&o, r < 0 ? r : count);
}

int vfs_orphans_each(struct vol *v, int (*cb)(void *arg, uint64_t ino), void *arg)
{
    uint64_t inos[ORPHAN_BATCH], after = 0;

    for (;;) {
        int n = orphans_get(v, after, inos, ORPHAN_BATCH);

        if (n <= 0)
            return n;
        for (int i = 0; i < n; i++) {
            int r = cb(arg, inos[i]);

            if (r != 0)
                return r;
        }
        after = inos[n - 1];
    }
}

int vfs_orphans_drop_all(struct vol *v)
{
    uint64_t inos[ORPHAN_BATCH], after = 0;

    for (;;) {
        int n = orphans_get(v, after, inos, ORPHAN_BATCH),
            r = n > 0 ? vfs_orphans_drop(v, inos, (size_t)n) : n;

        if (n <= 0 || r < 0)
            return r;
        after = inos[n - 1];
    }
}
