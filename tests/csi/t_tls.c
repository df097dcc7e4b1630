/* gRPC over TLS: who is let in, what a call becomes on its way, what those who do wrong hold up. */
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "plugin/grpc_client.h"
#include "tests/csi/certs.h"
#include "tests/csi/client.h"
#include "tests/csi/rig.h"
#include "tests/csi/service.h"
#include "tests/lib/test.h"

#define WAIT 10000
#define DRIVER "csi.varve.io"

static const uint8_t three_thousand[] = {0xb8, 0x0b, 0, 0}; /* messages, asked of Stream */

static struct {
    struct tls_files *files;
    char node[256], control[256], address[64];
    unsigned port;
    struct authority ca, other;
    struct grpc_client *client;
    struct grpc_link *link;
} far;

static void client_begin(struct grpc_client_settings o)
{
    CHECK_OK(tls_files_new(far.control, DRIVER, TLS_CONTROLLER, &o.files));
    CHECK_OK(grpc_client_new(&o, &far.client));
    CHECK_OK(grpc_link_new(far.client, far.address, &far.link));
}

static void client_end(void)
{
    grpc_link_free(far.link);
    grpc_client_free(far.client);
}

static void start(struct grpc_settings o)
{
    memset(&far, 0, sizeof(far));
    snprintf(far.node, sizeof(far.node), "%s/node", test_dir());
    snprintf(far.control, sizeof(far.control), "%s/control", test_dir());
    authority_make(&far.ca, "the authority");
    authority_make(&far.other, "the authority"); /* of the same name */
    certs_put(far.node, &far.ca, &far.ca, "node." DRIVER, 3600);
    certs_put(far.control, &far.ca, &far.ca, "controller." DRIVER, 3600);
    service_new(o);
    CHECK_OK(tls_files_new(far.node, DRIVER, TLS_NODE, &far.files));
    CHECK_OK(grpc_server_listen_tls(service.s, "127.0.0.1:0", far.files, &far.port));
    snprintf(far.address, sizeof(far.address), "127.0.0.1:%u", far.port);
    service_run();
    client_begin((struct grpc_client_settings){.ping_ms = o.ping_ms});
}

static void stop(void)
{
    client_end();
    service_stop();
    tls_files_free(far.files);
    authority_free(&far.ca);
    authority_free(&far.other);
}

/* --- calls ------------------------------------------------------------------------------------------------------------------ */

struct answer {
    struct grpc_said said;
    struct buf last;
    unsigned n, slow_ms, most; /* most: that many messages, then it is given up; 0: all */
    bool in_order, cancels;
};

static int take(void *arg, const uint8_t *p, size_t len)
{
    struct answer *a = arg;

    if (a->slow_ms)
        pause_ms(a->slow_ms);
    a->in_order = (a->n == 0 || a->in_order) && len == 1000 && get_le32(p) == a->n;
    a->n++;
    buf_reset(&a->last);
    CHECK_OK(buf_add(&a->last, p, len));
    return a->most && a->n >= a->most ? -E_CANCELED : 0;
}

static bool wants_no_more(void *arg)
{
    struct answer *a = arg;

    return a->cancels && atomic_load(&service.waiting) > 0;
}

static void ask(struct answer *a, const char *path, const void *p, size_t len, int64_t wait_ms)
{
    struct grpc_ask q = {.path = path, .message = p, .len = len};
    struct grpc_taking t = {.fn = take, .ended = wants_no_more, .arg = a};
    struct grpc_asked *asked;

    if (wait_ms)
        q.deadline_ns = clock_mono_ns() + wait_ms * 1000000;
    CHECK_OK(grpc_asked_new(far.link, &q, &asked));
    grpc_asked_wait(asked, &t, &a->said);
    grpc_asked_free(asked);
}

static int ask_echo(void)
{
    struct answer a = {.n = 0};

    ask(&a, "/t.T/Echo", "hello", 5, WAIT);
    if (a.said.code == GRPC_OK)
        CHECK(a.n == 1 && a.last.len == 5 && memcmp(a.last.data, "hello", 5) == 0);
    buf_free(&a.last);
    return (int)a.said.code;
}

/* On the Unix socket, within a second. */
static void is_well(void)
{
    struct client *c = malloc(sizeof(*c));
    struct call *k;

    client_open(c, service.path);
    k = client_call(c, &(struct ask){.msg = "well", .len = 4});
    CHECK(client_wait(c, k, 1000));
    CHECK_EQ(k->status, GRPC_OK);
    client_close(c);
    free(c);
}

TEST(test_tls__a_call_goes_there_and_back)
{
    struct answer a = {.n = 0};
    char *large = calloc(1, 1 << 20);
    uint64_t number;

    start((struct grpc_settings){.workers = 4});
    CHECK_EQ(ask_echo(), GRPC_OK);
    ask(&a, "/t.T/Echo", "", 0, 5000);
    CHECK_EQ(a.said.code, GRPC_OK);
    CHECK(a.n == 1 && a.last.len == 0 && service.left_ms > 3000 && service.left_ms <= 5000);
    number = a.said.number;
    ask(&a, "/t.T/Echo", large, 1 << 20, 0);
    CHECK_EQ(a.said.code, GRPC_OK);
    CHECK(a.last.len == 1 << 20 && service.left_ms == -1);
    CHECK(number > 0 && a.said.number == number); /* one connection */
    ask(&a, "/t.T/Fail", "", 0, 0);
    CHECK_EQ(a.said.code, GRPC_NOT_FOUND);
    CHECK(a.said.told && strcmp(a.said.why, SERVICE_FAILS) == 0);
    ask(&a, "/t.T/None", "", 0, 0);
    CHECK_EQ(a.said.code, GRPC_UNIMPLEMENTED);
    a.n = 0;
    ask(&a, "/t.T/Stream", three_thousand, 4, 0);
    CHECK_EQ(a.said.code, GRPC_OUT_OF_RANGE);
    CHECK(a.n == 3000 && a.in_order && strcmp(a.said.why, "that was all") == 0);
    buf_free(&a.last);
    free(large);
    stop();
}

TEST(test_tls__who_waits_no_more_is_told_to_the_other_side)
{
    struct answer a = {.n = 0}, b = {.cancels = true}, c = {.most = 5};

    start((struct grpc_settings){.workers = 4});
    CHECK_EQ(ask_echo(), GRPC_OK); /* connected */
    ask(&a, "/t.T/Linger", "", 0, 500);
    CHECK_EQ(a.said.code, GRPC_DEADLINE_EXCEEDED);
    service_until(&service.told, 1);
    service.waiting = 0;
    ask(&b, "/t.T/Linger", "", 0, 0);
    CHECK_EQ(b.said.code, GRPC_CANCELLED);
    service_until(&service.told, 2);
    ask(&c, "/t.T/Stream", three_thousand, 4, 0);
    CHECK_EQ(c.said.code, GRPC_CANCELLED);
    service_until(&service.told, 3);
    CHECK_EQ(ask_echo(), GRPC_OK);
    buf_free(&a.last);
    buf_free(&b.last);
    buf_free(&c.last);
    stop();
}

/* Some 64 KiB here, 256 KiB there, and what sockets hold. */
static void *read_slowly(void *arg)
{
    struct answer a = {.slow_ms = 5, .most = 200};

    (void)arg;
    ask(&a, "/t.T/Stream", three_thousand, 4, 0);
    buf_free(&a.last);
    return NULL;
}

TEST(test_tls__who_reads_slowly_holds_up_its_own_stream_only)
{
    pthread_t slow;

    start((struct grpc_settings){.workers = 4});
    CHECK(pthread_create(&slow, NULL, read_slowly, NULL) == 0);
    service_until(&service.streamed, 200);
    for (int i = 0; i < 20; i++)
        CHECK_EQ(ask_echo(), GRPC_OK);
    CHECK(atomic_load(&service.streamed) < 1500);
    pthread_join(slow, NULL);
    service_until(&service.told, 1);
    stop();
}

/* --- who is let in ---------------------------------------------------------------------------------------------------------- */

static void wrong_at_the_controller(void)
{
    certs_put(far.control, &far.ca, &far.other, "controller." DRIVER, 3600);
    CHECK(!certs_let_in(far.port, far.control, "h2") && ask_echo() == GRPC_UNAVAILABLE);
    certs_put(far.control, &far.ca, &far.ca, "node." DRIVER, 3600); /* another node */
    CHECK(!certs_let_in(far.port, far.control, "h2") && ask_echo() == GRPC_UNAVAILABLE);
    certs_put(far.control, &far.ca, &far.ca, "*.csi.varve.io", 3600);
    CHECK(!certs_let_in(far.port, far.control, "h2"));
    certs_put(far.control, &far.ca, &far.ca, "controller." DRIVER, -10);
    CHECK(!certs_let_in(far.port, far.control, "h2") && ask_echo() == GRPC_UNAVAILABLE);
}

static int ask_anew(void)
{
    client_end();
    client_begin((struct grpc_client_settings){.connect_ms = 0});
    return ask_echo();
}

static void wrong_at_the_node(void)
{
    certs_put(far.node, &far.ca, &far.other, "node." DRIVER, 3600);
    CHECK_EQ(ask_anew(), GRPC_UNAVAILABLE);
    certs_put(far.node, &far.ca, &far.ca, "controller." DRIVER, 3600);
    CHECK_EQ(ask_anew(), GRPC_UNAVAILABLE);
    certs_put(far.node, &far.ca, &far.ca, "node." DRIVER, -10);
    CHECK_EQ(ask_anew(), GRPC_UNAVAILABLE);
}

TEST(test_tls__both_sides_look_who_is_there)
{
    start((struct grpc_settings){.workers = 2});
    CHECK(certs_let_in(far.port, far.control, "h2"));
    CHECK(!certs_let_in(far.port, NULL, "h2"));
    CHECK(!certs_let_in(far.port, far.control, "http/1.1"));
    CHECK(!certs_let_in(far.port, far.control, ""));
    CHECK_EQ(ask_echo(), GRPC_OK);
    wrong_at_the_controller();
    certs_put(far.control, &far.ca, &far.ca, "controller." DRIVER, 3600);
    CHECK_EQ(ask_echo(), GRPC_OK);
    wrong_at_the_node();
    certs_put(far.node, &far.ca, &far.ca, "node." DRIVER, 3600);
    CHECK_EQ(ask_echo(), GRPC_OK);
    stop();
}

TEST(test_tls__certificates_come_and_change)
{
    char gone[300], back[300];

    start((struct grpc_settings){.workers = 2, .ping_ms = 400});
    CHECK_EQ(ask_echo(), GRPC_OK);
    snprintf(gone, sizeof(gone), "%s/ca.crt", far.node);
    snprintf(back, sizeof(back), "%s/ca.old", far.node);
    CHECK(rename(gone, back) == 0);
    CHECK(!certs_let_in(far.port, far.control, "h2"));
    CHECK(rename(back, gone) == 0);
    CHECK(certs_let_in(far.port, far.control, "h2"));
    /* another authority: the node first, so the controller is turned away, on the connection that it has, too */
    certs_put(far.node, &far.other, &far.other, "node." DRIVER, 3600);
    for (int i = 0; i < 500 && ask_echo() == GRPC_OK; i++)
        pause_ms(10);
    CHECK_EQ(ask_echo(), GRPC_UNAVAILABLE);
    certs_put(far.control, &far.other, &far.other, "controller." DRIVER, 3600);
    CHECK_EQ(ask_echo(), GRPC_OK);
    stop();
}

static void *look(void *arg)
{
    CHECK(tls_files_look(arg, NULL));
    return NULL;
}

/* How many descriptors of it there are; *ret: whether a child that is started now would have one. */
static size_t opened(const char *path, bool *ret)
{
    DIR *d = opendir("/proc/self/fd");
    size_t n = 0;

    *ret = false;
    for (struct dirent *e; (e = readdir(d));) {
        char link[300], to[600];
        ssize_t len;
        int fd = (int)strtol(e->d_name, NULL, 10);

        snprintf(link, sizeof(link), "/proc/self/fd/%s", e->d_name);
        len = readlink(link, to, sizeof(to) - 1);
        to[len > 0 ? len : 0] = 0;
        if (strcmp(to, path) != 0)
            continue;
        n++;
        *ret |= !(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    }
    closedir(d);
    return n;
}

TEST(test_tls__no_child_has_the_key)
{
    cleanup(buf_free) struct buf key = {0};
    struct tls_files *files;
    struct authority ca;
    pthread_t reader;
    char dir[256], path[300];
    bool inherited;
    int fd;

    snprintf(dir, sizeof(dir), "%s/node", test_dir());
    snprintf(path, sizeof(path), "%s/tls.key", dir);
    authority_make(&ca, "ca");
    certs_put(dir, &ca, &ca, "node." DRIVER, 3600);
    CHECK_OK(io_read_file(io_real(), path, 1 << 20, &key));
    CHECK(unlink(path) == 0 && mkfifo(path, 0600) == 0); /* so that it is read until we want */
    CHECK_OK(tls_files_new(dir, DRIVER, TLS_NODE, &files));
    CHECK(pthread_create(&reader, NULL, look, files) == 0);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    for (int i = 0; i < WAIT && opened(path, &inherited) < 2; i++)
        pause_ms(1);
    CHECK(opened(path, &inherited) == 2 && !inherited); /* who reads it and who writes it */
    CHECK(write(fd, key.data, key.len) == (ssize_t)key.len);
    close(fd);
    pthread_join(reader, NULL);
    tls_files_free(files);
    authority_free(&ca);
}

/* --- who does wrong --------------------------------------------------------------------------------------------------------- */

static int tcp(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)far.port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
    return fd;
}

TEST(test_tls__garbage_and_silence_hold_up_nobody)
{
    static const char *const junk[] = {
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\x16\x03\x01\xff\xff\x01\x02\x03\x04", "\x15\x03\x01\x00\x02\x02\x28"};
    int slow[24];

    start((struct grpc_settings){.workers = 2, .far_max = 8, .shake_ms = 3000});
    for (size_t i = 0; i < ARRAY_LEN(junk); i++) {
        int fd = tcp();

        CHECK(raw_send(fd, junk[i], strlen(junk[i])) == 0);
        CHECK(raw_closed(fd, WAIT));
        close(fd);
    }
    for (size_t i = 0; i < ARRAY_LEN(slow); i++) {
        slow[i] = tcp();
        raw_send(slow[i], "\x16\x03\x01\x01\x00\x01", i % 7);
        is_well();
    }
    CHECK_EQ(ask_echo(), GRPC_OK); /* makes room for itself */
    CHECK(raw_closed(slow[0], 300));
    for (size_t i = 0; i < ARRAY_LEN(slow); i++) {
        CHECK(raw_closed(slow[i], WAIT)); /* their time is over */
        close(slow[i]);
    }
    CHECK_EQ(ask_echo(), GRPC_OK);
    is_well();
    stop();
}

TEST(test_tls__who_was_not_let_in_yet_holds_up_no_end)
{
    int64_t began;
    int fd;

    start((struct grpc_settings){.workers = 2, .shake_ms = 20000, .stop_wait_ms = 20000});
    fd = tcp();
    CHECK_EQ(ask_echo(), GRPC_OK); /* the other one has been taken by then */
    began = clock_mono_ns();
    stop();
    CHECK(clock_mono_ns() - began < 10000000000);
    close(fd);
}

/* One that was let in, and says nothing more: nor does it answer. */
TEST(test_tls__who_falls_silent_is_asked_and_goes)
{
    struct answer a = {.n = 0};
    int fd, peer, listener;
    int64_t began;
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t len = sizeof(at);

    start((struct grpc_settings){.workers = 2, .ping_ms = 150});
    CHECK_EQ(ask_echo(), GRPC_OK);
    pause_ms(1000); /* who answers stays */
    ask(&a, "/t.T/Echo", "", 0, 0);
    CHECK(a.said.code == GRPC_OK && a.said.number == 1);
    client_end();
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(bind(listener, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(listener, 4) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&at, &len) == 0);
    snprintf(far.address, sizeof(far.address), "127.0.0.1:%u", ntohs(at.sin_port));
    client_begin((struct grpc_client_settings){.connect_ms = 200});
    ask(&a, "/t.T/Echo", "", 0, 0);
    CHECK(a.said.code == GRPC_UNAVAILABLE && a.said.unseen && !a.said.told);
    peer = accept(listener, NULL, NULL);
    close(peer);
    close(listener);
    ask(&a, "/t.T/Echo", "", 0, 0);
    CHECK(a.said.code == GRPC_UNAVAILABLE && strstr(a.said.why, "nobody listens"));
    began = clock_mono_ns();
    fd = certs_stay(far.port, far.control);
    CHECK(raw_closed(fd, 3000));
    CHECK(clock_mono_ns() - began >= 250000000);
    close(fd);
    buf_free(&a.last);
    stop();
}

/* --- a node that reads nothing for a while ----------------------------------------------------------------------------------- */

static struct {
    int listener;
    struct tls_files *files;
    int64_t idle_ns; /* busy_ns of half a second in which there was nothing to do */
} slow;

/* What TLS has to say goes out; false: nothing came for wait_ms. */
static bool slow_turn(int fd, struct tls *t, int wait_ms)
{
    static uint8_t room[1 << 16];
    const uint8_t *out;
    size_t n = 1;
    ssize_t came;

    if (poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, wait_ms) <= 0)
        return false;
    came = recv(fd, room, sizeof(room), 0);
    CHECK(came > 0 && tls_in(t, room, (size_t)came) == 0);
    while (n > 0)
        CHECK_OK(tls_read(t, room, sizeof(room), &n));
    CHECK_OK(tls_out(t, &out, &n));
    CHECK(n == 0 || raw_send(fd, (const char *)out, n) == 0);
    return true;
}

/* How long threads of this process have run, or wanted to: on a busy machine, too, one that spins does so all the time. */
static int64_t busy_ns(void)
{
    DIR *d = opendir("/proc/self/task");
    int64_t sum = 0;

    CHECK(d);
    for (struct dirent *e; (e = readdir(d));) {
        cleanup(buf_free) struct buf b = {0};
        char path[300], *end;

        snprintf(path, sizeof(path), "/proc/self/task/%s/schedstat", e->d_name);
        if (e->d_name[0] == '.' || io_read_file(io_real(), path, 4096, &b) < 0)
            continue;
        sum += strtoll(buf_cstr(&b), &end, 10); /* it ran */
        sum += strtoll(end, NULL, 10);          /* it stood in line */
    }
    closedir(d);
    return sum;
}

/* It allows any number of bytes, and takes none of them for a while. */
static void *slow_node(void *arg)
{
    static const uint8_t hello[] = {
        0, 0, 6, 4, 0, 0, 0, 0, 0, 0,    4,    0x7f, 0xff, 0xff, 0xff, /* SETTINGS: a stream's window */
        0, 0, 4, 8, 0, 0, 0, 0, 0, 0x7f, 0xff, 0,    0};               /* WINDOW_UPDATE: the connection's */
    int fd = accept(slow.listener, NULL, NULL);
    const uint8_t *out;
    struct tls *t;
    size_t n;

    (void)arg;
    CHECK(fd >= 0 && tls_files_look(slow.files, NULL) && tls_new(slow.files, &t) == 0);
    while (!tls_is_open(t))
        CHECK(slow_turn(fd, t, WAIT));
    CHECK(tls_write(t, hello, sizeof(hello)) == 0 && tls_out(t, &out, &n) == 0 &&
          raw_send(fd, (const char *)out, n) == 0);
    pause_ms(500);
    while (slow_turn(fd, t, 300))
        continue;
    slow.idle_ns = busy_ns();
    pause_ms(500);
    slow.idle_ns = busy_ns() - slow.idle_ns;
    tls_free(t);
    close(fd);
    return NULL;
}

TEST(test_tls__a_node_that_did_not_read_for_a_while_costs_nothing_later)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t len = sizeof(at);
    struct answer a = {.n = 0};
    char *large = calloc(1, 16 << 20);
    pthread_t node;
    int small = 4096;

    start((struct grpc_settings){.workers = 2});
    client_end();
    slow.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(slow.listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(bind(slow.listener, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(slow.listener, 4) == 0);
    CHECK(getsockname(slow.listener, (struct sockaddr *)&at, &len) == 0);
    snprintf(far.address, sizeof(far.address), "127.0.0.1:%u", ntohs(at.sin_port));
    CHECK_OK(tls_files_new(far.node, DRIVER, TLS_NODE, &slow.files));
    CHECK(pthread_create(&node, NULL, slow_node, NULL) == 0);
    client_begin((struct grpc_client_settings){.connect_ms = 0});
    ask(&a, "/t.T/Echo", large, 16 << 20, 0); /* until it goes */
    CHECK(a.said.code == GRPC_UNAVAILABLE && !a.said.unseen);
    pthread_join(node, NULL);
    CHECK(slow.idle_ns < 300000000);
    tls_files_free(slow.files);
    close(slow.listener);
    free(large);
    stop();
}
