#include "snap/store/vol.h"

#include <stdlib.h>

#include "snap/store/store_int.h"

struct vol *vol_first(struct store *s)
{
    return s->vols;
}

struct vol *vol_by_id(struct store *s, uint32_t id)
{
    for (struct vol *v = s->vols; v; v = v->next)
        if (v->rec.id == id)
            return v;
    return NULL;
}

struct vol *vol_by_name(struct store *s, const char *name)
{
    for (struct vol *v = s->vols; v; v = v->next)
        if (!(v->rec.flags & (VOLUME_DELETED | VOLUME_GHOST)) && strcmp(v->rec.name, name) == 0)
            return v;
    return NULL;
}

struct vol_change {
    struct vol *v;
    struct volume_rec rec;
    struct vstat_rec stat;
};

/* The id never changes, and is read without the lock by whoever takes an inode's lock: it is left alone. */
static void assign_rec(struct volume_rec *to, const struct volume_rec *from)
{
    size_t before = offsetof(struct volume_rec, id), after = before + sizeof(to->id);

    assert(to->id == from->id);
    memcpy(to, from, before);
    memcpy((uint8_t *)to + after, (const uint8_t *)from + after, sizeof(*to) - after);
}

static void change_rec(struct store *s, void *arg)
{
    struct vol_change *c = arg;

    if (c->v->rec.head != c->rec.head) /* what is pending belongs to the tree that was */
        __atomic_store_n(&c->v->pending_blocks, 0, __ATOMIC_RELAXED);
    assign_rec(&c->v->rec, &c->rec);
    if (vol_by_id(s, c->rec.id) != c->v) {
        c->v->next = s->vols;
        s->vols = c->v;
        if (s->unborn == c->v)
            s->unborn = NULL;
    }
}

static void change_stat(struct store *s, void *arg)
{
    struct vol_change *c = arg;

    (void)s;
    __atomic_store_n(&c->v->stat.blocks, c->stat.blocks, __ATOMIC_RELAXED);
    __atomic_store_n(&c->v->stat.inodes, c->stat.inodes, __ATOMIC_RELAXED);
    c->v->stat.next_ino = MAX_OF(c->stat.next_ino, c->v->stat.next_ino);
}

int vol_put(struct txn *t, struct vol *v, const struct volume_rec *rec)
{
    uint8_t k[KEY_SIZE_MAX], out[RECORD_SIZE_MAX];
    struct vol_change *c = txn_alloc(t, sizeof(*c));

    if (!c)
        return -E_NOMEM;
    *c = (struct vol_change){.v = v, .rec = *rec};
    int r = txn_on_commit(t, change_rec, c);
    return r < 0 ? r : txn_put_plain(t, k, key_u32(k, TAB_VOLUME, rec->id), out, volume_rec_encode(rec, out));
}

int vol_put_stat(struct txn *t, struct vol *v, const struct vstat_rec *st)
{
    uint8_t k[KEY_SIZE_MAX], out[RECORD_SIZE_MAX];
    struct vol_change *c = txn_alloc(t, sizeof(*c));

    if (!c)
        return -E_NOMEM;
    *c = (struct vol_change){.v = v, .stat = *st};
    c->stat.next_ino = MAX_OF(st->next_ino, v->stat.next_ino);
    int r = txn_on_commit(t, change_stat, c);
    return r < 0
               ? r
               : txn_put_plain(t, k, key_u32(k, TAB_VSTAT, v->rec.id), out, vstat_rec_encode(&c->stat, out));
}

/* Their places stay until the store is closed: in rows of their own, as one by one they would hold the pages that lie around them. */
struct vol_row {
    struct vol_row *next;
    size_t used;
    struct vol vols[16];
};

static struct vol *vol_alloc(struct store *s)
{
    struct vol_row *row = s->vol_rows;

    if (s->spare) {
        struct vol *v = s->spare;
        s->spare = v->next;
        *v = (struct vol){.store = s};
        return v;
    }
    if (!row || row->used == ARRAY_LEN(row->vols)) {
        row = calloc(1, sizeof(*row));
        if (!row)
            return NULL;
        row->next = s->vol_rows;
        s->vol_rows = row;
    }
    struct vol *v = &row->vols[row->used++];
    v->store = s;
    return v;
}

/* A volume whose transaction aborts is forgotten: it has no name and no id in any list. One in a transaction. */
int vol_new(struct txn *t, struct vol **ret)
{
    struct vol *v = t->store->unborn; /* of one that was aborted */

    if (v)
        *v = (struct vol){.store = t->store};
    else if (!(v = vol_alloc(t->store)))
        return -E_NOMEM;
    t->store->unborn = v;
    v->rec.id = txn_next_volume(t);
    *ret = v;
    return 0;
}

uint64_t vol_next_ino(struct txn *t, struct vol *v)
{
    txn_charge(t, v, 0, 0);
    return v->stat.next_ino++;
}

uint64_t vol_present_blocks(const struct vol *v)
{
    int64_t n = (int64_t)__atomic_load_n(&v->stat.blocks, __ATOMIC_RELAXED) +
                __atomic_load_n(&v->pending_blocks, __ATOMIC_RELAXED);

    return n < 0 ? 0 : (uint64_t)n;
}

bool vol_live(struct vol *v, uint32_t view, uint32_t *ret_branch)
{
    bool is;

    pthread_rwlock_rdlock(&v->store->lock);
    is = v->rec.live_view == view;
    *ret_branch = v->rec.head;
    pthread_rwlock_unlock(&v->store->lock);
    return is;
}

uint64_t vol_used_blocks(const struct vol *v)
{
    int64_t n = (int64_t)__atomic_load_n(&v->stat.blocks, __ATOMIC_RELAXED) +
                __atomic_load_n(&v->pending_blocks, __ATOMIC_RELAXED) +
                (int64_t)__atomic_load_n(&v->reserved_blocks, __ATOMIC_RELAXED);

    return n < 0 ? 0 : (uint64_t)n;
}

int vol_room(const struct vol *v, uint64_t blocks, uint64_t inodes)
{
    if (blocks && v->rec.size_limit && vol_used_blocks(v) + blocks > v->rec.size_limit / BLOCK_SIZE)
        return -E_QUOTA;
    if (inodes && v->rec.inode_limit && v->stat.inodes + inodes > v->rec.inode_limit)
        return -E_QUOTA_INODES;
    return 0;
}

uint32_t layers_before(const uint32_t *layers, uint32_t n, uint32_t layer)
{
    uint32_t lo = 0, hi = n;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (layers[mid] < layer)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* The number of retained layers below `layer`. */
static uint32_t retained_before(const struct branch_mem *b, uint32_t layer)
{
    return layers_before(b->retained, b->nretained, layer);
}

uint32_t layer_retained_below(struct store *s, uint32_t branch, uint32_t layer)
{
    const struct branch_mem *b = branch_mem(s, branch);
    uint32_t n = b ? retained_before(b, layer) : 0;

    return n ? b->retained[n - 1] : 0;
}

uint32_t layer_retained_above(struct store *s, uint32_t branch, uint32_t layer)
{
    const struct branch_mem *b = branch_mem(s, branch);
    uint32_t n = b ? retained_before(b, layer + 1) : 0;

    return b && n < b->nretained ? b->retained[n] : LAYER_NOW;
}

bool layer_retained(struct store *s, uint32_t branch, uint32_t from, uint32_t before)
{
    const struct branch_mem *b = branch_mem(s, branch);

    if (!b || b->nretained == 0)
        return false;
    uint32_t n = retained_before(b, before);
    return n && b->retained[n - 1] >= from;
}

int layer_note_reserve(struct store *s, uint32_t branch)
{
    struct branch_mem *b;
    int r = branch_mem_make(s, branch, &b);

    if (r < 0 || b->nretained + 8 < b->cap)
        return r;
    uint32_t cap = b->cap * 2 + 16;
    uint32_t *p = realloc(b->retained, cap * sizeof(*p));
    if (!p)
        return -E_NOMEM;
    b->retained = p;
    b->cap = cap;
    return 0;
}

void layer_note(struct store *s, uint32_t branch, uint32_t layer, bool retained)
{
    struct branch_mem *b = branch_slot(s, branch);
    bool there;
    uint32_t n;

    if (!b) /* it was deleted in the same transaction */
        return;
    n = retained_before(b, layer);
    there = n < b->nretained && b->retained[n] == layer;
    if (there == retained)
        return;
    if (retained) {
        assert(b->nretained < b->cap);
        memmove(&b->retained[n + 1], &b->retained[n], (b->nretained - n) * sizeof(b->retained[0]));
        b->retained[n] = layer;
        b->nretained++;
    } else {
        memmove(&b->retained[n], &b->retained[n + 1], (b->nretained - n - 1) * sizeof(b->retained[0]));
        b->nretained--;
    }
}

/* Reads all records of one plain table. */
static int each_record(struct txn *t, uint8_t tab,
                       int (*fn)(struct store *s, const uint8_t *key, const struct txn_val *v))
{
    uint8_t k[KEY_SIZE_MAX + 1] = {tab};
    size_t n = 1;

    for (;;) {
        const uint8_t *found;
        size_t flen;
        struct txn_val v;
        int r = txn_ge(t, KEEP_PENDING, k, n, 1, &found, &flen, &v);
        if (r == 0)
            r = fn(t->store, found, &v);
        if (r < 0)
            return r == -E_NOENT ? 0 : r;
        memcpy(k, found, flen);
        k[flen] = 0;
        n = flen + 1;
    }
}

static int load_vol(struct store *s, const uint8_t *key, const struct txn_val *val)
{
    struct vol *v = vol_alloc(s);

    if (!v)
        return -E_NOMEM;
    int r = volume_rec_decode(val->data, val->len, &v->rec);
    if (r == 0 && v->rec.id != get_be32(key + 1))
        r = -E_CORRUPT;
    if (r < 0)
        return r;
    v->next = s->vols;
    s->vols = v;
    return 0;
}

static int load_stat(struct store *s, const uint8_t *key, const struct txn_val *val)
{
    struct vol *v = vol_by_id(s, get_be32(key + 1));

    return v ? vstat_rec_decode(val->data, val->len, &v->stat) : 0;
}

static int load_branch(struct store *s, const uint8_t *key, const struct txn_val *val)
{
    struct branch_mem *b;
    uint32_t id = get_be32(key + 1);
    int r = id < s->next.branch ? branch_mem_make(s, id, &b) : -E_CORRUPT;

    if (r < 0)
        return r;
    b->present = true;
    b->own[0] = b->own[1] = UINT32_MAX;
    r = branch_rec_decode(val->data, val->len, &b->rec);
    /* numbers grow: who follows parents comes to an end */
    if (r == 0 && (b->rec.id != id || (b->rec.parent >= id && !BROKEN(VARVE_BREAK_branch_parent))))
        r = -E_CORRUPT;
    return r;
}

static int load_layer(struct store *s, const uint8_t *key, const struct txn_val *val)
{
    struct layer_rec rec;
    int r = layer_rec_decode(val->data, val->len, &rec, NULL, NULL);

    if (r == 0 &&
        (rec.vol != get_be32(key + 1) || rec.layer != get_be32(key + 5) || rec.branch >= s->next.branch))
        r = -E_CORRUPT;
    if (r == 0)
        r = layer_note_reserve(s, rec.branch);
    if (r == 0 && rec.state != LAYER_DELETING)
        layer_note(s, rec.branch, rec.layer, true);
    return r;
}

int vols_load(struct store *s)
{
    struct txn t;
    int r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t);

    if (r < 0)
        return r;
    r = each_record(&t, TAB_VOLUME, load_vol);
    if (r == 0)
        r = each_record(&t, TAB_VSTAT, load_stat);
    if (r == 0)
        r = each_record(&t, TAB_BRANCH, load_branch);
    if (r == 0)
        r = each_record(&t, TAB_LAYER, load_layer);
    if (r == 0)
        r = branches_load_own(&t);
    txn_abort(&t);
    return r;
}

void vols_free(struct store *s)
{
    s->vols = s->unborn = s->gone = s->spare = NULL;
    while (s->vol_rows) {
        struct vol_row *row = s->vol_rows;
        s->vol_rows = row->next;
        for (size_t i = 0; i < row->used; i++)
            free(row->vols[i].why_readonly);
        free(row);
    }
    branches_free(s);
}
