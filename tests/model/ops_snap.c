/* Operations on snapshots and volumes. */
#include "tests/model/model.h"

#include <stdlib.h>

static void snap_add(struct m_vol *mv, const char *name, struct o_tree *tree)
{
    struct m_snap *sn = &mv->snap[mv->nsnaps++];

    memset(sn, 0, sizeof(*sn));
    snprintf(sn->name, sizeof(sn->name), "%s", name);
    sn->tree = tree;
}

static void snap_forget(struct m_vol *mv, struct m_snap *sn)
{
    size_t i = (size_t)(sn - mv->snap);

    for (size_t k = 0; sn->keeps && k < mv->nstale; k++) {
        if (mv->stale[k].view != sn->kept_view)
            continue;
        o_tree_free(mv->stale[k].tree);
        memmove(&mv->stale[k], &mv->stale[k + 1], (--mv->nstale - k) * sizeof(*mv->stale));
    }
    o_tree_free(sn->tree);
    mv->nsnaps--;
    memmove(sn, sn + 1, (mv->nsnaps - i) * sizeof(*sn));
}

static void snap_name(struct m_run *m, char *name, size_t size)
{
    static const char *const before[] = {"s", "day ", "\xc3\xa4-", "x"};
    static const char *const after[] = {"", "", "", "#!"};
    unsigned shape = m_chance(m, 70) ? 0 : (unsigned)m_rand(m, 4);

    snprintf(name, size, "%s%llu%s", before[shape], (unsigned long long)++m->snap_seq, after[shape]);
}

void op_snap_create(struct m_run *m, struct m_vol *mv)
{
    struct layer_rec rec;
    char name[64];
    bool anonymous = m_chance(m, 10);
    int want = 0;

    if (mv->nsnaps + 2 >= SNAPS_MAX)
        return op_snap_delete(m, mv);
    snap_name(m, name, sizeof(name));
    if (mv->nsnaps && m_chance(m, 4)) {
        snprintf(name, sizeof(name), "%.60s", m_pick_snap(m, mv)->name);
        want = m_snap_find(mv, name) && !anonymous ? -E_EXIST : 0;
    }
    m_trace(m, "snap_create %s%s", anonymous ? "(time) " : "", name);
    if (!m_expect(m, snap_create(mv->v, &m->ctx, anonymous ? NULL : name, &rec), want, "snap_create"))
        return;
    WANT(m, anonymous || strcmp(rec.name, name) == 0, "snapshot is called %s", rec.name);
    WANT(m, !m_snap_find(mv, rec.name), "snapshot %s is there twice", rec.name);
    snap_add(mv, rec.name, o_tree_copy(mv->live));
    m->snaps_most = MAX_OF(m->snaps_most, mv->nsnaps);
}

void op_snap_delete(struct m_run *m, struct m_vol *mv)
{
    struct m_snap *sn = m_pick_snap(m, mv);
    struct vfs_attr a;
    int want;

    if (!sn || (mv->nsnaps <= 34 && !m_chance(m, 25)))
        return;
    want = sn->held ? -E_HELD : 0;
    m_trace(m, "snap_delete %s", sn->name);
    if (!m_expect(m, snap_delete(mv->v, &m->ctx, sn->name), want, "snap_delete"))
        return;
    if (sn->entered)
        m_expect(m, vfs_getattr(mv->v, vfs_node_make(sn->view, INO_ROOT), &a), -E_STALE,
                 "getattr in a deleted snapshot");
    snap_forget(mv, sn);
}

void op_snap_rename(struct m_run *m, struct m_vol *mv)
{
    struct m_snap *sn = m_pick_snap(m, mv), *other = m_pick_snap(m, mv);
    char name[64];

    if (!sn)
        return;
    if (m_chance(m, 20) && other != sn) {
        m_expect(m, snap_rename(mv->v, &m->ctx, sn->name, other->name), -E_EXIST, "snap_rename");
        return;
    }
    snap_name(m, name, sizeof(name));
    m_trace(m, "snap_rename %s to %s", sn->name, name);
    if (m_expect(m, snap_rename(mv->v, &m->ctx, sn->name, name), 0, "snap_rename"))
        snprintf(sn->name, sizeof(sn->name), "%s", name);
}

void op_snap_hold(struct m_run *m, struct m_vol *mv)
{
    struct m_snap *sn = m_pick_snap(m, mv);

    if (!sn)
        return;
    m_trace(m, "snap_hold %s %d", sn->name, !sn->held);
    if (sn->held)
        m_expect(m, snap_release(mv->v, sn->name, "tag"), 0, "snap_release");
    else
        m_expect(m, snap_hold(mv->v, sn->name, "tag"), 0, "snap_hold");
    sn->held = !sn->held;
}

/* Any directory of a snapshot by its own view: the tree below it is as it was. */
void op_view_read(struct m_run *m, struct m_vol *mv)
{
    struct m_snap *sn = m_pick_snap(m, mv);
    const struct o_ino *dir, *in;
    struct vfs_attr a;
    vfs_node root, n;

    if (!sn)
        return;
    dir = sn->tree->v[m_rand(m, sn->tree->n)];
    in = sn->tree->v[m_rand(m, sn->tree->n)];
    if (m_chance(m, 20)) { /* entered by a directory that may not have been there */
        dir = o_get(sn->tree, m_pick_dir(m, mv));
        if (!dir)
            return;
    }
    if (!o_is_dir(dir))
        dir = o_get(sn->tree, INO_ROOT);
    m_trace(m, "view_read %s by %llu", sn->name, (unsigned long long)dir->ino);
    if (!m_expect(m, view_enter(mv->v, sn->name, dir->ino, &root, &a), 0, "view_enter"))
        return;
    m_verify_ino(m, mv, dir, root);
    for (size_t i = 0; i < dir->nent; i++) {
        m_expect(m, vfs_lookup(mv->v, root, dir->ent[i].name, &a), 0, "lookup in a view");
        m_verify_ino(m, mv, o_get(sn->tree, dir->ent[i].ino), a.node);
    }
    n = vfs_node_make(vfs_node_view(root), in->ino);
    m_verify_ino(m, mv, in, n);
    if (S_ISREG(in->mode))
        m_compare_bytes(m, mv, n, in, m_pick_offset(m, in), m_pick_len(m));
}

/* A snapshot cannot be changed. */
void op_view_write(struct m_run *m, struct m_vol *mv)
{
    struct m_snap *sn = m_pick_snap(m, mv);
    const struct o_ino *in;
    struct vfs_setattr set = {.set = VFS_SIZE};
    struct vfs_attr a;
    vfs_node root, n;

    if (!sn)
        return;
    in = sn->tree->v[m_rand(m, sn->tree->n)];
    m_expect(m, view_enter(mv->v, sn->name, INO_ROOT, &root, &a), 0, "view_enter");
    n = vfs_node_make(vfs_node_view(root), in->ino);
    m_trace(m, "view_write %s ino=%llu", sn->name, (unsigned long long)in->ino);
    if (S_ISREG(in->mode)) {
        m_expect(m, vfs_write(mv->v, &m->ctx, n, "x", 1, 0, false), -E_ROFS, "write in a view");
        m_expect(m, vfs_setattr(mv->v, &m->ctx, n, &set, &a), -E_ROFS, "truncate in a view");
        m_expect(m, vfs_link(mv->v, &m->ctx, n, m_node(mv, INO_ROOT), "linked", &a), -E_XDEV,
                 "link out of a view");
    }
    m_expect(m, vfs_mknod(mv->v, &m->ctx, root, "new", S_IFREG | 0644, 0, &a), -E_ROFS, "mknod in a view");
    m_expect(m, vfs_setxattr(mv->v, &m->ctx, n, "user.v", "x", 1, 0, false), -E_ROFS, "setxattr in a view");
}

static void stale_add(struct m_vol *mv, uint32_t view, struct o_tree *tree)
{
    if (mv->nstale == STALE_MAX) {
        o_tree_free(mv->stale[0].tree);
        memmove(mv->stale, mv->stale + 1, (STALE_MAX - 1) * sizeof(*mv->stale));
        mv->nstale--;
    }
    mv->stale[mv->nstale++] = (struct m_stale){view, tree};
}

/* What was open before goes on reading what it had, and cannot write (F7). */
static void check_stale(struct m_run *m, struct m_vol *mv)
{
    const struct m_stale *st = &mv->stale[mv->nstale - 1];

    for (size_t i = 0; i < st->tree->n; i++) {
        const struct o_ino *in = st->tree->v[i];
        vfs_node n = vfs_node_make(st->view, in->ino);

        if (!S_ISREG(in->mode) || m_chance(m, 60))
            continue;
        m_verify_ino(m, mv, in, n);
        m_compare_bytes(m, mv, n, in, 0, MIN_OF(in->size, (uint64_t)70000));
        m_expect(m, vfs_write(mv->v, &m->ctx, n, "x", 1, 0, false), -E_STALE,
                 "write into a tree that was rolled back");
    }
}

void op_rollback(struct m_run *m, struct m_vol *mv)
{
    struct m_snap *sn = m_pick_snap(m, mv);
    uint32_t view = mv->v->rec.live_view;
    char kept[NAME_LEN_MAX + 1] = "";
    struct o_tree *old = mv->live;
    int r;

    if (!sn || mv->nsnaps + 2 >= SNAPS_MAX)
        return;
    m_trace(m, "rollback to %s", sn->name);
    r = snap_rollback(mv->v, &m->ctx, sn->name, kept);
    if (r == -E_DEPTH)
        return;
    if (!m_expect(m, r, 0, "rollback"))
        return;
    m->branches++;
    WANT(m, strncmp(kept, "before-rollback-", 16) == 0, "the state before is kept as %s", kept);
    WANT(m, mv->v->rec.live_view != view, "the live tree kept its view number");
    mv->live = o_tree_copy(sn->tree);
    snap_add(mv, kept, o_tree_copy(old));
    mv->snap[mv->nsnaps - 1].keeps = true;
    mv->snap[mv->nsnaps - 1].kept_view = view;
    stale_add(mv, view, o_tree_copy(old));
    o_tree_free(old);
    m_verify_space(m, mv);
    m_verify_live(m, mv);
    check_stale(m, mv);
}

void op_clone(struct m_run *m, struct m_vol *mv)
{
    struct m_snap *sn = m_chance(m, 80) ? m_pick_snap(m, mv) : NULL;
    struct m_vol *c = &m->vol[m->nvols];
    struct volume_info info;
    int r;

    if (m->nvols == VOLS_MAX || mv->nsnaps + 2 >= SNAPS_MAX)
        return;
    memset(c, 0, sizeof(*c));
    snprintf(c->name, sizeof(c->name), "clone%llu", (unsigned long long)++m->vol_seq);
    m_trace(m, "clone %s of %s@%s", c->name, mv->name, sn ? sn->name : "(now)");
    r = volume_clone(mv->v, sn ? sn->name : NULL, c->name, &c->v);
    if (r == -E_DEPTH || !m_expect(m, r, 0, "clone"))
        return;
    m->branches++;
    c->live = o_tree_copy(sn ? sn->tree : mv->live);
    c->max_ino = c->live->v[c->live->n - 1]->ino;
    m_expect(m, volume_get_info(c->v, &info), 0, "volume_get_info");
    c->limit_blocks = info.rec.size_limit / BLOCK_SIZE;
    m->nvols++;
    if (!sn)
        m_adopt_snaps(m, mv);
    m_verify_live(m, c);
    m_verify_space(m, c);
}

struct adopt {
    struct m_run *m;
    struct m_vol *mv;
};

static int adopt_one(void *arg, const struct layer_rec *rec, const char *text, size_t text_len)
{
    struct adopt *a = arg;

    (void)text, (void)text_len;
    if (!m_snap_find(a->mv, rec->name))
        snap_add(a->mv, rec->name, o_tree_copy(a->mv->live));
    return 0;
}

/* A clone of the present takes a snapshot of its own: know it by what is listed. */
void m_adopt_snaps(struct m_run *m, struct m_vol *mv)
{
    struct adopt a = {m, mv};
    size_t before = mv->nsnaps;

    m_expect(m, snap_each(mv->v, adopt_one, &a), 0, "snap_each");
    WANT(m, mv->nsnaps <= before + 1, "a clone made %zu snapshots", mv->nsnaps - before);
}

void m_vol_forget(struct m_vol *mv)
{
    while (mv->nsnaps)
        snap_forget(mv, &mv->snap[mv->nsnaps - 1]);
    for (size_t i = 0; i < mv->nstale; i++)
        o_tree_free(mv->stale[i].tree);
    o_tree_free(mv->live);
    memset(mv, 0, sizeof(*mv));
}

/* Deleting and purging one volume leaves all others as they are. */
void op_vol_delete(struct m_run *m, struct m_vol *mv)
{
    size_t i = (size_t)(mv - m->vol);
    char why[256] = "", name[64];
    struct vol *v = mv->v, *back;
    int r;

    if (m->nvols < 2)
        return;
    snprintf(name, sizeof(name), "%s", mv->name);
    m_trace(m, "vol_delete %s", name);
    r = volume_delete(v, why);
    if (r == -E_CLONES) {
        WANT(m, strncmp(why, "clone", 5) == 0, "clones are not named: %s", why);
        return;
    }
    if (!m_expect(m, r, 0, "volume_delete"))
        return;
    m_expect(m, volume_find(m->s, name, &back), -E_NOENT, "volume_find of a deleted one");
    if (m_chance(m, 30)) {
        m_expect(m, volume_undelete(m->s, name, &back), 0, "volume_undelete");
        mv->v = back;
        m_verify_live(m, mv);
        return;
    }
    m_expect(m, volume_purge(v), 0, "volume_purge");
    m_vol_forget(mv);
    memmove(mv, mv + 1, (m->nvols - i - 1) * sizeof(*mv));
    memset(&m->vol[--m->nvols], 0, sizeof(*mv));
}

void op_diff(struct m_run *m, struct m_vol *mv)
{
    struct m_snap *a = m_pick_snap(m, mv), *b = m_pick_snap(m, mv);

    if (!a)
        return;
    m_trace(m, "diff %s %s", a->name, b->name);
    if (m_chance(m, 50))
        m_verify_diff(m, mv, a->name, a->tree, NULL, mv->live);
    else
        m_verify_diff(m, mv, a->name, a->tree, b->name, b->tree);
}
