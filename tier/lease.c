#include "tier/lease.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"

#define DIR "lease/"
#define NAME DIR "prune."
#define NUMBER_MAX 99999999u

struct leases {
    struct backend *b;
    const struct backend_call *c;
    uint32_t newest;
    int64_t newest_ns; /* by the backend */
    unsigned n;
    struct buf names; /* BACKEND_NAME_MAX + 1 each */
};

static int take_name(void *arg, const char *name, const struct backend_stat *st)
{
    char room[BACKEND_NAME_MAX + 1] = "";
    struct leases *v = arg;
    char *end;
    unsigned long n;

    if (strncmp(name, NAME, strlen(NAME)) != 0)
        return 0;
    n = strtoul(name + strlen(NAME), &end, 10);
    if (*end || n == 0 || n > NUMBER_MAX)
        return 0;
    v->n++;
    if (n > v->newest) {
        v->newest = (uint32_t)n;
        v->newest_ns = st->mtime_ns;
    }
    snprintf(room, sizeof(room), "%s", name);
    return buf_add(&v->names, room, sizeof(room));
}

static int leases_list(struct backend *b, const struct backend_call *c, struct leases *ret)
{
    *ret = (struct leases){.b = b, .c = c};
    return backend_list(b, c, DIR, "", take_name, ret);
}

static void name_of(uint32_t number, char out[64])
{
    snprintf(out, 64, NAME "%08u", number);
}

/* As a lease of this number and holder lies in the backend. */
static int lease_bytes(const struct lease *l, struct buf *ret)
{
    uint8_t body[32];

    memcpy(body, l->r->root.uuid.b, 16);
    memcpy(body + 16, l->id.b, 16);
    return plain_wrap(PLAIN_LEASE, body, sizeof(body), ret);
}

/* -E_BUSY: it is not there, or another's. Where a store passes conditions over, the one who came last has it. */
static int lease_mine(struct lease *l, uint32_t number)
{
    cleanup(buf_free) struct buf want = {0}, got = {0};
    char name[64];
    int r = lease_bytes(l, &want);

    name_of(number, name);
    if (r == 0)
        r = backend_get_all(l->r->b, &l->r->call, name, PLAIN_MAX, &got);
    if (r == 0 && (got.len != want.len || memcmp(got.data, want.data, want.len) != 0))
        r = -E_BUSY;
    if (BROKEN(VARVE_BREAK_lease_mine))
        return 0;
    return r == -E_NOENT ? -E_BUSY : r;
}

static void lease_del(struct lease *l, uint32_t number)
{
    char name[64];

    name_of(number, name);
    (void)backend_del(l->r->b, &l->r->call, name); /* what stays is dead in ten minutes */
}

/* Also where the answer was lost, or another's came at the same moment: whose it is can be read. */
static int lease_put(struct lease *l, uint32_t number)
{
    cleanup(buf_free) struct buf b = {0};
    char name[64];
    int r = lease_bytes(l, &b);

    name_of(number, name);
    if (r == 0)
        r = backend_put_same(l->r->b, &l->r->call, name, b.data, b.len);
    if (r == 0 && (r = lease_mine(l, number)) < 0 && r != -E_BUSY)
        lease_del(l, number);
    if (r == 0) {
        l->number = number;
        l->put_ns = clock_mono_ns();
    }
    return r == -E_EXIST ? -E_BUSY : r;
}

/* Has somebody else a number after this one? */
static int lease_alone(const struct lease *l, uint32_t after)
{
    struct leases v;
    int r = leases_list(l->r->b, &l->r->call, &v);

    for (size_t at = 0; r == 0 && at < v.names.len; at += BACKEND_NAME_MAX + 1) {
        unsigned long n = strtoul((const char *)v.names.data + at + strlen(NAME), NULL, 10);

        if (n > after && n != l->number)
            r = -E_BUSY;
    }
    buf_free(&v.names);
    return r;
}

/* The next number after the newest. Where a bucket keeps versions, some servers take a deleted name for one that is there: then one
 * further on, as long as nobody else has put any. Two who go on so put different ones: each looks once more, and none of them has it. */
static int lease_put_after(struct lease *l, uint32_t newest)
{
    uint32_t range = 1, skip = 0, was = l->number;
    struct leases v = {.newest = newest};
    int r;

    for (;;) {
        r = newest < NUMBER_MAX - range ? lease_put(l, newest + 1 + skip) : -E_BUSY;
        if (r == 0 && range > 1 && !BROKEN(VARVE_BREAK_lease_alone) && (r = lease_alone(l, newest)) < 0) {
            lease_del(l, l->number);
            l->number = was;
            return r;
        }
        if (r != -E_BUSY || range > NUMBER_MAX / 8 || BROKEN(VARVE_BREAK_lease_ghost))
            return r;
        r = leases_list(l->r->b, &l->r->call, &v);
        buf_free(&v.names);
        if (r < 0 || v.newest != newest)
            return r < 0 ? r : -E_BUSY;
        range *= 4;
        hash_random(&skip, sizeof(skip));
        skip %= range;
    }
}

int lease_take(struct repo *r, struct lease *ret, struct buf *err)
{
    struct lease l = {.r = r};
    struct leases v;
    int64_t now = 0;
    int x = leases_list(r->b, &r->call, &v);

    hash_random(l.id.b, sizeof(l.id.b));
    if (x == 0)
        x = backend_now(r->b, &r->call, &now);
    if (x == 0 && v.n && now - v.newest_ns < LEASE_NS)
        x = -E_BUSY;
    if (x == 0)
        x = lease_put_after(&l, v.newest);
    buf_free(&v.names);
    if (x == -E_BUSY)
        buf_puts(err,
                 "another prune of this repository is at work; if it is known to be dead, varve repo unlock");
    if (x < 0)
        return x;
    if (v.n)
        lease_del(&l, v.newest);
    *ret = l;
    return 0;
}

int lease_keep(struct lease *l)
{
    uint32_t old = l->number;
    struct leases v;
    int x;

    if (clock_mono_ns() - l->put_ns < LEASE_NS / 5)
        return 0;
    x = leases_list(l->r->b, &l->r->call, &v);
    buf_free(&v.names);
    if (x == 0 && v.newest != l->number)
        x = -E_BUSY;
    if (x == 0)
        x = lease_mine(l, l->number);
    if (x == 0)
        x = lease_put_after(l, old);
    if (x == 0)
        lease_del(l, old);
    return x;
}

void lease_drop(struct lease *l)
{
    if (l->number)
        lease_del(l, l->number);
    l->number = 0;
}

int lease_break(struct backend *b, const struct backend_call *c, bool force, unsigned *ret_gone,
                unsigned *ret_alive)
{
    int64_t now = 0;
    struct leases v;
    bool alive;
    int x = leases_list(b, c, &v);

    if (x == 0)
        x = backend_now(b, c, &now);
    alive = v.n && now - v.newest_ns < LEASE_NS;
    *ret_alive = alive && !force;
    *ret_gone = 0;
    for (size_t at = 0; x == 0 && !*ret_alive && at < v.names.len; at += BACKEND_NAME_MAX + 1) {
        x = backend_del(b, c, (const char *)v.names.data + at);
        *ret_gone += x == 0;
        x = x == -E_NOENT ? 0 : x;
    }
    buf_free(&v.names);
    return x;
}
