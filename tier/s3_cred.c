#include "tier/s3_cred.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/io.h"

#define FILE_MAX (1u << 20)

struct reading {
    const char *profile;
    struct s3_cred *cred;
    char *region; /* 64 bytes */
    bool here;    /* inside the profile */
    bool found;
};

static const char *env(const char *name)
{
    const char *v = getenv(name);

    return v && *v ? v : NULL;
}

static char *trimmed(char *s)
{
    size_t n;

    s += strspn(s, " \t\r");
    n = strlen(s);
    while (n && strchr(" \t\r", s[n - 1]))
        s[--n] = 0;
    return s;
}

static int keep(char *out, size_t size, const char *v)
{
    /* a line break or the like inside would end a header */
    for (const char *p = v; *p; p++)
        if ((unsigned char)*p <= 0x20 || *p == 0x7f)
            return -E_INVAL;
    return snprintf(out, size, "%s", v) < (int)size ? 0 : -E_INVAL;
}

static void section(struct reading *r, char *name)
{
    char *end = strchr(name, ']');

    if (end)
        *end = 0;
    name = trimmed(name);
    if (strncmp(name, "profile ", 8) == 0)
        name = trimmed(name + 8);
    r->here = strcmp(name, r->profile) == 0;
    r->found |= r->here;
}

static int line_take(struct reading *r, char *line)
{
    char *eq, *value;

    line = trimmed(line);
    if (*line == 0 || *line == '#' || *line == ';')
        return 0;
    if (*line == '[') {
        section(r, line + 1);
        return 0;
    }
    if (!r->here || !(eq = strchr(line, '=')))
        return 0;
    *eq = 0;
    line = trimmed(line);
    value = trimmed(eq + 1);
    if (strcmp(line, "aws_access_key_id") == 0)
        return keep(r->cred->id, sizeof(r->cred->id), value);
    if (strcmp(line, "aws_secret_access_key") == 0)
        return keep(r->cred->secret, sizeof(r->cred->secret), value);
    if (strcmp(line, "aws_session_token") == 0 || strcmp(line, "aws_security_token") == 0)
        return keep(r->cred->token, sizeof(r->cred->token), value);
    if (strcmp(line, "region") == 0)
        return keep(r->region, 64, value);
    return 0;
}

static int text_take(struct reading *r, const char *path, char *text, struct buf *err)
{
    int n = 1;

    for (char *p = text, *next; p; p = next, n++) {
        next = strchr(p, '\n');
        if (next)
            *next++ = 0;
        if (line_take(r, p) < 0) {
            buf_printf(err, "%s: line %d: the value has a space in it or is too long", path, n);
            return -E_KEY;
        }
    }
    if (!r->found) {
        buf_printf(err, "%s: has no section [%s]; profile=NAME names another one", path, r->profile);
        return -E_KEY;
    }
    if (!r->cred->id[0] || !r->cred->secret[0]) {
        buf_printf(err, "%s: section [%s] lacks aws_access_key_id or aws_secret_access_key", path,
                   r->profile);
        return -E_KEY;
    }
    return 0;
}

static int from_file(const struct s3_conf *c, const char *path, struct s3_cred *ret, char region[64],
                     struct buf *err)
{
    cleanup(buf_free) struct buf b = {0};
    struct reading r = {
        .profile = c->profile[0] ? c->profile : env("AWS_PROFILE"), .cred = ret, .region = region};
    int x = io_read_file(io_real(), path, FILE_MAX, &b);

    if (!r.profile)
        r.profile = "default";
    if (x < 0) {
        buf_printf(err, "%s: %s", path, err_text(x));
        return x == -E_NOMEM ? x : -E_KEY;
    }
    x = buf_cstr(&b) ? text_take(&r, path, (char *)b.data, err) : -E_NOMEM;
    OPENSSL_cleanse(b.data, b.cap);
    return x;
}

static int from_env(struct s3_cred *ret, struct buf *err)
{
    const char *id = env("AWS_ACCESS_KEY_ID"), *secret = env("AWS_SECRET_ACCESS_KEY"),
               *token = env("AWS_SESSION_TOKEN");

    if (!secret || keep(ret->id, sizeof(ret->id), id) < 0 ||
        keep(ret->secret, sizeof(ret->secret), secret) < 0 ||
        (token && keep(ret->token, sizeof(ret->token), token) < 0)) {
        buf_puts(err, "AWS_ACCESS_KEY_ID is set, but AWS_SECRET_ACCESS_KEY is not, or one of them has a "
                      "space in it or is too long");
        return -E_KEY;
    }
    return 0;
}

int s3_cred_read(const struct s3_conf *c, struct s3_cred *ret, char ret_region[64], struct buf *err)
{
    const char *file = c->credentials[0] ? c->credentials : NULL, *home = env("HOME");
    struct s3_cred *cred = calloc(1, sizeof(*cred));
    char path[PATH_MAX], region[64] = "";
    int r = -E_KEY;

    if (!cred)
        return -E_NOMEM;
    if (!file && !c->profile[0] && env("AWS_ACCESS_KEY_ID")) {
        r = from_env(cred, err);
    } else {
        if (!file)
            file = env("AWS_SHARED_CREDENTIALS_FILE");
        if (!file && home && snprintf(path, sizeof(path), "%s/.aws/credentials", home) < (int)sizeof(path))
            file = path;
        if (file == path && !c->profile[0] && access(path, F_OK) < 0)
            file = NULL;
        if (file)
            r = from_file(c, file, cred, region, err);
        else
            buf_puts(err, "no credentials: give --credentials FILE, or set AWS_ACCESS_KEY_ID and "
                          "AWS_SECRET_ACCESS_KEY");
    }
    if (r == 0) {
        *ret = *cred;
        memcpy(ret_region, region, sizeof(region));
    }
    s3_cred_wipe(cred);
    free(cred);
    return r;
}

int s3_conf_complete(struct s3_conf *c, const char *file_region, struct buf *err)
{
    const char *url = env("AWS_ENDPOINT_URL_S3"), *region = env("AWS_REGION");
    bool aws;

    if (!url)
        url = env("AWS_ENDPOINT_URL");
    if (!region)
        region = env("AWS_DEFAULT_REGION");
    if (!region)
        region = *file_region ? file_region : "us-east-1";
    if (!c->region[0] && keep(c->region, sizeof(c->region), region) < 0) {
        buf_printf(err, "%.80s: is no region", region);
        return -E_USAGE;
    }
    if (!c->endpoint[0] && url) {
        if (s3_endpoint_parse(c, url) < 0) {
            buf_printf(err, "AWS_ENDPOINT_URL: %.200s: write https://host:port", url);
            return -E_USAGE;
        }
    } else if (!c->endpoint[0]) {
        snprintf(c->endpoint, sizeof(c->endpoint), "https://s3.%s.amazonaws.com", c->region);
    }
    if (!c->ca[0] && env("AWS_CA_BUNDLE"))
        snprintf(c->ca, sizeof(c->ca), "%s", env("AWS_CA_BUNDLE"));
    aws = strstr(c->endpoint, ".amazonaws.com") != NULL;
    if (c->style == S3_STYLE_AUTO) /* a certificate of *.s3.... does not hold for names with dots */
        c->style = aws && !strchr(c->bucket, '.') ? S3_STYLE_VIRTUAL : S3_STYLE_PATH;
    return 0;
}
