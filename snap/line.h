/* snap/line: the bytes of all files of a state over one line of offsets, for those who know volumes of blocks only: where there are bytes,
 * and which are others than in a state before. The place of a byte depends on the number of its inode and its offset alone, so it is
 * the same in all states of a volume:
 *
 *   part c of a file (0 to 24) are its bytes from (2^c - 1) MiB up to (2^(c+1) - 1) MiB, 2^c MiB long
 *   byte o of inode i, in part c, lies at   c * 2^58  +  i * 2^(c+20)  +  (o - (2^c - 1) * 2^20)
 *
 * which has room for inodes below 2^(38-c): 2^38 files of a MiB, 2^28 of a GiB, 2^18 of a TiB. What lies nowhere in a state is zeros there:
 * holes, what is behind the end of a file, files that are not there. Names, modes and attributes are not on it. */
#ifndef VARVE_SNAP_LINE_H
#define VARVE_SNAP_LINE_H

#include "snap/snapshot.h"

#define LINE_PARTS 25
#define LINE_SIZE ((uint64_t)LINE_PARTS << 58)

struct line_range {
    uint64_t off_bytes, len_bytes;
};

/* line_place: where a byte lies. -E_RANGE: there is no room for it. */
int line_place(uint64_t ino, uint64_t off_bytes, uint64_t *ret);

/* line_each: the ranges that end behind `from`, ascending, not overlapping, the first one cut at `from`; exact to the block. a "": where
 * state b has bytes; else where they are others than in a. cb non-zero ends it with that value; it runs outside of transactions. Costs what
 * changed, once; without a, the inodes and what is told. Holds what was touched (24 bytes a key), the files above a MiB, and the ranges of
 * a GiB of one file. -E_RANGE, -E_UNRELATED, -E_NOENT. */
int line_each(struct vol *v, const char *a, const char *b, uint64_t from_bytes,
              int (*cb)(void *arg, const struct line_range *r), void *arg);

/* line_ranges: the first `limit` of them. *ret_more: there are more. */
int line_ranges(struct vol *v, const char *a, const char *b, uint64_t from, size_t limit,
                int (*cb)(void *arg, const struct line_range *r), void *arg, bool *ret_more);

#endif
