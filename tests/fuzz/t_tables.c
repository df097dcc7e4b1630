/* A store whose records lie. The input is a list of edits of its records, which get right checksums and come to the store as
 * one journal record, as if they had been written so:
 *
 *   op8 index16 then  0: at8 byte         one byte of the value is xored
 *                     1: at8 u64          a number in the value
 *                     2: len8             the value is cut (or grows with zeros)
 *                     3:                  the record is deleted
 *                     4: len8 bytes       the value
 *                     5: other16          the value of another record
 *                     6: at8 byte         another record with one byte of the key xored
 *   op8 bit 7: as a pending image of inode 3
 *
 * Then the store is checked, dumped, opened, looked at, used, looked at again. The first byte of the input says of what: 1 it is
 * repaired, 2 used, 4 not dumped, 8 not looked at again. Nothing of it may crash. */
#include <stdio.h>
#include <stdlib.h>

#include "snap/check.h"
#include "snap/store/scan.h"
#include "snap/store/store_int.h"
#include "tests/fuzz/world.h"

#define EDITS_MAX 12
#define RECORDS_MAX 400

struct rec {
    uint8_t key[KEY_SIZE_MAX];
    size_t klen, len;
    uint32_t born;
    uint8_t flags;
    uint8_t *val;
};
static struct rec recs[RECORDS_MAX];
static size_t nrecs;

static int take(void *arg, const struct scan_item *it)
{
    struct rec *r = &recs[nrecs];

    (void)arg;
    if (nrecs == RECORDS_MAX || it->verdict < 0)
        return 0;
    memcpy(r->key, it->key, it->klen);
    r->klen = it->klen;
    r->len = it->val.len;
    r->born = it->val.born;
    r->flags = it->val.flags;
    r->val = (uint8_t *)in_text(it->val.data, it->val.len);
    nrecs++;
    return 0;
}

static const struct store_settings settings = {.no_threads = true};

/* Of the closed store: what there is to lie about, and how far its tables have come. */
static void records_load(struct world *w, struct store_state *ret)
{
    struct store *s;
    struct txn t;

    FUZZ_CHECK(store_open(w->io, w->path, &settings, STORE_CHECK, &s, NULL) == 0);
    store_get_state(s, ret);
    if (!nrecs) {
        FUZZ_CHECK(txn_begin(s, TXN_READ, OP_NONE, NULL, &t) == 0);
        FUZZ_CHECK(txn_scan(&t, KEEP_FIRM, NULL, 0, take, NULL) == 0);
        txn_abort(&t);
    }
    store_drop(s);
}

struct edit {
    uint8_t key[KEY_SIZE_MAX];
    uint8_t env[VAL_HDR_SIZE + 8192];
    struct jput put;
};

/* The sum is over the key as a live one. */
static size_t sum_key(const uint8_t *key, size_t klen, uint8_t *out)
{
    memcpy(out, key, klen);
    out[0] &= (uint8_t)~TAB_HISTORY;
    return key[0] & TAB_HISTORY && klen > 4 ? klen - 4 : klen;
}

static void edit_one(struct edit *e, struct fuzz_in *in)
{
    uint8_t op = in_u8(in), val[8192], key[KEY_SIZE_MAX];
    const struct rec *r = &recs[in_u16(in) % nrecs], *other;
    size_t len = MIN_OF(r->len, sizeof(val)), klen = r->klen, at = 0, n;
    const uint8_t *p;

    memcpy(val, r->val, len);
    memcpy(e->key, r->key, klen);
    if (op % 8 <= 1 || op % 8 == 6)
        at = in_u8(in);
    switch (op % 8) {
    case 0:
        if (at < len)
            val[at] ^= in_u8(in);
        break;
    case 1:
        if (at + 8 <= len)
            put_le64(val + at, in_u64(in));
        break;
    case 2:
        n = in_u8(in);
        if (n > len)
            memset(val + len, 0, n - len);
        len = n;
        break;
    case 4:
        p = in_bytes(in, in_u8(in), &len);
        memcpy(val, p, len);
        break;
    case 5:
        other = &recs[in_u16(in) % nrecs];
        len = MIN_OF(other->len, sizeof(val));
        memcpy(val, other->val, len);
        break;
    case 6: e->key[at % klen] ^= in_u8(in); break;
    default: break;
    }
    n = sum_key(e->key, klen, key);
    envelope_make(e->env, key, n, r->born, r->flags, val, len);
    memcpy(e->env + VAL_HDR_SIZE, val, len);
    e->put = (struct jput){.op = op % 8 == 3,
                           .level = op >> 7,
                           .key = e->key,
                           .klen = (uint32_t)klen,
                           .val = e->env,
                           .vlen = (uint32_t)(VAL_HDR_SIZE + len)};
    if (e->put.level) {
        e->put.owner_branch = 1;
        e->put.owner_ino = 3;
    }
    if (e->put.op)
        e->put.vlen = 0;
}

static int ignore(void *arg, struct jrec_view *rec, bool same_boot)
{
    (void)arg;
    (void)rec;
    (void)same_boot;
    return 0;
}

/* Appends the edits to the journal of the closed store. */
static void lie(const struct world *w, const struct store_state *st, struct jput *puts, uint32_t n)
{
    struct jrec rec = {.hdr = {.kind = OP_SETATTR, .flags = JREC_FIRM, .nputs = n}, .puts = puts};
    char dir[500], why[256];
    struct journal *j;
    uint64_t lsn;

    snprintf(dir, sizeof(dir), "%s/journal", w->path);
    FUZZ_CHECK(journal_open(w->io, dir, &st->uuid, &j, why) == 0);
    FUZZ_CHECK(journal_replay(j, st->applied_lsn, ignore, NULL, why) == 0);
    FUZZ_CHECK(journal_start(j) == 0);
    FUZZ_CHECK(journal_append(j, &rec, &lsn) == 0);
    FUZZ_CHECK(journal_flush(j, lsn) == 0);
    journal_close(j);
}

static void dump_all(const struct world *w)
{
    static char *const what[][2] = {
        {(char *)"tables", NULL}, {(char *)"journal", NULL}, {(char *)"version", NULL}};

    for (size_t i = 0; i < ARRAY_LEN(what); i++) {
        cleanup(buf_free) struct buf out = {0};
        (void)dump_path(w->io, w->path, 1, (char **)(uintptr_t)what[i], &out);
    }
}

/* Pages are not what lies here, so the child process of check_path() is done without. */
static void check_all(struct world *w, bool repair)
{
    struct check_opts o = {.repair = repair, .quiet = true};
    struct check_result res;

    if (store_open(w->io, w->path, &settings, repair ? 0 : STORE_CHECK, &w->env.store, NULL) < 0)
        return;
    if (repair)
        (void)snap_attach(w->env.store);
    (void)check_store(w->env.store, &o, &res);
    (void)store_close(TAKE(w->env.store));
}

void run_tables(const uint8_t *p, size_t len)
{
    static struct edit edits[EDITS_MAX];
    struct jput puts[EDITS_MAX];
    struct fuzz_in in = {p, len};
    uint8_t what = in_u8(&in);
    struct store_state st;
    struct world w;
    uint32_t n = 0;

    world_copy(&w);
    records_load(&w, &st);
    for (; n < EDITS_MAX && in.left; n++) {
        edit_one(&edits[n], &in);
        puts[n] = edits[n].put;
    }
    lie(&w, &st, puts, n);
    check_all(&w, false);
    if (!(what & 4))
        dump_all(&w);
    if (what & 1)
        check_all(&w, true);
    if (world_open(&w) == 0) {
        world_look(&w);
        if (w.v && what & 2)
            world_use(&w);
        if (!(what & 8))
            world_look(&w);
    }
    world_end(&w);
}

void seeds_tables(void)
{
    struct store_state st;
    struct world w;
    char name[64];
    size_t seen = 0;

    world_copy(&w);
    records_load(&w, &st);
    world_end(&w);
    /* of each table the first record: a number in it, and its end cut off */
    for (size_t i = 0; i < nrecs; i++) {
        uint8_t b[13] = {3, 1, (uint8_t)i, (uint8_t)(i >> 8), 8, 255, 255, 255, 255, 255, 255, 255, 127};
        uint8_t cut[5] = {2, 2, (uint8_t)i, (uint8_t)(i >> 8), 3};
        if (seen && recs[i].key[0] == recs[seen - 1].key[0])
            continue;
        seen = i + 1;
        snprintf(name, sizeof(name), "%s%s", scan_table_name(recs[i].key[0]),
                 recs[i].key[0] & TAB_HISTORY ? "-h" : "");
        fuzz_seed(name, b, sizeof(b));
        snprintf(name, sizeof(name), "%s%s-cut", scan_table_name(recs[i].key[0]),
                 recs[i].key[0] & TAB_HISTORY ? "-h" : "");
        fuzz_seed(name, cut, sizeof(cut));
    }
}
