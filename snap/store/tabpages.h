/* snap/store/tabpages: the pages of LMDB's file, looked at without LMDB, which trusts them (F21): a flipped bit in one makes it
 * read or write anywhere. Everything that it would follow is proved first:
 *
 *  - both meta pages, which of them holds, and that their numbers follow each other
 *  - each page of both trees: its own number, kind, bounds, that nodes lie inside it and do not overlap, keys in order and
 *    between the keys of the branches above; depth, and the numbers of pages and entries that the meta page gives
 *  - free pages: lists in order; every page is used once, or free once
 *  - each value of ours by its checksum, which covers its key
 *
 * What is left without proof is what nobody reads: gaps in pages, free pages, the older of the meta pages.
 * The file is read by pread, so a bad sector is an error and no signal. Pure but for that; threads: any. */
#ifndef VARVE_SNAP_STORE_TABPAGES_H
#define VARVE_SNAP_STORE_TABPAGES_H

#include "base/io.h"

struct tabpages_result {
    uint64_t pages, free, leaves, entries; /* of our tree */
    uint64_t bytes;                        /* read */
    uint64_t txn;                          /* number of the state that was looked at */
};

struct tabpages_opts {
    uint64_t txn; /* the state to look at; 0: the newest. -E_AGAIN when it is not there (any more) */
    /* after each page: bytes read since the last call; negative ends it with that value. NULL: none */
    int (*progress)(void *arg, uint64_t bytes);
    void *arg;
    bool alone;      /* no other thread helps, however much there is to read; so it is with progress */
    uint64_t shared; /* leaves from which on other threads help; 0: TABPAGES_SHARED */
};

/* tabpages_check(io, meta, o, why, ret): meta is STORE/meta; o and ret may be NULL. -E_CORRUPT with a sentence in why; -E_IO, -E_NOMEM,
 * -E_NOENT (no file). A state that a writer goes on from must be held by a reader of LMDB meanwhile. Cost: reads each page in
 * use once, 1 bit of memory a page. From TABPAGES_SHARED leaves on other threads help. */
#define TABPAGES_SHARED 8192u
int tabpages_check(struct io *io, const char *meta, const struct tabpages_opts *o, char why[256],
                   struct tabpages_result *ret);

/* The same in two steps: after the first, LMDB may open the file and be read in traps (kv_trap.h), as what it follows first is proved; the
 * rest is proved behind, where other threads help. why of the second step counts. tabpages_end: in any case, once. */
struct tabpages;
int tabpages_begin(struct io *io, const char *meta, const struct tabpages_opts *o, struct tabpages **ret,
                   char why[256]);
int tabpages_end(struct tabpages *tp, char why[256], struct tabpages_result *ret);
/* tabpages_ahead: in between, once: now the file may be brought into memory as fast as the disk gives it, which makes others wait for
 * theirs; after these ranges of other files, which stay open until the end. Nothing happens where it is small, or memory is. */
#define TABPAGES_FIRST_MAX 32u
void tabpages_ahead(struct tabpages *tp, const struct io_range *first, unsigned n);

/* For a writer: the pages that putting some keys, in ascending order, would touch or lean on: the way down to each, the
 * neighbours of each page on it, and all of the list of free pages.
 * struct tabway *w; tabway_begin(); tabway_key() for each key; tabway_end() in any case. Nothing else writes
 * meanwhile. Values are not looked at. */
struct tabway;
int tabway_begin(struct io *io, const char *meta, struct tabway **ret, char why[256]);
int tabway_key(struct tabway *w, const void *key, size_t klen);
/* A sum over the list of free pages: the same before a write as after the last one, or it lies. For then a page that is in use, but
 * not on the way, may stand in it. */
uint64_t tabway_free_sum(const struct tabway *w);
void tabway_end(struct tabway *w);

#endif
