#include "conf/table.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/io.h"
#include "conf/value.h"

#define ROOM_LEAST (4u << 20)
#define ROOM_A_BYTE 128u /* of a text of many short settings libconfig takes some 40 for each */

/* --- names ---------------------------------------------------------------------------------------------------------- */

static const char *skip_dashes(const char *s)
{
    return s + strspn(s, "_-");
}

static bool same_n(const char *a, size_t n, const char *b)
{
    const char *end = a + n;

    for (;;) {
        while (a < end && (*a == '_' || *a == '-'))
            a++;
        b = skip_dashes(b);
        if (a == end || !*b)
            return a == end && !*b;
        if (tolower((unsigned char)*a++) != tolower((unsigned char)*b++))
            return false;
    }
}

bool conf_name_same(const char *a, const char *b)
{
    return same_n(a, strlen(a), b);
}

static bool is_also(const char *also, const char *name)
{
    while (also && *also) {
        size_t n = strcspn(also, " ");

        if (same_n(also, n, name))
            return true;
        also += n + strspn(also + n, " ");
    }
    return false;
}

const struct conf_key *conf_key_find(const struct conf_key *keys, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (conf_name_same(keys[i].name, name) || is_also(keys[i].also, name))
            return &keys[i];
    return NULL;
}

/* --- sentences ------------------------------------------------------------------------------------------------------ */

int conf_refuse(const struct conf_at *at, const config_setting_t *s, const char *fmt, ...)
{
    unsigned line = s ? config_setting_source_line(s) : 0;
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (line)
        buf_printf(at->err, "%s: line %u: %s", at->path, line, text);
    else
        buf_printf(at->err, "%s: %s", at->path, text);
    return -E_INVAL;
}

int conf_unknown(const struct conf_at *at, const config_setting_t *s, const char *near)
{
    const char *name = config_setting_name(s);

    if (near)
        return conf_refuse(at, s, "unknown setting \"%s\"; did you mean \"%s\"?", name ? name : "", near);
    return conf_refuse(at, s, "unknown setting \"%s\"; %s lists the settings", name ? name : "", at->all);
}

static const char *example(const struct conf_key *k)
{
    switch (k->type) {
    case CONF_SIZE: return "a size such as \"64M\"";
    case CONF_MS:
    case CONF_SECONDS: return "a time such as \"5s\"";
    case CONF_FLAG: return "true or false";
    case CONF_WORD: return "one of the words";
    case CONF_TEXT: return "a text in quotes";
    default: return "a number";
    }
}

/* --- values --------------------------------------------------------------------------------------------------------- */

static int text_number(const struct conf_key *k, const char *s, uint64_t *ret)
{
    int64_t ns;
    int r;

    if ((k->flags & CONF_NONE) && strcmp(s, "none") == 0) {
        *ret = 0;
        return 0;
    }
    if (k->type == CONF_SIZE)
        return conf_size(s, ret);
    if (k->type == CONF_COUNT)
        return conf_count(s, ret);
    if (*s == 'P') {
        if ((r = conf_iso_duration(s, &ns)) < 0)
            return r;
        return __builtin_mul_overflow((uint64_t)ns, k->type == CONF_MS ? 1000u : 1u, ret) ? -E_RANGE : 0;
    }
    r = conf_duration(s, &ns);
    if (r == 0)
        *ret = (uint64_t)ns / (k->type == CONF_MS ? 1000000u : 1000000000u);
    return r;
}

static int number_read(const struct conf_key *k, const config_setting_t *s, uint64_t *ret)
{
    uint64_t unit = k->unit ? k->unit : k->type == CONF_MS ? 1000 : 1;

    switch (config_setting_type(s)) {
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        if (config_setting_get_int64(s) < 0)
            return -E_RANGE;
        if (__builtin_mul_overflow((uint64_t)config_setting_get_int64(s), unit, ret))
            return -E_RANGE;
        return 0;
    case CONFIG_TYPE_STRING: return text_number(k, config_setting_get_string(s), ret);
    default: return -E_INVAL;
    }
}

static void number_put(const struct conf_key *k, uint64_t v, void *ret)
{
    char *to = (char *)ret + k->offset;

    assert(k->width == 1 || k->width == 4 || k->width == 8);
    if (k->width == 1)
        *to = (char)(v != 0);
    else if (k->width == 4)
        memcpy(to, &(uint32_t){(uint32_t)v}, 4);
    else
        memcpy(to, &v, 8);
}

static uint64_t number_of(const struct conf_key *k, const void *from)
{
    const char *at = (const char *)from + k->offset;
    uint64_t wide;
    uint32_t narrow;

    if (k->width == 1)
        return *at != 0;
    if (k->width == 4) {
        memcpy(&narrow, at, 4);
        return narrow;
    }
    memcpy(&wide, at, 8);
    return wide;
}

static int word_read(const struct conf_at *at, const struct conf_key *k, const config_setting_t *s, void *ret)
{
    const char *text = config_setting_get_string(s), *near;
    size_t n = 0;

    for (; text && k->words[n]; n++)
        if (conf_name_same(k->words[n], text)) {
            number_put(k, n + 1, ret);
            return 0;
        }
    near = text ? conf_nearest(text, k->words, n) : NULL;
    if (near)
        return conf_refuse(at, s, "%s: \"%.60s\" is not known; did you mean \"%s\"?", k->name, text, near);
    return conf_refuse(at, s, "%s is not understood; it may be %s", k->name, k->range);
}

static int text_take(const struct conf_at *at, const struct conf_key *k, const config_setting_t *s, void *ret)
{
    const char *text = config_setting_get_string(s);

    if (!text)
        return conf_refuse(at, s, "%s is not understood; write %s", k->name, example(k));
    if (strlen(text) >= k->width)
        return conf_refuse(at, s, "%s is too long; at most %u bytes", k->name, k->width - 1);
    memcpy((char *)ret + k->offset, text, strlen(text) + 1);
    return 0;
}

int conf_key_read(const struct conf_at *at, const config_setting_t *s, const struct conf_key *k, void *ret)
{
    uint64_t v = 0;
    int r;

    if (k->type == CONF_TEXT)
        return text_take(at, k, s, ret);
    if (k->type == CONF_WORD)
        return word_read(at, k, s, ret);
    if (k->type == CONF_FLAG) {
        if (config_setting_type(s) != CONFIG_TYPE_BOOL)
            return conf_refuse(at, s, "%s is not understood; write %s", k->name, example(k));
        number_put(k, config_setting_get_bool(s) != 0, ret);
        return 0;
    }
    r = number_read(k, s, &v);
    if (r == -E_INVAL)
        return conf_refuse(at, s, "%s is not understood; write %s", k->name, example(k));
    if (r == 0 && v == 0 && (k->flags & CONF_NONE)) {
        number_put(k, 0, ret);
        return 0;
    }
    if (r < 0 || v < k->min || v > k->max)
        return conf_refuse(at, s, "%s is out of range; it may be %s", k->name, k->range);
    number_put(k, v, ret);
    return 0;
}

static const char *near_key(const struct conf_key *keys, size_t n, const char *name)
{
    const char *words[CONF_KEYS_MAX];
    size_t shown = 0;

    for (size_t i = 0; i < n; i++)
        if (!(keys[i].flags & CONF_HIDDEN))
            words[shown++] = keys[i].name;
    return conf_nearest(name, words, shown);
}

int conf_group_read(const struct conf_at *at, const config_setting_t *group, const struct conf_key *keys,
                    size_t n, void *ret, unsigned *lines)
{
    uint64_t given = 0;
    int r = 0;

    assert(n <= CONF_KEYS_MAX);
    for (int i = 0; r == 0 && i < config_setting_length(group); i++) {
        const config_setting_t *s = config_setting_get_elem(group, (unsigned)i);
        const char *name = config_setting_name(s);
        const struct conf_key *k = conf_key_find(keys, n, name ? name : "");

        if (!k && at->unknown) {
            r = at->unknown(at->arg, s);
            continue;
        }
        if (!k)
            return conf_unknown(at, s, near_key(keys, n, name ? name : ""));
        if (given & 1ull << (k - keys))
            return conf_refuse(at, s, "%s is there twice; leave one out", k->name);
        given |= 1ull << (k - keys);
        r = conf_key_read(at, s, k, ret);
        if (r == 0 && lines)
            lines[k - keys] = config_setting_source_line(s);
    }
    return r;
}

/* --- printing ------------------------------------------------------------------------------------------------------- */

int conf_quote(const char *text, struct buf *out)
{
    int r = buf_puts(out, "\"");

    for (; r == 0 && *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (c == '"' || c == '\\')
            r = buf_printf(out, "\\%c", c);
        else if (c < 0x20)
            r = buf_printf(out, "\\x%02x", c);
        else
            r = buf_add(out, text, 1);
    }
    return r < 0 ? r : buf_puts(out, "\"");
}

void conf_span_print(int64_t seconds, char out[24])
{
    static const struct {
        int64_t s;
        const char *name;
    } units[] = {{86400, "d"}, {3600, "h"}, {60, "m"}, {1, "s"}};
    size_t i = 0;

    while (i + 1 < ARRAY_LEN(units) && (seconds == 0 || seconds % units[i].s != 0))
        i++;
    snprintf(out, 24, "%" PRId64 "%s", seconds / units[i].s, units[i].name);
}

static int size_print(uint64_t v, uint64_t step, struct buf *out)
{
    static const char letters[] = "KMGTPE";
    size_t i = 0;

    while (v && v % step == 0 && i + 1 < sizeof(letters)) {
        v /= step;
        i++;
    }
    if (i == 0)
        return buf_printf(out, "%" PRIu64 "%s", v, v > INT32_MAX ? "L" : "");
    return buf_printf(out, "\"%" PRIu64 "%c\"", v, letters[i - 1]);
}

bool conf_key_set(const struct conf_key *k, const void *from)
{
    if (k->type == CONF_TEXT)
        return *((const char *)from + k->offset) != 0;
    return number_of(k, from) != 0;
}

int conf_key_print(const struct conf_key *k, const void *from, struct buf *out)
{
    uint64_t v = k->type == CONF_TEXT ? 0 : number_of(k, from);
    char span[24];

    if (v == 0 && (k->flags & CONF_NONE))
        return buf_puts(out, "\"none\"");
    switch (k->type) {
    case CONF_TEXT: return conf_quote((const char *)from + k->offset, out);
    case CONF_SIZE: return size_print(v, 1024, out);
    case CONF_COUNT: return size_print(v, v % 1000000 ? UINT64_MAX : 1000, out);
    case CONF_FLAG: return buf_puts(out, v ? "true" : "false");
    case CONF_WORD: return buf_printf(out, "\"%s\"", v ? k->words[v - 1] : "");
    case CONF_MS:
        if (v % 1000)
            return buf_printf(out, "\"%" PRIu64 "ms\"", v);
        v /= 1000;
        break;
    default: break;
    }
    conf_span_print((int64_t)v, span);
    return buf_printf(out, "\"%s\"", span);
}

static void key_default(const struct conf_key *k, void *ret)
{
    char text[128];
    uint64_t v = 0;
    size_t n = 0, quoted = k->built_in[0] == '"';

    snprintf(text, sizeof(text), "%.*s", (int)(strlen(k->built_in) - 2 * quoted), k->built_in + quoted);
    if (k->type == CONF_TEXT) {
        snprintf((char *)ret + k->offset, k->width, "%s", text);
        return;
    }
    if (k->type == CONF_FLAG) {
        v = strcmp(text, "true") == 0;
    } else if (k->type == CONF_WORD) {
        while (k->words[n] && strcmp(k->words[n], text) != 0)
            n++;
        assert(k->words[n]);
        v = n + 1;
    } else {
        int r = text_number(k, text, &v);

        assert(r == 0 && v >= k->min && v <= k->max);
    }
    number_put(k, v, ret);
}

void conf_keys_default(const struct conf_key *keys, size_t n, void *ret)
{
    for (size_t i = 0; i < n; i++)
        key_default(&keys[i], ret);
}

static int comment(const char *text, const char *indent, struct buf *out)
{
    int r = 0;

    for (const char *p = text; r == 0 && *p;) {
        size_t n = strcspn(p, "\n");

        r = buf_printf(out, "%s# %.*s\n", indent, (int)n, p);
        p += n + (p[n] == '\n');
    }
    return r;
}

int conf_sample_keys(const struct conf_key *keys, size_t n, const char *indent, struct buf *out)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < n; i++) {
        if (keys[i].flags & CONF_HIDDEN)
            continue;
        r = comment(keys[i].doc, indent, out);
        if (r == 0 && keys[i].range)
            r = buf_printf(out, "%s# It may be %s.\n", indent, keys[i].range);
        if (r == 0)
            r = buf_printf(out, "%s%s = %s;\n", indent, keys[i].name, keys[i].built_in);
        if (r == 0 && i + 1 < n)
            r = buf_puts(out, "\n");
    }
    return r;
}

/* --- texts ---------------------------------------------------------------------------------------------------------- */

int conf_text_read(const char *path, size_t max, const char *all, struct buf *ret, struct buf *err)
{
    int r = io_read_file(io_real(), path, max, ret);

    if (r == -E_NOENT)
        return r;
    if (r < 0) {
        buf_printf(err, "%s: %s; make it readable, or remove it to use the built-in settings", path,
                   err_text(r));
        return r;
    }
    if (memchr(ret->data ? ret->data : (const uint8_t *)"", 0, ret->len)) {
        buf_printf(err, "%s: holds bytes that are no text; write it anew from %s", path, all);
        return -E_INVAL;
    }
    return buf_cstr(ret) ? 0 : -E_NOMEM;
}

/* libconfig would read another file in its place, and ends the process when that is a directory. */
static bool includes(const char *text, unsigned *ret_line)
{
    for (unsigned line = 1; text; line++) {
        text += strspn(text, " \t");
        if (strncmp(text, "@include", 8) == 0) {
            *ret_line = line;
            return true;
        }
        text = strchr(text, '\n');
        text = text ? text + 1 : NULL;
    }
    return false;
}

/* libconfig has no way to say that memory is out: it is asked where there is more than it takes. Other threads may take that meanwhile, so
 * it is a good deal more. */
static bool is_room(size_t text_len)
{
    size_t len = ROOM_LEAST + text_len * ROOM_A_BYTE;
    void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        return BROKEN(VARVE_BREAK_conf_room);
    munmap(p, len);
    return true;
}

int conf_text_parse(const char *text, const char *path, config_t *cfg, struct buf *err)
{
    unsigned line;

    if (!is_room(strlen(text)))
        return -E_NOMEM;

    if (includes(text, &line)) {
        buf_printf(err, "%s: line %u: @include is not understood; write all settings here", path, line);
        return -E_INVAL;
    }
    config_set_options(cfg, 0);
    if (config_read_string(cfg, text) == CONFIG_TRUE)
        return 0;
    buf_printf(err, "%s: line %d: %s; settings are written key = value;", path, config_error_line(cfg),
               config_error_text(cfg));
    return -E_INVAL;
}

/* --- ISO 8601 ------------------------------------------------------------------------------------------------------- */

int conf_iso_duration(const char *s, int64_t *ret_seconds)
{
    static const struct {
        char letter;
        bool time; /* behind T */
        int64_t s;
    } units[] = {
        {'Y', false, 365 * 86400}, {'M', false, 30 * 86400}, {'W', false, 7 * 86400}, {'D', false, 86400},
        {'H', true, 3600},         {'M', true, 60},          {'S', true, 1}};
    bool time = false, some = false;
    int64_t sum = 0;
    size_t at = 0;

    if (*s++ != 'P')
        return -E_INVAL;
    while (*s) {
        char *end;
        int64_t n;

        if (*s == 'T' && !time) {
            time = true;
            s++;
            continue;
        }
        if (*s < '0' || *s > '9' || strspn(s, "0123456789") > 15)
            return -E_INVAL;
        n = strtoll(s, &end, 10);
        while (at < ARRAY_LEN(units) && (units[at].letter != *end || units[at].time != time))
            at++;
        if (at == ARRAY_LEN(units))
            return -E_INVAL;
        if (__builtin_mul_overflow(n, units[at].s, &n) || __builtin_add_overflow(sum, n, &sum))
            return -E_RANGE;
        at++;
        some = true;
        s = end + 1;
    }
    *ret_seconds = sum;
    return some && s[-1] != 'T' ? 0 : -E_INVAL;
}
