/* tests/lib/pages: the bytes of a file as a test remembers them: sparse, in blocks of 4 KiB, shared between copies until
 * one of them changes. The zero state is an empty file. Not thread safe; copies that share blocks belong to one thread. */
#ifndef VARVE_TESTS_LIB_PAGES_H
#define VARVE_TESTS_LIB_PAGES_H

#include "base/base.h"

#define PG_SIZE 4096u
#define PG_CHUNK 64u /* blocks that are shared or copied at once */

enum pg_kind { PG_HOLE, PG_DATA, PG_UNWRITTEN };

struct pg_page {
    uint32_t refs;
    struct pg_page *next; /* of those that are not used */
    uint8_t data[PG_SIZE];
};
struct pg_slot {
    struct pg_page *page; /* NULL: zeros */
    uint64_t stamp;       /* of the last change of this block */
    uint8_t kind;         /* enum pg_kind */
};
struct pg_chunk {
    uint32_t refs;
    struct pg_slot slot[PG_CHUNK];
};
struct pages {
    struct pg_chunk **chunk; /* ascending by index, without gaps in the arrays */
    uint64_t *index;
    size_t n, cap;
};

void pages_clone(struct pages *dst, const struct pages *src); /* dst is in the zero state; O(chunks) */
void pages_free(struct pages *p);

/* The block's slot: NULL when nothing was ever there. */
const struct pg_slot *pages_slot(const struct pages *p, uint64_t block);
static inline enum pg_kind pages_kind(const struct pages *p, uint64_t block)
{
    const struct pg_slot *s = pages_slot(p, block);
    return s ? (enum pg_kind)s->kind : PG_HOLE;
}

void pages_read(const struct pages *p, void *out, size_t len, uint64_t off);
void pages_write(struct pages *p, const void *data, size_t len, uint64_t off, uint64_t stamp);
/* Zeros bytes inside of mapped blocks; holes and unwritten blocks stay what they are. */
void pages_zero(struct pages *p, uint64_t off, uint64_t len, uint64_t stamp);
/* Blocks [first, first + count) become kind, with zeros. only_kind >= 0: only those that are of that kind. */
void pages_set(struct pages *p, uint64_t first, uint64_t count, enum pg_kind kind, int only_kind,
               uint64_t stamp);
void pages_share(struct pages *dst, uint64_t to, const struct pages *src, uint64_t from, uint64_t count,
                 uint64_t stamp);

/* The first block >= from that was ever touched and is not a hole; UINT64_MAX when there is none. */
uint64_t pages_next(const struct pages *p, uint64_t from);
uint64_t pages_count(const struct pages *p); /* of blocks that are not holes */

#endif
