/* One operation on one object: sent, waited for with bounds, let go of. */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "tier/rados_i.h"

#define WHOLE_MS 600000 /* a call without a bound of its own */
#define ASK_MS 50       /* how often a waiting call asks whether it was cancelled */
#define NS_PER_MS ((int64_t)1000000)
#define NS_PER_S ((int64_t)1000000000)

struct rad_run rad_run_begin(const struct backend_call *c)
{
    int64_t now = clock_mono_ns(), ms = c && c->timeout_ms > 0 ? c->timeout_ms : WHOLE_MS;

    return (struct rad_run){.call = c, .began_ns = now, .deadline_ns = now + ms * NS_PER_MS};
}

int rad_run_check(const struct rad_run *run)
{
    int r = backend_call_check(run->call, run->began_ns);

    return r == 0 && clock_mono_ns() > run->deadline_ns ? -E_TIMEOUT : r;
}

/* --- building ------------------------------------------------------------------------------------------------------- */

static struct rad_op *op_new(struct rad *s)
{
    struct rad_op *op = calloc(1, sizeof(*op));

    if (!op)
        return NULL;
    op->lib = s->lib;
    op->refs = 1;
    lock_init(&op->lock, RANK_LEAF, 0);
    cond_init(&op->ended);
    return op;
}

static int op_ready(struct rad_op *op, const void *made, struct rad_op **ret)
{
    if (!made) {
        rad_op_unref(op);
        return -E_NOMEM;
    }
    *ret = op;
    return 0;
}

int rad_op_write(struct rad *s, struct rad_op **ret)
{
    struct rad_op *op = op_new(s);

    if (op)
        op->write = s->lib->create_write_op();
    return op_ready(op, op ? op->write : NULL, ret);
}

int rad_op_read(struct rad *s, struct rad_op **ret)
{
    struct rad_op *op = op_new(s);

    if (op)
        op->read = s->lib->create_read_op();
    return op_ready(op, op ? op->read : NULL, ret);
}

void rad_op_look(struct rad_op *op)
{
    op->lib->read_op_getxattrs(op->read, &op->attrs, &op->rc[0]);
    op->lib->read_op_stat(op->read, &op->size, &op->mtime, &op->rc[1]);
}

int rad_op_room(struct rad_op *op, size_t len)
{
    op->bytes = malloc(len ? len : 1);
    op->room = len;
    return op->bytes ? 0 : -E_NOMEM;
}

void rad_op_unref(struct rad_op *op)
{
    bool last;

    if (!op)
        return;
    lock_take(&op->lock);
    last = --op->refs == 0;
    lock_drop(&op->lock);
    if (!last)
        return;
    if (op->attrs)
        op->lib->getxattrs_end(op->attrs);
    if (op->write)
        op->lib->release_write_op(op->write);
    if (op->read)
        op->lib->release_read_op(op->read);
    if (op->completion)
        op->lib->aio_release(op->completion);
    cond_release(&op->ended);
    lock_release(&op->lock);
    free(op->bytes);
    free(op);
}

/* --- sending, waiting ----------------------------------------------------------------------------------------------- */

/* By a thread of librados'. */
static void complete(void *completion, void *arg)
{
    struct rad_op *op = arg;
    int result = op->lib->aio_get_return_value(completion);

    lock_take(&op->lock);
    op->result = result;
    op->done = true;
    cond_wake_all(&op->ended);
    lock_drop(&op->lock);
    rad_op_unref(op);
}

int rad_op_send(struct rad *s, struct rad_op *op, const char *name, int64_t mtime_ns)
{
    time_t mtime = (time_t)(mtime_ns / NS_PER_S);
    int r;

    if (s->lib->aio_create_completion2(op, complete, &op->completion) < 0)
        return -E_NOMEM;
    lock_take(&op->lock);
    op->refs++;
    lock_drop(&op->lock);
    if (op->write) /* full pools: an answer instead of waiting until there is room */
        r = s->lib->aio_write_op_operate(op->write, s->io, op->completion, name, mtime_ns ? &mtime : NULL,
                                         RADOS_FULL_TRY);
    else
        r = s->lib->aio_read_op_operate(op->read, s->io, op->completion, name, 0);
    if (r < 0) { /* it was not begun */
        rad_op_unref(op);
        return rad_fail(s, "begin an operation", r, false);
    }
    return 0;
}

/* 0: it has ended. */
static int wait_end(const struct rad_run *run, struct rad_op *op)
{
    int r = 0;

    lock_take(&op->lock);
    while (r == 0 && !op->done) {
        int64_t left = (run->deadline_ns - clock_mono_ns()) / NS_PER_MS + 1;

        cond_wait_ms(&op->ended, &op->lock, MIN_OF(left, (int64_t)ASK_MS));
        if (op->done)
            break;
        lock_drop(&op->lock);
        r = rad_run_check(run);
        lock_take(&op->lock);
    }
    lock_drop(&op->lock);
    return r;
}

int rad_no_answer(struct rad *s, int code, const char *doing)
{
    cleanup(buf_free) struct buf where = {0};

    rad_where(s, &where);
    return why_say(&s->why, code, "%s: %s: no OSD answers in time (timeout=%ds): look at `ceph status`",
                   where.len && buf_cstr(&where) ? buf_cstr(&where) : "rados", doing,
                   s->conf.timeout_ms / 1000);
}

int rad_op_wait(struct rad *s, const struct rad_run *run, struct rad_op *op, const char *doing)
{
    int r = wait_end(run, op);

    if (r == -E_CANCELED)
        return r;
    if (r < 0 || op->result == -ETIMEDOUT) /* an OSD that stood still goes on with what it has got */
        return rad_no_answer(s, op->write ? -E_UNSURE : -E_TIMEOUT, doing);
    if (op->result >= 0)
        return 0;
    switch (-op->result) {
    case ENOENT:
        if (!rad_pool_is_gone(s))
            return -E_NOENT;
        break;
    case EEXIST: return -E_EXIST;
    case ECANCELED: return -E_STALE;
    }
    return rad_fail(s, doing, op->result, op->write);
}

/* --- looking -------------------------------------------------------------------------------------------------------- */

/* Of ours a text of at most size - 1 bytes; "" where it is none. */
static void attr_take(const char *p, size_t len, char *out, size_t size)
{
    if (len < size && !memchr(p, 0, len))
        snprintf(out, size, "%.*s", (int)len, p);
}

int rad_object_of(struct rad *s, struct rad_op *op, const char *name, struct rad_object *ret)
{
    struct rad_object o = {.size = op->size, .mtime_ns = (int64_t)op->mtime * NS_PER_S};
    char parts[64] = "", *end = NULL;
    const char *key, *p;
    size_t len;

    while (s->lib->getxattrs_next(op->attrs, &key, &p, &len) == 0 && key) {
        if (strcmp(key, RAD_OWNER) == 0)
            attr_take(p, len, o.owner, sizeof(o.owner));
        else if (strcmp(key, RAD_PARTS) == 0)
            attr_take(p, len, parts, sizeof(parts));
        else if (strcmp(key, RAD_HEAD) == 0)
            attr_take(p, len, o.head, sizeof(o.head));
    }
    if (parts[0]) {
        o.size = strtoull(parts, &end, 10);
        o.part = *end == ' ' ? strtoull(end + 1, &end, 10) : 0;
        if (*end || o.part == 0 || strlen(o.owner) != RAD_OWNER_SIZE - 1 || o.size / o.part >= UINT32_MAX)
            return why_say(&s->why, -E_IO, "%s: the object says \"%s\" of its parts, which cannot be", name,
                           parts);
    }
    *ret = o;
    return 0;
}

int rad_look(struct rad *s, const struct rad_run *run, const char *name, struct rad_object *ret)
{
    cleanup(rad_op_done) struct rad_op *op = NULL;
    int r = rad_op_read(s, &op);

    if (r < 0)
        return r;
    rad_op_look(op);
    r = rad_op_send(s, op, name, 0);
    if (r == 0)
        r = rad_op_wait(s, run, op, "look at objects");
    if (r == 0)
        r = rad_object_of(s, op, name, ret);
    return r;
}
