/* Facts of a volume: STORE/csi/VOLUME.json, replaced as a whole. They bind only while a volume of that name is there: those of one
 * that is gone are written over. And other small files beside them. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/io.h"
#include "base/jw.h"
#include "plugin/csi.h"

#define FILE_SIZE_MAX (256u << 10)

/* --- small files ----------------------------------------------------------------------------------------------------------- */

static char *path_of(struct csi_call *k, const char *name)
{
    return arena_printf(&k->arena, "%s/csi/%s", k->d->store, name);
}

int csi_file_get(struct csi_call *k, const char *name, json_t **ret)
{
    cleanup(buf_free) struct buf b = {0};
    const char *path = path_of(k, name);
    int r;

    *ret = NULL;
    if (!path)
        return csi_nomem(k);
    r = io_read_file(io_real(), path, FILE_SIZE_MAX, &b);
    if (r == -E_NOENT)
        return 0;
    if (r == 0)
        *ret = json_loadb((const char *)b.data, b.len, 0, NULL);
    return *ret ? 0 : csi_fail(k, GRPC_INTERNAL, "%s: %s", path, r < 0 ? err_text(r) : "is damaged");
}

/* Directories above a file that are not there yet. */
static int dirs_make(struct csi_call *k, char *path)
{
    int r = 0;

    for (char *p = path + strlen(k->d->store) + 1; r == 0 && (p = strchr(p, '/')); p++) {
        *p = 0;
        r = io_mkdir(io_real(), path, 0700);
        *p = '/';
        if (r == -E_EXIST)
            r = 0;
    }
    return r < 0 ? r : io_sync_dir(io_real(), k->d->store);
}

int csi_file_put(struct csi_call *k, const char *name, const void *p, size_t len)
{
    char *path = path_of(k, name);
    int r;

    if (!path)
        return csi_nomem(k);
    r = io_replace(io_real(), path, p, len);
    if (r == -E_NOENT) { /* the first of this store, or one of the first */
        r = dirs_make(k, path);
        if (r == 0)
            r = io_replace(io_real(), path, p, len);
    }
    if (r == -E_NOSPC)
        return csi_fail(k, GRPC_RESOURCE_EXHAUSTED, "%s: %s", path, err_text(r));
    return r < 0 ? csi_fail(k, GRPC_INTERNAL, "%s: %s", path, err_text(r)) : 0;
}

int csi_file_drop(struct csi_call *k, const char *name)
{
    const char *path = path_of(k, name);
    int r = path ? io_unlink(io_real(), path) : csi_nomem(k);

    if (!path || r == 0 || r == -E_NOENT)
        return path ? 0 : r;
    return csi_fail(k, GRPC_INTERNAL, "%s: %s", path, err_text(r));
}

void csi_json_free(json_t **j)
{
    json_decref(*j);
}

/* --- facts ----------------------------------------------------------------------------------------------------------------- */

static const char *text(struct csi_call *k, const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? arena_dup(&k->arena, s) : NULL;
}

static const char *name_of(struct csi_call *k, const char *volume)
{
    return arena_printf(&k->arena, "%s.json", volume);
}

int csi_facts_get(struct csi_call *k, const char *volume, struct csi_facts **ret)
{
    cleanup(csi_json_free) json_t *j = NULL;
    struct csi_facts *f = arena_alloc(&k->arena, sizeof(*f));
    const char *name = name_of(k, volume);
    int r = f && name ? csi_file_get(k, name, &j) : csi_nomem(k);

    *ret = NULL;
    if (r < 0 || !j)
        return r;
    f->name = text(k, j, "name");
    f->source = text(k, j, "source");
    f->params = text(k, j, "parameters");
    f->claim = text(k, j, "claim");
    f->size = (uint64_t)json_integer_value(json_object_get(j, "size"));
    f->epoch = (uint64_t)json_integer_value(json_object_get(j, "epoch"));
    f->handed = json_is_true(json_object_get(j, "handed"));
    f->node = text(k, j, "published");
    f->node_readonly = json_is_true(json_object_get(j, "published_readonly"));
    if (!f->name || !f->source || !f->params)
        return csi_fail(k, GRPC_INTERNAL, "csi/%s: is damaged", name);
    *ret = f;
    return 0;
}

int csi_facts_put(struct csi_call *k, const char *volume, const struct csi_facts *f)
{
    cleanup(buf_free) struct buf b = {0};
    struct jw j = jw_begin(&b, true);
    const char *name = name_of(k, volume);

    if (!name)
        return csi_nomem(k);
    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_str(&j, "name", f->name);
    jw_u64(&j, "size", f->size);
    jw_str(&j, "source", f->source);
    jw_str(&j, "parameters", f->params);
    jw_str(&j, "claim", f->claim);
    jw_u64(&j, "epoch", f->epoch);
    jw_bool(&j, "handed", f->handed);
    jw_str(&j, "published", f->node);
    jw_bool(&j, "published_readonly", f->node_readonly);
    jw_close(&j);
    return jw_end(&j) < 0 ? csi_nomem(k) : csi_file_put(k, name, b.data, b.len);
}

int csi_facts_drop(struct csi_call *k, const char *volume)
{
    const char *name = name_of(k, volume);

    return name ? csi_file_drop(k, name) : csi_nomem(k);
}

const char *csi_facts_param(struct csi_call *k, const struct csi_facts *f, const char *key)
{
    size_t n = strlen(key);

    for (const char *at = f->params; *at; at += strcspn(at, "\n"), at += *at == '\n')
        if (strncmp(at, key, n) == 0 && at[n] == '=')
            return arena_printf(&k->arena, "%.*s", (int)strcspn(at + n + 1, "\n"), at + n + 1);
    return NULL;
}
