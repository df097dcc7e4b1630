#include "snap/store/vtab.h"

#include "snap/store/store_int.h"

/* The branch's own live record; *ret_tomb: it is a tombstone. -E_NOENT. */
static int own_live(struct txn *t, enum keep keep, uint32_t branch, uint8_t tab, const void *key,
                    struct txn_val *ret)
{
    uint8_t k[KEY_SIZE_MAX];

    return txn_get(t, keep, k, key_live(k, tab, branch, key, tab_key_len(tab)), ret);
}

/* The history record visible in layer: the first with died > layer, if it was born by then. */
static int own_history(struct txn *t, enum keep keep, uint32_t branch, uint8_t tab, const void *key,
                       uint32_t layer, struct txn_val *ret)
{
    uint8_t k[KEY_SIZE_MAX];
    const uint8_t *found;
    size_t klen = key_history(k, tab, branch, key, tab_key_len(tab), layer + 1), flen;
    int r = txn_ge(t, keep, k, klen, klen - 4, &found, &flen, ret);

    if (r < 0)
        return r;
    if (flen != klen)
        return -E_CORRUPT;
    return ret->born <= layer ? 0 : -E_NOENT;
}

static bool has_none(struct txn *t, uint32_t branch, uint8_t tab, bool history)
{
    const struct branch_mem *b = branch_mem(t->store, branch);

    return b && !(b->own[history] & 1u << tab);
}

/* Is a branch's own live record what a place in it shows? */
static bool live_shows(struct vt_at at, const struct txn_val *v)
{
    return at.layer == LAYER_NOW ||
           (BROKEN(VARVE_BREAK_born_off_by_one) ? v->born < at.layer : v->born <= at.layer);
}

/* What a branch itself holds for a place in it. -E_NOENT: ask the parent. */
static int own_visible(struct txn *t, enum keep keep, struct vt_at at, uint8_t tab, const void *key,
                       struct txn_val *ret)
{
    int r = has_none(t, at.branch, tab, false) ? -E_NOENT : own_live(t, keep, at.branch, tab, key, ret);

    if (at.layer == LAYER_NOW || (r < 0 && r != -E_NOENT))
        return r;
    if (r == 0 && live_shows(at, ret))
        return 0;
    if (has_none(t, at.branch, tab, true))
        return -E_NOENT;
    return own_history(t, keep, at.branch, tab, key, at.layer, ret);
}

/* The place where the parent continues; false: there is none. */
static bool at_parent(struct txn *t, struct vt_at *at)
{
    const struct branch_mem *b = branch_mem(t->store, at->branch);

    if (!b || !b->rec.parent || (b->rec.flags & BRANCH_FLATTENED))
        return false;
    *at = (struct vt_at){b->rec.parent, b->rec.parent_layer};
    return true;
}

int vt_get(struct txn *t, enum keep keep, struct vt_at at, uint8_t tab, const void *key, struct vt_val *ret)
{
    struct txn_val v;

    assert(tab_key_len(tab) > 0);
    do {
        int r = own_visible(t, keep, at, tab, key, &v);
        if (r == 0) {
            if (v.flags & VAL_TOMB)
                return -E_NOENT;
            *ret = (struct vt_val){v.data, v.len, v.born, at.branch};
            return 0;
        }
        if (r != -E_NOENT)
            return r;
    } while (at_parent(t, &at));
    return -E_NOENT;
}

/* Does any ancestor show the key, be it behind a tombstone of one between? 0, -E_NOENT. A tombstone must hide it all the same:
 * flattening takes away those that lie between. */
static int inherited(struct txn *t, enum keep keep, uint32_t branch, uint8_t tab, const void *key)
{
    struct vt_at at = {branch, LAYER_NOW};
    struct txn_val v;

    while (at_parent(t, &at)) {
        int r = own_visible(t, keep, at, tab, key, &v);
        if (r == 0 && !(v.flags & VAL_TOMB))
            return 0;
        if (r < 0 && r != -E_NOENT)
            return r;
    }
    return -E_NOENT;
}

/* It may be there already; to look would cost more than to write it again. */
static int touch(struct txn *t, enum keep keep, struct txn_owner o, struct vt_at at, uint8_t tab,
                 const void *key)
{
    uint8_t k[KEY_SIZE_MAX];
    size_t n = key_touched(k, at.branch, at.layer, tab, key, tab_key_len(tab));

    if (BROKEN(VARVE_BREAK_touched_missing))
        return 0;
    return txn_put(t, keep, o, k, n, 0, 0, NULL, 0);
}

/* May a snapshot see it? */
static bool is_retained(struct txn *t, struct vt_at at, const struct txn_val *cur)
{
    return cur->born < at.layer && layer_retained(t->store, at.branch, cur->born, at.layer);
}

/* A record of an earlier layer makes room for another: to history if a snapshot may see it, else it leaves. same: what comes names the
 * same objects. */
static int move_away(struct txn *t, enum keep keep, struct txn_owner o, struct vt_at at, uint8_t tab,
                     const void *key, const struct txn_val *cur, bool same)
{
    uint8_t k[KEY_SIZE_MAX];
    size_t n = key_history(k, tab, at.branch, key, tab_key_len(tab), at.layer);

    int r = 0;

    if (is_retained(t, at, cur))
        return txn_put(t, keep, o, k, n, cur->born, cur->flags, cur->data, cur->len);
    /* The firm record, born before this one, may go to history where the present one leaves none. Its counts are kept from
     * the present by ref_pin_present; that record itself must be, too, or it would show beside the present one (I-02). */
    if (keep == KEEP_PENDING && cur->born < at.layer)
        r = txn_del(t, keep, o, k, n);
    if (r < 0 || (cur->flags & VAL_TOMB) || same)
        return r;
    return refs_leave(t, keep, o, at.branch, tab, key, cur->data, cur->len);
}

/* cur: the branch's own live record, at this level; NULL: there is none. */
static int put_known(struct txn *t, enum keep keep, struct txn_owner o, struct vt_at at, uint8_t tab,
                     const void *key, const struct txn_val *cur, const void *payload, size_t len)
{
    uint8_t k[KEY_SIZE_MAX];
    bool goes = cur && !(cur->flags & VAL_TOMB) && !is_retained(t, at, cur);
    int same = goes ? refs_same(t, tab, cur, payload, len) : 0, r = MIN_OF(same, 0);

    assert(at.layer != LAYER_NOW);
    if (same == 0) /* before the old leaves: no count drops to 0 between */
        r = refs_enter(t, keep, o, at.branch, tab, key, payload, len);
    if (r == 0)
        sift_entered(t, tab, key, cur, payload, len);
    if (r == 0 && cur)
        r = move_away(t, keep, o, at, tab, key, cur, same == 1);
    if (r == 0 && (!cur || cur->born < at.layer))
        r = touch(t, keep, o, at, tab, key);
    if (r < 0)
        return r;
    return txn_put(t, keep, o, k, key_live(k, tab, at.branch, key, tab_key_len(tab)), at.layer, 0, payload,
                   len);
}

int vt_put(struct txn *t, enum keep keep, struct txn_owner o, struct vt_at at, uint8_t tab, const void *key,
           const void *payload, size_t len)
{
    struct txn_val cur;
    int r = own_live(t, keep, at.branch, tab, key, &cur);

    if (r < 0 && r != -E_NOENT)
        return r;
    return put_known(t, keep, o, at, tab, key, r == 0 ? &cur : NULL, payload, len);
}

int vt_put_over(struct txn *t, enum keep keep, struct txn_owner o, struct vt_at at, uint8_t tab,
                const void *key, const struct vt_val *was, const void *payload, size_t len)
{
    struct txn_val cur = {.data = was->data, .len = was->len, .born = was->born};

    return put_known(t, keep, o, at, tab, key, was->branch == at.branch ? &cur : NULL, payload, len);
}

/* Born and gone in one layer, with nothing older under this key in it: the index forgets it. */
static int untouch(struct txn *t, enum keep keep, struct txn_owner o, struct vt_at at, uint8_t tab,
                   const void *key)
{
    uint8_t k[KEY_SIZE_MAX];
    struct txn_val v;
    int r = txn_get(t, keep, k, key_history(k, tab, at.branch, key, tab_key_len(tab), at.layer), &v);

    if (r != -E_NOENT)
        return r;
    return txn_del(t, keep, o, k, key_touched(k, at.branch, at.layer, tab, key, tab_key_len(tab)));
}

int vt_del(struct txn *t, enum keep keep, struct txn_owner o, struct vt_at at, uint8_t tab, const void *key)
{
    uint8_t k[KEY_SIZE_MAX];
    struct txn_val cur;
    int r = own_live(t, keep, at.branch, tab, key, &cur), below = inherited(t, keep, at.branch, tab, key);

    assert(at.layer != LAYER_NOW);
    if ((r < 0 && r != -E_NOENT) || (below < 0 && below != -E_NOENT))
        return r < 0 && r != -E_NOENT ? r : below;
    if (BROKEN(VARVE_BREAK_no_tombstone))
        below = -E_NOENT;
    bool had = r == 0;
    if (had ? (cur.flags & VAL_TOMB) : below == -E_NOENT)
        return 0; /* not visible */
    if (!had &&
        (r = vt_get(t, keep, (struct vt_at){at.branch, LAYER_NOW}, tab, key, &(struct vt_val){0})) < 0)
        return r == -E_NOENT ? 0 : r;
    r = had ? move_away(t, keep, o, at, tab, key, &cur, false) : 0;
    if (r < 0)
        return r;
    size_t n = key_live(k, tab, at.branch, key, tab_key_len(tab));
    r = below == 0 ? txn_put(t, keep, o, k, n, at.layer, VAL_TOMB, NULL, 0) : txn_del(t, keep, o, k, n);
    if (r < 0)
        return r;
    if (!had || cur.born < at.layer)
        return touch(t, keep, o, at, tab, key);
    return below == 0 ? 0 : untouch(t, keep, o, at, tab, key);
}

int vt_put_history(struct txn *t, uint32_t branch, uint8_t tab, const void *key, uint32_t born, uint32_t died,
                   const void *payload, size_t len)
{
    uint8_t k[KEY_SIZE_MAX];
    int r = refs_enter(t, KEEP_FIRM, (struct txn_owner){0}, branch, tab, key, payload, len);

    assert(born < died);
    if (r == 0)
        sift_entered(t, tab, key, NULL, payload, len);
    return r < 0 ? r
                 : txn_put(t, KEEP_FIRM, (struct txn_owner){0}, k,
                           key_history(k, tab, branch, key, tab_key_len(tab), died), born, 0, payload, len);
}

int vt_drop_own(struct txn *t, uint32_t branch, uint8_t tab, const void *key)
{
    uint8_t k[KEY_SIZE_MAX];
    struct txn_val cur;
    int r = own_live(t, KEEP_FIRM, branch, tab, key, &cur);

    if (r < 0)
        return r == -E_NOENT ? 0 : r;
    if (!(cur.flags & VAL_TOMB))
        r = refs_leave(t, KEEP_FIRM, (struct txn_owner){0}, branch, tab, key, cur.data, cur.len);
    if (r < 0)
        return r;
    return txn_del(t, KEEP_FIRM, (struct txn_owner){0}, k, key_live(k, tab, branch, key, tab_key_len(tab)));
}

void vt_scan_init(struct vt_scan *sc, struct txn *t, enum keep keep, struct vt_at at, uint8_t tab,
                  const void *prefix, size_t plen)
{
    *sc = (struct vt_scan){.t = t, .keep = keep, .at = at, .tab = tab, .plen = (uint8_t)plen};
    assert(tab_key_len(tab) > 0 && tab_key_len(tab) <= sizeof(sc->key) && plen <= tab_key_len(tab));
    if (plen)
        memcpy(sc->key, prefix, plen);
}

void vt_scan_from(struct vt_scan *sc, const void *key, size_t klen)
{
    assert(klen <= tab_key_len(sc->tab));
    memset(sc->key, 0, sizeof(sc->key));
    memcpy(sc->key, key, klen);
    memset(sc->ahead, 0, sizeof(sc->ahead));
}

/* The next key after sc->key's, as bytes; false: there is none. */
static bool key_step(struct vt_scan *sc)
{
    for (size_t i = tab_key_len(sc->tab); i-- > sc->plen;)
        if (++sc->key[i])
            return true;
    return false;
}

/* The first record at or after sc->key that one branch holds in one of its two tables. */
static int scan_seek(struct vt_scan *sc, uint32_t branch, bool history, struct vt_ahead *a)
{
    uint8_t k[KEY_SIZE_MAX];
    const uint8_t *found;
    size_t len = tab_key_len(sc->tab), flen;
    size_t n = key_live(k, history ? sc->tab | TAB_HISTORY : sc->tab, branch, sc->key, len);
    int r = has_none(sc->t, branch, sc->tab, history)
                ? -E_NOENT
                : txn_ge(sc->t, sc->keep, k, n, 5u + sc->plen, &found, &flen, &a->val);

    if (r < 0 && r != -E_NOENT)
        return r;
    if (r == 0 && flen != 5 + len + (history ? 4u : 0u))
        return -E_CORRUPT;
    a->known = sc->t->mode == TXN_READ;
    a->end = r == -E_NOENT;
    a->key = a->end ? NULL : found + 5;
    return 0;
}

/* Takes its key for the best one if it is smaller. i: which of the tables of all branches it is. */
static int scan_candidate(struct vt_scan *sc, unsigned i, uint32_t branch, bool history, uint8_t *best,
                          bool *have)
{
    struct vt_ahead once = {0}, *a = i < VT_AHEAD ? &sc->ahead[i] : &once;
    size_t len = tab_key_len(sc->tab);

    if (!a->known || (!a->end && memcmp(a->key, sc->key, len) < 0)) {
        int r = scan_seek(sc, branch, history, a);
        if (r < 0)
            return r;
    }
    if (!a->end && (!*have || memcmp(a->key, best, len) < 0)) {
        memcpy(best, a->key, len);
        *have = true;
    }
    return 0;
}

static int scan_next_key(struct vt_scan *sc, uint8_t *best, bool *have)
{
    struct vt_at at = sc->at;
    unsigned i = 0;
    int r;

    do {
        r = scan_candidate(sc, i++, at.branch, false, best, have);
        if (r == 0 && at.layer != LAYER_NOW)
            r = scan_candidate(sc, i++, at.branch, true, best, have);
    } while (r == 0 && at_parent(sc->t, &at));
    return r;
}

/* The record of a key that was found: mostly the one at hand, the branch's own that is live. -E_NOENT: the place does not show it. */
static int scan_visible(struct vt_scan *sc, const uint8_t *key, struct vt_val *ret)
{
    const struct vt_ahead *live = &sc->ahead[0];
    const struct txn_val *v = &live->val;

    if (live->end || memcmp(live->key, key, tab_key_len(sc->tab)) != 0 || !live_shows(sc->at, v))
        return vt_get(sc->t, sc->keep, sc->at, sc->tab, key, ret);
    *ret = (struct vt_val){v->data, v->len, v->born, sc->at.branch};
    return v->flags & VAL_TOMB ? -E_NOENT : 0;
}

int vt_scan_next(struct vt_scan *sc, const uint8_t **ret_key, struct vt_val *ret)
{
    uint8_t *best = txn_alloc(sc->t, sizeof(sc->key));

    if (!best)
        return -E_NOMEM;
    while (!sc->done) {
        bool have = false;
        int r = scan_next_key(sc, best, &have);
        if (r < 0)
            return r;
        if (!have)
            break;
        memcpy(sc->key, best, tab_key_len(sc->tab));
        sc->done = !key_step(sc);
        r = scan_visible(sc, best, ret);
        if (r == -E_NOENT)
            continue;
        *ret_key = best;
        return r < 0 ? r : 1;
    }
    sc->done = true;
    return 0;
}

int vt_touched(struct txn *t, uint32_t branch, uint32_t after, uint32_t to,
               int (*cb)(void *arg, uint32_t layer, uint8_t tab, const uint8_t *key, size_t klen), void *arg)
{
    uint8_t k[KEY_SIZE_MAX + 1] = {TAB_TOUCHED};
    size_t n = 9;

    put_be32(k + 1, branch);
    put_be32(k + 5, after + 1);
    if (after == UINT32_MAX)
        return 0;
    for (;;) {
        const uint8_t *found;
        size_t flen;
        struct txn_val v;
        int r = txn_ge(t, KEEP_PENDING, k, n, 5, &found, &flen, &v);
        if (r < 0)
            return r == -E_NOENT ? 0 : r;
        if (flen < 10)
            return -E_CORRUPT;
        uint32_t layer = get_be32(found + 5);
        if (layer > to)
            return 0;
        r = cb(arg, layer, found[9], found + 10, flen - 10);
        if (r != 0)
            return r;
        memcpy(k, found, flen);
        k[flen] = 0;
        n = flen + 1;
    }
}
