/* One request to the server: signed, tried, tried again. */
#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "tier/crypt.h"
#include "tier/s3_cred.h"
#include "tier/s3_i.h"

#define WHOLE_MS 600000 /* a call without a bound of its own */
#define TRIES 8
#define WAIT_FIRST_MS 100
#define WAIT_MAX_MS 10000
#define WAIT_TOLD_MAX_MS 60000 /* of what Retry-After says */
#define NS_PER_MS ((int64_t)1000000)
#define BUDGET 100
#define BUDGET_TRY 5

struct s3_run s3_run_begin(const struct backend_call *c)
{
    int64_t ms = c && c->timeout_ms > 0 ? c->timeout_ms : WHOLE_MS;

    return (struct s3_run){.call = c, .deadline_ns = clock_mono_ns() + ms * NS_PER_MS, .max = TRIES};
}

/* --- one attempt ---------------------------------------------------------------------------------------------------- */

static bool is_signed(const char *name)
{
    return strncmp(name, "x-amz-", 6) == 0 || strcmp(name, "content-md5") == 0;
}

/* The headers as they are signed, and all of them as lines. */
static int headers_make(const struct s3 *s, const struct s3_ask *q, struct s3_signing *sig, struct s3_pair *h,
                        const char *date, struct buf *lines)
{
    int r = 0;

    sig->headers = h;
    h[sig->nheaders++] = (struct s3_pair){"host", s->host};
    h[sig->nheaders++] = (struct s3_pair){"x-amz-content-sha256", sig->payload};
    h[sig->nheaders++] = (struct s3_pair){"x-amz-date", date};
    if (sig->cred->token[0])
        h[sig->nheaders++] = (struct s3_pair){"x-amz-security-token", sig->cred->token};
    for (size_t i = 0; i < q->nheaders; i++)
        if (is_signed(q->headers[i].name))
            h[sig->nheaders++] = q->headers[i];
        else if (r == 0)
            r = buf_printf(lines, "%s: %s\n", q->headers[i].name, q->headers[i].value);
    for (size_t i = 0; r == 0 && i < sig->nheaders; i++)
        r = buf_printf(lines, "%s: %s\n", h[i].name, h[i].value);
    if (r == 0)
        r = buf_puts(lines, "authorization: ");
    if (r == 0)
        r = s3_authorization(sig, lines);
    return r < 0 ? r : buf_puts(lines, "\n");
}

static int path_make(const struct s3 *s, const struct s3_ask *q, struct buf *path)
{
    int r = buf_puts(path, "/");

    if (r == 0 && s->conf.style == S3_STYLE_PATH)
        r = buf_printf(path, "%s%s", s->conf.bucket, q->key ? "/" : "");
    if (r == 0 && q->key)
        r = buf_puts(path, q->key);
    return r == 0 && !buf_cstr(path) ? -E_NOMEM : r;
}

static int url_make(const struct s3 *s, const struct s3_ask *q, const char *path, struct buf *url)
{
    int r = buf_printf(url, "%s%s", s->scheme, s->host);

    if (r == 0)
        r = s3_encode(path, true, url);
    if (r == 0 && q->nquery)
        r = buf_puts(url, "?");
    if (r == 0)
        r = s3_query(q->query, q->nquery, url);
    return r == 0 && !buf_cstr(url) ? -E_NOMEM : r;
}

static int payload_hash(const struct s3_ask *q, char hex[65])
{
    struct sha sum;
    int r = crypt_sha256(q->body, q->len, &sum);

    if (BROKEN(VARVE_BREAK_s3_unsigned) && q->len) {
        snprintf(hex, 65, "UNSIGNED-PAYLOAD");
        return 0;
    }
    if (r == 0)
        hex_format(sum.b, sizeof(sum.b), hex);
    return r;
}

static int attempt(struct s3 *s, const struct s3_ask *q, const struct s3_run *run, const struct s3_cred *cred,
                   struct http_answer *a)
{
    cleanup(buf_free) struct buf path = {0}, url = {0}, lines = {0};
    struct s3_pair signed_headers[S3_PAIRS + 4];
    char hex[65], date[S3_DATE_SIZE];
    struct s3_signing sig = {.method = q->method,
                             .query = q->query,
                             .nquery = q->nquery,
                             .payload = hex,
                             .when_ns = clock_wall_ns(),
                             .region = s->conf.region,
                             .service = "s3",
                             .cred = cred};
    struct http_request req = {.method = q->method,
                               .headers = &lines,
                               .body = q->body,
                               .len = q->len,
                               .room = q->room ? q->room : S3_ANSWER_MAX,
                               .part = q->part,
                               .part_len = q->part_len,
                               .deadline_ns = run->deadline_ns,
                               .call = run->call};
    int r = payload_hash(q, hex);

    s3_date(sig.when_ns, date);
    if (r == 0)
        r = path_make(s, q, &path);
    if (r == 0)
        r = url_make(s, q, buf_cstr(&path), &url);
    if (r == 0) {
        sig.path = (const char *)path.data;
        r = headers_make(s, q, &sig, signed_headers, date, &lines);
    }
    req.url = (const char *)url.data;
    r = r < 0 ? r : http_perform(s->http, &req, a);
    if (lines.cap)
        OPENSSL_cleanse(lines.data, lines.cap);
    return r;
}

/* Whoever renews credentials writes them into the file: what is there now may be other ones. */
static bool reload(struct s3 *s, struct s3_run *run)
{
    cleanup(buf_free) struct buf ignored = {0};
    struct s3_cred *fresh = calloc(1, sizeof(*fresh));
    char region[64];
    bool other = false;

    if (!fresh || run->reloaded) {
        free(fresh);
        return false;
    }
    run->reloaded = true;
    if (s3_cred_read(&s->conf, fresh, region, &ignored) == 0) {
        lock_take(&s->lock);
        other = memcmp(fresh, &s->cred, sizeof(*fresh)) != 0;
        s->cred = *fresh;
        lock_drop(&s->lock);
    }
    s3_cred_wipe(fresh);
    free(fresh);
    return other;
}

static bool credentials_refused(const char *code)
{
    static const char *const codes[] = {"ExpiredToken", "TokenRefreshRequired", "InvalidToken",
                                        "InvalidAccessKeyId"};

    for (size_t i = 0; i < ARRAY_LEN(codes); i++)
        if (strcmp(code, codes[i]) == 0)
            return true;
    return false;
}

void s3_once(struct s3 *s, const struct s3_ask *q, struct s3_run *run, struct http_answer *a,
             struct s3_outcome *ret)
{
    struct s3_cred *cred = calloc(1, sizeof(*cred));
    int r = -E_NOMEM;

    http_answer_release(a);
    if (cred && run->call && run->call->canceled && run->call->canceled(run->call->arg)) {
        r = -E_CANCELED;
        free(cred);
    } else if (cred) {
        lock_take(&s->lock);
        *cred = s->cred;
        lock_drop(&s->lock);
        r = attempt(s, q, run, cred, a);
        s3_cred_wipe(cred);
        free(cred);
    }
    run->tries++;
    s3_classify(s, q, r, a, ret);
    if (ret->verdict == S3_FINAL && credentials_refused(ret->e.code) && reload(s, run))
        ret->verdict = S3_AGAIN;
    run->unsure |= ret->verdict == S3_UNSURE;
    log_debug("tier", "s3", "doing=%s status=%d verdict=%d tries=%u why=%s", q->doing, a->status,
              (int)ret->verdict, run->tries, a->why);
    if (ret->verdict == S3_DONE) {
        lock_take(&s->lock);
        s->budget = MIN_OF(s->budget + 1, BUDGET);
        lock_drop(&s->lock);
    }
}

/* --- once more ------------------------------------------------------------------------------------------------------ */

static bool budget_take(struct s3 *s)
{
    bool enough;

    lock_take(&s->lock);
    enough = s->budget >= BUDGET_TRY;
    if (enough)
        s->budget -= BUDGET_TRY;
    lock_drop(&s->lock);
    return enough;
}

/* Longer each time, and not the same for all who were refused together. */
static int64_t wait_ms(const struct s3_run *run, const struct s3_outcome *o, struct http_answer *a)
{
    int64_t most = (int64_t)WAIT_FIRST_MS << MIN_OF(run->tries - 1, 8u), told;
    uint64_t random;

    if (strcmp(o->e.code, "SlowDown") == 0)
        most *= 4;
    most = MIN_OF(most, WAIT_MAX_MS);
    told = strtol(http_header(a, "retry-after"), NULL, 10) * 1000;
    hash_random(&random, sizeof(random));
    return MAX_OF(most / 2 + (int64_t)(random % (uint64_t)(most / 2 + 1)),
                  MIN_OF(told, (int64_t)WAIT_TOLD_MAX_MS));
}

bool s3_again(struct s3 *s, struct s3_run *run, const struct s3_outcome *o, struct http_answer *a)
{
    const struct backend_call *c = run->call;
    int64_t until = clock_mono_ns() + wait_ms(run, o, a) * NS_PER_MS;

    if (run->tries >= run->max || until >= run->deadline_ns || !budget_take(s))
        return false;
    while (clock_mono_ns() < until) {
        if (c && c->canceled && c->canceled(c->arg))
            return false;
        nanosleep(&(struct timespec){.tv_nsec = 20 * NS_PER_MS}, NULL);
    }
    return true;
}

int s3_fail(struct s3 *s, const struct s3_ask *q, const struct s3_run *run, const struct s3_outcome *o,
            struct http_answer *a)
{
    const struct backend_call *c = run->call;
    char text[400];
    int code = o->code;

    if (c && c->canceled && c->canceled(c->arg))
        return -E_CANCELED;
    if (code == -E_CANCELED || code == -E_NOMEM)
        return code;
    if (o->verdict != S3_FINAL && clock_mono_ns() >= run->deadline_ns)
        code = -E_TIMEOUT;
    s3_sentence(s, q, o, a, text, sizeof(text));
    if (run->tries > 1)
        return why_say(&s->why, code, "%s (tried %u times)", text, run->tries);
    return why_say(&s->why, code, "%s", text);
}

int s3_ask(struct s3 *s, const struct s3_ask *q, struct s3_run *run, struct http_answer *a)
{
    struct s3_outcome o;

    run->tries = 0;
    do {
        s3_once(s, q, run, a, &o);
        if (o.verdict == S3_DONE)
            return 0;
    } while (o.verdict != S3_FINAL && s3_again(s, run, &o, a));
    return s3_fail(s, q, run, &o, a);
}
