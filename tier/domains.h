/* tier/domains: the deduplication domains of an open repository: the default one, and those of one volume each (domain=own), whose key
 * nobody else's chunks are sealed by, and which is destroyed alone. A chunk says in its head which domain it is of; what only tells where
 * chunks are (trailers, indexes, pins, lists) is of the default one, and stays readable. See docs/repository-format.md. */
#ifndef VARVE_TIER_DOMAINS_H
#define VARVE_TIER_DOMAINS_H

#include "tier/repo.h"

/* repo_domain_is_default: zeros, or the id of the default one? repo_domain_same: are two ids of one domain, in this sense? */
bool repo_domain_is_default(const struct repo *r, const struct id16 *id);
bool repo_domain_same(const struct repo *r, const struct id16 *a, const struct id16 *b);

/* domain_object: the name of the object with its key. */
#define DOMAIN_OBJECT_SIZE 64u
void domain_object(const struct id16 *id, char out[DOMAIN_OBJECT_SIZE]);

/* repo_domain: by its id; zeros, or the default one's: that one. Read from the repository when it is asked for first; stays as long as r.
 * Any thread. -E_SHREDDED; -E_KEY: the repository has no key for it; -E_CORRUPT, -E_REPO_NEWER, what backends give. */
int repo_domain(struct repo *r, const struct id16 *id, const struct domain **ret);

/* repo_unseal, repo_unseal_into: as those of tier/seal.h, with the key of whichever domain the chunk says. Any thread. */
int repo_unseal(struct repo *r, enum chunk_kind want, const void *p, size_t len, struct chunk_head *ret,
                struct buf *out);
int repo_unseal_into(struct repo *r, const void *p, size_t len, void *to, size_t room,
                     struct chunk_head *ret);

/* repo_blob_is: 1 when that is what these bytes are called in the default domain, or in one that was asked for by now; 0. For bytes of a
 * chunk of which it is not known any more which domain it is of. Any thread. */
int repo_blob_is(struct repo *r, const struct id16 *blob, const void *p, size_t len);

/* repo_domain_own: the one of a volume's own, which is not shredded; make: it is made where there is none. After repo_may_write().
 * -E_NOENT: there is none, and never was; -E_SHREDDED: what there was is shredded (make: another one is made). */
int repo_domain_own(struct repo *r, const struct uuid *volume, bool make, const struct domain **ret);

/* repo_into: what is put from now on is of this domain; NULL: of the default one. */
void repo_into(struct repo *r, const struct domain *d);
/* repo_is_into: is a chunk, or a recovery point, of this domain (zeros: the default one) of that one? */
bool repo_is_into(const struct repo *r, const struct id16 *domain);
/* repo_into_still: -E_SHREDDED where that one was shredded meanwhile. */
int repo_into_still(struct repo *r);

/* domains_each: all, the default one too, and those that were shredded; cb non-zero ends it with that value. bad (may be NULL): told of
 * objects that cannot be read. */
int domains_each(struct repo *r, int (*cb)(void *arg, const struct domain_head *h),
                 void (*bad)(void *arg, const char *name, int why), void *arg);

/* domain_shred: the key goes, and then what says that there were recovery points of it: *ret_points. What was interrupted is done by the
 * next call. -E_NOENT: there is no such domain; -E_INVAL: it is the default one. */
int domain_shred(struct repo *r, const struct id16 *id, uint64_t *ret_points);
/* shredded_delete: recovery points of domains that were shredded, which somebody put meanwhile. del: 0 it is gone; 1 it may not be
 * deleted, and nothing needs it all the same. NULL: whatever stays is an error. */
int shredded_delete(struct repo *r, int (*del)(void *arg, const char *name), void *arg, uint64_t *ret_points);

#endif
