/* SnapshotMetadata: where the files of a snapshot have bytes, and where they changed since another one, on the line of offsets of
 * `varve snapshot ranges` (snap/line.h), which is the same for all snapshots of a volume; and FileMetadata, varve's own: which files
 * changed. Streams, page by page: what is held at a time does not grow with what there is. */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "plugin/csi_methods.h"

#define LINE_SIZE ((int64_t)25 << 58)
#define PAGE_RANGES 16384
#define PAGE_FILES 1024
#define MESSAGE_MAX 4096   /* entries of a message, where nothing is said */
#define FILE_RANGES 65536u /* of the files of a message: clients take 4 MiB */

/* --- snapshots --------------------------------------------------------------------------------------------------------------- */

struct pair {
    struct csi_snapshot *base, *target; /* base NULL: all of target */
};

static int find(struct csi_call *k, const char *field, const char *id, struct csi_snapshot **ret)
{
    struct csi_volumes *vs = arena_alloc(&k->arena, sizeof(*vs)); /* what is found points into it */
    int r = vs ? csi_missing(k, field, id) : csi_nomem(k);

    if (r == 0)
        r = csi_snapshot_by_id(k, id, vs, ret);
    if (r < 0 || *ret)
        return r;
    return csi_fail(k, GRPC_NOT_FOUND, "%s: there is no such snapshot on node %s", field, k->d->node);
}

static int find_both(struct csi_call *k, const char *base, const char *target, struct pair *ret)
{
    int r = find(k, "base_snapshot_id", base, &ret->base);

    if (r == 0)
        r = find(k, "target_snapshot_id", target, &ret->target);
    if (r == 0 && strcmp(ret->base->volume->uuid, ret->target->volume->uuid) != 0)
        r = csi_fail(k, GRPC_INVALID_ARGUMENT, "target_snapshot_id: is of another volume than the base");
    return r;
}

static int max_check(struct csi_call *k, int32_t max, size_t *ret)
{
    if (max < 0)
        return csi_fail(k, GRPC_INVALID_ARGUMENT, "max_results: is negative");
    *ret = max == 0 ? MESSAGE_MAX : (size_t)MIN_OF(max, MESSAGE_MAX);
    return 0;
}

/* One page: a call of its own, whose memory goes with it. */
static int page_of(struct csi_call *k, int (*fn)(struct csi_call *page, void *arg), void *arg)
{
    struct csi_call page = {.d = k->d, .grpc = k->grpc, .code = GRPC_INTERNAL};
    int r = fn(&page, arg);

    if (r < 0)
        r = csi_fail(k, page.code, "%s", page.why ? page.why : "out of memory");
    arena_free(&page.arena);
    return r;
}

/* --- ranges ------------------------------------------------------------------------------------------------------------------ */

/* Answers of the two methods differ by name only. */
typedef Csi__V1__GetMetadataDeltaResponse answer;
#define SAME(member)                                                                                         \
    static_assert(offsetof(answer, member) == offsetof(Csi__V1__GetMetadataAllocatedResponse, member),       \
                  #member)
SAME(block_metadata_type);
SAME(volume_capacity_bytes);
SAME(n_block_metadata);
SAME(block_metadata);

struct ranging {
    struct pair of;
    answer *a;
    int64_t from;
    size_t max;
    bool more, said;
};

static int send(struct csi_call *k, struct ranging *g)
{
    int r = csi_send(k, &g->a->base);

    g->said = true;
    g->a->n_block_metadata = 0;
    return r;
}

/* A line of `varve snapshot ranges`. */
static int take_line(struct csi_call *k, struct ranging *g, const char *line, Csi__V1__BlockMetadata *b)
{
    char *end;

    csi__v1__block_metadata__init(b);
    b->byte_offset = (int64_t)strtoull(line, &end, 10);
    b->size_bytes = (int64_t)strtoull(end, NULL, 10);
    g->from = b->byte_offset + b->size_bytes;
    g->a->block_metadata[g->a->n_block_metadata++] = b;
    return g->a->n_block_metadata == g->max ? send(k, g) : 0;
}

static int ranges_page(struct csi_call *k, void *arg)
{
    struct ranging *g = arg;
    const char *from = arena_printf(&k->arena, "--from=%" PRId64, g->from);
    const char *base = g->of.base ? arena_printf(&k->arena, "--base=%s", g->of.base->name) : NULL;
    const char *limit = arena_printf(&k->arena, "--limit=%d", PAGE_RANGES);
    Csi__V1__BlockMetadata *b = arena_alloc(&k->arena, g->max * sizeof(*b));
    struct csi_result res;
    char *out = NULL;
    size_t n = 0;
    int r;

    g->a->block_metadata = arena_alloc(&k->arena, g->max * sizeof(*g->a->block_metadata));
    if (!from || !limit || (g->of.base && !base) || !b || !g->a->block_metadata)
        return csi_nomem(k);
    r = CSI_VERB(k, &res, &out, "snapshot", "ranges", g->of.target->volume->name, g->of.target->name, from,
                 limit, base);
    if (r == 0 && !csi_result_is(&res, "OK"))
        r = csi_result_fail(k, "snapshot_id", &res);
    for (const char *at = out; r == 0 && *at; at = strchr(at, '\n') + 1, n++)
        r = take_line(k, g, at, &b[g->a->n_block_metadata]);
    if (r == 0 && g->a->n_block_metadata > 0)
        r = send(k, g);
    g->more = n == PAGE_RANGES;
    return r;
}

static int ranges_send(struct csi_call *k, struct ranging *g, int64_t from, int32_t max)
{
    int r = max_check(k, max, &g->max);

    if (r == 0 && (from < 0 || from > LINE_SIZE))
        r = csi_fail(k, GRPC_OUT_OF_RANGE, "starting_offset: is negative, or beyond %" PRId64, LINE_SIZE);
    g->from = BROKEN(VARVE_BREAK_csi_offset) ? 0 : from;
    g->a->block_metadata_type = CSI__V1__BLOCK_METADATA_TYPE__VARIABLE_LENGTH;
    g->a->volume_capacity_bytes = LINE_SIZE;
    g->more = true;
    while (r == 0 && g->more)
        r = page_of(k, ranges_page, g);
    return r < 0 || g->said ? r : send(k, g); /* nothing is an answer, too */
}

CSI_METHOD(GetMetadataAllocated)
{
    struct ranging g = {.a = (answer *)a};
    int r = find(k, "snapshot_id", q->snapshot_id, &g.of.target);

    return r < 0 ? r : ranges_send(k, &g, q->starting_offset, q->max_results);
}

CSI_METHOD(GetMetadataDelta)
{
    struct ranging g = {.a = a};
    int r = find_both(k, q->base_snapshot_id, q->target_snapshot_id, &g.of);

    return r < 0 ? r : ranges_send(k, &g, q->starting_offset, q->max_results);
}

/* --- files ------------------------------------------------------------------------------------------------------------------- */

struct filing {
    struct pair of;
    Varve__Csi__V1__GetChangedFilesResponse *a;
    size_t max;
    size_t ranges; /* in the message */
    char *after;   /* NULL: from the beginning */
    bool more;
};

static int nibble(char c)
{
    return c >= 'a' ? c - 'a' + 10 : c - '0';
}

/* A path: its bytes, where they are no text in hexadecimal under another key. */
static int path_take(struct csi_call *k, const json_t *e, const char *key, ProtobufCBinaryData *ret)
{
    const char *hex_key = arena_printf(&k->arena, "%s_hex", key);
    const char *hex = hex_key ? json_string_value(json_object_get(e, hex_key)) : NULL;
    const char *path = json_string_value(json_object_get(e, key));

    *ret = (ProtobufCBinaryData){.len = 0};
    if (!hex_key)
        return csi_nomem(k);
    if (!path)
        return 0;
    if (!hex) {
        ret->data = (uint8_t *)arena_dup(&k->arena, path);
        ret->len = strlen(path);
        return ret->data ? 0 : csi_nomem(k);
    }
    ret->data = arena_alloc(&k->arena, strlen(hex) / 2 + 1);
    if (!ret->data)
        return csi_nomem(k);
    for (; hex[2 * ret->len]; ret->len++)
        ret->data[ret->len] = (uint8_t)(nibble(hex[2 * ret->len]) << 4 | nibble(hex[2 * ret->len + 1]));
    return 0;
}

static Varve__Csi__V1__ChangedFile__Kind kind_of(const char *s)
{
    switch (s ? s[0] : 0) {
    case '+': return VARVE__CSI__V1__CHANGED_FILE__KIND__CREATED;
    case '-': return VARVE__CSI__V1__CHANGED_FILE__KIND__REMOVED;
    case 'M': return VARVE__CSI__V1__CHANGED_FILE__KIND__CHANGED;
    case 'R': return VARVE__CSI__V1__CHANGED_FILE__KIND__RENAMED;
    default: return VARVE__CSI__V1__CHANGED_FILE__KIND__UNKNOWN_KIND;
    }
}

static Varve__Csi__V1__ChangedFile__Type type_of(const char *s)
{
    if (s && strcmp(s, "file") == 0)
        return VARVE__CSI__V1__CHANGED_FILE__TYPE__FILE;
    if (s && strcmp(s, "directory") == 0)
        return VARVE__CSI__V1__CHANGED_FILE__TYPE__DIRECTORY;
    if (s && strcmp(s, "symlink") == 0)
        return VARVE__CSI__V1__CHANGED_FILE__TYPE__SYMLINK;
    return VARVE__CSI__V1__CHANGED_FILE__TYPE__OTHER;
}

static int ranges_take(struct csi_call *k, const json_t *list, Varve__Csi__V1__ChangedFile *to)
{
    size_t n = json_array_size(list), i;
    Varve__Csi__V1__FileRange *r = arena_alloc(&k->arena, (n + 1) * sizeof(*r));
    json_t *o;

    to->ranges = arena_alloc(&k->arena, (n + 1) * sizeof(*to->ranges));
    if (!r || !to->ranges)
        return csi_nomem(k);
    json_array_foreach(list, i, o)
    {
        varve__csi__v1__file_range__init(&r[i]);
        r[i].offset = json_integer_value(json_object_get(o, "offset"));
        r[i].size_bytes = json_integer_value(json_object_get(o, "length"));
        to->ranges[to->n_ranges++] = &r[i];
    }
    return 0;
}

static int file_take(struct csi_call *k, const json_t *e, Varve__Csi__V1__ChangedFile **ret)
{
    Varve__Csi__V1__ChangedFile *to = arena_alloc(&k->arena, sizeof(*to));
    int r = to ? 0 : csi_nomem(k);

    if (r < 0)
        return r;
    varve__csi__v1__changed_file__init(to);
    to->kind = kind_of(json_string_value(json_object_get(e, "kind")));
    to->type = type_of(json_string_value(json_object_get(e, "type")));
    to->inode = (uint64_t)json_integer_value(json_object_get(e, "ino"));
    to->metadata_changed = json_is_true(json_object_get(e, "meta"));
    r = path_take(k, e, "path", &to->path);
    if (r == 0)
        r = path_take(k, e, "old_path", &to->old_path);
    *ret = to;
    return r < 0 ? r : ranges_take(k, json_object_get(e, "ranges"), to);
}

static int message_send(struct csi_call *k, struct filing *f)
{
    int r = f->a->n_files > 0 ? csi_send(k, &f->a->base) : 0;

    f->a->n_files = 0;
    f->ranges = 0;
    return r;
}

/* One with very many ranges is told in several entries, one after the other. */
static int file_put(struct csi_call *k, struct filing *f, const Varve__Csi__V1__ChangedFile *file)
{
    size_t at = 0;
    int r = 0;

    do {
        Varve__Csi__V1__ChangedFile *part = arena_alloc(&k->arena, sizeof(*part));

        if (!part)
            return csi_nomem(k);
        *part = *file;
        part->ranges = file->ranges + at;
        part->n_ranges = MIN_OF(file->n_ranges - at, FILE_RANGES - f->ranges);
        at += part->n_ranges;
        f->ranges += part->n_ranges;
        f->a->files[f->a->n_files++] = part;
        if (f->a->n_files == f->max || f->ranges == FILE_RANGES)
            r = message_send(k, f);
    } while (r == 0 && at < file->n_ranges);
    return r;
}

/* The last path of a page is where the next one begins. */
static int files_send(struct csi_call *k, struct filing *f, const json_t *j)
{
    json_t *list = json_object_get(j, "entries"), *e;
    Varve__Csi__V1__ChangedFile *last = NULL;
    size_t i;
    int r = 0;

    f->a->files = arena_alloc(&k->arena, f->max * sizeof(*f->a->files));
    if (!f->a->files)
        return csi_nomem(k);
    json_array_foreach(list, i, e)
    {
        if (r == 0)
            r = file_take(k, e, &last);
        if (r == 0)
            r = file_put(k, f, last);
    }
    if (r == 0)
        r = message_send(k, f);
    if (r < 0 || !last)
        return r;
    free(f->after);
    f->after = strndup((const char *)last->path.data, last->path.len);
    return f->after ? 0 : csi_nomem(k);
}

static int files_page(struct csi_call *k, void *arg)
{
    struct filing *f = arg;
    const char *limit = arena_printf(&k->arena, "--limit=%d", PAGE_FILES);
    const char *after = f->after ? arena_printf(&k->arena, "--after=%s", f->after) : NULL;
    cleanup(csi_json_free) json_t *j = NULL;
    struct csi_result res;
    char *out = NULL;
    int r = limit && (after || !f->after) ? 0 : csi_nomem(k);

    if (r == 0)
        r = CSI_VERB(k, &res, &out, "diff", f->of.target->volume->name, f->of.base->name, f->of.target->name,
                     "--json", limit, after);
    if (r == 0 && !csi_result_is(&res, "OK"))
        r = csi_result_fail(k, "target_snapshot_id", &res);
    if (r == 0 && !(j = json_loads(out, 0, NULL)))
        r = csi_nomem(k);
    f->more = json_is_true(json_object_get(j, "more"));
    return r < 0 ? r : files_send(k, f, j);
}

int csi_GetChangedFiles(struct csi_call *k, const Varve__Csi__V1__GetChangedFilesRequest *q,
                        Varve__Csi__V1__GetChangedFilesResponse *a)
{
    struct filing f = {.a = a, .more = true};
    int r = find_both(k, q->base_snapshot_id, q->target_snapshot_id, &f.of);

    if (r == 0)
        r = max_check(k, q->max_results, &f.max);
    if (r == 0 &&
        memchr(q->starting_path.data ? q->starting_path.data : (const uint8_t *)"", 0, q->starting_path.len))
        r = csi_fail(k, GRPC_INVALID_ARGUMENT, "starting_path: has a NUL in it");
    if (r == 0 && q->starting_path.len > 0 &&
        !(f.after = strndup((const char *)q->starting_path.data, q->starting_path.len)))
        r = csi_nomem(k);
    while (r == 0 && f.more)
        r = page_of(k, files_page, &f);
    free(f.after);
    return r;
}
