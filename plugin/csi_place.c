/* Whose an id is. */
#include <stdlib.h>

#include "plugin/csi_route.h"

/* An answer that is looked at here. */
static int ask(struct csi_call *k, struct csi_place *p, const char *path, const ProtobufCMessage *q,
               struct buf *ret, struct grpc_said *said)
{
    size_t len = protobuf_c_message_get_packed_size(q);
    uint8_t *bytes = arena_alloc(&k->arena, len + 1);

    if (!bytes)
        return csi_nomem(k);
    protobuf_c_message_pack(q, bytes);
    buf_reset(ret);
    return csi_place_ask(k, p, path, bytes, len, grpc_last, ret, said);
}

/* --- volumes that follow their pod ----------------------------------------------------------------------------------------- */

/* A node that only says that it is not the one has nothing to tell. */
static const char *told(struct csi_call *k, const struct csi_place *p, const struct grpc_said *said)
{
    if (said->code == GRPC_NOT_FOUND || strstr(said->why, "is of another store"))
        return NULL;
    return arena_printf(&k->arena, "; node %s: %.300s", p->name, said->why);
}

/* *ret_why: what a node says of it that would have it, NULL: nothing. */
static int mobile(struct csi_call *k, const char *id, struct csi_places *ps, struct csi_place **ret,
                  const char **ret_why)
{
    Csi__V1__ControllerGetVolumeRequest q = CSI__V1__CONTROLLER_GET_VOLUME_REQUEST__INIT;
    cleanup(buf_free) struct buf b = {0};
    struct grpc_said said;
    int r = csi_places_all(k, true, ps);

    q.volume_id = (char *)(uintptr_t)id;
    for (size_t i = 0; r == 0 && i < ps->n && !*ret; i++) {
        r = ask(k, &ps->p[i], "/csi.v1.Controller/ControllerGetVolume", &q.base, &b, &said);
        if (r == 0 && said.code == GRPC_OK)
            *ret = &ps->p[i];
        else if (r == 0 && !said.told && !ps->p[i].why)
            ps->p[i].why = arena_dup(&k->arena, said.why);
        else if (r == 0 && said.told && !*ret_why)
            *ret_why = told(k, &ps->p[i], &said);
    }
    return r;
}

static int mobile_nobody(struct csi_routing *g, const char *field, const struct csi_places *ps,
                         const char *why)
{
    const char *away = csi_places_away(&g->k, ps);

    if (strcmp(strrchr(g->path, '/'), "/DeleteVolume") == 0)
        return 0; /* any node looks into the repository whether it may */
    return csi_fail(&g->k, GRPC_UNAVAILABLE, "%s: no node has the copy that counts of this volume%s%s%.400s",
                    field, why ? why : "", away ? "; not reached: " : "", away ? away : "");
}

/* --- recovery points ------------------------------------------------------------------------------------------------------- */

/* A map<string, string> of the request. */
static void secrets_of(const struct csi_routing *g, Csi__V1__GetSnapshotRequest *q)
{
    const ProtobufCFieldDescriptor *f =
        protobuf_c_message_descriptor_get_field_by_name(g->q->descriptor, "secrets");

    if (!f || f->label != PROTOBUF_C_LABEL_REPEATED)
        return;
    memcpy(&q->n_secrets, (const char *)g->q + f->quantifier_offset, sizeof(q->n_secrets));
    memcpy(&q->secrets, (const char *)g->q + f->offset, sizeof(q->secrets));
}

/* The store that it says it is of. */
static int store_of(struct csi_call *k, const struct buf *b, char ret[UUID_TEXT_SIZE])
{
    Csi__V1__GetSnapshotResponse *a = csi__v1__get_snapshot_response__unpack(NULL, b->len, b->data);
    char parts[2][UUID_TEXT_SIZE];
    bool ok = a && a->snapshot && csi_id_split(a->snapshot->source_volume_id, 2, parts);

    if (ok)
        memcpy(ret, parts[0], UUID_TEXT_SIZE);
    else
        ret[0] = 0; /* of a volume that follows its pod, too */
    if (a)
        csi__v1__get_snapshot_response__free_unpacked(a, NULL);
    return a ? 0 : csi_fail(k, GRPC_INTERNAL, "snapshot_id: a node tells it in another way");
}

struct pointing {
    struct csi_place *at;       /* where it is known; NULL: nowhere */
    char store[UUID_TEXT_SIZE]; /* "": it says none */
    struct csi_place *failed;   /* the first that failed in another way */
    struct grpc_said said;
};

static int point_ask(struct csi_routing *g, const char *id, struct csi_places *ps, struct pointing *ret)
{
    Csi__V1__GetSnapshotRequest q = CSI__V1__GET_SNAPSHOT_REQUEST__INIT;
    cleanup(buf_free) struct buf b = {0};
    struct grpc_said said;
    int r = csi_places_all(&g->k, true, ps);

    q.snapshot_id = (char *)(uintptr_t)id;
    secrets_of(g, &q);
    for (size_t i = 0; r == 0 && i < ps->n && !ret->at; i++) {
        struct csi_place *p = &ps->p[i];

        r = ask(&g->k, p, "/csi.v1.Controller/GetSnapshot", &q.base, &b, &said);
        if (r == 0 && said.code == GRPC_OK) {
            ret->at = p;
            r = store_of(&g->k, &b, ret->store);
        } else if (r == 0 && !said.told) {
            p->why = p->why ? p->why : arena_dup(&g->k.arena, said.why);
        } else if (r == 0 && said.code != GRPC_NOT_FOUND && !ret->failed) {
            ret->failed = p;
            ret->said = said;
        }
    }
    return r;
}

/* Nobody's while somebody was not asked: there may be something left of it. */
static int away(struct csi_call *k, const char *field, const struct csi_places *ps)
{
    const char *s = csi_places_away(k, ps);

    return s ? csi_fail(k, GRPC_UNAVAILABLE, "%s: may be of a node that cannot be asked: %.700s", field, s)
             : 0;
}

static int point(struct csi_routing *g, const char *field, const char *id, struct csi_places *ps,
                 struct csi_place **ret)
{
    struct pointing *pt = arena_alloc(&g->k.arena, sizeof(*pt));
    int r = pt ? point_ask(g, id, ps, pt) : csi_nomem(&g->k);

    if (r < 0)
        return r;
    if (!pt->at && pt->failed)
        return csi_place_fail(&g->k, pt->failed, &pt->said);
    for (size_t i = 0; pt->at && *pt->store && i < ps->n && !*ret; i++)
        if (ps->p[i].store && strcmp(ps->p[i].store, pt->store) == 0)
            *ret = &ps->p[i];
    if (*ret)
        return 0; /* that it cannot be reached is said when it is asked */
    *ret = pt->at;
    return away(&g->k, field, ps);
}

/* --- any ------------------------------------------------------------------------------------------------------------------- */

static bool store_named(const char *id, char store[UUID_TEXT_SIZE])
{
    char parts[3][UUID_TEXT_SIZE];

    if (!csi_id_split(id, 2, parts) && !csi_id_split(id, 3, parts))
        return false;
    memcpy(store, parts[0], UUID_TEXT_SIZE);
    return true;
}

int csi_place_of_id(struct csi_routing *g, const char *field, const char *id, struct csi_places *ps,
                    struct csi_place **ret)
{
    char store[UUID_TEXT_SIZE];
    const char *why = NULL;
    int r;

    *ret = NULL;
    if (store_named(id, store))
        return csi_place_of_store(&g->k, field, store, ps, ret);
    if (csi_mobile_is(id)) {
        r = mobile(&g->k, id, ps, ret, &why);
        return r < 0 || *ret ? r : mobile_nobody(g, field, ps, why);
    }
    return csi_point_is(id) ? point(g, field, id, ps, ret) : 0;
}

int csi_place_of_topology(struct csi_call *k, const Csi__V1__Topology *t, struct csi_places *ps,
                          struct csi_place **ret)
{
    const char *node = NULL;
    int r;

    *ret = NULL;
    for (size_t i = 0; i < t->n_segments; i++) {
        if (strcmp(t->segments[i]->key, k->d->topology) != 0)
            return 0;
        node = t->segments[i]->value;
    }
    if (!node)
        return 0;
    r = csi_places_all(k, false, ps);
    for (int again = 0; again < 2 && r == 0 && !*ret; again++) {
        if (again)
            r = csi_places_all(k, true, ps); /* one that is new */
        for (size_t i = 0; i < ps->n && r == 0 && !*ret; i++)
            if (strcmp(ps->p[i].id ? ps->p[i].id : ps->p[i].name, node) == 0)
                *ret = &ps->p[i];
    }
    return r;
}
