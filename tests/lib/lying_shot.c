/* What a power cut leaves, in memory. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/hash.h"
#include "tests/lib/lying_model.h"

/* The names of a shot stand in both lists of a directory, now and durable, as on a disk that was just booted. */
struct lying_shot {
    struct lying_node *top;
};

static void enter(struct lying_node *dir, const char *name, struct lying_node *n)
{
    lying__entry_add(&dir->now, name, n);
    lying__entry_add(&dir->durable, name, n);
    lying__node_unref(n);
}

static void ready(struct lying_node *f)
{
    f->size = f->min_synced = f->safe.size;
}

static struct lying_node *shoot(const struct lying_node *from, struct lying_choice *c)
{
    struct lying_node *n = lying__node_new(from->is_dir, from->mode);
    const struct lying_entries *es;

    if (!from->is_dir) {
        lying__content_choose(from, c, &n->safe);
        ready(n);
        return n;
    }
    es = lying__image(from);
    for (size_t i = 0; i < es->n; i++)
        enter(n, es->e[i].name, shoot(es->e[i].node, c));
    return n;
}

struct lying_shot *lying_shot(struct lying *d, uint64_t seed, enum lying_mode mode)
{
    struct lying_shot *s = lying__alloc(sizeof(*s));
    struct lying_choice c;

    pthread_mutex_lock(&d->lock);
    c = lying__choose(d, seed, mode);
    lying__names_choose(d, &c);
    s->top = shoot(d->top, &c);
    lying__names_unchoose(d);
    pthread_mutex_unlock(&d->lock);
    return s;
}

struct lying_node *lying__tree_copy(const struct lying_node *from)
{
    struct lying_node *n = lying__node_new(from->is_dir, from->mode);

    lying__content_copy(&n->safe, &from->safe);
    ready(n);
    for (size_t i = 0; i < from->now.n; i++)
        enter(n, from->now.e[i].name, lying__tree_copy(from->now.e[i].node));
    return n;
}

struct lying_shot *lying_shot_copy(const struct lying_shot *s)
{
    struct lying_shot *to = lying__alloc(sizeof(*to));

    to->top = lying__tree_copy(s->top);
    return to;
}

uint64_t lying__tree_sum(const struct lying_node *n, enum lying_sum of)
{
    const struct lying_content *c = n->seen ? &n->live : &n->safe;
    uint64_t all = n->is_dir || of == LYING_SUM_NAMES ? 1 : lying__content_sum(c, of == LYING_SUM_BYTES);

    for (size_t i = 0; i < n->now.n; i++) {
        const struct lying_entry *e = &n->now.e[i];
        uint64_t one[2] = {hash_sum(2, e->name, strlen(e->name)), lying__tree_sum(e->node, of)};

        all ^= hash_sum(3, one, sizeof(one));
    }
    return all;
}

uint64_t lying_shot_sum(const struct lying_shot *s)
{
    return lying__tree_sum(s->top, LYING_SUM_BYTES);
}

uint64_t lying_sum(struct lying *d, const char *path, enum lying_sum of)
{
    struct lying_node *dir, *n;
    char name[256];
    uint64_t all;

    pthread_mutex_lock(&d->lock);
    assert(d->ram);
    n = lying__find(d, path, &dir, name);
    all = n ? lying__tree_sum(n, of) : 0;
    pthread_mutex_unlock(&d->lock);
    return all;
}

void lying_shot_free(struct lying_shot *s)
{
    if (!s)
        return;
    lying__node_unref(s->top);
    free(s);
}

struct lying *lying_ram(struct lying_shot *s)
{
    static uint64_t number;
    struct lying *d;
    char root[64];

    snprintf(root, sizeof(root), "/lying-ram/%llu", (unsigned long long)++number);
    d = lying__disk_new(root);
    d->ram = true;
    if (!s)
        return d;
    lying__node_unref(d->top);
    d->top = TAKE(s->top);
    lying_shot_free(s);
    return d;
}

static int store(const struct lying_node *dir, const char *path)
{
    int r = mkdir(path, 0700) < 0 ? err_from_errno(errno) : 0;

    for (size_t i = 0; i < dir->now.n && r == 0; i++) {
        const struct lying_node *n = dir->now.e[i].node;
        cleanup(buf_free) struct buf sub = {0};
        int fd;

        if (buf_printf(&sub, "%s/%s", path, dir->now.e[i].name) < 0)
            return -E_NOMEM;
        if (n->is_dir) {
            r = store(n, (char *)sub.data);
            continue;
        }
        fd = (int)syscall(SYS_openat, AT_FDCWD, sub.data, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0)
            return err_from_errno(errno);
        r = lying__content_store(&n->safe, fd);
        syscall(SYS_close, fd);
    }
    return r;
}

int lying_shot_store(const struct lying_shot *s, const char *outdir)
{
    return store(s->top, outdir);
}
