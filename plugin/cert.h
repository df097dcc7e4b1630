/* plugin/cert: the certificates by which the controller's driver and the nodes' know each other: an authority of its own, whose key is
 * forgotten, and what it signed: one for the nodes, one for the controller. EC P-256, X.509 version 3, as PEM. */
#ifndef VARVE_PLUGIN_CERT_H
#define VARVE_PLUGIN_CERT_H

#include "base/buf.h"

struct cert_pair {
    struct buf crt, key;
};
struct cert_set {
    struct buf ca;
    struct cert_pair node, controller;
};

void cert_set_free(struct cert_set *s); /* keys are overwritten; fit for cleanup() */

/* cert_make: DNS names are node.DRIVER and controller.DRIVER; they hold from an hour before now_s, as clocks differ, for life_s behind it.
 * The node's is good for servers only, the controller's for clients only. *ret has nothing in it before. false: out of memory or of chance. */
bool cert_make(const char *driver, int64_t now_s, int64_t life_s, struct cert_set *ret);

/* cert_wrong: NULL: it is whole, one authority signed both, the names are those of the driver, and more than a third of its life is left.
 * Else why not. */
const char *cert_wrong(const struct cert_set *s, const char *driver, int64_t now_s);

#endif
