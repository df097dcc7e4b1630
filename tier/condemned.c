#include "tier/condemned.h"

#include <stdio.h>

#include "tier/lease.h"

#define VERSION 1
#define HEAD 12u
#define DIR "condemned/"
#define LIST_BYTES (CHUNK_PLAIN_MAX / 2) /* of packs in one list; as much is left for recovery points */

void condemned_release(struct condemned *c)
{
    idset_free(&c->packs);
    buf_free(&c->lists);
}

static int list_put(struct repo *r, const uint8_t *packs, size_t len, const struct buf *points)
{
    cleanup(buf_free) struct buf b = {0};
    char hex[SHA_TEXT];
    uint8_t head[HEAD];
    struct enc e = {head};
    int x;

    enc_u16(&e, VERSION);
    enc_u16(&e, 0);
    enc_u32(&e, (uint32_t)(len / sizeof(struct sha)));
    enc_u32(&e, (uint32_t)(points->len / sizeof(struct sha)));
    if ((x = buf_add(&b, head, sizeof(head))) < 0 || (x = buf_add(&b, packs, len)) < 0 ||
        (x = buf_add(&b, points->data, points->len)) < 0)
        return x;
    return repo_put_object(r, "condemned", CHUNK_CONDEMNED, b.data, b.len, hex);
}

/* Each list is true alone: a death between two leaves the rest to the next prune. */
int condemned_put(struct repo *r, const struct buf *packs, const struct buf *points)
{
    int x = 0;

    for (size_t at = 0; x == 0 && at < packs->len; at += LIST_BYTES)
        x = list_put(r, packs->data + at, MIN_OF(packs->len - at, (size_t)LIST_BYTES), points);
    return x;
}

/* The two halves of a list, as they lie in its bytes. */
static int list_open(const struct buf *b, struct dec *ret_packs, struct dec *ret_points)
{
    struct dec d = dec_of(b->data, b->len);
    uint16_t version = dec_u16(&d);
    size_t packs, points;

    dec_u16(&d);
    packs = (size_t)dec_u32(&d) * sizeof(struct sha);
    points = (size_t)dec_u32(&d) * sizeof(struct sha);
    if (d.bad)
        return -E_CORRUPT;
    if (version != VERSION)
        return -E_REPO_NEWER;
    if (d.left != packs + points)
        return -E_CORRUPT;
    *ret_packs = dec_of(d.p, packs);
    *ret_points = dec_of(d.p + packs, points);
    return 0;
}

/* --- all lists ------------------------------------------------------------------------------------------------------ */

struct list {
    char name[BACKEND_NAME_MAX + 1];
    struct backend_stat st;
};

struct reading_damage {
    struct repo *r;
    struct buf names; /* struct list each */
};

static int name_take(void *arg, const char *name, const struct backend_stat *st)
{
    struct list l = {.st = *st};

    snprintf(l.name, sizeof(l.name), "%s", name);
    return buf_add(arg, &l, sizeof(l));
}

static int list_read(struct repo *r, const char *name, struct buf *room, struct dec *ret_packs,
                     struct dec *ret_points)
{
    int x = repo_object(r, name, CHUNK_CONDEMNED, room);

    return x < 0 ? x : list_open(room, ret_packs, ret_points);
}

static bool is_damaged(int x)
{
    return x == -E_CORRUPT || x == -E_KEY;
}

static void say_damaged(int x, const char *name)
{
    char text[BACKEND_NAME_MAX + 200];

    snprintf(text, sizeof(text),
             "%s, a list of packs that are to be deleted, is damaged; varve repo verify --repair removes it",
             name);
    backend_text_set(x, text, strlen(text));
}

/* cb: name, backend's word, the bytes' halves. One that is gone when it is read has been carried out. */
static int lists_each(struct repo *r,
                      int (*cb)(void *arg, const struct list *l, struct dec packs, struct dec points),
                      void *arg)
{
    cleanup(buf_free) struct buf names = {0};
    int x = backend_list(r->b, &r->call, DIR, "", name_take, &names);

    for (size_t at = 0; x == 0 && at < names.len; at += sizeof(struct list)) {
        cleanup(buf_free) struct buf b = {0};
        struct dec packs, points;
        struct list l;

        memcpy(&l, names.data + at, sizeof(l));
        x = list_read(r, l.name, &b, &packs, &points);
        if (is_damaged(x))
            say_damaged(x, l.name);
        if (x == 0)
            x = cb(arg, &l, packs, points);
        else if (x == -E_NOENT)
            x = 0;
    }
    return x;
}

int condemned_check(struct repo *r, const char *name)
{
    cleanup(buf_free) struct buf b = {0};
    struct dec packs, points;

    return list_read(r, name, &b, &packs, &points);
}

int condemned_lasts(struct repo *r, const char *name)
{
    cleanup(buf_free) struct buf b = {0};
    struct dec packs, points;
    int x = list_read(r, name, &b, &packs, &points);

    return x < 0 ? x : points.left == 0;
}

static int damaged_take(void *arg, const char *name, const struct backend_stat *st)
{
    struct reading_damage *d = arg;
    int x = condemned_check(d->r, name);

    if (is_damaged(x))
        return name_take(&d->names, name, st);
    return x == -E_NOENT ? 0 : x;
}

/* With the lease, so that nobody is deleting by them. */
static int damaged_delete(struct reading_damage *d, uint64_t *ret_gone, struct buf *err)
{
    struct lease lease = {.number = 0};
    int x = BROKEN(VARVE_BREAK_mend_lease) ? 0 : lease_take(d->r, &lease, err);

    for (size_t at = 0; x == 0 && at < d->names.len; at += sizeof(struct list)) {
        struct list l;

        memcpy(&l, d->names.data + at, sizeof(l));
        x = lease_keep(&lease);
        if (x == 0)
            x = backend_del(d->r->b, &d->r->call, l.name);
        *ret_gone += x == 0;
        x = x == -E_NOENT ? 0 : x;
    }
    lease_drop(&lease);
    return x;
}

int condemned_mend(struct repo *r, uint64_t *ret_gone, struct buf *err)
{
    struct reading_damage d = {.r = r};
    int x = backend_list(r->b, &r->call, DIR, "", damaged_take, &d);

    *ret_gone = 0;
    if (x == 0 && d.names.len)
        x = damaged_delete(&d, ret_gone, err);
    buf_free(&d.names);
    return x;
}

struct giving {
    int (*cb)(void *arg, const char *name, const struct backend_stat *st, const struct buf *packs);
    void *arg;
};

static int give(void *arg, const struct list *l, struct dec packs, struct dec points)
{
    cleanup(buf_free) struct buf b = {0};
    struct giving *g = arg;
    int r = buf_add(&b, packs.p, packs.left);

    (void)points;
    return r < 0 ? r : g->cb(g->arg, l->name, &l->st, &b);
}

int condemned_each(struct repo *r,
                   int (*cb)(void *arg, const char *name, const struct backend_stat *st,
                             const struct buf *packs),
                   void *arg)
{
    struct giving g = {cb, arg};

    return lists_each(r, give, &g);
}

/* --- for writers ---------------------------------------------------------------------------------------------------- */

struct reading {
    const struct point *base;
    struct condemned *ret;
};

static bool has_sha(const uint8_t *p, size_t len, const struct sha *s)
{
    for (size_t at = 0; at < len; at += sizeof(*s))
        if (memcmp(p + at, s->b, sizeof(*s)) == 0)
            return true;
    return false;
}

/* The list was made with the base in sight, or the base with the list. */
static int base_kept(const struct point *base, const struct sha *list, const struct dec *points, bool *ret)
{
    struct sha id;
    int r = hex_parse(base->id, id.b, sizeof(id.b));

    *ret = r == 0 &&
           (has_sha(points->p, points->left, &id) || has_sha(base->regarded.data, base->regarded.len, list));
    return r;
}

static int read_one(void *arg, const struct list *l, struct dec packs, struct dec points)
{
    struct reading *g = arg;
    struct sha list, pack;
    bool kept = true;
    int r = hex_parse(l->name + strlen(DIR), list.b, sizeof(list.b));

    if (r == 0 && g->base)
        r = base_kept(g->base, &list, &points, &kept);
    g->ret->base_kept = g->ret->base_kept && kept;
    if (r == 0)
        r = buf_add(&g->ret->lists, list.b, sizeof(list.b));
    while (r == 0 && packs.left) {
        struct id16 id;

        dec_copy(&packs, pack.b, sizeof(pack.b));
        id = sha_half(&pack);
        r = idset_put(&g->ret->packs, &id, NULL);
    }
    return r;
}

int condemned_read(struct repo *r, const struct point *base, struct condemned *ret)
{
    struct condemned c = {.base_kept = true};
    struct reading g = {base, &c};
    int x = lists_each(r, read_one, &g);

    if (x < 0)
        condemned_release(&c);
    else
        *ret = c;
    return x;
}
