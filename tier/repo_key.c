#include "tier/repo_key.h"

#include <stdio.h>

#define DIR "keys/"
#define DIGITS_MIN 8

int repo_key_put(struct backend *b, const struct backend_call *c, const struct uuid *repo,
                 const struct key *master, const struct secret *s, char ret_id[ID16_TEXT])
{
    cleanup(buf_free) struct buf key = {0};
    char name[64];
    struct sha sum;
    int r = key_encode(repo, master, s, &key);

    if (r == 0)
        r = crypt_sha256(key.data, key.len, &sum);
    if (r < 0)
        return r;
    hex_format(sum.b, 16, ret_id);
    snprintf(name, sizeof(name), DIR "%s", ret_id);
    return backend_put_same(b, c, name, key.data, key.len);
}

/* A secret that opens the repository already needs no second key. */
static int fresh_check(struct backend *b, const struct backend_call *c, const struct secret *fresh,
                       struct buf *err)
{
    cleanup(buf_free) struct buf ignored = {0};
    char name[BACKEND_NAME_MAX + 1];
    struct repo_root root;
    struct key master;
    int r = repo_unlock(b, c, fresh, &root, &master, name, &ignored);

    key_wipe(&master);
    if (r == 0) {
        buf_puts(err, "the new passphrase or key file opens the repository already");
        return -E_EXIST;
    }
    return r == -E_KEY ? 0 : r;
}

/* old: the object that `with` opened. */
static int add(struct backend *b, const struct backend_call *c, const struct secret *with,
               const struct secret *fresh, char ret_id[ID16_TEXT], char old[BACKEND_NAME_MAX + 1],
               struct buf *err)
{
    struct repo_root root;
    struct key master;
    int r = repo_unlock(b, c, with, &root, &master, old, err);

    if (r == 0)
        r = fresh_check(b, c, fresh, err);
    if (r == 0)
        r = repo_key_put(b, c, &root.uuid, &master, fresh, ret_id);
    key_wipe(&master);
    return r;
}

int repo_key_add(struct backend *b, const struct backend_call *c, const struct secret *with,
                 const struct secret *fresh, char ret_id[ID16_TEXT], struct buf *err)
{
    char old[BACKEND_NAME_MAX + 1];

    return add(b, c, with, fresh, ret_id, old, err);
}

int repo_key_rotate(struct backend *b, const struct backend_call *c, const struct secret *with,
                    const struct secret *fresh, char ret_id[ID16_TEXT], char ret_old[ID16_TEXT],
                    struct buf *err)
{
    char old[BACKEND_NAME_MAX + 1];
    int r = add(b, c, with, fresh, ret_id, old, err);

    if (r < 0)
        return r;
    snprintf(ret_old, ID16_TEXT, "%.32s", old + strlen(DIR));
    r = backend_del(b, c, old);
    if (r < 0)
        buf_printf(err, "the new key %.8s is there, but the old one, %.8s, could not be removed: %s", ret_id,
                   ret_old, backend_text(r));
    return r;
}

/* --- looking -------------------------------------------------------------------------------------------------------- */

struct telling {
    struct backend *b;
    const struct backend_call *c;
    int (*cb)(void *arg, const struct repo_key_info *k);
    void *arg;
};

static int tell(void *arg, const char *name, const struct backend_stat *st)
{
    cleanup(buf_free) struct buf b = {0};
    struct repo_key_info k = {.kdf = 0};
    struct telling *t = arg;
    int r;

    (void)st;
    r = backend_get_all(t->b, t->c, name, PLAIN_MAX, &b);
    if (r == -E_NOENT)
        return 0;
    snprintf(k.id, sizeof(k.id), "%.32s", name + strlen(DIR));
    if (r == 0 && key_peek(b.data, b.len, &k.kdf, &k.created_ns) < 0)
        k.kdf = 0;
    return r < 0 && r != -E_TOOBIG ? r : t->cb(t->arg, &k);
}

int repo_keys_each(struct backend *b, const struct backend_call *c,
                   int (*cb)(void *arg, const struct repo_key_info *k), void *arg)
{
    struct telling t = {b, c, cb, arg};

    return backend_list(b, c, DIR, "", tell, &t);
}

/* --- removing ------------------------------------------------------------------------------------------------------- */

struct finding {
    const char *id;
    unsigned n;
    char name[BACKEND_NAME_MAX + 1];
};

static int find_one(void *arg, const char *name, const struct backend_stat *st)
{
    struct finding *f = arg;

    (void)st;
    if (strncmp(name + strlen(DIR), f->id, strlen(f->id)) == 0) {
        f->n++;
        snprintf(f->name, sizeof(f->name), "%s", name);
    }
    return 0;
}

static int find(struct backend *b, const struct backend_call *c, struct finding *f, struct buf *err)
{
    int r;

    if (strlen(f->id) < DIGITS_MIN || strspn(f->id, "0123456789abcdef") != strlen(f->id)) {
        buf_printf(err, "\"%.40s\" is no key; write 8 or more of its digits: varve repo key list", f->id);
        return -E_USAGE;
    }
    r = backend_list(b, c, DIR, "", find_one, f);
    if (r == 0 && f->n != 1) {
        buf_printf(err,
                   f->n ? "several keys begin with %.40s; give more digits"
                        : "there is no key %.40s; varve repo key list shows what there is",
                   f->id);
        r = f->n ? -E_USAGE : -E_NOENT;
    }
    return r;
}

int repo_key_remove(struct backend *b, const struct backend_call *c, const struct secret *with,
                    const char *id, struct buf *err)
{
    struct finding f = {.id = id};
    char opened[BACKEND_NAME_MAX + 1];
    struct repo_root root;
    struct key master;
    int r = repo_unlock(b, c, with, &root, &master, opened, err);

    key_wipe(&master);
    if (r == 0)
        r = find(b, c, &f, err);
    if (r == 0 && strcmp(f.name, opened) == 0) {
        buf_puts(err,
                 "this is the key that the passphrase or key file given opens: give another one that stays, "
                 "so that nobody is locked out");
        r = -E_KEY;
    }
    return r < 0 ? r : backend_del(b, c, f.name);
}
