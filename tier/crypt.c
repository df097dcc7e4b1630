#include "tier/crypt.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <stdlib.h>

void key_wipe(struct key *k)
{
    OPENSSL_cleanse(k, sizeof(*k));
}

int crypt_sha256(const void *p, size_t len, struct sha *ret)
{
    return EVP_Digest(p, len, ret->b, NULL, EVP_sha256(), NULL) == 1 ? 0 : -E_NOMEM;
}

int crypt_sum8(const void *p, size_t len, uint8_t out[SUM8])
{
    struct sha s;
    int r = crypt_sha256(p, len, &s);

    if (r == 0)
        memcpy(out, s.b, SUM8);
    return r;
}

int crypt_hmac(const struct key *k, const void *p, size_t len, uint8_t out[32])
{
    return HMAC(EVP_sha256(), k->b, KEY_SIZE, p, len, out, NULL) ? 0 : -E_NOMEM;
}

int crypt_subkey(const struct key *k, const char *text, struct key *ret)
{
    return crypt_hmac(k, text, strlen(text), ret->b);
}

static int gcm(const struct key *k, const uint8_t *nonce, const void *aad, size_t aad_len, const uint8_t *p,
               size_t len, uint8_t *out, uint8_t tag[TAG_SIZE], int encrypt)
{
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    int n, ok = c && EVP_CipherInit_ex(c, EVP_aes_256_gcm(), NULL, k->b, nonce, encrypt) == 1, fits = 1;

    if (ok && aad_len)
        ok = EVP_CipherUpdate(c, NULL, &n, aad, (int)aad_len) == 1;
    if (ok && len)
        ok = EVP_CipherUpdate(c, out, &n, p, (int)len) == 1;
    if (ok && !encrypt)
        ok = EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, TAG_SIZE, tag) == 1;
    if (ok)
        fits = EVP_CipherFinal_ex(c, out + len, &n) == 1;
    if (ok && fits && encrypt)
        ok = EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, TAG_SIZE, tag) == 1;
    EVP_CIPHER_CTX_free(c);
    return !ok ? -E_NOMEM : fits ? 0 : -E_KEY;
}

int crypt_seal(const struct key *k, const uint8_t nonce[NONCE_SIZE], const void *aad, size_t aad_len,
               const void *p, size_t len, uint8_t *out)
{
    uint8_t tag[TAG_SIZE];
    int r = gcm(k, nonce, aad, aad_len, p, len, out, tag, 1);

    if (r == 0)
        memcpy(out + len, tag, TAG_SIZE);
    return r;
}

int crypt_open(const struct key *k, const uint8_t nonce[NONCE_SIZE], const void *aad, size_t aad_len,
               const void *p, size_t len, uint8_t *out)
{
    if (len < TAG_SIZE)
        return -E_KEY;
    len -= TAG_SIZE;
    return crypt_open_with(k, nonce, aad, aad_len, p, len, (const uint8_t *)p + len, out);
}

int crypt_open_with(const struct key *k, const uint8_t nonce[NONCE_SIZE], const void *aad, size_t aad_len,
                    const void *p, size_t len, const uint8_t tag[TAG_SIZE], uint8_t *out)
{
    uint8_t own[TAG_SIZE];

    memcpy(own, tag, TAG_SIZE);
    return gcm(k, nonce, aad, aad_len, p, len, out, own, 0);
}

int crypt_scrypt(const void *pass, size_t len, const uint8_t salt[32], unsigned log2n, unsigned r, unsigned p,
                 struct key *ret)
{
    uint64_t n, memory;

    if (log2n < 1 || log2n > 24 || r < 1 || r > 32 || p < 1 || p > 16)
        return -E_INVAL;
    n = (uint64_t)1 << log2n;
    memory = n * 128 * r + (1u << 20) * (uint64_t)p;
    return EVP_PBE_scrypt(pass, len, salt, 32, n, r, p, memory, ret->b, KEY_SIZE) == 1 ? 0 : -E_NOMEM;
}

/* --- many of one key ------------------------------------------------------------------------------------------------ */

struct mac {
    EVP_MAC_CTX *ctx;
};

int mac_new(const struct key *k, struct mac **ret)
{
    EVP_MAC *alg = EVP_MAC_fetch(NULL, "HMAC", NULL);
    struct mac *m = calloc(1, sizeof(*m));
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string("digest", digest, 0), OSSL_PARAM_construct_end()};
    int r = -E_NOMEM;

    if (m && alg && (m->ctx = EVP_MAC_CTX_new(alg)) && EVP_MAC_init(m->ctx, k->b, KEY_SIZE, params) == 1) {
        *ret = TAKE(m);
        r = 0;
    }
    EVP_MAC_free(alg);
    mac_free(m);
    return r;
}

void mac_free(struct mac *m)
{
    if (!m)
        return;
    EVP_MAC_CTX_free(m->ctx);
    free(m);
}

int mac_id(struct mac *m, const void *p, size_t len, struct id16 *ret)
{
    uint8_t full[32];
    size_t n;

    if (EVP_MAC_init(m->ctx, NULL, 0, NULL) != 1 || EVP_MAC_update(m->ctx, p, len) != 1 ||
        EVP_MAC_final(m->ctx, full, &n, sizeof(full)) != 1)
        return -E_NOMEM;
    memcpy(ret->b, full, sizeof(ret->b));
    return 0;
}

/* --- digits --------------------------------------------------------------------------------------------------------- */

void hex_format(const uint8_t *p, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
    out[2 * len] = 0;
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int hex_parse(const char *s, uint8_t *out, size_t len)
{
    if (strlen(s) != 2 * len)
        return -E_INVAL;
    for (size_t i = 0; i < len; i++) {
        int hi = digit(s[2 * i]), lo = digit(s[2 * i + 1]);

        if (hi < 0 || lo < 0)
            return -E_INVAL;
        out[i] = (uint8_t)(hi << 4 | lo);
    }
    return 0;
}
