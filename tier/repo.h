/* tier/repo: an open repository: its keys, where its chunks are, reading of slices. Threads: one repo, one thread at a time; several
 * repos of one place may be open at once. */
#ifndef VARVE_TIER_REPO_H
#define VARVE_TIER_REPO_H

#include "base/lock.h"
#include "tier/backend.h"
#include "tier/have.h"
#include "tier/idset.h"
#include "tier/keys.h"

#define REPO_CALL_MS 120000 /* one call to the backend */

struct repo_chunks;
struct repo_ahead;
struct repo_pages;
struct domain_known;
struct repo {
    struct backend *b; /* owned */
    struct backend_call call;
    struct repo_root root;
    struct domain dom;  /* the default one */
    struct domain into; /* what recovery points, and chunks of data and metadata, are put in */
    struct master_keys keys;
    struct lock domains_lock; /* guards the list */
    struct domain_known
        *domains; /* the others that were asked for (tier/domains.h); they stay where they are */
    struct have *have;
    struct idset
        short_packs; /* halves of names: found gone or cut short, so what they hold counts as absent */
    struct repo_chunks *chunks; /* read last (tier/repo_kept.h); NULL: none were read */
    struct idset lost;          /* chunks that looking anew has not found */
    struct buf sealed;          /* what was read last, for the memory */
    struct repo_ahead *ahead;   /* on their way; NULL: none ever were */
    struct repo_pages *pages;   /* of metadata (tier/repo_page.h); NULL: none were read */
    uint64_t got_bytes, put_bytes, puts;
    uint64_t proved_pages; /* since it was opened */
};

/* repo_init: makes a repository. -E_REPO_EXIST. takes b only on success. */
int repo_init(struct backend *b, const struct backend_call *c, const struct secret *s, struct repo_root *ret);

/* repo_open: takes b in any case. cache: a directory below which this machine's knowledge is kept, by the repository's uuid. err: the
 * sentence, without the repository's name. -E_REPO_MISSING, -E_KEY, -E_REPO_NEWER, -E_CORRUPT, what backends give. */
int repo_open(struct backend *b, const struct backend_call *c, const struct secret *s, const char *cache,
              struct repo **ret, struct buf *err);
void repo_close(struct repo *r); /* NULL is allowed */

/* The same repository once more, without deriving its key again. repo_keys_wipe when no more are to be opened. */
struct repo_keys {
    struct repo_root root;
    struct domain dom;
    struct master_keys keys;
};
void repo_keys_of(const struct repo *r, struct repo_keys *ret);
void repo_keys_wipe(struct repo_keys *k);
int repo_open_again(struct backend *b, const struct backend_call *c, const struct repo_keys *k,
                    const char *cache, struct repo **ret); /* takes b in any case */

/* repo_peek_root: the newest root, without any key. -E_REPO_MISSING. raw (may be NULL): its bytes. */
int repo_peek_root(struct backend *b, const struct backend_call *c, struct repo_root *ret, struct buf *raw);

/* repo_unlock: the parameters and the master key (the caller wipes it), and which object of keys/ the secret opened. err: a sentence.
 * -E_REPO_MISSING, -E_KEY, -E_REPO_NEWER, -E_CORRUPT. */
int repo_unlock(struct backend *b, const struct backend_call *c, const struct secret *s,
                struct repo_root *ret_root, struct key *ret_master, char ret_name[BACKEND_NAME_MAX + 1],
                struct buf *err);

/* repo_sync: takes in what other writers have added; forgets all where an index known is gone. Before looking anything up. */
int repo_sync(struct repo *r);

/* repo_stale: 1 when an index that was taken in is gone from the repository: what it said may be gone, too; 0. */
int repo_stale(struct repo *r);

/* repo_may_write: -E_REPO_NEWER when a newer program has set rules that this one does not know, or the parameters changed so that what is
 * known of them does not hold any more. A newer generation that is understood is taken over. */
int repo_may_write(struct repo *r);

/* repo_chunk: the plain bytes of a chunk; they stay until the next call; a few MiB of them are kept. -E_NOENT: no index names it; -E_CORRUPT: it is damaged
 * or its pack is gone. */
int repo_chunk(struct repo *r, const struct id16 *chunk, const uint8_t **ret, size_t *ret_len);

/* repo_chunk_read: appends them, by what is known now; any thread, at any time. repo_chunk_get: appends them, and keeps none.
 * repo_chunks_drop: those that are kept go. */
int repo_chunk_read(struct repo *r, const struct id16 *chunk, struct buf *ret);
int repo_chunk_get(struct repo *r, const struct id16 *chunk, struct buf *ret);
void repo_chunks_drop(struct repo *r);

/* repo_chunk_into: all of them to p, which has room for that many; *ret_len: how many they are. -E_TOOBIG: there is no room. */
int repo_chunk_into(struct repo *r, const struct id16 *chunk, void *p, size_t room, size_t *ret_len);

/* repo_chunks_into: likewise several, with one request, as far as they lie together in the first one's pack; got for each, with its result and
 * how many bytes it has. How many those were; 0: fewer than two can be had so, and nothing was done; negative: the request failed. */
#define REPO_RUN_MAX 4u
struct repo_into {
    const struct id16 *chunk;
    void *p;
    size_t room;
};
int repo_chunks_into(struct repo *r, const struct repo_into *v, unsigned n,
                     void (*got)(void *of, unsigned i, int result, size_t len), void *of);

/* repo_slice: appends the bytes of a slice. whole: it is the whole blob, which is proved by its name, too. */
int repo_slice(struct repo *r, const struct slice *s, bool whole, struct buf *ret);

/* repo_object: reads an object named DIR/SHA, proves it against its name, opens its chunk, which is of the default domain. repo_object_raw:
 * without opening it. */
int repo_object(struct repo *r, const char *name, enum chunk_kind kind, struct buf *ret);
int repo_object_raw(struct repo *r, const char *name, struct buf *ret);
/* repo_put_object: seals p, in the default domain or (points) in that of what is put, puts it as DIR/SHA; the hex digits in out.
 * repo_seal_object: seals it only, with the same digits: for repo_put_sealed. */
int repo_seal_object(struct repo *r, enum chunk_kind kind, const void *p, size_t len, struct buf *sealed,
                     char out[SHA_TEXT]);
int repo_put_sealed(struct repo *r, const char *dir, const struct buf *sealed, const char *sha);
int repo_put_object(struct repo *r, const char *dir, enum chunk_kind kind, const void *p, size_t len,
                    char out[SHA_TEXT]);

/* repo_put: to the backend, counted; 0 also when it is there with the same bytes. */
int repo_put(struct repo *r, const char *name, const void *p, size_t len);

int repo__domain_open(struct repo *r); /* the default one; of tier/domains.c, as the next */
void repo__domains_free(struct repo *r);

#endif
