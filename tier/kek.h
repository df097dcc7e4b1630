/* tier/kek: keys derived from passphrases, remembered for the life of the process: deriving one costs 0.3 s and 128 MiB by intent, and a
 * daemon backs up often. What is kept is in locked memory and never written anywhere. Threads: any. */
#ifndef VARVE_TIER_KEK_H
#define VARVE_TIER_KEK_H

#include "tier/crypt.h"

/* kek_scrypt: as crypt_scrypt() with cost {log2 N, r, p}, once for the same words. -E_NOMEM, -E_INVAL. */
int kek_scrypt(const void *pass, size_t len, const uint8_t salt[32], const uint8_t cost[3], struct key *ret);
uint64_t kek_derived(void); /* how many were derived in truth */

#endif
