/* tier/url: URLs of repositories as people write them: SCHEME:PLACE[?OPTION=VALUE[&...]]. What an option's value may not hold as it is
 * (& % #) is written %XX. Nothing here speaks to anybody. Pure functions. */
#ifndef VARVE_TIER_URL_H
#define VARVE_TIER_URL_H

#include <limits.h>

#include "base/buf.h"

/* url_decode: %XX become bytes. -E_INVAL: a broken one, or a NUL. out has size bytes, NUL included: -E_NAMETOOLONG. */
int url_decode(const char *s, size_t len, char *out, size_t size);

/* url_options(url, query, table, n, conf, err): each option of query into its field; a sentence about url and -E_USAGE else. */
struct url_option {
    const char *name;
    int (*parse)(void *conf, const char *value); /* -E_INVAL */
    const char *wants;                           /* for sentences */
};
int url_options(const char *url, const char *query, const struct url_option *table, size_t n, void *conf,
                struct buf *err);

/* url_with: url and one option more. -E_NOMEM. */
int url_with(const char *url, const char *option, const char *value, struct buf *ret);

/* dir:/path[?bandwidth=SIZE]. A '?' begins options only where a known one follows; so it may stand in a path. */
struct dir_conf {
    char path[PATH_MAX];
    uint64_t bandwidth; /* bytes a second each way; 0 no limit */
};
int dir_conf_parse(const char *url, struct dir_conf *ret, struct buf *err);

/* s3://bucket[/prefix][?option=value...] */
enum s3_style { S3_STYLE_AUTO, S3_STYLE_PATH, S3_STYLE_VIRTUAL };
enum s3_mode { S3_LOCK_NONE, S3_LOCK_GOVERNANCE, S3_LOCK_COMPLIANCE };
struct s3_conf {
    char bucket[256];
    char prefix[512]; /* without slashes around it; "" none */
    char endpoint[512];
    char region[64], profile[128], storage_class[64];
    char restore_tier[16];                    /* how fast what is archived comes: "Standard" */
    unsigned restore_days;                    /* how long it stays readable then */
    char ca[PATH_MAX], credentials[PATH_MAX]; /* files */
    enum s3_style style;
    bool unconditional; /* the server does not know If-None-Match */
    enum s3_mode lock_mode;
    int64_t retain_ns;
    uint64_t multipart; /* objects of more bytes go in parts of so many */
    uint64_t bandwidth; /* bytes a second each way; 0 no limit */
    unsigned concurrency;
    int timeout_ms; /* how long a connection may stand still */
    unsigned page;  /* names of one page of a list; 0: as many as the server gives. No option, as the next */
    int64_t stale_ns; /* uploads in parts that began so long ago are dead */
};
int s3_conf_parse(const char *url, struct s3_conf *ret, struct buf *err);
int s3_endpoint_parse(struct s3_conf *c,
                      const char *v); /* a host and a port, nothing that could hide a secret; -E_INVAL */

/* rados://pool[/namespace][?option=value...] */
struct rados_conf {
    char pool[128], name_space[128]; /* "" the namespace without a name */
    char id[64];                     /* of client.ID; "" the default */
    char keyring[PATH_MAX], conf[PATH_MAX];
    char monitors[512]; /* host:port,... */
    uint64_t part;      /* objects of more bytes are cut in parts of so many */
    uint64_t bandwidth; /* bytes a second each way; 0 no limit */
    unsigned concurrency;
    int timeout_ms; /* of one operation, in whole seconds */
    unsigned names; /* a list keeps so many at a time; 0: the default. No option */
};
int rados_conf_parse(const char *url, struct rados_conf *ret, struct buf *err);

#endif
