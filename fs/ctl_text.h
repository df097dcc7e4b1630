/* fs/ctl_text: the texts of control files; and struct ctl for fs/ctl*.c alone. */
#ifndef VARVE_FS_CTL_TEXT_H
#define VARVE_FS_CTL_TEXT_H

#include <pthread.h>

#include "fs/ctl.h"

#define CTL_FILES_MAX 16
#define CTL_LINE_MAX 1024
#define CTL_REASON_MAX 1024

struct ctl_refusal {
    int64_t time_ns; /* 0: none */
    uint32_t uid, pid;
    int result;
    char file[32], line[CTL_LINE_MAX + 1], reason[CTL_REASON_MAX + 1];
};

struct ctl_reply {
    int64_t time_ns;
    char text[CTL_REASON_MAX + 1];
};

/* The write that made a job last: it may come again. */
struct ctl_repeat {
    int64_t mono_ns;
    uint32_t uid, pid;
    uint64_t sum;
    char file[32];
};

struct ctl {
    struct verb_env *env;
    struct vol *vol;
    enum verb_role role;
    pthread_mutex_t lock; /* guards all below */
    struct ctl_refusal last, refused[CTL_FILES_MAX];
    struct ctl_reply replies[CTL_FILES_MAX];
    struct ctl_repeat repeat;
    uint64_t changes;
};

const struct ctl_file *ctl_files(size_t *ret_count);

/* "create [NAME] [label=KEY=VALUE]... [sync]" */
int ctl_synopsis(const struct verb *v, struct buf *out);
/* Commands of the file as comments, what was answered and refused last. */
int ctl_head(struct ctl *c, const struct ctl_file *f, struct buf *out);

/* "A..B", "A..", "A": both sides; b "" is now. -E_NOENT. */
int ctl_changes_split(struct vol *v, const char *arg, char a[NAME_LEN_MAX + 1], char b[NAME_LEN_MAX + 1]);

int ctl_status_text(struct ctl *c, const char *arg, struct buf *out);
int ctl_status_json(struct ctl *c, const char *arg, struct buf *out);
int ctl_snapshots_text(struct ctl *c, const char *arg, struct buf *out);
int ctl_snapshots_json(struct ctl *c, const char *arg, struct buf *out);
int ctl_changes_text(struct ctl *c, const char *arg, struct buf *out);
int ctl_changes_json(struct ctl *c, const char *arg, struct buf *out);
int ctl_rollback_text(struct ctl *c, const char *arg, struct buf *out);
int ctl_rollback_json(struct ctl *c, const char *arg, struct buf *out);
int ctl_jobs_text(struct ctl *c, const char *arg, struct buf *out);
int ctl_jobs_json(struct ctl *c, const char *arg, struct buf *out);
int ctl_backup_text(struct ctl *c, const char *arg, struct buf *out);
int ctl_backup_json(struct ctl *c, const char *arg, struct buf *out);
int ctl_tier_text(struct ctl *c, const char *arg, struct buf *out);
int ctl_tier_json(struct ctl *c, const char *arg, struct buf *out);
int ctl_restore_text(struct ctl *c, const char *arg, struct buf *out);
int ctl_restore_json(struct ctl *c, const char *arg, struct buf *out);
int ctl_repos_text(struct ctl *c, const char *arg, struct buf *out);
int ctl_repos_json(struct ctl *c, const char *arg, struct buf *out);
int ctl_profile_text(struct ctl *c, const char *arg, struct buf *out);
int ctl_profile_json(struct ctl *c, const char *arg, struct buf *out);
int ctl_events_text(struct ctl *c, const char *arg, struct buf *out);
int ctl_events_json(struct ctl *c, const char *arg, struct buf *out);
int ctl_error_text(struct ctl *c, const char *arg, struct buf *out);
int ctl_error_json(struct ctl *c, const char *arg, struct buf *out);
int ctl_help_text(struct ctl *c, const char *arg, struct buf *out);
int ctl_help_json(struct ctl *c, const char *arg, struct buf *out);

#endif
