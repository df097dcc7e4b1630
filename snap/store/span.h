/* snap/store/span: the map of one span (1 MiB, 256 blocks) of a file (F4). In memory: for each block the number of its
 * source, 0 a hole. On disk (value of TAB_SPAN, version 1): nsrc u8, zero u8, nruns u16; nsrc sources of SPAN_SRC_SIZE bytes:
 * kind u8, flags u8, zero u16, data_born u32, owner_vol u32, object u64, delta i64 (object block = file block + delta);
 * then nruns runs of 3 bytes: first block u8, count - 1 u8, source u8 (1..nsrc), ascending, not touching each other when of
 * one source; blocks in no run are holes. Pure functions. */
#ifndef VARVE_SNAP_STORE_SPAN_H
#define VARVE_SNAP_STORE_SPAN_H

#include "snap/store/format.h"
#include "base/buf.h"

/* Numbers are format. SLICE and BOTH are for tiering: bytes in a repository, or both there and in the object. */
enum span_kind { SPAN_HOLE = 0, SPAN_OBJECT = 1, SPAN_UNWRITTEN = 2, SPAN_SLICE = 3, SPAN_BOTH = 4 };

struct span_src {
    uint8_t kind; /* enum span_kind */
    uint8_t flags;
    uint32_t data_born; /* layer that wrote the bytes; 0: inherited, before this branch */
    uint32_t owner_vol;
    uint64_t object;
    int64_t delta; /* object block - file block */
};
#define SPAN_SRC_SIZE 28u
#define SPAN_SIZE_MAX (4u + 255u * SPAN_SRC_SIZE + 256u * 3u)

struct span {
    uint16_t nsrc;
    uint8_t block[SPAN_BLOCKS]; /* source number, 1..nsrc; 0 a hole */
    struct span_src src[256];   /* src[1..nsrc] */
};

void span_clear(struct span *sp);
size_t span_encode(const struct span *sp, uint8_t out[SPAN_SIZE_MAX]); /* drops sources that no block uses */
int span_decode(const void *p, size_t len, struct span *ret);          /* -E_CORRUPT */
bool span_empty(const struct span *sp);
void span_copy(struct span *to,
               const struct span *from); /* what counts of it: a struct has room for all sources */
/* span_changed: outside of [*ret_first, *ret_end) both maps say the same. */
void span_changed(const struct span *a, const struct span *b, unsigned *ret_first, unsigned *ret_end);

/* span_set: blocks [first, first + count) get this source (NULL: a hole). -E_RANGE: more than 255 sources after dropping
 * unused ones (cannot happen with 256 blocks of fewer sources). */
int span_set(struct span *sp, unsigned first, unsigned count, const struct span_src *src);
static inline const struct span_src *span_at(const struct span *sp, unsigned block)
{
    return sp->block[block] ? &sp->src[sp->block[block]] : NULL;
}
unsigned span_mapped(const struct span *sp); /* blocks that are no holes */

/* Distinct objects named by an encoded inode or span record (what objref counts): at most max are put in ret; the number.
 * Inode: base_obj and open_obj, zeros left out. Other tables: none. -E_CORRUPT. */
int record_objects(uint8_t tab, const void *payload, size_t len, uint64_t *ret, int max);
#define RECORD_OBJECTS_MAX 256

#endif
