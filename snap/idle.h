/* snap/idle: which files of a volume nobody asked for, for policies that release them (docs/decisions/0015-tiering-policy.md). What was
 * changed when is in the index of what was touched (F15), by layers, which have times. What was only read is noted in memory, once for
 * each file and so many seconds, and comes to the tables by idle_flush(). Stamps are seconds, rounded up. Threads: any. */
#ifndef VARVE_SNAP_IDLE_H
#define VARVE_SNAP_IDLE_H

#include "snap/volume.h"

/* --- reads ------------------------------------------------------------------------------------------------------------- */

/* idle_follow: from now on it is noted which files are read, and with reads false, of which bytes were brought from elsewhere; grain_s:
 * how exactly in seconds; 0: no more. Cheap when nothing changes. */
int idle_follow(struct vol *v, int64_t grain_s, bool reads);

/* idle_note: a file of the live tree was read. Takes no lock for a file that was noted lately. */
struct idle;
void idle_note_in(struct idle *i, uint64_t ino, bool brought);
static inline void idle_note(struct vol *v, uint64_t ino, bool brought)
{
    struct idle *i = __atomic_load_n(&v->idle, __ATOMIC_ACQUIRE);

    if (i)
        idle_note_in(i, ino, brought);
}

/* idle_flush: what was noted goes to the tables, of one volume or of all. Until then a killed daemon loses it. */
int idle_flush_vol(struct vol *v);
int idle_flush(struct store *s);
void idle_free(struct store *s);   /* the store goes away */
void idle_free_vol(struct vol *v); /* nobody holds the volume any more */

/* --- the queue: files that were read, the one whose turn to be looked at comes first --------------------------------------------- */

/* idle_stamp: when it was read last; 0: not known. idle_later: it is to be looked at when it was not read since then. */
int idle_stamp(struct txn *t, uint32_t vol, uint64_t ino, int64_t *ret_s);
int idle_later(struct vol *v, uint64_t ino, int64_t stamp_s);
struct idle_entry {
    int64_t stamp_s; /* its place in the queue */
    uint64_t ino;
};
#define IDLE_BATCH 256
/* idle_queue: entries behind *after whose turn is not later than until_s; those that were read later meanwhile are put in the place that
 * they belong to, and left out. *ret_n 0: the end. looked (may be NULL): plus how many keys. */
int idle_queue(struct vol *v, struct idle_entry *after, int64_t until_s, struct idle_entry ret[IDLE_BATCH],
               size_t *ret_n, uint64_t *looked);
int idle_drop(struct vol *v, const struct idle_entry *e, size_t n); /* those that were not read meanwhile */

/* idle_went_back: those whose turn lies more than two days ahead are taken to be read now: the clock had been wrong. */
int idle_went_back(struct vol *v, int64_t now_s);

/* idle_forget: of a volume that goes; some records. 1: there are more. */
int idle_forget(struct txn *t, uint32_t vol, unsigned most);

/* --- what was changed --------------------------------------------------------------------------------------------------- */

/* A place in the order of the index: all up to this inode of this layer. Zeros: nothing yet. */
struct idle_place {
    uint32_t branch, layer;
    uint64_t ino;
};
struct idle_item {
    struct idle_place at;
    int64_t sealed_s; /* when the layer had become a snapshot */
};
#define IDLE_STEPS 24u
struct idle_walk {
    struct vol *v;
    struct {
        uint32_t branch, vol, to; /* its layers up to this one */
    } steps[IDLE_STEPS];          /* from the oldest ancestor to the branch itself */
    size_t n;
    uint64_t looked; /* keys */
};
int idle_walk_begin(struct vol *v, uint32_t branch, uint32_t layer, struct idle_walk *ret);
/* idle_walk_next: inodes that were touched behind *p, as the index has them, as far as the layers were sealed by until_s; p moves to the
 * last. *ret_n 0: none. A place in a branch that is not on the way is as none. */
int idle_walk_next(struct idle_walk *w, struct idle_place *p, int64_t until_s,
                   struct idle_item ret[IDLE_BATCH], size_t *ret_n);
bool idle_on_way(const struct idle_walk *w, uint32_t branch,
                 uint32_t layer); /* is that state one of those? */
bool idle_before(const struct idle_walk *w, const struct idle_place *a, const struct idle_place *b);

/* --- how far a policy has looked ---------------------------------------------------------------------------------------------- */

struct idle_sweep {
    struct idle_place aged; /* all up to here was looked at when it was old enough */
    struct idle_place seen; /* and up to here when it was new */
    uint32_t replaced;      /* what only snapshots up to this layer need was looked at */
};
#define IDLE_SWEEPS 16 /* policies of a volume; with one more all are forgotten */
int idle_sweep_get(struct vol *v, uint64_t policy, struct idle_sweep *ret); /* zeros: it never has */
int idle_sweep_put(struct vol *v, uint64_t policy, const struct idle_sweep *s);
int idle_sweep_reset(struct vol *v); /* all policies begin anew: bytes came back that nobody read */

#endif
