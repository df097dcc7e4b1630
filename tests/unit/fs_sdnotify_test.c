/* Words to a service manager, what it hands back; messages with descriptors that are not as they should be. */
#include "fs/sdnotify.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/rights.h"
#include "fs/keeper_i.h"
#include "base/sock.h"
#include "tests/lib/test.h"

static unsigned open_count(void)
{
    DIR *d = opendir("/proc/self/fd");
    unsigned n = 0;

    CHECK(d != NULL);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void set_number(const char *name, long v)
{
    char text[32];

    snprintf(text, sizeof(text), "%ld", v);
    setenv(name, text, 1);
}

/* --- a manager's end of it ------------------------------------------------------------------------------------------------------- */

static int manager_socket(const char *name)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t len = strlen(name);
    int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    memcpy(a.sun_path, name, len);
    if (name[0] == '@')
        a.sun_path[0] = 0;
    len += offsetof(struct sockaddr_un, sun_path) + (name[0] == '/');
    CHECK(s >= 0 && bind(s, (struct sockaddr *)&a, (socklen_t)len) == 0);
    setenv("NOTIFY_SOCKET", name, 1);
    return s;
}

static void hear(int s, char text[256], int *ret_fd)
{
    struct iovec iov = {.iov_base = text, .iov_len = 255};
    struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};
    union rights_room room;
    ssize_t n;

    rights_room_for(&h, &room);
    n = recvmsg(s, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    CHECK(n >= 0);
    text[n] = 0;
    *ret_fd = -1;
    CHECK_OK(rights_take(&h, ret_fd));
}

TEST(test_sdnotify__tells_a_path_and_an_abstract_name)
{
    char path[128], text[256];
    const char *names[] = {path, "@varve-sdnotify-test"};

    snprintf(path, sizeof(path), "%s/notify", test_dir());
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        int s = manager_socket(names[i]), null = open("/dev/null", O_RDONLY | O_CLOEXEC), fd;
        struct sdnotify n;

        sdnotify_init(&n);
        CHECK_OK(sdnotify_send(&n, -1, "READY=1\nSTATUS=%d", 7));
        hear(s, text, &fd);
        CHECK(strcmp(text, "READY=1\nSTATUS=7") == 0 && fd == -1);
        CHECK_OK(sdnotify_send(&n, null, "FDSTORE=1\nFDNAME=x"));
        hear(s, text, &fd);
        CHECK(fd >= 0 && fd != null);
        close(fd);
        close(null);
        close(s);
        CHECK(sdnotify_send(&n, -1, "READY=1") < 0); /* nobody is there any more */
    }
    sdnotify_forget_env();
}

TEST(test_sdnotify__without_a_manager_nothing_happens)
{
    static const char *const none[] = {"", "x", "@", "relative/path", "vsock:2:3"};
    struct sdnotify n;

    sdnotify_forget_env();
    sdnotify_init(&n);
    CHECK_EQ(n.addr_len, 0);
    CHECK_OK(sdnotify_send(&n, -1, "READY=1"));
    CHECK_OK(sdnotify_barrier(&n));
    for (size_t i = 0; i < ARRAY_LEN(none); i++) {
        setenv("NOTIFY_SOCKET", none[i], 1);
        sdnotify_init(&n);
        CHECK_EQ(n.addr_len, 0);
    }
    sdnotify_forget_env();
}

TEST(test_sdnotify__the_watchdog_is_ours_or_not)
{
    int s = manager_socket("@varve-sdnotify-watchdog");
    struct sdnotify n;

    setenv("WATCHDOG_USEC", "1500000", 1);
    setenv("FDSTORE", "77", 1);
    sdnotify_init(&n);
    CHECK_EQ(n.watchdog_ns, 1500000000);
    CHECK_EQ(n.descriptors, 77);
    set_number("WATCHDOG_PID", getpid());
    sdnotify_init(&n);
    CHECK_EQ(n.watchdog_ns, 1500000000);
    set_number("WATCHDOG_PID", getppid());
    sdnotify_init(&n);
    CHECK_EQ(n.watchdog_ns, 0);
    unsetenv("WATCHDOG_PID");
    setenv("WATCHDOG_USEC", "-5", 1);
    sdnotify_init(&n);
    CHECK_EQ(n.watchdog_ns, 0);
    setenv("WATCHDOG_USEC", "99999999999999999999999", 1);
    sdnotify_init(&n);
    CHECK_EQ(n.watchdog_ns, 0);
    close(s);
    sdnotify_forget_env();
}

TEST(test_sdnotify__a_manager_that_stands_still_is_waited_for_a_while)
{
    int s = manager_socket("@varve-sdnotify-still");
    char text[256];
    struct sdnotify n;
    int fd;

    sdnotify_init(&n);
    CHECK_ERR(sdnotify_barrier(&n), -E_TIMEOUT);
    hear(s, text, &fd);
    CHECK(strcmp(text, "BARRIER=1") == 0 && fd >= 0);
    close(fd);
    close(s);
    sdnotify_forget_env();
}

/* --- what it hands back ---------------------------------------------------------------------------------------------------------- */

/* Descriptors 3 and up belong to the test program: a child has room there. */
static void in_child(void (*fn)(void))
{
    pid_t pid = fork();
    int status;

    CHECK(pid >= 0);
    if (pid == 0) {
        fn();
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK_EQ(status, 0);
}

#define CHILD_CHECK(cond)                                                                                    \
    do {                                                                                                     \
        if (!(cond)) {                                                                                       \
            fprintf(stderr, "%d: %s\n", __LINE__, #cond);                                                    \
            _exit(1);                                                                                        \
        }                                                                                                    \
    } while (0)

static void three_of_them(void)
{
    struct sdnotify_fd *fds = NULL;
    size_t n = 0;

    for (int i = 3; i < 64; i++)
        close(i);
    CHILD_CHECK(open("/dev/null", O_RDONLY) == 3 && open("/dev/zero", O_RDONLY) == 4);
    CHILD_CHECK(open("/dev/full", O_RDONLY) == 5 && close(4) == 0);
    set_number("LISTEN_PID", getpid());
    setenv("LISTEN_FDS", "4", 1);
    setenv("LISTEN_FDNAMES", "one:two:", 1);
    CHILD_CHECK(sdnotify_take(&fds, &n) == 0 && n == 2);
    CHILD_CHECK(fds[0].fd == 3 && strcmp(fds[0].name, "one") == 0);
    CHILD_CHECK(fds[1].fd == 5 && *fds[1].name == 0);
    CHILD_CHECK(fcntl(3, F_GETFD) == FD_CLOEXEC && !getenv("LISTEN_FDS") && !getenv("LISTEN_FDNAMES"));
    fds[0].fd = -1;
    sdnotify_fds_free(fds, n);
    CHILD_CHECK(fcntl(3, F_GETFD) >= 0 && fcntl(5, F_GETFD) < 0);
}

TEST(test_sdnotify__descriptors_come_by_name_and_holes_are_left_out)
{
    in_child(three_of_them);
}

static void not_ours(void)
{
    static const char *const counts[] = {"-1", "70000", "1x", "", "99999999999999999999999"};
    struct sdnotify_fd *fds = NULL;
    size_t n = 0;

    for (int i = 3; i < 64; i++)
        close(i);
    CHILD_CHECK(open("/dev/null", O_RDONLY) == 3);
    set_number("LISTEN_PID", getppid());
    setenv("LISTEN_FDS", "1", 1);
    CHILD_CHECK(sdnotify_take(&fds, &n) == 0 && n == 0 && fcntl(3, F_GETFD) == 0);
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        set_number("LISTEN_PID", getpid());
        setenv("LISTEN_FDS", counts[i], 1);
        CHILD_CHECK(sdnotify_take(&fds, &n) == 0 && n == 0 && fcntl(3, F_GETFD) == 0);
    }
}

TEST(test_sdnotify__descriptors_of_another_process_stay_untouched)
{
    in_child(not_ours);
}

/* --- messages with descriptors ----------------------------------------------------------------------------------------------------- */

/* len bytes of p with n descriptors beside them. */
static void send_with(int sock, const void *p, size_t len, unsigned n)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(8 * sizeof(int))];
    } ctl = {0};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)p, .iov_len = len};
    struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = ctl.room};
    int fds[8];

    h.msg_controllen = CMSG_SPACE(n * sizeof(int));
    for (unsigned i = 0; i < n; i++)
        fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    *CMSG_FIRSTHDR(&h) = (struct cmsghdr){
        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(n * sizeof(int))};
    memcpy(CMSG_DATA(CMSG_FIRSTHDR(&h)), fds, n * sizeof(int));
    CHECK(sendmsg(sock, &h, MSG_NOSIGNAL) == (ssize_t)len);
    for (unsigned i = 0; i < n; i++)
        close(fds[i]);
}

TEST(test_keeper_recv__a_malformed_message_leaves_no_descriptor_behind)
{
    static struct keeper_msg m, got;
    const size_t head = offsetof(struct keeper_msg, data);
    int pair[2], fd = 77;
    unsigned before;

    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    before = open_count();
    m = (struct keeper_msg){.kind = KEEPER_GONE, .len = 5};
    send_with(pair[0], &m, head, 1); /* too short */
    CHECK_ERR(keeper_recv(pair[1], &got, &fd), -E_PROTO);
    CHECK_EQ(fd, -1);
    CHECK_EQ(open_count(), before);
    m.len = 0;
    m.init_len = KEEPER_INIT_MAX + 1;
    send_with(pair[0], &m, head, 1);
    CHECK_ERR(keeper_recv(pair[1], &got, &fd), -E_PROTO);
    CHECK_EQ(open_count(), before);
    m.init_len = 0;
    for (unsigned n = 2; n <= 8; n++) { /* one has room for two */
        send_with(pair[0], &m, head, n);
        CHECK_ERR(keeper_recv(pair[1], &got, &fd), -E_PROTO);
        CHECK_EQ(open_count(), before);
    }
    send_with(pair[0], &m, head, 1);
    CHECK_OK(keeper_recv(pair[1], &got, &fd));
    CHECK(fd >= 0);
    close(fd);
    close(pair[0]);
    CHECK_ERR(keeper_recv(pair[1], &got, &fd), -E_CLOSED);
    close(pair[1]);
}

TEST(test_sock_recv__two_descriptors_at_once_leave_none_behind)
{
    static const uint8_t frame[6] = {1, 0, 0, 0, SOCK_OUT, 'x'};
    int pair[2];
    unsigned before;

    for (unsigned n = 1; n <= 8; n++) {
        struct sock_msg m = SOCK_MSG_NONE;
        int r;

        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
        before = open_count();
        send_with(pair[0], frame, sizeof(frame), n);
        r = sock_recv(pair[1], &m);
        CHECK(n == 1 ? r == 0 && m.fd >= 0 : r == -E_PROTO);
        sock_msg_free(&m);
        CHECK_EQ(open_count(), before);
        close(pair[0]);
        close(pair[1]);
    }
}

/* --- what is held, in a file --------------------------------------------------------------------------------------------------------- */

static void hold(struct keeper *k, uint64_t conn, const char *opts)
{
    static struct keeper_msg m;
    struct hold *h;

    m = (struct keeper_msg){.conn = conn, .n = 5};
    CHECK_OK(keeper_put(&m, "snap"));
    CHECK_OK(keeper_put(&m, opts));
    CHECK_OK(keeper_hold_add(k, &m, open("/dev/null", O_RDONLY | O_CLOEXEC)));
    h = keeper_hold(k, conn);
    memset(h->init, 0x5a, 104);
    h->init_len = 104;
}

static void release(struct keeper *k)
{
    while (k->holds)
        keeper_hold_drop(k, k->holds->conn);
    for (struct place *p = k->places; p; p = k->places) {
        k->places = p->next;
        free(p->dir);
        free(p);
    }
}

TEST(test_keeper_save__comes_back_as_it_was)
{
    static struct keeper k, back;
    static struct keeper_msg m;
    cleanup(buf_free) struct buf b = {0};
    uint64_t generation = 0;
    uint32_t deaths = 0;
    size_t at = 0;
    int fd = -1, r;

    k = (struct keeper){.listen = -1, .service = true};
    back = (struct keeper){.listen = -1};
    hold(&k, 1, "rw");
    hold(&k, 0xfedcba9876543210, "ro,control=none");
    keeper_place_add(&k, "/mnt/a");
    keeper_place_add(&k, "/mnt/b");
    CHECK_OK(keeper_save(&k, 9, &fd));
    CHECK(ftruncate(fd, 0) < 0 && write(fd, "x", 1) < 0); /* for good */
    CHECK_OK(keeper_load(fd, &b, &generation));
    CHECK_EQ(generation, 9);
    while ((r = keeper_load_next(&b, &at, &m)) > 0)
        CHECK_OK(keeper_take_one(
            &back, &m, m.kind == KEEPER_RESTORE ? open("/dev/null", O_RDONLY | O_CLOEXEC) : -1, &deaths));
    CHECK_OK(r);
    CHECK(strcmp(keeper_hold(&back, 0xfedcba9876543210)->opts, "ro,control=none") == 0);
    CHECK_EQ(keeper_hold(&back, 1)->init_len, 104);
    CHECK_EQ(keeper_hold(&back, 1)->init[103], 0x5a);
    CHECK(strcmp(back.places->dir, "/mnt/b") == 0 && strcmp(back.places->next->dir, "/mnt/a") == 0);
    close(fd);
    release(&k);
    release(&back);
}

/* The same bytes in a memfd, with one changed; sealed or not. */
static int changed_copy(int from, size_t at, uint8_t by, bool sealed)
{
    uint8_t bytes[65536];
    ssize_t n = pread(from, bytes, sizeof(bytes), 0);
    int fd = memfd_create("copy", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    CHECK(n > 0 && fd >= 0 && at < (size_t)n);
    bytes[at] ^= by;
    CHECK(write(fd, bytes, (size_t)n) == n);
    if (sealed)
        CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0);
    return fd;
}

TEST(test_keeper_load__refuses_what_is_damaged_open_or_strange)
{
    static struct keeper k;
    uint64_t generation;
    off_t size;
    int fd = -1;

    k = (struct keeper){.listen = -1};
    hold(&k, 1, "rw");
    CHECK_OK(keeper_save(&k, 1, &fd));
    size = lseek(fd, 0, SEEK_END);
    for (off_t at = 0; at < size; at += at < 40 ? 1 : 37) {
        cleanup(buf_free) struct buf b = {0};
        int copy = changed_copy(fd, (size_t)at, 0x40, true);
        int r = keeper_load(copy, &b, &generation);

        CHECK(r == -E_PROTO || (at >= 8 && at < 12 && r == -E_STORE_NEWER) ||
              (at >= 12 && at < 16 && r == -E_PROTO));
        close(copy);
    }
    for (int i = 0; i < 4; i++) {
        cleanup(buf_free) struct buf b = {0};
        const char *paths[] = {NULL, "/dev/null", "/etc/passwd", "/"};
        int other = paths[i] ? open(paths[i], O_RDONLY | O_CLOEXEC) : changed_copy(fd, 0, 0, false);

        CHECK_ERR(keeper_load(other, &b, &generation), -E_PROTO);
        close(other);
    }
    close(fd);
    release(&k);
}

/* Only what is there is replaced: the file before stays until the manager has the next one. */
TEST(test_keeper_service_save__takes_nothing_out_for_what_was_not_put_there)
{
    int s = manager_socket("@varve-sdnotify-save"), fd;
    static struct keeper k;
    char text[256];

    k = (struct keeper){.listen = -1, .service = true, .generation = 4};
    hold(&k, 1, "rw");
    sdnotify_init(&k.manager);
    close(s);
    keeper_service_save(&k);
    CHECK_EQ(k.generation, 4);
    s = manager_socket("@varve-sdnotify-save");
    keeper_service_tick(&k); /* and it is tried again */
    CHECK_EQ(k.generation, 5);
    hear(s, text, &fd);
    CHECK(strstr(text, "FDSTORE=1\n") && strstr(text, "FDNAME=state-5") && fd >= 0);
    close(fd);
    hear(s, text, &fd);
    CHECK(strcmp(text, "FDSTOREREMOVE=1\nFDNAME=state-4") == 0);
    close(s);
    sdnotify_forget_env();
    release(&k);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
