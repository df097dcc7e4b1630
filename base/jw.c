#include "base/jw.h"

#include <inttypes.h>

#include "base/clock.h"

struct jw jw_begin(struct buf *out, bool lines)
{
    return (struct jw){.out = out, .lines = lines};
}

static void add(struct jw *j, const void *p, size_t len)
{
    if (j->err == 0)
        j->err = buf_add(j->out, p, len);
}

static void adds(struct jw *j, const char *s)
{
    add(j, s, strlen(s));
}

static void indent(struct jw *j)
{
    if (!j->lines)
        return;
    adds(j, "\n");
    for (unsigned i = 0; i < j->depth; i++)
        adds(j, "  ");
}

size_t utf8_length(const uint8_t *p, size_t len)
{
    static const struct {
        uint8_t mask, lead;
        uint32_t min;
    } forms[] = {{0x80, 0x00, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};

    for (size_t n = 0; n < ARRAY_LEN(forms) && n < len; n++) {
        uint32_t c;

        if ((p[0] & forms[n].mask) != forms[n].lead)
            continue;
        c = p[0] & (uint8_t)~forms[n].mask;
        for (size_t i = 1; i <= n; i++) {
            if ((p[i] & 0xc0) != 0x80)
                return 0;
            c = c << 6 | (p[i] & 0x3f);
        }
        return c < forms[n].min || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) ? 0 : n + 1;
    }
    return 0;
}

static void escaped(struct jw *j, uint8_t c)
{
    static const char letters[][3] = {
        ['"'] = "\\\"", ['\\'] = "\\\\", ['\n'] = "\\n", ['\t'] = "\\t", ['\r'] = "\\r"};

    if (c < sizeof(letters) / sizeof(letters[0]) && letters[c][0])
        adds(j, letters[c]);
    else if (j->err == 0)
        j->err = buf_printf(j->out, "\\u%04x", c);
}

static void quoted(struct jw *j, const uint8_t *p, size_t len)
{
    adds(j, "\"");
    while (len > 0) {
        size_t n = utf8_length(p, len);

        if (n == 0)
            adds(j, "\xef\xbf\xbd");
        else if (n == 1 && (*p < 0x20 || *p == 0x7f || *p == '"' || *p == '\\'))
            escaped(j, *p);
        else
            add(j, p, n);
        n += n == 0;
        p += n;
        len -= n;
    }
    adds(j, "\"");
}

static void member(struct jw *j, const char *key)
{
    if (j->depth > 0) {
        if (j->some[j->depth - 1])
            adds(j, j->lines ? "," : ", ");
        j->some[j->depth - 1] = true;
        indent(j);
        assert((key != NULL) == (j->ends[j->depth - 1] == '}'));
    }
    if (!key)
        return;
    quoted(j, (const uint8_t *)key, strlen(key));
    adds(j, ": ");
}

static void open_value(struct jw *j, const char *key, const char *begin, char end)
{
    member(j, key);
    adds(j, begin);
    assert(j->depth < JW_DEPTH_MAX);
    j->some[j->depth] = false;
    j->ends[j->depth++] = end;
}

void jw_object(struct jw *j, const char *key)
{
    open_value(j, key, "{", '}');
}

void jw_array(struct jw *j, const char *key)
{
    open_value(j, key, "[", ']');
}

void jw_close(struct jw *j)
{
    assert(j->depth > 0);
    j->depth--;
    if (j->some[j->depth])
        indent(j);
    add(j, &j->ends[j->depth], 1);
}

int jw_end(struct jw *j)
{
    assert(j->depth == 0);
    if (j->lines)
        adds(j, "\n");
    return j->err;
}

void jw_strn(struct jw *j, const char *key, const void *p, size_t len)
{
    member(j, key);
    quoted(j, p, len);
}

void jw_str(struct jw *j, const char *key, const char *s)
{
    if (s)
        jw_strn(j, key, s, strlen(s));
    else
        jw_null(j, key);
}

static bool is_utf8(const uint8_t *p, size_t len)
{
    for (size_t n; len > 0; p += n, len -= n)
        if ((n = utf8_length(p, len)) == 0)
            return false;
    return true;
}

void jw_name(struct jw *j, const char *key, const void *p, size_t len)
{
    const uint8_t *b = p;

    jw_strn(j, key, p, len);
    if (is_utf8(p, len) || !key)
        return;
    adds(j, j->lines ? "," : ", ");
    indent(j);
    adds(j, "\"");
    adds(j, key);
    adds(j, "_hex\": \"");
    for (size_t i = 0; i < len && j->err == 0; i++)
        j->err = buf_printf(j->out, "%02x", b[i]);
    adds(j, "\"");
}

void jw_u64(struct jw *j, const char *key, uint64_t v)
{
    member(j, key);
    if (j->err == 0)
        j->err = buf_printf(j->out, "%" PRIu64, v);
}

void jw_i64(struct jw *j, const char *key, int64_t v)
{
    member(j, key);
    if (j->err == 0)
        j->err = buf_printf(j->out, "%" PRId64, v);
}

void jw_bool(struct jw *j, const char *key, bool v)
{
    member(j, key);
    adds(j, v ? "true" : "false");
}

void jw_null(struct jw *j, const char *key)
{
    member(j, key);
    adds(j, "null");
}

void jw_time(struct jw *j, const char *key, int64_t wall_ns)
{
    char text[CLOCK_TEXT_SIZE];

    if (wall_ns == 0) {
        jw_null(j, key);
        return;
    }
    clock_format(wall_ns, text);
    jw_str(j, key, text);
}
