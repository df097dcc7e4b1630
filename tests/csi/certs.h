/* tests/csi/certs: authorities and certificates, right and wrong ones, as files of a Kubernetes secret. */
#ifndef VARVE_TESTS_CSI_CERTS_H
#define VARVE_TESTS_CSI_CERTS_H

#include <openssl/ssl.h>

#include "base/base.h"

struct authority {
    EVP_PKEY *key;
    X509 *cert;
};
void authority_make(struct authority *a, const char *name);
void authority_free(struct authority *a);

/* certs_put(dir, trusts, by, name, until_s): DIR/ca.crt of trusts; tls.crt and tls.key of one that by signed, with this DNS name, good until so
 * many seconds from now. The directory is made. */
void certs_put(const char *dir, const struct authority *trusts, const struct authority *by, const char *name,
               long until_s);

/* certs_let_in: whether one with these (NULL: none) is let in at 127.0.0.1:PORT: something of HTTP/2 comes. alpn: "h2". */
bool certs_let_in(unsigned port, const char *dir, const char *alpn);

/* certs_stay: shakes hands, and says nothing more. The socket. */
int certs_stay(unsigned port, const char *dir);

#endif
