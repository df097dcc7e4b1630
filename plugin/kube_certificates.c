/* The certificates of the drivers, as two secrets of type kubernetes.io/tls.
 *
 * That of the controller is the one that counts: it has the nodes' part, too, so that one write makes a whole set, and of two who make one
 * at the same time the second is refused. The nodes' secret is a copy of that part, which is made again until it is one. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "plugin/cert.h"
#include "plugin/kube.h"

#define ROUNDS_MAX 10
#define PAUSE_MS 200
#define TYPE "kubernetes.io/tls"

struct made {
    struct kube *q;
    const struct kube_certificates *c;
    char namespace[KUBE_NAME_SIZE];
    struct cert_set set;
    bool wrote;
};

/* --- one secret ------------------------------------------------------------------------------------------------------------- */

struct part {
    const char *name;
    struct buf *b;
};

static int data_read(const json_t *secret, const struct part *p)
{
    const char *text = kube_text(json_object_get(secret, "data"), p->name, NULL);
    size_t n = 0, len = strlen(text);

    buf_reset(p->b);
    if (buf_reserve(p->b, len + 1) < 0)
        return kube_said(1, p->name, "out of memory");
    if (sodium_base642bin(p->b->data, p->b->cap, text, len, NULL, &n, NULL, sodium_base64_VARIANT_ORIGINAL) ==
        0)
        p->b->len = n;
    return 0;
}

static json_t *data_of(const struct part *p, size_t n)
{
    json_t *data = json_object();

    for (size_t i = 0; i < n; i++) {
        size_t len = sodium_base64_ENCODED_LEN(p[i].b->len, sodium_base64_VARIANT_ORIGINAL);
        char *text = malloc(len);

        if (text)
            sodium_bin2base64(text, len, p[i].b->data, p[i].b->len, sodium_base64_VARIANT_ORIGINAL);
        json_object_set_new(data, p[i].name, text ? json_string(text) : NULL);
        free(text);
    }
    if (json_object_size(data) == n)
        return data;
    json_decref(data);
    return NULL;
}

static int secret_get(struct made *m, const char *name, json_t **ret)
{
    char path[KUBE_PATH_SIZE];
    int r;

    snprintf(path, sizeof(path), "/api/v1/namespaces/%s/secrets/%s", m->namespace, name);
    r = kube_get(m->q, path, ret);
    return r == 0 && m->q->status == 403 ? kube_said(KUBE_NO_ACCESS, path, "is not for us to see") : r;
}

/* What the API server says of a write that it does not take. */
static int refused(struct made *m, const char *name)
{
    cleanup(kube_json_free) json_t *o = json_loadb((const char *)m->q->body.data, m->q->body.len, 0, NULL);
    const char *why = kube_text(o, "message", NULL);

    return kube_said(m->q->status == 403 ? KUBE_NO_ACCESS : 1, name, *why ? why : "is not taken");
}

/* have: what is there, as it was read: it is replaced only if it is that still. Somebody else was first: nothing was written, and the next
 * round looks at what that was. */
static int secret_put(struct made *m, const char *name, json_t *have, const struct part *p, size_t n)
{
    json_t *data = data_of(p, n);
    cleanup(kube_json_free) json_t *o =
        have ? json_deep_copy(have)
             : json_pack("{s:s, s:s, s:s, s:{s:s, s:{s:s}}}", "apiVersion", "v1", "kind", "Secret", "type",
                         TYPE, "metadata", "name", name, "labels", "app.kubernetes.io/name", "varve");
    char path[KUBE_PATH_SIZE];
    int r;

    if (!data || json_object_set_new(o, "data", data) < 0)
        return kube_said(1, name, "out of memory");
    snprintf(path, sizeof(path), "/api/v1/namespaces/%s/secrets%s%s", m->namespace, have ? "/" : "",
             have ? name : "");
    r = kube_send(m->q, have ? "PUT" : "POST", path, o);
    m->wrote = !BROKEN(VARVE_BREAK_kube_first);
    if (r != 0 || m->q->status == 200 || m->q->status == 201 || m->q->status == 409)
        return r;
    return m->q->status == 404 ? 0 : refused(m, name); /* 404: deleted meanwhile */
}

/* --- both ------------------------------------------------------------------------------------------------------------------- */

#define SET_PARTS(s)                                                                                         \
    {                                                                                                        \
        {"ca.crt", &(s)->ca}, {"tls.crt", &(s)->controller.crt}, {"tls.key", &(s)->controller.key},          \
            {"node.crt", &(s)->node.crt}, {"node.key", &(s)->node.key},                                      \
    }

static int controller_see(struct made *m)
{
    const struct part p[] = SET_PARTS(&m->set);
    cleanup(kube_json_free) json_t *o = NULL;
    int64_t now_s = clock_wall_ns() / 1000000000;
    const char *why;
    int r = secret_get(m, m->c->controller, &o);

    for (size_t i = 0; i < ARRAY_LEN(p) && r == 0; i++)
        r = data_read(o, &p[i]);
    if (r != 0 || !(why = cert_wrong(&m->set, m->c->driver, now_s)))
        return r;
    cert_set_free(&m->set);
    if (!cert_make(m->c->driver, now_s, m->c->life_s, &m->set))
        return kube_said(1, "certificates", "out of memory");
    r = secret_put(m, m->c->controller, o, p, ARRAY_LEN(p));
    if (r == 0 && m->q->status < 300)
        printf("%s: made, as %s\n", m->c->controller, o ? why : "there are none");
    return r;
}

static int node_see(struct made *m)
{
    const struct part p[] = {
        {"ca.crt", &m->set.ca}, {"tls.crt", &m->set.node.crt}, {"tls.key", &m->set.node.key}};
    cleanup(kube_json_free) json_t *o = NULL, *data = data_of(p, ARRAY_LEN(p));
    int r = secret_get(m, m->c->node, &o);

    if (r == 0 && !data)
        r = kube_said(1, m->c->node, "out of memory");
    if (r != 0 || (o && json_equal(json_object_get(o, "data"), data)))
        return r;
    r = secret_put(m, m->c->node, o, p, ARRAY_LEN(p));
    if (r == 0 && m->q->status < 300)
        printf("%s: made\n", m->c->node);
    return r;
}

/* Until a round finds nothing to write. */
int kube_certificates(struct kube *q, const struct kube_certificates *c)
{
    struct made m = {.q = q, .c = c, .wrote = true};
    int r = kube_namespace(q, m.namespace);

    for (int i = 0; r == 0 && m.wrote; i++) {
        const struct timespec t = {.tv_nsec = PAUSE_MS * 1000000};

        if (i == ROUNDS_MAX)
            r = kube_said(1, c->controller, "somebody else writes it again and again");
        else if (i > 1)
            nanosleep(&t, NULL);
        m.wrote = false;
        if (r == 0)
            r = controller_see(&m);
        if (r == 0 && !m.wrote)
            r = node_see(&m);
    }
    cert_set_free(&m.set);
    return r == 0 && fflush(stdout) != 0 ? 1 : r;
}
