#include "base/uuid.h"

#include "base/hash.h"

struct uuid uuid_new(void)
{
    struct uuid u;

    hash_random(u.b, sizeof(u.b));
    u.b[6] = (uint8_t)((u.b[6] & 0x0f) | 0x40);
    u.b[8] = (uint8_t)((u.b[8] & 0x3f) | 0x80);
    return u;
}

static bool dash_before(size_t byte)
{
    return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

void uuid_format(const struct uuid *u, char out[UUID_TEXT_SIZE])
{
    static const char hex[] = "0123456789abcdef";

    for (size_t i = 0; i < sizeof(u->b); i++) {
        if (dash_before(i))
            *out++ = '-';
        *out++ = hex[u->b[i] >> 4];
        *out++ = hex[u->b[i] & 15];
    }
    *out = 0;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int uuid_parse(const char *s, struct uuid *ret)
{
    struct uuid u;

    for (size_t i = 0; i < sizeof(u.b); i++) {
        int hi, lo;

        if (dash_before(i) && *s++ != '-')
            return -E_INVAL;
        hi = hex_value(s[0]);
        lo = hi < 0 ? -1 : hex_value(s[1]);
        if (lo < 0)
            return -E_INVAL;
        u.b[i] = (uint8_t)(hi << 4 | lo);
        s += 2;
    }
    if (*s)
        return -E_INVAL;
    *ret = u;
    return 0;
}
