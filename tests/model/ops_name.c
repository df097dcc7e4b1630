/* Operations on names. */
#include "tests/model/model.h"

#include <stdlib.h>
#include <sys/sysmacros.h>

static uint32_t new_gid(const struct m_run *m, const struct o_ino *dir)
{
    return dir->mode & S_ISGID ? dir->gid : m->ctx.gid;
}

/* A new inode below dir as POSIX makes it; the number is the engine's. */
static struct o_ino *new_ino(struct m_run *m, struct m_vol *mv, uint64_t dir, uint32_t mode,
                             const struct vfs_attr *a)
{
    uint64_t ino = vfs_node_ino(a->node);
    const struct o_ino *d = o_get(mv->live, dir);
    struct o_ino *in;

    WANT(m, ino > mv->max_ino, "inode number %llu given again (%llu were given)", (unsigned long long)ino,
         (unsigned long long)mv->max_ino);
    mv->max_ino = ino;
    in = o_add(mv->live, ino);
    in->uid = m->ctx.uid;
    in->gid = new_gid(m, d);
    o_acl_inherit(d, in, mode | (S_ISDIR(mode) ? d->mode & S_ISGID : 0), m->ctx.umask);
    in->nlink = 1;
    in->is_inline = S_ISREG(mode);
    m_now(&in->btime);
    in->atime = in->mtime = in->ctime = in->btime;
    return in;
}

static void enter(struct m_vol *mv, uint64_t dir, const char *name, uint64_t ino)
{
    struct o_ino *d = o_mut(mv->live, dir), *in = o_mut(mv->live, ino);

    o_ent_add(d, name, ino);
    m_touch(d, true);
    if (o_is_dir(in)) {
        in->parent = dir;
        d->nlink++;
    }
}

/* Takes a name away; what it named stays. */
static void leave(struct m_vol *mv, uint64_t dir, const char *name)
{
    struct o_ino *d = o_mut(mv->live, dir);
    const struct o_ino *in = o_get(mv->live, o_ent_find(d, name)->ino);

    if (o_is_dir(in))
        d->nlink--;
    o_ent_del(d, name);
    m_touch(d, true);
}

/* One name fewer: a file that loses its last one lives on as an orphan, as does a directory. */
static void unname(struct m_vol *mv, uint64_t ino)
{
    struct o_ino *in = o_mut(mv->live, ino);

    in->nlink -= o_is_dir(in) ? in->nlink : 1;
    m_touch(in, false);
}

static int create_error(const struct m_vol *mv, uint64_t dir, const char *name)
{
    const struct o_ino *d = o_get(mv->live, dir);

    if (d->nlink == 0)
        return -E_NOENT;
    return o_ent_find(d, name) ? -E_EXIST : 0;
}

static void make_node(struct m_run *m, struct m_vol *mv, uint32_t mode, uint64_t rdev)
{
    char name[NAME_LEN_MAX + 1];
    uint64_t dir = m_pick_dir(m, mv);
    struct vfs_attr a;
    struct o_ino *in;
    int want;

    m_pick_name(m, name);
    want = create_error(mv, dir, name);
    m_trace(m, "mknod dir=%llu name=%.20s mode=%o", (unsigned long long)dir, name, mode);
    if (!m_expect(m, vfs_mknod(mv->v, &m->ctx, m_node(mv, dir), name, mode, rdev, &a), want, "mknod"))
        return;
    in = new_ino(m, mv, dir, mode, &a);
    in->rdev = rdev;
    if (S_ISDIR(mode))
        in->nlink = 2;
    enter(mv, dir, name, in->ino);
    m_verify_ino(m, mv, o_get(mv->live, in->ino), a.node);
}

void op_create(struct m_run *m, struct m_vol *mv)
{
    if (mv->live->n < 110)
        make_node(m, mv, S_IFREG | (uint32_t)m_rand(m, 01000), 0);
    else
        op_unlink(m, mv);
}

void op_mkdir(struct m_run *m, struct m_vol *mv)
{
    make_node(m, mv, S_IFDIR | (uint32_t)m_rand(m, 01000), 0);
}

void op_mknod(struct m_run *m, struct m_vol *mv)
{
    static const uint32_t type[] = {S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK};
    uint32_t t = type[m_rand(m, 4)];

    make_node(m, mv, t | (uint32_t)m_rand(m, 01000),
              t == S_IFCHR || t == S_IFBLK ? makedev(4, m_rand(m, 300)) : 0);
}

void op_symlink(struct m_run *m, struct m_vol *mv)
{
    char name[NAME_LEN_MAX + 1], target[4096];
    size_t len = m_chance(m, 10) ? 1 + m_rand(m, 4095) : 1 + m_rand(m, 60);
    uint64_t dir = m_pick_dir(m, mv);
    struct vfs_attr a;
    struct o_ino *in;
    int want, r;

    m_pick_name(m, name);
    memset(target, 't', len);
    target[len] = 0;
    target[m_rand(m, len)] = '/';
    want = create_error(mv, dir, name);
    m_trace(m, "symlink dir=%llu name=%.20s len=%zu", (unsigned long long)dir, name, len);
    r = vfs_symlink(mv->v, &m->ctx, m_node(mv, dir), name, target, &a);
    if (!m_expect(m, r, want ? want : m_quota_error(mv, r, 1), "symlink")) /* its target counts as a block */
        return;
    in = new_ino(m, mv, dir, S_IFLNK | 0777, &a);
    in->target = strdup(target);
    in->size = len;
    enter(mv, dir, name, in->ino);
    m_verify_ino(m, mv, o_get(mv->live, in->ino), a.node);
}

void op_tmpfile(struct m_run *m, struct m_vol *mv)
{
    uint64_t dir = m_pick_dir(m, mv);
    uint32_t mode = S_IFREG | (uint32_t)m_rand(m, 01000);
    struct vfs_attr a;
    struct o_ino *in;

    m_trace(m, "tmpfile dir=%llu", (unsigned long long)dir);
    if (!m_expect(m, vfs_tmpfile(mv->v, &m->ctx, m_node(mv, dir), mode, &a), 0, "tmpfile"))
        return;
    in = new_ino(m, mv, dir, mode, &a);
    in->nlink = 0;
    m_verify_ino(m, mv, in, a.node);
}

void op_link(struct m_run *m, struct m_vol *mv)
{
    char name[NAME_LEN_MAX + 1];
    const struct o_ino *in = m_pick(m, mv, 0);
    uint64_t dir = m_pick_dir(m, mv), ino = in->ino;
    struct vfs_attr a;
    int want, r;

    m_pick_name(m, name);
    want = o_is_dir(in) ? -E_PERM : create_error(mv, dir, name);
    m_trace(m, "link ino=%llu dir=%llu name=%.20s", (unsigned long long)ino, (unsigned long long)dir, name);
    r = vfs_link(mv->v, &m->ctx, m_node(mv, ino), m_node(mv, dir), name, &a);
    if (!m_expect(m, r, want ? want : m_quota_error(mv, r, 1), "link"))
        return;
    o_mut(mv->live, ino)->nlink++;
    m_touch(o_mut(mv->live, ino), false);
    enter(mv, dir, name, ino);
    m_verify_ino(m, mv, o_get(mv->live, ino), a.node);
}

void op_unlink(struct m_run *m, struct m_vol *mv)
{
    uint64_t dir = m_pick_dir(m, mv), ino;
    const char *entry = m_pick_entry(m, mv, dir);
    char name[NAME_LEN_MAX + 1];
    int want;

    if (entry && !m_chance(m, 5))
        snprintf(name, sizeof(name), "%s", entry);
    else
        m_pick_name(m, name);
    entry = NULL;
    ino = o_ent_find(o_get(mv->live, dir), name) ? o_ent_find(o_get(mv->live, dir), name)->ino : 0;
    want = !ino ? -E_NOENT : o_is_dir(o_get(mv->live, ino)) ? -E_ISDIR : 0;
    m_trace(m, "unlink dir=%llu name=%.20s ino=%llu", (unsigned long long)dir, name, (unsigned long long)ino);
    if (!m_expect(m, vfs_unlink(mv->v, &m->ctx, m_node(mv, dir), name), want, "unlink"))
        return;
    leave(mv, dir, name);
    unname(mv, ino);
    m_verify_ino(m, mv, o_get(mv->live, ino), m_node(mv, ino));
}

void op_rmdir(struct m_run *m, struct m_vol *mv)
{
    uint64_t dir = m_pick_dir(m, mv);
    const char *entry = m_pick_entry(m, mv, dir);
    const struct o_ino *in;
    char name[NAME_LEN_MAX + 1];
    uint64_t ino;
    int want;

    if (!entry)
        return;
    snprintf(name, sizeof(name), "%s", entry);
    in = o_get(mv->live, o_ent_find(o_get(mv->live, dir), name)->ino);
    ino = in->ino;
    want = !o_is_dir(in) ? -E_NOTDIR : in->nent ? -E_NOTEMPTY : 0;
    m_trace(m, "rmdir dir=%llu name=%.20s ino=%llu", (unsigned long long)dir, name, (unsigned long long)ino);
    if (!m_expect(m, vfs_rmdir(mv->v, &m->ctx, m_node(mv, dir), name), want, "rmdir"))
        return;
    leave(mv, dir, name);
    unname(mv, ino);
}

static bool below(const struct o_tree *t, uint64_t dir, uint64_t ancestor)
{
    while (dir != INO_ROOT && dir != ancestor)
        dir = o_get(t, dir)->parent;
    return dir == ancestor;
}

struct ren {
    uint64_t from_dir, to_dir, ino, old; /* old: what the new name names, or 0 */
    char from[NAME_LEN_MAX + 1], to[NAME_LEN_MAX + 1];
    unsigned flags;
};

static int rename_error(const struct m_vol *mv, const struct ren *rn)
{
    const struct o_tree *t = mv->live;
    const struct o_ino *in = o_get(t, rn->ino), *old = rn->old ? o_get(t, rn->old) : NULL;

    if ((rn->flags & VFS_NOREPLACE) && old)
        return -E_EXIST;
    if ((rn->flags & VFS_EXCHANGE) && !old)
        return -E_NOENT;
    if (rn->old == rn->ino)
        return 0;
    if (o_is_dir(in) && below(t, rn->to_dir, rn->ino))
        return -E_INVAL;
    if (rn->flags & VFS_EXCHANGE)
        return o_is_dir(old) && below(t, rn->from_dir, rn->old) ? -E_INVAL : 0;
    if (!old)
        return 0;
    if (o_is_dir(in) && !o_is_dir(old))
        return -E_NOTDIR;
    if (!o_is_dir(in) && o_is_dir(old))
        return -E_ISDIR;
    return old->nent ? -E_NOTEMPTY : 0;
}

static void rename_apply(struct m_run *m, struct m_vol *mv, const struct ren *rn)
{
    struct vfs_attr a;

    if (rn->old == rn->ino)
        return;
    leave(mv, rn->from_dir, rn->from);
    if (rn->old)
        leave(mv, rn->to_dir, rn->to);
    enter(mv, rn->to_dir, rn->to, rn->ino);
    m_touch(o_mut(mv->live, rn->ino), false);
    if (rn->flags & VFS_EXCHANGE) {
        enter(mv, rn->from_dir, rn->from, rn->old);
        m_touch(o_mut(mv->live, rn->old), false);
    } else if (rn->old) {
        unname(mv, rn->old);
    }
    if (rn->flags & VFS_WHITEOUT) {
        struct o_ino *w;
        m_expect(m, vfs_lookup(mv->v, m_node(mv, rn->from_dir), rn->from, &a), 0, "lookup of the whiteout");
        w = new_ino(m, mv, rn->from_dir, S_IFCHR, &a);
        enter(mv, rn->from_dir, rn->from, w->ino);
    }
}

void op_rename(struct m_run *m, struct m_vol *mv)
{
    static const unsigned flags[] = {0, 0, 0, 0, VFS_NOREPLACE, VFS_EXCHANGE, VFS_EXCHANGE, VFS_WHITEOUT};
    struct ren rn = {.from_dir = m_pick_dir(m, mv), .flags = flags[m_rand(m, 8)]};
    const char *entry = m_pick_entry(m, mv, rn.from_dir), *to;
    const struct o_ent *old;
    int want;

    rn.to_dir = m_chance(m, 40) ? rn.from_dir : m_pick_dir(m, mv);
    if (!entry)
        return;
    snprintf(rn.from, sizeof(rn.from), "%s", entry);
    rn.ino = o_ent_find(o_get(mv->live, rn.from_dir), rn.from)->ino;
    to = m_chance(m, 50) ? m_pick_entry(m, mv, rn.to_dir) : NULL;
    if (to)
        snprintf(rn.to, sizeof(rn.to), "%s", to);
    else
        m_pick_name(m, rn.to);
    old = o_ent_find(o_get(mv->live, rn.to_dir), rn.to);
    rn.old = old ? old->ino : 0;
    want = rename_error(mv, &rn);
    m_trace(m, "rename ino=%llu %llu/%.20s -> %llu/%.20s (old %llu) flags=%u", (unsigned long long)rn.ino,
            (unsigned long long)rn.from_dir, rn.from, (unsigned long long)rn.to_dir, rn.to,
            (unsigned long long)rn.old, rn.flags);
    if (!m_expect(m,
                  vfs_rename(mv->v, &m->ctx, m_node(mv, rn.from_dir), rn.from, m_node(mv, rn.to_dir), rn.to,
                             rn.flags),
                  want, "rename"))
        return;
    rename_apply(m, mv, &rn);
    m_verify_ino(m, mv, o_get(mv->live, rn.ino), m_node(mv, rn.ino));
}

void op_orphan_drop(struct m_run *m, struct m_vol *mv)
{
    uint64_t inos[40];
    struct vfs_attr a;
    size_t n = 0, most = m_chance(m, 50) ? 1 : ARRAY_LEN(inos);

    for (size_t i = 0; i < mv->live->n && n < most; i++)
        if (mv->live->v[i]->nlink == 0 && !m_chance(m, 40))
            inos[n++] = mv->live->v[i]->ino;
    if (n == 0)
        return;
    m_trace(m, "orphans_drop n=%zu first=%llu", n, (unsigned long long)inos[0]);
    m_expect(m, vfs_orphans_drop(mv->v, inos, n), 0, "orphans_drop");
    for (size_t i = 0; i < n; i++) {
        o_del(mv->live, inos[i]);
        m_expect(m, vfs_getattr(mv->v, m_node(mv, inos[i]), &a), -E_STALE, "getattr of a dropped orphan");
    }
}

void op_lookup(struct m_run *m, struct m_vol *mv)
{
    char name[NAME_LEN_MAX + 1];
    uint64_t dir = m_pick_dir(m, mv);
    const struct o_ent *e;
    struct vfs_attr a;

    m_pick_name(m, name);
    e = o_ent_find(o_get(mv->live, dir), name);
    m_trace(m, "lookup dir=%llu name=%.20s", (unsigned long long)dir, name);
    if (m_expect(m, vfs_lookup(mv->v, m_node(mv, dir), name, &a), e ? 0 : -E_NOENT, "lookup"))
        WANT(m, vfs_node_ino(a.node) == e->ino, "lookup gives %llu, not %llu",
             (unsigned long long)vfs_node_ino(a.node), (unsigned long long)e->ino);
}
