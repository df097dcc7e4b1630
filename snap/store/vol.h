/* snap/store/vol: what the engine knows of a volume while the store is open. One struct vol for each volume, from open
 * to close, or until it is gone for good (vol_gone_take); looked up by id or name. Names, snapshots, clones are made in the room above (snap/volume.h). */
#ifndef VARVE_SNAP_STORE_VOL_H
#define VARVE_SNAP_STORE_VOL_H

#include <pthread.h>

#include "snap/store/vtab.h"

#define PIN_SLOTS                                                                                            \
    64u /* a writer that goes on for so many snapshots delays the answer of one that it does not concern */

struct vol {
    struct store *store;
    struct volume_rec rec;    /* as in the tables; changes only inside write transactions */
    struct vstat_rec stat;    /* firm counters; likewise */
    int64_t pending_blocks;   /* what pending inodes will add to stat.blocks; may be negative */
    uint64_t reserved_blocks; /* of writes under way */
    uint16_t pins[PIN_SLOTS]; /* atomic: writes under way, by the layer that they resolved in */
    uint32_t mounts;          /* connections that show it */
    struct idle *idle;        /* atomic: which files are read, where somebody wants to know (snap/idle.h) */
    bool readonly;            /* after a failed write-back of one of its objects, with why below */
    char *why_readonly;       /* or NULL, where memory was out; until the store is closed */
    struct {                  /* atomic; see room.h */
        uint32_t waiters;     /* for room */
        uint64_t orphans;     /* files that lost their last name since the open */
        uint64_t
            vain_at; /* what had been removed when waiting was in vain, and until when that is remembered */
        int64_t vain_until_ns;
    } room;
    struct vol *next;
    struct vol *gone; /* of those whose record is gone; with the next one */
    uint64_t gone_at;
};

/* All: with the store's lock held (inside a transaction), except where the struct is only passed through. */
struct vol *vol_by_id(struct store *s, uint32_t id);
struct vol *vol_by_name(struct store *s, const char *name); /* deleted and ghost volumes are not found */
struct vol *vol_first(struct store *s);                     /* then ->next: every volume, deleted ones too */

/* The place of the live tree: for reading {head, LAYER_NOW}, for writing {head, current layer}. */
static inline struct vt_at vol_now(const struct vol *v)
{
    return (struct vt_at){v->rec.head, LAYER_NOW};
}
static inline struct vt_at vol_write(const struct vol *v)
{
    return (struct vt_at){v->rec.head, v->rec.layer};
}

/* vol_live(v, view, ret): is that the number of the live tree now? Then *ret is its branch. Without the store's lock held. */
bool vol_live(struct vol *v, uint32_t view, uint32_t *ret_branch);

/* vol_put(t, v, rec): writes the record and makes it v->rec when the transaction commits. v must be a volume of the
 * store, or a new one from vol_new(), which joins the store's list at commit. */
int vol_put(struct txn *t, struct vol *v, const struct volume_rec *rec);
int vol_new(struct txn *t, struct vol **ret);
int vol_del(struct txn *t,
            struct vol *v); /* takes its records away: it is gone when the transaction commits */
int vol_put_stat(struct txn *t, struct vol *v,
                 const struct vstat_rec *st); /* for new volumes and rollbacks */

/* A volume whose record is gone is found no more, but may be in use by whoever found it before. vols_hold: this thread is going to find
 * volumes; what it finds from now on stays until vols_let_go, which gets what this gave. They nest. Mounted volumes stay by themselves.
 * vol_gone_take: one that nobody can hold any more, NULL none; the caller takes away what hangs on it, then vol_gone_free gives its place
 * to the next volume. Processes that never take any need not hold any. */
unsigned vols_hold(struct store *s);
void vols_let_go(struct store *s, unsigned held);
struct vol *vol_gone_take(struct store *s);
void vol_gone_free(struct vol *v);
struct vol *vol_gone_first(struct store *s); /* then ->gone */

/* vol_next_ino(t, v): a fresh inode number, counted with this record. */
uint64_t vol_next_ino(struct txn *t, struct vol *v);

/* Blocks in use now: firm, pending and reserved. */
uint64_t vol_used_blocks(const struct vol *v);
uint64_t vol_present_blocks(const struct vol *v); /* without those reserved by writes under way */

/* vol_room(v, blocks, inodes): 0, -E_QUOTA or -E_QUOTA_INODES: would this much more fit? */
int vol_room(const struct vol *v, uint64_t blocks, uint64_t inodes);

/* Branches, kept in memory whole (they are few). */
int branch_get(struct store *s, uint32_t id, struct branch_rec *ret); /* -E_NOENT */
int branch_put(struct txn *t, const struct branch_rec *rec);
int branch_del(struct txn *t, uint32_t id);
int branch_each(struct store *s, int (*cb)(void *arg, const struct branch_rec *b), void *arg);

#endif
