/* Requests of the kernel, as bytes. The input is a list of {len16, bytes}: each a request with its header, in which the length
 * and the number are put right (unless the first byte of the input says 1: then they are as they came). */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"
#include "fs/op.h"
#include "tests/fuzz/world.h"

#define REQUESTS_MAX 40
#define SOCKET_BYTES (4 << 20)

static struct mount_opts opts;
static atomic_bool gone;

static void on_end(void *arg, struct session *ss)
{
    (void)arg;
    (void)ss;
    atomic_store(&gone, true);
}

static size_t first_message(uint8_t *out)
{
    struct fuse_in_header h = {.opcode = FUSE_INIT, .unique = 2};
    struct fuse_init_in in = {
        .major = 7, .minor = 38, .max_readahead = 1 << 20, .flags = 0xfffffffb, .flags2 = 0xff};

    h.len = sizeof(h) + sizeof(in);
    memcpy(out, &h, sizeof(h));
    memcpy(out + sizeof(h), &in, sizeof(in));
    return h.len;
}

static struct session *connect_to(struct world *w, int *ret_fd)
{
    const struct session_hooks hooks = {.on_end = on_end};
    uint8_t first[256];
    struct session *ss;
    int fd[2], bytes = SOCKET_BYTES;

    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd) == 0);
    (void)setsockopt(fd[0], SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
    FUZZ_CHECK(session_new(&w->env, w->v, NULL, &opts, 77, &hooks, &ss) == 0);
    FUZZ_CHECK(session_feed_begin(ss, fd[0], first, first_message(first)) == 0);
    *ret_fd = fd[1];
    return ss;
}

/* What came back: whole answers, to the request that was asked, or notices (number 0). */
static void answers(int fd, uint64_t unique, bool right)
{
    static uint8_t room[OP_BUF_SIZE + 4096];
    struct fuse_out_header h;
    unsigned n = 0;
    ssize_t got;

    while ((got = recv(fd, room, sizeof(room), 0)) > 0) {
        FUZZ_CHECK(got >= (ssize_t)sizeof(h));
        memcpy(&h, room, sizeof(h));
        FUZZ_CHECK((ssize_t)h.len == got);
        FUZZ_CHECK(h.unique == 0 || (h.error <= 0 && h.error > -1000));
        FUZZ_CHECK(h.unique == 0 || !right || (h.unique == unique && n++ == 0));
    }
}

static void disconnect(struct session *ss, int fd)
{
    session_feed_end(ss);
    while (!atomic_load(&gone)) {
        answers(fd, 0, false);
        nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
    }
    session_free(ss);
    close(fd);
}

static void request(struct session *ss, int fd, const uint8_t *p, size_t len, uint64_t unique, bool right)
{
    uint8_t *req = (uint8_t *)in_text(p, len);
    struct fuse_in_header h;

    memcpy(&h, req, sizeof(h));
    if (right) {
        h.len = (uint32_t)len;
        h.unique = unique;
        h.total_extlen = 0;
        memcpy(req, &h, sizeof(h));
    }
    /* INIT comes once, and DESTROY ends libfuse's part: the kernel sends nothing after it */
    if (h.opcode != FUSE_INIT && h.opcode != FUSE_DESTROY && h.opcode != 4096)
        session_feed(ss, req, len);
    answers(fd, unique, right);
    free(req);
}

void run_session(const uint8_t *p, size_t len)
{
    struct fuzz_in in = {p, len};
    bool right = in_u8(&in) != 1;
    struct session *ss;
    struct world w;
    size_t n;
    int fd, e, null;

    world_begin(&w);
    atomic_store(&gone, false);
    /* libfuse complains to standard error, at length */
    e = dup(2);
    null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (!getenv("FUZZ_LOUD"))
        dup2(null, 2);
    ss = connect_to(&w, &fd);
    answers(fd, 0, false);
    for (unsigned i = 0; i < REQUESTS_MAX && in.left > 2; i++) {
        size_t want = in_u16(&in);
        const uint8_t *req = in_bytes(&in, want, &n);
        if (n >= sizeof(struct fuse_in_header))
            request(ss, fd, req, n, 100 + 2 * i, right);
    }
    disconnect(ss, fd);
    dup2(e, 2);
    close(e);
    close(null);
    (void)store_sync(w.env.store);
    if (hash_sum(0, p, len) % 8 == 0) /* it costs more than the requests */
        world_look(&w);
    world_end(&w);
}

/* --- seeds -------------------------------------------------------------------------------------------------------------- */

static void add(struct buf *b, uint32_t opcode, uint64_t node, const void *arg, size_t arg_len,
                const char *rest, size_t rest_len)
{
    struct fuse_in_header h = {.opcode = opcode, .nodeid = node};
    uint8_t len[2];

    h.len = (uint32_t)(sizeof(h) + arg_len + rest_len);
    put_le16(len, (uint16_t)h.len);
    FUZZ_CHECK(buf_add(b, len, 2) == 0);
    FUZZ_CHECK(buf_add(b, &h, sizeof(h)) == 0);
    FUZZ_CHECK(buf_add(b, arg, arg_len) == 0);
    FUZZ_CHECK(buf_add(b, rest, rest_len) == 0);
}
#define ADD(b, op, node, arg, rest) add(b, op, node, &(arg), sizeof(arg), rest, sizeof(rest))
#define NONE(b, op, node, rest) add(b, op, node, NULL, 0, rest, sizeof(rest))

static void seed(struct buf *b, const char *name)
{
    fuzz_seed(name, b->data, b->len);
    buf_reset(b);
    FUZZ_CHECK(buf_add_zero(b, 1) == 0);
}

#define SNAPDIR_OF_ROOT ((uint64_t)NODE_VIEW_SNAPDIR << INO_BITS | 1)
#define CONTROL_DIR ((uint64_t)NODE_VIEW_CONTROL << INO_BITS | 1)

static void seeds_of_names(struct buf *b)
{
    struct fuse_mknod_in mk = {.mode = S_IFREG | 0644};
    struct fuse_mkdir_in dir = {.mode = 0755};
    struct fuse_create_in create = {.flags = O_RDWR | O_CREAT, .mode = S_IFREG | 0600};
    struct fuse_rename2_in ren = {.newdir = 1};
    struct fuse_rename_in ren1 = {.newdir = 2};
    struct fuse_link_in lnk = {.oldnodeid = 3};
    struct fuse_forget_in fgt = {1};
    struct fuse_batch_forget_in many = {.count = 1};
    struct fuse_forget_one one = {3, 1};

    NONE(b, FUSE_LOOKUP, 1, "dir");
    ADD(b, FUSE_MKNOD, 1, mk, "a");
    ADD(b, FUSE_MKDIR, 1, dir, "b");
    ADD(b, FUSE_CREATE, 1, create, "c");
    NONE(b, FUSE_SYMLINK, 1, "l\0target");
    ADD(b, FUSE_LINK, 1, lnk, "hard");
    seed(b, "make");
    ADD(b, FUSE_RENAME2, 1, ren, "late\0later");
    ADD(b, FUSE_RENAME, 1, ren1, "later\0again");
    NONE(b, FUSE_UNLINK, 2, "again");
    NONE(b, FUSE_RMDIR, 1, "dir");
    ADD(b, FUSE_FORGET, 3, fgt, "");
    add(b, FUSE_BATCH_FORGET, 0, &many, sizeof(many), (const char *)&one, sizeof(one));
    ADD(b, FUSE_TMPFILE, 1, create, "");
    seed(b, "move");
}

static void seeds_of_bytes(struct buf *b)
{
    struct fuse_read_in rd = {.size = 65536};
    struct fuse_write_in wr = {.size = 12, .offset = 100};
    struct fuse_setattr_in set = {.valid = FATTR_SIZE | FATTR_MODE, .size = 1000, .mode = S_IFREG | 0600};
    struct fuse_fallocate_in fal = {.offset = 0, .length = 100000};
    struct fuse_lseek_in sk = {.whence = SEEK_DATA};
    struct fuse_copy_file_range_in cp = {.nodeid_out = 8, .len = 4096};
    struct fuse_fsync_in fs = {0};
    struct fuse_getattr_in ga = {0};

    for (uint64_t node = 2; node < 9; node += 3) {
        ADD(b, FUSE_GETATTR, node, ga, "");
        ADD(b, FUSE_WRITE, node, wr, "twelve bytes");
        ADD(b, FUSE_READ, node, rd, "");
        ADD(b, FUSE_SETATTR, node, set, "");
        ADD(b, FUSE_FALLOCATE, node, fal, "");
        ADD(b, FUSE_LSEEK, node, sk, "");
        ADD(b, FUSE_COPY_FILE_RANGE, node, cp, "");
        ADD(b, FUSE_FSYNC, node, fs, "");
    }
    seed(b, "bytes");
}

static void seeds_of_attributes(struct buf *b)
{
    struct fuse_setxattr_in set = {.size = 5};
    struct fuse_getxattr_in get = {.size = 4096}, len = {0};
    struct fuse_read_in rd = {.size = 4096};
    const uint32_t statx[6] = {0, 0, 0, 0, 0, 0xfff}; /* opcode 52; older headers do not know it */

    ADD(b, FUSE_SETXATTR, 3, set, "user.x\0value");
    ADD(b, FUSE_GETXATTR, 3, get, "user.x");
    ADD(b, FUSE_LISTXATTR, 3, len, "");
    ADD(b, FUSE_LISTXATTR, 3, get, "");
    NONE(b, FUSE_REMOVEXATTR, 3, "user.x");
    ADD(b, FUSE_READDIR, 1, rd, "");
    ADD(b, FUSE_READDIRPLUS, 1, rd, "");
    NONE(b, FUSE_STATFS, 1, "");
    NONE(b, FUSE_READLINK, 5, "");
    ADD(b, 52, 1, statx, "");
    seed(b, "attributes");
}

static void seeds_of_snapshots(struct buf *b)
{
    struct fuse_mkdir_in dir = {.mode = 0755};
    struct fuse_rename2_in ren = {.newdir = SNAPDIR_OF_ROOT};
    struct fuse_read_in rd = {.size = 4096};
    struct fuse_getxattr_in get = {.size = 4096};
    struct fuse_write_in wr = {.size = 11};

    NONE(b, FUSE_LOOKUP, 1, ".snapshots");
    NONE(b, FUSE_LOOKUP, SNAPDIR_OF_ROOT, "s1");
    NONE(b, FUSE_LOOKUP, 1ull << INO_BITS | 1, "dir");
    ADD(b, FUSE_READ, 1ull << INO_BITS | 3, rd, "");
    ADD(b, FUSE_GETXATTR, 1ull << INO_BITS | 1, get, "user.varve.snap.unique");
    ADD(b, FUSE_READDIRPLUS, SNAPDIR_OF_ROOT, rd, "");
    ADD(b, FUSE_MKDIR, SNAPDIR_OF_ROOT, dir, "new");
    ADD(b, FUSE_RENAME2, SNAPDIR_OF_ROOT, ren, "new\0newer");
    NONE(b, FUSE_RMDIR, SNAPDIR_OF_ROOT, "newer");
    seed(b, "snapshots");
    NONE(b, FUSE_LOOKUP, SNAPDIR_OF_ROOT, ".control");
    ADD(b, FUSE_READDIR, CONTROL_DIR, rd, "");
    NONE(b, FUSE_LOOKUP, CONTROL_DIR, "snapshots");
    ADD(b, FUSE_WRITE, CONTROL_DIR + 1, wr, "create now\n");
    ADD(b, FUSE_READ, CONTROL_DIR + 1, rd, "");
    NONE(b, FUSE_LOOKUP, CONTROL_DIR, "rollback");
    wr.size = 12;
    ADD(b, FUSE_WRITE, CONTROL_DIR + 2, wr, "rollback s1\n");
    NONE(b, FUSE_LOOKUP, 1, "dir");
    seed(b, "control");
}

void seeds_session(void)
{
    cleanup(buf_free) struct buf b = {0};

    FUZZ_CHECK(buf_add_zero(&b, 1) == 0);
    seeds_of_names(&b);
    seeds_of_bytes(&b);
    seeds_of_attributes(&b);
    seeds_of_snapshots(&b);
}
