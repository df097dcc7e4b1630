/* The profiles of this machine: a file each, and those that are built in. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/array.h"
#include "base/io.h"
#include "base/uuid.h"
#include "conf/profile.h"
#include "conf/repo.h"

#define SUFFIX ".conf"

static int dir_of(char out[PATH_MAX])
{
    return conf_place("XDG_CONFIG_HOME", ".config", "/etc", "profiles", out);
}

static int file_of(const char *name, char out[PATH_MAX])
{
    int r = profile_name_check(name);
    size_t n;

    if (r == 0)
        r = dir_of(out);
    if (r < 0)
        return r;
    n = strlen(out);
    return snprintf(out + n, PATH_MAX - n, "/%s" SUFFIX, name) < (int)(PATH_MAX - n) ? 0 : -E_NAMETOOLONG;
}

static const char *built_in(const char *name)
{
    const char *n, *text;

    for (size_t i = 0; (text = profile_built_in(i, &n)); i++)
        if (strcmp(n, name) == 0)
            return text;
    return NULL;
}

/* A file's name is the profile's. */
static int named(struct profile *p, const char *name, const char *path, struct buf *err)
{
    if (!p->name[0])
        snprintf(p->name, sizeof(p->name), "%s", name);
    if (strcmp(p->name, name) == 0)
        return 0;
    buf_printf(err, "%s: name \"%s\" and the file's name contradict each other; rename one of them", path,
               p->name);
    return -E_INVAL;
}

static int by_name(const char *name, struct profile **ret, struct buf *err)
{
    cleanup(profile_free) struct profile *p = NULL;
    cleanup(buf_free) struct buf text = {0};
    char path[PATH_MAX];
    const char *own = built_in(name);
    int r = file_of(name, path);

    if (r < 0)
        return r == -E_NAME ? -E_NOENT : r;
    r = conf_text_read(path, PROFILE_TEXT_MAX, "docs/configuration.md", &text, err);
    if (r == -E_NOENT && own)
        return profile_parse(own, name, ret, err);
    if (r == 0)
        r = profile_parse(buf_cstr(&text), path, &p, err);
    if (r == 0)
        r = named(p, name, path, err);
    if (r == 0)
        *ret = TAKE(p);
    return r;
}

/* --- all of them ---------------------------------------------------------------------------------------------------- */

struct names {
    char **v;
    size_t n;
};

static void names_free(struct names *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->v[i]);
    free(l->v);
}

static int add(struct names *l, const char *name, size_t len)
{
    char **v = array_more(l->v, l->n, sizeof(*v));

    if (!v)
        return -E_NOMEM;
    l->v = v;
    if (!(v[l->n] = strndup(name, len)))
        return -E_NOMEM;
    if (profile_name_check(v[l->n]) == 0)
        l->n++;
    else
        free(v[l->n]);
    return 0;
}

static int take(void *arg, const char *file)
{
    size_t n = strlen(file), s = strlen(SUFFIX);

    return n > s && strcmp(file + n - s, SUFFIX) == 0 ? add(arg, file, n - s) : 0;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int names_all(struct names *l)
{
    const char *name;
    char dir[PATH_MAX];
    int r = dir_of(dir);

    if (r == 0)
        r = io_list(dir, take, l);
    if (r == -E_NOENT)
        r = 0;
    for (size_t i = 0; r == 0 && profile_built_in(i, &name); i++)
        r = add(l, name, strlen(name));
    if (l->n)
        qsort(l->v, l->n, sizeof(*l->v), by_text);
    return r;
}

int profile_lib_each(int (*cb)(void *arg, const char *name, const struct profile *p, bool built_in,
                               const char *why),
                     void *arg)
{
    cleanup(names_free) struct names l = {0};
    char path[PATH_MAX];
    int r = names_all(&l);

    for (size_t i = 0; r == 0 && i < l.n; i++) {
        cleanup(profile_free) struct profile *p = NULL;
        cleanup(buf_free) struct buf err = {0};

        if (i > 0 && strcmp(l.v[i], l.v[i - 1]) == 0)
            continue;
        r = by_name(l.v[i], &p, &err);
        if (r == -E_NOMEM || (r = file_of(l.v[i], path)) < 0)
            return r;
        r = cb(arg, l.v[i], p, access(path, F_OK) < 0,
               p         ? NULL
               : err.len ? buf_cstr(&err)
                         : "cannot be read");
    }
    return r;
}

struct find {
    const char *id;
    char name[PROFILE_NAME_MAX + 1];
};

static int same_id(void *arg, const char *name, const struct profile *p, bool built, const char *why)
{
    struct find *f = arg;

    (void)built;
    (void)why;
    if (!p || !p->id[0] || strcasecmp(p->id, f->id) != 0)
        return 0;
    snprintf(f->name, sizeof(f->name), "%s", name);
    return 1;
}

int profile_lib_get(const char *name_or_id, struct profile **ret, struct buf *err)
{
    struct find f = {.id = name_or_id};
    int r = by_name(name_or_id, ret, err);

    if (r != -E_NOENT)
        return r;
    r = profile_lib_each(same_id, &f);
    if (r == 1)
        return by_name(f.name, ret, err);
    return r < 0 ? r : -E_NOENT;
}

int profile_lib_put(struct profile *p, bool replace)
{
    cleanup(buf_free) struct buf text = {0};
    char path[PATH_MAX];
    int r = file_of(p->name, path);

    if (r == 0)
        r = conf_make_dirs(path);
    if (r == 0 && !replace && access(path, F_OK) == 0)
        r = -E_EXIST;
    if (r == 0 && !p->id[0]) {
        struct uuid u = uuid_new();

        uuid_format(&u, p->id);
    }
    if (r == 0)
        r = profile_print(p, &text);
    return r < 0 ? r : io_replace(io_real(), path, text.data, text.len);
}

int profile_lib_del(const char *name)
{
    char path[PATH_MAX];
    int r = file_of(name, path);

    if (r == 0)
        r = io_unlink(io_real(), path);
    if (r == -E_NOENT && built_in(name))
        return -E_PERM;
    if (r < 0)
        return r == -E_NAME ? -E_NOENT : r;
    *strrchr(path, '/') = 0;
    return io_sync_dir(io_real(), path);
}
