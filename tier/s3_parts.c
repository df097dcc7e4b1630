/* Large objects in parts, several at a time. What is begun is ended: completed, or aborted. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/task.h"
#include "tier/s3_i.h"

#define PARTS_MAX 10000u
#define THREADS_MAX 8u
#define ETAG_SIZE 128
#define ID_SIZE 1024

struct upload {
    struct s3 *s;
    struct s3_run *run;
    const char *key;
    char id[ID_SIZE];
    const uint8_t *p;
    size_t len, step;
    unsigned n;
    struct part *parts;
    bool failed; /* guarded by s->lock: the others need not go on */
};

struct part {
    struct upload *u;
    unsigned i;
    int result;
    struct s3_run run;
    char etag[ETAG_SIZE];
    struct task *task;
};

/* --- beginning, ending ---------------------------------------------------------------------------------------------- */

static int begun(void *arg, const char *path, const char *text)
{
    struct upload *u = arg;

    if (strcmp(path, "InitiateMultipartUploadResult/UploadId") == 0 && text && strlen(text) < ID_SIZE)
        snprintf(u->id, sizeof(u->id), "%s", text);
    return 0;
}

static bool is_begun(struct http_answer *a)
{
    struct upload *u = calloc(1, sizeof(*u));
    bool is = u && s3_xml_each(a->body.data, a->body.len, begun, u) == 0 && u->id[0];

    free(u);
    return is;
}

static int begin(struct upload *u, const char *name, struct s3_put *put)
{
    cleanup(http_answer_release) struct http_answer a = {0};
    struct s3_ask q = {.doing = "put objects", .method = "POST", .key = u->key, .sound = is_begun};
    int r = s3_put_headers(u->s, name, NULL, 0, put, &q);

    s3_query_add(&q, "uploads", "");
    if (r == 0)
        r = s3_ask(u->s, &q, u->run, &a);
    if (r == 0 && a.status >= 300)
        r = why_say(&u->s->why, -E_IO, "%s: the server begins no upload in parts (status %d)",
                    u->s->conf.endpoint, a.status);
    return r < 0 ? r : s3_xml_each(a.body.data, a.body.len, begun, u);
}

static void abort_one(struct s3 *s, const char *key, const char *id)
{
    cleanup(http_answer_release) struct http_answer a = {0};
    struct s3_ask q = {.doing = "abort uploads", .method = "DELETE", .key = key};
    /* a time of its own: what was cancelled or took too long is to be cleaned up all the same */
    struct s3_run run = s3_run_begin(&(const struct backend_call){.timeout_ms = 15000});

    run.call = NULL;
    run.max = 3;
    s3_query_add(&q, "uploadId", id);
    if (s3_ask(s, &q, &run, &a) < 0)
        log_warn("tier", "s3-abort", "key=%s: parts of an upload are left", key);
}

static bool is_completed(struct http_answer *a)
{
    static const char name[] = "<CompleteMultipartUploadResult";

    return a->body.len && memmem(a->body.data, a->body.len, name, sizeof(name) - 1) != NULL;
}

static int list_parts(const struct upload *u, struct buf *out)
{
    int r = buf_puts(out, "<CompleteMultipartUpload>");

    for (unsigned i = 0; r == 0 && i < u->n; i++)
        r = buf_printf(out, "<Part><PartNumber>%u</PartNumber><ETag>%s</ETag></Part>", i + 1,
                       u->parts[i].etag);
    return r < 0 ? r : buf_puts(out, "</CompleteMultipartUpload>");
}

/* Each try that is not plainly done or refused: is it there? */
static int complete(struct upload *u, const char *owner)
{
    cleanup(http_answer_release) struct http_answer a = {0};
    cleanup(buf_free) struct buf body = {0};
    struct s3_ask q = {.doing = "put objects", .method = "POST", .key = u->key, .sound = is_completed};
    struct s3_outcome o;
    int r = list_parts(u, &body);

    s3_query_add(&q, "uploadId", u->id);
    s3_header_add(&q, "content-type", "application/xml");
    if (!u->s->unconditional)
        s3_header_add(&q, "if-none-match", "*");
    q.body = body.data;
    q.len = body.len;
    u->run->tries = 0;
    while (r == 0) {
        s3_once(u->s, &q, u->run, &a, &o);
        if (o.verdict == S3_DONE && a.status < 300)
            return 0;
        if (o.verdict == S3_DONE || o.verdict == S3_UNSURE) {
            r = s3_is_ours(u->s, u->run, u->key, owner, u->len);
            if (r == 1)
                return 0;
            if (r < 0)
                return r == -E_EXIST || r == -E_CANCELED ? r : -E_UNSURE;
        }
        if (o.verdict == S3_DONE) {
            o.verdict = S3_FINAL;
            o.code = -E_IO;
            snprintf(a.why, sizeof(a.why), "the parts that were sent are gone (status %d)", a.status);
        }
        if (o.verdict == S3_FINAL || !s3_again(u->s, u->run, &o, &a))
            r = s3_fail(u->s, &q, u->run, &o, &a);
    }
    return u->run->unsure && r != -E_CANCELED ? -E_UNSURE : r;
}

/* --- parts ---------------------------------------------------------------------------------------------------------- */

static bool given_up(struct upload *u, bool now)
{
    bool was;

    lock_take(&u->s->lock);
    was = u->failed;
    u->failed |= now;
    lock_drop(&u->s->lock);
    return was;
}

static int part_send(struct part *p)
{
    cleanup(http_answer_release) struct http_answer a = {0};
    struct upload *u = p->u;
    size_t off = (size_t)p->i * u->step;
    struct s3_ask q = {.doing = "put objects",
                       .method = "PUT",
                       .key = u->key,
                       .body = u->p + off,
                       .len = MIN_OF(u->step, u->len - off),
                       .sound = s3_has_etag};
    char number[16];
    int r;

    snprintf(number, sizeof(number), "%u", p->i + 1);
    s3_query_add(&q, "partNumber", number);
    s3_query_add(&q, "uploadId", u->id);
    r = s3_ask(u->s, &q, &p->run, &a);
    if (r == 0 && a.status >= 300)
        r = why_say(&u->s->why, -E_IO, "%s: a part is answered with status %d", u->s->conf.endpoint,
                    a.status);
    if (r == 0)
        snprintf(p->etag, sizeof(p->etag), "%s", http_header(&a, "etag"));
    return r;
}

static void part_task(struct task *t, void *arg)
{
    struct part *p = arg;

    p->result = task_canceled(t) || given_up(p->u, false) ? -E_CANCELED : part_send(p);
    if (p->result < 0)
        given_up(p->u, true);
}

static int pool_get(struct s3 *s, struct task_pool **ret)
{
    int r = 0;

    lock_take(&s->lock);
    if (!s->pool)
        r = task_pool_new("s3-part", MIN_OF(s->conf.concurrency, THREADS_MAX), PARTS_MAX, &s->pool);
    *ret = s->pool;
    lock_drop(&s->lock);
    return r;
}

/* The callback that asks about cancelling belongs to the thread that calls: it waits, the others send. */
static int parts_send(struct upload *u)
{
    const struct backend_call *c = u->run->call;
    struct task_pool *pool;
    int r = pool_get(u->s, &pool), worst = 0;

    for (unsigned i = 0; r == 0 && i < u->n; i++) {
        struct part *p = &u->parts[i];

        *p = (struct part){.u = u, .i = i, .run = *u->run};
        p->run.call = NULL;
        r = task_submit_wait(pool, part_task, p, &p->task);
    }
    if (r < 0)
        given_up(u, true);
    for (unsigned i = 0; i < u->n && u->parts[i].task; i++) {
        struct part *p = &u->parts[i];

        while (task_wait(p->task, 50) == -E_AGAIN)
            if (c && c->canceled && c->canceled(c->arg))
                given_up(u, true);
        task_unref(p->task);
        if (p->result < 0 && (worst == 0 || worst == -E_CANCELED))
            worst = p->result;
    }
    if (c && c->canceled && c->canceled(c->arg))
        return -E_CANCELED;
    return r < 0 ? r : worst;
}

/* --- left over ------------------------------------------------------------------------------------------------------ */

struct sweep {
    struct s3 *s;
    char key[S3_NAME_SIZE], id[ID_SIZE];
    int64_t since_ns;
    struct buf old; /* key NUL id NUL */
};

static int sweep_element(void *arg, const char *path, const char *text)
{
    static const char upload[] = "ListMultipartUploadsResult/Upload";
    struct sweep *w = arg;
    const char *rest = path + sizeof(upload) - 1;
    int64_t now;
    int r = 0;

    if (strncmp(path, upload, sizeof(upload) - 1) != 0)
        return 0;
    if (strcmp(rest, "/Key") == 0 && text)
        snprintf(w->key, sizeof(w->key), "%s", text);
    else if (strcmp(rest, "/UploadId") == 0 && text)
        snprintf(w->id, sizeof(w->id), "%s", text);
    else if (strcmp(rest, "/Initiated") == 0 && text)
        w->since_ns = clock_parse(text, &now) == 0 ? now : INT64_MAX;
    else if (!*rest && w->key[0] && w->id[0] && w->since_ns <= clock_wall_ns() - w->s->conf.stale_ns)
        r = buf_add(&w->old, w->key, strlen(w->key) + 1) < 0 ? -E_NOMEM
                                                             : buf_add(&w->old, w->id, strlen(w->id) + 1);
    if (!*rest)
        w->key[0] = w->id[0] = 0;
    return r;
}

/* Below our packs only: other uploads of the bucket are other people's. */
static void sweep(struct s3 *s, struct s3_run *run)
{
    cleanup(http_answer_release) struct http_answer a = {0};
    struct s3_ask q = {.doing = "list uploads", .method = "GET"};
    struct sweep *w = calloc(1, sizeof(*w));
    char prefix[S3_NAME_SIZE];
    bool was;

    lock_take(&s->lock);
    was = s->swept;
    s->swept = true;
    lock_drop(&s->lock);
    snprintf(prefix, sizeof(prefix), "%s%spacks/", s->conf.prefix, s->conf.prefix[0] ? "/" : "");
    s3_query_add(&q, "uploads", "");
    s3_query_add(&q, "prefix", prefix);
    if (w && !was && s3_ask(s, &q, run, &a) == 0 && a.status < 300) {
        w->s = s;
        (void)s3_xml_each(a.body.data, a.body.len, sweep_element, w);
        for (size_t at = 0; at < w->old.len;) {
            const char *key = (const char *)w->old.data + at, *id = key + strlen(key) + 1;

            if (strncmp(key, prefix, strlen(prefix)) == 0)
                abort_one(s, key, id);
            at += strlen(key) + strlen(id) + 2;
        }
        buf_free(&w->old);
    }
    free(w);
}

/* --- putting -------------------------------------------------------------------------------------------------------- */

static int upload_run(struct upload *u, const char *name)
{
    struct s3_put put;
    int r = begin(u, name, &put);

    if (r < 0)
        return r;
    r = parts_send(u);
    if (r == 0)
        r = complete(u, put.owner);
    if (r < 0)
        abort_one(u->s, u->key, u->id);
    return r;
}

int s3_parts_put(struct s3 *s, struct s3_run *run, const char *name, const char *key, const void *p,
                 size_t len)
{
    struct upload u = {.s = s, .run = run, .key = key, .p = p, .len = len, .step = s->conf.multipart};
    int r;

    sweep(s, run);
    r = s3_is_there(s, run, key);
    if (r != 0) /* nothing need be sent */
        return r < 0 ? r : -E_EXIST;
    u.step = MAX_OF(u.step, (len + PARTS_MAX - 1) / PARTS_MAX);
    u.n = (unsigned)((len + u.step - 1) / u.step);
    u.parts = calloc(u.n, sizeof(*u.parts));
    r = u.parts ? upload_run(&u, name) : -E_NOMEM;
    free(u.parts);
    return r;
}

void s3_parts_stop(struct s3 *s)
{
    task_pool_stop(s->pool);
}
