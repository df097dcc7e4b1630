/* Which parts of the objects' files are anybody's bytes. Read from the records of inodes and spans, living or of sealed layers, one by
 * one, not from what the store makes of them: a part too many only makes two stores look unlike. */
#include <stdlib.h>

#include "snap/store/inode.h"
#include "snap/store/object.h"
#include "snap/store/span.h"
#include "snap/store/store_int.h"
#include "tests/crash/crash.h"

void c_records_each(struct c_run *c, void (*fn)(void *arg, const struct kv_item *it), void *arg)
{
    uint8_t lsn[KEY_SIZE_MAX];
    size_t llen = key_meta(lsn, META_APPLIED_LSN);
    struct kv_item it;
    struct txn t;
    int r = txn_begin(c->s, TXN_READ, OP_NONE, NULL, &t);

    WANT(c, r == 0, "txn_begin: %s", err_name(r));
    for (r = kv_ge(c->s->kv, t.read, false, "", 1, &it); r == 0;
         r = kv_after(c->s->kv, t.read, false, it.key, it.klen, 0, &it))
        if (it.klen != llen || memcmp(it.key, lsn, llen) != 0)
            fn(arg, &it);
    txn_abort(&t);
    WANT(c, r == -E_NOENT, "the tables cannot be read: %s", err_name(r));
}

static unsigned vol_of(const struct c_run *c, uint32_t id)
{
    for (unsigned i = 0; i < VOLS; i++)
        if (c->vol[i]->rec.id == id)
            return i;
    return VOLS;
}

unsigned c_record_vol(struct c_run *c, const struct kv_item *it)
{
    const uint8_t *key = it->key;
    uint8_t tab = key[0] & (uint8_t)~TAB_HISTORY;
    const struct branch_mem *b;

    switch (tab) {
    case TAB_VOLUME:
    case TAB_LAYER:
    case TAB_SNAPNAME:
    case TAB_VIEW: return vol_of(c, get_be32(key + 1));
    default: break;
    }
    if (tab >= TAB__LIFE_END && tab != TAB_BRANCH)
        return VOLS;
    b = branch_mem(c->s, get_be32(key + 1));
    return b ? vol_of(c, b->rec.vol) : VOLS;
}

struct collect {
    struct c_run *c;
    struct c_layout *to;
    unsigned vol; /* of which records are looked at */
};

static void part_add(struct collect *co, uint64_t object, uint64_t first, uint64_t pages)
{
    struct c_layout *l = co->to;
    struct lying_part *p;
    char path[4400];

    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 64;
        l->part = realloc(l->part, l->cap * sizeof(*l->part));
        assert(l->part);
    }
    p = &l->part[l->n++];
    object_path(co->c->s, object, path);
    *p = (struct lying_part){.first = first, .pages = pages};
    snprintf(p->path, sizeof(p->path), "%s", path + strlen(lying_root(co->c->disk)) + strlen("/store/data/"));
}

static void span_add(struct collect *co, uint64_t number, const struct span *sp)
{
    for (unsigned b = 0, n; b < SPAN_BLOCKS; b += n) {
        const struct span_src *s = span_at(sp, b);

        for (n = 1; b + n < SPAN_BLOCKS && sp->block[b + n] == sp->block[b];)
            n++;
        if (s)
            part_add(co, s->object, (uint64_t)((int64_t)(number * SPAN_BLOCKS + b) + s->delta), n);
    }
}

static void record_add(void *arg, const struct kv_item *it)
{
    const uint8_t *key = it->key, *val = it->val;
    uint8_t tab = key[0] & (uint8_t)~TAB_HISTORY;
    struct span sp;
    struct inode in;

    const struct collect *co = arg;

    if ((tab != TAB_INODE && tab != TAB_SPAN) || it->vlen <= VAL_HDR_SIZE ||
        c_record_vol(co->c, it) != co->vol)
        return;
    if (tab == TAB_INODE && inode_decode(val + VAL_HDR_SIZE, it->vlen - VAL_HDR_SIZE, &in) == 0 &&
        in.base_obj)
        part_add(arg, in.base_obj, 0, in.base_blocks);
    else if (tab == TAB_SPAN && span_decode(val + VAL_HDR_SIZE, it->vlen - VAL_HDR_SIZE, &sp) == 0)
        span_add(arg, get_be64(key + 13), &sp);
}

static int by_place(const void *a, const void *b)
{
    const struct lying_part *x = a, *y = b;
    int r = strcmp(x->path, y->path);

    return r ? r : (x->first > y->first) - (x->first < y->first);
}

/* Each page once. */
static void join(struct c_layout *l, size_t from)
{
    size_t n = from;

    if (l->n > from)
        qsort(l->part + from, l->n - from, sizeof(*l->part), by_place);
    for (size_t i = from; i < l->n; i++) {
        struct lying_part *p = &l->part[i], *to = n > from ? &l->part[n - 1] : NULL;

        if (to && strcmp(to->path, p->path) == 0 && p->first <= to->first + to->pages)
            to->pages = MAX_OF(to->pages, p->first + p->pages - to->first);
        else
            l->part[n++] = *p;
    }
    l->n = n;
}

struct c_layout *c_layout(struct c_known *kn, uint64_t tables)
{
    for (size_t i = 0; i < C_LAYOUTS; i++)
        if (kn->layout[i].tables == tables)
            return &kn->layout[i];
    return NULL;
}

struct c_layout *c_layout_here(struct c_run *c, uint64_t tables)
{
    struct c_layout *l = c_layout(&c->known, tables);
    struct collect co = {.c = c};

    if (l)
        return l;
    co.to = l = &c->known.layout[c->known.next_layout];
    c->known.next_layout = (c->known.next_layout + 1) % C_LAYOUTS;
    l->tables = 0;
    l->n = 0;
    for (; co.vol < VOLS; co.vol++) {
        l->from[co.vol] = l->n;
        c_records_each(c, record_add, &co);
        join(l, l->from[co.vol]);
    }
    l->from[VOLS] = l->n;
    l->tables = tables;
    return l;
}

void c_layouts_forget(struct c_known *kn)
{
    for (size_t i = 0; i < C_LAYOUTS; i++)
        free(kn->layout[i].part);
    memset(kn->layout, 0, sizeof(kn->layout));
    kn->next_layout = 0;
}
