/* tests/tier/rig: a volume without a mount, a repository in memory, and ways to compare what is in both. */
#ifndef VARVE_TESTS_TIER_RIG_H
#define VARVE_TESTS_TIER_RIG_H

#include "tests/lib/box.h"
#include "tests/tier/world.h"
#include "tier/backup.h"
#include "tier/prune.h"
#include "tier/restore.h"
#include "tier/verify.h"

struct repo_rig {
    struct box b;
    struct world w;
};

void rig_begin(struct repo_rig *g);
void rig_end(struct repo_rig *g);
/* With a file "f", and a recovery point of it by the snapshot "a"; want: its picture, or NULL. */
struct backup_result rig_begin_with(struct repo_rig *g, size_t bytes, struct buf *want);

struct layer_rec rig_snapshot(struct repo_rig *g, const char *name); /* durable */
int rig_try_backup(struct repo_rig *g, const char *name, bool full, struct backup_result *res);
struct backup_result rig_back_up(struct repo_rig *g, const char *name); /* takes the snapshot, too */
void rig_fill_file(struct repo_rig *g, const char *name, size_t bytes);

/* All that the volume shows; and that a recovery point brings back the same. */
void rig_picture(struct repo_rig *g, struct buf *ret);
/* Of what is in a directory, the same; of parts of a tree, whose other names are missing, without the numbers of links. */
void rig_dir_picture(const char *path, bool links, struct buf *ret);
void rig_restores_to(struct repo_rig *g, const char *id, const struct buf *want);
struct restore_result rig_restored(struct repo_rig *g, const char *id, const char *to, struct buf *hurt);

struct point rig_point(struct repo_rig *g, const char *id); /* point_release() */
/* A progress that ends the work after so many bytes with -E_CANCELED. */
struct rig_stopping {
    uint64_t after;
};
int rig_stop_after(void *arg, uint64_t items, uint64_t bytes);

/* Verifies by what the repository says, not by what this machine knows. */
struct verify_result rig_verified(struct repo_rig *g, bool full, struct buf *lines);
void rig_sound(struct repo_rig *g);

int rig_try_prune(struct repo_rig *g, bool exclusive, struct prune_result *res);
struct prune_result rig_prune(struct repo_rig *g, bool exclusive);
void rig_point_delete(struct repo_rig *g, const char *id);
void rig_wait_grace(struct repo_rig *g);                 /* it passes */
struct prune_result rig_prune_later(struct repo_rig *g); /* after the grace, beside others */
/* Pruned twice so, the repository is sound and a recovery point what it was. */
void rig_outlives_prunes(struct repo_rig *g, const char *id, const struct buf *want);
struct repo *rig_elsewhere(struct repo_rig *g,
                           const char *name); /* another machine's view of the repository */

#endif
