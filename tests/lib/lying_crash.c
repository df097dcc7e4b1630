/* From the disk to the model at the start, from the model to an image after a power cut. */
#include "tests/lib/lying_model.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

struct load {
    const char *path;
    struct lying_node *dir;
};

static int load_file(const char *path, struct lying_node *f)
{
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    int r;

    if (fd < 0)
        return err_from_errno(errno);
    r = lying__content_load(&f->safe, fd);
    syscall(SYS_close, fd);
    f->size = f->min_synced = f->safe.size;
    return r;
}

static int load_one(void *arg, const char *name)
{
    const struct load *l = arg;
    cleanup(buf_free) struct buf path = {0};
    struct lying_node *n;
    struct stat st;
    int r = buf_printf(&path, "%s/%s", l->path, name);

    if (r == 0)
        r = io_stat(io_real(), (char *)path.data, &st);
    if (r < 0 || !(S_ISDIR(st.st_mode) || S_ISREG(st.st_mode)))
        return r; /* sockets and the like are not of the disk's concern */
    n = lying__node_new(S_ISDIR(st.st_mode), st.st_mode & 07777);
    lying__entry_set(&l->dir->now, name, n);
    lying__entry_set(&l->dir->durable, name, n);
    lying__node_unref(n);
    return n->is_dir ? lying__load((char *)path.data, n) : load_file((char *)path.data, n);
}

int lying__load(const char *path, struct lying_node *dir)
{
    struct load l = {path, dir};

    return io_list(path, load_one, &l);
}

static int image_file(struct lying_node *f, int dirfd, const char *name, struct lying_choice *c)
{
    struct lying_content content = {0};
    int fd, r;

    fd = (int)syscall(SYS_openat, dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, f->mode | 0600);
    if (fd < 0)
        return err_from_errno(errno);
    lying__content_choose(f, c, &content);
    r = lying__content_store(&content, fd);
    lying__content_free(&content);
    syscall(SYS_close, fd);
    return r;
}

static int image_dir(struct lying_node *dir, int dirfd, struct lying_choice *c)
{
    const struct lying_entries *es = lying__image(dir);
    int r = 0;

    for (size_t i = 0; i < es->n && r == 0; i++) {
        struct lying_node *n = es->e[i].node;
        const char *name = es->e[i].name;
        int sub;

        if (!n->is_dir) {
            r = image_file(n, dirfd, name, c);
            continue;
        }
        if (syscall(SYS_mkdirat, dirfd, name, n->mode | 0700) < 0)
            return err_from_errno(errno);
        sub = (int)syscall(SYS_openat, dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        if (sub < 0)
            return err_from_errno(errno);
        r = image_dir(n, sub, c);
        syscall(SYS_close, sub);
    }
    return r;
}

/* The smallest seq of anything that is not durable; seq + 1 when all is. */
static uint64_t oldest(const struct lying *d, const struct lying_node *n)
{
    uint64_t seq = n->nev ? n->ev[0].seq : d->seq + 1;

    for (size_t i = 0; i < n->now.n; i++)
        seq = MIN_OF(seq, oldest(d, n->now.e[i].node));
    return seq;
}

struct lying_choice lying__choose(const struct lying *d, uint64_t seed, enum lying_mode mode)
{
    struct lying_choice c = {.mode = mode, .seed = seed, .rand = seed};
    uint64_t from = oldest(d, d->top);

    if (mode == LYING_MIXED)
        c.mode = (enum lying_mode)lying__rand_below(&c, LYING_MODES);
    if (d->nnames)
        from = MIN_OF(from, d->names[0].seq);
    c.cut = from + lying__rand_below(&c, d->seq + 2 - from);
    c.one_journal = lying__rand_below(&c, 2);
    return c;
}

static int refuse(void *arg, const char *name)
{
    (void)arg, (void)name;
    return -E_NOTEMPTY;
}

int lying_crash(struct lying *d, uint64_t seed, enum lying_mode mode, const char *outdir)
{
    struct lying_choice c;
    int fd, r;

    if (syscall(SYS_mkdirat, AT_FDCWD, outdir, 0700) < 0 && errno != EEXIST)
        return err_from_errno(errno);
    r = io_list(outdir, refuse, NULL);
    if (r < 0)
        return r;
    fd = (int)syscall(SYS_openat, AT_FDCWD, outdir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0)
        return err_from_errno(errno);
    pthread_mutex_lock(&d->lock);
    c = lying__choose(d, seed, mode);
    lying__names_choose(d, &c);
    r = image_dir(d->top, fd, &c);
    lying__names_unchoose(d);
    pthread_mutex_unlock(&d->lock);
    syscall(SYS_close, fd);
    return r;
}
