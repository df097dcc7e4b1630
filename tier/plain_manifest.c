#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "tier/crypt.h"
#include "tier/plain_i.h"

#define PIECE (1u << 20)
#define LINE_MAX_BYTES (256u << 20) /* a file may have thousands of attributes */

static unsigned rank_of(char c)
{
    return c == 0 ? 0 : c == '/' ? 1 : 2 + (unsigned char)c;
}

int plain_path_cmp(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return (int)rank_of(*a) - (int)rank_of(*b);
}

/* --- reading -------------------------------------------------------------------------------------------------------- */

/* The next line without its newline, ended by a NUL; NULL at the end. It stays until the next call. */
static int next_line(struct plain_old *o, char **ret)
{
    size_t had, seen = o->at; /* seen: no line ends before */
    uint8_t *nl;
    int r;

    *ret = NULL;
    for (;;) {
        nl = seen < o->room.len ? memchr(o->room.data + seen, '\n', o->room.len - seen) : NULL;
        if (nl)
            break;
        seen = o->room.len - o->at;
        if (o->at) {
            memmove(o->room.data, o->room.data + o->at, o->room.len - o->at);
            o->room.len -= o->at;
            o->at = 0;
        }
        if (o->room.len > LINE_MAX_BYTES)
            return -E_CORRUPT;
        had = o->room.len;
        if ((r = backend_get(o->b, o->c, o->name, o->off, PIECE, &o->room)) < 0)
            return r;
        if (o->room.len == had)
            return had ? -E_CORRUPT : 0;
        o->off += o->room.len - had;
    }
    *nl = 0;
    *ret = (char *)o->room.data + o->at;
    o->at = (size_t)(nl - o->room.data) + 1;
    return 0;
}

static const char *text_of(const json_t *j, const char *key)
{
    const char *s = json_string_value(json_object_get(j, key));

    return s ? s : "";
}

static uint64_t num_of(const json_t *j, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(j, key));
}

/* A path that is no text stands in hexadecimal beside. */
static int path_of(const json_t *j, struct buf *ret)
{
    const char *hex = text_of(j, "path_hex"), *text = text_of(j, "path");
    size_t n = strlen(hex) / 2;
    int r;

    buf_reset(ret);
    if (!*hex)
        return buf_add(ret, text, strlen(text) + 1);
    if ((r = buf_add_zero(ret, n + 1)) < 0)
        return r;
    return hex_parse(hex, ret->data, n) < 0 || strlen((char *)ret->data) != n ? -E_CORRUPT : 0;
}

static int entry_of(const json_t *j, struct plain_entry *e)
{
    int r = path_of(j, &e->path);

    e->file = strcmp(text_of(j, "type"), "file") == 0;
    e->gone = json_is_true(json_object_get(j, "gone"));
    snprintf(e->object, sizeof(e->object), "%s", text_of(j, "object"));
    snprintf(e->sha, sizeof(e->sha), "%s", text_of(j, "sha256"));
    e->ino = num_of(j, "ino");
    e->gen = strtoull(text_of(j, "generation"), NULL, 16);
    e->change = num_of(j, "change");
    e->size = num_of(j, "size");
    e->ctime_ns = (int64_t)num_of(j, "ctime_ns");
    return r == 0 && e->object[0] && backend_name_check(e->object) < 0 ? -E_CORRUPT : r;
}

int plain_old_next(struct plain_old *o)
{
    char *line;
    json_t *j;
    int r = o->name[0] ? next_line(o, &line) : 0;

    o->have = false;
    if (r < 0 || !o->name[0])
        return r;
    j = line ? json_loads(line, 0, NULL) : NULL;
    if (!json_is_object(j)) /* without its end it is none */
        r = -E_CORRUPT;
    else if (!json_object_get(j, "end"))
        r = entry_of(j, &o->e);
    if (r == 0)
        o->have = !json_object_get(j, "end");
    json_decref(j);
    return r;
}

/* Its last line is read first: one that was cut is no manifest. */
static int end_there(struct plain_old *o)
{
    cleanup(buf_free) struct buf b = {0};
    struct backend_stat st;
    int r = backend_stat(o->b, o->c, o->name, &st);
    uint64_t from = st.size > 256 ? st.size - 256 : 0;

    if (r == 0)
        r = backend_get(o->b, o->c, o->name, from, 256, &b);
    if (r == 0 && (b.len == 0 || b.data[b.len - 1] != '\n' || !memmem(b.data, b.len, "{\"end\"", 6)))
        r = -E_CORRUPT;
    return r;
}

static int take_name(void *arg, const char *name, const struct backend_stat *st)
{
    struct plain_old *o = arg;

    (void)st;
    snprintf(o->name, sizeof(o->name), "%s", name);
    return 0;
}

int plain_old_open(struct plain_old *o)
{
    int r = backend_list(o->b, o->c, "manifest/", "", take_name, o);
    char *line;
    json_t *j;

    if (r < 0 || !o->name[0])
        return r;
    if ((r = end_there(o)) < 0 || (r = next_line(o, &line)) < 0)
        return r;
    j = line ? json_loads(line, 0, NULL) : NULL;
    o->number = (uint32_t)num_of(j, "export");
    snprintf(o->snapshot, sizeof(o->snapshot), "%s", text_of(j, "snapshot"));
    if (num_of(j, "schema") != 1)
        r = num_of(j, "schema") > 1 ? -E_REPO_NEWER : -E_CORRUPT;
    if (o->number != strtoul(o->name + strlen("manifest/"), NULL, 10))
        r = -E_CORRUPT;
    json_decref(j);
    return r < 0 ? r : plain_old_next(o);
}

void plain_old_release(struct plain_old *o)
{
    buf_free(&o->room);
    buf_free(&o->e.path);
}
