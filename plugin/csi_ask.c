/* What is asked for, looked at without the store: capabilities, parameters, sizes, names, ids, topology, pages. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "plugin/csi.h"

#define PLAIN_MAX 200 /* longer names become a hash */

/* --- capabilities -------------------------------------------------------------------------------------------------------- */

static const char *mode_why(const Csi__V1__VolumeCapability__AccessMode *m)
{
    switch (m ? m->mode : CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__UNKNOWN) {
    case CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__SINGLE_NODE_WRITER:
    case CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__SINGLE_NODE_READER_ONLY:
    case CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__SINGLE_NODE_SINGLE_WRITER:
    case CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__SINGLE_NODE_MULTI_WRITER:
    case CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__MULTI_NODE_READER_ONLY: return NULL;
    case CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__MULTI_NODE_SINGLE_WRITER:
    case CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__MULTI_NODE_MULTI_WRITER:
        return "access_mode: a volume is on one node; writers on several are not to be had";
    default: return "access_mode: is missing";
    }
}

/* One option of varve mount: that has a comma only in a label of SELinux, which the kubelet puts between quotes. */
static bool is_flag(const char *s)
{
    static const char label[] = "context=\"";
    size_t n = strlen(s), head = sizeof(label) - 1;

    if (strncmp(s, label, head) == 0 && n > head + 1 && !BROKEN(VARVE_BREAK_csi_label))
        return strcspn(s + head, "\" \t\n") == n - head - 1 && s[n - 1] == '"';
    return n > 0 && !strpbrk(s, " ,\t\n");
}

const char *csi_cap_why(const Csi__V1__VolumeCapability *cap)
{
    const char *fs;

    if (!cap)
        return "is missing";
    if (cap->access_type_case == CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE_BLOCK)
        return "block: there are no block volumes, ask for mount";
    if (cap->access_type_case != CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE_MOUNT)
        return "access_type: is missing, ask for mount";
    fs = cap->mount->fs_type;
    if (*fs && strcmp(fs, "varve") != 0 && strcmp(fs, "fuse.varve") != 0)
        return "mount.fs_type: is not varve; leave it out";
    for (size_t i = 0; i < cap->mount->n_mount_flags; i++)
        if (!is_flag(cap->mount->mount_flags[i]))
            return "mount.mount_flags: a flag is empty or has a blank or a comma in it";
    return mode_why(cap->access_mode);
}

int csi_cap_check(struct csi_call *k, const Csi__V1__VolumeCapability *cap)
{
    const char *why = csi_cap_why(cap);

    return why ? csi_fail(k, GRPC_INVALID_ARGUMENT, "volume_capability%s%s", cap ? "." : ": ", why) : 0;
}

int csi_caps_check(struct csi_call *k, size_t n, Csi__V1__VolumeCapability *const *caps)
{
    if (n == 0)
        return csi_fail(k, GRPC_INVALID_ARGUMENT, "volume_capabilities: is missing");
    for (size_t i = 0; i < n; i++) {
        const char *why = csi_cap_why(caps[i]);

        if (why)
            return csi_fail(k, GRPC_INVALID_ARGUMENT, "volume_capabilities[%zu].%s", i, why);
    }
    return 0;
}

/* --- parameters ---------------------------------------------------------------------------------------------------------- */

bool csi_of_kubernetes(const char *key)
{
    return strncmp(key, CSI_KUBE, sizeof(CSI_KUBE) - 1) == 0;
}

int csi_number(const char *s, uint64_t *ret)
{
    static const char *const units[] = {"", "K", "M", "G", "T"};
    uint64_t n = 0, by = 1;
    size_t digits = strspn(s, "0123456789"), i;
    const char *unit = s + digits;
    bool two = unit[0] && unit[1] == 'i' && !unit[2];

    for (i = 0; i < ARRAY_LEN(units); i++, by *= two ? 1024 : 1000)
        if (strncmp(unit, units[i], two ? 1 : 3) == 0 && (two ? 1u : strlen(units[i])) == strlen(units[i]))
            break;
    if (digits == 0 || i == ARRAY_LEN(units))
        return -E_INVAL;
    for (size_t d = 0; d < digits; d++)
        if (__builtin_mul_overflow(n, 10u, &n) || __builtin_add_overflow(n, (uint64_t)(s[d] - '0'), &n))
            return -E_RANGE;
    if (__builtin_mul_overflow(n, by, &n))
        return -E_RANGE;
    *ret = n;
    return 0;
}

static bool one_of(const char *s, const char *const *words)
{
    for (; *words; words++)
        if (strcmp(s, *words) == 0)
            return true;
    return false;
}

/* The name or id of a profile; what has lines would be a profile itself. */
static bool is_word(const char *s)
{
    size_t n = strlen(s);

    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] < ' ')
            return false;
    return n > 0 && n < 256;
}

bool csi_entry_is(const csi_entry *e, const char *key)
{
    return strcmp(e->key, key) == 0 && is_word(e->value);
}

static int param_take(struct csi_call *k, const char *field, const csi_entry *e, struct csi_params *ret)
{
    static const char *const controls[] = {"admin", "snapshot", "read", "none", NULL};
    static const char *const dirs[] = {"hidden", "visible", "disabled", NULL};
    uint64_t n;

    if (strcmp(e->key, "inodes") == 0 && csi_number(e->value, &ret->inodes) == 0)
        return 0;
    if (csi_entry_is(e, "profile")) {
        ret->profile = e->value;
        return 0;
    }
    if (csi_entry_is(e, "repository")) {
        ret->repository = e->value;
        return 0;
    }
    if (strcmp(e->key, "mobility") == 0 && strcmp(e->value, "repository") == 0) {
        ret->mobile = true;
        return 0;
    }
    if (strcmp(e->key, "snapshotLimit") == 0 && csi_number(e->value, &ret->snapshot_limit) == 0)
        return 0;
    if (strcmp(e->key, "control") == 0 && one_of(e->value, controls)) {
        ret->control = e->value;
        return 0;
    }
    if (strcmp(e->key, "controlGid") == 0 && csi_number(e->value, &n) == 0 && n < UINT32_MAX) {
        ret->control_gid = e->value;
        return 0;
    }
    if (strcmp(e->key, "snapdir") == 0 && one_of(e->value, dirs)) {
        ret->snapdir = e->value;
        return 0;
    }
    if (csi_of_kubernetes(e->key))
        return 0;
    if (one_of(e->key, (const char *const[]){"profile", "repository", "inodes", "snapshotLimit", "control",
                                             "controlGid", "snapdir", "mobility", NULL}))
        return csi_fail(k, GRPC_INVALID_ARGUMENT, "%s[%s]: \"%.64s\" is not understood", field, e->key,
                        e->value);
    return csi_fail(k, GRPC_INVALID_ARGUMENT,
                    "%s[%.64s]: is not known; known are profile, repository, inodes, snapshotLimit, control, "
                    "controlGid, snapdir, mobility",
                    field, e->key);
}

int csi_params_take(struct csi_call *k, const char *field, size_t n, csi_entry *const *entries,
                    struct csi_params *ret)
{
    int r = 0;

    *ret = (struct csi_params){.inodes = 0};
    for (size_t i = 0; i < n && r == 0; i++)
        r = param_take(k, field, entries[i], ret);
    return r;
}

int csi_control_check(struct csi_call *k, const char *field, const char *control)
{
    return !control || strcmp(control, "admin") != 0
               ? 0
               : csi_fail(k, GRPC_INVALID_ARGUMENT,
                          "%s: a pod cannot give itself admin; a StorageClass can, for its volumes", field);
}

int csi_mutable_take(struct csi_call *k, size_t n, csi_entry *const *entries, const char **ret_profile)
{
    *ret_profile = NULL;
    for (size_t i = 0; i < n; i++) {
        if (csi_entry_is(entries[i], "profile"))
            *ret_profile = entries[i]->value;
        else if (!csi_of_kubernetes(entries[i]->key) && !BROKEN(VARVE_BREAK_csi_unknown))
            return csi_fail(k, GRPC_INVALID_ARGUMENT,
                            "mutable_parameters[%.64s]: is not known; known is profile", entries[i]->key);
    }
    return 0;
}

int csi_none_known(struct csi_call *k, const char *field, size_t n, csi_entry *const *entries)
{
    for (size_t i = 0; i < n; i++)
        if (!csi_of_kubernetes(entries[i]->key) && !BROKEN(VARVE_BREAK_csi_unknown))
            return csi_fail(k, GRPC_INVALID_ARGUMENT, "%s[%.64s]: is not known; none is", field,
                            entries[i]->key);
    return 0;
}

int csi_map_put(struct csi_call *k, size_t *n, csi_entry ***map, const char *key, const char *value)
{
    csi_entry **more = arena_alloc(&k->arena, (*n + 1) * sizeof(*more));
    csi_entry *e = arena_alloc(&k->arena, sizeof(*e));

    if (!more || !e)
        return csi_nomem(k);
    csi__v1__create_volume_request__parameters_entry__init(e);
    e->key = arena_dup(&k->arena, key);
    e->value = arena_dup(&k->arena, value);
    if (!e->key || !e->value)
        return csi_nomem(k);
    if (*n > 0)
        memcpy(more, *map, *n * sizeof(*more));
    more[(*n)++] = e;
    *map = more;
    return 0;
}

/* --- sizes --------------------------------------------------------------------------------------------------------------- */

int csi_size_take(struct csi_call *k, const Csi__V1__CapacityRange *range, uint64_t total, uint64_t *ret)
{
    int64_t need = range ? range->required_bytes : 0, limit = range ? range->limit_bytes : 0;

    if (need < 0 || limit < 0)
        return csi_fail(k, GRPC_INVALID_ARGUMENT, "capacity_range: is negative");
    if (need > 0 && limit > 0 && limit < need)
        return csi_fail(k, GRPC_INVALID_ARGUMENT, "capacity_range: limit_bytes is less than required_bytes");
    if (limit > 0 && limit < CSI_VOLUME_MIN)
        return csi_fail(k, GRPC_OUT_OF_RANGE, "capacity_range.limit_bytes: a volume has at least 1 MiB");
    if ((uint64_t)need > total)
        return csi_fail(k, GRPC_OUT_OF_RANGE,
                        "capacity_range.required_bytes: the store's disk has %" PRIu64 " bytes", total);
    if (need == 0)
        need = limit;
    *ret = need == 0 ? 0 : (uint64_t)MAX_OF(need, (int64_t)CSI_VOLUME_MIN);
    return 0;
}

bool csi_size_fits(const Csi__V1__CapacityRange *range, uint64_t size)
{
    uint64_t need = range ? (uint64_t)range->required_bytes : 0,
             limit = range ? (uint64_t)range->limit_bytes : 0;

    return size == 0 ? limit == 0 : size >= need && (limit == 0 || size <= limit);
}

/* --- names and ids ------------------------------------------------------------------------------------------------------- */

static bool is_plain(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"),
           len = strlen(name);

    return n == len && len > 0 && len <= PLAIN_MAX && name[0] != '.' && name[0] != '-' &&
           strncmp(name, "csi-", 4) != 0 && strncmp(name, "retired-", 8) != 0 &&
           (len < 5 || strcmp(name + len - 5, ".json") != 0);
}

void csi_name_hashed(const char *name, char ret[CSI_NAME_SIZE])
{
    static const uint8_t keys[2][16] = {"varve-csi-name-1", "varve-csi-name-2"};

    snprintf(ret, CSI_NAME_SIZE, "csi-%016" PRIx64 "%016" PRIx64, hash_name(keys[0], name, strlen(name)),
             hash_name(keys[1], name, strlen(name)));
}

/* Names that a store keeps for itself have seven letters at most. */
void csi_volume_name(const char *name, char ret[CSI_NAME_SIZE])
{
    if (is_plain(name) && strlen(name) > 7)
        snprintf(ret, CSI_NAME_SIZE, "%s", name);
    else
        csi_name_hashed(name, ret);
}

void csi_snapshot_name(const char *name, char ret[CSI_NAME_SIZE])
{
    if (is_plain(name))
        snprintf(ret, CSI_NAME_SIZE, "%s", name);
    else
        csi_name_hashed(name, ret);
}

bool csi_id_split(const char *id, size_t n, char parts[][UUID_TEXT_SIZE])
{
    for (size_t i = 0; i < n; i++) {
        size_t len = strcspn(id, "/");
        struct uuid u;

        if (len != UUID_TEXT_SIZE - 1 || (id[len] == '/') != (i + 1 < n))
            return false;
        memcpy(parts[i], id, len);
        parts[i][len] = 0;
        if (uuid_parse(parts[i], &u) < 0)
            return false;
        id += len + 1;
    }
    return true;
}

/* --- topology ------------------------------------------------------------------------------------------------------------ */

int csi_topology(struct csi_call *k, size_t *ret_n, Csi__V1__Topology ***ret)
{
    Csi__V1__Topology **list = arena_alloc(&k->arena, sizeof(*list)), *t = arena_alloc(&k->arena, sizeof(*t));
    csi_entry **map = NULL;
    size_t n = 0;
    int r;

    if (!list || !t)
        return csi_nomem(k);
    csi__v1__topology__init(t);
    r = csi_map_put(k, &n, &map, k->d->topology, k->d->node);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++)
        map[i]->base.descriptor = &csi__v1__topology__segments_entry__descriptor;
    t->n_segments = n;
    t->segments = (Csi__V1__Topology__SegmentsEntry **)map;
    list[0] = t;
    *ret = list;
    *ret_n = 1;
    return 0;
}

bool csi_node_is(const struct csi *d, const Csi__V1__Topology *t)
{
    for (size_t i = 0; i < t->n_segments; i++)
        if (strcmp(t->segments[i]->key, d->topology) != 0 || strcmp(t->segments[i]->value, d->node) != 0)
            return false;
    return t->n_segments > 0;
}

int csi_node_allowed(struct csi_call *k, const Csi__V1__TopologyRequirement *t)
{
    bool any = !t || (t->n_requisite == 0 && t->n_preferred == 0);

    for (size_t i = 0; t && i < t->n_requisite; i++)
        any |= csi_node_is(k->d, t->requisite[i]);
    for (size_t i = 0; t && t->n_requisite == 0 && i < t->n_preferred; i++)
        any |= csi_node_is(k->d, t->preferred[i]);
    if (any)
        return 0;
    return csi_fail(k, GRPC_RESOURCE_EXHAUSTED, "accessibility_requirements: this store is on node %s only",
                    k->d->node);
}

/* --- pages --------------------------------------------------------------------------------------------------------------- */

int csi_page(struct csi_call *k, int32_t max, const char *token, size_t n,
             const char *(*key)(const void *arg, size_t i), const void *arg, struct csi_page *ret)
{
    struct uuid u;

    if (max < 0)
        return csi_fail(k, GRPC_INVALID_ARGUMENT, "max_entries: is negative");
    if (*token && uuid_parse(token, &u) < 0)
        return csi_fail(k, GRPC_ABORTED, "starting_token: is none that was given here; begin again without");
    *ret = (struct csi_page){.next = ""};
    while (*token && ret->first < n && strcmp(key(arg, ret->first), token) < 0)
        ret->first++;
    ret->n = n - ret->first;
    if (max > 0 && ret->n > (size_t)max) {
        ret->n = (size_t)max;
        ret->next = key(arg, ret->first + ret->n);
    }
    return 0;
}

int csi_page_begin(struct csi_call *k, const struct csi_page *p, void *entries, char **next_token)
{
    void *room = arena_alloc(&k->arena, (p->n + 1) * sizeof(void *));

    *next_token = arena_dup(&k->arena, p->next);
    memcpy(entries, &room, sizeof(room)); /* a pointer to pointers, of whatever type */
    return room && *next_token ? 0 : csi_nomem(k);
}
