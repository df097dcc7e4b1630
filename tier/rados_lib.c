#include "tier/rados_lib.h"

#include <pthread.h>

#include "tier/shared_lib.h"

static const struct shared_fn functions[] = {
#define RADOS_FN(result_, name_, arguments_) {"rados_" #name_, offsetof(struct rados_lib, name_)},
#include "tier/rados_lib.def"
#undef RADOS_FN
};

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER; /* guards what follows */
static struct rados_lib lib;
static bool loaded;

int rados_lib_load(const char *name, const struct rados_lib **ret, struct buf *err)
{
    struct shared_lib l = {name, "rados: needs librados", "librados2"};
    int r;

    pthread_mutex_lock(&turn);
    r = loaded ? 0 : shared_lib_load(&l, functions, ARRAY_LEN(functions), &lib, err);
    loaded = r == 0;
    pthread_mutex_unlock(&turn);
    if (r == 0)
        *ret = &lib;
    return r;
}
