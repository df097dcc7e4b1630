#include "tier/rados_lib.h"

#include <dlfcn.h>
#include <pthread.h>

static const struct {
    const char *name;
    size_t at;
} functions[] = {
#define RADOS_FN(result_, name_, arguments_) {"rados_" #name_, offsetof(struct rados_lib, name_)},
#include "tier/rados_lib.def"
#undef RADOS_FN
};

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER; /* guards what follows */
static struct rados_lib lib;
static bool loaded;

static int load_locked(const char *name, struct buf *err)
{
    void *so = dlopen(name, RTLD_NOW | RTLD_LOCAL);

    if (!so) {
        buf_printf(err, "rados: needs librados, which cannot be loaded (%s): install the package librados2",
                   dlerror());
        return -E_NOTSUP;
    }
    for (size_t i = 0; i < ARRAY_LEN(functions); i++) {
        void *f = dlsym(so, functions[i].name);

        if (!f) {
            buf_printf(err, "rados: needs a newer librados: %s has no %s", name, functions[i].name);
            dlclose(so);
            return -E_NOTSUP;
        }
        memcpy((char *)&lib + functions[i].at, &f, sizeof(f));
    }
    loaded = true;
    return 0;
}

int rados_lib_load(const char *name, const struct rados_lib **ret, struct buf *err)
{
    int r;

    pthread_mutex_lock(&turn);
    r = loaded ? 0 : load_locked(name, err);
    pthread_mutex_unlock(&turn);
    if (r == 0)
        *ret = &lib;
    return r;
}
