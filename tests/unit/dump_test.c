/* What `varve dump` prints of a store that nobody serves. */
#include <stdio.h>

#include "snap/check.h"
#include "snap/policy.h"
#include "snap/store/record.h"
#include "snap/store/store_int.h"
#include "tests/lib/box.h"
#include "tests/lib/test.h"

static struct buf said;
static char path[512];

static int try_dump(const char *what, const char *a, const char *b)
{
    const char *argv[] = {what, a, b};

    buf_reset(&said);
    return dump_path(io_real(), path, 1 + (a != NULL) + (b != NULL), (char **)(uintptr_t)argv, &said);
}

static const char *dump(const char *what, const char *a, const char *b)
{
    CHECK_OK(try_dump(what, a, b));
    return buf_cstr(&said);
}

TEST(test_dump__prints_tables_records_objects_inodes_and_the_journal)
{
    static const struct vfs_ctx root;
    char ino[24], object[24];
    struct vfs_place at;
    struct inode in;
    struct box b;
    struct txn t;

    box_open(&b, NULL, NULL);
    box_fill(&b, b.v, "big", 0, 1 << 20, 1);
    box_text(&b, b.v, "small", "a few bytes");
    CHECK_OK(snap_create(b.v, &root, "s", NULL));
    for (uint32_t kind = POLICY_SNAPSHOT; kind <= POLICY_MOVE; kind++)
        CHECK_OK(policy_run_put(b.v, &(struct policy_run){.kind = kind, .name = "x"}));
    store_settle_all(b.s);
    CHECK_OK(store_checkpoint(b.s));
    CHECK_OK(vfs_place(b.v, box_node(b.v, box_root(b.v), "big"), &at));
    CHECK_OK(txn_begin(b.s, TXN_READ, OP_NONE, b.v, &t));
    CHECK_OK(inode_get(&t, vol_now(b.v), at.ino, &in));
    txn_abort(&t);
    snprintf(ino, sizeof(ino), "%llu", (unsigned long long)in.ino);
    snprintf(object, sizeof(object), "%llx", (unsigned long long)in.base_obj);
    box_fill(&b, b.v, "big", 0, 8192, 2);
    snprintf(path, sizeof(path), "%s", b.path);
    store_drop(b.s);
    CHECK(strstr(dump("version", NULL, NULL), "format=1 block_size=4096"));
    CHECK(strstr(dump("tables", NULL, NULL), "01 INODE  "));
    CHECK(strstr(dump("table", "VOLNAME", NULL), "VOLNAME name=\"main\": 1\n"));
    CHECK(strstr(dump("table", "LAYER", NULL), "state=durable"));
    CHECK(strstr(dump("table", "DIRENT", NULL), "name=\"small\""));
    CHECK(strstr(dump("table", "META", NULL), "applied_lsn="));
    CHECK(strstr(dump("table", "SCHEDULE", NULL), " tier:x since="));
    CHECK(strstr(buf_cstr(&said), " transition:x since="));
    CHECK(strstr(dump("key", "41", NULL), "VOLUME vol=1: id=1"));
    CHECK(strstr(dump("object", object, NULL), "allocated="));
    CHECK(strstr(dump("inode", "main", ino), "blocks "));
    CHECK(strstr(dump("journal", NULL, NULL), "pending put owner="));
    CHECK(strstr(dump("segment", "0", NULL), "segment 0000: incarnation="));
    CHECK_ERR(try_dump("nonsense", NULL, NULL), -E_USAGE);
    CHECK_ERR(try_dump("table", "NONE", NULL), -E_INVAL);
    CHECK_ERR(try_dump("key", "4", NULL), -E_INVAL);
    CHECK_ERR(try_dump("segment", "99", NULL), -E_NOENT);
    buf_free(&said);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
