/* Opening a backend: apart from tier/backend.c, so that no other program than varve-tierd has the network in it. */
#include <stdlib.h>

#include "tier/backend.h"
#include "tier/backend_dir.h"
#include "tier/rados.h"
#include "tier/s3.h"

static int open_dir(const char *url, bool make, struct backend **ret, struct buf *err)
{
    struct dir_conf *c = calloc(1, sizeof(*c));
    int r = c ? dir_conf_parse(url, c, err) : -E_NOMEM;

    if (r == 0 && (r = backend_dir_open(c, make, ret)) < 0)
        buf_printf(err, "%s: %s", url, err_text(r));
    free(c);
    return r;
}

static int open_s3(const char *url, struct backend **ret, struct buf *err)
{
    struct s3_conf *c = calloc(1, sizeof(*c));
    int r = c ? s3_conf_parse(url, c, err) : -E_NOMEM;

    if (r == 0)
        r = s3_open(c, ret, err);
    free(c);
    return r;
}

static int open_rados(const char *url, struct backend **ret, struct buf *err)
{
    struct rados_conf *c = calloc(1, sizeof(*c));
    int r = c ? rados_conf_parse(url, c, err) : -E_NOMEM;

    if (r == 0)
        r = rad_open(c, NULL, ret, err);
    free(c);
    return r;
}

int backend_open(const char *url, bool make, struct backend **ret, struct buf *err)
{
    int r = backend_url_check(url, err);

    if (r < 0)
        return r;
    if (strncmp(url, "dir:", 4) == 0)
        return open_dir(url, make, ret, err);
    return strncmp(url, "s3:", 3) == 0 ? open_s3(url, ret, err) : open_rados(url, ret, err);
}
