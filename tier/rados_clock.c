/* The cluster's clock. The time of an object is what the client that put it says, by its own clock; a prune that reckons with it would
 * delete too early what a machine with a slow clock has just put. So the time is asked of an OSD, and objects are stamped by it: a lock
 * of the class "lock" that ends after a while is told with the instant of its end, by the OSD's clock. All use one object, and a
 * shared lock, which keeps nobody out and goes by itself. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/enc.h"
#include "base/hash.h"
#include "tier/crypt.h"
#include "tier/rados_i.h"

#define OBJECT ".clock"
#define LOCK "varve"
#define LOCK_SHARED 2
#define LASTS_S 10
#define COOKIE_SIZE 33
#define ANSWER_MAX 65536u
#define NS_PER_S ((int64_t)1000000000)
#define KEPT_NS (600 * NS_PER_S) /* so long it is reckoned on by our own clocks, as long as these agree */
#define AGREE_NS NS_PER_S

void rad_seen(struct rad *s, int64_t mtime_ns)
{
    lock_take(&s->lock);
    s->seen_ns = MAX_OF(s->seen_ns, mtime_ns);
    lock_drop(&s->lock);
}

/* --- what is said to the class: structures of version 1, each with its length --------------------------------------- */

static void enc_text(struct enc *e, const char *text)
{
    enc_u32(e, (uint32_t)strlen(text));
    enc_bytes(e, text, strlen(text));
}

/* The bytes of one structure; room for it is the caller's care. */
static size_t wrap(uint8_t *out, struct enc e)
{
    size_t len = (size_t)(e.p - out);

    out[0] = out[1] = 1;
    put_le32(out + 2, (uint32_t)(len - 6));
    return len;
}

static size_t lock_request(const char *cookie, uint8_t out[256])
{
    struct enc e = {out + 6};

    enc_text(&e, LOCK);
    enc_u8(&e, LOCK_SHARED);
    enc_text(&e, cookie);
    enc_text(&e, ""); /* tag */
    enc_text(&e, ""); /* description */
    enc_u32(&e, LASTS_S);
    enc_u32(&e, 0);
    enc_u8(&e, 0); /* flags */
    return wrap(out, e);
}

static size_t info_request(uint8_t out[64])
{
    struct enc e = {out + 6};

    enc_text(&e, LOCK);
    return wrap(out, e);
}

static struct dec structure(struct dec *d)
{
    const uint8_t *p;
    uint32_t len;

    (void)dec_u16(d); /* version, and the oldest that reads it */
    len = dec_u32(d);
    p = dec_bytes(d, len);
    return p ? dec_of(p, len) : (struct dec){.bad = true};
}

/* The end of the lock that has this cookie; -1 where there is none. */
static int64_t end_of(const void *p, size_t len, const char *cookie)
{
    struct dec d = dec_of(p, len), all = structure(&d);
    uint32_t n = dec_u32(&all);

    while (n-- > 0 && !all.bad) {
        struct dec id = structure(&all), info = structure(&all);
        const uint8_t *text;
        uint32_t size, s, ns;

        (void)dec_u8(&id); /* who holds it: his kind and number */
        (void)dec_u64(&id);
        size = dec_u32(&id);
        text = dec_bytes(&id, size);
        s = dec_u32(&info);
        ns = dec_u32(&info);
        if (text && !info.bad && size == strlen(cookie) && memcmp(text, cookie, size) == 0)
            return s * NS_PER_S + ns;
    }
    return -1;
}

/* --- asking --------------------------------------------------------------------------------------------------------- */

static int lock_it(struct rad *s, const struct rad_run *run, const char *cookie)
{
    cleanup(rad_op_done) struct rad_op *op = NULL;
    uint8_t request[256];
    int r = rad_op_write(s, &op);

    if (r < 0)
        return r;
    s->lib->write_op_exec(op->write, "lock", "lock", (char *)request, lock_request(cookie, request),
                          &op->rc[0]);
    r = rad_op_send(s, op, OBJECT, 0);
    if (r == 0)
        r = rad_op_wait(s, run, op, "ask for the cluster's time");
    /* nothing of ours is changed by it: not knowing is no more than having no answer */
    return r == -E_UNSURE ? why_recode(&s->why, -E_TIMEOUT) : r;
}

static int read_it(struct rad *s, const struct rad_run *run, const char *cookie, int64_t *ret_ns)
{
    cleanup(rad_op_done) struct rad_op *op = NULL;
    uint8_t request[64];
    int64_t end;
    int r = rad_op_read(s, &op);

    if (r < 0 || (r = rad_op_room(op, ANSWER_MAX)) < 0)
        return r;
    s->lib->read_op_exec_user_buf(op->read, "lock", "get_info", (char *)request, info_request(request),
                                  op->bytes, op->room, &op->got, &op->rc[0]);
    r = rad_op_send(s, op, OBJECT, 0);
    if (r == 0)
        r = rad_op_wait(s, run, op, "ask for the cluster's time");
    if (r < 0)
        return r == -E_NOENT ? -E_IO : r;
    end = end_of(op->bytes, MIN_OF(op->got, op->room), cookie);
    if (end < 0)
        return why_say(&s->why, -E_IO,
                       "rados: the OSDs do not tell when a lock ends: their time is not known");
    *ret_ns = end - LASTS_S * NS_PER_S;
    return 0;
}

static int ask(struct rad *s, const struct rad_run *run)
{
    int64_t before = clock_mono_ns(), wall = clock_wall_ns(), there = 0, after;
    char cookie[COOKIE_SIZE];
    uint8_t random[16];
    int r;

    hash_random(random, sizeof(random));
    hex_format(random, sizeof(random), cookie);
    r = lock_it(s, run, cookie);
    after = clock_mono_ns();
    if (r == 0)
        r = read_it(s, run, cookie, &there);
    if (r < 0)
        return r;
    lock_take(&s->lock);
    s->clock_ns = there;
    s->clock_mono_ns = before + (after - before) / 2;
    s->clock_wall_ns = wall + (after - before) / 2;
    lock_drop(&s->lock);
    return 0;
}

/* By what was asked before: -1 where that is long ago, or our clocks went apart since then (set, or asleep). */
static int64_t reckoned(struct rad *s)
{
    int64_t mono = clock_mono_ns(), wall = clock_wall_ns(), ret = -1, gone, apart;

    lock_take(&s->lock);
    gone = mono - s->clock_mono_ns;
    apart = gone - (wall - s->clock_wall_ns);
    if (s->clock_ns && gone < KEPT_NS && apart < AGREE_NS && apart > -AGREE_NS)
        ret = s->clock_ns + gone;
    lock_drop(&s->lock);
    return ret;
}

int rad_clock(struct rad *s, const struct rad_run *run, bool fresh, int64_t *ret_ns)
{
    int64_t now = fresh ? -1 : reckoned(s);
    int r = 0;

    if (BROKEN(VARVE_BREAK_rados_clock)) {
        *ret_ns = clock_wall_ns();
        return 0;
    }
    if (now < 0) {
        r = ask(s, run);
        now = r == 0 ? reckoned(s) : -1;
    }
    if (r == 0 && now < 0)
        r = why_say(&s->why, -E_IO, "rados: the clock of this machine is being set: try again");
    if (r == 0)
        *ret_ns = now;
    return r;
}
