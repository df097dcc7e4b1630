#include <stdlib.h>

#include "snap/store/delta.h"
#include "tests/unit/kv_case.h"

static void put_bytes(struct kv *kv, const uint8_t *key, size_t klen, const void *val, size_t vlen)
{
    CHECK_OK(kv_reserve(kv, 1, klen + vlen));
    kv_put(kv, key, klen, val, vlen);
}

/* As a store's tables grow while files are made: each behind its last entry, and before the first one of the next. */
TEST(test_kv_write__tables_that_grow_at_their_ends_fill_their_pages)
{
    enum { ROUNDS = 20, TABLES = 5, EACH = 400 };
    struct kv *kv = kv_new(64 << 20);
    uint64_t bytes = 0, entries = 0;
    struct kv_stat st;
    uint32_t n = 0;

    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < EACH; i++, n++)
            for (uint8_t t = 1; t <= TABLES; t++) {
                uint8_t key[16] = {t}, val[200] = {t};
                size_t vlen = 30u * t;

                put_be32(key + 1, n);
                put_bytes(kv, key, 5 + 2 * t, val, vlen);
                bytes += 5 + 2 * t + vlen + 10; /* with what a page has for each */
                entries++;
            }
        checkpoint(kv);
    }
    if (!BROKEN(VARVE_BREAK_runs))
        expect_mark("kv: way made for a run");
    CHECK_OK(kv_stat(kv, &st));
    CHECK_EQ(st.entries, entries);
    CHECK((st.used_bytes - st.free_pages * st.page_bytes) * 4 / 5 < bytes);
    kv_close(kv);
}

/* --- whatever is written, what was there beside it stays ----------------------------------------------------------------- */

#define KEYS 6000u

struct model {
    uint32_t stamp[KEYS]; /* 0: not there */
    uint64_t count;
    uint32_t next;
};

static size_t model_key(uint32_t n, uint8_t key[64])
{
    size_t klen = 4 + n % 17 * 3;

    memset(key, 'k', 64);
    put_be32(key, n);
    return klen;
}

static size_t model_val(uint32_t n, uint32_t stamp, uint8_t *val)
{
    size_t vlen = 4 + (n * 7u + stamp) % 150;

    if ((n + stamp) % 97 == 0)
        vlen = 3000; /* in pages of its own */
    if ((n + stamp) % 89 == 0)
        vlen = 1500;
    memset(val, (int)n, vlen);
    put_le32(val, stamp);
    return vlen;
}

static void model_put(struct kv *kv, struct model *m, uint32_t n, bool there)
{
    uint8_t key[64], val[4096];
    size_t klen = model_key(n, key);

    m->count += (uint64_t)there - (m->stamp[n] != 0);
    m->stamp[n] = there ? ++m->next : 0;
    if (there)
        put_bytes(kv, key, klen, val, model_val(n, m->stamp[n], val));
    else
        put_bytes(kv, key, klen, NULL, 0);
}

static void model_change(struct kv *kv, struct model *m, uint64_t *seed)
{
    uint32_t from = (uint32_t)(test_rand(seed) % KEYS), kind = (uint32_t)(test_rand(seed) % 8),
             len = kind < 4 ? 1 : (uint32_t)(test_rand(seed) % 600);

    for (uint32_t n = from; n < KEYS && n < from + len; n++)
        if (kind != 5 || n % 3)
            model_put(kv, m, n, kind == 0 || kind > 5 || (kind == 5 ? n % 5 != 0 : kind != 4 && kind != 1));
}

static void model_compare(struct kv *kv, const struct model *m)
{
    uint8_t key[64], val[4096];
    struct kv_read *r;
    struct kv_stat st;

    CHECK_OK(kv_stat(kv, &st));
    CHECK_EQ(st.entries, m->count);
    CHECK_OK(kv_read_begin(kv, &r));
    for (uint32_t n = 0; n < KEYS; n++) {
        struct kv_item it;
        int e = kv_get(kv, r, true, key, model_key(n, key), &it);

        if (!m->stamp[n]) {
            CHECK_ERR(e, -E_NOENT);
            continue;
        }
        CHECK_OK(e);
        CHECK_EQ(it.vlen, model_val(n, m->stamp[n], val));
        CHECK(memcmp(it.val, val, it.vlen) == 0);
    }
    kv_read_end(kv, r);
}

TEST(test_kv_write__runs_between_others_lose_nothing)
{
    uint64_t seed = test_seed();
    struct kv *kv = kv_new(64 << 20);
    static struct model m;

    memset(&m, 0, sizeof(m));
    for (int round = 0; round < 120; round++) {
        for (uint64_t i = test_rand(&seed) % 12; i > 0; i--)
            model_change(kv, &m, &seed);
        checkpoint(kv);
        model_compare(kv, &m);
    }
    expect_mark("kv: way made for a run");
    kv_close(kv);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
