/* A chunk stays in the repository as long as anything of it is used. One of pages from all over a database, changed page by page, would
 * stay until its last page has changed, six times the database on the whole: so what is left of such chunks moves, little by little,
 * into the chunks of backups that change the same file. */
#include <stdlib.h>

#include "base/array.h"
#include "base/mark.h"
#include "tier/backup_i.h"
#include "tier/map_cursor.h"
#include "tier/map_use.h"

#define SHARE 12                  /* of what a backup sends, one part more at the most */
#define LOOK_MAX 128              /* extents that are looked at for each that changed */
#define PLACES_MAX (512ull << 10) /* extents that are looked at: 16 bytes each, as long as it takes */

/* Chunks that a file uses. */
struct use {
    struct id16 chunk;
    uint64_t live, plain;
    uint64_t here; /* of live, in what is looked at */
    uint64_t move; /* of those, sent again now */
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
    size_t nplaces;
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

static int place_add(struct uses *u, const struct extent *e, struct use *x)
{
    struct place *v = array_more(u->places, u->nplaces, sizeof(*v));

    if (!v)
        return -E_NOMEM;
    u->places = v;
    v[u->nplaces++] = (struct place){e->block, e->s.len, (uint32_t)(x - u->v)};
    x->here += e->s.len;
    return 0;
}

static int place_of(struct backup *b, const struct inode *in, struct uses *u, const struct extent *e,
                    struct use *x)
{
    uint64_t off = e->block * TIER_BLOCK;
    int r = place_add(u, e, x);

    if (r < 0 || x->cold || BROKEN(VARVE_BREAK_gather_cold))
        return r;
    r = backup_cold_in(b, in, off, off + e->s.len);
    x->cold = r == 1;
    return MIN_OF(r, 0);
}

/* How much of each chunk is used by the file; chunks of this session, which are full of it, are left out. */
static int count(struct backup *b, const struct inode *in, const struct extents *top, struct uses *u)
{
    struct map_cursor m;
    struct extent e;
    struct use *x;
    int r = map_cursor_open(&m, b->r, &b->base, in->ino, 0, top);

    if (r < 0)
        return r;
    while ((r = map_cursor_next(&m, &e)) == 1)
        if (e.kind == EXTENT_SLICE) {
            if ((r = use_of(u, &e.s.chunk, &x)) < 0 || (r = place_of(b, in, u, &e, x)) < 0)
                break;
            x->live += e.s.len;
        }
    map_cursor_close(&m);
    for (size_t i = 0; r == 0 && i < u->n; i++) {
        struct have_chunk c;

        r = have_get_chunk(b->r->have, &u->v[i].chunk, &c);
        if (r == 0)
            u->v[i].plain = c.plain_len;
        r = r == -E_NOENT ? 0 : r;
    }
    return r;
}

/* --- a part ----------------------------------------------------------------------------------------------------------- */

static int part_use(void *arg, const struct map_use *now)
{
    struct use *x;
    int r = use_of(arg, &now->chunk, &x);

    if (r < 0)
        return r;
    x->live += now->live;
    x->plain += now->to - now->from;
    return 0;
}

static bool poor(const struct use *x)
{
    return x->live * 2 < x->plain;
}

/* The same by what the map says of blocks [from, to); places are those of what may be sent again. */
static int count_part(struct backup *b, const struct inode *in, const struct map_state *s, uint64_t from,
                      uint64_t to, const struct extents *top, struct uses *u)
{
    uint64_t left = MIN_OF(LOOK_MAX * (uint64_t)top->n, PLACES_MAX), *num;
    struct map_cursor m;
    struct extent e;
    int r = map_use_each(b->r, &b->base, in->ino, from, to, part_use, u);

    if (r < 0)
        return r;
    r = map_cursor_part(&m, b->r, &b->base, in->ino, s->v, s->n, from, top);
    if (r < 0)
        return r;
    while (left-- > 0 && (r = map_cursor_next(&m, &e)) == 1 && e.block < to)
        if (e.kind == EXTENT_SLICE && (num = idset_get(&u->index, &e.s.chunk)) && poor(&u->v[*num - 1]) &&
            (r = place_of(b, in, u, &e, &u->v[*num - 1])) < 0)
            break;
    map_cursor_close(&m);
    MARK("backup: gathered in a part");
    return MIN_OF(r, 0);
}

/* --- sending again ---------------------------------------------------------------------------------------------------- */

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
        if (!u->v[i].cold && poor(&u->v[i]))
            v[n++] = &u->v[i];
    if (n)
        qsort(v, n, sizeof(struct use *), by_share);
    for (size_t i = 0; i < n; i++) {
        v[i]->move = MIN_OF(v[i]->here, budget);
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

static int gather(struct backup *b, const struct inode *in, struct uses *u, struct extents *out)
{
    int r = retire(b, u);

    for (size_t i = 0; r == 0 && i < u->nplaces; i++) {
        const struct place *p = &u->places[i];
        struct use *x = &u->v[p->use];

        if (x->move < p->len)
            continue;
        x->move -= p->len;
        r = send_again(b, in, p, out);
    }
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

/* All of a map that is short enough, or what comes next of one that rolls. */
static int look(struct backup *b, const struct inode *in, uint64_t blocks, const struct extents *top,
                struct uses *u)
{
    uint64_t from, to;
    struct map_state s;
    int r = map_state_get(b->r, &b->base, in->ino, &s);

    if (r < 0)
        return r;
    if (!s.rolling)
        return s.total + top->n > MIN_OF(LOOK_MAX * (uint64_t)top->n, PLACES_MAX) ? 0 : count(b, in, top, u);
    if (BROKEN(VARVE_BREAK_roll_gather))
        return 0;
    map_part(&s, blocks, top->n, &from, &to);
    return count_part(b, in, &s, from, to, top, u);
}

int backup_gather(struct backup *b, const struct inode *in, uint64_t blocks, struct extents *top)
{
    struct extents again = {0};
    struct uses u = {.n = 0};
    uint64_t budget = budget_of(b);
    bool any = false;
    int r;

    if (budget < TIER_BLOCK)
        return 0;
    extents_sort(top);
    r = look(b, in, blocks, top, &u);
    if (r == 0)
        r = choose(&u, budget, &any);
    if (r == 0 && any)
        r = gather(b, in, &u, &again);
    if (r == 0)
        r = lay_over(top, &again);
    uses_free(&u);
    extents_free(&again);
    return r;
}
