/* plugin/grpc_wire: the bytes of gRPC that are not HTTP/2's. Pure functions.
 *
 *   message   compressed u8 (0, 1) | length u32 be | bytes */
#ifndef VARVE_PLUGIN_GRPC_WIRE_H
#define VARVE_PLUGIN_GRPC_WIRE_H

#include "base/buf.h"

#define GRPC_PREFIX 5

/* grpc_wire_timeout: grpc-timeout: 1 to 8 digits and H, M, S, m, u or n, as nanoseconds. -E_INVAL. */
int grpc_wire_timeout(const char *s, size_t len, int64_t *ret_ns);

/* grpc_wire_percent: a message for a header: bytes outside of ' ' to '~', and '%', as %XX. -E_NOMEM. */
int grpc_wire_percent(struct buf *b, const char *s);

/* grpc_wire_is_grpc: application/grpc, application/grpc+proto, application/grpc;charset=... in any case of letters. */
bool grpc_wire_is_grpc(const char *type, size_t len);

/* A request as it comes: exactly one message. in is given by the caller, and grows by what comes, not by what is announced. */
struct grpc_wire_in {
    uint8_t prefix[GRPC_PREFIX];
    unsigned have; /* bytes of the prefix */
    struct buf in;
};
enum grpc_wire_state { GRPC_WIRE_NONE, GRPC_WIRE_PART, GRPC_WIRE_WHOLE };
/* grpc_wire_add: -E_NOTSUP compressed; -E_TOOBIG above max; -E_PROTO more than one message, or a first byte that is neither 0 nor 1;
 * -E_NOMEM. After an error nothing more may be added. */
int grpc_wire_add(struct grpc_wire_in *w, const uint8_t *p, size_t len, size_t max);
enum grpc_wire_state grpc_wire_state(const struct grpc_wire_in *w);

#endif
