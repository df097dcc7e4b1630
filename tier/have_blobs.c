/* Which blob is in which chunk. A backup asks that for each blob that it makes, and mostly there is none; names are hashes, so each look
 * into a large table reads a page anywhere in it, and each new name changes one. So new names go to the young table, which is small and read at
 * once. Where it has many, a part of them, by their first bits, goes to the old table, and the next part another time: those lie side by side there.
 * A filter for each part, in the young table, says of most names that are not in the old one that they are not (a Bloom filter of 64-byte
 * lines; Putze, Sanders, Singler: Cache-, Hash- and Space-Efficient Bloom Filters, 2007). A part without one is asked. */
#include <stdlib.h>

#include "base/buf.h"
#include "base/mark.h"
#include "tier/have_i.h"

#define BLOB_VAL 24u
#define PART_BITS_MIN 4u
#define PART_BITS_MAX 20u
#define MOVE_AT_ONCE                                                                                         \
    2048u        /* in a transaction: each may be a page of the old table, in memory until it ends */
#define LINE 64u /* bytes of a filter that one name is looked up in */
#define LINE_BLOBS                                                                                           \
    40u /* names for a line: 12.8 bits each, of which 6 are set: about one of 200 others is let through */
#define PROBES 6u
#define TURN_VAL 5u
#define FEW 64u /* fewer than this part of what may stay there do not have to wait for others to be settled */

uint64_t have_young_max = 16384;
uint64_t have_part_max = 1u << 16;

/* Which part of all names comes next. */
struct turn {
    uint8_t bits; /* of a name, that tell its part */
    uint32_t next;
};

static uint32_t part_of(const struct id16 *blob, unsigned bits)
{
    return get_be32(blob->b) >> (32 - bits);
}

static int mdb_turn(MDB_txn *t, MDB_dbi dbi, struct turn *ret)
{
    uint8_t room[HAVE_KEY_MAX];
    MDB_val k = have_key(room, K_TURN, "", 0), v;
    int m = mdb_get(t, dbi, &k, &v);

    *ret = (struct turn){PART_BITS_MIN, 0};
    if (m == MDB_NOTFOUND)
        return 0;
    if (m == 0 && v.mv_size != TURN_VAL)
        return MDB_CORRUPTED;
    if (m == 0) {
        const uint8_t *p = v.mv_data;

        *ret = (struct turn){p[0], get_be32(p + 1)};
        if (ret->bits < PART_BITS_MIN || ret->bits > PART_BITS_MAX)
            return MDB_CORRUPTED;
    }
    return m;
}

/* --- filters ------------------------------------------------------------------------------------------------------------ */

static uint8_t *line_of(uint8_t *f, size_t len, const struct id16 *blob)
{
    uint64_t lines = len / LINE;

    return f + ((uint64_t)get_le32(blob->b + 4) * lines >> 32) * LINE;
}

static unsigned probe(const struct id16 *blob, unsigned i)
{
    return get_le64(blob->b + 8) >> (9 * i) & (LINE * 8 - 1);
}

static void filter_add(uint8_t *f, size_t len, const struct id16 *blob)
{
    uint8_t *line = line_of(f, len, blob);

    for (unsigned i = 0; i < PROBES; i++)
        line[probe(blob, i) / 8] |= (uint8_t)(1u << probe(blob, i) % 8);
}

static bool filter_may_have(const MDB_val *f, const struct id16 *blob)
{
    const uint8_t *line;
    bool has = true;

    if (f->mv_size < LINE || BROKEN(VARVE_BREAK_have_filter))
        return true;
    line = line_of(f->mv_data, f->mv_size, blob);
    for (unsigned i = 0; has && i < PROBES; i++)
        has = line[probe(blob, i) / 8] >> probe(blob, i) % 8 & 1;
    return has;
}

#define FILTER_NAME 5u

static void filter_name(uint8_t ret[FILTER_NAME], unsigned bits, uint32_t part)
{
    ret[0] = (uint8_t)bits;
    put_be32(ret + 1, part);
}

static int mdb_filter(MDB_txn *t, MDB_dbi dbi, unsigned bits, uint32_t part, MDB_val *ret)
{
    uint8_t room[HAVE_KEY_MAX], name[FILTER_NAME];
    MDB_val k;

    filter_name(name, bits, part);
    k = have_key(room, K_FILTER, name, sizeof(name));
    return mdb_get(t, dbi, &k, ret);
}

static int filter_put(struct have_txn *w, unsigned bits, uint32_t part, const void *p, size_t len)
{
    uint8_t name[FILTER_NAME];

    filter_name(name, bits, part);
    return have_put(w, HAVE_YOUNG, K_FILTER, name, sizeof(name), p, len);
}

static int filter_drop(struct have_txn *w, unsigned bits, uint32_t part)
{
    uint8_t name[FILTER_NAME];

    filter_name(name, bits, part);
    return have_drop(w, HAVE_YOUNG, K_FILTER, name, sizeof(name));
}

/* --- looking ------------------------------------------------------------------------------------------------------------ */

static void decode(const void *p, struct have_blob *ret)
{
    struct dec d = dec_of(p, BLOB_VAL);

    dec_copy(&d, ret->chunk.b, 16);
    ret->off = dec_u32(&d);
    ret->len = dec_u32(&d);
}

/* MDB_NOTFOUND: nobody has it. *ret_old: the old table may. */
static int look_young(MDB_txn *t, MDB_dbi dbi, const struct id16 *blob, struct have_blob *ret, bool *ret_old)
{
    uint8_t room[HAVE_KEY_MAX];
    MDB_val k = have_key(room, K_BLOB, blob->b, 16), v;
    struct turn turn;
    int m = mdb_get(t, dbi, &k, &v);

    *ret_old = false;
    if (m == 0 && v.mv_size == BLOB_VAL) {
        decode(v.mv_data, ret);
        return 0;
    }
    if (m != MDB_NOTFOUND)
        return m == 0 ? MDB_CORRUPTED : m;
    if ((m = mdb_turn(t, dbi, &turn)) != 0)
        return m;
    m = mdb_filter(t, dbi, turn.bits, part_of(blob, turn.bits), &v);
    *ret_old = m == MDB_NOTFOUND || (m == 0 && filter_may_have(&v, blob));
    return m == 0 ? MDB_NOTFOUND : m;
}

int have_get_blob(struct have *h, const struct id16 *blob, struct have_blob *ret)
{
    const struct have_table *young = &h->t[HAVE_YOUNG];
    uint8_t v[BLOB_VAL];
    bool old;
    MDB_txn *t;
    int r, m;

    have_young_looks(h);
    m = mdb_txn_begin(young->env, NULL, MDB_RDONLY, &t);
    if (m != 0)
        return have_from_mdb(m);
    m = look_young(t, young->dbi, blob, ret, &old);
    mdb_txn_abort(t);
    if (m != MDB_NOTFOUND || !old)
        return have_told(h, have_from_mdb(m));
    if ((r = have_get(h, K_BLOB, blob->b, 16, v, sizeof(v), sizeof(v))) == 0)
        decode(v, ret);
    return r;
}

/* --- changing ----------------------------------------------------------------------------------------------------------- */

int have_blob_put(struct have_txn *w, const struct id16 *blob, const struct have_blob *b)
{
    uint8_t v[BLOB_VAL];
    struct enc e = {v};
    int r = w->many ? have_drop(w, HAVE_YOUNG, K_BLOB, blob->b, 16) : 0;

    if (r < 0)
        return r;
    enc_bytes(&e, b->chunk.b, 16);
    enc_u32(&e, b->off);
    enc_u32(&e, b->len);
    return have_put(w, w->many ? HAVE_OLD : HAVE_YOUNG, K_BLOB, blob->b, 16, v, sizeof(v));
}

int have_blob_forget(struct have_txn *w, const struct id16 *blob, const struct have_blob *b)
{
    int r = 0;

    for (int i = 0; r == 0 && i < HAVE__N; i++)
        if (have_names(w, (enum have_which)i, K_BLOB, blob->b, b->chunk.b, 16))
            r = have_drop(w, (enum have_which)i, K_BLOB, blob->b, 16);
    return r;
}

/* --- settling ----------------------------------------------------------------------------------------------------------- */

/* The names of a part, one by one. Each is looked for: where pages are damaged that is an error, and going from page to page is an
 * assertion of LMDB's, which ends the process. */
struct names {
    MDB_cursor *c;
    const struct turn *turn;
    struct id16 now;
    MDB_val v;
    bool over;
};

static int names_open(struct names *n, struct have_txn *w, enum have_which which, const struct turn *turn)
{
    *n = (struct names){.turn = turn};
    put_be32(n->now.b, turn->next << (32 - turn->bits));
    return have_from_mdb(mdb_cursor_open(w->t[which], w->h->t[which].dbi, &n->c));
}

/* The one after this. */
static void step(struct names *n)
{
    size_t i = sizeof(n->now.b);

    while (i > 0 && ++n->now.b[--i] == 0)
        ;
    n->over = i == 0 && n->now.b[0] == 0;
}

/* 1: now, and v; 0: there is no more. */
static int names_next(struct names *n)
{
    uint8_t room[HAVE_KEY_MAX];
    MDB_val k = have_key(room, K_BLOB, n->now.b, 16);
    int m = n->over ? MDB_NOTFOUND : mdb_cursor_get(n->c, &k, &n->v, MDB_SET_RANGE);
    const uint8_t *p = k.mv_data;

    if (m != 0)
        return m == MDB_NOTFOUND ? 0 : have_from_mdb(m);
    if (k.mv_size != 17 || p[0] != K_BLOB)
        return 0;
    memcpy(n->now.b, p + 1, 16);
    return part_of(&n->now, n->turn->bits) == n->turn->next;
}

/* As many as one transaction takes, from the young table to the old one. *ret_more: there may be more. */
static int move_some(struct have_txn *w, const struct turn *turn, bool *ret_more)
{
    struct names n;
    unsigned moved = 0;
    int r = names_open(&n, w, HAVE_YOUNG, turn);

    if (r < 0)
        return r;
    while (moved < MOVE_AT_ONCE && (r = names_next(&n)) == 1) {
        if (++moved % HAVE_LET_GO_EACH == 0)
            have_let_go(w->h);
        r = BROKEN(VARVE_BREAK_have_settled)
                ? 0
                : have_put(w, HAVE_OLD, K_BLOB, n.now.b, 16, n.v.mv_data, n.v.mv_size);
        if (r == 0)
            r = have_from_mdb(mdb_cursor_del(n.c, 0));
        if (r < 0)
            break;
        step(&n);
    }
    mdb_cursor_close(n.c);
    *ret_more = moved == MOVE_AT_ONCE;
    return MIN_OF(r, 0);
}

/* All of the part in the old table. */
static int part_names(struct have_txn *w, const struct turn *turn, struct buf *ret)
{
    struct names n;
    int r = names_open(&n, w, HAVE_OLD, turn);

    if (r < 0)
        return r;
    for (; (r = names_next(&n)) == 1; step(&n))
        if ((r = buf_add(ret, &n.now, sizeof(n.now))) < 0)
            break;
    mdb_cursor_close(n.c);
    return r;
}

static int filter_make(struct have_txn *w, const struct turn *turn)
{
    cleanup(buf_free) struct buf names = {0};
    const struct id16 *v;
    uint8_t *f;
    size_t n, len;
    int r = part_names(w, turn, &names);

    if (r < 0)
        return r;
    v = (const struct id16 *)(const void *)names.data;
    n = names.len / sizeof(*v);
    len = (n / LINE_BLOBS + 1) * LINE;
    if (!(f = calloc(1, len)))
        return -E_NOMEM;
    for (size_t i = 0; i < n; i++)
        filter_add(f, len, &v[i]);
    r = filter_put(w, turn->bits, turn->next, f, len);
    free(f);
    MARK("have: a part was settled");
    return r;
}

static int turn_put(struct have_txn *w, const struct turn *t)
{
    uint8_t v[TURN_VAL] = {t->bits};

    put_be32(v + 1, t->next);
    return have_put(w, HAVE_YOUNG, K_TURN, "", 0, v, sizeof(v));
}

/* What a part's filter says is true of each of its parts. */
static int filter_divide(struct have_txn *w, unsigned was, uint32_t part, unsigned bits)
{
    cleanup(buf_free) struct buf f = {0};
    uint32_t each = 1u << (bits - was);
    MDB_val v;
    int m = mdb_filter(w->t[HAVE_YOUNG], w->h->t[HAVE_YOUNG].dbi, was, part, &v), r;

    if (m != 0)
        return m == MDB_NOTFOUND ? 0 : have_from_mdb(m);
    if ((r = buf_add(&f, v.mv_data, v.mv_size)) == 0)
        r = filter_drop(w, was, part);
    for (uint32_t i = 0; r == 0 && i < each; i++)
        r = filter_put(w, bits, part * each + i, f.data, f.len);
    return r;
}

/* Parts are as large as they should be, for as many names as there are. */
static int turn_fits(struct have_txn *w, struct turn *t)
{
    uint8_t was = t->bits;
    MDB_stat st;
    int r = have_from_mdb(mdb_stat(w->t[HAVE_OLD], w->h->t[HAVE_OLD].dbi, &st));

    if (r < 0)
        return r;
    while (t->bits < PART_BITS_MAX && st.ms_entries >> t->bits > have_part_max)
        t->bits++;
    if (t->bits == was)
        return 0;
    t->next = 0;
    MARK("have: parts were halved");
    for (uint32_t i = 0; r == 0 && i < 1u << was; i++)
        r = filter_divide(w, was, i, t->bits);
    return r < 0 ? r : turn_put(w, t);
}

int have_many(struct have_txn *w)
{
    struct turn t;
    int r = have_from_mdb(mdb_turn(w->t[HAVE_YOUNG], w->h->t[HAVE_YOUNG].dbi, &t));

    for (uint32_t i = 0; r == 0 && i < 1u << t.bits; i++)
        r = filter_drop(w, t.bits, i);
    w->many = true;
    return r;
}

/* The next part. Its filter goes first and comes last: names that it does not have are not missed in between. */
static int settle_some(struct have_txn *w, unsigned *ret_bits, bool *ret_more)
{
    struct turn turn;
    int r = have_from_mdb(mdb_turn(w->t[HAVE_YOUNG], w->h->t[HAVE_YOUNG].dbi, &turn));

    if (r == 0)
        r = turn_fits(w, &turn);
    *ret_bits = turn.bits;
    if (r == 0)
        r = filter_drop(w, turn.bits, turn.next);
    if (r == 0)
        r = move_some(w, &turn, ret_more);
    if (r < 0 || *ret_more)
        return r;
    r = filter_make(w, &turn);
    turn.next = (turn.next + 1) & ((1u << turn.bits) - 1);
    return r < 0 ? r : turn_put(w, &turn);
}

static int settle_part(struct have *h, unsigned *ret_bits)
{
    bool more = true;
    int r = 0;

    while (r == 0 && more) {
        struct have_txn w = {.moves = true};

        if ((r = have_begin(h, &w)) == 0)
            r = have_end(&w, settle_some(&w, ret_bits, &more));
    }
    have_let_go(h);
    return r;
}

/* *ret: names in the young table. 1: the next part has no filter, and should have one; 0. */
static int young_count(struct have *h, uint64_t *ret)
{
    const struct have_table *young = &h->t[HAVE_YOUNG];
    struct turn turn;
    MDB_stat st, old;
    MDB_txn *t;
    MDB_val v;
    int m = mdb_env_stat(h->t[HAVE_OLD].env, &old);

    if (m != 0 || (m = mdb_txn_begin(young->env, NULL, MDB_RDONLY, &t)) != 0)
        return have_from_mdb(m);
    if ((m = mdb_stat(t, young->dbi, &st)) == 0 && (m = mdb_turn(t, young->dbi, &turn)) == 0)
        m = mdb_filter(t, young->dbi, turn.bits, turn.next, &v);
    mdb_txn_abort(t);
    *ret = st.ms_entries;
    return m == MDB_NOTFOUND ? old.ms_entries > have_young_max : have_from_mdb(m);
}

/* The next part; *n: names in the young table after it. */
static int settle_next(struct have *h, unsigned *bits, uint64_t *n)
{
    int r = settle_part(h, bits);

    return r < 0 ? r : MIN_OF(young_count(h, n), 0);
}

int have_settle(struct have *h, uint64_t came)
{
    bool few = came < have_young_max / FEW;
    unsigned bits = PART_BITS_MIN;
    uint64_t n = 0;
    int r = young_count(h, &n);
    bool much = n > (few ? 4 : 1) * have_young_max || (r == 1 && !few);

    for (r = MIN_OF(r, 0); r == 0 && much; much = n >> bits > have_young_max / 2)
        r = settle_next(h, &bits, &n);
    return have_told(h, r);
}

int have_settle_all(struct have *h, bool (*stop)(void *arg), void *arg)
{
    unsigned bits = PART_BITS_MIN;
    uint64_t n = 0;
    int r = MIN_OF(young_count(h, &n), 0);

    for (uint32_t i = 0; r == 0 && n > have_young_max && i < 1u << bits && !(stop && stop(arg)); i++) {
        MARK("have: all parts are settled");
        r = settle_next(h, &bits, &n);
    }
    return have_told(h, r);
}
