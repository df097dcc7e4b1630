/* base/buf: a growable run of bytes. The zero state is an empty buffer. Not thread safe; one owner. */
#ifndef VARVE_BASE_BUF_H
#define VARVE_BASE_BUF_H

#include "base/base.h"

struct buf {
    uint8_t *data; /* owned; NULL while empty */
    size_t len;
    size_t cap;
};

void buf_free(struct buf *b); /* frees the contents and returns to the zero state; fit for cleanup() */
static inline void buf_reset(struct buf *b)
{
    b->len = 0;
} /* keeps the memory */

/* buf_reserve(b, extra): room for extra more bytes. -E_NOMEM; then b is as it was. */
int buf_reserve(struct buf *b, size_t extra);

/* Appends. -E_NOMEM; then b is as it was. buf_printf keeps a NUL after len (not counted). */
int buf_add(struct buf *b, const void *p, size_t len);
int buf_add_zero(struct buf *b, size_t len);
int buf_puts(struct buf *b, const char *s);
int buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* buf_cstr(b): the contents with a NUL after them ("" when empty); NULL when memory is out. Valid until b changes. */
const char *buf_cstr(struct buf *b);

/* Behind its last byte. One that never had any has no address to reckon with: NULL, as data. */
static inline const uint8_t *buf_end(const struct buf *b)
{
    return b->len ? b->data + b->len : b->data;
}

#endif
