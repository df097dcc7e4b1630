/* Names and bytes in memory. All under one lock, which floor.c holds. */
#include "tests/bench/floor.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#define BUCKETS (1u << 18)
#define ROOM_LEAST 4096u

struct node floor_root;
static struct entry *buckets[BUCKETS];

struct node *node_of(uint64_t id)
{
    return id == FUSE_ROOT_ID ? &floor_root : (struct node *)(uintptr_t)id;
}

uint64_t node_id(const struct node *n)
{
    return n == &floor_root ? FUSE_ROOT_ID : (uint64_t)(uintptr_t)n;
}

void node_touch(struct node *n, bool data)
{
    clock_gettime(CLOCK_REALTIME_COARSE, &n->ctime);
    if (data)
        n->mtime = n->ctime;
}

struct node *node_new(uint32_t mode, const struct fuse_in_header *h)
{
    struct node *n = calloc(1, sizeof(*n));

    if (!n)
        return NULL;
    n->mode = mode;
    n->uid = h->uid;
    n->gid = h->gid;
    n->nlink = S_ISDIR(mode) ? 1 : 0; /* one more by its name */
    node_touch(n, true);
    n->atime = n->mtime;
    return n;
}

static void data_free(struct node *n)
{
    if (n->room >= MIB)
        munmap(n->data, n->room);
    else
        free(n->data);
    n->data = NULL;
    n->room = 0;
}

static void node_end(struct node *n)
{
    if (n->held > 0 || n->nlink > (S_ISDIR(n->mode) ? 1u : 0u) || n == &floor_root)
        return;
    while (n->xattrs) {
        struct xattr *x = n->xattrs;

        n->xattrs = x->next;
        free(x->name);
        free(x);
    }
    data_free(n);
    free(n);
}

void node_forget(struct node *n, uint64_t count)
{
    n->held -= MIN_OF(count, n->held);
    node_end(n);
}

/* Small files lie in the heap; large ones in mappings, which grow without a copy. */
static int data_grow(struct node *n, size_t size)
{
    size_t room = MAX_OF(n->room * 2, (size_t)ROOM_LEAST);
    uint8_t *p;

    while (room < size)
        room *= 2;
    if (n->room >= MIB) {
        p = mremap(n->data, n->room, room, MREMAP_MAYMOVE);
        if (p == MAP_FAILED)
            return -ENOMEM;
    } else if (room >= MIB) {
        p = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED)
            return -ENOMEM;
        memcpy(p, n->data ? n->data : (uint8_t *)"", n->data ? MIN_OF(n->size, (uint64_t)n->room) : 0);
        free(n->data);
    } else {
        p = realloc(n->data, room);
        if (!p)
            return -ENOMEM;
        memset(p + n->room, 0, room - n->room);
    }
    n->data = p;
    n->room = room;
    return 0;
}

/* Beyond the size everything is zero. */
int node_resize(struct node *n, uint64_t size)
{
    int r = 0;

    if (size > 1ull << 40)
        return -EFBIG;
    if (size > n->room)
        r = data_grow(n, size);
    else if (size == 0)
        data_free(n);
    else if (size < n->size && n->data)
        memset(n->data + size, 0, n->size - size);
    if (r == 0)
        n->size = size;
    return r;
}

struct xattr **xattr_find(struct node *n, const char *name)
{
    struct xattr **at = &n->xattrs;

    while (*at && strcmp((*at)->name, name) != 0)
        at = &(*at)->next;
    return at;
}

/* --- names --- */

static uint32_t name_hash(const struct node *dir, const char *name, size_t len)
{
    uint64_t h = (uint64_t)(uintptr_t)dir * 0x9e3779b97f4a7c15u;

    for (size_t i = 0; i < len; i++)
        h = (h ^ (uint8_t)name[i]) * 0x100000001b3u;
    return (uint32_t)(h >> 20);
}

struct entry *entry_find(struct node *dir, const char *name)
{
    size_t len = strlen(name);
    uint32_t h = name_hash(dir, name, len);

    for (struct entry *e = buckets[h % BUCKETS]; e; e = e->next_in_bucket)
        if (e->hash == h && e->dir == dir && e->len == len && memcmp(e->name, name, len) == 0)
            return e;
    return NULL;
}

int entry_add(struct node *dir, const char *name, struct node *n)
{
    size_t len = strlen(name);
    struct entry *e = calloc(1, sizeof(*e) + len + 1);

    if (!e)
        return -ENOMEM;
    memcpy(e->name, name, len + 1);
    e->len = len;
    e->dir = dir;
    e->node = n;
    e->hash = name_hash(dir, name, len);
    e->cookie = ++dir->cookie + 2; /* 1 and 2 are "." and ".." */
    e->next_in_bucket = buckets[e->hash % BUCKETS];
    buckets[e->hash % BUCKETS] = e;
    e->prev = dir->last;
    *(dir->last ? &dir->last->next : &dir->first) = e;
    dir->last = e;
    n->nlink++;
    if (S_ISDIR(n->mode)) {
        n->parent = dir;
        dir->nlink++;
    }
    node_touch(dir, true);
    node_touch(n, false);
    return 0;
}

void entry_drop(struct entry *e)
{
    struct node *dir = e->dir, *n = e->node;
    struct entry **at = &buckets[e->hash % BUCKETS];

    while (*at != e)
        at = &(*at)->next_in_bucket;
    *at = e->next_in_bucket;
    *(e->prev ? &e->prev->next : &dir->first) = e->next;
    *(e->next ? &e->next->prev : &dir->last) = e->prev;
    if (dir->cursor == e)
        dir->cursor = NULL;
    free(e);
    n->nlink--;
    if (S_ISDIR(n->mode))
        dir->nlink--;
    node_touch(dir, true);
    node_touch(n, false);
    node_end(n);
}

bool dir_is_empty(const struct node *dir)
{
    return dir->first == NULL;
}

struct entry *dir_from(struct node *dir, uint64_t cookie)
{
    struct entry *e = dir->cursor && dir->cursor->cookie <= cookie ? dir->cursor : dir->first;

    while (e && e->cookie <= cookie)
        e = e->next;
    return e;
}
