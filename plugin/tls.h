/* plugin/tls: TLS 1.3 between the drivers of a cluster, without I/O: bytes of the net in and out, bytes of HTTP/2 in and out.
 *
 * Both sides show a certificate, and each looks whether the other's chains to ca.crt and has the DNS name that it expects: nodes
 * `controller.DRIVER`, controllers `node.DRIVER` (csi.varve.io where nothing else is said); a common name does not count, nor do wildcards.
 * Certificates that say what they are for (extended key usage) say clientAuth for controllers, serverAuth for nodes. Anything but HTTP/2
 * (ALPN h2) is refused. There are no session tickets: each connection is looked at anew.
 *
 * The files are those of a Kubernetes secret of type kubernetes.io/tls, in a directory: ca.crt (one certificate or more: any of them is
 * trusted), tls.crt (with what leads from it to one of these), tls.key (not encrypted). They may be missing, and change at any time: they are
 * looked at before each connection. Where they cannot be used there are no connections, and tls_files_why says why. */
#ifndef VARVE_PLUGIN_TLS_H
#define VARVE_PLUGIN_TLS_H

#include "base/buf.h"

enum tls_side { TLS_NODE, TLS_CONTROLLER }; /* who we are: nodes are connected to */

struct tls_files;
struct tls;

/* tls_files_new(dir, driver, side, &ret): -E_NOMEM. Nothing is read yet. One thread at a time; connections outlive it. */
int tls_files_new(const char *dir, const char *driver, enum tls_side side, struct tls_files **ret);
void tls_files_free(struct tls_files *f); /* NULL is allowed */
/* tls_files_look: reads them where they have changed. True: they can be used. *ret_version (may be NULL) is another one after each change. */
bool tls_files_look(struct tls_files *f, uint64_t *ret_version);
const char *tls_files_why(const struct tls_files *f); /* a sentence; valid until the next look */

/* tls_new: one connection, by what the last look has read. -E_KEY: that was nothing; -E_NOMEM. */
int tls_new(struct tls_files *f, struct tls **ret);
void tls_free(struct tls *t); /* NULL is allowed */

/* tls_in: bytes that came. -E_NOMEM. tls_read: what they say, *ret_len 0: nothing now. -E_CLOSED: the other side said goodbye; -E_PROTO:
 * close; what is to be said of it is still in tls_out, and tls_why says why. A handshake goes on by tls_read. */
int tls_in(struct tls *t, const uint8_t *p, size_t len);
int tls_read(struct tls *t, uint8_t *to, size_t room, size_t *ret_len);
/* tls_write: once it is open. -E_PROTO, -E_NOMEM. */
int tls_write(struct tls *t, const uint8_t *p, size_t len);
/* tls_out: bytes to be sent; valid until the next call of it. *ret_len 0: none. -E_NOMEM. */
int tls_out(struct tls *t, const uint8_t **ret, size_t *ret_len);
bool tls_is_open(const struct tls *t); /* the handshake is over: who is there is known */
const char *tls_why(const struct tls *t);

#endif
