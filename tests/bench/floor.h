/* tests/bench/floor: a filesystem that keeps everything in memory and does as little as can be, asked by the kernel in the same way as
 * varve: same transport, same flags, same time-outs, same answers of "not needed". What it costs, no filesystem on this transport can
 * save. floor.c has the connection, floor_tree.c the names and bytes. */
#ifndef VARVE_TESTS_BENCH_FLOOR_H
#define VARVE_TESTS_BENCH_FLOOR_H

#include <linux/fuse.h>
#include <sys/types.h>

#include "tests/bench/bench.h"

struct xattr {
    struct xattr *next;
    char *name;
    size_t len;
    uint8_t value[];
};

/* Node ids are addresses, but for the root's. */
struct node {
    uint32_t mode, uid, gid, rdev, nlink;
    uint64_t size, held; /* bytes; how often the kernel knows it */
    struct timespec atime, mtime, ctime;
    uint8_t *data; /* of a file, or the target of a symbolic link */
    size_t room;
    struct xattr *xattrs;
    struct node *parent;        /* of a directory */
    struct entry *first, *last; /* of a directory, in the order of their making */
    struct entry *cursor;       /* where the last reading of it stopped */
    uint64_t cookie;
};

struct entry {
    struct node *dir, *node;
    struct entry *next_in_bucket, *next, *prev;
    uint64_t cookie;
    uint32_t hash;
    size_t len;
    char name[];
};

extern struct node floor_root;

struct node *node_of(uint64_t id);
uint64_t node_id(const struct node *n);
struct node *node_new(uint32_t mode, const struct fuse_in_header *h); /* not in any directory */
void node_forget(struct node *n, uint64_t count);
void node_touch(struct node *n, bool data);
int node_resize(struct node *n, uint64_t size); /* 0, or an errno below 0, as all that follow */
struct xattr **xattr_find(struct node *n, const char *name);

struct entry *entry_find(struct node *dir, const char *name);
int entry_add(struct node *dir, const char *name, struct node *n);
void entry_drop(struct entry *e); /* and the node, when it was its last name and nobody knows it */
bool dir_is_empty(const struct node *dir);
struct entry *dir_from(struct node *dir, uint64_t cookie); /* the first entry beyond it */

#endif
