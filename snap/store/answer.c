#include "snap/store/answer.h"

#include <stdlib.h>

#include "base/enc.h"
#include "base/mark.h"
#include "snap/store/answer_i.h"
#include "snap/store/store_int.h"

#define ACKED_TOLD 32u /* in one record */
#define TLV_HDR 4u
#define ANSWER_TAIL_SIZE 12u

/* What this thread carries out. */
static _Thread_local struct {
    struct store *store;
    uint64_t conn, unique;
    struct answer *made;
    struct answer *fresh; /* memory for it, while its record is being appended */
    size_t told;          /* acknowledgements in that record */
    bool counts;          /* that record completes something */
    bool steps, known, begun;
    unsigned journaled; /* enum op_kind of its last record */
    uint32_t step;
} me;

void (*answer_door)(enum answer_point at, unsigned kind);
bool answer_none;

/* --- the ring ----------------------------------------------------------------------------------------------------------------- */

int answers_new(struct answers **ret)
{
    struct answers *a = calloc(1, sizeof(*a));

    if (!a)
        return -E_NOMEM;
    pthread_mutex_init(&a->lock, NULL);
    a->head.prev = a->head.next = &a->head;
    *ret = a;
    return 0;
}

static void take_out(struct answers *a, struct answer *w)
{
    w->prev->next = w->next;
    w->next->prev = w->prev;
    a->count--;
}

void answer__unlink(struct answers *a, struct answer *w)
{
    take_out(a, w);
    free(w);
}

void answers_free(struct answers *a)
{
    struct answer *w;

    if (!a)
        return;
    while (a->count > 0)
        answer__unlink(a, a->head.next);
    while ((w = a->spare)) {
        a->spare = w->next;
        free(w);
    }
    pthread_mutex_destroy(&a->lock);
    free(a->stored);
    free(a);
}

void answer__link(struct answers *a, struct answer *w)
{
    w->next = &a->head;
    w->prev = a->head.prev;
    w->prev->next = w;
    a->head.prev = w;
    a->count++;
}

static struct answer *find_locked(struct answers *a, uint64_t conn, uint64_t unique)
{
    for (struct answer *w = a->head.prev; w != &a->head; w = w->prev)
        if (w->rec.conn == conn && w->rec.unique == unique)
            return w;
    return NULL;
}

/* The oldest that no request is being carried out for. */
bool answer__place(struct answers *a)
{
    if (a->count < ANSWERS_MAX)
        return true;
    for (struct answer *w = a->head.next; w != &a->head; w = w->next)
        if (!w->owned) {
            answer__unlink(a, w);
            return true;
        }
    return false;
}

static void ack_locked(struct answers *a, uint64_t lsn)
{
    if (a->nacked < ACKED_KEPT)
        a->acked[a->nacked++] = lsn;
}

/* --- a request ------------------------------------------------------------------------------------------------------------------ */

bool answer_begin(struct store *s, uint64_t conn, uint64_t unique, bool again, struct answer_rec *ret)
{
    struct answers *a = s->answers;

    memset(&me, 0, sizeof(me));
    me.store = s;
    me.conn = conn;
    me.unique = unique;
    if (!again || BROKEN(VARVE_BREAK_result_lost))
        return false;
    pthread_mutex_lock(&a->lock);
    me.made = find_locked(a, conn, unique);
    if (me.made) {
        me.made->owned = me.known = true;
        *ret = me.made->rec;
        MARK("answer: a request that was sent again is known");
    }
    pthread_mutex_unlock(&a->lock);
    return me.known;
}

void answer_end(void)
{
    if (me.made) {
        struct answers *a = me.store->answers;

        pthread_mutex_lock(&a->lock);
        ack_locked(a, me.made->rec.lsn);
        take_out(a, me.made);
        me.made->next = a->spare; /* as many as there were requests at once */
        a->spare = me.made;
        pthread_mutex_unlock(&a->lock);
    }
    memset(&me, 0, sizeof(me));
}

void answer_replying(void)
{
    if (answer_door && me.journaled)
        answer_door(ANSWER_BEFORE_REPLY, me.journaled);
}

uint32_t answer_steps_begin(void)
{
    me.steps = true;
    me.step = 0;
    return me.known ? me.made->rec.step : 0;
}

void answer_step(uint32_t step)
{
    me.step = step;
    me.begun = me.known && me.made->rec.step == step;
}

bool answer_begun(uint64_t *ret_value)
{
    if (!me.begun)
        return false;
    *ret_value = me.made->rec.value;
    return true;
}

/* --- its record ------------------------------------------------------------------------------------------------------------------ */

static bool is_command(enum op_kind op)
{
    return op == OP_VOLUME || op == OP_SNAPSHOT || op == OP_ROLLBACK || op == OP_CLONE || op == OP_JOB;
}

static bool is_mine(const struct txn *t)
{
    if (!me.unique || me.store != t->store)
        return false;
    return me.steps ? is_command(t->op) : t->conn == me.conn && t->unique == me.unique;
}

/* And memory for the answer, if one is wanted and some is left over. */
static size_t take_acked(struct answers *a, uint64_t lsn[ACKED_TOLD], bool fresh)
{
    size_t n;

    pthread_mutex_lock(&a->lock);
    if (fresh && a->spare) {
        me.fresh = a->spare;
        a->spare = me.fresh->next;
    }
    n = MIN_OF(a->nacked, (size_t)ACKED_TOLD);
    memcpy(lsn, a->acked, n * sizeof(*lsn));
    pthread_mutex_unlock(&a->lock);
    return n;
}

static void forget_acked_locked(struct answers *a, size_t n)
{
    a->nacked -= n;
    memmove(a->acked, a->acked + n, a->nacked * sizeof(a->acked[0]));
}

static int put_tail(struct txn *t, struct jrec *rec, const uint64_t *lsn)
{
    size_t len = rec->hdr.tail_len + (me.counts ? TLV_HDR + ANSWER_TAIL_SIZE : 0) +
                 (me.told ? TLV_HDR + me.told * 8 : 0);
    uint8_t *p = txn_alloc(t, len + 1);
    struct enc e = {p};

    if (!p)
        return -E_NOMEM;
    enc_bytes(&e, rec->tail, rec->hdr.tail_len);
    if (me.counts) {
        bool first = !me.made || me.made->rec.step != me.step;

        enc_u16(&e, TAIL_ANSWER);
        enc_u16(&e, ANSWER_TAIL_SIZE);
        enc_u64(&e, first ? t->answer : me.made->rec.value);
        enc_u32(&e, me.step);
    }
    if (me.told) {
        enc_u16(&e, TAIL_ACKED);
        enc_u16(&e, (uint16_t)(me.told * 8));
        for (size_t i = 0; i < me.told; i++)
            enc_u64(&e, lsn[i]);
    }
    rec->tail = p;
    rec->hdr.tail_len = (uint32_t)len;
    return 0;
}

int answer_prepare(struct txn *t, struct jrec *rec)
{
    uint64_t lsn[ACKED_TOLD];
    int r;

    if (!t->store->answers || answer_none)
        return 0;
    me.fresh = NULL;
    me.counts = is_mine(t) && !t->part;
    if (is_mine(t) && answer_door)
        answer_door(ANSWER_BEFORE_JOURNAL, t->op);
    me.told = take_acked(t->store->answers, lsn, me.counts && !me.made);
    if (me.counts && !me.made && !me.fresh) {
        me.fresh = malloc(sizeof(*me.fresh));
        if (!me.fresh)
            return -E_NOMEM;
    }
    if (me.fresh)
        *me.fresh = (struct answer){0};
    if (!me.counts && !me.told)
        return 0;
    if (me.counts) {
        rec->hdr.conn = me.conn;
        rec->hdr.unique = me.unique;
    }
    r = put_tail(t, rec, lsn);
    if (r < 0) {
        free(me.fresh);
        me.fresh = NULL;
    }
    return r;
}

static void note_locked(struct answers *a, const struct txn *t)
{
    struct answer *w = me.made;

    if (!w && answer__place(a)) {
        w = TAKE(me.fresh);
        answer__link(a, w);
        w->owned = true;
        w->rec.value = t->answer;
    } else if (w) {
        ack_locked(a, w->rec.lsn);
        w->rec.value = w->rec.step == me.step ? w->rec.value : t->answer;
    } else {
        return;
    }
    w->rec.conn = me.conn;
    w->rec.unique = me.unique;
    w->rec.lsn = t->lsn;
    w->rec.step = me.step;
    w->rec.kind = (uint16_t)t->op;
    me.made = w;
}

void answer_appended(struct txn *t)
{
    struct answers *a = t->store->answers;

    if (!a)
        return;
    if (t->lsn && (me.told || me.counts)) {
        pthread_mutex_lock(&a->lock);
        forget_acked_locked(a, me.told);
        if (me.counts)
            note_locked(a, t);
        pthread_mutex_unlock(&a->lock);
    }
    free(TAKE(me.fresh));
    if (t->lsn && is_mine(t)) {
        me.journaled = t->op;
        if (answer_door)
            answer_door(ANSWER_AFTER_JOURNAL, t->op);
    }
}

/* --- others ask -------------------------------------------------------------------------------------------------------------------- */

static bool is_kept(uint64_t conn, const uint64_t *conns, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (conns[i] == conn)
            return true;
    return false;
}

void answers_keep(struct store *s, const uint64_t *conns, size_t n)
{
    struct answers *a = s->answers;

    pthread_mutex_lock(&a->lock);
    for (struct answer *w = a->head.next, *next; w != &a->head; w = next) {
        next = w->next;
        if (!w->owned && !is_kept(w->rec.conn, conns, n))
            answer__unlink(a, w);
    }
    pthread_mutex_unlock(&a->lock);
}

void answers_forget(struct store *s, uint64_t conn)
{
    struct answers *a = s->answers;

    pthread_mutex_lock(&a->lock);
    for (struct answer *w = a->head.next, *next; w != &a->head; w = next) {
        next = w->next;
        if (!w->owned && w->rec.conn == conn)
            answer__unlink(a, w);
    }
    pthread_mutex_unlock(&a->lock);
}

void answers_each(struct store *s, uint64_t conn, void (*cb)(void *arg, const struct answer_rec *r),
                  void *arg)
{
    struct answers *a = s->answers;

    pthread_mutex_lock(&a->lock);
    for (struct answer *w = a->head.next; w != &a->head; w = w->next)
        if (!w->owned && w->rec.conn == conn)
            cb(arg, &w->rec);
    pthread_mutex_unlock(&a->lock);
}

size_t answers_count(struct store *s)
{
    size_t n;

    pthread_mutex_lock(&s->answers->lock);
    n = s->answers->count;
    pthread_mutex_unlock(&s->answers->lock);
    return n;
}
