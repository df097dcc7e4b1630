/* tier/have: what this machine knows of a repository, in an LMDB environment of its own: which blobs are in which chunk, which
 * chunk is where in which pack, packs put and not yet named by an index, recovery points read. All of it comes from the
 * repository and can be made again; an entry is there only when its pack was acknowledged.
 * Threads: any. One process opens a directory once: a second have_open() shares it. */
#ifndef VARVE_TIER_HAVE_H
#define VARVE_TIER_HAVE_H

#include "base/buf.h"
#include "tier/format.h"

struct have;

struct have_chunk {
    struct sha pack;
    uint32_t off, stored_len, plain_len;
    uint8_t kind;
    struct id16 domain; /* zeros: the default one */
};
struct have_blob {
    struct id16 chunk;
    uint32_t off, len;
};

void pack_name(const struct sha *pack, char out[PACK_NAME]); /* of its object */
int pack_name_parse(const char *name, struct sha *ret);      /* -E_INVAL: it is no pack's */

/* have_open: makes it; anew where it is damaged. -E_ACCES, -E_NOSPC, -E_IO, -E_CORRUPT */
int have_open(const char *dir, struct have **ret);
void have_close(struct have *h);
int have_clear(struct have *h); /* forgets everything but pending packs */
void have_let_go(
    struct have *h); /* what was read of it leaves this process' memory, as it does now and then by itself */

int have_get_blob(struct have *h, const struct id16 *blob, struct have_blob *ret);    /* -E_NOENT */
int have_get_chunk(struct have *h, const struct id16 *chunk, struct have_chunk *ret); /* -E_NOENT */

/* have_pack: takes in a pack by its trailer's plain bytes (-E_CORRUPT); pending: no index names it yet. */
int have_pack(struct have *h, const struct sha *pack, uint64_t size, const void *trailer, size_t len,
              bool pending);
/* have_index: takes in all packs of an index object's plain bytes, and the name. */
int have_index(struct have *h, const char *name, const void *p, size_t len);
int have_index_is(struct have *h, const char *name); /* 1, 0 */
int have_indexes(struct have *h, int (*cb)(void *arg, const char *name), void *arg);
/* have_indexed: the pending packs in this index's bytes are pending no more; and the name. */
int have_indexed(struct have *h, const char *name, const void *p, size_t len);

/* have_rest: who brought so many names is done: those that wait are put in their places, unless they are few, and no later one has to. Nothing
 * depends on it. stop (may be NULL) is asked from time to time. */
void have_rest(struct have *h, uint64_t came, bool (*stop)(void *arg), void *arg);

/* Pending ones: cb gets name, size, trailer. */
int have_pending(struct have *h,
                 int (*cb)(void *arg, const struct sha *pack, uint64_t size, const void *trailer, size_t len),
                 void *arg);
int have_forget_pack(struct have *h, const struct sha *pack); /* with its chunks and blobs */

int have_point(struct have *h, const char *id, struct buf *ret); /* appends the plain bytes; -E_NOENT */
int have_put_point(struct have *h, const char *id, const void *p, size_t len);

/* Walks a trailer's plain bytes. chunk: with the offset in the pack; blob: with its place in the chunk. Either may be NULL.
 * -E_CORRUPT, -E_REPO_NEWER. */
struct trailer_cb {
    int (*chunk)(void *arg, const struct id16 *id, const struct have_chunk *c);
    int (*blob)(void *arg, const struct id16 *blob, const struct have_blob *b);
    void *arg;
};
int trailer_walk(const struct sha *pack, const void *p, size_t len, const struct trailer_cb *cb);
/* Walks an index's plain bytes. */
int index_walk(const void *p, size_t len,
               int (*cb)(void *arg, const struct sha *pack, uint64_t size, const void *trailer, size_t tlen),
               void *arg);

#endif
