/* What Kubernetes knows of a claim, as one list of objects: the claim, its volume, its class, and what owns the pods that use it. It prints
 * nothing that is not whole. */
#include <stdio.h>
#include <stdlib.h>

#include "plugin/kube.h"

#define LIST_MAX (1u << 20) /* of what is printed: as much as an attachment may have */
#define OWNERS_MAX 8        /* from a pod upwards */

struct asking {
    struct kube *q;
    json_t *list;
    const char *namespace, *claim;
};

/* --- objects ---------------------------------------------------------------------------------------------------------------- */

/* As it can be made anew: without what the server put into it, and what ties it to others that will not be there. */
static void strip(json_t *o, const char *api, const char *kind)
{
    static const char *const server[] = {
        "uid",           "resourceVersion", "generation",      "creationTimestamp",
        "managedFields", "selfLink",        "ownerReferences", "finalizers"};
    static const char *const bound[] = {
        "pv.kubernetes.io/bind-completed", "pv.kubernetes.io/bound-by-controller",
        "volume.kubernetes.io/selected-node", "kubectl.kubernetes.io/last-applied-configuration"};
    json_t *meta = json_object_get(o, "metadata"), *notes = json_object_get(meta, "annotations");
    json_t *ref = json_object_get(json_object_get(o, "spec"), "claimRef");

    json_object_set_new(o, "apiVersion", json_string(api)); /* members of a list have none */
    json_object_set_new(o, "kind", json_string(kind));
    json_object_del(o, "status");
    for (size_t i = 0; i < ARRAY_LEN(server); i++)
        json_object_del(meta, server[i]);
    for (size_t i = 0; i < ARRAY_LEN(bound); i++)
        json_object_del(notes, bound[i]);
    json_object_del(ref, "uid");
    json_object_del(ref, "resourceVersion");
    if (strcmp(kind, "PersistentVolumeClaim") == 0)
        json_object_del(json_object_get(o, "spec"), "volumeName");
}

static bool is_listed(const struct asking *q, const char *kind, const char *name)
{
    json_t *o;
    size_t i;

    json_array_foreach(q->list, i, o) if (strcmp(kube_text(o, "kind", NULL), kind) == 0 &&
                                          strcmp(kube_text(o, "metadata", "name"), name) == 0) return true;
    return false;
}

static int put(struct asking *q, json_t *o, const char *api, const char *kind)
{
    if (is_listed(q, kind, kube_text(o, "metadata", "name")))
        return 0;
    strip(o, api, kind);
    return json_array_append(q->list, o) == 0 ? 0 : kube_said(1, kind, "out of memory");
}

static int get_put(struct asking *q, const char *path, const char *api, const char *kind)
{
    cleanup(kube_json_free) json_t *o = NULL;
    int r = kube_get(q->q, path, &o);

    return r == 0 && o ? put(q, o, api, kind) : r;
}

/* --- who owns a pod ----------------------------------------------------------------------------------------------------------- */

static const struct kind {
    const char *api, *kind, *path;
} kinds[] = {{"apps/v1", "ReplicaSet", "replicasets"},
             {"apps/v1", "Deployment", "deployments"},
             {"apps/v1", "StatefulSet", "statefulsets"},
             {"apps/v1", "DaemonSet", "daemonsets"},
             {"batch/v1", "Job", "jobs"},
             {"batch/v1", "CronJob", "cronjobs"}};

/* Its controller, where that is of a kind that we know. */
static const struct kind *owner_of(const json_t *o, const char **ret_name)
{
    json_t *ref;
    size_t i;

    json_array_foreach(json_object_get(json_object_get(o, "metadata"), "ownerReferences"), i,
                       ref) for (size_t k = 0;
                                 json_is_true(json_object_get(ref, "controller")) && k < ARRAY_LEN(kinds);
                                 k++) if (strcmp(kinds[k].kind, kube_text(ref, "kind", NULL)) == 0 &&
                                          strcmp(kinds[k].api, kube_text(ref, "apiVersion", NULL)) == 0)
    {
        *ret_name = kube_text(ref, "name", NULL);
        return &kinds[k];
    }
    return NULL;
}

/* The uppermost one that can be had; the pod itself where it has none. */
static int put_owner(struct asking *q, json_t *pod)
{
    cleanup(kube_json_free) json_t *o = json_incref(pod);
    const char *api = "v1", *kind = "Pod", *name;
    const struct kind *k;
    char path[KUBE_PATH_SIZE];
    int r = 0;

    for (int i = 0; i < OWNERS_MAX && (k = owner_of(o, &name)); i++) {
        json_t *up;

        if (is_listed(q, k->kind, name))
            return 0;
        snprintf(path, sizeof(path), "/apis/%s/namespaces/%s/%s/%s", k->api, q->namespace, k->path, name);
        r = kube_get(q->q, path, &up);
        if (r != 0 || !up)
            break;
        json_decref(o);
        o = up;
        api = k->api;
        kind = k->kind;
    }
    return r == 0 ? put(q, o, api, kind) : r;
}

static bool uses(const json_t *pod, const char *claim)
{
    json_t *v;
    size_t i;

    json_array_foreach(json_object_get(json_object_get(pod, "spec"), "volumes"), i,
                       v) if (strcmp(kube_text(v, "persistentVolumeClaim", "claimName"), claim) ==
                              0) return true;
    return false;
}

static int on_pod(void *arg, json_t *pod)
{
    struct asking *q = arg;

    return uses(pod, q->claim) ? put_owner(q, pod) : 0;
}

/* --- all of it ---------------------------------------------------------------------------------------------------------------- */

static int gather_bound(struct asking *q, const json_t *pvc)
{
    char path[KUBE_PATH_SIZE];
    int r = 0;

    if (*kube_text(pvc, "spec", "volumeName")) {
        snprintf(path, sizeof(path), "/api/v1/persistentvolumes/%s", kube_text(pvc, "spec", "volumeName"));
        r = get_put(q, path, "v1", "PersistentVolume");
    }
    if (r == 0 && *kube_text(pvc, "spec", "storageClassName")) {
        snprintf(path, sizeof(path), "/apis/storage.k8s.io/v1/storageclasses/%s",
                 kube_text(pvc, "spec", "storageClassName"));
        r = get_put(q, path, "storage.k8s.io/v1", "StorageClass");
    }
    return r;
}

static int gather(struct asking *q)
{
    cleanup(kube_json_free) json_t *pvc = NULL, *keep = NULL;
    char path[KUBE_PATH_SIZE];
    int r;

    snprintf(path, sizeof(path), "/api/v1/namespaces/%s/persistentvolumeclaims/%s", q->namespace, q->claim);
    r = kube_get(q->q, path, &pvc);
    if (r == 0 && !pvc)
        r = kube_said(KUBE_NO_ACCESS, path, "there is no such claim, or it is not for us to see");
    keep = r == 0 ? json_deep_copy(pvc) : NULL;
    if (r == 0)
        r = keep ? put(q, keep, "v1", "PersistentVolumeClaim") : kube_said(1, path, "out of memory");
    if (r == 0)
        r = gather_bound(q, pvc);
    snprintf(path, sizeof(path), "/api/v1/namespaces/%s/pods", q->namespace);
    return r == 0 ? kube_each(q->q, path, "", on_pod, q) : r;
}

static int print(struct asking *q)
{
    cleanup(kube_json_free) json_t *all =
        json_pack("{s:s, s:s, s:O}", "apiVersion", "v1", "kind", "List", "items", q->list);
    char *s = all ? json_dumps(all, JSON_INDENT(1)) : NULL;
    int r = s ? 0 : kube_said(1, "list", "out of memory");

    if (r == 0 && strlen(s) >= LIST_MAX)
        r = kube_said(1, "list", "has more than a MiB");
    if (r == 0 && (puts(s) < 0 || fflush(stdout) != 0))
        r = kube_said(1, "list", "cannot be written");
    free(s);
    return r;
}

int kube_claim(struct kube *q, const char *namespace, const char *claim)
{
    struct asking a = {.q = q, .list = json_array(), .namespace = namespace, .claim = claim};
    int r = a.list ? gather(&a) : kube_said(1, "list", "out of memory");

    if (r == 0)
        r = print(&a);
    json_decref(a.list);
    return r;
}
