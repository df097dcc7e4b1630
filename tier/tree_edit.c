/* Editing: the pages on the way to what changes are read, merged with the edits, and cut anew. */
#include <stdlib.h>

#include "base/array.h"
#include "tier/repo_ahead.h"
#include "tier/repo_page.h"
#include "tier/tree.h"

/* A record or a reference; its bytes lie in an arena or a page that lives as long as the edit. */
struct entry {
    const uint8_t *key, *val;
    uint16_t klen, vlen;
    uint32_t seq;
};
struct entries {
    struct entry *v;
    size_t n;
};

struct block {
    struct block *next;
    size_t used, cap;
    uint8_t b[];
};
#define BLOCK_MIN (256u << 10)

struct edits {
    struct entries puts, removals;
    struct block *blocks;
    size_t bytes;
    int (*went)(void *arg, const uint8_t *val, size_t len);
    void *arg;
};

/* --- gathering ------------------------------------------------------------------------------------------------------ */

static uint8_t *arena(struct block **head, size_t len)
{
    struct block *b = *head;

    if (!b || b->cap - b->used < len) {
        size_t cap = MAX_OF(len, (size_t)BLOCK_MIN);

        if (!(b = malloc(sizeof(*b) + cap)))
            return NULL;
        *b = (struct block){.next = *head, .cap = cap};
        *head = b;
    }
    b->used += len;
    return b->b + b->used - len;
}

static void arena_free(struct block **head)
{
    for (struct block *b = *head, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    *head = NULL;
}

static int entries_add(struct entries *l, const struct entry *e)
{
    struct entry *v = array_more(l->v, l->n, sizeof(*v));

    if (!v)
        return -E_NOMEM;
    l->v = v;
    l->v[l->n++] = *e;
    return 0;
}

static void entries_free(struct entries *l)
{
    free(l->v);
    *l = (struct entries){0};
}

int edits_new(struct edits **ret)
{
    *ret = calloc(1, sizeof(**ret));
    return *ret ? 0 : -E_NOMEM;
}

static void edits_clear(struct edits *e)
{
    entries_free(&e->puts);
    entries_free(&e->removals);
    arena_free(&e->blocks);
    e->bytes = 0;
}

void edits_free(struct edits *e)
{
    if (!e)
        return;
    edits_clear(e);
    free(e);
}

void edits_watch(struct edits *e, int (*went)(void *arg, const uint8_t *val, size_t len), void *arg)
{
    e->went = went;
    e->arg = arg;
}

size_t edits_bytes(const struct edits *e)
{
    return e->bytes;
}

static int edit_add(struct edits *e, struct entries *l, const struct tree_key *k, const void *val, size_t len)
{
    uint8_t *p = arena(&e->blocks, k->len + len);
    struct entry x = {p, p + k->len, (uint16_t)k->len, (uint16_t)len, (uint32_t)l->n};

    if (!p)
        return -E_NOMEM;
    memcpy(p, k->b, k->len);
    if (len)
        memcpy(p + k->len, val, len);
    e->bytes += k->len + len + sizeof(x);
    return entries_add(l, &x);
}

int edits_put(struct edits *e, const struct tree_key *k, const void *val, size_t len)
{
    assert(k->len > 0);
    if (len > TREE_VALUE_MAX)
        return -E_TOOBIG;
    return edit_add(e, &e->puts, k, val, len);
}

int edits_remove(struct edits *e, const struct tree_key *prefix)
{
    assert(prefix->len > 0);
    return edit_add(e, &e->removals, prefix, NULL, 0);
}

static int entry_cmp(const struct entry *a, const uint8_t *key, size_t klen)
{
    int c = memcmp(a->key, key, MIN_OF((size_t)a->klen, klen));

    return c ? c : (a->klen > klen) - (a->klen < klen);
}

static int by_key(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    int c = entry_cmp(x, y->key, y->klen);

    return c ? c : (x->seq > y->seq) - (x->seq < y->seq);
}

/* Sorted; of one key the last put stays; a removal below another goes. */
static void entries_sort(struct entries *l, bool prefixes)
{
    size_t n = 0;

    if (l->n)
        qsort(l->v, l->n, sizeof(*l->v), by_key);
    for (size_t i = 0; i < l->n; i++) {
        struct entry *e = &l->v[i], *last = n ? &l->v[n - 1] : NULL;

        if (last && prefixes && e->klen >= last->klen && memcmp(e->key, last->key, last->klen) == 0)
            continue;
        if (last && !prefixes && entry_cmp(last, e->key, e->klen) == 0)
            *last = *e;
        else
            l->v[n++] = *e;
    }
    l->n = n;
}

/* --- applying ------------------------------------------------------------------------------------------------------- */

struct apply {
    struct packer *p;
    struct repo *r;
    struct edits *e;
    struct block *blocks; /* pages read, keys and references of pages made */
};

/* The range of keys that a page is for: [lo, hi); hi NULL: no end. */
struct bounds {
    const uint8_t *lo, *hi;
    size_t lo_len, hi_len;
};

/* The first of the sorted entries that is not less than key. */
static size_t lower(const struct entries *l, const uint8_t *key, size_t klen)
{
    size_t lo = 0, hi = l->n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (entry_cmp(&l->v[mid], key, klen) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool begins(const uint8_t *key, size_t klen, const struct entry *with)
{
    return klen >= with->klen && memcmp(key, with->key, with->klen) == 0;
}

/* The removal that takes key, or NULL. The only candidate is the last one that is not greater. */
static const struct entry *removal_of(const struct entries *l, const uint8_t *key, size_t klen)
{
    size_t i = lower(l, key, klen);

    if (i < l->n && begins(key, klen, &l->v[i]))
        return &l->v[i];
    return i > 0 && begins(key, klen, &l->v[i - 1]) ? &l->v[i - 1] : NULL;
}

static bool puts_in(const struct entries *l, const struct bounds *b, size_t *ret_from, size_t *ret_to)
{
    *ret_from = b->lo ? lower(l, b->lo, b->lo_len) : 0;
    *ret_to = b->hi ? lower(l, b->hi, b->hi_len) : l->n;
    return *ret_from < *ret_to;
}

static bool touched(const struct apply *a, const struct bounds *b)
{
    size_t from, to;

    return puts_in(&a->e->puts, b, &from, &to) || puts_in(&a->e->removals, b, &from, &to) ||
           (b->lo && removal_of(&a->e->removals, b->lo, b->lo_len));
}

static bool is_inode(const uint8_t *key, size_t klen)
{
    return klen > 8 && key[8] == REC_INODE;
}

/* One removal takes all that can be below, and nothing is put there: the page need not be read, unless it tells of what is watched. */
static bool gone(const struct apply *a, const struct bounds *b)
{
    const struct entry *rm = b->lo && b->hi ? removal_of(&a->e->removals, b->lo, b->lo_len) : NULL;
    size_t from, to;

    return rm && begins(b->hi, b->hi_len, rm) && !puts_in(&a->e->puts, b, &from, &to) &&
           (!a->e->went || !is_inode(b->lo, b->lo_len) || BROKEN(VARVE_BREAK_watch_gone));
}

/* A record that the tree had is no part of it any more. */
static int went(const struct apply *a, const struct entry *e)
{
    return a->e->went && is_inode(e->key, e->klen) ? a->e->went(a->e->arg, e->val, e->vlen) : 0;
}

static size_t entry_size(const struct entry *e)
{
    return PAGE_ENTRY + e->klen + e->vlen;
}

static int page_emit(struct apply *a, uint8_t level, const struct entry *v, size_t n, struct entries *out)
{
    cleanup(buf_free) struct buf b = {0};
    uint8_t head[PAGE_HEAD] = {PAGE_VERSION, level}, *at;
    struct slice s;
    struct enc e;
    int r;

    put_le16(head + 2, (uint16_t)n);
    r = buf_add(&b, head, sizeof(head));
    for (size_t i = 0; r == 0 && i < n; i++) {
        uint8_t lens[PAGE_ENTRY];

        put_le16(lens, v[i].klen);
        put_le16(lens + 2, v[i].vlen);
        if ((r = buf_add(&b, lens, sizeof(lens))) == 0 && (r = buf_add(&b, v[i].key, v[i].klen)) == 0)
            r = buf_add(&b, v[i].val, v[i].vlen);
    }
    if (r == 0)
        r = packer_blob(a->p, CHUNK_META, b.data, b.len, &s);
    if (r < 0)
        return r;
    if (!(at = arena(&a->blocks, v->klen + (size_t)SLICE_SIZE)))
        return -E_NOMEM;
    memcpy(at, v->key, v->klen);
    e.p = at + v->klen;
    slice_encode(&e, &s);
    return entries_add(out, &(struct entry){at, at + v->klen, v->klen, SLICE_SIZE, 0});
}

/* Cuts entries in pages of about the same size, as few as fit. */
static int pages_emit(struct apply *a, uint8_t level, const struct entries *in, struct entries *out)
{
    size_t total = 0, pages, target, from = 0, size = 0;
    int r = 0;

    for (size_t i = 0; i < in->n; i++)
        total += entry_size(&in->v[i]);
    pages = (total + PAGE_TARGET - 1) / PAGE_TARGET;
    target = pages ? (total + pages - 1) / pages : 0;
    for (size_t i = 0; r == 0 && i < in->n; i++) {
        size += entry_size(&in->v[i]);
        if (size < target && i + 1 < in->n)
            continue;
        r = page_emit(a, level, in->v + from, i + 1 - from, out);
        from = i + 1;
        size = 0;
    }
    return r;
}

struct reading {
    struct entries *out;
    uint8_t level;
};

static int read_entry(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    struct reading *g = arg;

    return entries_add(g->out, &(struct entry){key, val, (uint16_t)klen, (uint16_t)vlen, 0});
}

static struct slice child_slice(const struct entry *ref)
{
    struct dec d = dec_of(ref->val, ref->vlen);

    return slice_decode(&d);
}

/* The entries of a page of the tree; they stay until the edit ends. */
static int page_load(struct apply *a, const struct entry *ref, uint8_t *ret_level, struct entries *out)
{
    cleanup(repo_page_put) struct repo_page *page = NULL;
    struct slice s = child_slice(ref);
    struct reading g = {.out = out};
    uint8_t *p;
    int r = repo_page_get(a->r, &s, &page);

    if (r < 0)
        return r;
    if (!(p = arena(&a->blocks, page->plain.len)))
        return -E_NOMEM;
    memcpy(p, page->plain.data, page->plain.len);
    return page_each(p, page->plain.len, ret_level, read_entry, &g);
}

/* Records of a leaf (ref NULL: of none), merged with the edits within its bounds, appended to out. */
static int leaf_merge(struct apply *a, const struct entries *old, const struct bounds *b, struct entries *out)
{
    const struct entries *puts = &a->e->puts;
    size_t i = 0, k, end;
    int r = 0;

    puts_in(puts, b, &k, &end);
    while (r == 0 && (i < old->n || k < end)) {
        int c = i == old->n ? 1 : k == end ? -1 : entry_cmp(&old->v[i], puts->v[k].key, puts->v[k].klen);

        if (c == 0)
            r = went(a, &old->v[i++]);
        if (r == 0 && c >= 0)
            r = entries_add(out, &puts->v[k++]);
        else if (r == 0 && !removal_of(&a->e->removals, old->v[i].key, old->v[i].klen))
            r = entries_add(out, &old->v[i++]);
        else if (r == 0)
            r = went(a, &old->v[i++]);
    }
    return r;
}

static int apply_page(struct apply *a, const struct entry *ref, uint8_t level, const struct bounds *b,
                      struct entries *loose);

/* What was merged and not cut yet becomes pages. */
static int loose_end(struct apply *a, uint8_t level, struct entries *loose, struct entries *out)
{
    int r = loose->n ? pages_emit(a, level, loose, out) : 0;

    loose->n = 0;
    return r;
}

/* What the i-th child of a page is for. */
static struct bounds bounds_of(const struct entries *kids, size_t i, const struct bounds *b)
{
    struct bounds kb = {i ? kids->v[i].key : b->lo, b->hi, i ? kids->v[i].klen : b->lo_len, b->hi_len};

    if (i + 1 < kids->n) {
        kb.hi = kids->v[i + 1].key;
        kb.hi_len = kids->v[i + 1].klen;
    }
    return kb;
}

/* Leaves that change lie all over the repository: those that come next are fetched meanwhile. What is fetched must be taken, else nothing
 * more is. */
static void leaves_ahead(struct apply *a, const struct entries *kids, const struct bounds *b, size_t i,
                         size_t *next)
{
    for (*next = MAX_OF(*next, i); *next < kids->n; ++*next) {
        struct bounds kb = bounds_of(kids, *next, b);
        struct slice s = child_slice(&kids->v[*next]);

        if (touched(a, &kb) && !gone(a, &kb) && !repo_page_kept(a->r, &s) &&
            !repo_ahead(a->r, &s.chunk, AHEAD_SEALED))
            break;
    }
}

/* The children of an inner page, each passed on or gone into; neighbours that change are cut together. */
static int apply_children(struct apply *a, const struct entries *kids, uint8_t level, const struct bounds *b,
                          struct entries *out)
{
    struct entries loose = {0};
    size_t next = 0;
    int r = 0;

    for (size_t i = 0; r == 0 && i < kids->n; i++) {
        struct bounds kb = bounds_of(kids, i, b);

        if (level == 1)
            leaves_ahead(a, kids, b, i, &next);
        if (gone(a, &kb))
            continue;
        if (touched(a, &kb)) {
            r = apply_page(a, &kids->v[i], (uint8_t)(level - 1), &kb, &loose);
        } else {
            r = loose_end(a, (uint8_t)(level - 1), &loose, out);
            if (r == 0)
                r = entries_add(out, &kids->v[i]);
        }
    }
    if (r == 0)
        r = loose_end(a, (uint8_t)(level - 1), &loose, out);
    entries_free(&loose);
    return r;
}

/* Appends the page's new entries to loose (they are cut by the caller). */
static int apply_page(struct apply *a, const struct entry *ref, uint8_t level, const struct bounds *b,
                      struct entries *loose)
{
    struct entries old = {0}, kids = {0};
    uint8_t is = 0;
    int r = page_load(a, ref, &is, &old);

    if (r == 0 && is != level)
        r = -E_CORRUPT;
    if (r == 0 && level == 0)
        r = leaf_merge(a, &old, b, loose);
    else if (r == 0)
        r = apply_children(a, &old, level, b, &kids);
    for (size_t i = 0; r == 0 && i < kids.n; i++)
        r = entries_add(loose, &kids.v[i]);
    entries_free(&old);
    entries_free(&kids);
    return r;
}

/* The entries of what is to be the root, at their level; cut until one page is left. */
static int make_root(struct apply *a, struct entries *top, uint8_t level, struct tree *t)
{
    int r = 0;

    if (top->n == 0) {
        *t = (struct tree){.depth = 0};
        return 0;
    }
    for (;; level++) {
        struct entries next = {0};
        struct dec d;

        if (level >= TREE_DEPTH_MAX)
            return -E_TOOBIG;
        if (level == 0 || top->n > 1) {
            r = pages_emit(a, level, top, &next);
            entries_free(top);
            *top = next;
        } else {
            level--; /* the one child is the root */
        }
        if (r < 0)
            return r;
        if (top->n > 1)
            continue;
        d = dec_of(top->v->val, top->v->vlen);
        *t = (struct tree){slice_decode(&d), level + 1u};
        return 0;
    }
}

int tree_apply(struct packer *p, struct repo *r, struct tree *t, struct edits *e)
{
    struct apply a = {p, r, e, NULL};
    struct bounds all = {0};
    struct entries top = {0}, none = {0};
    uint8_t slice[SLICE_SIZE];
    int x = 0;

    if (e->puts.n == 0 && e->removals.n == 0)
        return 0;
    /* what is in this session's packs only cannot be read back */
    if (t->depth && (x = packer_flush(p)) < 0)
        return x;
    entries_sort(&e->puts, false);
    entries_sort(&e->removals, true);
    if (t->depth) {
        struct enc c = {slice};

        slice_encode(&c, &t->root);
        x = apply_page(&a, &(struct entry){NULL, slice, 0, SLICE_SIZE, 0}, (uint8_t)(t->depth - 1), &all,
                       &top);
    } else {
        x = leaf_merge(&a, &none, &all, &top);
    }
    if (x == 0)
        x = make_root(&a, &top, (uint8_t)(t->depth ? t->depth - 1 : 0), t);
    repo_ahead_drop(r);
    entries_free(&top);
    arena_free(&a.blocks);
    edits_clear(e);
    return x;
}
