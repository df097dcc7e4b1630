/* varve-manifests nodes and certificates, against a server that plays Kubernetes' API (api.py); and what a set of certificates is. */
#include <jansson.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "plugin/cert.h"
#include "tests/csi/rig_api.h"
#include "tests/csi/rig_repo.h"

#define DRIVER "csi.varve.io"
#define DAY_S 86400
#define NOW_S ((int64_t)1795000000)
#define CONTROLLER "varve-controller-tls"
#define NODE "varve-node-tls"

/* --- a set ------------------------------------------------------------------------------------------------------------------ */

static void is(const char *got, const char *want)
{
    if ((got != NULL) != (want != NULL) || (got && !strstr(got, want)))
        test_fail(__FILE__, __LINE__, "%s, not %s", got ? got : "good", want ? want : "good");
}

static X509 *crt_of(const struct buf *b)
{
    BIO *in = BIO_new_mem_buf(b->data, (int)b->len);
    X509 *x = PEM_read_bio_X509(in, NULL, NULL, NULL);

    CHECK(x);
    BIO_free(in);
    return x;
}

/* As the other side looks at it. */
static bool verifies(const struct buf *ca, const struct buf *crt, int purpose)
{
    X509 *authority = crt_of(ca), *leaf = crt_of(crt);
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    bool ok;

    CHECK(X509_STORE_add_cert(store, authority) == 1 && X509_STORE_CTX_init(ctx, store, leaf, NULL) == 1);
    X509_VERIFY_PARAM_set_flags(X509_STORE_CTX_get0_param(ctx), X509_V_FLAG_X509_STRICT);
    X509_STORE_CTX_set_purpose(ctx, purpose);
    ok = X509_verify_cert(ctx) == 1;
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    X509_free(authority);
    X509_free(leaf);
    return ok;
}

TEST(test_csi__certificates_are_of_one_authority_each_for_its_side)
{
    cleanup(cert_set_free) struct cert_set a = {.ca = {.len = 0}}, b = {.ca = {.len = 0}};
    int64_t now_s = time(NULL);
    X509 *x;

    CHECK(cert_make(DRIVER, now_s, DAY_S, &a) && cert_make(DRIVER, now_s, DAY_S, &b));
    CHECK(verifies(&a.ca, &a.node.crt, X509_PURPOSE_SSL_SERVER));
    CHECK(verifies(&a.ca, &a.controller.crt, X509_PURPOSE_SSL_CLIENT));
    CHECK(!verifies(&a.ca, &a.node.crt, X509_PURPOSE_SSL_CLIENT));
    CHECK(!verifies(&a.ca, &a.controller.crt, X509_PURPOSE_SSL_SERVER));
    CHECK(!verifies(&a.ca, &b.node.crt, X509_PURPOSE_SSL_SERVER));
    x = crt_of(&a.node.crt);
    CHECK(X509_check_host(x, "node." DRIVER, 0, 0, NULL) == 1);
    CHECK(X509_check_host(x, "controller." DRIVER, 0, 0, NULL) != 1);
    CHECK(EVP_PKEY_get_bits(X509_get0_pubkey(x)) == 256 && X509_check_ca(x) == 0);
    X509_free(x);
}

TEST(test_csi__certificates_that_do_not_fit_or_are_about_to_end_are_seen)
{
    cleanup(cert_set_free) struct cert_set a = {.ca = {.len = 0}}, b = {.ca = {.len = 0}};
    struct cert_set mixed;

    CHECK(cert_make(DRIVER, NOW_S, 30 * DAY_S, &a) && cert_make(DRIVER, NOW_S, 30 * DAY_S, &b));
    is(cert_wrong(&a, DRIVER, NOW_S), NULL);
    is(cert_wrong(&a, DRIVER, NOW_S + 19 * DAY_S), NULL);
    is(cert_wrong(&a, DRIVER, NOW_S + 21 * DAY_S), "about to end");
    is(cert_wrong(&a, DRIVER, NOW_S + 31 * DAY_S), "about to end");
    is(cert_wrong(&a, DRIVER, NOW_S - 2 * 3600),
       "about to end"); /* it has not begun: the clock was set back */
    is(cert_wrong(&a, "csi.example.org", NOW_S), "another driver");
    mixed = a;
    mixed.ca = b.ca;
    is(cert_wrong(&mixed, DRIVER, NOW_S), "different authorities");
    mixed = a;
    mixed.controller = b.controller;
    is(cert_wrong(&mixed, DRIVER, NOW_S), "different authorities");
    mixed = a;
    mixed.node.key = b.node.key;
    is(cert_wrong(&mixed, DRIVER, NOW_S), "not one");
    mixed = a;
    mixed.node = a.controller;
    is(cert_wrong(&mixed, DRIVER, NOW_S), "another driver");
    mixed = a;
    mixed.ca.len = 0;
    is(cert_wrong(&mixed, DRIVER, NOW_S), "no authority");
    mixed = a;
    mixed.controller.key.len = 0;
    is(cert_wrong(&mixed, DRIVER, NOW_S), "not one");
}

/* --- secrets ---------------------------------------------------------------------------------------------------------------- */

static const char *secret_path(const char *name)
{
    static char path[500];

    snprintf(path, sizeof(path), "%s/secrets/%s", api_dir, name);
    return path;
}

/* NULL: there is none. */
static json_t *secret_of(const char *name)
{
    return json_load_file(secret_path(name), 0, NULL);
}

static const char *datum(const json_t *o, const char *name)
{
    const char *s = json_string_value(json_object_get(json_object_get(o, "data"), name));

    CHECK(s && *s);
    return s;
}

/* Both are there, and belong together. The authority's certificate, which the caller frees. */
static char *whole(void)
{
    json_t *c = secret_of(CONTROLLER), *n = secret_of(NODE);
    char *ca;

    CHECK(c && n && strcmp(json_string_value(json_object_get(n, "type")), "kubernetes.io/tls") == 0);
    CHECK(strcmp(datum(c, "ca.crt"), datum(n, "ca.crt")) == 0);
    CHECK(strcmp(datum(c, "node.crt"), datum(n, "tls.crt")) == 0);
    CHECK(strcmp(datum(c, "node.key"), datum(n, "tls.key")) == 0);
    CHECK(strcmp(datum(c, "tls.key"), datum(n, "tls.key")) != 0);
    CHECK_EQ(json_object_size(json_object_get(n, "data")), 3);
    CHECK_EQ(json_object_size(json_object_get(c, "data")), 5);
    ca = strdup(datum(c, "ca.crt"));
    json_decref(c);
    json_decref(n);
    return ca;
}

static void made(const char *said)
{
    cleanup(buf_free) struct buf out = {0}, err = {0};

    if (api_ask("certificates", &out, &err) != 0 || err.len > 0 || strcmp(buf_cstr(&out), said) != 0)
        test_fail(__FILE__, __LINE__, "%s%s, not %s", buf_cstr(&out), buf_cstr(&err), said);
}

#define MADE_BOTH CONTROLLER ": made, as there are none\n" NODE ": made\n"

TEST(test_csi__certificates_are_made_once_and_again_when_they_are_gone)
{
    char *first, *again;

    api_begin(test_dir(), "IP:127.0.0.1");
    made(MADE_BOTH);
    first = whole();
    made("");
    again = whole();
    CHECK(strcmp(first, again) == 0);
    free(again);
    unlink(secret_path(NODE)); /* a copy: made of what is there */
    made(NODE ": made\n");
    again = whole();
    CHECK(strcmp(first, again) == 0);
    free(again);
    unlink(secret_path(CONTROLLER));
    made(MADE_BOTH);
    again = whole();
    CHECK(strcmp(first, again) != 0);
    free(again);
    free(first);
    api_end();
}

TEST(test_csi__certificates_that_are_old_or_mixed_are_made_anew)
{
    cleanup(buf_free) struct buf out = {0}, err = {0};
    char *first, *again;
    json_t *o, *other;

    api_begin(test_dir(), "IP:127.0.0.1");
    CHECK_EQ(api_ask("certificates --driver-name=csi.example.org", &out, &err), 0);
    first = whole();
    made(CONTROLLER ": made, as they are for another driver\n" NODE ": made\n");
    again = whole();
    CHECK(strcmp(first, again) != 0);
    free(first);
    o = secret_of(CONTROLLER);
    unlink(secret_path(CONTROLLER));
    made(MADE_BOTH);
    other = secret_of(CONTROLLER);
    json_object_set(json_object_get(other, "data"), "ca.crt",
                    json_object_get(json_object_get(o, "data"), "ca.crt"));
    CHECK(json_dump_file(other, secret_path(CONTROLLER), 0) == 0);
    made(CONTROLLER ": made, as they are of different authorities\n" NODE ": made\n");
    json_decref(other);
    other = secret_of(CONTROLLER);
    json_object_del(json_object_get(other, "data"), "tls.crt");
    CHECK(json_dump_file(other, secret_path(CONTROLLER), 0) == 0);
    made(CONTROLLER ": made, as a certificate and its key are not one\n" NODE ": made\n");
    free(again);
    free(whole());
    json_decref(o);
    json_decref(other);
    api_end();
}

/* Somebody else's set comes between our look and our write: it is taken as it is. */
TEST(test_csi__certificates_of_somebody_who_was_first_are_taken)
{
    char *first, *again, other[500];

    api_begin(test_dir(), "IP:127.0.0.1");
    made(MADE_BOTH);
    first = whole();
    snprintf(other, sizeof(other), "%s/other", api_dir);
    CHECK(rename(secret_path(CONTROLLER), other) == 0);
    unlink(secret_path(NODE));
    api_behaves("race");
    made(NODE ": made\n");
    again = whole();
    CHECK(strcmp(first, again) == 0);
    free(again);
    free(first);
    api_end();
}

/* The shell starts them at once; whichever wins, the secrets belong together. */
TEST(test_csi__certificates_that_several_make_at_once_are_of_one_authority)
{
    cleanup(buf_free) struct buf out = {0}, err = {0};
    char self[400], words[2000];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

    CHECK(n > 0);
    self[n] = 0;
    for (int i = 0; i < 2; i++)
        *strrchr(self, '/') = 0;
    api_begin(test_dir(), "IP:127.0.0.1");
    snprintf(words, sizeof(words),
             "certificates >/dev/null & for i in 1 2 3 4 5; do %s/varve-manifests certificates >/dev/null & "
             "done; wait",
             self);
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(api_ask(words, &out, &err), 0);
        free(whole());
        unlink(secret_path(i % 2 ? NODE : CONTROLLER));
    }
    api_end();
}

/* One that goes on looks again, and ends when it is told to. */
TEST(test_csi__certificates_are_looked_at_again_and_again)
{
    cleanup(buf_free) struct buf out = {0}, err = {0};
    char words[2000];

    api_begin(test_dir(), "IP:127.0.0.1");
    snprintf(words, sizeof(words),
             "certificates --every=1 >/dev/null & p=$!; cd %s/secrets; "
             "made() { for i in $(seq 400); do [ ! -e " NODE
             " ] || return 0; sleep 0.05; done; kill -9 $p; }; "
             "made; rm " NODE " " CONTROLLER "; made; kill $p; wait $p",
             api_dir);
    CHECK_EQ(api_ask(words, &out, &err), 0);
    free(whole());
    api_end();
}

static void refused(const char *mode, const char *words, int code, const char *why)
{
    cleanup(buf_free) struct buf out = {0}, err = {0};
    int got;

    api_behaves(mode);
    got = api_ask(words, &out, &err);
    if (got != code || out.len > 0 || !strstr(buf_cstr(&err), why))
        test_fail(__FILE__, __LINE__, "%s, %s: exit code %d, \"%s\", \"%s\"", mode, words, got,
                  buf_cstr(&out), buf_cstr(&err));
}

TEST(test_csi__certificates_that_cannot_be_written_are_told)
{
    api_begin(test_dir(), "IP:127.0.0.1");
    refused("forbidden", "certificates", 3, "is not for us to see");
    refused("anonymous", "certificates", 3, "the token is refused");
    refused("garbage", "certificates", 1, "no object");
    refused("ok", "certificates --days=0", 2, "usage");
    refused("ok", "certificates --days=x", 2, "usage");
    refused("ok", "certificates --every=-1", 2, "usage");
    refused("ok", "certificates --driver-name=DNS:x,y", 2, "usage");
    refused("ok", "certificates more", 2, "usage");
    refused("ok", "certificates --nonsense", 2, "usage");
    CHECK(!secret_of(CONTROLLER) && !secret_of(NODE));
    put(secret_path(""), CONTROLLER, "{\"type\": \"Opaque\", \"metadata\": {\"resourceVersion\": \"1\"}}");
    refused("ok", "certificates", 1, "the type cannot be changed");
    put(api_account, "namespace", "../x");
    refused("ok", "certificates", 1, "namespace");
    api_end();
}

/* --- nodes ------------------------------------------------------------------------------------------------------------------ */

static void lists(const char *words, const char *want)
{
    cleanup(buf_free) struct buf out = {0}, err = {0};

    if (api_ask(words, &out, &err) != 0 || strcmp(buf_cstr(&out), want) != 0)
        test_fail(__FILE__, __LINE__, "%s: %s%s", words, buf_cstr(&out), buf_cstr(&err));
}

TEST(test_csi__nodes_are_those_of_the_pods)
{
    api_begin(test_dir(), "IP:127.0.0.1");
    lists("nodes",
          "one 10.88.1.7:9812\ntwo [fd00::7]:9812\nthree -\nfour -\nfive 10.88.5.2:7\nsix 10.88.6.1:9812\n");
    lists("nodes --port 99",
          "one 10.88.1.7:99\ntwo [fd00::7]:99\nthree -\nfour -\nfive 10.88.5.2:99\nsix 10.88.6.1:99\n");
    lists("nodes --selector app=mine", "one 10.88.1.7:9812\n");
    lists("nodes --selector app=none", "");
    refused("forbidden", "nodes", 3, "is not for us to see");
    refused("slow", "nodes", 3, "imed out");
    refused("ok", "nodes --port 70000", 2, "usage");
    api_end();
}
