/* `varve tier`: what a repository has of a volume need not lie here as well. Releasing and recalling are jobs. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "conf/value.h"
#include "fs/recall.h"
#include "fs/verb_repo.h"
#include "fs/verb_runs.h"
#include "fs/verb_show.h"
#include "fs/verb_tier.h"
#include "fs/verb_value.h"
#include "snap/event.h"
#include "snap/snapshot.h"
#include "snap/store/cold.h"
#include "tier/release.h"

struct working {
    struct job *j;
    uint64_t id;
    struct store *s;
    struct vol *v;
    struct verb_args a;     /* of the job's detail: a line of the control file */
    struct tier_point from; /* the newest recovery point whose snapshot is here */
    char tag[32];
    struct release_result res;
};

/* --- releasing ------------------------------------------------------------------------------------------------------ */

static int release_from(struct working *w, const struct repo_place *place, struct repo *repo, struct buf *err)
{
    const struct verb_val *paths = verb_val(&w->a, "path");
    struct release_opts o = {.paths = paths ? paths->texts : NULL,
                             .npaths = paths ? paths->ntexts : 0,
                             .least_bytes = verb_num(&w->a, "larger"),
                             .arg = w->j,
                             .progress = job_step};
    struct point p = {.flags = 0};
    int r = point_get(repo, w->from.id, &p);

    if (verb_given(&w->a, "older"))
        o.before_ns = clock_wall_ns() - (int64_t)verb_num(&w->a, "older");
    if (r == 0)
        r = recall_source_for(w->s, w->v, &place->conf, repo, &p, &o.source);
    if (r == 0)
        r = release_run(repo, &p, w->v, &w->from.rec, &o, &w->res, err);
    point_release(&p);
    return r;
}

/* The snapshot stays until its bytes are noted to be elsewhere; a source that no range names yet is not taken away meanwhile. */
static int release_held(struct working *w, const struct repo_place *place, struct repo *repo, struct buf *err)
{
    int r = snap_hold(w->v, w->from.rec.name, w->tag);

    if (r < 0)
        return r;
    recall_importing(w->s, true);
    r = release_from(w, place, repo, err);
    recall_importing(w->s, false);
    snap_release_all(w->v, w->tag);
    return r;
}

static int release(struct working *w, struct buf *err)
{
    cleanup(repo_place_free) struct repo_place *p = calloc(1, sizeof(*p));
    struct backend_call call = {.canceled = job_stopped, .arg = w->j};
    cleanup(repo_done) struct repo *repo = NULL;
    char size[CONF_SIZE_TEXT], stay[CONF_SIZE_TEXT];
    int r = p ? repo_place_parse(verb_text(&w->a, "to"), false, &w->a, p, err) : -E_NOMEM;

    if (r == 0 && verb_given(&w->a, "snap") && (r = tier_upload(w->j, w->id, w->s, w->v, p, &w->a)) < 0)
        return r;
    if (r == 0)
        r = repo_place_open(p, &call, NULL, &repo, err);
    if (r == 0)
        r = tier_points_newest(w->v, repo, repo_place_name(p), &w->from, err);
    if (r == 0)
        r = release_held(w, p, repo, err);
    if (r < 0)
        return r;
    conf_size_text(w->res.bytes, size);
    conf_size_text(w->res.unproved, stay);
    job_say(w->j, "released %s of %" PRIu64 " files, as %.60s has them in %s%s%s", size, w->res.files,
            w->from.rec.name, repo_place_name(p), w->res.unproved ? "; not there, so kept here: " : "",
            w->res.unproved ? stay : "");
    event_emit(w->s, "tier-released", w->v->rec.name, "%s of %" PRIu64 " files, in %s", size, w->res.files,
               repo_place_name(p));
    return 0;
}

int release_job(struct job *j, struct store *s, const struct job_info *info)
{
    struct working w = {.j = j, .id = info->id, .s = s, .v = verb_vol_of_id(s, info->vol)};
    cleanup(buf_free) struct buf err = {0};
    int r = verb_parse_line("tier", info->detail, strlen(info->detail), &w.a, &err);

    if (r == 0 && (!w.a.verb || !verb_given(&w.a, "to") || !w.v))
        r = -E_INVAL;
    snprintf(w.tag, sizeof(w.tag), "release-%" PRIu64, info->id);
    if (r == 0)
        r = snap_release_all(w.v, w.tag); /* of a daemon that died at it */
    if (r == 0)
        r = release(&w, &err);
    if (r < 0 && r != -E_CANCELED) {
        const char *why = err.len ? buf_cstr(&err) : backend_text(r);

        if (err.len || !verb_given(&w.a, "snap")) /* else the backup has said it */
            job_say(j, "%s", why);
        event_emit(s, "tier-failed", w.v ? w.v->rec.name : "", "%s", why);
    }
    verb_args_free(&w.a);
    return r;
}

/* --- the verbs ------------------------------------------------------------------------------------------------------ */

static int detail_of(const struct verb_args *a, const char *snap, struct buf *ret, struct buf *err)
{
    const struct verb_val *paths = verb_val(a, "path");
    int r = buf_puts(ret, "release");

    if (r == 0)
        r = verb_line_add(ret, "to", verb_text(a, "to"));
    if (r == 0)
        r = verb_line_add(ret, "snap", snap);
    if (r == 0)
        r = tier_secrets(a, ret);
    for (size_t i = 0; r == 0 && paths && i < paths->ntexts; i++)
        r = verb_line_add(ret, "path", paths->texts[i]);
    if (r == 0 && verb_given(a, "larger"))
        r = buf_printf(ret, " larger=%" PRIu64, verb_num(a, "larger"));
    if (r == 0 && verb_given(a, "older"))
        r = buf_printf(ret, " older=%" PRIu64 "s", verb_num(a, "older") / 1000000000);
    return r < 0
               ? r
               : verb_job_fits(
                     ret,
                     "tier release: the URL and the paths are too long together; name a directory above them",
                     err);
}

RUN(run_tier_release)
{
    static const struct verb_job_words words = {.verb = "tier release", .doing = "releases"};
    cleanup(repo_place_free) struct repo_place *p = calloc(1, sizeof(*p));
    cleanup(buf_free) struct buf detail = {0};
    struct layer_rec rec = {.name = ""};
    int r = p ? repo_place_parse(verb_text(a, "to"), false, a, p, err) : -E_NOMEM;

    if (r == 0 && verb_num(a, "upload"))
        r = backup_snapshot(c, p->conf.url, &rec, err);
    if (r == 0)
        r = detail_of(a, rec.name[0] ? rec.name : NULL, &detail, err);
    return r < 0 ? r : verb_job_run(c, a, "release", &detail, &words, out, err);
}

/* Where what is missing of the store's volumes lies, and by which files that is opened: they are needed as long as this says so. */
static int source_json(void *arg, uint32_t source, const void *text, size_t len)
{
    struct recall_source *src = calloc(1, sizeof(*src));
    struct jw *j = arg;
    int r = src ? recall_source_parse(text, len, src) : -E_NOMEM;

    (void)source;
    if (r == 0 && !src->ended) {
        jw_object(j, NULL);
        jw_str(j, "url", src->conf.url);
        jw_str(j, "recovery_point", src->point);
        jw_str(j, "passphrase_file", src->conf.passphrase_file[0] ? src->conf.passphrase_file : NULL);
        jw_str(j, "key_file", src->conf.key_file[0] ? src->conf.key_file : NULL);
        jw_close(j);
    }
    free(src);
    return r == -E_CORRUPT ? 0 : r;
}

int tier_sources_json(struct store *s, const char *key, struct jw *j)
{
    int r;

    jw_array(j, key);
    r = cold_source_each(s, source_json, j);
    jw_close(j);
    return r;
}

int tier_show(struct store *s, struct vol *v, bool json, struct buf *out)
{
    char remote[CONF_SIZE_TEXT], local[CONF_SIZE_TEXT];
    struct cold_counts n;
    struct cold_stat st;
    struct jw j;
    int r = cold_stat(v, &st);

    if (r < 0)
        return r;
    cold_get_counts(s, &n);
    conf_size_text(st.remote_bytes, remote);
    conf_size_text(st.local_bytes, local);
    if (!json)
        return buf_printf(out,
                          "in repositories only  %s, in %" PRIu64 " objects\nhere                  %s\n"
                          "fetched               %" PRIu64 " times since the store was opened, %" PRIu64
                          " failed\n",
                          remote, st.objects, local, n.fetches, n.failed);
    j = jw_begin(out, true);
    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_name(&j, "volume", v->rec.name, strlen(v->rec.name));
    jw_u64(&j, "remote_bytes", st.remote_bytes);
    jw_u64(&j, "local_bytes", st.local_bytes);
    jw_u64(&j, "remote_objects", st.objects);
    jw_u64(&j, "fetches", n.fetches);
    jw_u64(&j, "fetched_bytes", n.fetched_bytes);
    jw_u64(&j, "failed", n.failed);
    r = tier_sources_json(s, "store_sources", &j);
    jw_close(&j);
    return r < 0 ? r : jw_end(&j);
}

RUN(run_tier_status)
{
    (void)a;
    (void)err;
    return tier_show(c->env->store, c->vol, c->json, out);
}
