/* Decoders of everything that lies on a disk. First byte: which; the rest: its bytes. What is taken goes back to the same
 * bytes, as far as the form has one way to say it. */
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "snap/dump_i.h"
#include "snap/event.h"
#include "snap/job.h"
#include "snap/layer.h"
#include "snap/ns.h"
#include "snap/store/inode.h"
#include "snap/store/journal_i.h"
#include "snap/store/record.h"
#include "snap/store/span.h"
#include "snap/store/version.h"
#include "tests/fuzz/fuzz.h"

enum {
    NEXT,
    VOLUME,
    VSTAT,
    BRANCH,
    LAYER,
    VIEW,
    OBJECT,
    RECLAIM,
    INODE,
    SPAN,
    DIRENT,
    ACL,
    JOB,
    EVENT,
    VERSION,
    SEGMENT,
    DUMP,
    OBJECTS,
    KINDS
};

#define PLAIN(name)                                                                                          \
    static void check_##name(const uint8_t *p, size_t len)                                                   \
    {                                                                                                        \
        uint8_t out[RECORD_SIZE_MAX], twice[RECORD_SIZE_MAX];                                                \
        struct name##_rec r, again;                                                                          \
        if (name##_rec_decode(p, len, &r) < 0)                                                               \
            return;                                                                                          \
        size_t n = name##_rec_encode(&r, out);                                                               \
        FUZZ_CHECK(n <= RECORD_SIZE_MAX);                                                                    \
        FUZZ_CHECK(name##_rec_decode(out, n, &again) == 0);                                                  \
        FUZZ_CHECK(name##_rec_encode(&again, twice) == n && memcmp(out, twice, n) == 0);                     \
    }
PLAIN(next)
PLAIN(volume)
PLAIN(vstat)
PLAIN(branch)
PLAIN(view)
PLAIN(object)
PLAIN(reclaim)

static void check_layer(const uint8_t *p, size_t len)
{
    uint8_t out[RECORD_SIZE_MAX];
    const char *text = NULL, *end;
    struct layer_text e;
    struct layer l;
    size_t n = 0;

    if (layer_rec_decode(p, len, &l.rec, &text, &n) < 0)
        return;
    FUZZ_CHECK(n <= len);
    FUZZ_CHECK(strlen(l.rec.name) <= NAME_LEN_MAX);
    FUZZ_CHECK(layer_rec_encode(&l.rec, out) <= RECORD_SIZE_MAX);
    for (end = text + n; layer_text_next(&text, end, &e) == 1;)
        FUZZ_CHECK(strlen(e.kind) + strlen(e.key) + strlen(e.value) <= len);
}

static void check_inode(const uint8_t *p, size_t len)
{
    uint8_t out[INODE_REC_MAX];
    struct inode in;
    size_t n;

    if (inode_decode(p, len, &in) < 0)
        return;
    n = inode_encode(&in, out);
    FUZZ_CHECK(n <= len && memcmp(out, p, n) == 0);
}

static void check_span(const uint8_t *p, size_t len)
{
    static struct span sp, again;
    uint8_t out[SPAN_SIZE_MAX];
    size_t n;

    if (span_decode(p, len, &sp) < 0)
        return;
    n = span_encode(&sp, out);
    FUZZ_CHECK(n <= SPAN_SIZE_MAX);
    FUZZ_CHECK(span_decode(out, n, &again) == 0);
    FUZZ_CHECK(span_mapped(&sp) == span_mapped(&again));
    for (unsigned i = 0; i < SPAN_BLOCKS; i++) {
        const struct span_src *a = span_at(&sp, i), *b = span_at(&again, i);
        FUZZ_CHECK(!a == !b &&
                   (!a || (a->object == b->object && a->delta == b->delta && a->kind == b->kind)));
    }
}

static void check_dirent(const uint8_t *p, size_t len)
{
    struct ns_dirent e;

    if (ns_dirent_parse(0, p, len, &e) == 0)
        FUZZ_CHECK(e.name_len >= 1 && e.name_len <= NAME_LEN_MAX && memchr(e.name, '/', e.name_len) == NULL);
}

static void check_acl(const uint8_t *p, size_t len)
{
    uint32_t mode = S_IFREG | 0640;
    uint8_t *copy;

    if (acl_check(p, len) != 0)
        return;
    copy = (uint8_t *)in_text(p, len);
    (void)acl_to_mode(copy, len, &mode);
    acl_chmod(copy, len, 0751);
    (void)acl_inherit(copy, len, &mode);
    FUZZ_CHECK(acl_check(copy, len) == 0);
    FUZZ_CHECK((mode & S_IFMT) == S_IFREG);
    free(copy);
}

static void check_job(const uint8_t *p, size_t len)
{
    cleanup(buf_free) struct buf b = {0};
    struct job_info i, again;

    if (job_record_decode(5, p, len, &i) < 0)
        return;
    (void)job_state_name(i.state);
    FUZZ_CHECK(job_record_encode(&i, &b) == 0);
    FUZZ_CHECK(job_record_decode(5, b.data, b.len, &again) == 0);
    FUZZ_CHECK(strcmp(i.text, again.text) == 0 && i.state == again.state);
}

static void check_event(const uint8_t *p, size_t len)
{
    cleanup(buf_free) struct buf b = {0}, line = {0}, again_b = {0};
    struct event e, again;

    if (event_parse((const char *)p, len, &b, &e) < 0)
        return;
    FUZZ_CHECK(event_json(&e, &line) == 0);
    if (e.time_ns > -1000000000 && e.time_ns < 1000000000)
        return; /* stands for no time at all */
    FUZZ_CHECK(event_parse((const char *)line.data, line.len, &again_b, &again) == 0);
    FUZZ_CHECK(again.id == e.id && strcmp(again.kind, e.kind) == 0);
}

/* With the sum as it came, and with the sum put right. */
static void check_version(const uint8_t *p, size_t len)
{
    uint8_t b[STORE_VERSION_SIZE];
    struct store_version v;

    (void)store_version_decode(p, len, &v);
    if (len < sizeof(b))
        return;
    memcpy(b, p, sizeof(b));
    memcpy(b, STORE_MAGIC, 8);
    put_le64(b + sizeof(b) - 8, hash_sum(0, b, sizeof(b) - 8));
    (void)store_version_decode(b, sizeof(b), &v);
}

static void check_segment(const uint8_t *p, size_t len)
{
    static uint8_t b[JSEG_HDR_SIZE];
    struct jseg_hdr h;

    memset(b, 0, sizeof(b));
    memcpy(b, p, MIN_OF(len, sizeof(b)));
    (void)jseg_decode(b, sizeof(b), &h);
    memcpy(b, "VRVJSEG1", 8);
    put_le64(b + 96, hash_sum(0, b, 96));
    if (jseg_decode(b, sizeof(b), &h) == 0)
        FUZZ_CHECK(h.segment_bytes >= JOURNAL_SEGMENT_BYTES_MIN && h.segments <= JSEG_COUNT_MAX);
}

static void check_dump(const uint8_t *p, size_t len)
{
    cleanup(buf_free) struct buf out = {0};
    struct fuzz_in in = {p, len};
    size_t klen = in_u8(&in) % 80, n;
    struct scan_item it = {.verdict = 0};

    it.key = in_bytes(&in, klen, &n);
    it.klen = n;
    it.raw = it.val.data = in.p;
    it.raw_len = it.val.len = in.left;
    if (n == 0)
        return;
    (void)scan_key_ok(it.key, it.klen);
    FUZZ_CHECK(dump_record(&out, &it) == 0);
}

static void check_objects(const uint8_t *p, size_t len)
{
    uint64_t object[RECORD_OBJECTS_MAX];
    struct fuzz_in in = {p, len};
    int n = record_objects(in_u8(&in) % 2 ? TAB_SPAN : TAB_INODE, in.p, in.left, object, RECORD_OBJECTS_MAX);

    FUZZ_CHECK(n == -E_CORRUPT || (n >= 0 && n <= RECORD_OBJECTS_MAX));
}

void run_records(const uint8_t *p, size_t len)
{
    static void (*const check[KINDS])(const uint8_t *p, size_t len) = {
        [NEXT] = check_next,   [VOLUME] = check_volume,  [VSTAT] = check_vstat,     [BRANCH] = check_branch,
        [LAYER] = check_layer, [VIEW] = check_view,      [OBJECT] = check_object,   [RECLAIM] = check_reclaim,
        [INODE] = check_inode, [SPAN] = check_span,      [DIRENT] = check_dirent,   [ACL] = check_acl,
        [JOB] = check_job,     [EVENT] = check_event,    [VERSION] = check_version, [SEGMENT] = check_segment,
        [DUMP] = check_dump,   [OBJECTS] = check_objects};

    if (len > 0)
        check[p[0] % KINDS](p + 1, len - 1);
}

static void seed(const char *name, uint8_t kind, const void *p, size_t len)
{
    cleanup(buf_free) struct buf b = {0};

    FUZZ_CHECK(buf_add(&b, &kind, 1) == 0);
    FUZZ_CHECK(buf_add(&b, p, len) == 0);
    fuzz_seed(name, b.data, b.len);
}

static void seeds_of_structs(void)
{
    uint8_t out[RECORD_SIZE_MAX + 64];
    struct volume_rec vol = {.id = 1, .head = 1, .layer = 3, .name = "main"};
    struct layer_rec layer = {.vol = 1, .layer = 2, .branch = 1, .state = LAYER_DURABLE, .name = "s1"};
    struct inode in = {
        .ino = 5, .size = 9000, .mode = S_IFREG | 0644, .nlink = 1, .base_obj = 7, .open_obj = 8};
    size_t n;

    seed("next", NEXT, out, next_rec_encode(&(struct next_rec){5, 6, 7, 8, 9}, out));
    seed("volume", VOLUME, out, volume_rec_encode(&vol, out));
    seed("vstat", VSTAT, out, vstat_rec_encode(&(struct vstat_rec){1, 2, 3}, out));
    seed("branch", BRANCH, out,
         branch_rec_encode(&(struct branch_rec){.id = 2, .parent = 1, .parent_layer = 3}, out));
    seed("view", VIEW, out, view_rec_encode(&(struct view_rec){1, 2, 3, 1, 0}, out));
    seed("object", OBJECT, out, object_rec_encode(&(struct object_rec){.object = 7, .ino = 5}, out));
    seed("reclaim", RECLAIM, out, reclaim_rec_encode(&(struct reclaim_rec){.kind = RECLAIM_PUNCH}, out));
    n = layer_rec_encode(&layer, out);
    memcpy(out + n, "hold\0tag\0label\0key\0value\0rp\0id", 31);
    seed("layer", LAYER, out, n + 31);
    out[0] = TAB_INODE;
    n = inode_encode(&in, out + 1);
    seed("inode", INODE, out + 1, n);
    seed("objects", OBJECTS, out, 1 + n);
    in.nxattr = 1;
    in.xattr_names = 7;
    n = inode_encode(&in, out + 1);
    seed("inode_more", INODE, out + 1, n);
}

static void seeds_of_spans(void)
{
    static struct span sp;
    uint8_t out[SPAN_SIZE_MAX + 1];
    struct span_src a = {.kind = SPAN_OBJECT, .data_born = 1, .object = 9},
                    b = {.kind = SPAN_UNWRITTEN, .object = 10};

    span_clear(&sp);
    FUZZ_CHECK(span_set(&sp, 0, 100, &a) == 0);
    FUZZ_CHECK(span_set(&sp, 50, 20, &b) == 0);
    FUZZ_CHECK(span_set(&sp, 200, 56, &a) == 0);
    seed("span", SPAN, out + 1, span_encode(&sp, out + 1));
    out[0] = 1;
    seed("objects-span", OBJECTS, out, 1 + span_encode(&sp, out + 1));
}

static void seeds_of_texts(void)
{
    static const char line[] =
        "{\"id\": 3, \"time\": \"2026-11-20T22:00:00Z\", \"kind\": \"x\", \"volume\": \"\", \"text\": \"y\"}";
    static const uint8_t acl[] = {2, 0, 0,   0,   1,   0,   7,  0, 255, 255, 255, 255, 4,   0,
                                  5, 0, 255, 255, 255, 255, 32, 0, 5,   0,   255, 255, 255, 255};
    static const uint8_t name[] = {9, 0, 0, 0, 0, 0, 0, 0, 8, 'n', 'a', 'm', 'e'};
    static const uint8_t dump[] = {13, TAB_INODE, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5, 1, 2, 3};
    cleanup(buf_free) struct buf b = {0}, ev = {0};
    struct job_info job = {
        .id = 5, .vol = 1, .state = JOB_DONE, .verb = "scrub", .detail = "x", .text = "done"};
    struct event e = {.id = 3, .time_ns = 1, .kind = "kind", .volume = "main", .text = "a \"text\""};
    struct store_version ver = {
        .format = 1, .block_size = 4096, .segments = 8, .span_shift = 20, .segment_bytes = 1 << 20};
    struct jseg_hdr h = {
        .index = 1, .incarnation = 2, .first_lsn = 3, .segment_bytes = 1 << 20, .segments = 4};
    uint8_t version[STORE_VERSION_SIZE], segment[JSEG_HDR_SIZE];

    seed("acl", ACL, acl, sizeof(acl));
    seed("dirent", DIRENT, name, sizeof(name));
    seed("dump", DUMP, dump, sizeof(dump));
    seed("event-line", EVENT, line, sizeof(line) - 1);
    FUZZ_CHECK(event_json(&e, &ev) == 0);
    seed("event", EVENT, ev.data, ev.len);
    FUZZ_CHECK(job_record_encode(&job, &b) == 0);
    seed("job", JOB, b.data, b.len);
    store_version_encode(&ver, version);
    seed("version", VERSION, version, sizeof(version));
    jseg_encode(&h, segment);
    seed("segment", SEGMENT, segment, 112);
}

void seeds_records(void)
{
    seeds_of_structs();
    seeds_of_spans();
    seeds_of_texts();
}
