#include "conf/store.h"

#include <inttypes.h>
#include <libconfig.h>
#include <stdio.h>

#include "base/io.h"
#include "conf/value.h"

#define CONF_SIZE_MAX 65536

enum kind { KIND_SIZE, KIND_COUNT, KIND_MS };

static const struct key {
    const char *name;
    enum kind kind;
    uint64_t min, max;
    size_t offset;
    bool wide; /* uint64_t, else uint32_t */
    const char *range;
} keys[] = {
    {"flush_interval", KIND_MS, 10, 3600000, offsetof(struct conf_store, flush_ms), true, "10ms to 1h"},
    {"unsynced_limit", KIND_SIZE, 1 << 20, 1ull << 40, offsetof(struct conf_store, dirty_bytes), true,
     "1M to 1T"},
    {"delta_limit", KIND_SIZE, 1 << 20, 1ull << 34, offsetof(struct conf_store, delta_bytes), true,
     "1M to 16G"},
    {"small_file", KIND_SIZE, 0, 16384, offsetof(struct conf_store, inline_bytes), false, "0 to 16K"},
    {"open_objects", KIND_COUNT, 16, 65536, offsetof(struct conf_store, fd_cache), false, "16 to 65536"},
};

static const struct key *key_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (strcmp(keys[i].name, name) == 0)
            return &keys[i];
    return NULL;
}

static const char *key_nearest(const char *name)
{
    const char *words[ARRAY_LEN(keys)];

    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        words[i] = keys[i].name;
    return conf_nearest(name, words, ARRAY_LEN(keys));
}

/* A number, or a string with a unit. */
static int value_read(const struct key *k, const config_setting_t *s, uint64_t *ret)
{
    int64_t ns;
    int r;

    switch (config_setting_type(s)) {
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        if (config_setting_get_int64(s) < 0)
            return -E_RANGE;
        *ret = (uint64_t)config_setting_get_int64(s);
        if (k->kind == KIND_MS && __builtin_mul_overflow(*ret, 1000, ret))
            return -E_RANGE;
        return 0;
    case CONFIG_TYPE_STRING:
        if (k->kind == KIND_SIZE)
            return conf_size(config_setting_get_string(s), ret);
        if (k->kind == KIND_COUNT)
            return conf_count(config_setting_get_string(s), ret);
        r = conf_duration(config_setting_get_string(s), &ns);
        if (r == 0)
            *ret = (uint64_t)ns / 1000000;
        return r;
    default: return -E_INVAL;
    }
}

static const char *kind_example(enum kind k)
{
    return k == KIND_SIZE ? "a size such as \"64M\"" : k == KIND_MS ? "a time such as \"5s\"" : "a number";
}

static int unknown_key(const config_setting_t *s, const char *path, struct buf *err)
{
    const char *name = config_setting_name(s), *near = key_nearest(name);

    buf_printf(err, "%s: line %u: unknown setting \"%s\"; ", path, config_setting_source_line(s), name);
    if (near)
        buf_printf(err, "did you mean \"%s\"?", near);
    else
        buf_puts(err, "conf/store.conf.sample lists the settings");
    return -E_INVAL;
}

static int setting_take(const config_setting_t *s, const char *path, struct conf_store *c, struct buf *err)
{
    const struct key *k = key_find(config_setting_name(s));
    uint64_t v = 0;
    int r;

    if (!k)
        return unknown_key(s, path, err);
    r = value_read(k, s, &v);
    if (r == -E_INVAL) {
        buf_printf(err, "%s: line %u: %s is not understood; write %s", path, config_setting_source_line(s),
                   k->name, kind_example(k->kind));
        return r;
    }
    if (r < 0 || v < k->min || v > k->max) {
        buf_printf(err, "%s: line %u: %s is out of range; it may be %s", path, config_setting_source_line(s),
                   k->name, k->range);
        return -E_INVAL;
    }
    if (k->wide)
        memcpy((char *)c + k->offset, &v, sizeof(v));
    else
        memcpy((char *)c + k->offset, &(uint32_t){(uint32_t)v}, sizeof(uint32_t));
    return 0;
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

static int parse(config_t *cfg, const char *text, const char *path, struct conf_store *c, struct buf *err)
{
    const config_setting_t *root;
    unsigned line;
    int r = 0;

    if (includes(text, &line)) {
        buf_printf(err, "%s: line %u: @include is not understood; write all settings here", path, line);
        return -E_INVAL;
    }
    if (config_read_string(cfg, text) != CONFIG_TRUE) {
        buf_printf(err, "%s: line %d: %s; settings are written key = value;", path, config_error_line(cfg),
                   config_error_text(cfg));
        return -E_INVAL;
    }
    root = config_root_setting(cfg);
    for (int i = 0; r == 0 && i < config_setting_length(root); i++)
        r = setting_take(config_setting_get_elem(root, (unsigned)i), path, c, err);
    return r;
}

int conf_store_parse(const char *text, const char *path, struct conf_store *ret, struct buf *err)
{
    struct conf_store c = {0};
    config_t cfg;
    int r;

    config_init(&cfg);
    r = parse(&cfg, text, path, &c, err);
    config_destroy(&cfg);
    if (r == 0)
        *ret = c;
    return r;
}

int conf_store_read(const char *path, struct conf_store *ret, struct buf *err)
{
    cleanup(buf_free) struct buf text = {0};
    int r = io_read_file(io_real(), path, CONF_SIZE_MAX, &text);

    if (r == -E_NOENT) {
        *ret = (struct conf_store){0};
        return 0;
    }
    if (r < 0) {
        buf_printf(err, "%s: %s; make it readable, or remove it to use the built-in settings", path,
                   err_text(r));
        return r;
    }
    if (memchr(text.data ? text.data : (const uint8_t *)"", 0, text.len)) {
        buf_printf(err, "%s: holds bytes that are no text; write it anew from conf/store.conf.sample", path);
        return -E_INVAL;
    }
    if (!buf_cstr(&text))
        return -E_NOMEM;
    return conf_store_parse(buf_cstr(&text), path, ret, err);
}
