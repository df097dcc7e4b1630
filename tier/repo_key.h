/* tier/repo_key: the keys that open a repository: each wraps the same master key by another secret, so that adding, replacing and
 * removing them touches nothing else. Who had a secret and a copy of its key keeps the master key: removing is no revocation of
 * what was read by then. Threads: any. */
#ifndef VARVE_TIER_REPO_KEY_H
#define VARVE_TIER_REPO_KEY_H

#include "tier/repo.h"

/* repo_key_put: the master key, wrapped by the secret; ret_id: hex digits of the object. */
int repo_key_put(struct backend *b, const struct backend_call *c, const struct uuid *repo,
                 const struct key *master, const struct secret *s, char ret_id[ID16_TEXT]);

/* repo_key_add: with is one that opens it now. ret_id: hex digits of the new one. -E_EXIST: fresh opens it already. */
int repo_key_add(struct backend *b, const struct backend_call *c, const struct secret *with,
                 const struct secret *fresh, char ret_id[ID16_TEXT], struct buf *err);

/* repo_key_rotate: fresh takes the place of with. A death between the two leaves both. ret_old: what was removed. */
int repo_key_rotate(struct backend *b, const struct backend_call *c, const struct secret *with,
                    const struct secret *fresh, char ret_id[ID16_TEXT], char ret_old[ID16_TEXT],
                    struct buf *err);

/* repo_key_remove: by its digits (8 or more). with must open another one: -E_KEY. -E_NOENT, -E_USAGE (several begin so). */
int repo_key_remove(struct backend *b, const struct backend_call *c, const struct secret *with,
                    const char *id, struct buf *err);

struct repo_key_info {
    char id[ID16_TEXT];
    enum kdf_id kdf; /* 0: damaged, or of a newer program */
    int64_t created_ns;
};
int repo_keys_each(struct backend *b, const struct backend_call *c,
                   int (*cb)(void *arg, const struct repo_key_info *k), void *arg);

#endif
