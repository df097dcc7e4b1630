/* tier/tree: the tree of records of a recovery point: pages of sorted keys, never changed; an edit makes new pages on the way to it
 * and refers to the others. One thread; what is given to callbacks is valid during the call. */
#ifndef VARVE_TIER_TREE_H
#define VARVE_TIER_TREE_H

#include "tier/pack.h"

struct tree {
    struct slice root; /* not set while depth is 0: an empty tree */
    uint32_t depth;
};

/* Keys: inode be u64, kind u8, then what the kind has. */
struct tree_key {
    uint8_t b[TREE_KEY_MAX];
    size_t len;
};
struct tree_key tree_key(uint64_t ino, enum rec_kind kind); /* also as prefix */
void tree_key_add(struct tree_key *k, const void *p,
                  size_t len);                     /* len is bounded by TREE_KEY_MAX: asserted */
void tree_key_u32(struct tree_key *k, uint32_t v); /* big endian */
void tree_key_u64(struct tree_key *k, uint64_t v);
struct tree_key tree_key_ino(uint64_t ino); /* prefix of all records of an inode */

int tree_key_cmp(const uint8_t *a, size_t alen, const uint8_t *b, size_t blen); /* as memcmp() */

/* tree_scan: records whose keys begin with prefix (len 0: all), from `from` on (NULL: from the first), ascending; cb non-zero ends
 * it with that value. -E_CORRUPT, -E_NOENT (a page's chunk is not known). */
int tree_scan(struct repo *r, const struct tree *t, const struct tree_key *prefix,
              const struct tree_key *from,
              int (*cb)(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen),
              void *arg);
int tree_get(struct repo *r, const struct tree *t, const struct tree_key *k, struct buf *ret); /* -E_NOENT */

/* Edits: removals act on what the tree had, then puts. Any order of calls; a key put twice has the last value. */
struct edits;
int edits_new(struct edits **ret);
void edits_free(struct edits *e);
int edits_put(struct edits *e, const struct tree_key *k, const void *val, size_t len);
int edits_remove(struct edits *e, const struct tree_key *prefix); /* all keys that begin with it */
size_t edits_bytes(const struct edits *e);

/* edits_watch: tree_apply tells of each inode's record (REC_INODE) that the tree had and that goes, or makes room for another. Non-zero
 * ends it with that value. */
void edits_watch(struct edits *e, int (*went)(void *arg, const uint8_t *val, size_t len), void *arg);

/* tree_apply: *t becomes the tree with the edits; they are empty then. New pages go to p. */
int tree_apply(struct packer *p, struct repo *r, struct tree *t, struct edits *e);

/* tree_walk: every page once, parents first: page is told its slice, its plain bytes proved by name. cb: 0 go on, 1 pass
 * over what is below it. A page that cannot be read is told with p NULL and the error. */
int tree_walk(struct repo *r, const struct tree *t,
              int (*cb)(void *arg, const struct slice *page, const uint8_t *p, size_t len, int error),
              void *arg);

/* page_read: appends a page's plain bytes, proved by its name. */
int page_read(struct repo *r, const struct slice *s, struct buf *ret);
/* page_head: d stands on the first entry afterwards; how many there are. page_entry: the one that d stands on, d on the next. -E_CORRUPT,
 * -E_REPO_NEWER. */
struct page_head {
    uint8_t level;
    uint16_t entries;
};
struct tree_rec { /* a record; valid as long as the page */
    const uint8_t *key, *val;
    size_t klen, vlen;
};
int page_head(struct dec *d, struct page_head *ret);
int page_entry(struct dec *d, uint8_t level, struct tree_rec *ret);
/* page_each: the entries of a page. -E_CORRUPT. */
int page_each(const uint8_t *p, size_t len, uint8_t *ret_level,
              int (*cb)(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen),
              void *arg);

#endif
