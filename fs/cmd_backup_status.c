/* varve backup status: of each volume the last good backup, its age, and how many copies there are. In the command line's process. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/clock.h"
#include "conf/value.h"
#include "fs/verb_repo.h"
#include "fs/verb_show.h"

#define COPIES_ADVISED 3
#define MEDIA_ADVISED 2

struct volume {
    struct uuid uuid;
    char name[POINT_NAME_MAX + 1];
    int64_t taken_ns, created_ns; /* of the newest */
    char where[CONF_REPO_URL + 1], id[SHA_TEXT];
    uint64_t points;
    unsigned repos, away; /* with a recovery point; of these, elsewhere */
    uint64_t seen;        /* the repository it was counted for last */
};
struct status {
    struct volume *v;
    size_t n;
    uint64_t repo; /* under way, from 1 */
    const struct repo_place *place;
    struct verb_args *a;
    struct verb_answer *ans;
    bool failed;
};

static struct volume *volume_of(struct status *s, const struct uuid *uuid)
{
    struct volume *v;

    for (size_t i = 0; i < s->n; i++)
        if (uuid_equal(&s->v[i].uuid, uuid))
            return &s->v[i];
    if (!(v = array_more(s->v, s->n, sizeof(*v))))
        return NULL;
    s->v = v;
    v[s->n] = (struct volume){.uuid = *uuid};
    return &v[s->n++];
}

static int count(void *arg, const struct point *p)
{
    struct status *s = arg;
    struct volume *v = volume_of(s, &p->volume);

    if (!v)
        return -E_NOMEM;
    v->points++;
    if (v->seen != s->repo) {
        v->seen = s->repo;
        v->repos++;
        v->away += strncmp(s->place->conf.url, "dir:", 4) != 0;
    }
    if (v->taken_ns && p->taken_ns <= v->taken_ns)
        return 0;
    v->taken_ns = p->taken_ns;
    v->created_ns = p->created_ns;
    snprintf(v->name, sizeof(v->name), "%s", p->volume_name);
    snprintf(v->where, sizeof(v->where), "%s", repo_place_name(s->place));
    memcpy(v->id, p->id, sizeof(p->id));
    return 0;
}

/* One repository; one that does not answer is told, and the others are counted. */
static int look(struct status *s, const char *name)
{
    cleanup(repo_place_free) struct repo_place *p = calloc(1, sizeof(*p));
    cleanup(repo_done) struct repo *repo = NULL;
    cleanup(buf_free) struct buf why = {0};
    int r = p ? repo_place_parse(name, false, s->a, p, &why) : -E_NOMEM;

    s->repo++;
    s->place = p;
    if (r == 0)
        r = repo_place_open(p, NULL, NULL, &repo, &why);
    if (r == 0)
        r = points_each(repo, count, NULL, s);
    if (r == 0 || r == -E_NOMEM)
        return r;
    s->failed = true;
    return buf_printf(&s->ans->err, "%s: %s\n", name, why.len ? buf_cstr(&why) : err_text(r));
}

static int look_conf(void *arg, const struct conf_repo *c)
{
    return look(arg, c->name);
}

/* --- words ---------------------------------------------------------------------------------------------------------- */

static unsigned media(const struct volume *v)
{
    return 1 + (v->repos > 0 ? 1 : 0) + (v->away > 0 && v->away < v->repos ? 1 : 0);
}

static bool is_advised(const struct volume *v)
{
    return v->repos + 1 >= COPIES_ADVISED && media(v) >= MEDIA_ADVISED && v->away > 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct volume *)a)->name, ((const struct volume *)b)->name);
}

static int status_json(const struct status *s, int64_t now, struct buf *out)
{
    struct jw j = jw_begin(out, true);
    char uuid[UUID_TEXT_SIZE];

    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_array(&j, "volumes");
    for (size_t i = 0; i < s->n; i++) {
        const struct volume *v = &s->v[i];

        jw_object(&j, NULL);
        uuid_format(&v->uuid, uuid);
        jw_name(&j, "volume", v->name, strlen(v->name));
        jw_str(&j, "volume_uuid", uuid);
        jw_str(&j, "last_id", v->id);
        jw_name(&j, "last_repository", v->where, strlen(v->where));
        jw_time(&j, "last_taken", v->taken_ns);
        jw_i64(&j, "age_seconds", (now - v->taken_ns) / 1000000000);
        jw_u64(&j, "recovery_points", v->points);
        jw_u64(&j, "copies", v->repos + 1);
        jw_u64(&j, "media", media(v));
        jw_u64(&j, "elsewhere", v->away);
        jw_bool(&j, "three_two_one", is_advised(v));
        jw_close(&j);
    }
    jw_close(&j);
    jw_close(&j);
    return jw_end(&j);
}

static int status_text(const struct status *s, int64_t now, struct buf *out)
{
    static const char *const heads[] = {"VOLUME", "LAST",   "AGE",       "WHERE",
                                        "POINTS", "COPIES", "ELSEWHERE", "3-2-1"};
    struct show_cols c = {.ncols = ARRAY_LEN(heads), .right = 0x70};

    if (s->n == 0)
        return buf_puts(out, "no recovery points\n");
    for (size_t i = 0; i < ARRAY_LEN(heads); i++)
        show_cell(&c, "%s", heads[i]);
    for (size_t i = 0; i < s->n; i++) {
        const struct volume *v = &s->v[i];
        char when[32], age[CONF_SIZE_TEXT];

        show_time(v->taken_ns, when);
        conf_duration_text(MAX_OF(now - v->taken_ns, (int64_t)0), age);
        show_cell_name(&c, v->name);
        show_cell(&c, "%s", when);
        show_cell(&c, "%s", age);
        show_cell_name(&c, v->where);
        show_cell(&c, "%" PRIu64, v->points);
        show_cell(&c, "%u", v->repos + 1);
        show_cell(&c, "%u", v->away);
        show_cell(&c, "%s", is_advised(v) ? "yes" : "no");
    }
    return show_cols_print(&c, "", out);
}

REPO_LOCAL(backup_status)
{
    struct status s = {.a = a, .ans = ans};
    const char *one = verb_text(a, "repo");
    int64_t now = clock_wall_ns();
    int r = one ? look(&s, one) : conf_repo_each(look_conf, &s);

    if (r == 0 && s.repo == 0) {
        buf_puts(&ans->err, "no repositories; varve repo add NAME URL adds one, or name a URL here");
        r = -E_NOENT;
    }
    if (s.n)
        qsort(s.v, s.n, sizeof(*s.v), by_name);
    if (r == 0)
        r = a->json ? status_json(&s, now, &ans->out) : status_text(&s, now, &ans->out);
    ans->exit_code = s.failed ? 1 : 0;
    free(s.v);
    return r;
}
