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
#define REPO_DOMAINS 1ull /* there are, or were, domains beside the default one */
#define REPO_INCOMPAT REPO_DOMAINS

/* What follows from the master key, and is kept while a repository is open. */
struct master_keys {
    struct key wrap; /* of domains */
    struct key root; /* proves root/ */
    struct key name; /* makes the ids of domains of one volume */
};
int master_keys(const struct key *master, struct master_keys *ret);
void master_keys_wipe(struct master_keys *k);

int root_encode(const struct repo_root *r, const struct master_keys *k, struct buf *out);
/* root_decode: -E_CORRUPT, -E_REPO_NEWER. root_prove: was it written by who knows the master key? -E_CORRUPT. */
int root_decode(const void *p, size_t len, struct repo_root *ret);
int root_prove(const void *p, size_t len, const struct master_keys *k);

#define SCRYPT_LOG2N 17 /* 128 MiB, about 0.3 s: never weakened */
int key_encode(const struct uuid *repo, const struct key *master, const struct secret *s, struct buf *out);
/* key_peek: what a key object says of itself without its secret. -E_CORRUPT, -E_REPO_NEWER. */
int key_peek(const void *p, size_t len, enum kdf_id *ret_kdf, int64_t *ret_created_ns);
int key_decode(const void *p, size_t len, const struct uuid *repo, const struct secret *s,
               struct key *ret); /* -E_KEY, -E_CORRUPT, -E_REPO_NEWER */

/* What an object of domains/ or shredded/ says beside its key; of a shredded one that is zeros. */
struct domain_head {
    struct id16 id;
    int64_t created_ns; /* or when it was shredded */
    uint32_t flags;
};
int domain_encode(const struct uuid *repo, const struct domain_head *h, const struct key *k,
                  const struct master_keys *m, struct buf *out);
int domain_decode(const void *p, size_t len, const struct uuid *repo, const struct master_keys *m,
                  struct domain_head *ret_head, struct key *ret); /* -E_CORRUPT, -E_REPO_NEWER */
/* domain_name: the id of the n-th domain of a volume's own. */
int domain_name(const struct master_keys *m, const struct uuid *volume, uint32_t n, struct id16 *ret);

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
