/* A chunk stays in the repository as long as anything of it is used. One of pages from all over a database, changed page by page, would
 * stay until its last page has changed, six times the database on the whole: so what is left of such chunks moves, little by little,
 * into the chunks of backups that change the same file. */
#include <stdlib.h>

#include "base/array.h"
#include "base/mark.h"
#include "tier/backup_i.h"
#include "tier/map_cursor.h"

#define SHARE 12     /* of what a backup sends, one part more at the most */
#define LOOK_MAX 128 /* extents that are looked at for each that changed */

size_t backup_places_max = 512u << 10;

/* Chunks that a file uses. */
struct use {
    struct id16 chunk;
    uint64_t live, plain;
    uint64_t move; /* bytes of live that are sent again now */
    bool
        cold; /* some of live is not here: to bring it costs more than its room, and it may lie in an archive */
};
/* Where in the file an extent lies. */
struct place {
    uint64_t block;
    uint32_t len, use;
};
struct uses {
    struct idset index; /* chunk → its number here, and 1 */
    struct use *v;
    size_t n;
    struct place *places; /* of all extents, in their order */
    size_t nplaces;       /* above backup_places_max: none */
};

static void uses_free(struct uses *u)
{
    idset_free(&u->index);
    free(u->v);
    free(u->places);
}

static int use_of(struct uses *u, const struct id16 *chunk, struct use **ret)
{
    uint64_t *num;
    int r = idset_put(&u->index, chunk, &num);

    if (r == 0 && *num == 0) {
        struct use *v = array_more(u->v, u->n, sizeof(*v));

        if (!v)
            return -E_NOMEM;
        u->v = v;
        u->v[u->n] = (struct use){.chunk = *chunk};
        *num = ++u->n;
    }
    if (r == 0)
        *ret = &u->v[*num - 1];
    return r;
}

/* What a file is made of, with what changed: each extent once. */
static int each(struct backup *b, const struct inode *in, const struct extents *top,
                int (*cb)(void *arg, const struct extent *e), void *arg)
{
    struct map_cursor m;
    struct extent e;
    int r = map_cursor_open(&m, b->r, &b->base, in->ino, 0, top);

    if (r < 0)
        return r;
    while ((r = map_cursor_next(&m, &e)) == 1 && (r = e.kind == EXTENT_SLICE ? cb(arg, &e) : 0) == 0)
        ;
    map_cursor_close(&m);
    return r;
}

static int place_add(struct uses *u, const struct extent *e, const struct use *x)
{
    struct place *v;

    if (u->nplaces > backup_places_max)
        return 0;
    if (u->nplaces == backup_places_max) {
        free(TAKE(u->places));
        u->nplaces = backup_places_max + 1;
        MARK("backup: too many extents to remember");
        return 0;
    }
    if (!(v = array_more(u->places, u->nplaces, sizeof(*v))))
        return -E_NOMEM;
    u->places = v;
    v[u->nplaces++] = (struct place){e->block, e->s.len, (uint32_t)(x - u->v)};
    return 0;
}

struct counting {
    struct backup *b;
    const struct inode *in;
    struct uses *u;
};

static int count_one(void *arg, const struct extent *e)
{
    uint64_t off = e->block * TIER_BLOCK;
    struct counting *c = arg;
    struct use *x;
    int r = use_of(c->u, &e->s.chunk, &x);

    if (r < 0 || (r = place_add(c->u, e, x)) < 0)
        return r;
    x->live += e->s.len;
    if (x->cold || BROKEN(VARVE_BREAK_gather_cold))
        return 0;
    r = backup_cold_in(c->b, c->in, off, off + e->s.len);
    x->cold = r == 1;
    return MIN_OF(r, 0);
}

/* How much of each chunk is used by the file; chunks of this session, which are full of it, are left out. */
static int count(struct backup *b, const struct inode *in, const struct extents *top, struct uses *u)
{
    struct counting by = {b, in, u};
    int r = each(b, in, top, count_one, &by);

    for (size_t i = 0; r == 0 && i < u->n; i++) {
        struct have_chunk c;

        r = have_get_chunk(b->r->have, &u->v[i].chunk, &c);
        if (r == 0)
            u->v[i].plain = c.plain_len;
        r = r == -E_NOENT ? 0 : r;
    }
    return r;
}

static int by_share(const void *a, const void *b)
{
    const struct use *x = *(struct use *const *)a, *y = *(struct use *const *)b;
    uint64_t l = x->live * y->plain, r = y->live * x->plain;

    return l != r ? (l > r) - (l < r) : memcmp(&x->chunk, &y->chunk, sizeof(x->chunk));
}

/* Those of which the least is used, as far as the budget goes; of the last one a part, the rest another time. */
static int choose(struct uses *u, uint64_t budget, bool *ret_any)
{
    struct use **v = malloc((u->n + 1) * sizeof(struct use *));
    size_t n = 0;

    if (!v)
        return -E_NOMEM;
    for (size_t i = 0; i < u->n; i++)
        if (!u->v[i].cold && u->v[i].live * 2 < u->v[i].plain)
            v[n++] = &u->v[i];
    if (n)
        qsort(v, n, sizeof(struct use *), by_share);
    for (size_t i = 0; i < n; i++) {
        v[i]->move = MIN_OF(v[i]->live, budget);
        budget -= v[i]->move;
    }
    *ret_any = n > 0;
    free(v);
    return 0;
}

static int retire(struct backup *b, const struct uses *u)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < u->n; i++)
        if (u->v[i].move)
            r = packer_retire(b->p, &u->v[i].chunk);
    return r;
}

/* One extent's bytes, out of the snapshot: they are the same. */
static int send_again(struct backup *b, const struct inode *in, const struct place *p, struct extents *out)
{
    uint64_t off = p->block * TIER_BLOCK;
    struct extent x = {.block = p->block, .kind = EXTENT_SLICE};
    size_t len;
    int r;

    if (off >= in->size)
        return 0;
    len = (size_t)MIN_OF((uint64_t)p->len, in->size - off);
    x.blocks = (uint32_t)((len + TIER_BLOCK - 1) / TIER_BLOCK);
    r = backup_read(b, in->ino, off, len);
    if (r == 0)
        r = packer_blob(b->p, CHUNK_DATA, b->room, len, &x.s);
    if (r == 0)
        r = extents_add(out, &x);
    b->res.gathered_bytes += len;
    return r < 0 ? r : backup_moved(b, 0, len);
}

struct gathering {
    struct backup *b;
    const struct inode *in;
    struct uses *u;
    struct extents *out;
};

static int gather_at(struct gathering *g, const struct place *p)
{
    struct use *x = &g->u->v[p->use];

    if (x->move < p->len)
        return 0;
    x->move -= p->len;
    return send_again(g->b, g->in, p, g->out);
}

static int gather_one(void *arg, const struct extent *e)
{
    struct gathering *g = arg;
    struct use *x;
    int r = use_of(g->u, &e->s.chunk, &x);

    return r < 0 ? r : gather_at(g, &(struct place){e->block, e->s.len, (uint32_t)(x - g->u->v)});
}

static int gather_places(struct gathering *g)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < g->u->nplaces; i++)
        r = gather_at(g, &g->u->places[i]);
    return r;
}

static int gather(struct backup *b, const struct inode *in, const struct extents *top, struct uses *u,
                  struct extents *out)
{
    struct gathering g = {b, in, u, out};
    int r = retire(b, u);

    if (r == 0)
        r = u->nplaces <= backup_places_max ? gather_places(&g) : each(b, in, top, gather_one, &g);
    MARK("backup: gathered");
    return r;
}

static int lay_over(struct extents *top, const struct extents *again)
{
    struct extents both = {0};
    int r = again->n ? map_overlay(again, top, &both) : 0;

    if (r < 0 || again->n == 0) {
        extents_free(&both);
        return r;
    }
    extents_free(top);
    *top = both;
    return 0;
}

/* Bytes that may be sent again now. */
static uint64_t budget_of(struct backup *b)
{
    struct packer_stat st;
    uint64_t sent;

    packer_get_stat(b->p, &st);
    sent = (st.new_bytes - MIN_OF(b->res.gathered_bytes, st.new_bytes)) / SHARE;
    return sent - MIN_OF(b->res.gathered_bytes, sent);
}

int backup_gather(struct backup *b, const struct inode *in, struct extents *top)
{
    struct extents again = {0};
    struct uses u = {.n = 0};
    uint64_t budget = budget_of(b), n;
    bool any = false;
    int r = budget < TIER_BLOCK ? 0 : map_count(b->r, &b->base, in->ino, &n);

    if (r < 0 || budget < TIER_BLOCK || n > LOOK_MAX * (uint64_t)top->n)
        return r;
    extents_sort(top);
    r = count(b, in, top, &u);
    if (r == 0)
        r = choose(&u, budget, &any);
    if (r == 0 && any)
        r = gather(b, in, top, &u, &again);
    if (r == 0)
        r = lay_over(top, &again);
    uses_free(&u);
    extents_free(&again);
    return r;
}
