/* Objects of more bytes than the cluster takes at once: parts first, the head that makes them an object last. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "tier/crypt.h"
#include "tier/rados_i.h"

#define AHEAD 4u /* parts at a time: librados holds the bytes of each */
#define CLEAN_MS 15000
#define STALE_NS (86400 * (int64_t)1000000000) /* no put lasts so long */
#define SWEEP_MAX 1000u                        /* a sweep looks at so many; the rest is for another day */

void rad_part_name(const char *owner, uint32_t i, char out[RAD_NAME_SIZE])
{
    snprintf(out, RAD_NAME_SIZE, RAD_PART_PREFIX "%s/%08" PRIx32, owner, i);
}

/* --- deleting ------------------------------------------------------------------------------------------------------- */

static int delete_send(struct rad *s, const char *name, struct rad_op **ret)
{
    struct rad_op *op = NULL;
    int r = rad_op_write(s, &op);

    if (r < 0)
        return r;
    s->lib->write_op_remove(op->write);
    if ((r = rad_op_send(s, op, name, 0)) < 0)
        rad_op_unref(op);
    else
        *ret = op;
    return r;
}

/* The first part goes last: as long as it is there, the others can be found. */
void rad_parts_delete(struct rad *s, const char *owner, uint32_t n)
{
    const struct backend_call c = {.timeout_ms =
                                       CLEAN_MS}; /* a time of its own, also after what was cancelled */
    struct rad_run run = rad_run_begin(&c);
    int r = 0;

    while (n-- > 0 && (r == 0 || r == -E_NOENT)) {
        cleanup(rad_op_done) struct rad_op *op = NULL;
        char name[RAD_NAME_SIZE];

        rad_part_name(owner, n, name);
        r = delete_send(s, name, &op);
        if (r == 0)
            r = rad_op_wait(s, &run, op, "delete parts of objects");
    }
    if (r < 0 && r != -E_NOENT)
        log_warn("tier", "rados-parts", "owner=%s: parts of an object are left", owner);
}

/* --- left over ------------------------------------------------------------------------------------------------------ */

struct sweep {
    struct buf firsts; /* owners, each with its NUL, whose first part is there */
    unsigned n;
};

static int sweep_name(void *arg, const char *name)
{
    static const char first[] = "/00000000";
    size_t skip = sizeof(RAD_PART_PREFIX) - 1, len = strlen(name), rest = RAD_OWNER_SIZE - 1;
    struct sweep *w = arg;
    int r;

    if (strncmp(name, RAD_PART_PREFIX, skip) != 0 || len != skip + rest + sizeof(first) - 1 ||
        strcmp(name + skip + rest, first) != 0)
        return 0;
    if (++w->n > SWEEP_MAX)
        return 1;
    if ((r = buf_add(&w->firsts, name + skip, rest)) < 0)
        return r;
    return buf_add(&w->firsts, "", 1);
}

/* One put of parts that has no head, and is so old that none will come. */
static void sweep_one(struct rad *s, const struct rad_run *run, const char *owner, int64_t now)
{
    char name[RAD_NAME_SIZE];
    struct rad_object part, head;
    uint32_t n = 1;
    int r;

    rad_part_name(owner, 0, name);
    if (rad_look(s, run, name, &part) < 0 || part.mtime_ns > now - STALE_NS ||
        backend_name_check(part.head) < 0)
        return;
    r = rad_look(s, run, part.head, &head);
    if ((r < 0 && r != -E_NOENT) || (r == 0 && strcmp(head.owner, owner) == 0))
        return;
    for (unsigned missing = 0; missing < 2 * AHEAD; n++) {
        rad_part_name(owner, n, name);
        r = rad_look(s, run, name, &part);
        if (r < 0 && r != -E_NOENT)
            return;
        missing = r == 0 ? 0 : missing + 1;
    }
    log_warn("tier", "rados-sweep", "owner=%s: parts of an object that was never whole are removed", owner);
    rad_parts_delete(s, owner, n);
}

static void sweep(struct rad *s, const struct rad_run *run)
{
    struct sweep w = {.n = 0};
    int64_t now;
    bool was;

    lock_take(&s->lock);
    was = s->swept;
    s->swept = true;
    lock_drop(&s->lock);
    if (!was && rad_clock(s, run, false, &now) == 0 && rad_each_name(s, run, sweep_name, &w) >= 0)
        for (size_t at = 0; at < w.firsts.len; at += RAD_OWNER_SIZE)
            sweep_one(s, run, (const char *)w.firsts.data + at, now);
    buf_free(&w.firsts);
}

/* --- putting -------------------------------------------------------------------------------------------------------- */

struct cut {
    struct rad *s;
    const struct rad_run *run;
    const char *name; /* of the head */
    const uint8_t *p;
    size_t len;
    uint32_t n;
    char owner[RAD_OWNER_SIZE];
    int64_t mtime_ns;
};

static struct rad_put part_of(const struct cut *c, uint32_t i, char name[RAD_NAME_SIZE])
{
    size_t off = (size_t)i * c->s->part;

    rad_part_name(c->owner, i, name);
    return (struct rad_put){.name = name,
                            .owner = c->owner,
                            .p = c->p + off,
                            .len = MIN_OF(c->len - off, (size_t)c->s->part),
                            .attr = RAD_HEAD,
                            .value = c->name,
                            .mtime_ns = c->mtime_ns};
}

static int part_wait(struct cut *c, uint32_t i, struct rad_op *op)
{
    int r = rad_op_wait(c->s, c->run, op, "put parts of objects");

    if (r == -E_UNSURE || r == -E_EXIST) { /* its name has our token in it: what is there is ours */
        char name[RAD_NAME_SIZE];
        struct rad_put put = part_of(c, i, name);

        r = rad_put_named(c->s, c->run, &put);
    }
    return r;
}

static int part_send(struct cut *c, uint32_t i, struct rad_op **ret)
{
    char name[RAD_NAME_SIZE];
    struct rad_put put = part_of(c, i, name);
    int r = backend_pace(&c->s->up, put.len, c->run->call, c->run->began_ns);

    if (r == 0)
        r = rad_run_check(c->run);
    return r < 0 ? r : rad_put_send(c->s, &put, ret);
}

/* The first one alone: a sweep finds the others by it. */
static int parts_put(struct cut *c)
{
    struct rad_op *ops[AHEAD] = {0};
    uint32_t sent = 0, done = 0;
    int r = 0;

    while (r == 0 && done < c->n) {
        if (sent < c->n && sent < done + (done ? AHEAD : 1)) {
            if ((r = part_send(c, sent, &ops[sent % AHEAD])) == 0)
                sent++;
            continue;
        }
        r = part_wait(c, done, ops[done % AHEAD]);
        rad_op_unref(TAKE(ops[done % AHEAD]));
        done++;
    }
    for (uint32_t i = 0; i < AHEAD; i++)
        rad_op_unref(ops[i]);
    return r;
}

static int head_put(struct cut *c)
{
    char parts[64];
    struct rad_put put = {
        .name = c->name, .owner = c->owner, .attr = RAD_PARTS, .value = parts, .mtime_ns = c->mtime_ns};

    snprintf(parts, sizeof(parts), "%zu %" PRIu64, c->len, c->s->part);
    return rad_put_named(c->s, c->run, &put);
}

/* Of parts that nobody names yet it does not matter what became of them. */
static int parts_phase(struct cut *c)
{
    int r = parts_put(c);

    if (r < 0)
        rad_parts_delete(c->s, c->owner, c->n);
    return r == -E_UNSURE ? why_recode(&c->s->why, -E_TIMEOUT) : r;
}

static int head_phase(struct cut *c)
{
    int r = head_put(c);

    if (r < 0 && r != -E_UNSURE && r != -E_CANCELED)
        rad_parts_delete(c->s, c->owner, c->n);
    return r;
}

int rad_parts_put(struct rad *s, const struct rad_run *run, const char *name, const void *p, size_t len)
{
    struct cut c = {.s = s, .run = run, .name = name, .p = p, .len = len};
    struct rad_object o;
    uint8_t token[16];
    int r;

    sweep(s, run);
    r = rad_look(s, run, name, &o);
    if (r != -E_NOENT) /* there already: nothing need be sent */
        return r == 0 ? -E_EXIST : r;
    if ((r = rad_clock(s, run, false, &c.mtime_ns)) < 0)
        return r;
    c.n = (uint32_t)((len + s->part - 1) / s->part);
    hash_random(token, sizeof(token));
    hex_format(token, sizeof(token), c.owner);
    if (BROKEN(VARVE_BREAK_rados_head) && (r = head_phase(&c)) == 0)
        return parts_phase(&c);
    r = parts_phase(&c);
    return r < 0 ? r : head_phase(&c);
}
