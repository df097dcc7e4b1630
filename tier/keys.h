/* tier/keys: the plain objects of a repository: its parameters, its master key as wrapped by people's secrets, the keys of
 * domains as wrapped by the master key. Encoding and parsing only: what lies where is tier/repo's. Threads: any. */
#ifndef VARVE_TIER_KEYS_H
#define VARVE_TIER_KEYS_H

#include "base/buf.h"
#include "tier/seal.h"

/* What opens a repository. A passphrase, or the hash of a key file. */
struct secret {
    enum kdf_id kdf;
    struct buf pass; /* without a newline at its end */
    struct sha file;
};
void secret_release(struct secret *s); /* wipes it */
/* secret_read: from files (at most one is given), else from the environment (VARVE_PASSPHRASE). -E_KEY with a sentence where there is
 * none; -E_NOENT, -E_ACCES, -E_INVAL (empty) likewise. */
int secret_read(const char *passphrase_file, const char *key_file, struct secret *ret, struct buf *err);

struct repo_root {
    struct uuid uuid;
    int64_t created_ns;
    uint32_t generation;
    uint64_t compat, ro_compat, incompat;
    struct id16 domain; /* the default one */
};
/* Feature bits that this program knows. */
#define REPO_COMPAT 0ull
#define REPO_RO_COMPAT 0ull
#define REPO_INCOMPAT 0ull

int root_encode(const struct repo_root *r, const struct key *master, struct buf *out);
/* root_decode: -E_CORRUPT, -E_REPO_NEWER. root_prove: was it written by who knows the master key? -E_CORRUPT. */
int root_decode(const void *p, size_t len, struct repo_root *ret);
int root_prove(const void *p, size_t len, const struct key *master);

#define SCRYPT_LOG2N 17 /* 128 MiB, about 0.3 s: never weakened */
int key_encode(const struct uuid *repo, const struct key *master, const struct secret *s, struct buf *out);
/* key_peek: what a key object says of itself without its secret. -E_CORRUPT, -E_REPO_NEWER. */
int key_peek(const void *p, size_t len, enum kdf_id *ret_kdf, int64_t *ret_created_ns);
int key_decode(const void *p, size_t len, const struct uuid *repo, const struct secret *s,
               struct key *ret); /* -E_KEY, -E_CORRUPT, -E_REPO_NEWER */

int domain_encode(const struct uuid *repo, const struct id16 *id, const struct key *k,
                  const struct key *master, struct buf *out);
int domain_decode(const void *p, size_t len, const struct uuid *repo, const struct key *master,
                  struct id16 *ret_id, struct key *ret); /* -E_CORRUPT, -E_REPO_NEWER */

/* The envelope of plain objects, and the tails of bodies. plain_open: the body. */
int plain_wrap(enum plain_kind kind, const void *body, size_t len, struct buf *out);
int plain_open(enum plain_kind kind, const void *p, size_t len, const uint8_t **ret_body, size_t *ret_len);
/* tlv_next: 1 an entry, 0 the end, -E_CORRUPT. tlv_known: -E_REPO_NEWER when an entry that must be understood is not one of the
 * first `known` types. */
struct tlv {
    uint16_t type, flags;
    const uint8_t *p;
    uint32_t len;
};
int tlv_next(struct dec *d, struct tlv *ret);
int tlv_known(struct dec d, uint16_t known);

#endif
