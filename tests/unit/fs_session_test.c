/* A connection to the kernel, without one. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fs/op.h"
#include "fs/session_i.h"
#include "tests/lib/test.h"
#include "tests/unit/fs_verb_case.h"

static struct verb_case tc;
static struct mount_opts opts;
static atomic_bool gone;

static void on_end(void *arg, struct session *ss)
{
    (void)arg;
    (void)ss;
    atomic_store(&gone, true);
}

static struct session *begin(int *ret_kernel)
{
    const struct session_hooks hooks = {.on_end = on_end};
    struct {
        struct fuse_in_header h;
        struct fuse_init_in in;
    } first = {
        .h = {.len = sizeof(first), .opcode = FUSE_INIT, .unique = 2},
        .in = {.major = 7, .minor = 38, .max_readahead = 1 << 20, .flags = 0xfffffffb, .flags2 = 0xff}};
    struct session *ss;
    int fd[2];

    tc = (struct verb_case){.exit_code = 0};
    case_open(&tc);
    SAY(&tc, "create main --size 64M");
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd) == 0);
    atomic_store(&gone, false);
    CHECK_OK(session_new(&tc.env, vol_of(&tc, "main"), NULL, &opts, 77, &hooks, &ss));
    CHECK_OK(session_feed_begin(ss, fd[0], &first, sizeof(first)));
    *ret_kernel = fd[1];
    return ss;
}

static void end(struct session *ss)
{
    session_feed_end(ss);
    while (!atomic_load(&gone))
        nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
    session_free(ss);
    case_close(&tc);
}

/* Somebody mounts again, with other options, the moment umount(2) has returned. */
TEST(test_session__has_ended_before_a_worker_hears_of_it)
{
    int kernel;
    struct session *ss = begin(&kernel);

    CHECK(!session_ended(ss));
    close(kernel);
    CHECK(session_ended(ss));
    CHECK(!atomic_load(&gone));
    end(ss);
}

/* What the kernel has asked, and nobody has read yet. */
TEST(test_session__settles_when_nothing_waits_to_be_read)
{
    struct fuse_in_header q = {.len = sizeof(q), .opcode = FUSE_STATFS, .unique = 4, .nodeid = 1};
    char got[256];
    int kernel;
    struct session *ss = begin(&kernel);
    struct vol *v = session_vol(ss);

    atomic_store(&ss->ready, true);
    CHECK_OK(session_settle(v, 1000));
    CHECK(write(kernel, &q, sizeof(q)) == sizeof(q));
    CHECK_ERR(session_settle(v, 20), -E_BUSY);
    CHECK_ERR(session_settle(NULL, 20), -E_BUSY);
    CHECK(read(session_fd(ss), got, sizeof(got)) == sizeof(q));
    CHECK_OK(session_settle(v, 1000));
    close(kernel);
    end(ss);
}

/* The node id that a name has; 0: an error. */
static uint64_t look_up(struct session *ss, int kernel, uint64_t dir, const char *name)
{
    struct {
        struct fuse_in_header h;
        char name[64];
    } rq = {.h = {.opcode = FUSE_LOOKUP, .unique = 4, .nodeid = dir}};
    struct {
        struct fuse_out_header h;
        struct fuse_entry_out e;
    } out = {0};

    snprintf(rq.name, sizeof(rq.name), "%s", name);
    rq.h.len = (uint32_t)(sizeof(rq.h) + strlen(name) + 1);
    session_feed(ss, &rq, rq.h.len);
    CHECK(recv(kernel, &out, sizeof(out), 0) >= (ssize_t)sizeof(out.h));
    return out.h.error == 0 ? out.e.nodeid : 0;
}

/* The kernel keeps what was looked up until it wants its memory: who asks for another event each time makes nodes without end. */
TEST(test_session__control_files_that_are_not_forgotten_are_bounded)
{
    struct {
        struct fuse_in_header h;
        struct fuse_getattr_in in;
    } rq = {.h = {.len = sizeof(rq), .opcode = FUSE_GETATTR, .unique = 6}};
    struct fuse_out_header *h;
    uint64_t control, first = 0, last = 0;
    struct session *ss;
    uint8_t out[256];
    int kernel;

    opts.control = CONTROL_ADMIN;
    ss = begin(&kernel);
    CHECK(recv(kernel, out, sizeof(out), 0) > 0); /* the answer to the first message */
    control = look_up(ss, kernel, look_up(ss, kernel, FUSE_ROOT_ID, ".snapshots"), ".control");
    CHECK(control != 0);
    for (int i = 1; i <= 66000; i++) { /* more than there are numbers */
        char name[64];

        snprintf(name, sizeof(name), "events-since-%d", 1000000 + i);
        last = look_up(ss, kernel, control, name);
        CHECK(last != 0);
        first = i == 60000 ? last : first;
    }
    h = (struct fuse_out_header *)out;
    rq.h.nodeid = last;
    session_feed(ss, &rq, sizeof(rq));
    CHECK(recv(kernel, out, sizeof(out), 0) > 0);
    CHECK_EQ(h->error, 0);
    rq.h.nodeid = first;
    session_feed(ss, &rq, sizeof(rq));
    CHECK(recv(kernel, out, sizeof(out), 0) > 0);
    CHECK_EQ(h->error, -ESTALE);
    close(kernel);
    end(ss);
}

/* Only ENOENT says that nobody holds it: a word that did not come through says nothing. */
TEST(test_session__what_the_kernel_could_not_be_asked_about_is_held)
{
    static const char junk[1024];
    struct vfs_ctx c = {0};
    struct vfs_attr a;
    int kernel;
    struct session *ss = begin(&kernel);
    struct vol *v = session_vol(ss);

    CHECK_OK(vfs_mknod(v, &c, (vfs_node){FUSE_ROOT_ID}, "f", S_IFREG | 0644, 0, &a));
    CHECK_OK(vfs_unlink(v, &c, (vfs_node){FUSE_ROOT_ID}, "f"));
    while (send(session_fd(ss), junk, sizeof(junk), MSG_DONTWAIT) > 0)
        continue;
    while (send(session_fd(ss), junk, 1, MSG_DONTWAIT) > 0)
        continue;
    notify_unlinked(ss);
    notify_forget(ss, vfs_node_ino(a.node));
    nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
    CHECK_OK(vfs_getattr(v, a.node, &a));
    end(ss);
    close(kernel);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
