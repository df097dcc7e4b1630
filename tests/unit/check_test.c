#include "snap/check.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "snap/store/object.h"
#include "snap/store/record.h"
#include "snap/store/store_int.h"
#include "tests/lib/test.h"

static struct store *s;
static struct vol *v;
static struct buf said;
static const struct vfs_ctx ctx = {.umask = 022};
static const struct store_settings set = {.no_threads = true, .segment_bytes = 1 << 20};
static const vfs_node root = {1};

static void open_store(void)
{
    char why[256];
    int r = store_open(io_real(), test_dir(), &set, 0, &s, why);

    if (r < 0)
        test_fail(__FILE__, __LINE__, "open: %s: %s", err_name(r), why);
    CHECK_OK(snap_attach(s));
}

static vfs_node make(vfs_node dir, const char *name, uint32_t mode)
{
    struct vfs_attr a;

    CHECK_OK(vfs_mknod(v, &ctx, dir, name, mode, 0, &a));
    return a.node;
}

static void fill(vfs_node n, uint64_t off, size_t len, int with)
{
    void *p = malloc(len);

    CHECK(p);
    memset(p, with, len);
    CHECK_OK(vfs_write(v, &ctx, n, p, len, off, false));
    free(p);
}

static vfs_node find(vfs_node dir, const char *name)
{
    struct vfs_attr a;

    CHECK_OK(vfs_lookup(v, dir, name, &a));
    return a.node;
}

/* A store with something of everything: directories, large, small and sparse files, links, xattrs, snapshots, a clone. */
static void setup(void)
{
    struct vfs_attr a;
    struct vol *clone;
    vfs_node d, big, f;
    size_t got;

    CHECK_OK(store_create(io_real(), test_dir(), &set));
    open_store();
    CHECK_OK(volume_create(s, "main", &(struct volume_opts){0}, &v));
    d = make(root, "dir", S_IFDIR | 0755);
    make(d, "sub", S_IFDIR | 0755);
    big = make(d, "big", S_IFREG | 0644);
    fill(big, 0, 3 << 20, 'b');
    f = make(root, "small", S_IFREG | 0644);
    fill(f, 0, 1000, 's');
    f = make(root, "sparse", S_IFREG | 0644);
    fill(f, 5 << 20, 100000, 'x');
    CHECK_OK(vfs_symlink(v, &ctx, root, "ln", "target", &a));
    CHECK_OK(vfs_link(v, &ctx, big, root, "hard", &a));
    CHECK_OK(vfs_setxattr(v, &ctx, big, "user.x", "value", 5, 0, false));
    CHECK_OK(snap_create(v, &ctx, "one", NULL));
    fill(big, 1 << 20, 5000, 'n');
    f = make(root, "copy", S_IFREG | 0644);
    CHECK_OK(vfs_copy(v, &ctx, big, 0, f, 0, 1 << 20, &got));
    CHECK_OK(vfs_unlink(v, &ctx, root, "small"));
    CHECK_OK(snap_create(v, &ctx, "two", NULL));
    CHECK_OK(vfs_rename(v, &ctx, d, "sub", root, "moved", 0));
    fill(f, 8192, 4096, 'q');
    CHECK_OK(volume_clone(v, "two", "clone", &clone));
    CHECK_OK(store_sync(s));
    CHECK_OK(store_checkpoint(s));
    CHECK_OK(store_reclaim_idle(s));
}

static void keep_line(void *arg, const char *line)
{
    (void)arg;
    CHECK_OK(buf_printf(&said, "%s\n", line));
}

static struct check_result check(bool repair)
{
    struct check_opts o = {.repair = repair, .quiet = true, .say = keep_line};
    struct check_result res = {0};

    buf_reset(&said);
    CHECK_OK(check_store(s, &o, &res));
    return res;
}

static void expect_clean(void)
{
    struct check_result res = check(false);

    if (res.problems || said.len)
        test_fail(__FILE__, __LINE__, "%llu problems: %s", (unsigned long long)res.problems, buf_cstr(&said));
}

/* The damage is found by the pass of that name; then repaired or not, as said. */
static void expect_found(const char *pass, bool repaired)
{
    struct check_result res = check(false);
    char start[64];

    snprintf(start, sizeof(start), "%s: ", pass);
    if (res.problems == 0 || !strstr(buf_cstr(&said), start))
        test_fail(__FILE__, __LINE__, "not found by '%s': %s", pass, buf_cstr(&said));
    CHECK_EQ(res.repaired, 0);
    res = check(true);
    if ((res.repaired == res.problems) != repaired)
        test_fail(__FILE__, __LINE__, "repaired %llu of %llu: %s", (unsigned long long)res.repaired,
                  (unsigned long long)res.problems, buf_cstr(&said));
    if (repaired)
        expect_clean();
}

static void finish(void)
{
    CHECK_OK(store_close(s));
    buf_free(&said);
}

/* --- writing what no operation writes --------------------------------------------------------------------------------- */

static struct txn tx;

static void change(void)
{
    CHECK_OK(txn_begin_freeing(s, OP_NONE, NULL, &tx));
}

static void done(void)
{
    CHECK_OK(txn_commit(&tx));
}

static void put_live(uint8_t tab, const void *key, size_t len, const void *val, size_t vlen, uint32_t born)
{
    uint8_t k[KEY_SIZE_MAX];

    CHECK_EQ(len, tab_key_len(tab));
    CHECK_OK(txn_put(&tx, KEEP_FIRM, (struct txn_owner){0}, k, key_live(k, tab, v->rec.head, key, len), born,
                     0, val, vlen));
}

static void del_live(uint8_t tab, const void *key, size_t len)
{
    uint8_t k[KEY_SIZE_MAX];

    CHECK_OK(txn_del(&tx, KEEP_FIRM, (struct txn_owner){0}, k, key_live(k, tab, v->rec.head, key, len)));
}

static void inode_of(vfs_node n, struct inode *ret)
{
    CHECK_OK(txn_begin(s, TXN_READ, OP_NONE, NULL, &tx));
    CHECK_OK(inode_get(&tx, vol_now(v), vfs_node_ino(n), ret));
    txn_abort(&tx);
}

/* In its place: born when it was. */
static void inode_write(const struct inode *in)
{
    uint8_t key[8], k[KEY_SIZE_MAX], out[INODE_REC_MAX];
    struct txn_val was;
    size_t len = inode_encode(in, out);

    put_be64(key, in->ino);
    CHECK_OK(txn_get(&tx, KEEP_FIRM, k, key_live(k, TAB_INODE, v->rec.head, key, 8), &was));
    put_live(TAB_INODE, key, 8, out, len, was.born);
}

static void dirent_key(const struct inode *in, uint8_t key[16])
{
    put_be64(key, in->parent);
    put_be64(key + 8, in->parent_hash);
}

/* --- clean stores ----------------------------------------------------------------------------------------------------- */

TEST(test_check__a_store_with_something_of_everything_is_clean)
{
    setup();
    expect_clean();
    CHECK_OK(store_close(s));
    open_store();
    CHECK_OK(volume_find(s, "main", &v));
    expect_clean();
    finish();
}

TEST(test_check__clean_while_bytes_are_pending_and_after_each_kind_of_change)
{
    struct vfs_attr a;

    setup();
    fill(find(root, "hard"), 2 << 20, 300000, 'p'); /* not synced */
    fill(find(root, "sparse"), 0, 4096, 'p');
    expect_clean();
    CHECK_OK(vfs_tmpfile(v, &ctx, root, S_IFREG | 0600, &a));
    fill(a.node, 0, 100000, 't');
    expect_clean();
    CHECK_OK(vfs_unlink(v, &ctx, root, "hard"));
    CHECK_OK(vfs_unlink(v, &ctx, root, "copy"));
    expect_clean();
    CHECK_OK(vfs_orphans_drop_all(v));
    CHECK_OK(store_reclaim_idle(s));
    expect_clean();
    CHECK_OK(snap_delete(v, &ctx, "one"));
    CHECK_OK(store_reclaim_idle(s));
    expect_clean();
    CHECK_OK(snap_rollback(v, &ctx, "two", NULL));
    expect_clean();
    fill(find(find(root, "dir"), "big"), 0, 100000, 'r');
    CHECK_OK(store_reclaim_idle(s));
    expect_clean();
    finish();
}

/* The entry of the layer between was folded into that of the current one, which must not go with what was born in it. */
TEST(test_check__F15_a_death_stays_in_the_index_when_the_snapshot_after_it_goes)
{
    const struct vfs_setattr cut = {.set = VFS_SIZE, .size = 0};
    vfs_node n;

    setup();
    n = find(root, "sparse");
    CHECK_OK(vfs_setattr(v, &ctx, n, &cut, NULL));
    CHECK_OK(snap_create(v, &ctx, "three", NULL));
    fill(n, 5 << 20, 100000, 'y');
    CHECK_OK(store_sync(s));
    CHECK_OK(snap_delete(v, &ctx, "three"));
    CHECK_OK(store_reclaim_idle(s));
    CHECK_OK(vfs_setattr(v, &ctx, n, &cut, NULL));
    CHECK_OK(store_sync(s));
    expect_clean();
    finish();
}

/* The firm record was born before the first snapshot, the pending one between the two; then the second goes. */
TEST(test_check__an_attribute_changes_at_both_levels_when_the_snapshot_between_them_is_gone)
{
    const struct vfs_setattr mode = {.set = VFS_MODE, .mode = 0600};
    vfs_node n;

    setup();
    n = find(root, "sparse");
    fill(n, 5 << 20, 100, 'p');
    CHECK_OK(snap_create(v, &ctx, "three", NULL));
    CHECK_OK(snap_delete(v, &ctx, "three"));
    CHECK_OK(vfs_setattr(v, &ctx, n, &mode, NULL));
    expect_clean();
    CHECK_OK(store_sync(s));
    expect_clean();
    CHECK_OK(store_reclaim_idle(s));
    expect_clean();
    finish();
}

TEST(test_check__passes_are_said_and_the_path_is_opened_and_closed)
{
    struct check_opts o = {.say = keep_line};
    struct check_result res;

    setup();
    CHECK_OK(store_close(s));
    buf_reset(&said);
    CHECK_OK(check_path(io_real(), test_dir(), &o, &res));
    CHECK_EQ(res.problems, 0);
    CHECK(strstr(buf_cstr(&said), "pass 2 life spans (I-02): 0 problems"));
    CHECK(strstr(buf_cstr(&said), "pass 11 journal (F10): 0 problems"));
    CHECK(strstr(buf_cstr(&said), "pass 13 profiles: 0 problems"));
    open_store();
    finish();
}

/* --- each damage is found by its pass --------------------------------------------------------------------------------- */

TEST(test_check__a_damaged_value_is_found)
{
    uint8_t k[KEY_SIZE_MAX], env[64] = {0};
    struct kv_item it;
    struct kv_read *r;
    size_t n;

    setup();
    n = key_u32(k, TAB_VSTAT, 77);
    envelope_make(env, k, n, 0, 0, "12345678", 8);
    env[VAL_HDR_SIZE] ^= 1;
    change();
    CHECK_OK(txn_put_enveloped(&tx, k, n, env, VAL_HDR_SIZE + 8));
    done();
    CHECK_OK(kv_read_begin(s->kv, &r));
    CHECK_OK(kv_get(s->kv, r, true, k, n, &it));
    kv_read_end(s->kv, r);
    log_set_fd(open("/dev/null", O_WRONLY | O_CLOEXEC));
    expect_found("values", false);
    log_set_fd(2);
    store_drop(s);
    buf_free(&said);
}

TEST(test_check__an_unknown_table_and_a_malformed_key_are_found)
{
    setup();
    change();
    CHECK_OK(txn_put_plain(&tx, "\x7f\1\2", 3, "x", 1));
    CHECK_OK(txn_put_plain(&tx, "\x81\1\2\3\4\5\6\7", 8, "x", 1));
    done();
    CHECK_EQ(check(false).problems >= 2, 1);
    CHECK(strstr(buf_cstr(&said), "values: table 7f is not known"));
    CHECK(strstr(buf_cstr(&said), "values: INODE: a key of 8 bytes is malformed"));
    finish();
}

TEST(test_check__overlapping_lives_are_found)
{
    uint8_t k[KEY_SIZE_MAX], key[8];
    struct inode in;
    uint8_t out[INODE_REC_MAX];
    size_t len;

    setup();
    inode_of(find(root, "sparse"), &in);
    len = inode_encode(&in, out);
    put_be64(key, in.ino);
    change();
    CHECK_OK(txn_put(&tx, KEEP_FIRM, (struct txn_owner){0}, k,
                     key_history(k, TAB_INODE, v->rec.head, key, 8, 2), 1, 0, out, len));
    done();
    CHECK(check(false).problems > 0); /* the live one was born in 1 */
    CHECK(strstr(buf_cstr(&said),
                 "life spans: INODE: the live record, born in layer 1, overlaps one that died in 2"));
    finish();
}

TEST(test_check__names_of_volumes_and_snapshots_are_put_back)
{
    uint8_t k[KEY_SIZE_MAX];

    setup();
    change();
    CHECK_OK(txn_del(&tx, KEEP_FIRM, (struct txn_owner){0}, k, key_snapname(k, v->rec.id, "one")));
    CHECK_OK(txn_put_plain(&tx, k, key_snapname(k, v->rec.id, "nothing"), "\x63\0\0\0", 4));
    done();
    expect_found("volumes", true);
    finish();
}

TEST(test_check__a_wrong_count_of_children_is_corrected)
{
    uint8_t k[KEY_SIZE_MAX], out[RECORD_SIZE_MAX];
    struct layer_rec l;

    setup();
    CHECK_OK(snap_find(v, "two", &l));
    CHECK_EQ(l.children, 1);
    l.children = 5;
    change();
    CHECK_OK(
        txn_put_plain(&tx, k, key_u32_u32(k, TAB_LAYER, l.vol, l.layer), out, layer_rec_encode(&l, out)));
    done();
    expect_found("volumes", true);
    finish();
}

TEST(test_check__an_entry_without_an_inode_is_removed)
{
    uint8_t val[13] = {0}, key[16];

    setup();
    put_be64(key, INO_ROOT);
    put_be64(key + 8, 0x100);
    put_le64(val, 999);
    val[8] = S_IFREG >> 12;
    memcpy(val + 9, "lost", 4);
    change();
    put_live(TAB_DIRENT, key, 16, val, sizeof(val), v->rec.layer);
    done();
    expect_found("names", true);
    finish();
}

TEST(test_check__a_wrong_number_of_links_is_corrected)
{
    struct inode in;

    setup();
    fill(find(root, "hard"), 0, 10, 'h'); /* so that no snapshot sees what follows */
    make(find(root, "dir"), "new", S_IFREG | 0644);
    CHECK_OK(store_sync(s));
    inode_of(find(root, "hard"), &in);
    CHECK_EQ(in.nlink, 2);
    in.nlink = 7;
    change();
    inode_write(&in);
    done();
    expect_found("names", true);
    inode_of(find(root, "hard"), &in);
    CHECK_EQ(in.nlink, 2);
    inode_of(find(root, "dir"), &in);
    in.nlink = 9;
    change();
    inode_write(&in);
    done();
    expect_found("names", true);
    finish();
}

TEST(test_check__an_inode_whose_name_is_gone_is_found_and_kept)
{
    struct inode in;
    uint8_t key[16];

    setup();
    inode_of(find(root, "sparse"), &in);
    dirent_key(&in, key);
    change();
    del_live(TAB_DIRENT, key, 16);
    done();
    expect_found("names", false);
    finish();
}

TEST(test_check__a_file_without_links_gets_its_orphan_mark)
{
    struct vfs_attr a;
    uint8_t key[8];

    setup();
    CHECK_OK(vfs_tmpfile(v, &ctx, root, S_IFREG | 0600, &a));
    put_be64(key, vfs_node_ino(a.node));
    change();
    del_live(TAB_ORPHAN, key, 8);
    done();
    expect_found("names", true);
    finish();
}

TEST(test_check__a_cycle_of_directories_is_found)
{
    vfs_node a, b;
    struct inode ia, ib;
    uint8_t key[16], val[10] = {0};

    setup();
    a = make(root, "a", S_IFDIR | 0755);
    b = make(a, "b", S_IFDIR | 0755);
    inode_of(a, &ia);
    inode_of(b, &ib);
    dirent_key(&ia, key);
    change();
    del_live(TAB_DIRENT, key, 16);
    put_be64(key, ib.ino); /* a lies in b now, under the same number */
    put_le64(val, ia.ino);
    val[8] = S_IFDIR >> 12;
    val[9] = 'a';
    put_live(TAB_DIRENT, key, 16, val, 10, v->rec.layer);
    ia.parent = ib.ino;
    ib.nlink++;
    inode_write(&ia);
    inode_write(&ib);
    done();
    expect_found("names", false);
    CHECK(strstr(buf_cstr(&said), "does not hang from the root"));
    finish();
}

TEST(test_check__a_missing_object_and_lost_blocks_are_found)
{
    struct inode in;
    char path[4096];
    int fd;

    setup();
    inode_of(find(find(root, "dir"), "big"), &in);
    CHECK(in.base_obj);
    object_path(s, in.base_obj, path);
    fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK_OK(io_punch(io_real(), fd, 0, 65536));
    expect_found("bytes", false);
    CHECK(strstr(buf_cstr(&said), "have no bytes in object"));
    CHECK_EQ(unlink(path), 0);
    close(fd);
    expect_found("bytes", false);
    CHECK(strstr(buf_cstr(&said), "is missing"));
    finish();
}

TEST(test_check__a_queued_punch_of_living_blocks_is_dropped)
{
    struct inode in;

    setup();
    inode_of(find(root, "sparse"), &in);
    CHECK(in.open_obj || in.base_obj);
    change();
    CHECK_OK(txn_reclaim(&tx, &(struct reclaim_rec){.kind = RECLAIM_PUNCH,
                                                    .object = in.base_obj ? in.base_obj : in.open_obj,
                                                    .first = 0,
                                                    .count = 1 << 20}));
    done();
    expect_found("bytes", true);
    finish();
}

TEST(test_check__wrong_references_are_corrected)
{
    struct inode in;
    uint8_t k[KEY_SIZE_MAX], val[8];

    setup();
    inode_of(find(root, "hard"), &in);
    change();
    put_le64(val, 50);
    CHECK_OK(txn_put_plain(&tx, k, key_objref(k, in.base_obj, v->rec.head, in.ino), val, 8));
    CHECK_OK(txn_put_plain(&tx, k, key_objref(k, in.base_obj, v->rec.head, 12345), val, 8));
    done();
    expect_found("references", true);
    finish();
}

TEST(test_check__an_object_that_nothing_names_goes)
{
    uint8_t k[KEY_SIZE_MAX], out[RECORD_SIZE_MAX];
    struct object_rec rec = {.ino = 5, .vol = 1, .branch = 1, .layer = 1};
    char path[4096];
    struct stat st;
    struct objfd *f;

    setup();
    change();
    rec.object = txn_next_object(&tx);
    CHECK_OK(txn_put_plain(&tx, k, key_u64(k, TAB_OBJECT, rec.object), out, object_rec_encode(&rec, out)));
    done();
    CHECK_OK(objfd_get(s, rec.object, true, &f));
    objfd_put(s, f);
    expect_found("references", true);
    object_path(s, rec.object, path);
    CHECK(stat(path, &st) < 0);
    finish();
}

TEST(test_check__wrong_counters_are_corrected)
{
    uint8_t k[KEY_SIZE_MAX], out[RECORD_SIZE_MAX];
    struct vstat_rec st;

    setup();
    st = v->stat;
    st.blocks += 100;
    st.inodes -= 1;
    change();
    CHECK_OK(vol_put_stat(&tx, v, &st));
    done();
    (void)k;
    (void)out;
    expect_found("space", true);
    finish();
}

TEST(test_check__a_missing_entry_of_the_touched_index_is_put_back)
{
    struct inode in;
    uint8_t k[KEY_SIZE_MAX], key[8];

    setup();
    fill(find(root, "sparse"), 0, 100, 'z');
    CHECK_OK(store_sync(s));
    inode_of(find(root, "sparse"), &in);
    put_be64(key, in.ino);
    change();
    CHECK_OK(txn_del(&tx, KEEP_FIRM, (struct txn_owner){0}, k,
                     key_touched(k, v->rec.head, v->rec.layer, TAB_INODE, key, 8)));
    done();
    expect_found("touched index", true);
    finish();
}

TEST(test_check__an_entry_of_the_queue_that_would_remove_the_tree_is_dropped)
{
    setup();
    change();
    CHECK_OK(txn_reclaim(
        &tx, &(struct reclaim_rec){.kind = RECLAIM_BRANCH, .vol = v->rec.id, .branch = v->rec.head}));
    done();
    expect_found("reclaim queue", true);
    finish();
}

TEST(test_check__a_file_that_no_record_names_is_removed)
{
    char path[4096];
    int fd;

    setup();
    object_path(s, 0xabc, path);
    fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    close(fd);
    expect_found("object files", true);
    CHECK(access(path, F_OK) < 0);
    finish();
}

TEST(test_check__a_damaged_journal_is_found)
{
    struct check_opts o = {.quiet = true, .say = keep_line};
    struct check_result res = {0};
    char path[512];
    vfs_node n;
    uint8_t b = 0xff;
    int fd, i;

    setup();
    for (i = 0; i < 20; i++) {
        char name[16];

        snprintf(name, sizeof(name), "f%d", i);
        n = make(root, name, S_IFREG | 0644);
        CHECK_OK(vfs_fsync(v, n));
    }
    store_drop(s);
    log_set_fd(open("/dev/null", O_WRONLY | O_CLOEXEC));
    for (i = 0; i < 8; i++) { /* a byte in the first record of every segment */
        snprintf(path, sizeof(path), "%s/journal/%04d", test_dir(), i);
        fd = open(path, O_WRONLY | O_CLOEXEC);
        CHECK_EQ(pwrite(fd, &b, 1, 4096 + 130), 1);
        close(fd);
    }
    buf_reset(&said);
    CHECK_OK(check_path(io_real(), test_dir(), &o, &res));
    CHECK(res.problems > 0);
    CHECK(strstr(buf_cstr(&said), "journal: journal segment"));
    o.repair = true;
    CHECK_OK(check_path(io_real(), test_dir(), &o, &res));
    CHECK_EQ(res.repaired, 0);
    log_set_fd(2);
    buf_free(&said);
}

TEST(test_check__F21_damaged_pages_of_the_tables_kill_a_child_only)
{
    struct check_opts o = {.quiet = true, .say = keep_line};
    struct check_result res = {0};
    char path[512];
    uint8_t page[4096];
    struct stat st;
    off_t at;
    int fd;

    setup();
    CHECK_OK(store_close(s));
    snprintf(path, sizeof(path), "%s/meta/data.mdb", test_dir());
    fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK_EQ(fstat(fd, &st), 0);
    for (at = 8192; at < st.st_size;
         at += 4096) { /* all but the two first, which say where the tree begins */
        CHECK_EQ(pread(fd, page, 4096, at), 4096);
        memset(page + 16, 0xee, 2048);
        CHECK_EQ(pwrite(fd, page, 4096, at), 4096);
    }
    close(fd);
    buf_reset(&said);
    CHECK_OK(check_path(io_real(), test_dir(), &o, &res));
    CHECK_EQ(res.problems, 1);
    CHECK(strstr(buf_cstr(&said), "are damaged"));
    buf_free(&said);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
