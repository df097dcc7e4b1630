/* Storage classes: which one an object has, another one, and bytes that must be asked for before they can be read. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "tier/s3_i.h"

#define DOING "change the class of objects"

/* What HEAD says of an object, as far as a copy onto itself must say it again. */
struct object {
    char etag[80], class[BACKEND_CLASS_MAX], restore[128], archive[64];
    char mode[16], until[40], hold[8];
};

static void take(char *out, size_t size, struct http_answer *a, const char *name)
{
    snprintf(out, size, "%s", http_header(a, name));
}

/* -E_NOENT. An object without the header has the class STANDARD. */
static int look(struct s3 *s, struct s3_run *run, const char *name, char key[S3_NAME_SIZE],
                struct object *ret)
{
    cleanup(http_answer_release) struct http_answer a = {0};
    const struct s3_ask q = {.doing = "look at objects", .method = "HEAD", .key = key, .sound = s3_has_stat};
    int r = s3_key(s, name, key);

    if (r == 0)
        r = s3_ask(s, &q, run, &a);
    if (r < 0)
        return r;
    if (a.status >= 300)
        return a.status == 404 ? -E_NOENT
                               : why_say(&s->why, -E_IO, "%s: it does not answer as S3 does (status %d)",
                                         s->conf.endpoint, a.status);
    take(ret->etag, sizeof(ret->etag), &a, "etag");
    take(ret->class, sizeof(ret->class), &a, "x-amz-storage-class");
    take(ret->restore, sizeof(ret->restore), &a, "x-amz-restore");
    take(ret->archive, sizeof(ret->archive), &a, "x-amz-archive-status");
    take(ret->mode, sizeof(ret->mode), &a, "x-amz-object-lock-mode");
    take(ret->until, sizeof(ret->until), &a, "x-amz-object-lock-retain-until-date");
    take(ret->hold, sizeof(ret->hold), &a, "x-amz-object-lock-legal-hold");
    if (!ret->class[0])
        snprintf(ret->class, sizeof(ret->class), "%s", S3_CLASS_DEFAULT);
    return 0;
}

static bool is_archive(const struct object *o)
{
    return strcmp(o->class, "GLACIER") == 0 || strcmp(o->class, "DEEP_ARCHIVE") == 0 || o->archive[0];
}

/* What was locked is locked as long as before: a copy is not, by itself. */
static void lock_headers(const struct object *o, struct s3_ask *q)
{
    int64_t until_ns;

    if (BROKEN(VARVE_BREAK_class_unlocked))
        return;
    if (o->mode[0] && clock_parse(o->until, &until_ns) == 0 && until_ns > clock_wall_ns()) {
        s3_header_add(q, "x-amz-object-lock-mode", o->mode);
        s3_header_add(q, "x-amz-object-lock-retain-until-date", o->until);
    }
    if (strcmp(o->hold, "ON") == 0)
        s3_header_add(q, "x-amz-object-lock-legal-hold", o->hold);
}

/* Why an object was not deleted, and until when it will not be, where the server says so; else what was said stays. */
int s3_refused(struct s3 *s, const struct backend_call *c, const char *name)
{
    struct s3_run run = s3_run_begin(c);
    cleanup(buf_free) struct buf was = {0};
    struct object o = {.etag = ""};
    char key[S3_NAME_SIZE];
    int64_t until_ns;

    why_tell(&s->why, -E_ACCES, &was);
    if (look(s, &run, name, key, &o) < 0)
        return why_say(&s->why, -E_ACCES, "%s", buf_cstr(&was) ? buf_cstr(&was) : "");
    if (strcmp(o.hold, "ON") == 0)
        return why_say(&s->why, -E_ACCES, "%s: a legal hold keeps it until somebody takes that away",
                       s->conf.endpoint);
    if (o.mode[0] && clock_parse(o.until, &until_ns) == 0 && until_ns > clock_wall_ns())
        return why_say(&s->why, -E_ACCES, "%s: it is locked until %s (%s)", s->conf.endpoint, o.until,
                       o.mode);
    return -E_ACCES;
}

/* A copy may be answered with 200 and an error inside. */
static bool is_copied(struct http_answer *a)
{
    return memmem(a->body.data ? a->body.data : (const uint8_t *)"", a->body.len, "<CopyObjectResult", 17) !=
           NULL;
}

static int copy_onto_itself(struct s3 *s, struct s3_run *run, const char *key, const struct object *o,
                            const char *class)
{
    cleanup(http_answer_release) struct http_answer a = {0};
    cleanup(buf_free) struct buf source = {0};
    struct s3_ask q = {.doing = DOING, .method = "PUT", .key = key, .sound = is_copied};
    int r = buf_printf(&source, "/%s/", s->conf.bucket);

    if (r == 0)
        r = s3_encode(key, true, &source);
    if (r < 0 || !buf_cstr(&source))
        return -E_NOMEM;
    s3_header_add(&q, "x-amz-copy-source", buf_cstr(&source));
    s3_header_add(&q, "x-amz-copy-source-if-match", o->etag);
    s3_header_add(&q, "x-amz-metadata-directive", "COPY");
    s3_header_add(&q, "x-amz-storage-class", class);
    lock_headers(o, &q);
    r = s3_ask(s, &q, run, &a);
    if (r < 0)
        return r;
    return a.status == 404 || a.status == 412 ? -E_NOENT : 0; /* it went meanwhile, or is another one */
}

int s3_class_set(struct backend *b, const struct backend_call *c, const char *name, const char *class)
{
    struct s3 *s = s3_of(b);
    struct s3_run run = s3_run_begin(c);
    struct object o = {.etag = ""};
    char key[S3_NAME_SIZE];
    int r = look(s, &run, name, key, &o);

    if (r < 0 || strcmp(o.class, class) == 0)
        return r;
    return copy_onto_itself(s, &run, key, &o, class);
}

/* --- archives --------------------------------------------------------------------------------------------------------- */

/* 0: it can be read for a while; 1: it is on its way. */
static int ask_for(struct s3 *s, struct s3_run *run, const char *key)
{
    cleanup(http_answer_release) struct http_answer a = {0};
    struct s3_ask q = {.doing = "ask for archived objects", .method = "POST", .key = key};
    char body[256];
    struct s3_outcome o;

    snprintf(body, sizeof(body),
             "<RestoreRequest xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Days>%u</Days>"
             "<GlacierJobParameters><Tier>%s</Tier></GlacierJobParameters></RestoreRequest>",
             s->conf.restore_days, s->conf.restore_tier);
    q.body = body;
    q.len = strlen(body);
    s3_query_add(&q, "restore", "");
    run->tries = 0;
    do
        s3_once(s, &q, run, &a, &o);
    while (o.verdict != S3_DONE && strcmp(o.e.code, "RestoreAlreadyInProgress") != 0 &&
           o.verdict != S3_FINAL && s3_again(s, run, &o, &a));
    if (o.verdict == S3_DONE)
        return a.status == 404 ? -E_NOENT : a.status == 200 ? 0 : 1;
    if (strcmp(o.e.code, "RestoreAlreadyInProgress") == 0)
        return 1;
    return s3_fail(s, &q, run, &o, &a);
}

int s3_wake(struct backend *b, const struct backend_call *c, const char *name, bool ask)
{
    struct s3 *s = s3_of(b);
    struct s3_run run = s3_run_begin(c);
    struct object o = {.etag = ""};
    char key[S3_NAME_SIZE];
    int r = look(s, &run, name, key, &o);

    if (r < 0)
        return r;
    if (strstr(o.restore, "ongoing-request=\"true\""))
        return 1;
    if (!is_archive(&o) || strstr(o.restore, "ongoing-request=\"false\""))
        return 0;
    return ask ? ask_for(s, &run, key) : 2;
}

/* A read met an archive: it is asked for, if whoever reads wants that. */
int s3_archived(struct s3 *s, const struct backend_call *c, const char *name)
{
    int r = c && c->wake ? s3_wake(&s->b, c, name, true) : 2;

    if (r == -E_CANCELED || r == -E_NOMEM)
        return r;
    return why_say(&s->why, -E_ARCHIVED,
                   r == 1   ? "%s: %s is in an archive; it was asked for, and comes in minutes to hours"
                   : r == 0 ? "%s: %s is just coming out of an archive; read it again"
                            : "%s: %s is in an archive: it must be asked for before it can be read",
                   s->conf.endpoint, name);
}
