#include "tier/s3_sign.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "tier/crypt.h"

#define QUERY_MAX 8
#define HEADERS_MAX 16
#define DATE_DIGITS 8

void s3_cred_wipe(struct s3_cred *c)
{
    OPENSSL_cleanse(c, sizeof(*c));
}

void s3_date(int64_t when_ns, char out[S3_DATE_SIZE])
{
    char text[CLOCK_TEXT_SIZE];
    size_t n = 0;

    clock_format(when_ns, text);
    for (const char *p = text; *p && n < S3_DATE_SIZE - 1; p++)
        if (*p != '-' && *p != ':')
            out[n++] = *p;
    out[n] = 0;
}

static bool unreserved(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

int s3_encode(const char *s, bool keep_slash, struct buf *out)
{
    int r = 0;

    for (; r == 0 && *s; s++)
        r = unreserved(*s) || (keep_slash && *s == '/') ? buf_add(out, s, 1)
                                                        : buf_printf(out, "%%%02X", (unsigned char)*s);
    return r;
}

/* By name, then by value, as encoded; so few that inserting is enough. */
static void sort_texts(char **v, size_t n)
{
    for (size_t i = 1; i < n; i++)
        for (size_t k = i; k > 0 && strcmp(v[k - 1], v[k]) > 0; k--) {
            char *t = v[k];

            v[k] = v[k - 1];
            v[k - 1] = t;
        }
}

static char *pair_encoded(const struct s3_pair *p)
{
    struct buf b = {0};
    int r = s3_encode(p->name, false, &b);

    /* '=' must sort before every character that may be in a name, as the end of a name does */
    if (r == 0)
        r = buf_puts(&b, "\001");
    if (r == 0)
        r = s3_encode(p->value, false, &b);
    if (r == 0)
        r = buf_add(&b, "", 1);
    if (r < 0)
        buf_free(&b);
    return (char *)b.data;
}

int s3_query(const struct s3_pair *query, size_t n, struct buf *out)
{
    char *texts[QUERY_MAX] = {0};
    int r = 0;

    assert(n <= QUERY_MAX);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = (texts[i] = pair_encoded(&query[i])) ? 0 : -E_NOMEM;
    if (r == 0)
        sort_texts(texts, n);
    for (size_t i = 0; r == 0 && i < n; i++) {
        *strchr(texts[i], '\001') = '=';
        r = buf_printf(out, "%s%s", i ? "&" : "", texts[i]);
    }
    for (size_t i = 0; i < n; i++)
        free(texts[i]);
    return r;
}

/* Without spaces around it, and with single ones inside. */
static int value_trimmed(const char *s, struct buf *out)
{
    size_t n = strlen(s);
    int r = 0;

    while (n && s[n - 1] == ' ')
        n--;
    for (size_t i = 0; r == 0 && i < n; i++)
        if (s[i] != ' ' || (out->len && out->data[out->len - 1] != ':' && s[i - 1] != ' '))
            r = buf_add(out, &s[i], 1);
    return r;
}

static void sort_headers(const struct s3_signing *s, const struct s3_pair *sorted[HEADERS_MAX])
{
    assert(s->nheaders <= HEADERS_MAX);
    for (size_t i = 0; i < s->nheaders; i++) {
        size_t k = i;

        for (; k > 0 && strcmp(sorted[k - 1]->name, s->headers[i].name) > 0; k--)
            sorted[k] = sorted[k - 1];
        sorted[k] = &s->headers[i];
    }
}

static int names_signed(const struct s3_signing *s, struct buf *out)
{
    const struct s3_pair *h[HEADERS_MAX];
    int r = 0;

    sort_headers(s, h);
    for (size_t i = 0; r == 0 && i < s->nheaders; i++)
        r = buf_printf(out, "%s%s", i ? ";" : "", h[i]->name);
    return r;
}

int s3_canonical(const struct s3_signing *s, struct buf *out)
{
    const struct s3_pair *h[HEADERS_MAX];
    int r = buf_printf(out, "%s\n", s->method);

    if (r == 0)
        r = s3_encode(s->path, true, out);
    if (r == 0)
        r = buf_puts(out, "\n");
    if (r == 0)
        r = s3_query(s->query, s->nquery, out);
    if (r == 0)
        r = buf_puts(out, "\n");
    sort_headers(s, h);
    for (size_t i = 0; r == 0 && i < s->nheaders; i++) {
        r = buf_printf(out, "%s:", h[i]->name);
        if (r == 0)
            r = value_trimmed(h[i]->value, out);
        if (r == 0)
            r = buf_puts(out, "\n");
    }
    if (r == 0)
        r = buf_puts(out, "\n");
    if (r == 0)
        r = names_signed(s, out);
    return r < 0 ? r : buf_printf(out, "\n%s", s->payload);
}

static int hmac(const void *key, size_t klen, const void *p, size_t len, uint8_t out[32])
{
    return HMAC(EVP_sha256(), key, (int)klen, p, len, out, NULL) ? 0 : -E_NOMEM;
}

static int signing_key(const struct s3_signing *s, const char *date, uint8_t out[32])
{
    char first[S3_KEY_MAX + 8];
    const struct {
        const char *p;
        size_t len;
    } steps[] = {{s->region, strlen(s->region)}, {s->service, strlen(s->service)}, {"aws4_request", 12}};
    int n = snprintf(first, sizeof(first), "AWS4%s", s->cred->secret);
    int r = hmac(first, (size_t)n, date, DATE_DIGITS, out);

    for (size_t i = 0; r == 0 && i < ARRAY_LEN(steps); i++) {
        uint8_t key[32];

        memcpy(key, out, sizeof(key));
        r = hmac(key, sizeof(key), steps[i].p, steps[i].len, out);
        OPENSSL_cleanse(key, sizeof(key));
    }
    OPENSSL_cleanse(first, sizeof(first));
    return r;
}

int s3_authorization(const struct s3_signing *s, struct buf *out)
{
    cleanup(buf_free) struct buf canonical = {0}, text = {0};
    char date[S3_DATE_SIZE], hex[65];
    uint8_t key[32], mac[32];
    struct sha sum;
    int r = s3_canonical(s, &canonical);

    s3_date(s->when_ns, date);
    if (r == 0)
        r = crypt_sha256(canonical.data, canonical.len, &sum);
    if (r < 0)
        return r;
    hex_format(sum.b, sizeof(sum.b), hex);
    r = buf_printf(&text, "AWS4-HMAC-SHA256\n%s\n%.8s/%s/%s/aws4_request\n%s", date, date, s->region,
                   s->service, hex);
    if (r == 0)
        r = signing_key(s, date, key);
    if (r == 0)
        r = hmac(key, sizeof(key), text.data, text.len, mac);
    OPENSSL_cleanse(key, sizeof(key));
    if (r < 0)
        return r;
    hex_format(mac, sizeof(mac), hex);
    r = buf_printf(out, "AWS4-HMAC-SHA256 Credential=%s/%.8s/%s/%s/aws4_request, SignedHeaders=", s->cred->id,
                   date, s->region, s->service);
    if (r == 0)
        r = names_signed(s, out);
    return r < 0 ? r : buf_printf(out, ", Signature=%s", hex);
}
