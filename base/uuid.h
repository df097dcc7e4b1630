/* base/uuid: random (version 4) UUIDs. */
#ifndef VARVE_BASE_UUID_H
#define VARVE_BASE_UUID_H

#include "base/base.h"

struct uuid {
    uint8_t b[16];
};
#define UUID_TEXT_SIZE 37

struct uuid uuid_new(void);
void uuid_format(const struct uuid *u, char out[UUID_TEXT_SIZE]); /* lower case, with dashes */
int uuid_parse(const char *s, struct uuid *ret);                  /* -E_INVAL */
static inline bool uuid_is_null(const struct uuid *u)
{
    static const struct uuid zero = {{0}};
    return memcmp(u, &zero, sizeof(*u)) == 0;
}
static inline bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

#endif
