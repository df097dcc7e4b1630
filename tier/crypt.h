/* tier/crypt: the hashes and the cipher, thin over OpenSSL. Threads: any. */
#ifndef VARVE_TIER_CRYPT_H
#define VARVE_TIER_CRYPT_H

#include "tier/format.h"

#define KEY_SIZE 32u
struct key {
    uint8_t b[KEY_SIZE];
};
void key_wipe(struct key *k);

int crypt_sha256(const void *p, size_t len, struct sha *ret); /* -E_NOMEM */
int crypt_sum8(const void *p, size_t len, uint8_t out[SUM8]);
int crypt_hmac(const struct key *k, const void *p, size_t len, uint8_t out[32]);
int crypt_subkey(const struct key *k, const char *text, struct key *ret);

/* AES-256-GCM. out has len + TAG_SIZE bytes (seal), len - TAG_SIZE (open). open: -E_KEY when the tag does not fit. */
int crypt_seal(const struct key *k, const uint8_t nonce[NONCE_SIZE], const void *aad, size_t aad_len,
               const void *p, size_t len, uint8_t *out);
int crypt_open(const struct key *k, const uint8_t nonce[NONCE_SIZE], const void *aad, size_t aad_len,
               const void *p, size_t len, uint8_t *out);
/* crypt_open_with: likewise, where the tag lies apart and len is without it; out may be p. */
int crypt_open_with(const struct key *k, const uint8_t nonce[NONCE_SIZE], const void *aad, size_t aad_len,
                    const void *p, size_t len, const uint8_t tag[TAG_SIZE], uint8_t *out);

/* crypt_scrypt: 2^log2n * 128 * r bytes of memory are used. -E_NOMEM, -E_INVAL. */
int crypt_scrypt(const void *pass, size_t len, const uint8_t salt[32], unsigned log2n, unsigned r, unsigned p,
                 struct key *ret);

/* A keyed hash used many times: prepared once. One thread at a time. */
struct mac;
int mac_new(const struct key *k, struct mac **ret);
void mac_free(struct mac *m);
int mac_id(struct mac *m, const void *p, size_t len, struct id16 *ret);

void hex_format(const uint8_t *p, size_t len, char *out); /* 2 * len + 1 bytes */
int hex_parse(const char *s, uint8_t *out, size_t len);   /* exactly 2 * len digits; -E_INVAL */

#endif
