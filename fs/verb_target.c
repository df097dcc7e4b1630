#include "fs/verb_target.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mounts.h"
#include "fs/verb_value.h"
#include "snap/volume.h"

/* --- the table of mounts ------------------------------------------------------------------------------------------ */

static bool is_varve(const struct mounts_line *l)
{
    return strcmp(l->type, "fuse.varve") == 0;
}

struct varve_only {
    int (*cb)(void *arg, const struct verb_mount *m);
    void *arg;
};

static int varve_only(void *arg, const struct mounts_line *l)
{
    struct varve_only *o = arg;
    struct verb_mount m = {.dir = l->dir,
                           .root = l->root,
                           .opts = l->opts,
                           .source = l->source,
                           .major = l->major,
                           .minor = l->minor};

    return is_varve(l) ? o->cb(o->arg, &m) : 0;
}

int verb_mounts_each(int (*cb)(void *arg, const struct verb_mount *m), void *arg)
{
    return mounts_each(varve_only, &(struct varve_only){cb, arg});
}

/* --- a directory below a mount ------------------------------------------------------------------------------------ */

struct search {
    const char *path;
    size_t best; /* length of the mount point found so far; a later one as long lies on top of it */
    bool found, varve;
    char dir[PATH_MAX], source[PATH_MAX];
};

static bool below(const char *path, const char *dir)
{
    size_t n = strlen(dir);

    return strcmp(dir, "/") == 0 || (strncmp(path, dir, n) == 0 && (path[n] == '/' || !path[n]));
}

static int search_line(void *arg, const struct mounts_line *l)
{
    struct search *s = arg;
    size_t n = strlen(l->dir);

    if (!below(s->path, l->dir) || (s->found && n < s->best) || n >= sizeof(s->dir) ||
        strlen(l->source) >= sizeof(s->source))
        return 0;
    s->found = true;
    s->best = n;
    s->varve = is_varve(l);
    memcpy(s->dir, l->dir, n + 1);
    memcpy(s->source, l->source, strlen(l->source) + 1);
    return 0;
}

/* 1 when path lies below a mount of varve. Nothing is asked of what is mounted. */
static int search_mount(const char *path, struct search *ret)
{
    *ret = (struct search){.path = path};
    if (mounts_each(search_line, ret) < 0)
        return 0;
    return ret->found && ret->varve;
}

/* STORE/VOLUME[@SNAP] of the table of mounts. */
static int source_split(const char *source, struct verb_target *t)
{
    const char *slash = strrchr(source, '/'), *at;
    size_t n;

    if (!slash || slash == source || source[0] != '/')
        return -E_PROTO;
    at = strchr(slash, '@');
    n = at ? (size_t)(at - slash) - 1 : strlen(slash + 1);
    if ((size_t)(slash - source) >= sizeof(t->store) || n > NAME_LEN_MAX || n == 0 ||
        (at && strlen(at + 1) > NAME_LEN_MAX))
        return -E_PROTO;
    snprintf(t->store, sizeof(t->store), "%.*s", (int)(slash - source), source);
    snprintf(t->volume, sizeof(t->volume), "%.*s", (int)n, slash + 1);
    snprintf(t->snap, sizeof(t->snap), "%s", at ? at + 1 : "");
    t->exists = true;
    return 0;
}

/* Absolute, without "." and double slashes; ".." is left to realpath(). -E_INVAL where it occurs. */
static int absolute(const char *text, char out[PATH_MAX])
{
    cleanup(buf_free) struct buf b = {0};
    char cwd[PATH_MAX] = "";

    if (text[0] != '/' && !getcwd(cwd, sizeof(cwd)))
        return err_from_errno(errno);
    if (buf_printf(&b, "%s/%s/", cwd, text) < 0)
        return -E_NOMEM;
    for (char *p = (char *)b.data, *to = out, *slash; (slash = strchr(p, '/')); p = slash + 1) {
        size_t n = (size_t)(slash - p);

        if (n == 2 && memcmp(p, "..", 2) == 0)
            return -E_INVAL;
        if (n == 0 || (n == 1 && *p == '.'))
            continue;
        if ((size_t)(to - out) + n + 2 > PATH_MAX)
            return -E_NAMETOOLONG;
        *to++ = '/';
        memcpy(to, p, n);
        to += n;
        *to = 0;
    }
    return 0;
}

/* 1 found. The words as they stand come first, so that a mount whose daemon is dead is not touched. */
static int by_directory(const char *text, struct verb_target *t)
{
    char path[PATH_MAX] = "/", real[PATH_MAX];
    struct search s;

    if (absolute(text, path) < 0 || !search_mount(path, &s)) {
        if (!realpath(text, real) || !search_mount(real, &s))
            return 0;
    }
    if (source_split(s.source, t) < 0)
        return 0;
    snprintf(t->dir, sizeof(t->dir), "%s", s.dir);
    return 1;
}

static int refuse(int r, const char *text, const char *why, struct buf *err)
{
    buf_printf(err, "%s: %s", text, why);
    return r;
}

/* @SNAP at the end of text. */
static int snap_take(const char *text, const char *at, struct verb_target *t, struct buf *err)
{
    if (!at[1] || strchr(at, '/') || strlen(at + 1) > NAME_LEN_MAX)
        return refuse(-E_NAME, text, "what follows @ is not the name of a snapshot", err);
    snprintf(t->snap, sizeof(t->snap), "%s", at + 1);
    return 0;
}

/* DIR@SNAP, where there is nothing of that name and DIR lies below a mount: 1 found, 0 it is something else. */
static int by_directory_at(const char *text, struct verb_target *t, struct buf *err)
{
    const char *last = strrchr(text, '/'), *at = strrchr(last ? last + 1 : text, '@');
    char dir[PATH_MAX];
    struct stat st;

    if (!at || lstat(text, &st) == 0)
        return 0;
    snprintf(dir, sizeof(dir), "%.*s", (int)(at - text), text);
    if (at == text || at[-1] == '/' || lstat(dir, &st) < 0 || !by_directory(dir, t))
        return 0;
    if (t->snap[0])
        return refuse(-E_USAGE, text,
                      "what is mounted there is a snapshot itself; leave @ and what follows out", err);
    return snap_take(text, at, t, err) < 0 ? -E_NAME : 1;
}

/* --- STORE/VOLUME[@SNAP] ------------------------------------------------------------------------------------------ */

/* The prefix of len bytes holds a store: its real path into t. */
static bool store_at(const char *text, size_t len, struct verb_target *t)
{
    char path[PATH_MAX], real[PATH_MAX];

    if (len >= sizeof(path))
        return false;
    snprintf(path, sizeof(path), "%.*s", (int)len, text);
    if (len == 0)
        snprintf(path, sizeof(path), "%s", text[0] == '/' ? "/" : ".");
    if (!realpath(path, real) || !store_path_is(real))
        return false;
    snprintf(t->store, sizeof(t->store), "%s", real);
    t->exists = true;
    return true;
}

/* The longest prefix that holds a store; *rest: what follows it. */
static bool longest(const char *text, struct verb_target *t, const char **rest)
{
    const char *last = strrchr(text, '/'), *at = strchr(last ? last + 1 : text, '@');
    size_t len = strlen(text);

    if (store_at(text, len, t)) {
        *rest = text + len;
        return true;
    }
    if (at && store_at(text, (size_t)(at - text), t)) {
        *rest = at;
        return true;
    }
    while (len > 0) {
        while (len > 0 && text[len - 1] != '/')
            len--;
        if (store_at(text, len > 1 ? len - 1 : 0, t)) {
            *rest = text + len;
            return true;
        }
        if (len > 0)
            len--;
    }
    return false;
}

/* VOLUME[@SNAP] */
static int rest_take(const char *text, const char *rest, unsigned flags, struct verb_target *t,
                     struct buf *err)
{
    const char *at = strchr(rest, '@');
    size_t n = at ? (size_t)(at - rest) : strlen(rest);
    char name[PATH_MAX];
    int r;

    if (at && !(flags & TARGET_SNAP))
        return refuse(-E_USAGE, text, "a volume is meant here, not a snapshot; leave @ and what follows out",
                      err);
    if (at && (r = snap_take(text, at, t, err)) < 0)
        return r;
    if (n == 0) {
        snprintf(t->volume, sizeof(t->volume), "%s", flags & (TARGET_STORE | TARGET_ANY) ? "" : "main");
        return 0;
    }
    snprintf(name, sizeof(name), "%.*s", (int)n, rest);
    if (flags & TARGET_STORE)
        return refuse(-E_USAGE, text, "a store is meant here, not a volume; leave the last component out",
                      err);
    r = volume_name_check(name);
    if (r < 0) {
        buf_printf(err, "%s: \"%.60s\" cannot be a volume: %s", text, name, verb_name_complaint(r, true));
        return r;
    }
    assert(n < sizeof(t->volume));
    memcpy(t->volume, name, n + 1);
    return 0;
}

/* The directory that a path lies in, as it is written into head. -E_NOENT: there is none. */
static int parent_of(const char *text, char head[PATH_MAX], char real[PATH_MAX])
{
    const char *last = strrchr(text, '/');
    struct stat st;

    snprintf(head, PATH_MAX, "%.*s", last ? (int)(last - text) : 1, last ? text : ".");
    if (!head[0])
        snprintf(head, PATH_MAX, "/");
    return realpath(head, real) && stat(real, &st) == 0 && S_ISDIR(st.st_mode) ? 0 : -E_NOENT;
}

/* A store to be made: the parent must be there. Where only the parent's parent is, the last word names a volume. */
static int new_store(const char *text, struct verb_target *t, struct buf *err)
{
    char head[PATH_MAX], above[PATH_MAX], real[PATH_MAX];
    const char *last = strrchr(text, '/');
    struct stat st;

    if (stat(text, &st) == 0 && realpath(text, real)) {
        snprintf(t->store, sizeof(t->store), "%s", real);
        return 0;
    }
    if (parent_of(text, head, real) < 0) {
        if (stat(head, &st) == 0 || !last || volume_name_check(last + 1) < 0 ||
            parent_of(head, above, real) < 0) {
            buf_printf(err, "%s: there is no directory %s; make it first", text, head);
            return -E_NOENT;
        }
        snprintf(t->volume, sizeof(t->volume), "%s", last + 1);
        text = head;
        last = strrchr(head, '/');
    }
    if (snprintf(t->store, sizeof(t->store), "%s/%s", strcmp(real, "/") == 0 ? "" : real,
                 last ? last + 1 : text) >= (int)sizeof(t->store))
        return refuse(-E_NAMETOOLONG, "STORE", "the path is too long", err);
    return 0;
}

static int no_store(const char *text, struct buf *err)
{
    struct stat st;

    if (stat(text, &st) == 0)
        return refuse(-E_STORE_NOT, text,
                      "is neither a varve store nor below a mount of one; varve create makes a store", err);
    return refuse(-E_STORE_MISSING, text, "there is no store at this path; varve create makes one", err);
}

static int resolve(const char *text, unsigned flags, struct verb_target *t, struct buf *err)
{
    const char *rest;

    int r = (flags & TARGET_SNAP) && !(flags & TARGET_NO_DIR) ? by_directory_at(text, t, err) : 0;

    if (r != 0)
        return MIN_OF(r, 0);
    if (!(flags & TARGET_NO_DIR) && by_directory(text, t)) {
        if (flags & TARGET_STORE)
            t->volume[0] = t->snap[0] = 0;
        return 0;
    }
    if (longest(text, t, &rest))
        return rest_take(text, rest, flags, t, err);
    if (!(flags & TARGET_NEW))
        return no_store(text, err);
    snprintf(t->volume, sizeof(t->volume), "main");
    return new_store(text, t, err);
}

int verb_target_parse(const char *text, unsigned flags, struct verb_target *ret, struct buf *err)
{
    struct verb_target *t = calloc(1, sizeof(*t));
    char trimmed[PATH_MAX];
    size_t len = strlen(text);
    int r;

    if (!t)
        return -E_NOMEM;
    while (len > 1 && text[len - 1] == '/')
        len--;
    if (len == 0 || len >= sizeof(trimmed)) {
        r = refuse(len ? -E_NAMETOOLONG : -E_USAGE, "STORE",
                   len ? "the path is too long" : "the path is empty", err);
    } else {
        snprintf(trimmed, sizeof(trimmed), "%.*s", (int)len, text);
        r = resolve(trimmed, flags, t, err);
    }
    if (r == 0)
        *ret = *t;
    free(t);
    return r;
}
