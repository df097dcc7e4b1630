#include "plugin/csi_nodes.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"

#define SECOND 1000000000ll
#define LEARN_NS (7 * SECOND) /* who a node is */
#define ANSWER_NS (60 * SECOND)
#define LIST_MAX (4u << 20)
#define NODES_MAX 5000
#define NAME_MAX_BYTES 253
#define NOWHERE "-"   /* the address of a node whose driver has none */
#define NAMED_MAX 300 /* bytes of nodes in a sentence, then they are counted */

struct csi_node {
    _Atomic unsigned refs;
    char *name, *address;
    struct grpc_link *link; /* NULL: its driver does not run */
    /* csi_nodes.lock */
    char store[UUID_TEXT_SIZE], id[NAME_MAX_BYTES + 1], why[300];
    uint64_t number;
    int64_t tried_ns; /* it could not be asked then; 0: it could */
};

struct csi_nodes {
    struct csi *d;
    const char *file;
    struct grpc_client *client;
    struct lock lock; /* RANK_FACE: guards what follows, and what nodes say */
    struct cond read_cond;
    bool reading;
    int64_t read_ns; /* when the list was read last; 0: never */
    char why[300];   /* it could not be */
    size_t n;
    struct csi_node **all; /* by name */
};

/* --- nodes ----------------------------------------------------------------------------------------------------------------- */

static void node_unref(struct csi_node *n)
{
    if (!n || atomic_fetch_sub(&n->refs, 1) != 1)
        return;
    grpc_link_free(n->link);
    free(n->name);
    free(n->address);
    free(n);
}

static int node_new(struct csi_nodes *ns, const char *name, const char *address, struct csi_node **ret)
{
    struct csi_node *n = calloc(1, sizeof(*n));
    int r;

    if (!n)
        return -E_NOMEM;
    n->refs = 1;
    n->name = strdup(name);
    n->address = strdup(address);
    r = n->name && n->address ? 0 : -E_NOMEM;
    if (r == 0 && strcmp(address, NOWHERE) != 0)
        r = grpc_link_new(ns->client, address, &n->link);
    snprintf(n->why, sizeof(n->why), "its driver does not run");
    n->tried_ns = n->link ? 0 : clock_mono_ns();
    if (r < 0) {
        node_unref(n);
        return r;
    }
    *ret = n;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(struct csi_node *const *)a)->name, (*(struct csi_node *const *)b)->name);
}

/* --- the list -------------------------------------------------------------------------------------------------------------- */

struct list {
    size_t n;
    struct csi_node **all;
};

static void list_free(struct list *l)
{
    for (size_t i = 0; i < l->n; i++)
        node_unref(l->all[i]);
    free(l->all);
    *l = (struct list){.n = 0};
}

/* The one that is there already, with another reference: it keeps its connection. */
static struct csi_node *known(struct csi_nodes *ns, const char *name, const char *address)
{
    struct csi_node *found = NULL;

    lock_take(&ns->lock);
    for (size_t i = 0; i < ns->n && !found; i++)
        if (strcmp(ns->all[i]->name, name) == 0 && strcmp(ns->all[i]->address, address) == 0)
            found = ns->all[i];
    if (found)
        atomic_fetch_add(&found->refs, 1);
    lock_drop(&ns->lock);
    return found;
}

static int line_take(struct csi_nodes *ns, char *line, struct list *l)
{
    char *name = line + strspn(line, " \t\r"), *address = name + strcspn(name, " \t\r"), *end;
    struct csi_node *n = NULL;
    int r = 0;

    if (!*name || *name == '#')
        return 0;
    if (*address)
        *address++ = 0;
    address += strspn(address, " \t\r");
    end = address + strcspn(address, " \t\r");
    if (end[strspn(end, " \t\r")] || strchr(name, '/') || strlen(name) > NAME_MAX_BYTES)
        r = -E_INVAL;
    *end = 0;
    for (size_t i = 0; i < l->n && r == 0; i++)
        if (strcmp(l->all[i]->name, name) == 0)
            r = -E_EXIST;
    if (r == 0 && l->n == NODES_MAX)
        r = -E_TOOBIG;
    if (r == 0 && !(n = known(ns, name, address)))
        r = node_new(ns, name, address, &n);
    if (r == 0)
        l->all[l->n++] = n;
    else if (r != -E_NOMEM && r != -E_TOOBIG)
        log_warn("csi", "node-not-understood", "line=\"%.300s %.100s\"", name, address);
    return r == -E_NOMEM || r == -E_TOOBIG ? r : 0;
}

static int list_take(struct csi_nodes *ns, struct buf *text, struct list *l)
{
    const char *s = buf_cstr(text);
    char *line, *next;
    int r = s ? 0 : -E_NOMEM;

    l->all = calloc(NODES_MAX, sizeof(*l->all)); /* untouched pages cost nothing */
    if (!l->all)
        return -E_NOMEM;
    for (line = (char *)text->data; r == 0 && line && *line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        r = line_take(ns, line, l);
    }
    if (l->n > 1)
        qsort(l->all, l->n, sizeof(*l->all), by_name);
    return r;
}

static int text_get(struct csi_call *k, struct csi_nodes *ns, struct buf *ret, char why[300])
{
    const char *said = NULL;
    int r =
        ns->file ? io_read_file(io_real(), ns->file, LIST_MAX, ret) : csi_manifests(k, "nodes", ret, &said);

    if (r < 0)
        snprintf(why, 300, "%.200s: %s", ns->file ? ns->file : "varve-manifests nodes", err_text(r));
    else if (said)
        snprintf(why, 300, "varve-manifests nodes: %.250s", said);
    return r < 0 || said ? -E_FAILED : 0;
}

static void list_set(struct csi_nodes *ns, struct list *l, const char *why)
{
    struct list old = {.n = 0};

    lock_take(&ns->lock);
    if (!*why) {
        old = (struct list){.n = ns->n, .all = ns->all};
        ns->n = l->n;
        ns->all = l->all;
        *l = (struct list){.n = 0};
    }
    snprintf(ns->why, sizeof(ns->why), "%s", why);
    ns->read_ns = clock_mono_ns();
    ns->reading = false;
    cond_wake_all(&ns->read_cond);
    lock_drop(&ns->lock);
    list_free(&old);
}

static void list_read(struct csi_call *k, struct csi_nodes *ns)
{
    cleanup(buf_free) struct buf text = {0};
    struct list l = {.n = 0};
    char why[300] = "";
    int r = text_get(k, ns, &text, why) == 0 ? list_take(ns, &text, &l) : 0;

    if (r == -E_TOOBIG)
        snprintf(why, sizeof(why), "there are more than %d nodes", NODES_MAX);
    else if (r < 0)
        snprintf(why, sizeof(why), "out of memory");
    if (*why)
        log_warn("csi", "nodes-not-read", "why=\"%s\"", why);
    list_set(ns, &l, why);
    list_free(&l);
}

/* Read anew, unless that was done within the last second; by one at a time, for whom the others wait. False: it was as new as that. */
static bool list_look(struct csi_call *k)
{
    struct csi_nodes *ns = k->d->nodes;
    bool mine = false, old;

    lock_take(&ns->lock);
    old = ns->reading || !ns->read_ns || clock_mono_ns() - ns->read_ns >= SECOND;
    while (ns->reading)
        cond_wait(&ns->read_cond, &ns->lock);
    if (!ns->read_ns || clock_mono_ns() - ns->read_ns >= SECOND)
        ns->reading = mine = true;
    lock_drop(&ns->lock);
    if (mine)
        list_read(k, ns);
    return old;
}

/* --- who they are ---------------------------------------------------------------------------------------------------------- */

static int place_fill_locked(struct csi_call *k, struct csi_nodes *ns, struct csi_place *p) REQUIRES(ns->lock)
{
    struct csi_node *n = p->node;

    lock_assert_held(&ns->lock);
    p->name = n->name;
    p->address = n->address;
    p->store = *n->store ? arena_dup(&k->arena, n->store) : NULL;
    p->id = *n->id ? arena_dup(&k->arena, n->id) : NULL;
    p->why = n->tried_ns ? arena_dup(&k->arena, n->why) : NULL;
    p->tried = n->tried_ns && clock_mono_ns() - n->tried_ns < SECOND;
    p->number = n->number;
    return (*n->store && !p->store) || (*n->id && !p->id) || (n->tried_ns && !p->why) ? -E_NOMEM : 0;
}

static int place_fill(struct csi_call *k, struct csi_nodes *ns, struct csi_place *p)
{
    int r;

    lock_take(&ns->lock);
    r = place_fill_locked(k, ns, p);
    lock_drop(&ns->lock);
    return r < 0 ? csi_nomem(k) : 0;
}

/* What is known of all of them now. */
static int places_take(struct csi_call *k, struct csi_places *ps)
{
    struct csi_nodes *ns = k->d->nodes;
    int r = 0;

    csi_places_drop(ps);
    ps->nodes = ns;
    lock_take(&ns->lock);
    ps->p = arena_alloc(&k->arena, (ns->n + 1) * sizeof(*ps->p));
    for (size_t i = 0; ps->p && i < ns->n; i++) {
        ps->p[i].node = ns->all[i];
        atomic_fetch_add(&ns->all[i]->refs, 1);
        ps->n++;
        r = r == 0 ? place_fill_locked(k, ns, &ps->p[i]) : r;
    }
    lock_drop(&ns->lock);
    return ps->p && r == 0 ? 0 : csi_nomem(k);
}

void csi_places_drop(struct csi_places *ps)
{
    for (size_t i = 0; i < ps->n; i++)
        node_unref(ps->p[i].node);
    ps->n = 0;
}

static void text_keep(char *to, size_t room, const char *s)
{
    if (strlen(s) < room)
        snprintf(to, room, "%s", s);
}

static void node_learned(struct csi_nodes *ns, struct csi_node *n, const struct grpc_said *said,
                         const Csi__V1__GetPluginInfoResponse *a)
{
    lock_take(&ns->lock);
    n->number = 0;
    n->tried_ns = clock_mono_ns();
    n->store[0] = a ? 0 : n->store[0];
    for (size_t i = 0; a && i < a->n_manifest; i++)
        if (strcmp(a->manifest[i]->key, CSI_MANIFEST_STORE) == 0)
            text_keep(n->store, sizeof(n->store), a->manifest[i]->value);
        else if (strcmp(a->manifest[i]->key, CSI_MANIFEST_NODE) == 0)
            text_keep(n->id, sizeof(n->id), a->manifest[i]->value);
    if (!a)
        snprintf(n->why, sizeof(n->why), "%.250s", said->why);
    else if (strcmp(a->name, ns->d->name) != 0)
        snprintf(n->why, sizeof(n->why), "it is the driver %.100s", a->name);
    else if (!n->store[0])
        snprintf(n->why, sizeof(n->why), "no daemon serves its store");
    else
        n->tried_ns = 0;
    if (n->tried_ns == 0)
        n->number = said->number;
    lock_drop(&ns->lock);
}

static struct grpc_asked *learn_begin(struct csi_node *n)
{
    struct grpc_ask q = {.path = "/csi.v1.Identity/GetPluginInfo", .deadline_ns = clock_mono_ns() + LEARN_NS};
    struct grpc_asked *a = NULL;

    return !n->link || grpc_asked_new(n->link, &q, &a) < 0 ? NULL : a;
}

static void learn_end(struct csi_call *k, struct csi_node *n, struct grpc_asked *asked)
{
    cleanup(buf_free) struct buf b = {0};
    struct grpc_taking t = {.fn = grpc_last,
                            .arg = &b}; /* whoever waits: what a node says is for others, too */
    Csi__V1__GetPluginInfoResponse *a = NULL;
    struct grpc_said said;

    if (!asked)
        return;
    grpc_asked_wait(asked, &t, &said);
    if (said.code == GRPC_OK &&
        (b.len == 0 || !(a = csi__v1__get_plugin_info_response__unpack(NULL, b.len, b.data)))) {
        snprintf(said.why, sizeof(said.why), "it says nothing that is understood");
        said.code = GRPC_INTERNAL;
    }
    node_learned(k->d->nodes, n, &said, a);
    if (a)
        csi__v1__get_plugin_info_response__free_unpacked(a, NULL);
    grpc_asked_free(asked);
}

/* All at once that are not known, and were not asked within the last second. one: this one, whenever it was. */
static int learn(struct csi_call *k, struct csi_places *ps, struct csi_place *one)
{
    struct grpc_asked **asked = arena_alloc(&k->arena, (ps->n + 1) * sizeof(struct grpc_asked *));
    int64_t now = clock_mono_ns();
    int r = 0;

    if (!asked)
        return csi_nomem(k);
    for (size_t i = 0; i < ps->n; i++) {
        struct csi_node *n = ps->p[i].node;
        bool due;

        lock_take(&ps->nodes->lock);
        due = n->number == 0 && (!n->tried_ns || now - n->tried_ns >= SECOND);
        lock_drop(&ps->nodes->lock);
        if (one ? &ps->p[i] == one : due)
            asked[i] = learn_begin(n);
    }
    for (size_t i = 0; i < ps->n; i++)
        learn_end(k, ps->p[i].node, asked[i]);
    for (size_t i = 0; i < ps->n && r == 0; i++)
        r = place_fill(k, ps->nodes, &ps->p[i]);
    return r;
}

/* --- for a call ------------------------------------------------------------------------------------------------------------ */

static int none(struct csi_call *k)
{
    struct csi_nodes *ns = k->d->nodes;
    char why[300];

    lock_take(&ns->lock);
    snprintf(why, sizeof(why), "%s", ns->why);
    lock_drop(&ns->lock);
    return csi_fail(k, GRPC_UNAVAILABLE, "no node is known%s%s", *why ? ": " : "", why);
}

int csi_places_all(struct csi_call *k, bool fresh, struct csi_places *ps)
{
    int r;

    if (fresh)
        list_look(k);
    r = places_take(k, ps);
    if (r == 0 && ps->n == 0 && list_look(k))
        r = places_take(k, ps);
    if (r == 0 && ps->n == 0)
        r = none(k);
    return r < 0 ? r : learn(k, ps, NULL);
}

const char *csi_places_away(struct csi_call *k, const struct csi_places *ps)
{
    const char *s = NULL;
    size_t more = 0;

    for (size_t i = 0; i < ps->n; i++)
        if (ps->p[i].why && s && strlen(s) > NAMED_MAX)
            more++;
        else if (ps->p[i].why)
            s = arena_printf(&k->arena, "%s%snode %s (%s): %s", s ? s : "", s ? "; " : "", ps->p[i].name,
                             ps->p[i].address, ps->p[i].why);
    return more && s ? arena_printf(&k->arena, "%s; and %zu more", s, more) : s;
}

/* One that can be asked, if there is one. */
static struct csi_place *with_store(struct csi_places *ps, const char *store)
{
    struct csi_place *found = NULL;

    for (size_t i = 0; i < ps->n; i++)
        if (ps->p[i].store && strcmp(ps->p[i].store, store) == 0 && (!found || (found->why && !ps->p[i].why)))
            found = &ps->p[i];
    return found;
}

/* Another node that has said that it has the same store: a disk was copied, or has moved. What the one does not know may be the other's. */
static struct csi_place *rival_of(struct csi_places *ps, const struct csi_place *p)
{
    for (size_t i = 0; i < ps->n; i++) {
        struct csi_place *o = &ps->p[i];

        if (o != p && o->store && p->store && strcmp(o->store, p->store) == 0 && o->id && p->id &&
            strcmp(o->id, p->id) != 0)
            return o;
    }
    return NULL;
}

static int nobody_has(struct csi_call *k, const char *field, const char *store, const struct csi_places *ps)
{
    const char *asked = "", *away = csi_places_away(k, ps);

    if (BROKEN(VARVE_BREAK_csi_nobodys))
        return 0;
    for (size_t i = 0; i < ps->n && asked && strlen(asked) <= NAMED_MAX; i++)
        if (!ps->p[i].why)
            asked = arena_printf(&k->arena, "%s%s%s", asked, *asked ? ", " : "", ps->p[i].name);
    return csi_fail(k, GRPC_UNAVAILABLE, "%s: no node says that it has the store %s; asked: %.300s%s%.400s",
                    field, store, asked && *asked ? asked : "none", away ? "; not reached: " : "",
                    away ? away : "");
}

/* By what is known, then by asking who it was last, then everybody. */
static int look_for(struct csi_call *k, const char *store, struct csi_places *ps, struct csi_place **ret)
{
    int r = places_take(k, ps);

    *ret = r == 0 ? with_store(ps, store) : NULL;
    if (r == 0 && *ret && (*ret)->number == 0 && !(*ret)->tried) {
        r = learn(k, ps, *ret);
        *ret = with_store(ps, store);
    }
    if (r == 0 && (!*ret || (*ret)->why || (*ret)->number == 0)) {
        r = learn(k, ps, NULL);
        *ret = with_store(ps, store);
    }
    if (*ret && ((*ret)->why || (*ret)->number == 0))
        *ret = NULL;
    return r;
}

/* Unless the other one says another thing by now. */
static int alone(struct csi_call *k, const char *field, const char *store, struct csi_places *ps,
                 struct csi_place **ret)
{
    struct csi_place *rival = rival_of(ps, *ret);
    int r = rival ? learn(k, ps, rival) : 0;

    if (r < 0 || !rival || !(rival = rival_of(ps, *ret)) || BROKEN(VARVE_BREAK_csi_rival))
        return r;
    return csi_fail(
        k, GRPC_UNAVAILABLE,
        "%s: two nodes say that they have the store %s: %s (%s) and %s (%s); take the one that has it no "
        "longer off the list, or make a store of its own for the one with a copy",
        field, store, (*ret)->name, (*ret)->address, rival->name, rival->address);
}

int csi_place_of_store(struct csi_call *k, const char *field, const char *store, struct csi_places *ps,
                       struct csi_place **ret)
{
    struct csi_place *was;
    int r = look_for(k, store, ps, ret);

    if (r == 0 && (!*ret || rival_of(ps, *ret)) && list_look(k))
        r = look_for(k, store, ps, ret);
    if (r < 0)
        return r;
    if (*ret)
        return alone(k, field, store, ps, ret);
    if (ps->n == 0)
        return none(k);
    was = with_store(ps, store);
    if (was && was->why)
        return csi_fail(k, GRPC_UNAVAILABLE, "%s: node %s (%s), which has the store %s, cannot be asked: %s",
                        field, was->name, was->address, store, was->why);
    return nobody_has(k, field, store, ps);
}

struct passing {
    struct csi_call *k;
    int (*fn)(void *arg, const uint8_t *p, size_t len);
    void *arg;
};

static int pass(void *arg, const uint8_t *p, size_t len)
{
    struct passing *t = arg;

    return t->fn(t->arg, p, len);
}

static bool nobody_waits(void *arg)
{
    struct passing *t = arg;

    return grpc_call_ended(t->k->grpc) && !BROKEN(VARVE_BREAK_csi_pass_cancel);
}

static int ask(struct csi_call *k, struct csi_place *p, const struct grpc_ask *q, const struct grpc_taking *t,
               struct grpc_said *ret)
{
    struct grpc_asked *a = NULL;

    if (grpc_asked_new(p->node->link, q, &a) < 0)
        return csi_nomem(k);
    grpc_asked_wait(a, t, ret);
    grpc_asked_free(a);
    return 0;
}

/* It is asked again who it is; the same store: the call goes on. */
static int again(struct csi_call *k, struct csi_place *p, bool *ret)
{
    struct csi_places one = {.nodes = k->d->nodes, .n = 1, .p = p};
    const char *store = p->store;
    int r = learn(k, &one, p);

    *ret = r == 0 && !p->why && p->number && store && strcmp(p->store, store) == 0;
    return r;
}

int csi_place_ask(struct csi_call *k, struct csi_place *p, const char *path, const void *bytes, size_t len,
                  int (*fn)(void *arg, const uint8_t *p, size_t len), void *arg, struct grpc_said *ret)
{
    struct grpc_ask q = {
        .path = path, .message = bytes, .len = len, .deadline_ns = grpc_call_deadline(k->grpc)};
    struct passing to = {.k = k, .fn = fn, .arg = arg};
    struct grpc_taking t = {.fn = pass, .ended = nobody_waits, .arg = &to};
    bool same = false;
    int r;

    *ret = (struct grpc_said){.code = GRPC_UNAVAILABLE, .unseen = true};
    snprintf(ret->why, sizeof(ret->why), "%.250s", p->why ? p->why : "it has not said which store it has");
    if (p->why || p->number == 0)
        return 0;
    q.number = p->number;
    r = ask(k, p, &q, &t, ret);
    if (r == 0 && ret->unseen)
        r = again(k, p, &same);
    q.number = p->number;
    if (r == 0 && same)
        r = ask(k, p, &q, &t, ret);
    else if (r == 0 && ret->unseen && p->why)
        snprintf(ret->why, sizeof(ret->why), "%.250s", p->why);
    return r;
}

int csi_place_fail(struct csi_call *k, const struct csi_place *p, const struct grpc_said *said)
{
    if (said->told)
        return csi_fail(k, said->code == GRPC_OK ? GRPC_INTERNAL : said->code, "%s", said->why);
    if (said->code == GRPC_UNAVAILABLE && !said->unseen)
        return csi_fail(k, GRPC_UNAVAILABLE, "node %s (%s): %s; it may have been done there: ask again",
                        p->name, p->address, said->why);
    if (said->code == GRPC_UNAVAILABLE)
        return csi_fail(k, GRPC_UNAVAILABLE, "node %s (%s) cannot be asked: %s", p->name, p->address,
                        said->why);
    return csi_fail(k, said->code, "node %s: %s", p->name, said->why);
}

/* --- beginning and end ----------------------------------------------------------------------------------------------------- */

int csi_nodes_new(struct csi *d, const char *file, struct grpc_client *client, struct csi_nodes **ret)
{
    struct csi_nodes *ns = calloc(1, sizeof(*ns));

    if (!ns)
        return -E_NOMEM;
    ns->d = d;
    ns->file = file;
    ns->client = client;
    lock_init(&ns->lock, RANK_FACE, 0);
    cond_init(&ns->read_cond);
    *ret = ns;
    return 0;
}

void csi_nodes_free(struct csi_nodes *ns)
{
    struct list l;

    if (!ns)
        return;
    l = (struct list){.n = ns->n, .all = ns->all};
    list_free(&l);
    grpc_client_free(ns->client);
    cond_release(&ns->read_cond);
    lock_release(&ns->lock);
    free(ns);
}
