#include "tests/csi/certs.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/test.h"

static X509 *certificate(EVP_PKEY *key, const char *name, long until_s)
{
    static long serial;
    X509 *x = X509_new();
    X509_NAME *n;

    CHECK(x && X509_set_version(x, 2));
    ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(x), until_s < 0 ? until_s - 1000 : -1000);
    X509_gmtime_adj(X509_getm_notAfter(x), until_s);
    X509_set_pubkey(x, key);
    n = X509_get_subject_name(x);
    CHECK(X509_NAME_add_entry_by_txt(n, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0));
    return x;
}

static void extend(X509 *x, int what, const char *value)
{
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, what, value);

    CHECK(e && X509_add_ext(x, e, -1));
    X509_EXTENSION_free(e);
}

void authority_make(struct authority *a, const char *name)
{
    a->key = EVP_EC_gen("P-256");
    CHECK(a->key);
    a->cert = certificate(a->key, name, 3600);
    X509_set_issuer_name(a->cert, X509_get_subject_name(a->cert));
    extend(a->cert, NID_basic_constraints, "critical,CA:TRUE");
    CHECK(X509_sign(a->cert, a->key, EVP_sha256()) > 0);
}

void authority_free(struct authority *a)
{
    EVP_PKEY_free(a->key);
    X509_free(a->cert);
}

static void put(const char *dir, const char *name, X509 *x, EVP_PKEY *key)
{
    char path[600], tmp[620];
    FILE *f;

    snprintf(path, sizeof(path), "%.500s/%s", dir, name);
    snprintf(tmp, sizeof(tmp), "%s.new", path);
    f = fopen(tmp, "w");
    CHECK(f);
    CHECK(x ? PEM_write_X509(f, x) : PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL));
    CHECK(fclose(f) == 0 && rename(tmp, path) == 0);
}

void certs_put(const char *dir, const struct authority *trusts, const struct authority *by, const char *name,
               long until_s)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x;
    char san[300];

    CHECK(key && (mkdir(dir, 0700) == 0 || errno == EEXIST));
    x = certificate(key, "nobody", until_s);
    X509_set_issuer_name(x, X509_get_subject_name(by->cert));
    snprintf(san, sizeof(san), "DNS:%s", name);
    extend(x, NID_subject_alt_name, san);
    CHECK(X509_sign(x, by->key, EVP_sha256()) > 0);
    put(dir, "tls.key", NULL, key);
    put(dir, "tls.crt", x, NULL);
    put(dir, "ca.crt", trusts->cert, NULL);
    X509_free(x);
    EVP_PKEY_free(key);
}

static SSL_CTX *context(const char *dir, const char *alpn)
{
    SSL_CTX *c = SSL_CTX_new(TLS_client_method());
    char path[600];
    unsigned char list[16];

    CHECK(c);
    list[0] = (unsigned char)strlen(alpn);
    memcpy(list + 1, alpn, strlen(alpn));
    if (*alpn)
        CHECK(SSL_CTX_set_alpn_protos(c, list, list[0] + 1u) == 0);
    if (!dir)
        return c;
    snprintf(path, sizeof(path), "%.500s/tls.crt", dir);
    CHECK(SSL_CTX_use_certificate_chain_file(c, path) == 1);
    snprintf(path, sizeof(path), "%.500s/tls.key", dir);
    CHECK(SSL_CTX_use_PrivateKey_file(c, path, SSL_FILETYPE_PEM) == 1);
    return c;
}

static int shake(unsigned port, SSL *ssl, int *ret)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct timeval wait = {.tv_sec = 10};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    SSL_set_fd(ssl, fd);
    *ret = fd;
    return SSL_connect(ssl);
}

bool certs_let_in(unsigned port, const char *dir, const char *alpn)
{
    void (*was)(int) = signal(SIGPIPE, SIG_IGN); /* OpenSSL writes to sockets that were closed */
    SSL_CTX *c = context(dir, alpn);
    SSL *ssl = SSL_new(c);
    char byte;
    bool in;
    int fd;

    in = shake(port, ssl, &fd) == 1 && SSL_read(ssl, &byte, 1) == 1;
    ERR_clear_error();
    SSL_free(ssl);
    SSL_CTX_free(c);
    close(fd);
    signal(SIGPIPE, was);
    return in;
}

int certs_stay(unsigned port, const char *dir)
{
    SSL_CTX *c = context(dir, "h2");
    SSL *ssl = SSL_new(c);
    int fd;

    CHECK(shake(port, ssl, &fd) == 1);
    SSL_set_quiet_shutdown(ssl, 1);
    SSL_free(ssl); /* the socket stays */
    SSL_CTX_free(c);
    return fd;
}
