/* Controller: volumes are made, copied, deleted, made larger. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "plugin/csi_methods.h"

#define NAME_MAX_BYTES 1024

/* --- making -------------------------------------------------------------------------------------------------------------- */

struct making {
    const Csi__V1__CreateVolumeRequest *q;
    struct csi_params params;
    struct csi_facts facts;
    struct csi_volumes vs;
    char name[CSI_NAME_SIZE];      /* in the store */
    const char *profile;           /* NULL: none is asked for */
    const char *said_by;           /* the field that asks for it */
    const struct csi_volume *from; /* content source, or NULL */
    const struct csi_snapshot *from_snapshot;
    const char *from_point; /* content source that lies in a repository: its global id, or NULL */
    uint64_t from_bytes;
};

static int pair_compare(const void *a, const void *b)
{
    return strcmp((*(csi_entry *const *)a)->key, (*(csi_entry *const *)b)->key);
}

/* As text by which two requests are compared: sorted, without what the sidecars add. */
static const char *params_text(struct csi_call *k, size_t n, csi_entry *const *entries)
{
    csi_entry **sorted = arena_alloc(&k->arena, (n + 1) * sizeof(*sorted));
    const char *text = "";

    if (!sorted)
        return NULL;
    if (n > 0) {
        memcpy(sorted, entries, n * sizeof(*sorted));
        qsort(sorted, n, sizeof(*sorted), pair_compare);
    }
    for (size_t i = 0; i < n && text; i++)
        if (strncmp(sorted[i]->key, CSI_KUBE, sizeof(CSI_KUBE) - 1) != 0)
            text = arena_printf(&k->arena, "%s%s=%s\n", text, sorted[i]->key, sorted[i]->value);
    return text;
}

/* What the sidecar tells of the claim (--extra-create-metadata). NULL: nothing. */
static const char *claim_of(struct csi_call *k, size_t n, csi_entry *const *entries)
{
    const char *name = NULL, *namespace = NULL;

    for (size_t i = 0; i < n; i++)
        if (strcmp(entries[i]->key, CSI_KUBE "pvc/name") == 0)
            name = entries[i]->value;
        else if (strcmp(entries[i]->key, CSI_KUBE "pvc/namespace") == 0)
    namespace = entries[i]->value;
    return name && namespace ? arena_printf(&k->arena, "%s/%s", namespace, name) : NULL;
}

/* Everything that can be said of the request without the store. */
static int look(struct csi_call *k, struct making *m)
{
    const Csi__V1__CreateVolumeRequest *q = m->q;
    int r = csi_missing(k, "name", q->name);

    if (r == 0 && strlen(q->name) > NAME_MAX_BYTES)
        r = csi_fail(k, GRPC_INVALID_ARGUMENT, "name: is longer than %d bytes", NAME_MAX_BYTES);
    if (r == 0)
        r = csi_caps_check(k, q->n_volume_capabilities, q->volume_capabilities);
    if (r == 0)
        r = csi_params_take(k, "parameters", CSI_MAP(q, parameters), &m->params);
    if (r == 0)
        r = csi_mutable_take(k, CSI_MAP(q, mutable_parameters), &m->profile);
    m->said_by = m->profile ? "mutable_parameters[profile]" : "parameters[profile]";
    if (!m->profile)
        m->profile = m->params.profile;
    if (r == 0 && m->params.mobile)
        r = csi_mobile_caps_check(k, q->n_volume_capabilities, q->volume_capabilities);
    if (r == 0 && !m->params.mobile)
        r = csi_node_allowed(k, q->accessibility_requirements);
    if (r == 0 && m->params.repository)
        r = csi_repository_check(k, "parameters[repository]", m->params.repository);
    return r;
}

/* RESOURCE_EXHAUSTED is what a provisioner answers by giving the claim to another node. */
static int source_missing(struct csi_call *k, const struct making *m, const char *field, const char *what,
                          const char *id)
{
    if (csi_is_elsewhere(&m->vs, id))
        return csi_fail(k, GRPC_RESOURCE_EXHAUSTED,
                        "%s: is on another node than %s, a copy of it can be only there", field, k->d->node);
    return csi_fail(k, GRPC_NOT_FOUND, "%s: there is no such %s on node %s", field, what, k->d->node);
}

/* A snapshot that is here, or a recovery point. */
static int source_snapshot(struct csi_call *k, struct making *m, const char *id)
{
    static const char field[] = "volume_content_source.snapshot.snapshot_id";
    cleanup(csi_json_free) json_t *point = NULL;
    struct csi_snapshot *s;
    int r = csi_snapshot_by_id(k, id, &m->vs, &s);

    if (r == 0 && !s && csi_point_is(id))
        r = csi_point_show(k, field, id, CSI_MAP(m->q, secrets), &point);
    if (r < 0)
        return r;
    if (!s && !point)
        return source_missing(k, m, field, "snapshot", id);
    m->facts.source = arena_printf(&k->arena, "snapshot %s", id);
    m->from_snapshot = s;
    m->from = s ? s->volume : NULL;
    m->from_point = s ? NULL : id;
    m->from_bytes =
        s ? s->bytes
          : (uint64_t)json_integer_value(json_object_get(json_object_get(point, "recovery_point"), "bytes"));
    return 0;
}

/* Of one that follows its pod only the copy that counts is a source: its node makes the volume. */
static int source_volume(struct csi_call *k, struct making *m, const char *id)
{
    static const char field[] = "volume_content_source.volume.volume_id";

    m->from = csi_volume_by_id(&m->vs, id);
    if (csi_mobile_here(k, field, id, &m->vs, m->from, false) < 0)
        return k->code == GRPC_UNAVAILABLE ? csi_fail(k, GRPC_RESOURCE_EXHAUSTED, "%s", k->why ? k->why : "")
                                           : -E_FAILED;
    if (!m->from)
        return source_missing(k, m, field, "volume", id);
    m->from_bytes = m->from->used;
    m->facts.source = arena_printf(&k->arena, "volume %s", id);
    return 0;
}

static int source_find(struct csi_call *k, struct making *m)
{
    const Csi__V1__VolumeContentSource *s = m->q->volume_content_source;
    int r = csi_volumes(k, &m->vs);

    m->facts.source = "";
    if (r < 0 || !s)
        return r;
    if (s->type_case == CSI__V1__VOLUME_CONTENT_SOURCE__TYPE_VOLUME) {
        if ((r = source_volume(k, m, s->volume->volume_id)) < 0)
            return r;
    } else if (s->type_case == CSI__V1__VOLUME_CONTENT_SOURCE__TYPE_SNAPSHOT) {
        if ((r = source_snapshot(k, m, s->snapshot->snapshot_id)) < 0)
            return r;
    } else {
        return csi_fail(k, GRPC_INVALID_ARGUMENT,
                        "volume_content_source: is neither a volume nor a snapshot");
    }
    return m->facts.source ? 0 : csi_nomem(k);
}

/* A volume of this name is there: is it what is asked for? */
static int compare(struct csi_call *k, const struct making *m, const struct csi_facts *f)
{
    const char *differs = NULL;

    if (f && strcmp(f->source, CSI_MOBILE) == 0)
        return 0;
    if (!f || strcmp(f->name, m->q->name) != 0)
        return csi_fail(k, GRPC_ALREADY_EXISTS,
                        "name: the store has a volume of this name that this driver did not make");
    if (!csi_size_fits(m->q->capacity_range, f->size))
        differs = "capacity_range";
    else if (strcmp(f->source, m->facts.source) != 0)
        differs = "volume_content_source";
    else if (strcmp(f->params, m->facts.params) != 0)
        differs = "parameters";
    return differs && !BROKEN(VARVE_BREAK_csi_differs)
               ? csi_fail(k, GRPC_ALREADY_EXISTS, "%s: a volume of this name is there and differs in this",
                          differs)
               : 0;
}

/* There is none of that name: the caller's mistake, whichever volume is there. */
static int profile_fail(struct csi_call *k, const char *field, const struct csi_result *r)
{
    return csi_result_is(r, "NOENT") ? csi_fail(k, GRPC_INVALID_ARGUMENT, "%s: %s", field, r->why)
                                     : csi_result_fail(k, field, r);
}

static int profile_set(struct csi_call *k, const char *field, const char *volume, const char *profile)
{
    struct csi_result res;
    int r = CSI_VERB(k, &res, NULL, "profile", "set", volume, "--", profile);

    return r < 0 || csi_result_is(&res, "OK") ? r : profile_fail(k, field, &res);
}

/* A copy has the limits of its source; that of its size can be changed. */
static int copy_limits(struct csi_call *k, const struct making *m)
{
    if (m->from_point && (m->params.inodes || m->params.snapshot_limit))
        return csi_fail(k, GRPC_INVALID_ARGUMENT, "parameters[%s]: a recovery point tells the limits itself",
                        m->params.inodes ? "inodes" : "snapshotLimit");
    if (m->from_point)
        return 0;
    if (m->params.inodes && m->params.inodes != m->from->inodes)
        return csi_fail(k, GRPC_INVALID_ARGUMENT,
                        "parameters[inodes]: a copy has the limit of its source, %" PRIu64, m->from->inodes);
    if (m->params.snapshot_limit && m->params.snapshot_limit != m->from->snapshot_limit)
        return csi_fail(k, GRPC_INVALID_ARGUMENT,
                        "parameters[snapshotLimit]: a copy has the limit of its source, %" PRIu64,
                        m->from->snapshot_limit);
    return 0;
}

static int copy(struct csi_call *k, struct making *m)
{
    const char *to = arena_printf(&k->arena, "--to=%s", m->name), *snap = "--json";
    struct csi_result res;
    int r = copy_limits(k, m);

    if (r < 0)
        return r;
    if (m->from_snapshot)
        snap = arena_printf(&k->arena, "--snap=%s", m->from_snapshot->name);
    if (!to || !snap)
        return csi_nomem(k);
    r = CSI_VERB(k, &res, NULL, "clone", m->from->name, to, snap);
    if (r < 0 || csi_result_is(&res, "OK") || csi_result_is(&res, "EXIST"))
        return r;
    return csi_result_fail(k, "volume_content_source", &res);
}

/* Limits that are not given are the profile's. */
static int create(struct csi_call *k, struct making *m)
{
    const struct {
        const char *name;
        uint64_t value;
    } limits[] = {
        {"size", m->facts.size}, {"inodes", m->params.inodes}, {"snapshot-limit", m->params.snapshot_limit}};
    const char *words[8] = {"create", m->name};
    struct csi_result res;
    size_t n = 2;
    int r;

    for (size_t i = 0; i < ARRAY_LEN(limits); i++)
        if (limits[i].value &&
            !(words[n++] = arena_printf(&k->arena, "--%s=%" PRIu64, limits[i].name, limits[i].value)))
            return csi_nomem(k);
    if (m->profile && !(words[n++] = arena_printf(&k->arena, "--profile=%s", m->profile)))
        return csi_nomem(k);
    r = m->from_point ? copy_limits(k, m) : 0;
    if (r == 0)
        r = m->from_point ? csi_point_create(k, m->from_point, CSI_MAP(m->q, secrets), words, &res)
                          : csi_verb(k, &res, NULL, words);
    if (r < 0 || csi_result_is(&res, "OK") || csi_result_is(&res, "EXIST"))
        return r;
    if (m->from_point)
        return csi_result_fail(k, "volume_content_source", &res);
    return m->profile ? profile_fail(k, m->said_by, &res) : csi_result_fail(k, "name", &res);
}

static int resize(struct csi_call *k, const char *field, const char *volume, uint64_t size)
{
    const char *text = size ? arena_printf(&k->arena, "%" PRIu64, size) : "none";
    struct csi_result res;
    int r = text ? CSI_VERB(k, &res, NULL, "resize", volume, text) : csi_nomem(k);

    return r < 0 || csi_result_is(&res, "OK") ? r : csi_result_fail(k, field, &res);
}

/* Nothing was made, and nobody will ask for it to be deleted. Where the daemon did not answer, it may have been made. */
static void facts_take_back(struct csi_call *k, const char *name)
{
    enum grpc_code code = k->code;
    const char *why = k->why;

    if (code != GRPC_UNAVAILABLE)
        csi_facts_drop(k, name);
    k->code = code;
    k->why = why;
}

/* A copy that cannot have the profile that is asked for is none. */
static void copy_take_back(struct csi_call *k, const char *name)
{
    enum grpc_code code = k->code;
    const char *why = k->why;
    struct csi_result res;

    if (code != GRPC_UNAVAILABLE && CSI_VERB(k, &res, NULL, "delete", name, "--now") == 0)
        csi_facts_drop(k, name);
    k->code = code;
    k->why = why;
}

/* The facts are there before the volume is: what is half done when the driver dies is known again. */
static int make(struct csi_call *k, struct making *m, const struct csi_volume **ret)
{
    const struct csi_volume *v = csi_volume_named(&m->vs, m->name);
    struct csi_facts *f = NULL;
    int r = v ? csi_facts_get(k, m->name, &f) : 0;

    if (r == 0 && v && (r = compare(k, m, f)) == 0) {
        m->facts = *f;
        if (strcmp(f->source, CSI_MOBILE) == 0) /* its recovery point has told the limit */
            m->facts.size = v->size;
    }
    if (r == 0 && !v && m->facts.size && m->facts.size < m->from_bytes)
        r = csi_fail(k, GRPC_OUT_OF_RANGE, "capacity_range: the source has %" PRIu64 " bytes", m->from_bytes);
    if (r == 0 && !v)
        r = csi_facts_put(k, m->name, &m->facts);
    if (r == 0 && !v && (r = m->from ? copy(k, m) : create(k, m)) < 0)
        facts_take_back(k, m->name);
    if (r == 0 && m->from && m->profile && (r = profile_set(k, m->said_by, m->name, m->profile)) < 0 && !v)
        copy_take_back(k, m->name);
    if (r == 0 && !v && (r = csi_volumes(k, &m->vs)) == 0)
        v = csi_volume_named(&m->vs, m->name);
    if (r == 0 && !v)
        r = csi_fail(k, GRPC_ABORTED, "name: the volume was made, and deleted by somebody else");
    if (r == 0 && v->size != m->facts.size && (m->facts.size || !m->profile) &&
        (r = resize(k, "capacity_range", m->name, m->facts.size)) == 0 && (r = csi_volumes(k, &m->vs)) == 0)
        v = csi_volume_named(&m->vs, m->name);
    *ret = v;
    return r < 0 || v ? r : csi_fail(k, GRPC_ABORTED, "name: the volume was deleted by somebody else");
}

/* How it is to be mounted goes along with the volume. */
static int context_put(struct csi_call *k, const struct csi_params *p, Csi__V1__Volume *v)
{
    const char *const pairs[][2] = {
        {"control", p->control}, {"controlGid", p->control_gid}, {"snapdir", p->snapdir}};
    csi_entry **map = NULL;
    size_t n = 0;
    int r = 0;

    for (size_t i = 0; i < ARRAY_LEN(pairs) && r == 0; i++)
        if (pairs[i][1])
            r = csi_map_put(k, &n, &map, pairs[i][0], pairs[i][1]);
    for (size_t i = 0; i < n; i++)
        map[i]->base.descriptor = &csi__v1__volume__volume_context_entry__descriptor;
    v->n_volume_context = n;
    v->volume_context = (Csi__V1__Volume__VolumeContextEntry **)map;
    return r;
}

CSI_METHOD(CreateVolume)
{
    cleanup(csi_leave) struct csi_held held = {.n = 0};
    struct making *m = arena_alloc(&k->arena, sizeof(*m));
    const struct csi_volume *v = NULL;
    int r;

    if (!m)
        return csi_nomem(k);
    m->q = q;
    r = look(k, m);
    if (r == 0 && m->params.mobile)
        r = csi_mobile_name(k, q->name, m->params.repository, m->name);
    else if (r == 0)
        csi_volume_name(q->name, m->name);
    if (r == 0)
        r = csi_enter(k, &held, "name", m->name);
    if (r == 0)
        r = source_find(k, m);
    if (r == 0)
        r = csi_size_take(k, q->capacity_range, m->vs.total, &m->facts.size);
    if (r < 0)
        return r;
    m->facts.name = q->name;
    m->facts.params = params_text(k, CSI_MAP(q, parameters));
    m->facts.claim = claim_of(k, CSI_MAP(q, parameters));
    if (!m->facts.params)
        return csi_nomem(k);
    r = make(k, m, &v);
    if (r == 0 && m->params.mobile)
        r = csi_mobile_take(k, csi_volume_id(k, &m->vs, v), false, &m->vs, &v);
    if (r == 0)
        r = csi_volume_fill(k, &m->vs, v, &a->volume);
    if (r < 0)
        return r;
    a->volume->content_source = q->volume_content_source;
    return context_put(k, &m->params, a->volume);
}

/* --- deleting ------------------------------------------------------------------------------------------------------------ */

static int retire(struct csi_call *k, const struct csi_volume *v)
{
    const char *to = arena_printf(&k->arena, "retired-%s", v->uuid);
    struct csi_result res;
    int r = to ? CSI_VERB(k, &res, NULL, "rename", v->name, to) : csi_nomem(k);

    if (r < 0)
        return r;
    if (!csi_result_is(&res, "OK"))
        return csi_result_fail(k, "volume_id", &res);
    return csi_facts_drop(k, v->name);
}

/* Without its facts first: one that is left without them is deleted by its id all the same. */
int csi_volume_drop(struct csi_call *k, const struct csi_volume *v)
{
    struct csi_result res;
    size_t needed, waiting;
    int r = csi_snapshots_needed(k, v, &needed, &waiting);

    if (r < 0)
        return r;
    if (needed > 0 && !BROKEN(VARVE_BREAK_csi_retire))
        return retire(k, v);
    r = csi_facts_drop(k, v->name);
    if (r == 0)
        r = CSI_VERB(k, &res, NULL, "delete", v->name, "--now");
    if (r < 0 || csi_result_is(&res, "OK") || csi_result_is(&res, "NOENT"))
        return r;
    return csi_result_is(&res, "CLONES") ? retire(k, v) : csi_result_fail(k, "volume_id", &res);
}

CSI_METHOD(DeleteVolume)
{
    cleanup(csi_leave) struct csi_held held = {.n = 0};
    const struct csi_volume *v;
    struct csi_volumes vs;
    struct csi_facts *f = NULL;
    int r = csi_volume_if_there(k, "volume_id", q->volume_id, &vs, &v);

    (void)a;
    if (r == 0 && csi_mobile_is(q->volume_id))
        r = csi_enter(k, &held, "volume_id", q->volume_id);
    if (r == 0 && !v && csi_mobile_is(q->volume_id))
        return csi_mobile_forget(k, q->volume_id, &vs);
    if (r < 0 || !v)
        return r;
    r = csi_enter(k, &held, "volume_id", v->uuid);
    if (r == 0)
        r = csi_enter(k, &held, "volume_id", v->name);
    if (r == 0 && v->mounted)
        r = csi_fail(k, GRPC_FAILED_PRECONDITION, "volume_id: the volume is mounted on node %s", k->d->node);
    if (r == 0)
        r = csi_facts_get(k, v->name, &f);
    if (r == 0 && f && f->node)
        r = csi_fail(k, GRPC_FAILED_PRECONDITION, "volume_id: the volume is published to node %s", f->node);
    if (r == 0 && csi_mobile_is(q->volume_id))
        r = csi_mobile_forget(k, q->volume_id, &vs);
    if (r == 0)
        r = csi_volume_drop(k, v);
    csi_sweep_soon(k->d);
    return r;
}

/* --- larger, other ------------------------------------------------------------------------------------------------------- */

/* Nobody else is at work on it now: what it has is what it had when it was looked at before, or more. *ret: what it has then. */
static int enlarge(struct csi_call *k, const char *id, uint64_t size, uint64_t *ret)
{
    const struct csi_volume *v;
    struct csi_volumes vs;
    struct csi_facts *f = NULL;
    int r = csi_volume_find_here(k, "volume_id", id, &vs, &v);

    if (r < 0)
        return r;
    *ret = MAX_OF(size, v->size);
    if (!BROKEN(VARVE_BREAK_csi_size_before) && (v->size == 0 || v->size >= size))
        return 0;
    r = csi_facts_get(k, v->name, &f);
    if (r == 0 && f) {
        f->size = size;
        r = csi_facts_put(k, v->name, f);
    }
    return r < 0 ? r : resize(k, "capacity_range", v->name, size);
}

CSI_METHOD(ControllerExpandVolume)
{
    cleanup(csi_leave) struct csi_held held = {.n = 0};
    const struct csi_volume *v;
    struct csi_volumes vs;
    uint64_t size = 0, has = 0;
    int r = csi_volume_find_here(k, "volume_id", q->volume_id, &vs, &v);

    if (r == 0 && q->volume_capability)
        r = csi_cap_check(k, q->volume_capability);
    if (r == 0)
        r = csi_size_take(k, q->capacity_range, vs.total, &size);
    if (r == 0 && size == 0)
        r = csi_fail(k, GRPC_INVALID_ARGUMENT, "capacity_range: is missing");
    if (r == 0 && v->size > size && q->capacity_range->limit_bytes > 0 &&
        v->size > (uint64_t)q->capacity_range->limit_bytes)
        r = csi_fail(k, GRPC_OUT_OF_RANGE,
                     "capacity_range.limit_bytes: the volume has %" PRIu64 " bytes already", v->size);
    if (r < 0)
        return r;
    a->capacity_bytes = (int64_t)MAX_OF(size, v->size);
    if (v->size == 0 || v->size >= size)
        return 0;
    r = csi_enter(k, &held, "volume_id", v->uuid);
    if (r == 0)
        r = enlarge(k, q->volume_id, size, &has);
    if (r == 0)
        a->capacity_bytes = (int64_t)has;
    return r;
}

CSI_METHOD(ControllerModifyVolume)
{
    cleanup(csi_leave) struct csi_held held = {.n = 0};
    const struct csi_volume *v;
    struct csi_volumes vs;
    const char *profile = NULL;
    int r = csi_volume_find_here(k, "volume_id", q->volume_id, &vs, &v);

    (void)a;
    if (r == 0)
        r = csi_mutable_take(k, CSI_MAP(q, mutable_parameters), &profile);
    if (r < 0 || !profile)
        return r;
    r = csi_enter(k, &held, "volume_id", v->uuid);
    return r < 0 ? r : profile_set(k, "mutable_parameters[profile]", v->name, profile);
}

CSI_METHOD(ValidateVolumeCapabilities)
{
    Csi__V1__ValidateVolumeCapabilitiesResponse__Confirmed *c;
    const struct csi_volume *v;
    struct csi_volumes vs;
    struct csi_params p;
    const char *profile;
    int r = csi_volume_find(k, "volume_id", q->volume_id, &vs, &v);

    if (r == 0 && q->n_volume_capabilities == 0)
        r = csi_fail(k, GRPC_INVALID_ARGUMENT, "volume_capabilities: is missing");
    if (r < 0)
        return r;
    if (csi_caps_check(k, q->n_volume_capabilities, q->volume_capabilities) < 0 ||
        csi_params_take(k, "parameters", CSI_MAP(q, parameters), &p) < 0 ||
        csi_mutable_take(k, CSI_MAP(q, mutable_parameters), &profile) < 0) {
        a->message = arena_dup(&k->arena, k->why); /* not to be had: an answer, no failure */
        return a->message ? 0 : csi_nomem(k);
    }
    c = arena_alloc(&k->arena, sizeof(*c));
    if (!c)
        return csi_nomem(k);
    csi__v1__validate_volume_capabilities_response__confirmed__init(c);
    c->n_volume_capabilities = q->n_volume_capabilities;
    c->volume_capabilities = q->volume_capabilities;
    a->confirmed = c;
    return 0;
}
