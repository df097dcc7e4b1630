/* What stands in for librados: its calls, which the cluster of rados_fake.c carries out. */
#include "base/enc.h"
#include "tests/tier/rados_fake_i.h"
#include "tier/rados.h"

/* --- handles -------------------------------------------------------------------------------------------------------- */

static struct fake *next_cluster; /* rados_create2 has no way to say which */

static int f_create2(void **ret, const char *cluster, const char *name, uint64_t flags)
{
    CHECK(strcmp(cluster, "ceph") == 0 && strncmp(name, "client.", 7) == 0 && flags == 0);
    *ret = next_cluster;
    return 0;
}

static int f_conf_read_file(void *cluster, const char *path)
{
    (void)cluster;
    return path ? 0 : -ENOENT;
}

static int f_conf_set(void *cluster, const char *option, const char *value)
{
    struct fake *f = cluster;

    if (strstr(option, "timeout"))
        CHECK(strtol(value, NULL, 10) >= 1 && !strchr(value, '.'));
    if (strcmp(option, "keyring") == 0 && f->keyring)
        f->refuse = f->keyring(value);
    return 0;
}

static int f_conf_get(void *cluster, const char *option, char *text, size_t size)
{
    const struct fake *f = cluster;

    if (strcmp(option, "osd_max_write_size") == 0)
        snprintf(text, size, "%s", f->max_write);
    else
        snprintf(text, size, "134217728");
    return 0;
}

static int f_connect(void *cluster)
{
    return -((struct fake *)cluster)->refuse;
}

static void f_shutdown(void *cluster)
{
    struct fake *f = cluster;

    while (f->silent) {
        struct completion *c = f->silent;

        f->silent = c->next;
        c->result = -ETIMEDOUT;
        c->fn(c, c->arg);
    }
}

static int f_ioctx_create(void *cluster, const char *pool, void **ret)
{
    if (strcmp(pool, "pool") != 0)
        return -ENOENT;
    *ret = cluster;
    return 0;
}

static void f_ioctx_destroy(void *io)
{
    (void)io;
}

static void f_ioctx_set_namespace(void *io, const char *name)
{
    (void)io;
    CHECK(strcmp(name, "space") == 0);
}

static int64_t f_ioctx_get_id(void *io)
{
    (void)io;
    return 7;
}

static int f_pool_reverse_lookup(void *cluster, int64_t id, char *name, size_t size)
{
    CHECK_EQ(id, 7);
    if (((struct fake *)cluster)->gone)
        return -ENOENT;
    return snprintf(name, size, "pool");
}

static int f_aio_create_completion2(void *arg, void (*complete)(void *completion, void *arg), void **ret)
{
    struct completion *c = calloc(1, sizeof(*c));

    CHECK(c != NULL);
    c->fn = complete;
    c->arg = arg;
    *ret = c;
    return 0;
}

static int f_aio_get_return_value(void *completion)
{
    return ((struct completion *)completion)->result;
}

static void f_aio_release(void *completion)
{
    free(completion);
}

/* --- writing -------------------------------------------------------------------------------------------------------- */

static void *f_create_write_op(void)
{
    return calloc(1, sizeof(struct write));
}

static void f_release_write_op(void *op)
{
    fake_write_free(op);
    free(op);
}

static void f_write_op_create(void *op, int exclusive, const char *unused)
{
    struct write *w = op;

    CHECK(unused == NULL);
    w->create = true;
    w->exclusive = exclusive == 1;
}

static void f_write_op_write_full(void *op, const char *p, size_t len)
{
    struct write *w = op;

    w->put = true;
    CHECK_OK(buf_add(&w->bytes, p, len));
}

static struct attr attr_of(const char *name, const char *p, size_t len)
{
    struct attr a = {.len = len};

    CHECK(len < sizeof(a.value) && strlen(name) < sizeof(a.name));
    snprintf(a.name, sizeof(a.name), "%s", name);
    memcpy(a.value, p, len);
    return a;
}

static void f_write_op_setxattr(void *op, const char *name, const char *p, size_t len)
{
    struct write *w = op;
    struct attr a = attr_of(name, p, len);

    fake_attr_set(w->attrs, &w->nattrs, &a);
}

static void f_write_op_cmpxattr(void *op, const char *name, uint8_t how, const char *p, size_t len)
{
    struct write *w = op;

    CHECK_EQ(how, 1);
    w->compare = true;
    w->compared = attr_of(name, p, len);
}

static void f_write_op_remove(void *op)
{
    ((struct write *)op)->remove = true;
}

static void text_of(struct dec *d, char *out, size_t size)
{
    uint32_t len = dec_u32(d);

    CHECK(len < size);
    dec_copy(d, out, len);
    out[len] = 0;
}

static void f_write_op_exec(void *op, const char *cls, const char *method, const char *p, size_t len,
                            int *result)
{
    struct dec d = dec_of(p, len);
    struct write *w = op;
    char text[64];

    CHECK(strcmp(cls, "lock") == 0 && strcmp(method, "lock") == 0 && result != NULL);
    CHECK_EQ(dec_u16(&d), 0x101);
    CHECK_EQ(dec_u32(&d), len - 6);
    text_of(&d, text, sizeof(text));
    CHECK_EQ(dec_u8(&d), 2);
    text_of(&d, w->cookie, sizeof(w->cookie));
    text_of(&d, text, sizeof(text));
    text_of(&d, text, sizeof(text));
    w->lasts_s = dec_u32(&d);
    CHECK_EQ(dec_u32(&d), 0);
    CHECK_EQ(dec_u8(&d), 0);
    CHECK(!d.bad && d.left == 0 && w->lasts_s > 0);
    w->lock = true;
}

static bool grows(struct fake *f, const struct write *w, const char *name)
{
    return !w->remove && (w->put || !fake_find(f, name));
}

static int f_aio_write_op_operate(void *op, void *io, void *completion, const char *name, time_t *mtime,
                                  int flags)
{
    struct write w = *(struct write *)op;
    struct fake *f = io;
    time_t t = mtime ? *mtime : (time_t)(clock_wall_ns() / SECOND);
    int r;

    memset(op, 0, sizeof(w)); /* consumed */
    fake_enter(f);
    if (fake_faulty(f, true))
        r = fake_write_fault(f, &w, name, t);
    else if (f->gone)
        r = -ENOENT;
    else if (f->full && grows(f, &w, name))
        r = flags & 64 ? -f->full : 1;
    else if (w.bytes.len > (size_t)strtoull(f->max_write, NULL, 10) << 20)
        r = -EMSGSIZE;
    else
        r = fake_apply(f, &w, name, t);
    fake_leave(f, true);
    fake_write_free(&w);
    return fake_answer(f, completion, r);
}

/* --- reading -------------------------------------------------------------------------------------------------------- */

struct iterator {
    struct attr attrs[ATTRS];
    size_t n, at;
};

struct read {
    struct iterator *attrs;
    uint64_t *size, off;
    time_t *mtime;
    size_t len, *got;
    char *p;
    bool info;
};

static void *f_create_read_op(void)
{
    return calloc(1, sizeof(struct read));
}

static void f_release_read_op(void *op)
{
    free(op);
}

static void f_read_op_stat(void *op, uint64_t *size, time_t *mtime, int *result)
{
    struct read *d = op;

    CHECK(result != NULL);
    d->size = size;
    d->mtime = mtime;
}

static void f_read_op_getxattrs(void *op, void **iterator, int *result)
{
    struct read *d = op;

    CHECK(result != NULL);
    d->attrs = calloc(1, sizeof(*d->attrs));
    CHECK(d->attrs != NULL);
    *iterator = d->attrs;
}

static void f_read_op_read(void *op, uint64_t off, size_t len, char *p, size_t *got, int *result)
{
    struct read *d = op;

    CHECK(result != NULL && len > 0);
    d->off = off;
    d->len = len;
    d->p = p;
    d->got = got;
}

static void f_read_op_exec_user_buf(void *op, const char *cls, const char *method, const char *p, size_t len,
                                    char *out, size_t size, size_t *got, int *result)
{
    struct read *d = op;

    (void)p;
    CHECK(strcmp(cls, "lock") == 0 && strcmp(method, "get_info") == 0 && len > 10 && result != NULL);
    d->info = true;
    d->p = out;
    d->len = size;
    d->got = got;
}

static void structure(struct buf *out, const struct buf *in)
{
    uint8_t head[6] = {1, 1};

    put_le32(head + 2, (uint32_t)in->len);
    CHECK_OK(buf_add(out, head, sizeof(head)));
    CHECK_OK(buf_add(out, in->data, in->len));
}

static void add_u32(struct buf *out, uint32_t v)
{
    uint8_t b[4];

    put_le32(b, v);
    CHECK_OK(buf_add(out, b, sizeof(b)));
}

static void info_one(struct buf *out, const char *cookie, int64_t until_ns)
{
    cleanup(buf_free) struct buf id = {0}, info = {0};

    CHECK_OK(buf_add(&id, "\x08\x01\x02\x03\x04\x05\x06\x07\x08", 9));
    add_u32(&id, (uint32_t)strlen(cookie));
    CHECK_OK(buf_puts(&id, cookie));
    add_u32(&info, (uint32_t)(until_ns / SECOND));
    add_u32(&info, (uint32_t)(until_ns % SECOND));
    CHECK_OK(buf_add_zero(&info, 40)); /* an address, a description */
    structure(out, &id);
    structure(out, &info);
}

static int info(struct fake *f, const struct read *d)
{
    cleanup(buf_free) struct buf all = {0}, out = {0};
    unsigned n = MIN_OF(f->nlocks, (unsigned)LOCKS);

    add_u32(&all, n);
    for (unsigned i = 0; i < n; i++)
        info_one(&all, f->locks[i].cookie, f->locks[i].until_ns);
    structure(&out, &all);
    CHECK(out.len <= d->len);
    memcpy(d->p, out.data, out.len);
    *d->got = out.len;
    return 0;
}

static int look(struct fake *f, const struct read *d, const char *name)
{
    const struct object *o = fake_find(f, name);

    if (!o || f->gone)
        return -ENOENT;
    if (d->info)
        return info(f, d);
    if (d->attrs) {
        memcpy(d->attrs->attrs, o->attrs, sizeof(o->attrs));
        d->attrs->n = o->nattrs;
    }
    if (d->size) {
        *d->size = o->bytes.len;
        *d->mtime = o->mtime;
    }
    if (d->p) {
        *d->got = d->off < o->bytes.len ? MIN_OF(d->len, o->bytes.len - (size_t)d->off) : 0;
        if (*d->got)
            memcpy(d->p, o->bytes.data + d->off, *d->got);
    }
    return 0;
}

static int f_aio_read_op_operate(void *op, void *io, void *completion, const char *name, int flags)
{
    struct read *d = op;
    struct fake *f = io;
    int r;

    CHECK_EQ(flags, 0);
    fake_enter(f);
    if (!fake_faulty(f, false))
        r = look(f, d, name);
    else
        r = f->what == FAKE_ERROR ? -f->error : f->what == FAKE_SILENT ? 1 : -ETIMEDOUT;
    fake_leave(f, false);
    return fake_answer(f, completion, r);
}

static int f_getxattrs_next(void *iterator, const char **name, const char **p, size_t *len)
{
    struct iterator *it = iterator;

    *name = NULL;
    *p = NULL;
    *len = 0;
    if (it->at < it->n) {
        *name = it->attrs[it->at].name;
        *p = it->attrs[it->at].value;
        *len = it->attrs[it->at++].len;
    }
    return 0;
}

static void f_getxattrs_end(void *iterator)
{
    free(iterator);
}

/* --- listing -------------------------------------------------------------------------------------------------------- */

struct list {
    struct fake *f;
    struct buf names;
    size_t at;
};

static int f_nobjects_list_open(void *io, void **ret)
{
    struct list *l = calloc(1, sizeof(*l));
    struct fake *f = io;
    unsigned i = 0;

    CHECK(l != NULL);
    l->f = f;
    fake_enter(f);
    for (struct object *o = f->objects; o; o = o->next)
        for (unsigned times = 1 + (i++ % 3 == 0); times > 0; times--)
            CHECK_OK(buf_add(&l->names, o->name, strlen(o->name) + 1));
    fake_leave(f, false);
    *ret = l;
    return 0;
}

static int f_nobjects_list_next(void *list, const char **name, const char **key, const char **space)
{
    struct list *l = list;

    *key = NULL;
    *space = "space";
    if (l->at >= l->names.len || l->f->gone)
        return -ENOENT;
    *name = (const char *)l->names.data + l->at;
    l->at += strlen(*name) + 1;
    return 0;
}

static void f_nobjects_list_close(void *list)
{
    struct list *l = list;

    buf_free(&l->names);
    free(l);
}

/* --- opening -------------------------------------------------------------------------------------------------------- */

static const struct rados_lib fake_lib = {
#define RADOS_FN(result_, name_, arguments_) .name_ = f_##name_,
#include "tier/rados_lib.def"
#undef RADOS_FN
};

int fake_try_open(struct fake *f, const char *options, struct backend **ret, struct buf *err)
{
    struct rados_conf c;
    char url[600];
    int r;

    snprintf(url, sizeof(url), "rados://pool/space?monitors=fake:1%s%s", *options ? "&" : "", options);
    r = rados_conf_parse(url, &c, err);
    next_cluster = f;
    return r < 0 ? r : rad_open(&c, &fake_lib, ret, err);
}

struct backend *fake_open(struct fake *f, const char *options, unsigned names)
{
    cleanup(buf_free) struct buf err = {0};
    struct backend *b = NULL;
    struct rados_conf c;
    char url[600];

    snprintf(url, sizeof(url), "rados://pool/space?monitors=fake:1%s%s", *options ? "&" : "", options);
    CHECK_OK(rados_conf_parse(url, &c, &err));
    c.names = names;
    next_cluster = f;
    if (rad_open(&c, &fake_lib, &b, &err) < 0)
        test_fail(__FILE__, __LINE__, "%s", buf_cstr(&err));
    return b;
}
