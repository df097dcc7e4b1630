/* The store as its daemon tells it: verbs, volumes, snapshots. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/sock.h"
#include "plugin/csi.h"

#define RETIRED "retired-"

/* --- verbs --------------------------------------------------------------------------------------------------------------- */

bool csi_result_is(const struct csi_result *r, const char *name)
{
    return strcmp(r->result, name) == 0;
}

int csi_result_fail(struct csi_call *k, const char *field, const struct csi_result *r)
{
    static const struct {
        const char *result;
        enum grpc_code code;
    } codes[] = {{"NOENT", GRPC_NOT_FOUND},
                 {"EXIST", GRPC_ALREADY_EXISTS},
                 {"MOUNTED", GRPC_FAILED_PRECONDITION},
                 {"CLONES", GRPC_FAILED_PRECONDITION},
                 {"HELD", GRPC_FAILED_PRECONDITION},
                 {"BUSY", GRPC_ABORTED},
                 {"NOSPC", GRPC_RESOURCE_EXHAUSTED},
                 {"SNAP_LIMIT", GRPC_RESOURCE_EXHAUSTED},
                 {"QUOTA", GRPC_RESOURCE_EXHAUSTED},
                 {"NOMEM", GRPC_RESOURCE_EXHAUSTED},
                 {"USAGE", GRPC_INVALID_ARGUMENT},
                 {"NAME", GRPC_INVALID_ARGUMENT},
                 {"NAMETOOLONG", GRPC_INVALID_ARGUMENT},
                 {"PERM", GRPC_PERMISSION_DENIED},
                 {"KEY", GRPC_UNAUTHENTICATED},
                 {"REPO_MISSING", GRPC_NOT_FOUND},
                 {"TIMEOUT", GRPC_UNAVAILABLE},
                 {"RANGE", GRPC_FAILED_PRECONDITION},
                 {"UNRELATED", GRPC_FAILED_PRECONDITION},
                 {"CANCELED", GRPC_ABORTED},
                 {"DEPTH", GRPC_FAILED_PRECONDITION},
                 {"ROFS", GRPC_UNAVAILABLE},
                 {"FAILED", GRPC_UNAVAILABLE}};

    for (size_t i = 0; i < ARRAY_LEN(codes); i++)
        if (csi_result_is(r, codes[i].result))
            return csi_fail(k, codes[i].code, "%s: %s", field, r->why);
    return csi_fail(k, GRPC_INTERNAL, "%s: %s", field, r->why);
}

/* The sentence, without the newline at its end. */
static char *sentence(struct csi_call *k, struct buf *err)
{
    const char *s = buf_cstr(err);
    char *to = s ? arena_dup(&k->arena, s) : NULL;

    if (to)
        to[strcspn(to, "\n")] = 0;
    return to && strncmp(to, "varve: ", 7) == 0 ? to + 7 : to;
}

static int unasked(struct csi_call *k, int r)
{
    return csi_fail(k, r == -E_NOMEM ? GRPC_RESOURCE_EXHAUSTED : GRPC_UNAVAILABLE,
                    "the daemon of the store %s cannot be asked: %s", k->d->store, err_text(r));
}

int csi_no_daemon(struct csi_call *k)
{
    return csi_fail(k, GRPC_UNAVAILABLE, "no daemon serves the store %s; start `varve serve %s` on node %s",
                    k->d->store, k->d->store, k->d->node);
}

int csi_verb(struct csi_call *k, struct csi_result *ret, char **ret_out, const char *const *words)
{
    cleanup(sock_answer_free) struct sock_answer ans = {.exit_code = 0};
    cleanup(buf_free) struct buf req = {0};
    size_t n = 0;
    int r;

    while (words[n])
        n++;
    r = sock_words(&req, words, n);
    if (r == 0)
        r = sock_verb(k->d->store, &req, &ans);
    if (r == -E_NOTMOUNTED || r == -E_CLOSED)
        return csi_no_daemon(k);
    if (r < 0)
        return unasked(k, r);
    snprintf(ret->result, sizeof(ret->result), "%s", ans.result);
    ret->why = ans.err.len > 0 ? sentence(k, &ans.err) : "";
    if (ret_out)
        *ret_out = buf_cstr(&ans.out) ? arena_dup(&k->arena, (const char *)ans.out.data) : NULL;
    return !ret->why || (ret_out && !*ret_out) ? csi_nomem(k) : 0;
}

int csi_lines(struct csi_call *k, struct csi_result *ret, const char *const *words, size_t n,
              int (*line)(void *arg, char *s, size_t len), void *arg)
{
    cleanup(sock_answer_free) struct sock_answer ans = {.exit_code = 0};
    int r = sock_lines(k->d->store, words, n, line, arg, &ans);

    log_debug("csi", "asked", "words=%s result=%d", words[0], r);
    if (r == -E_CLOSED || r == -E_NOTMOUNTED)
        return 1;
    if (r == -E_FAILED)
        return r; /* the line has said why */
    if (r < 0)
        return unasked(k, r);
    snprintf(ret->result, sizeof(ret->result), "%s", ans.result);
    ret->why = ans.err.len > 0 ? sentence(k, &ans.err) : "";
    return ret->why ? 0 : csi_nomem(k);
}

static const char *text_of(struct csi_call *k, const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? arena_dup(&k->arena, s) : NULL;
}

static uint64_t number_of(const json_t *o, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(o, key));
}

/* --- volumes ------------------------------------------------------------------------------------------------------------- */

static bool is_retired(const char *name, const char *uuid)
{
    return strncmp(name, RETIRED, sizeof(RETIRED) - 1) == 0 && strcmp(name + sizeof(RETIRED) - 1, uuid) == 0;
}

static int volume_take(struct csi_call *k, const json_t *o, struct csi_volume *ret)
{
    *ret = (struct csi_volume){.name = text_of(k, o, "name"),
                               .uuid = text_of(k, o, "uuid"),
                               .size = number_of(o, "size_limit_bytes"),
                               .inodes = number_of(o, "inode_limit"),
                               .snapshot_limit = number_of(o, "snapshot_limit_bytes"),
                               .used = number_of(o, "used_bytes"),
                               .snapshots = number_of(o, "snapshots"),
                               .mounted = json_is_true(json_object_get(o, "mounted"))};
    if (!ret->name || !ret->uuid)
        return csi_nomem(k);
    ret->retired = is_retired(ret->name, ret->uuid);
    return 0;
}

static int by_uuid(const void *a, const void *b)
{
    return strcmp(((const struct csi_volume *)a)->uuid, ((const struct csi_volume *)b)->uuid);
}

int csi_volumes(struct csi_call *k, struct csi_volumes *ret)
{
    cleanup(csi_json_free) json_t *j = NULL;
    struct csi_result res;
    json_t *list, *o;
    char *out = NULL;
    const char *uuid;
    size_t i;
    int r = CSI_VERB(k, &res, &out, "list", ".", "--json");

    if (r < 0)
        return r;
    if (!csi_result_is(&res, "OK"))
        return csi_result_fail(k, "store", &res);
    j = json_loads(out, 0, NULL);
    uuid = json_string_value(json_object_get(j, "uuid"));
    list = json_object_get(j, "volumes");
    if (!uuid || strlen(uuid) >= sizeof(ret->store))
        return csi_fail(k, GRPC_INTERNAL, "the daemon of the store %s tells its volumes in another way",
                        k->d->store);
    *ret = (struct csi_volumes){.total = number_of(j, "disk_total_bytes"),
                                .free = number_of(j, "disk_free_bytes")};
    memcpy(ret->store, uuid, strlen(uuid) + 1);
    ret->v = arena_alloc(&k->arena, (json_array_size(list) + 1) * sizeof(*ret->v));
    if (!ret->v)
        return csi_nomem(k);
    json_array_foreach(list, i, o)
    {
        if (json_object_get(o, "name_hex"))
            continue; /* no text, so none of ours */
        if ((r = volume_take(k, o, &ret->v[ret->n])) < 0)
            return r;
        ret->n++;
    }
    qsort(ret->v, ret->n, sizeof(*ret->v), by_uuid);
    return 0;
}

const struct csi_volume *csi_volume_named(const struct csi_volumes *vs, const char *name)
{
    for (size_t i = 0; i < vs->n; i++)
        if (strcmp(vs->v[i].name, name) == 0)
            return &vs->v[i];
    return NULL;
}

static const struct csi_volume *by_uuids(const struct csi_volumes *vs, char ids[][UUID_TEXT_SIZE])
{
    for (size_t i = 0; i < vs->n && strcmp(ids[0], vs->store) == 0; i++)
        if (strcmp(vs->v[i].uuid, ids[1]) == 0)
            return &vs->v[i];
    return NULL;
}

const struct csi_volume *csi_volume_by_id(const struct csi_volumes *vs, const char *id)
{
    char ids[2][UUID_TEXT_SIZE];
    const struct csi_volume *v = csi_id_split(id, 2, ids) ? by_uuids(vs, ids) : NULL;

    for (size_t i = 0; csi_mobile_is(id) && !v && i < vs->n; i++)
        v = csi_mobile_names(id, vs->v[i].name) ? &vs->v[i] : NULL;
    return v && !v->retired ? v : NULL;
}

int csi_volume_find(struct csi_call *k, const char *field, const char *id, struct csi_volumes *vs,
                    const struct csi_volume **ret)
{
    int r = csi_volume_if_there(k, field, id, vs, ret);

    return r < 0 || *ret
               ? r
               : csi_fail(k, GRPC_NOT_FOUND, "%s: there is no such volume on node %s", field, k->d->node);
}

int csi_volume_if_there(struct csi_call *k, const char *field, const char *id, struct csi_volumes *vs,
                        const struct csi_volume **ret)
{
    int r = csi_missing(k, field, id);

    if (r == 0)
        r = csi_volumes(k, vs);
    *ret = r == 0 ? csi_volume_by_id(vs, id) : NULL;
    return r;
}

bool csi_is_elsewhere(const struct csi_volumes *vs, const char *id)
{
    char parts[3][UUID_TEXT_SIZE];

    return !BROKEN(VARVE_BREAK_csi_elsewhere) && (csi_id_split(id, 2, parts) || csi_id_split(id, 3, parts)) &&
           strcmp(parts[0], vs->store) != 0;
}

int csi_volume_find_here(struct csi_call *k, const char *field, const char *id, struct csi_volumes *vs,
                         const struct csi_volume **ret)
{
    int r = csi_volume_find(k, field, id, vs, ret);

    if (r == 0 || (k->code == GRPC_NOT_FOUND && csi_mobile_is(id)))
        return csi_mobile_here(k, field, id, vs, *ret, true);
    if (k->code == GRPC_NOT_FOUND && csi_is_elsewhere(vs, id))
        r = csi_fail(k, GRPC_UNAVAILABLE, "%s: is of another store than that of node %s", field, k->d->node);
    return r;
}

/* One that was asked for by a name that it has no more: retired meanwhile. */
int csi_volume_renamed(struct csi_call *k, const struct csi_volume **v, bool *ret)
{
    struct csi_volumes *vs = arena_alloc(&k->arena, sizeof(*vs)); /* *v points into it */
    int r = vs ? csi_volumes(k, vs) : csi_nomem(k);

    *ret = false;
    for (size_t i = 0; r == 0 && i < vs->n && !*ret; i++)
        if (strcmp(vs->v[i].uuid, (*v)->uuid) == 0 && strcmp(vs->v[i].name, (*v)->name) != 0) {
            *v = &vs->v[i];
            *ret = true;
        }
    return r;
}

char *csi_volume_id(struct csi_call *k, const struct csi_volumes *vs, const struct csi_volume *v)
{
    return csi_mobile_volume(v) ? csi_mobile_id(k, v) : arena_printf(&k->arena, "%s/%s", vs->store, v->uuid);
}

int csi_volume_fill(struct csi_call *k, const struct csi_volumes *vs, const struct csi_volume *v,
                    Csi__V1__Volume **ret)
{
    Csi__V1__Volume *to = arena_alloc(&k->arena, sizeof(*to));

    if (!to)
        return csi_nomem(k);
    csi__v1__volume__init(to);
    to->volume_id = csi_volume_id(k, vs, v);
    to->capacity_bytes = (int64_t)v->size;
    *ret = to;
    if (to->volume_id && csi_mobile_volume(v))
        return 0;
    return to->volume_id ? csi_topology(k, &to->n_accessible_topology, &to->accessible_topology)
                         : csi_nomem(k);
}

/* --- snapshots ----------------------------------------------------------------------------------------------------------- */

static int snapshot_take(struct csi_call *k, const struct csi_volume *v, const json_t *o,
                         struct csi_snapshot *ret)
{
    const char *taken = json_string_value(json_object_get(o, "taken"));
    const char *state = json_string_value(json_object_get(o, "state"));

    *ret = (struct csi_snapshot){.volume = v,
                                 .name = text_of(k, o, "name"),
                                 .uuid = text_of(k, o, "uuid"),
                                 .csi_name = text_of(k, json_object_get(o, "labels"), "csi.name"),
                                 .upload = text_of(k, json_object_get(o, "labels"), "csi.upload"),
                                 .group = text_of(k, o, "group"),
                                 .bytes = number_of(o, "bytes"),
                                 .durable = state && strcmp(state, "durable") == 0};
    if (taken)
        clock_parse(taken, &ret->taken_ns);
    return ret->name && ret->uuid ? 0 : csi_nomem(k);
}

static struct csi_snapshot *snapshots_more(struct csi_call *k, struct csi_snapshots *ss)
{
    size_t cap = ss->cap ? ss->cap * 2 : 16;
    struct csi_snapshot *more;

    if (ss->n < ss->cap)
        return &ss->s[ss->n];
    more = arena_alloc(&k->arena, cap * sizeof(*more));
    if (!more)
        return NULL;
    if (ss->n > 0)
        memcpy(more, ss->s, ss->n * sizeof(*more));
    ss->s = more;
    ss->cap = cap;
    return &ss->s[ss->n];
}

int csi_snapshots_add(struct csi_call *k, const struct csi_volume *v, bool all, struct csi_snapshots *ret)
{
    cleanup(csi_json_free) json_t *j = NULL;
    struct csi_result res;
    char *out = NULL;
    bool again;
    json_t *o;
    size_t i;
    int r;

    do {
        again = false;
        r = CSI_VERB(k, &res, &out, "snapshot", "list", v->name, "--json");
        if (r == 0 && csi_result_is(&res, "NOENT"))
            r = csi_volume_renamed(k, &v, &again);
    } while (r == 0 && again);
    if (r < 0 || csi_result_is(&res, "NOENT")) /* gone meanwhile */
        return r;
    if (!csi_result_is(&res, "OK"))
        return csi_result_fail(k, "store", &res);
    j = json_loads(out, 0, NULL);
    json_array_foreach(json_object_get(j, "snapshots"), i, o)
    {
        struct csi_snapshot *s;

        if (json_object_get(o, "name_hex") ||
            (!all && !json_object_get(json_object_get(o, "labels"), "csi.name")))
            continue;
        s = snapshots_more(k, ret);
        if (!s)
            return csi_nomem(k);
        if ((r = snapshot_take(k, v, o, s)) < 0)
            return r;
        ret->n++;
    }
    return 0;
}

static int snapshot_by_uuid(const void *a, const void *b)
{
    return strcmp(((const struct csi_snapshot *)a)->uuid, ((const struct csi_snapshot *)b)->uuid);
}

int csi_snapshots_all(struct csi_call *k, const struct csi_volumes *vs, struct csi_snapshots *ret)
{
    int r = 0;

    for (size_t i = 0; i < vs->n && r == 0; i++)
        if (vs->v[i].snapshots > 0)
            r = csi_snapshots_add(k, &vs->v[i], false, ret);
    if (r == 0 && ret->n > 0)
        qsort(ret->s, ret->n, sizeof(*ret->s), snapshot_by_uuid);
    return r;
}

int csi_snapshots_needed(struct csi_call *k, const struct csi_volume *v, size_t *ret, size_t *ret_waiting)
{
    struct csi_snapshots ss = {.n = 0};
    int r = v->snapshots > 0 ? csi_snapshots_add(k, v, false, &ss) : 0;

    *ret = *ret_waiting = 0;
    for (size_t i = 0; i < ss.n && r == 0; i++) {
        bool done = false;

        if (ss.s[i].upload)
            r = csi_upload_done(k, &ss.s[i], &done);
        *ret += !done;
        *ret_waiting += !done && ss.s[i].upload;
    }
    return r;
}

/* One that is uploaded, by its global id. */
static int snapshot_by_point(struct csi_call *k, const char *id, const struct csi_volumes *vs,
                             struct csi_snapshot **ret)
{
    struct csi_snapshots ss = {.n = 0};
    int r = csi_snapshots_all(k, vs, &ss);

    for (size_t i = 0; i < ss.n && r == 0; i++) {
        size_t n = ss.s[i].upload ? strlen(ss.s[i].upload) : 0;

        if (n && strncmp(id, ss.s[i].upload, n) == 0 && id[n] == '#' && strcmp(id + n + 1, ss.s[i].uuid) == 0)
            *ret = &ss.s[i];
    }
    return r;
}

int csi_snapshot_by_id(struct csi_call *k, const char *id, struct csi_volumes *vs, struct csi_snapshot **ret)
{
    struct csi_snapshots ss = {.n = 0};
    const struct csi_volume *v;
    char ids[3][UUID_TEXT_SIZE];
    int r = csi_volumes(k, vs);

    *ret = NULL;
    if (r == 0 && csi_point_is(id))
        return snapshot_by_point(k, id, vs, ret);
    if (r < 0 || !csi_id_split(id, 3, ids) || !(v = by_uuids(vs, ids)))
        return r;
    r = csi_snapshots_add(k, v, true, &ss); /* also one that a person took, for a content made by hand */
    for (size_t i = 0; i < ss.n && r == 0; i++)
        if (strcmp(ss.s[i].uuid, ids[2]) == 0)
            *ret = &ss.s[i];
    return r;
}

int csi_timestamp(struct csi_call *k, int64_t ns, Google__Protobuf__Timestamp **ret)
{
    Google__Protobuf__Timestamp *t = arena_alloc(&k->arena, sizeof(*t));

    if (!t)
        return csi_nomem(k);
    google__protobuf__timestamp__init(t);
    t->seconds = ns / 1000000000;
    t->nanos = (int32_t)(ns % 1000000000);
    *ret = t;
    return 0;
}

int csi_snapshot_fill(struct csi_call *k, const struct csi_volumes *vs, const struct csi_snapshot *s,
                      Csi__V1__Snapshot **ret)
{
    Csi__V1__Snapshot *to = arena_alloc(&k->arena, sizeof(*to));
    int r;

    if (!to)
        return csi_nomem(k);
    csi__v1__snapshot__init(to);
    to->snapshot_id = s->upload ? arena_printf(&k->arena, "%s#%s", s->upload, s->uuid)
                                : arena_printf(&k->arena, "%s/%s/%s", vs->store, s->volume->uuid, s->uuid);
    to->source_volume_id = csi_volume_id(k, vs, s->volume);
    if (s->group)
        to->group_snapshot_id = arena_printf(&k->arena, "%s/%s", vs->store, s->group);
    if (!to->snapshot_id || !to->source_volume_id || !to->group_snapshot_id)
        return csi_nomem(k);
    to->size_bytes = (int64_t)s->bytes;
    to->ready_to_use = s->durable;
    r = csi_timestamp(k, s->taken_ns, &to->creation_time);
    if (r == 0 && s->upload) { /* it can be had everywhere, once it is there */
        bool done = false;

        r = csi_upload_done(k, s, &done);
        to->ready_to_use = to->ready_to_use && done;
    } else if (r == 0 && !k->d->no_snapshot_topology) {
        r = csi_topology(k, &to->n_accessible_topology, &to->accessible_topology);
    }
    *ret = to;
    return r;
}
