#include "fs/verb_repo.h"

#include <stdio.h>
#include <stdlib.h>

#include "fs/verb_profile.h"
#include "fs/verb_value.h"
#include "tier/tierd.h"
#include "tier/url.h"

/* --- words ---------------------------------------------------------------------------------------------------------- */

void repo_place_free(struct repo_place **p)
{
    free(*p);
}

void repo_done(struct repo **r)
{
    repo_close(*r);
}

const char *repo_place_name(const struct repo_place *p)
{
    return p->conf.name[0] ? p->conf.name : p->conf.url;
}

static bool has_arg(const struct verb_args *a, const char *name)
{
    for (size_t i = 0; a && i < VERB_ARGS_MAX && a->verb->args[i].name; i++)
        if (strcmp(a->verb->args[i].name, name) == 0)
            return verb_given(a, name);
    return false;
}

/* The option PREFIXwhat. */
static int path_given(const struct verb_args *a, const char *prefix, const char *what, char out[PATH_MAX],
                      struct buf *err)
{
    char name[64];

    snprintf(name, sizeof(name), "%s%s", prefix, what);
    if (!has_arg(a, name))
        return 0;
    if (realpath(verb_text(a, name), out))
        return 1;
    buf_printf(err, "%s: --%s %s: there is no such file", a->verb->name, name, verb_text(a, name));
    return -E_NOENT;
}

/* One secret: what is given on the command line takes the place of both that are configured. */
static int secrets_given(const struct verb_args *a, const char *prefix, struct conf_repo *c, struct buf *err)
{
    char pass[PATH_MAX] = "", key[PATH_MAX] = "";
    int p = path_given(a, prefix, "passphrase-file", pass, err), k;

    if (p < 0)
        return p;
    k = path_given(a, prefix, "key-file", key, err);
    if (k < 0)
        return k;
    if (p && k) {
        buf_printf(err, "give --%spassphrase-file or --%skey-file, not both", prefix, prefix);
        return -E_USAGE;
    }
    if (p || k) {
        memcpy(c->passphrase_file, pass, sizeof(pass));
        memcpy(c->key_file, key, sizeof(key));
    }
    return 0;
}

/* The file's path becomes an option of the URL, so that it goes wherever that goes. A path is no secret. */
static int credentials_given(const struct verb_args *a, const char *prefix, struct conf_repo *c,
                             struct buf *err)
{
    cleanup(buf_free) struct buf url = {0};
    char path[PATH_MAX];
    int r = path_given(a, prefix, "credentials", path, err);

    if (r <= 0)
        return r;
    if (strncmp(c->url, "dir:", 4) == 0) {
        buf_printf(err, "--credentials is for s3: and rados: URLs, not for %s", c->url);
        return -E_USAGE;
    }
    r = url_with(c->url, strncmp(c->url, "s3:", 3) == 0 ? "credentials" : "keyring", path, &url);
    if (r == 0 && url.len > CONF_REPO_URL) {
        buf_puts(err, "the URL and the path of the credentials are too long together; use shorter ones");
        r = -E_USAGE;
    }
    if (r == 0)
        snprintf(c->url, sizeof(c->url), "%.*s", (int)url.len, (const char *)url.data);
    return r;
}

static int id_split(const char *text, char where[CONF_REPO_URL + 1], struct repo_place *p, struct buf *err)
{
    const char *hash = strrchr(text, '#');

    if (!hash) {
        buf_printf(err, "%s: which recovery point is missing; write REPO#ID, or REPO#latest", text);
        return -E_USAGE;
    }
    if (strlen(hash + 1) >= sizeof(p->id) || !hash[1] || (size_t)(hash - text) > CONF_REPO_URL) {
        buf_printf(err, "%s: what follows # is no recovery point", text);
        return -E_USAGE;
    }
    snprintf(p->id, sizeof(p->id), "%s", hash + 1);
    snprintf(where, CONF_REPO_URL + 1, "%.*s", (int)(hash - text), text);
    return 0;
}

static int word_add(void *arg, const struct conf_repo *c)
{
    return verb_words_add(arg, c->name);
}

/* There is none of this name: is one meant that is called nearly so? */
static void name_complain(const char *name, struct buf *err)
{
    cleanup(verb_words_free) struct verb_words w = {.n = 0};

    (void)conf_repo_each(word_add, &w);
    buf_printf(err, "%s: there is no repository of this name", name);
    verb_words_near(&w, name, "varve repo list shows what there is", err);
}

static int where_parse(const char *where, struct conf_repo *c, struct buf *err)
{
    int r;

    if (strchr(where, ':') || strchr(where, '/')) {
        r = backend_url_check(where, err);
        snprintf(c->url, sizeof(c->url), "%s", where);
        return r;
    }
    r = conf_repo_get(where, c, err);
    if (r < 0 && err->len == 0)
        name_complain(where, err);
    return r;
}

static int place_parse(const char *text, bool with_id, const struct verb_args *a, const char *prefix,
                       struct repo_place *ret, struct buf *err)
{
    struct repo_place *p = calloc(1, sizeof(*p));
    char where[CONF_REPO_URL + 1];
    int r = p ? 0 : -E_NOMEM;

    if (r == 0 && strlen(text) > CONF_REPO_URL) {
        buf_puts(err, "REPO is too long");
        r = -E_USAGE;
    }
    if (r == 0 && with_id)
        r = id_split(text, where, p, err);
    else if (r == 0)
        snprintf(where, sizeof(where), "%s", text);
    if (r == 0)
        r = where_parse(where, &p->conf, err);
    if (r == 0)
        r = secrets_given(a, prefix, &p->conf, err);
    if (r == 0)
        r = credentials_given(a, prefix, &p->conf, err);
    if (r == 0)
        *ret = *p;
    free(p);
    return r;
}

int repo_place_parse(const char *text, bool with_id, const struct verb_args *a, struct repo_place *ret,
                     struct buf *err)
{
    return place_parse(text, with_id, a, "", ret, err);
}

int repo_place_parse_to(const char *text, const struct verb_args *a, struct repo_place *ret, struct buf *err)
{
    return place_parse(text, false, a, "to-", ret, err);
}

static int replace(struct verb_args *a, const char *name, const char *text, struct buf *err)
{
    for (size_t i = 0; i < VERB_ARGS_MAX && a->verb->args[i].name; i++)
        if (strcmp(a->verb->args[i].name, name) == 0)
            verb_value_free(&a->vals[i]);
    return *text ? verb_set(a, name, text, err) : 0;
}

/* The option PREFIXwhat of a verb that has it. */
static int replace_side(struct verb_args *a, const char *prefix, const char *what, const char *text,
                        struct buf *err)
{
    char name[64];

    snprintf(name, sizeof(name), "%s%s", prefix, what);
    return replace(a, name, text, err);
}

static int resolve(struct verb_args *a, const char *name, bool with_id, const char *prefix, struct buf *err)
{
    cleanup(repo_place_free) struct repo_place *p = calloc(1, sizeof(*p));
    cleanup(buf_free) struct buf url = {0};
    int r = p ? place_parse(verb_text(a, name), with_id, a, prefix, p, err) : -E_NOMEM;

    if (r == 0)
        r = buf_printf(&url, "%s%s%s", p->conf.url, with_id ? "#" : "", with_id ? p->id : "");
    if (r == 0)
        r = buf_cstr(&url) ? replace(a, name, buf_cstr(&url), err) : -E_NOMEM;
    if (r == 0)
        r = replace_side(a, prefix, "passphrase-file", p->conf.passphrase_file, err);
    if (r == 0)
        r = replace_side(a, prefix, "key-file", p->conf.key_file, err);
    if (r == 0) /* it is in the URL now */
        r = replace_side(a, prefix, "credentials", "", err);
    return r;
}

int verb_sides_resolve(struct verb_args *a, struct buf *err)
{
    int r = verb_given(a, "from") ? resolve(a, "from", false, "", err) : 0;

    return r < 0 || !verb_given(a, "to") ? r : resolve(a, "to", false, "to-", err);
}

int verb_url_resolve(struct verb_args *a, const char *name, struct buf *err)
{
    cleanup(repo_place_free) struct repo_place *p = calloc(1, sizeof(*p));
    int r = p ? repo_place_parse(verb_text(a, name), false, a, p, err) : -E_NOMEM;

    if (r == 0)
        r = replace(a, name, p->conf.url, err);
    return r == 0 ? replace(a, "credentials", "", err) : r;
}

int verb_place_resolve(struct verb_args *a, const char *name, struct buf *err)
{
    return resolve(a, name, false, "", err);
}

int verb_from_resolve(struct verb_args *a, const char *name, struct buf *err)
{
    return resolve(a, name, true, "", err);
}

/* --- opening -------------------------------------------------------------------------------------------------------- */

int repo_place_secret(const struct repo_place *p, struct secret *ret, struct buf *err)
{
    return secret_read(p->conf.passphrase_file[0] ? p->conf.passphrase_file : NULL,
                       p->conf.key_file[0] ? p->conf.key_file : NULL, ret, err);
}

int repo_place_named(const char *text, const struct verb_args *a, struct verb_answer *ans,
                     struct repo_place **ret)
{
    *ret = calloc(1, sizeof(**ret));
    return *ret ? repo_place_parse(text, false, a, *ret, &ans->err) : -E_NOMEM;
}

int repo_place_of(struct verb_args *a, struct verb_answer *ans, struct repo_place **ret)
{
    return repo_place_named(verb_text(a, "repo"), a, ans, ret);
}

int repo_place_backend(const struct repo_place *p, bool make, const struct backend_call *call,
                       struct backend **ret, struct buf *err)
{
    return tierd_open(p->conf.url, make, call, ret, err);
}

int repo_place_open(const struct repo_place *p, const struct backend_call *c, const char *cache,
                    struct repo **ret, struct buf *err)
{
    cleanup(secret_release) struct secret s = {0};
    cleanup(buf_free) struct buf why = {0};
    char own[PATH_MAX];
    struct backend *b;
    int r = repo_place_secret(p, &s, err);

    if (r == 0 && !cache)
        r = conf_repo_cache(own);
    if (r == 0)
        r = repo_place_backend(p, false, c, &b, err);
    if (r < 0)
        return r;
    r = repo_open(b, c, &s, cache ? cache : own, ret, &why);
    if (r < 0)
        buf_printf(err, "%s: %s", repo_place_name(p), why.len ? buf_cstr(&why) : backend_text(r));
    return r;
}

/* --- which verb ----------------------------------------------------------------------------------------------------- */

int verb_repo_run(struct verb_args *a, struct verb_answer *ans)
{
    static const struct {
        const char *noun, *name;
        int (*fn)(struct verb_args *a, struct verb_answer *ans);
    } own[] = {{"repo", "add", repo_add},
               {"repo", "remove", repo_remove},
               {"repo", "list", repo_list},
               {"repo", "show", repo_show},
               {"repo", "init", repo_make},
               {"repo", "test", repo_test},
               {"repo", "verify", repo_verify},
               {"backup", "list", backup_list},
               {"backup", "show", backup_show},
               {"backup", "delete", backup_delete},
               {"backup", "undelete", backup_undelete},
               {"backup", "owner", backup_owner},
               {"backup", "expire", backup_expire},
               {"repo", "prune", repo_prune},
               {"repo", "transition", repo_transition},
               {"repo", "unlock", repo_unlock_lease},
               {"repo", "key", repo_key},
               {"backup", "copy", backup_copy},
               {"backup", "status", backup_status},
               {"", "restore", restore_files},
               {"repo", "pins", repo_pins},
               {"repo", "forget", repo_forget},
               {"repo", "domains", repo_domains},
               {"repo", "shred", repo_shred},
               {"backup", "diff", backup_diff},
               {"backup", "export", backup_export},
               {"backup", "import", backup_import},
               {"profile", "list", profile_list},
               {"profile", "show", profile_show},
               {"profile", "add", profile_add},
               {"profile", "remove", profile_remove},
               {"profile", "import", profile_import},
               {"profile", "export", profile_export},
               {"profile", "check", profile_try},
               {"config", "check", config_try},
               {"config", "show", config_show}};

    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        if (strcmp(own[i].noun, a->verb->noun ? a->verb->noun : "") == 0 &&
            strcmp(own[i].name, a->verb->name) == 0)
            return own[i].fn(a, ans);
    return -E_NOSYS;
}
