#include "tier/keys.h"

#include <openssl/crypto.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/io.h"
#include "tier/kek.h"

#define SECRET_MAX 65536
#define KEY_FILE_MAX (1u << 20)
#define KEY_FILE_MIN 32u
#define SCRYPT_R 8
#define SCRYPT_P 1
#define VERSION 1

/* --- secrets -------------------------------------------------------------------------------------------------------- */

void secret_release(struct secret *s)
{
    if (s->pass.cap)
        OPENSSL_cleanse(s->pass.data, s->pass.cap);
    buf_free(&s->pass);
    OPENSSL_cleanse(s, sizeof(*s));
}

static int take_passphrase(const void *p, size_t len, const char *whose, struct secret *ret, struct buf *err)
{
    const char *s = p;

    while (len && (s[len - 1] == '\n' || s[len - 1] == '\r'))
        len--;
    if (len == 0) {
        buf_printf(err, "%s: the passphrase is empty", whose);
        return -E_INVAL;
    }
    ret->kdf = KDF_SCRYPT;
    return buf_add(&ret->pass, s, len);
}

static int from_file(const char *path, bool key, struct secret *ret, struct buf *err)
{
    cleanup(buf_free) struct buf b = {0};
    int r = io_read_file(io_real(), path, key ? KEY_FILE_MAX : SECRET_MAX, &b);

    if (r < 0) {
        buf_printf(err, "%s: %s", path, err_text(r));
    } else if (!key) {
        r = take_passphrase(b.data, b.len, path, ret, err);
    } else if (b.len < KEY_FILE_MIN) {
        buf_printf(err, "%s: a key file has %u bytes at least; head -c 64 /dev/urandom makes one", path,
                   KEY_FILE_MIN);
        r = -E_INVAL;
    } else {
        ret->kdf = KDF_FILE;
        r = crypt_sha256(b.data, b.len, &ret->file);
    }
    if (b.cap)
        OPENSSL_cleanse(b.data, b.cap);
    return r;
}

int secret_read(const char *passphrase_file, const char *key_file, struct secret *ret, struct buf *err)
{
    const char *env = getenv("VARVE_PASSPHRASE");
    struct secret s = {0};
    int r;

    if (key_file)
        r = from_file(key_file, true, &s, err);
    else if (passphrase_file)
        r = from_file(passphrase_file, false, &s, err);
    else if (env)
        r = take_passphrase(env, strlen(env), "VARVE_PASSPHRASE", &s, err);
    else {
        buf_puts(err, "no passphrase: give --passphrase-file or --key-file, or set VARVE_PASSPHRASE");
        r = -E_KEY;
    }
    if (r < 0)
        secret_release(&s);
    else
        *ret = s;
    return r;
}

/* --- envelope, tails ------------------------------------------------------------------------------------------------ */

int plain_wrap(enum plain_kind kind, const void *body, size_t len, struct buf *out)
{
    size_t at = out->len;
    struct enc e;
    struct sha sum;
    int r = buf_reserve(out, PLAIN_HEAD + len + sizeof(sum));

    if (r < 0)
        return r;
    e.p = out->data + at;
    enc_bytes(&e, PLAIN_MAGIC, 4);
    enc_u16(&e, VERSION);
    enc_u16(&e, (uint16_t)kind);
    enc_u32(&e, (uint32_t)len);
    enc_bytes(&e, body, len);
    r = crypt_sha256(out->data + at, PLAIN_HEAD + len, &sum);
    enc_bytes(&e, sum.b, sizeof(sum.b));
    if (r == 0)
        out->len += PLAIN_HEAD + len + sizeof(sum);
    return r;
}

int plain_open(enum plain_kind kind, const void *p, size_t len, const uint8_t **ret_body, size_t *ret_len)
{
    struct dec d = dec_of(p, len);
    const uint8_t *magic = dec_bytes(&d, 4), *body, *sum;
    uint16_t version = dec_u16(&d), k = dec_u16(&d);
    uint32_t n = dec_u32(&d);
    struct sha want;

    if (d.bad || memcmp(magic, PLAIN_MAGIC, 4) != 0)
        return -E_CORRUPT;
    if (version != VERSION)
        return -E_REPO_NEWER;
    body = dec_bytes(&d, n);
    sum = dec_bytes(&d, sizeof(want));
    if (d.bad || d.left || k != kind)
        return -E_CORRUPT;
    if (crypt_sha256(p, PLAIN_HEAD + (size_t)n, &want) < 0)
        return -E_NOMEM;
    if (memcmp(sum, want.b, sizeof(want)) != 0)
        return -E_CORRUPT;
    *ret_body = body;
    *ret_len = n;
    return 0;
}

int tlv_next(struct dec *d, struct tlv *ret)
{
    if (d->left == 0 && !d->bad)
        return 0;
    ret->type = dec_u16(d);
    ret->flags = dec_u16(d);
    ret->len = dec_u32(d);
    ret->p = dec_bytes(d, ret->len);
    return d->bad ? -E_CORRUPT : 1;
}

int tlv_known(struct dec d, uint16_t known)
{
    struct tlv t;
    int r;

    while ((r = tlv_next(&d, &t)) == 1)
        if ((t.flags & TLV_MUST) && t.type > known)
            return -E_REPO_NEWER;
    return r;
}

/* The fields of a body, and its tail checked. */
static int body_open(enum plain_kind kind, const void *p, size_t len, size_t fields, struct dec *ret,
                     const uint8_t **ret_body)
{
    size_t n;
    int r = plain_open(kind, p, len, ret_body, &n);

    if (r < 0)
        return r;
    if (n < fields)
        return -E_CORRUPT;
    *ret = dec_of(*ret_body, fields);
    return tlv_known(dec_of(*ret_body + fields, n - fields), 0);
}

/* --- what follows from the master key ------------------------------------------------------------------------------- */

int master_keys(const struct key *master, struct master_keys *ret)
{
    int r = crypt_subkey(master, "varve domain wrap 1", &ret->wrap);

    if (r == 0)
        r = crypt_subkey(master, "varve root mac 1", &ret->root);
    return r < 0 ? r : crypt_subkey(master, "varve domain id 1", &ret->name);
}

void master_keys_wipe(struct master_keys *k)
{
    OPENSSL_cleanse(k, sizeof(*k));
}

/* --- root ----------------------------------------------------------------------------------------------------------- */

int root_encode(const struct repo_root *r, const struct master_keys *k, struct buf *out)
{
    uint8_t body[ROOT_BODY], mac[32];
    struct enc e = {body};
    int x;

    enc_bytes(&e, r->uuid.b, 16);
    enc_u64(&e, (uint64_t)r->created_ns);
    enc_u32(&e, r->generation);
    enc_u32(&e, TIER_BLOCK);
    enc_u64(&e, r->compat);
    enc_u64(&e, r->ro_compat);
    enc_u64(&e, r->incompat);
    enc_u8(&e, HASH_HMAC_SHA256_128);
    enc_u8(&e, CIPHER_AES_256_GCM);
    enc_u8(&e, FRAME_LOG2);
    enc_u8(&e, 0);
    enc_u32(&e, 0);
    enc_bytes(&e, r->domain.b, 16);
    enc_u64(&e, 0);
    enc_u64(&e, 0);
    assert(e.p == body + ROOT_MAC_AT);
    x = crypt_hmac(&k->root, body, ROOT_MAC_AT, mac);
    enc_bytes(&e, mac, sizeof(mac));
    return x < 0 ? x : plain_wrap(PLAIN_ROOT, body, sizeof(body), out);
}

int root_decode(const void *p, size_t len, struct repo_root *ret)
{
    const uint8_t *body;
    struct repo_root g;
    uint32_t block;
    uint8_t ids[3];
    struct dec d;
    int r = body_open(PLAIN_ROOT, p, len, ROOT_BODY, &d, &body);

    if (r < 0)
        return r;
    dec_copy(&d, g.uuid.b, 16);
    g.created_ns = (int64_t)dec_u64(&d);
    g.generation = dec_u32(&d);
    block = dec_u32(&d);
    g.compat = dec_u64(&d);
    g.ro_compat = dec_u64(&d);
    g.incompat = dec_u64(&d);
    dec_copy(&d, ids, sizeof(ids));
    dec_bytes(&d, 5);
    dec_copy(&d, g.domain.b, 16);
    if ((g.incompat & ~REPO_INCOMPAT) || ids[0] != HASH_HMAC_SHA256_128 || ids[1] != CIPHER_AES_256_GCM ||
        ids[2] != FRAME_LOG2 || block != TIER_BLOCK)
        return -E_REPO_NEWER;
    *ret = g;
    return 0;
}

int root_prove(const void *p, size_t len, const struct master_keys *k)
{
    const uint8_t *body;
    uint8_t mac[32];
    size_t n;
    int r = plain_open(PLAIN_ROOT, p, len, &body, &n);

    if (r == 0)
        r = n < ROOT_BODY ? -E_CORRUPT : crypt_hmac(&k->root, body, ROOT_MAC_AT, mac);
    if (r == 0 && CRYPTO_memcmp(mac, body + ROOT_MAC_AT, sizeof(mac)) != 0)
        r = -E_CORRUPT;
    return r;
}

/* --- keys ----------------------------------------------------------------------------------------------------------- */

/* The key that wraps the master key, from the secret and the fields of a body. */
static int kek_of(const struct secret *s, uint8_t kdf, const uint8_t cost[3], const uint8_t salt[32],
                  struct key *ret)
{
    static const char text[] = "varve key file 1";
    uint8_t both[sizeof(text) - 1 + sizeof(s->file)];
    struct key k;

    if (kdf != s->kdf)
        return -E_KEY;
    if (kdf == KDF_SCRYPT)
        return kek_scrypt(s->pass.data, s->pass.len, salt, cost, ret);
    memcpy(both, text, sizeof(text) - 1);
    memcpy(both + sizeof(text) - 1, s->file.b, sizeof(s->file));
    memcpy(k.b, salt, KEY_SIZE);
    return crypt_hmac(&k, both, sizeof(both), ret->b);
}

int key_encode(const struct uuid *repo, const struct key *master, const struct secret *s, struct buf *out)
{
    uint8_t body[KEY_BODY], salt[32], cost[3] = {0}, nonce[NONCE_SIZE];
    struct enc e = {body};
    struct key kek;
    int r;

    if (s->kdf == KDF_SCRYPT)
        memcpy(cost, (uint8_t[]){SCRYPT_LOG2N, SCRYPT_R, SCRYPT_P}, sizeof(cost));
    hash_random(salt, sizeof(salt));
    hash_random(nonce, sizeof(nonce));
    enc_bytes(&e, repo->b, 16);
    enc_u8(&e, (uint8_t)s->kdf);
    enc_bytes(&e, cost, sizeof(cost));
    enc_u32(&e, 0);
    enc_bytes(&e, salt, sizeof(salt));
    enc_u64(&e, (uint64_t)clock_wall_ns());
    assert(e.p == body + KEY_NONCE_AT);
    enc_bytes(&e, nonce, sizeof(nonce));
    r = kek_of(s, (uint8_t)s->kdf, cost, salt, &kek);
    if (r == 0)
        r = crypt_seal(&kek, nonce, body, KEY_NONCE_AT, master->b, KEY_SIZE, e.p);
    key_wipe(&kek);
    return r < 0 ? r : plain_wrap(PLAIN_KEY, body, sizeof(body), out);
}

int key_peek(const void *p, size_t len, enum kdf_id *ret_kdf, int64_t *ret_created_ns)
{
    const uint8_t *body;
    struct dec d;
    int r = body_open(PLAIN_KEY, p, len, KEY_BODY, &d, &body);

    if (r < 0)
        return r;
    dec_bytes(&d, 16);
    *ret_kdf = (enum kdf_id)dec_u8(&d);
    dec_bytes(&d, 3 + 4 + 32);
    *ret_created_ns = (int64_t)dec_u64(&d);
    return 0;
}

int key_decode(const void *p, size_t len, const struct uuid *repo, const struct secret *s, struct key *ret)
{
    const uint8_t *body, *salt;
    uint8_t uuid[16], kdf, cost[3];
    struct key kek = {{0}};
    struct dec d;
    int r = body_open(PLAIN_KEY, p, len, KEY_BODY, &d, &body);

    if (r < 0)
        return r;
    dec_copy(&d, uuid, sizeof(uuid));
    kdf = dec_u8(&d);
    dec_copy(&d, cost, sizeof(cost));
    dec_u32(&d);
    salt = dec_bytes(&d, 32);
    if (memcmp(uuid, repo->b, sizeof(uuid)) != 0)
        return -E_CORRUPT;
    r = kek_of(s, kdf, cost, salt, &kek);
    if (r == 0)
        r = crypt_open(&kek, body + KEY_NONCE_AT, body, KEY_NONCE_AT, body + KEY_NONCE_AT + NONCE_SIZE,
                       WRAPPED_SIZE, ret->b);
    key_wipe(&kek);
    return r == -E_INVAL ? -E_REPO_NEWER : r;
}

/* --- domains -------------------------------------------------------------------------------------------------------- */

int domain_encode(const struct uuid *repo, const struct domain_head *h, const struct key *k,
                  const struct master_keys *m, struct buf *out)
{
    uint8_t body[DOMAIN_BODY], nonce[NONCE_SIZE];
    struct enc e = {body};
    int r;

    hash_random(nonce, sizeof(nonce));
    enc_bytes(&e, repo->b, 16);
    enc_bytes(&e, h->id.b, 16);
    enc_u64(&e, (uint64_t)h->created_ns);
    enc_u32(&e, h->flags);
    enc_u32(&e, 0);
    assert(e.p == body + DOMAIN_NONCE_AT);
    enc_bytes(&e, nonce, sizeof(nonce));
    r = crypt_seal(&m->wrap, nonce, body, DOMAIN_NONCE_AT, k->b, KEY_SIZE, e.p);
    return r < 0 ? r : plain_wrap(PLAIN_DOMAIN, body, sizeof(body), out);
}

int domain_decode(const void *p, size_t len, const struct uuid *repo, const struct master_keys *m,
                  struct domain_head *ret_head, struct key *ret)
{
    struct domain_head h;
    const uint8_t *body;
    uint8_t uuid[16];
    struct dec d;
    int r = body_open(PLAIN_DOMAIN, p, len, DOMAIN_BODY, &d, &body);

    if (r < 0)
        return r;
    dec_copy(&d, uuid, sizeof(uuid));
    dec_copy(&d, h.id.b, 16);
    h.created_ns = (int64_t)dec_u64(&d);
    h.flags = dec_u32(&d);
    if (memcmp(uuid, repo->b, sizeof(uuid)) != 0)
        return -E_CORRUPT;
    if (h.flags & ~(uint32_t)(DOMAIN_OWN | DOMAIN_SHREDDED))
        return -E_REPO_NEWER;
    r = crypt_open(&m->wrap, body + DOMAIN_NONCE_AT, body, DOMAIN_NONCE_AT,
                   body + DOMAIN_NONCE_AT + NONCE_SIZE, WRAPPED_SIZE, ret->b);
    if (r == 0)
        *ret_head = h;
    return r == -E_KEY ? -E_CORRUPT : r;
}

int domain_name(const struct master_keys *m, const struct uuid *volume, uint32_t n, struct id16 *ret)
{
    uint8_t text[20], full[32];
    int r;

    memcpy(text, volume->b, 16);
    put_le32(text + 16, n);
    r = crypt_hmac(&m->name, text, sizeof(text), full);
    if (r == 0)
        memcpy(ret->b, full, sizeof(ret->b));
    return r;
}
