#include "fs/verb_into.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#undef BLOCK_SIZE /* is the store's */
#include <sys/wait.h>
#include <unistd.h>

#include "fs/verb_target.h"

extern char **environ;

void into_close(struct into *i)
{
    if (i->fd >= 0)
        close(i->fd);
    i->fd = -1;
}

/* --- what is mounted ------------------------------------------------------------------------------------------------ */

struct search {
    char source[PATH_MAX + NAME_LEN_MAX + 2];
    char dir[PATH_MAX];
    bool readonly;
};

static bool has_option(const char *opts, const char *name)
{
    size_t n = strlen(name);

    for (const char *p = opts; p; p = strchr(p, ','), p = p ? p + 1 : NULL)
        if (strncmp(p, name, n) == 0 && (p[n] == ',' || !p[n]))
            return true;
    return false;
}

/* The whole of the volume, if it can be had for writing. */
static int match(void *arg, const struct verb_mount *m)
{
    struct search *s = arg;

    if (strcmp(m->source, s->source) != 0 || strcmp(m->root, "/") != 0)
        return 0;
    s->readonly = has_option(m->opts, "ro");
    snprintf(s->dir, sizeof(s->dir), "%s", m->dir);
    return !s->readonly;
}

/* --- mounting for the time ------------------------------------------------------------------------------------------ */

static int program(char *const argv[])
{
    posix_spawn_file_actions_t fa;
    int status = -1, e;
    pid_t pid;

    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_addopen(&fa, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    e = posix_spawnp(&pid, argv[0], &fa, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&fa);
    if (e)
        return err_from_errno(e);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -E_IO;
}

/* What is open goes on, and ends with this process, however that ends. */
static void detach(char *dir)
{
    if (umount2(dir, MNT_DETACH) == 0)
        return;
    (void)program((char *[]){(char[]){"fusermount3"}, (char[]){"-u"}, (char[]){"-z"}, dir, NULL});
}

static int mount_here(char *source, struct into *i, struct buf *err)
{
    char dir[] = "/var/tmp/varve-into.XXXXXX", self[] = "/proc/self/exe";
    char *argv[] = {self, (char[]){"mount"}, source,
                    dir,  (char[]){"-o"},    (char[]){"control=none,snapdir=disabled"},
                    NULL};
    int r;

    if (!mkdtemp(dir))
        return err_from_errno(errno);
    r = program(argv);
    if (r == 0 && (i->fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        r = err_from_errno(errno);
    if (r == 0)
        detach(dir);
    else
        buf_printf(err, "%s: it is not mounted, and could not be mounted for the time", source);
    rmdir(dir);
    return r;
}

/* --- which ---------------------------------------------------------------------------------------------------------- */

/* STORE/VOLUME before a colon, or without one. 1: it is; *rest: what follows. */
static int volume_of(const char *text, struct verb_target *t, const char **rest)
{
    cleanup(buf_free) struct buf ignored = {0};
    char word[PATH_MAX];

    for (const char *end = text + strcspn(text, ":");; end += 1 + strcspn(end + 1, ":")) {
        if ((size_t)(end - text) < sizeof(word)) {
            snprintf(word, sizeof(word), "%.*s", (int)(end - text), text);
            if (*word && verb_target_parse(word, TARGET_NO_DIR, t, &ignored) == 0 && t->exists) {
                *rest = *end ? end + 1 : end;
                return 1;
            }
        }
        if (!*end)
            return 0;
    }
}

static int open_below(int dir, const char *path)
{
    struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
                           .resolve =
                               BROKEN(VARVE_BREAK_into_below) ? 0 : RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};

    return (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));
}

/* The directory, made if it is not there: in the volume, whatever links lie on the way. */
static int open_or_make(int root, const char *path)
{
    int fd = open_below(root, path), up;
    char above[PATH_MAX];
    char *slash;

    if (fd >= 0 || errno != ENOENT)
        return fd;
    snprintf(above, sizeof(above), "%s", path);
    for (size_t n = strlen(above); n && above[n - 1] == '/'; n--)
        above[n - 1] = 0;
    slash = strrchr(above, '/');
    if (slash)
        *slash = 0;
    up = slash ? open_below(root, above) : dup(root);
    if (up < 0)
        return -1;
    fd = mkdirat(up, slash ? slash + 1 : above, 0700);
    close(up);
    return fd < 0 && errno != EEXIST ? -1 : open_below(root, path);
}

static int go_below(struct into *i, const char *path, struct buf *err)
{
    int fd = *path ? open_or_make(i->fd, path) : i->fd;

    if (fd < 0 && (errno == EXDEV || errno == ELOOP)) {
        buf_printf(err, "%s: leads out of the volume by a link", i->shown);
        return -E_INVAL;
    }
    if (fd < 0)
        return err_from_errno(errno);
    if (fd != i->fd)
        close(i->fd);
    i->fd = fd;
    return 0;
}

static int in_volume(const struct verb_target *t, const char *rest, struct into *i, struct buf *err)
{
    struct search *s = calloc(1, sizeof(*s));
    int r = s ? 0 : -E_NOMEM;

    if (r < 0)
        return r;
    snprintf(s->source, sizeof(s->source), "%s/%s", t->store, t->volume);
    verb_mounts_each(match, s);
    if (s->readonly) {
        buf_printf(err, "%s is mounted read-only on %s; mount it read-write", s->source, s->dir);
        r = -E_ROFS;
    } else if (!s->dir[0]) {
        r = mount_here(s->source, i, err);
    }
    if (r == 0 && i->fd < 0 && (i->fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        r = err_from_errno(errno);
    if (r == 0)
        r = go_below(i, rest + strspn(rest, "/"), err);
    snprintf(i->path, sizeof(i->path), "/proc/self/fd/%d", i->fd);
    free(s);
    return r;
}

int into_open(const char *text, struct into *ret, struct buf *err)
{
    struct verb_target *t = calloc(1, sizeof(*t));
    const char *rest;
    int r = t ? 0 : -E_NOMEM;

    *ret = (struct into){.fd = -1};
    snprintf(ret->shown, sizeof(ret->shown), "%s", text);
    if (r == 0 && volume_of(text, t, &rest) == 1)
        r = in_volume(t, rest, ret, err);
    else if (r == 0 && snprintf(ret->path, sizeof(ret->path), "%s", text) >= (int)sizeof(ret->path))
        r = -E_NAMETOOLONG;
    if (r < 0) {
        into_close(ret);
        if (err->len == 0)
            buf_printf(err, "%s: %s", text, err_text(r));
    }
    free(t);
    return r;
}
