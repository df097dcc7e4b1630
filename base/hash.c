#include "base/hash.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/random.h>
#define XXH_INLINE_ALL /* most of what is summed is short: a call costs as much as the sum */
#include <xxhash.h>

static_assert(crypto_shorthash_siphash24_KEYBYTES == 16, "hash_name takes the key as it is");
static_assert(crypto_shorthash_siphash24_BYTES == 8, "hash_name gives 64 bits");

uint64_t hash_sum(uint64_t seed, const void *p, size_t len)
{
    return XXH3_64bits_withSeed(p, len, seed);
}

uint64_t hash_name(const uint8_t key[16], const void *p, size_t len)
{
    uint8_t out[8];

    crypto_shorthash_siphash24(out, p, len, key);
    return get_le64(out);
}

void hash_random(void *p, size_t len)
{
    uint8_t *at = p;

    while (len > 0) {
        ssize_t n = getrandom(at, len, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            abort(); /* no randomness: whatever would be named or keyed by it must not be */
        at += n;
        len -= (size_t)n;
    }
}
