/* Operations on attributes: mode, owner, times, extended attributes, access lists. */
#include "tests/model/model.h"

#include <stdlib.h>
#include <sys/xattr.h>

static void random_time(struct m_run *m, struct timespec *ret)
{
    ret->tv_sec = (time_t)(m_rand(m, 1ull << 34)) - (1ll << 32);
    ret->tv_nsec = (long)m_rand(m, 1000000000);
}

static void setattr_choose(struct m_run *m, struct vfs_setattr *a)
{
    a->set = 0;
    if (m_chance(m, 40))
        a->set |= VFS_MODE;
    if (m_chance(m, 30))
        a->set |= VFS_UID;
    if (m_chance(m, 30))
        a->set |= VFS_GID;
    if (m_chance(m, 30))
        a->set |= m_chance(m, 50) ? VFS_ATIME : VFS_ATIME | VFS_ATIME_NOW;
    if (m_chance(m, 30))
        a->set |= m_chance(m, 50) ? VFS_MTIME : VFS_MTIME | VFS_MTIME_NOW;
    if (a->set & (VFS_UID | VFS_GID))
        a->set |= m_chance(m, 50) ? VFS_KILL_PRIV : 0;
    a->uid = (uint32_t)m_rand(m, 3000);
    a->gid = (uint32_t)m_rand(m, 3000);
    random_time(m, &a->atime);
    random_time(m, &a->mtime);
}

static void setattr_apply(struct o_ino *in, const struct vfs_setattr *a)
{
    struct timespec now;

    m_now(&now);
    if (a->set & VFS_UID)
        in->uid = a->uid;
    if (a->set & VFS_GID)
        in->gid = a->gid;
    if ((a->set & (VFS_UID | VFS_GID | VFS_KILL_PRIV)) && !o_is_dir(in))
        m_kill_priv(in);
    if (a->set & VFS_MODE) {
        in->mode = (in->mode & S_IFMT) | (a->mode & 07777);
        o_acl_chmod(in);
    }
    if (a->set & VFS_ATIME)
        in->atime = a->set & VFS_ATIME_NOW ? now : a->atime;
    if (a->set & VFS_MTIME)
        in->mtime = a->set & VFS_MTIME_NOW ? now : a->mtime;
    m_touch(in, false);
}

void op_setattr(struct m_run *m, struct m_vol *mv)
{
    const struct o_ino *pick = m_pick(m, mv, 0);
    struct vfs_setattr a = {0};
    struct vfs_attr got;
    struct o_ino *in;

    setattr_choose(m, &a);
    if (S_ISLNK(pick->mode))
        a.set &= ~(unsigned)VFS_MODE;
    if (!a.set)
        return;
    a.mode = (pick->mode & S_IFMT) | (uint32_t)m_rand(m, 010000);
    m_trace(m, "setattr ino=%llu set=%x mode=%o", (unsigned long long)pick->ino, a.set, a.mode);
    if (!m_expect(m, vfs_setattr(mv->v, &m->ctx, m_node(mv, pick->ino), &a, &got), 0, "setattr"))
        return;
    in = o_mut(mv->live, pick->ino);
    setattr_apply(in, &a);
    m_verify_ino(m, mv, in, got.node);
}

static void xattr_name(struct m_run *m, const struct o_ino *in, char name[NAME_LEN_MAX + 1])
{
    static const char *const space[] = {"user", "user", "trusted", "security"};
    const char *ns = space[m_rand(m, 4)];

    if (in->nxattr && m_chance(m, 40))
        snprintf(name, NAME_LEN_MAX + 1, "%s", in->xattr[m_rand(m, in->nxattr)].name);
    else if (m_chance(m, 10))
        snprintf(name, NAME_LEN_MAX + 1, "security.capability");
    else if (m_chance(m, 10))
        snprintf(name, NAME_LEN_MAX + 1, "%s.%0*d", ns, (int)(246 - m_rand(m, 40)), (int)m_rand(m, 5));
    else
        snprintf(name, NAME_LEN_MAX + 1, "%s.x%u", ns, (unsigned)m_rand(m, 20));
}

/* An inode has room for so many bytes of names and of values; the last part of both is for names that are not user.*. */
static bool xattr_fits(const struct o_ino *in, const char *name, size_t len)
{
    bool user = strncmp(name, "user.", 5) == 0;
    const struct o_xattr *old = o_xattr_find(in, name);
    size_t names = old ? 0 : strlen(name) + 1, values = len;

    for (size_t i = 0; i < in->nxattr; i++) {
        names += strlen(in->xattr[i].name) + 1;
        values += &in->xattr[i] == old ? 0 : in->xattr[i].len;
    }
    return (old || names <= 65536 - 512 - (user ? 4096 : 0)) &&
           ((old && len <= old->len) || len == 0 || values <= (1 << 20) - (user ? 128 << 10 : 0));
}

void op_setxattr(struct m_run *m, struct m_vol *mv)
{
    static uint8_t val[65537];
    static const int flags[] = {0, 0, 0, XATTR_CREATE, XATTR_REPLACE};
    const struct o_ino *pick = m_pick(m, mv, 0);
    char name[NAME_LEN_MAX + 1];
    int flag = flags[m_rand(m, 5)], want = 0, r;
    size_t len = m_rand(m, 100);
    struct o_ino *in;

    if (m_chance(m, 15))
        len = m_rand(m, 5000);
    if (m_chance(m, 3))
        len = 65537 - m_rand(m, 3);
    xattr_name(m, pick, name);
    if (strncmp(name, "system.", 7) == 0)
        return;
    m_fill(m, val, len);
    if (len > 65536)
        want = -E_TOOBIG;
    else if (flag == XATTR_CREATE && o_xattr_find(pick, name))
        want = -E_EXIST;
    else if (flag == XATTR_REPLACE && !o_xattr_find(pick, name))
        want = -E_NODATA;
    else if (!xattr_fits(pick, name, len))
        want = -E_XATTR_ROOM;
    m_trace(m, "setxattr ino=%llu name=%.30s len=%zu flags=%d", (unsigned long long)pick->ino, name, len,
            flag);
    r = vfs_setxattr(mv->v, &m->ctx, m_node(mv, pick->ino), name, val, len, flag, false);
    if (!m_expect(m, r, want ? want : m_quota_error(mv, r, len / PG_SIZE + 1), "setxattr"))
        return;
    in = o_mut(mv->live, pick->ino);
    o_xattr_set(in, name, val, len);
    m_touch(in, false);
    m_verify_ino(m, mv, in, m_node(mv, in->ino));
}

void op_removexattr(struct m_run *m, struct m_vol *mv)
{
    const struct o_ino *pick = m_pick(m, mv, 0);
    char name[NAME_LEN_MAX + 1];
    struct o_ino *in;
    int want;

    xattr_name(m, pick, name);
    want = o_xattr_find(pick, name) ? 0 : -E_NODATA;
    m_trace(m, "removexattr ino=%llu name=%.30s", (unsigned long long)pick->ino, name);
    if (!m_expect(m, vfs_removexattr(mv->v, &m->ctx, m_node(mv, pick->ino), name), want, "removexattr"))
        return;
    in = o_mut(mv->live, pick->ino);
    o_xattr_del(in, name);
    m_touch(in, false);
    m_verify_ino(m, mv, in, m_node(mv, in->ino));
}

static size_t acl_entry(uint8_t *acl, size_t at, unsigned tag, unsigned perm, uint32_t id)
{
    put_le16(acl + at, (uint16_t)tag);
    put_le16(acl + at + 2, (uint16_t)perm);
    put_le32(acl + at + 4, id);
    return at + 8;
}

/* A list in the order that the kernel demands: owner, users, group, groups, mask, others. */
static size_t acl_make(struct m_run *m, uint8_t *acl)
{
    unsigned users = (unsigned)m_rand(m, 4), groups = (unsigned)m_rand(m, 4);
    size_t at = 4;

    if (m_chance(m, 20))
        users = groups = 0;
    put_le32(acl, 2);
    at = acl_entry(acl, at, 1, (unsigned)m_rand(m, 8), UINT32_MAX);
    for (unsigned i = 0; i < users; i++)
        at = acl_entry(acl, at, 2, (unsigned)m_rand(m, 8), 100 + i);
    at = acl_entry(acl, at, 4, (unsigned)m_rand(m, 8), UINT32_MAX);
    for (unsigned i = 0; i < groups; i++)
        at = acl_entry(acl, at, 8, (unsigned)m_rand(m, 8), 200 + i);
    if (users + groups > 0)
        at = acl_entry(acl, at, 16, (unsigned)m_rand(m, 8), UINT32_MAX);
    return acl_entry(acl, at, 32, (unsigned)m_rand(m, 8), UINT32_MAX);
}

static void acl_apply(struct o_ino *in, const char *name, const uint8_t *acl, size_t len, bool kill_sgid)
{
    bool plain = false;

    if (strcmp(name, O_ACL_ACCESS) == 0) { /* one that says no more than the mode is not kept */
        in->mode = o_acl_mode(acl, len, in->mode, &plain);
        if (kill_sgid)
            in->mode &= ~(uint32_t)S_ISGID;
    }
    if (plain)
        o_xattr_del(in, name);
    else
        o_xattr_set(in, name, acl, len);
    m_touch(in, false);
}

void op_setacl(struct m_run *m, struct m_vol *mv)
{
    const struct o_ino *pick = m_pick(m, mv, m_chance(m, 50) ? S_IFDIR : S_IFREG);
    uint8_t acl[512];
    size_t len = acl_make(m, acl);
    const char *name = O_ACL_ACCESS;
    bool kill = m_chance(m, 30);
    struct o_ino *in;
    int r;

    if (!pick)
        return;
    if (o_is_dir(pick) && m_chance(m, 60))
        name = O_ACL_DEFAULT;
    if (m_chance(m, 25)) {
        m_trace(m, "removeacl ino=%llu %s", (unsigned long long)pick->ino, name);
        r = vfs_removexattr(mv->v, &m->ctx, m_node(mv, pick->ino), name);
        len = 0;
    } else {
        m_trace(m, "setacl ino=%llu %s len=%zu kill=%d", (unsigned long long)pick->ino, name, len, kill);
        r = vfs_setxattr(mv->v, &m->ctx, m_node(mv, pick->ino), name, acl, len, 0, kill);
    }
    if (!m_expect(m, r, m_quota_error(mv, r, 1), "setacl") || (len == 0 && !o_xattr_find(pick, name)))
        return; /* removing one that is not there changes nothing */
    in = o_mut(mv->live, pick->ino);
    if (len > 0) {
        acl_apply(in, name, acl, len, kill);
    } else {
        o_xattr_del(in, name);
        m_touch(in, false);
    }
    m_verify_ino(m, mv, in, m_node(mv, in->ino));
}
