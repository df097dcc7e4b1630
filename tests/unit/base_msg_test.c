#include "base/msg.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/io.h"
#include "tests/lib/test.h"

static void pair(int sv[2])
{
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) == 0);
}

static void pair_end(int sv[2])
{
    close(sv[0]);
    close(sv[1]);
}

static unsigned open_fds(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

TEST(test_msg__payload_and_type_arrive)
{
    cleanup(msg_release) struct msg m = {0};
    int sv[2];

    pair(sv);
    CHECK_OK(msg_send(sv[0], 7, "hello", 5, NULL, 0, 1000));
    CHECK_OK(msg_send(sv[0], 8, NULL, 0, NULL, 0, 1000));
    CHECK_OK(msg_recv(sv[1], 100, 1000, &m));
    CHECK_EQ(m.type, 7);
    CHECK(m.payload.len == 5 && strcmp((char *)m.payload.data, "hello") == 0);
    CHECK_ERR(msg_take_fd(&m, 0), -E_PROTO);
    msg_release(&m);
    CHECK_OK(msg_recv(sv[1], 100, 1000, &m));
    CHECK_EQ(m.type, 8);
    CHECK_EQ(m.payload.len, 0);
    pair_end(sv);
}

/* The bytes of the frame are fixed: an old command line speaks to a new daemon. */
static const uint8_t golden[] = {
    'v',  'M',  's',  'G',                          /* magic */
    1,    0,                                        /* version */
    0x34, 0x12,                                     /* type */
    3,    0,    0,    0,                            /* length */
    0,    0,    0,    0,                            /* descriptors, zero */
    0,    0,    0,    0,    0,    0,    0,    0,    /* zero */
    0xc2, 0x2c, 0xb5, 0x2f, 0xe2, 0xde, 0x38, 0xfa, /* sum */
    'a',  'b',  'c',
};

TEST(test_msg__frame_is_these_bytes)
{
    cleanup(msg_release) struct msg m = {0};
    uint8_t b[sizeof(golden) + 1];
    int sv[2];

    pair(sv);
    CHECK_OK(msg_send(sv[0], 0x1234, "abc", 3, NULL, 0, 1000));
    CHECK_EQ(read(sv[1], b, sizeof(b)), sizeof(golden));
    if (memcmp(b, golden, sizeof(golden)) != 0) {
        for (size_t i = 0; i < sizeof(golden); i++)
            printf("%02x ", b[i]);
        test_fail(__FILE__, __LINE__, "other bytes");
    }
    CHECK_EQ(write(sv[0], golden, sizeof(golden)), sizeof(golden));
    CHECK_OK(msg_recv(sv[1], 3, 1000, &m));
    CHECK_EQ(m.type, 0x1234);
    pair_end(sv);
}

/* sends bytes and expects code from msg_recv, no descriptor left over, nothing returned */
static void expect_code(const uint8_t *p, size_t len, size_t max, int code)
{
    struct msg m = {.type = 99};
    unsigned fds = open_fds();
    int sv[2];

    pair(sv);
    CHECK_EQ(write(sv[0], p, len), len);
    shutdown(sv[0], SHUT_WR);
    CHECK_ERR(msg_recv(sv[1], max, 1000, &m), code);
    CHECK_EQ(m.type, 99);
    CHECK(m.payload.data == NULL);
    pair_end(sv);
    CHECK_EQ(open_fds(), fds);
}

TEST(test_msg__any_flipped_bit_is_refused)
{
    uint8_t b[sizeof(golden)];

    for (size_t bit = 0; bit < sizeof(golden) * 8; bit++) {
        memcpy(b, golden, sizeof(b));
        b[bit / 8] ^= (uint8_t)(1 << bit % 8);
        expect_code(b, sizeof(b), 1 << 20, -E_PROTO);
    }
}

TEST(test_msg__a_cut_frame_is_refused_and_an_end_is_told_apart)
{
    for (size_t len = 1; len < sizeof(golden); len++)
        expect_code(golden, len, 100, -E_PROTO);
    expect_code(golden, 0, 100, -E_CLOSED);
}

TEST(test_msg__a_payload_above_the_receivers_bound_is_refused)
{
    expect_code(golden, sizeof(golden), 2, -E_PROTO);
}

TEST(test_msg__a_header_with_a_right_sum_and_wrong_fields_is_refused)
{
    static const size_t at[] = {0, 4, 13, 14, 16, 23};
    uint8_t b[MSG_HEADER_SIZE];

    for (size_t i = 0; i < ARRAY_LEN(at); i++) {
        memcpy(b, golden, sizeof(b));
        put_le32(b + 8, 0);
        b[at[i]] ^= 2;
        put_le64(b + 24, hash_sum(hash_sum(0, b, 24), NULL, 0));
        expect_code(b, sizeof(b), 100, -E_PROTO);
    }
    memcpy(b, golden, sizeof(b)); /* one descriptor announced, none sent */
    put_le32(b + 8, 0);
    b[12] = 1;
    put_le64(b + 24, hash_sum(hash_sum(0, b, 24), NULL, 0));
    expect_code(b, sizeof(b), 100, -E_PROTO);
}

TEST(test_msg__random_bytes_are_refused)
{
    uint64_t s = test_seed();

    for (int i = 0; i < 2000; i++) {
        uint8_t b[80];
        size_t len = test_rand(&s) % sizeof(b) + 1;

        for (size_t k = 0; k < len; k++)
            b[k] = (uint8_t)test_rand(&s);
        if (test_rand(&s) % 2)
            memcpy(b, golden, MIN_OF(len, (size_t)8));
        expect_code(b, len, 1 << 20, -E_PROTO);
    }
}

TEST(test_msg__descriptors_travel_and_close_with_the_message)
{
    cleanup(msg_release) struct msg m = {0};
    int sv[2], fds[MSG_FDS_MAX], taken, p[2];
    unsigned before;
    char c;

    pair(sv);
    CHECK(pipe2(p, O_CLOEXEC) == 0);
    CHECK_EQ(write(p[1], "x", 1), 1);
    before = open_fds();
    for (int i = 0; i < MSG_FDS_MAX; i++)
        fds[i] = p[0];
    CHECK_OK(msg_send(sv[0], 1, "fds", 3, fds, MSG_FDS_MAX, 1000));
    CHECK_ERR(msg_send(sv[0], 1, "fds", 3, fds, MSG_FDS_MAX + 1, 1000), -E_TOOBIG);
    CHECK_OK(msg_recv(sv[1], 100, 1000, &m));
    CHECK_EQ(m.nfds, MSG_FDS_MAX);
    CHECK_EQ(open_fds(), before + MSG_FDS_MAX);
    taken = msg_take_fd(&m, 3);
    CHECK_OK(taken);
    CHECK_ERR(msg_take_fd(&m, 3), -E_PROTO);
    CHECK(fcntl(taken, F_GETFD) & FD_CLOEXEC);
    msg_release(&m);
    CHECK_EQ(open_fds(), before + 1);
    CHECK_EQ(read(taken, &c, 1), 1);
    CHECK_EQ(c, 'x');
    close(taken);
    close(p[0]);
    close(p[1]);
    pair_end(sv);
}

TEST(test_msg__descriptors_of_a_bad_frame_are_closed)
{
    union {
        char b[CMSG_SPACE(sizeof(int) * 20)];
        struct cmsghdr align;
    } room = {0};
    struct iovec iov = {(void *)golden, sizeof(golden)}; /* announces none */
    struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = room.b};
    static const unsigned counts[] = {1, MSG_FDS_MAX, 20};
    struct cmsghdr *c;

    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        struct msg m = {0};
        unsigned before;
        int sv[2];

        pair(sv);
        before = open_fds();
        mh.msg_controllen = CMSG_SPACE(sizeof(int) * counts[i]);
        c = CMSG_FIRSTHDR(&mh);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * counts[i]);
        for (unsigned k = 0; k < counts[i]; k++)
            memcpy(CMSG_DATA(c) + k * sizeof(int), &sv[0], sizeof(int));
        CHECK_EQ(sendmsg(sv[0], &mh, 0), sizeof(golden));
        CHECK_ERR(msg_recv(sv[1], 100, 1000, &m), -E_PROTO);
        CHECK_EQ(open_fds(), before);
        pair_end(sv);
    }
}

struct sender {
    int fd;
    size_t len;
    unsigned count;
    int r;
};

static void *send_much(void *arg)
{
    struct sender *s = arg;
    uint8_t *p = malloc(s->len);

    for (unsigned i = 0; i < s->count && s->r == 0; i++) {
        memset(p, (int)i, s->len);
        s->r = msg_send(s->fd, (uint16_t)i, p, s->len, &s->fd, 1, 10000);
    }
    free(p);
    return NULL;
}

TEST(test_msg__large_messages_with_descriptors_keep_apart)
{
    struct sender s = {.len = 3 << 20, .count = 12};
    pthread_t th;
    int sv[2];

    pair(sv);
    s.fd = sv[0];
    CHECK(pthread_create(&th, NULL, send_much, &s) == 0);
    for (unsigned i = 0; i < s.count; i++) {
        cleanup(msg_release) struct msg m = {0};

        CHECK_OK(msg_recv(sv[1], s.len, 10000, &m));
        CHECK_EQ(m.type, i);
        CHECK_EQ(m.nfds, 1);
        CHECK_EQ(m.payload.len, s.len);
        CHECK_EQ(m.payload.data[s.len - 1], i);
    }
    pthread_join(th, NULL);
    CHECK_OK(s.r);
    pair_end(sv);
}

TEST(test_msg__time_runs_out_with_nothing_or_with_a_part)
{
    static uint8_t big[4 << 20];
    struct msg m = {0};
    int sv[2], r;

    pair(sv);
    CHECK_ERR(msg_recv(sv[1], 100, 0, &m), -E_AGAIN);
    CHECK_ERR(msg_recv(sv[1], 100, 20, &m), -E_AGAIN);
    CHECK_EQ(write(sv[0], golden, 33), 33);
    CHECK_ERR(msg_recv(sv[1], 100, 20, &m), -E_TIMEOUT);
    CHECK_ERR(msg_send(sv[0], 1, big, sizeof(big), NULL, 0, 20), -E_TIMEOUT);
    do /* what is left of the buffer takes small ones */
        r = msg_send(sv[0], 1, "x", 1, NULL, 0, 0);
    while (r == 0);
    CHECK_ERR(r, -E_AGAIN);
    CHECK_ERR(msg_send(sv[0], 1, big, (size_t)MSG_SIZE_MAX + 1, NULL, 0, 0), -E_TOOBIG);
    pair_end(sv);
}

TEST(test_msg__a_gone_peer_is_an_error_and_no_signal)
{
    struct msg m = {0};
    int sv[2];

    signal(SIGPIPE, SIG_DFL);
    pair(sv);
    close(sv[1]);
    CHECK_ERR(msg_send(sv[0], 1, "x", 1, NULL, 0, 1000), -E_CLOSED);
    CHECK_ERR(msg_recv(sv[0], 100, 1000, &m), -E_CLOSED);
    close(sv[0]);
}

static void talk(const char *path)
{
    cleanup(msg_release) struct msg m = {0};
    struct msg_peer peer;
    struct stat st;
    int l = msg_listen(path, 0600), a, c;

    CHECK_OK(l);
    CHECK_OK(io_stat(io_real(), path, &st));
    CHECK_EQ(st.st_mode, S_IFSOCK | 0600);
    CHECK_ERR(msg_accept(l, 0), -E_AGAIN);
    CHECK_ERR(msg_accept(l, 10), -E_AGAIN);
    c = msg_connect(path, 1000);
    CHECK_OK(c);
    a = msg_accept(l, 1000);
    CHECK_OK(a);
    CHECK(fcntl(a, F_GETFD) & fcntl(c, F_GETFD) & fcntl(l, F_GETFD) & FD_CLOEXEC);
    CHECK_OK(msg_peer(a, &peer));
    CHECK(peer.pid == getpid() && peer.uid == getuid() && peer.gid == getgid());
    CHECK_OK(msg_send(c, 5, "hi", 2, NULL, 0, 1000));
    CHECK_OK(msg_recv(a, 10, 1000, &m));
    CHECK_EQ(m.type, 5);
    close(a);
    close(c);
    close(l);
}

TEST(test_msg__listen_connect_and_peer)
{
    char path[400];
    unsigned before = open_fds();

    snprintf(path, sizeof(path), "%s/sock", test_dir());
    talk(path);
    talk(path); /* the dead one's socket is replaced */
    CHECK_EQ(open_fds(), before);
    CHECK_ERR(msg_connect(path, 1000), -E_CLOSED);
    CHECK_OK(io_unlink(io_real(), path));
    CHECK_ERR(msg_connect(path, 1000), -E_NOENT);
    CHECK_OK(io_replace(io_real(), path, "file", 4));
    CHECK_ERR(msg_listen(path, 0600), -E_EXIST);
    CHECK_ERR(msg_connect("sock", 0), -E_INVAL);
    CHECK_EQ(open_fds(), before);
}

TEST(test_msg__a_path_longer_than_an_address_works)
{
    cleanup(buf_free) struct buf path = {0};
    unsigned before = open_fds();
    char name[201];

    memset(name, 'n', 200);
    name[200] = 0;
    CHECK_OK(buf_puts(&path, test_dir()));
    for (int i = 0; i < 4; i++) {
        CHECK_OK(buf_printf(&path, "/%s", name));
        CHECK_OK(io_mkdir(io_real(), buf_cstr(&path), 0700));
    }
    CHECK_OK(buf_puts(&path, "/sock"));
    talk(buf_cstr(&path));
    talk(buf_cstr(&path));
    CHECK_OK(buf_puts(&path, "none/sock"));
    CHECK_ERR(msg_listen(buf_cstr(&path), 0600), -E_NOENT);
    CHECK_EQ(open_fds(), before);
}

TEST(test_msg__a_full_queue_gives_up_in_time)
{
    char path[400];
    int l, c[400], n = 0, r;

    snprintf(path, sizeof(path), "%s/sock", test_dir());
    l = msg_listen(path, 0600);
    CHECK_OK(l);
    while ((r = msg_connect(path, 0)) >= 0 && n < 400)
        c[n++] = r;
    CHECK_ERR(r, -E_AGAIN);
    CHECK_ERR(msg_connect(path, 20), -E_AGAIN);
    while (n > 0)
        close(c[--n]);
    close(l);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
