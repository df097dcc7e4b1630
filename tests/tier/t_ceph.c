/* RADOS against a cluster: what the contract of backends does not say. */
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/hash.h"
#include "tests/tier/ceph_case.h"
#include "tier/backend.h"
#include "tier/crypt.h"

#define SECOND ((int64_t)1000000000)
#define HOUR (3600 * SECOND)

void ceph_case_url(const char *options, char out[600])
{
    const char *pool = getenv("VARVE_TEST_CEPH"), *more = getenv("VARVE_TEST_CEPH_OPTIONS");
    uint8_t id[8];
    char hex[17];

    hash_random(id, sizeof(id));
    hex_format(id, sizeof(id), hex);
    CHECK(pool && more);
    CHECK(snprintf(out, 600, "rados://%s/case-%s?%s%s", pool, hex, more, options) < 600);
}

static struct backend *open_case(const char *options)
{
    cleanup(buf_free) struct buf err = {0};
    struct backend *b = NULL;
    char url[600];

    ceph_case_url(options, url);
    if (backend_open(url, false, &b, &err) < 0)
        test_fail(__FILE__, __LINE__, "%s: %s", url, buf_cstr(&err));
    return b;
}

/* This machine's clock, as far as varve asks for it, is two hours off; the cluster's is the kernel's here. */
CEPH_TEST(test_ceph__time_is_the_clusters)
{
    struct backend *b = open_case("");
    struct timespec real;
    struct backend_stat st;
    int64_t now, at;

    CHECK(clock_gettime(CLOCK_REALTIME, &real) == 0);
    at = real.tv_sec * SECOND;
    clock_test_set(at - 2 * HOUR, clock_mono_ns());
    CHECK_OK(backend_put(b, NULL, "x", "1", 1));
    CHECK_OK(backend_stat(b, NULL, "x", &st));
    CHECK_OK(backend_now(b, NULL, &now));
    clock_test_off();
    CHECK(st.mtime_ns - at < 10 * SECOND && at - st.mtime_ns < 10 * SECOND);
    CHECK(now - at < 10 * SECOND && at - now < 10 * SECOND);
    backend_close(b);
}

static int count(void *arg, const char *name, const struct backend_stat *st)
{
    CHECK(*name && st->size == 1);
    ++*(unsigned *)arg;
    return 0;
}

/* More names than one answer of an OSD holds. */
CEPH_TEST(test_ceph__many_names)
{
    struct backend *b = open_case("&concurrency=64");
    int64_t began;
    unsigned n = 0;

    for (unsigned i = 0; i < 3000; i++) {
        char name[64];

        snprintf(name, sizeof(name), "packs/%02x/%u", i % 256, i);
        CHECK_OK(backend_put(b, NULL, name, "1", 1));
    }
    began = clock_mono_ns();
    CHECK_OK(backend_list(b, NULL, "packs/", "", count, &n));
    printf("    3,000 names listed in %d ms\n", (int)((clock_mono_ns() - began) / 1000000));
    CHECK_EQ(n, 3000);
    backend_close(b);
}

/* What is in one namespace is not in another. */
CEPH_TEST(test_ceph__namespaces_are_apart)
{
    struct backend *a = open_case(""), *b = open_case("");
    struct backend_stat st;
    unsigned n = 0;

    CHECK_OK(backend_put(a, NULL, "x", "1", 1));
    CHECK_ERR(backend_stat(b, NULL, "x", &st), -E_NOENT);
    CHECK_OK(backend_list(b, NULL, "", "", count, &n));
    CHECK_EQ(n, 0);
    CHECK_OK(backend_put(b, NULL, "x", "2", 1));
    CHECK_OK(backend_del(b, NULL, "x"));
    CHECK_OK(backend_stat(a, NULL, "x", &st));
    backend_close(a);
    backend_close(b);
}

static pid_t osd(void)
{
    const char *pid = getenv("VARVE_TEST_CEPH_OSD");

    CHECK(pid != NULL);
    return (pid_t)strtol(pid, NULL, 10);
}

/* The OSD stands still: calls end in their time, and what was put in vain is carried out when it goes on. Then a put of the same finds it
 * as its own bytes, one of others does not take its place. */
CEPH_TEST(test_ceph__what_found_no_answer_may_come_later)
{
    struct backend *b = open_case("&timeout=2s");
    cleanup(buf_free) struct buf got = {0};
    int64_t began;

    CHECK_OK(backend_put(b, NULL, "there", "1", 1));
    CHECK(kill(osd(), SIGSTOP) == 0);
    began = clock_mono_ns();
    if (backend_put(b, NULL, "x", "mine", 4) != -E_UNSURE ||
        backend_get(b, NULL, "there", 0, 1, &got) != -E_TIMEOUT) {
        kill(osd(), SIGCONT);
        test_fail(__FILE__, __LINE__, "an OSD that stands still answers");
    }
    printf("    an OSD stands still, timeout=2s: a put and a get ended after %d ms\n",
           (int)((clock_mono_ns() - began) / 1000000));
    CHECK(kill(osd(), SIGCONT) == 0);
    CHECK(clock_mono_ns() - began < 9 * SECOND);
    CHECK_OK(backend_put_same(b, NULL, "x", "mine", 4));
    CHECK_ERR(backend_put_same(b, NULL, "x", "other", 5), -E_EXIST);
    CHECK_OK(backend_get(b, NULL, "x", 0, 10, &got));
    CHECK(got.len == 4 && memcmp(got.data, "mine", 4) == 0);
    backend_close(b);
}

/* Closing does not wait for a cluster that does not answer. */
CEPH_TEST(test_ceph__closing_waits_for_nobody)
{
    const struct backend_call brief = {.timeout_ms = 300};
    struct backend *b = open_case("&timeout=5s");
    int64_t began;
    int r;

    CHECK_OK(backend_put(b, NULL, "there", "1", 1));
    CHECK(kill(osd(), SIGSTOP) == 0);
    began = clock_mono_ns();
    r = backend_put(b, &brief, "x", "mine", 4);
    backend_close(b);
    printf("    closed after %d ms\n", (int)((clock_mono_ns() - began) / 1000000));
    CHECK(kill(osd(), SIGCONT) == 0);
    CHECK_ERR(r, -E_UNSURE);
    CHECK(clock_mono_ns() - began < 9 * SECOND);
}
