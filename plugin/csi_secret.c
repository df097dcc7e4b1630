/* Secrets of a call, as files that the daemon and the program varve can read: they outlive the call where a job or a volume needs them,
 * and nothing else. A file is named by what is in it, under a key that is the store's: the same secret is there once, and its name tells
 * nothing to who sees it in a list of jobs. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/io.h"
#include "plugin/csi.h"

#define DIR_NAME ".secrets"
#define SALT DIR_NAME "/.salt"
#define SALT_SIZE 32u
#define NAME_SIZE 33u
#define SECRET_MAX (64u << 10)

struct csi_secret_use {
    struct csi_secret_use *next;
    unsigned calls;
    char name[NAME_SIZE];
};

/* --- who uses it ------------------------------------------------------------------------------------------------------------ */

static struct csi_secret_use *find_locked(struct csi *d, const char *name) REQUIRES(d->lock)
{
    struct csi_secret_use *u = d->secrets;

    while (u && strcmp(u->name, name) != 0)
        u = u->next;
    return u;
}

static int use(struct csi *d, const char *name)
{
    struct csi_secret_use *u;

    lock_take(&d->lock);
    u = find_locked(d, name);
    if (!u && (u = calloc(1, sizeof(*u)))) {
        memcpy(u->name, name, NAME_SIZE);
        u->next = d->secrets;
        d->secrets = u;
    }
    if (u) {
        u->calls++;
        d->secrets_taken++;
    }
    lock_drop(&d->lock);
    return u ? 0 : -E_NOMEM;
}

static void leave(struct csi *d, const char *name)
{
    lock_take(&d->lock);
    for (struct csi_secret_use **at = &d->secrets; *at; at = &(*at)->next)
        if (strcmp((*at)->name, name) == 0) {
            struct csi_secret_use *u = *at;

            if (--u->calls == 0) {
                *at = u->next;
                free(u);
            }
            break;
        }
    lock_drop(&d->lock);
}

void csi_secrets_drop(struct csi_secrets *s)
{
    bool any = false;

    for (size_t i = 0; i < ARRAY_LEN(s->names); i++)
        if (s->names[i]) {
            leave(s->d, s->names[i]);
            any = true;
        }
    if (any)
        csi_sweep_soon(s->d);
    *s = (struct csi_secrets){.d = s->d};
}

/* --- files ------------------------------------------------------------------------------------------------------------------ */

static int salt_get(struct csi_call *k, uint8_t salt[SALT_SIZE])
{
    const char *path = arena_printf(&k->arena, "%s/csi/" SALT, k->d->store);
    cleanup(buf_free) struct buf b = {0};
    int r = path ? io_read_file(io_real(), path, SALT_SIZE, &b) : csi_nomem(k);

    if (!path)
        return r;
    if (r == -E_NOENT) {
        hash_random(salt, SALT_SIZE);
        return csi_file_put(k, SALT, salt, SALT_SIZE);
    }
    if (r < 0 || b.len != SALT_SIZE)
        return csi_fail(k, GRPC_INTERNAL, "%s: %s", path, r < 0 ? err_text(r) : "is damaged");
    memcpy(salt, b.data, SALT_SIZE);
    return 0;
}

static int name_of(struct csi_call *k, const char *value, char ret[NAME_SIZE])
{
    uint8_t salt[SALT_SIZE];
    int r;

    lock_take(&k->d->lock); /* one of them makes the salt */
    r = salt_get(k, salt);
    lock_drop(&k->d->lock);
    if (r == 0)
        snprintf(ret, NAME_SIZE, "%016" PRIx64 "%016" PRIx64, hash_name(salt, value, strlen(value)),
                 hash_name(salt + 16, value, strlen(value)));
    return r;
}

/* Two calls may write the same bytes at a time. */
static int file_put(struct csi_call *k, const char *name, const char *path, const char *value)
{
    const char *file = arena_printf(&k->arena, DIR_NAME "/%s", name);
    int r;

    if (!file)
        return csi_nomem(k);
    if (access(path, R_OK) == 0)
        return 0;
    r = csi_file_put(k, file, value, strlen(value));
    return r < 0 && access(path, R_OK) == 0 ? 0 : r;
}

static int take_one(struct csi_call *k, size_t i, const char *option, const char *value,
                    struct csi_secrets *ret)
{
    char *name = arena_alloc(&k->arena, NAME_SIZE), *path;
    int r = name ? name_of(k, value, name) : csi_nomem(k);

    if (r < 0)
        return r;
    path = arena_printf(&k->arena, "%s/csi/" DIR_NAME "/%s", k->d->store, name);
    ret->words[ret->n] = path ? arena_printf(&k->arena, "--%s=%s", option, path) : NULL;
    if (!ret->words[ret->n] || use(k->d, name) < 0)
        return csi_nomem(k);
    ret->n++;
    ret->names[i] = name;
    return file_put(k, name, path, value);
}

/* REPO.KEY, else KEY. */
static const char *value_of(struct csi_call *k, const char *repo, const char *key, size_t n,
                            csi_entry *const *entries)
{
    const char *own = arena_printf(&k->arena, "%s.%s", repo, key), *found = NULL;

    for (size_t i = 0; i < n; i++)
        if (own && strcmp(entries[i]->key, own) == 0)
            return entries[i]->value;
        else if (strcmp(entries[i]->key, key) == 0)
            found = entries[i]->value;
    return found;
}

int csi_secrets_take(struct csi_call *k, const char *repo, size_t n, csi_entry *const *entries,
                     struct csi_secrets *ret)
{
    static const struct {
        const char *key, *option;
    } kinds[] = {{"passphrase", "passphrase-file"}, {"key", "key-file"}, {"credentials", "credentials"}};
    const char *values[ARRAY_LEN(kinds)];
    int r = 0;

    *ret = (struct csi_secrets){.d = k->d};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        values[i] = value_of(k, repo, kinds[i].key, n, entries);
        if (values[i] && (!*values[i] || strlen(values[i]) > SECRET_MAX))
            return csi_fail(k, GRPC_INVALID_ARGUMENT, "secrets[%s]: is empty, or longer than %u bytes",
                            kinds[i].key, SECRET_MAX);
    }
    if (values[0] && values[1])
        return csi_fail(k, GRPC_INVALID_ARGUMENT, "secrets: give passphrase or key, not both");
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(kinds); i++)
        if (values[i])
            r = take_one(k, i, kinds[i].option, values[i], ret);
    return r;
}

/* --- away with it ------------------------------------------------------------------------------------------------------------ */

/* All that jobs and volumes say of files, as one text each; a volume that may be brought back needs them, too. */
struct needs {
    char *jobs, *sources;
};

static int needs_ask(struct csi_call *k, struct needs *ret)
{
    struct csi_result res = {.result = "OK"};
    int r = CSI_VERB(k, &res, &ret->jobs, "job", "list", ".", "--json");

    if (r == 0 && csi_result_is(&res, "OK"))
        r = CSI_VERB(k, &res, &ret->sources, "list", ".", "--json", "--sources");
    return r < 0 || csi_result_is(&res, "OK") ? r : csi_result_fail(k, "store", &res);
}

/* Is the name said of a job that has not ended? */
static bool job_needs(const json_t *jobs, const char *name)
{
    json_t *o;
    size_t i;

    json_array_foreach(json_object_get(jobs, "jobs"), i, o)
    {
        const char *detail = json_string_value(json_object_get(o, "detail"));

        if (json_is_null(json_object_get(o, "ended")) && detail && strstr(detail, name))
            return true;
    }
    return false;
}

struct sweeping {
    struct csi_call *k;
    const json_t *jobs;
    const char *sources;
    uint64_t taken;
    size_t left;
};

static int sweep_one(void *arg, const char *name)
{
    struct sweeping *s = arg;
    struct csi *d = s->k->d;
    const char *path;
    bool goes;

    if (name[0] == '.')
        return 0;
    goes = !job_needs(s->jobs, name) && !(strstr(s->sources, name) && !BROKEN(VARVE_BREAK_csi_secret_early));
    path = arena_printf(&s->k->arena, "%s/csi/" DIR_NAME "/%s", d->store, name);
    if (!path)
        return -E_NOMEM;
    lock_take(&d->lock); /* a call may have taken it, used it, and begun a job since those were asked for */
    goes = goes && s->taken == d->secrets_taken && !find_locked(d, name);
    if (goes && !BROKEN(VARVE_BREAK_csi_secret_stays))
        unlink(path);
    lock_drop(&d->lock);
    s->left += !goes;
    return 0;
}

static int count_one(void *arg, const char *name)
{
    *(size_t *)arg += name[0] != '.';
    return 0;
}

int csi_secrets_sweep(struct csi_call *k, size_t *left)
{
    cleanup(csi_json_free) json_t *jobs = NULL;
    const char *dir = arena_printf(&k->arena, "%s/csi/" DIR_NAME, k->d->store);
    struct sweeping s = {.k = k};
    struct needs needs = {NULL, NULL};
    size_t n = 0;
    int r;

    if (!dir || io_list(dir, count_one, &n) < 0 || n == 0)
        return 0;
    lock_take(&k->d->lock);
    s.taken = k->d->secrets_taken;
    lock_drop(&k->d->lock);
    r = needs_ask(k, &needs);
    if (r < 0 || !(jobs = json_loads(needs.jobs, 0, NULL)))
        return r < 0 ? r : csi_nomem(k);
    s.jobs = jobs;
    s.sources = needs.sources;
    r = io_list(dir, sweep_one, &s);
    *left += s.left;
    return r < 0 ? csi_nomem(k) : 0;
}
