/* What a keeper holds, and how it goes from one to the next. */
#include <stdlib.h>
#include <unistd.h>

#include "fs/keeper_i.h"
#include "fs/session.h"

struct hold *keeper_hold(struct keeper *k, uint64_t conn)
{
    struct hold *h = k->holds;

    while (h && h->conn != conn)
        h = h->next;
    return h;
}

static void hold_free(struct hold *h)
{
    close(h->fd);
    free(h->snap);
    free(h->opts);
    free(h);
}

int keeper_hold_add(struct keeper *k, const struct keeper_msg *m, int fd)
{
    struct hold *h = calloc(1, sizeof(*h));

    if (h) {
        *h = (struct hold){.conn = m->conn, .vol = m->n, .fd = fd, .told = SESSION_TOLD_UNKNOWN};
        h->snap = strdup(keeper_field(m, 0));
        h->opts = strdup(keeper_field(m, 1));
    }
    if (!h || !h->snap || !h->opts) {
        if (h)
            hold_free(h);
        else
            close(fd);
        return -E_NOMEM;
    }
    h->next = k->holds;
    k->holds = h;
    return 0;
}

void keeper_hold_drop(struct keeper *k, uint64_t conn)
{
    for (struct hold **at = &k->holds; *at; at = &(*at)->next)
        if ((*at)->conn == conn) {
            struct hold *h = *at;

            *at = h->next;
            hold_free(h);
            return;
        }
}

void keeper_place_add(struct keeper *k, const char *dir)
{
    struct place *p;

    for (p = k->places; p; p = p->next)
        if (strcmp(p->dir, dir) == 0)
            return;
    p = calloc(1, sizeof(*p));
    if (p)
        p->dir = strdup(dir);
    if (!p || !p->dir) {
        free(p);
        return;
    }
    p->next = k->places;
    k->places = p;
}

void keeper_place_remove(struct keeper *k, const char *dir)
{
    for (struct place **at = &k->places; *at; at = &(*at)->next)
        if (strcmp((*at)->dir, dir) == 0) {
            struct place *p = *at;

            *at = p->next;
            free(p->dir);
            free(p);
            return;
        }
}

typedef int (*put_fn)(void *arg, const struct keeper_msg *m, int fd);

static int tell_holds(struct keeper *k, put_fn put, void *arg)
{
    struct keeper_msg m;
    int r = 0;

    for (struct hold *h = k->holds; h && r == 0; h = h->next) {
        m = (struct keeper_msg){
            .kind = KEEPER_RESTORE, .conn = h->conn, .n = h->vol, .init_len = h->init_len};
        memcpy(m.init, h->init, h->init_len);
        r = keeper_put(&m, h->snap);
        if (r == 0)
            r = keeper_put(&m, h->opts);
        if (r == 0)
            r = keeper_put_told(&m, h->told);
        if (r == 0)
            r = put(arg, &m, h->fd);
    }
    return r;
}

/* Oldest first: each is put before the others by who gets them. */
static int tell_places(const struct place *p, put_fn put, void *arg)
{
    struct keeper_msg m = {.kind = KEEPER_PLACE};
    int r = p ? tell_places(p->next, put, arg) : 0;

    if (!p || r < 0)
        return r;
    r = keeper_put(&m, p->dir);
    return r < 0 ? r : put(arg, &m, -1);
}

int keeper_tell_all(struct keeper *k, uint32_t n, put_fn put, void *arg)
{
    struct keeper_msg m = {.kind = KEEPER_HELLO, .n = n};
    int r;

    keeper_service_print(k, &m);
    r = put(arg, &m, -1);
    if (r == 0)
        r = tell_holds(k, put, arg);
    if (r == 0)
        r = tell_places(k->places, put, arg);
    m = (struct keeper_msg){.kind = KEEPER_LISTEN};
    if (r == 0 && k->listen >= 0)
        r = put(arg, &m, k->listen);
    m = (struct keeper_msg){.kind = KEEPER_GO};
    return r < 0 ? r : put(arg, &m, -1);
}

static int put_to_socket(void *arg, const struct keeper_msg *m, int fd)
{
    return keeper_send(*(const int *)arg, m, fd);
}

int keeper_hand_over(struct keeper *k, int sock, uint32_t n)
{
    return keeper_tell_all(k, n, put_to_socket, &sock);
}

int keeper_take_one(struct keeper *k, const struct keeper_msg *m, int fd, uint32_t *ret_n)
{
    struct hold *h;
    int r = 0;

    switch (m->kind) {
    case KEEPER_HELLO:
        *ret_n = m->n;
        k->generation = strtoull(keeper_field(m, 2), NULL, 10);
        break;
    case KEEPER_PLACE: keeper_place_add(k, keeper_field(m, 0)); break;
    case KEEPER_LISTEN: k->listen = fd; return 0;
    case KEEPER_RESTORE:
        r = fd >= 0 ? keeper_hold_add(k, m, fd) : -E_PROTO;
        h = r == 0 ? keeper_hold(k, m->conn) : NULL;
        if (h) {
            memcpy(h->init, m->init, m->init_len);
            h->init_len = m->init_len;
            h->told = keeper_told(m, 2);
        }
        return r;
    default: break;
    }
    if (fd >= 0)
        close(fd);
    return r;
}

int keeper_take_over(struct keeper *k, int sock, uint32_t *ret_n)
{
    struct keeper_msg *m = malloc(sizeof(*m));
    int fd = -1;
    int r = m ? keeper_recv(sock, m, &fd) : -E_NOMEM;

    while (r == 0 && m->kind != KEEPER_GO) {
        r = keeper_take_one(k, m, fd, ret_n);
        if (r == 0)
            r = keeper_recv(sock, m, &fd);
    }
    free(m);
    return r;
}
