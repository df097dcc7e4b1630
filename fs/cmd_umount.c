/* varve umount: umount(2), then waits until the daemon has made everything durable. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "fs/cmd.h"
#include "fs/mount.h"
#include "fs/sock.h"
#include "fs/verb_target.h"

#define CLOSE_TRIES 6000 /* of 10 ms */

struct found {
    const char *dir;
    char source[PATH_MAX + 2 * NAME_LEN_MAX];
    unsigned major, minor;
    bool hit;
    unsigned others; /* places where the same superblock is mounted */
};

static int match_dir(void *arg, const struct verb_mount *m)
{
    struct found *f = arg;

    if (strcmp(m->dir, f->dir) != 0)
        return 0;
    f->hit = true; /* the last one is on top */
    f->major = m->major;
    f->minor = m->minor;
    snprintf(f->source, sizeof(f->source), "%s", m->source);
    return 0;
}

static int count_same(void *arg, const struct verb_mount *m)
{
    struct found *f = arg;

    f->others += m->major == f->major && m->minor == f->minor;
    return 0;
}

/* The absolute path of a mount point, without touching what is mounted there: its parent is resolved. */
static int resolve(const char *dir, char ret[PATH_MAX])
{
    char copy[PATH_MAX], parent[PATH_MAX];
    size_t len = strlen(dir);
    char *slash;

    while (len > 1 && dir[len - 1] == '/')
        len--;
    if (len == 0 || len >= sizeof(copy))
        return -E_NAMETOOLONG;
    memcpy(copy, dir, len);
    copy[len] = 0;
    slash = strrchr(copy, '/');
    if (strcmp(copy, ".") == 0 || strcmp(copy, "..") == 0 ||
        (slash && (strcmp(slash, "/.") == 0 || strcmp(slash, "/..") == 0)))
        return realpath(copy, ret) ? 0 : err_from_errno(errno);
    if (slash)
        *slash = 0;
    if (!realpath(!slash ? "." : *copy ? copy : "/", parent))
        return err_from_errno(errno);
    if (snprintf(ret, PATH_MAX, "%s/%s", strcmp(parent, "/") == 0 ? "" : parent, slash ? slash + 1 : copy) >=
        PATH_MAX)
        return -E_NAMETOOLONG;
    return 0;
}

/* A symbolic link to a mount point is followed only when nothing is mounted by that name itself. */
static int find(const char *dir, char ret[PATH_MAX], struct found *f)
{
    int r = resolve(dir, ret);

    if (r < 0)
        return r;
    f->dir = ret;
    verb_mounts_each(match_dir, f);
    if (!f->hit && realpath(dir, ret))
        verb_mounts_each(match_dir, f);
    return f->hit ? 0 : -E_NOTMOUNTED;
}

/* STORE/VOLUME[@SNAP] of the table of mounts. */
static int split_source(char *source, const char **ret_volume, const char **ret_snap)
{
    char *slash = strrchr(source, '/');
    char *at = slash ? strchr(slash, '@') : NULL;

    if (!slash || slash == source)
        return -E_INVAL;
    *slash = 0;
    *ret_volume = slash + 1;
    *ret_snap = "";
    if (at) {
        *at = 0;
        *ret_snap = at + 1;
    }
    return 0;
}

/* The daemon no longer answers while it closes the store; the store's lock is the last that it gives back. */
static void wait_closed(const char *store)
{
    char path[PATH_MAX];
    int fd;

    if (snprintf(path, sizeof(path), "%s/lock", store) >= (int)sizeof(path))
        return;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    for (int i = 0; i < CLOSE_TRIES && flock(fd, LOCK_SH | LOCK_NB) < 0; i++)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    close(fd);
}

static int wait_durable(struct found *f)
{
    const char *words[] = {"gone", NULL, NULL};
    int exit_code = 0;
    int r = split_source(f->source, &words[1], &words[2]);

    if (r < 0)
        return 0;
    r = sock_call(f->source, words, ARRAY_LEN(words), STDOUT_FILENO, STDERR_FILENO, &exit_code, NULL);
    if (r == -E_ACCES || r == -E_PERM)
        return cmd_fail("%s is unmounted; whether the store is closed cannot be seen: not your daemon",
                        f->dir);
    if (r == 0)
        return exit_code;
    wait_closed(f->source);
    return CMD_OK;
}

static int run(int argc, char **argv)
{
    bool lazy = argc == 3 && strcmp(argv[1], "--lazy") == 0;
    char dir[PATH_MAX];
    struct found f = {0};
    int r;

    if (argc != 2 + lazy || argv[1 + lazy][0] == '-')
        return cmd_wrong(&cmd_umount, "it takes a directory");
    r = find(argv[1 + lazy], dir, &f);
    if (r == -E_NOTMOUNTED)
        return cmd_fail("%s: no varve volume is mounted there", argv[1 + lazy]);
    if (r < 0)
        return cmd_fail("%s: %s", argv[1 + lazy], err_text(r));
    r = mount_detach(dir, lazy);
    if (r == -E_BUSY)
        return cmd_fail("%s is in use (`fuser -vm %s` lists by whom); end that, or use --lazy", dir, dir);
    if (r < 0)
        return cmd_fail("%s: %s", dir, err_text(r));
    verb_mounts_each(count_same, &f);
    return f.others > 0 || lazy ? CMD_OK : wait_durable(&f);
}

const struct cmd cmd_umount = {
    .name = "umount",
    .synopsis = "umount [--lazy] DIR",
    .help = "Unmounts a volume and waits until everything in it is on disk. When it was the last one of its "
            "store, the\n"
            "store is closed and its daemon ends. A plain `umount DIR` does the same without waiting.\n"
            "\n"
            "  --lazy    takes it out of the tree at once; it ends when its last user has gone\n",
    .run = run};
