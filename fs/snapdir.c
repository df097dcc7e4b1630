#include "fs/snapdir.h"

#include <stdlib.h>

#include "fs/snapctl.h"
#include "snap/snapshot.h"

#define NODE_VIEW_NAMES 0xfffffdu /* st_ino shown by readdir for names not entered yet */
#define COOKIE_CONTROL 3u
#define COOKIE_NAMES 16u

struct snapdir {
    struct snapctl *ctl;
};

static fuse_ino_t control_id(void)
{
    return vfs_node_make(NODE_VIEW_CONTROL, 1).v;
}

static bool is_snapdir(fuse_ino_t ino)
{
    return vfs_node_view((vfs_node){ino}) == NODE_VIEW_SNAPDIR;
}

static bool is_control(fuse_ino_t ino)
{
    return vfs_node_view((vfs_node){ino}) == NODE_VIEW_CONTROL;
}

/* Owner and group of the volume's root decide who does what. */
static int owner(struct session *ss, struct snapctl_owner *ret)
{
    struct vfs_attr root;
    int r = vfs_getattr(ss->vol, (vfs_node){FUSE_ROOT_ID}, &root);

    if (r < 0)
        return r;
    ret->uid = root.uid;
    ret->gid = ss->opts.has_control_gid ? ss->opts.control_gid : root.gid;
    ret->group_writes = ss->opts.has_control_gid;
    return 0;
}

static bool may_snapshot(const struct session *ss)
{
    return ss->opts.control == CONTROL_ADMIN || ss->opts.control == CONTROL_SNAPSHOT;
}

static int stat_dir(struct session *ss, fuse_ino_t ino, struct stat *ret)
{
    struct snapctl_owner own;
    int64_t ns = snap_list_mtime_ns(ss->vol);
    struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    int r = owner(ss, &own);

    if (r < 0)
        return r;
    *ret = (struct stat){.st_ino = ino, .st_mode = S_IFDIR | 0555, .st_nlink = 2, .st_blksize = 4096};
    if (may_snapshot(ss))
        ret->st_mode |= own.group_writes ? 0220 : 0200;
    ret->st_uid = own.uid;
    ret->st_gid = own.gid;
    ret->st_atim = ret->st_mtim = ret->st_ctim = t;
    return 0;
}

int snapdir_enter(struct session *ss, vfs_node dir, struct fuse_entry_param *ret)
{
    fuse_ino_t ino = vfs_node_make(NODE_VIEW_SNAPDIR, vfs_node_ino(dir)).v;
    struct vfs_place place;
    int r;

    if (ss->opts.snapdir == SNAPDIR_DISABLED)
        return -E_NOENT;
    r = vfs_place(ss->vol, dir, &place);
    if (r < 0)
        return r;
    if (!place.live)
        return -E_NOENT;
    *ret = (struct fuse_entry_param){.ino = ino, .generation = 1, .entry_timeout = OP_FOREVER};
    return stat_dir(ss, ino, &ret->attr);
}

/* The view of D as of a snapshot, by its name or a time. */
static int enter_view(struct session *ss, fuse_ino_t dir, const char *name, struct fuse_entry_param *ret)
{
    struct layer_rec rec;
    struct vfs_attr a;
    vfs_node root;
    int r = snap_find(ss->vol, name, &rec);

    if (r < 0)
        return r == -E_INVAL || r == -E_NAME ? -E_NOENT : r;
    r = view_enter(ss->vol, rec.name, vfs_node_ino((vfs_node){dir}), &root, &a);
    if (r < 0)
        return r;
    op_entry(ss, &a, ret);
    ret->entry_timeout = 0;
    return 0;
}

int snapdir_lookup(struct session *ss, fuse_ino_t dir, const char *name, struct fuse_entry_param *ret)
{
    struct snapctl_owner own;
    bool dot = strcmp(name, ".") == 0;
    int r;

    if (dot || strcmp(name, "..") == 0) {
        *ret = (struct fuse_entry_param){.ino = dir, .generation = 1};
        return dot ? snapdir_getattr(ss, dir, &ret->attr) : -E_STALE;
    }
    if (is_snapdir(dir) && (strcmp(name, SNAPDIR_CONTROL) != 0 || vfs_node_ino((vfs_node){dir}) != INO_ROOT))
        return name[0] == '.' ? -E_NOENT : enter_view(ss, dir, name, ret);
    if (!snapctl_is_there(ss->snapdir->ctl))
        return -E_NOENT;
    r = owner(ss, &own);
    return r < 0 ? r : snapctl_lookup(ss->snapdir->ctl, &own, dir, is_snapdir(dir) ? NULL : name, ret);
}

void snapdir_forget(struct session *ss, fuse_ino_t ino, uint64_t count)
{
    if (is_control(ino) && !BROKEN(VARVE_BREAK_texts_kept))
        snapctl_forget(ss->snapdir->ctl, ino, count);
}

int snapdir_getattr(struct session *ss, fuse_ino_t ino, struct stat *ret)
{
    struct snapctl_owner own;
    int r;

    if (is_snapdir(ino))
        return stat_dir(ss, ino, ret);
    r = owner(ss, &own);
    return r < 0 ? r : snapctl_getattr(ss->snapdir->ctl, &own, ino, ret);
}

int snapdir_setattr(struct session *ss, fuse_ino_t ino, const struct vfs_setattr *set, struct stat *ret)
{
    int r;

    if (!is_control(ino) || !(set->set & VFS_SIZE))
        return -E_PERM;
    r = snapctl_truncate(ss->snapdir->ctl, ino, set->size);
    return r < 0 ? r : snapdir_getattr(ss, ino, ret);
}

/* --- verbs ----------------------------------------------------------------------------------------------------------------- */

static int may_change(const struct session *ss, fuse_ino_t dir, const char *name)
{
    if (!is_snapdir(dir))
        return -E_ROFS;
    if (!may_snapshot(ss))
        return -E_PERM;
    return strcmp(name, SNAPDIR_CONTROL) == 0 ? -E_PERM : 0;
}

int snapdir_mkdir(struct session *ss, const struct vfs_ctx *c, fuse_ino_t dir, const char *name,
                  struct fuse_entry_param *ret)
{
    int r = may_change(ss, dir, name);

    if (r == 0)
        r = verb_snap_create(ss->env, ss->vol, c, name, NULL);
    snapctl_refused(ss->snapdir->ctl, c, "mkdir", name, r);
    return r < 0 ? r : enter_view(ss, dir, name, ret);
}

int snapdir_rmdir(struct session *ss, const struct vfs_ctx *c, fuse_ino_t dir, const char *name)
{
    int r = may_change(ss, dir, name);

    if (r == 0)
        r = verb_snap_delete(ss->env, ss->vol, c, name);
    return snapctl_refused(ss->snapdir->ctl, c, "rmdir", name, r);
}

int snapdir_rename(struct session *ss, const struct vfs_ctx *c, fuse_ino_t dir, const char *name,
                   fuse_ino_t to_dir, const char *to, unsigned flags)
{
    int r;

    if (dir != to_dir)
        return -E_XDEV;
    if (flags & ~(unsigned)VFS_NOREPLACE)
        return -E_INVAL;
    r = may_change(ss, dir, name);
    if (r == 0)
        r = may_change(ss, dir, to);
    if (r == 0)
        r = verb_snap_rename(ss->env, ss->vol, c, name, to);
    return snapctl_refused(ss->snapdir->ctl, c, "mv", name, r);
}

/* --- listing ---------------------------------------------------------------------------------------------------------------- */

struct lister {
    uint64_t off;
    bool full;
    int (*cb)(void *arg, const struct vfs_dirent *d);
    void *arg;
};

static int list_one(struct lister *l, const char *name, uint64_t ino, uint64_t cookie)
{
    struct vfs_dirent d = {
        .name = name, .name_len = strlen(name), .ino = ino, .type = S_IFDIR, .cookie = cookie};

    if (cookie > l->off && !l->full)
        l->full = l->cb(l->arg, &d) != 0;
    return l->full;
}

static int list_snap(void *arg, const struct layer_rec *rec, const char *text, size_t text_len)
{
    struct lister *l = arg;

    (void)text;
    (void)text_len;
    return list_one(l, rec->name, vfs_node_make(NODE_VIEW_NAMES, rec->number).v, COOKIE_NAMES + rec->number);
}

int snapdir_readdir(struct session *ss, fuse_ino_t dir, uint64_t off,
                    int (*cb)(void *arg, const struct vfs_dirent *d), void *arg)
{
    struct lister l = {.off = off, .cb = cb, .arg = arg};
    int r;

    if (is_control(dir))
        return snapctl_readdir(ss->snapdir->ctl, dir, off, cb, arg);
    list_one(&l, ".", dir, 1);
    list_one(&l, "..", vfs_node_ino((vfs_node){dir}), 2);
    if (vfs_node_ino((vfs_node){dir}) == INO_ROOT && snapctl_is_there(ss->snapdir->ctl))
        list_one(&l, SNAPDIR_CONTROL, control_id(), COOKIE_CONTROL);
    r = l.full ? 0 : snap_each(ss->vol, list_snap, &l);
    return r < 0 ? r : 0;
}

bool snapdir_is_listed(const struct session *ss, fuse_ino_t dir)
{
    return dir == FUSE_ROOT_ID && (ss->opts.snapdir == SNAPDIR_VISIBLE || BROKEN(VARVE_BREAK_snapdir_listed));
}

int snapdir_list_self(struct session *ss, vfs_node dir, int (*cb)(void *arg, const struct vfs_dirent *d),
                      void *arg)
{
    struct lister l = {.cb = cb, .arg = arg};

    (void)ss;
    list_one(&l, SNAPDIR_NAME, vfs_node_make(NODE_VIEW_SNAPDIR, vfs_node_ino(dir)).v, SNAPDIR_COOKIE);
    return 0;
}

/* --- control files ------------------------------------------------------------------------------------------------------------- */

int snapdir_read(struct session *ss, fuse_ino_t ino, void *p, size_t len, uint64_t off, size_t *ret_len)
{
    return is_control(ino) ? snapctl_read(ss->snapdir->ctl, ino, p, len, off, ret_len) : -E_ISDIR;
}

int snapdir_write(struct session *ss, const struct vfs_ctx *c, uint32_t pid, fuse_ino_t ino, const void *p,
                  size_t len, uint64_t off)
{
    return is_control(ino) ? snapctl_write(ss->snapdir->ctl, c, pid, ino, p, len, off) : -E_ISDIR;
}

int snapdir_new(struct session *ss, struct snapdir **ret)
{
    struct snapdir *sd = calloc(1, sizeof(*sd));
    int r = sd ? snapctl_new(ss, &sd->ctl) : -E_NOMEM;

    if (r < 0) {
        free(sd);
        return r;
    }
    *ret = sd;
    return 0;
}

void snapdir_free(struct snapdir *sd)
{
    if (sd)
        snapctl_free(sd->ctl);
    free(sd);
}
