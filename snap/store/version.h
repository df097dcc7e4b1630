/* snap/store/version: STORE/version, the file that makes a directory a store. 160 bytes, little endian: magic "VARVESTO",
 * format u32, block size u32, compat u64, ro-compat u64, incompat u64 (feature masks), uuid 16, created_ns i64,
 * segment_bytes u64, segments u32, span shift u32, identity of the directory (dev u64, ino u64, machine 16), zeros, sum u64
 * (hash_sum with seed 0 of all bytes before it). */
#ifndef VARVE_SNAP_STORE_VERSION_H
#define VARVE_SNAP_STORE_VERSION_H

#include "base/uuid.h"
#include "snap/store/format.h"

#define STORE_MAGIC "VARVESTO"
#define STORE_VERSION_SIZE 160u
#define STORE_COMPAT 0ull /* features this program knows */
#define STORE_ROCOMPAT 0ull
#define STORE_INCOMPAT STORE_HAS_COLD
#define STORE_HAS_COLD 1ull /* incompat: bytes of objects may lie elsewhere (TAB_COLD) */

struct store_version {
    uint32_t format, block_size, segments, span_shift;
    uint64_t compat, rocompat, incompat;
    struct uuid uuid;
    int64_t created_ns;
    uint64_t segment_bytes;
    uint64_t dir_dev, dir_ino;
    uint8_t machine[16];
};

void store_version_encode(const struct store_version *v, uint8_t out[STORE_VERSION_SIZE]);
/* -E_STORE_NOT (not ours), -E_CORRUPT (ours, damaged), -E_STORE_NEWER, -E_STORE_FEATURE; *ret is filled for the last two. */
int store_version_decode(const void *p, size_t len, struct store_version *ret);

#endif
