/* conf/value: sizes, counts, times and words as people write them. Pure functions. */
#ifndef VARVE_CONF_VALUE_H
#define VARVE_CONF_VALUE_H

#include "base/base.h"

/* conf_size: "512", "10G", "1.5T", "64KiB": bytes; K M G T P E are powers of 1024, i and B may follow. -E_INVAL, -E_RANGE. */
int conf_size(const char *s, uint64_t *ret_bytes);
/* conf_count: the same with powers of 1000, without B. */
int conf_count(const char *s, uint64_t *ret);
/* conf_duration: "5s", "250ms", "10m", "24h", "7d", "2w"; a plain number is seconds. -E_INVAL, -E_RANGE. */
int conf_duration(const char *s, int64_t *ret_ns);

/* conf_nearest: the word of the list nearest to s (letters left out, added, swapped), NULL when none is near. */
const char *conf_nearest(const char *s, const char *const *words, size_t n);

/* conf_size_text: "10.0 GiB", "512 B"; at most CONF_SIZE_TEXT bytes. conf_duration_text: "5s", "1m30s", "2h05m", "3d04h". */
#define CONF_SIZE_TEXT 16
void conf_size_text(uint64_t bytes, char out[CONF_SIZE_TEXT]);
void conf_duration_text(int64_t ns, char out[CONF_SIZE_TEXT]);

#endif
