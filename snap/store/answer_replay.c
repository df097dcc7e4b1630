/* Answers over the daemon's death: out of the journal's tails and TAB_RESULT, and into it at a checkpoint. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/enc.h"
#include "base/log.h"
#include "snap/store/answer_i.h"
#include "snap/store/scan.h"
#include "snap/store/store_int.h"

#define ANSWER_KEY_SIZE 17u

size_t answer_key(uint8_t *out, uint64_t conn, uint64_t unique)
{
    out[0] = TAB_RESULT;
    put_be64(out + 1, conn);
    put_be64(out + 9, unique);
    return ANSWER_KEY_SIZE;
}

void answer_rec_encode(const struct answer_rec *r, uint8_t out[ANSWER_REC_SIZE])
{
    struct enc e = {out};

    enc_u64(&e, r->lsn);
    enc_u64(&e, r->value);
    enc_u32(&e, r->step);
    enc_u16(&e, r->kind);
    enc_u16(&e, 0);
}

int answer_rec_decode(const void *key, size_t klen, const void *p, size_t len, struct answer_rec *ret)
{
    const uint8_t *k = key;
    struct dec d = dec_of(p, len);
    struct answer_rec r = {0};

    if (klen != ANSWER_KEY_SIZE || k[0] != TAB_RESULT || len < ANSWER_REC_SIZE)
        return -E_CORRUPT;
    r.conn = get_be64(k + 1);
    r.unique = get_be64(k + 9);
    r.lsn = dec_u64(&d);
    r.value = dec_u64(&d);
    r.step = dec_u32(&d);
    r.kind = dec_u16(&d);
    *ret = r;
    return 0;
}

static int stored_add(struct answers *a, uint64_t conn, uint64_t unique)
{
    if (a->nstored == a->cap) {
        size_t cap = a->cap * 2 + 16;
        struct answer_key *p = reallocarray(a->stored, cap, sizeof(*p));

        if (!p)
            return -E_NOMEM;
        a->stored = p;
        a->cap = cap;
    }
    a->stored[a->nstored++] = (struct answer_key){conn, unique};
    return 0;
}

static int found(struct answers *a, const struct answer_rec *rec)
{
    struct answer *w = calloc(1, sizeof(*w));

    if (!w)
        return -E_NOMEM;
    *w = (struct answer){.rec = *rec, .came_ns = clock_mono_ns()};
    if (!answer__place(a)) {
        free(w);
        return 0;
    }
    answer__link(a, w);
    return 0;
}

static int load_one(void *arg, const struct scan_item *it)
{
    struct answers *a = arg;
    struct answer_rec rec;
    int r;

    if (it->verdict < 0 || answer_rec_decode(it->key, it->klen, it->val.data, it->val.len, &rec) < 0)
        return 0; /* `check` tells; what it answered is carried out again */
    r = stored_add(a, rec.conn, rec.unique);
    return r < 0 ? r : found(a, &rec);
}

int answers_load(struct store *s)
{
    const uint8_t prefix = TAB_RESULT;
    struct txn t;
    int r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t);

    if (r < 0)
        return r;
    r = txn_scan(&t, KEEP_FIRM, &prefix, 1, load_one, s->answers);
    txn_abort(&t);
    return r;
}

static void drop_where(struct answers *a, bool (*match)(const struct answer_rec *r, const void *arg),
                       const void *arg)
{
    for (struct answer *w = a->head.prev; w != &a->head; w = w->prev)
        if (match(&w->rec, arg)) {
            answer__unlink(a, w);
            return;
        }
}

static bool has_lsn(const struct answer_rec *r, const void *arg)
{
    return r->lsn == *(const uint64_t *)arg;
}

static bool has_request(const struct answer_rec *r, const void *arg)
{
    const struct jrec_hdr *h = arg;

    return r->conn == h->conn && r->unique == h->unique;
}

int answers_replay(struct store *s, const struct jrec_view *rec, uint16_t tail_type, const uint8_t *p,
                   size_t len)
{
    struct answers *a = s->answers;
    struct dec d = dec_of(p, len);

    if (tail_type == TAIL_ACKED) {
        while (d.left >= 8) {
            uint64_t lsn = dec_u64(&d);

            drop_where(a, has_lsn, &lsn);
        }
        return 0;
    }
    if (tail_type != TAIL_ANSWER || len < 12)
        return 0;
    drop_where(a, has_request, &rec->hdr); /* an earlier step of the same */
    struct answer_rec r = {
        .conn = rec->hdr.conn, .unique = rec->hdr.unique, .lsn = rec->hdr.lsn, .kind = rec->hdr.kind};
    r.value = dec_u64(&d);
    r.step = dec_u32(&d);
    return found(a, &r);
}

void answers_clear(struct store *s)
{
    while (s->answers->count > 0)
        answer__unlink(s->answers, s->answers->head.next);
}

static void put(struct store *s, const struct answer_rec *r)
{
    uint8_t key[KEY_SIZE_MAX], val[ANSWER_REC_SIZE], env[VAL_HDR_SIZE + ANSWER_REC_SIZE];
    size_t klen = answer_key(key, r->conn, r->unique);

    answer_rec_encode(r, val);
    envelope_make(env, key, klen, 0, 0, val, sizeof(val));
    kv_put(s->kv, key, klen, env, sizeof(env));
}

/* Left over from a takeover: the dead daemon had replied, and could not say so any more. */
static void drop_old_locked(struct answers *a)
{
    int64_t now = clock_mono_ns();

    for (struct answer *w = a->head.next, *next; w != &a->head; w = next) {
        next = w->next;
        if (!w->owned && w->came_ns && now - w->came_ns > ANSWER_KEPT_NS)
            answer__unlink(a, w);
    }
}

int answers_store_locked(struct store *s)
{
    struct answers *a = s->answers;
    uint8_t key[KEY_SIZE_MAX];
    int r;

    pthread_mutex_lock(&a->lock);
    drop_old_locked(a);
    r = kv_reserve(s->kv, a->nstored + a->count,
                   (a->nstored + a->count) * (ANSWER_KEY_SIZE + VAL_HDR_SIZE + ANSWER_REC_SIZE));
    while (r == 0 && a->cap < a->count) { /* room first: then nothing fails half-way */
        size_t cap = a->count + 16;
        struct answer_key *p = reallocarray(a->stored, cap, sizeof(*p));

        r = p ? 0 : -E_NOMEM;
        if (p) {
            a->stored = p;
            a->cap = cap;
        }
    }
    if (r == 0) {
        for (size_t i = 0; i < a->nstored; i++)
            kv_put(s->kv, key, answer_key(key, a->stored[i].conn, a->stored[i].unique), NULL, 0);
        a->nstored = 0;
        for (struct answer *w = a->head.next; w != &a->head; w = w->next) {
            put(s, &w->rec);
            a->stored[a->nstored++] = (struct answer_key){w->rec.conn, w->rec.unique};
        }
    }
    pthread_mutex_unlock(&a->lock);
    return r;
}
