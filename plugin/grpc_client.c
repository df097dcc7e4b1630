#include "plugin/grpc_client.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "plugin/grpc_client_i.h"
#include "plugin/grpc_wire.h"

#define MS 1000000
#define EVENTS 32
#define LOOK_MS 50 /* whether who asked still waits */

/* --- between who waits and the loop ---------------------------------------------------------------------------------------- */

static void ring(struct grpc_client *c)
{
    uint64_t one = 1;

    (void)!write(c->wake, &one, sizeof(one));
}

/* The loop is to look at it. */
static void poke(struct grpc_asked *a)
{
    struct grpc_client *c = a->client;
    bool add;

    lock_take(&c->lock);
    add = !a->listed;
    if (add) {
        a->listed = true;
        a->poked_next = NULL;
        *c->poked_end = a;
        c->poked_end = &a->poked_next;
        atomic_fetch_add(&a->refs, 1);
    }
    lock_drop(&c->lock);
    if (add)
        ring(c);
}

static struct grpc_asked *take_poked(struct grpc_client *c)
{
    struct grpc_asked *a;

    lock_take(&c->lock);
    a = c->poked;
    if (a) {
        c->poked = a->poked_next;
        if (!c->poked)
            c->poked_end = &c->poked;
        a->listed = false;
    }
    lock_drop(&c->lock);
    return a;
}

/* --- calls ----------------------------------------------------------------------------------------------------------------- */

int grpc_asked_new(struct grpc_link *l, const struct grpc_ask *q, struct grpc_asked **ret)
{
    struct grpc_asked *a = calloc(1, sizeof(*a));
    uint8_t prefix[GRPC_PREFIX] = {0};

    if (!a)
        return -E_NOMEM;
    a->client = l->client;
    a->link = l;
    a->refs = 1;
    a->path = q->path;
    a->deadline_ns = q->deadline_ns;
    a->number = q->number;
    lock_init(&a->lock, RANK_FACE, 0);
    cond_init(&a->ready);
    put_be32(prefix + 1, (uint32_t)q->len);
    if (q->len > UINT32_MAX || buf_add(&a->out, prefix, sizeof(prefix)) < 0 ||
        (q->len > 0 && buf_add(&a->out, q->message, q->len) < 0)) {
        grpc_asked_unref(a);
        return -E_NOMEM;
    }
    poke(a);
    *ret = a;
    return 0;
}

void grpc_asked_unref(struct grpc_asked *a)
{
    if (atomic_fetch_sub(&a->refs, 1) != 1)
        return;
    buf_free(&a->out);
    buf_free(&a->in);
    cond_release(&a->ready);
    lock_release(&a->lock);
    free(a);
}

/* One that was not waited for to its end is cancelled. */
void grpc_asked_free(struct grpc_asked *a)
{
    bool done;

    if (!a)
        return;
    lock_take(&a->lock);
    done = a->done;
    a->cancel = true;
    lock_drop(&a->lock);
    if (!done)
        poke(a);
    grpc_asked_unref(a);
}

/* What came since, behind what is left of before; true: there is nothing more to come. */
static bool take(struct grpc_asked *a, struct buf *to, int *ret_r)
{
    size_t n;
    bool done;

    lock_take(&a->lock);
    if (a->in.len == 0 && !a->done)
        cond_wait_ms(&a->ready, &a->lock, LOOK_MS);
    n = a->in.len;
    *ret_r = n > 0 ? buf_add(to, a->in.data, n) : 0;
    buf_reset(&a->in);
    a->taken += n;
    done = a->done;
    lock_drop(&a->lock);
    if (n > 0 && !done)
        poke(a);
    return done;
}

/* Whole messages are given on. */
static int give(struct grpc_asked *a, struct buf *b, const struct grpc_taking *t)
{
    size_t at = 0, len;
    int r = 0;

    while (r >= 0 && b->len - at >= GRPC_PREFIX) {
        len = get_be32(b->data + at + 1);
        if (b->data[at] != 0)
            return -E_PROTO;
        if (len > a->client->o.message_max)
            return -E_TOOBIG;
        if (b->len - at - GRPC_PREFIX < len)
            break;
        r = t->fn(t->arg, b->data + at + GRPC_PREFIX, len);
        at += GRPC_PREFIX + len;
    }
    if (at > 0)
        memmove(b->data, b->data + at, b->len - at);
    b->len -= at;
    return r < 0 ? -E_CANCELED : 0;
}

static void say(struct grpc_said *s, enum grpc_code code, const char *why)
{
    s->code = code;
    s->unseen = false;
    snprintf(s->why, sizeof(s->why), "%s", why);
}

/* Ended here, whatever the other side may say still. */
static void give_up(struct grpc_asked *a, int r, struct grpc_said *ret)
{
    lock_take(&a->lock);
    a->cancel = true;
    lock_drop(&a->lock);
    poke(a);
    *ret = (struct grpc_said){.number = 0};
    switch (r) {
    case -E_TIMEOUT: say(ret, GRPC_DEADLINE_EXCEEDED, "the time that the client gave is over"); break;
    case -E_CANCELED: say(ret, GRPC_CANCELLED, "nobody waits for the answer any more"); break;
    case -E_TOOBIG: say(ret, GRPC_RESOURCE_EXHAUSTED, "the answer is larger than is allowed here"); break;
    case -E_PROTO: say(ret, GRPC_INTERNAL, "the answer is compressed, or malformed"); break;
    default: say(ret, GRPC_RESOURCE_EXHAUSTED, err_text(r)); break;
    }
}

int grpc_last(void *arg, const uint8_t *p, size_t len)
{
    struct buf *b = arg;

    buf_reset(b);
    return buf_add(b, p, len);
}

void grpc_asked_wait(struct grpc_asked *a, const struct grpc_taking *t, struct grpc_said *ret)
{
    cleanup(buf_free) struct buf b = {0};
    bool done = false;
    int r = 0;

    while (r == 0 && !done) {
        done = take(a, &b, &r);
        if (r == 0)
            r = give(a, &b, t);
        if (r == 0 && !done && t->ended && t->ended(t->arg))
            r = -E_CANCELED;
        if (r == 0 && !done && a->deadline_ns && clock_mono_ns() >= a->deadline_ns)
            r = -E_TIMEOUT;
    }
    if (r < 0) {
        give_up(a, r, ret);
        return;
    }
    lock_take(&a->lock);
    *ret = a->said;
    lock_drop(&a->lock);
    if (ret->code == GRPC_OK && b.len > 0)
        say(ret, GRPC_INTERNAL, "the answer ends within a message");
}

/* --- the loop -------------------------------------------------------------------------------------------------------------- */

/* Where there is none, or it was made by other certificates, a new one is begun. */
static int line_of(struct grpc_link *l, const char **ret_why)
{
    struct grpc_client *c = l->client;
    uint64_t version;
    bool usable = tls_files_look(c->o.files, &version);
    int r;

    *ret_why = tls_files_why(c->o.files);
    if (l->line && l->line->version != version)
        grpc_line_leave(l->line);
    if (!usable)
        return -E_KEY;
    r = l->line ? 0 : grpc_line_new(l, version, &l->line);
    if (r < 0)
        *ret_why = r == -E_CLOSED ? "nobody listens there" : err_text(r);
    return r;
}

static void begin(struct grpc_asked *a)
{
    struct grpc_link *l = a->link;
    const char *why;

    a->begun = true;
    if (a->number && (!l->line || l->line->number != a->number))
        grpc_asked_over(a, GRPC_UNAVAILABLE, "the connection is another one by now", true);
    else if (line_of(l, &why) < 0)
        grpc_asked_over(a, GRPC_UNAVAILABLE, why, true);
    else if (a->number && l->line->number != a->number)
        grpc_asked_over(a, GRPC_UNAVAILABLE, "the connection is another one by now", true);
    else
        grpc_line_add(l->line, a);
}

static void look_at(struct grpc_asked *a)
{
    size_t taken;
    bool cancel;

    lock_take(&a->lock);
    cancel = a->cancel && !a->done;
    a->begun |= a->cancel;
    taken = a->taken;
    a->taken = 0;
    lock_drop(&a->lock);
    if (a->line && taken > 0)
        grpc_line_taken(a->line, a, taken);
    if (cancel && a->line)
        grpc_line_cancel(a->line, a);
    else if (cancel)
        grpc_asked_over(a, GRPC_CANCELLED, "nobody waits for the answer any more", true);
    else if (!a->begun)
        begin(a);
}

static bool settle(struct grpc_client *c)
{
    struct grpc_asked *a;
    struct grpc_link *l;
    uint64_t n;
    bool ends;

    (void)!read(c->wake, &n, sizeof(n));
    lock_take(&c->lock);
    ends = c->ends; /* before the lists: nobody adds to them after */
    lock_drop(&c->lock);
    while ((a = take_poked(c))) {
        look_at(a);
        grpc_asked_unref(a);
    }
    lock_take(&c->lock);
    l = TAKE(c->gone);
    lock_drop(&c->lock);
    while (l) {
        struct grpc_link *next = l->next;

        for (struct grpc_line *line = c->lines; line; line = line->next)
            if (line->link == l)
                grpc_line_leave(line);
        free(l);
        l = next;
    }
    return ends;
}

static int64_t lines_turn(struct grpc_client *c)
{
    int64_t now = clock_mono_ns(), nearest = 0, next;

    for (struct grpc_line **at = &c->lines; *at;) {
        struct grpc_line *l = *at;

        if (!grpc_line_turn(l, now, &next)) {
            *at = l->next;
            grpc_line_free(l);
            continue;
        }
        if (next && (!nearest || next < nearest))
            nearest = next;
        at = &l->next;
    }
    return nearest;
}

static int wait_ms(int64_t nearest)
{
    int64_t now = clock_mono_ns();

    if (!nearest)
        return -1;
    return nearest <= now ? 0 : (int)MIN_OF((nearest - now + MS - 1) / MS, (int64_t)INT32_MAX);
}

static void *loop(void *arg)
{
    struct grpc_client *c = arg;
    struct epoll_event ev[EVENTS];
    int64_t nearest = 0;
    bool ends = false;

    while (!ends) {
        int n = epoll_wait(c->epoll, ev, EVENTS, wait_ms(nearest));

        for (int i = 0; i < n; i++)
            if (ev[i].data.ptr)
                grpc_line_event(ev[i].data.ptr, ev[i].events);
        ends = settle(c);
        nearest = lines_turn(c);
    }
    while (c->lines) {
        struct grpc_line *l = c->lines;

        c->lines = l->next;
        grpc_line_free(l);
    }
    return NULL;
}

/* --- beginning and end ----------------------------------------------------------------------------------------------------- */

int grpc_link_new(struct grpc_client *c, const char *address, struct grpc_link **ret)
{
    struct grpc_link *l = calloc(1, sizeof(*l));
    int r = l ? tcp_parse(address, &l->to) : -E_NOMEM;

    if (r < 0) {
        free(l);
        return r;
    }
    l->client = c;
    *ret = l;
    return 0;
}

void grpc_link_free(struct grpc_link *l)
{
    struct grpc_client *c = l ? l->client : NULL;

    if (!l)
        return;
    lock_take(&c->lock);
    l->next = c->gone;
    c->gone = l;
    lock_drop(&c->lock);
    ring(c);
}

static void client_release(struct grpc_client *c)
{
    if (c->epoll >= 0)
        close(c->epoll);
    if (c->wake >= 0)
        close(c->wake);
    tls_files_free(c->o.files);
    lock_release(&c->lock);
    free(c);
}

int grpc_client_new(const struct grpc_client_settings *o, struct grpc_client **ret)
{
    struct grpc_client *c = calloc(1, sizeof(*c));
    struct epoll_event e = {.events = EPOLLIN};

    if (!c)
        return -E_NOMEM;
    c->o = *o;
    c->o.connect_ms = o->connect_ms ? o->connect_ms : 5000;
    c->o.ping_ms = o->ping_ms ? o->ping_ms : 15000;
    c->o.message_max = o->message_max ? o->message_max : 4u << 20;
    lock_init(&c->lock, RANK_REGISTRY, 0);
    c->poked_end = &c->poked;
    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (c->epoll < 0 || c->wake < 0 || epoll_ctl(c->epoll, EPOLL_CTL_ADD, c->wake, &e) < 0 ||
        pthread_create(&c->thread, NULL, loop, c) != 0) {
        c->o.files = NULL; /* the caller's still */
        client_release(c);
        return -E_FILES;
    }
    *ret = c;
    return 0;
}

void grpc_client_free(struct grpc_client *c)
{
    if (!c)
        return;
    lock_take(&c->lock);
    c->ends = true;
    lock_drop(&c->lock);
    ring(c);
    pthread_join(c->thread, NULL);
    assert(!c->poked);
    client_release(c);
}
