/* varve repo domains, varve repo shred: deduplication domains of a repository. In the command line's process. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"
#include "fs/verb_repo.h"
#include "fs/verb_show.h"
#include "tier/domains.h"
#include "tier/trash.h"

#define ID_SHOWN 12

struct seen {
    struct domain_head h;
    uint64_t points, pins;
    int64_t taken_ns; /* of the newest recovery point, whose volume this is */
    char volume[POINT_NAME_MAX + 1], volume_uuid[UUID_TEXT_SIZE];
    char relies[POINT_NAME_MAX + 1]; /* a volume that reads from it */
};
struct domains {
    struct repo *r;
    struct seen *v;
    size_t n;
    const char *pinned; /* volume of the pin under way */
    struct buf *err;
};

static void domains_free(struct domains *l)
{
    free(l->v);
}

static struct seen *find(struct domains *l, const struct id16 *id)
{
    for (size_t i = 0; i < l->n; i++)
        if (repo_domain_same(l->r, &l->v[i].h.id, id))
            return &l->v[i];
    return NULL;
}

/* One that is in both places is being shredded, and will be. */
static int keep(void *arg, const struct domain_head *h)
{
    struct domains *l = arg;
    struct seen *v = find(l, &h->id);

    if (v) {
        v->h.flags |= h->flags;
        return 0;
    }
    if (!(v = array_more(l->v, l->n, sizeof(*v))))
        return -E_NOMEM;
    l->v = v;
    l->v[l->n++] = (struct seen){.h = *h};
    return 0;
}

static void unreadable(void *arg, const char *name, int why)
{
    buf_printf(((struct domains *)arg)->err, "%s cannot be read: %s\n", name, err_text(why));
}

static int point_seen(void *arg, const struct point *p)
{
    struct seen *v = find(arg, &p->domain);

    if (!v)
        return 0;
    v->points++;
    if (v->points > 1 && p->taken_ns <= v->taken_ns)
        return 0;
    v->taken_ns = p->taken_ns;
    snprintf(v->volume, sizeof(v->volume), "%s", p->volume_name);
    uuid_format(&p->volume, v->volume_uuid);
    return 0;
}

static int pinned_seen(void *arg, const struct point *p)
{
    struct domains *l = arg;
    struct seen *v = find(l, &p->domain);

    if (v) {
        v->pins++;
        snprintf(v->relies, sizeof(v->relies), "%s", l->pinned);
    }
    return 0;
}

static int pin_seen(void *arg, const struct pin *p)
{
    struct domains *l = arg;

    if (trash_is(p)) /* of no volume */
        return 0;
    l->pinned = p->volume_name;
    return pin_points(l->r, p, pinned_seen, l);
}

static int open_and_read(struct verb_args *a, struct verb_answer *ans, struct repo_place **p,
                         struct domains *l)
{
    int r = repo_place_of(a, ans, p);

    if (r == 0)
        r = repo_place_open(*p, NULL, NULL, &l->r, &ans->err);
    if (r < 0)
        return r;
    r = domains_each(l->r, keep, unreadable, l);
    if (r == 0)
        r = points_each(l->r, point_seen, NULL, l);
    if (r == 0)
        r = pins_each(l->r, pin_seen, NULL, l);
    if (r < 0)
        buf_printf(&ans->err, "%s: %s", repo_place_name(*p), backend_text(r));
    return r;
}

static bool is_own(const struct seen *v)
{
    return v->h.flags & DOMAIN_OWN;
}

static bool is_shredded(const struct seen *v)
{
    return v->h.flags & DOMAIN_SHREDDED;
}

/* --- domains -------------------------------------------------------------------------------------------------------- */

static int domains_json(const struct domains *l, struct buf *out)
{
    struct jw j = jw_begin(out, true);

    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_array(&j, "domains");
    for (size_t i = 0; i < l->n; i++) {
        const struct seen *v = &l->v[i];
        char hex[ID16_TEXT];

        hex_format(v->h.id.b, sizeof(v->h.id.b), hex);
        jw_object(&j, NULL);
        jw_str(&j, "id", hex);
        jw_bool(&j, "own", is_own(v));
        jw_bool(&j, "shredded", is_shredded(v));
        jw_time(&j, "since", v->h.created_ns);
        jw_name(&j, "volume", v->volume, strlen(v->volume));
        jw_str(&j, "volume_uuid", is_own(v) && v->points ? v->volume_uuid : NULL);
        jw_u64(&j, "recovery_points", v->points);
        jw_u64(&j, "pins", v->pins);
        jw_close(&j);
    }
    jw_close(&j);
    jw_close(&j);
    return jw_end(&j);
}

static int domains_text(const struct domains *l, struct buf *out)
{
    static const char *const heads[] = {"DOMAIN", "KIND", "SINCE", "RECOVERY POINTS", "VOLUME"};
    struct show_cols c = {.ncols = ARRAY_LEN(heads)};

    for (size_t i = 0; i < ARRAY_LEN(heads); i++)
        show_cell(&c, "%s", heads[i]);
    for (size_t i = 0; i < l->n; i++) {
        const struct seen *v = &l->v[i];
        char when[32], hex[ID16_TEXT];

        show_time(v->h.created_ns, when);
        hex_format(v->h.id.b, sizeof(v->h.id.b), hex);
        show_cell(&c, "%.*s", ID_SHOWN, hex);
        show_cell(&c, "%s", is_shredded(v) ? "shredded" : is_own(v) ? "own" : "shared");
        show_cell(&c, "%s", when);
        show_cell(&c, "%" PRIu64, v->points);
        show_cell_name(&c, is_own(v) && v->points ? v->volume : "-");
    }
    return show_cols_print(&c, "", out);
}

REPO_LOCAL(repo_domains)
{
    cleanup(repo_place_free) struct repo_place *p = NULL;
    cleanup(domains_free) struct domains l = {.err = &ans->err};
    int r = open_and_read(a, ans, &p, &l);

    if (r == 0)
        r = a->json ? domains_json(&l, &ans->out) : domains_text(&l, &ans->out);
    repo_close(l.r);
    return r;
}

/* --- shred ---------------------------------------------------------------------------------------------------------- */

/* By the digits, or by its volume's name: then it is one that has recovery points. */
static bool is_meant(const struct seen *v, const char *which)
{
    char hex[ID16_TEXT];
    size_t n = strlen(which);

    hex_format(v->h.id.b, sizeof(v->h.id.b), hex);
    return (n >= 8 && n < sizeof(hex) && strncmp(hex, which, n) == 0) ||
           (is_own(v) && v->points && strcmp(v->volume, which) == 0);
}

static int choose(const struct domains *l, const char *which, const struct seen **ret, struct buf *err)
{
    size_t n = 0;

    for (size_t i = 0; i < l->n; i++)
        if (is_meant(&l->v[i], which)) {
            *ret = &l->v[i];
            n++;
        }
    if (n == 0) {
        buf_printf(err,
                   "repo shred: %.70s: no domain and no volume with one of its own is called so; varve repo "
                   "domains shows what there is",
                   which);
        return -E_NOENT;
    }
    if (n > 1) {
        buf_printf(
            err,
            "repo shred: %.70s: that are %zu domains; give 8 or more digits of one of varve repo domains",
            which, n);
        return -E_USAGE;
    }
    if (is_own(*ret))
        return 0;
    buf_puts(
        err,
        "repo shred: that is the domain of all volumes without one of their own; a repository as a whole is "
        "destroyed by its keys and its objects");
    return -E_USAGE;
}

static int may_shred(const struct seen *v, bool force, struct buf *err)
{
    if (!v->pins || force)
        return 0;
    buf_printf(err,
               "repo shred: volume %s reads from it what it has not here, and would lose that: varve hydrate "
               "first, or --force",
               v->relies);
    return -E_BUSY;
}

static int shredded_say(const struct verb_args *a, const struct seen *v, uint64_t points, struct buf *out)
{
    char hex[ID16_TEXT];
    struct jw j;

    hex_format(v->h.id.b, sizeof(v->h.id.b), hex);
    if (!a->json)
        return buf_printf(out,
                          "the key of domain %.*s is destroyed, with %" PRIu64
                          " recovery points: nothing can read it any more\nvarve repo prune frees its room\n",
                          ID_SHOWN, hex, points);
    j = jw_begin(out, true);
    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_str(&j, "shredded", hex);
    jw_u64(&j, "recovery_points", points);
    jw_close(&j);
    return jw_end(&j);
}

REPO_LOCAL(repo_shred)
{
    cleanup(repo_place_free) struct repo_place *p = NULL;
    cleanup(domains_free) struct domains l = {.err = &ans->err};
    const struct seen *v = NULL;
    uint64_t points = 0;
    int r = open_and_read(a, ans, &p, &l);

    if (r == 0)
        r = choose(&l, verb_text(a, "domain"), &v, &ans->err);
    if (r == 0)
        r = may_shred(v, verb_num(a, "force"), &ans->err);
    if (r == 0 && (r = domain_shred(l.r, &v->h.id, &points)) < 0)
        buf_printf(&ans->err, "%s: %s", repo_place_name(p),
                   r == -E_ACCES
                       ? "the domain's key is still there: what keeps it (object lock?) must let it go first"
                       : backend_text(r));
    if (r == 0)
        r = shredded_say(a, v, points, &ans->out);
    repo_close(l.r);
    return r;
}
