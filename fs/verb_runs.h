/* fs/verb_runs: what the verbs of the table do, by file: the functions behind `run`. See struct verb. */
#ifndef VARVE_FS_VERB_RUNS_H
#define VARVE_FS_VERB_RUNS_H

#include "fs/verb.h"
#include "snap/job.h"
#include "snap/vfs.h"

#define RUN(name) int name(struct verb_ctx *c, const struct verb_args *a, struct buf *out, struct buf *err)

/* cmd_volume.c */
RUN(run_create);
RUN(run_list);
RUN(run_clone);
RUN(run_resize);
RUN(run_rename);
RUN(run_delete);
RUN(run_undelete);
/* cmd_status.c */
RUN(run_status);
/* cmd_snapshot.c */
RUN(run_snapshot_create);
RUN(run_snapshot_group);
RUN(run_snapshot_delete);
RUN(run_snapshot_rename);
RUN(run_snapshot_hold);
RUN(run_snapshot_release);
RUN(run_snapshot_label);
RUN(run_snapshot_expire);
RUN(run_rollback);
/* cmd_snaplist.c */
RUN(run_snapshot_list);
RUN(run_snapshot_show);
/* cmd_diff.c */
RUN(run_diff);
RUN(run_snapshot_ranges);
/* cmd_job.c. verb_job_await: notes the job that goes on with the verb, and waits where who asked can (-E_CLOSED with a sentence:
 * the store is being closed); verb_job_answer: what the verb
 * says of it, whether it has ended or not; the result is the job's. verb_job_run: a job of the volume, all three. verb_job_fits: 0, or
 * -E_TOOBIG with why in err: is its detail, a line of verb_line_add(), as long as one may be? */
struct verb_job_words {
    const char *verb;     /* "backup run": before what went wrong */
    const char *doing;    /* "backs": after "job 7" */
    const char *particle; /* " up": behind the snapshot; may be NULL */
    const char *snap;     /* its name; NULL: of none */
    const char *
        report; /* JSON: the object that takes what the job said by job_report_line() ("NAME VALUE"); NULL: none */
};
int verb_job_await(struct verb_ctx *c, const struct verb_args *a, uint64_t id, struct buf *err);
int verb_job_answer(struct verb_ctx *c, uint64_t id, const struct verb_job_words *w, struct buf *out,
                    struct buf *err);
int verb_job_run(struct verb_ctx *c, const struct verb_args *a, const char *kind, struct buf *detail,
                 const struct verb_job_words *w, struct buf *out, struct buf *err);
int verb_job_fits(struct buf *detail, const char *why, struct buf *err);
RUN(run_job_list);
RUN(run_job_wait);
RUN(run_job_cancel);
RUN(run_events);
/* cmd_check.c */
RUN(run_check);
/* cmd_backup.c */
RUN(run_backup);
int backup_job(struct job *j, struct store *s, const struct job_info *info);
/* backup_snapshot: one for a backup to that URL; it goes when a later one is backed up there. */
int backup_snapshot(struct verb_ctx *c, const char *to, struct layer_rec *ret, struct buf *err);
/* verb_env.c: what functions of jobs share: a deleted volume, too; NULL: none of this id. */
struct vol *verb_vol_of_id(struct store *s, uint32_t id);
/* verb_job_thaws: a job waits for packs that an archive was asked for; of 0: for none. */
void verb_job_thaws(struct job *j, uint64_t ready, uint64_t of);
/* cmd_port_plain.c */
RUN(run_plain);
int plain_job(struct job *j, struct store *s, const struct job_info *info);
/* cmd_from.c: `create` with `from`; no volume of that name is there yet, or -E_EXIST. */
int create_from(struct verb_ctx *c, const struct verb_args *a, struct vol **ret, struct buf *err);
/* cmd_tier.c */
RUN(run_tier_release);
RUN(run_tier_status);
/* cmd_expire.c: what a profile says of old recovery points; detail: a line of the control file `backup`. */
int expire_job(struct job *j, struct store *s, const struct job_info *info);
/* cmd_transition.c: and of their storage classes; detail: a line of `repos`. */
int transition_job(struct job *j, struct store *s, const struct job_info *info);
/* cmd_tier_run.c */
RUN(run_tier_run);
int tier_job(struct job *j, struct store *s, const struct job_info *info);
/* cmd_tier_pin.c */
RUN(run_tier_pin);
RUN(run_tier_unpin);
int tier_path_find(struct vol *v, const char *path,
                   vfs_node *ret); /* by names alone; "" is the root. -E_NOENT, -E_NOTDIR */
int release_job(struct job *j, struct store *s, const struct job_info *info);
int tier_show(struct store *s, struct vol *v, bool json, struct buf *out);
struct jw;
int tier_sources_json(struct store *s, const char *key,
                      struct jw *j); /* an array: where bytes lie that are not here */
/* cmd_migrate.c; its job: fs/migrate.h */
RUN(run_migrate_plan);
RUN(run_migrate_run);
RUN(run_migrate_status);
RUN(run_migrate_cancel);
/* cmd_hydrate.c. hydrate_begin: the job that does it, a new one if there is none. */
RUN(run_hydrate);
int hydrate_begin(struct store *s, const struct vol *v, uint64_t *ret_id);
int hydrate_job(struct job *j, struct store *s, const struct job_info *info);
/* cmd_recall.c. recall_job: its detail: a line of the control file, with paths. */
RUN(run_tier_recall);
int recall_job(struct job *j, struct store *s, const struct job_info *info);
/* hydrate_paths: what hydrate_job does, for some paths. *ret_bytes: what came. */
struct recall_paths;
int hydrate_paths(struct job *j, struct store *s, struct vol *v, struct recall_paths *p, uint64_t *ret_bytes);
/* cmd_port_command.c */
RUN(run_command);
int command_job(struct job *j, struct store *s, const struct job_info *info);
/* cmd_scrub.c */
RUN(run_scrub);
int scrub_job(struct job *j, struct store *s, const struct job_info *info);

/* cmd_profile.c */
RUN(run_profile_set);
RUN(run_profile_get);
/* cmd_config.c */
RUN(run_config_reload);
/* cmd_backup.c: what the label `backup` of a snapshot says of a repository. */
void backup_place_label(const char *url, char out[NAME_LEN_MAX + 1]);

#endif
