#include "snap/changes.h"

#include <stdlib.h>

#include "base/array.h"

void changes_free(struct changes *c)
{
    free(c->v);
    *c = (struct changes){0};
}

int changes_add(struct changes *c, uint8_t tab, const uint8_t *key)
{
    bool two = tab == TAB_DIRENT || tab == TAB_SPAN;
    struct change x = {.ino = get_be64(key), .a = two ? get_be64(key + 8) : 0, .tab = tab}, *p;

    if (c->n && c->v[c->n - 1].ino == x.ino && c->v[c->n - 1].a == x.a && c->v[c->n - 1].tab == x.tab)
        return 0;
    if (!(p = array_more(c->v, c->n, sizeof(*p))))
        return -E_NOMEM;
    c->v = p;
    c->v[c->n++] = x;
    return 0;
}

static int collect_one(void *arg, uint32_t layer, uint8_t tab, const uint8_t *key, size_t klen)
{
    (void)layer;
    return klen == tab_key_len(tab) && klen ? changes_add(arg, tab, key) : -E_CORRUPT;
}

int changes_collect(struct txn *t, uint32_t branch, uint32_t after, uint32_t to, struct changes *c)
{
    return vt_touched(t, branch, after, to, collect_one, c);
}

int touched_next(struct txn *t, uint32_t branch, uint32_t after, uint32_t to, uint8_t *key, uint32_t *klen)
{
    uint8_t from[KEY_SIZE_MAX + 1];
    const uint8_t *found;
    struct txn_val val;
    size_t n = *klen, flen;
    int r;

    if (n) { /* the smallest key after it */
        memcpy(from, key, n);
        from[n++] = 0;
    } else {
        from[0] = TAB_TOUCHED;
        put_be32(from + 1, branch);
        put_be32(from + 5, after + 1);
        n = 9;
    }
    r = txn_ge(t, KEEP_PENDING, from, n, 5, &found, &flen, &val);
    if (r == -E_NOENT)
        return 0;
    if (r < 0)
        return r;
    if (flen < 10 || flen > KEY_SIZE_MAX || flen != 10 + tab_key_len(found[9]) || flen == 10)
        return -E_CORRUPT;
    if (get_be32(found + 5) > to)
        return 0;
    memcpy(key, found, flen);
    *klen = (uint32_t)flen;
    return 1;
}

#define GATHER_BATCH 2048

static int gather_batch(struct store *s, uint32_t branch, uint32_t after, uint32_t to, uint8_t *key,
                        uint32_t *klen, struct changes *c)
{
    struct txn t;
    int r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t);

    if (r < 0)
        return r;
    r = 1;
    for (int i = 0; i < GATHER_BATCH && r == 1; i++) {
        r = touched_next(&t, branch, after, to, key, klen);
        if (r == 1 && changes_add(c, key[9], key + 10) < 0)
            r = -E_NOMEM;
    }
    txn_abort(&t);
    return r;
}

int changes_gather(struct store *s, uint32_t branch, uint32_t after, uint32_t to, struct changes *c)
{
    uint8_t key[KEY_SIZE_MAX];
    uint32_t klen = 0;
    int r = after == UINT32_MAX ? 0 : 1;

    while (r == 1)
        r = gather_batch(s, branch, after, to, key, &klen, c);
    return r;
}

static int by_key(const void *a, const void *b)
{
    const struct change *x = a, *y = b;

    if (x->ino != y->ino)
        return x->ino < y->ino ? -1 : 1;
    if (x->tab != y->tab)
        return x->tab < y->tab ? -1 : 1;
    return x->a < y->a ? -1 : x->a > y->a;
}

void changes_sort(struct changes *c)
{
    size_t n = 0;

    if (c->n)
        qsort(c->v, c->n, sizeof(*c->v), by_key);
    for (size_t i = 0; i < c->n; i++)
        if (n == 0 || by_key(&c->v[i], &c->v[n - 1]) != 0)
            c->v[n++] = c->v[i];
    c->n = n;
}

size_t changes_group(const struct changes *c, size_t i)
{
    size_t end = i + 1;

    while (end < c->n && c->v[end].ino == c->v[i].ino)
        end++;
    return end;
}
