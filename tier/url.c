#include "tier/url.h"

#include <stdio.h>
#include <stdlib.h>

#include "conf/value.h"

#define DEFAULT_RESTORE_DAYS 7
#define DEFAULT_CONCURRENCY 8
#define MAX_CONCURRENCY 256
#define DEFAULT_MULTIPART (32u << 20)
#define MIN_MULTIPART (5u << 20) /* S3's own bound */
#define MAX_MULTIPART (5ull << 30)
#define DEFAULT_TIMEOUT_MS 30000
#define DEFAULT_PART (32u << 20)
#define MIN_PART (64u << 10)
#define MAX_PART (1ull << 30)
#define DEFAULT_LOOKS 32
#define DAY_NS (86400 * (int64_t)1000000000)

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

int url_decode(const char *s, size_t len, char *out, size_t size)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        char c = s[i];

        if (c == '%') {
            int hi = i + 2 < len ? hex_digit(s[i + 1]) : -1;
            int lo = hi >= 0 ? hex_digit(s[i + 2]) : -1;

            if (lo < 0 || (hi == 0 && lo == 0))
                return -E_INVAL;
            c = (char)(hi * 16 + lo);
            i += 2;
        }
        if (n + 1 >= size)
            return -E_NAMETOOLONG;
        out[n++] = c;
    }
    out[n] = 0;
    return 0;
}

int url_with(const char *url, const char *option, const char *value, struct buf *ret)
{
    int r = buf_printf(ret, "%s%c%s=", url, strchr(url, '?') ? '&' : '?', option);

    for (; r == 0 && *value; value++)
        r = strchr("&%#?", *value) ? buf_printf(ret, "%%%02X", (unsigned char)*value)
                                   : buf_add(ret, value, 1);
    return r;
}

static const struct url_option *option_of(const char *name, size_t len, const struct url_option *table,
                                          size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strlen(table[i].name) == len && memcmp(table[i].name, name, len) == 0)
            return &table[i];
    return NULL;
}

static void options_named(const struct url_option *table, size_t n, struct buf *err)
{
    for (size_t i = 0; i < n; i++)
        buf_printf(err, "%s %s", i ? "," : "; options are", table[i].name);
}

int url_options(const char *url, const char *query, const struct url_option *table, size_t n, void *conf,
                struct buf *err)
{
    while (*query) {
        size_t len = strcspn(query, "&"), key = strcspn(query, "=&");
        const struct url_option *o = option_of(query, key, table, n);
        char value[PATH_MAX];
        int r;

        if (!o || key == len) {
            buf_printf(err, "%s: %.*s: is no option of such a URL", url, (int)len, query);
            options_named(table, n, err);
            return -E_USAGE;
        }
        r = url_decode(query + key + 1, len - key - 1, value, sizeof(value));
        if (r == 0)
            r = o->parse(conf, value);
        if (r < 0) {
            buf_printf(err, "%s: %.*s: write %s=%s", url, (int)len, query, o->name, o->wants);
            return -E_USAGE;
        }
        query += len;
        query += *query == '&';
    }
    return 0;
}

/* --- directories ---------------------------------------------------------------------------------------------------- */

static int dir_bandwidth(void *conf, const char *v)
{
    return conf_size(v, &((struct dir_conf *)conf)->bandwidth);
}

static const struct url_option dir_options[] = {{"bandwidth", dir_bandwidth, "10M, bytes a second"}};

int dir_conf_parse(const char *url, struct dir_conf *ret, struct buf *err)
{
    const char *path = url + 4, *q = strrchr(url, '?');
    struct dir_conf c = {.bandwidth = 0};
    int r = 0;

    if (*path != '/') {
        buf_printf(err, "%s: write an absolute path, dir:/path", url);
        return -E_USAGE;
    }
    if (q && !option_of(q + 1, strcspn(q + 1, "="), dir_options, ARRAY_LEN(dir_options)))
        q = NULL;
    if (snprintf(c.path, sizeof(c.path), "%.*s", q ? (int)(q - path) : (int)strlen(path), path) >=
        (int)sizeof(c.path)) {
        buf_printf(err, "%.80s...: the path is too long", url);
        return -E_USAGE;
    }
    if (q)
        r = url_options(url, q + 1, dir_options, ARRAY_LEN(dir_options), &c, err);
    if (r == 0)
        *ret = c;
    return r;
}

/* --- S3 ------------------------------------------------------------------------------------------------------------- */

/* clang-format off */
#define S3_TEXT(field_, chars_)                                                                              \
    static int s3_##field_(void *conf, const char *v)                                                        \
    {                                                                                                        \
        struct s3_conf *c = conf;                                                                            \
        return *v && strspn(v, chars_) == strlen(v) &&                                                       \
               snprintf(c->field_, sizeof(c->field_), "%s", v) < (int)sizeof(c->field_) ? 0 : -E_INVAL;      \
    }
/* clang-format on */
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
S3_TEXT(region, LETTERS "-")
S3_TEXT(storage_class, LETTERS "_-")

static int s3_restore_days(void *conf, const char *v)
{
    char *end;
    unsigned long n = strtoul(v, &end, 10);

    if (*v < '1' || *v > '9' || *end || n > 365)
        return -E_INVAL;
    ((struct s3_conf *)conf)->restore_days = (unsigned)n;
    return 0;
}

static int s3_restore_tier(void *conf, const char *v)
{
    static const char *const tiers[] = {"Standard", "Bulk", "Expedited"};
    struct s3_conf *c = conf;

    for (size_t i = 0; i < ARRAY_LEN(tiers); i++)
        if (strcmp(v, tiers[i]) == 0) {
            snprintf(c->restore_tier, sizeof(c->restore_tier), "%s", v);
            return 0;
        }
    return -E_INVAL;
}

static int s3_profile(void *conf, const char *v)
{
    struct s3_conf *c = conf;

    return *v && !strpbrk(v, "[]\r\n") &&
                   snprintf(c->profile, sizeof(c->profile), "%s", v) < (int)sizeof(c->profile)
               ? 0
               : -E_INVAL;
}

static int path_parse(const char *v, char out[PATH_MAX])
{
    return *v == '/' && snprintf(out, PATH_MAX, "%s", v) < PATH_MAX ? 0 : -E_INVAL;
}

static int s3_ca(void *conf, const char *v)
{
    return path_parse(v, ((struct s3_conf *)conf)->ca);
}

static int s3_credentials(void *conf, const char *v)
{
    return path_parse(v, ((struct s3_conf *)conf)->credentials);
}

int s3_endpoint_parse(struct s3_conf *c, const char *v)
{
    const char *scheme = strncmp(v, "http://", 7) == 0 ? "http://" : "https://";
    const char *host = strncmp(v, scheme, strlen(scheme)) == 0 ? v + strlen(scheme) : v;
    size_t n = strlen(host);

    while (n && host[n - 1] == '/')
        n--;
    if (n == 0 || strspn(host, LETTERS ".-_:[]") < n)
        return -E_INVAL;
    return snprintf(c->endpoint, sizeof(c->endpoint), "%s%.*s", scheme, (int)n, host) <
                   (int)sizeof(c->endpoint)
               ? 0
               : -E_INVAL;
}

static int s3_endpoint(void *conf, const char *v)
{
    return s3_endpoint_parse(conf, v);
}

static int word(const char *v, const char *const *words, size_t n, unsigned *ret)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(v, words[i]) == 0) {
            *ret = (unsigned)i;
            return 0;
        }
    return -E_INVAL;
}

static int s3_style(void *conf, const char *v)
{
    static const char *const words[] = {"auto", "path", "virtual"};
    unsigned i;
    int r = word(v, words, ARRAY_LEN(words), &i);

    if (r == 0)
        ((struct s3_conf *)conf)->style = (enum s3_style)i;
    return r;
}

static int s3_conditional(void *conf, const char *v)
{
    static const char *const words[] = {"yes", "no"};
    unsigned i;
    int r = word(v, words, ARRAY_LEN(words), &i);

    if (r == 0)
        ((struct s3_conf *)conf)->unconditional = i == 1;
    return r;
}

static int s3_lock(void *conf, const char *v)
{
    static const char *const words[] = {"none", "governance", "compliance"};
    unsigned i;
    int r = word(v, words, ARRAY_LEN(words), &i);

    if (r == 0)
        ((struct s3_conf *)conf)->lock_mode = (enum s3_mode)i;
    return r;
}

static int s3_retain(void *conf, const char *v)
{
    int64_t ns;

    if (conf_duration(v, &ns) < 0 || ns < 1000000000 || ns > 36500 * DAY_NS)
        return -E_INVAL;
    ((struct s3_conf *)conf)->retain_ns = ns;
    return 0;
}

static int s3_multipart(void *conf, const char *v)
{
    uint64_t n;

    if (conf_size(v, &n) < 0 || n < MIN_MULTIPART || n > MAX_MULTIPART)
        return -E_INVAL;
    ((struct s3_conf *)conf)->multipart = n;
    return 0;
}

static int s3_bandwidth(void *conf, const char *v)
{
    return conf_size(v, &((struct s3_conf *)conf)->bandwidth);
}

static int concurrency_parse(const char *v, unsigned *ret)
{
    uint64_t n;

    if (conf_count(v, &n) < 0 || n < 1 || n > MAX_CONCURRENCY)
        return -E_INVAL;
    *ret = (unsigned)n;
    return 0;
}

static int timeout_parse(const char *v, int64_t least_ms, int *ret_ms)
{
    int64_t ns;

    if (conf_duration(v, &ns) < 0 || ns < least_ms * 1000000 || ns > 3600 * (int64_t)1000000000)
        return -E_INVAL;
    *ret_ms = (int)(ns / 1000000);
    return 0;
}

static int s3_concurrency(void *conf, const char *v)
{
    return concurrency_parse(v, &((struct s3_conf *)conf)->concurrency);
}

static int s3_timeout(void *conf, const char *v)
{
    return timeout_parse(v, 100, &((struct s3_conf *)conf)->timeout_ms);
}

static const struct url_option s3_options[] = {
    {"endpoint", s3_endpoint, "https://host:port (http:// where the way is safe), without a path"},
    {"region", s3_region, "eu-central-1"},
    {"profile", s3_profile, "NAME, a section of the credentials' file"},
    {"credentials", s3_credentials, "/path of a file as AWS' tools have it"},
    {"ca", s3_ca, "/path of a file with certificates"},
    {"style", s3_style, "auto|path|virtual"},
    {"storage-class", s3_storage_class, "STANDARD_IA, as the server calls it"},
    {"restore-days", s3_restore_days, "7, as long as what was archived stays readable; 1 to 365"},
    {"restore-tier", s3_restore_tier, "Standard|Bulk|Expedited"},
    {"lock", s3_lock, "none|governance|compliance"},
    {"retain", s3_retain, "30d, as long as an object may not be deleted"},
    {"conditional", s3_conditional, "yes|no"},
    {"multipart", s3_multipart, "32M, 5M at least"},
    {"bandwidth", s3_bandwidth, "10M, bytes a second"},
    {"concurrency", s3_concurrency, "8, requests at a time, 256 at most"},
    {"timeout", s3_timeout, "30s, as long as nothing may move; 100ms to 1h"},
};

static bool bucket_ok(const char *b)
{
    return strlen(b) >= 3 && strspn(b, LETTERS "._-") == strlen(b) && !strchr("._-", *b);
}

/* What servers or this side would take for something else is no prefix: empty parts, dots. */
static bool prefix_ok(const char *p)
{
    for (;; p++) {
        size_t n = strcspn(p, "/");

        if (n == 0 || (n == 1 && *p == '.') || (n == 2 && strncmp(p, "..", 2) == 0))
            return false;
        for (size_t i = 0; i < n; i++)
            if ((unsigned char)p[i] < 0x20 || p[i] == 0x7f)
                return false;
        p += n;
        if (!*p)
            return true;
    }
}

static int place_parse(const char *url, const char *place, size_t len, struct s3_conf *c, struct buf *err)
{
    size_t b = strcspn(place, "/?");
    const char *prefix = place + b;
    size_t n = len - b;

    while (n && *prefix == '/') {
        prefix++;
        n--;
    }
    while (n && prefix[n - 1] == '/')
        n--;
    if (snprintf(c->bucket, sizeof(c->bucket), "%.*s", (int)b, place) >= (int)sizeof(c->bucket) ||
        !bucket_ok(c->bucket) || url_decode(prefix, n, c->prefix, sizeof(c->prefix)) < 0 ||
        (c->prefix[0] && !prefix_ok(c->prefix))) {
        buf_printf(err, "%s: write s3://bucket/prefix?option=value; the server is an option, endpoint=", url);
        return -E_USAGE;
    }
    return 0;
}

int s3_conf_parse(const char *url, struct s3_conf *ret, struct buf *err)
{
    const char *place = url + 5, *q = strchr(url, '?');
    struct s3_conf c = {.concurrency = DEFAULT_CONCURRENCY,
                        .multipart = DEFAULT_MULTIPART,
                        .timeout_ms = DEFAULT_TIMEOUT_MS,
                        .restore_days = DEFAULT_RESTORE_DAYS,
                        .restore_tier = "Standard",
                        .stale_ns = DAY_NS};
    int r;

    if (strncmp(url, "s3://", 5) != 0) {
        buf_printf(err, "%s: write s3://bucket/prefix", url);
        return -E_USAGE;
    }
    r = place_parse(url, place, q ? (size_t)(q - place) : strlen(place), &c, err);
    if (r == 0 && q)
        r = url_options(url, q + 1, s3_options, ARRAY_LEN(s3_options), &c, err);
    if (r == 0 && (c.lock_mode != S3_LOCK_NONE) != (c.retain_ns > 0)) {
        buf_printf(err, "%s: give lock=governance or lock=compliance and retain=TIME, both or none", url);
        r = -E_USAGE;
    }
    if (r == 0)
        *ret = c;
    return r;
}

/* --- RADOS ---------------------------------------------------------------------------------------------------------- */

static bool is_name(const char *v, size_t size)
{
    return *v && strlen(v) < size && strspn(v, LETTERS "._:+-") == strlen(v);
}

static int rados_id(void *conf, const char *v)
{
    struct rados_conf *c = conf;

    if (strncmp(v, "client.", 7) == 0)
        v += 7;
    if (!is_name(v, sizeof(c->id)))
        return -E_INVAL;
    snprintf(c->id, sizeof(c->id), "%s", v);
    return 0;
}

static int rados_keyring(void *conf, const char *v)
{
    return path_parse(v, ((struct rados_conf *)conf)->keyring);
}

static int rados_file(void *conf, const char *v)
{
    return path_parse(v, ((struct rados_conf *)conf)->conf);
}

static int rados_monitors(void *conf, const char *v)
{
    struct rados_conf *c = conf;

    return *v && strspn(v, LETTERS ".-_:[],") == strlen(v) &&
                   snprintf(c->monitors, sizeof(c->monitors), "%s", v) < (int)sizeof(c->monitors)
               ? 0
               : -E_INVAL;
}

static int rados_part(void *conf, const char *v)
{
    uint64_t n;

    if (conf_size(v, &n) < 0 || n < MIN_PART || n > MAX_PART)
        return -E_INVAL;
    ((struct rados_conf *)conf)->part = n;
    return 0;
}

static int rados_bandwidth(void *conf, const char *v)
{
    return conf_size(v, &((struct rados_conf *)conf)->bandwidth);
}

static int rados_concurrency(void *conf, const char *v)
{
    return concurrency_parse(v, &((struct rados_conf *)conf)->concurrency);
}

/* librados counts whole seconds. */
static int rados_timeout(void *conf, const char *v)
{
    struct rados_conf *c = conf;
    int r = timeout_parse(v, 1000, &c->timeout_ms);

    if (r == 0)
        c->timeout_ms = (c->timeout_ms + 999) / 1000 * 1000;
    return r;
}

static const struct url_option rados_options[] = {
    {"id", rados_id, "NAME, as in client.NAME"},
    {"keyring", rados_keyring, "/path of a file with the key"},
    {"conf", rados_file, "/path of a ceph.conf"},
    {"monitors", rados_monitors, "HOST:PORT,HOST:PORT"},
    {"part", rados_part, "32M, 64K at least"},
    {"bandwidth", rados_bandwidth, "10M, bytes a second"},
    {"concurrency", rados_concurrency, "32, operations at a time, 256 at most"},
    {"timeout", rados_timeout, "30s, as long as an operation may take; 1s to 1h"},
};

int rados_conf_parse(const char *url, struct rados_conf *ret, struct buf *err)
{
    const char *place = url + 8, *q = strchr(url, '?');
    struct rados_conf c = {
        .concurrency = DEFAULT_LOOKS, .part = DEFAULT_PART, .timeout_ms = DEFAULT_TIMEOUT_MS};
    size_t len, pool;
    int r = -E_INVAL;

    if (strncmp(url, "rados://", 8) == 0) {
        len = q ? (size_t)(q - place) : strlen(place);
        pool = MIN_OF(strcspn(place, "/"), len);
        r = url_decode(place, pool, c.pool, sizeof(c.pool));
        if (r == 0 && pool + 1 < len)
            r = url_decode(place + pool + 1, len - pool - 1, c.name_space, sizeof(c.name_space));
    }
    if (r < 0 || !is_name(c.pool, sizeof(c.pool)) ||
        (c.name_space[0] && !is_name(c.name_space, sizeof(c.name_space)))) {
        buf_printf(
            err, "%s: write rados://pool/namespace?option=value; names are of letters, digits and . _ : + -",
            url);
        return -E_USAGE;
    }
    if (q && (r = url_options(url, q + 1, rados_options, ARRAY_LEN(rados_options), &c, err)) < 0)
        return r;
    *ret = c;
    return 0;
}
