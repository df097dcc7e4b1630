/* snap/store/tabpages_i: what tabpages.c and tabway.c share: LMDB 0.9's file as it lies on disk (data version 1, 64 bits, little
 * endian), and the proof of one page. */
#ifndef VARVE_SNAP_STORE_TABPAGES_I_H
#define VARVE_SNAP_STORE_TABPAGES_I_H

#include "snap/store/delta.h"
#include "snap/store/kv.h"
#include "snap/store/tabpages.h"

#define TP_HDR 16u /* number u64, pad u16, flags u16, lower u16, upper u16 (of overflow pages: count u32) */
#define TP_NODE 8u /* of a leaf: size u32, flags u16, key size u16; of a branch: page u48, key size u16 */
#define TP_DEPTH_MAX 32u /* LMDB's own bound */
#define TP_NONE UINT64_MAX

enum tp_flag { TP_BRANCH = 1, TP_LEAF = 2, TP_OVERFLOW = 4, TP_META = 8 };

struct tp_tree {
    uint32_t pad;
    uint16_t flags, depth;
    uint64_t branches, leaves, overflows, entries, root;
};
struct tp_meta {
    uint64_t map_bytes, last_page, txn;
    uint32_t psize;
    struct tp_tree free, main;
};

struct tp_key {
    const uint8_t *p; /* NULL: no bound */
    size_t len;
};

struct tp_node {
    struct tp_key key;
    uint64_t child;      /* of a branch */
    uint32_t size;       /* of the value */
    bool big;            /* the value lies in overflow pages, from the one that data names */
    const uint8_t *data; /* in the page */
};

struct tp_bytes {
    uint8_t *p;
    size_t size;
};

struct tp_file {
    struct io *io;
    int fd;
    char *why;
    struct tp_meta m;
    uint8_t *seen; /* a bit for each page; the one thing that those who share the file change together */
    bool shares;   /* file and bits are another's */
    uint8_t *room; /* a page for each level */
    struct tp_bytes big; /* of overflow pages */
    struct tp_bytes run; /* of pages that were read at once, run_count from run_first */
    uint64_t run_first, run_count;
    uint64_t bytes; /* read */
    uint16_t *
        length; /* for tp_prove: of the node that begins there, by pairs of bytes of a page; zeros between calls */
};

int tp_open(struct io *io, const char *meta, uint64_t txn, struct tp_file *f, char *why);
/* tp_share: the same file for one thread more; `of` outlives it. -E_NOMEM. tp_close in any case. */
int tp_share(const struct tp_file *of, struct tp_file *f, char *why);
void tp_close(struct tp_file *f);
int tp_damage(struct tp_file *f, uint64_t page, const char *what); /* -E_CORRUPT */

/* tp_page: reads a page into room and proves it by itself: number, kind, nodes. numbers: keys are numbers (the tree of free
 * pages). Its keys lie in [lo, hi). tp_prove: of a page that was read. */
int tp_page(struct tp_file *f, uint64_t page, uint8_t *room, bool numbers, struct tp_key lo,
            struct tp_key hi);
int tp_prove(struct tp_file *f, uint64_t page, const uint8_t *p, bool numbers, struct tp_key lo,
             struct tp_key hi);
/* tp_run: the page that the i-th entry of a branch names, in *ret until the next call; pages of the file that lie one behind the other
 * are read at once where the entries behind name them. */
int tp_run(struct tp_file *f, const uint8_t *branch, unsigned i, const uint8_t **ret);
/* Of a page that tp_prove has proved. */
static inline bool tp_is_leaf(const uint8_t *p)
{
    return p[10] == TP_LEAF;
}
static inline unsigned tp_count(const uint8_t *p)
{
    return (unsigned)(get_le16(p + 12) - TP_HDR) / 2;
}
static inline void tp_node(const uint8_t *p, unsigned i, struct tp_node *ret)
{
    const uint8_t *n = p + get_le16(p + TP_HDR + 2 * i);
    size_t klen = get_le16(n + 6);
    uint16_t flags = get_le16(n + 4);

    *ret = (struct tp_node){.key = {n + TP_NODE, klen}, .data = n + TP_NODE + klen};
    if (tp_is_leaf(p)) {
        ret->size = get_le32(n);
        ret->big = flags & 1;
    } else {
        ret->child = get_le32(n) | (uint64_t)flags << 32;
    }
}
static inline int tp_compare(bool numbers, struct tp_key a, struct tp_key b)
{
    uint64_t x, y;

    if (!numbers)
        return delta_cmp(a.p, a.len, b.p, b.len);
    x = get_le64(a.p);
    y = get_le64(b.p);
    return (x > y) - (x < y);
}

/* tp_take: the pages are used: -E_CORRUPT when one is so already, or lies outside. Any thread. */
int tp_take(struct tp_file *f, uint64_t page, uint64_t count);
bool tp_taken(const struct tp_file *f, uint64_t page);
/* tp_value: the bytes of a leaf's value, wherever they lie; takes its overflow pages, counts them. */
int tp_value(struct tp_file *f, const struct tp_node *n, const uint8_t **ret, uint64_t *overflows);
/* tp_free_list: a value of the tree of free pages: takes each page that it names. */
int tp_free_list(struct tp_file *f, const uint8_t *p, size_t len, uint64_t *ret_count);

#endif
