/* RADOS without a cluster: what stands in for librados (tests/tier/rados_fake.h) answers late, not at all, or with errors. */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "tests/lib/test.h"
#include "tests/tier/rados_fake.h"
#include "tier/rados.h"

#define EVER 1000000u
#define SECOND ((int64_t)1000000000)
#define HOUR (3600 * SECOND)

/* Each line of tier/rados_lib.def says what librados' own header says, where that is installed. */
#if __has_include(<rados/librados.h>)
#include <rados/librados.h>
#define RADOS_FN(result_, name_, arguments_)                                                                 \
    static_assert(__builtin_types_compatible_p(__typeof__(&rados_##name_), result_(*) arguments_),           \
                  "rados_" #name_ " is declared in another way");
#include "tier/rados_lib.def"
#undef RADOS_FN
static_assert((int)RADOS_CREATE_EXCLUSIVE == (int)LIBRADOS_CREATE_EXCLUSIVE, "create");
static_assert((int)RADOS_CMPXATTR_EQ == (int)LIBRADOS_CMPXATTR_OP_EQ, "cmpxattr");
static_assert((int)RADOS_FULL_TRY == (int)LIBRADOS_OPERATION_FULL_TRY, "full");
#endif

static struct fake *f;
static struct backend *b;

static void begin(const char *options)
{
    f = fake_new();
    b = fake_open(f, options, 0);
}

static void end(void)
{
    backend_close(b);
    fake_free(f);
}

static int put(const char *name, const char *text)
{
    return backend_put(b, NULL, name, text, strlen(text));
}

static void is(const char *name, const char *text)
{
    cleanup(buf_free) struct buf got = {0};

    CHECK_OK(backend_get(b, NULL, name, 0, 100000, &got));
    CHECK_EQ(got.len, strlen(text));
    CHECK(memcmp(got.data, text, got.len) == 0);
}

static void says(int code, const char *words)
{
    cleanup(buf_free) struct buf why = {0};

    b->ops->why(b, code, &why);
    if (!buf_cstr(&why) || !strstr(buf_cstr(&why), words))
        test_fail(__FILE__, __LINE__, "%s: it says \"%s\", not \"%s\"", err_name(code), buf_cstr(&why),
                  words);
}

/* --- answers that are lost ------------------------------------------------------------------------------------------ */

TEST(test_rados__an_answer_that_was_lost_is_read_back)
{
    static const enum fake_fault kinds[] = {FAKE_DONE, FAKE_NOT, FAKE_LATE};
    static const char *const names[] = {"done", "not", "late"};

    begin("");
    CHECK_OK(put("other", "theirs"));
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        fake_fault(f, 1, 1, kinds[i], true, 0);
        CHECK_OK(put(names[i], "mine"));
        CHECK(fake_hit(f));
        is(names[i], "mine");
        fake_fault(f, 1, 1, kinds[i], true, 0);
        CHECK_ERR(put("other", "mine"), -E_EXIST);
        is("other", "theirs");
    }
    expect_mark("rados: an answer was lost, the object is there");
    end();
}

/* Nothing answers any more: it is not known, it is said, and it ends. */
TEST(test_rados__a_cluster_that_is_lost_hangs_nobody)
{
    cleanup(buf_free) struct buf got = {0};
    struct backend_stat st;
    int64_t now;

    begin("timeout=2s");
    CHECK_OK(put("there", "x"));
    fake_fault(f, 1, EVER, FAKE_NOT, false, 0);
    CHECK_ERR(put("x", "1"), -E_UNSURE);
    says(-E_UNSURE, "no OSD answers in time (timeout=2s)");
    CHECK_ERR(backend_put_same(b, NULL, "x", "1", 1), -E_TIMEOUT);
    CHECK_ERR(backend_get(b, NULL, "there", 0, 1, &got), -E_TIMEOUT);
    says(-E_TIMEOUT, "pool pool, namespace space: get objects: no OSD answers");
    CHECK_ERR(backend_stat(b, NULL, "there", &st), -E_TIMEOUT);
    CHECK_ERR(backend_del(b, NULL, "there"), -E_TIMEOUT);
    CHECK_ERR(backend_now(b, NULL, &now), -E_TIMEOUT);
    fake_fault(f, 2, EVER, FAKE_NOT, false, 0);
    CHECK_ERR(backend_del(b, NULL, "there"), -E_UNSURE);
    fake_fault(f, 0, 0, FAKE_NOT, false, 0);
    is("there", "x");
    CHECK_OK(put("x", "1"));
    end();
}

static bool after_a_while(void *arg)
{
    return clock_mono_ns() > *(const int64_t *)arg;
}

/* Without an answer of any kind the call ends by its own bounds, and what it has lent to librados stays. */
TEST(test_rados__a_call_ends_in_its_own_time)
{
    cleanup(buf_free) struct buf got = {0};
    const struct backend_call brief = {.timeout_ms = 200};
    int64_t began, until;
    struct backend_call cancel = {.canceled = after_a_while, .arg = &until};

    begin("");
    CHECK_OK(put("there", "x"));
    fake_fault(f, 1, EVER, FAKE_SILENT, false, 0);
    began = clock_mono_ns();
    CHECK_ERR(backend_put(b, &brief, "x", "1", 1), -E_UNSURE);
    CHECK_ERR(backend_get(b, &brief, "there", 0, 1, &got), -E_TIMEOUT);
    CHECK_ERR(backend_del(b, &brief, "there"), -E_TIMEOUT);
    until = clock_mono_ns() + SECOND / 5;
    CHECK_ERR(backend_put(b, &cancel, "x", "1", 1), -E_CANCELED);
    CHECK_ERR(backend_get(b, &cancel, "there", 0, 1, &got), -E_CANCELED);
    CHECK(clock_mono_ns() - began < 3 * SECOND);
    CHECK_EQ(got.len, 0);
    end();
}

/* A deletion that was given up is carried out when another has put an object of that name: that one stays. */
TEST(test_rados__a_late_deletion_hits_nobody_else)
{
    begin("");
    CHECK_OK(put("x", "old"));
    fake_fault(f, 1, 2, FAKE_FROZEN, true, 0);
    CHECK_ERR(backend_del(b, NULL, "x"), -E_UNSURE);
    CHECK_OK(backend_del(b, NULL, "x"));
    CHECK_OK(put("x", "new"));
    fake_thaw(f);
    is("x", "new");
    end();
}

TEST(test_rados__a_deletion_without_an_answer_is_looked_after)
{
    static const enum fake_fault kinds[] = {FAKE_DONE, FAKE_NOT, FAKE_LATE};
    struct backend_stat st;

    begin("");
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        CHECK_OK(put("x", "1"));
        fake_fault(f, 1, 1, kinds[i], true, 0);
        CHECK_OK(backend_del(b, NULL, "x"));
        CHECK(fake_hit(f));
        CHECK_ERR(backend_stat(b, NULL, "x", &st), -E_NOENT);
    }
    end();
}

/* --- what is wrong is said ------------------------------------------------------------------------------------------ */

TEST(test_rados__errors_are_told_apart)
{
    static const struct {
        int error, write, read;
        const char *words;
    } known[] = {
        {EPERM, -E_ACCES, -E_ACCES, "client.admin may not"},
        {ENOSPC, -E_NOSPC, -E_NOSPC, "is full"},
        {EDQUOT, -E_NOSPC, -E_NOSPC, "quota is reached"},
        {EMSGSIZE, -E_TOOBIG, -E_TOOBIG, "give a smaller part="},
        {EOPNOTSUPP, -E_NOTSUP, -E_NOTSUP, "class lock"},
        {EIO, -E_UNSURE, -E_IO, "ceph health detail"},
        {108, -E_UNSURE, -E_ACCES, "blocklisted"},
        {EDOM, -E_UNSURE, -E_IO, "librados answers -33"},
    };
    cleanup(buf_free) struct buf got = {0};

    begin("");
    CHECK_OK(put("there", "x"));
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        fake_fault(f, 1, EVER, FAKE_ERROR, true, known[i].error);
        CHECK_ERR(put("x", "1"), known[i].write);
        says(known[i].write, known[i].words);
        fake_fault(f, 1, EVER, FAKE_ERROR, false, known[i].error);
        CHECK_ERR(backend_get(b, NULL, "there", 0, 1, &got), known[i].read);
        says(known[i].read, known[i].words);
    }
    end();
}

/* A pool that was deleted answers as if each object were missing: nobody shall take that for a repository that lost its packs. */
TEST(test_rados__a_pool_that_is_gone_is_no_missing_object)
{
    cleanup(buf_free) struct buf got = {0};
    struct backend_stat st;

    begin("");
    CHECK_OK(put("x", "1"));
    fake_pool(f, false);
    CHECK_ERR(backend_get(b, NULL, "x", 0, 1, &got), -E_IO);
    says(-E_IO, "the pool is gone");
    CHECK_ERR(backend_stat(b, NULL, "x", &st), -E_IO);
    CHECK_ERR(backend_del(b, NULL, "x"), -E_IO);
    CHECK_ERR(put("y", "1"), -E_IO);
    CHECK_ERR(backend_list(b, NULL, "", "", NULL, NULL), -E_IO);
    end();
}

TEST(test_rados__a_full_pool_is_told_at_once)
{
    begin("");
    CHECK_OK(put("x", "1"));
    fake_full(f, EDQUOT);
    CHECK_ERR(put("y", "1"), -E_NOSPC);
    says(-E_NOSPC, "the pool's quota is reached");
    CHECK_OK(backend_del(b, NULL, "x"));
    fake_full(f, 0);
    CHECK_OK(put("y", "1"));
    end();
}

TEST(test_rados__what_keeps_from_connecting_is_said)
{
    static const struct {
        int error, code;
        const char *words;
    } known[] = {
        {ETIMEDOUT, -E_TIMEOUT, "no monitor of the cluster answers: check monitors="},
        {EACCES, -E_ACCES, "the cluster refuses the key of client.me: check id= and keyring="},
        {ENOENT, -E_ACCES, "there is no key of client.me"},
        {EIO, -E_ACCES, "keyring of client.me cannot be understood"},
        {EDOM, -E_IO, "librados answers -33"},
    };

    f = fake_new();
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        cleanup(buf_free) struct buf err = {0};

        fake_refuse(f, known[i].error);
        CHECK_ERR(fake_try_open(f, "id=me", &b, &err), known[i].code);
        CHECK(buf_cstr(&err) && strstr(buf_cstr(&err), known[i].words));
    }
    fake_free(f);
}

TEST(test_rados__without_librados_it_is_named)
{
    cleanup(buf_free) struct buf err = {0};
    const struct rados_lib *lib;

    CHECK_ERR(rados_lib_load("librados-of-nobody.so.2", &lib, &err), -E_NOTSUP);
    CHECK(strstr(buf_cstr(&err), "install the package librados2"));
    buf_reset(&err);
    CHECK_ERR(rados_lib_load("libc.so.6", &lib, &err), -E_NOTSUP);
    CHECK(strstr(buf_cstr(&err), "has no rados_create2"));
}

TEST(test_url__of_rados)
{
    static const char *const wrong[] = {
        "rados:pool",         "rados://",           "rados://a/b/c",
        "rados:///ns",        "rados://p?x=y",      "rados://p/n?timeout=100ms",
        "rados://p/n?part=1", "rados://p/n?id=a/b", "rados://p/n?keyring=relative",
        "rados://p p/n",      "rados://p/n?conf=x", "rados://p/n?monitors=a;b",
        "rados://p%00/n",     "rados://p/n?id="};
    cleanup(buf_free) struct buf err = {0};
    struct rados_conf c;

    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        buf_reset(&err);
        if (backend_url_check(wrong[i], &err) != -E_USAGE || err.len == 0)
            test_fail(__FILE__, __LINE__, "%s: %s", wrong[i], buf_cstr(&err));
    }
    CHECK_OK(rados_conf_parse("rados://pool", &c, &err));
    CHECK(strcmp(c.pool, "pool") == 0 && !c.name_space[0] && !c.id[0] && c.timeout_ms == 30000);
    CHECK_EQ(c.part, 32u << 20);
    CHECK_OK(
        rados_conf_parse("rados://.p-1/n.s:1?id=client.a&keyring=/k%26r&monitors=[::1]:3300,h:6789&part=64K&"
                         "timeout=1500ms&bandwidth=1M&concurrency=3&conf=/c",
                         &c, &err));
    CHECK(strcmp(c.pool, ".p-1") == 0 && strcmp(c.name_space, "n.s:1") == 0 && strcmp(c.id, "a") == 0);
    CHECK(strcmp(c.keyring, "/k&r") == 0 && strcmp(c.monitors, "[::1]:3300,h:6789") == 0);
    CHECK(c.part == 65536 && c.timeout_ms == 2000 && c.bandwidth == 1u << 20 && c.concurrency == 3);
    CHECK(strcmp(c.conf, "/c") == 0);
}

/* --- time ----------------------------------------------------------------------------------------------------------- */

static bool near(int64_t a, int64_t b_)
{
    return a - b_ < 3 * SECOND && b_ - a < 3 * SECOND;
}

/* RADOS stamps objects by the clock of who puts them. This machine's is an hour off, either way. */
TEST(test_rados__time_is_the_clusters)
{
    static const int64_t ahead[] = {HOUR, -HOUR};

    for (size_t i = 0; i < ARRAY_LEN(ahead); i++) {
        struct backend_stat st;
        int64_t now;

        f = fake_new();
        fake_clock(f, ahead[i]);
        b = fake_open(f, "part=64K", 0);
        CHECK_OK(put("x", "1"));
        CHECK_OK(backend_stat(b, NULL, "x", &st));
        CHECK_OK(backend_now(b, NULL, &now));
        CHECK(near(st.mtime_ns, fake_now(f)));
        CHECK(near(now, fake_now(f)));
        CHECK(now >= st.mtime_ns);
        end();
    }
}

/* The cluster's clock is asked anew after a while, and when ours were set. */
TEST(test_rados__the_clock_is_asked_anew)
{
    struct backend_stat st;

    begin("");
    clock_test_set(1000000 * SECOND, SECOND);
    CHECK_OK(put("a", "1"));
    fake_clock(f, HOUR);
    clock_test_advance(60 * SECOND);
    CHECK_OK(put("b", "1"));
    CHECK_OK(backend_stat(b, NULL, "b", &st));
    CHECK(near(st.mtime_ns, fake_now(f) - HOUR));
    clock_test_advance(600 * SECOND);
    CHECK_OK(put("c", "1"));
    CHECK_OK(backend_stat(b, NULL, "c", &st));
    CHECK(near(st.mtime_ns, fake_now(f)));
    fake_clock(f, 2 * HOUR);
    clock_test_set(2000000 * SECOND, clock_mono_ns());
    CHECK_OK(put("d", "1"));
    CHECK_OK(backend_stat(b, NULL, "d", &st));
    CHECK(near(st.mtime_ns, fake_now(f)));
    clock_test_off();
    end();
}

/* --- large objects -------------------------------------------------------------------------------------------------- */

#define CUT "part=64K"
static uint8_t bytes[300000];

static void fill(void)
{
    uint64_t rng = 11;

    for (size_t i = 0; i < sizeof(bytes); i += 8)
        put_le64(bytes + i, test_rand(&rng));
}

static int first_only(void *arg, const char *name, const struct backend_stat *st)
{
    struct backend_stat *ret = arg;

    CHECK(strcmp(name, "large") == 0);
    *ret = *st;
    return 0;
}

TEST(test_rados__a_large_object_lies_in_parts)
{
    struct backend_stat st = {.size = 0};
    uint64_t rng = test_seed();

    fill();
    begin(CUT);
    CHECK_OK(backend_put(b, NULL, "large", bytes, sizeof(bytes)));
    CHECK_EQ(fake_count(f, ".part/"), 5);
    CHECK_ERR(backend_put(b, NULL, "large", bytes, 5), -E_EXIST);
    CHECK_ERR(backend_put(b, NULL, "large", bytes, sizeof(bytes)), -E_EXIST);
    CHECK_EQ(fake_count(f, ".part/"), 5);
    CHECK_OK(backend_list(b, NULL, "", "", first_only, &st));
    CHECK_EQ(st.size, sizeof(bytes));
    for (int i = 0; i < 300; i++) {
        cleanup(buf_free) struct buf got = {0};
        uint64_t off = test_rand(&rng) % (sizeof(bytes) + 10), len = test_rand(&rng) % 200000;

        CHECK_OK(backend_get(b, NULL, "large", off, (size_t)len, &got));
        CHECK_EQ(got.len, off < sizeof(bytes) ? MIN_OF(len, sizeof(bytes) - off) : 0);
        CHECK(got.len == 0 || memcmp(got.data, bytes + off, got.len) == 0);
    }
    CHECK_OK(backend_del(b, NULL, "large"));
    CHECK_EQ(fake_count(f, ".part/"), 0);
    end();
}

/* The n-th write goes wrong, for each n: there is a whole object or none, whatever was told; and parts are left only where it is not
 * known what became of them. */
static void cut_with(enum fake_fault what, int error)
{
    for (unsigned n = 1;; n++) {
        cleanup(buf_free) struct buf got = {0};
        bool hit;
        int r, g;

        begin(CUT);
        CHECK_OK(put("before", "1")); /* the clock is known */
        fake_fault(f, n, 1, what, true, error);
        r = backend_put(b, NULL, "large", bytes, sizeof(bytes));
        hit = fake_hit(f);
        fake_fault(f, 0, 0, what, true, 0);
        g = backend_get(b, NULL, "large", 0, sizeof(bytes), &got);
        if (r == 0)
            CHECK_OK(g);
        if (g == 0)
            CHECK(got.len == sizeof(bytes) && memcmp(got.data, bytes, got.len) == 0);
        else
            CHECK_ERR(g, -E_NOENT);
        CHECK(r == 0 || what == FAKE_ERROR);
        CHECK_EQ(fake_count(f, ".part/"), r == 0 ? 5 : 0);
        end();
        if (!hit)
            return;
    }
}

TEST(test_rados__of_a_large_object_nobody_sees_a_piece)
{
    fill();
    cut_with(FAKE_ERROR, EPERM);
    cut_with(FAKE_DONE, 0);
    cut_with(FAKE_NOT, 0);
    cut_with(FAKE_LATE, 0);
}

TEST(test_rados__parts_without_a_head_go_after_a_day)
{
    fill();
    begin(CUT);
    CHECK_OK(backend_put(b, NULL, "whole", bytes, sizeof(bytes)));
    CHECK_EQ(fake_count(f, ".part/"), 5);
    fake_fault(f, 6, EVER, FAKE_NOT, false, 0); /* the look, the parts, then nothing answers any more */
    CHECK_ERR(backend_put(b, NULL, "never", bytes, sizeof(bytes)), -E_TIMEOUT);
    fake_fault(f, 0, 0, FAKE_NOT, false, 0);
    CHECK(fake_count(f, ".part/") > 5);
    backend_close(b);

    b = fake_open(f, CUT, 0); /* another process */
    CHECK_OK(backend_put(b, NULL, "second", bytes, sizeof(bytes)));
    CHECK(fake_count(f, ".part/") > 10);
    backend_close(b);

    fake_older(f, 25 * HOUR);
    b = fake_open(f, CUT, 0);
    CHECK_OK(backend_put(b, NULL, "third", bytes, sizeof(bytes)));
    CHECK_EQ(fake_count(f, ".part/"), 15);
    end();
}

TEST(test_rados__parts_that_are_missing_are_named)
{
    cleanup(buf_free) struct buf got = {0};

    fill();
    begin(CUT);
    CHECK_OK(backend_put(b, NULL, "large", bytes, sizeof(bytes)));
    fake_drop(f, ".part/");
    CHECK_ERR(backend_get(b, NULL, "large", 0, sizeof(bytes), &got), -E_IO);
    says(-E_IO, "large: parts of the object are missing");
    CHECK_EQ(got.len, 0);
    end();
}

/* No larger than what the OSDs take at once, as far as that is known. */
TEST(test_rados__the_clusters_bound_holds)
{
    static uint8_t two[2 << 20];

    f = fake_new();
    fake_setting(f, "1");
    b = fake_open(f, "", 0);
    CHECK_OK(backend_put(b, NULL, "x", two, sizeof(two)));
    CHECK_EQ(fake_count(f, ".part/"), 2);
    end();
}

/* --- listing -------------------------------------------------------------------------------------------------------- */

static int take(void *arg, const char *name, const struct backend_stat *st)
{
    struct buf *all = arg;

    CHECK_EQ(st->size, strlen(name));
    CHECK_OK(buf_puts(all, name));
    return buf_puts(all, " ");
}

/* Seven at a time, of a hundred, in no order, some told twice: each is told once. What others have put there is passed over. */
TEST(test_rados__lists_are_read_in_rounds)
{
    cleanup(buf_free) struct buf want = {0};

    f = fake_new();
    b = fake_open(f, "", 7);
    for (unsigned i = 0; i < 100; i++) {
        char name[32];

        snprintf(name, sizeof(name), "p/%02u", i * 37 % 100);
        CHECK_OK(put(name, name));
    }
    fake_foreign(f, "Upper");
    fake_foreign(f, "p/.hidden");
    fake_foreign(f, "p/x/");
    for (unsigned i = 0; i < 100; i++)
        CHECK_OK(buf_printf(&want, "p/%02u ", i));
    for (unsigned i = 0; i < 100; i += 9) {
        cleanup(buf_free) struct buf got = {0};
        char after[32];

        snprintf(after, sizeof(after), "p/%02u", i);
        CHECK_OK(backend_list(b, NULL, "p/", i ? after : "", take, &got));
        CHECK(strcmp(buf_cstr(&got), buf_cstr(&want) + (i ? (i + 1) * 5 : 0)) == 0);
    }
    end();
}
