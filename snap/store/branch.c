/* Branches by number. Numbers are never given twice, so those of a store that lives for long lie far apart: pages of pointers. */
#include <stdlib.h>
#include <string.h>

#include "snap/store/store_int.h"

#define PAGE 4096u      /* pointers */
#define OWN_SEEKS 1024u /* of more the tables are not looked at: seldom, and right without it */

struct branch_page {
    struct branch_mem *mem[PAGE];
};

struct branch_mem *branch_slot(struct store *s, uint32_t id)
{
    const struct branch_page *p = id / PAGE < s->nbranch_pages ? s->branch_pages[id / PAGE] : NULL;

    return p ? p->mem[id % PAGE] : NULL;
}

struct branch_mem *branch_mem(struct store *s, uint32_t id)
{
    struct branch_mem *b = branch_slot(s, id);

    return b && b->present ? b : NULL;
}

void branch_note_own(struct store *s, const uint8_t *key)
{
    uint8_t tab = key[0] & (uint8_t)~TAB_HISTORY;
    struct branch_mem *b = tab < TAB__LIFE_END ? branch_slot(s, get_be32(key + 1)) : NULL;

    if (b)
        b->own[(key[0] & TAB_HISTORY) != 0] |= 1u << tab;
}

static int page_make(struct store *s, uint32_t at)
{
    if (at >= s->nbranch_pages) {
        struct branch_page **v = realloc(s->branch_pages, (at + 1) * sizeof(*v));

        if (!v)
            return -E_NOMEM;
        memset(v + s->nbranch_pages, 0, (at + 1 - s->nbranch_pages) * sizeof(*v));
        s->branch_pages = v;
        s->nbranch_pages = at + 1;
    }
    if (!s->branch_pages[at])
        s->branch_pages[at] = calloc(1, sizeof(struct branch_page));
    return s->branch_pages[at] ? 0 : -E_NOMEM;
}

int branch_mem_make(struct store *s, uint32_t id, struct branch_mem **ret)
{
    struct branch_mem **at;
    int r = id == UINT32_MAX ? -E_CORRUPT : page_make(s, id / PAGE); /* that many were never made */

    if (r < 0)
        return r;
    at = &s->branch_pages[id / PAGE]->mem[id % PAGE];
    if (!*at)
        *at = calloc(1, sizeof(**at));
    *ret = *at;
    return *at ? 0 : -E_NOMEM;
}

/* The first one at or after id; UINT32_MAX: none. */
static uint32_t branch_next(struct store *s, uint32_t id)
{
    while (id / PAGE < s->nbranch_pages) {
        const struct branch_page *p = s->branch_pages[id / PAGE];

        for (uint32_t i = id % PAGE; p && i < PAGE; i++)
            if (p->mem[i] && p->mem[i]->present)
                return id / PAGE * PAGE + i;
        id = (id / PAGE + 1) * PAGE;
        if (id == 0)
            break;
    }
    return UINT32_MAX;
}

int branch_get(struct store *s, uint32_t id, struct branch_rec *ret)
{
    const struct branch_mem *b = branch_mem(s, id);

    if (!b)
        return -E_NOENT;
    *ret = b->rec;
    return 0;
}

int branch_each(struct store *s, int (*cb)(void *arg, const struct branch_rec *b), void *arg)
{
    int r = 0;

    for (uint32_t id = branch_next(s, 0); r == 0 && id != UINT32_MAX; id = branch_next(s, id + 1)) {
        struct branch_rec rec = branch_slot(s, id)->rec;

        r = cb(arg, &rec);
    }
    return r;
}

struct branch_change {
    struct branch_rec rec;
    bool present;
};

static void branch_drop(struct store *s, uint32_t id)
{
    struct branch_mem *b = TAKE(s->branch_pages[id / PAGE]->mem[id % PAGE]);

    free(b->retained);
    free(b);
}

static void change_branch(struct store *s, void *arg)
{
    const struct branch_change *c = arg;
    struct branch_mem *b = branch_slot(s, c->rec.id); /* room was made */

    if (!c->present) {
        branch_drop(s, c->rec.id);
        return;
    }
    b->rec = c->rec;
    b->present = true;
}

static int branch_change(struct txn *t, const struct branch_rec *rec, bool present)
{
    struct branch_change *c = txn_alloc(t, sizeof(*c));
    struct branch_mem *b;

    if (!c)
        return -E_NOMEM;
    *c = (struct branch_change){*rec, present};
    int r = branch_mem_make(t->store, rec->id, &b);
    return r < 0 ? r : txn_on_commit(t, change_branch, c);
}

int branch_put(struct txn *t, const struct branch_rec *rec)
{
    uint8_t k[KEY_SIZE_MAX], out[RECORD_SIZE_MAX];
    int r = branch_change(t, rec, true);

    return r < 0 ? r : txn_put_plain(t, k, key_u32(k, TAB_BRANCH, rec->id), out, branch_rec_encode(rec, out));
}

int branch_del(struct txn *t, uint32_t id)
{
    uint8_t k[KEY_SIZE_MAX];
    int r = branch_change(t, &(struct branch_rec){.id = id}, false);

    return r < 0 ? r : txn_del(t, KEEP_FIRM, (struct txn_owner){0}, k, key_u32(k, TAB_BRANCH, id));
}

/* Branches that have no record in a table: from each record that is found to the first one of a later branch. */
static int load_own_of(struct txn *t, uint8_t tab, bool old)
{
    uint8_t k[5] = {old ? tab | TAB_HISTORY : tab};
    uint32_t id = branch_next(t->store, 0), holds;
    const uint8_t *found;
    size_t flen;
    struct txn_val v;

    for (unsigned seeks = 0; id != UINT32_MAX && seeks < OWN_SEEKS; seeks++) {
        put_be32(k + 1, id);
        int r = txn_ge(t, KEEP_PENDING, k, sizeof(k), 1, &found, &flen, &v);
        if (r < 0 && r != -E_NOENT)
            return r;
        if (r == 0 && flen < sizeof(k))
            return 0; /* no key of ours: nothing is certain any more */
        holds = r == 0 ? get_be32(found + 1) : UINT32_MAX;
        for (; id < holds; id = branch_next(t->store, id + 1))
            branch_slot(t->store, id)->own[old] &= ~(1u << tab);
        if (id == holds && id != UINT32_MAX)
            id = branch_next(t->store, id + 1);
    }
    return 0;
}

int branches_load_own(struct txn *t)
{
    int r = 0;

    for (uint8_t tab = 1; tab < TAB__LIFE_END && r == 0; tab++) {
        r = load_own_of(t, tab, false);
        if (r == 0)
            r = load_own_of(t, tab, true);
    }
    return r;
}

void branches_free(struct store *s)
{
    for (uint32_t i = 0; i < s->nbranch_pages; i++) {
        for (uint32_t k = 0; s->branch_pages[i] && k < PAGE; k++)
            if (s->branch_pages[i]->mem[k])
                branch_drop(s, i * PAGE + k);
        free(s->branch_pages[i]);
    }
    free(TAKE(s->branch_pages));
    s->nbranch_pages = 0;
}
