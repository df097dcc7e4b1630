#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void buf_free(struct buf *b)
{
    free(b->data);
    *b = (struct buf){0};
}

int buf_reserve(struct buf *b, size_t extra)
{
    size_t need, cap = b->cap;
    uint8_t *p;

    assert(b->len <= b->cap);
    if (__builtin_add_overflow(b->len, extra, &need) || need > SIZE_MAX / 2)
        return -E_NOMEM;
    if (need <= cap)
        return 0;
    cap = MAX_OF(need, MAX_OF((size_t)64, cap + cap / 2));
    p = realloc(b->data, cap);
    if (!p)
        return -E_NOMEM;
    b->data = p;
    b->cap = cap;
    return 0;
}

int buf_add(struct buf *b, const void *p, size_t len)
{
    int r;

    if (len == 0)
        return 0;
    r = buf_reserve(b, len);
    if (r < 0)
        return r;
    memcpy(b->data + b->len, p, len);
    b->len += len;
    return 0;
}

int buf_add_zero(struct buf *b, size_t len)
{
    int r;

    if (len == 0)
        return 0;
    r = buf_reserve(b, len);
    if (r < 0)
        return r;
    memset(b->data + b->len, 0, len);
    b->len += len;
    return 0;
}

int buf_puts(struct buf *b, const char *s)
{
    return buf_add(b, s, strlen(s));
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    int n, r;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    assert(n >= 0);
    r = buf_reserve(b, (size_t)n + 1);
    if (r < 0)
        return r;
    va_start(ap, fmt);
    vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
    return 0;
}

const char *buf_cstr(struct buf *b)
{
    if (buf_reserve(b, 1) < 0)
        return NULL;
    b->data[b->len] = 0;
    return (const char *)b->data;
}
