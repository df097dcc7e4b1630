/* tier/pack: writing: blobs are named, looked for, gathered in chunks, and chunks in packs. One thread calls; others, of its own,
 * seal chunks and put packs meanwhile: what fails there is told by a later call, and by all after it. */
#ifndef VARVE_TIER_PACK_H
#define VARVE_TIER_PACK_H

#include "tier/idset.h"
#include "tier/repo.h"

struct packer;

struct packer_stat {
    uint64_t blobs, known;          /* of these, how many the repository had */
    uint64_t new_bytes, sent_bytes; /* plain bytes that it had not; bytes put, packs only */
};

/* packer_new: after repo_sync(). Packs that an interrupted writer of this machine has put count as there, if they are. gone (may be
 * NULL, stays the caller's): halves of names of condemned packs; what only they hold counts as absent. */
int packer_new(struct repo *r, const struct idset *gone, struct packer **ret);
void packer_free(struct packer *p); /* what was not flushed is forgotten */

/* packer_blob: 1..BLOB_MAX bytes, kind CHUNK_DATA or CHUNK_META. *ret: where they are, or will be. */
int packer_blob(struct packer *p, enum chunk_kind kind, const void *bytes, size_t len, struct slice *ret);

/* packer_increment: metadata comes in small chunks from now on: of what increments put, others read a page here and there. */
void packer_increment(struct packer *p);

/* packer_retire: from now on blobs that the repository has in this chunk only count as absent. */
int packer_retire(struct packer *p, const struct id16 *chunk);

/* packer_known: 1 where the repository has these bytes: *ret is where; else 0, and nothing was done. */
int packer_known(struct packer *p, const void *bytes, size_t len, struct slice *ret);

/* packer_slice: 1 where the repository has this slice's chunk and keeps it, as what packer_blob() finds; 0. For what is named already, also
 * in a chunk that is retired: its bytes may be nowhere else. */
int packer_slice(struct packer *p, const struct slice *s);

/* packer_chunk: a chunk as it lies in another pack: its sealed bytes, and its n blobs as in a trailer. */
int packer_chunk(struct packer *p, const struct id16 *id, const struct have_chunk *c, const void *sealed,
                 const void *blobs, uint32_t n);

/* packer_relies: 1 when something that was given out, or is not named by an index yet, lies in one of these packs; 0. */
int packer_relies(const struct packer *p, const struct idset *gone);

/* packer_gone: 1 when a pack that it put, or that something given out lies in, is not there, or cut short: for all packers of r from now
 * on what only such ones hold counts as absent; 0. */
int packer_gone(struct packer *p);
/* packer_recheck: are the packs that no index names yet still there? 1: one is not; 0. */
int packer_recheck(struct packer *p);

/* packer_flush: everything is in packs, put. packer_index: and an index names them, what something given out lies in, and what was left behind a day
 * ago and before. */
int packer_flush(struct packer *p);
int packer_index(struct packer *p);
void packer_get_stat(const struct packer *p, struct packer_stat *ret);

/* An index object that is being made; zeros at first. index_add: one pack more. index_put: the object, of one pack or more, is put, its
 * name's digits in out; x stays as it is. */
struct index_new {
    struct buf plain;
    uint32_t packs;
};
int index_add(struct index_new *x, const struct sha *pack, uint64_t size, const void *trailer, size_t len);
int index_put(struct repo *r, struct index_new *x, char out[SHA_TEXT]);
void index_release(struct index_new *x);

/* pack_close: the trailer's plain bytes, sealed, and the footer. pack_open: the trailer's plain bytes of a whole pack. */
int pack_begin(const struct uuid *repo, const struct domain *d, struct buf *pack);
int pack_close(const struct domain *d, const void *trailer, size_t len, struct buf *pack);
int pack_open(const struct uuid *repo, const struct domain *d, const void *p, size_t len,
              struct buf *ret_trailer);
/* pack_trailer: the trailer's plain bytes of a pack in the repository, without reading the rest. -E_NOENT, -E_CORRUPT. */
int pack_trailer(struct repo *r, const struct sha *pack, uint64_t size, struct buf *ret);

#endif
