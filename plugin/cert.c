#include "plugin/cert.h"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#define EARLY_S 3600
#define SERIAL_BITS 127
#define NAME_SIZE 256

static void x509_free(X509 **x)
{
    X509_free(*x);
}
static void pkey_free(EVP_PKEY **k)
{
    EVP_PKEY_free(*k);
}
static void bio_free(BIO **b)
{
    BIO_free(*b);
}

static void pair_free(struct cert_pair *p)
{
    if (p->key.data)
        OPENSSL_cleanse(p->key.data, p->key.cap);
    buf_free(&p->key);
    buf_free(&p->crt);
}

void cert_set_free(struct cert_set *s)
{
    pair_free(&s->node);
    pair_free(&s->controller);
    buf_free(&s->ca);
}

/* --- making ----------------------------------------------------------------------------------------------------------------- */

static int serial_put(X509 *x)
{
    BIGNUM *n = BN_new();
    int ok = n && BN_rand(n, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
             BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x)) != NULL;

    BN_free(n);
    return ok;
}

static int times_put(X509 *x, int64_t now_s, int64_t life_s)
{
    ASN1_TIME *from = ASN1_TIME_set(NULL, now_s - EARLY_S), *until = ASN1_TIME_set(NULL, now_s + life_s);
    int ok = from && until && X509_set1_notBefore(x, from) == 1 && X509_set1_notAfter(x, until) == 1;

    ASN1_TIME_free(from);
    ASN1_TIME_free(until);
    return ok;
}

static int extension_put(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509_EXTENSION *e;
    X509V3_CTX ctx;
    int ok;

    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    ok = e && X509_add_ext(x, e, -1) == 1;
    X509_EXTENSION_free(e);
    return ok;
}

/* All but extensions and signature; issuer NULL: itself. */
static X509 *begin(EVP_PKEY *key, const char *name, X509 *issuer, int64_t now_s, int64_t life_s)
{
    X509 *x = X509_new();
    X509_NAME *subject = x ? X509_get_subject_name(x) : NULL;

    if (x && X509_set_version(x, X509_VERSION_3) == 1 && serial_put(x) && times_put(x, now_s, life_s) &&
        X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0) ==
            1 &&
        X509_set_issuer_name(x, issuer ? X509_get_subject_name(issuer) : subject) == 1 &&
        X509_set_pubkey(x, key) == 1)
        return x;
    X509_free(x);
    return NULL;
}

static int text_of(X509 *x, EVP_PKEY *key, struct buf *ret)
{
    cleanup(bio_free) BIO *b = BIO_new(BIO_s_secmem());
    char *p;
    long n;

    if (!b || (x && PEM_write_bio_X509(b, x) != 1) ||
        (key && PEM_write_bio_PKCS8PrivateKey(b, key, NULL, NULL, 0, NULL, NULL) != 1))
        return 0;
    n = BIO_get_mem_data(b, &p);
    return n > 0 && buf_add(ret, p, (size_t)n) == 0;
}

struct authority {
    X509 *crt;
    EVP_PKEY *key;
    int64_t now_s, life_s;
};

static int leaf_make(const struct authority *a, const char *part, const char *driver, const char *use,
                     struct cert_pair *ret)
{
    cleanup(pkey_free) EVP_PKEY *key = EVP_EC_gen("P-256");
    cleanup(x509_free) X509 *x = NULL;
    char name[NAME_SIZE], cn[64];

    snprintf(name, sizeof(name), "DNS:%s.%s", part, driver);
    snprintf(cn, sizeof(cn), "varve %s", part);
    x = key ? begin(key, cn, a->crt, a->now_s, a->life_s) : NULL;
    return x && extension_put(x, a->crt, NID_basic_constraints, "critical,CA:FALSE") &&
           extension_put(x, a->crt, NID_key_usage, "critical,digitalSignature") &&
           extension_put(x, a->crt, NID_ext_key_usage, use) &&
           extension_put(x, a->crt, NID_subject_key_identifier, "hash") &&
           extension_put(x, a->crt, NID_authority_key_identifier, "keyid:always") &&
           extension_put(x, a->crt, NID_subject_alt_name, name) && X509_sign(x, a->key, EVP_sha256()) > 0 &&
           text_of(x, NULL, &ret->crt) && text_of(NULL, key, &ret->key);
}

static int authority_make(struct authority *a, struct buf *ret)
{
    a->key = EVP_EC_gen("P-256");
    a->crt = a->key ? begin(a->key, "varve", NULL, a->now_s, a->life_s) : NULL;
    return a->crt && extension_put(a->crt, a->crt, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
           extension_put(a->crt, a->crt, NID_key_usage, "critical,keyCertSign") &&
           extension_put(a->crt, a->crt, NID_subject_key_identifier, "hash") &&
           X509_sign(a->crt, a->key, EVP_sha256()) > 0 && text_of(a->crt, NULL, ret);
}

bool cert_make(const char *driver, int64_t now_s, int64_t life_s, struct cert_set *ret)
{
    struct authority a = {.now_s = now_s, .life_s = life_s};
    struct cert_set s = {.ca = {.len = 0}};
    int ok = authority_make(&a, &s.ca) && leaf_make(&a, "node", driver, "serverAuth", &s.node) &&
             leaf_make(&a, "controller", driver, "clientAuth", &s.controller);

    X509_free(a.crt);
    EVP_PKEY_free(a.key);
    if (ok)
        *ret = s;
    else
        cert_set_free(&s);
    return ok;
}

/* --- looking ---------------------------------------------------------------------------------------------------------------- */

static X509 *read_crt(const struct buf *b)
{
    cleanup(bio_free) BIO *in = BIO_new_mem_buf(b->data, (int)b->len);

    return in ? PEM_read_bio_X509(in, NULL, NULL, NULL) : NULL;
}

/* It has begun, and more than a third of its life is left. */
static bool is_young(const X509 *x, int64_t now_s)
{
    ASN1_TIME *now = ASN1_TIME_set(NULL, now_s);
    const ASN1_TIME *from = X509_get0_notBefore(x), *until = X509_get0_notAfter(x);
    int days, left_days, s, left_s;
    bool ok = now && ASN1_TIME_compare(from, now) <= 0 && ASN1_TIME_diff(&days, &s, from, until) == 1 &&
              ASN1_TIME_diff(&left_days, &left_s, now, until) == 1 &&
              (left_days * 86400ll + left_s) * 3 > days * 86400ll + s;

    ASN1_TIME_free(now);
    return ok;
}

static const char *leaf_wrong(const struct cert_pair *p, X509 *ca, const char *part, const char *driver,
                              int64_t now_s)
{
    cleanup(bio_free) BIO *in = BIO_new_mem_buf(p->key.data, (int)p->key.len);
    cleanup(pkey_free) EVP_PKEY *key = in ? PEM_read_bio_PrivateKey(in, NULL, NULL, NULL) : NULL;
    cleanup(x509_free) X509 *x = read_crt(&p->crt);
    char name[NAME_SIZE];

    snprintf(name, sizeof(name), "%s.%s", part, driver);
    if (!x || !key || X509_check_private_key(x, key) != 1)
        return "a certificate and its key are not one";
    if (X509_verify(x, X509_get0_pubkey(ca)) != 1 && !BROKEN(VARVE_BREAK_cert_authority))
        return "they are of different authorities";
    if (X509_check_host(x, name, 0, 0, NULL) != 1)
        return "they are for another driver";
    return is_young(x, now_s) || BROKEN(VARVE_BREAK_cert_end) ? NULL : "they are about to end";
}

const char *cert_wrong(const struct cert_set *s, const char *driver, int64_t now_s)
{
    cleanup(x509_free) X509 *ca = read_crt(&s->ca);
    const char *why = ca ? NULL : "there is no authority";

    if (!why)
        why = leaf_wrong(&s->node, ca, "node", driver, now_s);
    if (!why)
        why = leaf_wrong(&s->controller, ca, "controller", driver, now_s);
    ERR_clear_error();
    return why;
}
