/* S3 against a server: what the contract of backends does not say. */
#include <stdlib.h>

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
