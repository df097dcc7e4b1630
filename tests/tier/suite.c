/* The contract of tier/backend.h, held over each backend. */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hash.h"
#include "tests/lib/test.h"
#include "tests/tier/ceph_case.h"
#include "tests/tier/mem.h"
#include "tests/tier/rados_fake.h"
#include "tests/tier/s3_case.h"
#include "tier/tierd.h"

static struct backend *b;

static int put(const char *name, const char *text)
{
    return backend_put(b, NULL, name, text, strlen(text));
}

static void is(const char *name, uint64_t off, size_t len, const char *text)
{
    cleanup(buf_free) struct buf got = {0};

    CHECK_OK(buf_puts(&got, "<"));
    CHECK_OK(backend_get(b, NULL, name, off, len, &got));
    CHECK_EQ(got.len, 1 + strlen(text));
    CHECK(memcmp(got.data, "<", 1) == 0);
    CHECK(memcmp(got.data + 1, text, strlen(text)) == 0);
}

static void put_once_and_get(void)
{
    cleanup(buf_free) struct buf got = {0};
    struct backend_stat st;

    CHECK_ERR(backend_get(b, NULL, "packs/aa/x", 0, 5, &got), -E_NOENT);
    CHECK_ERR(backend_stat(b, NULL, "packs/aa/x", &st), -E_NOENT);
    CHECK_OK(put("packs/aa/x", "hello world"));
    CHECK_ERR(put("packs/aa/x", "something else"), -E_EXIST);
    CHECK_ERR(put("packs/aa/x", "hello world"), -E_EXIST);
    is("packs/aa/x", 0, 11, "hello world");
    is("packs/aa/x", 6, 3, "wor");
    is("packs/aa/x", 6, 1000, "world");
    is("packs/aa/x", 11, 10, "");
    is("packs/aa/x", 5000, 10, "");
    is("packs/aa/x", 3, 0, "");
    CHECK_OK(backend_stat(b, NULL, "packs/aa/x", &st));
    CHECK_EQ(st.size, 11);
    CHECK_OK(put("empty", ""));
    is("empty", 0, 10, "");
    CHECK_ERR(backend_get(b, NULL, "packs/aa/y", 0, 5, &got), -E_NOENT);
    CHECK_ERR(backend_get(b, NULL, "packs/aa/x/y", 0, 5, &got), -E_NOENT);
    CHECK_ERR(backend_get(b, NULL, "packs/aa", 0, 5, &got), -E_NOENT);
    CHECK_EQ(got.len, 0);
}

static void put_of_same(void)
{
    CHECK_OK(backend_put_same(b, NULL, "same", "abc", 3));
    CHECK_OK(backend_put_same(b, NULL, "same", "abc", 3));
    CHECK_ERR(backend_put_same(b, NULL, "same", "abd", 3), -E_EXIST);
    CHECK_ERR(backend_put_same(b, NULL, "same", "ab", 2), -E_EXIST);
    CHECK_ERR(backend_put_same(b, NULL, "same", "abcd", 4), -E_EXIST);
}

static void names_are_checked(void)
{
    static const char *const wrong[] = {"",       "/",  "a/",   "/a",   "a//b",     "A",   "a b", ".a",
                                        "a/../b", "..", "a/.b", "a\nb", "\xc3\xbc", "a:b", "a\\b"};
    cleanup(buf_free) struct buf got = {0};
    char longest[BACKEND_NAME_MAX + 2];
    struct backend_stat st;

    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        CHECK_ERR(put(wrong[i], "x"), -E_INVAL);
        CHECK_ERR(backend_get(b, NULL, wrong[i], 0, 1, &got), -E_INVAL);
        CHECK_ERR(backend_stat(b, NULL, wrong[i], &st), -E_INVAL);
        CHECK_ERR(backend_del(b, NULL, wrong[i]), -E_INVAL);
    }
    memset(longest, 'a', sizeof(longest));
    longest[100] = '/';
    longest[BACKEND_NAME_MAX + 1] = 0;
    CHECK_ERR(put(longest, "x"), -E_INVAL);
    longest[BACKEND_NAME_MAX] = 0;
    CHECK_OK(put(longest, "x"));
    is(longest, 0, 1, "x");
    CHECK_OK(put("a-b_c.d/0", "y"));
}

struct listed {
    char text[4096];
    size_t stop;
    uint64_t bytes;
};

static int take(void *arg, const char *name, const struct backend_stat *st)
{
    struct listed *l = arg;

    size_t n = strlen(l->text);

    snprintf(l->text + n, sizeof(l->text) - n, "%s ", name);
    l->bytes += st->size;
    return l->stop && --l->stop == 0 ? 77 : 0;
}

static void lists(const char *prefix, const char *after, const char *want)
{
    struct listed l = {.text = ""};

    CHECK_OK(backend_list(b, NULL, prefix, after, take, &l));
    if (strcmp(l.text, want) != 0)
        test_fail(__FILE__, __LINE__, "list \"%s\" after \"%s\": \"%s\", not \"%s\"", prefix, after, l.text,
                  want);
}

static void listing(void)
{
    struct listed l = {.text = "", .stop = 2};

    lists("", "", "");
    lists("nothing/", "", "");
    CHECK_OK(put("p/b/2", "12"));
    CHECK_OK(put("p/a", "1"));
    CHECK_OK(put("p/b/1", "1"));
    CHECK_OK(put("p/b.c", "1"));
    CHECK_OK(put("p/b-c", "1"));
    CHECK_OK(put("p2/x", "1"));
    CHECK_OK(put("o/x", "1"));
    lists("", "", "o/x p/a p/b-c p/b.c p/b/1 p/b/2 p2/x ");
    lists("p/", "", "p/a p/b-c p/b.c p/b/1 p/b/2 ");
    lists("p/b/", "", "p/b/1 p/b/2 ");
    lists("p/", "p/b.c", "p/b/1 p/b/2 ");
    lists("p/", "p/b/1", "p/b/2 ");
    lists("p/", "p/b/15", "p/b/2 ");
    lists("p/", "p/b/2", "");
    lists("p/", "p2", "");
    lists("p/", "a", "p/a p/b-c p/b.c p/b/1 p/b/2 ");
    CHECK_ERR(backend_list(b, NULL, "p", "", take, &l), -E_INVAL);
    CHECK_EQ((uint64_t)backend_list(b, NULL, "p/", "", take, &l), 77);
    CHECK(strcmp(l.text, "p/a p/b-c ") == 0);
    l = (struct listed){.text = ""};
    CHECK_OK(backend_list(b, NULL, "p/b/", "", take, &l));
    CHECK_EQ(l.bytes, 3);
}

static int take_slowly(void *arg, const char *name, const struct backend_stat *st)
{
    (void)name, (void)st;
    usleep(60000);
    ++*(unsigned *)arg;
    return 0;
}

/* A list takes as long as there are names: its time is that in which none comes. */
static void long_list(void)
{
    const struct backend_call c = {.timeout_ms = 200};
    unsigned n = 0;

    for (char name[] = "a/0"; name[2] < '8'; name[2]++)
        CHECK_OK(put(name, "1"));
    CHECK_OK(backend_list(b, &c, "a/", "", take_slowly, &n));
    CHECK_EQ(n, 8);
}

static void deleting(void)
{
    CHECK_ERR(backend_del(b, NULL, "d/x"), -E_NOENT);
    CHECK_OK(put("d/x", "1"));
    CHECK_OK(backend_del(b, NULL, "d/x"));
    CHECK_ERR(backend_del(b, NULL, "d/x"), -E_NOENT);
    CHECK_ERR(backend_del(b, NULL, "d"), -E_NOENT);
    lists("d/", "", "");
    CHECK_OK(put("d/x", "another"));
    is("d/x", 0, 100, "another");
}

static void large_and_ranges(void)
{
    cleanup(buf_free) struct buf big = {0}, got = {0};
    uint64_t rng = test_seed();

    CHECK_OK(buf_reserve(&big, 20u << 20));
    for (big.len = 0; big.len < (20u << 20); big.len += 8)
        put_le64(big.data + big.len, test_rand(&rng));
    CHECK_OK(backend_put(b, NULL, "big", big.data, big.len));
    CHECK_OK(backend_get(b, NULL, "big", 0, big.len, &got));
    CHECK(got.len == big.len && memcmp(got.data, big.data, big.len) == 0);
    for (int i = 0; i < 20; i++) {
        uint64_t off = test_rand(&rng) % big.len, len = test_rand(&rng) % 100000;

        buf_reset(&got);
        CHECK_OK(backend_get(b, NULL, "big", off, (size_t)len, &got));
        CHECK_EQ(got.len, MIN_OF(len, big.len - off));
        CHECK(memcmp(got.data, big.data + off, got.len) == 0);
    }
}

static bool yes(void *arg)
{
    (void)arg;
    return true;
}

static void bounds(void)
{
    const struct backend_call c = {.canceled = yes};
    cleanup(buf_free) struct buf got = {0};
    struct backend_stat st;
    static uint8_t bytes[4 << 20];

    CHECK_ERR(backend_put(b, &c, "never", bytes, sizeof(bytes)), -E_CANCELED);
    CHECK_ERR(backend_stat(b, NULL, "never", &st), -E_NOENT);
    CHECK_OK(backend_put(b, NULL, "there", bytes, sizeof(bytes)));
    CHECK_ERR(backend_get(b, &c, "there", 0, sizeof(bytes), &got), -E_CANCELED);
    CHECK_EQ(got.len, 0);
}

static void clock_of_backend(void)
{
    struct backend_stat st;
    int64_t now;

    CHECK_OK(put("t", "x"));
    CHECK_OK(backend_stat(b, NULL, "t", &st));
    CHECK_OK(backend_now(b, NULL, &now));
    CHECK(now >= st.mtime_ns);
    CHECK(now - st.mtime_ns < 60 * (int64_t)1000000000);
}

struct racer {
    pthread_t thread;
    char text[16];
    int result;
};

static void *race(void *arg)
{
    struct racer *r = arg;

    r->result = put("race/x", r->text);
    return NULL;
}

/* Of many at once one wins, and what it put is there. */
static void one_winner(void)
{
    struct racer r[8];
    int won = -1;

    for (size_t i = 0; i < ARRAY_LEN(r); i++) {
        snprintf(r[i].text, sizeof(r[i].text), "racer %zu", i);
        CHECK(pthread_create(&r[i].thread, NULL, race, &r[i]) == 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(r); i++) {
        pthread_join(r[i].thread, NULL);
        if (r[i].result == 0) {
            CHECK_EQ((uint64_t)won, (uint64_t)-1);
            won = (int)i;
        } else {
            CHECK_ERR(r[i].result, -E_EXIST);
        }
    }
    CHECK(won >= 0);
    is("race/x", 0, 100, r[won].text);
}

static void view_is(const char *name, uint64_t off, size_t len, const uint8_t *want, size_t n)
{
    struct backend_view v;

    CHECK_OK(backend_view(b, NULL, name, off, len, &v));
    CHECK(v.len == n && memcmp(v.p, want, n) == 0);
    backend_view_end(b, &v);
}

static void *many_views(void *arg)
{
    const uint8_t *bytes = arg;

    for (size_t i = 0; i < 50; i++)
        view_is("views/x", i * 4096, 500000, bytes + i * 4096, 500000);
    return NULL;
}

/* Bytes that another process has put where we see them: as get gives them. */
static void views(void)
{
    static uint8_t bytes[1 << 20];
    uint64_t rng = test_seed();
    struct backend_view v;
    pthread_t threads[6];
    size_t n = 0;

    if (!b->ops->view)
        return;
    for (size_t i = 0; i < sizeof(bytes); i += 8)
        put_le64(bytes + i, test_rand(&rng));
    CHECK_OK(backend_put(b, NULL, "views/x", bytes, sizeof(bytes)));
    view_is("views/x", 0, sizeof(bytes), bytes, sizeof(bytes));
    view_is("views/x", sizeof(bytes) - 10, 100, bytes + sizeof(bytes) - 10, 10);
    CHECK_ERR(backend_view(b, NULL, "views/none", 0, 10, &v), -E_NOENT);
    CHECK_ERR(backend_view(b, NULL, "views/x", 0, 1u << 30, &v), -E_NOTSUP);
    for (; n < ARRAY_LEN(threads); n++)
        CHECK(pthread_create(&threads[n], NULL, many_views, bytes) == 0);
    while (n > 0)
        pthread_join(threads[--n], NULL);
    CHECK_OK(backend_get_into(b, NULL, "views/x", 5, 100, bytes, &n));
    CHECK_EQ(n, 100);
}

static void (*const cases[])(void) = {
    put_once_and_get, put_of_same, names_are_checked, listing,    long_list, deleting,
    large_and_ranges, bounds,      clock_of_backend,  one_winner, views};

static struct backend *open_in(const char *kind, size_t i)
{
    cleanup(buf_free) struct buf err = {0};
    struct backend *ret = NULL;
    char url[600];
    int r;

    if (strncmp(kind, "ceph", 4) == 0)
        ceph_case_url(strchr(kind, '&') ? strchr(kind, '&') : "", url);
    else if (strncmp(kind, "s3", 2) == 0)
        s3_case_url(strchr(kind, '&') ? strchr(kind, '&') : "", url);
    else
        snprintf(url, sizeof(url), "dir:%s/%s-%zu", test_dir(), kind, i);
    r = strstr(kind, "tierd") ? tierd_open(url, true, NULL, &ret, &err) : backend_open(url, true, &ret, &err);
    if (r < 0)
        test_fail(__FILE__, __LINE__, "%s: %s", url, buf_cstr(&err));
    return ret;
}

static void each_case(const char *kind)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        b = open_in(kind, i);
        cases[i]();
        backend_close(b);
    }
}

TEST(test_backend__contract_over_a_directory)
{
    each_case("dir");
}

TEST(test_backend__contract_over_another_process)
{
    each_case("tierd");
}

S3_TEST(test_s3__contract)
{
    each_case("s3");
}

S3_TEST(test_s3__contract_over_another_process)
{
    each_case("s3-tierd");
}

S3_TEST(test_s3__contract_in_parts)
{
    each_case("s3&multipart=5M");
}

/* All but who wins among many at once: there, that needs what the server does not know. */
S3_TEST(test_s3__contract_without_conditional_put)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (cases[i] == one_winner)
            continue;
        b = open_in("s3&conditional=no", i);
        cases[i]();
        backend_close(b);
    }
}

CEPH_TEST(test_ceph__contract)
{
    each_case("ceph");
}

CEPH_TEST(test_ceph__contract_over_another_process)
{
    each_case("ceph-tierd");
}

CEPH_TEST(test_ceph__contract_in_parts)
{
    each_case("ceph&part=1M&concurrency=3");
}

/* With what stands in for librados: as it is, cut in parts, and with few names kept of a list. */
TEST(test_rados__contract)
{
    static const char *const options[] = {"", "part=64K", "concurrency=1"};

    for (size_t i = 0; i < ARRAY_LEN(options) * ARRAY_LEN(cases); i++) {
        struct fake *f = fake_new();

        b = fake_open(f, options[i / ARRAY_LEN(cases)], i < ARRAY_LEN(cases) ? 0 : 3);
        cases[i % ARRAY_LEN(cases)]();
        backend_close(b);
        fake_free(f);
    }
}

TEST(test_backend__contract_over_memory)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct mem *m = mem_new();

        b = mem_backend(m);
        cases[i]();
        backend_close(b);
        mem_free(m);
    }
}

/* An answer that is lost: what was put is found, what was not is put again, and what another has put is told. */
TEST(test_backend__a_lost_answer_is_settled)
{
    static const enum mem_fault kinds[] = {MEM_UNSURE_DONE, MEM_UNSURE_NOT};

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct mem *m = mem_new();

        b = mem_backend(m);
        mem_fault(m, 1, kinds[i], true);
        CHECK_OK(backend_put_same(b, NULL, "x", "mine", 4));
        is("x", 0, 10, "mine");
        mem_fault(m, 1, kinds[i], true);
        CHECK_ERR(backend_put_same(b, NULL, "x", "others", 6), -E_EXIST);
        mem_fault(m, 1, MEM_FAIL, true);
        CHECK_ERR(backend_put_same(b, NULL, "y", "mine", 4), -E_IO);
        backend_close(b);
        mem_free(m);
    }
}

TEST(test_backend__a_directory_is_made_or_missed)
{
    cleanup(buf_free) struct buf err = {0};
    char url[300];

    snprintf(url, sizeof(url), "dir:%s/none", test_dir());
    CHECK_ERR(backend_open(url, false, &b, &err), -E_NOENT);
    CHECK_ERR(tierd_open(url, false, NULL, &b, &err), -E_NOENT);
    CHECK(strstr(buf_cstr(&err), "/none: does not exist"));
    CHECK_ERR(backend_open("dir:relative", true, &b, &err), -E_USAGE);
    CHECK_ERR(backend_open("ftp://x", true, &b, &err), -E_USAGE);
}

/* The process that serves b: our only child. */
static pid_t child(void)
{
    pid_t found = 0;
    DIR *d = opendir("/proc");
    struct dirent *e;

    CHECK(d != NULL);
    while ((e = readdir(d))) {
        char path[300], state;
        int pid, parent;
        FILE *f;

        snprintf(path, sizeof(path), "/proc/%s/stat", e->d_name);
        if (e->d_name[0] < '0' || e->d_name[0] > '9' || !(f = fopen(path, "re")))
            continue;
        if (fscanf(f, "%d (%*[^)]) %c %d", &pid, &state, &parent) == 3 && parent == getpid() && state != 'Z')
            found = pid;
        fclose(f);
    }
    closedir(d);
    CHECK(found > 0);
    return found;
}

struct halting {
    pid_t pid;
    long after_ms;
};

static void *halt(void *arg)
{
    const struct halting *h = arg;

    nanosleep(&(struct timespec){.tv_nsec = h->after_ms * 1000000}, NULL);
    kill(h->pid, SIGSTOP);
    nanosleep(&(struct timespec){.tv_nsec = 250000000}, NULL);
    kill(h->pid, SIGCONT);
    return NULL;
}

/* The other side stands still in the middle of an answer, as on a machine that is busy. */
TEST(test_backend__a_slow_answer_is_waited_for)
{
    static uint8_t bytes[30 << 20];
    struct halting h;
    pthread_t thread;

    b = open_in("tierd", 0);
    h.pid = child();
    CHECK_OK(backend_put(b, NULL, "x", bytes, sizeof(bytes)));
    for (h.after_ms = 2; h.after_ms < 32; h.after_ms += 3) {
        cleanup(buf_free) struct buf got = {0};

        CHECK(pthread_create(&thread, NULL, halt, &h) == 0);
        CHECK_OK(backend_get(b, NULL, "x", 0, sizeof(bytes), &got));
        CHECK_EQ(got.len, sizeof(bytes));
        pthread_join(thread, NULL);
    }
    CHECK_EQ((uint64_t)child(), (uint64_t)h.pid);
    backend_close(b);
}

/* Who looks at bytes goes on doing so; who wants more gets it of another one. */
TEST(test_backend__a_view_outlives_the_process)
{
    static uint8_t bytes[100000];
    struct backend_view v;
    siginfo_t died;
    pid_t pid;

    b = open_in("tierd", 0);
    memset(bytes, 7, sizeof(bytes));
    CHECK_OK(backend_put(b, NULL, "x", bytes, sizeof(bytes)));
    CHECK_OK(backend_view(b, NULL, "x", 0, sizeof(bytes), &v));
    pid = child();
    CHECK(kill(pid, SIGKILL) == 0);
    CHECK(waitid(P_PID, (id_t)pid, &died, WEXITED | WNOWAIT) == 0);
    CHECK_ERR(backend_put(b, NULL, "y", bytes, 10), -E_UNSURE);
    CHECK(v.len == sizeof(bytes) && memcmp(v.p, bytes, v.len) == 0);
    backend_view_end(b, &v);
    view_is("x", 1, 10, bytes, 10);
    backend_close(b);
}

/* What a dead writer leaves is seen by nobody. */
TEST(test_backend__half_written_files_are_not_listed)
{
    char path[400];
    int fd;

    b = open_in("half", 0);
    CHECK_OK(put("x", "1"));
    snprintf(path, sizeof(path), "%s/half-0/tmp/0123", test_dir());
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    close(fd);
    lists("", "", "x ");
    backend_close(b);
}
