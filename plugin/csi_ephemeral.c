/* Volumes that a pod brings along in its own description: made when they are published, and gone with the pod. Their id is the
 * kubelet's; the facts say that they are such. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "plugin/csi_methods.h"

#define EPHEMERAL "ephemeral"

bool csi_is_ephemeral(const Csi__V1__NodePublishVolumeRequest *q)
{
    for (size_t i = 0; i < q->n_volume_context; i++)
        if (strcmp(q->volume_context[i]->key, CSI_KUBE EPHEMERAL) == 0)
            return strcmp(q->volume_context[i]->value, "true") == 0;
    return false;
}

struct wish {
    struct csi_params params;
    uint64_t size;
};

/* Its attributes are those of a class, and size. */
static int wish_take(struct csi_call *k, const Csi__V1__NodePublishVolumeRequest *q, struct wish *w)
{
    csi_entry **rest = arena_alloc(&k->arena, (q->n_volume_context + 1) * sizeof(*rest));
    size_t n = 0;
    int r;

    if (!rest)
        return csi_nomem(k);
    for (size_t i = 0; i < q->n_volume_context; i++) {
        csi_entry *e = (csi_entry *)q->volume_context[i];

        if (strcmp(e->key, "size") != 0)
            rest[n++] = e;
        else if (csi_number(e->value, &w->size) < 0 || (w->size > 0 && w->size < CSI_VOLUME_MIN))
            return csi_fail(k, GRPC_INVALID_ARGUMENT,
                            "volume_context[size]: \"%.40s\" is no size; write 1Gi, or bytes, 1Mi at least",
                            e->value);
    }
    r = csi_params_take(k, "volume_context", n, rest, &w->params);
    if (r == 0)
        r = csi_control_check(k, "volume_context[control]", w->params.control);
    if (r == 0 && !w->params.control)
        w->params.control = CSI_CONTROL;
    return r;
}

static int make(struct csi_call *k, const char *id, const char *name, const struct wish *w,
                const struct csi_volume **ret, bool *ret_fresh)
{
    struct csi_facts facts = {.name = id, .source = EPHEMERAL, .params = "", .size = w->size}, *f = NULL;
    const char *size = arena_printf(&k->arena, "--size=%" PRIu64, w->size);
    const char *inodes = arena_printf(&k->arena, "--inodes=%" PRIu64, w->params.inodes);
    struct csi_result res;
    struct csi_volumes vs;
    int r = size && inodes ? csi_volumes(k, &vs) : csi_nomem(k);

    if (r == 0)
        r = csi_facts_get(k, name, &f);
    if (r < 0)
        return r;
    *ret = csi_volume_named(&vs, name);
    if (*ret && (!f || strcmp(f->source, EPHEMERAL) != 0 || strcmp(f->name, id) != 0))
        return csi_fail(k, GRPC_ALREADY_EXISTS, "volume_id: the store has another volume of this name");
    if (*ret)
        return 0;
    r = csi_facts_put(k, name, &facts);
    if (r == 0)
        r = CSI_VERB(k, &res, NULL, "create", name, w->size ? size : "--size=none",
                     w->params.inodes ? inodes : "--inodes=none");
    if (r == 0 && !csi_result_is(&res, "OK") && !csi_result_is(&res, "EXIST"))
        r = csi_result_fail(k, "volume_id", &res);
    *ret_fresh = r == 0 && csi_result_is(&res, "OK");
    if (r == 0)
        r = csi_volumes(k, &vs);
    *ret = r == 0 ? csi_volume_named(&vs, name) : NULL;
    return r < 0 || *ret ? r : csi_fail(k, GRPC_ABORTED, "volume_id: was deleted by somebody else");
}

static const char *options(struct csi_call *k, const struct csi_params *p, bool readonly)
{
    return arena_printf(&k->arena, "%s%s%s%s%s%s%s", readonly ? "ro" : "rw", p->control ? ",control=" : "",
                        p->control ? p->control : "", p->control_gid ? ",control_gid=" : "",
                        p->control_gid ? p->control_gid : "", p->snapdir ? ",snapdir=" : "",
                        p->snapdir ? p->snapdir : "");
}

/* What was made for this call, and not mounted, goes again: of a pod that never came to run the kubelet asks for no end. */
static void take_back(struct csi_call *k, const struct csi_volume *v)
{
    enum grpc_code code = k->code;
    const char *why = k->why;

    csi_ephemeral_drop(k, v); /* where somebody has mounted it all the same it stays */
    k->code = code;
    k->why = why;
}

static int mount_at(struct csi_call *k, const Csi__V1__NodePublishVolumeRequest *q, const char *target,
                    const struct csi_volume *v, const struct wish *w)
{
    const char *what, *opts;
    struct csi_mount m;
    int r = csi_mount_at(k, target, v, &m);

    if (r == 0 && m.dead && (r = csi_unmount(k, "target_path", target, true)) == 0)
        m.at = CSI_AT_NOTHING;
    if (r == 0 && m.at == CSI_AT_OTHER)
        r = csi_fail(k, GRPC_FAILED_PRECONDITION, "target_path: something else is mounted there");
    if (r < 0 || m.at == CSI_AT_VOLUME)
        return r;
    what = arena_printf(&k->arena, "%s/%s", k->d->store, v->name);
    opts = options(k, &w->params, q->readonly);
    if (!what || !opts)
        return csi_nomem(k);
    if (mkdir(target, 0750) < 0 && errno != EEXIST)
        return csi_fail(k, GRPC_INTERNAL, "target_path: cannot be made: %s", err_text(err_from_errno(errno)));
    return csi_varve(k, "target_path", (const char *const[]){"mount", what, target, "-o", opts, NULL});
}

int csi_ephemeral_publish(struct csi_call *k, const Csi__V1__NodePublishVolumeRequest *q, const char *target)
{
    const struct csi_volume *v = NULL;
    char name[CSI_NAME_SIZE];
    struct wish w = {.size = 0};
    bool fresh = false;
    int r = wish_take(k, q, &w);

    csi_volume_name(q->volume_id, name);
    if (r == 0)
        r = make(k, q->volume_id, name, &w, &v, &fresh);
    if (r == 0)
        r = mount_at(k, q, target, v, &w);
    if (r < 0 && v && fresh && !BROKEN(VARVE_BREAK_csi_own_stays))
        take_back(k, v);
    return r;
}

int csi_ephemeral_is(struct csi_call *k, const char *id, bool *ret)
{
    struct csi_facts *f = NULL;
    char name[CSI_NAME_SIZE];
    int r;

    csi_volume_name(id, name);
    r = csi_facts_get(k, name, &f);
    *ret = r == 0 && f && strcmp(f->source, EPHEMERAL) == 0 && strcmp(f->name, id) == 0;
    return r;
}

int csi_ephemeral_find(struct csi_call *k, const char *id, const struct csi_volumes *vs,
                       const struct csi_volume **ret)
{
    char name[CSI_NAME_SIZE];
    bool is;
    int r = csi_ephemeral_is(k, id, &is);

    csi_volume_name(id, name);
    *ret = NULL;
    if (r < 0 || !is)
        return r;
    *ret = csi_volume_named(vs, name);
    return *ret ? 0 : csi_facts_drop(k, name);
}

int csi_ephemeral_drop(struct csi_call *k, const struct csi_volume *v)
{
    struct csi_result res;
    int r = CSI_VERB(k, &res, NULL, "delete", v->name, "--now");

    if (r == 0 && !csi_result_is(&res, "OK") && !csi_result_is(&res, "NOENT"))
        r = csi_result_fail(k, "volume_id", &res);
    return r < 0 ? r : csi_facts_drop(k, v->name);
}
