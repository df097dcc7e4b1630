/* varve restore: files of a recovery point into a directory, or a volume by way of its mount, in the command line's process; or all of it as
 * a new volume, by whoever has that one's store open. */
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "conf/value.h"
#include "fs/verb_into.h"
#include "fs/verb_long.h"
#include "fs/verb_repo.h"
#include "fs/verb_show.h"
#include "tier/attach.h"
#include "tier/restore.h"
#include "tier/thaw.h"

struct restoring {
    struct buf hurt; /* paths with their NUL */
    struct verb_long l;
};

static int on_progress(void *arg, uint64_t items, uint64_t bytes)
{
    return long_say(&((struct restoring *)arg)->l, "files", items, 0, bytes);
}

static void on_hurt(void *arg, const char *path, int why)
{
    struct restoring *w = arg;

    (void)why;
    buf_add(&w->hurt, path, strlen(path) + 1);
}

static int say_json(const struct restore_result *res, const struct point *p, const struct restoring *w,
                    struct buf *out)
{
    struct jw j = jw_begin(out, true);

    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_str(&j, "recovery_point", p->id);
    jw_u64(&j, "files", res->files);
    jw_u64(&j, "directories", res->dirs);
    jw_u64(&j, "others", res->others);
    jw_u64(&j, "bytes", res->bytes);
    jw_u64(&j, "weaker", res->weaker);
    jw_u64(&j, "same", res->same);
    jw_u64(&j, "replaced", res->replaced);
    jw_array(&j, "damaged");
    for (size_t at = 0; at < w->hurt.len; at += strlen((const char *)w->hurt.data + at) + 1)
        jw_name(&j, NULL, w->hurt.data + at, strlen((const char *)w->hurt.data + at));
    jw_close(&j);
    jw_close(&j);
    return jw_end(&j);
}

static int say_text(const struct restore_result *res, const struct point *p, struct verb_answer *ans,
                    const struct restoring *w)
{
    char size[CONF_SIZE_TEXT];
    int r = 0;

    conf_size_text(res->bytes, size);
    for (size_t at = 0; r == 0 && at < w->hurt.len; at += strlen((const char *)w->hurt.data + at) + 1)
        r = buf_printf(&ans->err, "/%s is damaged in the repository and was left out\n", w->hurt.data + at);
    if (r == 0 && res->weaker)
        r = buf_printf(&ans->err,
                       "%" PRIu64 " owners, modes or attributes were not allowed here and are missing\n",
                       res->weaker);
    if (r == 0)
        r = buf_printf(&ans->out, "%s@%s (%.12s): %" PRIu64 " files, %" PRIu64 " directories, %s",
                       p->volume_name, p->snapshot_name, p->id, res->files, res->dirs, size);
    if (r == 0 && res->same)
        r = buf_printf(&ans->out, "; %" PRIu64 " were there", res->same);
    if (r == 0 && res->replaced)
        r = buf_printf(&ans->out, "; %" PRIu64 " replaced", res->replaced);
    return r < 0 ? r : buf_puts(&ans->out, "\n");
}

static int on_thaw(void *arg, uint64_t ready, uint64_t of)
{
    return long_say(&((struct restoring *)arg)->l, "packs are out of the archive", ready, of, 0);
}

/* Where something lies in an archive, all that is needed is asked for at once; when it is there the restore goes on. */
static int restore_or_wait(struct repo *repo, const struct point *p, const char *dest, struct restore_opts *o,
                           struct restore_result *res, struct buf *err)
{
    struct thaw_opts t = {.paths = o->paths, .npaths = o->npaths, .arg = o->arg, .progress = on_thaw};
    struct thaw_result thawed;
    int r = restore_run(repo, p, dest, o, res, err);

    if (r != -E_ARCHIVED)
        return r;
    buf_reset(err);
    r = thaw_run(repo, p, &t, &thawed, err);
    if (r < 0)
        return r;
    o->resume = true;
    *res = (struct restore_result){.files = 0};
    return restore_run(repo, p, dest, o, res, err);
}

static int restore_from(struct repo *repo, const struct repo_place *place, struct verb_args *a,
                        struct verb_answer *ans)
{
    const struct verb_val *words = verb_val(a, "to");
    struct restoring w = {.hurt = {0}};
    struct restore_opts o = {.paths = words->texts,
                             .npaths = words->ntexts - 1,
                             .overwrite = verb_num(a, "overwrite"),
                             .resume = verb_num(a, "resume"),
                             .arg = &w,
                             .progress = on_progress,
                             .hurt = on_hurt};
    struct restore_result res = {0};
    cleanup(into_close) struct into to = {.fd = -1};
    struct point p = {.flags = 0};
    int r = point_find(repo, place->id, &p, &ans->err);

    if (r < 0)
        return r;
    (void)mallopt(M_MMAP_THRESHOLD, 256 << 10); /* what is large goes back when it is done with */
    (void)mallopt(M_TRIM_THRESHOLD, 1 << 20);
    r = into_open(words->texts[words->ntexts - 1], &to, &ans->err);
    if (r == 0) {
        long_begin(&w.l, a->json);
        r = restore_or_wait(repo, &p, to.path, &o, &res, &ans->err);
        long_end(&w.l);
    }
    if (r == -E_CANCELED)
        buf_puts(&ans->err, "; the same with --resume goes on");
    if (r == 0)
        r = a->json ? say_json(&res, &p, &w, &ans->out) : say_text(&res, &p, ans, &w);
    ans->exit_code = res.hurt ? 1 : 0;
    buf_free(&w.hurt);
    point_release(&p);
    return r;
}

/* --- as a volume ---------------------------------------------------------------------------------------------------- */

/* Another command line, for the same store. */
static int also(int argc, char *const *argv, bool json, struct verb_target *t, struct verb_answer *ans)
{
    cleanup(verb_args_free) struct verb_args a = {0};
    int r = verb_parse_words(argc, argv, &a, &ans->err);

    if (r == 0 && verb_given(&a, "from"))
        r = verb_from_resolve(&a, "from", &ans->err);
    if (r < 0)
        return r;
    a.json = json;
    free(a.target);
    a.target = strdup(t->volume);
    return a.target ? verb_do(t, &a, ans) : -E_NOMEM;
}

static int hydrate(struct verb_target *t, bool json, struct verb_answer *ans)
{
    char *words[] = {(char *)(uintptr_t) "hydrate", t->volume};
    struct verb_args a = {0};
    int r = verb_parse_words(2, words, &a, &ans->err);

    a.json = json;
    if (r == 0)
        r = verb_do(t, &a, ans);
    verb_args_free(&a);
    return r;
}

static int as_volume(struct verb_args *a, struct verb_target *t, struct verb_answer *ans)
{
    static const char *const secrets[] = {"passphrase-file", "key-file", "credentials"};
    char *words[10] = {(char *)(uintptr_t) "create", t->volume, (char *)(uintptr_t) "--from",
                       (char *)(uintptr_t)verb_text(a, "point")};
    char names[ARRAY_LEN(secrets)][24];
    int n = 4, r;

    for (size_t i = 0; i < ARRAY_LEN(secrets); i++)
        if (verb_given(a, secrets[i])) {
            snprintf(names[i], sizeof(names[i]), "--%s", secrets[i]);
            words[n++] = names[i];
            words[n++] = (char *)(uintptr_t)verb_text(a, secrets[i]);
        }
    r = also(n, words, false, t, ans);
    if (r < 0 || ans->exit_code)
        return r;
    t->exists = true;
    buf_reset(&ans->out);
    return hydrate(t, a->json, ans);
}

static int restore_as(struct verb_args *a, struct verb_answer *ans)
{
    struct verb_target *t = calloc(1, sizeof(*t));
    int r = t ? 0 : -E_NOMEM;

    if (r == 0 && verb_given(a, "to")) {
        buf_puts(&ans->err, "restore: give a directory, or --as STORE/VOLUME, not both");
        r = -E_USAGE;
    }
    if (r == 0)
        r = verb_target_parse(verb_text(a, "as"), TARGET_NEW | TARGET_NO_DIR, t, &ans->err);
    if (r == 0)
        r = as_volume(a, t, ans);
    free(t);
    return r;
}

/* --- what is attached ----------------------------------------------------------------------------------------------- */

static int restore_attached(struct repo *repo, const struct repo_place *place, struct verb_args *a,
                            struct verb_answer *ans)
{
    const char *dir = verb_text(a, "attachments");
    struct point p = {.flags = 0};
    struct jw j;
    uint64_t n;
    int r = point_find(repo, place->id, &p, &ans->err);

    if (r == 0)
        r = attach_restore(repo, &p, dir, &n, &ans->err);
    if (r == 0 && a->json && !verb_given(a, "to")) {
        j = jw_begin(&ans->out, true);
        jw_object(&j, NULL);
        jw_u64(&j, "schema", 1);
        jw_str(&j, "recovery_point", p.id);
        jw_u64(&j, "attachments", n);
        jw_close(&j);
        r = jw_end(&j);
    } else if (r == 0 && !a->json) {
        r = buf_printf(&ans->out, "%" PRIu64 " attachments in %s\n", n, dir);
    }
    point_release(&p);
    return r;
}

static int restore_to(struct verb_args *a, struct verb_answer *ans)
{
    cleanup(repo_place_free) struct repo_place *p = calloc(1, sizeof(*p));
    cleanup(repo_done) struct repo *repo = NULL;
    struct backend_call call = {.canceled = long_stopped};
    int r = p ? repo_place_parse(verb_text(a, "point"), true, a, p, &ans->err) : -E_NOMEM;

    if (r == 0)
        r = repo_place_open(p, &call, NULL, &repo, &ans->err);
    if (r == 0 && verb_given(a, "attachments"))
        r = restore_attached(repo, p, a, ans);
    return r < 0 || !verb_given(a, "to") ? r : restore_from(repo, p, a, ans);
}

REPO_LOCAL(restore_files)
{
    if (verb_given(a, "as"))
        return restore_as(a, ans);
    if (verb_given(a, "to") || verb_given(a, "attachments"))
        return restore_to(a, ans);
    buf_puts(&ans->err, "restore: DEST is missing: a directory, STORE/VOLUME[:DIR], or --as STORE/VOLUME");
    return -E_USAGE;
}
