/* LMDB's file: its meta pages, and the proof of single pages and values. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "snap/store/tabpages_i.h"

#define META_MAGIC 0xBEEFC0DEu
#define META_VERSION 1u
#define META_SIZE                                                                                            \
    152u /* header, magic, version, address, map size, two trees, last page, number of the transaction */
#define FREE_FLAGS 8u /* MDB_INTEGERKEY */
#define MAP_BYTES_MAX (1ull << 46)
#define PSIZE_MIN 512u
#define PSIZE_MAX 32768u
#define RUN_BYTES_MAX (256u << 10)

int tp_damage(struct tp_file *f, uint64_t page, const char *what)
{
    if (page == TP_NONE)
        snprintf(f->why, 256, "the tables' file is damaged: %s", what);
    else
        snprintf(f->why, 256, "page %" PRIu64 " of the tables is damaged: %s", page, what);
    return -E_CORRUPT;
}

static int read_at(struct tp_file *f, void *p, size_t len, uint64_t off)
{
    size_t got = 0;
    int r = io_pread(f->io, f->fd, p, len, off, &got);

    f->bytes += got;
    if (r < 0)
        return r;
    return got == len ? 0 : tp_damage(f, f->m.psize ? off / f->m.psize : off, "the file ends before it");
}

static void tree_get(const uint8_t *p, struct tp_tree *ret)
{
    *ret = (struct tp_tree){.pad = get_le32(p),
                            .flags = get_le16(p + 4),
                            .depth = get_le16(p + 6),
                            .branches = get_le64(p + 8),
                            .leaves = get_le64(p + 16),
                            .overflows = get_le64(p + 24),
                            .entries = get_le64(p + 32),
                            .root = get_le64(p + 40)};
}

static bool tree_fits(const struct tp_tree *t, uint64_t last)
{
    if (t->root == TP_NONE)
        return t->depth == 0 && t->entries == 0 && t->leaves == 0 && t->branches == 0;
    return t->root >= 2 && t->root <= last && t->depth >= 1 && t->depth < TP_DEPTH_MAX;
}

static int meta_get(struct tp_file *f, const uint8_t *p, uint64_t page, struct tp_meta *ret)
{
    struct tp_meta m = {
        .map_bytes = get_le64(p + 32), .last_page = get_le64(p + 136), .txn = get_le64(p + 144)};

    if (get_le64(p) != page || get_le16(p + 10) != TP_META || get_le32(p + 16) != META_MAGIC ||
        get_le32(p + 20) != META_VERSION)
        return tp_damage(f, page, "it is no meta page");
    tree_get(p + 40, &m.free);
    tree_get(p + 88, &m.main);
    m.psize = m.free.pad;
    if (get_le64(p + 24) != 0 || m.psize < PSIZE_MIN || m.psize > PSIZE_MAX || m.psize & (m.psize - 1) ||
        m.free.flags != FREE_FLAGS || m.main.flags != 0 || m.main.pad != 0)
        return tp_damage(f, page, "settings that were never made");
    if (m.txn && m.txn % 2 != page)
        return tp_damage(f, page, "its state's number belongs on the other meta page");
    *ret = m;
    return 0;
}

/* Of the one that holds: a commit that failed leaves the trees it wanted in the other, under the old number. */
static int meta_fits(struct tp_file *f)
{
    const struct tp_meta *m = &f->m;

    if (m->last_page < 1 || m->last_page >= MAP_BYTES_MAX / m->psize || m->map_bytes > MAP_BYTES_MAX ||
        !tree_fits(&m->free, m->last_page) || !tree_fits(&m->main, m->last_page))
        return tp_damage(f, m->txn % 2, "numbers that cannot be");
    return 0;
}

/* Each commit writes one of the two, in turn. */
static int metas_read(struct tp_file *f, uint64_t txn)
{
    uint8_t b[META_SIZE];
    struct tp_meta m[2];
    int r = read_at(f, b, sizeof(b), 0);

    if (r == 0)
        r = meta_get(f, b, 0, &m[0]);
    if (r == 0)
        r = read_at(f, b, sizeof(b), m[0].psize);
    if (r == 0)
        r = meta_get(f, b, 1, &m[1]);
    if (r < 0)
        return r;
    if (m[0].psize != m[1].psize)
        return tp_damage(f, 1, "another page size than page 0 says");
    if (m[0].txn != m[1].txn && m[0].txn + 1 != m[1].txn && m[1].txn + 1 != m[0].txn)
        return tp_damage(f, m[0].txn < m[1].txn, "its state does not follow the other's");
    f->m = m[m[0].txn < m[1].txn];
    if (txn && f->m.txn != txn)
        f->m = m[txn % 2];
    return txn && f->m.txn != txn ? -E_AGAIN : meta_fits(f);
}

static bool rooms(struct tp_file *f)
{
    f->room = malloc((size_t)f->m.psize * (MAX_OF(f->m.free.depth, f->m.main.depth) + 1u));
    f->length = calloc(f->m.psize / 2, sizeof(*f->length));
    return f->room && f->length;
}

int tp_open(struct io *io, const char *meta, uint64_t txn, struct tp_file *f, char *why)
{
    char path[4200];
    int r;

    *f = (struct tp_file){.io = io, .fd = -1, .why = why};
    snprintf(path, sizeof(path), "%s/data.mdb", meta);
    f->fd = io_open(io, path, O_RDONLY, 0);
    if (f->fd < 0)
        return f->fd;
    r = metas_read(f, txn);
    if (r < 0)
        return r;
    f->seen = calloc(1, (size_t)(f->m.last_page / 8 + 1));
    if (!f->seen || !rooms(f))
        return -E_NOMEM;
    (void)tp_take(f, 0, 2);
    return 0;
}

int tp_share(const struct tp_file *of, struct tp_file *f, char *why)
{
    *f = (struct tp_file){
        .io = of->io, .fd = of->fd, .why = why, .m = of->m, .seen = of->seen, .shares = true};
    return rooms(f) ? 0 : -E_NOMEM;
}

void tp_close(struct tp_file *f)
{
    if (f->fd >= 0 && !f->shares)
        io_close(f->io, f->fd);
    if (!f->shares)
        free(f->seen);
    free(f->room);
    free(f->length);
    free(f->big.p);
    free(f->run.p);
}

bool tp_taken(const struct tp_file *f, uint64_t page)
{
    return page <= f->m.last_page && __atomic_load_n(&f->seen[page / 8], __ATOMIC_RELAXED) >> page % 8 & 1;
}

int tp_take(struct tp_file *f, uint64_t page, uint64_t count)
{
    if (page > f->m.last_page || count > f->m.last_page - page + 1)
        return tp_damage(f, page, "it lies beyond the last one");
    for (; count > 0; page++, count--) {
        uint8_t bit = (uint8_t)(1u << page % 8);

        if (__atomic_fetch_or(&f->seen[page / 8], bit, __ATOMIC_RELAXED) & bit)
            return tp_damage(f, page, "it is used twice");
    }
    return 0;
}

/* --- one page ----------------------------------------------------------------------------------------------------------- */

/* Where each node begins, and how long it is; false: one is no node, or does not lie between upper and the page's end. */
static bool lengths_note(struct tp_file *f, const uint8_t *p, unsigned count, unsigned upper)
{
    unsigned psize = f->m.psize;
    bool leaf = tp_is_leaf(p);

    for (unsigned i = 0; i < count; i++) {
        unsigned at = get_le16(p + TP_HDR + 2 * i), flags;
        size_t len;

        if (at < upper || at % 2 || at + TP_NODE > psize || get_le16(p + at + 6) > 511u)
            return false;
        flags = get_le16(p + at + 4);
        len = TP_NODE + get_le16(p + at + 6);
        if (leaf && flags > 1)
            return false;
        if (leaf)
            len += flags ? 8 : get_le32(p + at);
        len = (len + 1) & ~(size_t)1;
        if (len > psize - at)
            return false;
        f->length[at / 2] = (uint16_t)len;
    }
    return true;
}

/* From upper to the page's end one lies beside the other: then none overlaps another. */
static bool nodes_fit(struct tp_file *f, const uint8_t *p, unsigned count, unsigned upper)
{
    unsigned at = upper, left = count, len;

    if (lengths_note(f, p, count, upper))
        for (; at < f->m.psize && (len = f->length[at / 2]); at += len, left--)
            f->length[at / 2] = 0;
    if (left == 0 && at == f->m.psize)
        return true;
    memset(f->length, 0, f->m.psize / 2 * sizeof(*f->length));
    return false;
}

static bool keys_fit(const uint8_t *p, unsigned count, bool numbers, struct tp_key lo, struct tp_key hi)
{
    struct tp_key last = lo;

    for (unsigned i = tp_is_leaf(p) ? 0 : 1; i < count;
         i++) { /* the first one of a branch is not looked at */
        struct tp_node n;

        tp_node(p, i, &n);
        if (numbers ? n.key.len != 8 : n.key.len == 0)
            return false;
        if (last.p && tp_compare(numbers, last, n.key) >= (last.p == lo.p ? 1 : 0))
            return false;
        last = n.key;
    }
    return !last.p || !hi.p || last.p == lo.p || tp_compare(numbers, last, hi) < 0;
}

int tp_prove(struct tp_file *f, uint64_t page, const uint8_t *p, bool numbers, struct tp_key lo,
             struct tp_key hi)
{
    unsigned flags = get_le16(p + 10), lower = get_le16(p + 12), upper = get_le16(p + 14), count;

    if (get_le64(p) != page)
        return tp_damage(f, page, "it has another number");
    if (flags != TP_BRANCH && flags != TP_LEAF)
        return tp_damage(f, page, "it is of no kind that belongs there");
    if (lower < TP_HDR || lower % 2 || lower > upper || upper > f->m.psize)
        return tp_damage(f, page, "its bounds cannot be");
    count = (lower - TP_HDR) / 2;
    if (count < (flags == TP_BRANCH ? 2u : 1u))
        return tp_damage(f, page, "it is empty");
    if (!nodes_fit(f, p, count, upper))
        return tp_damage(f, page, "its entries do not fit together");
    if (!keys_fit(p, count, numbers, lo, hi) && !BROKEN(VARVE_BREAK_page_keys))
        return tp_damage(f, page, "its keys are out of order");
    return 0;
}

int tp_page(struct tp_file *f, uint64_t page, uint8_t *room, bool numbers, struct tp_key lo, struct tp_key hi)
{
    int r = read_at(f, room, f->m.psize, page * f->m.psize);

    return r < 0 ? r : tp_prove(f, page, room, numbers, lo, hi);
}

static uint8_t *bytes_for(struct tp_bytes *b, size_t size)
{
    if (b->size >= size)
        return b->p;
    free(b->p);
    b->p = malloc(size);
    b->size = b->p ? size : 0;
    return b->p;
}

/* How many pages one behind the other the entries from the i-th on name. */
static uint64_t run_length(const struct tp_file *f, const uint8_t *branch, unsigned i, uint64_t first)
{
    uint64_t n = 1, most = MAX_OF(RUN_BYTES_MAX / f->m.psize, 1u);

    for (unsigned count = tp_count(branch); ++i < count && n < most && first + n <= f->m.last_page; n++) {
        struct tp_node node;

        tp_node(branch, i, &node);
        if (node.child != first + n)
            break;
    }
    return n;
}

int tp_run(struct tp_file *f, const uint8_t *branch, unsigned i, const uint8_t **ret)
{
    size_t psize = f->m.psize, got = 0;
    struct tp_node node;
    uint64_t count;
    int r;

    tp_node(branch, i, &node);
    if (node.child - f->run_first >= f->run_count) {
        count = run_length(f, branch, i, node.child);
        f->run_count = 0;
        if (!bytes_for(&f->run, count * psize))
            return -E_NOMEM;
        r = io_pread(f->io, f->fd, f->run.p, count * psize, node.child * psize, &got);
        f->bytes += got;
        if (r < 0)
            return r;
        if (got < psize)
            return tp_damage(f, node.child, "the file ends before it");
        f->run_first = node.child;
        f->run_count = got / psize;
    }
    *ret = f->run.p + (node.child - f->run_first) * psize;
    return 0;
}

/* --- values ------------------------------------------------------------------------------------------------------------- */

int tp_value(struct tp_file *f, const struct tp_node *n, const uint8_t **ret, uint64_t *overflows)
{
    uint64_t first, count = (TP_HDR - 1 + (uint64_t)n->size) / f->m.psize + 1;
    int r;

    if (!n->big) {
        *ret = n->data;
        return 0;
    }
    first = get_le64(n->data);
    r = tp_take(f, first, count);
    if (r < 0)
        return r;
    if (!bytes_for(&f->big, (size_t)(count * f->m.psize)))
        return -E_NOMEM;
    r = read_at(f, f->big.p, (size_t)(count * f->m.psize), first * f->m.psize);
    if (r < 0)
        return r;
    if (get_le64(f->big.p) != first || get_le16(f->big.p + 10) != TP_OVERFLOW ||
        get_le32(f->big.p + 12) != count)
        return tp_damage(f, first, "it is no page of a long value");
    *overflows += count;
    *ret = f->big.p + TP_HDR;
    return 0;
}

int tp_free_list(struct tp_file *f, const uint8_t *p, size_t len, uint64_t *ret_count)
{
    uint64_t n = len >= 8 ? get_le64(p) : 0, last = TP_NONE;

    if (len < 8 || len % 8 || n > len / 8 - 1)
        return tp_damage(f, TP_NONE, "a list of free pages is cut off");
    for (uint64_t i = 0; i < n; i++) {
        uint64_t page = get_le64(p + 8 + 8 * i);
        int r;

        if (page < 2 || page >= last)
            return tp_damage(f, page, "it stands in a list of free pages out of order");
        r = tp_take(f, page, 1);
        if (r < 0)
            return r;
        last = page;
    }
    *ret_count += n;
    return 0;
}
