/* plugin/pb: the fields of a message of protobuf, as they lie there, for what is passed on without being understood. Pure functions.
 *
 *   field   number << 3 | type (varint) | by type: 0 varint; 1 8 bytes; 2 length (varint), bytes; 5 4 bytes */
#ifndef VARVE_PLUGIN_PB_H
#define VARVE_PLUGIN_PB_H

#include "base/buf.h"

struct pb_field {
    uint32_t number;
    unsigned type;
    const uint8_t *at; /* with its head */
    size_t len;
    const uint8_t *bytes; /* type 2: what is in it */
    size_t bytes_len;
};
/* pb_next: the next one, from *p on. 1; 0: there is none any more; -E_PROTO: it is no message. */
int pb_next(const uint8_t **p, size_t *left, struct pb_field *ret);

/* pb_put_number, pb_put_text: one more field; none for 0, "". -E_NOMEM. */
int pb_put_number(struct buf *b, uint32_t field, uint64_t n);
int pb_put_text(struct buf *b, uint32_t field, const char *s);

#endif
