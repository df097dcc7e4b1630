#include "tier/attach.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"
#include "base/fd.h"
#include "base/io.h"

/* --- gathering ------------------------------------------------------------------------------------------------------ */

void attachments_free(struct attachments *l)
{
    for (size_t i = 0; i < l->n; i++)
        buf_free(&l->v[i].bytes);
    free(l->v);
    *l = (struct attachments){0};
}

int attach_name_check(const char *name)
{
    size_t n = strlen(name);

    if (n == 0 || n > POINT_NAME_MAX || strchr(name, '/') || strcmp(name, ".") == 0 ||
        strcmp(name, "..") == 0)
        return -E_NAME;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return -E_NAME;
    return 0;
}

/* At most one byte more than is allowed, so that it is noticed. */
static int read_file(const char *path, struct buf *ret)
{
    cleanup(fd_close) int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    int r;

    if (fd < 0 || fstat(fd, &st) < 0)
        return err_from_errno(errno);
    if (!S_ISREG(st.st_mode))
        return -E_INVAL;
    if ((r = buf_reserve(ret, ATTACH_BYTES + 1)) < 0)
        return r;
    while (ret->len <= ATTACH_BYTES) {
        ssize_t n = read(fd, ret->data + ret->len, ATTACH_BYTES + 1 - ret->len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? err_from_errno(errno) : 0;
        ret->len += (size_t)n;
    }
    return -E_TOOBIG;
}

int attach_read(struct attachments *l, const char *name, const char *path)
{
    struct attachment *v = NULL;
    size_t all = 0;
    int r = attach_name_check(name);

    for (size_t i = 0; r == 0 && i < l->n; i++) {
        all += l->v[i].bytes.len;
        if (strcmp(l->v[i].name, name) == 0)
            r = -E_EXIST;
    }
    if (r == 0 && l->n == ATTACH_MAX)
        r = -E_TOOBIG;
    if (r == 0 && !(v = array_more(l->v, l->n, sizeof(*v))))
        r = -E_NOMEM;
    if (r < 0)
        return r;
    l->v = v;
    v[l->n] = (struct attachment){.name = ""};
    snprintf(v[l->n].name, sizeof(v[l->n].name), "%s", name);
    r = read_file(path, &v[l->n].bytes);
    all += v[l->n].bytes.len;
    l->n++;
    return r == 0 && all > ATTACH_BYTES_ALL ? -E_TOOBIG : r;
}

/* --- in the tree ---------------------------------------------------------------------------------------------------- */

static struct tree_key key_of(const char *name)
{
    struct tree_key k = tree_key(POINT_INO_ATTACH, REC_XATTR);

    tree_key_add(&k, name, strlen(name));
    return k;
}

static int put_one(struct packer *p, struct edits *e, const struct attachment *a)
{
    struct tree_key k = key_of(a->name);
    uint8_t v[1 + XATTR_INLINE] = {0};
    struct enc c = {v + 1};
    struct slice s;
    int r;

    if (a->bytes.len <= XATTR_INLINE) {
        if (a->bytes.len)
            memcpy(v + 1, a->bytes.data, a->bytes.len);
        return edits_put(e, &k, v, 1 + a->bytes.len);
    }
    v[0] = 1;
    r = packer_blob(p, CHUNK_META, a->bytes.data, a->bytes.len, &s);
    slice_encode(&c, &s);
    return r < 0 ? r : edits_put(e, &k, v, 1 + SLICE_SIZE);
}

int attach_put(struct packer *p, struct edits *e, const struct attachments *l)
{
    struct tree_key all = tree_key_ino(POINT_INO_ATTACH);
    int r = BROKEN(VARVE_BREAK_attach_stale) ? 0 : edits_remove(e, &all);

    for (size_t i = 0; r == 0 && i < l->n; i++)
        r = put_one(p, e, &l->v[i]);
    return r;
}

struct telling {
    int (*cb)(void *arg, const char *name, uint64_t len);
    void *arg;
};

static int tell(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    char name[POINT_NAME_MAX + 1] = "";
    struct telling *t = arg;
    struct dec d;

    if (klen - 9 >= sizeof(name) || vlen < 1 || val[0] > 1 || (val[0] == 1 && vlen != 1 + SLICE_SIZE))
        return -E_CORRUPT;
    memcpy(name, key + 9, klen - 9);
    if (attach_name_check(name) < 0)
        return -E_CORRUPT;
    d = dec_of(val + 1, vlen - 1);
    return t->cb(t->arg, name, val[0] == 1 ? slice_decode(&d).len : vlen - 1);
}

int attach_each(struct repo *r, const struct tree *t, int (*cb)(void *arg, const char *name, uint64_t len),
                void *arg)
{
    struct tree_key k = tree_key(POINT_INO_ATTACH, REC_XATTR);
    struct telling g = {cb, arg};

    return tree_scan(r, t, &k, NULL, tell, &g);
}

int attach_get(struct repo *r, const struct tree *t, const char *name, struct buf *ret)
{
    cleanup(buf_free) struct buf val = {0};
    struct tree_key k = key_of(name);
    struct slice s;
    struct dec d;
    int x = tree_get(r, t, &k, &val);

    if (x < 0)
        return x;
    if (val.len < 1 || val.data[0] > 1 || (val.data[0] == 1 && val.len != 1 + SLICE_SIZE))
        return -E_CORRUPT;
    if (val.data[0] == 0)
        return buf_add(ret, val.data + 1, val.len - 1);
    d = dec_of(val.data + 1, SLICE_SIZE);
    s = slice_decode(&d);
    x = repo_slice(r, &s, true, ret);
    return x == -E_NOENT || x == -E_KEY ? -E_CORRUPT : x;
}

/* --- as files ------------------------------------------------------------------------------------------------------- */

static int take_name(void *arg, const char *name, uint64_t len)
{
    (void)len;
    return buf_add(arg, name, strlen(name) + 1);
}

static int write_file(int dir, const char *name, const struct buf *b)
{
    cleanup(fd_close) int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0)
        return err_from_errno(errno);
    if (io_pwrite(io_real(), fd, b->data, b->len, 0) == 0 && fsync(fd) == 0)
        return 0;
    unlinkat(dir, name, 0);
    return -E_IO;
}

static int restore_each(struct repo *r, const struct tree *t, int dir, struct buf *names, uint64_t *ret_n,
                        const char **ret_name)
{
    int x = 0;

    for (size_t at = 0; x == 0 && at < names->len;) {
        const char *name = (const char *)names->data + at;
        cleanup(buf_free) struct buf b = {0};

        *ret_name = name;
        x = attach_get(r, t, name, &b);
        if (x == 0)
            x = write_file(dir, name, &b);
        *ret_n += x == 0;
        at += strlen(name) + 1;
    }
    return x;
}

int attach_restore(struct repo *r, const struct point *p, const char *dir, uint64_t *ret_n, struct buf *err)
{
    cleanup(buf_free) struct buf names = {0};
    const char *name = "";
    int x = repo_sync(r);

    *ret_n = 0;
    if (x == 0)
        x = attach_each(r, &p->tree, take_name, &names);
    if (x == 0 && mkdir(dir, 0700) < 0 && errno != EEXIST)
        x = err_from_errno(errno);
    cleanup(fd_close) int fd = x == 0 ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (x == 0 && fd < 0)
        x = err_from_errno(errno);
    if (x == 0)
        x = restore_each(r, &p->tree, fd, &names, ret_n, &name);
    if (x == -E_CORRUPT)
        buf_printf(err, "attachment %s is damaged in the repository", name);
    else if (x < 0)
        buf_printf(err, "%s%s%s: %s", dir, *name ? "/" : "", name, backend_text(x));
    return x;
}
