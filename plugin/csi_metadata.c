/* SnapshotMetadata: where the files of a snapshot have bytes, and where they changed since another one, on the line of offsets of
 * `varve snapshot ranges` (snap/line.h), which is the same for all snapshots of a volume; and FileMetadata, varve's own: which files
 * changed. Streams: the daemon sends lines while it finds them, and waits while the client does not read; what is held here is a message. */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "plugin/csi_methods.h"

#define LINE_SIZE ((int64_t)25 << 58)
#define MESSAGE_MAX 4096   /* entries of a message, where nothing is said */
#define FILE_RANGES 65536u /* of the files of a message: clients take 4 MiB */
#define TRIES 500          /* of 20 ms, without anything that comes; and at the beginning */
#define FIRST_TRIES 10

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

/* A message: in memory of its own, which goes with it. */
static int send(struct csi_call *k, const ProtobufCMessage *m)
{
    struct csi_call part = {.d = k->d, .grpc = k->grpc, .code = GRPC_INTERNAL};
    int r = csi_send(&part, m);

    if (r < 0)
        r = csi_fail(k, part.code, "%s", part.why ? part.why : "out of memory");
    arena_free(&part.arena);
    return r;
}

/* Asks until all was told. A daemon that makes room for another one cuts it off: words are for what is missing then. told: grows with
 * what comes. */
struct asking {
    const char *words[6]; /* as the daemon takes them; the last one says from where */
    const char *field;
    int (*from)(struct csi_call *k, void *arg, const char **ret);
    int (*line)(void *arg, char *s, size_t len);
    void *arg;
    const uint64_t *told;
};

static int ask(struct csi_call *k, struct asking *q)
{
    struct timespec wait = {.tv_nsec = 20000000};
    uint64_t before = 0;
    struct csi_result res;
    int r = 1;

    for (int tries = 0; r == 1; tries++) {
        r = q->from(k, q->arg, &q->words[5]);
        if (r == 0)
            r = csi_lines(k, &res, q->words, ARRAY_LEN(q->words), q->line, q->arg);
        if (r != 1)
            break;
        if (*q->told > before)
            tries = 0;
        else if (tries >= (*q->told ? TRIES : FIRST_TRIES) || grpc_call_ended(k->grpc))
            return csi_no_daemon(k);
        before = *q->told;
        nanosleep(&wait, NULL);
    }
    return r < 0 || csi_result_is(&res, "OK") ? r : csi_result_fail(k, q->field, &res);
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
    struct csi_call *k;
    struct pair of;
    answer *a;
    Csi__V1__BlockMetadata *blocks; /* of a message */
    int64_t from;
    uint64_t told;
    size_t max;
    bool said;
};

static int ranges_send(struct ranging *g)
{
    int r = send(g->k, &g->a->base);

    g->said = true;
    g->a->n_block_metadata = 0;
    return r;
}

static int range_line(void *arg, char *s, size_t len)
{
    struct ranging *g = arg;
    Csi__V1__BlockMetadata *b = &g->blocks[g->a->n_block_metadata];
    char *end;

    (void)len;
    csi__v1__block_metadata__init(b);
    b->byte_offset = (int64_t)strtoull(s, &end, 10);
    b->size_bytes = (int64_t)strtoull(end, NULL, 10);
    g->from = b->byte_offset + b->size_bytes;
    g->told++;
    g->a->block_metadata[g->a->n_block_metadata++] = b;
    if (g->a->n_block_metadata < g->max)
        return 0;
    if (ranges_send(g) < 0)
        return -E_FAILED;
    return BROKEN(VARVE_BREAK_csi_again) ? -E_CLOSED : 0;
}

static int range_from(struct csi_call *k, void *arg, const char **ret)
{
    *ret = arena_printf(&k->arena, "%" PRId64, ((struct ranging *)arg)->from);
    return *ret ? 0 : csi_nomem(k);
}

static int ranges(struct csi_call *k, struct ranging *g, int64_t from, int32_t max)
{
    struct asking q = {.words = {"changes", "ranges"},
                       .field = "snapshot_id",
                       .from = range_from,
                       .line = range_line,
                       .arg = g,
                       .told = &g->told};
    int r = max_check(k, max, &g->max);

    if (r == 0 && (from < 0 || from > LINE_SIZE))
        r = csi_fail(k, GRPC_OUT_OF_RANGE, "starting_offset: is negative, or beyond %" PRId64, LINE_SIZE);
    if (r < 0)
        return r;
    g->k = k;
    g->from = BROKEN(VARVE_BREAK_csi_offset) ? 0 : from;
    g->a->block_metadata_type = CSI__V1__BLOCK_METADATA_TYPE__VARIABLE_LENGTH;
    g->a->volume_capacity_bytes = LINE_SIZE;
    g->blocks = arena_alloc(&k->arena, g->max * sizeof(*g->blocks));
    g->a->block_metadata = arena_alloc(&k->arena, g->max * sizeof(*g->a->block_metadata));
    if (!g->blocks || !g->a->block_metadata)
        return csi_nomem(k);
    q.words[2] = g->of.target->volume->name;
    q.words[3] = g->of.base ? g->of.base->name : "";
    q.words[4] = g->of.target->name;
    r = ask(k, &q);
    if (r == 0 && (g->a->n_block_metadata > 0 || !g->said)) /* nothing is an answer, too */
        r = ranges_send(g);
    return r;
}

CSI_METHOD(GetMetadataAllocated)
{
    struct ranging g = {.a = (answer *)a};
    int r = find(k, "snapshot_id", q->snapshot_id, &g.of.target);

    return r < 0 ? r : ranges(k, &g, q->starting_offset, q->max_results);
}

CSI_METHOD(GetMetadataDelta)
{
    struct ranging g = {.a = a};
    int r = find_both(k, q->base_snapshot_id, q->target_snapshot_id, &g.of);

    return r < 0 ? r : ranges(k, &g, q->starting_offset, q->max_results);
}

/* --- files ------------------------------------------------------------------------------------------------------------------- */

struct filing {
    struct csi_call *k;
    struct csi_call message; /* memory of the one that is being filled in */
    struct pair of;
    Varve__Csi__V1__GetChangedFilesResponse *a;
    size_t max;
    size_t ranges; /* in the message */
    uint64_t told;
    char *after, *last; /* paths: the last one, and that before it; NULL: none */
    uint64_t same, root,
        skip; /* entries of the last path; of the root, when `after` is that; those of a further asking that are known */
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

static int message_end(struct filing *f)
{
    int r = f->a->n_files > 0 ? send(f->k, &f->a->base) : 0;

    f->a->n_files = 0;
    f->ranges = 0;
    arena_free(&f->message.arena);
    f->message.arena = (struct arena){0};
    f->a->files = NULL;
    return r;
}

static int room_for_file(struct filing *f)
{
    if (!f->a->files)
        f->a->files = arena_alloc(&f->message.arena, f->max * sizeof(*f->a->files));
    return f->a->files ? 0 : csi_nomem(f->k);
}

/* One with very many ranges is told in several entries, one after the other. */
static int file_put(struct filing *f, const json_t *e)
{
    Varve__Csi__V1__ChangedFile *file = NULL;
    size_t at = 0, n;
    int r;

    do {
        r = room_for_file(f);
        if (r == 0)
            r = file_take(&f->message, e, &file);
        if (r < 0)
            return csi_nomem(f->k);
        n = MIN_OF(file->n_ranges - at, FILE_RANGES - f->ranges);
        file->ranges += at;
        file->n_ranges = n;
        at += n;
        f->ranges += n;
        f->a->files[f->a->n_files++] = file;
        if (f->a->n_files == f->max || f->ranges == FILE_RANGES)
            r = message_end(f);
    } while (r == 0 && at < json_array_size(json_object_get(e, "ranges")));
    return r;
}

/* Where it is to go on: behind `after`, without those of the path `last` that came. */
static int noted(struct filing *f, const json_t *e)
{
    ProtobufCBinaryData path;
    int r = path_take(&f->message, e, "path", &path);

    f->told++;
    if (r < 0)
        return csi_nomem(f->k);
    if (f->last && strlen(f->last) == path.len && memcmp(f->last, path.data, path.len) == 0) {
        f->same++;
        return 0;
    }
    f->root = f->last && !*f->last ? f->same : 0;
    if (f->last) {
        free(f->after);
        f->after = f->last;
    }
    f->last = strndup((const char *)path.data, path.len);
    f->same = 1;
    return f->last ? 0 : csi_nomem(f->k);
}

static int file_line(void *arg, char *s, size_t len)
{
    cleanup(csi_json_free) json_t *e = NULL;
    struct filing *f = arg;
    int r;

    if (f->skip > 0) {
        f->skip--;
        return 0;
    }
    e = json_loadb(s, len, 0, NULL);
    r = e ? noted(f, e) : csi_nomem(f->k);
    if (r == 0)
        r = file_put(f, e);
    return r < 0 ? -E_FAILED : 0;
}

static int file_from(struct csi_call *k, void *arg, const char **ret)
{
    struct filing *f = arg;

    (void)k;
    *ret = f->after ? f->after : "";
    f->skip = f->root + f->same; /* the root's own path is said as none */
    return 0;
}

static int files(struct csi_call *k, struct filing *f)
{
    struct asking q = {
        .words = {"changes", "files", f->of.target->volume->name, f->of.base->name, f->of.target->name},
        .field = "target_snapshot_id",
        .from = file_from,
        .line = file_line,
        .arg = f,
        .told = &f->told};
    int r = ask(k, &q);

    if (r == 0)
        r = message_end(f);
    arena_free(&f->message.arena);
    return r;
}

int csi_GetChangedFiles(struct csi_call *k, const Varve__Csi__V1__GetChangedFilesRequest *q,
                        Varve__Csi__V1__GetChangedFilesResponse *a)
{
    struct filing f = {.k = k, .message = {.d = k->d, .grpc = k->grpc}, .a = a};
    int r = find_both(k, q->base_snapshot_id, q->target_snapshot_id, &f.of);

    if (r == 0)
        r = max_check(k, q->max_results, &f.max);
    if (r == 0 &&
        memchr(q->starting_path.data ? q->starting_path.data : (const uint8_t *)"", 0, q->starting_path.len))
        r = csi_fail(k, GRPC_INVALID_ARGUMENT, "starting_path: has a NUL in it");
    if (r == 0 && q->starting_path.len > 0 &&
        !(f.after = strndup((const char *)q->starting_path.data, q->starting_path.len)))
        r = csi_nomem(k);
    if (r == 0)
        r = files(k, &f);
    free(f.after);
    free(f.last);
    return r;
}
