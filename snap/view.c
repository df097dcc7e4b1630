/* Views (F8): numbers for (snapshot, directory by which it is entered), journaled so that a restarted daemon knows the node
 * ids that the kernel holds. */
#include "snap/internal.h"
#include "snap/store/record.h"

/* In one transaction: everybody waits for it, and a record of the journal holds no more than fits into a segment. */
#define VIEWS_SEEN 4096u
#define VIEWS_GONE 512u

static int view_put(struct txn *t, uint32_t vol, uint32_t view, const struct view_rec *rec)
{
    uint8_t key[KEY_SIZE_MAX], val[RECORD_SIZE_MAX];

    return txn_put_plain(t, key, key_u32_u32(key, TAB_VIEW, vol, view), val, view_rec_encode(rec, val));
}

static int view_del(struct txn *t, uint32_t vol, uint32_t view)
{
    uint8_t key[KEY_SIZE_MAX];

    return txn_del(t, KEEP_FIRM, (struct txn_owner){0}, key, key_u32_u32(key, TAB_VIEW, vol, view));
}

/* From a number on, until cb gives something else than 0. */
static int views_each(struct txn *t, uint32_t vol, uint32_t first,
                      int (*cb)(void *arg, struct txn *t, uint32_t vol, uint32_t view,
                                const struct view_rec *rec),
                      void *arg)
{
    uint8_t key[KEY_SIZE_MAX];
    const uint8_t *found;
    struct view_rec rec;
    struct txn_val val;
    uint64_t from = first;
    size_t flen;
    int r;

    while (from <= UINT32_MAX) {
        size_t n = key_u32_u32(key, TAB_VIEW, vol, (uint32_t)from);
        r = txn_ge(t, KEEP_FIRM, key, n, 5, &found, &flen, &val);
        if (r < 0)
            return r == -E_NOENT ? 0 : r;
        if ((r = view_rec_decode(val.data, val.len, &rec)) < 0)
            return r;
        from = get_be32(found + 5);
        if ((r = cb(arg, t, vol, (uint32_t)from, &rec)) != 0)
            return r;
        from++;
    }
    return 0;
}

int view_number(struct volume_rec *vr, uint32_t *ret)
{
    if (vr->next_view <= vr->live_view)
        vr->next_view = vr->live_view + 1;
    if (vr->next_view > VFS_VIEW_MAX)
        return -E_VIEWS;
    *ret = vr->next_view++;
    return 0;
}

int view_keep_live(struct txn *t, struct vol *v, const struct layer_rec *rec)
{
    struct view_rec vw = {.branch = rec->branch, .layer = rec->layer, .dir = INO_ROOT, .kind = 2};

    return view_put(t, v->rec.id, v->rec.live_view, &vw);
}

/* In a write transaction: the number of this view, found or allotted; *ret_new says which. */
static int view_take(struct txn *t, struct vol *v, const struct view_rec *rec, uint32_t *ret, bool *ret_new)
{
    struct volume_rec vr = v->rec;
    int r;

    *ret_new = false;
    if (state_view_find(t->store, vr.id, rec, ret) == 0)
        return 0;
    if ((r = view_number(&vr, ret)) < 0)
        return r;
    *ret_new = true;
    r = view_put(t, vr.id, *ret, rec);
    return r < 0 ? r : vol_put(t, v, &vr);
}

static int view_allot(struct vol *v, const char *snap, struct view_rec *rec, uint32_t *ret)
{
    struct layer l;
    struct txn t;
    bool fresh = false;
    int r;

    if ((r = txn_begin_freeing(v->store, OP_VIEW, v, &t)) < 0)
        return r;
    r = layer_find(&t, v->rec.id, snap, &l);
    if (r == 0 && (!layer_shown(&l.rec) || l.rec.branch != rec->branch || l.rec.layer != rec->layer))
        r = -E_NOENT; /* went away, or another took its name, since it was looked up */
    if (r == 0)
        r = view_take(&t, v, rec, ret, &fresh);
    if (r < 0) {
        txn_abort(&t);
        return r;
    }
    if ((r = txn_commit(&t)) < 0 || !fresh)
        return r;
    return state_view_add(v->store, v->rec.id, *ret, rec);
}

/* The directory as of the snapshot: -E_NOENT when it was not there, or was no directory, or had lost its name. */
static int view_dir_check(struct txn *t, const struct view_rec *rec)
{
    struct inode in;
    int r = inode_get(t, (struct vt_at){rec->branch, rec->layer}, rec->dir, &in);

    if (r < 0)
        return r;
    return (in.mode & S_IFMT) == S_IFDIR && in.nlink > 0 ? 0 : -E_NOENT;
}

int view_enter(struct vol *v, const char *snap, uint64_t dir_ino, vfs_node *root, struct vfs_attr *ret)
{
    struct view_rec rec = {.dir = BROKEN(VARVE_BREAK_view_dir) ? INO_ROOT : dir_ino, .kind = 1};
    struct layer l;
    struct txn t;
    uint32_t view;
    int r;

    if ((r = txn_begin(v->store, TXN_READ, OP_NONE, v, &t)) < 0)
        return r;
    r = layer_find(&t, v->rec.id, snap, &l);
    if (r == 0 && !layer_shown(&l.rec))
        r = -E_NOENT;
    rec.branch = r == 0 ? l.rec.branch : 0;
    rec.layer = r == 0 ? l.rec.layer : 0;
    if (r == 0)
        r = view_dir_check(&t, &rec);
    txn_abort(&t);
    if (r == 0 && l.rec.state == LAYER_SETTLING)
        layer_wait(v, l.rec.layer); /* F6: what is shown does not change any more */
    if (r == 0 && state_view_find(v->store, v->rec.id, &rec, &view) < 0)
        r = view_allot(v, snap, &rec, &view);
    if (r < 0)
        return r;
    *root = vfs_node_make(view, dir_ino);
    return ret ? vfs_getattr(v, *root, ret) : 0;
}

int view_enter_readonly(struct vol *v, const char *snap, vfs_node *root)
{
    return view_enter(v, snap, INO_ROOT, root, NULL);
}

int view_get(struct vol *v, uint32_t view, struct view_rec *ret)
{
    uint8_t key[KEY_SIZE_MAX];
    struct txn_val val;
    struct txn t;
    int r;

    if ((r = txn_begin(v->store, TXN_READ, OP_NONE, v, &t)) < 0)
        return r;
    r = txn_get(&t, KEEP_FIRM, key, key_u32_u32(key, TAB_VIEW, v->rec.id, view), &val);
    if (r == 0)
        r = view_rec_decode(val.data, val.len, ret);
    txn_abort(&t);
    return r == -E_NOENT ? -E_STALE : r;
}

struct forgetting {
    uint32_t branch, layer; /* branch 0: all of the volume */
    uint32_t next;          /* the view to go on with; 0: there are no more */
    unsigned seen, gone;    /* in this transaction */
};

static int forget_one(void *arg, struct txn *t, uint32_t vol, uint32_t view, const struct view_rec *rec)
{
    const struct forgetting *f = arg;

    if (f->branch && (rec->branch != f->branch || rec->layer != f->layer))
        return 0;
    return view_del(t, vol, view);
}

int views_forget_layer(struct txn *t, uint32_t vol, uint32_t branch, uint32_t layer, uint32_t from)
{
    return views_each(t, vol, from, forget_one, &(struct forgetting){.branch = branch, .layer = layer});
}

int views_forget_volume(struct txn *t, uint32_t vol)
{
    return views_each(t, vol, 0, forget_one, &(struct forgetting){0});
}

static int forget_some(void *arg, struct txn *t, uint32_t vol, uint32_t view, const struct view_rec *rec)
{
    struct forgetting *f = arg;

    if (f->seen++ == VIEWS_SEEN || f->gone == VIEWS_GONE) {
        f->next = view;
        return 1;
    }
    f->gone += !f->branch || (rec->branch == f->branch && rec->layer == f->layer);
    return forget_one(f, t, vol, view, rec);
}

/* Has a mount begun while the one before it ends? It knows numbers of its own, and the live tree's. */
static bool mounted_anew(const struct vol *v)
{
    return __atomic_load_n(&v->mounts, __ATOMIC_SEQ_CST) > 1;
}

static int thin_step(struct vol *v, struct forgetting *f)
{
    uint32_t from = f->next;
    struct txn t;
    int r;

    f->next = f->seen = f->gone = 0;
    if ((r = txn_begin_freeing(v->store, OP_VIEW, v, &t)) < 0)
        return r;
    r = f->branch || !mounted_anew(v) ? views_each(&t, v->rec.id, from, forget_some, f) : 0;
    if (r < 0)
        txn_abort(&t);
    return r < 0 ? r : txn_commit(&t);
}

int views_thin(struct vol *v, uint32_t branch, uint32_t layer, uint32_t *ret_from)
{
    struct forgetting f = {.branch = branch, .layer = layer};
    struct txn t;
    int r;

    if ((r = txn_begin_freeing(v->store, OP_VIEW, v, &t)) < 0)
        return r;
    *ret_from = v->rec.next_view; /* what comes meanwhile gets higher numbers */
    if (branch || !mounted_anew(v))
        state_views_forget(v->store, v->rec.id, branch, layer); /* nobody is led to one that goes */
    txn_abort(&t);
    do
        r = thin_step(v, &f);
    while (r == 0 && f.next > 0 && f.next < *ret_from);
    return r;
}

int views_free_all(struct vol *v)
{
    struct volume_rec vr;
    uint32_t from;
    struct txn t;
    int r;

    if ((r = views_thin(v, 0, 0, &from)) < 0 || (r = txn_begin_freeing(v->store, OP_VIEW, v, &t)) < 0)
        return r;
    if (mounted_anew(v)) {
        txn_abort(&t);
        return 0;
    }
    vr = v->rec;
    vr.live_view = 0;
    vr.next_view = 1;
    r = views_forget_volume(&t, vr.id);
    if (r == 0 && (v->rec.live_view != 0 || v->rec.next_view != 1))
        r = vol_put(&t, v, &vr);
    if (r < 0) {
        txn_abort(&t);
        return r;
    }
    if ((r = txn_commit(&t)) == 0)
        state_views_forget(v->store, v->rec.id, 0, 0);
    return r;
}

static int load_one(void *arg, struct txn *t, uint32_t vol, uint32_t view, const struct view_rec *rec)
{
    (void)arg;
    return state_view_add(t->store, vol, view, rec);
}

int views_load(struct store *s)
{
    struct txn t;
    int r;

    if ((r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t)) < 0)
        return r;
    for (struct vol *v = vol_first(s); v && r == 0; v = v->next)
        r = views_each(&t, v->rec.id, 0, load_one, NULL);
    txn_abort(&t);
    return r;
}
