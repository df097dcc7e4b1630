/* What the tests of the tables share: an environment in the test's directory, texts as keys and values. */
#ifndef VARVE_TESTS_UNIT_KV_CASE_H
#define VARVE_TESTS_UNIT_KV_CASE_H

#include <stdio.h>
#include <sys/stat.h>

#include "snap/store/kv.h"
#include "tests/lib/test.h"

static inline const char *meta_dir(void)
{
    static char path[512];

    snprintf(path, sizeof(path), "%s/meta", test_dir());
    (void)mkdir(path, 0700);
    return path;
}

static inline struct kv *kv_new(uint64_t map_bytes)
{
    struct kv *kv = NULL;

    CHECK_OK(kv_open(meta_dir(), map_bytes, false, &kv));
    return kv;
}

static inline void put(struct kv *kv, const char *key, const char *val)
{
    CHECK_OK(kv_reserve(kv, 1, strlen(key) + (val ? strlen(val) : 0)));
    kv_put(kv, key, strlen(key), val, val ? strlen(val) : 0);
}

static inline size_t key_of(uint32_t n, uint8_t key[16])
{
    size_t len = 4 + n % 5;

    memset(key, 'k', 16);
    put_be32(key, n);
    return len;
}

/* The value as text, "-" where there is none. */
static inline const char *get(struct kv *kv, bool firm, const char *key)
{
    static char text[64];
    struct kv_read *r;
    struct kv_item it;
    int e;

    CHECK_OK(kv_read_begin(kv, &r));
    e = kv_get(kv, r, firm, key, strlen(key), &it);
    if (e == 0)
        snprintf(text, sizeof(text), "%.*s", (int)it.vlen, (const char *)it.val);
    else
        CHECK_ERR(e, -E_NOENT);
    kv_read_end(kv, r);
    return e == 0 ? text : "-";
}

static inline void checkpoint(struct kv *kv)
{
    CHECK_OK(kv_checkpoint_seal(kv));
    CHECK_OK(kv_checkpoint_write(kv, NULL, 0, NULL, 0, NULL, NULL));
    kv_checkpoint_done(kv);
}

#define CHECK_TEXT(got, want)                                                                                \
    do {                                                                                                     \
        const char *got_ = (got);                                                                            \
        if (strcmp(got_, want) != 0)                                                                         \
            test_fail(__FILE__, __LINE__, "%s: got %s, want %s", #got, got_, want);                          \
    } while (0)

#endif
