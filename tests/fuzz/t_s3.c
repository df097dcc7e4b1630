/* What an S3 server answers, and what people write to reach one: a first byte chooses an error's XML, any XML, a URL, a file of
 * credentials. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"
#include "tier/backend.h"
#include "tier/s3_cred.h"
#include "tier/s3_xml.h"

enum { S3_ERROR, S3_XML, S3_URL, S3_CREDENTIALS, S3_KINDS };

static int element(void *arg, const char *path, const char *text)
{
    unsigned *n = arg;

    FUZZ_CHECK(*path && strlen(path) < 512);
    FUZZ_CHECK(!text || strlen(text) < S3_XML_TEXT);
    return ++*n == 1000 ? 1 : 0;
}

static void url(const char *text)
{
    cleanup(buf_free) struct buf err = {0}, again = {0};
    struct s3_conf *c = calloc(1, sizeof(*c));
    struct rados_conf *o = calloc(1, sizeof(*o));

    FUZZ_CHECK(c && o);
    if (backend_url_check(text, &err) < 0) {
        FUZZ_CHECK(err.len > 0);
    } else if (strncmp(text, "s3:", 3) == 0) {
        FUZZ_CHECK(s3_conf_parse(text, c, &err) == 0);
        FUZZ_CHECK(c->concurrency > 0 && c->timeout_ms >= 100 && c->multipart >= (5u << 20));
        FUZZ_CHECK(!strchr(c->prefix, '\n') && !strchr(c->endpoint, '@'));
        FUZZ_CHECK(url_with(text, "region", "eu-1", &again) == 0);
        if (s3_conf_parse(buf_cstr(&again), c, &err) == 0)
            FUZZ_CHECK(strcmp(c->region, "eu-1") == 0);
    } else if (strncmp(text, "rados:", 6) == 0) {
        FUZZ_CHECK(rados_conf_parse(text, o, &err) == 0);
        FUZZ_CHECK(o->pool[0] && !strpbrk(o->pool, "/\n") && !strpbrk(o->name_space, "/\n"));
        FUZZ_CHECK(o->concurrency > 0 && o->timeout_ms >= 1000 && o->part >= (64u << 10));
    }
    free(o);
    free(c);
}

/* What goes into a header must not end it. */
static void credentials(const uint8_t *p, size_t len)
{
    cleanup(buf_free) struct buf err = {0};
    struct s3_conf *c = calloc(1, sizeof(*c));
    struct s3_cred *cred = calloc(1, sizeof(*cred));
    char region[64] = "";
    FILE *f;

    FUZZ_CHECK(c && cred);
    snprintf(c->credentials, sizeof(c->credentials), "%s/keys", fuzz_dir());
    snprintf(c->profile, sizeof(c->profile), "default");
    f = fopen(c->credentials, "we");
    FUZZ_CHECK(f != NULL && fwrite(p, 1, len, f) == len && fclose(f) == 0);
    if (s3_cred_read(c, cred, region, &err) < 0) {
        FUZZ_CHECK(err.len > 0 && !cred->secret[0]);
    } else {
        FUZZ_CHECK(cred->id[0] && cred->secret[0]);
        FUZZ_CHECK(!strpbrk(cred->id, " \r\n") && !strpbrk(cred->token, " \r\n"));
    }
    unlink(c->credentials);
    free(c);
    free(cred);
}

void run_s3(const uint8_t *p, size_t len)
{
    struct fuzz_in in = {p, len};
    struct s3_error e;
    unsigned n = 0;
    char *text;

    switch (in_u8(&in) % S3_KINDS) {
    case S3_ERROR:
        if (s3_xml_error(in.p, in.left, &e))
            FUZZ_CHECK(e.code[0] && !strchr(e.code, '\n') && !strchr(e.message, '\n'));
        break;
    case S3_XML: (void)s3_xml_each(in.p, in.left, element, &n); break;
    case S3_URL:
        text = in_text(in.p, in.left);
        url(text);
        free(text);
        break;
    case S3_CREDENTIALS: credentials(in.p, in.left); break;
    }
}

void seeds_s3(void)
{
    static const char *const seeds[] = {
        "\0<?xml version=\"1.0\"?><Error><Code>NoSuchBucket</Code><Message>no &lt; &#10;</Message></Error>",
        "\1<ListBucketResult "
        "xmlns=\"a\"><IsTruncated>true</IsTruncated><Contents><Key>a/b</Key><Size>1</Size>"
        "</Contents></ListBucketResult>",
        "\1<!DOCTYPE a [<!ENTITY b \"cc\">]><a>&b;&b;</a>",
        "\1<a><b><c><d><e><f><g><h><i>x</i></h></g></f></e></d></c></b></a>",
        "\2s3://bucket/a/b?endpoint=http://127.0.0.1:9000&style=path&ca=/"
        "a%20b&bandwidth=10M&retain=1d&lock=governance",
        "\2dir:/a?b?bandwidth=1K",
        "\2rados://pool/space?id=client.a&keyring=/k%20y&monitors=[::1]:3300,b:6789&part=64K&timeout=1500ms",
        "\3[other]\na=b\n[default]\r\naws_access_key_id = AK\naws_secret_access_key=SK\naws_session_token = "
        "t\n",
        "\3# x\n[profile default]\naws_access_key_id=A B\nregion = eu-1\n"};

    for (size_t i = 0; i < ARRAY_LEN(seeds); i++) {
        char name[16];

        snprintf(name, sizeof(name), "%zu", i);
        fuzz_seed(name, seeds[i], 1 + strlen(seeds[i] + 1));
    }
}
