/* snap/store/journal_i: what the journal's files share. */
#ifndef VARVE_SNAP_STORE_JOURNAL_I_H
#define VARVE_SNAP_STORE_JOURNAL_I_H

#include <pthread.h>

#include "snap/store/journal.h"

#define JSEG_HDR_SIZE 4096u
#define JSEG_VERSION 1u
#define JSEG_COUNT_MAX 9999u
#define JSEG_SPARE 1u /* free segments that only journal_start may take */

enum jseg_state { JSEG_FREE, JSEG_FULL, JSEG_CURRENT };
struct jseg {
    int fd;
    bool valid; /* its header could be read */
    struct jseg_hdr hdr;
    enum jseg_state state;
    uint64_t last_lsn; /* of what it holds; first_lsn - 1 when nothing */
    bool dirty;        /* has bytes that were not flushed */
    bool dead;         /* holds numbers beyond the end of the chain, which nobody may meet again */
};

struct journal {
    struct io *io;
    char *dir;
    struct uuid store;
    struct jseg *segs;
    uint32_t nsegs;
    uint64_t segment_bytes;
    uint8_t boot_id[16];
    struct buf record; /* appending: guarded by the store's lock, like the six that follow */
    struct jseg *cur;
    uint64_t pos;
    uint64_t last_sum;
    uint64_t chain;
    uint64_t incarnation;
    uint64_t trimmed;
    bool replayed, damaged, started;
    pthread_mutex_t lock; /* guards what follows, and state and dirty of the segments */
    pthread_cond_t change;
    uint64_t appended, flushed;
    bool flushing, failed;
    int64_t flush_ns; /* atomic */
};

void jseg_encode(const struct jseg_hdr *h, uint8_t out[JSEG_HDR_SIZE]);
/* -E_CORRUPT (not a header, or damaged), -E_STORE_NEWER. */
int jseg_decode(const uint8_t *p, size_t len, struct jseg_hdr *ret);
int jseg_write(struct journal *j, struct jseg *s); /* its header */
int jseg_add(struct journal *j);
int journal__boot_id(uint8_t out[16]);

#endif
