/* tier/seal: a chunk: plain bytes, cut in frames, compressed, encrypted; and back. Threads: any. */
#ifndef VARVE_TIER_SEAL_H
#define VARVE_TIER_SEAL_H

#include "base/buf.h"
#include "tier/crypt.h"

/* The key of a deduplication domain and what follows from it. */
struct domain {
    struct id16 id;
    struct key blob_key, chunk_key;
    enum codec_id codec; /* of what is sealed from now on; any is unsealed */
};
int domain_derive(const struct id16 *id, const struct key *k, struct domain *ret);

struct chunk_head {
    enum chunk_kind kind;
    uint8_t codec;
    uint32_t plain_len, stored_len, frames, frame_size;
    struct id16 domain, id;
    const uint8_t *table; /* of the frames' lengths, in the bytes given */
    size_t aad_len;       /* the header without its sum */
};

/* What compressing needs, kept from one chunk to the next; one thread at a time. The zero state is ready. */
struct sealer {
    void *zstd;
    bool hard;     /* for less to send, at a third of the speed */
    bool was_hard; /* that takes five times the memory: it is given back afterwards */
};
void sealer_release(struct sealer *s);

/* seal(d, kind, id, p, len, out): appends the chunk to out. -E_NOMEM, -E_TOOBIG; then out is as before. */
int seal(const struct domain *d, enum chunk_kind kind, const struct id16 *id, const void *p, size_t len,
         struct buf *out);
int seal_with(struct sealer *s, const struct domain *d, enum chunk_kind kind, const struct id16 *id,
              const void *p, size_t len, struct buf *out);

/* unseal_head: parses and proves the header at p; the frames need not be there. -E_CORRUPT, -E_REPO_NEWER. */
int unseal_head(const void *p, size_t len, struct chunk_head *ret);

/* unseal: the whole of one chunk: appends its plain bytes to out. want: 0 any kind. -E_CORRUPT: damaged; -E_KEY: sealed with
 * another domain's key. ret may be NULL. On error out is as before. unseal_into: to memory of that size; -E_TOOBIG: it is more. */
int unseal(const struct domain *d, enum chunk_kind want, const void *p, size_t len, struct chunk_head *ret,
           struct buf *out);
int unseal_into(const struct domain *d, const void *p, size_t len, void *to, size_t room,
                struct chunk_head *ret);

/* unseal_frames: frames [first, end) of the whole chunk at p, whose head h is: their plain bytes to `to`, which has room for them. As
 * unseal_into. */
int unseal_frames(const struct domain *d, const void *p, const struct chunk_head *h, uint32_t first,
                  uint32_t end, void *to);

/* unseal_moving: as unseal_into, of bytes that somebody else can change meanwhile: each is read once. Of chunks of up to 4 MiB; -E_CORRUPT. */
int unseal_moving(const struct domain *d, const void *p, size_t len, void *to, size_t room,
                  struct chunk_head *ret);

#endif
