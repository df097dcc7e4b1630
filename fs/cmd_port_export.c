/* varve backup export, varve backup import: a recovery point as one file. In the command line's process. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "conf/value.h"
#include "fs/verb_long.h"
#include "fs/verb_repo.h"
#include "fs/verb_show.h"
#include "tier/copy.h"
#include "tier/export_file.h"
#include "tier/verify.h"

#define ID_SHOWN 12
#define HURT_SAID 20 /* files that are named one by one */

struct porting {
    struct verb_long l;
    struct verb_args *a;
    struct verb_answer *ans;
    struct repo_place *place; /* the repository, not the file */
    const char *path;         /* NULL: a pipe */
    char cache[PATH_MAX];     /* of the file's repository */
    struct export_file *x;
    struct secret secret; /* of the file */
};

static void porting_end(struct porting *w)
{
    export_close(w->x);
    secret_release(&w->secret);
    free(w->place);
}

static int on_copied(void *arg, uint64_t items, uint64_t bytes)
{
    return long_say(&((struct porting *)arg)->l, "items", items, 0, bytes);
}

static int on_read(void *arg, uint64_t bytes)
{
    return long_say(&((struct porting *)arg)->l, "MiB proved", bytes >> 20, 0, bytes);
}

/* What opens the file: what is given for it, else what opens the repository. */
static int file_secret(struct porting *w, const char *pass, const char *key)
{
    const char *p = verb_text(w->a, pass), *k = verb_text(w->a, key);

    if (p && k) {
        buf_printf(&w->ans->err, "give --%s or --%s, not both", pass, key);
        return -E_USAGE;
    }
    return p || k ? secret_read(p, k, &w->secret, &w->ans->err)
                  : repo_place_secret(w->place, &w->secret, &w->ans->err);
}

/* The file as a repository; made where there is none in it yet. */
static int file_repo(struct porting *w, bool make, struct repo **ret)
{
    struct backend_call call = {.canceled = long_stopped};
    cleanup(buf_free) struct buf why = {0};
    struct backend *b = export_backend(w->x);
    struct repo_root root;
    int r = b ? 0 : -E_NOMEM;

    if (r == 0 && make && (r = repo_peek_root(b, &call, &root, NULL)) == -E_REPO_MISSING)
        r = repo_init(b, &call, &w->secret, &root);
    if (r < 0) {
        backend_close(b);
        return r;
    }
    r = repo_open(b, &call, &w->secret, w->cache, ret, &why);
    if (r == -E_KEY && make)
        buf_printf(&w->ans->err, "%s.part was begun with another key; give that, or remove it", w->path);
    else if (r < 0)
        buf_printf(&w->ans->err, "%s: %s", w->path ? w->path : "-", why.len ? buf_cstr(&why) : err_text(r));
    return r;
}

/* The file that damage belongs to. */
static void say_hurt(struct repo *from, const struct point *p, uint64_t ino, struct buf *err)
{
    cleanup(buf_free) struct buf path = {0};
    bool named = ino && point_path(from, &p->tree, ino, &path) == 0 && buf_cstr(&path);

    buf_printf(err,
               "what is needed is damaged%s%s; varve repo verify names everything that is, varve restore "
               "brings back the rest",
               named ? ": /" : "", named ? buf_cstr(&path) : "");
}

static int finish_text(const char *what, const struct copy_result *res, uint64_t bytes, const char *where,
                       struct buf *out)
{
    char read[CONF_SIZE_TEXT], size[CONF_SIZE_TEXT];

    conf_size_text(res->bytes, read);
    conf_size_text(bytes, size);
    return buf_printf(out, "recovery point %.*s %s %s: read %s, %s\n", ID_SHOWN, res->id, what, where, read,
                      size);
}

/* --- export --------------------------------------------------------------------------------------------------------- */

static int export_copy(struct porting *w, struct repo *from, const struct point *p, struct copy_result *res)
{
    cleanup(repo_done) struct repo *to = NULL;
    struct copy_opts o = {.arg = w, .progress = on_copied};
    int r = file_repo(w, true, &to);

    if (r == 0 && (r = copy_run(from, to, p, &o, res)) == -E_CORRUPT)
        say_hurt(from, p, res->hurt, &w->ans->err);
    return r;
}

static int cache_beside(struct porting *w)
{
    return snprintf(w->cache, sizeof(w->cache), "%s.part.d", w->path) < (int)sizeof(w->cache)
               ? 0
               : -E_NAMETOOLONG;
}

static const char *scratch_dir(void)
{
    const char *tmp = getenv("TMPDIR");

    return tmp && *tmp == '/' ? tmp : "/var/tmp";
}

static int export_point(struct porting *w, struct repo *from, const struct point *p, struct copy_result *res)
{
    struct sha id;
    int r = hex_parse(p->id, id.b, sizeof(id.b));

    if (r == 0)
        r = w->path ? cache_beside(w) : repo_scratch_make("export", w->cache, &w->ans->err);
    if (r == 0)
        r = export_begin(w->path, STDOUT_FILENO, scratch_dir(), &id, &w->x);
    if (r < 0) {
        if (r == -E_EXIST)
            buf_printf(&w->ans->err, "%s exists already; nothing is written over", w->path);
        else if (r == -E_BUSY)
            buf_printf(&w->ans->err, "%s.part is being written by another process", w->path);
        else if (w->ans->err.len == 0)
            buf_printf(&w->ans->err, "%s: %s", w->path ? w->path : "-", err_text(r));
        return r;
    }
    r = export_copy(w, from, p, res);
    if (r == 0)
        r = export_end(w->x);
    if (r == 0 || !w->path)
        repo_scratch_remove(w->cache);
    if (r < 0 && w->ans->err.len == 0)
        buf_printf(&w->ans->err, "%s: %s%s", w->path ? w->path : "standard output", err_text(r),
                   w->path ? "; what is done is kept in its .part, and the same command goes on with it"
                           : "");
    return r;
}

static int export_say(struct porting *w, const struct point *p, const struct copy_result *res)
{
    struct jw j = jw_begin(&w->ans->out, true);

    if (!w->path)
        return finish_text("is written to", res, export_size(w->x), "standard output", &w->ans->err);
    if (!w->a->json)
        return finish_text("is in", res, export_size(w->x), w->path, &w->ans->out);
    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_str(&j, "recovery_point", p->id);
    jw_str(&j, "id", res->id);
    jw_name(&j, "file", w->path, strlen(w->path));
    jw_u64(&j, "items", res->items);
    jw_u64(&j, "bytes", res->bytes);
    jw_u64(&j, "file_bytes", export_size(w->x));
    jw_u64(&j, "sent_bytes", res->sent_bytes);
    jw_close(&j);
    return jw_end(&j);
}

static int porting_begin(struct porting *w, bool out)
{
    const char *file = verb_text(w->a, "file");

    w->path = strcmp(file, "-") == 0 ? NULL : file;
    if (!(w->place = calloc(1, sizeof(*w->place))))
        return -E_NOMEM;
    if (!w->path && isatty(out ? STDOUT_FILENO : STDIN_FILENO)) {
        buf_puts(&w->ans->err, "- is a terminal here; send it into a file or a pipe");
        return -E_USAGE;
    }
    if (out && !w->path && w->a->json) {
        buf_puts(&w->ans->err, "--json writes to standard output, as - does; name a file");
        return -E_USAGE;
    }
    return 0;
}

REPO_LOCAL(backup_export)
{
    cleanup(porting_end) struct porting w = {.a = a, .ans = ans};
    cleanup(repo_done) struct repo *from = NULL;
    struct backend_call call = {.canceled = long_stopped};
    struct copy_result res = {.same = false};
    struct point p = {.flags = 0};
    int r = porting_begin(&w, true);

    if (r == 0)
        r = repo_place_parse(verb_text(a, "point"), true, a, w.place, &ans->err);
    if (r == 0)
        r = file_secret(&w, "to-passphrase-file", "to-key-file");
    if (r < 0)
        return r;
    long_begin(&w.l, a->json);
    r = repo_place_open(w.place, &call, NULL, &from, &ans->err);
    if (r == 0)
        r = point_find(from, w.place->id, &p, &ans->err);
    if (r == 0)
        r = export_point(&w, from, &p, &res);
    long_end(&w.l);
    if (r == 0)
        r = export_say(&w, &p, &res);
    point_release(&p);
    return r;
}

/* --- import --------------------------------------------------------------------------------------------------------- */

struct hurting {
    struct buf *err;
    unsigned said;
};

static void hurt_line(void *arg, const char *line)
{
    struct hurting *h = arg;

    if (h->said++ < HURT_SAID)
        buf_printf(h->err, "%s\n", line);
}

/* Damaged objects hurt files: which? */
static int refuse_damaged(struct porting *w, struct repo *from)
{
    struct hurting h = {.err = &w->ans->err};
    struct verify_opts o = {.full = true, .arg = &h, .found = hurt_line};
    struct verify_result res;
    int r = verify_run(from, &o, &res);

    if (h.said > HURT_SAID)
        buf_printf(&w->ans->err, "and %u more\n", h.said - HURT_SAID);
    buf_printf(&w->ans->err, "%s: %" PRIu64 " objects in it are damaged; nothing was imported",
               w->path ? w->path : "standard input", export_damaged(w->x));
    return r == -E_CANCELED ? r : -E_CORRUPT;
}

struct ids {
    char v[16][SHA_TEXT];
    size_t n;
};

static int take_id(void *arg, const struct point *p)
{
    struct ids *l = arg;

    if (l->n == ARRAY_LEN(l->v))
        return -E_TOOBIG;
    memcpy(l->v[l->n++], p->id, sizeof(p->id));
    return 0;
}

static int import_one(struct porting *w, struct repo *from, struct repo *to, const char *id,
                      struct copy_result *res)
{
    struct copy_opts o = {.arg = w, .progress = on_copied};
    struct point p = {.flags = 0};
    int r = point_find(from, id, &p, &w->ans->err);

    if (r < 0)
        return r;
    r = copy_run(from, to, &p, &o, res);
    if (r == -E_CORRUPT)
        say_hurt(from, &p, res->hurt, &w->ans->err);
    else if (r < 0)
        buf_printf(&w->ans->err, "backup import: %s", backend_text(r));
    point_release(&p);
    return r;
}

static int import_from(struct porting *w, struct repo *from, struct repo *to, struct copy_result *res)
{
    struct ids l = {.n = 0};
    int r = repo_sync(from);

    if (r == 0 && export_damaged(w->x))
        return refuse_damaged(w, from);
    if (r == 0)
        r = points_each(from, take_id, NULL, &l);
    if (r == 0 && l.n == 0) {
        buf_puts(&w->ans->err, "there is no recovery point in it");
        r = -E_CORRUPT;
    }
    for (size_t i = 0; r == 0 && i < l.n; i++)
        r = import_one(w, from, to, l.v[i], res);
    return r;
}

static int import_say(struct porting *w, const struct copy_result *res)
{
    if (w->a->json)
        return copy_json(res, &w->ans->out);
    if (res->same)
        return buf_printf(&w->ans->out, "%s has it already: %.*s\n", repo_place_name(w->place), ID_SHOWN,
                          res->id);
    return finish_text("is in", res, res->sent_bytes, repo_place_name(w->place), &w->ans->out);
}

static int import_to(struct porting *w, struct copy_result *res)
{
    cleanup(repo_done) struct repo *from = NULL, *to = NULL;
    struct backend_call call = {.canceled = long_stopped};
    int r = repo_place_open(w->place, &call, NULL, &to, &w->ans->err);

    if (r == 0)
        r = export_open(w->path, w->path ? -1 : STDIN_FILENO, scratch_dir(), on_read, w, &w->x, &w->ans->err);
    if (r == 0)
        r = file_repo(w, false, &from);
    return r < 0 ? r : import_from(w, from, to, res);
}

REPO_LOCAL(backup_import)
{
    cleanup(porting_end) struct porting w = {.a = a, .ans = ans};
    struct copy_result res = {.same = false};
    int r = porting_begin(&w, false);

    if (r == 0)
        r = repo_place_parse_to(verb_text(a, "to"), a, w.place, &ans->err);
    if (r == 0)
        r = file_secret(&w, "passphrase-file", "key-file");
    if (r == 0)
        r = repo_scratch_make("import", w.cache, &ans->err);
    if (r < 0)
        return r;
    long_begin(&w.l, a->json);
    r = import_to(&w, &res);
    long_end(&w.l);
    repo_scratch_remove(w.cache);
    if (r == -E_CANCELED && ans->err.len == 0)
        buf_puts(&ans->err, "backup import: cancelled");
    return r < 0 ? r : import_say(&w, &res);
}
