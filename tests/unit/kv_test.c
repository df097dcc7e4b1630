#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "tests/unit/kv_case.h"

static void put_pending(struct kv *kv, uint64_t ino, const char *key, const char *val)
{
    struct kv_owner o = {1, ino};

    CHECK_OK(kv_reserve(kv, 1, strlen(key) + (val ? strlen(val) : 0)));
    kv_put_pending(kv, o, key, strlen(key), val, val ? strlen(val) : 0);
}

TEST(test_kv__newer_layers_hide_older_ones)
{
    struct kv *kv = kv_new(0);

    put(kv, "k", "lmdb");
    put(kv, "gone", "x");
    checkpoint(kv);
    CHECK_TEXT(get(kv, false, "k"), "lmdb");
    put(kv, "k", "sealed");
    put(kv, "gone", NULL);
    CHECK_OK(kv_checkpoint_seal(kv));
    CHECK_ERR(kv_checkpoint_seal(kv), -E_BUSY);
    CHECK_TEXT(get(kv, false, "k"), "sealed");
    CHECK_TEXT(get(kv, false, "gone"), "-");
    put(kv, "k", "active");
    CHECK_TEXT(get(kv, false, "k"), "active");
    put_pending(kv, 7, "k", "pending");
    CHECK_TEXT(get(kv, false, "k"), "pending");
    CHECK_TEXT(get(kv, true, "k"), "active");
    put(kv, "k", NULL);
    CHECK_TEXT(get(kv, true, "k"), "-");
    CHECK_TEXT(get(kv, false, "k"), "pending");
    put_pending(kv, 7, "k", NULL);
    CHECK_TEXT(get(kv, false, "k"), "-");
    put(kv, "k", "again");
    CHECK_TEXT(get(kv, true, "k"), "again");
    CHECK_TEXT(get(kv, false, "k"), "-");
    kv_pending_drop(kv, (struct kv_owner){1, 7});
    CHECK_TEXT(get(kv, false, "k"), "again");
    CHECK_OK(kv_checkpoint_write(kv, "meta", 4, "11", 2, NULL, NULL));
    kv_checkpoint_done(kv);
    CHECK_TEXT(get(kv, false, "meta"), "11");
    CHECK_TEXT(get(kv, false, "gone"), "-");
    kv_close(kv);
    kv = kv_new(0);
    CHECK_TEXT(get(kv, false, "k"), "sealed"); /* what was active is the journal's */
    CHECK_TEXT(get(kv, false, "meta"), "11");
    kv_close(kv);
}

static int collect(void *arg, const struct kv_item *it)
{
    struct buf *b = arg;

    CHECK_OK(buf_printf(b, "%.*s=%.*s ", (int)it->klen, (const char *)it->key, it->val ? (int)it->vlen : 1,
                        it->val ? (const char *)it->val : "-"));
    return 0;
}

static int count_owner(void *arg, struct kv_owner o)
{
    (void)o;
    ++*(int *)arg;
    return 0;
}

TEST(test_kv__pending_images_are_listed_and_dropped_by_owner)
{
    struct kv *kv = kv_new(0);
    struct buf b = {0};
    int owners = 0;

    put_pending(kv, 1, "c", "3");
    put_pending(kv, 2, "b", "2");
    put_pending(kv, 1, "a", NULL);
    put_pending(kv, 1, "c", "33333333333333333333333333333333333333");
    CHECK_EQ(kv_is_pending(kv, "a", 1), 1);
    CHECK_EQ(kv_is_pending(kv, "d", 1), 0);
    CHECK_OK(kv_pending_each(kv, (struct kv_owner){1, 1}, collect, &b));
    CHECK_TEXT(buf_cstr(&b), "a=- c=33333333333333333333333333333333333333 ");
    CHECK_OK(kv_pending_owners(kv, count_owner, &owners));
    CHECK_EQ(owners, 2);
    CHECK(kv_pending_bytes(kv) > 0);
    kv_pending_drop(kv, (struct kv_owner){1, 1});
    CHECK_EQ(kv_is_pending(kv, "a", 1), 0);
    CHECK_EQ(kv_is_pending(kv, "b", 1), 1);
    put_pending(kv, 3, "b", "moved"); /* another inode's now */
    kv_pending_drop(kv, (struct kv_owner){1, 2});
    CHECK_TEXT(get(kv, false, "b"), "moved");
    kv_pending_drop(kv, (struct kv_owner){1, 3});
    CHECK_EQ(kv_pending_bytes(kv), 0);
    buf_free(&b);
    kv_close(kv);
}

TEST(test_kv__a_reservation_outlives_the_drop_of_the_last_owner)
{
    struct kv *kv = kv_new(0);
    static char big[60000];

    memset(big, 'x', sizeof(big));
    put_pending(kv, 1, "a", "1");
    CHECK_OK(kv_reserve(kv, 8, 8 * sizeof(big)));
    kv_pending_drop(kv, (struct kv_owner){1, 1});
    for (char k = 'a'; k < 'i'; k++)
        kv_put_pending(kv, (struct kv_owner){1, 2}, &k, 1, big, sizeof(big));
    CHECK(kv_pending_bytes(kv) >= 8 * sizeof(big));
    kv_close(kv);
}

/* --- random operations against plain arrays --------------------------------------------------------------------------- */

#define KEYS 400u
struct oracle {
    bool firm_set[KEYS], pend_set[KEYS], pend_tomb[KEYS];
    uint32_t firm[KEYS], pend[KEYS], pend_owner[KEYS];
    uint32_t stamp;
};

static size_t val_of(uint32_t stamp, uint8_t val[300])
{
    size_t len = 4 + stamp * 7919 % 290;

    memset(val, (int)(stamp & 0xff), 300);
    put_be32(val, stamp);
    return len;
}

static bool oracle_at(const struct oracle *o, bool firm, uint32_t n, uint32_t *ret)
{
    if (!firm && o->pend_set[n]) {
        *ret = o->pend[n];
        return !o->pend_tomb[n];
    }
    *ret = o->firm[n];
    return o->firm_set[n];
}

static void check_item(const struct kv_item *it, uint32_t n, uint32_t stamp)
{
    uint8_t key[16], val[300];
    size_t klen = key_of(n, key), vlen = val_of(stamp, val);

    CHECK_EQ(it->klen, klen);
    CHECK(memcmp(it->key, key, klen) == 0);
    CHECK_EQ(it->vlen, vlen);
    CHECK(memcmp(it->val, val, vlen) == 0);
}

static void check_get(struct kv *kv, struct kv_read *r, const struct oracle *o, bool firm, uint32_t n)
{
    uint8_t key[16];
    size_t klen = key_of(n, key);
    struct kv_item it;
    uint32_t stamp;
    int e = kv_get(kv, r, firm, key, klen, &it);

    if (oracle_at(o, firm, n, &stamp)) {
        CHECK_OK(e);
        check_item(&it, n, stamp);
    } else {
        CHECK_ERR(e, -E_NOENT);
    }
}

static uint32_t check_ge(struct kv *kv, struct kv_read *r, const struct oracle *o, bool firm, uint32_t n)
{
    uint8_t key[16];
    struct kv_item it;
    uint32_t stamp = 0, within = n;
    int e;

    put_be32(key, n);
    for (uint32_t m = n; m < KEYS && !oracle_at(o, firm, m, &stamp);)
        within = ++m;
    e = kv_ge_prefix(kv, r, firm, key, 4, 3, &it);
    CHECK_ERR(e, within < KEYS && within >> 8 == n >> 8 ? 0 : -E_NOENT);
    e = kv_ge(kv, r, firm, key, 4, &it);
    while (n < KEYS && !oracle_at(o, firm, n, &stamp))
        n++;
    if (n == KEYS) {
        CHECK_ERR(e, -E_NOENT);
        return n;
    }
    CHECK_OK(e);
    check_item(&it, n, stamp);
    return n;
}

static void oracle_put(struct kv *kv, struct oracle *o, uint64_t *seed)
{
    uint8_t key[16], val[300];
    uint32_t n = (uint32_t)(test_rand(seed) % KEYS);
    size_t klen = key_of(n, key), vlen = val_of(++o->stamp, val);
    bool tomb = test_rand(seed) % 3 == 0;

    CHECK_OK(kv_reserve(kv, 1, klen + vlen));
    if (test_rand(seed) % 2) {
        kv_put(kv, key, klen, tomb ? NULL : val, vlen);
        o->firm_set[n] = !tomb;
        o->firm[n] = o->stamp;
        return;
    }
    kv_put_pending(kv, (struct kv_owner){1, n % 20}, key, klen, tomb ? NULL : val, vlen);
    o->pend_set[n] = true;
    o->pend_tomb[n] = tomb;
    o->pend[n] = o->stamp;
    o->pend_owner[n] = n % 20;
}

static void oracle_drop(struct kv *kv, struct oracle *o, uint64_t *seed)
{
    uint32_t owner = (uint32_t)(test_rand(seed) % 20), n;

    kv_pending_drop(kv, (struct kv_owner){1, owner});
    for (n = 0; n < KEYS; n++)
        if (o->pend_set[n] && o->pend_owner[n] == owner)
            o->pend_set[n] = false;
}

/* Reads and changes inside one bracket, ascending and not, at both levels. */
static void oracle_reads(struct kv *kv, struct oracle *o, uint64_t *seed)
{
    struct kv_read *r;
    uint32_t n = 0;
    int i;

    CHECK_OK(kv_read_begin(kv, &r));
    for (i = 0; i < 30; i++) {
        bool firm = test_rand(seed) % 2;

        switch (test_rand(seed) % 6) {
        case 0: oracle_put(kv, o, seed); break;
        case 1: check_get(kv, r, o, firm, (uint32_t)(test_rand(seed) % KEYS)); break;
        case 2: n = (uint32_t)(test_rand(seed) % KEYS); break;
        case 3:
            if (test_rand(seed) % 4 == 0)
                oracle_drop(kv, o, seed);
            break;
        default: n = check_ge(kv, r, o, firm, n) + 1; n = n >= KEYS ? 0 : n;
        }
    }
    kv_read_end(kv, r);
}

static struct kv *oracle_step(struct kv *kv, struct oracle *o, uint64_t *seed, bool *sealed)
{
    int i;

    switch (test_rand(seed) % 12) {
    case 0:
        if (!*sealed)
            CHECK_OK(kv_checkpoint_seal(kv));
        *sealed = true;
        break;
    case 1:
        CHECK_OK(kv_checkpoint_write(kv, NULL, 0, NULL, 0, NULL, NULL));
        if (*sealed && test_rand(seed) % 2) {
            kv_checkpoint_done(kv);
            *sealed = false;
        }
        break;
    case 2:
        if (test_rand(seed) % 4 || *sealed)
            break;
        checkpoint(kv);
        kv_close(kv);
        memset(o->pend_set, 0, sizeof(o->pend_set));
        return kv_new(0);
    case 3: oracle_drop(kv, o, seed); break;
    default:
        for (i = 0; i < 10; i++)
            oracle_put(kv, o, seed);
    }
    oracle_reads(kv, o, seed);
    return kv;
}

TEST(test_kv__F3_merges_like_a_plain_array_at_any_moment_of_a_checkpoint)
{
    uint64_t seed = test_seed();
    static struct oracle o;
    struct kv_read *r;
    bool sealed = false;
    struct kv *kv;
    uint32_t n;

    memset(&o, 0, sizeof(o));
    kv = kv_new(0);
    for (n = 0; n < 1500; n++)
        kv = oracle_step(kv, &o, &seed, &sealed);
    CHECK_OK(kv_read_begin(kv, &r));
    for (n = 0; n < KEYS; n++) {
        check_get(kv, r, &o, false, n);
        check_get(kv, r, &o, true, n);
        (void)check_ge(kv, r, &o, false, n);
        (void)check_ge(kv, r, &o, true, n);
    }
    kv_read_end(kv, r);
    kv_close(kv);
}

TEST(test_kv__F3_the_map_grows_and_the_same_sealed_delta_is_written_again)
{
    struct kv *kv = kv_new(64 << 10);
    struct kv_stat st;
    struct kv_read *r;
    struct kv_item it;
    uint64_t entries, bytes;
    uint8_t key[16], val[300];
    uint32_t n;

    for (n = 0; n < 5000; n++) {
        size_t klen = key_of(n, key), vlen = val_of(n, val);

        CHECK_OK(kv_reserve(kv, 1, klen + vlen));
        kv_put(kv, key, klen, val, vlen);
    }
    CHECK_OK(kv_checkpoint_seal(kv));
    CHECK_OK(kv_checkpoint_write(kv, "m", 1, "1", 1, &entries, &bytes));
    kv_checkpoint_done(kv);
    CHECK_EQ(entries, 5000);
    CHECK(bytes > 5000 * 20);
    CHECK_OK(kv_stat(kv, &st));
    CHECK(st.map_bytes >= 1 << 20);
    CHECK_EQ(st.entries, 5001);
    CHECK_EQ(st.overflow_pages, 0);
    CHECK_OK(kv_read_begin(kv, &r));
    for (n = 0; n < 5000; n++) {
        size_t klen = key_of(n, key);

        CHECK_OK(kv_get(kv, r, false, key, klen, &it));
        check_item(&it, n, n);
    }
    kv_read_end(kv, r);
    kv_close(kv);
    kv = kv_new(64 << 10); /* smaller than what is there: no harm */
    CHECK_TEXT(get(kv, false, "m"), "1");
    kv_close(kv);
}

struct crowd {
    struct kv *kv;
    pthread_rwlock_t lock;
    bool stop;
    uint64_t reads;
    int failed;
};

/* The last stamp of key 0 never goes back, and equals that of key 399: both are put in one change. */
static void *crowd_read(void *arg)
{
    struct crowd *c = arg;
    uint32_t last = 0;

    while (!__atomic_load_n(&c->stop, __ATOMIC_RELAXED)) {
        uint8_t a[16], b[16];
        struct kv_item x, y;
        struct kv_read *r;
        size_t alen = key_of(0, a), blen = key_of(399, b);

        pthread_rwlock_rdlock(&c->lock);
        if (kv_read_begin(c->kv, &r) < 0 || kv_get(c->kv, r, false, a, alen, &x) < 0 ||
            kv_ge(c->kv, r, false, b, blen, &y) < 0 || get_be32(x.val) != get_be32(y.val) ||
            get_be32(x.val) < last)
            __atomic_store_n(&c->failed, 1, __ATOMIC_RELAXED);
        else
            last = get_be32(x.val);
        kv_read_end(c->kv, r);
        pthread_rwlock_unlock(&c->lock);
        __atomic_add_fetch(&c->reads, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void crowd_put(struct crowd *c, uint32_t stamp, uint64_t *seed)
{
    uint8_t key[16], val[300];
    uint32_t k;

    pthread_rwlock_wrlock(&c->lock);
    CHECK_OK(kv_reserve(c->kv, 3, 1000));
    for (k = 0; k < 3; k++) {
        uint32_t n = k == 0 ? 0 : k == 1 ? 399 : 400 + (uint32_t)(test_rand(seed) % 20000);
        size_t klen = key_of(n, key), vlen = val_of(stamp, val);

        kv_put(c->kv, key, klen, val, vlen);
    }
    pthread_rwlock_unlock(&c->lock);
}

/* As many as a checkpoint seldom has. */
static void crowd_put_many(struct crowd *c)
{
    uint8_t key[16], val[300];

    pthread_rwlock_wrlock(&c->lock);
    CHECK_OK(kv_reserve(c->kv, 5000, 5000 * 400));
    for (uint32_t n = 30000; n < 35000; n++) {
        size_t klen = key_of(n, key), vlen = val_of(n, val);

        kv_put(c->kv, key, klen, val, vlen);
    }
    pthread_rwlock_unlock(&c->lock);
}

TEST(test_kv__readers_go_on_beside_a_checkpoint_that_grows_the_map)
{
    struct crowd c = {0};
    pthread_rwlockattr_t attr;
    pthread_t t[3];
    uint64_t seed = test_seed();
    uint32_t stamp = 0;
    struct kv_stat st;
    int i, round;

    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&c.lock, &attr);
    pthread_rwlockattr_destroy(&attr);
    c.kv = kv_new(64 << 10);
    crowd_put(&c, ++stamp, &seed);
    for (i = 0; i < 3; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, crowd_read, &c), 0);
    for (round = 0; round < 12; round++) {
        for (i = 0; i < 600; i++)
            crowd_put(&c, ++stamp, &seed);
        if (round % 4 == 1)
            crowd_put_many(&c);
        pthread_rwlock_wrlock(&c.lock);
        CHECK_OK(kv_checkpoint_seal(c.kv));
        pthread_rwlock_unlock(&c.lock);
        CHECK_OK(kv_checkpoint_write(c.kv, NULL, 0, NULL, 0, NULL, NULL));
        pthread_rwlock_wrlock(&c.lock);
        kv_checkpoint_done(c.kv);
        pthread_rwlock_unlock(&c.lock);
        CHECK_OK(kv_rest(c.kv));
    }
    expect_mark("kv: memory of a large checkpoint given back");
    __atomic_store_n(&c.stop, true, __ATOMIC_RELAXED);
    for (i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    CHECK_EQ(c.failed, 0);
    CHECK_OK(kv_stat(c.kv, &st));
    CHECK(st.map_bytes > 64 << 10);
    CHECK(c.reads > 0);
    kv_close(c.kv);
}

TEST(test_kv__a_bracket_open_across_the_end_of_a_checkpoint_sees_what_was_written)
{
    struct kv *kv = kv_new(0);
    struct kv_read *r;
    struct kv_item it;

    put(kv, "a", "1");
    put(kv, "b", "2");
    CHECK_OK(kv_checkpoint_seal(kv));
    CHECK_OK(kv_read_begin(kv, &r));
    CHECK_OK(kv_ge(kv, r, false, "a", 1, &it));
    CHECK_OK(kv_checkpoint_write(kv, NULL, 0, NULL, 0, NULL, NULL));
    kv_checkpoint_done(kv);
    CHECK_OK(kv_ge(kv, r, false, "a\0", 2, &it));
    CHECK(it.vlen == 1 && memcmp(it.val, "2", 1) == 0);
    kv_read_end(kv, r);
    kv_close(kv);
}

/* A reader keeps in mind between which keys LMDB has none; what a checkpoint puts there must be seen. */
TEST(test_kv__what_a_reader_missed_is_found_after_a_checkpoint)
{
    struct kv *kv = kv_new(0);
    struct kv_read *r;
    struct kv_item it;

    put(kv, "aa", "1");
    put(kv, "zz", "2");
    CHECK_OK(kv_checkpoint_seal(kv));
    CHECK_OK(kv_checkpoint_write(kv, NULL, 0, NULL, 0, NULL, NULL));
    kv_checkpoint_done(kv);
    CHECK(strcmp(get(kv, false, "mm"), "-") == 0);
    CHECK(strcmp(get(kv, false, "zz"), "2") == 0);
    put(kv, "mm", "3");
    CHECK(strcmp(get(kv, false, "mm"), "3") == 0);
    CHECK_OK(kv_checkpoint_seal(kv));
    CHECK(strcmp(get(kv, false, "mm"), "3") == 0);
    CHECK_OK(kv_checkpoint_write(kv, NULL, 0, NULL, 0, NULL, NULL));
    kv_checkpoint_done(kv);
    CHECK(strcmp(get(kv, false, "mm"), "3") == 0);
    CHECK(strcmp(get(kv, false, "nn"), "-") == 0);
    CHECK_OK(kv_read_begin(kv, &r));
    CHECK_ERR(kv_ge_prefix(kv, r, false, "nn", 2, 1, &it), -E_NOENT);
    CHECK_OK(kv_after(kv, r, false, "nn", 2, 0, &it)); /* beyond what was left out before */
    CHECK(it.klen == 2 && memcmp(it.key, "zz", 2) == 0);
    CHECK_OK(kv_ge_prefix(kv, r, false, "mn", 2, 0, &it));
    CHECK(it.klen == 2 && memcmp(it.key, "zz", 2) == 0);
    kv_read_end(kv, r);
    kv_close(kv);
}

TEST(test_kv__damaged_and_missing_environments_are_refused)
{
    struct kv *kv = kv_new(0);
    char path[600];
    int fd;

    put(kv, "a", "1");
    checkpoint(kv);
    kv_close(kv);
    snprintf(path, sizeof(path), "%s/data.mdb", meta_dir());
    fd = open(path, O_WRONLY);
    CHECK_EQ(pwrite(fd, "not a table at all, not at all..", 32, 16), 32);
    CHECK_EQ(pwrite(fd, "not a table at all, not at all..", 32, 4096 + 16), 32);
    close(fd);
    log_set_fd(open("/dev/null", O_WRONLY | O_CLOEXEC));
    CHECK_ERR(kv_open(meta_dir(), 0, false, &kv), -E_CORRUPT);
    CHECK_OK(unlink(path) == 0 ? 0 : -E_IO);
    CHECK_ERR(kv_open(meta_dir(), 0, true, &kv), -E_CORRUPT);
    log_set_fd(2);
}

TEST(test_kv__readonly_takes_changes_in_memory_only)
{
    struct kv *kv = kv_new(0);

    put(kv, "a", "1");
    checkpoint(kv);
    kv_close(kv);
    CHECK_OK(kv_open(meta_dir(), 0, true, &kv));
    put(kv, "a", "2");
    CHECK_TEXT(get(kv, false, "a"), "2");
    CHECK_OK(kv_checkpoint_seal(kv));
    CHECK_ERR(kv_checkpoint_write(kv, NULL, 0, NULL, 0, NULL, NULL), -E_ROFS);
    kv_drop(kv);
    CHECK_TEXT(get(kv, false, "a"), "1");
    kv_close(kv);
}

/* Values that grow in steps use the memory of their predecessors; the account says what is taken. */
TEST(test_kv__account_follows_what_is_in_memory)
{
    struct kv *kv = kv_new(0);
    char val[1025], key[16];
    uint64_t before;
    int i;

    memset(val, 'v', sizeof(val));
    CHECK_EQ(kv_delta_bytes(kv), 0);
    for (i = 0; i < 1000; i++) {
        snprintf(key, sizeof(key), "key-%06d", i);
        val[100] = 0;
        put(kv, key, val);
        val[100] = 'v';
    }
    CHECK(kv_delta_bytes(kv) >= 1000 * 110);
    CHECK(kv_delta_bytes(kv) <= 1000 * 220);
    before = kv_delta_bytes(kv);
    for (i = 0; i < 1000; i++) { /* as long as before: in place */
        snprintf(key, sizeof(key), "key-%06d", i);
        val[100] = 0;
        put(kv, key, val);
        val[100] = 'v';
    }
    CHECK_EQ(kv_delta_bytes(kv), before);
    for (i = 0; i < 10240; i++) { /* ten files, byte by byte up to 1 KiB */
        char c = val[i / 10 + 1];

        snprintf(key, sizeof(key), "grow-%d", i % 10);
        val[i / 10 + 1] = 0;
        put(kv, key, val);
        val[i / 10 + 1] = c;
    }
    CHECK(kv_delta_bytes(kv) < before + 10 * 64 * 600);
    kv_close(kv);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
