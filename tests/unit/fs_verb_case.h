/* A store with a volume for tests of verbs and control files, without a mount. */
#ifndef VARVE_TESTS_UNIT_FS_VERB_CASE_H
#define VARVE_TESTS_UNIT_FS_VERB_CASE_H

#include <jansson.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "fs/verb.h"
#include "tests/lib/test.h"

struct verb_case {
    struct verb_env env;
    char path[4096];
    struct buf out, err;
    int exit_code;
};

static inline void case_open(struct verb_case *c)
{
    struct store_settings set = {.segment_bytes = 1 << 20, .segments = 4};
    cleanup(buf_free) struct buf err = {0};

    log_set_level(LOG_ERROR);
    snprintf(c->path, sizeof(c->path), "%s/s", test_dir());
    if (!store_path_is(c->path))
        CHECK_OK(store_create(io_real(), c->path, &set));
    if (verb_open(io_real(), c->path, 0, &c->env, &err) < 0)
        test_fail(__FILE__, __LINE__, "%s", buf_cstr(&err));
}

static inline void case_close(struct verb_case *c)
{
    CHECK_OK(verb_close(&c->env));
    buf_free(&c->out);
    buf_free(&c->err);
}

/* Words as the socket brings them; '^' stands for a blank inside a word. */
static inline int say(struct verb_case *c, const char *text)
{
    char copy[4096], *words[32], *save;
    size_t n = 0;

    snprintf(copy, sizeof(copy), "%s", text);
    for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
        for (char *p = w; *p; p++)
            *p = *p == '^' ? ' ' : *p;
        words[n++] = w;
    }
    buf_reset(&c->out);
    buf_reset(&c->err);
    return verb_serve(&c->env, n, words, (uint32_t)geteuid(), (uint32_t)getegid(), &c->out, &c->err,
                      &c->exit_code);
}

#define SAY(c, text)                                                                                         \
    do {                                                                                                     \
        if (say(c, text) < 0)                                                                                \
            test_fail(__FILE__, __LINE__, "%s: %s", text, buf_cstr(&(c)->err));                              \
    } while (0)
#define REFUSED(c, text, code, words)                                                                        \
    do {                                                                                                     \
        int refused_r_ = say(c, text);                                                                       \
        if (refused_r_ != (code) || !strstr(buf_cstr(&(c)->err), words))                                     \
            test_fail(__FILE__, __LINE__, "%s: %s: %s", text, err_name(refused_r_), buf_cstr(&(c)->err));    \
    } while (0)

/* The last answer as JSON; the caller frees it. Every object says its schema. */
static inline json_t *json_of(struct buf *b)
{
    json_t *o = json_loadb((const char *)b->data, b->len, 0, NULL);

    if (!o)
        test_fail(__FILE__, __LINE__, "no JSON: %s", buf_cstr(b));
    CHECK(json_integer_value(json_object_get(o, "schema")) == 1);
    return o;
}

static inline void unref(json_t **o)
{
    json_decref(*o);
}

static inline json_int_t int_of(const json_t *o, const char *key)
{
    CHECK(json_is_integer(json_object_get(o, key)));
    return json_integer_value(json_object_get(o, key));
}

static inline const char *str_of(const json_t *o, const char *key)
{
    CHECK(json_is_string(json_object_get(o, key)));
    return json_string_value(json_object_get(o, key));
}

static inline struct vol *vol_of(struct verb_case *c, const char *name)
{
    struct vol *v;

    CHECK_OK(volume_find(c->env.store, name, &v));
    return v;
}

/* A file of the volume's root with these bytes at the offset. */
static inline void put_file(struct verb_case *c, const char *volume, const char *name, const char *bytes,
                            uint64_t off)
{
    struct vfs_ctx ctx = {.umask = 022};
    struct vol *v = vol_of(c, volume);
    struct vfs_attr a;
    vfs_node root = vfs_node_make(v->rec.live_view, INO_ROOT);

    if (vfs_lookup(v, root, name, &a) < 0)
        CHECK_OK(vfs_mknod(v, &ctx, root, name, S_IFREG | 0644, 0, &a));
    CHECK_OK(vfs_write(v, &ctx, a.node, bytes, strlen(bytes), off, false));
}

#endif
