#include "tier/tree.h"

#include "tier/repo_page.h"

/* --- keys ----------------------------------------------------------------------------------------------------------- */

void tree_key_add(struct tree_key *k, const void *p, size_t len)
{
    assert(k->len + len <= sizeof(k->b));
    memcpy(k->b + k->len, p, len);
    k->len += len;
}

void tree_key_u32(struct tree_key *k, uint32_t v)
{
    uint8_t b[4];

    put_be32(b, v);
    tree_key_add(k, b, sizeof(b));
}

void tree_key_u64(struct tree_key *k, uint64_t v)
{
    uint8_t b[8];

    put_be64(b, v);
    tree_key_add(k, b, sizeof(b));
}

struct tree_key tree_key_ino(uint64_t ino)
{
    struct tree_key k = {.len = 0};

    tree_key_u64(&k, ino);
    return k;
}

struct tree_key tree_key(uint64_t ino, enum rec_kind kind)
{
    struct tree_key k = tree_key_ino(ino);
    uint8_t b = (uint8_t)kind;

    tree_key_add(&k, &b, 1);
    return k;
}

int tree_key_cmp(const uint8_t *a, size_t alen, const uint8_t *b, size_t blen)
{
    int c = memcmp(a, b, MIN_OF(alen, blen));

    return c ? c : (alen > blen) - (alen < blen);
}

/* --- pages ---------------------------------------------------------------------------------------------------------- */

int page_head(struct dec *d, struct page_head *ret)
{
    uint8_t version = dec_u8(d);

    ret->level = dec_u8(d);
    ret->entries = dec_u16(d);
    dec_u32(d);
    if (d->bad || ret->level >= TREE_DEPTH_MAX)
        return -E_CORRUPT;
    return version == PAGE_VERSION ? 0 : -E_REPO_NEWER;
}

int page_entry(struct dec *d, uint8_t level, struct tree_rec *ret)
{
    ret->klen = dec_u16(d);
    ret->vlen = dec_u16(d);
    ret->key = dec_bytes(d, ret->klen);
    ret->val = dec_bytes(d, ret->vlen);
    if (d->bad || ret->klen == 0 || ret->klen > TREE_KEY_MAX || (level && ret->vlen != SLICE_SIZE))
        return -E_CORRUPT;
    return 0;
}

int page_each(const uint8_t *p, size_t len, uint8_t *ret_level,
              int (*cb)(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen),
              void *arg)
{
    struct dec d = dec_of(p, len);
    struct page_head h;
    struct tree_rec e;
    int r = page_head(&d, &h);

    if (r == 0 && ret_level)
        *ret_level = h.level;
    for (; r == 0 && h.entries > 0; h.entries--) {
        r = page_entry(&d, h.level, &e);
        if (r == 0)
            r = cb(arg, e.key, e.klen, e.val, e.vlen);
    }
    return r != 0 ? r : d.left ? -E_CORRUPT : 0;
}

static struct slice slice_of(const uint8_t *val)
{
    struct dec d = dec_of(val, SLICE_SIZE);

    return slice_decode(&d);
}

int page_read(struct repo *r, const struct slice *s, struct buf *ret)
{
    cleanup(repo_page_put) struct repo_page *p = NULL;
    int x = repo_page_get(r, s, &p);

    return x < 0 ? x : buf_add(ret, p->plain.data, p->plain.len);
}

/* --- looking -------------------------------------------------------------------------------------------------------- */

struct scan {
    struct repo *r;
    const struct tree_key *prefix, *from;
    int (*cb)(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen);
    void *arg;
    bool done;
};

static int scan_page(struct scan *s, const struct slice *at, unsigned depth);

/* One entry, or a child that begins there and ends before `next` (NULL: not known). */
struct scan_at {
    struct scan *s;
    unsigned depth;
    uint8_t level;
    const uint8_t *key, *val; /* a child not yet gone into */
};

static bool past(const struct scan *s, const uint8_t *key, size_t klen)
{
    return s->prefix && s->prefix->len && memcmp(key, s->prefix->b, MIN_OF(klen, s->prefix->len)) > 0;
}

static int scan_child(struct scan_at *a, const uint8_t *next, size_t nlen)
{
    struct scan *s = a->s;
    const struct tree_key *from = s->from ? s->from : s->prefix;
    struct slice page;

    if (!a->key)
        return 0;
    if (next && from && tree_key_cmp(next, nlen, from->b, from->len) <= 0)
        return 0;
    page = slice_of(a->val);
    return scan_page(s, &page, a->depth + 1);
}

static int scan_leaf(struct scan *s, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    const struct tree_key *p = s->prefix;

    if (s->from && tree_key_cmp(key, klen, s->from->b, s->from->len) < 0)
        return 0;
    if (p && (klen < p->len || memcmp(key, p->b, p->len) != 0))
        return 0;
    return s->cb(s->arg, key, klen, val, vlen);
}

static int scan_entry(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    struct scan_at *a = arg;
    bool over = past(a->s, key, klen);
    int r;

    if (a->level == 0) {
        a->s->done = over;
        return over ? 1 : scan_leaf(a->s, key, klen, val, vlen);
    }
    r = scan_child(a, key, klen);
    a->key = key;
    a->val = val;
    if (r == 0 && (over || a->s->done)) {
        a->s->done = true;
        a->key = NULL;
        return 1;
    }
    return r;
}

static int scan_page(struct scan *s, const struct slice *at, unsigned depth)
{
    cleanup(repo_page_put) struct repo_page *p = NULL;
    struct scan_at a = {.s = s, .depth = depth};
    int r = depth > TREE_DEPTH_MAX ? -E_CORRUPT : repo_page_get(s->r, at, &p);

    if (r < 0)
        return r;
    if (p->plain.len < PAGE_HEAD)
        return -E_CORRUPT;
    a.level = p->plain.data[1];
    r = page_each(p->plain.data, p->plain.len, NULL, scan_entry, &a);
    if (r == 0)
        r = scan_child(&a, NULL, 0);
    return r == 1 && s->done ? 0 : r;
}

int tree_scan(struct repo *r, const struct tree *t, const struct tree_key *prefix,
              const struct tree_key *from,
              int (*cb)(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen),
              void *arg)
{
    struct scan s = {r, prefix, from, cb, arg, false};

    return t->depth ? scan_page(&s, &t->root, 1) : 0;
}

struct getting {
    const struct tree_key *k;
    struct buf *ret;
    bool found;
};

static int take_value(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    struct getting *g = arg;
    int r = 0;

    (void)key;
    g->found = klen == g->k->len;
    if (g->found)
        r = buf_add(g->ret, val, vlen);
    return r < 0 ? r : 1; /* what only begins with it comes after it */
}

int tree_get(struct repo *r, const struct tree *t, const struct tree_key *k, struct buf *ret)
{
    struct getting g = {k, ret, false};
    int x = tree_scan(r, t, k, NULL, take_value, &g);

    return x < 0 ? x : g.found ? 0 : -E_NOENT;
}

/* --- walking -------------------------------------------------------------------------------------------------------- */

struct walk {
    struct repo *r;
    int (*cb)(void *arg, const struct slice *page, const uint8_t *p, size_t len, int error);
    void *arg;
    unsigned depth;
};

static int walk_page(struct walk *w, const struct slice *at);

static int walk_entry(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    struct slice s = slice_of(val);

    (void)key;
    (void)klen;
    (void)vlen;
    return walk_page(arg, &s);
}

static int walk_page(struct walk *w, const struct slice *at)
{
    cleanup(buf_free) struct buf b = {0};
    int r = w->depth >= TREE_DEPTH_MAX ? -E_CORRUPT : page_read(w->r, at, &b);

    if (r == -E_NOMEM || r == -E_CANCELED)
        return r;
    r = w->cb(w->arg, at, r < 0 ? NULL : b.data, b.len, r);
    if (r != 0)
        return r < 0 ? r : 0;
    if (b.len < PAGE_HEAD || b.data[1] == 0)
        return 0;
    w->depth++;
    r = page_each(b.data, b.len, NULL, walk_entry, w);
    w->depth--;
    return r;
}

int tree_walk(struct repo *r, const struct tree *t,
              int (*cb)(void *arg, const struct slice *page, const uint8_t *p, size_t len, int error),
              void *arg)
{
    struct walk w = {r, cb, arg, 0};

    return t->depth ? walk_page(&w, &t->root) : 0;
}
