/* What an answer means: done, worth another try, or final; and the sentence with its cause and what to do. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "tier/s3_i.h"

#define NS_PER_S ((int64_t)1000000000)
#define SKEW_NS (600 * NS_PER_S) /* servers allow 15 minutes; what is half of it off is worth saying */

/* clang-format off */
static const struct known {
    const char *code;
    enum s3_verdict verdict;
    int err;
    const char *cause; /* %b the bucket, %d what was being done, %r region and %e endpoint of the answer, %c storage class */
} known[] = {
    {"InvalidAccessKeyId", S3_FINAL, -E_ACCES, "the access key is not known there: check the credentials and endpoint="},
    {"XAdminUserNotFound", S3_FINAL, -E_ACCES, "the access key is not known there: check the credentials and endpoint="},
    {"SignatureDoesNotMatch", S3_FINAL, -E_ACCES, "the secret key is not that of the access key: check the credentials"},
    {"AccessDenied", S3_FINAL, -E_ACCES, "permission denied: this key may not %d in bucket %b"},
    {"AllAccessDisabled", S3_FINAL, -E_ACCES, "permission denied: bucket %b is closed to everybody"},
    {"AccountProblem", S3_FINAL, -E_ACCES, "the account of this key has a problem"},
    {"ExpiredToken", S3_FINAL, -E_ACCES, "the session token has expired: renew the credentials"},
    {"TokenRefreshRequired", S3_FINAL, -E_ACCES, "the session token has expired: renew the credentials"},
    {"InvalidToken", S3_FINAL, -E_ACCES, "the session token is not valid there: renew the credentials"},
    {"RequestTimeTooSkewed", S3_FINAL, -E_ACCES, NULL},
    {"RequestExpired", S3_FINAL, -E_ACCES, NULL},
    {"NoSuchBucket", S3_FINAL, -E_IO, "there is no bucket %b: make it, or check its name and endpoint="},
    {"InvalidBucketName", S3_FINAL, -E_INVAL, "%b cannot be the name of a bucket there"},
    {"AuthorizationHeaderMalformed", S3_FINAL, -E_ACCES, "the bucket is in another region: give region=%r"},
    {"PermanentRedirect", S3_FINAL, -E_ACCES, "the bucket is elsewhere: give endpoint=%e"},
    {"TemporaryRedirect", S3_FINAL, -E_ACCES, "the bucket is elsewhere: give endpoint=%e"},
    {"IllegalLocationConstraintException", S3_FINAL, -E_ACCES, "the bucket is in another region: give region=%r"},
    {"ObjectLocked", S3_FINAL, -E_ACCES, "the object is locked (object lock)"},
    {"QuotaExceeded", S3_FINAL, -E_NOSPC, "the object store is full"},
    {"XMinioStorageFull", S3_FINAL, -E_NOSPC, "the object store is full"},
    {"XMinioAdminBucketQuotaExceeded", S3_FINAL, -E_NOSPC, "the object store is full: the quota of bucket %b is reached"},
    {"InsufficientStorage", S3_FINAL, -E_NOSPC, "the object store is full"},
    {"ServiceQuotaExceeded", S3_FINAL, -E_NOSPC, "the object store is full"},
    {"EntityTooLarge", S3_FINAL, -E_TOOBIG, "the object is too large for one put there: give a smaller multipart="},
    {"InvalidStorageClass", S3_FINAL, -E_INVAL, "storage class %c is not known there"},
    {"InvalidObjectState", S3_FINAL, -E_ARCHIVED, "the object is in an archive: it must be asked for before it can be read"},
    {"GlacierExpeditedRetrievalNotAvailable", S3_FINAL, -E_IO, "the archive has no room for expedited requests now: give restore-tier=Standard"},
    {"InvalidCopyDest", S3_FINAL, -E_NOTSUP, "the server has no storage classes: it copies no object onto itself"},
    {"ObjectLockConfigurationNotFoundError", S3_FINAL, -E_INVAL, "bucket %b has no object lock: make one that has, or leave lock= out"},
    {"NotImplemented", S3_FINAL, -E_NOTSUP, "the server cannot do what is needed to %d"},
    {"ConditionalRequestConflict", S3_AGAIN, -E_IO, "others put the same object all the time"},
    {"OperationAborted", S3_AGAIN, -E_IO, "another change of the same object is under way"},
    {"BadDigest", S3_AGAIN, -E_IO, "what arrives there is not what was sent"},
    {"InvalidDigest", S3_AGAIN, -E_IO, "what arrives there is not what was sent"},
    {"XAmzContentSHA256Mismatch", S3_AGAIN, -E_IO, "what arrives there is not what was sent"},
    {"IncompleteBody", S3_AGAIN, -E_IO, "only a part of what was sent arrives there"},
    {"RequestTimeout", S3_AGAIN, -E_IO, "what was sent arrives there too slowly"},
    {"SlowDown", S3_AGAIN, -E_IO, "the server asks for less at a time: give concurrency= or bandwidth=, or wait"},
    {"SlowDownRead", S3_AGAIN, -E_IO, "the server asks for less at a time: give concurrency= or bandwidth=, or wait"},
    {"SlowDownWrite", S3_AGAIN, -E_IO, "the server asks for less at a time: give concurrency= or bandwidth=, or wait"},
    {"TooManyRequests", S3_AGAIN, -E_IO, "the server asks for less at a time: give concurrency= or bandwidth=, or wait"},
    {"Busy", S3_AGAIN, -E_IO, "the server is busy"},
    {"ServiceUnavailable", S3_UNSURE, -E_IO, "the server is not available"},
    {"InternalError", S3_UNSURE, -E_IO, "the server has an error of its own"},
};

/* Where there is no code, or none that is known. */
static const struct by_status {
    int from, to;
    enum s3_verdict verdict;
    int err;
    const char *cause;
} by_status[] = {
    {200, 299, S3_DONE, 0, NULL},
    {300, 399, S3_FINAL, -E_ACCES, "the bucket is elsewhere: check region= and endpoint="},
    {401, 401, S3_FINAL, -E_ACCES, "the credentials are refused"},
    {403, 403, S3_FINAL, -E_ACCES, "permission denied: this key may not %d in bucket %b"},
    {404, 404, S3_DONE, 0, NULL},
    {408, 408, S3_AGAIN, -E_IO, "what was sent arrives there too slowly"},
    {409, 409, S3_AGAIN, -E_IO, "another change of the same object is under way"},
    {411, 411, S3_FINAL, -E_IO, "the server refuses this"},
    {412, 412, S3_DONE, 0, NULL},
    {413, 413, S3_FINAL, -E_TOOBIG, "the object is too large for one put there: give a smaller multipart="},
    {416, 416, S3_DONE, 0, NULL},
    {429, 429, S3_AGAIN, -E_IO, "the server asks for less at a time: give concurrency= or bandwidth=, or wait"},
    {501, 501, S3_FINAL, -E_NOTSUP, "the server cannot do what is needed to %d"},
    {507, 507, S3_FINAL, -E_NOSPC, "the object store is full"},
    {500, 599, S3_UNSURE, -E_IO, "the server has an error of its own"},
    {400, 499, S3_FINAL, -E_IO, "the server refuses this"},
};
/* clang-format on */

static const struct known *known_of(const char *code)
{
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcmp(known[i].code, code) == 0)
            return &known[i];
    return NULL;
}

static const struct by_status *status_of(int status)
{
    for (size_t i = 0; i < ARRAY_LEN(by_status); i++)
        if (status >= by_status[i].from && status <= by_status[i].to)
            return &by_status[i];
    return NULL;
}

/* How far this machine's clock is before the server's; 0 where that is not known. */
static int64_t ahead_ns(struct http_answer *a)
{
    int64_t there = http_date_ns(http_header(a, "date"));

    return there < 0 ? 0 : clock_wall_ns() - there;
}

static bool is_skewed(const struct s3_outcome *o, struct http_answer *a)
{
    int64_t by = ahead_ns(a);

    return strcmp(o->e.code, "RequestTimeTooSkewed") == 0 || strcmp(o->e.code, "RequestExpired") == 0 ||
           ((a->status == 403 || a->status == 401) && (by > SKEW_NS || by < -SKEW_NS));
}

void s3_classify(const struct s3 *s, const struct s3_ask *q, int r, struct http_answer *a,
                 struct s3_outcome *ret)
{
    const struct by_status *st = status_of(a->status);
    const struct known *k = NULL;

    (void)s;
    *ret = (struct s3_outcome){.verdict = S3_FINAL, .code = r};
    if (r == -E_NOMEM || r == -E_CANCELED || r == -E_ACCES)
        return;
    if (r < 0 || !st) {
        ret->verdict = a->sent ? S3_UNSURE : S3_AGAIN;
        ret->code = r == -E_TIMEOUT ? r : -E_IO;
        return;
    }
    if (a->status >= 300 && s3_xml_error(a->body.data, a->body.len, &ret->e))
        k = known_of(ret->e.code);
    ret->verdict = k ? k->verdict : st->verdict;
    ret->code = k ? k->err : st->err;
    if (ret->verdict == S3_DONE && a->status < 300 && q->sound && !q->sound(a)) {
        ret->verdict = S3_UNSURE;
        ret->code = -E_IO;
        snprintf(a->why, sizeof(a->why), "it does not answer as S3 does (status %d)", a->status);
    }
}

static void skew_say(struct http_answer *a, struct buf *out)
{
    int64_t s = ahead_ns(a) / NS_PER_S, n = s < 0 ? -s : s;

    if (s == 0)
        buf_puts(out, "the clock of this machine is wrong, says the server: set it");
    else if (n < 120)
        buf_printf(out, "the clock of this machine is %d seconds %s the server's: set it", (int)n,
                   s > 0 ? "ahead of" : "behind");
    else
        buf_printf(out, "the clock of this machine is %lld minutes %s the server's: set it",
                   (long long)((n + 30) / 60), s > 0 ? "ahead of" : "behind");
}

static void cause_say(const struct s3 *s, const struct s3_ask *q, const struct s3_outcome *o,
                      const char *cause, struct buf *out)
{
    for (const char *p = cause; *p; p++) {
        if (*p != '%') {
            buf_add(out, p, 1);
            continue;
        }
        switch (*++p) {
        case 'b': buf_puts(out, s->conf.bucket); break;
        case 'd': buf_puts(out, q->doing); break;
        case 'r': buf_puts(out, o->e.region[0] ? o->e.region : "NAME"); break;
        case 'e': buf_puts(out, o->e.endpoint[0] ? o->e.endpoint : "URL"); break;
        case 'c': buf_puts(out, s->conf.storage_class); break;
        }
    }
}

void s3_sentence(const struct s3 *s, const struct s3_ask *q, const struct s3_outcome *o,
                 struct http_answer *a, char *out, size_t size)
{
    const struct known *k = known_of(o->e.code);
    const struct by_status *st = status_of(a->status);
    cleanup(buf_free) struct buf b = {0};

    buf_printf(&b, "%s: ", s->conf.endpoint);
    if (is_skewed(o, a))
        skew_say(a, &b);
    else if (a->why[0] && o->code == -E_ACCES)
        buf_printf(&b, "its certificate is not to be trusted: %s: give the CA with ca=FILE", a->why);
    else if (a->why[0])
        buf_printf(&b, "%s: %s%s", q->doing, a->why, a->sent ? "" : ": check endpoint= and the network");
    else if (k && k->cause)
        cause_say(s, q, o, k->cause, &b);
    else if (st && st->cause)
        cause_say(s, q, o, st->cause, &b);
    else
        buf_printf(&b, "%s: %s", q->doing, err_text(o->code));
    if (o->e.code[0])
        buf_printf(&b, " (%s%s%s)", o->e.code, k || !o->e.message[0] ? "" : ": ", k ? "" : o->e.message);
    else if (a->status >= 300)
        buf_printf(&b, " (status %d)", a->status);
    snprintf(out, size, "%s", b.len && buf_cstr(&b) ? buf_cstr(&b) : err_text(o->code));
}
