/* Snapshots that are uploaded. A class of snapshots names repositories, by a profile or itself; each of its snapshots is taken at once, and
 * a job of the daemon brings it to each of them. It is ready when all have it, and its id is a global one from the beginning: recovery
 * points are found by the uuid of their snapshot. What is on its way is noted in STORE/csi/.uploads/SNAPSHOT.json. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/jw.h"
#include "base/log.h"
#include "plugin/csi.h"

#define REPO_MAX 200 /* labels are short */

/* --- classes ---------------------------------------------------------------------------------------------------------------- */

int csi_upload_class_take(struct csi_call *k, size_t n, csi_entry *const *entries,
                          struct csi_upload_class *ret)
{
    *ret = (struct csi_upload_class){.n = 0};
    for (size_t i = 0; i < n; i++) {
        const csi_entry *e = entries[i];

        if (csi_entry_is(e, "profile"))
            ret->profile = e->value;
        else if (csi_entry_is(e, "repository"))
            ret->to[0] = e->value;
        else if (!csi_of_kubernetes(e->key) && !BROKEN(VARVE_BREAK_csi_unknown))
            return csi_fail(k, GRPC_INVALID_ARGUMENT,
                            "parameters[%.64s]: is not known; known are profile, repository", e->key);
    }
    if (ret->profile && ret->to[0])
        return csi_fail(k, GRPC_INVALID_ARGUMENT,
                        "parameters[repository]: the profile names repositories; give one of the two");
    ret->n = ret->to[0] ? 1 : 0;
    ret->field = ret->profile ? "parameters[profile]" : "parameters[repository]";
    return 0;
}

static bool has(const struct csi_upload_class *c, const char *repo)
{
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->to[i], repo) == 0)
            return true;
    return false;
}

static int profile_repos(struct csi_call *k, struct csi_upload_class *c)
{
    const char *const words[] = {"profile", "show", c->profile, "--json", NULL};
    cleanup(csi_json_free) json_t *j = NULL;
    const char *why, *domain;
    json_t *o;
    size_t i;
    int r = csi_varve_json(k, words, &j, &why);

    if (r == 0 && !j)
        r = csi_fail(k, GRPC_INVALID_ARGUMENT, "%s: %s", c->field, why);
    if (r < 0)
        return r;
    domain = json_string_value(json_object_get(j, "domain"));
    c->apart = domain && strcmp(domain, "own") == 0 && !BROKEN(VARVE_BREAK_csi_domain);
    json_array_foreach(json_object_get(j, "backups"), i, o)
    {
        const char *to = json_string_value(json_object_get(o, "to"));

        if (!to || has(c, to))
            continue;
        if (c->n == CSI_UPLOADS_MAX)
            return csi_fail(k, GRPC_INVALID_ARGUMENT, "%s: it names more than %d repositories", c->field,
                            CSI_UPLOADS_MAX);
        c->to[c->n] = arena_dup(&k->arena, to);
        if (!c->to[c->n++])
            return csi_nomem(k);
    }
    return 0;
}

/* A profile that names none means that of the volume's class. */
static int volume_repo(struct csi_call *k, const struct csi_volume *v, struct csi_upload_class *c)
{
    struct csi_facts *f = NULL;
    int r = csi_facts_get(k, v->name, &f);
    const char *repo = r == 0 && f ? csi_facts_param(k, f, "repository") : NULL;

    if (r < 0)
        return r;
    if (!repo)
        return csi_fail(k, GRPC_INVALID_ARGUMENT,
                        "%s: the profile names no repository, nor does the volume's class", c->field);
    c->to[c->n++] = repo;
    return 0;
}

int csi_upload_class_look(struct csi_call *k, const struct csi_volume *v, struct csi_upload_class *c)
{
    int r = c->profile ? profile_repos(k, c) : 0;

    if (r == 0 && c->profile && c->n == 0)
        r = volume_repo(k, v, c);
    for (size_t i = 0; r == 0 && i < c->n; i++) {
        if (strlen(c->to[i]) > REPO_MAX)
            r = csi_fail(k, GRPC_INVALID_ARGUMENT,
                         "%s: the URL is longer than %d bytes; give it a name by varve repo add", c->field,
                         REPO_MAX);
        else
            r = csi_repository_check(k, c->field, c->to[i]);
    }
    return r;
}

/* --- what is on its way ------------------------------------------------------------------------------------------------------ */

struct upload {
    size_t n;
    struct one {
        const char *to;
        uint64_t job; /* 0: none */
        bool done;
        const char *why; /* it failed; not kept */
        char result[32];
    } v[CSI_UPLOADS_MAX];
};

static const char *file_of(struct csi_call *k, const char *uuid)
{
    return arena_printf(&k->arena, ".uploads/%s.json", uuid);
}

/* n 0: nothing is noted. */
static int upload_get(struct csi_call *k, const char *uuid, struct upload *ret)
{
    cleanup(csi_json_free) json_t *j = NULL;
    const char *file = file_of(k, uuid);
    json_t *o;
    size_t i;
    int r = file ? csi_file_get(k, file, &j) : csi_nomem(k);

    *ret = (struct upload){.n = 0};
    if (r < 0 || !j)
        return r;
    json_array_foreach(json_object_get(j, "to"), i, o)
    {
        struct one *one = &ret->v[ret->n];
        const char *to = json_string_value(json_object_get(o, "repository"));

        if (!to || ret->n == CSI_UPLOADS_MAX)
            return csi_fail(k, GRPC_INTERNAL, "csi/%s: is damaged", file);
        one->to = arena_dup(&k->arena, to);
        if (!one->to)
            return csi_nomem(k);
        one->job = (uint64_t)json_integer_value(json_object_get(o, "job"));
        one->done = json_is_true(json_object_get(o, "done"));
        ret->n++;
    }
    return 0;
}

static int upload_put(struct csi_call *k, const struct csi_snapshot *s, const struct upload *u)
{
    cleanup(buf_free) struct buf b = {0};
    struct jw j = jw_begin(&b, true);
    const char *file = file_of(k, s->uuid);

    if (!file)
        return csi_nomem(k);
    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_str(&j, "name", s->csi_name);
    jw_array(&j, "to");
    for (size_t i = 0; i < u->n; i++) {
        jw_object(&j, NULL);
        jw_str(&j, "repository", u->v[i].to);
        jw_u64(&j, "job", u->v[i].job);
        jw_bool(&j, "done", u->v[i].done);
        jw_close(&j);
    }
    jw_close(&j);
    jw_close(&j);
    return jw_end(&j) < 0 ? csi_nomem(k) : csi_file_put(k, file, b.data, b.len);
}

static bool all_done(const struct upload *u)
{
    for (size_t i = 0; i < u->n; i++)
        if (!u->v[i].done)
            return false;
    return u->n > 0;
}

/* --- manifests: what Kubernetes knows of the volume travels along ------------------------------------------------------------- */

static const char *manifests_of(struct csi_call *k, const char *uuid)
{
    return arena_printf(&k->arena, ".manifests/%s", uuid);
}

static int manifests_drop(struct csi_call *k, const char *uuid)
{
    const char *file = manifests_of(k, uuid);

    return file ? csi_file_drop(k, file) : csi_nomem(k);
}

/* A snapshot without them is better than none: that they cannot be had is told in the log. */
static int manifests_take(struct csi_call *k, const struct csi_snapshot *s)
{
    cleanup(buf_free) struct buf list = {0};
    const char *file = manifests_of(k, s->uuid), *why;
    struct csi_facts *f = NULL;
    int r = file ? csi_facts_get(k, s->volume->name, &f) : csi_nomem(k);

    if (r < 0 || !f || !f->claim)
        return r;
    r = csi_manifests(k, f->claim, &list, &why);
    if (r == 0 && why)
        log_warn("csi", "no manifests", "volume=%s claim=%s why=\"%s\"", s->volume->name, f->claim, why);
    return r < 0 || why ? r : csi_file_put(k, file, list.data, list.len);
}

/* The option of backups; *ret NULL: there are none. */
static int manifests_word(struct csi_call *k, const struct csi_snapshot *s, const char **ret)
{
    const char *path = arena_printf(&k->arena, "%s/csi/.manifests/%s", k->d->store, s->uuid);

    *ret = NULL;
    if (!path)
        return csi_nomem(k);
    if (access(path, R_OK) < 0)
        return 0;
    *ret = arena_printf(&k->arena, "--attach=manifests.json=%s", path);
    return *ret ? 0 : csi_nomem(k);
}

/* --- jobs --------------------------------------------------------------------------------------------------------------------- */

/* One that is not done: how its job ended, if it did. */
static int job_take(struct csi_call *k, const json_t *jobs, struct one *one)
{
    bool found = false;
    json_t *o;
    size_t i;

    json_array_foreach(json_object_get(jobs, "jobs"), i, o)
    {
        const char *result = json_string_value(json_object_get(o, "result"));
        const char *why = json_string_value(json_object_get(o, "text"));

        if ((uint64_t)json_integer_value(json_object_get(o, "id")) != one->job)
            continue;
        found = true;
        if (json_is_null(json_object_get(o, "ended")))
            break;
        one->job = 0;
        one->done = result && strcmp(result, "OK") == 0;
        if (one->done)
            break;
        snprintf(one->result, sizeof(one->result), "%s", result ? result : "");
        one->why = arena_dup(&k->arena, why && *why ? why : "the upload ended");
        return one->why ? 0 : csi_nomem(k);
    }
    if (!found)
        one->job = 0; /* forgotten */
    return 0;
}

/* *ret_changed: something has ended since it was noted. */
static int jobs_look(struct csi_call *k, struct upload *u, bool *ret_changed)
{
    cleanup(csi_json_free) json_t *j = NULL;
    struct csi_result res;
    char *out = NULL;
    bool any = false;
    int r = 0;

    *ret_changed = false;
    for (size_t i = 0; i < u->n; i++)
        any |= !u->v[i].done && u->v[i].job;
    if (!any)
        return 0;
    r = CSI_VERB(k, &res, &out, "job", "list", ".", "--json");
    if (r == 0 && !csi_result_is(&res, "OK"))
        r = csi_result_fail(k, "store", &res);
    if (r == 0 && !(j = json_loads(out, 0, NULL)))
        r = csi_nomem(k);
    for (size_t i = 0; r == 0 && i < u->n; i++)
        if (!u->v[i].done && u->v[i].job) {
            r = job_take(k, j, &u->v[i]);
            *ret_changed |= u->v[i].job == 0;
        }
    return r;
}

/* Who writes what is noted of this snapshot is alone; tries, of 10 ms. */
static int enter(struct csi_call *k, struct csi_held *held, const char *uuid, int tries)
{
    const char *key = arena_printf(&k->arena, "u/%s", uuid);
    int r;

    do {
        r = key ? csi_enter(k, held, "snapshot_id", key) : csi_nomem(k);
    } while (r < 0 && k->code == GRPC_ABORTED && tries-- > 0 && usleep(10000) == 0);
    return r;
}

/* The daemon forgets jobs. Where this does not go, it is for the next one that asks. */
static void done_note(struct csi_call *k, const struct csi_snapshot *s)
{
    cleanup(csi_leave) struct csi_held held = {.n = 0};
    struct upload u;
    bool changed;

    if (enter(k, &held, s->uuid, 0) == 0 && upload_get(k, s->uuid, &u) == 0 &&
        jobs_look(k, &u, &changed) == 0 && changed && all_done(&u))
        upload_put(k, s, &u);
}

int csi_upload_done(struct csi_call *k, const struct csi_snapshot *s, bool *ret)
{
    struct upload u;
    bool changed;
    int r = upload_get(k, s->uuid, &u);

    *ret = false;
    if (r == 0)
        r = jobs_look(k, &u, &changed);
    if (r == 0)
        *ret = all_done(&u) || BROKEN(VARVE_BREAK_csi_ready);
    if (r == 0 && changed && all_done(&u))
        done_note(k, s);
    return r == 0 && *ret ? manifests_drop(k, s->uuid) : r;
}

/* --- on its way -------------------------------------------------------------------------------------------------------------- */

static int begin(struct csi_call *k, const struct csi_snapshot *s, struct one *one,
                 const struct csi_upload_class *c, size_t n, csi_entry *const *secrets)
{
    cleanup(csi_secrets_drop) struct csi_secrets sec = {.d = k->d};
    cleanup(csi_json_free) json_t *j = NULL;
    const char *words[16] = {"backup", "run", s->volume->name, "--background", "--json"}, *attach = NULL;
    struct csi_result res;
    char *out = NULL;
    size_t count = 5;
    int r = csi_secrets_take(k, one->to, n, secrets, &sec);

    words[count++] = arena_printf(&k->arena, "--snap=%s", s->name);
    words[count++] = arena_printf(&k->arena, "--to=%s", one->to);
    if (r == 0 && (!words[5] || !words[6]))
        r = csi_nomem(k);
    if (c->apart)
        words[count++] = "--domain=own";
    if (r == 0)
        r = manifests_word(k, s, &attach);
    for (size_t i = 0; i < sec.n; i++)
        words[count++] = sec.words[i];
    words[count] = attach;
    if (r == 0)
        r = csi_verb(k, &res, &out, words);
    if (r == 0 && !csi_result_is(&res, "OK"))
        r = csi_result_fail(k, c->field, &res);
    if (r == 0 && !(j = json_loads(out, 0, NULL)))
        r = csi_nomem(k);
    if (r == 0)
        one->job = (uint64_t)json_integer_value(json_object_get(json_object_get(j, "job"), "id"));
    return r;
}

/* The CO asks again, and that begins it anew. */
static int failed(struct csi_call *k, const struct csi_upload_class *c, const struct upload *u)
{
    for (size_t i = 0; i < u->n; i++)
        if (u->v[i].why) {
            struct csi_result res = {.why = arena_printf(&k->arena, "%s: %s", u->v[i].to, u->v[i].why)};

            snprintf(res.result, sizeof(res.result), "%s", u->v[i].result);
            if (!res.why)
                return csi_nomem(k);
            if (csi_result_is(&res, "NOENT") || csi_result_is(&res, "REPO_MISSING"))
                return csi_fail(k, GRPC_FAILED_PRECONDITION, "%s: %s", c->field, res.why);
            csi_result_fail(k, c->field, &res);
            return k->code == GRPC_INTERNAL ? csi_fail(k, GRPC_UNAVAILABLE, "%s: %s", c->field, res.why)
                                            : -E_FAILED;
        }
    return 0;
}

int csi_upload_go(struct csi_call *k, const struct csi_snapshot *s, const struct csi_upload_class *c,
                  size_t n, csi_entry *const *secrets)
{
    cleanup(csi_leave) struct csi_held held = {.n = 0};
    struct upload u = {.n = 0};
    bool changed = false;
    int r = enter(k, &held, s->uuid, 100), f;

    if (r == 0)
        r = upload_get(k, s->uuid, &u);
    if (r == 0 && u.n == 0) {
        for (; u.n < c->n; u.n++)
            u.v[u.n].to = c->to[u.n];
        changed = true;
        r = manifests_take(k, s);
    } else if (r == 0) {
        r = jobs_look(k, &u, &changed);
    }
    if (r < 0)
        return r;
    f = failed(k, c, &u);
    for (size_t i = 0; r == 0 && f == 0 && i < u.n; i++)
        if (!u.v[i].done && !u.v[i].job) {
            changed = true;
            r = begin(k, s, &u.v[i], c, n, secrets);
        }
    if (changed) { /* also of what has failed: that is not asked about again */
        enum grpc_code code = k->code;
        const char *why = k->why;
        int p = upload_put(k, s, &u);

        if (r < 0 || f < 0) {
            k->code = code;
            k->why = why;
        } else {
            r = p;
        }
    }
    return r < 0 ? r : f;
}

/* --- away with it ------------------------------------------------------------------------------------------------------------ */

static int stop(struct csi_call *k, const struct upload *u)
{
    bool any = false;

    for (size_t i = 0; i < u->n; i++)
        if (!u->v[i].done && u->v[i].job) {
            const char *id = arena_printf(&k->arena, "%" PRIu64, u->v[i].job);
            struct csi_result res;
            int r = id ? CSI_VERB(k, &res, NULL, "job", "cancel", ".", id) : csi_nomem(k);

            if (r < 0)
                return r;
            any = true;
        }
    return any ? csi_fail(k, GRPC_ABORTED, "snapshot_id: it is being uploaded, which is being stopped") : 0;
}

/* In the repositories first: what is noted of them goes last. */
int csi_upload_delete(struct csi_call *k, const char *id, const struct csi_snapshot *s, size_t n,
                      csi_entry *const *secrets)
{
    cleanup(csi_leave) struct csi_held held = {.n = 0};
    const char *uuid = strrchr(id, '#') + 1, *file;
    struct uuid whole;
    struct upload u = {.n = 0};
    bool changed, noted = uuid_parse(uuid, &whole) == 0;
    int r = enter(k, &held, uuid, 100);

    if (r == 0 && noted)
        r = upload_get(k, uuid, &u);
    if (r == 0)
        r = jobs_look(k, &u, &changed);
    if (r == 0)
        r = stop(k, &u);
    if (r == 0 && u.n == 0)
        r = csi_point_delete(k, "snapshot_id", id, n, secrets);
    for (size_t i = 0; r == 0 && i < u.n; i++) {
        const char *at = arena_printf(&k->arena, "%s#%s", u.v[i].to, uuid);

        r = at ? csi_point_delete(k, "snapshot_id", at, n, secrets) : csi_nomem(k);
        if (r < 0 && !u.v[i].done && k->code == GRPC_FAILED_PRECONDITION)
            r = 0; /* there is no such repository: it never got there */
    }
    if (r == 0 && s)
        r = csi_snapshot_delete(k, s);
    if (r < 0 || u.n == 0)
        return r;
    file = file_of(k, uuid);
    r = file ? manifests_drop(k, uuid) : csi_nomem(k);
    return r < 0 ? r : csi_file_drop(k, file);
}
