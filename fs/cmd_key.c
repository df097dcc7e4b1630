/* varve repo key: passphrases and key files that open a repository. In the command line's process. */
#include <stdio.h>
#include <stdlib.h>

#include "fs/verb_repo.h"
#include "fs/verb_show.h"
#include "tier/repo_key.h"

#define ID_SHOWN 12

struct keyed {
    struct verb_args *a;
    struct verb_answer *ans;
    struct backend *b;
    struct backend_call call;
    struct secret with, fresh;
};

static int said(struct keyed *k, const char *key, const char *id, const char *words)
{
    struct jw j;

    if (!k->a->json)
        return buf_printf(&k->ans->out, "key %.*s %s\n", ID_SHOWN, id, words);
    j = jw_begin(&k->ans->out, true);
    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_str(&j, key, id);
    jw_close(&j);
    return jw_end(&j);
}

/* --- list ----------------------------------------------------------------------------------------------------------- */

struct listing {
    struct jw j;
    struct show_cols c;
    bool json;
};

static int list_one(void *arg, const struct repo_key_info *i)
{
    struct listing *l = arg;
    const char *kind = i->kdf == KDF_SCRYPT ? "passphrase" : i->kdf == KDF_FILE ? "key-file" : "unknown";
    char when[32] = "-";

    if (l->json) {
        jw_object(&l->j, NULL);
        jw_str(&l->j, "id", i->id);
        jw_str(&l->j, "kind", kind);
        jw_time(&l->j, "created", i->created_ns);
        jw_close(&l->j);
        return 0;
    }
    if (i->created_ns)
        show_time(i->created_ns, when);
    show_cell(&l->c, "%.*s", ID_SHOWN, i->id);
    show_cell(&l->c, "%s", kind);
    show_cell(&l->c, "%s", when);
    return l->c.err;
}

static int key_list(struct keyed *k)
{
    struct listing l = {.json = k->a->json, .c = {.ncols = 3}};
    int r;

    l.j = jw_begin(&k->ans->out, true);
    if (l.json) {
        jw_object(&l.j, NULL);
        jw_u64(&l.j, "schema", 1);
        jw_array(&l.j, "keys");
    } else {
        show_cell(&l.c, "ID");
        show_cell(&l.c, "KIND");
        show_cell(&l.c, "CREATED");
    }
    r = repo_keys_each(k->b, &k->call, list_one, &l);
    if (l.json) {
        jw_close(&l.j);
        jw_close(&l.j);
        return r < 0 ? r : jw_end(&l.j);
    }
    return r < 0 ? (buf_free(&l.c.cells), r) : show_cols_print(&l.c, "", &k->ans->out);
}

/* --- add, rotate, remove -------------------------------------------------------------------------------------------- */

static int fresh_read(struct keyed *k)
{
    const char *pass = verb_text(k->a, "new-passphrase-file"), *file = verb_text(k->a, "new-key-file");

    if (!pass == !file) {
        buf_puts(&k->ans->err, "repo key: give --new-passphrase-file or --new-key-file");
        return -E_USAGE;
    }
    return secret_read(pass, file, &k->fresh, &k->ans->err);
}

static int key_add(struct keyed *k)
{
    char id[ID16_TEXT];
    int r = fresh_read(k);

    if (r == 0)
        r = repo_key_add(k->b, &k->call, &k->with, &k->fresh, id, &k->ans->err);
    return r < 0 ? r : said(k, "added", id, "opens the repository, too");
}

static int key_rotate(struct keyed *k)
{
    char id[ID16_TEXT], old[ID16_TEXT];
    int r = fresh_read(k);

    if (r == 0)
        r = repo_key_rotate(k->b, &k->call, &k->with, &k->fresh, id, old, &k->ans->err);
    return r < 0 ? r
                 : said(k, "added", id,
                        "took the place of the one given; where the repository has a name, add it anew with "
                        "the new file");
}

static int key_remove(struct keyed *k)
{
    const char *id = verb_text(k->a, "id");
    int r;

    if (!id) {
        buf_puts(&k->ans->err, "repo key remove: which key is missing; varve repo key list shows them");
        return -E_USAGE;
    }
    r = repo_key_remove(k->b, &k->call, &k->with, id, &k->ans->err);
    return r < 0 ? r : said(k, "removed", id, "opens nothing any more");
}

static int act(struct keyed *k)
{
    static const struct {
        const char *name;
        int (*fn)(struct keyed *k);
    } actions[] = {{"list", key_list}, {"add", key_add}, {"rotate", key_rotate}, {"remove", key_remove}};
    const char *action = verb_text(k->a, "action");

    for (size_t i = 0; i < ARRAY_LEN(actions); i++)
        if (strcmp(actions[i].name, action) == 0)
            return actions[i].fn(k);
    buf_printf(&k->ans->err, "repo key: \"%.40s\" is none of list, add, rotate, remove", action);
    return -E_USAGE;
}

REPO_LOCAL(repo_key)
{
    cleanup(repo_place_free) struct repo_place *p = NULL;
    struct keyed k = {.a = a, .ans = ans, .call = {.timeout_ms = REPO_CALL_MS}};
    int r = repo_place_of(a, ans, &p);

    if (r == 0 && strcmp(verb_text(a, "action"), "list") != 0)
        r = repo_place_secret(p, &k.with, &ans->err);
    if (r == 0)
        r = repo_place_backend(p, false, NULL, &k.b, &ans->err);
    if (r == 0) {
        r = act(&k);
        if (r < 0 && ans->err.len == 0)
            buf_printf(&ans->err, "%s: %s", repo_place_name(p), backend_text(r));
        backend_close(k.b);
    }
    secret_release(&k.with);
    secret_release(&k.fresh);
    return r;
}
