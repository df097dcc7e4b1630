#include "tests/fsx/fsx.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* The child's output goes to a file; it is shown when the command fails. */
static void show_output(const char *path)
{
    char text[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));

    if (n > 0)
        printf("%.*s", (int)n, text);
    if (fd >= 0)
        close(fd);
}

int fx_run(struct fx *f, const char *const *argv)
{
    char out[300];
    int status, fd;
    pid_t pid;

    snprintf(out, sizeof(out), "%s/output", f->dir);
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        fd = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0)
            _exit(126);
        execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return -1;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    printf("%s %s: exit %d\n", argv[0], argv[1],
           WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    show_output(out);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

void fx_create(struct fx *f)
{
    snprintf(f->store, sizeof(f->store), "%s/store", f->dir);
    snprintf(f->mnt, sizeof(f->mnt), "%s/mnt", f->dir);
    snprintf(f->clone_mnt, sizeof(f->clone_mnt), "%s/clone", f->dir);
    WANT(f, mkdir(f->mnt, 0755) == 0 && mkdir(f->clone_mnt, 0755) == 0, "mkdir in %s: %s", f->dir,
         strerror(errno));
    WANT(f, fx_run(f, (const char *[]){f->varve, "create", f->store, "--size", "8G", NULL}) == 0,
         "create failed");
}

void fx_mount(struct fx *f)
{
    const char *opts = getenv("MOUNT_OPTS");
    const char *argv[] = {f->varve, "mount", f->store, f->mnt, "-o", opts && *opts ? opts : "defaults", NULL};

    WANT(f, fx_run(f, argv) == 0, "mount failed");
    f->mounted = true;
}

void fx_umount(struct fx *f)
{
    WANT(f, fx_run(f, (const char *[]){f->varve, "umount", f->mnt, NULL}) == 0, "umount failed");
    f->mounted = false;
}

void fx_check(struct fx *f)
{
    WANT(f, fx_run(f, (const char *[]){f->varve, "check", f->store, NULL}) == 0, "check found problems");
}

void fx_control(struct fx *f, const char *file, const char *line)
{
    char path[1024];
    ssize_t n;
    int fd;

    fx_path(f, ".snapshots/.control", file, path, sizeof(path));
    fd = open(path, O_WRONLY | O_CLOEXEC);
    WANT(f, fd >= 0, "open %s: %s", path, strerror(errno));
    n = write(fd, line, strlen(line));
    WANT(f, n == (ssize_t)strlen(line), "%s < '%s': %zd: %s", path, line, n, strerror(errno));
    WANT(f, close(fd) == 0, "close %s: %s", path, strerror(errno));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void force_off(struct fx *f, const char *mnt)
{
    fx_run(f, (const char *[]){f->varve, "umount", mnt, NULL});
    umount2(mnt, MNT_DETACH);
}

void fx_cleanup(struct fx *f)
{
    fx_close_all(f);
    if (f->clone_mounted)
        force_off(f, f->clone_mnt);
    if (f->mounted)
        force_off(f, f->mnt);
    f->mounted = f->clone_mounted = false;
    if (f->dir[0])
        nftw(f->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    f->dir[0] = 0;
}
