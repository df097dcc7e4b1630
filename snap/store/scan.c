#include "snap/store/scan.h"

#include "snap/store/store_int.h"

/* By number. */
static const struct {
    uint16_t least, most; /* length of the whole key; tables with life spans: of the live one */
    const char *name;
} tables[] = {
    [TAB_INODE] = {13, 13, "INODE"},     [TAB_DIRENT] = {21, 21, "DIRENT"},
    [TAB_LINK] = {29, 29, "LINK"},       [TAB_XATTR] = {22, 22, "XATTR"},
    [TAB_DATA] = {15, 15, "DATA"},       [TAB_SPAN] = {21, 21, "SPAN"},
    [TAB_ORPHAN] = {13, 13, "ORPHAN"},   [TAB_META] = {2, 2, "META"},
    [TAB_VOLUME] = {5, 5, "VOLUME"},     [TAB_VOLNAME] = {2, 256, "VOLNAME"},
    [TAB_VSTAT] = {5, 5, "VSTAT"},       [TAB_BRANCH] = {5, 5, "BRANCH"},
    [TAB_LAYER] = {9, 9, "LAYER"},       [TAB_SNAPNAME] = {6, 260, "SNAPNAME"},
    [TAB_VIEW] = {9, 9, "VIEW"},         [TAB_TOUCHED] = {18, 34, "TOUCHED"},
    [TAB_OBJECT] = {9, 9, "OBJECT"},     [TAB_OBJREF] = {21, 21, "OBJREF"},
    [TAB_RECLAIM] = {9, 9, "RECLAIM"},   [TAB_RESULT] = {17, 17, "RESULT"},
    [TAB_JOB] = {9, 9, "JOB"},           [TAB_COLD] = {17, 17, "COLD"},
    [TAB_SOURCE] = {5, 5, "SOURCE"},     [TAB_PROFILE] = {5, 5, "PROFILE"},
    [TAB_SCHEDULE] = {5, 5, "SCHEDULE"}, [TAB_READ] = {13, 13, "READ"},
    [TAB_IDLE] = {21, 21, "IDLE"},       [TAB_SWEEP] = {13, 13, "SWEEP"},
};

static uint8_t live_tab(uint8_t tab)
{
    return (tab & ~TAB_HISTORY) < TAB__LIFE_END ? tab & (uint8_t)~TAB_HISTORY : tab;
}

const char *scan_table_name(uint8_t tab)
{
    return live_tab(tab) < ARRAY_LEN(tables) ? tables[live_tab(tab)].name : NULL;
}

uint8_t scan_table_find(const char *name)
{
    size_t i;

    for (i = 0; i < ARRAY_LEN(tables); i++)
        if (tables[i].name && strcmp(tables[i].name, name) == 0)
            return (uint8_t)i;
    return 0;
}

bool scan_key_ok(const uint8_t *key, size_t klen)
{
    uint8_t tab = live_tab(key[0]);
    size_t died = tab != key[0] ? 4 : 0;

    return scan_table_name(tab) && klen >= tables[tab].least + died && klen <= tables[tab].most + died;
}

int txn_scan(struct txn *t, enum keep keep, const void *prefix, size_t plen,
             int (*cb)(void *arg, const struct scan_item *it), void *arg)
{
    static const uint8_t first[1];
    bool firm = keep == KEEP_FIRM;
    struct kv_item kv;
    int r =
        kv_ge_prefix(t->store->kv, t->read, firm, plen ? prefix : first, MAX_OF(plen, (size_t)1), plen, &kv);

    assert(t->mode == TXN_READ);
    assert(plen < KEY_SIZE_MAX);
    while (r == 0) {
        struct scan_item it = {.key = kv.key, .klen = kv.klen, .raw = kv.val, .raw_len = kv.vlen};
        it.verdict = scan_key_ok(it.key, it.klen) ? envelope_check(&kv, &it.val) : -E_CORRUPT;
        r = cb(arg, &it);
        if (r != 0)
            return r;
        r = kv_after(t->store->kv, t->read, firm, kv.key, kv.klen, plen, &kv);
    }
    return r == -E_NOENT ? 0 : r;
}
