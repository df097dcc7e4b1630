/* fs/verb_profile: profiles and the machine's configuration as verbs see them. */
#ifndef VARVE_FS_VERB_PROFILE_H
#define VARVE_FS_VERB_PROFILE_H

#include "conf/profile.h"
#include "fs/verb_client.h"
#include "fs/verb_show.h"
#include "snap/policy.h"

/* profile_of_word: a name or id of this machine's profiles, or (with a newline in it) the text of one, as the command line sends it on.
 * -E_NOENT, -E_INVAL with a sentence. */
int profile_of_word(const char *word, struct profile **ret, struct buf *err);
/* verb_profile_resolve: the argument `what` becomes the text of the profile, for the process that has the store. */
int verb_profile_resolve(struct verb_args *a, const char *what, struct buf *err);

/* For status: rows and members about the volume's profile, and what is wrong with its backups (0, or -E_TIMEOUT with a line). */
void profile_status_rows(struct show_cols *cols, struct verb_ctx *c);
void profile_status_json(struct jw *j, struct verb_ctx *c);
int profile_trouble(struct verb_ctx *c, struct buf *out);

/* What became of a run, as members; NULL: it never ran. A time of a table's cell; SCHEDULE_NEVER, 0: "-". */
void profile_run_json(struct jw *j, const struct policy_run *run);
void profile_time_cell(struct show_cols *c, int64_t s);

/* What a profile says of recovery points that are there (conf/lifecycle.h): rows of the table of schedules, members of its array. */
struct life_view {
    const struct profile *p;
    struct policy_runs *runs;
    const struct zone *z;
    int64_t now_s;
};
bool life_asked(const struct profile *p);
void life_rows(struct show_cols *c, const struct life_view *w);
void life_json(struct jw *j, const struct life_view *w);

/* verb_schedules: does what is due; seconds until it is worth looking again. fs/verb_schedule.c. */
int64_t verb_schedules(struct verb_env *e);

/* Without a store, in the command line's process. */
#define PROFILE_LOCAL(name) int name(struct verb_args *a, struct verb_answer *ans)
PROFILE_LOCAL(profile_list);
PROFILE_LOCAL(profile_show);
PROFILE_LOCAL(profile_add);
PROFILE_LOCAL(profile_remove);
PROFILE_LOCAL(profile_import);
PROFILE_LOCAL(profile_export);
PROFILE_LOCAL(profile_try);
PROFILE_LOCAL(config_try);
PROFILE_LOCAL(config_show);

#endif
