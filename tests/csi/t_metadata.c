/* SnapshotMetadata and FileMetadata: streams of what changed, against files whose blocks are known. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "plugin/files.pb-c.h"
#include "tests/csi/rig.h"

#define GIB ((int64_t)1 << 30)
#define MIB ((int64_t)1 << 20)
#define LINE ((int64_t)25 << 58)
#define MANY 3000

static const char *in_stage(const char *name)
{
    static char path[2][700];
    static unsigned which;
    char *p = path[which++ % 2];

    snprintf(p, sizeof(path[0]), "%s/%s", rig.stage, name);
    return p;
}

static void fill(const char *name, int64_t off, size_t len, int byte)
{
    int fd = open(in_stage(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    char *p = malloc(len);

    CHECK(fd >= 0 && p);
    memset(p, byte, len);
    CHECK(pwrite(fd, p, len, off) == (ssize_t)len);
    close(fd);
    free(p);
}

static int64_t ino_of(const char *name)
{
    struct stat st;

    CHECK(stat(in_stage(name), &st) == 0);
    return (int64_t)st.st_ino;
}

/* Where docs/kubernetes.md says that a byte lies. */
static int64_t place(int64_t ino, int64_t off)
{
    int c = 0;

    while (off >= (((int64_t)2 << c) - 1) * MIB)
        c++;
    return ((int64_t)c << 58) + (ino << (c + 20)) + off - (((int64_t)1 << c) - 1) * MIB;
}

/* --- calls ------------------------------------------------------------------------------------------------------------------ */

struct got {
    int status;
    char why[1024];
    size_t messages, n;
    struct {
        int64_t off, len;
    } r[5 * MANY];
};

static void take(struct got *g, const struct call *k, size_t max)
{
    const uint8_t *p;
    size_t len;

    for (; call_message(k, g->messages, &p, &len); g->messages++) {
        Csi__V1__GetMetadataDeltaResponse *a = csi__v1__get_metadata_delta_response__unpack(NULL, len, p);

        CHECK(a && a->block_metadata_type == CSI__V1__BLOCK_METADATA_TYPE__VARIABLE_LENGTH);
        CHECK(a->volume_capacity_bytes == LINE && (max == 0 || a->n_block_metadata <= max));
        for (size_t i = 0; i < a->n_block_metadata; i++, g->n++) {
            CHECK(g->n < ARRAY_LEN(g->r));
            g->r[g->n].off = a->block_metadata[i]->byte_offset;
            g->r[g->n].len = a->block_metadata[i]->size_bytes;
            CHECK(g->r[g->n].len > 0);
            CHECK(g->n == 0 || g->r[g->n].off >= g->r[g->n - 1].off + g->r[g->n - 1].len);
        }
        csi__v1__get_metadata_delta_response__free_unpacked(a, NULL);
    }
}

/* base NULL: what is allocated. */
static struct got *ask(const char *base, const char *target, int64_t from, int32_t max)
{
    static struct got got;
    Csi__V1__GetMetadataAllocatedRequest all = CSI__V1__GET_METADATA_ALLOCATED_REQUEST__INIT;
    Csi__V1__GetMetadataDeltaRequest q = CSI__V1__GET_METADATA_DELTA_REQUEST__INIT;
    struct client *c = malloc(sizeof(*c));
    struct call *k;

    got = (struct got){.n = 0};
    all.snapshot_id = q.target_snapshot_id = text(target);
    q.base_snapshot_id = text(base);
    all.starting_offset = q.starting_offset = from;
    all.max_results = q.max_results = max;
    client_open(c, rig.sock);
    k = base ? rpc_begin(c, "/csi.v1.SnapshotMetadata/GetMetadataDelta", &q, NULL)
             : rpc_begin(c, "/csi.v1.SnapshotMetadata/GetMetadataAllocated", &all, NULL);
    CHECK(client_wait(c, k, 60000));
    got.status = k->status;
    snprintf(got.why, sizeof(got.why), "%s", k->message);
    if (max >= 0)
        take(&got, k, (size_t)max);
    client_close(c);
    free(c);
    return &got;
}

static void is(const struct got *g, size_t i, int64_t off, int64_t len)
{
    if (g->n <= i || g->r[i].off != off || g->r[i].len != len)
        test_fail(__FILE__, __LINE__, "range %zu of %zu: %lld+%lld, not %lld+%lld", i, g->n,
                  (long long)(g->n > i ? g->r[i].off : -1), (long long)(g->n > i ? g->r[i].len : -1),
                  (long long)off, (long long)len);
}

struct two {
    char *id, *s1, *s2;
    int64_t db, log, gone, fresh;
};

/* A database of which blocks change, a log that grows, a file that goes, one that comes, and a directory of many that stay. */
static void begin(struct two *t)
{
    rig_start(NULL);
    t->id = make_volume("pvc-metadata", GIB);
    CHECK_EQ(stage_as(t->id, rig.stage, SNW, NULL, NULL), 0);
    fill("db", 0, 8 << 20, 1);
    fill("db", 40 * MIB, 4096, 1); /* a hole before it */
    fill("log", 0, 1 << 16, 2);
    fill("gone", 0, 1 << 16, 3);
    t->db = ino_of("db");
    t->log = ino_of("log");
    t->gone = ino_of("gone");
    t->s1 = make_snapshot(t->id, "metadata-1");
    fill("db", 8192, 4096, 4);
    fill("db", 2 * MIB, 4096, 4);
    fill("db", 5 * MIB + 4096, 8192, 4);
    fill("log", 1 << 16, 4096, 2);
    CHECK(unlink(in_stage("gone")) == 0);
    fill("fresh", 0, 1 << 15, 5);
    CHECK(rename(in_stage("log"), in_stage("log.1")) == 0);
    t->fresh = ino_of("fresh");
    t->s2 = make_snapshot(t->id, "metadata-2");
    CHECK_EQ(unstage(t->id, rig.stage), 0);
}

static void end(struct two *t)
{
    CHECK_EQ(delete_snapshot(t->s1), 0);
    CHECK_EQ(delete_snapshot(t->s2), 0);
    CHECK_EQ(delete_volume(t->id), 0);
    free(t->id);
    free(t->s1);
    free(t->s2);
    rig_stop();
}

/* --- the tests -------------------------------------------------------------------------------------------------------------- */

TEST(test_csi__changed_blocks_are_streamed)
{
    Csi__V1__GetPluginCapabilitiesRequest cq = CSI__V1__GET_PLUGIN_CAPABILITIES_REQUEST__INIT;
    Csi__V1__GetPluginCapabilitiesResponse *caps;
    const struct got *g;
    struct two t;
    bool said = false;

    begin(&t);
    caps = RPC(Identity, GetPluginCapabilities, &cq, 0);
    for (size_t i = 0; i < caps->n_capabilities; i++)
        said |= caps->capabilities[i]->service &&
                caps->capabilities[i]->service->type ==
                    CSI__V1__PLUGIN_CAPABILITY__SERVICE__TYPE__SNAPSHOT_METADATA_SERVICE;
    CHECK(said);
    rpc_free(caps);
    CHECK(t.db < t.log && t.log < t.gone && t.gone < t.fresh);
    g = ask(t.s1, t.s2, 0, 0);
    CHECK_EQ(g->status, 0);
    is(g, 0, place(t.db, 8192), 4096);
    is(g, 1, place(t.log, 1 << 16), 4096);
    is(g, 2, place(t.gone, 0), 1 << 16);
    is(g, 3, place(t.fresh, 0), 1 << 15);
    is(g, 4, place(t.db, 2 * MIB), 4096);
    is(g, 5, place(t.db, 5 * MIB + 4096), 8192);
    CHECK(g->n == 6 && g->messages == 1);
    g = ask(t.s1, t.s2, 0, 1);
    CHECK(g->n == 6 && g->messages == 6);
    g = ask(t.s1, t.s2, place(t.gone, 4096), 2); /* from the middle of a range on */
    is(g, 0, place(t.gone, 4096), (1 << 16) - 4096);
    CHECK(g->n == 4 && g->messages == 2);
    g = ask(t.s1, t.s2, LINE, 0);
    CHECK(g->status == 0 && g->n == 0 && g->messages == 1);
    g = ask(t.s1, t.s1, 0, 0);
    CHECK(g->status == 0 && g->n == 0 && g->messages == 1);
    g = ask(NULL, t.s1, 0, 0);
    is(g, 0, place(t.db, 0), MIB);
    is(g, 1, place(t.log, 0), 1 << 16);
    is(g, 2, place(t.gone, 0), 1 << 16);
    is(g, 3, place(t.db, MIB), 2 * MIB);
    is(g, 4, place(t.db, 3 * MIB), 4 * MIB);
    is(g, 5, place(t.db, 7 * MIB), MIB);
    is(g, 6, place(t.db, 40 * MIB), 4096);
    CHECK_EQ(g->n, 7);
    end(&t);
}

TEST(test_csi__wrong_questions_about_changes_are_told)
{
    char *other, *snap;
    struct two t;

    begin(&t);
    other = make_volume("pvc-other", GIB);
    snap = make_snapshot(other, "other-1");
    CHECK_EQ(ask(t.s1, "", 0, 0)->status, GRPC_INVALID_ARGUMENT);
    CHECK(strncmp(ask("", t.s2, 0, 0)->why, "base_snapshot_id: ", 18) == 0);
    CHECK_EQ(ask(NULL, "", 0, 0)->status, GRPC_INVALID_ARGUMENT);
    CHECK_EQ(ask(NULL, "none", 0, 0)->status, GRPC_NOT_FOUND);
    CHECK_EQ(ask(t.s1, "none", 0, 0)->status, GRPC_NOT_FOUND);
    CHECK_EQ(ask(t.s1, snap, 0, 0)->status, GRPC_INVALID_ARGUMENT);
    CHECK_EQ(ask(t.s1, t.s2, -1, 0)->status, GRPC_OUT_OF_RANGE);
    CHECK_EQ(ask(t.s1, t.s2, LINE + 1, 0)->status, GRPC_OUT_OF_RANGE);
    CHECK(strncmp(ask(NULL, t.s2, -1, 0)->why, "starting_offset: ", 17) == 0);
    CHECK_EQ(ask(t.s1, t.s2, 0, -1)->status, GRPC_INVALID_ARGUMENT);
    CHECK_EQ(delete_snapshot(snap), 0);
    CHECK_EQ(ask(NULL, snap, 0, 0)->status, GRPC_NOT_FOUND);
    CHECK_EQ(delete_volume(other), 0);
    free(other);
    free(snap);
    end(&t);
}

/* Resumed after each message, and cancelled in the middle: the driver goes on. */
TEST(test_csi__a_stream_of_changes_is_resumed_and_cancelled)
{
    Csi__V1__GetMetadataAllocatedRequest q = CSI__V1__GET_METADATA_ALLOCATED_REQUEST__INIT;
    struct client *c = malloc(sizeof(*c));
    struct got first;
    struct call *k;
    size_t n = 0;
    int64_t from = 0;
    char *id, *snap, name[32];

    rig_start(NULL);
    id = make_volume("pvc-resumed", GIB);
    CHECK_EQ(stage_as(id, rig.stage, SNW, NULL, NULL), 0);
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "f%d", i);
        fill(name, 0, i % 7 == 0 ? 9000 : 100, i);
    }
    snap = make_snapshot(id, "resumed");
    CHECK_EQ(unstage(id, rig.stage), 0);
    first = *ask(NULL, snap, 0, 0);
    CHECK_EQ(first.n, MANY);
    while (n < MANY) {
        const struct got *g = ask(NULL, snap, from, 700);

        CHECK(g->status == 0 && g->n == MANY - n);
        CHECK(g->r[0].off == first.r[n].off && g->r[0].len == first.r[n].len);
        n += MIN_OF((size_t)700, g->n); /* only the first message came */
        from = first.r[n - 1].off + first.r[n - 1].len;
    }
    q.snapshot_id = snap;
    q.max_results = 1;
    client_open(c, rig.sock);
    k = rpc_begin(c, "/csi.v1.SnapshotMetadata/GetMetadataAllocated", &q, NULL);
    while (call_messages(k) == 0 && !k->closed)
        client_turn(c, 20);
    client_cancel(c, k);
    client_close(c);
    free(c);
    CHECK_EQ(ask(NULL, snap, 0, 0)->n, MANY);
    CHECK_EQ(delete_snapshot(snap), 0);
    CHECK_EQ(delete_volume(id), 0);
    free(id);
    free(snap);
    rig_stop();
}

/* As many as like: who backs up takes its time, or has stopped; the kubelet's calls do not wait for it. */
TEST(test_csi__streams_that_are_not_read_hold_up_nothing_else)
{
    Csi__V1__GetMetadataAllocatedRequest q = CSI__V1__GET_METADATA_ALLOCATED_REQUEST__INIT;
    Csi__V1__GetPluginInfoRequest info = CSI__V1__GET_PLUGIN_INFO_REQUEST__INIT;
    struct client *slow = malloc(sizeof(*slow)), *c = malloc(sizeof(*c));
    char *id, *snap, block[4096] = {1};
    struct call *k;
    int fd;

    rig_start(NULL);
    id = make_volume("pvc-slow", GIB);
    CHECK_EQ(stage_as(id, rig.stage, SNW, NULL, NULL), 0);
    fd = open(in_stage("f"), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    for (int64_t i = 0; i < 4 * MANY; i++)
        CHECK(pwrite(fd, block, sizeof(block), i * 2 * 4096) == (ssize_t)sizeof(block));
    close(fd);
    snap = make_snapshot(id, "slow");
    CHECK_EQ(unstage(id, rig.stage), 0);
    q.snapshot_id = snap;
    q.max_results = 1;
    client_open(slow, rig.sock);
    for (int i = 0; i < 16; i++)
        rpc_begin(slow, "/csi.v1.SnapshotMetadata/GetMetadataAllocated", &q, NULL);
    client_turn(slow, 0);
    slow->deaf = true;
    pause_ms(500);
    client_open(c, rig.sock);
    k = rpc_begin(c, "/csi.v1.Identity/GetPluginInfo", &info, NULL);
    CHECK(client_wait(c, k, 10000));
    CHECK_EQ(k->status, 0);
    client_close(c);
    client_close(slow);
    CHECK_EQ(ask(NULL, snap, 0, 0)->status, 0); /* nor for those that are gone */
    CHECK_EQ(delete_snapshot(snap), 0);
    CHECK_EQ(delete_volume(id), 0);
    free(slow);
    free(c);
    free(id);
    free(snap);
    rig_stop();
}

/* --- files ------------------------------------------------------------------------------------------------------------------- */

/* "KIND TYPE PATH < OLD RANGES...", a line each, of all messages. */
static int files(const char *base, const char *target, const char *after, int32_t max, struct buf *ret)
{
    Varve__Csi__V1__GetChangedFilesRequest q = VARVE__CSI__V1__GET_CHANGED_FILES_REQUEST__INIT;
    struct client *c = malloc(sizeof(*c));
    const uint8_t *p;
    size_t len;
    struct call *k;
    int status;

    buf_reset(ret);
    q.base_snapshot_id = text(base);
    q.target_snapshot_id = text(target);
    q.starting_path = (ProtobufCBinaryData){.data = (uint8_t *)text(after), .len = strlen(after)};
    q.max_results = max;
    client_open(c, rig.sock);
    k = rpc_begin(c, "/varve.csi.v1.FileMetadata/GetChangedFiles", &q, NULL);
    CHECK(client_wait(c, k, 60000));
    status = k->status;
    for (size_t m = 0; call_message(k, m, &p, &len); m++) {
        Varve__Csi__V1__GetChangedFilesResponse *a =
            varve__csi__v1__get_changed_files_response__unpack(NULL, len, p);

        CHECK(a && (max == 0 || a->n_files <= (size_t)max));
        for (size_t i = 0; i < a->n_files; i++) {
            const Varve__Csi__V1__ChangedFile *f = a->files[i];

            CHECK_OK(buf_printf(ret, "%d %d %.*s < %.*s", (int)f->kind, (int)f->type, (int)f->path.len,
                                (const char *)f->path.data, (int)f->old_path.len,
                                (const char *)f->old_path.data));
            for (size_t r = 0; r < f->n_ranges; r++)
                CHECK_OK(buf_printf(ret, " %lld+%lld", (long long)f->ranges[r]->offset,
                                    (long long)f->ranges[r]->size_bytes));
            CHECK_OK(buf_puts(ret, "\n"));
        }
        varve__csi__v1__get_changed_files_response__free_unpacked(a, NULL);
    }
    client_close(c);
    free(c);
    return status;
}

TEST(test_csi__changed_files_are_streamed)
{
    static const char want[] = "3 2  < \n"
                               "3 1 db <  8192+4096 2097152+4096 5246976+8192\n"
                               "1 1 fresh <  0+32768\n"
                               "2 1 gone < \n"
                               "4 1 log.1 < log 65536+4096\n";
    cleanup(buf_free) struct buf b = {0};
    struct two t;

    begin(&t);
    CHECK_EQ(files(t.s1, t.s2, "", 0, &b), 0);
    if (strcmp(buf_cstr(&b), want) != 0)
        test_fail(__FILE__, __LINE__, "got\n%s", buf_cstr(&b));
    CHECK_EQ(files(t.s1, t.s2, "", 2, &b), 0);
    CHECK(strcmp(buf_cstr(&b), want) == 0);
    CHECK_EQ(files(t.s1, t.s2, "fresh", 0, &b), 0);
    CHECK(strcmp(buf_cstr(&b), strstr(want, "2 1 gone")) == 0);
    CHECK_EQ(files(t.s1, "", "", 0, &b), GRPC_INVALID_ARGUMENT);
    CHECK_EQ(files(t.s1, "none", "", 0, &b), GRPC_NOT_FOUND);
    CHECK_EQ(files(t.s1, t.s2, "", -1, &b), GRPC_INVALID_ARGUMENT);
    end(&t);
}

/* More than a page, a name that is no text, and one path twice: all are told once. */
TEST(test_csi__many_changed_files_come_page_by_page)
{
    cleanup(buf_free) struct buf b = {0};
    char *id, *s1, *s2, name[32];
    size_t lines = 0;

    rig_start(NULL);
    id = make_volume("pvc-pages", GIB);
    CHECK_EQ(stage_as(id, rig.stage, SNW, NULL, NULL), 0);
    fill("f1023", 0, 10, 1);
    s1 = make_snapshot(id, "pages-1");
    CHECK(unlink(in_stage("f1023")) == 0);
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "f%04d", i);
        fill(name, 0, 10, i);
    }
    fill("\xff\xfe", 0, 10, 1);
    s2 = make_snapshot(id, "pages-2");
    CHECK_EQ(unstage(id, rig.stage), 0);
    CHECK_EQ(files(s1, s2, "", 0, &b), 0);
    for (const char *p = buf_cstr(&b); (p = strchr(p, '\n')); p++)
        lines++;
    CHECK_EQ(lines, MANY + 3); /* the root; f1023 as it was; the other name */
    CHECK(strstr(buf_cstr(&b), "1 1 \xff\xfe <  0+10\n"));
    CHECK(strstr(buf_cstr(&b), "2 1 f1023 < \n") && strstr(buf_cstr(&b), "1 1 f1023 <  0+10\n"));
    end(&(struct two){.id = id, .s1 = s1, .s2 = s2});
}

static size_t asked(void)
{
    cleanup(buf_free) struct buf log = {0};
    size_t n = 0;

    CHECK_OK(io_read_file(io_real(), rig.log, 64 << 20, &log));
    for (const char *p = buf_cstr(&log); (p = strstr(p, "words=changes")); p++)
        n++;
    return n;
}

/* What changed is gathered once for a stream, however many messages it has. */
TEST(test_csi__a_stream_costs_the_changes_once)
{
    cleanup(buf_free) struct buf b = {0};
    struct two t;

    begin(&t);
    CHECK_EQ(ask(t.s1, t.s2, 0, 1)->messages, 6);
    CHECK_EQ(asked(), 1);
    CHECK_EQ(files(t.s1, t.s2, "", 1, &b), 0);
    CHECK_EQ(asked(), 2);
    CHECK_EQ(ask(NULL, t.s2, 0, 1)->status, 0);
    CHECK_EQ(asked(), 3);
    end(&t);
}

/* The daemon dies, or makes room for another, while a client reads nothing: the stream goes on where it was. */
TEST(test_csi__a_stream_goes_on_with_the_next_daemon)
{
    Varve__Csi__V1__GetChangedFilesRequest q = VARVE__CSI__V1__GET_CHANGED_FILES_REQUEST__INIT;
    struct client *c = malloc(sizeof(*c));
    enum { FILES = 30000 };
    char *id, *s1, *s2, name[64];
    size_t n = 0, len;
    const uint8_t *p;
    struct call *k;
    pid_t daemon;

    rig_start(NULL);
    id = make_volume("pvc-goes-on", 4 * GIB);
    CHECK_EQ(stage_as(id, rig.stage, SNW, NULL, NULL), 0);
    s1 = make_snapshot(id, "goes-on-1");
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof(name), "a-name-that-takes-some-room-%032d", i);
        fill(name, 0, 10, i);
    }
    s2 = make_snapshot(id, "goes-on-2");
    q.base_snapshot_id = s1;
    q.target_snapshot_id = s2;
    q.max_results = 100;
    client_open(c, rig.sock);
    k = rpc_begin(c, "/varve.csi.v1.FileMetadata/GetChangedFiles", &q, NULL);
    while (call_messages(k) < 2)
        client_turn(c, 10);
    daemon = rig_daemon();
    CHECK(kill(daemon, SIGKILL) == 0);
    CHECK(client_wait(c, k, 60000));
    CHECK_EQ(k->status, 0);
    for (size_t m = 0; call_message(k, m, &p, &len); m++) {
        Varve__Csi__V1__GetChangedFilesResponse *a =
            varve__csi__v1__get_changed_files_response__unpack(NULL, len, p);

        CHECK(a);
        n += a->n_files;
        varve__csi__v1__get_changed_files_response__free_unpacked(a, NULL);
    }
    CHECK_EQ(n, FILES + 1); /* the root */
    CHECK(asked() > 1);
    client_close(c);
    free(c);
    CHECK_EQ(unstage(id, rig.stage), 0);
    end(&(struct two){.id = id, .s1 = s1, .s2 = s2});
}

/* A file with more ranges than a message of 4 MiB holds: in several entries, none lost. */
TEST(test_csi__a_file_of_very_many_ranges_is_told_in_parts)
{
    enum { RANGES = 150000 };
    cleanup(buf_free) struct buf b = {0};
    char *id, *s1, *s2;
    size_t lines = 0, ranges = 0;
    int fd;

    rig_start(NULL);
    id = make_volume("pvc-ranges", 4 * GIB);
    CHECK_EQ(stage_as(id, rig.stage, SNW, NULL, NULL), 0);
    fill("db", 0, 4096, 1);
    s1 = make_snapshot(id, "ranges-1");
    fd = open(in_stage("db"), O_WRONLY | O_CLOEXEC);
    for (int64_t i = 1; i <= RANGES; i++)
        CHECK(pwrite(fd, "x", 1, i * 8192) == 1);
    close(fd);
    s2 = make_snapshot(id, "ranges-2");
    CHECK_EQ(unstage(id, rig.stage), 0);
    CHECK_EQ(files(s1, s2, "", 0, &b), 0);
    for (const char *p = buf_cstr(&b); *p; p++) {
        lines += *p == '\n';
        ranges += *p == '+';
    }
    CHECK_EQ(ranges, RANGES);
    CHECK_EQ(lines, RANGES / 65536 + 1);
    end(&(struct two){.id = id, .s1 = s1, .s2 = s2});
}
