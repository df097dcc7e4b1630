#include "tier/transition.h"

#include <stdlib.h>
#include <string.h>

#include "tier/idset.h"

#define NAMED 1
#define METADATA 2

struct moving {
    struct repo *r;
    const struct transition_opts *o;
    struct transition_result *res;
    struct idset packs; /* halves of their names: NAMED, METADATA */
    struct buf todo;    /* struct item each */
    uint64_t done_bytes;
};
struct item {
    char name[PACK_NAME];
    uint64_t size;
};

int transition_class_check(const char *class)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";

    return *class && strlen(class) < BACKEND_CLASS_MAX && strspn(class, allowed) == strlen(class) ? 0
                                                                                                  : -E_INVAL;
}

enum transition_verdict transition_decide(const struct transition_opts *o, const struct transition_pack *p)
{
    if (strcmp(p->class, o->class) == 0)
        return TRANSITION_THERE;
    if (!p->named)
        return TRANSITION_UNNAMED;
    if (p->metadata && !BROKEN(VARVE_BREAK_transition_meta))
        return TRANSITION_METADATA;
    return p->mtime_ns >= o->before_ns ? TRANSITION_YOUNG : TRANSITION_MOVE;
}

/* --- what the indexes say ------------------------------------------------------------------------------------------- */

static int chunk_see(void *arg, const struct id16 *id, const struct have_chunk *c)
{
    uint64_t *state = arg;

    (void)id;
    if (c->kind != CHUNK_DATA)
        *state |= METADATA;
    return 0;
}

static int pack_see(void *arg, const struct sha *pack, uint64_t size, const void *trailer, size_t len)
{
    struct moving *w = arg;
    struct id16 id = sha_half(pack);
    uint64_t *state;
    struct trailer_cb cb = {.chunk = chunk_see};
    int r = idset_put(&w->packs, &id, &state);

    (void)size;
    if (r < 0)
        return r;
    *state |= NAMED;
    cb.arg = state;
    return trailer_walk(pack, trailer, len, &cb);
}

/* One that is gone since it was listed, or damaged: what it names stays as it is. */
static int index_see(void *arg, const char *name, const struct backend_stat *st)
{
    cleanup(buf_free) struct buf b = {0};
    struct moving *w = arg;
    int r = repo_object(w->r, name, CHUNK_INDEX, &b);

    (void)st;
    if (r == 0)
        r = index_walk(b.data, b.len, pack_see, w);
    return r == -E_NOENT || r == -E_CORRUPT || r == -E_KEY ? 0 : r;
}

/* --- packs ---------------------------------------------------------------------------------------------------------- */

static int note(struct moving *w, const char *name, uint64_t size)
{
    struct item it = {.size = size};

    w->res->packs++;
    w->res->bytes += size;
    memcpy(it.name, name, MIN_OF(strlen(name) + 1, sizeof(it.name)));
    return buf_add(&w->todo, &it, sizeof(it));
}

static int pack_look(void *arg, const char *name, const char *class, const struct backend_stat *st)
{
    struct transition_pack p = {.class = class, .mtime_ns = st->mtime_ns};
    struct moving *w = arg;
    const uint64_t *state;
    struct sha sha;
    struct id16 id;

    if (pack_name_parse(name, &sha) < 0)
        return 0;
    id = sha_half(&sha);
    state = idset_get(&w->packs, &id);
    p.named = state != NULL;
    p.metadata = state && *state & METADATA;
    switch (transition_decide(w->o, &p)) {
    case TRANSITION_MOVE: return note(w, name, st->size);
    case TRANSITION_THERE:
        w->res->there++;
        w->res->there_bytes += st->size;
        break;
    case TRANSITION_YOUNG: w->res->young++; break;
    case TRANSITION_METADATA: w->res->metadata++; break;
    case TRANSITION_UNNAMED: w->res->unnamed++; break;
    }
    return 0;
}

/* What went meanwhile, or cannot be copied, is counted no more. */
static int move_one(struct moving *w, const struct item *it)
{
    int r = backend_class_set(w->r->b, &w->r->call, it->name, w->o->class);

    if (r < 0 && r != -E_NOENT && r != -E_ARCHIVED)
        return r;
    w->res->archived += r == -E_ARCHIVED;
    w->res->packs += r == 0;
    w->res->bytes += r == 0 ? it->size : 0;
    return w->o->progress ? w->o->progress(w->o->arg, w->res->packs, w->res->bytes) : 0;
}

static int move_all(struct moving *w)
{
    const struct item *v = (const struct item *)(const void *)w->todo.data;
    size_t n = w->todo.len / sizeof(*v);
    int r = 0;

    w->res->packs = w->res->bytes = 0;
    for (size_t i = 0; r == 0 && i < n; i++)
        r = move_one(w, &v[i]);
    return r;
}

int transition_run(struct repo *r, const struct transition_opts *o, struct transition_result *ret,
                   struct buf *err)
{
    struct moving w = {.r = r, .o = o, .res = ret};
    int x;

    *ret = (struct transition_result){.packs = 0};
    x = r->b->ops->classes ? backend_list(r->b, &r->call, "index/", "", index_see, &w) : -E_NOTSUP;

    if (x == 0)
        x = backend_classes(r->b, &r->call, "packs/", pack_look, &w);
    if (x == 0 && !o->dry)
        x = move_all(&w);
    if (x == -E_NOTSUP && !strstr(backend_text(x), "storage classes"))
        buf_puts(err,
                 "there are no storage classes here: a repository in a directory, or in RADOS, has none");
    else if (x < 0)
        buf_puts(err, backend_text(x));
    idset_free(&w.packs);
    buf_free(&w.todo);
    return x;
}
