/* varve repo: names of repositories, making, looking at, trying and verifying one. In the command line's process. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "conf/value.h"
#include "fs/verb_long.h"
#include "fs/verb_repo.h"
#include "fs/verb_show.h"
#include "tier/condemned.h"
#include "tier/reindex.h"
#include "tier/verify.h"

enum { VERIFY_DAMAGE = 4 };

/* --- names ---------------------------------------------------------------------------------------------------------- */

static int conf_json(struct verb_answer *ans, const struct conf_repo *c)
{
    struct jw j = jw_begin(&ans->out, true);

    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_object(&j, "repository");
    jw_str(&j, "name", c->name);
    jw_name(&j, "url", c->url, strlen(c->url));
    jw_close(&j);
    jw_close(&j);
    return jw_end(&j);
}

static void test_name(char name[BACKEND_NAME_MAX + 1])
{
    uint8_t id[16];
    char hex[ID16_TEXT];

    hash_random(id, sizeof(id));
    hex_format(id, sizeof(id), hex);
    snprintf(name, BACKEND_NAME_MAX + 1, "test/%s", hex);
}

/* What is there must not be put over. Servers are about that pass the condition over in silence. */
static int put_over(struct backend *b, const struct backend_call *c, const char *name)
{
    int r = backend_put(b, c, name, "another", 7);

    return r == -E_EXIST ? 0 : r == 0 ? -E_OVERWRITE : r;
}

/* Before anything is made where that could be. */
static int try_conditions(const struct repo_place *p, struct backend *b, const struct backend_call *c)
{
    char name[BACKEND_NAME_MAX + 1];
    int r, d;

    if (strncmp(p->conf.url, "s3:", 3) != 0)
        return 0;
    test_name(name);
    if ((r = backend_put(b, c, name, "one", 3)) < 0)
        return r;
    r = put_over(b, c, name);
    d = backend_del(b, c, name);
    return r < 0 ? r : d;
}

static int make_at(const struct repo_place *p, struct repo_root *ret, struct buf *err)
{
    cleanup(secret_release) struct secret s = {0};
    const struct backend_call call = {.timeout_ms = REPO_CALL_MS};
    struct backend *b;
    int r = repo_place_secret(p, &s, err);

    if (r == 0)
        r = repo_place_backend(p, true, NULL, &b, err);
    if (r < 0)
        return r;
    r = try_conditions(p, b, &call);
    if (r == 0)
        r = repo_init(b, &call, &s, ret);
    backend_close(b);
    if (r < 0)
        buf_printf(err, "%s: %s", repo_place_name(p), backend_text(r));
    return r;
}

REPO_LOCAL(repo_add)
{
    cleanup(repo_place_free) struct repo_place *p = calloc(1, sizeof(*p));
    const char *name = verb_text(a, "name"), *url = verb_text(a, "url");
    struct repo_root root;
    int r = p ? conf_repo_name_check(name) : -E_NOMEM;

    if (r == -E_NAME) {
        buf_printf(&ans->err,
                   "repo add: \"%.70s\" cannot be a name: letters, digits, . _ -, 64 at most, a letter or "
                   "digit first",
                   name);
        return r;
    }
    if (r == 0)
        r = backend_url_check(url, &ans->err);
    if (r == 0)
        r = repo_place_parse(url, false, a, p, &ans->err);
    if (r < 0)
        return r;
    snprintf(p->conf.name, sizeof(p->conf.name), "%s", name);
    if (verb_num(a, "init") && (r = make_at(p, &root, &ans->err)) < 0)
        return r;
    r = conf_repo_put(&p->conf, false);
    if (r < 0) {
        buf_printf(&ans->err, "repo add: %s: %s%s", name, err_text(r),
                   r == -E_EXIST ? "; varve repo remove forgets it" : "");
        return r;
    }
    return a->json ? conf_json(ans, &p->conf) : buf_printf(&ans->out, "%s is %s\n", name, p->conf.url);
}

REPO_LOCAL(repo_remove)
{
    const char *name = verb_text(a, "name");
    int r = conf_repo_del(name);

    if (r < 0) {
        buf_printf(&ans->err, "repo remove: %s: %s", name,
                   r == -E_NOENT || r == -E_NAME ? "there is no repository of this name" : err_text(r));
        return r == -E_NAME ? -E_NOENT : r;
    }
    if (a->json)
        return conf_json(ans, &(struct conf_repo){.url = ""});
    return buf_printf(&ans->out, "%s is forgotten here; what it holds is untouched\n", name);
}

struct listing {
    struct verb_answer *ans;
    struct jw j;
    struct show_cols c;
    bool json;
    size_t n;
};

static int list_one(void *arg, const struct conf_repo *c)
{
    struct listing *l = arg;
    const char *secret = c->passphrase_file[0] ? "passphrase-file"
                         : c->key_file[0]      ? "key-file"
                                               : "environment";

    l->n++;
    if (!l->json) {
        show_cell(&l->c, "%s", c->name);
        show_cell_name(&l->c, c->url[0] ? c->url : "(cannot be read)");
        show_cell(&l->c, "%s", secret);
        return l->c.err;
    }
    jw_object(&l->j, NULL);
    jw_str(&l->j, "name", c->name);
    jw_name(&l->j, "url", c->url, strlen(c->url));
    jw_str(&l->j, "secret", secret);
    jw_close(&l->j);
    return 0;
}

REPO_LOCAL(repo_list)
{
    struct listing l = {.ans = ans, .json = a->json, .c = {.ncols = 3}};
    cleanup(repo_place_free) struct repo_place *one = NULL;
    int r = verb_given(a, "name") ? repo_place_named(verb_text(a, "name"), a, ans, &one) : 0;

    if (r < 0)
        return r;
    l.j = jw_begin(&ans->out, true);
    if (a->json) {
        jw_object(&l.j, NULL);
        jw_u64(&l.j, "schema", 1);
        jw_array(&l.j, "repositories");
    } else {
        show_cell(&l.c, "NAME");
        show_cell(&l.c, "URL");
        show_cell(&l.c, "SECRET");
    }
    r = one ? list_one(&l, &one->conf) : conf_repo_each(list_one, &l);
    if (a->json) {
        jw_close(&l.j);
        jw_close(&l.j);
        return r < 0 ? r : jw_end(&l.j);
    }
    if (r == 0 && l.n == 0) {
        buf_free(&l.c.cells);
        return buf_puts(&ans->out, "no repositories; varve repo add NAME URL adds one\n");
    }
    return r < 0 ? (buf_free(&l.c.cells), r) : show_cols_print(&l.c, "", &ans->out);
}

/* --- making, looking ------------------------------------------------------------------------------------------------ */

static int root_say(struct verb_args *a, struct verb_answer *ans, const struct repo_place *p,
                    const struct repo_root *root)
{
    char uuid[UUID_TEXT_SIZE];
    struct jw j;

    uuid_format(&root->uuid, uuid);
    if (!a->json)
        return buf_printf(&ans->out, "%s: repository %s is made\n", repo_place_name(p), uuid);
    j = jw_begin(&ans->out, true);
    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_object(&j, "repository");
    jw_name(&j, "url", p->conf.url, strlen(p->conf.url));
    jw_str(&j, "uuid", uuid);
    jw_time(&j, "created", root->created_ns);
    jw_close(&j);
    jw_close(&j);
    return jw_end(&j);
}

REPO_LOCAL(repo_make)
{
    cleanup(repo_place_free) struct repo_place *p = NULL;
    struct repo_root root;
    int r = repo_place_of(a, ans, &p);

    if (r == 0)
        r = make_at(p, &root, &ans->err);
    return r < 0 ? r : root_say(a, ans, p, &root);
}

struct sums {
    uint64_t packs, pack_bytes, index, index_bytes, points, keys;
};

static int sum_one(void *arg, const char *name, const struct backend_stat *st)
{
    struct sums *s = arg;

    if (strncmp(name, "packs/", 6) == 0) {
        s->packs++;
        s->pack_bytes += st->size;
    } else if (strncmp(name, "index/", 6) == 0) {
        s->index++;
        s->index_bytes += st->size;
    }
    s->points += strncmp(name, "points/", 7) == 0;
    s->keys += strncmp(name, "keys/", 5) == 0;
    return 0;
}

static int show_text(struct buf *out, const struct repo_place *p, const struct repo *r, const struct sums *s)
{
    char uuid[UUID_TEXT_SIZE], when[32], size[CONF_SIZE_TEXT], index[CONF_SIZE_TEXT];

    uuid_format(&r->root.uuid, uuid);
    show_time(r->root.created_ns, when);
    conf_size_text(s->pack_bytes, size);
    conf_size_text(s->index_bytes, index);
    return buf_printf(out,
                      "url              %s\nuuid             %s\ncreated          %s\nformat           1, "
                      "generation %" PRIu32 "\nrecovery points  %" PRIu64 "\npacks            %" PRIu64
                      ", %s\nindex            %" PRIu64 ", %s\nkeys             %" PRIu64 "\n",
                      p->conf.url, uuid, when, r->root.generation, s->points, s->packs, size, s->index, index,
                      s->keys);
}

static int show_json(struct buf *out, const struct repo_place *p, const struct repo *r, const struct sums *s)
{
    struct jw j = jw_begin(out, true);
    char uuid[UUID_TEXT_SIZE];

    uuid_format(&r->root.uuid, uuid);
    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_object(&j, "repository");
    jw_name(&j, "url", p->conf.url, strlen(p->conf.url));
    jw_str(&j, "uuid", uuid);
    jw_time(&j, "created", r->root.created_ns);
    jw_u64(&j, "format", 1);
    jw_u64(&j, "generation", r->root.generation);
    jw_u64(&j, "recovery_points", s->points);
    jw_u64(&j, "packs", s->packs);
    jw_u64(&j, "pack_bytes", s->pack_bytes);
    jw_u64(&j, "index_objects", s->index);
    jw_u64(&j, "index_bytes", s->index_bytes);
    jw_u64(&j, "keys", s->keys);
    jw_close(&j);
    jw_close(&j);
    return jw_end(&j);
}

REPO_LOCAL(repo_show)
{
    cleanup(repo_place_free) struct repo_place *p = NULL;
    cleanup(repo_done) struct repo *repo = NULL;
    struct sums s = {0};
    int r = repo_place_of(a, ans, &p);

    if (r == 0)
        r = repo_place_open(p, NULL, NULL, &repo, &ans->err);
    if (r == 0)
        r = backend_list(repo->b, &repo->call, "", "", sum_one, &s);
    if (r == 0)
        r = a->json ? show_json(&ans->out, p, repo, &s) : show_text(&ans->out, p, repo, &s);
    return r;
}

/* --- trying --------------------------------------------------------------------------------------------------------- */

static int try_object(struct repo *r, int64_t took[3])
{
    cleanup(buf_free) struct buf got = {0};
    char name[BACKEND_NAME_MAX + 1];
    uint8_t bytes[4096];
    int64_t at = clock_mono_ns();
    int x;

    hash_random(bytes, sizeof(bytes));
    test_name(name);
    x = backend_put(r->b, &r->call, name, bytes, sizeof(bytes));
    took[0] = clock_mono_ns() - at;
    if (x < 0)
        return x;
    x = put_over(r->b, &r->call, name);
    at = clock_mono_ns();
    if (x == 0)
        x = backend_get(r->b, &r->call, name, 0, sizeof(bytes), &got);
    took[1] = clock_mono_ns() - at;
    if (x == 0 && (got.len != sizeof(bytes) || memcmp(got.data, bytes, sizeof(bytes)) != 0))
        x = -E_CORRUPT;
    at = clock_mono_ns();
    if (x == 0)
        x = backend_del(r->b, &r->call, name);
    else
        (void)backend_del(r->b, &r->call, name);
    took[2] = clock_mono_ns() - at;
    return x;
}

REPO_LOCAL(repo_test)
{
    cleanup(repo_place_free) struct repo_place *p = NULL;
    cleanup(repo_done) struct repo *repo = NULL;
    int64_t took[3] = {0};
    struct jw j;
    int r = repo_place_of(a, ans, &p);

    if (r == 0)
        r = repo_place_open(p, NULL, NULL, &repo, &ans->err);
    if (r == 0 && (r = try_object(repo, took)) < 0)
        buf_printf(&ans->err, "%s: an object was put, read and deleted again for a test: %s",
                   repo_place_name(p), backend_text(r));
    if (r < 0)
        return r;
    if (!a->json)
        return buf_printf(&ans->out, "%s works: put %.1f ms, get %.1f ms, delete %.1f ms (4 KiB)\n",
                          repo_place_name(p), (double)took[0] / 1e6, (double)took[1] / 1e6,
                          (double)took[2] / 1e6);
    j = jw_begin(&ans->out, true);
    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_bool(&j, "works", true);
    jw_u64(&j, "put_us", (uint64_t)took[0] / 1000);
    jw_u64(&j, "get_us", (uint64_t)took[1] / 1000);
    jw_u64(&j, "delete_us", (uint64_t)took[2] / 1000);
    jw_close(&j);
    return jw_end(&j);
}

/* --- verifying ------------------------------------------------------------------------------------------------------ */

struct verifying {
    struct buf *out;
    struct jw *j;
    struct verb_long l;
};

static int on_verified(void *arg, uint64_t items, uint64_t bytes)
{
    return long_say(&((struct verifying *)arg)->l, "packs and recovery points", items, 0, bytes);
}

static void say_damage(void *arg, const char *line)
{
    struct verifying *v = arg;

    if (v->j)
        jw_name(v->j, NULL, line, strlen(line));
    else
        buf_printf(v->out, "%s\n", line);
}

static const char *verify_mode(const struct verify_opts *o)
{
    return o->share > 0 ? "sample" : o->full ? "full" : "structure";
}

/* How sure it is by now that less than a hundredth of the packs is damaged, where none of those read was. */
static double confidence(const struct verify_result *res)
{
    double miss = 1;

    for (uint64_t i = 0; i < res->sampled && res->sampled < res->packs; i++)
        miss *= 0.99;
    return res->sampled == res->packs ? 1 : 1 - miss;
}

static int verify_json(struct verify_result *res, const struct verify_opts *o, struct jw *j)
{
    jw_close(j);
    jw_str(j, "mode", verify_mode(o));
    jw_u64(j, "packs", res->packs);
    jw_u64(j, "sampled_packs", res->sampled);
    jw_u64(j, "chunks", res->chunks);
    jw_u64(j, "recovery_points", res->points);
    jw_u64(j, "bytes_read", res->bytes);
    jw_u64(j, "pins", res->pins);
    jw_u64(j, "unnamed_packs", res->unnamed);
    jw_u64(j, "archived_packs", res->archived);
    jw_u64(j, "shredded_chunks", res->shredded);
    jw_u64(j, "hurt_files", res->hurt);
    jw_u64(j, "condemned_packs", res->condemned);
    jw_str(j, "verdict", res->damages ? "damaged" : "sound");
    jw_close(j);
    return jw_end(j);
}

static int verify_text(const struct verify_result *res, const struct verify_opts *o, struct buf *out)
{
    bool read = o->full || o->share > 0;
    char size[CONF_SIZE_TEXT];
    int r = 0;

    conf_size_text(res->bytes, size);
    if (res->unnamed)
        r = buf_printf(out, "%" PRIu64 " packs that no index names: left by interrupted backups, no damage\n",
                       res->unnamed);
    if (r == 0 && res->archived)
        r = buf_printf(out, "%" PRIu64 " packs lie in an archive: they are there, and were not read\n",
                       res->archived);
    if (r == 0 && res->shredded)
        r = buf_printf(out, "%" PRIu64 " chunks of domains that were shredded: nobody can read them\n",
                       res->shredded);
    if (r == 0 && res->condemned)
        r = buf_printf(out,
                       "%" PRIu64
                       " damaged packs are condemned: the next backup of each volume reads everything "
                       "once, and sends again what they held\n",
                       res->condemned);
    if (r == 0)
        r = buf_printf(out, "%s: %" PRIu64 " recovery points, %" PRIu64 " packs%s%s%s\n",
                       res->damages ? "DAMAGED" : "sound", res->points, res->packs, read ? ", " : "",
                       read ? size : "", read ? " read" : "");
    if (r == 0 && o->share > 0 && !res->damages)
        r = buf_printf(out,
                       "%" PRIu64
                       " packs were read: if one in a hundred were damaged, this would have shown it "
                       "with a probability of %.1f %%\n",
                       res->sampled, confidence(res) * 100);
    return r;
}

static int share_of(const struct verb_args *a, struct verify_opts *o, struct buf *err)
{
    const char *text = verb_text(a, "sample");
    char *end;

    if (!text)
        return 0;
    o->share = strtod(text, &end) / 100;
    if (end != text && (!*end || strcmp(end, "%") == 0) && o->share > 0 && o->share <= 1 && !o->full)
        return 0;
    buf_printf(err, "repo verify: --sample %.20s: write percents, such as 5, and not with --full", text);
    return -E_USAGE;
}

static int on_repaired(void *arg, uint64_t done, uint64_t of)
{
    return long_say(&((struct verifying *)arg)->l, "packs read for their index", done, of, 0);
}

static int repair(struct repo *r, struct verifying *v, struct buf *err)
{
    struct reindex_result res;
    uint64_t lists;
    int x = condemned_mend(r, &lists, err);

    if (x == 0)
        x = reindex_run(r, on_repaired, v, &res);
    if (x == 0 && !v->j && lists)
        x = buf_printf(v->out, "lists of condemned packs: %" PRIu64 " damaged ones removed\n", lists);
    if (x == 0 && !v->j)
        x = buf_printf(v->out,
                       "indexes: %" PRIu64 " damaged ones removed, %" PRIu64 " packs indexed anew, %" PRIu64
                       " packs unreadable\n",
                       res.damaged, res.packs, res.unreadable);
    return x;
}

/* A cache of its own, empty and gone afterwards: what is verified is what the repository says. */
static int verify_in(struct repo_place *p, const char *cache, bool mend, struct verify_opts *o,
                     struct verify_result *res, struct buf *err)
{
    cleanup(repo_done) struct repo *repo = NULL;
    struct backend_call call = {.canceled = long_stopped};
    int r = repo_place_open(p, &call, cache, &repo, err);

    o->condemn = mend;
    if (r == 0 && mend)
        r = repair(repo, o->arg, err);
    return r < 0 ? r : verify_run(repo, o, res);
}

int repo_scratch_make(const char *what, char out[PATH_MAX], struct buf *err)
{
    const char *tmp = getenv("TMPDIR");

    snprintf(out, PATH_MAX, "%s/varve-%s.XXXXXX", tmp && *tmp == '/' ? tmp : "/var/tmp", what);
    if (mkdtemp(out))
        return 0;
    buf_printf(err, "%s: a directory is needed to work in: TMPDIR names another", out);
    return -E_ACCES;
}

static int remove_name(void *arg, const char *name)
{
    char path[PATH_MAX * 2];

    snprintf(path, sizeof(path), "%s/%s", (const char *)arg, name);
    if (unlink(path) < 0 && io_list(path, remove_name, path) == 0)
        rmdir(path);
    return 0;
}

void repo_scratch_remove(const char *dir)
{
    io_list(dir, remove_name, (void *)(uintptr_t)dir);
    rmdir(dir);
}

REPO_LOCAL(repo_verify)
{
    cleanup(repo_place_free) struct repo_place *p = NULL;
    struct jw j = jw_begin(&ans->out, true);
    struct verifying v = {.out = &ans->out, .j = a->json ? &j : NULL};
    struct verify_opts o = {
        .full = verb_num(a, "full"), .arg = &v, .progress = on_verified, .found = say_damage};
    struct verify_result res = {0};
    char dir[PATH_MAX];
    int r = repo_place_of(a, ans, &p);

    if (r == 0)
        r = share_of(a, &o, &ans->err);
    if (r == 0)
        r = repo_scratch_make("verify", dir, &ans->err);
    if (r < 0)
        return r;
    if (a->json) {
        jw_object(&j, NULL);
        jw_u64(&j, "schema", 1);
        jw_array(&j, "damages");
    }
    long_begin(&v.l, a->json);
    r = verify_in(p, dir, verb_num(a, "repair"), &o, &res, &ans->err);
    long_end(&v.l);
    repo_scratch_remove(dir);
    if (r < 0) {
        if (ans->err.len == 0)
            buf_printf(&ans->err, "%s: %s", repo_place_name(p), backend_text(r));
        return r;
    }
    ans->exit_code = res.damages ? VERIFY_DAMAGE : 0;
    return a->json ? verify_json(&res, &o, &j) : verify_text(&res, &o, &ans->out);
}
