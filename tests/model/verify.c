/* Comparing whole inodes, trees, lists and figures. */
#include "tests/model/model.h"

#include <stdlib.h>

#define U(x) ((unsigned long long)(x))

static void same(struct m_run *m, const char *what, uint64_t ino, uint64_t got, uint64_t want)
{
    WANT(m, got == want, "inode %llu: %s is %llu (0%llo), not %llu (0%llo)", U(ino), what, U(got), U(got),
         U(want), U(want));
}

static void same_time(struct m_run *m, const char *what, uint64_t ino, struct timespec got,
                      struct timespec want)
{
    WANT(m, got.tv_sec == want.tv_sec && got.tv_nsec == want.tv_nsec,
         "inode %llu: %s is %lld.%09ld, not %lld.%09ld", U(ino), what, (long long)got.tv_sec, got.tv_nsec,
         (long long)want.tv_sec, want.tv_nsec);
}

/* The number that programs see: plain in the live tree, the node id in a view; 0: either (a tree that was rolled back). */
static uint64_t shown_ino(const struct m_vol *mv, uint32_t view, uint64_t ino)
{
    if (view == mv->v->rec.live_view)
        return ino;
    for (size_t i = 0; i < mv->nstale; i++)
        if (mv->stale[i].view == view)
            return 0;
    return vfs_node_make(view, ino).v;
}

static void verify_attr(struct m_run *m, const struct m_vol *mv, const struct o_ino *in,
                        const struct vfs_attr *a, vfs_node n)
{
    uint64_t shown = n.v == INO_ROOT ? INO_ROOT : shown_ino(mv, vfs_node_view(n), in->ino);

    same(m, "node", in->ino, a->node.v, n.v);
    if (shown)
        same(m, "st_ino", in->ino, a->st_ino, shown);
    same(m, "mode", in->ino, a->mode, in->mode);
    same(m, "nlink", in->ino, a->nlink, in->nlink);
    same(m, "uid", in->ino, a->uid, in->uid);
    same(m, "gid", in->ino, a->gid, in->gid);
    same(m, "rdev", in->ino, a->rdev, in->rdev);
    if (!o_is_dir(in))
        same(m, "size", in->ino, a->size, in->size);
    if (S_ISREG(in->mode)) {
        same(m, "inline flag", in->ino, (a->flags & INODE_INLINE) != 0, in->is_inline);
        same(m, "blocks", in->ino, a->blocks512, o_blocks(in) * (PG_SIZE / 512));
    }
    same_time(m, "atime", in->ino, a->atime, in->atime);
    same_time(m, "mtime", in->ino, a->mtime, in->mtime);
    same_time(m, "ctime", in->ino, a->ctime, in->ctime);
    same_time(m, "btime", in->ino, a->btime, in->btime);
}

void m_verify_ino(struct m_run *m, struct m_vol *mv, const struct o_ino *in, vfs_node n)
{
    struct vfs_attr a;

    if (m_expect(m, vfs_getattr(mv->v, n, &a), 0, "getattr"))
        verify_attr(m, mv, in, &a, n);
}

static void verify_xattrs(struct m_run *m, struct m_vol *mv, const struct o_ino *in, vfs_node n)
{
    cleanup(buf_free) struct buf list = {0};
    size_t count = 0;

    m_expect(m, vfs_listxattr(mv->v, n, &list), 0, "listxattr");
    for (size_t at = 0; at < list.len; at += strlen((char *)list.data + at) + 1, count++)
        WANT(m, o_xattr_find(in, (char *)list.data + at), "inode %llu: attribute %.30s is listed", U(in->ino),
             (char *)list.data + at);
    same(m, "number of attributes", in->ino, count, in->nxattr);
    for (size_t i = 0; i < in->nxattr; i++) {
        cleanup(buf_free) struct buf val = {0};
        const struct o_xattr *x = &in->xattr[i];

        m_expect(m, vfs_getxattr(mv->v, n, x->name, &val), 0, x->name);
        WANT(m, val.len == x->len && memcmp(val.data ? val.data : (uint8_t *)"", x->val, x->len) == 0,
             "inode %llu: attribute %.30s differs (%zu bytes, not %zu)", U(in->ino), x->name, val.len,
             x->len);
    }
}

static void verify_data(struct m_run *m, struct m_vol *mv, const struct o_ino *in, vfs_node n)
{
    uint64_t b = 0, to;

    m_compare_map(m, mv, n, in);
    if (in->size <= 256u << 10)
        return m_compare_bytes(m, mv, n, in, 0, in->size + 10);
    while ((b = pages_next(&in->data, b)) != UINT64_MAX) { /* what is there, and the hole around it */
        for (to = b; to < b + 32 && pages_kind(&in->data, to) != PG_HOLE;)
            to++;
        m_compare_bytes(m, mv, n, in, b * PG_SIZE - (b ? 100 : 0), (to - b) * PG_SIZE + 200);
        b = to;
    }
    m_compare_bytes(m, mv, n, in, in->size - 100, 200);
}

struct names {
    struct m_run *m;
    const struct o_tree *t;
    const struct o_ino *dir;
    const struct m_vol *mv;
    uint32_t view;
    size_t n;
};

static int on_name(void *arg, const struct vfs_dirent *e)
{
    struct names *l = arg;
    char name[NAME_LEN_MAX + 1];
    const struct o_ent *ent;

    if (e->cookie <= 2)
        return 0;
    snprintf(name, sizeof(name), "%.*s", (int)e->name_len, e->name);
    ent = o_ent_find(l->dir, name);
    WANT(l->m, ent, "directory %llu: %.30s is listed", U(l->dir->ino), name);
    if (shown_ino(l->mv, l->view, ent->ino))
        same(l->m, "listed number", l->dir->ino, e->ino, shown_ino(l->mv, l->view, ent->ino));
    same(l->m, "listed type", ent->ino, e->type, o_get(l->t, ent->ino)->mode & S_IFMT);
    l->n++;
    return 0;
}

static void verify_dir(struct m_run *m, struct m_vol *mv, const struct o_tree *t, const struct o_ino *in,
                       vfs_node n)
{
    struct names l = {m, t, in, mv, n.v == INO_ROOT ? mv->v->rec.live_view : vfs_node_view(n), 0};
    struct vfs_attr a;
    vfs_node up;

    m_expect(m, vfs_readdir(mv->v, n, 0, false, on_name, &l), 0, "readdir");
    same(m, "number of entries", in->ino, l.n, in->nent);
    for (size_t i = 0; i < in->nent; i++) {
        m_expect(m, vfs_lookup(mv->v, n, in->ent[i].name, &a), 0, "lookup");
        same(m, "inode by name", in->ino, vfs_node_ino(a.node), in->ent[i].ino);
    }
    if (in->ino == INO_ROOT || in->nlink == 0)
        return;
    m_expect(m, vfs_parent(mv->v, n, &up), 0, "parent");
    same(m, "parent", in->ino, vfs_node_ino(up), in->parent);
}

void m_verify_tree(struct m_run *m, struct m_vol *mv, const struct o_tree *t, uint32_t view)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct o_ino *in = t->v[i];
        vfs_node n = view == mv->v->rec.live_view ? m_node(mv, in->ino) : vfs_node_make(view, in->ino);

        if (in->ino == INO_ROOT && shown_ino(mv, view, INO_ROOT) == 0)
            continue; /* node 1 is the root that lives now */
        m_verify_ino(m, mv, in, n);
        verify_xattrs(m, mv, in, n);
        if (S_ISREG(in->mode))
            verify_data(m, mv, in, n);
        if (o_is_dir(in))
            verify_dir(m, mv, t, in, n);
        if (S_ISLNK(in->mode)) {
            cleanup(buf_free) struct buf target = {0};
            m_expect(m, vfs_readlink(mv->v, n, &target), 0, "readlink");
            WANT(m, target.len == in->size && memcmp(target.data, in->target, in->size) == 0,
                 "inode %llu: target differs", U(in->ino));
        }
    }
}

void m_verify_live(struct m_run *m, struct m_vol *mv)
{
    m_verify_tree(m, mv, mv->live, mv->v->rec.live_view);
}

void m_verify_snap(struct m_run *m, struct m_vol *mv, struct m_snap *sn)
{
    struct vfs_attr a;
    vfs_node root;

    m_expect(m, view_enter(mv->v, sn->name, INO_ROOT, &root, &a), 0, "view_enter");
    if (sn->entered)
        same(m, "view number", INO_ROOT, vfs_node_view(root), sn->view);
    sn->entered = true;
    sn->view = vfs_node_view(root);
    m->place = sn->name;
    m_verify_tree(m, mv, sn->tree, sn->view);
    m->place = NULL;
}

/* I-08: the counters are what a walk would count. */
void m_verify_space(struct m_run *m, struct m_vol *mv)
{
    struct volume_info info;
    struct statvfs st;
    uint64_t blocks = o_tree_blocks(mv->live);

    m_expect(m, volume_get_info(mv->v, &info), 0, "volume_get_info");
    if (info.used_inodes !=
        mv->live->n) { /* orphans of the state before a rollback or clone are being freed */
        m_expect(m, store_checkpoint(m->s), 0, "checkpoint");
        m_expect(m, store_reclaim_idle(m->s), 0, "reclaim_idle");
        m_expect(m, volume_get_info(mv->v, &info), 0, "volume_get_info");
    }
    WANT(m, info.used_bytes == blocks * BLOCK_SIZE, "volume %s uses %llu blocks, not %llu", mv->name,
         U(info.used_bytes / BLOCK_SIZE), U(blocks));
    WANT(m, info.used_inodes == mv->live->n, "volume %s has %llu inodes, not %zu", mv->name,
         U(info.used_inodes), mv->live->n);
    WANT(m, info.snapshots == mv->nsnaps, "volume %s has %llu snapshots, not %zu", mv->name,
         U(info.snapshots), mv->nsnaps);
    m_expect(m, vfs_statfs(mv->v, &st), 0, "statfs");
    if (mv->limit_blocks) {
        uint64_t free_blocks = blocks < mv->limit_blocks ? mv->limit_blocks - blocks : 0;
        uint64_t got = (uint64_t)st.f_bavail * st.f_frsize / BLOCK_SIZE;
        WANT(m, (uint64_t)st.f_blocks * st.f_frsize == mv->limit_blocks * BLOCK_SIZE,
             "statfs: size is %llu blocks", U((uint64_t)st.f_blocks * st.f_frsize / BLOCK_SIZE));
        WANT(m, got == free_blocks, "statfs: %llu blocks are free, not %llu", U(got), U(free_blocks));
    }
}

struct snap_list {
    struct m_run *m;
    struct m_vol *mv;
    size_t n;
    uint64_t number;
};

static int on_snap(void *arg, const struct layer_rec *rec, const char *text, size_t text_len)
{
    struct snap_list *l = arg;
    struct m_snap *sn = m_snap_find(l->mv, rec->name);

    (void)text, (void)text_len;
    WANT(l->m, sn, "snapshot %s is listed", rec->name);
    WANT(l->m, sn->held == (rec->holds > 0), "snapshot %s: %u holds", rec->name, rec->holds);
    WANT(l->m, rec->blocks == o_tree_blocks(sn->tree) && rec->inodes == sn->tree->n,
         "snapshot %s has %llu blocks and %llu inodes, not %llu and %zu", rec->name, U(rec->blocks),
         U(rec->inodes), U(o_tree_blocks(sn->tree)), sn->tree->n);
    WANT(l->m, l->n == 0 || rec->number > l->number, "snapshot %s: number %llu after %llu", rec->name,
         U(rec->number), U(l->number));
    l->number = rec->number;
    l->n++;
    return 0;
}

void m_verify_list(struct m_run *m, struct m_vol *mv)
{
    struct snap_list l = {m, mv, 0, 0};

    m_expect(m, snap_each(mv->v, on_snap, &l), 0, "snap_each");
    for (size_t i = 0; i < mv->nsnaps; i++) {
        struct layer_rec rec;
        int r = snap_find(mv->v, mv->snap[i].name, &rec);

        WANT(m, r == 0, "snapshot %s of %s: %s", mv->snap[i].name, mv->name, err_name(r));
    }
    WANT(m, l.n == mv->nsnaps, "%zu snapshots are listed, not %zu", l.n, mv->nsnaps);
}

void m_verify_all(struct m_run *m)
{
    for (size_t i = 0; i < m->nvols; i++) {
        struct m_vol *mv = &m->vol[i];

        m->vol_name = mv->name;
        m_verify_list(m, mv);
        m_verify_space(m, mv);
        m_verify_live(m, mv);
        for (size_t k = 0; k < mv->nsnaps; k++)
            m_verify_snap(m, mv, &mv->snap[k]);
        for (size_t k = 0; k < mv->nstale; k++)
            m_verify_tree(m, mv, mv->stale[k].tree, mv->stale[k].view);
    }
}
