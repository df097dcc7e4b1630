/* plugin/kube: questions to Kubernetes' API server, by the account of the pod. One thread.
 *
 * What returns int gives an exit code of a program: 0, 1, or KUBE_NO_ACCESS; why stands on stderr by then. */
#ifndef VARVE_PLUGIN_KUBE_H
#define VARVE_PLUGIN_KUBE_H

#include <curl/curl.h>
#include <jansson.h>
#include <limits.h>

#include "base/buf.h"

#define KUBE_ACCOUNT "/var/run/secrets/kubernetes.io/serviceaccount"
#define KUBE_NO_ACCESS 3 /* there is no way to the API server from here, or it does not let us in */
#define NODES_SELECTOR "app.kubernetes.io/name=varve,app.kubernetes.io/component=node"
#define KUBE_NAME_SIZE 256
#define KUBE_PATH_SIZE 1024

struct kube {
    CURL *curl;
    struct curl_slist *headers;
    char base[300], ca[PATH_MAX], dir[PATH_MAX];
    int64_t until_ns;
    long status; /* of the last answer */
    struct buf body;
};

int kube_begin(struct kube *q, int64_t ms); /* ms: for all questions */
void kube_end(struct kube *q);              /* accepts one that was never begun */

/* kube_get: *ret NULL: there is no such object, or none that we may see (q->status); else the caller's. kube_send: PUT or POST; any
 * answer is one: q->status. */
int kube_get(struct kube *q, const char *path, json_t **ret);
int kube_send(struct kube *q, const char *method, const char *path, const json_t *body);

/* kube_each: fn for each object of a list, which may come in several answers; path has no query, query no '?' before it. fn ends it by
 * something other than 0. A list that we may not see has nothing in it. */
int kube_each(struct kube *q, const char *path, const char *query, int (*fn)(void *arg, json_t *o),
              void *arg);

int kube_namespace(const struct kube *q, char to[KUBE_NAME_SIZE]); /* of the pod */
bool kube_is_name(const char *s, size_t n); /* names in Kubernetes have these letters only */
const char *kube_text(const json_t *o, const char *a,
                      const char *b); /* o[a][b]; b NULL: o[a]; "" where there is none */
int kube_said(int code, const char *what, const char *why); /* code; says it */
void kube_json_free(json_t **j);                            /* fit for cleanup() */

/* The verbs of varve-manifests. */
struct kube_certificates {
    const char *driver;            /* the driver's name */
    const char *node, *controller; /* names of the two secrets */
    int64_t life_s;
};
int kube_claim(struct kube *q, const char *namespace, const char *claim);
int kube_nodes(struct kube *q, const char *selector,
               const char *port); /* port NULL: the one that the pod calls csi */
int kube_certificates(struct kube *q, const struct kube_certificates *c);

#endif
