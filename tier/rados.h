/* tier/rados: the backend for rados://pool/namespace: in varve-tierd only. Names here begin with rad_, as those of librados begin with
 * rados_.
 *
 * An object is a RADOS object of its name in the namespace, put by one operation: exclusive creation, the bytes, and the attribute
 * varve.owner, a token that tells whose it is when no answer came. A larger one is cut: parts .part/TOKEN/NUMBER first, then the head,
 * an empty object with the attribute varve.parts; docs/repository-format.md has the page of it. */
#ifndef VARVE_TIER_RADOS_H
#define VARVE_TIER_RADOS_H

#include "tier/backend.h"
#include "tier/rados_lib.h"
#include "tier/url.h"

/* rad_open: connects, and looks for one object, so that a wrong key, pool or monitor is told at once. err: a sentence. lib: NULL, or
 * what stands in for librados. -E_NOTSUP (no librados), -E_ACCES, -E_TIMEOUT, -E_IO (no such pool), -E_USAGE. */
int rad_open(const struct rados_conf *conf, const struct rados_lib *lib, struct backend **ret,
             struct buf *err);

#endif
