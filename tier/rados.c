#include "tier/rados.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "tier/rados_i.h"

#define CONNECT_S 12 /* who started us waits half a minute for all of it */
#define TRY_MS 12000
#define DELETE_TRIES 2

/* --- looking, getting ----------------------------------------------------------------------------------------------- */

static int rad_stat(struct backend *b, const struct backend_call *c, const char *name,
                    struct backend_stat *ret)
{
    struct rad *s = rad_of(b);
    struct rad_run run = rad_run_begin(c);
    struct rad_object o;
    int r = backend_name_check(name);

    if (r == 0)
        r = rad_run_check(&run);
    if (r == 0)
        r = rad_look(s, &run, name, &o);
    if (r < 0)
        return r;
    rad_seen(s, o.mtime_ns);
    *ret = (struct backend_stat){o.size, o.mtime_ns};
    return 0;
}

/* Bytes of one RADOS object, and what it is. */
static int read_one(struct rad *s, const struct rad_run *run, const char *name, uint64_t off, size_t len,
                    struct rad_object *o, struct buf *ret)
{
    cleanup(rad_op_done) struct rad_op *op = NULL;
    int r = rad_op_read(s, &op);

    if (r < 0 || (r = rad_op_room(op, len)) < 0)
        return r;
    rad_op_look(op);
    if (len)
        s->lib->read_op_read(op->read, off, len, op->bytes, &op->got, &op->rc[2]);
    r = rad_op_send(s, op, name, 0);
    if (r == 0)
        r = rad_op_wait(s, run, op, "get objects");
    if (r == 0)
        r = rad_object_of(s, op, name, o);
    if (r == 0)
        r = buf_add(ret, op->bytes, MIN_OF(op->got, len));
    return r;
}

/* -E_NOENT: a part is not there; it has other bytes or none of a length that could be: -E_IO. */
static int read_parts(struct rad *s, const struct rad_run *run, const struct rad_object *o, uint64_t off,
                      size_t len, struct buf *ret)
{
    uint64_t end = off < o->size ? off + MIN_OF((uint64_t)len, o->size - off) : off;
    int r = 0;

    while (r == 0 && off < end) {
        uint32_t i = (uint32_t)(off / o->part);
        uint64_t begin = off % o->part, n = MIN_OF(end - off, o->part - begin);
        size_t was = ret->len;
        char name[RAD_NAME_SIZE];
        struct rad_object part;

        rad_part_name(o->owner, i, name);
        r = read_one(s, run, name, begin, (size_t)n, &part, ret);
        if (r == 0 && ret->len - was != n)
            r = why_say(&s->why, -E_IO, "%s: a part of an object is too short", name);
        if (r == 0)
            r = backend_pace(&s->down, (size_t)n, run->call, run->began_ns);
        off += n;
    }
    return r;
}

static int get_once(struct rad *s, const struct rad_run *run, const char *name, uint64_t off, size_t len,
                    struct rad_object *o, struct buf *ret)
{
    int r = read_one(s, run, name, off, len, o, ret);

    if (r == 0)
        r = o->part ? read_parts(s, run, o, off, len, ret)
                    : backend_pace(&s->down, len, run->call, run->began_ns);
    return r;
}

static int rad_get(struct backend *b, const struct backend_call *c, const char *name, uint64_t off,
                   size_t len, struct buf *ret)
{
    struct rad *s = rad_of(b);
    struct rad_run run = rad_run_begin(c);
    struct rad_object o = {.size = 0}, again;
    size_t was = ret->len;
    int r = backend_name_check(name);

    if (r == 0)
        r = rad_run_check(&run);
    if (r == 0)
        r = get_once(s, &run, name, off, len, &o, ret);
    if (r == -E_NOENT && o.part) { /* a part: deleted with its head just now, or lost */
        r = rad_look(s, &run, name, &again);
        if (r == 0)
            r = why_say(&s->why, -E_IO, "%s: parts of the object are missing in the pool", name);
    }
    if (r < 0)
        ret->len = was;
    return r;
}

/* --- deleting ------------------------------------------------------------------------------------------------------- */

/* Only what was looked at: an operation that was given up may still be carried out when another has put an object of this name. */
static int delete_once(struct rad *s, const struct rad_run *run, const char *name, const struct rad_object *o)
{
    cleanup(rad_op_done) struct rad_op *op = NULL;
    int r = rad_op_write(s, &op);

    if (r < 0)
        return r;
    if (o->owner[0] && !BROKEN(VARVE_BREAK_rados_guard))
        s->lib->write_op_cmpxattr(op->write, RAD_OWNER, RADOS_CMPXATTR_EQ, o->owner, strlen(o->owner));
    s->lib->write_op_remove(op->write);
    r = rad_op_send(s, op, name, 0);
    return r < 0 ? r : rad_op_wait(s, run, op, "delete objects");
}

/* Is that object still there? 1: yes. */
static int is_still(struct rad *s, const struct rad_run *run, const char *name, const struct rad_object *o)
{
    struct rad_object now;
    int r = rad_look(s, run, name, &now);

    if (r == -E_NOENT || (r == 0 && strcmp(now.owner, o->owner) != 0))
        return 0;
    return r == 0 ? 1 : r;
}

static int rad_del(struct backend *b, const struct backend_call *c, const char *name)
{
    struct rad *s = rad_of(b);
    struct rad_run run = rad_run_begin(c);
    struct rad_object o;
    bool unsure = false;
    int r = backend_name_check(name), still = 1;

    if (r == 0)
        r = rad_run_check(&run);
    if (r == 0)
        r = rad_look(s, &run, name, &o);
    if (r < 0)
        return r;
    for (unsigned i = 0; still == 1 && i < DELETE_TRIES; i++) {
        r = delete_once(s, &run, name, &o);
        unsure |= r == -E_UNSURE;
        still = r == -E_UNSURE ? is_still(s, &run, name, &o) : 0;
    }
    if (unsure && still == 0 && (r == -E_UNSURE || r == -E_NOENT || r == -E_STALE))
        r = 0;
    if (r == -E_STALE) /* gone, and another put since then */
        r = -E_NOENT;
    if (r == 0)
        rad_parts_delete(s, o.owner, rad_parts(&o));
    return unsure && r < 0 && r != -E_CANCELED ? why_recode(&s->why, -E_UNSURE) : r;
}

/* --- the time ------------------------------------------------------------------------------------------------------- */

static int rad_now(struct backend *b, const struct backend_call *c, int64_t *ret_ns)
{
    struct rad *s = rad_of(b);
    struct rad_run run = rad_run_begin(c);
    int64_t now;
    int r = rad_run_check(&run);

    if (r == 0)
        r = rad_clock(s, &run, true, &now);
    if (r < 0)
        return r;
    lock_take(&s->lock);
    *ret_ns = MAX_OF(now, s->seen_ns);
    lock_drop(&s->lock);
    return 0;
}

/* --- opening, closing ----------------------------------------------------------------------------------------------- */

static void rad_why(struct backend *b, int code, struct buf *ret)
{
    why_tell(&rad_of(b)->why, code, ret);
}

static void rad_close(struct backend *b)
{
    struct rad *s = rad_of(b);

    if (s->io)
        s->lib->ioctx_destroy(s->io);
    if (s->cluster)
        s->lib->shutdown(s->cluster);
    rate_release(&s->up);
    rate_release(&s->down);
    lock_release(&s->lock);
    why_release(&s->why);
    free(s);
}

static int option(struct rad *s, const char *name, const char *value)
{
    return s->lib->conf_set(s->cluster, name, value) < 0 ? -E_USAGE : 0;
}

static int seconds(struct rad *s, const char *name, int n)
{
    char text[16];

    snprintf(text, sizeof(text), "%d", n);
    return option(s, name, text);
}

/* Where no file is named and monitors are, none is looked for: it would be another cluster's. */
static int configure_file(struct rad *s, struct buf *err)
{
    const char *file = s->conf.conf[0] ? s->conf.conf : NULL;

    if (!file && s->conf.monitors[0])
        return 0;
    if (file && access(file, R_OK) < 0) {
        buf_printf(err, "rados: %s: %s: check conf=", file, err_text(err_from_errno(errno)));
        return -E_USAGE;
    }
    if (s->lib->conf_read_file(s->cluster, file) < 0) {
        buf_printf(err,
                   file ? "rados: %s is no ceph.conf"
                        : "rados: no ceph.conf%s: give conf=FILE or monitors=HOST",
                   file ? file : "");
        return -E_USAGE;
    }
    return 0;
}

/* An operation that the cluster does not answer ends by itself: librados' own default is to wait for ever. */
static int configure(struct rad *s, struct buf *err)
{
    int r = configure_file(s, err);

    if (r < 0)
        return r;
    if (s->conf.keyring[0] && access(s->conf.keyring, R_OK) < 0) {
        buf_printf(err, "rados: %s: %s: check keyring=", s->conf.keyring, err_text(err_from_errno(errno)));
        return -E_ACCES;
    }
    r = seconds(s, "rados_osd_op_timeout", s->conf.timeout_ms / 1000);
    if (r == 0)
        r = seconds(s, "rados_mon_op_timeout", s->conf.timeout_ms / 1000);
    if (r == 0)
        r = seconds(s, "client_mount_timeout", MIN_OF(s->conf.timeout_ms / 1000, CONNECT_S));
    if (r == 0 && s->conf.monitors[0])
        r = option(s, "mon_host", s->conf.monitors);
    if (r == 0 && s->conf.keyring[0])
        r = option(s, "keyring", s->conf.keyring);
    if (r < 0)
        buf_printf(err, "rados: librados refuses an option of the URL");
    (void)option(s, "log_to_stderr", "false"); /* what is wrong is said by us */
    (void)option(s, "err_to_stderr", "false");
    (void)option(s, "admin_socket", "");
    return r;
}

static uint64_t setting(struct rad *s, const char *name)
{
    char text[64];

    return s->lib->conf_get(s->cluster, name, text, sizeof(text)) < 0 ? 0 : strtoull(text, NULL, 10);
}

/* As far as the configuration of this side knows what the OSDs take. */
static void bounds(struct rad *s)
{
    uint64_t once = setting(s, "osd_max_write_size") << 20, whole = setting(s, "osd_max_object_size");

    s->part = s->conf.part;
    if (once)
        s->part = MIN_OF(s->part, once);
    if (whole)
        s->part = MIN_OF(s->part, whole);
}

static int pool_open(struct rad *s, struct buf *err)
{
    int r = s->lib->ioctx_create(s->cluster, s->conf.pool, &s->io);

    if (r == -ENOENT) {
        buf_printf(err, "rados: there is no pool %s: make it, or check its name", s->conf.pool);
        return -E_IO;
    }
    if (r < 0)
        return rad_connect_fail(s, r, err);
    s->lib->ioctx_set_namespace(s->io, s->conf.name_space);
    s->pool_id = s->lib->ioctx_get_id(s->io);
    return 0;
}

/* One object that need not be there: shows that pool, key and OSDs are right before any work is begun. */
static int try_out(struct rad *s, struct buf *err)
{
    const struct backend_call c = {.timeout_ms = TRY_MS};
    struct rad_run run = rad_run_begin(&c);
    struct rad_object o;
    int r = rad_look(s, &run, "root/00000001", &o);

    if (r == 0 || r == -E_NOENT)
        return 0;
    rad_why(&s->b, r, err);
    if (err->len == 0)
        buf_printf(err, "rados: %s", err_text(r));
    return r;
}

static int connect_all(struct rad *s, struct buf *err)
{
    int r;

    if (s->lib->create2(&s->cluster, "ceph", s->user, 0) < 0)
        return -E_NOMEM;
    if ((r = configure(s, err)) < 0)
        return r;
    r = s->lib->connect(s->cluster);
    if (r < 0)
        return rad_connect_fail(s, r, err);
    bounds(s);
    r = pool_open(s, err);
    return r < 0 ? r : try_out(s, err);
}

int rad_open(const struct rados_conf *conf, const struct rados_lib *lib, struct backend **ret,
             struct buf *err)
{
    static const struct backend_ops ops = {.put = rad_put,
                                           .get = rad_get,
                                           .stat = rad_stat,
                                           .list = rad_list,
                                           .del = rad_del,
                                           .now = rad_now,
                                           .why = rad_why,
                                           .close = rad_close};
    struct rad *s;
    int r = lib ? 0 : rados_lib_load(RADOS_LIB_NAME, &lib, err);

    if (r < 0)
        return r;
    if (!(s = calloc(1, sizeof(*s))))
        return -E_NOMEM;
    s->b.ops = &ops;
    s->lib = lib;
    s->conf = *conf;
    snprintf(s->user, sizeof(s->user), "client.%s", conf->id[0] ? conf->id : "admin");
    why_init(&s->why);
    lock_init(&s->lock, RANK_LEAF, 0);
    rate_init(&s->up, conf->bandwidth);
    rate_init(&s->down, conf->bandwidth);
    r = connect_all(s, err);
    if (r < 0) {
        rad_close(&s->b);
        return r;
    }
    *ret = &s->b;
    return 0;
}
