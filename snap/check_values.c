/* Passes 1, 2 and 8: each entry of the tables by itself, life spans, the index of what was touched. */
#include <inttypes.h>
#include <stdlib.h>

#include "snap/check_i.h"

static int check_value(void *arg, const struct scan_item *it)
{
    struct check *c = arg;
    const char *name = scan_table_name(it->key[0]);

    if (!name)
        return problem(c, "table %02x is not known (key of %zu bytes)", it->key[0], it->klen);
    if (!scan_key_ok(it->key, it->klen))
        return problem(c, "%s: a key of %zu bytes is malformed", name, it->klen);
    if (it->verdict < 0)
        return problem(c, "%s: a value of %zu bytes is damaged (key %016" PRIx64 "...)", name, it->raw_len,
                       it->klen > 12 ? get_be64(it->key + 5) : (uint64_t)it->key[it->klen - 1]);
    return 0;
}

int check_pass_values(struct check *c)
{
    int r = txn_scan(&c->t, KEEP_FIRM, NULL, 0, check_value, c);

    if (r < 0 || !txn_any_pending(&c->t))
        return r;
    return txn_scan(&c->t, KEEP_PENDING, NULL, 0, check_value, c);
}

/* --- life spans --------------------------------------------------------------------------------------------------------- */

struct lives {
    struct check *c;
    uint8_t key[KEY_SIZE_MAX]; /* of the history entry before, without died */
    size_t klen;
    uint32_t died;
};

static int check_history(void *arg, const struct scan_item *it)
{
    struct lives *l = arg;
    uint8_t live[KEY_SIZE_MAX];
    size_t klen = it->klen - 4;
    uint32_t died = get_be32(it->key + klen), last = 0;
    struct txn_val v;

    if (it->verdict < 0 || !scan_key_ok(it->key, it->klen))
        return 0;
    if (l->klen == klen && memcmp(l->key, it->key, klen) == 0)
        last = l->died;
    if (it->val.born >= died)
        problem(l->c, "%s: a record was born in layer %u and died in %u", scan_table_name(it->key[0]),
                it->val.born, died);
    if (it->val.born < last)
        problem(l->c, "%s: of one key, a record born in layer %u overlaps one that died in %u",
                scan_table_name(it->key[0]), it->val.born, last);
    memcpy(l->key, it->key, klen);
    l->klen = klen;
    l->died = died;
    memcpy(live, it->key, klen);
    live[0] &= (uint8_t)~TAB_HISTORY;
    if (txn_get(&l->c->t, KEEP_PENDING, live, klen, &v) == 0 && v.born < died)
        problem(l->c, "%s: the live record, born in layer %u, overlaps one that died in %u",
                scan_table_name(it->key[0]), v.born, died);
    return 0;
}

int check_pass_spans(struct check *c)
{
    uint8_t tab;
    int r = 0;

    for (tab = 1; tab < TAB__LIFE_END && r == 0; tab++) {
        struct lives l = {.c = c};
        uint8_t old = tab | TAB_HISTORY;

        r = txn_scan(&c->t, KEEP_PENDING, &old, 1, check_history, &l);
        if (r == 0)
            r = check_turn(c);
    }
    return r;
}

/* --- touched ------------------------------------------------------------------------------------------------------------ */

/* The state below a layer that a difference could begin at; false: nothing asks what changed before. */
static bool shown_below(struct check *c, const struct branch_rec *b, uint32_t layer, uint32_t *ret)
{
    *ret = layer_retained_below(c->s, b->id, layer);
    if (!*ret && b->parent && !(b->flags & BRANCH_FLATTENED))
        *ret = b->first_layer - 1;
    return *ret || (b->parent && !(b->flags & BRANCH_FLATTENED));
}

/* Is the key in the index anywhere between the states around this layer? Above the last snapshot of a branch that its volume
 * has left nothing is looked at any more. */
static int touched_between(struct check *c, const struct branch_rec *b, uint32_t layer, uint8_t tab,
                           const uint8_t *key, size_t klen)
{
    const struct vol *v = vol_by_id(c->s, b->vol);
    uint32_t at, to = layer_retained_above(c->s, b->id, layer - 1);
    uint8_t k[KEY_SIZE_MAX];
    struct txn_val val;
    int r;

    if (!v || !shown_below(c, b, layer, &at) || (to == LAYER_NOW && v->rec.head != b->id))
        return 0;
    r = txn_get(&c->t, KEEP_PENDING, k, key_touched(k, b->id, layer, tab, key, klen), &val);
    to = MIN_OF(to, v->rec.layer);
    for (at++; at <= to && r == -E_NOENT; at++)
        r = txn_get(&c->t, KEEP_PENDING, k, key_touched(k, b->id, at, tab, key, klen), &val);
    return r;
}

static int check_touched(struct check *c, const struct scan_item *it, uint32_t layer, size_t klen)
{
    uint32_t branch = get_be32(it->key + 1);
    uint8_t tab = it->key[0] & (uint8_t)~TAB_HISTORY;
    struct branch_rec b;
    struct fix *f;
    int r;

    if (branch_get(c->s, branch, &b) < 0)
        return 0;
    r = touched_between(c, &b, layer, tab, it->key + 5, klen);
    if (r != -E_NOENT)
        return r == -E_CORRUPT ? 0 : r;
    f = fix_add(c, FIX_PUT);
    f->klen = key_touched(f->key, branch, layer, tab, it->key + 5, klen);
    return problem(c, "%s: a change in branch %u layer %u is missing (key %016" PRIx64 "...)",
                   scan_table_name(tab), branch, layer, get_be64(it->key + 5));
}

static int check_touched_live(void *arg, const struct scan_item *it)
{
    if (it->verdict < 0 || !scan_key_ok(it->key, it->klen))
        return 0;
    return check_touched(arg, it, it->val.born, it->klen - 5);
}

static int check_touched_history(void *arg, const struct scan_item *it)
{
    int r;

    if (it->verdict < 0 || !scan_key_ok(it->key, it->klen))
        return 0;
    r = check_touched(arg, it, it->val.born, it->klen - 9);
    return r < 0 ? r : check_touched(arg, it, get_be32(it->key + it->klen - 4), it->klen - 9);
}

int check_pass_touched(struct check *c)
{
    uint8_t tab;
    int r = 0;

    for (tab = 1; tab < TAB__LIFE_END && r == 0; tab++) {
        uint8_t old = tab | TAB_HISTORY;

        r = txn_scan(&c->t, KEEP_PENDING, &tab, 1, check_touched_live, c);
        if (r == 0)
            r = txn_scan(&c->t, KEEP_PENDING, &old, 1, check_touched_history, c);
        if (r == 0)
            r = check_turn(c);
    }
    return r;
}
