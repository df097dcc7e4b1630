/* LMDB on the lying disk: its I/O goes through libc and must be seen all the same. */
#include <errno.h>
#include <lmdb.h>

#include "base/clock.h"
#include "tests/unit/base_lying_case.h"

/* One LMDB transaction: the counter becomes n, beside it some values that need it. */
static int lmdb_put(MDB_env *env, unsigned n)
{
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_val k, v;
    int rc = mdb_txn_begin(env, NULL, 0, &txn);

    if (rc)
        return rc;
    rc = mdb_dbi_open(txn, NULL, 0, &dbi);
    for (unsigned i = 0; i < 40 && rc == 0; i++) {
        unsigned key = i ? n * 7919 + i : 0;
        char value[300] = {0};

        memcpy(value, &n, sizeof(n));
        k = (MDB_val){sizeof(key), &key};
        v = (MDB_val){sizeof(value), value};
        rc = mdb_put(txn, dbi, &k, &v, 0);
    }
    if (rc) {
        mdb_txn_abort(txn);
        return rc;
    }
    return mdb_txn_commit(txn);
}

static int lmdb_open(const char *path, unsigned flags, MDB_env **ret)
{
    int rc;

    CHECK(mdb_env_create(ret) == 0);
    CHECK(mdb_env_set_mapsize(*ret, 1 << 24) == 0);
    rc = mdb_env_open(*ret, path, flags | MDB_NOSUBDIR, 0600);
    if (rc)
        mdb_env_close(*ret);
    return rc;
}

/* lmdb_counter(path): the counter in the image's table; 0 when there is none, -1 when the table is damaged. */
static int lmdb_counter(const char *path)
{
    unsigned key = 0, n = 0, seen = 0;
    MDB_cursor *cur;
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_val k, v;

    if (lmdb_open(path, 0, &env) != 0)
        return -1;
    CHECK(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) == 0);
    CHECK(mdb_dbi_open(txn, NULL, 0, &dbi) == 0);
    k = (MDB_val){sizeof(key), &key};
    if (mdb_get(txn, dbi, &k, &v) == 0) {
        memcpy(&n, v.mv_data, sizeof(n));
        CHECK(mdb_cursor_open(txn, dbi, &cur) == 0);
        while (mdb_cursor_get(cur, &k, &v, MDB_NEXT) == 0)
            seen++;
        mdb_cursor_close(cur);
    }
    mdb_txn_abort(txn);
    mdb_env_close(env);
    return seen == (n ? 39 * n + 1 : 0) ? (int)n : -1;
}

/* lmdb_run(flags, n): commits until the power cut in the n-th call; how many commits had returned. */
static unsigned lmdb_run(unsigned flags, uint64_t n, unsigned commits)
{
    unsigned done = 0;
    MDB_env *env;

    disk_new();
    lying_crash_at(disk, n);
    if (lmdb_open(at(0, "table"), flags, &env) != 0)
        return 0;
    while (done < commits && lmdb_put(env, done + 1) == 0)
        done++;
    mdb_env_close(env);
    return done;
}

TEST(test_lying__lmdb_keeps_what_it_committed_at_every_call)
{
    const unsigned commits = 12;
    unsigned done = 0, cuts = 0;
    int64_t start = clock_mono_ns();

    for (uint64_t n = 1; done < commits; n++) {
        done = lmdb_run(0, n, commits);
        for (uint64_t seed = 0; seed < 8; seed++, cuts++) {
            char p[200];
            int got;

            crash(seed, (enum lying_mode)(seed % LYING_MIXED));
            snprintf(p, sizeof(p), "%s/table", image);
            got = lmdb_counter(p);
            if (got != (int)done && got != (int)done + 1 && !(got < 0 && done == 0))
                test_fail(__FILE__, __LINE__, "call %d seed %d: %u committed, %d found", (int)n, (int)seed,
                          done, got);
            remove_tree(image);
        }
        disk_end();
        remove_tree(root);
    }
    printf("%u power cuts, %.0f a minute\n", cuts, cuts * 60e9 / (double)(clock_mono_ns() - start));
}

TEST(test_lying__lmdb_without_its_syncs_is_caught)
{
    unsigned lost = 0, kept = 0;
    struct stat st;
    char p[200];

    CHECK_EQ(lmdb_run(MDB_NOSYNC, 0, 12), 12);
    CHECK(lying_count(disk, LYING_WRITE) > 12);
    CHECK_EQ(lying_count(disk, LYING_SYNC), 0);
    for (uint64_t seed = 0; seed < 60; seed++) {
        int got;

        crash(seed, LYING_PREFIX); /* the order of the calls: a table of some earlier state, or none */
        snprintf(p, sizeof(p), "%s/table", image);
        got = io_stat(io_real(), p, &st) == 0 ? lmdb_counter(p) : 0;
        lost += got < 12;
        kept += got > 0;
        remove_tree(image);
    }
    CHECK(lost > 20 && kept > 20);
    disk_end();
}

TEST(test_lying__lmdb_gets_faults_as_errno)
{
    MDB_env *env;

    disk_new();
    CHECK(lmdb_open(at(0, "table"), 0, &env) == 0);
    CHECK(lmdb_put(env, 1) == 0);
    lying_fail_at(disk, LYING_WRITE, 1, -E_NOSPC);
    CHECK_EQ(lmdb_put(env, 2), ENOSPC);
    lying_fail_at(disk, LYING_SYNC, 1, -E_IO);
    CHECK_EQ(lmdb_put(env, 2), EIO);
    mdb_env_close(env);
    disk_end();
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
