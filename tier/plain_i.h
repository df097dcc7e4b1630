/* tier/plain_i: a plain export under way. Private to plain*.c. */
#ifndef VARVE_TIER_PLAIN_I_H
#define VARVE_TIER_PLAIN_I_H

#include "tier/format.h"
#include "tier/plain.h"

/* A line of a manifest. */
struct plain_entry {
    struct buf path; /* with its NUL */
    bool file, gone;
    char object[BACKEND_NAME_MAX + 1]; /* "" none */
    char sha[SHA_TEXT];
    uint64_t ino, gen, change, size;
    int64_t ctime_ns;
};

/* plain_manifest.c: the last manifest, line by line, in the order of paths. */
struct plain_old {
    struct backend *b;
    const struct backend_call *c;
    char name[BACKEND_NAME_MAX + 1]; /* "" there is none */
    uint32_t number;
    char snapshot[NAME_LEN_MAX + 1];
    struct buf room; /* read, from `at` on not yet taken */
    size_t at;
    uint64_t off;
    bool have; /* e is an entry */
    struct plain_entry e;
};
int plain_old_open(struct plain_old *o); /* finds it and stands on its first entry. -E_CORRUPT */
int plain_old_next(struct plain_old *o);
void plain_old_release(struct plain_old *o);
int plain_path_cmp(const char *a, const char *b); /* '/' comes before everything else */

/* plain_resume.c: what interrupted exports have put since the last manifest. */
struct plain_left {
    uint32_t number;
    int64_t first_ns,
        mine_ns;      /* when the first of them began; when the last, if it was of this snapshot; 0 none */
    struct buf items; /* struct plain_item each, by name, ascending */
    struct buf names;
    char markers[16][BACKEND_NAME_MAX + 1];
    size_t n;
};
struct plain_item {
    size_t name; /* in names */
    uint64_t size;
    int64_t mtime_ns;
};
/* plain_left_open: number: of the export that is to be made. Puts a marker of its own where the last is another's. */
int plain_left_open(struct backend *b, const struct backend_call *c, uint32_t number,
                    const struct layer_rec *rec, struct plain_left *ret);
const struct plain_item *plain_left_find(const struct plain_left *l, const char *object); /* NULL */
int plain_left_done(struct backend *b, const struct backend_call *c, const struct plain_left *l);
void plain_left_release(struct plain_left *l);

/* plain_put.c: a file's bytes as an object: gathered in memory or in a file without a name, then put. */
struct plain_bytes {
    struct buf mem;
    int fd; /* -1: they are in mem */
    uint64_t len;
    char sha[SHA_TEXT];
};
int plain_read(struct vol *v, struct vt_at at, const struct inode *in, const char *room,
               const struct backend_call *c, struct plain_bytes *ret);
int plain_put(struct backend *b, const struct backend_call *c, const char *name, const struct plain_bytes *p);
void plain_bytes_release(struct plain_bytes *p);
int plain_spool(const char *room, int *ret_fd); /* a file without a name */

#endif
