/* tier/backend: where a repository lies: a table of functions with one contract; tests/tier/suite.c holds every backend to it.
 *
 * An object is a name and bytes; it is put once and never changed. Names: parts of 1..128 of `a-z 0-9 . _ -` between single
 * slashes, at most 200 bytes in all, no part beginning with '.'; `a` and `a/b` are not used side by side. Else -E_INVAL.
 *
 * What was acknowledged is durable. After an error nothing was done, except -E_UNSURE and -E_CANCELED: it may have been carried out, or
 * may still be. backend_put_same() settles that for puts.
 *
 * Errors beside those told: -E_ARCHIVED (a read of what lies in an archive), -E_TIMEOUT (call->timeout_ms has passed and nothing was done), -E_ACCES, -E_NOSPC,
 * -E_IO, -E_NOMEM, -E_CLOSED (whoever served it is gone). Threads: any, as many calls at a time as one likes. */
#ifndef VARVE_TIER_BACKEND_H
#define VARVE_TIER_BACKEND_H

#include "base/buf.h"

#define BACKEND_NAME_MAX 200
#define BACKEND_PART_MAX 128
#define BACKEND_CLASS_MAX 32

/* Bounds of one call; NULL or zeros: none. canceled is asked now and then, from the thread that calls. */
struct backend_call {
    int timeout_ms;
    bool (*canceled)(void *arg);
    void *arg;
    bool wake; /* what a read finds in an archive is asked for: it fails with -E_ARCHIVED, and works later */
};

struct backend_stat {
    uint64_t size;
    int64_t mtime_ns; /* by the backend's clock */
};

/* Bytes of an object where another process has put them: it can change them at any time, so what is proved of them is proved of a copy. */
struct backend_view {
    const uint8_t *p;
    size_t len;
    void *of; /* the backend's own */
};

struct backend;
struct backend_ops {
    /* All bytes at once, only if there is no object of that name: -E_EXIST. Nobody ever sees a part of them. */
    int (*put)(struct backend *b, const struct backend_call *c, const char *name, const void *p, size_t len);
    /* Appends bytes [off, off + len) to ret, less where the object ends. -E_NOENT. On error ret is as before. */
    int (*get)(struct backend *b, const struct backend_call *c, const char *name, uint64_t off, size_t len,
               struct buf *ret);
    /* As get, to memory of that size. NULL: backend_get_into() copies what get gives. */
    int (*get_into)(struct backend *b, const struct backend_call *c, const char *name, uint64_t off,
                    size_t len, void *p, size_t *ret_len);
    int (*stat)(struct backend *b, const struct backend_call *c, const char *name,
                struct backend_stat *ret); /* -E_NOENT */
    /* Objects whose names begin with prefix ("" all; else it ends in '/') and are greater than after ("" none), ascending as
     * bytes; cb non-zero ends it with that value. An object put or deleted meanwhile may be told or not, others are told once. Its time
     * is that in which no name is told: there may be millions. */
    int (*list)(struct backend *b, const struct backend_call *c, const char *prefix, const char *after,
                int (*cb)(void *arg, const char *name, const struct backend_stat *st), void *arg);
    int (*del)(struct backend *b, const struct backend_call *c, const char *name); /* -E_NOENT */
    int (*now)(struct backend *b, const struct backend_call *c, int64_t *ret_ns);  /* the backend's clock */
    void (*close)(struct backend *b);                                              /* frees b */
    /* As put, of the first len bytes of a file that nobody changes meanwhile: may be more than memory holds. NULL: backend_put_fd() puts
     * what it maps. */
    int (*put_fd)(struct backend *b, const struct backend_call *c, const char *name, int fd, uint64_t len);
    /* As get, without a copy, until view_end: one view of a thread at a time. -E_NOTSUP: not of so many, or not now: get does it. NULL:
     * never. */
    int (*view)(struct backend *b, const struct backend_call *c, const char *name, uint64_t off, size_t len,
                struct backend_view *ret);
    void (*view_end)(struct backend *b, struct backend_view *v);
    /* Storage classes; NULL: there are none here. classes: as list, each name followed by a space and the class it has. class_set: it has
     * this one from now on (or had it): -E_NOENT, -E_NOTSUP, -E_ARCHIVED (of that one none is made). wake: 0 it can be read; 1 it is on its
     * way out of an archive, asked for by this call (ask) or before; 2 it would have to be asked for. */
    int (*classes)(struct backend *b, const struct backend_call *c, const char *prefix,
                   int (*cb)(void *arg, const char *name, const struct backend_stat *st), void *arg);
    int (*class_set)(struct backend *b, const struct backend_call *c, const char *name, const char *class);
    int (*wake)(struct backend *b, const struct backend_call *c, const char *name, bool ask);
    /* Appends what more is known of the last call that failed with this code. NULL: nothing ever is. */
    void (*why)(struct backend *b, int code, struct buf *ret);
};
struct backend {
    const struct backend_ops *ops;
};

/* backend_url_check(url, err): a URL that backend_open() knows? -E_USAGE with a sentence. */
int backend_url_check(const char *url, struct buf *err);
/* backend_open(url, make, ret, err): "dir:/absolute/path", "s3://bucket/prefix", "rados://pool/namespace" (tier/url.h has the options).
 * make: the directory may be missing; a bucket or a pool may not. -E_NOENT, -E_ACCES, -E_KEY, -E_USAGE, -E_TIMEOUT, -E_IO, -E_NOTSUP.
 * In varve-tierd only: what speaks to networks comes with it. */
int backend_open(const char *url, bool make, struct backend **ret, struct buf *err);
int backend_name_check(const char *name);
int backend_prefix_check(const char *prefix); /* of a list: "" or a name and its slash; -E_INVAL */

static inline int backend_put(struct backend *b, const struct backend_call *c, const char *name,
                              const void *p, size_t len)
{
    return b->ops->put(b, c, name, p, len);
}
static inline int backend_get(struct backend *b, const struct backend_call *c, const char *name, uint64_t off,
                              size_t len, struct buf *ret)
{
    return b->ops->get(b, c, name, off, len, ret);
}
static inline int backend_view(struct backend *b, const struct backend_call *c, const char *name,
                               uint64_t off, size_t len, struct backend_view *ret)
{
    return b->ops->view ? b->ops->view(b, c, name, off, len, ret) : -E_NOTSUP;
}
static inline void backend_view_end(struct backend *b, struct backend_view *v)
{
    b->ops->view_end(b, v);
}
static inline int backend_stat(struct backend *b, const struct backend_call *c, const char *name,
                               struct backend_stat *ret)
{
    return b->ops->stat(b, c, name, ret);
}
static inline int backend_list(struct backend *b, const struct backend_call *c, const char *prefix,
                               const char *after,
                               int (*cb)(void *arg, const char *name, const struct backend_stat *st),
                               void *arg)
{
    return b->ops->list(b, c, prefix, after, cb, arg);
}
/* backend_names: adds all names below prefix, each with its NUL. For those that are few; what the callback of a list asks of the backend
 * must not meet the list. */
int backend_names(struct backend *b, const struct backend_call *c, const char *prefix, struct buf *names);
static inline int backend_del(struct backend *b, const struct backend_call *c, const char *name)
{
    return b->ops->del(b, c, name);
}
static inline int backend_now(struct backend *b, const struct backend_call *c, int64_t *ret_ns)
{
    return b->ops->now(b, c, ret_ns);
}
static inline void backend_close(struct backend *b)
{
    if (b)
        b->ops->close(b);
}

/* backend_classes: cb gets the class beside the name. -E_NOTSUP where there are none, as of backend_class_set(). backend_wake: 0 there. */
int backend_classes(struct backend *b, const struct backend_call *c, const char *prefix,
                    int (*cb)(void *arg, const char *name, const char *class, const struct backend_stat *st),
                    void *arg);
int backend_class_set(struct backend *b, const struct backend_call *c, const char *name, const char *class);
int backend_wake(struct backend *b, const struct backend_call *c, const char *name, bool ask);

/* backend_put_same: 0 when the object is there with exactly these bytes, whoever put it; tries again a few times where it
 * is not known. -E_EXIST: it is there with others. */
int backend_put_same(struct backend *b, const struct backend_call *c, const char *name, const void *p,
                     size_t len);

int backend_get_into(struct backend *b, const struct backend_call *c, const char *name, uint64_t off,
                     size_t len, void *p, size_t *ret_len);

int backend_put_fd(struct backend *b, const struct backend_call *c, const char *name, int fd, uint64_t len);

/* backend_get_all: the whole object. -E_TOOBIG beyond max. */
int backend_get_all(struct backend *b, const struct backend_call *c, const char *name, size_t max,
                    struct buf *ret);

/* backend_text: a sentence for people about a call of this thread that failed with this code: as the backend told it, if that was the
 * last call; else err_text(). Valid until the thread's next call. backend_text_set: for what asks another process. */
const char *backend_text(int code);
void backend_text_set(int code, const void *text, size_t len);

/* For backends: has the call's time passed, or was it cancelled? began_ns: clock_mono_ns() at its beginning. */
int backend_call_check(const struct backend_call *c, int64_t began_ns);
/* For backends: len bytes have gone, or go now; waits until the next may. As backend_call_check(). */
struct rate;
int backend_pace(struct rate *r, size_t len, const struct backend_call *c, int64_t began_ns);

#endif
