#include "plugin/grpc_wire.h"

#include <strings.h>

int grpc_wire_timeout(const char *s, size_t len, int64_t *ret_ns)
{
    static const struct {
        char unit;
        int64_t ns;
    } units[] = {{'H', 3600000000000}, {'M', 60000000000}, {'S', 1000000000},
                 {'m', 1000000},       {'u', 1000},        {'n', 1}};
    int64_t n = 0;

    if (len < 2 || len > 9)
        return -E_INVAL;
    for (size_t i = 0; i + 1 < len; i++) {
        if (s[i] < '0' || s[i] > '9')
            return -E_INVAL;
        n = n * 10 + (s[i] - '0');
    }
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (units[i].unit == s[len - 1]) {
            int64_t most = INT64_MAX / units[i].ns;

            *ret_ns = MIN_OF(n, most) * units[i].ns;
            return 0;
        }
    return -E_INVAL;
}

int grpc_wire_percent(struct buf *b, const char *s)
{
    int r = 0;

    for (; *s && r == 0; s++) {
        unsigned char ch = (unsigned char)*s;

        if (ch >= ' ' && ch <= '~' && ch != '%')
            r = buf_add(b, s, 1);
        else
            r = buf_printf(b, "%%%02X", ch);
    }
    return r;
}

bool grpc_wire_is_grpc(const char *type, size_t len)
{
    static const char want[] = "application/grpc";
    size_t n = sizeof(want) - 1;

    return len >= n && strncasecmp(type, want, n) == 0 &&
           (len == n || type[n] == '+' || type[n] == ';' || type[n] == ' ');
}

/* The prefix is complete. */
static int prefix_check(const struct grpc_wire_in *w, size_t max)
{
    if (w->prefix[0] > 1)
        return -E_PROTO;
    if (get_be32(w->prefix + 1) > max && !BROKEN(VARVE_BREAK_grpc_size))
        return -E_TOOBIG;
    return w->prefix[0] == 1 ? -E_NOTSUP : 0;
}

int grpc_wire_add(struct grpc_wire_in *w, const uint8_t *p, size_t len, size_t max)
{
    size_t n = MIN_OF(len, GRPC_PREFIX - w->have);
    int r;

    if (n > 0) {
        memcpy(w->prefix + w->have, p, n);
        w->have += (unsigned)n;
        p += n;
        len -= n;
        if (w->have == GRPC_PREFIX && (r = prefix_check(w, max)) < 0)
            return r;
    }
    if (len == 0)
        return 0;
    if (len > get_be32(w->prefix + 1) - w->in.len)
        return -E_PROTO;
    return buf_add(&w->in, p, len);
}

enum grpc_wire_state grpc_wire_state(const struct grpc_wire_in *w)
{
    if (w->have == 0)
        return GRPC_WIRE_NONE;
    return w->have == GRPC_PREFIX && w->in.len == get_be32(w->prefix + 1) ? GRPC_WIRE_WHOLE : GRPC_WIRE_PART;
}
