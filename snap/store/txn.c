#include "snap/store/txn.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/log.h"
#include "snap/store/slow.h"
#include "snap/store/store_int.h"

struct txn_page {
    struct txn_page *next;
    size_t used, size;
    _Alignas(16) uint8_t bytes[];
};

struct txn_put {
    struct txn_put *next;
    struct txn_put *same_slot, *same_tab; /* in the index: the one put before it */
    uint8_t op;                           /* as struct jput */
    uint8_t level;
    struct txn_owner owner;
    const uint8_t *key, *val;
    uint32_t klen, vlen;
};

/* Of many puts: by key, and by table; the newest first. */
#define INDEX_FROM 32u
#define INDEX_SLOTS 1024u
struct txn_index {
    struct txn_put *slot[INDEX_SLOTS];
    struct txn_put *tab[256];
};

struct txn_hook {
    struct txn_hook *next;
    void (*fn)(struct store *s, void *arg);
    void *arg;
};

#define PAGE_BYTES 8000u

void *txn_alloc(struct txn *t, size_t len)
{
    struct txn_page *pg = t->pages;
    size_t need = (len + 15) & ~(size_t)15;

    if (!pg || pg->size - pg->used < need) {
        size_t size = MAX_OF(need, (size_t)PAGE_BYTES);
        pg = malloc(sizeof(*pg) + size);
        if (!pg)
            return NULL;
        *pg = (struct txn_page){.next = t->pages, .size = size};
        t->pages = pg;
    }
    void *p = pg->bytes + pg->used;
    pg->used += need;
    return p;
}

static void *txn_copy(struct txn *t, const void *p, size_t len)
{
    void *c = txn_alloc(t, len ? len : 1);

    if (c && len)
        memcpy(c, p, len);
    return c;
}

/* The first page stays with the reader for the next transaction. */
static void pages_end(struct txn *t)
{
    while (t->pages) {
        struct txn_page *pg = t->pages;
        t->pages = pg->next;
        if (t->read && !t->pages && pg->size == PAGE_BYTES)
            *kv_read_keep(t->read) = pg;
        else
            free(pg);
    }
}

static void pages_begin(struct txn *t)
{
    void **keep = kv_read_keep(t->read);

    t->pages = TAKE(*keep);
    if (t->pages)
        t->pages->used = 0;
}

static void txn_end(struct txn *t)
{
    pages_end(t);
    if (t->read)
        kv_read_end(t->store->kv, t->read);
    pthread_rwlock_unlock(&t->store->lock);
    if (t->mode == TXN_WRITE)
        slow_tell(t->op);
}

static int begin(struct store *s, enum txn_mode mode, enum op_kind op, struct vol *v, bool reserve,
                 struct txn *t)
{
    int r;

    *t = (struct txn){.store = s, .mode = mode, .op = op, .use_reserve = reserve};
    t->puts_end = &t->puts;
    t->hooks_end = &t->hooks;
    if (mode == TXN_WRITE) {
        slow_begin();
        r = store_make_room(s, reserve);
        slow_over(SLOW_ROOM);
        if (r < 0)
            return r;
        pthread_rwlock_wrlock(&s->lock);
        slow_over(SLOW_LOCK);
    } else {
        pthread_rwlock_rdlock(&s->lock);
    }
    t->vol = v ? v->rec.id : 0;
    r = kv_read_begin(s->kv, &t->read);
    if (mode == TXN_WRITE)
        slow_over(SLOW_TABLES);
    if (r < 0)
        txn_end(t);
    else
        pages_begin(t);
    return r;
}

int txn_begin(struct store *s, enum txn_mode mode, enum op_kind op, struct vol *v, struct txn *t)
{
    return begin(s, mode, op, v, false, t);
}

int txn_begin_freeing(struct store *s, enum op_kind op, struct vol *v, struct txn *t)
{
    return begin(s, TXN_WRITE, op, v, true, t);
}

void txn_abort(struct txn *t)
{
    sift_undone(t);
    txn_end(t);
}

bool txn_any_pending(const struct txn *t)
{
    return kv_pending_bytes(t->store->kv) > 0;
}

uint64_t txn_state(const struct txn *t)
{
    return BROKEN(VARVE_BREAK_state) ? 1 : kv_changes(t->store->kv);
}

/* The sum of an envelope: the same for a record in the live table and in history. */
static uint32_t envelope_sum(const uint8_t *key, size_t klen, const uint8_t *env, size_t len)
{
    bool life = (key[0] & ~TAB_HISTORY) < TAB__LIFE_END, old = life && (key[0] & TAB_HISTORY);
    uint64_t h = hash_sum(old ? key[0] & ~TAB_HISTORY : key[0], key + 1, klen - 1 - (old ? 4 : 0));

    h = hash_sum(h, env, 8);
    return hash_sum32(h, env + VAL_HDR_SIZE, len - VAL_HDR_SIZE);
}

void envelope_make(uint8_t *env, const void *key, size_t klen, uint32_t born, uint8_t flags,
                   const void *payload, size_t len)
{
    env[0] = VAL_VERSION;
    env[1] = flags;
    env[2] = env[3] = 0;
    put_le32(env + 4, born);
    if (len)
        memcpy(env + VAL_HDR_SIZE, payload, len);
    put_le32(env + 8, envelope_sum(key, klen, env, VAL_HDR_SIZE + len));
}

int envelope_check(const struct kv_item *it, struct txn_val *ret)
{
    const uint8_t *env = it->val;

    if (it->vlen < VAL_HDR_SIZE || env[0] != VAL_VERSION ||
        get_le32(env + 8) != envelope_sum(it->key, it->klen, env, it->vlen))
        return -E_CORRUPT;
    *ret = (struct txn_val){env + VAL_HDR_SIZE, it->vlen - VAL_HDR_SIZE, get_le32(env + 4), env[1]};
    return 0;
}

/* What was never on a disk is as it was made. */
static int envelope_open(const struct kv_item *it, struct txn_val *ret)
{
    const uint8_t *env = it->val;
    int r = 0;

    if (it->stored || it->vlen < VAL_HDR_SIZE || env[0] != VAL_VERSION)
        r = envelope_check(it, ret);
    else
        *ret = (struct txn_val){env + VAL_HDR_SIZE, it->vlen - VAL_HDR_SIZE, get_le32(env + 4), env[1]};

    return r < 0 ? log_err(r, "store", "table=%02x key_len=%zu value_len=%zu", ((const uint8_t *)it->key)[0],
                           it->klen, it->vlen)
                 : 0;
}

static struct txn_put **index_slot(struct txn_index *x, const void *key, size_t klen)
{
    return &x->slot[hash_sum(0, key, klen) % INDEX_SLOTS];
}

static void index_add(struct txn_index *x, struct txn_put *p)
{
    if (p->op == 2)
        return;
    struct txn_put **slot = index_slot(x, p->key, p->klen), **tab = &x->tab[p->key[0]];
    p->same_slot = *slot;
    p->same_tab = *tab;
    *slot = *tab = p;
}

/* Without memory for it the puts are looked through one by one. */
static void index_begin(struct txn *t)
{
    t->index = txn_alloc(t, sizeof(*t->index));
    if (!t->index)
        return;
    memset(t->index, 0, sizeof(*t->index));
    for (struct txn_put *p = t->puts; p; p = p->next)
        index_add(t->index, p);
}

/* The newest own put of the key at a level; NULL. */
static const struct txn_put *own_put(const struct txn *t, uint8_t level, const void *key, size_t klen)
{
    const struct txn_put *found = NULL;

    if (t->index) {
        found = *index_slot(t->index, key, klen);
        while (found && (found->level != level || found->klen != klen || memcmp(found->key, key, klen) != 0))
            found = found->same_slot;
        return found;
    }
    for (const struct txn_put *p = t->puts; p; p = p->next)
        if (p->level == level && p->op != 2 && p->klen == klen && memcmp(p->key, key, klen) == 0)
            found = p;
    return found;
}

static int own_result(const struct txn_put *p, struct kv_item *ret)
{
    if (!p->val)
        return -E_NOENT;
    *ret = (struct kv_item){p->key, p->klen, p->val, p->vlen, false};
    return 0;
}

/* Is there a pending image of the key that this transaction does not drop? */
static bool key_pending(const struct txn *t, const void *key, size_t klen)
{
    struct kv_owner own;

    if (!kv_pending_owner_of(t->store->kv, key, klen, &own))
        return false;
    for (const struct txn_owner *o = t->released; o; o = o->next)
        if (o->branch == own.branch && o->ino == own.ino)
            return false;
    return true;
}

static int raw_get(struct txn *t, enum keep keep, const void *key, size_t klen, struct kv_item *ret)
{
    const struct txn_put *p;
    bool pending = keep == KEEP_PENDING;

    if (t->mode == TXN_READ)
        return kv_get(t->store->kv, t->read, !pending, key, klen, ret);
    if (pending) {
        p = own_put(t, KEEP_PENDING, key, klen);
        if (p)
            return own_result(p, ret);
        if (key_pending(t, key, klen))
            return kv_get(t->store->kv, t->read, false, key, klen, ret);
    }
    p = own_put(t, KEEP_FIRM, key, klen);
    if (p)
        return own_result(p, ret);
    return kv_get(t->store->kv, t->read, true, key, klen, ret);
}

int txn_get(struct txn *t, enum keep keep, const void *key, size_t klen, struct txn_val *ret)
{
    struct kv_item it;
    int r = raw_get(t, keep, key, klen, &it);

    return r < 0 ? r : envelope_open(&it, ret);
}

/* The smallest key >= key with the prefix among own puts (any level, deletions too); NULL. */
static const struct txn_put *own_ge(const struct txn *t, const void *key, size_t klen, size_t plen)
{
    const struct txn_put *best = NULL, *p = t->puts;
    bool by_tab = t->index && plen > 0;

    for (p = by_tab ? t->index->tab[*(const uint8_t *)key] : p; p; p = by_tab ? p->same_tab : p->next) {
        if (p->op == 2 || p->klen < plen || memcmp(p->key, key, plen) != 0)
            continue;
        int c = memcmp(p->key, key, MIN_OF(p->klen, klen));
        if (c < 0 || (c == 0 && p->klen < klen))
            continue;
        if (best) {
            c = memcmp(p->key, best->key, MIN_OF(p->klen, best->klen));
            if (c > 0 || (c == 0 && p->klen >= best->klen))
                continue;
        }
        best = p;
    }
    return best;
}

static int read_ge(struct txn *t, enum keep keep, const void *key, size_t klen, size_t plen,
                   struct kv_item *it)
{
    return kv_ge_prefix(t->store->kv, t->read, keep == KEEP_FIRM, key, klen, plen, it);
}

/* One step of a search in a writing transaction: the next candidate key from own puts and the maps; its present value. */
static int write_ge(struct txn *t, enum keep keep, const uint8_t *key, size_t klen, size_t plen,
                    struct kv_item *it)
{
    uint8_t at[KEY_SIZE_MAX + 1];

    memcpy(at, key, klen);
    for (;;) {
        struct kv_item cand = {0};
        int r = read_ge(t, keep, at, klen, plen, &cand);
        if (r < 0 && r != -E_NOENT)
            return r;
        const struct txn_put *p = own_ge(t, at, klen, plen);
        if (r == -E_NOENT && !p)
            return -E_NOENT;
        if (p) {
            int c = r == -E_NOENT ? -1 : memcmp(p->key, cand.key, MIN_OF((size_t)p->klen, cand.klen));
            if (c < 0 || (c == 0 && p->klen < cand.klen))
                cand = (struct kv_item){.key = p->key, .klen = p->klen};
        }
        const void *ckey = cand.key;
        size_t clen = cand.klen;
        r = raw_get(t, keep, ckey, clen, it);
        if (r != -E_NOENT)
            return r;
        memmove(at, ckey, clen);
        at[clen] = 0; /* the next key after it */
        klen = clen + 1;
    }
}

int txn_ge(struct txn *t, enum keep keep, const void *key, size_t klen, size_t plen, const uint8_t **ret_key,
           size_t *ret_klen, struct txn_val *ret)
{
    struct kv_item it;
    struct txn_val v;
    int r = t->mode == TXN_READ ? read_ge(t, keep, key, klen, plen, &it)
                                : write_ge(t, keep, key, klen, plen, &it);

    assert(plen <= klen);
    if (r < 0)
        return r;
    uint8_t *k = txn_copy(t, it.key, it.klen);
    if (!k)
        return -E_NOMEM;
    r = envelope_open(&it, &v);
    if (r < 0)
        return r;
    *ret_key = k;
    *ret_klen = it.klen;
    *ret = v;
    return 0;
}

static int add_put(struct txn *t, struct txn_put put)
{
    struct txn_put *p = txn_copy(t, &put, sizeof(put));

    if (!p)
        return -E_NOMEM;
    p->next = NULL;
    *t->puts_end = p;
    t->puts_end = &p->next;
    t->nputs++;
    if (t->index)
        index_add(t->index, p);
    else if (t->nputs == INDEX_FROM)
        index_begin(t);
    return 0;
}

static int note_layer(struct txn *t, const uint8_t *payload, size_t len, bool gone);

int txn_put(struct txn *t, enum keep keep, struct txn_owner owner, const void *key, size_t klen,
            uint32_t born, uint8_t flags, const void *payload, size_t len)
{
    uint8_t *k = txn_copy(t, key, klen), *env = txn_alloc(t, VAL_HDR_SIZE + len);

    assert(t->mode == TXN_WRITE);
    if (!k || !env)
        return -E_NOMEM;
    branch_note_own(t->store, k);
    envelope_make(env, k, klen, born, flags, payload, len);
    int r = add_put(t, (struct txn_put){.level = (uint8_t)keep,
                                        .owner = owner,
                                        .key = k,
                                        .val = env,
                                        .klen = (uint32_t)klen,
                                        .vlen = (uint32_t)(VAL_HDR_SIZE + len)});
    if (r == 0 && k[0] == TAB_LAYER)
        r = note_layer(t, env + VAL_HDR_SIZE, len, false);
    return r;
}

int txn_del(struct txn *t, enum keep keep, struct txn_owner owner, const void *key, size_t klen)
{
    uint8_t *k = txn_copy(t, key, klen);

    assert(t->mode == TXN_WRITE);
    if (!k)
        return -E_NOMEM;
    if (k[0] == TAB_LAYER) {
        struct txn_val v;
        int r = txn_get(t, KEEP_FIRM, key, klen, &v) == 0 ? note_layer(t, v.data, v.len, true) : 0;
        if (r < 0)
            return r;
    }
    return add_put(t, (struct txn_put){
                          .op = 1, .level = (uint8_t)keep, .owner = owner, .key = k, .klen = (uint32_t)klen});
}

int txn_put_enveloped(struct txn *t, const void *key, size_t klen, const void *env, size_t len)
{
    return add_put(t, (struct txn_put){.op = env ? 0 : 1,
                                       .level = KEEP_FIRM,
                                       .key = key,
                                       .val = env,
                                       .klen = (uint32_t)klen,
                                       .vlen = env ? (uint32_t)len : 0});
}

int txn_put_plain(struct txn *t, const void *key, size_t klen, const void *payload, size_t len)
{
    return txn_put(t, KEEP_FIRM, (struct txn_owner){0}, key, klen, 0, 0, payload, len);
}

int txn_release(struct txn *t, struct txn_owner owner)
{
    struct txn_owner *o = txn_copy(t, &owner, sizeof(owner));

    if (!o)
        return -E_NOMEM;
    o->next = t->released;
    t->released = o;
    return add_put(t, (struct txn_put){.op = 2, .level = KEEP_PENDING, .owner = owner});
}

int txn_payload(struct txn *t, uint64_t object, uint64_t off, const void *data, uint32_t len)
{
    struct txn_payload *p = txn_alloc(t, sizeof(*p));

    if (!p)
        return -E_NOMEM;
    *p = (struct txn_payload){object, off, data, len, t->payloads};
    t->payloads = p;
    return 0;
}

int txn_on_commit(struct txn *t, void (*fn)(struct store *s, void *arg), void *arg)
{
    struct txn_hook *h = txn_alloc(t, sizeof(*h));

    if (!h)
        return -E_NOMEM;
    *h = (struct txn_hook){NULL, fn, arg};
    *t->hooks_end = h;
    t->hooks_end = &h->next;
    return 0;
}

/* Retained layers are kept in memory beside the table: what a layer record says becomes true with the commit. */
struct layer_change {
    uint32_t layer, branch;
    bool retained;
};
static void layer_change(struct store *s, void *arg)
{
    const struct layer_change *c = arg;

    layer_note(s, c->branch, c->layer, c->retained);
}

static int note_layer(struct txn *t, const uint8_t *payload, size_t len, bool gone)
{
    struct layer_rec rec;
    struct layer_change *c = txn_alloc(t, sizeof(*c));
    int r = c ? layer_rec_decode(payload, len, &rec, NULL, NULL) : -E_NOMEM;

    if (r < 0)
        return gone && r == -E_CORRUPT ? 0 : r; /* a damaged one may be deleted */
    r = layer_note_reserve(t->store, rec.branch);
    *c = (struct layer_change){rec.layer, rec.branch, !gone && rec.state != LAYER_DELETING};
    return r < 0 ? r : txn_on_commit(t, layer_change, c);
}

void txn_charge(struct txn *t, struct vol *v, int64_t blocks, int64_t inodes)
{
    assert(!t->charged || t->charged == v);
    t->charged = v;
    t->charge_blocks += blocks;
    t->charge_inodes += inodes;
}

uint64_t txn_next_object(struct txn *t)
{
    t->next_changed = true;
    return __atomic_fetch_add(&t->store->next.object, 1, __ATOMIC_RELAXED);
}

uint64_t txn_next_reclaim(struct txn *t)
{
    t->next_changed = true;
    return t->store->next.reclaim++;
}

uint64_t txn_next_job(struct txn *t)
{
    t->next_changed = true;
    return t->store->next.job++;
}

uint32_t txn_next_volume(struct txn *t)
{
    t->next_changed = true;
    return t->store->next.volume++;
}

uint32_t txn_next_branch(struct txn *t)
{
    t->next_changed = true;
    return t->store->next.branch++;
}

int txn_reclaim(struct txn *t, const struct reclaim_rec *rec)
{
    return reclaim_put(t, KEEP_FIRM, (struct txn_owner){0}, rec);
}

/* The counters and numbers that this record changes. */
static int put_counters(struct txn *t)
{
    uint8_t key[KEY_SIZE_MAX], rec[RECORD_SIZE_MAX];
    const struct next_rec *n = &t->store->next;
    struct next_rec next = {
        .object = __atomic_load_n(&n->object, __ATOMIC_RELAXED), /* given with the lock shared, too */
        .reclaim = n->reclaim,
        .job = n->job,
        .volume = n->volume,
        .branch = n->branch,
    };
    int r = 0;

    if (t->charged) {
        struct vstat_rec st = t->charged->stat;
        st.blocks += (uint64_t)t->charge_blocks;
        st.inodes += (uint64_t)t->charge_inodes;
        if (BROKEN(VARVE_BREAK_quota))
            st.blocks = t->charged->stat.blocks;
        r = vol_put_stat(t, t->charged, &st);
    }
    if (r == 0 && t->next_changed)
        r = txn_put_plain(t, key, key_meta(key, META_NEXT), rec, next_rec_encode(&next, rec));
    return r;
}

static int build_record(struct txn *t, struct jrec *rec)
{
    struct jput *puts = txn_alloc(t, (t->nputs + 1) * sizeof(*puts));
    struct jpayload *pay;
    uint32_t n = 0, np = 0;
    bool firm = false, pending = false;

    if (!puts)
        return -E_NOMEM;
    for (const struct txn_put *p = t->puts; p; p = p->next) {
        puts[n++] =
            (struct jput){p->op, p->level, p->owner.branch, p->owner.ino, p->key, p->val, p->klen, p->vlen};
        firm |= p->level == KEEP_FIRM;
        pending |= p->level == KEEP_PENDING;
    }
    for (const struct txn_payload *p = t->payloads; p; p = p->next)
        np++;
    pay = txn_alloc(t, (np + 1) * sizeof(*pay));
    if (!pay)
        return -E_NOMEM;
    np = 0;
    for (const struct txn_payload *p = t->payloads; p; p = p->next)
        pay[np++] = (struct jpayload){p->object, p->off, p->data, p->len};
    *rec = (struct jrec){.puts = puts, .payloads = pay};
    rec->hdr = (struct jrec_hdr){.kind = (uint16_t)t->op,
                                 .version = 1,
                                 .vol = t->vol,
                                 .conn = t->conn,
                                 .unique = t->unique & ~(1ull << 63),
                                 .nputs = n,
                                 .npayloads = np,
                                 .flags = (firm ? JREC_FIRM : 0u) | (pending ? JREC_PENDING : 0u) |
                                          (t->must ? JREC_MUST : 0u)};
    if (t->tail) {
        rec->tail = t->tail->data;
        rec->hdr.tail_len = (uint32_t)t->tail->len;
    }
    return 0;
}

/* Most of what a put costs is waiting for memory that was not touched for long: all of them wait together. */
static void puts_near(struct txn *t, bool node)
{
    for (const struct txn_put *p = t->puts; p && t->nputs > 1; p = p->next)
        if (p->op != 2 && p->level == KEEP_FIRM)
            kv_near(t->store->kv, p->key, p->klen, node);
}

static void apply(struct txn *t)
{
    struct kv *kv = t->store->kv;

    puts_near(t, true);
    for (const struct txn_put *p = t->puts; p; p = p->next) {
        struct kv_owner o = {p->owner.branch, p->owner.ino};
        if (p->op == 2)
            kv_pending_drop(kv, o);
        else if (p->level == KEEP_PENDING)
            kv_put_pending(kv, o, p->key, p->klen, p->val, p->vlen);
        else
            kv_put(kv, p->key, p->klen, p->val, p->vlen);
    }
    for (struct txn_hook *h = t->hooks; h; h = h->next)
        h->fn(t->store, h->arg);
}

static int commit_puts(struct txn *t)
{
    struct jrec rec;
    size_t bytes = 0;
    int r = put_counters(t);

    if (r < 0)
        return r;
    for (const struct txn_put *p = t->puts; p; p = p->next)
        bytes += p->klen + p->vlen;
    t->bytes = bytes;
    r = kv_reserve(t->store->kv, t->nputs, bytes);
    puts_near(t, false);
    if (r == 0)
        r = build_record(t, &rec);
    if (r == 0)
        store_room_taken(t->store, jrec_size(&rec), t->nputs, bytes);
    if (r == 0)
        r = answer_prepare(t, &rec);
    if (r < 0)
        return r;
    if (!BROKEN(VARVE_BREAK_no_journal)) {
        slow_goes_on();
        r = journal_append(t->store->journal, &rec, &t->lsn);
        slow_over(SLOW_JOURNAL);
        answer_appended(t);
        if (r < 0) {
            if (r == -E_FAILED || r == -E_IO)
                store_fail(t->store, "the journal could not be written");
            return r;
        }
    }
    apply(t);
    return 0;
}

int txn_commit(struct txn *t)
{
    int r = 0;

    if (t->mode == TXN_WRITE && (t->puts || t->payloads || t->charged || t->tail)) {
        r = store_writable(t->store) ? commit_puts(t) : -E_FAILED;
        if (r < 0)
            sift_undone(t);
    }
    txn_end(t);
    return r;
}
