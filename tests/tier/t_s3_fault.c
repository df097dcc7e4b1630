/* S3 with a proxy between that does harm (tests/tier/s3_proxy.py): nothing is lost, nothing hangs, and what is wrong is said. */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/tier/s3_case.h"
#include "tier/s3_i.h"

#define SECOND ((int64_t)1000000000)
#define EVER 100000u

static void fault(const char *kind, const char *method, unsigned count)
{
    static unsigned number;
    const char *file = getenv("VARVE_TEST_FAULT");
    char tmp[400];
    FILE *f;

    CHECK(file != NULL);
    snprintf(tmp, sizeof(tmp), "%s.new", file);
    f = fopen(tmp, "we");
    CHECK(f != NULL);
    fprintf(f, "%d-%u %s %s %u", (int)getpid(), ++number, kind, method, count);
    CHECK(fclose(f) == 0);
    CHECK(rename(tmp, file) == 0);
}

static void no_fault(void)
{
    fault("-", "-", 0);
}

/* Through the proxy; stale_ns and so on are set by change. */
static struct backend *open_through(const char *options, void (*change)(struct s3_conf *c))
{
    cleanup(buf_free) struct buf err = {0};
    char url[600], own[100] = "", *at;
    struct backend *b = NULL;
    struct s3_conf c;

    no_fault();
    s3_case_url(options, url);
    CHECK_OK(s3_conf_parse(url, &c, &err));
    at = getenv("VARVE_TEST_PROXY");
    CHECK(at != NULL);
    snprintf(own, sizeof(own), "%s", at);
    CHECK_OK(s3_endpoint_parse(&c, own));
    if (change)
        change(&c);
    if (s3_open(&c, &b, &err) < 0)
        test_fail(__FILE__, __LINE__, "%s", buf_cstr(&err));
    return b;
}

static void is(struct backend *b, const char *name, const void *p, size_t len)
{
    cleanup(buf_free) struct buf got = {0};

    CHECK_OK(backend_get(b, NULL, name, 0, len + 10, &got));
    CHECK_EQ(got.len, len);
    CHECK(memcmp(got.data, p, len) == 0);
}

static uint8_t bytes[200000];

static void fill(void)
{
    uint64_t rng = 7;

    for (size_t i = 0; i < sizeof(bytes); i += 8)
        put_le64(bytes + i, test_rand(&rng));
}

/* One fault, then another try: the object is there once, whole, and ours. */
S3_TEST(test_s3__a_put_survives)
{
    static const char *const kinds[] = {"refuse",     "cut-request", "lose-answer",     "slow-down",
                                        "error-not",  "error-done",  "stall",           "stall-done",
                                        "garbage",    "html",        "corrupt-request", "no-etag",
                                        "wrong-etag", "busy",        "refuse-condition"};
    struct backend *b = open_through("&timeout=500ms", NULL);

    fill();
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        char name[64];
        int r;

        snprintf(name, sizeof(name), "put/%s", kinds[i]);
        fault(kinds[i], "PUT", 1);
        r = backend_put(b, NULL, name, bytes, sizeof(bytes) - i);
        if (r < 0)
            test_fail(__FILE__, __LINE__, "%s: %s", kinds[i], err_name(r));
        no_fault();
        is(b, name, bytes, sizeof(bytes) - i);
        if (strcmp(kinds[i], "refuse-condition") != 0)
            CHECK_ERR(backend_put(b, NULL, name, bytes, 5), -E_EXIST);
    }
    backend_close(b);
}

/* Who has not got an answer finds out that it was he. */
S3_TEST(test_s3__a_lost_answer_is_read_back)
{
    struct backend *b = open_through("", NULL);

    fault("lose-answer", "PUT", 3);
    CHECK_OK(backend_put(b, NULL, "mine", "1234", 4));
    expect_mark("s3: an answer was lost, the object is there");
    no_fault();
    CHECK_OK(backend_put(b, NULL, "other", "5678", 4));
    fault("lose-answer", "PUT", 1);
    CHECK_ERR(backend_put(b, NULL, "other", "1234", 4), -E_EXIST);
    no_fault();
    is(b, "other", "5678", 4);
    backend_close(b);
}

/* The server answers each second try, and the condition is refused because the first one was carried out. */
S3_TEST(test_s3__a_refused_condition_is_read_back)
{
    struct backend *b = open_through("", NULL);

    fault("error-done", "PUT", 1);
    CHECK_OK(backend_put(b, NULL, "mine", "1234", 4));
    no_fault();
    is(b, "mine", "1234", 4);
    backend_close(b);
}

/* A byte turns over on its way: the server refuses what is not what was signed. */
S3_TEST(test_s3__what_arrives_is_what_was_sent)
{
    struct backend *b = open_through("", NULL);

    fill();
    fault("corrupt-request", "PUT", 2);
    CHECK_OK(backend_put(b, NULL, "x", bytes, sizeof(bytes)));
    no_fault();
    is(b, "x", bytes, sizeof(bytes));
    backend_close(b);
}

S3_TEST(test_s3__a_get_survives)
{
    static const char *const kinds[] = {"refuse",     "cut-body",   "short-body", "stall",
                                        "stall-body", "garbage",    "html",       "error-not",
                                        "slow-down",  "error-done", "lose-answer"};
    struct backend_stat st;
    int64_t now;

    fill();
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct backend *b = open_through("&timeout=500ms", NULL); /* its own: tries again have a budget */

        CHECK_OK(backend_put(b, NULL, "x", bytes, sizeof(bytes)));
        fault(kinds[i], "GET", 2);
        is(b, "x", bytes, sizeof(bytes));
        if (strcmp(kinds[i], "short-body") != 0) /* a length that a HEAD says cannot be known to be wrong */
            fault(kinds[i], "HEAD", 1);
        CHECK_OK(backend_stat(b, NULL, "x", &st));
        CHECK_EQ(st.size, sizeof(bytes));
        fault(kinds[i], "HEAD", 1);
        CHECK_OK(backend_now(b, NULL, &now));
        backend_close(b);
    }
}

/* One that always fails is not asked eight times for each call, for ever. */
S3_TEST(test_s3__tries_have_a_budget)
{
    struct backend *b = open_through("&timeout=500ms", NULL);
    struct backend_stat st;
    int64_t began;

    CHECK_OK(backend_put(b, NULL, "x", "1", 1));
    fault("refuse", "ANY", EVER);
    s3_of(b)->budget = 10;
    CHECK_ERR(backend_stat(b, NULL, "x", &st), -E_IO);
    began = clock_mono_ns();
    for (int i = 0; i < 10; i++)
        CHECK_ERR(backend_stat(b, NULL, "x", &st), -E_IO);
    CHECK(clock_mono_ns() - began < 3 * SECOND);
    no_fault();
    for (int i = 0; i < 10; i++)
        CHECK_OK(backend_stat(b, NULL, "x", &st));
    CHECK_EQ(s3_of(b)->budget, 10);
    backend_close(b);
}

static int count(void *arg, const char *name, const struct backend_stat *st)
{
    (void)name;
    CHECK_EQ(st->size, 1);
    (*(unsigned *)arg)++;
    return 0;
}

static void small_pages(struct s3_conf *c)
{
    c->page = 2;
}

/* Each page in turn goes wrong once. */
S3_TEST(test_s3__a_list_survives)
{
    static const char *const kinds[] = {"refuse", "cut-body",  "short-body", "garbage",
                                        "html",   "error-not", "slow-down",  "lose-answer"};
    struct backend *b = open_through("&timeout=500ms", small_pages);
    char name[32];

    for (unsigned i = 0; i < 5; i++) {
        snprintf(name, sizeof(name), "n/%u", i);
        CHECK_OK(backend_put(b, NULL, name, "x", 1));
    }
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        unsigned n = 0;

        fault(kinds[i], "GET", 2);
        CHECK_OK(backend_list(b, NULL, "", "", count, &n));
        CHECK_EQ(n, 5);
    }
    backend_close(b);
}

S3_TEST(test_s3__a_delete_survives)
{
    static const char *const kinds[] = {"refuse", "lose-answer", "garbage",    "html",
                                        "stall",  "error-not",   "error-done", "slow-down"};
    struct backend *b = open_through("&timeout=500ms", NULL);
    struct backend_stat st;

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        CHECK_OK(backend_put(b, NULL, "x", "1", 1));
        fault(kinds[i], "DELETE", 1);
        CHECK_OK(backend_del(b, NULL, "x"));
        no_fault();
        CHECK_ERR(backend_stat(b, NULL, "x", &st), -E_NOENT);
        CHECK_ERR(backend_del(b, NULL, "x"), -E_NOENT);
    }
    backend_close(b);
}

/* What does not go away ends in time, with what may be known, and with its cause. Only where nothing comes an answer is waited for
 * shortly: one that is late on a busy machine makes the end unsure. */
S3_TEST(test_s3__what_stays_wrong_is_told)
{
    static const struct {
        const char *kind;
        int put, get;
        const char *says;
    } cases[] = {
        {"refuse", -E_UNSURE, -E_IO, "Empty reply from server"},
        {"slow-down", -E_IO, -E_IO, "the server asks for less at a time"},
        {"error-not", -E_UNSURE, -E_IO, "the server has an error of its own (InternalError)"},
        {"stall", -E_UNSURE, -E_IO, "no answer"},
        {"garbage", -E_UNSURE, -E_IO, "HTTP/0.9"},
        {"html", -E_UNSURE, -E_IO, NULL},
        {"denied", -E_ACCES, -E_ACCES, "permission denied: this key may not"},
        {"expired", -E_ACCES, -E_ACCES, "the session token has expired: renew the credentials"},
        {"full", -E_NOSPC, -E_NOSPC, "the object store is full"},
        {"skewed", -E_ACCES, -E_ACCES, "the clock of this machine is 17 minutes ahead of the server's"},
        {"class", -E_INVAL, -E_INVAL, "storage class RARE is not known there"},
        {"region", -E_ACCES, -E_ACCES, "give region=eu-west-7"},
        {"corrupt-request", -E_IO, 0, "what arrives there is not what was sent"},
    };
    struct backend_stat st;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cleanup(buf_free) struct buf got = {0}, why = {0};
        const struct backend_call c = {.timeout_ms = cases[i].put == -E_UNSURE ? 1500 : 4000};
        struct backend *b =
            open_through(strcmp(cases[i].kind, "stall") == 0 ? "&timeout=300ms&storage-class=RARE"
                                                             : "&timeout=4s&storage-class=RARE",
                         NULL);
        int64_t began = clock_mono_ns();
        int put, get;

        CHECK_OK(backend_put(b, NULL, "there", "1234", 4));
        fault(cases[i].kind, "ANY", EVER);
        put = backend_put(b, &c, "x", "1234", 4);
        if (put != cases[i].put)
            test_fail(__FILE__, __LINE__, "%s: put: %s", cases[i].kind, err_name(put));
        if (put != -E_UNSURE)
            b->ops->why(b, put, &why);
        get = backend_get(b, &c, "there", 0, 4, &got);
        if (get != cases[i].get && !(get == -E_TIMEOUT && cases[i].get == -E_IO))
            test_fail(__FILE__, __LINE__, "%s: get: %s", cases[i].kind, err_name(get));
        CHECK(clock_mono_ns() - began < 12 * SECOND);
        if (put == -E_UNSURE)
            b->ops->why(b, get, &why);
        if (cases[i].says && !strstr(buf_cstr(&why), cases[i].says))
            test_fail(__FILE__, __LINE__, "%s: \"%s\" lacks \"%s\"", cases[i].kind, buf_cstr(&why),
                      cases[i].says);
        no_fault();
        if (put != -E_UNSURE)
            CHECK_ERR(backend_stat(b, NULL, "x", &st), -E_NOENT);
        CHECK_OK(backend_put_same(b, NULL, "x", "1234", 4));
        backend_close(b);
    }
}

struct quitting {
    int64_t until_ns;
};

static bool quits(void *arg)
{
    return clock_mono_ns() > ((struct quitting *)arg)->until_ns;
}

S3_TEST(test_s3__what_is_cancelled_ends_soon)
{
    static const char *const kinds[] = {"stall", "stall-done", "slow-down"};
    struct backend *b = open_through("", NULL);

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct quitting q = {clock_mono_ns() + SECOND / 3};
        const struct backend_call c = {.canceled = quits, .arg = &q};

        fault(kinds[i], "ANY", EVER);
        CHECK_ERR(backend_put(b, &c, "x", "1", 1), -E_CANCELED);
        CHECK(clock_mono_ns() < q.until_ns + 2 * SECOND);
    }
    no_fault();
    backend_close(b);
}

/* --- parts ---------------------------------------------------------------------------------------------------------- */

static void all_are_stale(struct s3_conf *c)
{
    c->stale_ns = -3600 * SECOND;
}

static int count_upload(void *arg, const char *path, const char *text)
{
    if (text && strcmp(path, "ListMultipartUploadsResult/Upload/UploadId") == 0)
        (*(unsigned *)arg)++;
    return 0;
}

/* Uploads under way below our place. */
static unsigned uploads(struct backend *b)
{
    cleanup(http_answer_release) struct http_answer a = {0};
    struct s3 *s = s3_of(b);
    struct s3_run run = s3_run_begin(NULL);
    struct s3_ask q = {.doing = "list uploads", .method = "GET"};
    char prefix[S3_NAME_SIZE];
    unsigned n = 0;

    snprintf(prefix, sizeof(prefix), "%s/packs/", s->conf.prefix);
    s3_query_add(&q, "uploads", "");
    s3_query_add(&q, "prefix", prefix);
    CHECK_OK(s3_ask(s, &q, &run, &a));
    CHECK_EQ(a.status, 200);
    CHECK_OK(s3_xml_each(a.body.data, a.body.len, count_upload, &n));
    return n;
}

#define LARGE ((11u << 20) + 12345)

static void large_make(struct buf *b)
{
    uint64_t rng = 9;

    CHECK_OK(buf_reserve(b, LARGE + 8));
    for (b->len = 0; b->len < LARGE; b->len += 8)
        put_le64(b->data + b->len, test_rand(&rng));
    b->len = LARGE;
}

S3_TEST(test_s3__parts_survive)
{
    static const char *const kinds[] = {"refuse",    "cut-request",     "lose-answer",
                                        "slow-down", "error-not",       "error-done",
                                        "garbage",   "corrupt-request", "html"};
    static const char *const methods[] = {"PUT", "POST"};
    struct backend *b = open_through("&multipart=5M&timeout=10s", NULL);
    cleanup(buf_free) struct buf big = {0}, got = {0};

    large_make(&big);
    for (size_t i = 0; i < ARRAY_LEN(kinds) * 2; i++) {
        char name[64];
        int r;

        snprintf(name, sizeof(name), "packs/%zu", i);
        fault(kinds[i / 2], methods[i % 2], 1);
        r = backend_put(b, NULL, name, big.data, big.len);
        if (r < 0)
            test_fail(__FILE__, __LINE__, "%s %s: %s", methods[i % 2], kinds[i / 2], err_name(r));
        no_fault();
        buf_reset(&got);
        CHECK_OK(backend_get(b, NULL, name, 0, big.len + 1, &got));
        CHECK(got.len == big.len && memcmp(got.data, big.data, big.len) == 0);
        CHECK_ERR(backend_put(b, NULL, name, big.data, big.len), -E_EXIST);
    }
    backend_close(b);
}

/* What cannot be completed leaves nothing; what a dead program has left goes before the next. */
S3_TEST(test_s3__no_parts_are_left)
{
    struct backend *b = open_through("&multipart=5M", all_are_stale);
    const struct backend_call c = {.timeout_ms = 3000};
    cleanup(buf_free) struct buf big = {0};
    struct backend_stat st;

    large_make(&big);
    CHECK_EQ(uploads(b), 0);
    fault("denied", "PUT", EVER);
    CHECK_ERR(backend_put(b, NULL, "packs/x", big.data, big.len), -E_ACCES);
    no_fault();
    CHECK_EQ(uploads(b), 0);
    CHECK_ERR(backend_stat(b, NULL, "packs/x", &st), -E_NOENT);
    fault("lose-answer", "POST", 1); /* it is begun, and nobody knows its name */
    CHECK_OK(backend_put(b, NULL, "packs/y", big.data, big.len));
    no_fault();
    CHECK(uploads(b) <= 1); /* MinIO lists those of a whole name only, and ends them itself */
    s3_of(b)->swept = false;
    CHECK_OK(backend_put(b, NULL, "packs/z", big.data, big.len));
    CHECK_EQ(uploads(b), 0);
    fault("slow-down", "PUT", EVER);
    CHECK(backend_put(b, &c, "packs/w", big.data, big.len) < 0);
    no_fault();
    CHECK_EQ(uploads(b), 0);
    backend_close(b);
}

/* By another program, or by a copy of the repository: without our token. */
static void put_by_others(struct backend *b, const char *name, const char *text)
{
    cleanup(http_answer_release) struct http_answer a = {0};
    struct s3 *s = s3_of(b);
    struct s3_run run = s3_run_begin(NULL);
    struct s3_ask q = {.doing = "put objects", .method = "PUT", .body = text, .len = strlen(text)};
    char key[S3_NAME_SIZE];

    CHECK_OK(s3_key(s, name, key));
    q.key = key;
    CHECK_OK(s3_ask(s, &q, &run, &a));
    CHECK_EQ(a.status, 200);
}

/* It is not half of what is just being put. */
S3_TEST(test_s3__parts_leave_what_others_put)
{
    static const char *const options[] = {"&multipart=5M", "&multipart=5M&conditional=no"};
    cleanup(buf_free) struct buf big = {0};

    large_make(&big);
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        struct backend *b = open_through(options[i], NULL);
        char name[32];

        snprintf(name, sizeof(name), "packs/others-%zu", i);
        put_by_others(b, name, "theirs");
        CHECK_ERR(backend_put(b, NULL, name, big.data, big.len), -E_EXIST);
        is(b, name, "theirs", 6);
        backend_close(b);
    }
}

/* --- credentials ----------------------------------------------------------------------------------------------------- */

/* Whoever renews a token writes the file anew: what runs goes on with it. */
S3_TEST(test_s3__renewed_credentials_are_taken)
{
    cleanup(buf_free) struct buf why = {0}, got = {0};
    char path[300], options[400];
    struct backend *b;
    FILE *f;

    snprintf(path, sizeof(path), "%s/keys", test_dir());
    snprintf(options, sizeof(options), "&credentials=%s", path);
    f = fopen(path, "we");
    CHECK(f != NULL);
    fprintf(f, "[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", getenv("AWS_ACCESS_KEY_ID"),
            getenv("AWS_SECRET_ACCESS_KEY"));
    CHECK(fclose(f) == 0);
    b = open_through(options, NULL);
    CHECK_OK(backend_put(b, NULL, "x", "1234", 4));
    fault("expired", "GET", 1); /* the file has nothing new */
    CHECK_ERR(backend_get(b, NULL, "x", 0, 1, &got), -E_ACCES);
    b->ops->why(b, -E_ACCES, &why);
    CHECK(strstr(buf_cstr(&why), "the session token has expired: renew the credentials"));
    no_fault();
    snprintf(s3_of(b)->cred.token, S3_TOKEN_MAX, "of yesterday"); /* what the file said then */
    fault("expired", "PUT", 1);
    CHECK_OK(backend_put(b, NULL, "y", "1234", 4));
    CHECK(s3_of(b)->cred.token[0] == 0);
    no_fault();
    is(b, "y", "1234", 4);
    backend_close(b);
}

/* --- servers that know no conditions -------------------------------------------------------------------------------- */

S3_TEST(test_s3__without_conditions_nothing_is_put_over)
{
    struct backend *b = open_through("", NULL);

    fault("refuse-condition", "PUT", EVER);
    CHECK_OK(backend_put(b, NULL, "x", "1234", 4));
    CHECK_ERR(backend_put(b, NULL, "x", "5678", 4), -E_EXIST);
    no_fault();
    CHECK_ERR(backend_put(b, NULL, "x", "5678", 4), -E_EXIST);
    is(b, "x", "1234", 4);
    backend_close(b);
}
