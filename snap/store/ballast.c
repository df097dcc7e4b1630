/* A reserve of space in the store's filesystem: given up when a checkpoint finds it full, so that deletes can still be made
 * durable; taken again when there is room. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/statvfs.h>

#include "base/log.h"
#include "snap/store/store_int.h"

static void ballast_path(const struct store *s, char *out, size_t size)
{
    snprintf(out, size, "%s/ballast", s->path);
}

bool ballast_drop(struct store *s)
{
    char path[4200];

    ballast_path(s, path, sizeof(path));
    if (io_unlink(s->io, path) < 0)
        return false;
    log_warn("store", "full", "path=%s: the filesystem below is full; the reserve is in use", s->path);
    return true;
}

void ballast_take(struct store *s)
{
    char path[4200];
    struct stat st;
    struct statvfs sv;
    uint64_t want = s->set.delta_bytes;

    ballast_path(s, path, sizeof(path));
    if (io_stat(s->io, path, &st) == 0 || fstatvfs(s->dir_fd, &sv) < 0 ||
        (uint64_t)sv.f_bavail * sv.f_frsize < 3 * want)
        return;
    int fd = io_open(s->io, path, O_RDWR | O_CREAT, 0600);
    if (fd < 0)
        return;
    int r = io_allocate(s->io, fd, 0, want);
    io_close(s->io, fd);
    if (r < 0)
        (void)io_unlink(s->io, path);
}
