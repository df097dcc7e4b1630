/* base/base: what every file may use: scope cleanup, TAKE, sizes, byte order. Header only. */
#ifndef VARVE_BASE_BASE_H
#define VARVE_BASE_BASE_H

#include <assert.h>
#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"

#define cleanup(fn) __attribute__((cleanup(fn)))
#define TAKE(p)                                                                                              \
    ({                                                                                                       \
        __typeof__(p) take_ = (p);                                                                           \
        (p) = NULL;                                                                                          \
        take_;                                                                                               \
    })
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MIN_OF(a, b) ((a) < (b) ? (a) : (b))
#define MAX_OF(a, b) ((a) > (b) ? (a) : (b))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))

/* `make controls` builds with -DVARVE_BREAK_<rule>=1. In code: `if (BROKEN(VARVE_BREAK_rule)) ...` is a constant
 * that is true only in that build. A suite that stays green under its own rule proves nothing. */
#define BROKEN_ARG_1 0,
#define BROKEN_SECOND(ignored, v, ...) v
#define BROKEN_IS(x) BROKEN_SECOND(x 1, 0, 0)
#define BROKEN_CAT(v) BROKEN_IS(BROKEN_ARG_##v)
#define BROKEN(rule) BROKEN_CAT(rule)

/* clang-format off */
/* Little endian on disk and wire; the _be forms are for keys, which sort as bytes. p needs no alignment. */
static inline uint16_t get_le16(const void *p) { uint16_t v; memcpy(&v, p, 2); return le16toh(v); }
static inline uint32_t get_le32(const void *p) { uint32_t v; memcpy(&v, p, 4); return le32toh(v); }
static inline uint64_t get_le64(const void *p) { uint64_t v; memcpy(&v, p, 8); return le64toh(v); }
static inline void put_le16(void *p, uint16_t v) { v = htole16(v); memcpy(p, &v, 2); }
static inline void put_le32(void *p, uint32_t v) { v = htole32(v); memcpy(p, &v, 4); }
static inline void put_le64(void *p, uint64_t v) { v = htole64(v); memcpy(p, &v, 8); }
static inline uint16_t get_be16(const void *p) { uint16_t v; memcpy(&v, p, 2); return be16toh(v); }
static inline uint32_t get_be32(const void *p) { uint32_t v; memcpy(&v, p, 4); return be32toh(v); }
static inline uint64_t get_be64(const void *p) { uint64_t v; memcpy(&v, p, 8); return be64toh(v); }
static inline void put_be16(void *p, uint16_t v) { v = htobe16(v); memcpy(p, &v, 2); }
static inline void put_be32(void *p, uint32_t v) { v = htobe32(v); memcpy(p, &v, 4); }
static inline void put_be64(void *p, uint64_t v) { v = htobe64(v); memcpy(p, &v, 8); }
/* clang-format on */

#endif
