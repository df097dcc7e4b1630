#include "plugin/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define BLOCK_BYTES 4096u
#define ALIGN 16u

struct arena_block {
    struct arena_block *next;
    size_t used, cap;
    _Alignas(16) uint8_t data[];
};

void arena_free(struct arena *a)
{
    for (struct arena_block *b = a->blocks, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    a->blocks = NULL;
}

void *arena_alloc(struct arena *a, size_t len)
{
    struct arena_block *b = a->blocks;
    size_t need = (len + ALIGN - 1) / ALIGN * ALIGN, cap = MAX_OF(need, BLOCK_BYTES);
    void *p;

    if (need < len)
        return NULL;
    if (!b || b->cap - b->used < need) {
        if (cap > SIZE_MAX - sizeof(*b) || !(b = calloc(1, sizeof(*b) + cap)))
            return NULL;
        b->cap = cap;
        b->next = a->blocks;
        a->blocks = b;
    }
    p = b->data + b->used;
    b->used += need;
    return p;
}

char *arena_dup(struct arena *a, const char *s)
{
    size_t n = s ? strlen(s) + 1 : 0;
    char *to = s ? arena_alloc(a, n) : NULL;

    return to ? memcpy(to, s, n) : NULL;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap, again;
    char *to = NULL;
    int n;

    va_start(ap, fmt);
    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, ap);
    if (n >= 0 && (to = arena_alloc(a, (size_t)n + 1)))
        vsnprintf(to, (size_t)n + 1, fmt, again);
    va_end(again);
    va_end(ap);
    return to;
}
