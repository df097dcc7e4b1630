/* A gRPC server with a few methods of the service t.T, one in a process:
 *   Echo     what it was sent                Fail    NOT_FOUND with a sentence that must be encoded
 *   Nothing  no answer at all                Linger  waits until nobody waits for it any more, or `go`
 *   Stream   as many messages of 1,000 bytes, numbered, as the request says (u32), then OUT_OF_RANGE */
#ifndef VARVE_TESTS_CSI_SERVICE_H
#define VARVE_TESTS_CSI_SERVICE_H

#include <pthread.h>
#include <stdatomic.h>

#include "plugin/grpc.h"

#define SERVICE_WAIT_MS 10000
#define SERVICE_FAILS "name: 100% of \xc3\xa9\n is gone"

extern struct service {
    struct grpc_server *s;
    pthread_t thread;
    char path[256]; /* its socket */
    _Atomic unsigned waiting, told, streamed;
    _Atomic int64_t left_ms; /* of the last Echo that said how long it waits; -1: it did not */
    _Atomic bool go;
} service;

/* service_new(o): listens at service.path, with `find` and counts of zero; service_run: in a thread of its own, from now on. */
void service_new(struct grpc_settings o);
void service_run(void);
void service_stop(void); /* and is freed */

void service_until(_Atomic unsigned *n, unsigned want);

#endif
