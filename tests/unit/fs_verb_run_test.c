/* Verbs on a store, as the daemon runs them for the socket. */
#include "fs/verb.h"

#include <fcntl.h>

#include "base/clock.h"
#include "snap/event.h"
#include "snap/job.h"
#include "snap/store/version.h"
#include "tests/unit/fs_verb_case.h"

static struct verb_case tc;

/* An open store with volume main; empty answers. */
static struct verb_case *begin(void)
{
    tc = (struct verb_case){.exit_code = 0};
    case_open(&tc);
    SAY(&tc, "create main --size 64M --inodes 1000");
    return &tc;
}

TEST(test_verb_run__create_and_list)
{
    struct verb_case *c = begin();
    cleanup(unref) json_t *o = NULL;
    const json_t *v;

    SAY(c, "create second --json");
    {
        cleanup(unref) json_t *made = json_of(&c->out);

        CHECK(strcmp(str_of(json_object_get(made, "volume"), "name"), "second") == 0);
        CHECK(json_is_null(json_object_get(json_object_get(made, "volume"), "size_limit_bytes")));
    }
    SAY(c, "list . --json");
    o = json_of(&c->out);
    CHECK(strcmp(str_of(o, "store"), c->path) == 0);
    CHECK_EQ(json_array_size(json_object_get(o, "volumes")), 2);
    v = json_array_get(json_object_get(o, "volumes"), 0);
    CHECK(strcmp(str_of(v, "name"), "main") == 0);
    CHECK_EQ(int_of(v, "size_limit_bytes"), 64 << 20);
    CHECK_EQ(int_of(v, "inode_limit"), 1000);
    CHECK_EQ(int_of(v, "snapshots"), 0);
    CHECK(str_of(v, "created")[10] == 'T');
    SAY(c, "list .");
    CHECK(strstr(buf_cstr(&c->out), "VOLUME"));
    CHECK(strstr(buf_cstr(&c->out), "64.0 MiB"));
    REFUSED(c, "create main", -E_EXIST, "volume main: exists already; choose another name");
    REFUSED(c, "create meta", -E_NAME, "own names");
    REFUSED(c, "create tiny --size 5", -E_INVAL, "at least 1M");
    case_close(c);
}

TEST(test_verb_run__status_says_all_for_programs)
{
    static const char *const numbers[] = {"unsynced_bytes",   "unsynced_limit_bytes", "delta_bytes",
                                          "journal_bytes",    "reclaim_entries",      "disk_free_bytes",
                                          "disk_total_bytes", "jobs_running"};
    struct verb_case *c = begin();
    cleanup(unref) json_t *o = NULL;

    SAY(c, "status main --json");
    o = json_of(&c->out);
    CHECK(json_is_null(json_object_get(o, "daemon_pid")));
    CHECK(strcmp(str_of(o, "mode"), "rw") == 0);
    CHECK(json_is_array(json_object_get(o, "mounts")));
    CHECK(int_of(json_object_get(o, "volume"), "used_inodes") >= 1);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        int_of(json_object_get(o, "store"), numbers[i]);
    SAY(c, "status main");
    CHECK(strstr(buf_cstr(&c->out), "read-write"));
    SAY(c, "status main --check");
    CHECK_EQ(c->out.len, 0);
    CHECK_EQ(c->exit_code, 0);
    REFUSED(c, "status other", -E_NOENT, "does not exist; varve list");
    CHECK_EQ(c->exit_code, 1);
    case_close(c);
}

static int a_mount(void *arg, struct vol *v, int (*cb)(void *cb_arg, const char *dir, const char *opts),
                   void *cb_arg)
{
    (void)arg;
    (void)v;
    return cb(cb_arg, "/mnt/x y", "rw,nosuid");
}

TEST(test_verb_run__status_of_a_daemon_carries_its_pid_and_mounts)
{
    static const struct verb_host host = {.mounts = a_mount};
    struct verb_case *c = begin();
    cleanup(unref) json_t *o = NULL;

    c->env.host = &host;
    SAY(c, "status main --json");
    o = json_of(&c->out);
    CHECK_EQ(int_of(o, "daemon_pid"), getpid());
    CHECK(strcmp(str_of(json_array_get(json_object_get(o, "mounts"), 0), "dir"), "/mnt/x y") == 0);
    SAY(c, "status main");
    CHECK(strstr(buf_cstr(&c->out), "/mnt/x y (rw,nosuid)"));
    case_close(c);
}

TEST(test_verb_run__status_check_tells_what_is_wrong)
{
    struct verb_case *c = begin();
    char big[4097];

    memset(big, 'x', sizeof(big));
    big[sizeof(big) - 1] = 0;
    SAY(c, "create small --size 1M");
    for (uint64_t i = 0; i < 250; i++)
        put_file(c, "small", "f", big, i * 4096);
    REFUSED(c, "status small --check", -E_QUOTA, "size: 95 % of the limit used; varve resize");
    CHECK_EQ(c->exit_code, 1);
    case_close(c);
}

TEST(test_verb_run__snapshots_live_their_life)
{
    struct verb_case *c = begin();
    cleanup(unref) json_t *list = NULL, *show = NULL;
    const json_t *s;

    SAY(c, "snapshot create main one --label why=test --hold me --expire 2099-01-01");
    CHECK(strcmp(buf_cstr(&c->out), "snapshot one taken\n") == 0);
    SAY(c, "snapshot create main");
    SAY(c, "snapshot create main two --sync");
    SAY(c, "snapshot list main --json");
    list = json_of(&c->out);
    CHECK_EQ(json_array_size(json_object_get(list, "snapshots")), 3);
    s = json_array_get(json_object_get(list, "snapshots"), 0);
    CHECK(strcmp(str_of(s, "name"), "one") == 0);
    CHECK(strcmp(str_of(json_object_get(s, "labels"), "why"), "test") == 0);
    CHECK(strcmp(json_string_value(json_array_get(json_object_get(s, "holds"), 0)), "me") == 0);
    CHECK(strcmp(str_of(s, "expires"), "2099-01-01T00:00:00Z") == 0);
    s = json_array_get(json_object_get(list, "snapshots"), 2);
    CHECK(strcmp(str_of(s, "name"), "two") == 0);
    CHECK(strcmp(str_of(s, "state"), "durable") == 0);

    REFUSED(c, "snapshot create main one", -E_EXIST, "snapshot one: exists already; choose another name");
    REFUSED(c, "snapshot delete main one", -E_HELD, "varve snapshot release ends one");
    REFUSED(c, "snapshot release main one", -E_NOENT, "is not held by \"user\"");
    SAY(c, "snapshot hold main one");
    SAY(c, "snapshot release main one");
    SAY(c, "snapshot release main one me");
    SAY(c, "snapshot rename main one uno");
    REFUSED(c, "snapshot rename main uno two", -E_EXIST, "snapshot two: exists already");
    REFUSED(c, "snapshot show main one", -E_NOENT, "snapshot one: does not exist; varve snapshot list");
    SAY(c, "snapshot label main uno a=1 b=2 --remove why");
    REFUSED(c, "snapshot label main uno", -E_USAGE, "nothing to do");
    SAY(c, "snapshot expire main uno never");
    SAY(c, "snapshot show main uno --json");
    show = json_of(&c->out);
    s = json_object_get(show, "snapshot");
    CHECK(json_object_get(json_object_get(s, "labels"), "why") == NULL);
    CHECK(strcmp(str_of(json_object_get(s, "labels"), "b"), "2") == 0);
    CHECK(json_is_null(json_object_get(s, "expires")));
    int_of(s, "unique_bytes");
    SAY(c, "snapshot show main uno");
    CHECK(strstr(buf_cstr(&c->out), "a=1 b=2"));
    SAY(c, "snapshot delete main @latest");
    CHECK(strcmp(buf_cstr(&c->out), "snapshot two deleted\n") == 0);
    SAY(c, "snapshot delete main uno");
    REFUSED(c, "snapshot delete main uno", -E_NOENT, "does not exist");
    case_close(c);
}

TEST(test_verb_run__an_expired_snapshot_goes_with_the_tick)
{
    struct verb_case *c = begin();

    SAY(c, "snapshot create main old --expire 2001-01-01");
    SAY(c, "snapshot create main held --expire 2001-01-01 --hold x");
    SAY(c, "snapshot create main young --expire 7d");
    CHECK_OK(verb_tick(&c->env));
    SAY(c, "snapshot list main");
    CHECK(!strstr(buf_cstr(&c->out), "old"));
    CHECK(strstr(buf_cstr(&c->out), "held"));
    CHECK(strstr(buf_cstr(&c->out), "young"));
    case_close(c);
}

TEST(test_verb_run__diff_shows_paths_kinds_and_ranges)
{
    struct verb_case *c = begin();
    cleanup(unref) json_t *o = NULL;
    const json_t *e;
    char big[20001];

    memset(big, 'x', sizeof(big));
    big[sizeof(big) - 1] = 0;
    put_file(c, "main", "f", big, 0);
    SAY(c, "snapshot create main a");
    put_file(c, "main", "f", "changed", 4096);
    put_file(c, "main", "new^one", "x", 0);
    SAY(c, "snapshot create main b");
    SAY(c, "diff main a b");
    CHECK(strstr(buf_cstr(&c->out), "M f 4096+4096"));
    CHECK(strstr(buf_cstr(&c->out), "+ new^one 0+1\n"));
    SAY(c, "diff main a --json");
    o = json_of(&c->out);
    CHECK(strcmp(str_of(json_object_get(o, "a"), "name"), "a") == 0);
    CHECK(json_is_null(json_object_get(o, "b")));
    CHECK_EQ(int_of(o, "count"), json_array_size(json_object_get(o, "entries")));
    CHECK_EQ(int_of(o, "bytes"), 4097);
    for (size_t i = 0; i < json_array_size(json_object_get(o, "entries")); i++) {
        e = json_array_get(json_object_get(o, "entries"), i);
        if (strcmp(str_of(e, "path"), "f") == 0)
            CHECK_EQ(int_of(json_array_get(json_object_get(e, "ranges"), 0), "offset"), 4096);
    }
    SAY(c, "diff main b");
    CHECK_EQ(c->out.len, 0);
    REFUSED(c, "diff main nowhere", -E_NOENT, "snapshot nowhere: does not exist");
    case_close(c);
}

TEST(test_verb_run__rollback_can_be_undone)
{
    struct verb_case *c = begin();
    cleanup(unref) json_t *o = NULL;
    char line[512];

    put_file(c, "main", "f", "old", 0);
    SAY(c, "snapshot create main a");
    put_file(c, "main", "f", "new", 0);
    SAY(c, "rollback main a --json");
    o = json_of(&c->out);
    SAY(c, "diff main a");
    CHECK_EQ(c->out.len, 0);
    snprintf(line, sizeof(line), "rollback main %s", str_of(o, "kept"));
    SAY(c, line);
    SAY(c, "diff main a");
    CHECK(strstr(buf_cstr(&c->out), "M f"));
    REFUSED(c, "rollback main nothing", -E_NOENT, "varve snapshot list");
    case_close(c);
}

TEST(test_verb_run__volumes_are_cloned_resized_renamed_deleted_and_brought_back)
{
    struct verb_case *c = begin();

    put_file(c, "main", "f", "x", 0);
    SAY(c, "snapshot create main a");
    SAY(c, "clone main@a copy");
    SAY(c, "clone main other --json");
    REFUSED(c, "clone main@nothing more", -E_NOENT, "snapshot nothing: does not exist");
    REFUSED(c, "clone main copy", -E_EXIST, "volume copy: exists already");
    REFUSED(c, "status main@a", -E_USAGE, "leave @a out");
    SAY(c, "resize copy 128M");
    CHECK(strcmp(buf_cstr(&c->out), "volume copy is limited to 128.0 MiB\n") == 0);
    SAY(c, "resize copy none");
    REFUSED(c, "resize copy 5", -E_INVAL, "too small");
    REFUSED(c, "delete main", -E_CLONES, "volume main: has clones (");
    CHECK(strstr(buf_cstr(&c->err), "copy"));
    SAY(c, "rename copy kopie");
    REFUSED(c, "rename kopie other", -E_EXIST, "exists already");
    SAY(c, "delete kopie");
    CHECK(strstr(buf_cstr(&c->out), "varve undelete brings it back until"));
    REFUSED(c, "status kopie", -E_NOENT, "does not exist");
    SAY(c, "list .");
    CHECK(strstr(buf_cstr(&c->out), "deleted: kopie"));
    SAY(c, "undelete kopie");
    SAY(c, "status kopie");
    REFUSED(c, "undelete kopie", -E_NOENT, "was not deleted in the last 24 hours");
    case_close(c);
}

TEST(test_verb_run__a_mounted_volume_keeps_its_name_and_its_life)
{
    static const struct verb_host host = {.mounts = a_mount};
    struct verb_case *c = begin();

    c->env.host = &host;
    vol_of(c, "main")->mounts = 1;
    REFUSED(c, "delete main", -E_MOUNTED, "volume main: is mounted at /mnt/x y; umount it, then delete it");
    REFUSED(c, "rename main x", -E_MOUNTED, "umount it, then rename it");
    vol_of(c, "main")->mounts = 0;
    case_close(c);
}

TEST(test_verb_run__deleted_volumes_are_purged_after_a_day)
{
    struct verb_case *c = begin();

    SAY(c, "create gone");
    SAY(c, "delete gone");
    CHECK_OK(verb_tick(&c->env));
    SAY(c, "undelete gone");
    SAY(c, "delete gone");
    clock_test_set(clock_wall_ns() + 25ll * 3600 * 1000000000, clock_mono_ns());
    CHECK_OK(verb_tick(&c->env));
    clock_test_off();
    SAY(c, "events .");
    CHECK(strstr(buf_cstr(&c->out), "volume-purged  gone: deleted 24 hours ago"));
    REFUSED(c, "undelete gone", -E_NOENT, "was not deleted");
    case_close(c);
}

TEST(test_verb_run__jobs_that_are_not_there_are_said_so)
{
    struct verb_case *c = begin();

    SAY(c, "job list .");
    CHECK(strcmp(buf_cstr(&c->out), "no jobs\n") == 0);
    SAY(c, "job list main --json");
    {
        cleanup(unref) json_t *o = json_of(&c->out);

        CHECK_EQ(json_array_size(json_object_get(o, "jobs")), 0);
    }
    REFUSED(c, "job wait . 99", -E_NOENT, "job 99: does not exist; varve job list");
    REFUSED(c, "job cancel 99", -E_NOENT, "job 99: does not exist");
    case_close(c);
}

TEST(test_verb_run__events_tell_what_happened)
{
    struct verb_case *c = begin();
    cleanup(unref) json_t *o = NULL, *later = NULL;
    char line[128];
    json_int_t id;

    SAY(c, "snapshot create main a");
    SAY(c, "events . --json");
    o = json_of(&c->out);
    CHECK(json_array_size(json_object_get(o, "events")) >= 2);
    id = int_of(
        json_array_get(json_object_get(o, "events"), json_array_size(json_object_get(o, "events")) - 1),
        "id");
    SAY(c, "snapshot delete main a");
    snprintf(line, sizeof(line), "events main --json --since %lld", (long long)id);
    SAY(c, line);
    later = json_of(&c->out);
    CHECK_EQ(json_array_size(json_object_get(later, "events")), 1);
    CHECK(strcmp(str_of(json_array_get(json_object_get(later, "events"), 0), "kind"), "snapshot-deleted") ==
          0);
    SAY(c, "events main");
    CHECK(strstr(buf_cstr(&c->out), "snapshot-created  main: a\n"));
    case_close(c);
}

TEST(test_verb_run__strangers_are_refused)
{
    struct verb_case *c = begin();
    char *words[] = {(char *)(uintptr_t) "status", (char *)(uintptr_t) "main"};

    if (geteuid() != 0)
        test_skip("needs root to be somebody else");
    buf_reset(&c->out);
    CHECK_ERR(verb_serve(&c->env, 2, words, 12345, 12345, &c->out, &c->err, &c->exit_code), -E_PERM);
    CHECK_EQ(c->exit_code, 1);
    CHECK_EQ(c->out.len, 0);
    case_close(c);
}

TEST(test_verb_run__usage_errors_have_exit_code_2)
{
    struct verb_case *c = begin();

    REFUSED(c, "frobnicate main", -E_USAGE, "there is no command");
    CHECK_EQ(c->exit_code, 2);
    REFUSED(c, "doctor", -E_USAGE, "command line only");
    SAY(c, "snapshot create --help");
    CHECK(strstr(buf_cstr(&c->out), "usage: varve snapshot create TARGET [NAME]"));
    case_close(c);
}

TEST(test_verb_run__check_of_a_store_in_use_looks_and_does_not_touch)
{
    struct verb_case *c = begin();
    cleanup(unref) json_t *o = NULL;

    put_file(c, "main", "f", "x", 0);
    SAY(c, "snapshot create main a");
    SAY(c, "check .");
    CHECK_EQ(c->exit_code, 0);
    CHECK(strstr(buf_cstr(&c->out), "0 problems, 0 repaired: clean\n"));
    SAY(c, "check . --json");
    o = json_of(&c->out);
    CHECK(strcmp(str_of(o, "verdict"), "clean") == 0);
    REFUSED(c, "check . --repair", -E_STORE_BUSY, "is in use; umount");
    case_close(c);
}

TEST(test_verb_run__settings_of_the_store_are_read)
{
    struct verb_case *c = begin();
    cleanup(buf_free) struct buf err = {0};
    struct verb_env e = {0};
    char file[4200];
    FILE *f;

    case_close(c);
    snprintf(file, sizeof(file), "%s/config", c->path);
    f = fopen(file, "w");
    CHECK(f);
    fputs("small_file = \"1K\";\n", f);
    fclose(f);
    CHECK_OK(verb_open(io_real(), c->path, 0, &e, &err));
    CHECK_EQ(store_get_settings(e.store)->inline_bytes, 1024);
    CHECK_OK(verb_close(&e));
    f = fopen(file, "w");
    CHECK(f);
    fputs("\nsmal_file = 5;\n", f);
    fclose(f);
    CHECK_ERR(verb_open(io_real(), c->path, 0, &e, &err), -E_INVAL);
    CHECK(strstr(buf_cstr(&err),
                 "config: line 2: unknown setting \"smal_file\"; did you mean \"small_file\"?"));
}

/* The bytes at off of a file below the store are changed. */
static void poke(const struct verb_case *c, const char *name, uint64_t off, const void *p, size_t len)
{
    char file[4200];
    int fd;

    snprintf(file, sizeof(file), "%s/%s", c->path, name);
    fd = open(file, O_RDWR);
    CHECK(fd >= 0);
    CHECK(pwrite(fd, p, len, (off_t)off) == (ssize_t)len);
    close(fd);
}

TEST(test_verb_run__a_store_of_the_future_is_not_opened)
{
    struct verb_case *c = begin();
    cleanup(buf_free) struct buf err = {0}, file = {0};
    uint8_t bytes[STORE_VERSION_SIZE];
    struct store_version v, newer;
    struct verb_env e = {0};
    char path[4200];

    case_close(c);
    snprintf(path, sizeof(path), "%s/version", c->path);
    CHECK_OK(io_read_file(io_real(), path, 4096, &file));
    CHECK_OK(store_version_decode(file.data, file.len, &v));
    newer = v;
    newer.format = STORE_FORMAT + 1;
    store_version_encode(&newer, bytes);
    poke(c, "version", 0, bytes, sizeof(bytes));
    CHECK_ERR(verb_open(io_real(), c->path, 0, &e, &err), -E_STORE_NEWER);
    CHECK(strstr(buf_cstr(&err), "newer"));
    newer = v;
    newer.incompat = 1ull << 40;
    store_version_encode(&newer, bytes);
    poke(c, "version", 0, bytes, sizeof(bytes));
    buf_reset(&err);
    CHECK_ERR(verb_open(io_real(), c->path, 0, &e, &err), -E_STORE_FEATURE);
    CHECK(strstr(buf_cstr(&err), "feature"));
    poke(c, "version", 0, file.data, file.len);
    CHECK_OK(verb_open(io_real(), c->path, 0, &e, &err));
    CHECK_OK(verb_close(&e));
}

/* Where in the directory of the journal the bytes lie. */
static uint64_t find_in_journal(const struct verb_case *c, const char *what, char name[64])
{
    for (unsigned n = 0; n < 8; n++) {
        cleanup(buf_free) struct buf b = {0};
        char file[4200];
        const uint8_t *at;

        snprintf(name, 64, "journal/%04u", n);
        snprintf(file, sizeof(file), "%s/%s", c->path, name);
        if (io_read_file(io_real(), file, 64 << 20, &b) == 0 &&
            (at = memmem(b.data, b.len, what, strlen(what))))
            return (uint64_t)(at - b.data);
    }
    test_fail(__FILE__, __LINE__, "%s is nowhere in the journal", what);
}

TEST(test_verb_run__a_journal_damaged_in_the_middle_is_read_only_and_says_where)
{
    struct verb_case *c = begin();
    cleanup(unref) json_t *o = NULL;
    char name[64];
    uint64_t off;

    case_close(c);
    case_open(c);
    SAY(c, "create first-victim");
    SAY(c, "create second");
    SAY(c, "create third");
    verb_env_detach(&c->env);
    store_drop(c->env.store);
    off = find_in_journal(c, "first-victim", name);
    poke(c, name, off, "X", 1);
    case_open(c);
    SAY(c, "status main --json");
    o = json_of(&c->out);
    CHECK(strcmp(str_of(o, "mode"), "ro") == 0);
    CHECK(strstr(str_of(o, "mode_reason"), "segment"));
    REFUSED(c, "status main --check", -E_ROFS, "read-only: ");
    REFUSED(c, "snapshot create main x", -E_ROFS, "is read-only; varve status says why");
    REFUSED(c, "create x", -E_ROFS, "is read-only; varve status says why");
    SAY(c, "list .");
    CHECK_OK(verb_tick(&c->env));
    SAY(c, "events .");
    CHECK(strstr(buf_cstr(&c->out), "store-read-only  "));
    verb_close(&c->env);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
