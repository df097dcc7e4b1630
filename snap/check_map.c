/* Tables in memory, places, and repairs waiting. */
#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"

#include "snap/check_i.h"

static size_t slot_of(const struct idmap *m, uint64_t stored)
{
    size_t i = (size_t)((stored * 0x9e3779b97f4a7c15ull) >> 20) & (m->cap - 1);

    while (m->keys[i] && m->keys[i] != stored)
        i = (i + 1) & (m->cap - 1);
    return i;
}

void *idmap_get(const struct idmap *m, uint64_t key)
{
    size_t i;

    if (m->n == 0)
        return NULL;
    i = slot_of(m, key + 1);
    return m->keys[i] ? idmap_val(m, i) : NULL;
}

static bool idmap_grow(struct idmap *m)
{
    struct idmap big = {.vsize = m->vsize, .cap = m->cap ? m->cap * 2 : 64, .n = m->n};

    big.keys = calloc(big.cap, sizeof(*big.keys));
    big.vals = calloc(big.cap, big.vsize);
    if (!big.keys || !big.vals) {
        idmap_free(&big);
        return false;
    }
    idmap_each(m, i)
    {
        size_t to = slot_of(&big, m->keys[i]);

        big.keys[to] = m->keys[i];
        memcpy(idmap_val(&big, to), idmap_val(m, i), m->vsize);
    }
    idmap_free(m);
    *m = big;
    return true;
}

void *idmap_put(struct idmap *m, uint64_t key)
{
    size_t i;

    if (m->n * 3 >= m->cap * 2 && !idmap_grow(m))
        return NULL;
    i = slot_of(m, key + 1);
    if (!m->keys[i]) {
        m->keys[i] = key + 1;
        m->n++;
    }
    return idmap_val(m, i);
}

void idmap_free(struct idmap *m)
{
    free(m->keys);
    free(m->vals);
    *m = (struct idmap){.vsize = m->vsize};
}

struct fix *fix_add(struct check *c, enum fix_kind kind)
{
    static _Thread_local struct fix spare;
    struct fix *f = c->second ? NULL : calloc(1, sizeof(*f));

    if (!f) {
        f = &spare;
        memset(f, 0, sizeof(*f));
    } else {
        *c->fixes_end = f;
        c->fixes_end = &f->next;
        c->nfixes++;
    }
    f->kind = kind;
    return f;
}

void fix_key(struct fix *f, const void *key, size_t klen)
{
    assert(klen <= sizeof(f->key));
    memcpy(f->key, key, klen);
    f->klen = klen;
}

void fixes_free(struct check *c)
{
    struct fix *f;

    while ((f = c->fixes)) {
        c->fixes = f->next;
        free(f);
    }
}

static struct place *place_add(struct check *c, struct vol *v, struct vt_at at, const char *snap)
{
    struct place *p = array_more(c->places, c->nplaces, sizeof(*p));

    if (!p)
        return NULL;
    c->places = p;
    p += c->nplaces++;
    *p = (struct place){.v = v, .at = at, .live = !snap};
    snprintf(p->name, sizeof(p->name), "%s%s%s", v->rec.name, snap ? "@" : "", snap ? snap : "");
    return p;
}

static int place_of_layer(void *arg, const struct scan_item *it)
{
    struct check *c = arg;
    struct layer_rec rec;
    struct vol *v;

    if (it->verdict < 0 || layer_rec_decode(it->val.data, it->val.len, &rec, NULL, NULL) < 0 ||
        rec.state == LAYER_DELETING)
        return 0;
    v = vol_by_id(c->s, rec.vol);
    if (!v)
        return 0;
    return place_add(c, v, (struct vt_at){rec.branch, rec.layer}, rec.name) ? 0 : -E_NOMEM;
}

int places_load(struct check *c)
{
    static const uint8_t tab = TAB_LAYER;
    struct vol *v;

    for (v = vol_first(c->s); v; v = v->next) {
        if (v->rec.flags & VOLUME_GHOST)
            continue;
        c->inodes += v->stat.inodes;
        if (!place_add(c, v, vol_now(v), NULL))
            return -E_NOMEM;
    }
    if (c->inodes > SMALL_INODES) {
        if (!c->o->quiet)
            say(c, "the trees of snapshots are left out: there are more than %u inodes", SMALL_INODES);
        return 0;
    }
    return txn_scan(&c->t, KEEP_PENDING, &tab, 1, place_of_layer, c);
}
