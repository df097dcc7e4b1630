/* The serving side. */
#include "tier/tierd.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/enc.h"
#include "base/msg.h"

#define SEND_MS 600000
#define ITEMS_BYTES 60000u
#define HEAD_ROOM 4096u
#define OUT_KEPT (4u << 20)

struct served {
    int fd;
    struct buf items;
    struct buf out; /* kept from one answer to the next */
    void *room;     /* NULL: the line has none */
    size_t room_len;
};

int tierd_code(const char *name)
{
    if (strcmp(name, "OK") == 0)
        return 0;
    for (int c = E__FIRST + 1; c < E__END; c++)
        if (strcmp(err_name(-c), name) == 0)
            return -c;
    return -E_PROTO;
}

static int answer(int fd, uint16_t type, int result, const void *p, size_t len)
{
    cleanup(buf_free) struct buf b = {0};
    const char *name = err_name(result);
    int r = buf_add(&b, name, strlen(name) + 1);

    if (r == 0)
        r = buf_add(&b, p, len);
    return r < 0 ? r : msg_send(fd, type, b.data, b.len, NULL, 0, SEND_MS);
}

int tierd_hello(int fd, int result, const char *sentence)
{
    return answer(fd, TIERD_HELLO, result, sentence, strlen(sentence) + 1);
}

static int items_send(struct served *s)
{
    int r = s->items.len ? msg_send(s->fd, TIERD_ITEMS, s->items.data, s->items.len, NULL, 0, SEND_MS) : 0;

    buf_reset(&s->items);
    return r;
}

static int item(void *arg, const char *name, const struct backend_stat *st)
{
    struct served *s = arg;
    uint8_t head[18];
    struct enc e = {head};
    int r;

    enc_u64(&e, st->size);
    enc_u64(&e, (uint64_t)st->mtime_ns);
    enc_u16(&e, (uint16_t)strlen(name));
    if ((r = buf_add(&s->items, head, sizeof(head))) < 0 || (r = buf_puts(&s->items, name)) < 0)
        return r;
    return s->items.len > ITEMS_BYTES ? items_send(s) : 0;
}

struct call {
    enum tierd_op op;
    struct backend_call bounds;
    uint64_t off, len;
    char name[BACKEND_NAME_MAX + 1], after[BACKEND_NAME_MAX + 1];
    const uint8_t *p;
    size_t plen;
    int fd; /* of PUT_FD: the message's; -1 */
};

static int call_parse(const struct msg *m, struct call *ret)
{
    struct dec d = dec_of(m->payload.data, m->payload.len);
    uint16_t nlen, alen;

    *ret = (struct call){.op = dec_u8(&d), .fd = m->nfds ? m->fds[0] : -1};
    ret->bounds.wake = dec_u8(&d) & TIERD_WANTED;
    nlen = dec_u16(&d);
    alen = dec_u16(&d);
    dec_u16(&d);
    ret->bounds.timeout_ms = (int)dec_u32(&d);
    ret->off = dec_u64(&d);
    ret->len = dec_u64(&d);
    if (m->type != TIERD_CALL || nlen > BACKEND_NAME_MAX || alen > BACKEND_NAME_MAX ||
        (ret->op != TIERD_PUT_FD && ret->len > TIERD_MSG_MAX))
        return -E_PROTO;
    dec_copy(&d, ret->name, nlen);
    dec_copy(&d, ret->after, alen);
    return d.bad || d.left ? -E_PROTO : 0;
}

static int serve_look(struct served *s, struct backend *b, const struct call *c, struct buf *out)
{
    uint8_t v[8];
    size_t n = 0;
    int r;

    if (!s->room || c->len > s->room_len)
        return -E_PROTO;
    r = backend_get_into(b, &c->bounds, c->name, c->off, (size_t)c->len, s->room, &n);
    put_le64(v, n);
    return r < 0 ? r : buf_add(out, v, sizeof(v));
}

static int serve_list(struct served *s, struct backend *b, const struct call *c)
{
    int r, sent;

    if (c->op == TIERD_LIST)
        r = backend_list(b, &c->bounds, c->name, c->after, item, s);
    else
        r = b->ops->classes ? b->ops->classes(b, &c->bounds, c->name, item, s) : -E_NOTSUP;
    sent = items_send(s);
    return r < 0 ? r : sent;
}

static int serve_one(struct served *s, struct backend *b, const struct call *c, struct buf *out)
{
    struct backend_stat st;
    uint8_t v[16];
    int64_t now;
    int r;

    switch (c->op) {
    case TIERD_PUT: return backend_put(b, &c->bounds, c->name, c->p, c->plen);
    case TIERD_PUT_FD: return c->fd < 0 ? -E_PROTO : backend_put_fd(b, &c->bounds, c->name, c->fd, c->len);
    case TIERD_GET: return backend_get(b, &c->bounds, c->name, c->off, (size_t)c->len, out);
    case TIERD_LOOK: return serve_look(s, b, c, out);
    case TIERD_DEL: return backend_del(b, &c->bounds, c->name);
    case TIERD_STAT:
        if ((r = backend_stat(b, &c->bounds, c->name, &st)) < 0)
            return r;
        put_le64(v, st.size);
        put_le64(v + 8, (uint64_t)st.mtime_ns);
        return buf_add(out, v, 16);
    case TIERD_NOW:
        if ((r = backend_now(b, &c->bounds, &now)) < 0)
            return r;
        put_le64(v, (uint64_t)now);
        return buf_add(out, v, 8);
    case TIERD_CLASS_SET: return backend_class_set(b, &c->bounds, c->name, c->after);
    case TIERD_WAKE:
        if ((r = backend_wake(b, &c->bounds, c->name, c->bounds.wake)) < 0)
            return r;
        v[0] = (uint8_t)r;
        return buf_add(out, v, 1);
    case TIERD_LIST:
    case TIERD_CLASSES: return serve_list(s, b, c);
    }
    return -E_PROTO;
}

/* --- lines ---------------------------------------------------------------------------------------------------------- */

struct serving {
    struct backend *b;
    struct line {
        struct serving *of;
        pthread_t thread;
        int fd;
    } more[TIERD_LINES];
    unsigned n;
};

static void *line_main(void *arg);

/* One that gets no thread is closed: who asks on it is told so. */
static void more_lines(struct serving *w, struct msg *m)
{
    for (unsigned i = 0; i < m->nfds && w->n < ARRAY_LEN(w->more); i++) {
        struct line *l = &w->more[w->n];

        *l = (struct line){.of = w, .fd = msg_take_fd(m, i)};
        if (l->fd >= 0 && pthread_create(&l->thread, NULL, line_main, l) == 0)
            w->n++;
        else if (l->fd >= 0)
            close(l->fd);
    }
}

static void lines_end(struct serving *w)
{
    for (unsigned i = 0; i < w->n; i++)
        (void)shutdown(w->more[i].fd, SHUT_RDWR);
    for (unsigned i = 0; i < w->n; i++) {
        pthread_join(w->more[i].thread, NULL);
        close(w->more[i].fd);
    }
}

static int room_map(struct served *s, struct msg *m)
{
    struct stat st;
    void *p;

    if (m->nfds != 1 || s->room || fstat(m->fds[0], &st) < 0 || st.st_size <= 0 ||
        st.st_size > (off_t)TIERD_ROOM_MAX)
        return -E_PROTO;
    p = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, m->fds[0], 0);
    if (p == MAP_FAILED)
        return err_from_errno(errno);
    s->room = p;
    s->room_len = (size_t)st.st_size;
    return 0;
}

static int call_take(int fd, const struct msg *m, struct msg *bytes, struct call *ret)
{
    int r = call_parse(m, ret);

    if (r < 0 || ret->op != TIERD_PUT)
        return r;
    r = msg_recv(fd, TIERD_MSG_MAX, SEND_MS, bytes);
    if (r == 0 && bytes->type != TIERD_BYTES)
        r = -E_PROTO;
    ret->p = bytes->payload.data;
    ret->plen = bytes->payload.len;
    return r;
}

static int answer_why(struct served *s, struct backend *b, int result)
{
    buf_reset(&s->out);
    if (b->ops->why)
        b->ops->why(b, result, &s->out);
    return answer(s->fd, TIERD_DONE, result, s->out.data, s->out.len);
}

static int call_answer(struct served *s, struct backend *b, const struct call *c)
{
    const char *ok = err_name(0);
    int result, r = -E_NOMEM;

    buf_reset(&s->out);
    if (buf_add(&s->out, ok, strlen(ok) + 1) < 0)
        return r;
    result = serve_one(s, b, c, &s->out);
    if (result == 0)
        r = msg_send(s->fd, TIERD_DONE, s->out.data, s->out.len, NULL, 0, SEND_MS);
    else
        r = answer_why(s, b, result);
    if (s->out.cap > OUT_KEPT)
        buf_free(&s->out);
    return r;
}

/* first: the line over which others come. */
static int line_serve(struct serving *w, int fd, bool first)
{
    struct served s = {.fd = fd};
    int r = 0;

    while (r == 0) {
        cleanup(msg_release) struct msg m = {0}, bytes = {0};
        struct call c;

        r = msg_recv(fd, HEAD_ROOM, -1, &m);
        if (r == 0 && m.type == TIERD_MORE && first && w->n == 0) {
            more_lines(w, &m);
            continue;
        }
        if (r == 0 && m.type == TIERD_ROOM) {
            r = room_map(&s, &m);
            continue;
        }
        if (r == 0)
            r = call_take(fd, &m, &bytes, &c);
        if (r == 0)
            r = call_answer(&s, w->b, &c);
    }
    if (s.room)
        munmap(s.room, s.room_len);
    buf_free(&s.items);
    buf_free(&s.out);
    return r;
}

static void *line_main(void *arg)
{
    struct line *l = arg;

    (void)line_serve(l->of, l->fd, false);
    (void)shutdown(l->fd, SHUT_RDWR);
    return NULL;
}

int tierd_serve(int fd, struct backend *b)
{
    struct serving w = {.b = b};
    int r = line_serve(&w, fd, true);

    lines_end(&w);
    backend_close(b);
    return r == -E_CLOSED ? 0 : r;
}
