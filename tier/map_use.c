#include "tier/map_use.h"

#include <stdlib.h>

#include "base/array.h"
#include "base/mark.h"
#include "tier/map_i.h"

#define KEY_LEN (9u + 8u + 16u)
#define VALUE_LEN 12u

static struct tree_key part_key(uint64_t ino, uint64_t part)
{
    struct tree_key k = tree_key(ino, REC_USE);

    tree_key_u64(&k, part);
    return k;
}

static int use_decode(const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen, struct map_use *ret)
{
    struct dec d = dec_of(val, vlen);

    if (klen != KEY_LEN || vlen != VALUE_LEN)
        return -E_CORRUPT;
    memcpy(ret->chunk.b, key + 17, 16);
    ret->live = dec_u32(&d);
    ret->from = dec_u32(&d);
    ret->to = dec_u32(&d);
    return ret->from > ret->to ? -E_CORRUPT : 0;
}

/* --- reading -------------------------------------------------------------------------------------------------------- */

struct telling {
    uint64_t to; /* the part after the last one */
    int (*cb)(void *arg, const struct map_use *u);
    void *arg;
};

static int tell(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    const struct telling *t = arg;
    struct map_use u;
    int r = use_decode(key, klen, val, vlen, &u);

    if (r < 0)
        return r;
    return get_be64(key + 9) >= t->to ? 1 : t->cb(t->arg, &u);
}

int map_use_each(struct repo *r, const struct tree *t, uint64_t ino, uint64_t from, uint64_t to,
                 int (*cb)(void *arg, const struct map_use *u), void *arg)
{
    struct tree_key prefix = tree_key(ino, REC_USE), first = part_key(ino, from / USE_BLOCKS);
    struct telling by = {to / USE_BLOCKS + (to % USE_BLOCKS != 0), cb, arg};
    int x = from < to ? tree_scan(r, t, &prefix, &first, tell, &by) : 0;

    return MIN_OF(x, 0);
}

/* --- changing ------------------------------------------------------------------------------------------------------- */

static int now_of(struct map_uses *s, const struct id16 *chunk, struct use_now **ret)
{
    uint64_t *num;
    int r = idset_put(&s->index, chunk, &num);

    if (r == 0 && *num == 0) {
        struct use_now *v = array_more(s->v, s->n, sizeof(*v));

        if (!v)
            return -E_NOMEM;
        s->v = v;
        s->v[s->n] = (struct use_now){.u = {.chunk = *chunk, .from = UINT32_MAX}};
        *num = ++s->n;
    }
    if (r == 0)
        *ret = &s->v[*num - 1];
    return r;
}

static int known(void *arg, const struct map_use *u)
{
    struct use_now *now;
    int r = now_of(arg, &u->chunk, &now);

    if (r == 0)
        *now = (struct use_now){.u = *u, .had = true};
    return r;
}

static int build(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    struct map_uses *s = arg;
    struct extent e;
    uint32_t run;
    int r = extent_decode(key, klen, val, vlen, &e, &run);

    if (r < 0)
        return r;
    return e.block / USE_BLOCKS != s->part ? 1 : map_uses_more(s, &e);
}

/* What the base has there, as it was. */
static int part_open(struct map_uses *s, uint64_t part)
{
    const struct map_pushing *p = s->p;
    struct tree_key run = run_key(p->ino, s->base), first = extent_key(p->ino, s->base, part * USE_BLOCKS);
    int r;

    s->part = part;
    s->any = true;
    r = map_use_each(p->r, p->t, p->ino, part * USE_BLOCKS, (part + 1) * USE_BLOCKS, known, s);
    if (r < 0 || s->n > 0)
        return r;
    r = tree_scan(p->r, p->t, &run, &first, build, s);
    MARK("map: what a part uses was counted");
    return MIN_OF(r, 0);
}

static int use_put(struct map_uses *s, const struct use_now *x)
{
    struct tree_key k = part_key(s->p->ino, s->part);
    uint8_t v[VALUE_LEN];
    struct enc c = {v};

    tree_key_add(&k, x->u.chunk.b, 16);
    if (x->u.live == 0)
        return x->had ? edits_remove(s->p->e, &k) : 0;
    enc_u32(&c, x->u.live);
    enc_u32(&c, x->u.from);
    enc_u32(&c, x->u.to);
    return edits_put(s->p->e, &k, v, sizeof(v));
}

static int part_close(struct map_uses *s)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < s->n; i++)
        if (s->v[i].changed)
            r = use_put(s, &s->v[i]);
    idset_free(&s->index);
    s->n = 0;
    s->any = false;
    free(TAKE(s->v));
    return r;
}

int map_uses_at(struct map_uses *s, uint64_t block)
{
    int r = 0;

    if (s->any && block / USE_BLOCKS == s->part)
        return 0;
    if (s->any)
        r = part_close(s);
    return r < 0 ? r : part_open(s, block / USE_BLOCKS);
}

int map_uses_more(struct map_uses *s, const struct extent *e)
{
    struct use_now *x;
    int r = e->kind == EXTENT_SLICE ? now_of(s, &e->s.chunk, &x) : 1;

    if (r != 0)
        return MIN_OF(r, 0);
    x->u.live += MIN_OF(e->s.len, UINT32_MAX - x->u.live);
    x->u.from = MIN_OF(x->u.from, e->s.off);
    x->u.to = MAX_OF(x->u.to, e->s.off + MIN_OF(e->s.len, UINT32_MAX - e->s.off));
    x->changed = true;
    return 0;
}

void map_uses_less(struct map_uses *s, const struct extent *e)
{
    uint64_t *num = e->kind == EXTENT_SLICE ? idset_get(&s->index, &e->s.chunk) : NULL;

    if (!num || BROKEN(VARVE_BREAK_roll_use))
        return;
    s->v[*num - 1].u.live -= MIN_OF(e->s.len, s->v[*num - 1].u.live);
    s->v[*num - 1].changed = true;
}

int map_uses_end(struct map_uses *s, int r)
{
    int x = s->any && r == 0 ? part_close(s) : 0;

    idset_free(&s->index);
    free(TAKE(s->v));
    s->n = 0;
    return r < 0 ? r : x;
}
