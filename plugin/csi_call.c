/* From a path to a method, from bytes to messages and back; who is at work on what. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "plugin/csi.h"
#include "plugin/csi_methods.h"

/* --- failing ------------------------------------------------------------------------------------------------------------- */

int csi_fail(struct csi_call *k, enum grpc_code code, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    for (char *s = text; *s; s++) /* one line, whatever a caller calls things */
        if ((unsigned char)*s < ' ')
            *s = ' ';
    k->code = code;
    k->why = arena_dup(&k->arena, text);
    return -E_FAILED;
}

int csi_nomem(struct csi_call *k)
{
    return csi_fail(k, GRPC_RESOURCE_EXHAUSTED, "out of memory; try again");
}

int csi_missing(struct csi_call *k, const char *field, const char *value)
{
    return value && *value ? 0 : csi_fail(k, GRPC_INVALID_ARGUMENT, "%s: is missing", field);
}

/* --- who is at work ------------------------------------------------------------------------------------------------------ */

struct csi_busy {
    struct csi_busy *next;
    char key[];
};

int csi_enter(struct csi_call *k, struct csi_held *h, const char *field, const char *key)
{
    struct csi_busy *b = malloc(sizeof(*b) + strlen(key) + 1), *other;

    if (!b)
        return csi_nomem(k);
    assert(h->n < CSI_KEYS);
    memcpy(b->key, key, strlen(key) + 1);
    h->d = k->d;
    lock_take(&k->d->lock);
    for (other = k->d->busy; other && strcmp(other->key, key) != 0; other = other->next)
        continue;
    if (!other || BROKEN(VARVE_BREAK_csi_aborted)) {
        b->next = k->d->busy;
        k->d->busy = b;
        h->at[h->n++] = b;
        other = NULL;
    }
    lock_drop(&k->d->lock);
    if (!other)
        return 0;
    free(b);
    return csi_fail(k, GRPC_ABORTED, "%s: another call is at work on it; try again", field);
}

void csi_leave(struct csi_held *h)
{
    if (h->n == 0)
        return;
    lock_take(&h->d->lock);
    for (size_t i = 0; i < h->n; i++) {
        struct csi_busy **at = &h->d->busy;

        while (*at != h->at[i])
            at = &(*at)->next;
        *at = h->at[i]->next;
        free(h->at[i]);
    }
    lock_drop(&h->d->lock);
    h->n = 0;
}

/* --- methods ------------------------------------------------------------------------------------------------------------- */

typedef int csi_fn(struct csi_call *k, const void *q, void *a);

struct method {
    struct grpc_method grpc;
    const ProtobufCMethodDescriptor *desc;
    csi_fn *fn;
    struct csi *d;
};

#define M(service, name) {"/" service "/" #name, (csi_fn *)(void *)csi_##name, false},
#define S(service, name) {"/" service "/" #name, (csi_fn *)(void *)csi_##name, true},
static const struct {
    const char *path;
    csi_fn *fn;
    bool streams;
} table[] = {CSI_METHODS(M) CSI_STREAMS(S)};

static const ProtobufCServiceDescriptor *const services[] = {&csi__v1__identity__descriptor,
                                                             &csi__v1__controller__descriptor,
                                                             &csi__v1__node__descriptor,
                                                             &csi__v1__group_controller__descriptor,
                                                             &csi__v1__snapshot_metadata__descriptor,
                                                             &varve__csi__v1__file_metadata__descriptor,
                                                             &pluginregistration__registration__descriptor};

const ProtobufCMethodDescriptor *csi_describe(const char *path)
{
    const char *slash = strrchr(path, '/');

    for (size_t i = 0; i < ARRAY_LEN(services); i++)
        if (strlen(services[i]->name) == (size_t)(slash - path) - 1 &&
            strncmp(services[i]->name, path + 1, (size_t)(slash - path) - 1) == 0)
            return protobuf_c_service_descriptor_get_method_by_name(services[i], slash + 1);
    return NULL;
}

static void *pb_alloc(void *arg, size_t len)
{
    return arena_alloc(arg, len);
}

static void pb_free(void *arg, void *p)
{
    (void)arg;
    (void)p;
}

ProtobufCMessage *csi_unpack(struct csi_call *k, const ProtobufCMessageDescriptor *d, const uint8_t *p,
                             size_t len)
{
    ProtobufCAllocator in_arena = {.alloc = pb_alloc, .free = pb_free, .allocator_data = &k->arena};

    return protobuf_c_message_unpack(d, &in_arena, len, p);
}

int csi_send(struct csi_call *k, const ProtobufCMessage *a)
{
    size_t len = protobuf_c_message_get_packed_size(a);
    uint8_t *p = arena_alloc(&k->arena, len + 1);
    int r = p ? grpc_call_send(k->grpc, p, protobuf_c_message_pack(a, p)) : -E_NOMEM;

    if (r == 0)
        return 0;
    return r == -E_CANCELED ? csi_fail(k, GRPC_CANCELLED, "nobody waits for the answer any more")
                            : csi_nomem(k);
}

/* Names and values of what was asked for stay out of the log: there may be secrets among them. */
static void log_end(const struct csi_call *k, const char *path, int r, int64_t began_ns)
{
    int64_t us = (clock_mono_ns() - began_ns) / 1000;

    if (r < 0)
        log_note("csi", "refused", "method=%s code=%s us=%" PRId64 " why=\"%s\"", path,
                 grpc_code_name(k->code), us, k->why ? k->why : "");
    else
        log_debug("csi", "done", "method=%s us=%" PRId64, path, us);
}

static void run(struct grpc_call *c, void *arg)
{
    const struct method *m = arg;
    struct csi_call k = {.d = m->d, .grpc = c, .code = GRPC_INTERNAL};
    int64_t began = clock_mono_ns();
    size_t len;
    const uint8_t *p = grpc_call_request(c, &len);
    ProtobufCMessage *q = csi_unpack(&k, m->desc->input, p, len);
    ProtobufCMessage *a = arena_alloc(&k.arena, m->desc->output->sizeof_message);
    int r;

    if (!q) {
        r = csi_fail(&k, GRPC_INTERNAL, "the request is no message of its type");
    } else if (!a) {
        r = csi_nomem(&k);
    } else {
        protobuf_c_message_init(m->desc->output, a);
        r = m->fn(&k, q, a);
    }
    if (r == 0 && !m->grpc.streams)
        r = csi_send(&k, a);
    if (r == 0)
        grpc_call_end(c, GRPC_OK, NULL);
    else
        grpc_call_end(c, k.code, "%s", k.why ? k.why : "out of memory");
    log_end(&k, grpc_call_path(c), r, began);
    arena_free(&k.arena);
}

static struct method methods[ARRAY_LEN(table)];

int csi_init(struct csi *d)
{
    lock_init(&d->lock, RANK_JOB, 0);
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        methods[i] = (struct method){
            .grpc = {.path = table[i].path, .streams = table[i].streams, .fn = run, .arg = &methods[i]},
            .desc = csi_describe(table[i].path),
            .fn = table[i].fn,
            .d = d};
        assert(methods[i].desc);
    }
    return 0;
}

const struct grpc_method *csi_find(void *arg, const char *path)
{
    (void)arg;
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (strcmp(methods[i].grpc.path, path) == 0)
            return &methods[i].grpc;
    return NULL;
}

const struct grpc_method *csi_find_far(void *arg, const char *path)
{
    static const char *const far[] = {"/csi.v1.Identity/", "/csi.v1.Controller/", "/csi.v1.GroupController/",
                                      "/csi.v1.SnapshotMetadata/", "/varve.csi.v1.FileMetadata/"};

    for (size_t i = 0; i < ARRAY_LEN(far); i++)
        if (strncmp(path, far[i], strlen(far[i])) == 0)
            return csi_find(arg, path);
    return NULL;
}
