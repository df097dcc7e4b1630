/* The device. One thread serves requests in turn: what was answered is in the log before the next one is looked at, so a flush
 * covers exactly the writes before it. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/falloc.h>

#include "tests/powercut/powercut.h"

#define WRITE_MAX (1u << 20)
#define BUFFER (WRITE_MAX + 8192)
#define CLIENTS 16

struct disk {
    int fuse, listener, clients[CLIENTS];
    uint8_t *bytes;
    uint64_t size;
    FILE *log;
    bool ended;
};

static void log_add(struct disk *d, enum pc_kind kind, uint64_t off, uint64_t count, const void *p,
                    uint32_t len)
{
    struct pc_rec rec = {.kind = kind, .len = len, .off = off, .count = count};

    if (fwrite(&rec, sizeof(rec), 1, d->log) != 1 || (len && fwrite(p, len, 1, d->log) != 1))
        pc_die("log");
}

static void answer(struct disk *d, const struct fuse_in_header *in, int error, const void *p, size_t len)
{
    struct fuse_out_header out = {
        .len = (uint32_t)(sizeof(out) + len), .error = -error, .unique = in->unique};
    struct iovec iov[2] = {{&out, sizeof(out)}, {(void *)(uintptr_t)p, len}};

    if (writev(d->fuse, iov, len ? 2 : 1) < 0 && errno != ENOENT)
        pc_die("answer");
}

static void answer_init(struct disk *d, const struct fuse_in_header *in, const struct fuse_init_in *arg)
{
    struct fuse_init_out out = {
        .major = FUSE_KERNEL_VERSION, .minor = 31, .max_readahead = arg->max_readahead};

    out.flags = arg->flags & (FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_MAX_PAGES | FUSE_ASYNC_DIO);
    out.max_write = WRITE_MAX;
    out.max_pages = WRITE_MAX / 4096;
    out.time_gran = 1;
    answer(d, in, 0, &out, sizeof(out));
}

static void answer_attr(struct disk *d, const struct fuse_in_header *in)
{
    struct fuse_attr_out out = {.attr_valid = 1000};

    out.attr.ino = 1;
    out.attr.size = d->size;
    out.attr.blocks = d->size / 512;
    out.attr.mode = S_IFREG | 0600;
    out.attr.nlink = 1;
    out.attr.blksize = 4096;
    answer(d, in, 0, &out, sizeof(out));
}

static void answer_write(struct disk *d, const struct fuse_in_header *in, const struct fuse_write_in *arg)
{
    struct fuse_write_out out = {.size = arg->size};

    if (arg->offset > d->size || arg->size > d->size - arg->offset) {
        answer(d, in, ENOSPC, NULL, 0);
        return;
    }
    memcpy(d->bytes + arg->offset, arg + 1, arg->size);
    log_add(d, PC_WRITE, arg->offset, arg->size, arg + 1, arg->size);
    answer(d, in, 0, &out, sizeof(out));
}

static void answer_read(struct disk *d, const struct fuse_in_header *in, const struct fuse_read_in *arg)
{
    uint64_t left = arg->offset < d->size ? d->size - arg->offset : 0;

    answer(d, in, 0, d->bytes + arg->offset, arg->size < left ? arg->size : (size_t)left);
}

static void answer_fallocate(struct disk *d, const struct fuse_in_header *in,
                             const struct fuse_fallocate_in *arg)
{
    if (!(arg->mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) || arg->offset > d->size ||
        arg->length > d->size - arg->offset) {
        answer(d, in, EOPNOTSUPP, NULL, 0);
        return;
    }
    memset(d->bytes + arg->offset, 0, arg->length);
    log_add(d, PC_ZERO, arg->offset, arg->length, NULL, 0);
    answer(d, in, 0, NULL, 0);
}

static void serve(struct disk *d, const struct fuse_in_header *in, const void *arg)
{
    struct fuse_open_out opened = {.open_flags = FOPEN_DIRECT_IO};
    struct fuse_statfs_out st = {
        .st = {.blocks = d->size / 4096, .bsize = 4096, .frsize = 4096, .namelen = 255}};

    switch (in->opcode) {
    case FUSE_INIT: answer_init(d, in, arg); break;
    case FUSE_GETATTR:
    case FUSE_SETATTR: answer_attr(d, in); break;
    case FUSE_OPEN: answer(d, in, 0, &opened, sizeof(opened)); break;
    case FUSE_READ: answer_read(d, in, arg); break;
    case FUSE_WRITE: answer_write(d, in, arg); break;
    case FUSE_FSYNC:
        log_add(d, PC_FLUSH, 0, 0, NULL, 0);
        answer(d, in, 0, NULL, 0);
        break;
    case FUSE_FALLOCATE: answer_fallocate(d, in, arg); break;
    case FUSE_STATFS: answer(d, in, 0, &st, sizeof(st)); break;
    case FUSE_FLUSH:
    case FUSE_RELEASE: answer(d, in, 0, NULL, 0); break;
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT: break;
    case FUSE_DESTROY:
        answer(d, in, 0, NULL, 0);
        d->ended = true;
        break;
    default: answer(d, in, ENOSYS, NULL, 0);
    }
}

static void take_request(struct disk *d, uint8_t *buffer)
{
    ssize_t n = read(d->fuse, buffer, BUFFER);

    if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOENT))
        return;
    if (n < 0 && errno == ENODEV) {
        d->ended = true;
        return;
    }
    if (n < (ssize_t)sizeof(struct fuse_in_header))
        pc_die("request");
    serve(d, (struct fuse_in_header *)(void *)buffer, buffer + sizeof(struct fuse_in_header));
}

static void take_mark(struct disk *d, int *client)
{
    char text[512];
    ssize_t n = recv(*client, text, sizeof(text), 0);

    if (n <= 0) {
        close(*client);
        *client = -1;
        return;
    }
    log_add(d, PC_MARK, 0, 0, text, (uint32_t)n);
    if (send(*client, "", 1, MSG_NOSIGNAL) < 0)
        return;
}

static void take_client(struct disk *d)
{
    int fd = accept4(d->listener, NULL, NULL, SOCK_CLOEXEC);

    for (unsigned i = 0; i < CLIENTS && fd >= 0; i++) {
        if (d->clients[i] >= 0)
            continue;
        d->clients[i] = fd;
        fd = -1;
    }
    if (fd >= 0)
        close(fd);
}

static int socket_at(const char *path, struct sockaddr_un *at)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    *at = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (fd < 0 || snprintf(at->sun_path, sizeof(at->sun_path), "%s", path) >= (int)sizeof(at->sun_path))
        pc_die(path);
    return fd;
}

static void begin(struct disk *d, const char *file, const char *log, const char *socket)
{
    struct sockaddr_un at;
    char options[100];

    d->bytes =
        mmap(NULL, d->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    d->log = fopen(log, "we");
    if (d->bytes == MAP_FAILED || !d->log)
        pc_die(log);
    d->listener = socket_at(socket, &at);
    if (bind(d->listener, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(d->listener, CLIENTS) < 0)
        pc_die(socket);
    d->fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (d->fuse < 0)
        pc_die("/dev/fuse");
    snprintf(options, sizeof(options), "fd=%d,rootmode=100600,user_id=0,group_id=0", d->fuse);
    if (mount("powercut", file, "fuse", MS_NOSUID | MS_NODEV, options) < 0)
        pc_die(file);
}

int pc_disk(const char *file, uint64_t size, const char *log, const char *socket)
{
    static uint8_t buffer[BUFFER] __attribute__((aligned(4096)));
    struct disk d = {.size = size};
    struct pollfd fds[2 + CLIENTS];

    for (unsigned i = 0; i < CLIENTS; i++)
        d.clients[i] = -1;
    begin(&d, file, log, socket);
    log_add(&d, PC_MARK, 0, size, "disk", 4);
    while (!d.ended) {
        fds[0] = (struct pollfd){.fd = d.fuse, .events = POLLIN};
        fds[1] = (struct pollfd){.fd = d.listener, .events = POLLIN};
        for (unsigned i = 0; i < CLIENTS; i++)
            fds[2 + i] = (struct pollfd){.fd = d.clients[i], .events = POLLIN};
        if (poll(fds, 2 + CLIENTS, -1) < 0 && errno != EINTR)
            pc_die("poll");
        if (fds[0].revents)
            take_request(&d, buffer);
        if (fds[1].revents)
            take_client(&d);
        for (unsigned i = 0; i < CLIENTS; i++)
            if (fds[2 + i].revents)
                take_mark(&d, &d.clients[i]);
    }
    if (fclose(d.log) != 0)
        pc_die("log");
    return 0;
}

int pc_mark(const char *socket)
{
    struct sockaddr_un at;
    char line[512], done;
    int fd = socket_at(socket, &at);

    if (connect(fd, (struct sockaddr *)&at, sizeof(at)) < 0)
        pc_die(socket);
    while (fgets(line, sizeof(line), stdin)) {
        size_t n = strcspn(line, "\n");

        if (n && (send(fd, line, n, MSG_NOSIGNAL) < 0 || recv(fd, &done, 1, 0) != 1))
            return 1; /* the power is gone */
    }
    close(fd);
    return 0;
}
