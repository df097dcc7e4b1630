/* Putting once, and finding out whether that was done where no answer came. */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mark.h"
#include "tier/crypt.h"
#include "tier/s3_i.h"

bool s3_has_etag(struct http_answer *a)
{
    return http_header(a, "etag")[0] != 0;
}

/* Objects that come and go are not kept from going. */
static bool is_retained(const struct s3 *s, const char *name)
{
    return s->conf.lock_mode != S3_LOCK_NONE && strncmp(name, "test/", 5) != 0 &&
           strncmp(name, "lease/", 6) != 0;
}

static int md5_base64(const void *p, size_t len, char out[32])
{
    uint8_t sum[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    if (!EVP_Digest(p, len, sum, &n, EVP_md5(), NULL) || n != 16)
        return -E_NOMEM;
    EVP_EncodeBlock((unsigned char *)out, sum, 16);
    return 0;
}

int s3_put_headers(struct s3 *s, const char *name, const void *p, size_t len, struct s3_put *put,
                   struct s3_ask *q)
{
    uint8_t token[16];
    int r = 0;

    hash_random(token, sizeof(token));
    hex_format(token, sizeof(token), put->owner);
    s3_header_add(q, S3_OWNER, put->owner);
    if (s->conf.storage_class[0] && strncmp(name, "packs/", 6) == 0)
        s3_header_add(q, "x-amz-storage-class", s->conf.storage_class);
    if (!is_retained(s, name))
        return 0;
    clock_format(clock_wall_ns() + s->conf.retain_ns, put->until);
    s3_header_add(q, "x-amz-object-lock-mode",
                  s->conf.lock_mode == S3_LOCK_COMPLIANCE ? "COMPLIANCE" : "GOVERNANCE");
    s3_header_add(q, "x-amz-object-lock-retain-until-date", put->until);
    if (p) { /* what is locked must have it, or another sum beside the signature */
        r = md5_base64(p, len, put->md5);
        s3_header_add(q, "content-md5", put->md5);
    }
    return r;
}

/* Half an object under our token: a server that stores what did not arrive whole. */
static int drop_half(struct s3 *s, struct s3_run *run, const char *key, uint64_t size, size_t len)
{
    cleanup(http_answer_release) struct http_answer a = {0};
    const struct s3_ask q = {.doing = "delete objects", .method = "DELETE", .key = key};

    log_warn("tier", "s3-half", "key=%s bytes=%llu of=%zu", key, (unsigned long long)size, len);
    return s3_ask(s, &q, run, &a);
}

static int look(struct s3 *s, const struct s3_run *run, const char *key, struct http_answer *ret)
{
    const struct s3_ask q = {.doing = "look at objects", .method = "HEAD", .key = key, .sound = s3_has_stat};
    struct s3_run sub = {.call = run->call, .deadline_ns = run->deadline_ns, .max = run->max};
    int r = s3_ask(s, &q, &sub, ret);

    return r < 0 ? r : ret->status != 404;
}

/* Whoever put it: what another program has copied there has no token. */
int s3_is_there(struct s3 *s, const struct s3_run *run, const char *key)
{
    cleanup(http_answer_release) struct http_answer a = {0};

    return look(s, run, key, &a);
}

int s3_is_ours(struct s3 *s, struct s3_run *run, const char *key, const char *owner, size_t len)
{
    cleanup(http_answer_release) struct http_answer a = {0};
    struct s3_run sub = {.call = run->call, .deadline_ns = run->deadline_ns, .max = run->max};
    uint64_t size;
    int r = look(s, run, key, &a);

    assert(*owner);
    if (r <= 0)
        return r;
    if (strcmp(http_header(&a, S3_OWNER), owner) != 0)
        return -E_EXIST;
    MARK("s3: an answer was lost, the object is there");
    size = strtoull(http_header(&a, "content-length"), NULL, 10);
    if (size == len)
        return 1;
    r = drop_half(s, &sub, key, size, len);
    return r < 0 ? r : 0;
}

static bool is_unconditional(struct s3 *s)
{
    bool is;

    lock_take(&s->lock);
    is = s->unconditional;
    lock_drop(&s->lock);
    return is;
}

static void set_unconditional(struct s3 *s)
{
    lock_take(&s->lock);
    s->unconditional = true;
    lock_drop(&s->lock);
    log_warn("tier", "s3-unconditional",
             "endpoint=%s knows no If-None-Match: objects are looked for before they are put",
             s->conf.endpoint);
}

/* 1: put on; 0: it is there, ours; else the error. */
static int settle(struct s3 *s, struct s3_run *run, const char *key, const char *owner, size_t len)
{
    int r;

    if (BROKEN(VARVE_BREAK_s3_readback))
        return -E_EXIST;
    r = s3_is_ours(s, run, key, owner, len);
    if (r == 1)
        return 0;
    if (r == 0)
        return 1;
    return r == -E_EXIST || r == -E_CANCELED || r == -E_NOMEM ? r : -E_UNSURE;
}

/* 1: it is to be tried again. */
static int put_try(struct s3 *s, struct s3_run *run, const struct s3_ask *q, const char *owner,
                   struct http_answer *a)
{
    bool plain = q->headers[q->nheaders - 1].name[0] != 'i'; /* without if-none-match */
    struct s3_outcome o;
    int r;

    s3_once(s, q, run, a, &o);
    if (o.verdict == S3_DONE && a->status < 300 && !plain)
        return 0;
    if (o.verdict == S3_DONE || o.verdict == S3_UNSURE) {
        r = settle(s, run, q->key, owner, q->len);
        if (r <= 0)
            return r;
    }
    if (o.verdict == S3_DONE && a->status == 404) {
        o.verdict = S3_FINAL;
        o.code = -E_IO;
        snprintf(a->why, sizeof(a->why), "the server says that there is no such place (status 404)");
    }
    if (o.code == -E_NOTSUP && !plain) {
        set_unconditional(s);
        return -E_NOTSUP;
    }
    if (o.verdict != S3_FINAL && s3_again(s, run, &o, a))
        return 1;
    r = s3_fail(s, q, run, &o, a);
    return run->unsure && r != -E_CANCELED ? -E_UNSURE : r;
}

static int put_whole(struct s3 *s, struct s3_run *run, const char *name, const char *key, const void *p,
                     size_t len, bool plain)
{
    cleanup(http_answer_release) struct http_answer a = {0};
    struct s3_ask q = {
        .doing = "put objects", .method = "PUT", .key = key, .body = p, .len = len, .sound = s3_has_etag};
    struct s3_put put;
    int r = s3_put_headers(s, name, p, len, &put, &q);

    if (r == 0 && plain)
        r = s3_is_ours(s, run, key, put.owner, len);
    else if (r == 0)
        s3_header_add(&q, "if-none-match", "*");
    if (r < 0)
        return r;
    do
        r = put_try(s, run, &q, put.owner, &a);
    while (r == 1);
    return r;
}

int s3_put(struct backend *b, const struct backend_call *c, const char *name, const void *p, size_t len)
{
    struct s3 *s = s3_of(b);
    struct s3_run run = s3_run_begin(c);
    char key[S3_NAME_SIZE];
    int r = s3_key(s, name, key);

    if (r < 0)
        return r;
    if (len > s->conf.multipart)
        return s3_parts_put(s, &run, name, key, p, len);
    r = put_whole(s, &run, name, key, p, len, is_unconditional(s));
    if (r == -E_NOTSUP && is_unconditional(s))
        r = put_whole(s, &run, name, key, p, len, true);
    return r;
}
