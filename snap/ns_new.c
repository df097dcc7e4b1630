#include <sys/stat.h>

#include "base/hash.h"
#include "snap/ns.h"

static bool kind_has_acl(uint32_t mode)
{
    return !S_ISLNK(mode);
}

/* The directory's default ACL and the mode asked for limit each other; what goes beyond the mode is stored. */
static int inherit_acl(struct ns *o, const struct inode *dir, struct inode *in)
{
    cleanup(buf_free) struct buf acl = {0};
    struct inode_more more = {0};
    int r = ns_xattr_get(o, dir->ino, NS_ACL_DEFAULT, &acl);

    if (r < 0)
        return r;
    if (acl_check(acl.data, acl.len) != 0)
        return -E_CORRUPT;
    if (S_ISDIR(in->mode)) {
        r = ns_xattr_set(o, in->ino, NS_ACL_DEFAULT, acl.data, acl.len, 0, &more);
        if (r < 0)
            return r;
        in->flags |= INODE_DEFACL;
    }
    if (acl_inherit(acl.data, acl.len, &in->mode)) {
        r = ns_xattr_set(o, in->ino, NS_ACL_ACCESS, acl.data, acl.len, 0, &more);
        if (r < 0)
            return r;
        in->flags |= INODE_ACL;
    }
    inode_more(in, &more);
    return vol_room(o->v, in->blocks + in->more_blocks, 1);
}

static void new_owner(const struct ns *o, const struct inode *dir, struct inode *in)
{
    in->uid = o->c != NULL ? o->c->uid : 0;
    in->gid = o->c != NULL ? o->c->gid : 0;
    if (!(dir->mode & S_ISGID))
        return;
    in->gid = dir->gid;
    if (S_ISDIR(in->mode))
        in->mode |= S_ISGID;
}

int ns_new(struct ns *o, const struct inode *dir, uint32_t mode, uint64_t rdev, uint64_t blocks,
           struct inode *in)
{
    const struct volume_rec *rec = &o->v->rec;
    int r = vol_room(o->v, blocks, 1);

    if (r < 0)
        return r;
    *in = (struct inode){
        .ino = vol_next_ino(&o->t, o->v),
        .blocks = blocks,
        .rdev = S_ISCHR(mode) || S_ISBLK(mode) ? rdev : 0,
        .gen = hash_sum(rec->head, &rec->uuid, sizeof(rec->uuid)), /* a number is given once in a branch */
        .change = 1,
        .mode = mode,
        .nlink = S_ISDIR(mode) ? 2 : 1,
        .flags = S_ISREG(mode) ? INODE_INLINE : 0,
        .project = dir->project,
        .key = rec->key,
        .tier = dir->tier,
        .size = S_ISDIR(mode) ? NS_DIR_SIZE : 0,
        .atime = *ns_time(o),
        .mtime = *ns_time(o),
        .ctime = *ns_time(o),
        .btime = *ns_time(o),
    };
    new_owner(o, dir, in);
    if (!kind_has_acl(mode))
        return 0;
    if (dir->flags & INODE_DEFACL)
        return inherit_acl(o, dir, in);
    if (o->c != NULL)
        in->mode &= ~(o->c->umask & 0777);
    return 0;
}

int ns_new_put(struct ns *o, const struct inode *in)
{
    int r = inode_put_new(&o->t, o->to, in);

    o->t.answer = in->ino;
    if (r == 0)
        txn_charge(&o->t, o->v, (int64_t)in->blocks + in->more_blocks, 1);
    return r;
}

int ns_chmod_acl(struct ns *o, const struct inode *in, uint32_t mode)
{
    cleanup(buf_free) struct buf acl = {0};
    struct inode_more same = {0};
    int r;

    if (!(in->flags & INODE_ACL))
        return 0;
    r = ns_xattr_get(o, in->ino, NS_ACL_ACCESS, &acl);
    if (r < 0)
        return r;
    if (acl_check(acl.data, acl.len) != 0)
        return -E_CORRUPT;
    acl_chmod(acl.data, acl.len, mode);
    return ns_xattr_set(o, in->ino, NS_ACL_ACCESS, acl.data, acl.len, 0, &same);
}
