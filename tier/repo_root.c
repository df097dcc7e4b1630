/* What a repository says of itself, how it is made, and what opens it. */
#include <stdio.h>

#include "base/clock.h"
#include "base/hash.h"
#include "tier/domains.h"
#include "tier/repo.h"
#include "tier/repo_key.h"

#define KEYS_MAX 256

/* --- root ----------------------------------------------------------------------------------------------------------- */

static int last_name(void *arg, const char *name, const struct backend_stat *st)
{
    (void)st;
    snprintf(arg, BACKEND_NAME_MAX + 1, "%s", name);
    return 0;
}

int repo_peek_root(struct backend *b, const struct backend_call *c, struct repo_root *ret, struct buf *raw)
{
    cleanup(buf_free) struct buf own = {0};
    char name[BACKEND_NAME_MAX + 1] = "";
    struct buf *p = raw ? raw : &own;
    int r = backend_list(b, c, "root/", "", last_name, name);

    if (r == 0 && !name[0])
        r = -E_REPO_MISSING;
    if (r == 0)
        r = backend_get_all(b, c, name, PLAIN_MAX, p);
    return r < 0 ? r : root_decode(p->data, p->len, ret);
}

/* --- making --------------------------------------------------------------------------------------------------------- */

static int put_domain(struct backend *b, const struct backend_call *c, const struct master_keys *k,
                      const struct repo_root *root)
{
    struct domain_head h = {.id = root->domain, .created_ns = clock_wall_ns()};
    cleanup(buf_free) struct buf dom = {0};
    char name[DOMAIN_OBJECT_SIZE];
    struct key domain;
    int r;

    hash_random(domain.b, sizeof(domain.b));
    r = domain_encode(&root->uuid, &h, &domain, k, &dom);
    key_wipe(&domain);
    domain_object(&root->domain, name);
    return r < 0 ? r : backend_put_same(b, c, name, dom.data, dom.len);
}

int repo_init(struct backend *b, const struct backend_call *c, const struct secret *s, struct repo_root *ret)
{
    cleanup(buf_free) struct buf raw = {0};
    struct repo_root root = {.uuid = uuid_new(), .created_ns = clock_wall_ns(), .generation = 1};
    char key[ID16_TEXT];
    struct master_keys keys;
    struct key master;
    int r = repo_peek_root(b, c, &root, NULL);

    if (r != -E_REPO_MISSING)
        return r < 0 && r != -E_CORRUPT && r != -E_REPO_NEWER ? r : -E_REPO_EXIST;
    hash_random(master.b, sizeof(master.b));
    hash_random(root.domain.b, sizeof(root.domain.b));
    r = master_keys(&master, &keys);
    if (r == 0)
        r = put_domain(b, c, &keys, &root);
    if (r == 0)
        r = repo_key_put(b, c, &root.uuid, &master, s, key);
    if (r == 0)
        r = root_encode(&root, &keys, &raw);
    key_wipe(&master);
    master_keys_wipe(&keys);
    if (r == 0)
        r = backend_put_same(b, c, "root/00000001", raw.data, raw.len);
    if (r == 0)
        *ret = root;
    return r == -E_EXIST ? -E_REPO_EXIST : r;
}

/* --- what opens it --------------------------------------------------------------------------------------------------- */

struct unlocking {
    struct backend *b;
    const struct backend_call *c;
    const struct uuid *uuid;
    const struct secret *s;
    struct key *master;
    char *name;
    unsigned keys;
    int result; /* -E_KEY until one fits */
};

static int try_key(void *arg, const char *name, const struct backend_stat *st)
{
    cleanup(buf_free) struct buf b = {0};
    struct unlocking *u = arg;
    int r;

    if (st->size > PLAIN_MAX || ++u->keys > KEYS_MAX)
        return 0;
    r = backend_get_all(u->b, u->c, name, PLAIN_MAX, &b);
    if (r == 0)
        r = key_decode(b.data, b.len, u->uuid, u->s, u->master);
    if (r == 0) {
        snprintf(u->name, BACKEND_NAME_MAX + 1, "%s", name);
        return 1;
    }
    if (r != -E_KEY)
        u->result = r;
    return r == -E_KEY || r == -E_CORRUPT || r == -E_REPO_NEWER || r == -E_NOENT ? 0 : r;
}

int repo_unlock(struct backend *b, const struct backend_call *c, const struct secret *s,
                struct repo_root *ret_root, struct key *ret_master, char ret_name[BACKEND_NAME_MAX + 1],
                struct buf *err)
{
    cleanup(buf_free) struct buf raw = {0};
    struct unlocking u = {b, c, &ret_root->uuid, s, ret_master, ret_name, 0, -E_KEY};
    struct master_keys keys;
    int x = repo_peek_root(b, c, ret_root, &raw);

    if (x < 0) {
        buf_printf(err, "%s",
                   x == -E_REPO_MISSING ? "there is no repository here; varve repo init makes one"
                   : x == -E_CORRUPT    ? "the repository's parameters (root/) are damaged"
                                        : backend_text(x));
        return x;
    }
    x = backend_list(b, c, "keys/", "", try_key, &u);
    if (x != 1) {
        x = x == 0 ? u.result : x;
        buf_printf(err, "%s",
                   x == -E_CORRUPT ? "a key of the repository (keys/) is damaged" : backend_text(x));
        return x;
    }
    x = master_keys(ret_master, &keys);
    if (x == 0)
        x = root_prove(raw.data, raw.len, &keys);
    master_keys_wipe(&keys);
    if (x < 0)
        buf_printf(err, "the repository's parameters: %s", backend_text(x));
    return x;
}

/* --- what others have said since ------------------------------------------------------------------------------------ */

/* Others may have said since that there are domains; what else there is of parameters stays. */
static int root_take(struct repo *r, const struct repo_root *now, const struct buf *raw)
{
    int x = root_prove(raw->data, raw->len, &r->keys);

    if (x == 0 && (!uuid_equal(&now->uuid, &r->root.uuid) || now->generation < r->root.generation ||
                   memcmp(now->domain.b, r->root.domain.b, 16) != 0))
        x = -E_REPO_NEWER;
    if (x == 0)
        r->root = *now;
    return x;
}

int repo_may_write(struct repo *r)
{
    cleanup(buf_free) struct buf raw = {0};
    struct repo_root now;
    int x = repo_peek_root(r->b, &r->call, &now, &raw);

    if (x == 0 && now.ro_compat & ~REPO_RO_COMPAT)
        x = -E_REPO_NEWER;
    return x == 0 && now.generation != r->root.generation ? root_take(r, &now, &raw) : x;
}
