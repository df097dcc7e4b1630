#include "tier/backend.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "tier/rate.h"
#include "tier/url.h"

#define TRIES 4
#define TEXT_SIZE 512
#define PAUSE_NS ((int64_t)50000000)

int backend_url_check(const char *url, struct buf *err)
{
    struct s3_conf *c = NULL;
    struct dir_conf *d = NULL;
    struct rados_conf *o = NULL;
    int r = -E_USAGE;

    if (strncmp(url, "dir:", 4) == 0)
        r = (d = calloc(1, sizeof(*d))) ? dir_conf_parse(url, d, err) : -E_NOMEM;
    else if (strncmp(url, "s3:", 3) == 0)
        r = (c = calloc(1, sizeof(*c))) ? s3_conf_parse(url, c, err) : -E_NOMEM;
    else if (strncmp(url, "rados:", 6) == 0)
        r = (o = calloc(1, sizeof(*o))) ? rados_conf_parse(url, o, err) : -E_NOMEM;
    else
        buf_printf(
            err,
            "%s: is no URL of a repository; write dir:/path, s3://bucket/prefix or rados://pool/namespace",
            url);
    free(o);
    free(d);
    free(c);
    return r;
}

static _Thread_local struct {
    int code;
    char text[TEXT_SIZE];
} said;

const char *backend_text(int code)
{
    return said.code == code && said.text[0] ? said.text : err_text(code);
}

void backend_text_set(int code, const void *text, size_t len)
{
    said.code = code;
    snprintf(said.text, sizeof(said.text), "%.*s", (int)MIN_OF(len, sizeof(said.text)),
             len ? (const char *)text : "");
}

static bool part_ok(const char *p, size_t len)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";

    return len > 0 && len <= BACKEND_PART_MAX && *p != '.' && strspn(p, allowed) >= len;
}

int backend_name_check(const char *name)
{
    if (strlen(name) > BACKEND_NAME_MAX)
        return -E_INVAL;
    for (const char *p = name;; p++) {
        size_t n = strcspn(p, "/");

        if (!part_ok(p, n))
            return -E_INVAL;
        p += n;
        if (!*p)
            return 0;
    }
}

int backend_prefix_check(const char *prefix)
{
    char name[BACKEND_NAME_MAX + 1];
    size_t n = strlen(prefix);

    if (n == 0)
        return 0;
    if (n > BACKEND_NAME_MAX || prefix[n - 1] != '/')
        return -E_INVAL;
    snprintf(name, sizeof(name), "%.*s", (int)n - 1, prefix);
    return backend_name_check(name);
}

int backend_call_check(const struct backend_call *c, int64_t began_ns)
{
    if (!c)
        return 0;
    if (c->canceled && c->canceled(c->arg))
        return -E_CANCELED;
    return c->timeout_ms > 0 && clock_mono_ns() - began_ns > c->timeout_ms * (int64_t)1000000 ? -E_TIMEOUT
                                                                                              : 0;
}

int backend_pace(struct rate *r, size_t len, const struct backend_call *c, int64_t began_ns)
{
    int64_t wait;
    int x;

    rate_add(r, len);
    while ((x = backend_call_check(c, began_ns)) == 0 && (wait = rate_wait_ns(r)) > 0)
        nanosleep(&(struct timespec){.tv_nsec = MIN_OF(wait, PAUSE_NS)}, NULL);
    return x;
}

int backend_get_into(struct backend *b, const struct backend_call *c, const char *name, uint64_t off,
                     size_t len, void *p, size_t *ret_len)
{
    cleanup(buf_free) struct buf got = {0};
    int r;

    if (b->ops->get_into)
        return b->ops->get_into(b, c, name, off, len, p, ret_len);
    r = backend_get(b, c, name, off, len, &got);
    if (r < 0)
        return r;
    assert(got.len <= len);
    if (got.len)
        memcpy(p, got.data, got.len);
    *ret_len = got.len;
    return 0;
}

int backend_put_fd(struct backend *b, const struct backend_call *c, const char *name, int fd, uint64_t len)
{
    struct stat st;
    void *p;
    int r;

    if (b->ops->put_fd)
        return b->ops->put_fd(b, c, name, fd, len);
    if (fstat(fd, &st) < 0 || st.st_size < 0 || (uint64_t)st.st_size < len)
        return -E_INVAL;
    if (len == 0)
        return backend_put(b, c, name, "", 0);
    p = mmap(NULL, (size_t)len, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return err_from_errno(errno);
    r = backend_put(b, c, name, p, (size_t)len);
    munmap(p, (size_t)len);
    return r;
}

struct by_class {
    int (*cb)(void *arg, const char *name, const char *class, const struct backend_stat *st);
    void *arg;
};

static int with_class(void *arg, const char *text, const struct backend_stat *st)
{
    struct by_class *l = arg;
    char name[BACKEND_NAME_MAX + 1];
    size_t n = strcspn(text, " ");

    snprintf(name, sizeof(name), "%.*s", (int)n, text);
    return l->cb(l->arg, name, text + n + (text[n] != 0), st);
}

int backend_classes(struct backend *b, const struct backend_call *c, const char *prefix,
                    int (*cb)(void *arg, const char *name, const char *class, const struct backend_stat *st),
                    void *arg)
{
    struct by_class l = {cb, arg};

    return b->ops->classes ? b->ops->classes(b, c, prefix, with_class, &l) : -E_NOTSUP;
}

int backend_class_set(struct backend *b, const struct backend_call *c, const char *name, const char *class)
{
    return b->ops->class_set ? b->ops->class_set(b, c, name, class) : -E_NOTSUP;
}

int backend_wake(struct backend *b, const struct backend_call *c, const char *name, bool ask)
{
    return b->ops->wake ? b->ops->wake(b, c, name, ask) : 0;
}

int backend_get_all(struct backend *b, const struct backend_call *c, const char *name, size_t max,
                    struct buf *ret)
{
    struct backend_stat st;
    size_t was = ret->len;
    int r = backend_stat(b, c, name, &st);

    if (r == 0 && st.size > max)
        r = -E_TOOBIG;
    if (r == 0)
        r = backend_get(b, c, name, 0, (size_t)st.size, ret);
    if (r == 0 && ret->len - was != st.size) {
        ret->len = was;
        r = -E_IO;
    }
    return r;
}

/* 1: it is there with these bytes; 0: it is not there. */
static int there(struct backend *b, const struct backend_call *c, const char *name, const void *p, size_t len)
{
    cleanup(buf_free) struct buf got = {0};
    int r = backend_get_all(b, c, name, len, &got);

    if (r == -E_NOENT)
        return 0;
    if (r == -E_TOOBIG)
        return -E_EXIST;
    if (r < 0)
        return r;
    return got.len == len && (len == 0 || memcmp(got.data, p, len) == 0) ? 1 : -E_EXIST;
}

int backend_put_same(struct backend *b, const struct backend_call *c, const char *name, const void *p,
                     size_t len)
{
    int r = -E_UNSURE;

    for (int i = 0; i < TRIES && r == -E_UNSURE; i++) {
        r = backend_put(b, c, name, p, len);
        if (r == -E_UNSURE && BROKEN(VARVE_BREAK_put_unsure))
            return 0;
        if (r == -E_EXIST || r == -E_UNSURE) {
            int t = there(b, c, name, p, len);

            r = t == 1 ? 0 : t < 0 ? t : -E_UNSURE;
        }
    }
    return r;
}

/* --- names ---------------------------------------------------------------------------------------------------------- */

static int take_name(void *arg, const char *name, const struct backend_stat *st)
{
    (void)st;
    return buf_add(arg, name, strlen(name) + 1);
}

int backend_names(struct backend *b, const struct backend_call *c, const char *prefix, struct buf *names)
{
    return backend_list(b, c, prefix, "", take_name, names);
}
