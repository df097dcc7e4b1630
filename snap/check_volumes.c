/* Pass 3: volumes, branches, layers, their names, views, and the numbers that are never given twice. */
#include <inttypes.h>

#include "snap/check_i.h"

struct most { /* numbers in use */
    struct check *c;
    uint64_t object, reclaim;
    uint32_t volume, branch;
};

static bool get_name(struct check *c, const uint8_t *key, size_t klen, uint32_t *ret)
{
    struct txn_val v;

    if (txn_get(&c->t, KEEP_PENDING, key, klen, &v) < 0 || v.len != 4)
        return false;
    *ret = get_le32(v.data);
    return true;
}

static void fix_name(struct check *c, enum fix_kind kind, const uint8_t *key, size_t klen, uint32_t value)
{
    struct fix *f = fix_add(c, kind);

    fix_key(f, key, klen);
    put_le32(f->val, value);
    f->vlen = 4;
}

static int see_volume(void *arg, const struct scan_item *it)
{
    struct most *m = arg;
    struct check *c = m->c;
    struct volume_rec rec;
    struct branch_rec b;
    struct txn_val v;
    uint8_t k[KEY_SIZE_MAX];
    uint32_t id;
    size_t n;

    if (it->verdict < 0)
        return 0;
    if (volume_rec_decode(it->val.data, it->val.len, &rec) < 0 || rec.id != get_be32(it->key + 1))
        return problem(c, "the record of volume %u is malformed", get_be32(it->key + 1));
    m->volume = MAX_OF(m->volume, rec.id);
    if (txn_get(&c->t, KEEP_PENDING, k, key_u32(k, TAB_VSTAT, rec.id), &v) == -E_NOENT)
        problem(c, "volume %s has no counters", rec.name);
    n = key_name(k, TAB_VOLNAME, rec.name);
    if (!(rec.flags & (VOLUME_DELETED | VOLUME_GHOST)) && (!get_name(c, k, n, &id) || id != rec.id)) {
        fix_name(c, FIX_PUT, k, n, rec.id);
        problem(c, "volume %u cannot be found by its name %s", rec.id, rec.name);
    }
    if (rec.flags & VOLUME_GHOST)
        return 0;
    if (branch_get(c->s, rec.head, &b) < 0 || b.vol != rec.id)
        return problem(c, "volume %s: its head, branch %u, is not one of its own", rec.name, rec.head);
    if (b.flags & BRANCH_DEAD || rec.layer < b.first_layer)
        problem(c, "volume %s: its head, branch %u, is dead or younger than layer %u", rec.name, rec.head,
                rec.layer);
    return 0;
}

static int see_volname(void *arg, const struct scan_item *it)
{
    struct most *m = arg;
    struct vol *v;

    if (it->verdict < 0)
        return 0;
    v = it->val.len == 4 ? vol_by_id(m->c->s, get_le32(it->val.data)) : NULL;
    if (v && strlen(v->rec.name) == it->klen - 1 && memcmp(v->rec.name, it->key + 1, it->klen - 1) == 0)
        return 0;
    fix_name(m->c, FIX_DEL, it->key, it->klen, 0);
    return problem(m->c, "the name %.*s leads to no volume of that name", (int)it->klen - 1,
                   (const char *)it->key + 1);
}

static int see_branch(void *arg, const struct scan_item *it)
{
    struct most *m = arg;
    struct branch_rec rec, up;
    struct vol *v;

    if (it->verdict < 0)
        return 0;
    if (branch_rec_decode(it->val.data, it->val.len, &rec) < 0 || rec.id != get_be32(it->key + 1))
        return problem(m->c, "the record of branch %u is malformed", get_be32(it->key + 1));
    m->branch = MAX_OF(m->branch, rec.id);
    v = vol_by_id(m->c->s, rec.vol);
    if (!v)
        problem(m->c, "branch %u belongs to volume %u, which does not exist", rec.id, rec.vol);
    if (!rec.parent || (rec.flags & BRANCH_FLATTENED))
        return rec.depth ? problem(m->c, "branch %u stands alone, but has depth %u", rec.id, rec.depth) : 0;
    if (branch_get(m->c->s, rec.parent, &up) < 0)
        return problem(m->c, "branch %u: its parent, branch %u, does not exist", rec.id, rec.parent);
    if (up.id == rec.id || up.depth + 1 != rec.depth)
        problem(m->c, "branch %u has depth %u, its parent %u", rec.id, rec.depth, up.depth);
    if (rec.parent_layer < up.first_layer)
        problem(m->c, "branch %u begins at layer %u, before its parent (%u)", rec.id, rec.parent_layer,
                up.first_layer);
    return 0;
}

struct children {
    uint32_t branch, layer, n;
};

static int count_child(void *arg, const struct branch_rec *b)
{
    struct children *ch = arg;

    if (b->parent == ch->branch && b->parent_layer == ch->layer && !(b->flags & BRANCH_FLATTENED))
        ch->n++;
    return 0;
}

static bool shown(const struct layer_rec *l)
{
    return l->state == LAYER_SETTLING || l->state == LAYER_DURABLE || l->state == LAYER_REMOTE;
}

static int see_layer_name(struct check *c, const struct layer_rec *l, const struct vol *v)
{
    uint8_t k[KEY_SIZE_MAX];
    size_t n = key_snapname(k, l->vol, l->name);
    uint32_t layer = 0;

    if (!shown(l) || l->name[0] == '.' || (v->rec.flags & VOLUME_GHOST) ||
        (get_name(c, k, n, &layer) && layer == l->layer))
        return 0;
    if (layer == 0)
        fix_name(c, FIX_PUT, k, n, l->layer);
    return problem(c, "%s: snapshot %s (layer %u) cannot be found by its name", v->rec.name, l->name,
                   l->layer);
}

static int see_layer(void *arg, const struct scan_item *it)
{
    struct most *m = arg;
    struct check *c = m->c;
    struct children ch = {0};
    struct layer_rec l;
    struct branch_rec b;
    struct vol *v;

    if (it->verdict < 0)
        return 0;
    if (layer_rec_decode(it->val.data, it->val.len, &l, NULL, NULL) < 0 || l.vol != get_be32(it->key + 1) ||
        l.layer != get_be32(it->key + 5))
        return problem(c, "the record of layer %u of volume %u is malformed", get_be32(it->key + 5),
                       get_be32(it->key + 1));
    v = vol_by_id(c->s, l.vol);
    if (!v)
        return problem(c, "layer %u belongs to volume %u, which does not exist", l.layer, l.vol);
    if (l.state < LAYER_SETTLING || l.state > LAYER_REMOTE)
        problem(c, "%s: layer %u is in state %u", v->rec.name, l.layer, l.state);
    if (branch_get(c->s, l.branch, &b) < 0 || b.vol != l.vol)
        return problem(c, "%s: layer %u lies in branch %u, which is not the volume's", v->rec.name, l.layer,
                       l.branch);
    if (l.layer < b.first_layer || l.layer >= v->rec.layer)
        problem(c, "%s: layer %u does not lie between %u and %u", v->rec.name, l.layer, b.first_layer,
                v->rec.layer);
    ch = (struct children){l.branch, l.layer, 0};
    (void)branch_each(c->s, count_child, &ch);
    if (ch.n != l.children) {
        struct fix *f = fix_add(c, FIX_LAYER);

        f->vol = l.vol;
        f->a = l.layer;
        f->b = ch.n;
        problem(c, "%s: snapshot %s counts %u branches that begin there, %u do", v->rec.name, l.name,
                l.children, ch.n);
    }
    return see_layer_name(c, &l, v);
}

static int see_snapname(void *arg, const struct scan_item *it)
{
    struct most *m = arg;
    struct layer_rec l;
    struct txn_val v;
    uint8_t k[KEY_SIZE_MAX];
    uint32_t vol = get_be32(it->key + 1);

    if (it->verdict < 0)
        return 0;
    if (it->val.len == 4 &&
        txn_get(&m->c->t, KEEP_PENDING, k, key_u32_u32(k, TAB_LAYER, vol, get_le32(it->val.data)), &v) == 0 &&
        layer_rec_decode(v.data, v.len, &l, NULL, NULL) == 0 && strlen(l.name) == it->klen - 5 &&
        memcmp(l.name, it->key + 5, it->klen - 5) == 0)
        return 0;
    fix_name(m->c, FIX_DEL, it->key, it->klen, 0);
    return problem(m->c, "the snapshot name %.*s of volume %u leads to no snapshot of that name",
                   (int)it->klen - 5, (const char *)it->key + 5, vol);
}

static int see_view(void *arg, const struct scan_item *it)
{
    struct most *m = arg;
    struct view_rec rec;
    struct branch_rec b;

    if (it->verdict < 0)
        return 0;
    if (view_rec_decode(it->val.data, it->val.len, &rec) < 0)
        return problem(m->c, "view %u of volume %u is malformed", get_be32(it->key + 5),
                       get_be32(it->key + 1));
    if (vol_by_id(m->c->s, get_be32(it->key + 1)) && branch_get(m->c->s, rec.branch, &b) == 0)
        return 0;
    fix_name(m->c, FIX_DEL, it->key, it->klen, 0);
    return problem(m->c, "view %u of volume %u shows branch %u, which does not exist", get_be32(it->key + 5),
                   get_be32(it->key + 1), rec.branch);
}

static int see_number(void *arg, const struct scan_item *it)
{
    struct most *m = arg;
    uint64_t *most = it->key[0] == TAB_OBJECT ? &m->object : &m->reclaim, at = get_be64(it->key + 1);

    if (it->key[0] != TAB_RECLAIM || at < RECLAIM_SIFTS)
        *most = MAX_OF(*most, at);
    return 0;
}

static int check_numbers(struct most *m)
{
    uint8_t k[KEY_SIZE_MAX];
    struct next_rec next;
    struct txn_val v;

    if (txn_get(&m->c->t, KEEP_PENDING, k, key_meta(k, META_NEXT), &v) < 0 ||
        next_rec_decode(v.data, v.len, &next) < 0)
        return problem(m->c, "the record of the next numbers cannot be read");
    if (next.object <= m->object || next.reclaim <= m->reclaim || next.volume <= m->volume ||
        next.branch <= m->branch)
        problem(m->c,
                "a number would be given twice: next object %" PRIu64 ", entry %" PRIu64
                ", volume %u, branch %u",
                next.object, next.reclaim, next.volume, next.branch);
    return 0;
}

int check_pass_volumes(struct check *c)
{
    static const struct {
        uint8_t tab;
        int (*see)(void *arg, const struct scan_item *it);
    } tabs[] = {{TAB_VOLUME, see_volume}, {TAB_VOLNAME, see_volname},   {TAB_BRANCH, see_branch},
                {TAB_LAYER, see_layer},   {TAB_SNAPNAME, see_snapname}, {TAB_VIEW, see_view},
                {TAB_OBJECT, see_number}, {TAB_RECLAIM, see_number}};
    struct most m = {.c = c};
    size_t i;
    int r = 0;

    for (i = 0; i < ARRAY_LEN(tabs) && r == 0; i++)
        r = txn_scan(&c->t, KEEP_PENDING, &tabs[i].tab, 1, tabs[i].see, &m);
    return r < 0 ? r : check_numbers(&m);
}
