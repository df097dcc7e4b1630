#include "tier/curl_lib.h"

#include <pthread.h>

#include "tier/shared_lib.h"

static const struct shared_fn functions[] = {
#define CURL_FN(name_) {"curl_" #name_, offsetof(struct curl_lib, name_)},
#include "tier/curl_lib.def"
#undef CURL_FN
};

struct curl_lib curl_lib;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER; /* guards what follows */
static bool loaded;

static int load_locked(const char *name, struct buf *err)
{
    struct shared_lib l = {name, "s3: needs libcurl", "libcurl4"};
    CURLcode c;
    int r = shared_lib_load(&l, functions, ARRAY_LEN(functions), &curl_lib, err);

    if (r < 0)
        return r;
    if ((c = curl_lib.global_init(CURL_GLOBAL_DEFAULT)) != CURLE_OK) {
        buf_printf(err, "s3: libcurl does not start: %s", curl_lib.easy_strerror(c));
        return -E_IO;
    }
    loaded = true;
    return 0;
}

int curl_lib_load(const char *name, struct buf *err)
{
    int r;

    pthread_mutex_lock(&turn);
    r = loaded ? 0 : load_locked(name, err);
    pthread_mutex_unlock(&turn);
    return r;
}
