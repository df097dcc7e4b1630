/* tier/shared_lib: a library that is loaded when it is needed first, so that whoever does not need it has neither to have it nor to load
 * it, and all that it brings along, with each start. */
#ifndef VARVE_TIER_SHARED_LIB_H
#define VARVE_TIER_SHARED_LIB_H

#include "base/buf.h"

struct shared_fn {
    const char *name;
    size_t at; /* of its pointer in the table */
};

struct shared_lib {
    const char *file;    /* libname.so.N, found as the loader finds it */
    const char *what;    /* "rados: needs librados" */
    const char *package; /* that brings it */
};

/* shared_lib_load(l, fns, n, table, err): the pointers of its functions; it stays loaded. -E_NOTSUP with a sentence: it is not there, or
 * has not all of them; then nothing is loaded. */
int shared_lib_load(const struct shared_lib *l, const struct shared_fn *fns, size_t n, void *table,
                    struct buf *err);

#endif
