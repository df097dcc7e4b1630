/* Listing: pages of names, each asked for by the last name of the one before. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "tier/s3_i.h"

#define KEY_SIZE_MAX (3 * S3_NAME_SIZE) /* as it may come encoded */

struct entry {
    uint64_t size;
    int64_t mtime_ns;
    char name[BACKEND_NAME_MAX + 1], class[BACKEND_CLASS_MAX];
};

struct page {
    size_t skip;        /* of a key: our prefix and its slash */
    struct buf entries; /* struct entry each */
    struct entry now;
    char key[KEY_SIZE_MAX];  /* of the element at hand */
    char last[S3_NAME_SIZE]; /* plain; "" none */
    bool encoded, more, is_list, unordered;
};

static int name_of(struct page *p, const char *plain)
{
    if (strlen(plain) <= p->skip || strlen(plain + p->skip) > BACKEND_NAME_MAX)
        return -E_INVAL;
    snprintf(p->now.name, sizeof(p->now.name), "%s", plain + p->skip);
    return backend_name_check(p->now.name);
}

/* Names that are none of ours are passed over: others may have put something there. */
static int entry_end(struct page *p)
{
    char plain[S3_NAME_SIZE];
    int r = 0;

    if (p->encoded)
        r = url_decode(p->key, strlen(p->key), plain, sizeof(plain));
    else if (snprintf(plain, sizeof(plain), "%s", p->key) >= (int)sizeof(plain))
        r = -E_INVAL;
    if (r < 0)
        return 0;
    p->unordered |= p->last[0] && strcmp(plain, p->last) <= 0;
    memcpy(p->last, plain, sizeof(plain));
    if (name_of(p, plain) < 0)
        return 0;
    r = buf_add(&p->entries, &p->now, sizeof(p->now));
    p->now.class[0] = 0;
    return r;
}

static int64_t time_of(const char *text)
{
    int64_t ns;

    if (clock_parse(text, &ns) < 0)
        return 0;
    return ns - ns % 1000000000; /* as Last-Modified: has it */
}

static int element(void *arg, const char *path, const char *text)
{
    static const char root[] = "ListBucketResult";
    struct page *p = arg;
    const char *rest = path + sizeof(root) - 1;

    if (strncmp(path, root, sizeof(root) - 1) != 0)
        return -E_PROTO;
    p->is_list = true;
    if (strcmp(rest, "/Contents") == 0)
        return entry_end(p);
    if (!text)
        return 0;
    if (strcmp(rest, "/Contents/Key") == 0)
        snprintf(p->key, sizeof(p->key), "%s", text);
    else if (strcmp(rest, "/Contents/Size") == 0)
        p->now.size = strtoull(text, NULL, 10);
    else if (strcmp(rest, "/Contents/LastModified") == 0)
        p->now.mtime_ns = time_of(text);
    else if (strcmp(rest, "/Contents/StorageClass") == 0)
        snprintf(p->now.class, sizeof(p->now.class), "%s", text);
    else if (strcmp(rest, "/IsTruncated") == 0)
        p->more = strcmp(text, "true") == 0;
    return 0;
}

static bool is_list(struct http_answer *a)
{
    struct page *p = calloc(1, sizeof(*p));
    bool is = p && s3_xml_each(a->body.data, a->body.len, element, p) == 0 && p->is_list;

    if (p)
        buf_free(&p->entries);
    free(p);
    return is;
}

static int page_read(struct s3 *s, struct s3_run *run, const char *prefix, const char *after, struct page *p)
{
    cleanup(http_answer_release) struct http_answer a = {0};
    struct s3_ask q = {.doing = "list objects", .method = "GET", .sound = is_list};
    static const char url[] = "<EncodingType>url<"; /* some servers say it after the names */
    char max[16];
    int r;

    snprintf(max, sizeof(max), "%u", s->conf.page ? s->conf.page : 1000);
    s3_query_add(&q, "list-type", "2");
    s3_query_add(&q, "encoding-type", "url");
    s3_query_add(&q, "max-keys", max);
    s3_query_add(&q, "prefix", prefix);
    if (*after)
        s3_query_add(&q, "start-after", after);
    r = s3_ask(s, &q, run, &a);
    if (r == 0 && a.status == 404)
        return why_say(&s->why, -E_IO, "%s: there is no bucket %s: make it, or check its name and endpoint=",
                       s->conf.endpoint, s->conf.bucket);
    if (r == 0 && a.status >= 300)
        return why_say(&s->why, -E_IO, "%s: a list is answered with status %d", s->conf.endpoint, a.status);
    if (r == 0) {
        p->encoded = memmem(a.body.data, a.body.len, url, sizeof(url) - 1) != NULL;
        r = s3_xml_each(a.body.data, a.body.len, element, p);
    }
    if (r == 0 && (p->unordered || (p->more && strcmp(p->last, after) == 0)))
        r = why_say(&s->why, -E_IO, "%s: the server's list is not in order: varve needs one that is",
                    s->conf.endpoint);
    return r;
}

struct listing {
    const char *after; /* names greater than it */
    bool classes;      /* each with its class */
    int (*cb)(void *arg, const char *name, const struct backend_stat *st);
    void *arg;
};

static int page_tell(struct s3 *s, const struct page *p, const struct listing *l)
{
    const struct entry *e = (const struct entry *)(const void *)p->entries.data;
    char text[BACKEND_NAME_MAX + BACKEND_CLASS_MAX + 2];
    int r = 0;

    for (size_t i = 0; i < p->entries.len / sizeof(*e); i++)
        s3_seen(s, e[i].mtime_ns);
    for (size_t i = 0; r == 0 && i < p->entries.len / sizeof(*e); i++)
        if (strcmp(e[i].name, l->after) > 0) {
            snprintf(text, sizeof(text), "%s%s%s", e[i].name, l->classes ? " " : "",
                     !l->classes     ? ""
                     : e[i].class[0] ? e[i].class
                                     : S3_CLASS_DEFAULT);
            r = l->cb(l->arg, text, &(struct backend_stat){e[i].size, e[i].mtime_ns});
        }
    return r;
}

/* Each page has the whole time of a call: of millions of names there are thousands. */
static int pages(struct s3 *s, const struct backend_call *c, const char *prefix, const char *first,
                 struct listing *l)
{
    char after[S3_NAME_SIZE];
    bool more = true;
    int r = 0;

    snprintf(after, sizeof(after), "%s", first);
    while (r == 0 && more) {
        struct page *p = calloc(1, sizeof(*p));
        struct s3_run run = s3_run_begin(c);

        if (!p)
            return -E_NOMEM;
        p->skip = s->conf.prefix[0] ? strlen(s->conf.prefix) + 1 : 0;
        memcpy(p->last, after, sizeof(after));
        r = page_read(s, &run, prefix, after, p);
        more = p->more && !BROKEN(VARVE_BREAK_s3_paging);
        memcpy(after, p->last, sizeof(after));
        if (r == 0)
            r = page_tell(s, p, l);
        buf_free(&p->entries);
        free(p);
    }
    return r;
}

static int list(struct backend *b, const struct backend_call *c, const char *prefix, struct listing *l)
{
    struct s3 *s = s3_of(b);
    const char *dir = s->conf.prefix, *slash = *dir ? "/" : "";
    char whole[S3_NAME_SIZE], first[S3_NAME_SIZE] = "";
    int r = backend_prefix_check(prefix);

    if (r < 0)
        return r;
    snprintf(whole, sizeof(whole), "%s%s%s", dir, slash, prefix);
    if (*l->after && strlen(l->after) <= BACKEND_NAME_MAX)
        snprintf(first, sizeof(first), "%s%s%s", dir, slash, l->after);
    return pages(s, c, whole, first, l);
}

int s3_list(struct backend *b, const struct backend_call *c, const char *prefix, const char *after,
            int (*cb)(void *arg, const char *name, const struct backend_stat *st), void *arg)
{
    struct listing l = {after, false, cb, arg};

    return list(b, c, prefix, &l);
}

int s3_classes(struct backend *b, const struct backend_call *c, const char *prefix,
               int (*cb)(void *arg, const char *name, const struct backend_stat *st), void *arg)
{
    struct listing l = {"", true, cb, arg};

    return list(b, c, prefix, &l);
}
