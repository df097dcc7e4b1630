/* varve-manifests: what Kubernetes knows of a claim, as one list of objects: the claim, its volume, its class, and what owns the pods that
 * use it. A process of its own, since TLS and the account's token need not live in the driver: it reads, prints, and ends.
 *
 * It prints nothing that is not whole. Exit code 3: there is no way to the API server from here, or it does not let us in. */
#include <curl/curl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/io.h"

#define ACCOUNT "/var/run/secrets/kubernetes.io/serviceaccount"
#define NO_ACCESS 3
#define ALL_MS 5000            /* for all questions */
#define ANSWER_MAX (16u << 20) /* bytes of one answer */
#define LIST_MAX (1u << 20)    /* of what is printed: as much as an attachment may have */
#define TOKEN_MAX (64u << 10)
#define OWNERS_MAX 8 /* from a pod upwards */
#define PODS_PAGE 500

static const char help[] =
    "usage: varve-manifests NAMESPACE/CLAIM\n"
    "\n"
    "Prints a claim, its volume, its class, and the workload whose pods use it, as a list that kubectl apply "
    "takes. The\n"
    "API server is that of $KUBERNETES_SERVICE_HOST and $KUBERNETES_SERVICE_PORT; token and ca.crt lie in\n"
    "$VARVE_KUBE_ACCOUNT, by default " ACCOUNT ".\n"
    "\n"
    "Exit code: 3 where the API server cannot be reached from here, or refuses.\n";

struct asking {
    CURL *curl;
    struct curl_slist *headers;
    char base[300], ca[PATH_MAX];
    int64_t until_ns;
    struct buf body;
    json_t *list;
};

static void json_free_p(json_t **j)
{
    json_decref(*j);
}

/* --- one question ----------------------------------------------------------------------------------------------------------- */

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct buf *b = arg;

    return b->len + size * n <= ANSWER_MAX && buf_add(b, p, size * n) == 0 ? size * n : 0;
}

static int said(int code, const char *path, const char *why)
{
    fprintf(stderr, "varve-manifests: %s: %s\n", path, why);
    return code;
}

/* 0 and *ret; *ret NULL: there is no such object, or none that we may see. Else an exit code. */
static int get(struct asking *q, const char *path, json_t **ret)
{
    int64_t left_ms = (q->until_ns - clock_mono_ns()) / 1000000;
    char url[2048], error[CURL_ERROR_SIZE] = "";
    long status = 0;
    CURLcode c;

    *ret = NULL;
    if (left_ms <= 0)
        return said(NO_ACCESS, path, "the API server takes too long");
    if (snprintf(url, sizeof(url), "%s%s", q->base, path) >= (int)sizeof(url))
        return said(1, path, "is too long");
    buf_reset(&q->body);
    curl_easy_setopt(q->curl, CURLOPT_URL, url);
    curl_easy_setopt(q->curl, CURLOPT_TIMEOUT_MS, (long)left_ms);
    curl_easy_setopt(q->curl, CURLOPT_ERRORBUFFER, error);
    c = curl_easy_perform(q->curl);
    if (c == CURLE_WRITE_ERROR)
        return said(1, path, "the answer is too large");
    if (c != CURLE_OK)
        return said(NO_ACCESS, path, *error ? error : curl_easy_strerror(c));
    curl_easy_getinfo(q->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status == 404 || status == 403)
        return 0;
    if (status != 200)
        return said(NO_ACCESS, path,
                    status == 401 ? "the token is refused" : "the API server answers with an error");
    *ret = json_loadb((const char *)q->body.data, q->body.len, 0, NULL);
    return json_is_object(*ret) ? 0 : said(1, path, "the answer is no object");
}

/* --- objects ---------------------------------------------------------------------------------------------------------------- */

static const char *text(const json_t *o, const char *a, const char *b)
{
    const char *s = json_string_value(json_object_get(b ? json_object_get(o, a) : o, b ? b : a));

    return s ? s : "";
}

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

    json_array_foreach(q->list, i, o) if (strcmp(text(o, "kind", NULL), kind) == 0 &&
                                          strcmp(text(o, "metadata", "name"), name) == 0) return true;
    return false;
}

static int put(struct asking *q, json_t *o, const char *api, const char *kind)
{
    if (is_listed(q, kind, text(o, "metadata", "name")))
        return 0;
    strip(o, api, kind);
    return json_array_append(q->list, o) == 0 ? 0 : said(1, kind, "out of memory");
}

static int get_put(struct asking *q, const char *path, const char *api, const char *kind)
{
    cleanup(json_free_p) json_t *o = NULL;
    int r = get(q, path, &o);

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
                                 k++) if (strcmp(kinds[k].kind, text(ref, "kind", NULL)) == 0 &&
                                          strcmp(kinds[k].api, text(ref, "apiVersion", NULL)) == 0)
    {
        *ret_name = text(ref, "name", NULL);
        return &kinds[k];
    }
    return NULL;
}

/* The uppermost one that can be had; the pod itself where it has none. */
static int put_owner(struct asking *q, const char *namespace, json_t *pod)
{
    cleanup(json_free_p) json_t *o = json_incref(pod);
    const char *api = "v1", *kind = "Pod", *name;
    const struct kind *k;
    char path[1024];
    int r = 0;

    for (int i = 0; i < OWNERS_MAX && (k = owner_of(o, &name)); i++) {
        json_t *up;

        if (is_listed(q, k->kind, name))
            return 0;
        snprintf(path, sizeof(path), "/apis/%s/namespaces/%s/%s/%s", k->api, namespace, k->path, name);
        r = get(q, path, &up);
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
                       v) if (strcmp(text(v, "persistentVolumeClaim", "claimName"), claim) == 0) return true;
    return false;
}

static int put_workloads(struct asking *q, const char *namespace, const char *claim)
{
    char path[1024], more[512] = "";
    int r = 0;

    do {
        cleanup(json_free_p) json_t *page = NULL;
        const char *next;
        json_t *pod;
        size_t i;

        if (snprintf(path, sizeof(path), "/api/v1/namespaces/%s/pods?limit=%d%s%s", namespace, PODS_PAGE,
                     *more ? "&continue=" : "", more) >= (int)sizeof(path))
            return 0;
        r = get(q, path, &page);
        json_array_foreach(json_object_get(page, "items"), i, pod) if (r == 0 && uses(pod, claim)) r =
            put_owner(q, namespace, pod);
        next = text(page, "metadata", "continue");
        if (strlen(next) >= sizeof(more) ||
            strspn(next, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                         "0123456789-_.~%") != strlen(next))
            next = "";
        snprintf(more, sizeof(more), "%s", next);
    } while (r == 0 && *more);
    return r;
}

/* --- all of it ---------------------------------------------------------------------------------------------------------------- */

static int gather(struct asking *q, const char *namespace, const char *claim)
{
    cleanup(json_free_p) json_t *pvc = NULL, *keep = NULL;
    char path[1024];
    int r;

    snprintf(path, sizeof(path), "/api/v1/namespaces/%s/persistentvolumeclaims/%s", namespace, claim);
    r = get(q, path, &pvc);
    if (r == 0 && !pvc)
        r = said(NO_ACCESS, path, "there is no such claim, or it is not for us to see");
    keep = r == 0 ? json_deep_copy(pvc) : NULL;
    if (r == 0)
        r = keep ? put(q, keep, "v1", "PersistentVolumeClaim") : said(1, path, "out of memory");
    if (r == 0 && *text(pvc, "spec", "volumeName")) {
        snprintf(path, sizeof(path), "/api/v1/persistentvolumes/%s", text(pvc, "spec", "volumeName"));
        r = get_put(q, path, "v1", "PersistentVolume");
    }
    if (r == 0 && *text(pvc, "spec", "storageClassName")) {
        snprintf(path, sizeof(path), "/apis/storage.k8s.io/v1/storageclasses/%s",
                 text(pvc, "spec", "storageClassName"));
        r = get_put(q, path, "storage.k8s.io/v1", "StorageClass");
    }
    return r == 0 ? put_workloads(q, namespace, claim) : r;
}

static int print(struct asking *q)
{
    cleanup(json_free_p) json_t *all =
        json_pack("{s:s, s:s, s:O}", "apiVersion", "v1", "kind", "List", "items", q->list);
    char *s = all ? json_dumps(all, JSON_INDENT(1)) : NULL;
    int r = s ? 0 : said(1, "list", "out of memory");

    if (r == 0 && strlen(s) >= LIST_MAX)
        r = said(1, "list", "has more than a MiB");
    if (r == 0 && (puts(s) < 0 || fflush(stdout) != 0))
        r = said(1, "list", "cannot be written");
    free(s);
    return r;
}

static int token_put(struct asking *q, const char *dir)
{
    cleanup(buf_free) struct buf token = {0}, line = {0};
    char path[PATH_MAX];
    size_t n;

    snprintf(path, sizeof(path), "%s/token", dir);
    if (io_read_file(io_real(), path, TOKEN_MAX, &token) < 0 || !buf_cstr(&token))
        return said(NO_ACCESS, path, "there is no token");
    n = strcspn((const char *)token.data, "\r\n");
    if (buf_printf(&line, "Authorization: Bearer %.*s", (int)n, (const char *)token.data) < 0 ||
        !(q->headers = curl_slist_append(NULL, buf_cstr(&line))))
        return said(1, path, "out of memory");
    return 0;
}

static int begin(struct asking *q)
{
    const char *host = getenv("KUBERNETES_SERVICE_HOST"), *port = getenv("KUBERNETES_SERVICE_PORT");
    const char *dir = getenv("VARVE_KUBE_ACCOUNT");
    bool six = host && strchr(host, ':');
    int r;

    if (!host || !port || !*host)
        return said(NO_ACCESS, "KUBERNETES_SERVICE_HOST", "is not set: this is no pod");
    dir = dir ? dir : ACCOUNT;
    snprintf(q->base, sizeof(q->base), "https://%s%s%s:%s", six ? "[" : "", host, six ? "]" : "", port);
    snprintf(q->ca, sizeof(q->ca), "%s/ca.crt", dir);
    if ((r = token_put(q, dir)) != 0)
        return r;
    q->curl = curl_easy_init();
    q->list = json_array();
    if (!q->curl || !q->list)
        return said(1, "curl", "out of memory");
    curl_easy_setopt(q->curl, CURLOPT_HTTPHEADER, q->headers);
    curl_easy_setopt(q->curl, CURLOPT_CAINFO, q->ca);
    curl_easy_setopt(q->curl, CURLOPT_CAPATH, NULL);
    curl_easy_setopt(q->curl, CURLOPT_SSL_VERIFYHOST, BROKEN(VARVE_BREAK_manifests_name) ? 0L : 2L);
    curl_easy_setopt(q->curl, CURLOPT_PROTOCOLS_STR, "https");
    curl_easy_setopt(q->curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(q->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(q->curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(q->curl, CURLOPT_WRITEDATA, &q->body);
    curl_easy_setopt(q->curl, CURLOPT_USERAGENT, "varve/" VARVE_VERSION);
    q->until_ns = clock_mono_ns() + ALL_MS * 1000000ll;
    return 0;
}

/* Names in Kubernetes have these letters only. */
static bool is_name(const char *s, size_t n)
{
    return n > 0 && n < 254 && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789.-") >= n && s[0] != '.';
}

int main(int argc, char **argv)
{
    struct asking q = {.until_ns = 0};
    const char *slash = argc == 2 ? strchr(argv[1], '/') : NULL;
    char namespace[256];
    int r;

    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return fputs(help, stdout) < 0;
    if (!slash || !is_name(argv[1], (size_t)(slash - argv[1])) || !is_name(slash + 1, strlen(slash + 1))) {
        fputs(help, stderr);
        return 2;
    }
    snprintf(namespace, sizeof(namespace), "%.*s", (int)(slash - argv[1]), argv[1]);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    r = begin(&q);
    if (r == 0)
        r = gather(&q, namespace, slash + 1);
    if (r == 0)
        r = print(&q);
    curl_easy_cleanup(q.curl);
    curl_slist_free_all(q.headers);
    curl_global_cleanup();
    json_decref(q.list);
    buf_free(&q.body);
    return r;
}
