/* tier/rados_lib: librados, loaded when the first rados: URL is opened, so that a machine without Ceph needs nothing of it
 * (docs/decisions/0012-rados.md). */
#ifndef VARVE_TIER_RADOS_LIB_H
#define VARVE_TIER_RADOS_LIB_H

#include <time.h>

#include "base/buf.h"

#define RADOS_LIB_NAME "librados.so.2"

/* Their values in librados. */
enum { RADOS_CREATE_EXCLUSIVE = 1, RADOS_CMPXATTR_EQ = 1, RADOS_FULL_TRY = 64 };

struct rados_lib {
#define RADOS_FN(result_, name_, arguments_) result_(*name_) arguments_;
#include "tier/rados_lib.def"
#undef RADOS_FN
};

/* rados_lib_load(name, ret, err): once loaded it stays. -E_NOTSUP with a sentence: it is not there, or too old. */
int rados_lib_load(const char *name, const struct rados_lib **ret, struct buf *err);

#endif
