/* conf/repo: repositories by name: a file each in libconfig's grammar, url and paths of secrets, never a secret itself.
 * Where: $XDG_CONFIG_HOME/varve/repositories, else ~/.config/varve/repositories; /etc/varve/repositories for root without HOME. */
#ifndef VARVE_CONF_REPO_H
#define VARVE_CONF_REPO_H

#include <limits.h>

#include "base/buf.h"

#define CONF_REPO_NAME 64
#define CONF_REPO_URL 1024

struct conf_repo {
    char name[CONF_REPO_NAME + 1];
    char url[CONF_REPO_URL + 1];
    char passphrase_file[PATH_MAX]; /* "" none */
    char key_file[PATH_MAX];
};

/* Names: 1..64 of a-z A-Z 0-9 . _ -, beginning with a letter or digit. -E_NAME. A text with ':' or '/' is a URL, not a name. */
int conf_repo_name_check(const char *name);

/* conf_repo_get: -E_NOENT; -E_INVAL with a sentence in err. conf_repo_put: -E_EXIST unless replace. conf_repo_del: -E_NOENT.
 * conf_repo_each: by name, ascending; those that cannot be read have the url "". */
int conf_repo_get(const char *name, struct conf_repo *ret, struct buf *err);
int conf_repo_put(const struct conf_repo *c, bool replace);
int conf_repo_del(const char *name);
int conf_repo_each(int (*cb)(void *arg, const struct conf_repo *c), void *arg);

/* conf_repo_cache: the directory of this machine's knowledge of repositories, in the same way: $XDG_CACHE_HOME/varve/repositories,
 * ~/.cache/varve/repositories, /var/cache/varve/repositories. */
int conf_repo_cache(char out[PATH_MAX]);
/* conf_mount_stores: beside it, where the private stores of recovery points lie that are mounted; made if it is not there. */
int conf_mount_stores(char out[PATH_MAX]);

/* conf_place: $XDG/varve/WHAT, ~/DOT/varve/WHAT, ROOT/varve/WHAT where there is no home. conf_make_dirs: the directories above a file. */
int conf_place(const char *xdg, const char *dot, const char *root, const char *what, char out[PATH_MAX]);
int conf_make_dirs(char *path);

#endif
