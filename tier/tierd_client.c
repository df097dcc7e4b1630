/* The asking side: a backend that is served by another process. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/enc.h"
#include "tier/tierd_i.h"

#define GRACE_MS 10000    /* beyond the call's own time, which the other side keeps, too */
#define WHOLE_MS 60000    /* a message that has begun, however busy the machine is */
#define PIECE (16u << 20) /* of a get */

static struct client *client_of(struct backend *b)
{
    return (struct client *)b;
}

/* --- calls ---------------------------------------------------------------------------------------------------------- */

struct ask {
    enum tierd_op op;
    const struct backend_call *call;
    const char *name, *after;
    uint64_t off, len;
    const void *p;
    size_t plen;
    const int *fd; /* goes along; NULL none */
    int (*cb)(void *arg, const char *name, const struct backend_stat *st);
    void *arg;
    struct buf got; /* what the call gave; a buffer that the caller had may be put here before */
};

/* -E_INVAL, -E_NOMEM: nothing was sent. */
static int send_call(int fd, const struct ask *a)
{
    cleanup(buf_free) struct buf b = {0};
    uint8_t head[TIERD_HEAD];
    struct enc e = {head};
    int r;

    if (strlen(a->name) > BACKEND_NAME_MAX || strlen(a->after) > BACKEND_NAME_MAX)
        return -E_INVAL;
    enc_u8(&e, (uint8_t)a->op);
    enc_u8(&e, a->call && a->call->wake ? TIERD_WANTED : 0);
    enc_u16(&e, (uint16_t)strlen(a->name));
    enc_u16(&e, (uint16_t)strlen(a->after));
    enc_u16(&e, 0);
    enc_u32(&e, a->call ? (uint32_t)a->call->timeout_ms : 0);
    enc_u64(&e, a->off);
    enc_u64(&e, a->len);
    assert(e.p == head + TIERD_HEAD);
    if ((r = buf_reserve(&b, sizeof(head) + 2 * BACKEND_NAME_MAX)) < 0)
        return r;
    buf_add(&b, head, sizeof(head));
    buf_puts(&b, a->name);
    buf_puts(&b, a->after);
    r = msg_send(fd, TIERD_CALL, b.data, b.len, a->fd, a->fd ? 1 : 0, HELLO_MS + GRACE_MS);
    if (r == 0 && a->op == TIERD_PUT)
        r = msg_send(fd, TIERD_BYTES, a->plen ? a->p : "", a->plen, NULL, 0, HELLO_MS + GRACE_MS);
    return r == -E_NOMEM || r == -E_INVAL ? -E_CLOSED : r;
}

static bool is_canceled(const struct ask *a)
{
    return a->call && a->call->canceled && a->call->canceled(a->call->arg);
}

/* One message, asking about cancelling and time while none begins. */
static int wait_answer(int fd, struct ask *a, int64_t began, struct msg *m)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    while (poll(&p, 1, ASK_MS) <= 0) {
        if (is_canceled(a))
            return -E_CANCELED;
        if (a->call && a->call->timeout_ms > 0 &&
            clock_mono_ns() - began > (a->call->timeout_ms + (int64_t)GRACE_MS) * 1000000)
            return -E_TIMEOUT;
    }
    return msg_recv_into(fd, TIERD_MSG_MAX + HEAD_ROOM, WHOLE_MS, &a->got, m);
}

static int take_items(const struct msg *m, struct ask *a)
{
    struct dec d = dec_of(m->payload.data, m->payload.len);
    int r = 0;

    while (r == 0 && d.left) {
        struct backend_stat st = {.size = dec_u64(&d)};
        char name[BACKEND_NAME_MAX + 1];
        uint16_t n;

        st.mtime_ns = (int64_t)dec_u64(&d);
        n = dec_u16(&d);
        if (n > BACKEND_NAME_MAX)
            return -E_PROTO;
        dec_copy(&d, name, n);
        name[n] = 0;
        if (d.bad)
            return -E_PROTO;
        r = a->cb(a->arg, name, &st);
    }
    return r;
}

/* The message's memory becomes that of what the call gave. */
static int take_done(struct msg *m, struct ask *a, bool *whole)
{
    const uint8_t *p = NULL;
    size_t len = 0;
    int r = answer_split(m, &p, &len);

    *whole = true;
    if (r < 0 && len)
        backend_text_set(r, p, len);
    if (r < 0)
        return r;
    memmove(m->payload.data, p, len);
    m->payload.len = len;
    a->got = m->payload;
    m->payload = (struct buf){0};
    return 0;
}

/* *whole: the conversation is in step. A list is read to its end, also when cb has ended it: its value is kept. */
static int converse(int fd, struct ask *a, bool *whole)
{
    int64_t began = clock_mono_ns();
    int r = send_call(fd, a), stop = 0;

    *whole = r == -E_INVAL || r == -E_NOMEM;
    while (r == 0) {
        cleanup(msg_release) struct msg m = {0};

        r = wait_answer(fd, a, began, &m);
        if (r < 0)
            return r;
        if (m.type == TIERD_ITEMS && a->cb) {
            if (stop == 0)
                stop = take_items(&m, a);
            began = clock_mono_ns(); /* a list has its time since names came */
            continue;
        }
        if (m.type != TIERD_DONE)
            return -E_PROTO;
        r = take_done(&m, a, whole);
        return stop != 0 ? stop : r;
    }
    return r;
}

/* What was asked for may have been done, when nothing came back. */
static int lost(enum tierd_op op, int r)
{
    if (r == -E_CANCELED)
        return r;
    if (op == TIERD_PUT || op == TIERD_PUT_FD || op == TIERD_DEL)
        return -E_UNSURE;
    return r == -E_TIMEOUT ? r : -E_CLOSED;
}

/* A line that is free, or NULL: the process is dead, or all are busy. */
static struct line *free_line(struct client *c)
{
    for (unsigned i = 0; !c->dead && i < c->nlines; i++)
        if (!c->line[i].busy)
            return &c->line[i];
    return NULL;
}

static void wait_freed(struct client *c)
{
    struct timespec until = clock_until(ASK_MS);

    pthread_cond_timedwait(&c->freed, &c->lock, &until);
}

/* Another process, in what is left of the call's time. */
static int start_again(struct client *c, const struct backend_call *call, int64_t began)
{
    struct backend_call left = call ? *call : (struct backend_call){.timeout_ms = 0};

    if (left.timeout_ms > 0) {
        left.timeout_ms -= (int)MIN_OF((clock_mono_ns() - began) / 1000000, (int64_t)left.timeout_ms);
        if (left.timeout_ms == 0)
            return -E_TIMEOUT;
    }
    return process_start(c, false, &left, NULL);
}

/* Starts the process where none is running. Nothing was asked yet when this fails. */
static int line_take(struct client *c, const struct ask *a, struct line **ret)
{
    int64_t began = clock_mono_ns();
    int r = 0;

    pthread_mutex_lock(&c->lock);
    for (;;) {
        if (c->nlines == 0 && (r = start_again(c, a->call, began)) < 0)
            break;
        if ((*ret = free_line(c)))
            break;
        wait_freed(c);
        if (free_line(c) || c->nlines == 0)
            continue;
        pthread_mutex_unlock(&c->lock);
        r = is_canceled(a) ? -E_CANCELED
            : a->call && a->call->timeout_ms > 0 &&
                    clock_mono_ns() - began > a->call->timeout_ms * (int64_t)1000000
                ? -E_TIMEOUT
                : 0;
        if (r < 0)
            return r;
        pthread_mutex_lock(&c->lock);
    }
    if (r == 0) {
        (*ret)->busy = true;
        c->nbusy++;
    }
    pthread_mutex_unlock(&c->lock);
    return r;
}

/* A conversation that is out of step ends all: the others notice that the process is gone. */
static void line_give(struct client *c, struct line *l, bool whole)
{
    pthread_mutex_lock(&c->lock);
    l->busy = false;
    c->nbusy--;
    if (!whole && !c->dead) {
        c->dead = true;
        kill(c->pid, SIGKILL);
    }
    if (c->dead && c->nbusy == 0)
        process_end(c);
    pthread_cond_broadcast(&c->freed);
    pthread_mutex_unlock(&c->lock);
}

static int ask_begin(struct client *c, struct ask *a, struct line **ret)
{
    backend_text_set(0, NULL, 0);
    if (!a->after)
        a->after = "";
    return is_canceled(a) ? -E_CANCELED : line_take(c, a, ret);
}

static int ask(struct backend *b, struct ask *a)
{
    struct client *c = client_of(b);
    struct line *l = NULL;
    bool whole = true;
    int r = ask_begin(c, a, &l);

    if (r < 0)
        return r;
    r = converse(l->fd, a, &whole);
    line_give(c, l, whole);
    return whole ? r : lost(a->op, r);
}

/* --- views ----------------------------------------------------------------------------------------------------------- */

/* Nobody can make it smaller: reading it is always good. */
static int room_make(const uint8_t **ret)
{
    int fd = memfd_create("varve-room", MFD_CLOEXEC | MFD_ALLOW_SEALING), r = fd < 0 ? -1 : 0;
    void *p = MAP_FAILED;

    if (r == 0)
        r = ftruncate(fd, VIEW_ROOM);
    if (r == 0)
        r = fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    if (r == 0 && (p = mmap(NULL, VIEW_ROOM, PROT_READ, MAP_SHARED, fd, 0)) != MAP_FAILED) {
        *ret = p;
        return fd;
    }
    r = err_from_errno(errno);
    if (fd >= 0)
        close(fd);
    return r;
}

/* The caller has the line. -E_NOTSUP: it gets none. *whole as of converse. */
static int line_room(struct line *l, bool *whole)
{
    const uint8_t *p = NULL;
    int fd, r;

    *whole = true;
    if (l->room)
        return 0;
    if ((fd = room_make(&p)) < 0)
        return -E_NOTSUP;
    l->room = p;
    r = msg_send(l->fd, TIERD_ROOM, "", 0, &fd, 1, HELLO_MS);
    *whole = r == 0;
    close(fd);
    return r;
}

static int client_view(struct backend *b, const struct backend_call *c, const char *name, uint64_t off,
                       size_t len, struct backend_view *ret)
{
    struct ask a = {.op = TIERD_LOOK, .call = c, .name = name, .off = off, .len = len};
    struct client *cl = client_of(b);
    struct line *l = NULL;
    bool whole;
    int r = len > VIEW_ROOM ? -E_NOTSUP : ask_begin(cl, &a, &l);

    if (r < 0)
        return r;
    r = line_room(l, &whole);
    if (r == 0)
        r = converse(l->fd, &a, &whole);
    if (r == 0 && (a.got.len != 8 || get_le64(a.got.data) > len))
        r = -E_PROTO;
    if (r == 0)
        *ret = (struct backend_view){.p = l->room, .len = (size_t)get_le64(a.got.data), .of = l};
    else
        line_give(cl, l, whole);
    buf_free(&a.got);
    return whole ? r : lost(a.op, r);
}

static void client_view_end(struct backend *b, struct backend_view *v)
{
    line_give(client_of(b), v->of, true);
    *v = (struct backend_view){0};
}

/* A call that gives nothing back; one that gives so many bytes, freed by the caller. */
static int told(struct backend *b, struct ask *a)
{
    int r = ask(b, a);

    buf_free(&a->got);
    return r;
}

static int given(struct backend *b, struct ask *a, size_t len)
{
    int r = ask(b, a);

    return r == 0 && a->got.len != len ? -E_PROTO : r;
}

/* --- the functions of a backend ------------------------------------------------------------------------------------- */

static int client_put(struct backend *b, const struct backend_call *c, const char *name, const void *p,
                      size_t len)
{
    struct ask a = {.op = TIERD_PUT, .call = c, .name = name, .p = p, .plen = len};

    return len > TIERD_MSG_MAX ? -E_TOOBIG : told(b, &a);
}

static int client_put_fd(struct backend *b, const struct backend_call *c, const char *name, int fd,
                         uint64_t len)
{
    struct ask a = {.op = TIERD_PUT_FD, .call = c, .name = name, .len = len, .fd = &fd};

    return told(b, &a);
}

static int client_get(struct backend *b, const struct backend_call *c, const char *name, uint64_t off,
                      size_t len, struct buf *ret)
{
    size_t was = ret->len;
    int r;

    do {
        struct ask a = {
            .op = TIERD_GET, .call = c, .name = name, .off = off, .len = MIN_OF(len, (size_t)PIECE)};
        bool empty = ret->len == 0;

        if (empty) /* its memory serves for what comes */
            a.got = *ret, *ret = (struct buf){0};
        r = ask(b, &a);
        if (r == 0 && a.got.len > a.len)
            r = -E_PROTO;
        if (r == 0 && !empty)
            r = buf_add(ret, a.got.data, a.got.len);
        len = r == 0 && a.got.len == a.len ? len - a.got.len : 0;
        off += a.got.len;
        if (empty)
            *ret = a.got;
        else
            buf_free(&a.got);
    } while (r == 0 && len > 0);
    if (r < 0)
        ret->len = was;
    return r;
}

static int client_stat(struct backend *b, const struct backend_call *c, const char *name,
                       struct backend_stat *ret)
{
    struct ask a = {.op = TIERD_STAT, .call = c, .name = name};
    int r = given(b, &a, 16);

    if (r == 0)
        *ret = (struct backend_stat){get_le64(a.got.data), (int64_t)get_le64(a.got.data + 8)};
    buf_free(&a.got);
    return r;
}

/* Names are gathered first: cb may make calls itself. */
struct gathered {
    struct buf b; /* size u64, mtime i64, name with its NUL */
};

static int gather(void *arg, const char *name, const struct backend_stat *st)
{
    struct gathered *g = arg;
    uint8_t v[16];

    put_le64(v, st->size);
    put_le64(v + 8, (uint64_t)st->mtime_ns);
    return buf_add(&g->b, v, sizeof(v)) < 0 ? -E_NOMEM : buf_add(&g->b, name, strlen(name) + 1);
}

static int names(struct backend *b, enum tierd_op op, const struct backend_call *c, const char *prefix,
                 const char *after, int (*cb)(void *arg, const char *name, const struct backend_stat *st),
                 void *arg)
{
    struct gathered g = {{0}};
    struct ask a = {.op = op, .call = c, .name = prefix, .after = after, .cb = gather, .arg = &g};
    int r = ask(b, &a);

    for (size_t at = 0; r == 0 && at < g.b.len;) {
        struct backend_stat st = {get_le64(g.b.data + at), (int64_t)get_le64(g.b.data + at + 8)};
        const char *name = (const char *)g.b.data + at + 16;

        r = cb(arg, name, &st);
        at += 16 + strlen(name) + 1;
    }
    buf_free(&a.got);
    buf_free(&g.b);
    return r;
}

static int client_list(struct backend *b, const struct backend_call *c, const char *prefix, const char *after,
                       int (*cb)(void *arg, const char *name, const struct backend_stat *st), void *arg)
{
    return names(b, TIERD_LIST, c, prefix, after, cb, arg);
}

static int client_classes(struct backend *b, const struct backend_call *c, const char *prefix,
                          int (*cb)(void *arg, const char *name, const struct backend_stat *st), void *arg)
{
    return names(b, TIERD_CLASSES, c, prefix, "", cb, arg);
}

static int client_class_set(struct backend *b, const struct backend_call *c, const char *name,
                            const char *class)
{
    struct ask a = {.op = TIERD_CLASS_SET, .call = c, .name = name, .after = class};

    return told(b, &a);
}

static int client_wake(struct backend *b, const struct backend_call *c, const char *name, bool wanted)
{
    struct backend_call call = c ? *c : (struct backend_call){0};
    struct ask a = {.op = TIERD_WAKE, .call = &call, .name = name};
    int r;

    call.wake = wanted;
    r = given(b, &a, 1);
    if (r == 0)
        r = a.got.data[0] <= 2 ? a.got.data[0] : -E_PROTO;
    buf_free(&a.got);
    return r;
}

static int client_del(struct backend *b, const struct backend_call *c, const char *name)
{
    struct ask a = {.op = TIERD_DEL, .call = c, .name = name};

    return told(b, &a);
}

static int client_now(struct backend *b, const struct backend_call *c, int64_t *ret_ns)
{
    struct ask a = {.op = TIERD_NOW, .call = c, .name = ""};
    int r = given(b, &a, 8);

    if (r == 0)
        *ret_ns = (int64_t)get_le64(a.got.data);
    buf_free(&a.got);
    return r;
}

static void client_close(struct backend *b)
{
    struct client *c = client_of(b);

    if (__atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    process_end(c);
    pthread_cond_destroy(&c->freed);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

struct backend *tierd_share(struct backend *b)
{
    assert(b->ops->close == client_close);
    __atomic_add_fetch(&client_of(b)->refs, 1, __ATOMIC_RELAXED);
    return b;
}

int tierd_open(const char *url, bool make, const struct backend_call *call, struct backend **ret,
               struct buf *err)
{
    static const struct backend_ops ops = {.put = client_put,
                                           .put_fd = client_put_fd,
                                           .get = client_get,
                                           .view = client_view,
                                           .view_end = client_view_end,
                                           .stat = client_stat,
                                           .list = client_list,
                                           .classes = client_classes,
                                           .class_set = client_class_set,
                                           .wake = client_wake,
                                           .del = client_del,
                                           .now = client_now,
                                           .close = client_close};
    struct client *c;
    int r = backend_url_check(url, err);

    if (r < 0)
        return r;
    if (strlen(url) >= sizeof(c->url))
        return -E_NAMETOOLONG;
    if (!(c = calloc(1, sizeof(*c))))
        return -E_NOMEM;
    c->b.ops = &ops;
    c->refs = 1;
    snprintf(c->url, sizeof(c->url), "%s", url);
    pthread_mutex_init(&c->lock, NULL);
    clock_cond_init(&c->freed);
    r = process_start(c, make, call, err);
    if (r < 0) {
        client_close(&c->b);
        return r;
    }
    *ret = &c->b;
    return 0;
}
