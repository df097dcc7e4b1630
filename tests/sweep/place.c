#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/lib/test.h"
#include "tests/sweep/sweep.h"

#define SOCKET_BYTES (4 << 20)

static const struct store_settings settings = {
    .no_threads = true, .segment_bytes = 512 << 10, .segments = 4, .map_bytes = 16 << 20, .fd_cache = 8};
static const struct vfs_ctx ctx = {.umask = 022};
static atomic_bool gone;

static vfs_node make(struct vol *v, vfs_node dir, const char *name, uint32_t mode)
{
    struct vfs_attr a;

    CHECK_OK(vfs_mknod(v, &ctx, dir, name, mode, 0, &a));
    return a.node;
}

static void fill(struct vol *v)
{
    static uint8_t bytes[200000];
    vfs_node root = vfs_node_make(v->rec.live_view, INO_ROOT), d;

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 11 + i / 253);
    d = make(v, root, "dir", S_IFDIR | 0755);
    CHECK_OK(vfs_write(v, &ctx, make(v, root, "small", S_IFREG | 0644), bytes, 900, 0, false));
    CHECK_OK(vfs_write(v, &ctx, make(v, root, "large", S_IFREG | 0644), bytes, sizeof(bytes), 0, false));
    CHECK_OK(vfs_write(v, &ctx, make(v, d, "below", S_IFREG | 0644), bytes, 50000, 0, false));
    CHECK_OK(snap_create(v, &ctx, "s1", NULL));
    CHECK_OK(vfs_write(v, &ctx, make(v, root, "late", S_IFREG | 0644), bytes, 20000, 0, false));
}

void place_make(const char *path)
{
    struct store *s;
    struct vol *v;

    clock_test_set(1790000000000000000, 1000000000);
    CHECK_OK(store_create(io_real(), path, &settings));
    CHECK_OK(store_open(io_real(), path, &settings, 0, &s, NULL));
    CHECK_OK(snap_attach(s));
    CHECK_OK(volume_create(s, "main", &(struct volume_opts){.size_limit = 64 << 20}, &v));
    fill(v);
    CHECK_OK(store_close(s));
}

static void on_end(void *arg, struct session *ss)
{
    (void)arg;
    (void)ss;
    atomic_store(&gone, true);
}

static int connection_make(struct place *p)
{
    const struct session_hooks hooks = {.on_end = on_end};
    static const struct mount_opts opts = {.snapdir = SNAPDIR_HIDDEN};
    struct {
        struct fuse_in_header h;
        struct fuse_init_in in;
    } first = {
        .h = {.len = sizeof(first), .opcode = FUSE_INIT, .unique = 2},
        .in = {.major = 7, .minor = 38, .max_readahead = 1 << 20, .flags = 0xfffffffb, .flags2 = 0xff}};
    int fd[2], bytes = SOCKET_BYTES, r;

    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd) == 0);
    (void)setsockopt(fd[0], SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
    atomic_store(&gone, false);
    p->fd = fd[1];
    r = session_new(&p->env, p->v, NULL, &opts, 77, &hooks, &p->ss);
    if (r < 0) {
        close(fd[0]);
        close(fd[1]);
        return r;
    }
    r = session_feed_begin(p->ss, fd[0], &first, sizeof(first));
    (void)recv(p->fd, p->answer, sizeof(p->answer), 0);
    p->unique = 100;
    return r;
}

static void connection_end(struct place *p)
{
    if (!p->ss)
        return;
    session_feed_end(p->ss);
    while (!atomic_load(&gone)) {
        while (recv(p->fd, p->answer, sizeof(p->answer), 0) > 0)
            continue;
        nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
    }
    session_free(TAKE(p->ss));
    close(p->fd);
}

int place_open(struct place *p, struct io *io, const char *path)
{
    int r;

    memset(p, 0, sizeof(*p));
    p->io = io;
    snprintf(p->path, sizeof(p->path), "%s", path);
    r = store_open(io, path, &settings, 0, &p->env.store, NULL);
    if (r < 0)
        return r;
    r = snap_attach(p->env.store);
    if (r == 0)
        r = verb_env_attach(&p->env);
    if (r < 0) {
        store_drop(TAKE(p->env.store));
        return r;
    }
    r = volume_find(p->env.store, "main", &p->v);
    if (r == 0)
        r = connection_make(p);
    if (r < 0)
        place_drop(p);
    return r;
}

int place_close(struct place *p)
{
    connection_end(p);
    verb_env_detach(&p->env);
    return store_close(TAKE(p->env.store));
}

void place_drop(struct place *p)
{
    connection_end(p);
    verb_env_detach(&p->env);
    store_drop(TAKE(p->env.store));
}
