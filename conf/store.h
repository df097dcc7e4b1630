/* conf/store: STORE/config, the few settings of a store, in libconfig's grammar. See conf/store.conf.sample. */
#ifndef VARVE_CONF_STORE_H
#define VARVE_CONF_STORE_H

#include "conf/table.h"

/* Zero: not set, the built-in value holds. */
struct conf_store {
    uint64_t flush_ms;       /* flush_interval: bound on what a power cut may take that was not synced */
    uint64_t dirty_bytes;    /* unsynced_limit: unsynced bytes before writers wait */
    uint64_t delta_bytes;    /* delta_limit: memory of the delta before a checkpoint */
    uint32_t inline_bytes;   /* small_file: files up to this size live in the tables */
    uint64_t recall_ms;      /* recall_timeout: how long a read waits for bytes that lie in a repository */
    uint64_t recall_wait_ms; /* recall_wait: how long one that fails is tried again */
    uint64_t recall_limit;   /* recall_limit: bytes of a volume that readers may recall in an hour */
    uint32_t fd_cache;       /* open_objects: descriptors of data files kept open */
};

#define CONF_STORE_KEYS 8
extern const struct conf_key conf_store_keys[CONF_STORE_KEYS];

/* conf_store_read(path): an absent file gives zeros. -E_INVAL: grammar, an unknown key, a value out of range; err then gets
 * "PATH: line N: what; what to do". -E_ACCES, -E_IO, -E_TOOBIG. */
int conf_store_read(const char *path, struct conf_store *ret, struct buf *err);

/* conf_store_parse: the same from memory; path for messages only. lines (may be NULL): of each key of the table, 0 not there. */
int conf_store_parse(const char *text, const char *path, struct conf_store *ret, struct buf *err);
int conf_store_lines(const char *path, struct conf_store *ret, unsigned lines[CONF_STORE_KEYS],
                     struct buf *err);

/* conf_store_fill: what to does not say is taken from a file of the machine (conf/daemon.h): the store's own goes first.
 * conf_store_sample: the text of conf/store.conf.sample. */
void conf_store_fill(struct conf_store *to, const struct conf_store *from);
int conf_store_sample(struct buf *out);

#endif
