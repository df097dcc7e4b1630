/* snap/snapshot: snapshots of a volume: take, look, delete, hold, label, roll back (F2, F6, F8, F14, F15). */
#ifndef VARVE_SNAP_SNAPSHOT_H
#define VARVE_SNAP_SNAPSHOT_H

#include "snap/volume.h"

struct snap_info {
    struct layer_rec rec;
    uint64_t
        unique_bytes; /* only this snapshot holds them: filled by snap_get_info, costs what changed around it */
    uint64_t freed_bytes; /* what deleting it would free (shared and pinned parts left out) */
};

/* Names as of directories' entries, and not beginning with '.' or '@', not ending in ".json" (-E_NAME). */
int snap_name_check(const char *name);

/* snap_create: seals the current layer (one record, O(1)); visible at once, settling, then durable. name NULL: its UTC time
 * 2026-11-20T22-00-00Z (with -1, -2... if taken). -E_EXIST, -E_SNAP_LIMIT, -E_NOSPC. Returns when writes that had resolved in
 * the sealed layer are in place. ret may be NULL. */
int snap_create(struct vol *v, const struct vfs_ctx *c, const char *name, struct layer_rec *ret);
/* snap_create_group: one record over several volumes of the store, one name. */
int snap_create_group(struct vol **vols, size_t n, const char *name);
/* snap_create_labelled: labels ("label\0KEY\0VALUE\0"...) are there from the first moment. */
int snap_create_labelled(struct vol *v, const char *name, const void *text, size_t len,
                         struct layer_rec *ret);
int snap_wait_durable(struct vol *v, uint32_t layer); /* syncs what is needed */

int snap_delete(struct vol *v, const struct vfs_ctx *c, const char *name); /* -E_NOENT, -E_HELD */
int snap_rename(struct vol *v, const struct vfs_ctx *c, const char *name, const char *to); /* -E_EXIST */
int snap_hold(struct vol *v, const char *name, const char *tag);
int snap_release(struct vol *v, const char *name, const char *tag); /* -E_NOENT: no such tag */
int snap_release_all(struct vol *v, const char *tag); /* of whatever snapshots, by whatever names */
int snap_label(struct vol *v, const char *name, const char *key,
               const char *value); /* value NULL: removes it */
int snap_expire(struct vol *v, const char *name,
                int64_t when_ns); /* 0: never; expired, unheld ones are deleted by the timer */
int snap_expire_due(struct store *s);

/* snap_find: by name, or @GMT-YYYY.MM.DD-HH.MM.SS, @RFC3339, @latest (the newest not later than that). -E_NOENT. */
int snap_find(struct vol *v, const char *name, struct layer_rec *ret);
/* snap_by_layer: by its number. -E_NOENT: there is none, or none to be seen. */
int snap_by_layer(struct vol *v, uint32_t layer, struct layer_rec *ret);
/* snap_each: visible ones of the volume (all its branches), oldest first by number. text: holds and labels. */
int snap_each(struct vol *v,
              int (*cb)(void *arg, const struct layer_rec *rec, const char *text, size_t text_len),
              void *arg);
int snap_text(struct vol *v, const char *name, struct buf *ret); /* "hold\0TAG\0label\0KEY\0VALUE\0..." */
int snap_get_info(struct vol *v, const char *name, struct snap_info *ret);
uint64_t snap_list_change(struct vol *v); /* raised whenever the list changes; and its time: */
int64_t snap_list_mtime_ns(struct vol *v);

/* Views (F8): the number for (snapshot, directory inode by which it is entered); the same again while the volume stays
 * mounted, also after a restart of the daemon. root: node of DIR as of the snapshot. -E_NOENT: DIR did not exist then. */
int view_enter(struct vol *v, const char *snap, uint64_t dir_ino, vfs_node *root, struct vfs_attr *ret);
int view_get(struct vol *v, uint32_t view, struct view_rec *ret);         /* -E_STALE */
int view_enter_readonly(struct vol *v, const char *snap, vfs_node *root); /* mount of STORE/VOLUME@SNAP */
int views_free_all(struct vol *v); /* at the last unmount; none of them where the next mount has begun */

/* snap_rollback: the live tree becomes what snapshot `name` shows; the state before is kept as before-rollback-<time> (its
 * name in kept, may be NULL). New branch, new live view number. Undoable by rolling back to that. */
int snap_rollback(struct vol *v, const struct vfs_ctx *c, const char *name, char kept[NAME_LEN_MAX + 1]);

#endif
