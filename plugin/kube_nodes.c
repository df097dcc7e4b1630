/* Where the drivers of the nodes listen: pods of the DaemonSet, whether they are ready or not. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "plugin/kube.h"

#define PORT_NAME "csi"
#define NOWHERE "-"

struct nodes {
    const char *port;
    json_t *lines;   /* node: where, or NOWHERE */
    json_t *lasting; /* nodes whose pod has an address and does not end */
};

/* Of the first container that has one by this name; 0: there is none. */
static int64_t port_of(const json_t *pod)
{
    json_t *c, *p;
    size_t i, j;

    json_array_foreach(json_object_get(json_object_get(pod, "spec"), "containers"), i, c)
        json_array_foreach(json_object_get(c, "ports"), j,
                           p) if (strcmp(kube_text(p, "name", NULL), PORT_NAME) ==
                                  0) return json_integer_value(json_object_get(p, "containerPort"));
    return 0;
}

static json_t *where(const struct nodes *n, const json_t *pod, const char *ip)
{
    bool six = strchr(ip, ':') != NULL;
    char port[32];

    if (!*ip)
        return json_string(NOWHERE);
    snprintf(port, sizeof(port), "%" PRId64, port_of(pod));
    return json_sprintf("%s%s%s:%s", six ? "[" : "", ip, six ? "]" : "", n->port ? n->port : port);
}

/* What is about to end, and what has no address yet or any more, gives way to another pod of the node. A node is told in any case: what is
 * asked of all of them waits for it. */
static int on_pod(void *arg, json_t *pod)
{
    const char *node = kube_text(pod, "spec", "nodeName"), *ip = kube_text(pod, "status", "podIP");
    const char *phase = kube_text(pod, "status", "phase"), *name = kube_text(pod, "metadata", "name");
    bool over = strcmp(phase, "Succeeded") == 0 || strcmp(phase, "Failed") == 0;
    bool lasts = *ip && !over && !*kube_text(pod, "metadata", "deletionTimestamp");
    struct nodes *n = arg;

    if (!*node || (json_object_get(n->lasting, node) && !BROKEN(VARVE_BREAK_kube_ends)) ||
        (over && json_object_get(n->lines, node)))
        return 0;
    if (!n->port && port_of(pod) == 0)
        return kube_said(1, name, "has no port called " PORT_NAME "; --port says which");
    if (json_object_set_new(n->lines, node, where(n, pod, over ? "" : ip)) < 0 ||
        (lasts && json_object_set_new(n->lasting, node, json_true()) < 0))
        return kube_said(1, name, "out of memory");
    return 0;
}

static int print(const json_t *lines)
{
    const char *node;
    json_t *at;

    json_object_foreach((json_t *)(uintptr_t)lines, node, at) printf("%s %s\n", node, json_string_value(at));
    return fflush(stdout) == 0 ? 0 : kube_said(1, "list", "cannot be written");
}

int kube_nodes(struct kube *q, const char *selector, const char *port)
{
    struct nodes n = {.port = port, .lines = json_object(), .lasting = json_object()};
    char namespace[KUBE_NAME_SIZE], path[KUBE_PATH_SIZE], query[KUBE_PATH_SIZE];
    char *labels = curl_easy_escape(q->curl, selector, 0);
    int r = kube_namespace(q, namespace);

    if (r == 0 && (!n.lines || !n.lasting || !labels))
        r = kube_said(1, "list", "out of memory");
    if (r == 0) {
        snprintf(path, sizeof(path), "/api/v1/namespaces/%s/pods", namespace);
        if (snprintf(query, sizeof(query), "labelSelector=%s", labels) >= (int)sizeof(query))
            r = kube_said(2, selector, "is too long");
    }
    if (r == 0)
        r = kube_each(q, path, query, on_pod, &n);
    if (r == 0 && q->status == 403)
        r = kube_said(KUBE_NO_ACCESS, path, "is not for us to see");
    if (r == 0)
        r = print(n.lines);
    curl_free(labels);
    json_decref(n.lines);
    json_decref(n.lasting);
    return r;
}
