#include "fs/mount_from.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "fs/verb_repo.h"

#define MARK_FILE "private"
#define YOUNG_S 60 /* may be in the making */

/* --- words ---------------------------------------------------------------------------------------------------------- */

static int add(struct buf *b, const char *option, const char *value)
{
    int r = value ? buf_printf(b, "--%s=%s", option, value) : 0;

    return r < 0 || !value ? r : buf_add(b, "", 1);
}

int mount_from_words(struct mount_from *f, const char *volume, struct buf *err)
{
    const struct {
        const char *name, *value;
    } given[] = {{"from", f->point},
                 {"passphrase-file", f->passphrase_file},
                 {"key-file", f->key_file},
                 {"credentials", f->credentials}};
    char *words[] = {(char *)(uintptr_t) "create", (char *)(uintptr_t)volume};
    cleanup(verb_args_free) struct verb_args a = {0};
    int r = verb_parse_words(ARRAY_LEN(words), words, &a, err);

    for (size_t i = 0; r == 0 && i < ARRAY_LEN(given); i++)
        if (given[i].value)
            r = verb_set(&a, given[i].name, given[i].value, err);
    if (r == 0)
        r = verb_from_resolve(&a, "from", err);
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(words); i++)
        r = buf_add(&f->words, words[i], strlen(words[i]) + 1);
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(given); i++)
        r = add(&f->words, given[i].name, verb_text(&a, given[i].name));
    if (r == 0 && f->no_hydrate)
        r = buf_add(&f->words, "--no-hydrate", sizeof("--no-hydrate"));
    return r;
}

/* --- private stores ------------------------------------------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    (void)remove(path);
    return 0;
}

void mount_private_remove(const char *store)
{
    if (nftw(store, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) < 0)
        log_warn("fs", "private", "store=%s errno=%d", store, errno);
}

bool mount_private_is(const char *store)
{
    char path[PATH_MAX];

    return snprintf(path, sizeof(path), "%s/" MARK_FILE, store) < (int)sizeof(path) &&
           access(path, F_OK) == 0;
}

int mount_private_mark(const char *store)
{
    char path[PATH_MAX];
    int fd;

    if (snprintf(path, sizeof(path), "%s/" MARK_FILE, store) >= (int)sizeof(path))
        return -E_NAMETOOLONG;
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_from_errno(errno);
    close(fd);
    return 0;
}

/* Nobody has it open, and it is not being made just now. */
static bool is_dead(const char *store)
{
    char path[PATH_MAX];
    struct stat st;
    bool dead;
    int fd;

    if (stat(store, &st) < 0 || time(NULL) - st.st_mtime < YOUNG_S || !mount_private_is(store) ||
        snprintf(path, sizeof(path), "%s/lock", store) >= (int)sizeof(path))
        return false;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT;
    dead = flock(fd, LOCK_EX | LOCK_NB) == 0;
    close(fd);
    return dead;
}

static void sweep(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    char path[PATH_MAX];

    while (d && (e = readdir(d)))
        if (e->d_name[0] != '.' &&
            snprintf(path, sizeof(path), "%s/%s", dir, e->d_name) < (int)sizeof(path) && is_dead(path))
            mount_private_remove(path);
    if (d)
        closedir(d);
}

int mount_private_make(char out[PATH_MAX])
{
    char dir[PATH_MAX], path[PATH_MAX];
    int r = conf_mount_stores(dir);

    if (r == 0 && mkdir(dir, 0700) < 0 && errno != EEXIST)
        r = err_from_errno(errno);
    if (r < 0)
        return r;
    sweep(dir);
    if (snprintf(path, sizeof(path), "%s/XXXXXX", dir) >= (int)sizeof(path))
        return -E_NAMETOOLONG;
    if (!mkdtemp(path) || !realpath(path, out))
        return err_from_errno(errno);
    return 0;
}
