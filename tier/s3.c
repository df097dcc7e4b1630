#include "tier/s3.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "tier/s3_cred.h"
#include "tier/s3_i.h"

#define BUDGET_FIRST 100
#define OPEN_MS 20000
#define OPEN_TRIES 3
#define ERROR_ROOM 65536 /* for what an error says */

int s3_key(const struct s3 *s, const char *name, char out[S3_NAME_SIZE])
{
    int r = backend_name_check(name);

    if (r == 0)
        snprintf(out, S3_NAME_SIZE, "%s%s%s", s->conf.prefix, s->conf.prefix[0] ? "/" : "", name);
    return r;
}

void s3_seen(struct s3 *s, int64_t mtime_ns)
{
    lock_take(&s->lock);
    s->seen_ns = MAX_OF(s->seen_ns, mtime_ns);
    lock_drop(&s->lock);
}

/* --- looking -------------------------------------------------------------------------------------------------------- */

bool s3_has_stat(struct http_answer *a)
{
    return http_date_ns(http_header(a, "last-modified")) >= 0 && *http_header(a, "content-length");
}

static int head(struct s3 *s, struct s3_run *run, const char *key, struct backend_stat *ret)
{
    cleanup(http_answer_release) struct http_answer a = {0};
    const struct s3_ask q = {.doing = "look at objects", .method = "HEAD", .key = key, .sound = s3_has_stat};
    int r = s3_ask(s, &q, run, &a);
    int64_t t;

    if (r < 0)
        return r;
    if (a.status == 404)
        return -E_NOENT;
    t = http_date_ns(http_header(&a, "last-modified"));
    if (a.status >= 300)
        return why_say(&s->why, -E_IO, "%s: it does not answer as S3 does (status %d)", s->conf.endpoint,
                       a.status);
    *ret = (struct backend_stat){strtoull(http_header(&a, "content-length"), NULL, 10), t};
    s3_seen(s, t);
    return 0;
}

static int s3_stat(struct backend *b, const struct backend_call *c, const char *name,
                   struct backend_stat *ret)
{
    struct s3 *s = s3_of(b);
    struct s3_run run = s3_run_begin(c);
    char key[S3_NAME_SIZE];
    int r = s3_key(s, name, key);

    return r < 0 ? r : head(s, &run, key, ret);
}

/* --- getting -------------------------------------------------------------------------------------------------------- */

struct range {
    uint64_t at, end; /* what is still wanted, */
    uint8_t *to;      /* and where it goes */
};

/* The bytes that came, if they are those that were asked for: also of an answer that broke off. */
static int range_take(struct range *g, struct http_answer *a)
{
    uint64_t first, last, total;
    size_t n = a->part_len;

    if (sscanf(http_header(a, "content-range"), "bytes %" SCNu64 "-%" SCNu64 "/%" SCNu64, &first, &last,
               &total) != 3 ||
        first != g->at || last < first || last >= g->end || last >= total)
        return -E_PROTO;
    n = MIN_OF(n, last - first + 1);
    g->end = MIN_OF(g->end, total);
    g->at += n;
    g->to += n;
    return 0;
}

/* 1: more is to be asked for. */
static int get_try(struct s3 *s, struct s3_run *run, struct s3_ask *q, struct range *g)
{
    cleanup(http_answer_release) struct http_answer a = {0};
    uint64_t was = g->at;
    struct s3_outcome o;
    int r = -E_PROTO;

    q->room = MAX_OF((size_t)(g->end - g->at), (size_t)ERROR_ROOM);
    q->part = g->to;
    q->part_len = (size_t)(g->end - g->at);
    s3_once(s, q, run, &a, &o);
    if (o.verdict == S3_DONE && a.status == 404)
        return -E_NOENT;
    if (o.verdict == S3_DONE && a.status == 416)
        return 0;
    if (a.status == 206)
        r = range_take(g, &a);
    if (r == 0 && o.verdict == S3_DONE && g->at >= g->end)
        return 0;
    if (g->at > was)
        run->tries = 1; /* it goes on */
    if (o.verdict == S3_DONE) {
        o = (struct s3_outcome){.verdict = S3_AGAIN, .code = -E_IO};
        snprintf(a.why, sizeof(a.why), "it sends other bytes than were asked for (status %d)", a.status);
    }
    if (o.verdict != S3_FINAL && s3_again(s, run, &o, &a))
        return 1;
    return s3_fail(s, q, run, &o, &a);
}

static int s3_get_into(struct backend *b, const struct backend_call *c, const char *name, uint64_t off,
                       size_t len, void *p, size_t *ret_len)
{
    struct s3 *s = s3_of(b);
    struct s3_run run = s3_run_begin(c);
    struct range g = {off, off + len, p};
    struct backend_stat st;
    char key[S3_NAME_SIZE];
    int r = s3_key(s, name, key);

    *ret_len = 0;
    if (r == 0 && len == 0)
        return head(s, &run, key, &st);
    if (r == 0)
        r = 1;
    while (r == 1) {
        struct s3_ask q = {.doing = "get objects", .method = "GET", .key = key};
        char bytes[64];

        snprintf(bytes, sizeof(bytes), "bytes=%" PRIu64 "-%" PRIu64, g.at, g.end - 1);
        s3_header_add(&q, "range", bytes);
        r = get_try(s, &run, &q, &g);
    }
    *ret_len = (size_t)(g.at - off);
    return r == -E_ARCHIVED ? s3_archived(s, c, name) : r;
}

static int s3_get(struct backend *b, const struct backend_call *c, const char *name, uint64_t off, size_t len,
                  struct buf *ret)
{
    size_t n = 0;
    int r = buf_reserve(ret, len);

    if (r == 0)
        r = s3_get_into(b, c, name, off, len, ret->data + ret->len, &n);
    if (r == 0)
        ret->len += n;
    return r;
}

/* --- deleting, the time --------------------------------------------------------------------------------------------- */

static bool is_deleted(struct http_answer *a)
{
    return a->status == 204 || *http_header(a, "x-amz-request-id");
}

static int s3_del(struct backend *b, const struct backend_call *c, const char *name)
{
    cleanup(http_answer_release) struct http_answer a = {0};
    struct s3 *s = s3_of(b);
    struct s3_run run = s3_run_begin(c);
    struct backend_stat st;
    char key[S3_NAME_SIZE];
    const struct s3_ask q = {.doing = "delete objects", .method = "DELETE", .key = key, .sound = is_deleted};
    int r = s3_key(s, name, key);

    if (r == 0) /* S3 deletes what is not there, too */
        r = head(s, &run, key, &st);
    if (r < 0)
        return r;
    run.unsure = false;
    r = s3_ask(s, &q, &run, &a);
    if (r < 0)
        return run.unsure && r != -E_CANCELED ? -E_UNSURE : r == -E_ACCES ? s3_refused(s, c, name) : r;
    return a.status == 404 && !run.unsure ? -E_NOENT : 0;
}

static bool has_date(struct http_answer *a)
{
    return http_date_ns(http_header(a, "date")) >= 0;
}

static int s3_now(struct backend *b, const struct backend_call *c, int64_t *ret_ns)
{
    cleanup(http_answer_release) struct http_answer a = {0};
    struct s3 *s = s3_of(b);
    struct s3_run run = s3_run_begin(c);
    const struct s3_ask q = {.doing = "look at the bucket", .method = "HEAD", .sound = has_date};
    int r = s3_ask(s, &q, &run, &a);

    if (r == 0 && !has_date(&a))
        r = why_say(&s->why, -E_IO, "%s: its answers have no date", s->conf.endpoint);
    if (r < 0)
        return r;
    lock_take(&s->lock);
    *ret_ns = MAX_OF(http_date_ns(http_header(&a, "date")), s->seen_ns);
    lock_drop(&s->lock);
    return 0;
}

/* --- opening, closing ----------------------------------------------------------------------------------------------- */

static void s3_why(struct backend *b, int code, struct buf *ret)
{
    why_tell(&s3_of(b)->why, code, ret);
}

static void s3_close(struct backend *b)
{
    struct s3 *s = s3_of(b);

    s3_parts_stop(s);
    http_free(s->http);
    lock_release(&s->lock);
    why_release(&s->why);
    s3_cred_wipe(&s->cred);
    free(s);
}

static void host_make(struct s3 *s)
{
    bool tls = strncmp(s->conf.endpoint, "https://", 8) == 0, own = s->conf.style == S3_STYLE_VIRTUAL;

    snprintf(s->scheme, sizeof(s->scheme), "%s", tls ? "https://" : "http://");
    snprintf(s->host, sizeof(s->host), "%s%s%s", own ? s->conf.bucket : "", own ? "." : "",
             s->conf.endpoint + strlen(s->scheme));
}

static int one(void *arg, const char *name, const struct backend_stat *st)
{
    (void)arg, (void)name, (void)st;
    return 1;
}

/* One name: shows that key, clock, region and bucket are right before any work is begun. */
static int try_out(struct s3 *s, struct buf *err)
{
    const struct backend_call c = {.timeout_ms = OPEN_MS};
    int r = s3_list(&s->b, &c, "", "", one, NULL);

    if (r >= 0)
        return 0;
    s3_why(&s->b, r, err);
    if (err->len == 0)
        buf_printf(err, "%s: %s", s->conf.endpoint, err_text(r));
    return r;
}

static int complete(struct s3 *s, struct buf *err)
{
    char region[64] = "";
    struct http_conf h;
    int r = s3_cred_read(&s->conf, &s->cred, region, err);

    if (r == 0)
        r = s3_conf_complete(&s->conf, region, err);
    if (r < 0)
        return r;
    host_make(s);
    h = (struct http_conf){.ca = s->conf.ca[0] ? s->conf.ca : NULL,
                           .timeout_ms = s->conf.timeout_ms,
                           .concurrency = s->conf.concurrency,
                           .bandwidth = s->conf.bandwidth};
    return http_new(&h, &s->http, err);
}

int s3_open(const struct s3_conf *conf, struct backend **ret, struct buf *err)
{
    static const struct backend_ops ops = {.put = s3_put,
                                           .get = s3_get,
                                           .get_into = s3_get_into,
                                           .stat = s3_stat,
                                           .list = s3_list,
                                           .del = s3_del,
                                           .now = s3_now,
                                           .classes = s3_classes,
                                           .class_set = s3_class_set,
                                           .wake = s3_wake,
                                           .why = s3_why,
                                           .close = s3_close};
    struct s3 *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return -E_NOMEM;
    s->b.ops = &ops;
    s->conf = *conf;
    s->budget = BUDGET_FIRST;
    s->unconditional = conf->unconditional;
    why_init(&s->why);
    lock_init(&s->lock, RANK_CACHE, 0);
    r = complete(s, err);
    if (r == 0)
        r = try_out(s, err);
    if (r < 0) {
        s3_close(&s->b);
        return r;
    }
    *ret = &s->b;
    return 0;
}
