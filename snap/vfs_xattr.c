#include <sys/stat.h>
#include <sys/xattr.h>

#include "snap/ns.h"
#include "snap/store/ilock.h"
#include "snap/store/room.h"

static bool begins(const char *s, const char *with)
{
    return strncmp(s, with, strlen(with)) == 0;
}

static bool is_acl(const char *name)
{
    return strcmp(name, NS_ACL_ACCESS) == 0 || strcmp(name, NS_ACL_DEFAULT) == 0;
}

/* -E_RANGE, -E_NOTSUP (a namespace that is not ours), -E_PERM (reserved: set and remove only). */
static int check_name(const char *name, bool change)
{
    static const char *const spaces[] = {"user.", "trusted.", "security."};
    size_t len = strlen(name);

    if (len == 0 || len > NAME_LEN_MAX)
        return -E_RANGE;
    if (begins(name, NS_OWN_PREFIX))
        return change ? -E_PERM : -E_NODATA;
    if (is_acl(name))
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(spaces); i++)
        if (begins(name, spaces[i]))
            return len > strlen(spaces[i]) ? 0 : -E_INVAL;
    return -E_NOTSUP;
}

struct set {
    const char *name;
    const void *p;
    size_t len;
    int flags;
    bool kill_sgid;
    struct inode_more had; /* before it was set */
};

/* Attributes that live on the inode's own lock and transaction from here on. */
static int remove_in(struct ns *o, const struct inode *in, const char *name, struct ns_edit *e)
{
    int r = in->nxattr == 0 ? -E_NODATA : ns_xattr_del(o, in->ino, name, &e->more);

    if (r < 0)
        return r;
    e->flags_off |= ns_xattr_flag(name);
    return 0;
}

/* An ACL that is not there is no error to remove. */
static int remove_acl(struct ns *o, const struct inode *in, const char *name, struct ns_edit *e)
{
    return in->flags & ns_xattr_flag(name) ? remove_in(o, in, name, e) : 0;
}

/* What is there already may be more than an inode may have: from before that had a bound. It may stay, and become less. */
static int check_room(const struct set *s, const struct inode_more *had, const struct inode_more *by)
{
    bool user = begins(s->name, "user.");
    int64_t names = NS_XATTR_NAMES_MAX - (user ? NS_XATTR_NAMES_KEPT : 0);
    int64_t values = NS_XATTR_VALUES_MAX - (user ? NS_XATTR_VALUES_KEPT : 0);

    if (BROKEN(VARVE_BREAK_xattr_room))
        return 0;
    if ((by->names > 0 && had->names + by->names > names) ||
        (by->values > 0 && had->values + by->values > values))
        return -E_XATTR_ROOM;
    return 0;
}

static int store_in(struct ns *o, const struct inode *in, struct set *s, struct ns_edit *e)
{
    int r = 0;

    s->had = (struct inode_more){.names = (int64_t)in->xattr_names, .values = (int64_t)in->xattr_values};
    if (!inode_counted(in))
        r = ns_xattr_sum(o, in->ino, &s->had);
    if (r == 0)
        r = ns_xattr_set(o, in->ino, s->name, s->p, s->len, s->flags, &e->more);
    if (r == 0)
        r = check_room(s, &s->had, &e->more);
    if (r < 0)
        return r;
    e->had = &s->had;
    e->flags_on |= ns_xattr_flag(s->name);
    return 0;
}

static int set_acl(struct ns *o, const struct inode *in, struct set *s, struct ns_edit *e)
{
    bool access = strcmp(s->name, NS_ACL_ACCESS) == 0, more = true;
    int empty = acl_check(s->p, s->len);

    if (empty < 0)
        return empty;
    if (S_ISLNK(in->mode))
        return -E_NOTSUP;
    if (!access && !S_ISDIR(in->mode))
        return empty ? 0 : -E_ACCES;
    if (empty)
        return remove_acl(o, in, s->name, e);
    if (access) {
        e->mode = in->mode;
        e->set |= NS_MODE;
        more = acl_to_mode(s->p, s->len, &e->mode);
        if (s->kill_sgid)
            e->mode &= ~(uint32_t)S_ISGID;
    }
    return more ? store_in(o, in, s, e) : remove_acl(o, in, s->name, e);
}

static int set_in(struct ns *o, uint64_t ino, struct set *s)
{
    struct ns_edit e = {.set = NS_CTIME, .ctime = *ns_time(o)};
    struct inode in;
    int r = ns_inode(o, ino, &in);

    if (r == 0)
        r = is_acl(s->name) ? set_acl(o, &in, s, &e) : store_in(o, &in, s, &e);
    return r < 0 ? r : ns_edit(o, ino, &e, NULL);
}

static int setxattr_once(struct vol *v, const struct vfs_ctx *c, vfs_node n, struct set *s)
{
    cleanup(ilock_drop) struct ilock lock = {0};
    uint64_t ino = vfs_node_ino(n);
    struct ns o;
    int r;

    ilock_take(v->store, &lock, v->rec.id, &ino, 1, true);
    r = ns_change(v, c, OP_SETXATTR, n, &o, &ino);
    return r < 0 ? r : ns_end(&o, set_in(&o, ino, s));
}

int vfs_setxattr(struct vol *v, const struct vfs_ctx *c, vfs_node n, const char *name, const void *p,
                 size_t len, int flags, bool kill_sgid)
{
    struct set s = {.name = name, .p = p, .len = len, .flags = flags, .kill_sgid = kill_sgid};
    struct room room = {0};
    int r = check_name(name, true);

    if (r < 0)
        return r;
    if (len > NS_XATTR_MAX)
        return -E_TOOBIG;
    if ((flags & ~(XATTR_CREATE | XATTR_REPLACE)) != 0 || flags == (XATTR_CREATE | XATTR_REPLACE))
        return -E_INVAL;
    do
        r = setxattr_once(v, c, n, &s);
    while (room_await(v, r, &room));
    return r;
}

static int removexattr_in(struct ns *o, uint64_t ino, const char *name)
{
    struct ns_edit e = {.set = NS_CTIME, .ctime = *ns_time(o)};
    struct inode in;
    int r = ns_inode(o, ino, &in);

    if (r == 0 && is_acl(name) && !(in.flags & ns_xattr_flag(name)))
        return 0;
    if (r == 0)
        r = remove_in(o, &in, name, &e);
    return r < 0 ? r : ns_edit(o, ino, &e, NULL);
}

int vfs_removexattr(struct vol *v, const struct vfs_ctx *c, vfs_node n, const char *name)
{
    cleanup(ilock_drop) struct ilock lock = {0};
    uint64_t ino = vfs_node_ino(n);
    struct ns o;
    int r = check_name(name, true);

    if (r < 0)
        return r;
    ilock_take(v->store, &lock, v->rec.id, &ino, 1, true);
    r = ns_change(v, c, OP_REMOVEXATTR, n, &o, &ino);
    return r < 0 ? r : ns_end(&o, removexattr_in(&o, ino, name));
}

int vfs_getxattr(struct vol *v, vfs_node n, const char *name, struct buf *ret)
{
    uint32_t flag = ns_xattr_flag(name);
    struct inode in;
    struct ns o;
    uint64_t ino;
    int r = check_name(name, false);

    if (r < 0)
        return r;
    r = ns_read(v, n, &o, &ino);
    if (r < 0)
        return r;
    r = ns_inode(&o, ino, &in);
    if (r == 0 && (in.nxattr == 0 || (flag != 0 && !(in.flags & flag))))
        r = -E_NODATA;
    if (r == 0)
        r = ns_xattr_get(&o, ino, name, ret);
    return ns_end(&o, r);
}

int vfs_listxattr(struct vol *v, vfs_node n, struct buf *ret)
{
    struct inode in;
    struct ns o;
    uint64_t ino;
    int r = ns_read(v, n, &o, &ino);

    if (r < 0)
        return r;
    r = ns_inode(&o, ino, &in);
    if (r == 0 && in.nxattr != 0)
        r = ns_xattr_list(&o, ino, ret);
    return ns_end(&o, r);
}
