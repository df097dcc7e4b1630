/* Facts of a volume: STORE/csi/VOLUME.json, replaced as a whole. They bind only while a volume of that name is there: those of one
 * that is gone are written over. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/io.h"
#include "base/jw.h"
#include "plugin/csi.h"

#define FACTS_MAX (256u << 10)

static char *path_of(struct csi_call *k, const char *volume)
{
    return arena_printf(&k->arena, "%s/csi/%s.json", k->d->store, volume);
}

static const char *text(struct csi_call *k, const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? arena_dup(&k->arena, s) : NULL;
}

static void json_free(json_t **j)
{
    json_decref(*j);
}

int csi_facts_get(struct csi_call *k, const char *volume, struct csi_facts **ret)
{
    cleanup(json_free) json_t *j = NULL;
    cleanup(buf_free) struct buf b = {0};
    struct csi_facts *f = arena_alloc(&k->arena, sizeof(*f));
    const char *path = path_of(k, volume);
    int r;

    *ret = NULL;
    if (!f || !path)
        return csi_nomem(k);
    r = io_read_file(io_real(), path, FACTS_MAX, &b);
    if (r == -E_NOENT)
        return 0;
    if (r == 0)
        j = json_loadb((const char *)b.data, b.len, 0, NULL);
    if (!j || !json_string_value(json_object_get(j, "name")))
        return csi_fail(k, GRPC_INTERNAL, "%s: %s", path, r < 0 ? err_text(r) : "is damaged");
    f->name = text(k, j, "name");
    f->source = text(k, j, "source");
    f->params = text(k, j, "parameters");
    f->size = (uint64_t)json_integer_value(json_object_get(j, "size"));
    f->node = text(k, j, "published");
    f->node_readonly = json_is_true(json_object_get(j, "published_readonly"));
    if (!f->name || !f->source || !f->params)
        return csi_fail(k, GRPC_INTERNAL, "%s: is damaged", path);
    *ret = f;
    return 0;
}

int csi_facts_put(struct csi_call *k, const char *volume, const struct csi_facts *f)
{
    cleanup(buf_free) struct buf b = {0};
    struct jw j = jw_begin(&b, true);
    const char *path = path_of(k, volume), *dir = arena_printf(&k->arena, "%s/csi", k->d->store);
    int r;

    if (!path || !dir)
        return csi_nomem(k);
    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_str(&j, "name", f->name);
    jw_u64(&j, "size", f->size);
    jw_str(&j, "source", f->source);
    jw_str(&j, "parameters", f->params);
    jw_str(&j, "published", f->node);
    jw_bool(&j, "published_readonly", f->node_readonly);
    jw_close(&j);
    r = jw_end(&j);
    if (r == 0)
        r = io_replace(io_real(), path, b.data, b.len);
    if (r == -E_NOENT) { /* the first of this store, or one of the first */
        r = io_mkdir(io_real(), dir, 0700);
        if (r == 0 || r == -E_EXIST)
            r = io_sync_dir(io_real(), k->d->store);
        if (r == 0)
            r = io_replace(io_real(), path, b.data, b.len);
    }
    if (r == -E_NOSPC)
        return csi_fail(k, GRPC_RESOURCE_EXHAUSTED, "%s: %s", path, err_text(r));
    return r < 0 ? csi_fail(k, GRPC_INTERNAL, "%s: %s", path, err_text(r)) : 0;
}

int csi_facts_drop(struct csi_call *k, const char *volume)
{
    const char *path = path_of(k, volume);
    int r = path ? io_unlink(io_real(), path) : csi_nomem(k);

    if (!path || r == 0 || r == -E_NOENT)
        return path ? 0 : r;
    return csi_fail(k, GRPC_INTERNAL, "%s: %s", path, err_text(r));
}
