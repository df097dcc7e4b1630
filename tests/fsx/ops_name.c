#include "tests/fsx/fsx.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static void fresh_name(struct fx *f, char name[NAME_SIZE])
{
    snprintf(name, NAME_SIZE, "f%llu", (unsigned long long)++f->next_name);
}

static void exchange(struct fx *f, unsigned i, unsigned k, const char *a, const char *b)
{
    char name[NAME_SIZE];

    fx_log(f, "exchange %s %s", f->file[i].name, f->file[k].name);
    WANT(f, renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) == 0, "exchange %s %s: %s", a, b,
         strerror(errno));
    memcpy(name, f->file[i].name, NAME_SIZE);
    memcpy(f->file[i].name, f->file[k].name, NAME_SIZE);
    memcpy(f->file[k].name, name, NAME_SIZE);
}

/* A new file takes another's place by rename, as editors save. */
static void replace(struct fx *f, unsigned i, const char *path)
{
    char tmp[1024];
    size_t len = 1 + fx_rand(f, 50000);
    struct fx_file *file = &f->file[i];
    int fd;

    fx_path(f, "", "tmp", tmp, sizeof(tmp));
    fx_log(f, "replace %s len=%zu", file->name, len);
    fd = open(tmp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    WANT(f, fd >= 0, "create %s: %s", tmp, strerror(errno));
    fx_fill(f, len);
    WANT(f, write(fd, f->buf, len) == (ssize_t)len, "write %s: %s", tmp, strerror(errno));
    WANT(f, rename(tmp, path) == 0, "rename %s over %s: %s", tmp, path, strerror(errno));
    if (f->fd[i] >= 0) {
        fx_compare(f, f->fd[i], file, 0, 5000, "replaced but open"); /* lives on until it is closed */
        close(f->fd[i]);
    }
    f->fd[i] = fd;
    fx_fill(f, len); /* the comparison has used the buffer */
    pages_free(&file->data);
    pages_write(&file->data, f->buf, len, 0, f->op);
    file->size = len;
}

void fx_rename(struct fx *f)
{
    unsigned i = (unsigned)fx_rand(f, FILES), k = (unsigned)fx_rand(f, FILES);
    char from[1024], to[1024], name[NAME_SIZE];

    fx_path(f, "", f->file[i].name, from, sizeof(from));
    if (fx_rand(f, 4) == 0 && i != k) {
        fx_path(f, "", f->file[k].name, to, sizeof(to));
        return exchange(f, i, k, from, to);
    }
    if (fx_rand(f, 4) == 0 && !f->file[i].second[0])
        return replace(f, i, from);
    fresh_name(f, name);
    fx_path(f, "", name, to, sizeof(to));
    fx_log(f, "rename %s %s", f->file[i].name, name);
    WANT(f, rename(from, to) == 0, "rename %s %s: %s", from, to, strerror(errno));
    WANT(f, access(from, F_OK) < 0 && errno == ENOENT, "%s is still there after rename", from);
    memcpy(f->file[i].name, name, NAME_SIZE);
}

/* A second link comes, or the first one goes and the second takes its place. */
void fx_link(struct fx *f)
{
    unsigned i = (unsigned)fx_rand(f, FILES);
    struct fx_file *file = &f->file[i];
    char a[1024], b[1024];
    struct stat st;

    fx_path(f, "", file->name, a, sizeof(a));
    if (!file->second[0]) {
        fresh_name(f, file->second);
        fx_path(f, "", file->second, b, sizeof(b));
        fx_log(f, "link %s %s", file->name, file->second);
        WANT(f, link(a, b) == 0, "link %s %s: %s", a, b, strerror(errno));
        WANT(f, stat(a, &st) == 0 && st.st_nlink == 2, "%s has %u links, not 2", a, (unsigned)st.st_nlink);
        return;
    }
    fx_log(f, "unlink %s, %s stays", file->name, file->second);
    WANT(f, unlink(a) == 0, "unlink %s: %s", a, strerror(errno));
    memcpy(file->name, file->second, NAME_SIZE);
    file->second[0] = 0;
    fx_path(f, "", file->name, b, sizeof(b));
    WANT(f, stat(b, &st) == 0 && st.st_nlink == 1, "%s has %u links, not 1", b, (unsigned)st.st_nlink);
}
