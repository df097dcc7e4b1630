/* Volumes that follow their pod: classes with mobility: repository. Such a volume has no topology and an id that says no node,
 * mobile/REPO/NAME; what a node has of it is a copy, the store's volume mobile-REPO-NAME.
 *
 * Whose it is lies in the repository, by epochs (varve backup owner): a store that stages it takes the next one, unless it is at work in
 * the newest already. An epoch has one owner, so of two that try one goes on. It is let go when its pod has ended (NodeUnpublish, for which
 * the pod's end waits): by a recovery point with the labels csi.mobile=NAME, csi.epoch=N and csi.handed=yes; the next owner's copy is made of
 * the newest. While there is none of the newest epoch that store may be at work: others wait for takeover_ms before they take it over. A copy
 * of an epoch that is over is fenced: it is staged no more and backed up no more. One that was handed over is deleted, another is kept as
 * diverged-NAME-EPOCH. A volume that was deleted has an epoch more, which is nobody's. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "plugin/csi.h"

#define ID "mobile/"
#define LOCAL "mobile-"
#define NAME "csi-"
#define NAME_LEN (sizeof(NAME) - 1 + 32)
#define REPO_MAX 64
#define NOBODY "00000000-0000-0000-0000-000000000000"

/* --- names -------------------------------------------------------------------------------------------------------------------- */

struct mobile {
    char repo[REPO_MAX + 1], name[NAME_LEN + 1], local[CSI_NAME_SIZE];
};

static bool is_repo(const char *s, size_t n)
{
    return n > 0 && n <= REPO_MAX &&
           strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") >= n;
}

static bool parse(const char *s, const char *head, char between, struct mobile *ret)
{
    size_t n = strlen(s), h = strlen(head), repo;

    if (strncmp(s, head, h) != 0 || n < h + 1 + 1 + NAME_LEN)
        return false;
    repo = n - h - 1 - NAME_LEN;
    if (s[h + repo] != between || !is_repo(s + h, repo) ||
        strncmp(s + n - NAME_LEN, NAME, sizeof(NAME) - 1) != 0 ||
        strspn(s + n - 32, "0123456789abcdef") != 32)
        return false;
    snprintf(ret->repo, sizeof(ret->repo), "%.*s", (int)repo, s + h);
    snprintf(ret->name, sizeof(ret->name), "%s", s + n - NAME_LEN);
    snprintf(ret->local, sizeof(ret->local), LOCAL "%s-%s", ret->repo, ret->name);
    return true;
}

bool csi_mobile_is(const char *id)
{
    struct mobile m;

    return parse(id, ID, '/', &m);
}

bool csi_mobile_names(const char *id, const char *local)
{
    struct mobile m;

    return parse(id, ID, '/', &m) && strcmp(m.local, local) == 0;
}

char *csi_mobile_id(struct csi_call *k, const struct csi_volume *v)
{
    struct mobile m;

    return parse(v->name, LOCAL, '-', &m) ? arena_printf(&k->arena, ID "%s/%s", m.repo, m.name) : NULL;
}

bool csi_mobile_volume(const struct csi_volume *v)
{
    struct mobile m;

    return parse(v->name, LOCAL, '-', &m);
}

int csi_mobile_name(struct csi_call *k, const char *name, const char *repo, char ret[CSI_NAME_SIZE])
{
    char plain[CSI_NAME_SIZE];

    if (!repo || !is_repo(repo, strlen(repo)))
        return csi_fail(k, GRPC_INVALID_ARGUMENT,
                        "parameters[repository]: mobility needs the name of a repository (varve repo add)");
    csi_name_hashed(name, plain);
    snprintf(ret, CSI_NAME_SIZE, LOCAL "%s-%.*s", repo, (int)NAME_LEN, plain);
    return 0;
}

int csi_mobile_caps_check(struct csi_call *k, size_t n, Csi__V1__VolumeCapability *const *caps)
{
    for (size_t i = 0; i < n; i++)
        if (caps[i]->access_mode->mode !=
            CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__SINGLE_NODE_SINGLE_WRITER)
            return csi_fail(
                k, GRPC_INVALID_ARGUMENT,
                "volume_capabilities[%zu].access_mode: a volume that moves has one pod at a time: "
                "ReadWriteOncePod",
                i);
    return 0;
}

/* --- the repository ------------------------------------------------------------------------------------------------------------- */

struct owner {
    uint64_t epoch;
    const char *store; /* NULL: nobody */
};

static int away(struct csi_call *k, const struct mobile *m, const char *why)
{
    return csi_fail(k, GRPC_UNAVAILABLE, "volume_id: repository %s: %s", m->repo, why);
}

static int owner_get(struct csi_call *k, const struct mobile *m, struct owner *ret)
{
    cleanup(csi_json_free) json_t *j = NULL;
    const char *why, *store;
    int r = csi_varve_json(k, (const char *const[]){"backup", "owner", m->repo, m->name, "--json", NULL}, &j,
                           &why);

    *ret = (struct owner){.epoch = 0};
    if (r == 0 && !j)
        r = away(k, m, why);
    if (r < 0)
        return r;
    ret->epoch = (uint64_t)json_integer_value(json_object_get(j, "epoch"));
    store = json_string_value(json_object_get(j, "store_uuid"));
    ret->store = store ? arena_dup(&k->arena, store) : NULL;
    return store && !ret->store ? csi_nomem(k) : 0;
}

static int owner_take(struct csi_call *k, const struct mobile *m, uint64_t epoch, const char *store)
{
    const char *take = arena_printf(&k->arena, "--take=%" PRIu64, epoch);
    const char *by = arena_printf(&k->arena, "--by=%s", store), *why;
    cleanup(csi_json_free) json_t *j = NULL;
    int r = take && by
                ? csi_varve_json(
                      k, (const char *const[]){"backup", "owner", m->repo, m->name, take, by, "--json", NULL},
                      &j, &why)
                : csi_nomem(k);

    if (r < 0 || j)
        return r;
    return strstr(why, "another store has taken")
               ? csi_fail(k, GRPC_ABORTED, "volume_id: another node takes the volume; try again")
               : away(k, m, why);
}

static int points_get(struct csi_call *k, const struct mobile *m, json_t **ret)
{
    const char *why;
    int r = csi_varve_json(k, (const char *const[]){"backup", "list", m->repo, "--json", NULL}, ret, &why);

    return r < 0 || *ret ? r : away(k, m, why);
}

/* --- whether somebody else is at work ----------------------------------------------------------------------------------------- */

struct csi_wait {
    struct csi_wait *next;
    uint64_t epoch;
    int64_t since_ns, asked_ns;
    char name[NAME_LEN + 1];
};

static struct csi_wait **wait_at(struct csi *d, const char *name)
{
    struct csi_wait **at = &d->waits;

    while (*at && strcmp((*at)->name, name) != 0)
        at = &(*at)->next;
    return at;
}

/* For how long this epoch has been waited for without a break, which is longer than the kubelet's longest between two tries (122 s): no
 * clock but this node's. Who asked days ago and then no more has not waited since. */
#define BREAK_NS 150000000000ll
static int64_t waited_ms(struct csi *d, const char *name, uint64_t epoch)
{
    int64_t now = clock_mono_ns(), since = now;
    struct csi_wait *w;

    lock_take(&d->lock);
    w = *wait_at(d, name);
    if (!w && (w = calloc(1, sizeof(*w)))) {
        snprintf(w->name, sizeof(w->name), "%s", name);
        w->next = d->waits;
        d->waits = w;
    }
    if (w && (w->epoch != epoch || now - w->asked_ns > BREAK_NS)) {
        w->epoch = epoch;
        w->since_ns = now;
    }
    if (w)
        w->asked_ns = now;
    since = w ? w->since_ns : now;
    lock_drop(&d->lock);
    return (now - since) / 1000000;
}

static void wait_over(struct csi *d, const char *name)
{
    struct csi_wait **at, *w;

    lock_take(&d->lock);
    at = wait_at(d, name);
    w = *at;
    if (w)
        *at = w->next;
    lock_drop(&d->lock);
    free(w);
}

void csi_mobile_release(struct csi *d)
{
    while (d->waits) {
        struct csi_wait *w = d->waits;

        d->waits = w->next;
        free(w);
    }
}

/* Another store has the newest epoch, and has not let go of it. */
static int others_work(struct csi_call *k, const struct mobile *m, const struct owner *o)
{
    int64_t waited = waited_ms(k->d, m->name, o->epoch);

    if (waited >= k->d->takeover_ms || BROKEN(VARVE_BREAK_csi_at_work))
        return 0;
    return csi_fail(k, GRPC_UNAVAILABLE,
                    "volume_id: store %s has not let it go; if it does not, node %s takes it over in %" PRId64
                    " s",
                    o->store, k->d->node, (k->d->takeover_ms - waited + 999) / 1000);
}

/* --- recovery points -------------------------------------------------------------------------------------------------------------- */

/* The epoch of a recovery point of this volume; 0: it is another one's. */
static uint64_t epoch_of(const json_t *point, const struct mobile *m)
{
    const json_t *labels = json_object_get(point, "labels");
    const char *name = json_string_value(json_object_get(labels, "csi.mobile"));
    const char *epoch = json_string_value(json_object_get(labels, "csi.epoch"));

    return name && epoch && strcmp(name, m->name) == 0 ? strtoull(epoch, NULL, 10) : 0;
}

/* What the last owner left: of the highest epoch, the newest. point NULL: there is none. */
struct left {
    const char *point;
    uint64_t epoch;
    bool handed; /* that epoch's store has let it go */
};

static int newest_point(struct csi_call *k, const struct mobile *m, struct left *ret)
{
    cleanup(csi_json_free) json_t *all = NULL;
    const char *found = NULL;
    json_t *o;
    size_t i;
    int r = points_get(k, m, &all);

    *ret = (struct left){.epoch = 0};
    json_array_foreach(json_object_get(all, "recovery_points"), i, o) /* oldest first */
    {
        uint64_t epoch = epoch_of(o, m);

        if (epoch == 0 || epoch < ret->epoch)
            continue;
        ret->epoch = epoch;
        ret->handed = json_object_get(json_object_get(o, "labels"), "csi.handed") != NULL;
        found = json_string_value(json_object_get(o, "id"));
    }
    ret->point = r == 0 && found ? arena_printf(&k->arena, "%s#%s", m->repo, found) : NULL;
    return r == 0 && found && !ret->point ? csi_nomem(k) : r;
}

static int put(struct csi_call *k, const struct mobile *m, uint64_t epoch, bool handed)
{
    const char *to = arena_printf(&k->arena, "--to=%s", m->repo);
    const char *name = arena_printf(&k->arena, "--label=csi.mobile=%s", m->name);
    const char *number = arena_printf(&k->arena, "--label=csi.epoch=%" PRIu64, epoch);
    struct csi_result res;
    int r = to && name && number ? CSI_VERB(k, &res, NULL, "backup", "run", m->local, to, name, number,
                                            handed ? "--label=csi.handed=yes" : NULL)
                                 : csi_nomem(k);

    return r < 0 || csi_result_is(&res, "OK") ? r : away(k, m, res.why);
}

/* --- this node's copy ------------------------------------------------------------------------------------------------------------- */

static int reload(struct csi_call *k, const struct mobile *m, struct csi_volumes *vs,
                  const struct csi_volume **v)
{
    int r = csi_volumes(k, vs);

    *v = r == 0 ? csi_volume_named(vs, m->local) : NULL;
    return r;
}

/* It is another's now: what was handed over is there, what was not is kept for somebody to look at. */
static int stale(struct csi_call *k, const struct mobile *m, const struct csi_volume *v,
                 const struct csi_facts *f)
{
    const char *to = arena_printf(&k->arena, "diverged-%s-%" PRIu64, m->name, f ? f->epoch : 0);
    struct csi_result res;
    int r = to ? 0 : csi_nomem(k);

    if (r == 0 && v->mounted)
        r = csi_fail(
            k, GRPC_FAILED_PRECONDITION,
            "volume_id: another node has taken the volume; the copy that is mounted on node %s is fenced",
            k->d->node);
    if (r < 0)
        return r;
    if (!f || f->epoch == 0 || f->handed)
        return csi_volume_drop(k, v);
    log_warn("csi", "diverged", "volume=%s epoch=%" PRIu64 " kept=%s", v->name, f->epoch, to);
    r = CSI_VERB(k, &res, NULL, "rename", v->name, to);
    if (r == 0 && !csi_result_is(&res, "OK"))
        r = csi_result_fail(k, "volume_id", &res);
    return r < 0 ? r : csi_facts_drop(k, v->name);
}

static int copy_make(struct csi_call *k, const struct mobile *m, const char *point)
{
    struct csi_facts f = {
        .name = m->name, .source = CSI_MOBILE, .params = arena_printf(&k->arena, "repository=%s\n", m->repo)};
    struct csi_result res;
    int r = f.params ? csi_facts_put(k, m->local, &f) : csi_nomem(k);

    if (r == 0)
        r = csi_point_create(k, point, 0, NULL, (const char *const[]){"create", m->local, NULL}, &res);
    return r < 0 || csi_result_is(&res, "OK") ? r : away(k, m, res.why);
}

/* Facts without an epoch: of a copy that is being made, and nobody's yet. work: somebody is about to use it. */
static int own(struct csi_call *k, const struct mobile *m, const struct owner *o, struct csi_facts *f,
               const char *store, bool first, bool work)
{
    int r = owner_take(k, m, o->epoch + 1, store);

    if (r == 0 && first) /* there is something from the beginning that another node can go on with */
        r = put(k, m, o->epoch + 1, !work);
    f->epoch = o->epoch + 1;
    f->handed = first && !work;
    if (r == 0)
        wait_over(k->d, m->name);
    return r < 0 ? r : csi_facts_put(k, m->local, f);
}

/* The newest epoch is this store's: *ret_done. One that the driver did not live to note is. */
static int go_on(struct csi_call *k, const struct mobile *m, const struct owner *o, struct csi_facts *f,
                 const char *store, bool work, bool *ret_done)
{
    *ret_done = f && f->epoch > 0 && o->store && strcmp(o->store, store) == 0 &&
                (f->epoch == o->epoch || f->epoch + 1 == o->epoch);
    if (!*ret_done || (f->epoch == o->epoch && (!f->handed || !work)))
        return 0;
    if (f->epoch == o->epoch && !BROKEN(VARVE_BREAK_csi_same_epoch))
        return own(k, m, o, f, store, false, true);
    f->epoch = o->epoch;
    f->handed = false;
    return csi_facts_put(k, m->local, f);
}

/* The newest epoch is another store's, or nobody's: this node's copy as that one left it. *ret_first: there is nothing in the repository. */
static int follow(struct csi_call *k, const struct mobile *m, const struct owner *o, struct csi_facts *f,
                  const char *store, const struct csi_volume **v, bool *ret_first)
{
    struct left left = {.epoch = 0};
    int r = *v && (*v)->mounted && f && f->epoch > 0 && !BROKEN(VARVE_BREAK_csi_fence)
                ? stale(k, m, *v, f)
                : newest_point(k, m, &left);

    /* its own is one that the driver took, and did not live to note */
    if (r == 0 && o->store && strcmp(o->store, NOBODY) != 0 && strcmp(o->store, store) != 0 &&
        (left.epoch < o->epoch || !left.handed))
        r = others_work(k, m, o);
    /* where nothing was put there yet this copy is as good as any */
    if (r == 0 && *v && o->epoch > 0 && (left.point || (f && f->epoch > 0)) &&
        !BROKEN(VARVE_BREAK_csi_fence) && (r = stale(k, m, *v, f)) == 0)
        *v = NULL;
    if (r == 0 && !*v && !left.point)
        r = csi_fail(k, GRPC_NOT_FOUND, "volume_id: neither node %s nor repository %s has this volume",
                     k->d->node, m->repo);
    if (r == 0 && !*v)
        r = copy_make(k, m, left.point);
    *ret_first = !left.point;
    return r;
}

int csi_mobile_take(struct csi_call *k, const char *id, bool work, struct csi_volumes *vs,
                    const struct csi_volume **v)
{
    struct csi_facts *f = NULL;
    bool done = false, first = false;
    struct owner o;
    struct mobile m;
    int r =
        parse(id, ID, '/', &m) ? reload(k, &m, vs, v) : csi_fail(k, GRPC_NOT_FOUND, "volume_id: is no id");

    if (r == 0 && *v)
        r = csi_facts_get(k, m.local, &f);
    if (r == 0 && (r = owner_get(k, &m, &o)) < 0 && k->code == GRPC_UNAVAILABLE && *v && (*v)->mounted && f &&
        f->epoch > 0 && !f->handed)
        return 0; /* it is at work; who has it is asked when it can be */
    if (r == 0 && *v)
        r = go_on(k, &m, &o, f, vs->store, work, &done);
    if (r < 0 || done)
        return r;
    r = follow(k, &m, &o, f, vs->store, v, &first);
    if (r == 0)
        r = reload(k, &m, vs, v);
    if (r == 0 && !*v)
        r = csi_fail(k, GRPC_ABORTED, "volume_id: the copy was deleted by somebody else");
    if (r == 0)
        r = csi_facts_get(k, m.local, &f);
    if (r == 0 && !f)
        r = csi_fail(k, GRPC_ABORTED, "volume_id: the copy was changed by somebody else");
    return r < 0 ? r : own(k, &m, &o, f, vs->store, first, work);
}

int csi_mobile_publish(struct csi_call *k, const char *id, struct csi_volumes *vs,
                       const struct csi_volume **v)
{
    struct csi_facts *f = NULL;
    int r = csi_facts_get(k, (*v)->name, &f);

    return r < 0 || !(*v)->mounted || !f || !f->handed ? r : csi_mobile_take(k, id, true, vs, v);
}

/* Not of a node whose copy has been handed over, unless nobody has taken the volume since; nor of one that another has taken it from while it
 * was at work. Where that cannot be asked, who is at work goes on. */
int csi_mobile_here(struct csi_call *k, const char *field, const char *id, const struct csi_volumes *vs,
                    const struct csi_volume *v, bool in_use)
{
    struct csi_facts *f = NULL;
    struct owner o;
    struct mobile m;
    int r = v && parse(id, ID, '/', &m) ? csi_facts_get(k, v->name, &f) : 0;

    if (r < 0 || !csi_mobile_is(id) || BROKEN(VARVE_BREAK_csi_old_copy))
        return r;
    if (f && f->handed && in_use)
        return csi_fail(k, GRPC_UNAVAILABLE,
                        "%s: no pod on node %s uses the volume; this is done while one does", field,
                        k->d->node);
    if (f && (r = owner_get(k, &m, &o)) < 0)
        return f->handed || k->code != GRPC_UNAVAILABLE ? r : 0;
    if (f && o.store && o.epoch == f->epoch && strcmp(o.store, vs->store) == 0)
        return 0;
    return csi_fail(k, GRPC_UNAVAILABLE, "%s: is of another store than that of node %s", field, k->d->node);
}

int csi_mobile_hand(struct csi_call *k, const struct csi_volumes *vs, const struct csi_volume *v)
{
    struct csi_facts *f = NULL;
    struct owner o;
    struct mobile m;
    int r = csi_facts_get(k, v->name, &f);

    if (r < 0 || !f || f->handed || !parse(v->name, LOCAL, '-', &m) || (r = owner_get(k, &m, &o)) < 0)
        return r;
    if (!o.store || f->epoch != o.epoch || strcmp(o.store, vs->store) != 0) {
        log_warn("csi", "fenced", "volume=%s epoch=%" PRIu64 " newest=%" PRIu64, v->name, f->epoch, o.epoch);
        csi_sweep_soon(k->d);
        return 0;
    }
    r = put(k, &m, f->epoch, true);
    f->handed = true;
    return r < 0 ? r : csi_facts_put(k, v->name, f);
}

/* --- deleting --------------------------------------------------------------------------------------------------------------------- */

/* An epoch that is nobody's: from then on each node's copy is one too many. */
static int bury(struct csi_call *k, const struct mobile *m, const char *store, const struct owner *o)
{
    struct left left;
    int r = 0;

    if (!o->store || strcmp(o->store, NOBODY) == 0)
        return 0;
    if (strcmp(o->store, store) != 0) {
        r = newest_point(k, m, &left);
        if (r == 0 && (left.epoch < o->epoch || !left.handed))
            r = others_work(k, m, o);
    }
    if (r == 0)
        r = owner_take(k, m, o->epoch + 1, NOBODY);
    if (r == 0)
        wait_over(k->d, m->name);
    return r;
}

int csi_mobile_forget(struct csi_call *k, const char *id, const struct csi_volumes *vs)
{
    cleanup(csi_json_free) json_t *all = NULL;
    struct mobile m;
    struct owner o;
    json_t *j;
    size_t i;
    int r = parse(id, ID, '/', &m) ? owner_get(k, &m, &o) : csi_fail(k, GRPC_INTERNAL, "volume_id: is no id");

    if (r == 0)
        r = bury(k, &m, vs->store, &o);
    if (r == 0)
        r = points_get(k, &m, &all);
    json_array_foreach(json_object_get(all, "recovery_points"), i, j)
    {
        const char *point =
            arena_printf(&k->arena, "%s#%s", m.repo, json_string_value(json_object_get(j, "id")));

        if (r == 0 && epoch_of(j, &m) > 0)
            r = point ? csi_point_delete(k, "volume_id", point, 0, NULL) : csi_nomem(k);
    }
    return r;
}

/* --- copies that nobody needs ------------------------------------------------------------------------------------------------------ */

static int sweep(struct csi_call *k, const struct mobile *m, bool *ret_idle)
{
    const struct csi_volume *v;
    struct csi_facts *f = NULL;
    struct csi_volumes vs;
    struct owner o;
    int r = reload(k, m, &vs, &v);

    if (r == 0 && v)
        r = csi_facts_get(k, m->local, &f);
    *ret_idle = r < 0 || v;
    if (r < 0 || !v || v->mounted || !f || f->epoch == 0 || BROKEN(VARVE_BREAK_csi_copies) ||
        BROKEN(VARVE_BREAK_csi_fence) || (r = owner_get(k, m, &o)) < 0)
        return r;
    if (!o.store || f->epoch >= o.epoch || (f->epoch + 1 == o.epoch && strcmp(o.store, vs.store) == 0))
        return 0;
    *ret_idle = false;
    if (strcmp(o.store, NOBODY) == 0)
        return csi_volume_drop(k, v);
    return stale(k, m, v, f);
}

int csi_mobile_sweep(struct csi_call *k, const struct csi_volume *v, size_t *idle)
{
    cleanup(csi_leave) struct csi_held held = {.n = 0};
    const char *id = csi_mobile_id(k, v);
    struct mobile m;
    bool one = true;

    if (id && parse(id, ID, '/', &m) && csi_enter(k, &held, "volume_id", id) == 0 && sweep(k, &m, &one) < 0)
        log_debug("csi", "not-swept", "volume=%s why=\"%s\"", v->name, k->why ? k->why : "");
    *idle += one;
    return 0;
}
