/* tests/lib/box: a store in the test's directory with one volume `main`, without a mount, and what tests of snapshots do to
 * it again and again. Every function fails the test on an error that it does not expect. */
#ifndef VARVE_TESTS_LIB_BOX_H
#define VARVE_TESTS_LIB_BOX_H

#include "base/io.h"
#include "snap/diff.h"
#include "snap/snapshot.h"

struct box {
    struct io *io;
    char path[512];
    struct store_settings set;
    struct store *s;
    struct vol *v; /* main */
    struct vfs_ctx c;
};

extern size_t box_segment_bytes; /* of the stores that box_open makes: 4 MiB */

/* box_open: makes the store (no background threads) and the volume, and attaches. io NULL: the real disk; path NULL:
 * "store" in the test's directory. box_close checks that closing goes well. */
void box_open(struct box *b, struct io *io, const char *path);
void box_close(struct box *b);
void box_reopen(struct box *b); /* close and open again */
void box_die(struct box *b);    /* as if the process died: nothing is written; and open again */
void box_drop(struct box *b);   /* frees without writing */
void box_attach(struct box *b); /* opens a store that is there */

/* Files by path from a root node ("a/b"; "" is the root itself). */
vfs_node box_node(struct vol *v, vfs_node root, const char *path);
vfs_node box_root(struct vol *v);
void box_mkdir(struct box *b, struct vol *v, const char *path);
void box_write(struct box *b, struct vol *v, const char *path, const void *p, size_t len,
               uint64_t off);                                                    /* creates it */
void box_text(struct box *b, struct vol *v, const char *path, const char *text); /* whole content */
void box_fill(struct box *b, struct vol *v, const char *path, uint64_t off, size_t len, uint64_t seed);
void box_remove(struct box *b, struct vol *v, const char *path);
void box_rename(struct box *b, struct vol *v, const char *from, const char *to);
void box_link(struct box *b, struct vol *v, const char *from, const char *to);
void box_truncate(struct box *b, struct vol *v, const char *path, uint64_t size);
bool box_there(struct vol *v, vfs_node root, const char *path);
bool box_is(struct vol *v, vfs_node root, const char *path, const char *text); /* content equal? */

/* A view of a snapshot by the root. */
vfs_node box_view(struct vol *v, const char *snap);

/* box_picture: the tree below a node as text, a line a name in the order of paths: type, mode, links, owner, size, times,
 * attributes and a sum of the bytes. Equal trees have equal pictures. */
void box_picture(struct vol *v, vfs_node root, struct buf *ret);
bool box_same(const struct buf *a, const struct buf *b); /* prints the first line that differs */

/* box_mess: n random operations on the live tree of v: small and large files, holes, links, renames, attributes. */
void box_mess(struct box *b, struct vol *v, uint64_t *rng, int n);

/* box_sound: counters equal a walk, references equal the records, data/ holds the objects that are named and no other. */
void box_sound(struct box *b);
void box_refs(
    struct box
        *b); /* the references alone, without waiting for anything; BOX_REFS=1: after every operation */
void box_each_object(struct box *b, void (*fn)(void *arg, uint64_t object, const char *path),
                     void *arg);         /* files below data/ */
uint64_t box_disk_blocks(struct box *b); /* 4 KiB blocks allocated below data/ */
uint64_t box_objects(struct box *b);     /* files below data/ */
uint64_t box_records(struct box *b, uint8_t tab,
                     uint32_t branch); /* of a table with life spans (or its history) */

#endif
