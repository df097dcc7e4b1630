/* What comes out of an object store: headers, plain objects, trailers, indexes, pages, records, recovery points. A first byte chooses
 * which; what is proved by a hash or a tag in life is given here as if it were right. */
#include <stdlib.h>

#include "tests/fuzz/fuzz.h"
#include "tier/export_format.h"
#include "tier/have.h"
#include "tier/map.h"
#include "tier/point.h"

static const struct id16 id = {{7}};

static struct domain domain(void)
{
    static const struct key k = {{1}};
    struct domain d;

    FUZZ_CHECK(domain_derive(&id, &k, &d) == 0);
    return d;
}

/* Bounds that whoever is called back relies on. */
static int chunk(void *arg, const struct id16 *c, const struct have_chunk *h)
{
    (void)arg;
    (void)c;
    FUZZ_CHECK(h->plain_len <= CHUNK_PLAIN_MAX);
    return 0;
}

static int blob(void *arg, const struct id16 *b, const struct have_blob *h)
{
    (void)arg;
    (void)b;
    FUZZ_CHECK(h->off <= CHUNK_PLAIN_MAX && h->len <= CHUNK_PLAIN_MAX - h->off);
    return 0;
}

static int pack(void *arg, const struct sha *name, uint64_t size, const void *trailer, size_t len)
{
    struct trailer_cb cb = {chunk, blob, NULL};

    (void)arg;
    (void)size;
    (void)trailer_walk(name, trailer, len, &cb);
    return 0;
}

static int record(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    struct point_inode in;
    struct point_dirent e;
    struct extent x;
    uint32_t run;

    (void)arg;
    FUZZ_CHECK(klen > 0 && klen <= TREE_KEY_MAX);
    (void)point_inode_decode(val, vlen, &in);
    if (point_dirent_decode(val, vlen, &e) == 0)
        FUZZ_CHECK(e.name_len > 0 && e.name_len <= POINT_NAME_MAX && !memchr(e.name, '/', e.name_len));
    if (klen >= 9 && extent_decode(key, klen, val, vlen, &x, &run) == 0)
        FUZZ_CHECK(x.blocks > 0 && (x.kind != EXTENT_SLICE || x.s.len <= (uint64_t)x.blocks * TIER_BLOCK));
    return 0;
}

static void chunk_bytes(const uint8_t *p, size_t len)
{
    cleanup(buf_free) struct buf out = {0};
    struct domain d = domain();
    struct chunk_head h;

    if (unseal_head(p, len, &h) == 0)
        FUZZ_CHECK(h.aad_len + SUM8 <= len && h.plain_len <= CHUNK_PLAIN_MAX);
    (void)unseal(&d, 0, p, len, NULL, &out);
}

static void pack_bytes(const uint8_t *p, size_t len)
{
    cleanup(buf_free) struct buf out = {0};
    struct domain d = domain();
    struct uuid u = {{0}};

    (void)pack_open(&u, &d, p, len, &out);
}

/* Between the objects of an export: under right sums. */
static void export_bytes(const uint8_t *p, size_t len)
{
    uint8_t v[EXPORT_OBJECT_MAX] = {0};
    size_t n = MIN_OF(len, sizeof(v) - SUM8), size;
    struct export_object o;
    struct export_head h;
    struct export_end e;

    memcpy(v, p, n);
    FUZZ_CHECK(crypt_sum8(v, n, v + n) == 0);
    if (export_object_decode(v, n + SUM8, &o) == 0)
        FUZZ_CHECK(backend_name_check(o.name) == 0);
    if (export_object_size(v, &size) == 0)
        FUZZ_CHECK(size <= sizeof(v));
    FUZZ_CHECK(crypt_sum8(v, EXPORT_HEAD - SUM8, v + EXPORT_HEAD - SUM8) == 0);
    (void)export_head_decode(v, &h);
    FUZZ_CHECK(crypt_sum8(v, EXPORT_END - SUM8, v + EXPORT_END - SUM8) == 0);
    (void)export_end_decode(v, &e);
}

static void plain_bytes(const uint8_t *p, size_t len)
{
    struct secret s = {.kdf = KDF_FILE};
    struct uuid u = {{0}};
    struct master_keys keys = {.wrap = {{0}}};
    struct repo_root root;
    struct domain_head dom;
    struct key k;

    (void)root_decode(p, len, &root);
    (void)root_prove(p, len, &keys);
    (void)key_decode(p, len, &u, &s, &k);
    (void)domain_decode(p, len, &u, &keys, &dom, &k);
}

static void point_bytes(const uint8_t *p, size_t len)
{
    struct point pt;

    if (point_decode(p, len, &pt) == 0) {
        FUZZ_CHECK(strlen(pt.volume_name) <= POINT_NAME_MAX && strlen(pt.snapshot_name) <= POINT_NAME_MAX);
        point_release(&pt);
    }
}

void run_repo(const uint8_t *p, size_t len)
{
    struct trailer_cb cb = {chunk, blob, NULL};
    static const struct sha none;

    if (len == 0)
        return;
    switch (*p % 8) {
    case 0: chunk_bytes(p + 1, len - 1); break;
    case 1: pack_bytes(p + 1, len - 1); break;
    case 2: plain_bytes(p + 1, len - 1); break;
    case 3: (void)trailer_walk(&none, p + 1, len - 1, &cb); break;
    case 4: (void)index_walk(p + 1, len - 1, pack, NULL); break;
    case 5: (void)page_each(p + 1, len - 1, NULL, record, NULL); break;
    case 7: export_bytes(p + 1, len - 1); break;
    default: point_bytes(p + 1, len - 1); break;
    }
}

static void seed(const char *name, uint8_t kind, const struct buf *b)
{
    cleanup(buf_free) struct buf all = {0};

    FUZZ_CHECK(buf_add(&all, &kind, 1) == 0 && buf_add(&all, b->data, b->len) == 0);
    fuzz_seed(name, all.data, all.len);
}

void seeds_repo(void)
{
    static const struct master_keys keys = {.wrap = {{1}}};
    static const struct key k = {{1}};
    const struct domain_head dh = {.id = id, .flags = DOMAIN_OWN};
    cleanup(buf_free) struct buf c = {0}, pk = {0}, root = {0}, key = {0}, dom = {0}, tr = {0}, ix = {0},
                                 page = {0}, pt = {0}, xp = {0};
    struct export_object xo = {.name = "packs/00/00", .len = 5};
    uint8_t obj[EXPORT_OBJECT_MAX];
    struct secret s = {.kdf = KDF_FILE};
    struct repo_root g = {.generation = 1, .domain = id};
    struct point p = {.files = 1, .volume_name = "main", .snapshot_name = "a", .tree = {.depth = 1}};
    struct domain d = domain();
    uint8_t trailer[TRAILER_HEAD + TRAILER_CHUNK + TRAILER_BLOB] = {1}, head[INDEX_HEAD + INDEX_PACK] = {1};
    uint8_t leaf[PAGE_HEAD + PAGE_ENTRY + 21 + 8 + SLICE_SIZE] = {PAGE_VERSION, 0, 1};
    struct uuid u = {{0}};
    size_t n;

    put_le32(trailer + 4, 1);
    put_le32(trailer + TRAILER_HEAD + 16, PACK_HEAD);
    put_le32(trailer + TRAILER_HEAD + 20, 100);
    put_le32(trailer + TRAILER_HEAD + 24, 5);
    put_le32(trailer + TRAILER_HEAD + 32, 1);
    put_le32(trailer + TRAILER_HEAD + TRAILER_CHUNK + 16, 5);
    put_le32(head + 4, 1);
    put_le32(head + INDEX_HEAD + 40, sizeof(trailer));
    put_le16(leaf + PAGE_HEAD, 21);
    put_le16(leaf + PAGE_HEAD + 2, 8 + SLICE_SIZE);
    leaf[PAGE_HEAD + PAGE_ENTRY + 8] = REC_EXTENT;
    leaf[PAGE_HEAD + PAGE_ENTRY + 21] = EXTENT_SLICE;
    leaf[PAGE_HEAD + PAGE_ENTRY + 25] = 1;
    leaf[PAGE_HEAD + PAGE_ENTRY + 29 + 36] = 9;
    FUZZ_CHECK(seal(&d, CHUNK_DATA, &id, "some bytes, some bytes, some bytes", 34, &c) == 0);
    FUZZ_CHECK(pack_begin(&u, &d, &pk) == 0 && pack_close(&d, trailer, sizeof(trailer), &pk) == 0);
    FUZZ_CHECK(root_encode(&g, &keys, &root) == 0 && key_encode(&u, &k, &s, &key) == 0);
    FUZZ_CHECK(domain_encode(&u, &dh, &k, &keys, &dom) == 0 && point_encode(&p, &pt) == 0);
    FUZZ_CHECK(buf_add(&tr, trailer, sizeof(trailer)) == 0 && buf_add(&page, leaf, sizeof(leaf)) == 0);
    FUZZ_CHECK(buf_add(&ix, head, sizeof(head)) == 0 && buf_add(&ix, trailer, sizeof(trailer)) == 0);
    seed("chunk", 0, &c);
    seed("pack", 1, &pk);
    seed("root", 2, &root);
    seed("key", 2, &key);
    seed("domain", 2, &dom);
    seed("trailer", 3, &tr);
    seed("index", 4, &ix);
    seed("page", 5, &page);
    seed("point", 6, &pt);
    FUZZ_CHECK(export_object_encode(&xo, obj, &n) == 0 && buf_add(&xp, obj, n - SUM8) == 0);
    seed("export", 7, &xp);
}
