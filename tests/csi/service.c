#include "tests/csi/service.h"

#include <assert.h>
#include <stdio.h>

#include "base/clock.h"
#include "tests/csi/rig.h"
#include "tests/lib/test.h"

struct service service;

static void echo(struct grpc_call *c, void *arg)
{
    size_t len;
    const uint8_t *p = grpc_call_request(c, &len);

    (void)arg;
    service.left_ms = grpc_call_deadline(c) ? (grpc_call_deadline(c) - clock_mono_ns()) / 1000000 : -1;
    (void)grpc_call_send(c, p, len); /* who asked may be gone */
    grpc_call_end(c, GRPC_OK, NULL);
    grpc_call_end(c, GRPC_INTERNAL, "is ignored");
}

static void fail(struct grpc_call *c, void *arg)
{
    (void)arg;
    (void)grpc_call_send(c, "lost", 4);
    grpc_call_end(c, GRPC_NOT_FOUND, "%s", SERVICE_FAILS);
}

static void nothing(struct grpc_call *c, void *arg)
{
    (void)c;
    (void)arg;
}

static void linger(struct grpc_call *c, void *arg)
{
    (void)arg;
    atomic_fetch_add(&service.waiting, 1);
    while (!grpc_call_ended(c) && !service.go)
        pause_ms(2);
    atomic_fetch_add(&service.told, grpc_call_ended(c));
    grpc_call_send(c, "late", 4);
    grpc_call_end(c, GRPC_OK, NULL);
}

static void stream(struct grpc_call *c, void *arg)
{
    size_t len;
    const uint8_t *p = grpc_call_request(c, &len);
    uint32_t n = len == 4 ? get_le32(p) : 0;
    char msg[1000] = {0};

    (void)arg;
    for (uint32_t i = 0; i < n; i++) {
        put_le32(msg, i);
        if (grpc_call_send(c, msg, sizeof(msg)) < 0) {
            atomic_fetch_add(&service.told, 1);
            break;
        }
        atomic_fetch_add(&service.streamed, 1);
    }
    grpc_call_end(c, GRPC_OUT_OF_RANGE, "that was all");
}

static const struct grpc_method *find(void *arg, const char *path)
{
    static const struct grpc_method all[] = {{.path = "/t.T/Echo", .fn = echo},
                                             {.path = "/t.T/Fail", .fn = fail},
                                             {.path = "/t.T/Nothing", .fn = nothing},
                                             {.path = "/t.T/Linger", .fn = linger},
                                             {.path = "/t.T/Stream", .fn = stream, .streams = true}};

    (void)arg;
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (strcmp(path, all[i].path) == 0)
            return &all[i];
    return NULL;
}

void service_new(struct grpc_settings o)
{
    o.find = o.find_far = find;
    service.waiting = service.told = service.streamed = 0;
    service.left_ms = 0;
    service.go = false;
    snprintf(service.path, sizeof(service.path), "%s/s", test_dir());
    CHECK_OK(grpc_server_new(&o, &service.s));
    CHECK_OK(grpc_server_listen(service.s, service.path, 0600));
}

static void *serve(void *arg)
{
    (void)arg;
    assert(grpc_server_run(service.s) == 0);
    return NULL;
}

void service_run(void)
{
    CHECK(pthread_create(&service.thread, NULL, serve, NULL) == 0);
}

void service_stop(void)
{
    grpc_server_stop(service.s);
    pthread_join(service.thread, NULL);
    grpc_server_free(service.s);
}

void service_until(_Atomic unsigned *n, unsigned want)
{
    for (int i = 0; i < SERVICE_WAIT_MS && atomic_load(n) < want; i++)
        pause_ms(1);
    CHECK(atomic_load(n) >= want);
}
