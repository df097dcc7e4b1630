#include "fs/verb_holders.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/io.h"

struct scan {
    unsigned major, minor;
    struct buf *out;
    size_t processes;
    int pid;
    char dir[32];         /* /proc/PID */
    char first[PATH_MAX]; /* of this process */
    size_t files;
};

static void found(struct scan *s, const char *link)
{
    ssize_t n;

    if (s->files++ > 0)
        return;
    n = readlink(link, s->first, sizeof(s->first) - 1);
    s->first[n > 0 ? n : 0] = 0;
}

/* What the kernel remembers of the file behind the link; it is not asked for anew. */
static void look(struct scan *s, const char *link)
{
    struct statx st;

    if (statx(AT_FDCWD, link, AT_STATX_DONT_SYNC, 0, &st) == 0 && st.stx_dev_major == s->major &&
        st.stx_dev_minor == s->minor)
        found(s, link);
}

static int look_fd(void *arg, const char *name)
{
    struct scan *s = arg;
    char link[PATH_MAX];

    snprintf(link, sizeof(link), "%s/fd/%s", s->dir, name);
    look(s, link);
    return 0;
}

static void look_maps(struct scan *s)
{
    char path[64], *line = NULL, *name;
    unsigned major, minor;
    size_t cap = 0;
    FILE *f;

    snprintf(path, sizeof(path), "%s/maps", s->dir);
    f = fopen(path, "re");
    while (f && getline(&line, &cap, f) > 0) {
        if (sscanf(line, "%*s %*s %*s %x:%x", &major, &minor) != 2 || major != s->major || minor != s->minor)
            continue;
        name = strchr(line, '/');
        if (s->files++ == 0 && name)
            snprintf(s->first, sizeof(s->first), "%.*s", (int)strcspn(name, "\n"), name);
    }
    free(line);
    if (f)
        fclose(f);
}

static void comm_of(const struct scan *s, char out[32])
{
    char path[64];
    FILE *f;

    snprintf(path, sizeof(path), "%s/comm", s->dir);
    snprintf(out, 32, "?");
    f = fopen(path, "re");
    if (!f)
        return;
    if (fgets(out, 32, f))
        out[strcspn(out, "\n")] = 0;
    fclose(f);
}

static int look_process(void *arg, const char *name)
{
    struct scan *s = arg;
    char path[64], comm[32];
    long pid = strtol(name, NULL, 10);

    if (pid <= 0 || pid > INT_MAX || pid == getpid())
        return 0;
    s->pid = (int)pid;
    s->files = 0;
    s->first[0] = 0;
    snprintf(s->dir, sizeof(s->dir), "/proc/%d", s->pid);
    snprintf(path, sizeof(path), "%s/cwd", s->dir);
    look(s, path);
    snprintf(path, sizeof(path), "%s/root", s->dir);
    look(s, path);
    snprintf(path, sizeof(path), "%s/fd", s->dir);
    io_list(path, look_fd, s);
    look_maps(s);
    if (s->files == 0)
        return 0;
    s->processes++;
    comm_of(s, comm);
    buf_printf(s->out, "  pid %d %s: %s", s->pid, comm, s->first);
    if (s->files > 1)
        buf_printf(s->out, " (and %zu more)", s->files - 1);
    return buf_puts(s->out, "\n");
}

int verb_holders(unsigned major, unsigned minor, struct buf *out, size_t *ret_count)
{
    struct scan *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return -E_NOMEM;
    s->major = major;
    s->minor = minor;
    s->out = out;
    r = io_list("/proc", look_process, s);
    if (r == 0)
        *ret_count = s->processes;
    free(s);
    return r;
}
