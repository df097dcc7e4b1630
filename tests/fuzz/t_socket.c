/* Messages over a stream socket (base/msg.h) and the keeper's over a packet socket. First byte: 0 frames with their sums put
 * right, 1 raw bytes, 2 the keeper's message. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/msg.h"
#include "fs/keeper.h"
#include "tests/fuzz/fuzz.h"

static void frames_fix(uint8_t *p, size_t len)
{
    while (len >= MSG_HEADER_SIZE) {
        size_t n;

        memcpy(p, "vMsG", 4);
        put_le16(p + 4, MSG_VERSION);
        n = get_le32(p + 8);
        n = MIN_OF(n % 512, len - MSG_HEADER_SIZE);
        put_le32(p + 8, (uint32_t)n);
        put_le16(p + 12, get_le16(p + 12) % 2);
        put_le16(p + 14, 0);
        put_le64(p + 16, 0);
        put_le64(p + 24, hash_sum(hash_sum(0, p, 24), p + MSG_HEADER_SIZE, n));
        p += MSG_HEADER_SIZE + n;
        len -= MSG_HEADER_SIZE + n;
    }
}

static void stream(const uint8_t *p, size_t len, bool fix)
{
    uint8_t *copy = (uint8_t *)in_text(p, len);
    int fd[2], r = 0;

    if (fix)
        frames_fix(copy, len);
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) == 0);
    FUZZ_CHECK(len == 0 || send(fd[0], copy, len, MSG_NOSIGNAL) == (ssize_t)len);
    shutdown(fd[0], SHUT_WR);
    while (r == 0) {
        cleanup(msg_release) struct msg m = {0};
        r = msg_recv(fd[1], 256, 0, &m);
        FUZZ_CHECK(r < 0 || m.payload.len <= 256);
    }
    FUZZ_CHECK(r == -E_CLOSED || r == -E_PROTO || r == -E_AGAIN || r == -E_TIMEOUT);
    close(fd[0]);
    close(fd[1]);
    free(copy);
}

static void keeper(const uint8_t *p, size_t len)
{
    static struct keeper_msg m;
    int fd[2], got = -1;

    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd) == 0);
    (void)!send(fd[0], p, len, MSG_NOSIGNAL);
    close(fd[0]);
    if (keeper_recv(fd[1], &m, &got) == 0)
        for (unsigned i = 0; i < 8; i++)
            FUZZ_CHECK(strlen(keeper_field(&m, i)) < KEEPER_DATA);
    close(fd[1]);
}

void run_socket(const uint8_t *p, size_t len)
{
    struct fuzz_in in = {p, len};
    uint8_t what = in_u8(&in);

    if (what % 3 == 2)
        keeper(in.p, in.left);
    else
        stream(in.p, in.left, what % 3 == 0);
}

void seeds_socket(void)
{
    uint8_t b[200] = {0};
    struct keeper_msg m = {.kind = KEEPER_MOUNT, .conn = 7, .n = 1, .init_len = 8};

    put_le32(b + 1 + 8, 12);
    memcpy(b + 1 + MSG_HEADER_SIZE, "verb\0list\0.", 12);
    fuzz_seed("frame", b, 1 + MSG_HEADER_SIZE + 12);
    fuzz_seed("two", b, 1 + 2 * (MSG_HEADER_SIZE + 12));
    b[0] = 1;
    fuzz_seed("raw", b, 60);
    FUZZ_CHECK(keeper_put(&m, "snap") == 0);
    FUZZ_CHECK(keeper_put(&m, "ro,control=none") == 0);
    b[0] = 2;
    {
        cleanup(buf_free) struct buf k = {0};
        FUZZ_CHECK(buf_add(&k, b, 1) == 0);
        FUZZ_CHECK(buf_add(&k, &m, offsetof(struct keeper_msg, data) + m.len) == 0);
        fuzz_seed("keeper", k.data, k.len);
    }
}
