/* Lists of all nodes, and their room together. */
#include <stdio.h>
#include <stdlib.h>

#include "plugin/csi_route.h"
#include "plugin/pb.h"

#define PAGE_MAX 1000 /* entries that a node is asked for at a time */
#define ANSWER_BYTES                                                                                         \
    (512u << 10) /* then the next page begins, however many entries are wanted: clients take 4 MiB */

/* The three lists have the same names and numbers where it matters. */
#define ENTRIES 1
#define NEXT_TOKEN 2
#define MAX_ENTRIES 1
#define STARTING_TOKEN 2
typedef Csi__V1__ListVolumesRequest listing;
#define SAME(type, member)                                                                                   \
    static_assert(offsetof(listing, member) == offsetof(type, member), #type "." #member)
SAME(Csi__V1__ListSnapshotsRequest, max_entries);
SAME(Csi__V1__ListSnapshotsRequest, starting_token);
SAME(Csi__V1__ControllerListVolumeHealthRequest, max_entries);
SAME(Csi__V1__ControllerListVolumeHealthRequest, starting_token);

struct merging {
    struct csi_routing *g;
    struct csi_places ps;
    size_t at;         /* the node that is asked */
    char token[512];   /* of it; "": from its beginning */
    size_t want, have; /* entries; want 0: any number */
    struct buf out;    /* the answer */
    size_t answers;    /* of the node, to one request */
    bool bad;          /* it could not be read */
};

/* --- what is asked --------------------------------------------------------------------------------------------------------- */

/* The request without its own page. */
static int rest_of(const struct csi_routing *g, struct buf *b)
{
    const uint8_t *p = g->bytes;
    size_t left = g->len;
    struct pb_field f;
    int r;

    while ((r = pb_next(&p, &left, &f)) > 0)
        if (f.number != MAX_ENTRIES && f.number != STARTING_TOKEN && (r = buf_add(b, f.at, f.len)) < 0)
            break;
    return r;
}

static int request_of(struct merging *m, struct buf *b)
{
    size_t n = m->want ? MIN_OF(m->want - m->have, (size_t)PAGE_MAX) : PAGE_MAX;
    int r = rest_of(m->g, b);

    if (r == 0)
        r = pb_put_number(b, MAX_ENTRIES, n);
    return r < 0 ? r : pb_put_text(b, STARTING_TOKEN, m->token);
}

/* Where to go on: NODE/TOKEN. */
static int begin(struct merging *m, const char *token)
{
    const char *slash = strchr(token, '/');

    if (!*token)
        return 0;
    for (; slash && m->at < m->ps.n; m->at++) {
        const char *name = m->ps.p[m->at].name;

        if (strlen(name) == (size_t)(slash - token) && memcmp(name, token, strlen(name)) == 0 &&
            strlen(slash + 1) < sizeof(m->token)) {
            snprintf(m->token, sizeof(m->token), "%s", slash + 1);
            return 0;
        }
    }
    return csi_fail(
        &m->g->k, GRPC_ABORTED,
        "starting_token: is none that was given here, or of a node that is gone; begin again without");
}

/* --- what is answered ------------------------------------------------------------------------------------------------------ */

/* One that is passed over would end the list too early. */
static int token_take(struct merging *m, const struct pb_field *f)
{
    if (f->type != 2 || f->bytes_len >= sizeof(m->token) || memchr(f->bytes, 0, f->bytes_len))
        return -E_PROTO;
    memcpy(m->token, f->bytes, f->bytes_len);
    m->token[f->bytes_len] = 0;
    return 0;
}

static int take_page(void *arg, const uint8_t *p, size_t len)
{
    struct merging *m = arg;
    size_t had = m->have;
    struct pb_field f;
    int r;

    m->answers++;
    m->token[0] = 0;
    while ((r = pb_next(&p, &len, &f)) > 0) {
        if (f.number == ENTRIES && f.type == 2) {
            m->have++;
            if (buf_add(&m->out, f.at, f.len) < 0)
                return -E_NOMEM;
        } else if (f.number == NEXT_TOKEN) {
            r = token_take(m, &f);
            if (r < 0)
                break;
        }
    }
    if (r == 0 && ((*m->token && m->have == had) || (m->want && m->have > m->want)))
        r = -E_PROTO; /* the first would be asked for ever */
    m->bad = r < 0;
    return r;
}

static int page(struct merging *m)
{
    cleanup(buf_free) struct buf b = {0};
    struct csi_call *k = &m->g->k;
    struct csi_place *p = &m->ps.p[m->at];
    struct grpc_said said;
    int r = request_of(m, &b);

    if (r < 0)
        return r == -E_PROTO ? csi_fail(k, GRPC_INTERNAL, "the request is no message of its type")
                             : csi_nomem(k);
    m->answers = 0;
    r = csi_place_ask(k, p, m->g->path, b.data, b.len, take_page, m, &said);
    if (r == 0 && (m->bad || (said.code == GRPC_OK && m->answers != 1)))
        r = csi_fail(k, GRPC_INTERNAL, "node %s answers in another way", p->name);
    if (r == 0 && said.code != GRPC_OK)
        r = BROKEN(VARVE_BREAK_csi_list_away) ? 0 : csi_place_fail(k, p, &said);
    if (r == 0 && !*m->token)
        m->at++;
    return r;
}

static bool is_full(const struct merging *m)
{
    return (m->want && m->have >= m->want) || m->out.len >= ANSWER_BYTES;
}

static int answer(struct merging *m)
{
    struct csi_call *k = &m->g->k;
    const char *next = "";
    int r;

    if (m->at < m->ps.n)
        next = arena_printf(&k->arena, "%s/%s", m->ps.p[m->at].name, m->token);
    if (!next || pb_put_text(&m->out, NEXT_TOKEN, next) < 0)
        return csi_nomem(k);
    m->g->sent = true;
    r = grpc_call_send(k->grpc, m->out.len ? m->out.data : (const uint8_t *)"", m->out.len);
    return r == -E_NOMEM ? csi_nomem(k) : 0;
}

static int all_pages(struct merging *m)
{
    const listing *q = (const listing *)(const void *)m->g->q;
    int r;

    if (q->max_entries < 0)
        return csi_fail(&m->g->k, GRPC_INVALID_ARGUMENT, "max_entries: is negative");
    m->want = (size_t)q->max_entries;
    r = csi_places_all(&m->g->k, !*q->starting_token, &m->ps);
    if (r == 0)
        r = begin(m, q->starting_token);
    while (r == 0 && m->at < m->ps.n && !is_full(m))
        r = page(m);
    return r < 0 ? r : answer(m);
}

int csi_merge_list(struct csi_routing *g)
{
    struct merging *m = arena_alloc(&g->k.arena, sizeof(*m));
    int r;

    if (!m)
        return csi_nomem(&g->k);
    m->g = g;
    r = all_pages(m);
    csi_places_drop(&m->ps);
    buf_free(&m->out);
    return r;
}

/* --- room ------------------------------------------------------------------------------------------------------------------ */

static int add_room(void *arg, const uint8_t *p, size_t len)
{
    Csi__V1__GetCapacityResponse *sum = arg, *a = csi__v1__get_capacity_response__unpack(NULL, len, p);

    if (!a)
        return -E_PROTO;
    if (__builtin_add_overflow(sum->available_capacity, a->available_capacity, &sum->available_capacity))
        sum->available_capacity = INT64_MAX;
    if (a->maximum_volume_size && a->maximum_volume_size->value > sum->maximum_volume_size->value)
        sum->maximum_volume_size->value = a->maximum_volume_size->value;
    if (a->minimum_volume_size)
        sum->minimum_volume_size->value = a->minimum_volume_size->value;
    csi__v1__get_capacity_response__free_unpacked(a, NULL);
    return 0;
}

static int room_of_all(struct csi_routing *g, struct csi_places *ps)
{
    Csi__V1__GetCapacityResponse sum = CSI__V1__GET_CAPACITY_RESPONSE__INIT;
    Google__Protobuf__Int64Value most = GOOGLE__PROTOBUF__INT64_VALUE__INIT, least = most;
    int r = csi_places_all(&g->k, true, ps);

    sum.maximum_volume_size = &most;
    sum.minimum_volume_size = &least;
    for (size_t i = 0; i < ps->n && r == 0; i++) {
        struct grpc_said said;

        r = csi_place_ask(&g->k, &ps->p[i], g->path, g->bytes, g->len, add_room, &sum, &said);
        if (r == 0 && said.code != GRPC_OK)
            r = csi_place_fail(&g->k, &ps->p[i], &said);
    }
    g->sent = true;
    return r < 0 ? r : csi_send(&g->k, &sum.base);
}

/* A topology that names no node here has no room. */
int csi_merge_capacity(struct csi_routing *g)
{
    const Csi__V1__GetCapacityRequest *q = (const Csi__V1__GetCapacityRequest *)(const void *)g->q;
    Csi__V1__GetCapacityResponse none = CSI__V1__GET_CAPACITY_RESPONSE__INIT;
    cleanup(csi_places_drop) struct csi_places ps = {.n = 0};
    struct csi_place *p;
    int r;

    if (!q->accessible_topology)
        return room_of_all(g, &ps);
    r = csi_place_of_topology(&g->k, q->accessible_topology, &ps, &p);
    if (r == 0 && p)
        return csi_route_to(g, p);
    g->sent = true;
    return r < 0 ? r : csi_send(&g->k, &none.base);
}
