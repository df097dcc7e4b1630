/* base/hash: checksums and hashes, thin over libxxhash and libsodium. Pure functions. */
#ifndef VARVE_BASE_HASH_H
#define VARVE_BASE_HASH_H

#include "base/base.h"

/* hash_sum(seed, p, len): 64-bit checksum (XXH3_64bits with seed). For damage, not against an adversary. */
uint64_t hash_sum(uint64_t seed, const void *p, size_t len);
static inline uint32_t hash_sum32(uint64_t seed, const void *p, size_t len)
{
    uint64_t h = hash_sum(seed, p, len);
    return (uint32_t)(h ^ (h >> 32));
}

/* hash_name(key, p, len): SipHash-2-4 with a 16-byte key, for names that strangers choose. */
uint64_t hash_name(const uint8_t key[16], const void *p, size_t len);

void hash_random(void *p, size_t len); /* unpredictable bytes from the kernel; cannot fail */

#endif
