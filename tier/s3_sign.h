/* tier/s3_sign: AWS Signature Version 4 in the Authorization header. The hash of the body is always part of it, so no server keeps a
 * body that is not the one that was meant. Pure functions; threads: any. */
#ifndef VARVE_TIER_S3_SIGN_H
#define VARVE_TIER_S3_SIGN_H

#include "base/buf.h"

#define S3_KEY_MAX 256
#define S3_TOKEN_MAX 8192

struct s3_cred {
    char id[S3_KEY_MAX], secret[S3_KEY_MAX];
    char token[S3_TOKEN_MAX]; /* "" none */
};
void s3_cred_wipe(struct s3_cred *c);

struct s3_pair {
    const char *name, *value;
};

/* Everything plain, nothing percent-encoded. Headers: all of them are signed; names in lower case. */
struct s3_signing {
    const char *method, *path; /* the path begins with '/' */
    const struct s3_pair *query, *headers;
    size_t nquery, nheaders;
    const char *payload; /* SHA-256 of the body, in hex */
    int64_t when_ns;
    const char *region, *service;
    const struct s3_cred *cred;
};

#define S3_DATE_SIZE 17
void s3_date(int64_t when_ns, char out[S3_DATE_SIZE]); /* 20130524T000000Z, as x-amz-date has it */

/* s3_encode: everything but A-Z a-z 0-9 - . _ ~ as %XX; slashes stay with keep_slash. s3_query: as it goes over the wire, sorted.
 * -E_NOMEM. */
int s3_encode(const char *s, bool keep_slash, struct buf *out);
int s3_query(const struct s3_pair *query, size_t n, struct buf *out);

int s3_canonical(const struct s3_signing *s, struct buf *out);     /* what is hashed, for looking at */
int s3_authorization(const struct s3_signing *s, struct buf *out); /* the header's value */

#endif
