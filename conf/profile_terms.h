/* conf/profile_terms: the tables of a profile's terms. Private to profile*.c. */
#ifndef VARVE_CONF_PROFILE_TERMS_H
#define VARVE_CONF_PROFILE_TERMS_H

#include "conf/profile.h"

enum profile_part {
    PART_ROOT,
    PART_PROVISIONING,
    PART_SNAPSHOTS,
    PART_RETENTION,
    PART_BACKUPS,
    PART_PROTECTION,
    PART_TIERING,
    PART_LIFECYCLE,
    PART__N
};

extern const char
    *const profile_modes[]; /* of replication: both spellings; the first four are those that are written */
#define PROFILE_MODES 4

/* profile_other: one more term that is not known, its value as JSON. -E_NOMEM, -E_TOOBIG. */
int profile_other(struct profile *p, const char *term, const char *json);

/* profile_of_tree: from a tree of settings, without profile_check(). */
int profile_of_tree(const config_setting_t *root, const char *path, struct profile *p, struct buf *err);

#endif
