/* varve repo pins, varve repo forget: what volumes rely on in a repository. In the command line's process. */
#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"
#include "fs/verb_repo.h"
#include "fs/verb_show.h"
#include "tier/trash.h"

#define ID_SHOWN 12

struct pins {
    struct pin_seen {
        struct pin p; /* without its recovery points */
        char point[SHA_TEXT];
    } * v;
    size_t n;
    const char *which; /* NULL: all */
    struct buf *err;
};

static void pins_free(struct pins *l)
{
    free(l->v);
}

static bool is_meant(const char *which, const struct pin *p)
{
    size_t n = strlen(which);

    return strcmp(which, p->volume_name) == 0 || (n >= 8 && strncmp(which, p->id, n) == 0);
}

static int keep(void *arg, const struct pin *p)
{
    struct pins *l = arg;
    struct pin_seen *v;

    if (trash_is(p) ||
        (l->which && !is_meant(l->which, p))) /* of no volume: varve backup undelete tells those */
        return 0;
    if (!(v = array_more(l->v, l->n, sizeof(*v))))
        return -E_NOMEM;
    l->v = v;
    v += l->n++;
    *v = (struct pin_seen){.p = *p};
    v->p.points = (struct buf){0};
    pin_first(p, v->point);
    return 0;
}

static void unreadable(void *arg, const char *name, int why)
{
    struct pins *l = arg;

    buf_printf(l->err, "%s cannot be read: %s\n", name, err_text(why));
}

static int open_and_read(struct verb_args *a, struct verb_answer *ans, struct repo_place **p,
                         struct repo **repo, struct pins *l)
{
    int r = repo_place_of(a, ans, p);

    if (r == 0)
        r = repo_place_open(*p, NULL, NULL, repo, &ans->err);
    return r < 0 ? r : pins_each(*repo, keep, unreadable, l);
}

/* --- pins ----------------------------------------------------------------------------------------------------------- */

static int pins_json(const struct pins *l, struct buf *out)
{
    struct jw j = jw_begin(out, true);

    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_array(&j, "pins");
    for (size_t i = 0; i < l->n; i++) {
        const struct pin *p = &l->v[i].p;
        char uuid[UUID_TEXT_SIZE];

        jw_object(&j, NULL);
        jw_str(&j, "id", p->id);
        jw_name(&j, "volume", p->volume_name, strlen(p->volume_name));
        uuid_format(&p->volume, uuid);
        jw_str(&j, "volume_uuid", uuid);
        uuid_format(&p->store, uuid);
        jw_str(&j, "store_uuid", uuid);
        jw_u64(&j, "generation", p->generation);
        jw_time(&j, "created", p->created_ns);
        jw_str(&j, "recovery_point", l->v[i].point);
        jw_close(&j);
    }
    jw_close(&j);
    jw_close(&j);
    return jw_end(&j);
}

static int pins_text(const struct pins *l, struct buf *out)
{
    static const char *const heads[] = {"PIN", "VOLUME", "SINCE", "RECOVERY POINT"};
    struct show_cols c = {.ncols = ARRAY_LEN(heads)};

    if (l->n == 0)
        return buf_puts(out, "no volume relies on it\n");
    for (size_t i = 0; i < ARRAY_LEN(heads); i++)
        show_cell(&c, "%s", heads[i]);
    for (size_t i = 0; i < l->n; i++) {
        char when[32];

        show_time(l->v[i].p.created_ns, when);
        show_cell(&c, "%.*s", ID_SHOWN, l->v[i].p.id);
        show_cell_name(&c, l->v[i].p.volume_name);
        show_cell(&c, "%s", when);
        show_cell(&c, "%.*s", ID_SHOWN, l->v[i].point);
    }
    return show_cols_print(&c, "", out);
}

REPO_LOCAL(repo_pins)
{
    cleanup(repo_place_free) struct repo_place *p = NULL;
    cleanup(repo_done) struct repo *repo = NULL;
    cleanup(pins_free) struct pins l = {.err = &ans->err};
    int r = open_and_read(a, ans, &p, &repo, &l);

    if (r < 0)
        return r;
    return a->json ? pins_json(&l, &ans->out) : pins_text(&l, &ans->out);
}

/* --- forget --------------------------------------------------------------------------------------------------------- */

/* One volume's: a name may be that of volumes of several stores. */
static int one_volume(const struct pins *l, struct buf *err)
{
    for (size_t i = 1; i < l->n; i++)
        if (!uuid_equal(&l->v[i].p.store, &l->v[0].p.store) || !uuid_equal(&l->v[i].p.dir, &l->v[0].p.dir)) {
            buf_printf(
                err,
                "%s: volumes of several stores are called so; give 8 or more digits of one of varve repo "
                "pins",
                l->which);
            return -E_USAGE;
        }
    if (l->n > 0)
        return 0;
    buf_printf(err, "no volume %s relies on this repository; varve repo pins shows which do", l->which);
    return -E_NOENT;
}

REPO_LOCAL(repo_forget)
{
    cleanup(repo_place_free) struct repo_place *p = NULL;
    cleanup(repo_done) struct repo *repo = NULL;
    cleanup(pins_free) struct pins l = {.which = verb_text(a, "volume"), .err = &ans->err};
    int r = open_and_read(a, ans, &p, &repo, &l);
    struct jw j;

    if (r == 0)
        r = one_volume(&l, &ans->err);
    for (size_t i = 0; r == 0 && i < l.n; i++)
        r = pin_drop(repo, l.v[i].p.id);
    if (r < 0)
        return r;
    if (!a->json)
        return buf_printf(
            &ans->out,
            "what volume %s relies on may be pruned when no recovery point has it: %zu pins removed\n",
            l.v[0].p.volume_name, l.n);
    j = jw_begin(&ans->out, true);
    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_u64(&j, "removed", l.n);
    jw_close(&j);
    return jw_end(&j);
}
