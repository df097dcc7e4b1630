/* What was changed on a disk, kept so that it can be done to another. */
#include <stdlib.h>

#include "base/hash.h"
#include "tests/lib/lying_model.h"

struct change {
    enum lying_kind kind;
    char *path; /* below the part that is watched */
    uint64_t off, len;
    uint8_t *bytes;
};
struct lying_log {
    char *below; /* as the paths of descriptors are */
    size_t below_len;
    bool renamed;
    struct change *c;
    size_t n, cap;
};

struct lying_log *lying_log_new(void)
{
    return lying__alloc(sizeof(struct lying_log));
}

void lying_log_free(struct lying_log *log)
{
    if (!log)
        return;
    for (size_t i = 0; i < log->n; i++) {
        free(log->c[i].path);
        free(log->c[i].bytes);
    }
    free(log->c);
    free(log->below);
    free(log);
}

static const char *below_root(const struct lying *d, const char *path)
{
    path += d->root_len;
    return path + strspn(path, "/");
}

void lying_log_begin(struct lying *d, const char *path, struct lying_log *log)
{
    pthread_mutex_lock(&d->lock);
    assert(d->ram && !d->log && !log->below && lying__below(d, path));
    log->below = strdup(below_root(d, path));
    assert(log->below);
    log->below_len = strlen(log->below);
    d->log = log;
    pthread_mutex_unlock(&d->lock);
}

void lying_log_end(struct lying *d)
{
    pthread_mutex_lock(&d->lock);
    d->log = NULL;
    pthread_mutex_unlock(&d->lock);
}

bool lying_log_whole(const struct lying_log *log)
{
    return !log->renamed;
}

/* path: below the root. */
static void keep(struct lying_log *log, enum lying_kind kind, const char *path, uint64_t off, uint64_t len,
                 const void *bytes)
{
    struct change *c;

    if (strncmp(path, log->below, log->below_len) != 0 || path[log->below_len] != '/')
        return;
    log->renamed |= kind == LYING_RENAME;
    log->c = lying__grow(log->c, &log->cap, log->n, sizeof(*log->c));
    c = &log->c[log->n++];
    *c = (struct change){.kind = kind, .off = off, .len = len};
    c->path = strdup(path + log->below_len + 1);
    assert(c->path);
    if (!bytes)
        return;
    c->bytes = malloc(len);
    assert(c->bytes);
    memcpy(c->bytes, bytes, len);
}

void lying__log(struct lying *d, enum lying_kind kind, const char *path, uint64_t off, uint64_t len,
                const void *bytes)
{
    if (d->log)
        keep(d->log, kind, below_root(d, path), off, len, bytes);
}

void lying__log_fd(struct lying *d, enum lying_kind kind, int fd, uint64_t off, uint64_t len,
                   const void *bytes)
{
    if (d->log)
        keep(d->log, kind, lying__fd(d, fd)->path, off, len, bytes);
}

/* The directory that a path ends in, and the last word. */
static struct lying_node *parent_of(struct lying_node *top, const char *path, const char **ret_name)
{
    const char *end;

    while ((end = strchr(path, '/'))) {
        char word[256];

        assert(top && end - path < 256);
        memcpy(word, path, (size_t)(end - path));
        word[end - path] = 0;
        top = lying__entry(&top->now, word);
        path = end + 1;
    }
    *ret_name = path;
    return top;
}

static void make(struct lying_node *dir, const char *name, const struct change *c)
{
    struct lying_node *n = lying__node_new(c->kind == LYING_MKDIR, (mode_t)c->len);

    lying__entry_set(&dir->now, name, n);
    lying__node_unref(n);
}

static void redo(struct lying_node *top, const struct change *c)
{
    const char *name;
    struct lying_node *dir = parent_of(top, c->path, &name);
    struct lying_node *n = dir ? lying__entry(&dir->now, name) : NULL;
    uint64_t size = n ? n->safe.size : 0;

    if (!dir)
        return;
    if (c->kind == LYING_CREATE || c->kind == LYING_MKDIR)
        make(dir, name, c);
    else if (c->kind == LYING_UNLINK)
        lying__entry_set(&dir->now, name, NULL);
    else if (n && c->kind == LYING_WRITE)
        lying__content_write(&n->safe, c->off, c->bytes, c->len);
    else if (n && c->kind == LYING_TRUNCATE)
        lying__content_truncate(&n->safe, c->off);
    else if (n && c->kind == LYING_PUNCH)
        lying__content_punch(&n->safe, c->off, c->off < size ? MIN_OF(c->len, size - c->off) : 0);
}

static void part_sum(struct lying_node *top, const struct lying_part *p, uint64_t ret[2])
{
    uint64_t here[2][4] = {0};
    const char *name;
    struct lying_node *dir = parent_of(top, p->path, &name);
    struct lying_node *n = dir ? lying__entry(&dir->now, name) : NULL;
    uint64_t sum[2] = {0};

    if (n)
        lying__content_part_sum(n->seen ? &n->live : &n->safe, p->first, p->pages, sum);
    for (unsigned i = 0; i < 2; i++) {
        here[i][0] = ret[i];
        here[i][1] = n ? 1 : 2;
        here[i][2] = sum[0];
        here[i][3] = i ? sum[1] : 0;
        ret[i] = hash_sum(5, here[i], sizeof(here[i]));
    }
}

void lying_parts_sum(struct lying *d, const char *path, const struct lying_log *then,
                     const struct lying_part *part, size_t n, uint64_t ret[2])
{
    struct lying_node *dir, *top;
    char name[256];

    pthread_mutex_lock(&d->lock);
    assert(d->ram && (!then || lying_log_whole(then)));
    top = lying__find(d, path, &dir, name);
    assert(top);
    top = then && then->n ? lying__tree_copy(top) : lying__node_ref(top);
    for (size_t i = 0; then && i < then->n; i++)
        redo(top, &then->c[i]);
    ret[0] = ret[1] = 1;
    for (size_t i = 0; i < n; i++)
        part_sum(top, &part[i], ret);
    lying__node_unref(top);
    pthread_mutex_unlock(&d->lock);
}
