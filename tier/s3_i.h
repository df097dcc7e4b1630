/* tier/s3_i: what the files of the S3 backend share: one request with all that may go wrong with it. */
#ifndef VARVE_TIER_S3_I_H
#define VARVE_TIER_S3_I_H

#include "base/lock.h"
#include "tier/s3.h"
#include "tier/s3_http.h"
#include "tier/s3_sign.h"
#include "tier/s3_xml.h"
#include "tier/why.h"

#define S3_NAME_SIZE 1025 /* of an object's whole key */
#define S3_OWNER "x-amz-meta-varve-owner"
#define S3_OWNER_SIZE 33
#define S3_PAIRS 8
#define S3_ANSWER_MAX (16u << 20)

struct task_pool;
struct s3 {
    struct backend b;
    struct s3_conf conf;
    struct http *http;
    char scheme[9], host[768]; /* as it is asked for; with the bucket before it in the virtual style */
    struct why why;
    struct lock lock; /* guards what follows */
    struct s3_cred cred;
    int budget;         /* how often may be tried again: every try takes some, every success gives one back */
    bool unconditional; /* no If-None-Match here */
    int64_t
        seen_ns; /* the youngest object that was told of: servers set their Date: once a second, so it may be older */
    bool swept; /* left-over uploads were looked for */
    struct task_pool *pool;
};

static inline struct s3 *s3_of(struct backend *b)
{
    return (struct s3 *)b;
}

struct s3_ask {
    const char *doing;        /* "put", "list": for sentences */
    const char *method, *key; /* NULL: the bucket itself */
    struct s3_pair query[S3_PAIRS], headers[S3_PAIRS];
    size_t nquery, nheaders;
    const void *body;
    size_t len, room;
    void *part; /* where the bytes of a part of an object are put; NULL: with the answer */
    size_t part_len;
    bool (*sound)(struct http_answer *a); /* is a success what S3 says? NULL: any */
};

/* One call of the backend, which may be several requests. */
struct s3_run {
    const struct backend_call *call;
    int64_t deadline_ns;
    unsigned tries, max; /* of the request at hand */
    bool unsure;         /* one of its tries may have been carried out */
    bool reloaded;       /* the credentials were read anew */
};
struct s3_run s3_run_begin(const struct backend_call *c);

enum s3_verdict { S3_DONE, S3_AGAIN, S3_UNSURE, S3_FINAL };
/* What an attempt came to. DONE: 2xx, 404, 412, 416, for the caller to look at. AGAIN: nothing was done, another try may help. UNSURE:
 * the same, but it may have been done. FINAL: no try helps. code: the error, if it stays at that. */
struct s3_outcome {
    enum s3_verdict verdict;
    int code;
    struct s3_error e;
};

/* s3_once: one attempt. s3_again: waits before another one; false: none is to be made. s3_fail: writes down why; the code.
 * s3_ask: tries until it is done or no try helps: 0 (*a holds an answer that is DONE), or the error, written down. */
void s3_once(struct s3 *s, const struct s3_ask *q, struct s3_run *run, struct http_answer *a,
             struct s3_outcome *ret);
bool s3_again(struct s3 *s, struct s3_run *run, const struct s3_outcome *o, struct http_answer *a);
int s3_fail(struct s3 *s, const struct s3_ask *q, const struct s3_run *run, const struct s3_outcome *o,
            struct http_answer *a);
int s3_ask(struct s3 *s, const struct s3_ask *q, struct s3_run *run, struct http_answer *a);

/* s3_classify: pure but for the clock. s3_sentence: cause and what to do. */
void s3_classify(const struct s3 *s, const struct s3_ask *q, int r, struct http_answer *a,
                 struct s3_outcome *ret);
void s3_sentence(const struct s3 *s, const struct s3_ask *q, const struct s3_outcome *o,
                 struct http_answer *a, char *out, size_t size);

void s3_seen(struct s3 *s, int64_t mtime_ns);
int s3_key(const struct s3 *s, const char *name, char out[S3_NAME_SIZE]); /* -E_INVAL */

/* What every put carries: a token of its own, a storage class, a time until which it may not be deleted. */
struct s3_put {
    char owner[S3_OWNER_SIZE], until[32], md5[32];
};
int s3_put_headers(struct s3 *s, const char *name, const void *p, size_t len, struct s3_put *put,
                   struct s3_ask *q);
/* s3_is_there: 1, 0. s3_is_ours: 1 it is there with this token and length; 0 it is not there (any more: half of it under the token is
 * deleted); -E_EXIST another's. */
int s3_is_there(struct s3 *s, const struct s3_run *run, const char *key);
int s3_is_ours(struct s3 *s, struct s3_run *run, const char *key, const char *owner, size_t len);
bool s3_has_etag(struct http_answer *a);
bool s3_has_stat(struct http_answer *a);

/* s3_parts_put: in parts, several at a time. Errors as of put. s3_parts_sweep: ends uploads that died a day ago. */
int s3_parts_put(struct s3 *s, struct s3_run *run, const char *name, const char *key, const void *p,
                 size_t len);
void s3_parts_stop(struct s3 *s);

/* s3_class.c. s3_archived: what a read of an archived object comes to: -E_ARCHIVED, written down. */
#define S3_CLASS_DEFAULT "STANDARD"
int s3_class_set(struct backend *b, const struct backend_call *c, const char *name, const char *class);
int s3_wake(struct backend *b, const struct backend_call *c, const char *name, bool ask);
int s3_archived(struct s3 *s, const struct backend_call *c, const char *name);
int s3_refused(struct s3 *s, const struct backend_call *c, const char *name); /* of a deletion: -E_ACCES */

/* s3_put.c, s3_list.c */
int s3_classes(struct backend *b, const struct backend_call *c, const char *prefix,
               int (*cb)(void *arg, const char *name, const struct backend_stat *st), void *arg);
int s3_put(struct backend *b, const struct backend_call *c, const char *name, const void *p, size_t len);
int s3_list(struct backend *b, const struct backend_call *c, const char *prefix, const char *after,
            int (*cb)(void *arg, const char *name, const struct backend_stat *st), void *arg);

static inline void s3_query_add(struct s3_ask *q, const char *name, const char *value)
{
    assert(q->nquery < S3_PAIRS);
    q->query[q->nquery++] = (struct s3_pair){name, value};
}
static inline void s3_header_add(struct s3_ask *q, const char *name, const char *value)
{
    assert(q->nheaders < S3_PAIRS);
    q->headers[q->nheaders++] = (struct s3_pair){name, value};
}

#endif
