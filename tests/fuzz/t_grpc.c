/* What a client of varve-csi says: HTTP/2, gRPC, and the messages of every method. The store is not there, so each method ends where
 * it would ask the daemon. */
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/task.h"
#include "plugin/csi.h"
#include "plugin/csi_methods.h"
#include "plugin/grpc_i.h"
#include "plugin/pb.h"
#include "tests/fuzz/fuzz.h"

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

static struct csi driver = {.name = CSI_NAME,
                            .store = "/nonexistent/store",
                            .node = "node",
                            .topology = "topology.csi.varve.io/node",
                            .program = "/nonexistent/varve",
                            .endpoint = "/nonexistent/sock"};

static struct grpc_server *server(void)
{
    static struct grpc_server *s;

    if (!s) {
        struct grpc_settings o = {.find = csi_find, .arg = &driver, .workers = 1, .message_max = 65536};

        cond_init(&driver.wake); /* nobody sweeps */
        FUZZ_CHECK(csi_init(&driver) == 0);
        FUZZ_CHECK(grpc_server_new(&o, &s) == 0);
    }
    return s;
}

static void drain(struct grpc_conn *c)
{
    const uint8_t *p;
    size_t len = 1;

    while (len > 0)
        FUZZ_CHECK(grpc_conn_out(c, &p, &len) == 0);
}

/* What a controller reads of it without understanding it: pieces that lie one behind the other. */
static void fields(const uint8_t *p, size_t len)
{
    const uint8_t *at = p, *end = p + len;
    struct pb_field f;

    while (pb_next(&p, &len, &f) > 0) {
        FUZZ_CHECK(f.number > 0 && f.at == at && f.len > 0 && p == at + f.len);
        FUZZ_CHECK(f.bytes > at && f.bytes + f.bytes_len == p && p + len == end);
        at = p;
    }
}

void run_grpc(const uint8_t *p, size_t len)
{
    struct grpc_server *s = server();
    struct grpc_conn *c;
    int r = 0;

    fields(p, len);

    FUZZ_CHECK(grpc_conn_new(s, false, &c) == 0);
    for (size_t at = 0; at < len && r == 0; at += 512) {
        r = grpc_conn_in(c, p + at, MIN_OF(len - at, 512u));
        drain(c);
    }
    task_pool_idle(s->pool);
    grpc_server_settle(s);
    drain(c);
    grpc_conn_expire(c, INT64_MAX);
    drain(c);
    grpc_conn_free(c);
    FUZZ_CHECK(s->bytes == 0);
}

static void frame(struct buf *b, unsigned type, unsigned flags, const void *p, size_t len)
{
    uint8_t h[9] = {0, (uint8_t)(len >> 8), (uint8_t)len, (uint8_t)type, (uint8_t)flags, 0, 0,
                    0, type == 4 ? 0 : 1};

    FUZZ_CHECK(buf_add(b, h, sizeof(h)) == 0 && (len == 0 || buf_add(b, p, len) == 0));
}

/* One call of this method, with each kind of field in its message. */
static void seed_method(const char *service, const char *method)
{
    static const uint8_t msg[] = "\0\0\0\0\x1b\x0a\x01x\x12\x04\x08\x05\x10\x06\x1a\x04\x12\x00\x1a\x00\x22"
                                 "\x08\x0a\x01k\x12\x01v\x08\x03";
    cleanup(buf_free) struct buf b = {0};
    char path[160], name[96];
    nghttp2_hd_deflater *d;
    uint8_t block[512];
    ssize_t n;

    snprintf(path, sizeof(path), "/%s/%s", service, method);
    snprintf(name, sizeof(name), "%s", method);
    nghttp2_nv h[] = {{(uint8_t *)":method", (uint8_t *)"POST", 7, 4, 0},
                      {(uint8_t *)":path", (uint8_t *)path, 5, strlen(path), 0},
                      {(uint8_t *)"content-type", (uint8_t *)"application/grpc", 12, 16, 0},
                      {(uint8_t *)"grpc-timeout", (uint8_t *)"5S", 12, 2, 0}};

    FUZZ_CHECK(nghttp2_hd_deflate_new(&d, 4096) == 0);
    n = nghttp2_hd_deflate_hd(d, block, sizeof(block), h, ARRAY_LEN(h));
    nghttp2_hd_deflate_del(d);
    FUZZ_CHECK(n > 0 && buf_puts(&b, PREFACE) == 0);
    frame(&b, 4, 0, NULL, 0);
    frame(&b, 1, 4, block, (size_t)n);
    frame(&b, 0, 1, msg, sizeof(msg) - 1);
    fuzz_seed(name, b.data, b.len);
}

void seeds_grpc(void)
{
#define SEED(service, method) seed_method(service, #method);
    CSI_METHODS(SEED)
}
