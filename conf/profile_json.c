/* Profiles from JSON: the members become settings, and are read as those. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "conf/profile_terms.h"

#define DEPTH_MAX 12
#define PATH_ROOM 200

struct importing {
    struct profile *p;
    const char *path;
    struct buf *err;
};

static int refuse(struct importing *im, const char *where, const char *why)
{
    buf_printf(im->err, "%s: %s%s%s", im->path, where, *where ? ": " : "", why);
    return -E_INVAL;
}

/* What libconfig cannot have as a name, it cannot have as a setting. */
static bool name_ok(const char *s)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-*";

    return ((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || *s == '*') &&
           strspn(s, allowed) == strlen(s);
}

static int other(struct importing *im, const char *where, const json_t *v)
{
    char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
    int r = text ? profile_other(im->p, where, text) : -E_NOMEM;

    free(text);
    return r == -E_TOOBIG ? refuse(im, where, "too much that is not known; leave some of it out") : r;
}

static int add(struct importing *im, config_setting_t *parent, const char *name, const json_t *v,
               const char *where, int depth);

static int scalar(struct importing *im, config_setting_t *s, const json_t *v, const char *where)
{
    int ok = CONFIG_TRUE;

    if (json_is_integer(v))
        ok = config_setting_set_int64(s, json_integer_value(v));
    else if (json_is_real(v))
        ok = config_setting_set_float(s, json_real_value(v));
    else if (json_is_boolean(v))
        ok = config_setting_set_bool(s, json_is_true(v));
    else
        ok = config_setting_set_string(s, json_string_value(v));
    return ok == CONFIG_TRUE ? 0 : refuse(im, where, "cannot be kept");
}

static int members(struct importing *im, config_setting_t *s, const json_t *v, const char *where, int depth)
{
    const char *name;
    json_t *m;
    int r = 0;

    json_object_foreach((json_t *)(uintptr_t)v, name, m)
    {
        char below[PATH_ROOM];

        if (snprintf(below, sizeof(below), "%s%s%s", where, *where ? "." : "", name) >= (int)sizeof(below))
            return refuse(im, where, "a name in it is too long");
        r = name_ok(name) ? add(im, s, name, m, below, depth) : other(im, below, m);
        if (r < 0)
            break;
    }
    return r;
}

static int elements(struct importing *im, config_setting_t *s, const json_t *v, const char *where, int depth)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < json_array_size(v); i++)
        r = add(im, s, NULL, json_array_get(v, i), where, depth);
    return r;
}

static int add(struct importing *im, config_setting_t *parent, const char *name, const json_t *v,
               const char *where, int depth)
{
    int type = json_is_object(v)    ? CONFIG_TYPE_GROUP
               : json_is_array(v)   ? CONFIG_TYPE_LIST
               : json_is_integer(v) ? CONFIG_TYPE_INT64
               : json_is_real(v)    ? CONFIG_TYPE_FLOAT
               : json_is_boolean(v) ? CONFIG_TYPE_BOOL
                                    : CONFIG_TYPE_STRING;
    config_setting_t *s;

    if (json_is_null(v))
        return 0;
    if (depth >= DEPTH_MAX)
        return refuse(im, where, "is nested too deeply");
    if (json_is_string(v) && strlen(json_string_value(v)) != json_string_length(v))
        return refuse(im, where, "holds a NUL");
    s = config_setting_add(parent, name, type);
    if (!s)
        return refuse(im, where, "is there twice, or cannot be kept");
    if (type == CONFIG_TYPE_GROUP)
        return members(im, s, v, where, depth + 1);
    return type == CONFIG_TYPE_LIST ? elements(im, s, v, where, depth + 1) : scalar(im, s, v, where);
}

/* "schema": 1 is of our own; {"profile": {...}} has it inside. */
static const json_t *inner(json_t *root)
{
    json_t *p = json_object_get(root, "profile");

    json_object_del(root, "schema");
    return json_is_object(p) ? p : root;
}

static int read_tree(struct importing *im, json_t *root)
{
    cleanup(buf_free) struct buf why = {0};
    config_t cfg;
    int r;

    config_init(&cfg);
    r = members(im, config_root_setting(&cfg), inner(root), "", 0);
    if (r == 0)
        r = profile_of_tree(config_root_setting(&cfg), im->path, im->p, im->err);
    config_destroy(&cfg);
    if (r == 0 && (r = profile_check(im->p, &why)) < 0)
        buf_printf(im->err, "%s: %s", im->path, why.len && buf_cstr(&why) ? buf_cstr(&why) : err_text(r));
    return r;
}

int profile_parse_json(const char *text, size_t len, const char *path, struct profile **ret, struct buf *err)
{
    cleanup(profile_free) struct profile *p = profile_new();
    struct importing im = {.p = p, .path = path, .err = err};
    json_error_t e;
    json_t *root;
    int r;

    if (!p)
        return -E_NOMEM;
    if (len > PROFILE_TEXT_MAX)
        return refuse(&im, "", "is too long");
    root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &e);
    if (!root) {
        buf_printf(err, "%s: line %d: %s", path, e.line, e.text);
        return -E_INVAL;
    }
    r = json_is_object(root) ? read_tree(&im, root) : refuse(&im, "", "is no object");
    json_decref(root);
    if (r == 0)
        *ret = TAKE(p);
    return r;
}
