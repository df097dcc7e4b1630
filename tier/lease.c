#include "tier/lease.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

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

static int lease_put(struct lease *l, uint32_t number)
{
    cleanup(buf_free) struct buf b = {0};
    uint8_t body[16];
    char name[64];
    int r;

    memcpy(body, l->r->root.uuid.b, sizeof(body));
    name_of(number, name);
    r = plain_wrap(PLAIN_LEASE, body, sizeof(body), &b);
    if (r == 0)
        r = backend_put(l->r->b, &l->r->call, name, b.data, b.len);
    if (r == 0) {
        l->number = number;
        l->put_ns = clock_mono_ns();
    }
    return r == -E_EXIST ? -E_BUSY : r;
}

static void lease_del(struct lease *l, uint32_t number)
{
    char name[64];

    name_of(number, name);
    (void)backend_del(l->r->b, &l->r->call, name); /* what stays is dead in ten minutes */
}

int lease_take(struct repo *r, struct lease *ret, struct buf *err)
{
    struct lease l = {.r = r};
    struct leases v;
    int64_t now = 0;
    int x = leases_list(r->b, &r->call, &v);

    if (x == 0)
        x = backend_now(r->b, &r->call, &now);
    if (x == 0 && v.n && now - v.newest_ns < LEASE_NS)
        x = -E_BUSY;
    if (x == 0)
        x = lease_put(&l, v.newest + 1);
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
        x = lease_put(l, old + 1);
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
