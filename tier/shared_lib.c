#include "tier/shared_lib.h"

#include <dlfcn.h>
#include <string.h>

int shared_lib_load(const struct shared_lib *l, const struct shared_fn *fns, size_t n, void *table,
                    struct buf *err)
{
    void *so = dlopen(l->file, RTLD_NOW | RTLD_LOCAL);

    if (!so) {
        buf_printf(err, "%s, which cannot be loaded (%s): install the package %s", l->what, dlerror(),
                   l->package);
        return -E_NOTSUP;
    }
    for (size_t i = 0; i < n; i++) {
        void *f = dlsym(so, fns[i].name);

        if (!f) {
            buf_printf(err, "%s, but this one is too old: %s has no %s", l->what, l->file, fns[i].name);
            dlclose(so);
            return -E_NOTSUP;
        }
        memcpy((char *)table + fns[i].at, &f, sizeof(f));
    }
    return 0;
}
