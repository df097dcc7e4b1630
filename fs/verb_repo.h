/* fs/verb_repo: what the verbs about repositories share: REPO and REPO#ID as words, opening one; and those verbs that need no store. */
#ifndef VARVE_FS_VERB_REPO_H
#define VARVE_FS_VERB_REPO_H

#include "conf/repo.h"
#include "fs/verb_client.h"
#include "tier/point.h"

/* A repository as it was named. */
struct repo_place {
    struct conf_repo conf; /* name "" where a URL was given */
    char id[SHA_TEXT];     /* what follows #; "" none */
};

/* repo_place_parse(text, with_id, a, ret, err): NAME or URL, with #ID where with_id; options --passphrase-file and --key-file of a
 * (where its verb has them) go before what is configured, and become absolute. -E_NOENT, -E_USAGE, -E_INVAL with a sentence. */
int repo_place_parse(const char *text, bool with_id, const struct verb_args *a, struct repo_place *ret,
                     struct buf *err);
/* repo_place_parse_to: the other side of a copy: its options begin with --to-. */
int repo_place_parse_to(const char *text, const struct verb_args *a, struct repo_place *ret, struct buf *err);
void repo_place_free(struct repo_place **p); /* fit for cleanup(), as is repo_done() */
void repo_done(struct repo **r);
/* repo_place_of: the argument `repo` of a verb; repo_place_backend: what lies there, without its keys, through varve-tierd. */
int repo_place_of(struct verb_args *a, struct verb_answer *ans, struct repo_place **ret);
int repo_place_named(const char *text, const struct verb_args *a, struct verb_answer *ans,
                     struct repo_place **ret);
int repo_place_backend(const struct repo_place *p, bool make, const struct backend_call *call,
                       struct backend **ret, struct buf *err);
const char *repo_place_name(const struct repo_place *p); /* for sentences */

/* repo_place_open: through varve-tierd. cache NULL: this machine's. err: the sentence with the repository's name. */
int repo_place_open(const struct repo_place *p, const struct backend_call *c, const char *cache,
                    struct repo **ret, struct buf *err);
int repo_place_secret(const struct repo_place *p, struct secret *ret, struct buf *err);

/* repo_scratch_make: a directory of one's own below $TMPDIR, else /var/tmp. repo_scratch_remove: with all that is in it. */
int repo_scratch_make(const char *what, char out[PATH_MAX], struct buf *err);
void repo_scratch_remove(const char *dir);

/* verb_repo_run: a verb of those that need no store; -E_NOSYS: it is none of them. */
int verb_repo_run(struct verb_args *a, struct verb_answer *ans);
/* verb_place_resolve: an argument that is REPO as another process understands it: a URL, its secrets by absolute paths. */
int verb_place_resolve(struct verb_args *a, const char *name, struct buf *err);
/* verb_sides_resolve: the same of `from` and `to` of a verb that has both, where they are given. */
int verb_sides_resolve(struct verb_args *a, struct buf *err);
/* verb_url_resolve: the same of an argument that is a URL, or a name, without secrets. */
int verb_url_resolve(struct verb_args *a, const char *name, struct buf *err);
/* verb_from_resolve: the same as verb_place_resolve for an argument that is REPO#ID. */
int verb_from_resolve(struct verb_args *a, const char *name, struct buf *err);

#define REPO_LOCAL(name) int name(struct verb_args *a, struct verb_answer *ans)
/* cmd_repo.c */
REPO_LOCAL(repo_add);
REPO_LOCAL(repo_remove);
REPO_LOCAL(repo_list);
REPO_LOCAL(repo_show);
REPO_LOCAL(repo_make);
REPO_LOCAL(repo_test);
REPO_LOCAL(repo_verify);
/* cmd_prune.c */
REPO_LOCAL(repo_prune);
/* cmd_transition.c */
REPO_LOCAL(repo_transition);
REPO_LOCAL(repo_unlock_lease);
/* cmd_key.c */
REPO_LOCAL(repo_key);
/* cmd_point.c */
REPO_LOCAL(backup_list);
REPO_LOCAL(backup_show);
REPO_LOCAL(backup_delete);
/* cmd_expire.c */
REPO_LOCAL(backup_undelete);
REPO_LOCAL(backup_owner);
REPO_LOCAL(backup_expire);
/* cmd_copy.c. copy_json: what a copy did, as the answer. */
REPO_LOCAL(backup_copy);
struct copy_result;
int copy_json(const struct copy_result *res, struct buf *out);
/* cmd_backup_status.c */
REPO_LOCAL(backup_status);
/* cmd_pin.c */
REPO_LOCAL(repo_pins);
REPO_LOCAL(repo_forget);
/* cmd_domain.c */
REPO_LOCAL(repo_domains);
REPO_LOCAL(repo_shred);
/* cmd_port_diff.c */
REPO_LOCAL(backup_diff);
/* cmd_port_export.c */
REPO_LOCAL(backup_export);
REPO_LOCAL(backup_import);
/* cmd_restore.c */
REPO_LOCAL(restore_files);

#endif
