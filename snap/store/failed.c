/* STORE/failed: which volumes had a write-back that failed, and why: a line each, "ID WHY". They are read-only from then on, over the
 * daemon's death, too, until a check has found nothing wrong, or put it right. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "snap/store/store_int.h"

#define FAILED_SIZE_MAX (64u << 10)

static void path_of(const char *store, char out[4200])
{
    snprintf(out, 4200, "%s/failed", store);
}

static int line_add(struct store *s, const char *path, const char *line, size_t len)
{
    struct stat st;
    int fd = io_open(s->io, path, O_WRONLY | O_CREAT, 0600), r;

    if (fd < 0)
        return fd;
    r = io_fstat(s->io, fd, &st);
    if (r == 0 && (uint64_t)st.st_size + len <= FAILED_SIZE_MAX)
        r = io_pwrite(s->io, fd, line, len, (uint64_t)st.st_size);
    if (r == 0)
        r = io_fdatasync(s->io, fd);
    io_close(s->io, fd);
    return r < 0 ? r : io_sync_dir(s->io, s->path);
}

void failed_note(struct store *s, uint32_t vol, const char *why)
{
    char path[4200], line[256];
    int n = snprintf(line, sizeof(line), "%" PRIu32 " %.200s\n", vol, why), r;

    if (BROKEN(VARVE_BREAK_failed_note))
        return;
    path_of(s->path, path);
    r = line_add(s, path, line, (size_t)n);
    if (r < 0) /* the disk fails: this process knows, the next one may not */
        log_warn("store", "unnoted", "path=%s error=%s", path, err_name(r));
}

static int lines_read(struct store *s, struct buf *ret)
{
    char path[4200];

    path_of(s->path, path);
    return io_read_file(s->io, path, 2 * FAILED_SIZE_MAX, ret);
}

bool failed_any(struct store *s)
{
    cleanup(buf_free) struct buf b = {0};

    return lines_read(s, &b) != -E_NOENT;
}

int failed_load(struct store *s)
{
    cleanup(buf_free) struct buf b = {0};
    int r = lines_read(s, &b);
    char *end;

    if (r < 0)
        return r == -E_NOENT ? 0 : r;
    if (!buf_cstr(&b))
        return -E_NOMEM;
    for (char *p = (char *)b.data; *p; p = end + (*end == '\n')) {
        struct vol *v = vol_by_id(s, (uint32_t)strtoul(p, &end, 10));
        size_t len;

        p = end + (*end == ' ');
        len = strcspn(p, "\n");
        end = p + len;
        if (!v || v->readonly)
            continue;
        v->readonly = true;
        v->why_readonly = strndup(p, MIN_OF(len, (size_t)100));
    }
    return 0;
}

int store_failed_forget(struct io *io, const char *store)
{
    char path[4200];
    int r;

    path_of(store, path);
    r = io_unlink(io, path);
    if (r == 0)
        r = io_sync_dir(io, store);
    return r == -E_NOENT ? 0 : r;
}
