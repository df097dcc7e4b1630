/* Putting once, and finding out whether that was done where no answer came. */
#include <stdlib.h>

#include "base/hash.h"
#include "base/mark.h"
#include "tier/crypt.h"
#include "tier/rados_i.h"

#define TRIES                                                                                                \
    2 /* librados itself sends again for as long as its time-out; this is once more with another operation */

int rad_put_send(struct rad *s, const struct rad_put *put, struct rad_op **ret)
{
    struct rad_op *op = NULL;
    int r = rad_op_write(s, &op);

    if (r < 0)
        return r;
    s->lib->write_op_create(op->write, BROKEN(VARVE_BREAK_rados_exclusive) ? 0 : RADOS_CREATE_EXCLUSIVE,
                            NULL);
    s->lib->write_op_write_full(op->write, put->len ? put->p : "", put->len);
    s->lib->write_op_setxattr(op->write, RAD_OWNER, put->owner, strlen(put->owner));
    if (put->attr)
        s->lib->write_op_setxattr(op->write, put->attr, put->value, strlen(put->value));
    r = rad_op_send(s, op, put->name, put->mtime_ns);
    if (r < 0) {
        rad_op_unref(op);
        return r;
    }
    *ret = op;
    return 0;
}

/* After "exists" and after no answer: 1: put on; 0: it is there, ours; else what it came to. */
static int settle(struct rad *s, const struct rad_run *run, const struct rad_put *put, int was)
{
    struct rad_object o;
    int r;

    if (was == -E_UNSURE && BROKEN(VARVE_BREAK_rados_unsure))
        return 0;
    r = rad_look(s, run, put->name, &o);
    if (r == -E_NOENT)
        return 1;
    if (r < 0)
        return r == -E_CANCELED || r == -E_NOMEM || was == -E_EXIST ? r : -E_UNSURE;
    if (strcmp(o.owner, put->owner) != 0)
        return -E_EXIST;
    MARK("rados: an answer was lost, the object is there");
    return 0;
}

int rad_put_named(struct rad *s, const struct rad_run *run, const struct rad_put *put)
{
    bool unsure = false;
    int r = 0;

    for (unsigned i = 0; i < TRIES; i++) {
        cleanup(rad_op_done) struct rad_op *op = NULL;

        r = rad_put_send(s, put, &op);
        if (r == 0)
            r = rad_op_wait(s, run, op, "put objects");
        unsure |= r == -E_UNSURE;
        if (r == -E_EXIST || r == -E_UNSURE) {
            int t = settle(s, run, put, r);

            if (t == 1)
                continue;
            r = t;
        }
        break;
    }
    if (r == 0 || r == -E_CANCELED || !unsure)
        return r;
    return r == -E_EXIST ? r : why_recode(&s->why, -E_UNSURE);
}

static int put_whole(struct rad *s, const struct rad_run *run, const char *name, const void *p, size_t len)
{
    char owner[RAD_OWNER_SIZE];
    struct rad_put put = {.name = name, .owner = owner, .p = p, .len = len};
    uint8_t token[16];
    int r = rad_clock(s, run, false, &put.mtime_ns);

    if (r == 0)
        r = backend_pace(&s->up, len, run->call, run->began_ns);
    if (r == 0)
        r = rad_run_check(run);
    if (r < 0)
        return r;
    hash_random(token, sizeof(token));
    hex_format(token, sizeof(token), owner);
    return rad_put_named(s, run, &put);
}

int rad_put(struct backend *b, const struct backend_call *c, const char *name, const void *p, size_t len)
{
    struct rad *s = rad_of(b);
    struct rad_run run = rad_run_begin(c);
    int r = backend_name_check(name);

    if (r == 0)
        r = rad_run_check(&run);
    if (r < 0)
        return r;
    return len > s->part ? rad_parts_put(s, &run, name, p, len) : put_whole(s, &run, name, p, len);
}
