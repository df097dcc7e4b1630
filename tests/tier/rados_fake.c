#include "tests/tier/rados_fake.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/enc.h"
#include "base/hash.h"
#include "tests/lib/test.h"
#include "tier/rados.h"

#define SECOND ((int64_t)1000000000)
#define ATTRS 4
#define NAME_SIZE 256
#define LOCKS 64

struct attr {
    char name[32], value[256];
    size_t len;
};

struct object {
    char name[NAME_SIZE];
    struct buf bytes;
    time_t mtime;
    struct attr attrs[ATTRS];
    size_t nattrs;
    struct object *next;
};

/* A write: what its steps ask for. */
struct write {
    bool create, exclusive, remove, put, compare, lock;
    struct buf bytes;
    struct attr attrs[ATTRS], compared;
    size_t nattrs;
    char cookie[64];
    uint32_t lasts_s;
};

struct late {
    struct write w;
    char name[NAME_SIZE];
    time_t mtime;
    unsigned at; /* operations that are done before; ~0u: when it thaws */
    struct late *next;
};

struct completion {
    void (*fn)(void *completion, void *arg);
    void *arg;
    int result;
    struct completion *next;
};

struct fake {
    pthread_mutex_t lock; /* guards all */
    struct object *objects;
    struct late *late;
    struct completion *silent;
    unsigned ops, fault_at, fault_times, counted;
    enum fake_fault what;
    bool writes_only, hit, gone;
    int error, refuse, full;
    int64_t ahead_ns;
    char max_write[16];
    struct {
        char cookie[64];
        int64_t until_ns;
    } locks[LOCKS];
    unsigned nlocks;
};

/* --- the test's side ------------------------------------------------------------------------------------------------ */

struct fake *fake_new(void)
{
    struct fake *f = calloc(1, sizeof(*f));

    CHECK(f != NULL);
    pthread_mutex_init(&f->lock, NULL);
    snprintf(f->max_write, sizeof(f->max_write), "90");
    return f;
}

static void object_free(struct object *o)
{
    buf_free(&o->bytes);
    free(o);
}

static void write_free(struct write *w)
{
    buf_free(&w->bytes);
}

void fake_free(struct fake *f)
{
    while (f->objects) {
        struct object *o = f->objects;

        f->objects = o->next;
        object_free(o);
    }
    while (f->late) {
        struct late *l = f->late;

        f->late = l->next;
        write_free(&l->w);
        free(l);
    }
    pthread_mutex_destroy(&f->lock);
    free(f);
}

void fake_fault(struct fake *f, unsigned n, unsigned times, enum fake_fault what, bool writes, int error)
{
    f->fault_at = n;
    f->fault_times = times;
    f->counted = 0;
    f->what = what;
    f->writes_only = writes;
    f->error = error;
    f->hit = false;
}

bool fake_hit(const struct fake *f)
{
    return f->hit;
}

void fake_refuse(struct fake *f, int error)
{
    f->refuse = error;
}

void fake_full(struct fake *f, int error)
{
    f->full = error;
}

void fake_pool(struct fake *f, bool there)
{
    f->gone = !there;
}

void fake_clock(struct fake *f, int64_t ahead_ns)
{
    f->ahead_ns = ahead_ns;
}

int64_t fake_now(const struct fake *f)
{
    return clock_wall_ns() + f->ahead_ns;
}

void fake_setting(struct fake *f, const char *max_write)
{
    snprintf(f->max_write, sizeof(f->max_write), "%s", max_write);
}

void fake_older(struct fake *f, int64_t ns)
{
    for (struct object *o = f->objects; o; o = o->next)
        o->mtime -= (time_t)(ns / SECOND);
}

size_t fake_count(const struct fake *f, const char *prefix)
{
    size_t n = 0;

    for (struct object *o = f->objects; o; o = o->next)
        n += strncmp(o->name, prefix, strlen(prefix)) == 0;
    return n;
}

static struct object *find(struct fake *f, const char *name)
{
    struct object *o = f->objects;

    while (o && strcmp(o->name, name) != 0)
        o = o->next;
    return o;
}

static struct object *make(struct fake *f, const char *name)
{
    struct object *o = calloc(1, sizeof(*o));

    CHECK(o != NULL);
    snprintf(o->name, sizeof(o->name), "%s", name);
    o->next = f->objects;
    f->objects = o;
    return o;
}

static void drop(struct object **at)
{
    struct object *o = *at;

    *at = o->next;
    object_free(o);
}

void fake_drop(struct fake *f, const char *prefix)
{
    struct object **at = &f->objects;

    while (*at && strncmp((*at)->name, prefix, strlen(prefix)) != 0)
        at = &(*at)->next;
    CHECK(*at != NULL);
    drop(at);
}

static void drop_named(struct fake *f, const char *name)
{
    struct object **at = &f->objects;

    while (strcmp((*at)->name, name) != 0)
        at = &(*at)->next;
    drop(at);
}

void fake_foreign(struct fake *f, const char *name)
{
    make(f, name)->mtime = (time_t)(clock_wall_ns() / SECOND);
}

/* --- the cluster ---------------------------------------------------------------------------------------------------- */

static void attr_set(struct attr *v, size_t *n, const struct attr *a)
{
    size_t i = 0;

    while (i < *n && strcmp(v[i].name, a->name) != 0)
        i++;
    CHECK(i < ATTRS);
    *n = MAX_OF(*n, i + 1);
    v[i] = *a;
}

static const struct attr *attr_get(const struct object *o, const char *name)
{
    for (size_t i = 0; o && i < o->nattrs; i++)
        if (strcmp(o->attrs[i].name, name) == 0)
            return &o->attrs[i];
    return NULL;
}

static int compare(const struct object *o, const struct attr *want)
{
    const struct attr *a = attr_get(o, want->name);

    return a && a->len == want->len && memcmp(a->value, want->value, a->len) == 0 ? 0 : -ECANCELED;
}

static int lock_take_shared(struct fake *f, const struct write *w)
{
    unsigned i = f->nlocks++ % LOCKS;

    snprintf(f->locks[i].cookie, sizeof(f->locks[i].cookie), "%s", w->cookie);
    f->locks[i].until_ns = fake_now(f) + w->lasts_s * SECOND;
    return 0;
}

static int apply(struct fake *f, const struct write *w, const char *name, time_t mtime)
{
    struct object *o = find(f, name);
    int r;

    if (w->create && w->exclusive && o)
        return -EEXIST;
    if (w->compare && (r = compare(o, &w->compared)) < 0)
        return r;
    if (w->remove && !o)
        return -ENOENT;
    if (w->remove) {
        drop_named(f, name);
        return 0;
    }
    if (!o)
        o = make(f, name);
    o->mtime = mtime;
    if (w->put) {
        buf_reset(&o->bytes);
        CHECK_OK(buf_add(&o->bytes, w->bytes.data, w->bytes.len));
    }
    for (size_t i = 0; i < w->nattrs; i++)
        attr_set(o->attrs, &o->nattrs, &w->attrs[i]);
    return w->lock ? lock_take_shared(f, w) : 0;
}

static void apply_late(struct fake *f, bool thaw)
{
    for (struct late **at = &f->late; *at;) {
        struct late *l = *at;

        if (thaw || l->at < f->ops) {
            *at = l->next;
            (void)apply(f, &l->w, l->name, l->mtime);
            write_free(&l->w);
            free(l);
        } else {
            at = &l->next;
        }
    }
}

void fake_thaw(struct fake *f)
{
    pthread_mutex_lock(&f->lock);
    apply_late(f, true);
    pthread_mutex_unlock(&f->lock);
}

static void keep_late(struct fake *f, struct write *w, const char *name, time_t mtime, bool frozen)
{
    struct late *l = calloc(1, sizeof(*l)), **at = &f->late;

    CHECK(l != NULL);
    l->w = *w;
    memset(w, 0, sizeof(*w));
    snprintf(l->name, sizeof(l->name), "%s", name);
    l->mtime = mtime;
    l->at = frozen ? ~0u : f->ops + 1;
    while (*at)
        at = &(*at)->next;
    *at = l;
}

static bool faulty(struct fake *f, bool write)
{
    f->ops++;
    apply_late(f, false);
    if ((f->writes_only && !write) || f->fault_at == 0)
        return false;
    f->counted++;
    if (f->counted < f->fault_at || f->counted >= f->fault_at + f->fault_times)
        return false;
    f->hit = true;
    return true;
}

/* Of a write under its fault; 1: no answer at all. */
static int write_fault(struct fake *f, struct write *w, const char *name, time_t mtime)
{
    switch (f->what) {
    case FAKE_ERROR: return -f->error;
    case FAKE_DONE: (void)apply(f, w, name, mtime); return -ETIMEDOUT;
    case FAKE_NOT: return -ETIMEDOUT;
    case FAKE_LATE: keep_late(f, w, name, mtime, false); return -ETIMEDOUT;
    case FAKE_FROZEN: keep_late(f, w, name, mtime, true); return -ETIMEDOUT;
    case FAKE_SILENT: return 1;
    }
    return 0;
}

/* Outside of the lock: the callback belongs to the code under test. */
static int answer(struct fake *f, struct completion *c, int result)
{
    if (result == 1) {
        pthread_mutex_lock(&f->lock);
        c->next = f->silent;
        f->silent = c;
        pthread_mutex_unlock(&f->lock);
        return 0;
    }
    c->result = result;
    c->fn(c, c->arg);
    return 0;
}

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
    (void)cluster;
    if (strstr(option, "timeout"))
        CHECK(strtol(value, NULL, 10) >= 1 && !strchr(value, '.'));
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
    write_free(op);
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

    attr_set(w->attrs, &w->nattrs, &a);
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
    return !w->remove && (w->put || !find(f, name));
}

static int f_aio_write_op_operate(void *op, void *io, void *completion, const char *name, time_t *mtime,
                                  int flags)
{
    struct write w = *(struct write *)op;
    struct fake *f = io;
    time_t t = mtime ? *mtime : (time_t)(clock_wall_ns() / SECOND);
    int r;

    memset(op, 0, sizeof(w)); /* consumed */
    pthread_mutex_lock(&f->lock);
    if (faulty(f, true))
        r = write_fault(f, &w, name, t);
    else if (f->gone)
        r = -ENOENT;
    else if (f->full && grows(f, &w, name))
        r = flags & 64 ? -f->full : 1;
    else if (w.bytes.len > (size_t)strtoull(f->max_write, NULL, 10) << 20)
        r = -EMSGSIZE;
    else
        r = apply(f, &w, name, t);
    pthread_mutex_unlock(&f->lock);
    write_free(&w);
    return answer(f, completion, r);
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
    const struct object *o = find(f, name);

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
    pthread_mutex_lock(&f->lock);
    if (!faulty(f, false))
        r = look(f, d, name);
    else
        r = f->what == FAKE_ERROR ? -f->error : f->what == FAKE_SILENT ? 1 : -ETIMEDOUT;
    pthread_mutex_unlock(&f->lock);
    return answer(f, completion, r);
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
    pthread_mutex_lock(&f->lock);
    for (struct object *o = f->objects; o; o = o->next)
        for (unsigned times = 1 + (i++ % 3 == 0); times > 0; times--)
            CHECK_OK(buf_add(&l->names, o->name, strlen(o->name) + 1));
    pthread_mutex_unlock(&f->lock);
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
