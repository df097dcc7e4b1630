/* plugin/arena: memory of one call, given back at once at its end. The zero state is an empty arena. One thread. */
#ifndef VARVE_PLUGIN_ARENA_H
#define VARVE_PLUGIN_ARENA_H

#include "base/base.h"

struct arena {
    struct arena_block *blocks;
};

void arena_free(struct arena *a); /* fit for cleanup() */

/* Zeroed, aligned for anything. NULL: out of memory. */
void *arena_alloc(struct arena *a, size_t len);
char *arena_dup(struct arena *a, const char *s); /* s NULL: NULL */
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
