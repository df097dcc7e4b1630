/* S3 against a server: what the contract of backends does not say. */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "tests/tier/s3_case.h"
#include "tier/crypt.h"
#include "tier/s3.h"

void s3_case_url(const char *options, char out[600])
{
    const char *bucket = getenv("VARVE_TEST_BUCKET"), *server = getenv("VARVE_TEST_S3");
    uint8_t id[8];
    char hex[17];

    hash_random(id, sizeof(id));
    hex_format(id, sizeof(id), hex);
    CHECK(bucket && server);
    snprintf(out, 600, "s3://%s/case/%s?endpoint=%s%s", bucket, hex, server, options);
}

static struct backend *open_url(const char *url, unsigned page)
{
    cleanup(buf_free) struct buf err = {0};
    struct backend *b = NULL;
    struct s3_conf c;

    if (s3_conf_parse(url, &c, &err) < 0)
        test_fail(__FILE__, __LINE__, "%s", buf_cstr(&err));
    c.page = page;
    if (s3_open(&c, &b, &err) < 0)
        test_fail(__FILE__, __LINE__, "%s", buf_cstr(&err));
    return b;
}

static int64_t took_ns(int64_t began)
{
    return clock_mono_ns() - began;
}

static void is_limited(struct backend *b)
{
    static uint8_t bytes[2 << 20];
    cleanup(buf_free) struct buf got = {0};
    int64_t began = clock_mono_ns();

    CHECK_OK(backend_put(b, NULL, "x", bytes, sizeof(bytes)));
    CHECK(took_ns(began) > 800000000 && took_ns(began) < 10000000000);
    began = clock_mono_ns();
    CHECK_OK(backend_get(b, NULL, "x", 0, sizeof(bytes), &got));
    CHECK(took_ns(began) > 800000000 && took_ns(began) < 10000000000);
    CHECK_EQ(got.len, sizeof(bytes));
}

/* 2 MiB at 2 MiB a second, with a tenth of a second's worth ahead. */
S3_TEST(test_s3__a_limit_is_kept)
{
    char url[600];
    struct backend *b;

    s3_case_url("&bandwidth=2M", url);
    b = open_url(url, 0);
    is_limited(b);
    backend_close(b);
}

TEST(test_backend__a_limit_is_kept_in_a_directory)
{
    cleanup(buf_free) struct buf err = {0};
    struct backend *b;
    char url[300];

    snprintf(url, sizeof(url), "dir:%s/d?bandwidth=2M", test_dir());
    CHECK_OK(backend_open(url, true, &b, &err));
    is_limited(b);
    backend_close(b);
}

TEST(test_url__what_is_refused)
{
    static const char *const wrong[] = {"s3:bucket",
                                        "s3://",
                                        "s3://ab",
                                        "s3://bucket/a//b",
                                        "s3://bucket/../x",
                                        "s3://bucket?x=y",
                                        "s3://b/x",
                                        "s3://bucket?",
                                        "s3://-bucket",
                                        "s3://bucket?endpoint",
                                        "s3://bucket?style=x",
                                        "dir:relative",
                                        "dir:/x?bandwidth=fast",
                                        "ftp://x",
                                        "s3://bucket?endpoint=http://user:secret@host",
                                        "s3://bucket?endpoint=http://host/path",
                                        "s3://bucket?retain=3d",
                                        "s3://bucket?lock=governance",
                                        "s3://bucket?multipart=1M",
                                        "s3://bucket?concurrency=0",
                                        "s3://bucket?credentials=relative",
                                        "s3://bucket?profile=%zz",
                                        "s3://bucket?profile=a%00b"};

    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        cleanup(buf_free) struct buf err = {0};

        if (strcmp(wrong[i], "s3://bucket?") == 0)
            CHECK_OK(backend_url_check(wrong[i], &err));
        else if (backend_url_check(wrong[i], &err) != -E_USAGE || err.len == 0)
            test_fail(__FILE__, __LINE__, "%s: %s", wrong[i], buf_cstr(&err));
    }
}

TEST(test_url__options_are_read)
{
    cleanup(buf_free) struct buf err = {0}, url = {0};
    struct dir_conf d;
    struct s3_conf c;

    CHECK_OK(
        url_with("s3://bucket/a/b/?endpoint=HOST:1234&style=virtual&bandwidth=3M&retain=2d&lock=compliance",
                 "ca", "/a&b %.pem", &url));
    CHECK_OK(s3_conf_parse(buf_cstr(&url), &c, &err));
    CHECK(strcmp(c.bucket, "bucket") == 0 && strcmp(c.prefix, "a/b") == 0);
    CHECK(strcmp(c.endpoint, "https://HOST:1234") == 0 && strcmp(c.ca, "/a&b %.pem") == 0);
    CHECK(c.style == S3_STYLE_VIRTUAL && c.lock_mode == S3_LOCK_COMPLIANCE && c.bandwidth == 3u << 20);
    CHECK_EQ(c.retain_ns, 172800 * (int64_t)1000000000);
    CHECK_OK(dir_conf_parse("dir:/what?/is?this", &d, &err));
    CHECK(strcmp(d.path, "/what?/is?this") == 0 && d.bandwidth == 0);
    CHECK_OK(dir_conf_parse("dir:/what?/is?bandwidth=1K", &d, &err));
    CHECK(strcmp(d.path, "/what?/is") == 0 && d.bandwidth == 1024);
}

struct many {
    pthread_t thread;
    struct backend *b;
    unsigned i;
};

static void *put_many(void *arg)
{
    struct many *m = arg;
    char name[32];

    for (unsigned i = 0; i < 10; i++) {
        cleanup(buf_free) struct buf got = {0};

        snprintf(name, sizeof(name), "many/%u-%u", m->i, i);
        CHECK_OK(backend_put(m->b, NULL, name, name, strlen(name)));
        CHECK_OK(backend_get(m->b, NULL, name, 0, 100, &got));
        CHECK(got.len == strlen(name) && memcmp(got.data, name, got.len) == 0);
    }
    return NULL;
}

/* More callers than requests may be under way. */
S3_TEST(test_s3__callers_wait_for_their_turn)
{
    struct many m[16];
    char url[600];
    struct backend *b;

    s3_case_url("&concurrency=2", url);
    b = open_url(url, 0);
    for (unsigned i = 0; i < ARRAY_LEN(m); i++) {
        m[i] = (struct many){.b = b, .i = i};
        CHECK(pthread_create(&m[i].thread, NULL, put_many, &m[i]) == 0);
    }
    for (unsigned i = 0; i < ARRAY_LEN(m); i++)
        pthread_join(m[i].thread, NULL);
    backend_close(b);
}

struct counted {
    unsigned n;
    char last[BACKEND_NAME_MAX + 1];
};

static int count(void *arg, const char *name, const struct backend_stat *st)
{
    struct counted *c = arg;

    CHECK(strcmp(name, c->last) > 0);
    CHECK_EQ(st->size, 1);
    snprintf(c->last, sizeof(c->last), "%s", name);
    c->n++;
    return 0;
}

/* More names than a page holds, whatever a page's length. */
S3_TEST(test_s3__lists_are_read_to_their_end)
{
    char url[600], name[32];
    struct counted c;

    s3_case_url("", url);
    for (unsigned page = 1; page < 30; page += page < 4 ? 1 : 7) {
        struct backend *b = open_url(url, page);

        for (unsigned i = 0; page == 1 && i < 23; i++) {
            snprintf(name, sizeof(name), "d%u/%u", i % 3, i);
            CHECK_OK(backend_put(b, NULL, name, "x", 1));
        }
        c = (struct counted){.n = 0};
        CHECK_OK(backend_list(b, NULL, "", "", count, &c));
        CHECK_EQ(c.n, 23);
        c = (struct counted){.n = 0};
        CHECK_OK(backend_list(b, NULL, "d1/", "d1/13", count, &c));
        CHECK_EQ(c.n, 5); /* 16 19 22 4 7 */
        backend_close(b);
    }
}

static int count_slowly(void *arg, const char *name, const struct backend_stat *st)
{
    usleep(100000);
    return count(arg, name, st);
}

/* Each page has the whole time: there may be thousands. */
S3_TEST(test_s3__lists_take_as_long_as_names_come)
{
    const struct backend_call brief = {.timeout_ms = 1000};
    struct counted c = {.n = 0};
    struct backend *b;
    char url[600], name[32];

    s3_case_url("", url);
    b = open_url(url, 1);
    for (unsigned i = 10; i < 26; i++) {
        snprintf(name, sizeof(name), "d/%u", i);
        CHECK_OK(backend_put(b, NULL, name, "x", 1));
    }
    CHECK_OK(backend_list(b, &brief, "", "", count_slowly, &c));
    CHECK_EQ(c.n, 16);
    backend_close(b);
}
