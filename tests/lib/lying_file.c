/* Unsynced events of a file: how they are recorded, how a sync makes them durable, what of them a power cut leaves. */
#include "tests/lib/lying_model.h"

#include <stdlib.h>

#include "tests/lib/test.h"

uint64_t lying__rand_below(struct lying_choice *c, uint64_t n)
{
    assert(n > 0);
    return test_rand(&c->rand) % n;
}

static struct lying_event *event_add(struct lying *d, struct lying_node *f, enum lying_event_kind kind,
                                     uint64_t off, uint64_t len)
{
    f->ev = lying__grow(f->ev, &f->capev, f->nev, sizeof(*f->ev));
    f->nmeta += kind != LYING_EV_WRITE;
    f->ev[f->nev] = (struct lying_event){.kind = kind, .seq = d->seq, .off = off, .len = len};
    return &f->ev[f->nev++];
}

static bool page_in_place(const struct lying_node *f, uint64_t page)
{
    if (page * LYING_PAGE >= f->min_synced)
        return false;
    for (size_t i = 0; i < f->nev; i++) {
        const struct lying_event *e = &f->ev[i];

        if (e->kind == LYING_EV_PUNCH && e->off <= page * LYING_PAGE &&
            e->off + e->len >= (page + 1) * LYING_PAGE)
            return false;
    }
    return true;
}

/* A whole page is shared with what the process sees. */
static void bytes_keep(const struct lying_node *f, struct lying_event *e, const uint8_t *p)
{
    if (e->len == LYING_PAGE) {
        e->page = lying__page_of(&f->live, e->off / LYING_PAGE, p);
        return;
    }
    e->data = malloc(e->len);
    if (!e->data)
        abort();
    memcpy(e->data, p, e->len);
}

static const uint8_t *bytes_of(const struct lying_event *e)
{
    return e->page ? e->page->b : e->data;
}

static void event_free(struct lying_event *e)
{
    lying__page_unref(e->page);
    free(e->data);
}

void lying__write(struct lying *d, struct lying_node *f, const uint8_t *p, size_t len, uint64_t off)
{
    bool meta = f->nmeta > 0;

    d->seq++;
    while (len > 0) {
        size_t n = MIN_OF(len, LYING_PAGE - (size_t)(off % LYING_PAGE));
        bool in_place = !meta || page_in_place(f, off / LYING_PAGE);
        struct lying_event *e = event_add(d, f, LYING_EV_WRITE, off, n);

        e->in_place = in_place;
        bytes_keep(f, e, p);
        p += n;
        off += n;
        len -= n;
    }
    f->size = MAX_OF(f->size, off);
}

/* The kernel zeroes the part of a page that a truncate or punch cuts in the page cache, so this part can reach the
 * medium, with all that the page holds, before the truncate itself does. */
static void zero_edge(struct lying *d, struct lying_node *f, uint64_t from, uint64_t to)
{
    bool in_place = page_in_place(f, from / LYING_PAGE);

    to = MIN_OF(to, f->size);
    if (from < to)
        event_add(d, f, LYING_EV_WRITE, from, to - from)->in_place = in_place;
}

void lying__truncate(struct lying *d, struct lying_node *f, uint64_t size)
{
    if (size == f->size)
        return;
    d->seq++;
    if (size < f->size && size % LYING_PAGE)
        zero_edge(d, f, size, (size / LYING_PAGE + 1) * LYING_PAGE);
    event_add(d, f, LYING_EV_TRUNCATE, size, 0);
    f->size = size;
    f->min_synced = MIN_OF(f->min_synced, size);
}

void lying__punch(struct lying *d, struct lying_node *f, uint64_t off, uint64_t len)
{
    uint64_t end = off + len;

    d->seq++;
    if (off % LYING_PAGE)
        zero_edge(d, f, off, MIN_OF(end, (off / LYING_PAGE + 1) * LYING_PAGE));
    if (end % LYING_PAGE && (end / LYING_PAGE != off / LYING_PAGE || off % LYING_PAGE == 0))
        zero_edge(d, f, end / LYING_PAGE * LYING_PAGE, end);
    event_add(d, f, LYING_EV_PUNCH, off, len);
}

/* piece_apply(c, e, sectors): writes the sectors of its page that the mask names. */
static void piece_apply(struct lying_content *c, const struct lying_event *e, unsigned sectors)
{
    static const uint8_t zeros[LYING_PAGE];
    uint64_t page = e->off / LYING_PAGE * LYING_PAGE, limit = e->off + e->len;

    if (sectors == 0)
        return;
    if (bytes_of(e))
        c->size = MAX_OF(c->size, limit);
    if (e->page && sectors == UINT8_MAX) {
        lying__content_page(c, page / LYING_PAGE, e->page);
        return;
    }
    limit = MIN_OF(limit, c->size);
    for (unsigned s = 0; s < LYING_SECTORS; s++) {
        uint64_t from = MAX_OF(e->off, page + (uint64_t)s * LYING_SECTOR);
        uint64_t to = MIN_OF(limit, page + (uint64_t)(s + 1) * LYING_SECTOR);

        if (sectors >> s & 1 && from < to)
            lying__content_write(c, from, bytes_of(e) ? bytes_of(e) + (from - e->off) : zeros,
                                 (size_t)(to - from));
    }
}

static void event_apply(struct lying_content *c, const struct lying_event *e, unsigned sectors)
{
    if (e->kind == LYING_EV_WRITE)
        piece_apply(c, e, sectors);
    else if (e->kind == LYING_EV_TRUNCATE)
        lying__content_truncate(c, e->off);
    else
        lying__content_punch(c, e->off, e->len);
}

/* A page is dirty as a whole: a piece whose sync failed lands with a later write to its page. */
static bool rescued(const struct lying_node *f, size_t i)
{
    for (size_t k = i + 1; k < f->nev; k++) {
        const struct lying_event *e = &f->ev[k];

        if (e->kind == LYING_EV_WRITE && !e->lost && e->off / LYING_PAGE == f->ev[i].off / LYING_PAGE)
            return true;
    }
    return false;
}

static void events_keep(struct lying_node *f, size_t kept)
{
    f->nev = kept;
    f->min_synced = MIN_OF(f->size, f->safe.size);
}

void lying__sync(struct lying_node *f)
{
    size_t kept = 0, metas = f->nmeta;

    for (size_t i = 0; i < f->nev; i++) {
        struct lying_event *e = &f->ev[i];
        bool clean = e->lost && !rescued(f, i);

        metas -= e->kind != LYING_EV_WRITE;
        if (clean && metas == 0) {
            f->ev[kept++] = *e;
            continue;
        }
        if (!clean)
            event_apply(&f->safe, e, UINT8_MAX);
        event_free(e);
    }
    f->nmeta = 0;
    events_keep(f, kept);
}

void lying__sync_pages(struct lying_node *f, uint64_t off, uint64_t len)
{
    size_t kept = 0;

    if (f->nmeta > 0) {
        lying__sync(f);
        return;
    }
    for (size_t i = 0; i < f->nev; i++) {
        struct lying_event *e = &f->ev[i];
        uint64_t page = e->off / LYING_PAGE;

        if (page < off / LYING_PAGE || page > (off + len - 1) / LYING_PAGE) {
            f->ev[kept++] = *e;
            continue;
        }
        event_apply(&f->safe, e, UINT8_MAX);
        event_free(e);
    }
    events_keep(f, kept);
}

void lying__sync_failed(struct lying_node *f)
{
    for (size_t i = 0; i < f->nev; i++)
        f->ev[i].lost |= f->ev[i].kind == LYING_EV_WRITE;
}

uint64_t lying__unsynced(const struct lying_node *f)
{
    uint64_t n = 0;

    for (size_t i = 0; i < f->nev; i++)
        n += bytes_of(&f->ev[i]) ? f->ev[i].len : 0;
    return n;
}

void lying__events_free(struct lying_node *f)
{
    for (size_t i = 0; i < f->nev; i++)
        event_free(&f->ev[i]);
    free(f->ev);
    f->ev = NULL;
    f->nev = f->capev = 0;
}

struct piece {
    uint64_t page;
    size_t i; /* index of the event */
};

static int by_page(const void *a, const void *b)
{
    const struct piece *x = a, *y = b;

    if (x->page != y->page)
        return x->page < y->page ? -1 : 1;
    return x->i < y->i ? -1 : x->i > y->i;
}

static bool write_coin(const struct lying_choice *c, uint64_t seq)
{
    uint64_t state = c->seed ^ seq * 0xd1342543de82ef95;

    return test_rand(&state) & 1;
}

/* sector_cuts(f, c, p, n, cuts): the pieces of one page, oldest first: how many of them each sector has seen. */
static void sector_cuts(const struct lying_node *f, struct lying_choice *c, const struct piece *p, size_t n,
                        size_t cuts[LYING_SECTORS])
{
    size_t cut = 0;

    if (c->mode == LYING_ALL)
        cut = n;
    else if (c->mode == LYING_PAGES)
        cut = (size_t)lying__rand_below(c, n + 1);
    for (size_t k = 0; k < n; k++) {
        uint64_t seq = f->ev[p[k].i].seq;

        if ((c->mode == LYING_PREFIX && seq < c->cut) || (c->mode == LYING_WRITES && write_coin(c, seq)))
            cut = k + 1;
    }
    for (unsigned s = 0; s < LYING_SECTORS; s++)
        cuts[s] = c->mode == LYING_TORN ? (size_t)lying__rand_below(c, n + 1) : cut;
}

/* choose_pieces(f, c, bound, masks): for every event the sectors that land. Events from bound on come after a truncate
 * or punch that does not land. */
static void choose_pieces(const struct lying_node *f, struct lying_choice *c, size_t bound, uint8_t *masks)
{
    struct piece *p = lying__alloc(f->nev * sizeof(*p));
    size_t n = 0, same, cuts[LYING_SECTORS];

    for (size_t i = 0; i < f->nev; i++) {
        if (f->ev[i].kind == LYING_EV_WRITE && (i < bound || f->ev[i].in_place))
            p[n++] = (struct piece){f->ev[i].off / LYING_PAGE, i};
    }
    qsort(p, n, sizeof(*p), by_page);
    for (size_t at = 0; at < n; at += same) {
        for (same = 1; at + same < n && p[at + same].page == p[at].page;)
            same++;
        sector_cuts(f, c, p + at, same, cuts);
        for (size_t k = 0; k < same; k++) {
            for (unsigned s = 0; s < LYING_SECTORS; s++)
                masks[p[at + k].i] |= (uint8_t)((k < cuts[s]) << s);
        }
    }
    free(p);
}

/* choose_bound(f, c): index of the first truncate or punch that does not land; nev when all do. */
static size_t choose_bound(const struct lying_node *f, struct lying_choice *c)
{
    size_t metas = f->nmeta, i;
    size_t land = c->mode == LYING_ALL || metas == 0 ? metas : (size_t)lying__rand_below(c, metas + 1);

    for (i = 0; i < f->nev; i++) {
        if (f->ev[i].kind == LYING_EV_WRITE)
            continue;
        if (c->mode == LYING_PREFIX ? f->ev[i].seq >= c->cut : land-- == 0)
            break;
    }
    return i;
}

void lying__content_choose(const struct lying_node *f, struct lying_choice *c, struct lying_content *out)
{
    uint8_t *masks;
    size_t bound;

    lying__content_copy(out, &f->safe);
    if (f->nev == 0 || c->mode == LYING_NONE)
        return;
    masks = lying__alloc(f->nev);
    bound = choose_bound(f, c);
    choose_pieces(f, c, bound, masks);
    for (size_t i = 0; i < f->nev; i++) {
        if (f->ev[i].kind == LYING_EV_WRITE || i < bound)
            event_apply(out, &f->ev[i], masks[i]);
    }
    free(masks);
}
