/* snap/store/tabpages_i: what tabpages.c and tabway.c share: LMDB 0.9's file as it lies on disk (data version 1, 64 bits, little
 * endian), and the proof of one page. */
#ifndef VARVE_SNAP_STORE_TABPAGES_I_H
#define VARVE_SNAP_STORE_TABPAGES_I_H

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

struct tp_file {
    struct io *io;
    int fd;
    char *why;
    struct tp_meta m;
    uint8_t *seen; /* a bit for each page */
    uint8_t *room; /* a page for each level */
    uint8_t *big;  /* of overflow pages */
    size_t big_size;
    uint64_t bytes; /* read */
    uint8_t *taken; /* for tp_page: a byte for each two of a page */
};

int tp_open(struct io *io, const char *meta, uint64_t txn, struct tp_file *f, char *why);
void tp_close(struct tp_file *f);
int tp_damage(struct tp_file *f, uint64_t page, const char *what); /* -E_CORRUPT */

/* tp_page: reads a page into room and proves it by itself: number, kind, nodes. numbers: keys are numbers (the tree of free
 * pages). Its keys lie in [lo, hi). */
int tp_page(struct tp_file *f, uint64_t page, uint8_t *room, bool numbers, struct tp_key lo,
            struct tp_key hi);
/* Of a page that tp_page has proved. */
static inline bool tp_is_leaf(const uint8_t *p)
{
    return p[10] == TP_LEAF;
}
static inline unsigned tp_count(const uint8_t *p)
{
    return (unsigned)(get_le16(p + 12) - TP_HDR) / 2;
}
void tp_node(const uint8_t *p, unsigned i, struct tp_node *ret);
int tp_compare(bool numbers, struct tp_key a, struct tp_key b);

/* tp_take: the pages are used: -E_CORRUPT when one is so already, or lies outside. */
int tp_take(struct tp_file *f, uint64_t page, uint64_t count);
bool tp_taken(const struct tp_file *f, uint64_t page);
/* tp_value: the bytes of a leaf's value, wherever they lie; takes its overflow pages, counts them. */
int tp_value(struct tp_file *f, const struct tp_node *n, const uint8_t **ret, uint64_t *overflows);
/* tp_free_list: a value of the tree of free pages: takes each page that it names. */
int tp_free_list(struct tp_file *f, const uint8_t *p, size_t len, uint64_t *ret_count);

#endif
