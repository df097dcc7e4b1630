/* snap/store/pending: the pending images (F1): an ordered map whose entries belong to inodes, so that all images of one
 * can be listed or dropped. Locks: as snap/store/kv.h says. */
#ifndef VARVE_SNAP_STORE_PENDING_H
#define VARVE_SNAP_STORE_PENDING_H

#include "snap/store/delta.h"
#include "snap/store/kv.h"

struct pending;

int pending_new(struct pending **ret); /* -E_NOMEM */
void pending_free(struct pending *p);  /* accepts NULL */
void pending_clear(struct pending *p);
int pending_reserve(struct pending *p, size_t nputs, size_t bytes);
void pending_put(struct pending *p, struct kv_owner owner, const void *key, size_t klen, const void *val,
                 size_t vlen);
void pending_drop(struct pending *p, struct kv_owner owner);

/* Whose image of this key there is; false: none. */
bool pending_owner_of(struct pending *p, const void *key, size_t klen, struct kv_owner *ret);

/* In key order; -E_NOMEM, or what cb gave. cb may not change the map. */
int pending_each(struct pending *p, struct kv_owner owner, int (*cb)(void *arg, const struct kv_item *it),
                 void *arg);
int pending_owners(struct pending *p, int (*cb)(void *arg, struct kv_owner owner), void *arg);
const struct delta *pending_map(const struct pending *p);

#endif
