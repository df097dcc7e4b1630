#include "tests/tier/mem.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "tests/lib/test.h"

struct object {
    char name[BACKEND_NAME_MAX + 1];
    struct buf bytes;
    int64_t mtime_ns;
};

struct mem {
    pthread_mutex_t lock;
    struct object *v; /* ascending */
    size_t n;
    uint64_t fault_at, calls;
    enum mem_fault what;
    bool puts_only, hit, closed;
    const char *refuse, *ghost, *beside;
    bool seen; /* the ghost was */
    int64_t later_ns;
};

struct mem_backend {
    struct backend b;
    struct mem *m;
};

struct mem *mem_new(void)
{
    struct mem *m = calloc(1, sizeof(*m));

    CHECK(m != NULL);
    pthread_mutex_init(&m->lock, NULL);
    return m;
}

void mem_free(struct mem *m)
{
    for (size_t i = 0; i < m->n; i++)
        buf_free(&m->v[i].bytes);
    free(m->v);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

void mem_fault(struct mem *m, uint64_t n, enum mem_fault what, bool puts_only)
{
    m->fault_at = n;
    m->calls = 0;
    m->what = what;
    m->puts_only = puts_only;
    m->hit = m->closed = false;
}

void mem_refuse(struct mem *m, const char *prefix)
{
    m->refuse = prefix;
}

void mem_later(struct mem *m, int64_t ns)
{
    m->later_ns += ns;
}

uint64_t mem_calls(const struct mem *m)
{
    return m->calls;
}

bool mem_hit(const struct mem *m)
{
    return m->hit;
}

/* 1: do it and lose the answer; 0: all is well; negative: give that. */
static int faulty(struct mem *m, bool put)
{
    if (m->closed)
        return -E_CLOSED;
    if (m->puts_only && !put)
        return 0;
    if (++m->calls != m->fault_at)
        return 0;
    m->hit = true;
    switch (m->what) {
    case MEM_FAIL: return -E_IO;
    case MEM_UNSURE_DONE: return put ? 1 : -E_IO;
    case MEM_UNSURE_NOT: return put ? -E_UNSURE : -E_IO;
    case MEM_CLOSED: m->closed = true; return -E_CLOSED;
    }
    return 0;
}

/* Where a name is, or would be. */
static size_t place(const struct mem *m, const char *name, bool *there)
{
    size_t i = 0;

    while (i < m->n && strcmp(m->v[i].name, name) < 0)
        i++;
    *there = i < m->n && strcmp(m->v[i].name, name) == 0;
    return i;
}

static struct mem *begin(struct backend *b)
{
    struct mem *m = ((struct mem_backend *)b)->m;

    pthread_mutex_lock(&m->lock);
    return m;
}

static int end(struct mem *m, int r)
{
    pthread_mutex_unlock(&m->lock);
    return r;
}

static void insert(struct mem *m, const char *name, const void *p, size_t len)
{
    struct object o = {.mtime_ns = clock_wall_ns() + m->later_ns};
    bool there;
    size_t i = place(m, name, &there);

    CHECK(!there);
    snprintf(o.name, sizeof(o.name), "%s", name);
    CHECK_OK(buf_add(&o.bytes, p, len));
    m->v = realloc(m->v, (m->n + 1) * sizeof(*m->v));
    CHECK(m->v != NULL);
    memmove(m->v + i + 1, m->v + i, (m->n - i) * sizeof(*m->v));
    m->v[i] = o;
    m->n++;
}

void mem_ghost(struct mem *m, const char *name, const char *beside)
{
    m->ghost = name;
    m->beside = beside;
    m->seen = false;
    if (name)
        insert(m, name, "ghost", 5);
}

static void meet_ghost(struct mem *m, const char *name)
{
    if (m->ghost && strcmp(name, m->ghost) == 0)
        m->seen = true;
    else if (m->seen && m->beside)
        insert(m, TAKE(m->beside), "", 0);
}

static int mem_put(struct backend *b, const struct backend_call *c, const char *name, const void *p,
                   size_t len)
{
    int r = backend_name_check(name), f;
    struct mem *m = begin(b);
    bool there;

    if (r == 0)
        r = backend_call_check(c, clock_mono_ns());
    if (r < 0 || (f = faulty(m, true)) < 0)
        return end(m, r < 0 ? r : f);
    meet_ghost(m, name);
    place(m, name, &there);
    if (there)
        return end(m, f == 1 ? -E_UNSURE : -E_EXIST);
    insert(m, name, p, len);
    return end(m, f == 1 ? -E_UNSURE : 0);
}

/* Where an object stands that is there. -E_NOENT, and what the call or a fault says. */
static int find(struct mem *m, const struct backend_call *c, const char *name, size_t *ret)
{
    int r = backend_name_check(name);
    bool there;

    if (r == 0)
        r = backend_call_check(c, clock_mono_ns());
    if (r == 0)
        r = faulty(m, false);
    *ret = place(m, name, &there);
    return r == 0 && !there ? -E_NOENT : r;
}

static int mem_get(struct backend *b, const struct backend_call *c, const char *name, uint64_t off,
                   size_t len, struct buf *ret)
{
    struct mem *m = begin(b);
    size_t i;
    int r = find(m, c, name, &i);

    if (r == 0 && off < m->v[i].bytes.len)
        r = buf_add(ret, m->v[i].bytes.data + off, MIN_OF(len, m->v[i].bytes.len - (size_t)off));
    return end(m, r);
}

static int mem_stat(struct backend *b, const struct backend_call *c, const char *name,
                    struct backend_stat *ret)
{
    struct mem *m = begin(b);
    size_t i;
    int r = find(m, c, name, &i);

    if (r == 0)
        *ret = (struct backend_stat){m->v[i].bytes.len, m->v[i].mtime_ns};
    return end(m, r);
}

struct listed {
    char name[BACKEND_NAME_MAX + 1];
    struct backend_stat st;
};

/* As they are at this moment; what is deleted before it is told is told all the same. */
static int mem_list(struct backend *b, const struct backend_call *c, const char *prefix, const char *after,
                    int (*cb)(void *arg, const char *name, const struct backend_stat *st), void *arg)
{
    cleanup(buf_free) struct buf names = {0};
    size_t n = strlen(prefix);
    struct mem *m = begin(b);
    int r = n && prefix[n - 1] != '/' ? -E_INVAL : 0;

    if (r == 0)
        r = backend_call_check(c, clock_mono_ns());
    if (r == 0)
        r = faulty(m, false);
    for (size_t i = 0; r == 0 && i < m->n; i++) {
        struct listed l = {.st = {m->v[i].bytes.len, m->v[i].mtime_ns}};

        memcpy(l.name, m->v[i].name, sizeof(l.name));
        if (strcmp(l.name, after) > 0 && strncmp(l.name, prefix, n) == 0 &&
            !(m->ghost && strcmp(l.name, m->ghost) == 0))
            CHECK_OK(buf_add(&names, &l, sizeof(l)));
    }
    end(m, r);
    for (size_t at = 0; r == 0 && at < names.len; at += sizeof(struct listed)) {
        const struct listed *l = (const struct listed *)(const void *)(names.data + at);

        r = cb(arg, l->name, &l->st);
    }
    return r;
}

static int mem_del(struct backend *b, const struct backend_call *c, const char *name)
{
    struct mem *m = begin(b);
    size_t i;
    int r = find(m, c, name, &i);

    if (r == 0 && m->refuse && strncmp(name, m->refuse, strlen(m->refuse)) == 0 &&
        strncmp(name, "lease/", 6) != 0)
        r = -E_ACCES;
    if (r < 0)
        return end(m, r);
    buf_free(&m->v[i].bytes);
    memmove(m->v + i, m->v + i + 1, (m->n - i - 1) * sizeof(*m->v));
    m->n--;
    return end(m, 0);
}

static int mem_now(struct backend *b, const struct backend_call *c, int64_t *ret_ns)
{
    struct mem *m = begin(b);
    int r = backend_call_check(c, clock_mono_ns());

    if (r == 0)
        r = faulty(m, false);
    *ret_ns = clock_wall_ns() + m->later_ns;
    return end(m, r);
}

static void mem_close(struct backend *b)
{
    free(b);
}

struct backend *mem_backend(struct mem *m)
{
    static const struct backend_ops ops = {.put = mem_put,
                                           .get = mem_get,
                                           .stat = mem_stat,
                                           .list = mem_list,
                                           .del = mem_del,
                                           .now = mem_now,
                                           .close = mem_close};
    struct mem_backend *b = calloc(1, sizeof(*b));

    CHECK(b != NULL);
    b->b.ops = &ops;
    b->m = m;
    return &b->b;
}

/* --- looking, damaging ---------------------------------------------------------------------------------------------- */

size_t mem_count(const struct mem *m, const char *prefix)
{
    size_t n = 0;

    for (size_t i = 0; i < m->n; i++)
        n += strncmp(m->v[i].name, prefix, strlen(prefix)) == 0;
    return n;
}

uint64_t mem_bytes(const struct mem *m, const char *prefix)
{
    uint64_t n = 0;

    for (size_t i = 0; i < m->n; i++)
        n += strncmp(m->v[i].name, prefix, strlen(prefix)) == 0 ? m->v[i].bytes.len : 0;
    return n;
}

const char *mem_name(const struct mem *m, const char *prefix, size_t at)
{
    for (size_t i = 0; i < m->n; i++)
        if (strncmp(m->v[i].name, prefix, strlen(prefix)) == 0 && at-- == 0)
            return m->v[i].name;
    return NULL;
}

static struct object *object(struct mem *m, const char *name)
{
    bool there;
    size_t i = place(m, name, &there);

    CHECK(there);
    return &m->v[i];
}

void mem_flip(struct mem *m, const char *name, size_t at)
{
    struct object *o = object(m, name);

    CHECK(at < o->bytes.len);
    o->bytes.data[at] ^= 0x10;
}

void mem_cut(struct mem *m, const char *name, size_t len)
{
    struct object *o = object(m, name);

    o->bytes.len = MIN_OF(o->bytes.len, len);
}

void mem_drop(struct mem *m, const char *name)
{
    struct backend *b = mem_backend(m);
    char copy[BACKEND_NAME_MAX + 1];

    snprintf(copy, sizeof(copy), "%s", name);
    mem_fault(m, 0, MEM_FAIL, false);
    mem_refuse(m, NULL);
    CHECK_OK(backend_del(b, NULL, copy));
    backend_close(b);
}
