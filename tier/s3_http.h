/* tier/s3_http: HTTP requests, all over one libcurl multi handle that a thread of its own drives. Threads: any number of callers. */
#ifndef VARVE_TIER_S3_HTTP_H
#define VARVE_TIER_S3_HTTP_H

#include "tier/backend.h"
#include "tier/rate.h"

struct http;
struct http_conf {
    const char *ca; /* a file with certificates; NULL the system's */
    int timeout_ms; /* for connecting, and as long as nothing may move */
    unsigned concurrency;
    uint64_t bandwidth; /* bytes a second each way; 0 no limit */
};
/* http_new: -E_NOMEM, -E_AGAIN; -E_NOTSUP, -E_IO with a sentence: there is no libcurl of use. */
int http_new(const struct http_conf *c, struct http **ret, struct buf *err);
void http_free(struct http *h); /* no call is under way; NULL is allowed */

struct http_request {
    const char *method, *url;
    const struct buf *headers; /* "name: value\n" each */
    const void *body;
    size_t len;
    size_t room;                     /* an answer's body is this long at most: more is -E_PROTO */
    void *part;                      /* if not NULL, the body of an answer 206 is put here, */
    size_t part_len;                 /* where it has room for so much */
    int64_t deadline_ns;             /* by clock_mono_ns() */
    const struct backend_call *call; /* asked whether it was cancelled; NULL allowed */
};

struct http_answer {
    int status;         /* 0: none came */
    bool sent;          /* something of the request may have arrived */
    struct buf headers; /* name NUL value NUL, names in lower case: http_header() */
    struct buf body;    /* as much as came, also after errors */
    size_t part_len;    /* so much was put where the request said */
    char why[256];      /* what stood in the way below HTTP */
};
void http_answer_release(struct http_answer *a); /* fit for cleanup() */

/* http_perform: one attempt. 0: an answer came whole, whatever it says. -E_TIMEOUT, -E_CANCELED, -E_ACCES (no trust in the
 * certificate), -E_PROTO (no HTTP, or too long), -E_NOMEM, -E_IO: a->why says what. *ret is released or zero before. */
int http_perform(struct http *h, const struct http_request *q, struct http_answer *ret);

/* http_header: the value, "" when it is not there. Valid while a is. */
const char *http_header(struct http_answer *a, const char *name);
/* http_date_ns: of Date: and Last-Modified: to the second; -1 where it is none. After http_new(). */
int64_t http_date_ns(const char *text);

#endif
