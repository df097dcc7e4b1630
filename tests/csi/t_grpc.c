/* The gRPC server: what it says to clients that do right, and to those that do not. */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "plugin/grpc.h"
#include "plugin/grpc_wire.h"
#include "tests/csi/client.h"
#include "tests/csi/rig.h"
#include "tests/csi/service.h"
#include "tests/lib/test.h"

#define WAIT 10000
#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

static void start(struct grpc_settings o)
{
    service_new(o);
    service_run();
}

static void stop(void)
{
    service_stop();
    CHECK(access(service.path, F_OK) < 0);
}

static bool says(const struct call *k, const char *text)
{
    const uint8_t *p;
    size_t len;

    return call_message(k, 0, &p, &len) && len == strlen(text) && memcmp(p, text, len) == 0;
}

/* The server is well: another connection gets its answer. */
static void is_well(void)
{
    struct client *c = malloc(sizeof(*c));
    struct call *k;

    client_open(c, service.path);
    k = client_call(c, &(struct ask){.msg = "well", .len = 4});
    CHECK(client_wait(c, k, WAIT));
    CHECK_EQ(k->status, GRPC_OK);
    CHECK(says(k, "well"));
    client_close(c);
    free(c);
}

/* --- right ---------------------------------------------------------------------------------------------------------------- */

static struct client cl;

/* What the driver starts has its connections, until it is another program. */
TEST(test_grpc__a_child_that_has_a_connection_does_not_keep_it_watched)
{
    struct timespec before, after;
    clockid_t busy;
    struct call *k;
    pid_t pid;

    start((struct grpc_settings){.workers = 2});
    client_open(&cl, service.path);
    k = client_call(&cl, &(struct ask){.msg = "hello", .len = 5});
    CHECK(client_wait(&cl, k, WAIT));
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        close(cl.fd); /* the client's end */
        pause_ms(60000);
        _exit(0);
    }
    client_close(&cl);
    is_well();
    CHECK(pthread_getcpuclockid(service.thread, &busy) == 0 && clock_gettime(busy, &before) == 0);
    pause_ms(300);
    CHECK(clock_gettime(busy, &after) == 0);
    kill(pid, SIGKILL);
    CHECK(waitpid(pid, NULL, 0) == pid);
    CHECK(after.tv_sec - before.tv_sec < 2 &&
          (after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec < 50000000);
    stop();
}

TEST(test_grpc__one_message_in_one_out_and_trailers)
{
    struct call *k, *empty;

    start((struct grpc_settings){.workers = 2});
    client_open(&cl, service.path);
    k = client_call(&cl, &(struct ask){.msg = "hello", .len = 5});
    CHECK(client_wait(&cl, k, WAIT));
    CHECK_EQ(k->http, 200);
    CHECK_EQ(k->status, 0);
    CHECK(strcmp(k->type, "application/grpc") == 0 && says(k, "hello") && !k->first_trailers_only);
    empty = client_call(&cl, &(struct ask){.type = "application/grpc+proto"});
    CHECK(client_wait(&cl, empty, WAIT));
    CHECK(empty->status == 0 && says(empty, ""));
    client_close(&cl);
    stop();
}

TEST(test_grpc__failures_are_trailers_only_and_percent_encoded)
{
    struct call *k;

    start((struct grpc_settings){.workers = 2});
    client_open(&cl, service.path);
    k = client_call(&cl, &(struct ask){.path = "/t.T/Fail"});
    CHECK(client_wait(&cl, k, WAIT));
    CHECK_EQ(k->status, GRPC_NOT_FOUND);
    CHECK(k->first_trailers_only && k->body.len == 0);
    CHECK(strcmp(k->message, "name: 100%25 of %C3%A9%0A is gone") == 0);
    k = client_call(&cl, &(struct ask){.path = "/t.T/Nothing"});
    CHECK(client_wait(&cl, k, WAIT));
    CHECK_EQ(k->status, GRPC_INTERNAL);
    client_close(&cl);
    stop();
}

TEST(test_grpc__any_authority_will_do)
{
    static const char *const names[] = {"localhost",
                                        "/var/lib/kubelet/plugins/x/csi.sock",
                                        "%2Fvar%2Flib%2Fx",
                                        "-",
                                        "unix:/run/csi.sock",
                                        "[::1]:80",
                                        "a b\"<>"};

    start((struct grpc_settings){.workers = 2});
    client_open(&cl, service.path);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct call *k = client_call(&cl, &(struct ask){.authority = names[i], .msg = "x", .len = 1});

        if (!client_wait(&cl, k, WAIT) || k->status != 0)
            test_fail(__FILE__, __LINE__, ":authority %s: status %d, error %u", names[i], k->status,
                      k->error);
    }
    client_close(&cl);
    stop();
}

TEST(test_grpc__sixty_four_streams_at_once)
{
    struct call *k[64];
    char text[8];

    start((struct grpc_settings){.workers = 4});
    client_open(&cl, service.path);
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < ARRAY_LEN(k); i++) {
            snprintf(text, sizeof(text), "m%zu", i);
            k[i] = client_call(&cl, &(struct ask){.msg = text, .len = strlen(text)});
        }
        for (size_t i = 0; i < ARRAY_LEN(k); i++) {
            snprintf(text, sizeof(text), "m%zu", i);
            CHECK(client_wait(&cl, k[i], WAIT));
            CHECK(k[i]->status == 0 && says(k[i], text));
        }
    }
    client_close(&cl);
    stop();
}

TEST(test_grpc__a_stream_of_messages_comes_in_order_and_with_its_status)
{
    uint8_t n[4];
    const uint8_t *p;
    struct call *k;
    size_t len;

    start((struct grpc_settings){.workers = 2});
    client_open(&cl, service.path);
    put_le32(n, 3000);
    k = client_call(&cl, &(struct ask){.path = "/t.T/Stream", .msg = n, .len = 4});
    CHECK(client_wait(&cl, k, WAIT));
    CHECK_EQ(k->status, GRPC_OUT_OF_RANGE);
    CHECK(strcmp(k->message, "that was all") == 0 && !k->first_trailers_only);
    CHECK_EQ(call_messages(k), 3000);
    CHECK(call_message(k, 2999, &p, &len) && get_le32(p) == 2999);
    client_close(&cl);
    stop();
}

/* --- the end of a call ---------------------------------------------------------------------------------------------------- */

TEST(test_grpc__a_deadline_answers_and_tells_the_method)
{
    struct call *k;

    start((struct grpc_settings){.workers = 2});
    client_open(&cl, service.path);
    k = client_call(&cl, &(struct ask){.path = "/t.T/Linger", .timeout = "50m"});
    CHECK(client_wait(&cl, k, WAIT));
    CHECK_EQ(k->status, GRPC_DEADLINE_EXCEEDED);
    service_until(&service.told, 1);
    k = client_call(&cl, &(struct ask){.timeout = "10S", .msg = "x", .len = 1});
    CHECK(client_wait(&cl, k, WAIT) && k->status == 0);
    for (size_t i = 0; i < 3; i++) {
        static const char *const wrong[] = {"soon", "123456789S", "5"};

        k = client_call(&cl, &(struct ask){.timeout = wrong[i]});
        CHECK(client_wait(&cl, k, WAIT) && k->status == GRPC_INTERNAL);
    }
    client_close(&cl);
    stop();
}

TEST(test_grpc__who_cancels_or_goes_is_told_to_the_method)
{
    struct call *k;

    start((struct grpc_settings){.workers = 4});
    client_open(&cl, service.path);
    k = client_call(&cl, &(struct ask){.path = "/t.T/Linger"});
    client_turn(&cl, 0);
    service_until(&service.waiting, 1);
    client_cancel(&cl, k);
    service_until(&service.told, 1);
    k = client_call(&cl, &(struct ask){.msg = "x", .len = 1}); /* the connection goes on */
    CHECK(client_wait(&cl, k, WAIT) && k->status == 0);
    client_call(&cl, &(struct ask){.path = "/t.T/Linger"});
    client_turn(&cl, 0);
    service_until(&service.waiting, 2);
    client_close(&cl);
    service_until(&service.told, 2);
    is_well();
    stop();
}

TEST(test_grpc__a_client_that_does_not_read_holds_up_its_own_stream_only)
{
    uint8_t n[4];
    struct call *k;

    start((struct grpc_settings){.workers = 2});
    client_open(&cl, service.path);
    put_le32(n, 1000000);
    k = client_call(&cl, &(struct ask){.path = "/t.T/Stream", .msg = n, .len = 4});
    client_turn(&cl, 0);
    cl.deaf = true;
    service_until(&service.streamed, 200);
    pause_ms(100);
    CHECK(atomic_load(&service.streamed) <
          2000); /* held up: some 64 KiB by HTTP/2, 256 KiB here, what the socket holds */
    is_well();
    client_cancel(&cl, k);
    service_until(&service.told, 1);
    client_close(&cl);
    stop();
}

TEST(test_grpc__who_stops_says_goaway_and_lets_calls_end)
{
    struct call *k;

    start((struct grpc_settings){.workers = 2});
    client_open(&cl, service.path);
    k = client_call(&cl, &(struct ask){.path = "/t.T/Linger"});
    client_turn(&cl, 0);
    service_until(&service.waiting, 1);
    grpc_server_stop(service.s);
    for (int i = 0; i < 500 && !cl.goaway; i++)
        client_turn(&cl, 20);
    CHECK(cl.goaway);
    CHECK(raw_connect(service.path) < 0);
    service.go = true;
    CHECK(client_wait(&cl, k, WAIT));
    CHECK(k->status == 0 && says(k, "late"));
    client_close(&cl);
    stop();
}

TEST(test_grpc__who_stops_does_not_wait_for_ever)
{
    start((struct grpc_settings){.workers = 2, .stop_wait_ms = 50});
    client_open(&cl, service.path);
    client_call(&cl, &(struct ask){.path = "/t.T/Linger"});
    client_turn(&cl, 0);
    service_until(&service.waiting, 1);
    stop();
    CHECK_EQ(service.told, 1);
    client_close(&cl);
}

/* --- wrong ---------------------------------------------------------------------------------------------------------------- */

static void raw_message(struct buf *b, unsigned flag, uint32_t len, size_t bytes)
{
    uint8_t prefix[5] = {(uint8_t)flag};

    put_be32(prefix + 1, len);
    CHECK_OK(buf_add(b, prefix, sizeof(prefix)));
    CHECK_OK(buf_add_zero(b, bytes));
}

TEST(test_grpc__wrong_requests_are_told_what_is_wrong)
{
    struct {
        struct ask ask;
        struct buf raw;
        bool has_raw;
        int http, status;
    } t[] = {{.ask = {.path = "/t.T/None"}, .http = 200, .status = GRPC_UNIMPLEMENTED},
             {.ask = {.path = "/"}, .http = 200, .status = GRPC_UNIMPLEMENTED},
             {.ask = {.path = "-"}, .http = 200, .status = GRPC_UNIMPLEMENTED},
             {.ask = {.path = "t.T/Echo"}, .http = 200, .status = GRPC_UNIMPLEMENTED},
             {.ask = {.type = "application/json"}, .http = 415, .status = -1},
             {.ask = {.type = "application/grpcx"}, .http = 415, .status = -1},
             {.ask = {.type = "-"}, .http = 415, .status = -1},
             {.ask = {.method = "GET"}, .http = 405, .status = -1},
             {.ask = {.method = "-"}, .http = 405, .status = -1},
             {.has_raw = true, .http = 200, .status = GRPC_INTERNAL},
             {.has_raw = true, .http = 200, .status = GRPC_INTERNAL},
             {.has_raw = true, .http = 200, .status = GRPC_INTERNAL},
             {.has_raw = true, .http = 200, .status = GRPC_UNIMPLEMENTED},
             {.has_raw = true, .http = 200, .status = GRPC_INTERNAL},
             {.has_raw = true, .http = 200, .status = GRPC_RESOURCE_EXHAUSTED}};

    raw_message(&t[10].raw, 0, 10,
                3); /* t[9]: no message at all; half of one; two; compressed; no flag; too large */
    raw_message(&t[11].raw, 0, 1, 1);
    raw_message(&t[11].raw, 0, 1, 1);
    raw_message(&t[12].raw, 1, 1, 1);
    raw_message(&t[13].raw, 7, 1, 1);
    raw_message(&t[14].raw, 0, 100000, 0);
    start((struct grpc_settings){.workers = 2, .message_max = 99999});
    client_open(&cl, service.path);
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct call *k;

        t[i].ask.raw = t[i].has_raw ? &t[i].raw : NULL;
        k = client_call(&cl, &t[i].ask);
        if (!client_wait(&cl, k, WAIT) || k->http != t[i].http || k->status != t[i].status)
            test_fail(__FILE__, __LINE__, "case %zu: HTTP %d, status %d, \"%s\"", i, k->http, k->status,
                      k->message);
        buf_free(&t[i].raw);
    }
    client_close(&cl);
    is_well();
    stop();
}

TEST(test_grpc__a_message_that_never_ends_is_refused_at_its_announcement)
{
    cleanup(buf_free) struct buf raw = {0};
    struct call *k;

    raw_message(&raw, 0, UINT32_MAX, 1 << 20);
    start((struct grpc_settings){.workers = 2});
    client_open(&cl, service.path);
    k = client_call(&cl, &(struct ask){.raw = &raw, .keep_open = true});
    CHECK(client_wait(&cl, k, WAIT)); /* the answer, and that no more is wanted */
    CHECK_EQ(k->status, GRPC_RESOURCE_EXHAUSTED);
    CHECK_EQ(k->error, NGHTTP2_NO_ERROR);
    client_close(&cl);
    stop();
}

TEST(test_grpc__what_all_calls_hold_is_bounded)
{
    cleanup(buf_free) struct buf raw = {0};
    unsigned refused = 0;

    raw_message(&raw, 0, 60000, 50000);
    start((struct grpc_settings){.workers = 2, .bytes_max = 200000});
    client_open(&cl, service.path);
    for (int i = 0; i < 8; i++)
        client_call(&cl, &(struct ask){.raw = &raw, .keep_open = true});
    for (int i = 0; i < 40; i++)
        client_turn(&cl, 10);
    for (int i = 0; i < 8; i++)
        refused += cl.calls[i].status == GRPC_RESOURCE_EXHAUSTED;
    CHECK(refused >= 4 && refused < 8);
    client_close(&cl);
    pause_ms(20);
    is_well();
    stop();
}

TEST(test_grpc__more_calls_than_there_is_room_for_are_told_to_try_again)
{
    unsigned refused = 0;

    start((struct grpc_settings){.workers = 1, .queue_max = 2});
    client_open(&cl, service.path);
    for (int i = 0; i < 6; i++)
        client_call(&cl, &(struct ask){.path = "/t.T/Linger"});
    for (int i = 0; i < 400 && refused < 3; i++) {
        client_turn(&cl, 5);
        refused = 0;
        for (int n = 0; n < 6; n++)
            refused += cl.calls[n].status == GRPC_RESOURCE_EXHAUSTED;
    }
    CHECK(refused >= 3);
    service.go = true;
    client_close(&cl);
    stop();
}

/* --- bytes that are no HTTP/2 --------------------------------------------------------------------------------------------- */

TEST(test_grpc__half_frames_and_garbage_harm_nobody)
{
    static const char *const junk[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\x02\x00\x01",
                                       PREFACE "\xff\xff\xff\xff\xff\xff\xff\xff\xff", PREFACE};
    int half[8];

    start((struct grpc_settings){.workers = 2});
    for (size_t i = 0; i < ARRAY_LEN(half); i++) {
        half[i] = raw_connect(service.path);
        CHECK(half[i] >= 0 && raw_send(half[i], PREFACE, 3 * i) == 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(junk); i++) {
        int fd = raw_connect(service.path);

        CHECK(raw_send(fd, junk[i], strlen(junk[i])) == 0);
        CHECK(i + 1 == ARRAY_LEN(junk) || raw_closed(fd, WAIT));
        close(fd);
    }
    is_well();
    for (size_t i = 0; i < ARRAY_LEN(half); i++)
        close(half[i]);
    is_well();
    stop();
}

/* One more than may be connected is turned away, and may come when another has gone. */
TEST(test_grpc__connections_are_bounded)
{
    int fd[4];

    start((struct grpc_settings){.workers = 2, .conns_max = 3});
    for (size_t i = 0; i < ARRAY_LEN(fd); i++)
        fd[i] = raw_connect(service.path);
    CHECK(raw_closed(fd[3], WAIT));
    for (size_t i = 0; i < ARRAY_LEN(fd); i++)
        close(fd[i]);
    pause_ms(50);
    is_well();
    stop();
}

static void frame(struct buf *b, unsigned type, unsigned flags, uint32_t stream, const void *p, size_t len)
{
    uint8_t h[9] = {(uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len, (uint8_t)type, (uint8_t)flags};

    put_be32(h + 5, stream);
    CHECK_OK(buf_add(b, h, sizeof(h)));
    if (len > 0)
        CHECK_OK(buf_add(b, p, len));
}

TEST(test_grpc__headers_without_end_are_given_up)
{
    cleanup(buf_free) struct buf b = {0};
    uint8_t filler[8192] = {0};
    int fd;

    start((struct grpc_settings){.workers = 2});
    fd = raw_connect(service.path);
    CHECK_OK(buf_puts(&b, PREFACE));
    frame(&b, 4, 0, 0, NULL, 0);
    frame(&b, 1, 0, 1, filler, sizeof(filler));
    for (int i = 0; i < 64; i++)
        frame(&b, 9, 0, 1, filler, sizeof(filler));
    raw_send(fd, b.data, b.len);
    CHECK(raw_closed(fd, WAIT));
    close(fd);
    is_well();
    stop();
}

/* What real clients said, taken down by a proxy, up to their goodbye: every request is answered to its end, none is reset. */
static void replay(const char *name)
{
    cleanup(buf_free) struct buf b = {0}, back = {0};
    unsigned asked = 0, answered = 0;
    struct timeval wait = {.tv_sec = 5};
    char path[256], room[4096];
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), "tests/csi/recorded/%s.bin", name);
    CHECK_OK(io_read_file(io_real(), path, 1 << 20, &b));
    for (size_t at = 24; at + 9 <= b.len; at += 9 + (get_be32(b.data + at) >> 8))
        asked += b.data[at + 3] == 1;
    fd = raw_connect(service.path);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    CHECK(raw_send(fd, b.data, b.len) == 0);
    while (answered < asked && (n = recv(fd, room, sizeof(room), 0)) > 0) {
        CHECK_OK(buf_add(&back, room, (size_t)n));
        answered = 0;
        for (size_t at = 0; at + 9 <= back.len; at += 9 + (get_be32(back.data + at) >> 8)) {
            if (back.data[at + 3] == 3 || back.data[at + 3] == 7)
                test_fail(__FILE__, __LINE__, "%s: frame %u, %x %x", name, back.data[at + 3],
                          get_be32(back.data + at + 9), get_be32(back.data + at + 13));
            answered += back.data[at + 3] == 1 && (back.data[at + 4] & 1);
        }
    }
    if (asked == 0 || answered != asked)
        test_fail(__FILE__, __LINE__, "%s: %u requests, %u answers", name, asked, answered);
    close(fd);
}

TEST(test_grpc__recorded_clients_get_their_answers)
{
    start((struct grpc_settings){.workers = 2});
    replay("grpc-go");
    replay("grpc-core");
    replay("curl");
    stop();
}

/* A sound request, with bytes changed, taken out and put in. */
static void mutate(struct buf *b, uint64_t *seed)
{
    unsigned n = 1 + (unsigned)(test_rand(seed) % 6);

    for (unsigned i = 0; i < n; i++) {
        size_t at = 24 + test_rand(seed) % (b->len - 24);

        switch (test_rand(seed) % 3) {
        case 0: b->data[at] = (uint8_t)test_rand(seed); break;
        case 1: b->len = at + 1; break;
        default: b->data[at] ^= (uint8_t)(1u << (test_rand(seed) % 8)); break;
        }
        if (b->len < 32)
            CHECK_OK(buf_add_zero(b, 32));
    }
}

static void sound_request(struct buf *b)
{
    nghttp2_nv h[] = {{(uint8_t *)":method", (uint8_t *)"POST", 7, 4, 0},
                      {(uint8_t *)":path", (uint8_t *)"/t.T/Echo", 5, 9, 0},
                      {(uint8_t *)"content-type", (uint8_t *)"application/grpc", 12, 16, 0}};
    nghttp2_hd_deflater *d;
    uint8_t block[256];
    ssize_t n;

    CHECK(nghttp2_hd_deflate_new(&d, 4096) == 0);
    n = nghttp2_hd_deflate_hd(d, block, sizeof(block), h, ARRAY_LEN(h));
    CHECK(n > 0);
    nghttp2_hd_deflate_del(d);
    CHECK_OK(buf_puts(b, PREFACE));
    frame(b, 4, 0, 0, NULL, 0);
    frame(b, 1, 4, 1, block, (size_t)n);
    frame(b, 0, 1, 1, "\0\0\0\0\3abc", 8);
    frame(b, 1, 5, 3, block, (size_t)n);
    frame(b, 6, 0, 0, "12345678", 8);
}

TEST(test_grpc__mutated_requests_harm_nobody)
{
    uint64_t seed = test_seed();

    start((struct grpc_settings){.workers = 2});
    for (int i = 0; i < 2000; i++) {
        cleanup(buf_free) struct buf b = {0};
        int fd = raw_connect(service.path);
        char room[512];

        CHECK(fd >= 0);
        sound_request(&b);
        mutate(&b, &seed);
        raw_send(fd, b.data, b.len);
        shutdown(fd, SHUT_WR);
        if (i % 4 == 0)
            (void)!recv(fd, room, sizeof(room), MSG_DONTWAIT);
        close(fd);
    }
    pause_ms(200); /* those that were closed count until the server has seen it */
    is_well();
    stop();
}
