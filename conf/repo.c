#include "conf/repo.h"

#include <errno.h>
#include <fcntl.h>
#include <libconfig.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"
#include "base/io.h"
#include "conf/daemon.h"

#define FILE_MAX 16384
#define SUFFIX ".conf"

int conf_repo_name_check(const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t n = strlen(name);

    return n > 0 && n <= CONF_REPO_NAME && strspn(name, allowed) == n && !strchr("._-", name[0]) ? 0
                                                                                                 : -E_NAME;
}

int conf_place(const char *xdg, const char *dot, const char *root, const char *what, char out[PATH_MAX])
{
    const char *x = getenv(xdg), *home = getenv("HOME");
    int n;

    if (x && *x == '/')
        n = snprintf(out, PATH_MAX, "%s/varve/%s", x, what);
    else if (home && *home == '/' && home[1])
        n = snprintf(out, PATH_MAX, "%s/%s/varve/%s", home, dot, what);
    else
        n = snprintf(out, PATH_MAX, "%s/varve/%s", root, what);
    return n < PATH_MAX ? 0 : -E_NAMETOOLONG;
}

int conf_repo_cache(char out[PATH_MAX])
{
    return conf_place("XDG_CACHE_HOME", ".cache", "/var/cache", "repositories", out);
}

static int file_of(const char *name, char out[PATH_MAX])
{
    size_t n;
    int r = conf_repo_name_check(name);

    if (r == 0)
        r = conf_place("XDG_CONFIG_HOME", ".config", "/etc", "repositories", out);
    if (r < 0)
        return r;
    n = strlen(out);
    return snprintf(out + n, PATH_MAX - n, "/%s" SUFFIX, name) < (int)(PATH_MAX - n) ? 0 : -E_NAMETOOLONG;
}

static int text_read(config_t *c, const char *key, char *out, size_t size)
{
    const char *s;

    if (config_lookup_string(c, key, &s) != CONFIG_TRUE)
        return -E_NOENT;
    return snprintf(out, size, "%s", s) < (int)size ? 0 : -E_NAMETOOLONG;
}

static int parse(const char *path, const char *text, struct conf_repo *ret, struct buf *err)
{
    config_t c;
    int r, u;

    config_init(&c);
    r = conf_text_parse(text, path, &c, err);
    if (r < 0) {
        config_destroy(&c);
        return r;
    }
    if ((u = text_read(&c, "url", ret->url, sizeof(ret->url))) < 0) {
        buf_printf(err, "%s: url = \"...\" is missing or too long", path);
        r = -E_INVAL;
    } else if (text_read(&c, "passphrase_file", ret->passphrase_file, sizeof(ret->passphrase_file)) ==
                   -E_NAMETOOLONG ||
               text_read(&c, "key_file", ret->key_file, sizeof(ret->key_file)) == -E_NAMETOOLONG) {
        buf_printf(err, "%s: a path is too long", path);
        r = -E_INVAL;
    }
    config_destroy(&c);
    return r;
}

/* Those of the machine's file. */
static int of_machine(const char *name, struct conf_repo *ret, struct buf *err)
{
    cleanup(conf_daemon_release) struct conf_daemon c = {.nstores = 0};
    int r = conf_daemon_read(NULL, &c, err);

    if (r < 0)
        return r;
    for (size_t i = 0; i < c.nrepos; i++)
        if (strcmp(c.repos[i].name, name) == 0) {
            *ret = c.repos[i];
            return 0;
        }
    return -E_NOENT;
}

int conf_repo_get(const char *name, struct conf_repo *ret, struct buf *err)
{
    cleanup(buf_free) struct buf b = {0};
    struct conf_repo *c;
    char path[PATH_MAX];
    int r = file_of(name, path);

    if (r == 0)
        r = io_read_file(io_real(), path, FILE_MAX, &b);
    if (r == -E_NOENT)
        return of_machine(name, ret, err);
    if (r < 0)
        return r;
    if (!(c = calloc(1, sizeof(*c))) || !buf_cstr(&b)) {
        free(c);
        return -E_NOMEM;
    }
    snprintf(c->name, sizeof(c->name), "%s", name);
    r = parse(path, buf_cstr(&b), c, err);
    if (r == 0)
        *ret = *c;
    free(c);
    return r;
}

int conf_make_dirs(char *path)
{
    for (char *s = strchr(path + 1, '/'); s; s = strchr(s + 1, '/')) {
        *s = 0;
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
            return err_from_errno(errno);
        *s = '/';
    }
    return 0;
}

int conf_mount_stores(char out[PATH_MAX])
{
    int r = conf_repo_cache(out);

    if (r < 0)
        return r;
    snprintf(strrchr(out, '/') + 1, sizeof("repositories"), "mounts/");
    r = conf_make_dirs(out);
    *strrchr(out, '/') = 0;
    return r;
}

static int setting(struct buf *b, const char *key, const char *value)
{
    int r;

    if (!*value)
        return 0;
    r = buf_printf(b, "%s = \"", key);
    for (const char *s = value; r == 0 && *s; s++)
        r = *s == '"' || *s == '\\' ? buf_printf(b, "\\%c", *s) : buf_add(b, s, 1);
    return r < 0 ? r : buf_puts(b, "\";\n");
}

int conf_repo_put(const struct conf_repo *c, bool replace)
{
    cleanup(buf_free) struct buf b = {0};
    char path[PATH_MAX];
    int r = file_of(c->name, path);

    if (r == 0)
        r = conf_make_dirs(path);
    if (r == 0 && !replace && access(path, F_OK) == 0)
        r = -E_EXIST;
    if (r == 0)
        r = setting(&b, "url", c->url);
    if (r == 0)
        r = setting(&b, "passphrase_file", c->passphrase_file);
    if (r == 0)
        r = setting(&b, "key_file", c->key_file);
    return r < 0 ? r : io_replace(io_real(), path, b.data, b.len);
}

int conf_repo_del(const char *name)
{
    char path[PATH_MAX];
    int r = file_of(name, path);

    if (r == 0)
        r = io_unlink(io_real(), path);
    if (r < 0)
        return r;
    *strrchr(path, '/') = 0;
    return io_sync_dir(io_real(), path);
}

struct names {
    char **v;
    size_t n;
};

static int take(void *arg, const char *file)
{
    struct names *l = arg;
    size_t n = strlen(file), s = strlen(SUFFIX);
    char **v;

    if (n <= s || strcmp(file + n - s, SUFFIX) != 0)
        return 0;
    if (!(v = array_more(l->v, l->n, sizeof(*v))))
        return -E_NOMEM;
    l->v = v;
    if (!(v[l->n] = strndup(file, n - s)))
        return -E_NOMEM;
    if (conf_repo_name_check(v[l->n]) == 0)
        l->n++;
    else
        free(v[l->n]);
    return 0;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A file that cannot be read has none. */
static int machine_names(struct names *l)
{
    cleanup(conf_daemon_release) struct conf_daemon c = {.nstores = 0};
    cleanup(buf_free) struct buf ignored = {0};
    char file[CONF_REPO_NAME + 8];
    int r = 0;

    if (conf_daemon_read(NULL, &c, &ignored) < 0)
        return 0;
    for (size_t i = 0; r == 0 && i < c.nrepos; i++) {
        snprintf(file, sizeof(file), "%s" SUFFIX, c.repos[i].name);
        r = take(l, file);
    }
    return r;
}

int conf_repo_each(int (*cb)(void *arg, const struct conf_repo *c), void *arg)
{
    struct conf_repo *c = calloc(1, sizeof(*c));
    struct names l = {0};
    char dir[PATH_MAX];
    int r = c ? conf_place("XDG_CONFIG_HOME", ".config", "/etc", "repositories", dir) : -E_NOMEM;

    if (r == 0)
        r = io_list(dir, take, &l);
    if (r == -E_NOENT)
        r = 0;
    if (r == 0)
        r = machine_names(&l);
    if (l.n)
        qsort(l.v, l.n, sizeof(*l.v), by_text);
    for (size_t i = 0; r == 0 && i < l.n; i++) {
        cleanup(buf_free) struct buf ignored = {0};

        if (i > 0 && strcmp(l.v[i], l.v[i - 1]) == 0)
            continue;
        if (conf_repo_get(l.v[i], c, &ignored) < 0) {
            *c = (struct conf_repo){.url = ""};
            snprintf(c->name, sizeof(c->name), "%s", l.v[i]);
        }
        r = cb(arg, c);
    }
    for (size_t i = 0; i < l.n; i++)
        free(l.v[i]);
    free(l.v);
    free(c);
    return r;
}
