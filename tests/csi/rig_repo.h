/* tests/csi/rig_repo: a machine with two repositories, offsite and vault, a profile that names them, a store with its driver. */
#ifndef VARVE_TESTS_CSI_RIG_REPO_H
#define VARVE_TESTS_CSI_RIG_REPO_H

#include "tests/csi/rig.h"

#define REPO_SECRET_TEXT "a-passphrase-that-nobody-may-see"
#define REPO_CLASS "upload-snapshot-to-cloud" /* the profile */
#define REPO_ONE "backups = ( { every = \"24h\"; to = \"offsite\"; } );\n"
#define REPO_BOTH                                                                                            \
    "backups = ( { every = \"24h\"; to = \"offsite\"; }, { every = \"12h\"; to = \"vault\"; } );\n"

extern char repo_url[400], other_url[400];

/* What calls bring along; secret.key NULL: none. */
extern Csi__V1__CreateSnapshotRequest__SecretsEntry secret, *secrets[];
void secret_is(const char *key, const char *value);

/* repo_begin: kind: passphrase or key. A passphrase takes a third of a second each time, a key nothing. repo_other_node: another store, with a daemon and
 * a driver of its own, in place of those. */
void repo_begin(const char *repos, const char *kind);
void repo_other_node(void);
void repo_node(int n);                       /* the first one (1), or another, made where it is not there */
int count_name(void *arg, const char *name); /* of io_list: arg is a size_t */
size_t points_in(const char *repo);
size_t secrets_left(void);
void no_secret_left(void); /* waits for it; nor in the log or the list of jobs */

/* restore: ret NULL: its status; else the id of the volume. */
int restore(const char *name, int64_t size, const char *snapshot, char **ret);
char *volume_with(const char *name, const char *bytes); /* in its file f */
void holds_volume(const char *id, const char *bytes);

void put(const char *dir, const char *name, const char *bytes);
bool holds(const char *dir, const char *name, const char *bytes);

#endif
