/* tier/pack: writing: blobs are named, looked for, gathered in chunks, and chunks in packs. One thread. */
#ifndef VARVE_TIER_PACK_H
#define VARVE_TIER_PACK_H

#include "tier/repo.h"

struct packer;

struct packer_stat {
    uint64_t blobs, known;          /* of these, how many the repository had */
    uint64_t new_bytes, sent_bytes; /* plain bytes that it had not; bytes put, packs only */
};

/* packer_new: after repo_sync(). Packs that an interrupted writer of this machine has put count as there, if they are. */
int packer_new(struct repo *r, struct packer **ret);
void packer_free(struct packer *p); /* what was not flushed is forgotten */

/* packer_blob: 1..BLOB_MAX bytes, kind CHUNK_DATA or CHUNK_META. *ret: where they are, or will be. */
int packer_blob(struct packer *p, enum chunk_kind kind, const void *bytes, size_t len, struct slice *ret);

/* packer_flush: everything is in packs, put. packer_index: and an index names them (all pending ones of this machine). */
int packer_flush(struct packer *p);
int packer_index(struct packer *p);
void packer_get_stat(const struct packer *p, struct packer_stat *ret);

/* pack_close: the trailer's plain bytes, sealed, and the footer. pack_open: the trailer's plain bytes of a whole pack. */
int pack_begin(const struct uuid *repo, const struct domain *d, struct buf *pack);
int pack_close(const struct domain *d, const void *trailer, size_t len, struct buf *pack);
int pack_open(const struct uuid *repo, const struct domain *d, const void *p, size_t len,
              struct buf *ret_trailer);

#endif
