/* `varve create --from`: a volume out of a recovery point, in the process that has the store open. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "fs/recall.h"
#include "fs/verb_runs.h"
#include "snap/event.h"

#define ID_SHOWN 12

/* What stands in the tables of where the bytes are. */
static int on_source(void *arg, const struct point *p, const struct pin *pin, bool put, struct buf *ret)
{
    const struct repo_place *place = arg;
    struct recall_source *src = calloc(1, sizeof(*src));
    int r;

    if (!src)
        return -E_NOMEM;
    src->conf = place->conf;
    memcpy(src->point, p->id, sizeof(src->point));
    memcpy(put ? src->pin : src->meant, pin->id, sizeof(src->pin));
    src->volume = pin->volume;
    src->dir = pin->dir;
    src->generation = pin->generation;
    snprintf(src->name, sizeof(src->name), "%s", pin->volume_name);
    r = recall_source_print(src, ret);
    free(src);
    return r;
}

static int import(struct verb_ctx *c, const struct verb_args *a, struct repo_place *place, struct repo *repo,
                  struct import_result *res, struct buf *err)
{
    struct import_opts o = {.name = a->target, .arg = place, .source = on_source};
    struct point p = {.flags = 0};
    int r = point_find(repo, place->id, &p, err);

    if (r < 0)
        return r;
    memcpy(place->id, p.id, sizeof(place->id));
    recall_importing(c->env->store, true);
    r = import_run(repo, &p, c->env->store, &o, res, err);
    recall_importing(c->env->store, false);
    point_release(&p);
    return r;
}

static int made(struct verb_ctx *c, const struct verb_args *a, const struct repo_place *place,
                const struct import_result *res)
{
    int r = 0;

    event_emit(c->env->store, "volume-created", a->target, "from recovery point %.*s of %.300s", ID_SHOWN,
               place->id, repo_place_name(place));
    if (verb_given(a, "size"))
        r = volume_resize(res->vol, verb_num(a, "size"));
    if (r == 0 && !verb_num(a, "no-hydrate"))
        r = hydrate_begin(c->env->store, res->vol, &c->job);
    return r;
}

int create_from(struct verb_ctx *c, const struct verb_args *a, struct vol **ret, struct buf *err)
{
    cleanup(repo_place_free) struct repo_place *place = calloc(1, sizeof(*place));
    struct import_result res = {0};
    struct repo *repo = NULL;
    struct vol *v;
    int r = place ? 0 : -E_NOMEM;

    if (r == 0 && (verb_given(a, "inodes") || verb_given(a, "snapshot-limit"))) {
        buf_puts(err, "create: with --from only --size can be given; the recovery point tells the rest");
        return -E_USAGE;
    }
    if (r == 0 && volume_find(c->env->store, a->target, &v) == 0) {
        buf_printf(err, "%s: the store has a volume of this name already", a->target);
        return -E_EXIST;
    }
    if (r == 0)
        r = repo_place_parse(verb_text(a, "from"), true, a, place, err);
    if (r == 0)
        r = repo_place_open(place, NULL, NULL, &repo, err);
    if (r == 0)
        r = import(c, a, place, repo, &res, err);
    if (r < 0) {
        repo_close(repo);
        return r;
    }
    recall_lend(c->env->store, &place->conf, repo);
    *ret = res.vol;
    return made(c, a, place, &res);
}
