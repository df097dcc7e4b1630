/* Volumes whose record is gone. Who may still hold one is known by generations: whoever is going to find volumes is counted in the
 * present one; the next begins when nobody of the one before is left. What went in a generation is free in the second after it. */
#include <stdlib.h>

#include "snap/store/store_int.h"
#include "snap/store/vol.h"

unsigned vols_hold(struct store *s)
{
    unsigned slot = (unsigned)(__atomic_load_n(&s->hold_gen, __ATOMIC_SEQ_CST) % ARRAY_LEN(s->holds));

    __atomic_fetch_add(&s->holds[slot], 1, __ATOMIC_SEQ_CST);
    return slot;
}

void vols_let_go(struct store *s, unsigned held)
{
    __atomic_fetch_sub(&s->holds[held], 1, __ATOMIC_SEQ_CST);
}

/* What follows in the list stays: whoever walks it from one that has just gone comes to the others. */
static void change_gone(struct store *s, void *arg)
{
    struct vol *v = arg, **at = &s->vols;

    while (*at && *at != v)
        at = &(*at)->next;
    if (!*at)
        return;
    *at = v->next;
    v->gone_at = __atomic_load_n(&s->hold_gen, __ATOMIC_SEQ_CST);
    v->gone = s->gone;
    s->gone = v;
}

int vol_del(struct txn *t, struct vol *v)
{
    uint8_t k[KEY_SIZE_MAX];
    int r = txn_on_commit(t, change_gone, v);

    if (r == 0)
        r = txn_del(t, KEEP_FIRM, (struct txn_owner){0}, k, key_u32(k, TAB_VOLUME, v->rec.id));
    if (r == 0)
        r = txn_del(t, KEEP_FIRM, (struct txn_owner){0}, k, key_u32(k, TAB_VSTAT, v->rec.id));
    return r;
}

static void generations_move(struct store *s)
{
    for (int i = 0; i < 2; i++) {
        uint64_t gen = __atomic_load_n(&s->hold_gen, __ATOMIC_SEQ_CST);

        if (__atomic_load_n(&s->holds[(gen + 1) % 2], __ATOMIC_SEQ_CST) && !BROKEN(VARVE_BREAK_vol_held))
            return;
        __atomic_store_n(&s->hold_gen, gen + 1, __ATOMIC_SEQ_CST);
    }
}

struct vol *vol_gone_take(struct store *s)
{
    struct vol *v = NULL, **at;

    pthread_rwlock_wrlock(&s->lock);
    if (s->gone)
        generations_move(s);
    for (at = &s->gone; *at && (*at)->gone_at + 2 > s->hold_gen;)
        at = &(*at)->gone;
    if ((v = *at))
        *at = v->gone;
    pthread_rwlock_unlock(&s->lock);
    return v;
}

void vol_gone_free(struct vol *v)
{
    struct store *s = v->store;

    assert(!v->mounts && !v->idle);
    pthread_rwlock_wrlock(&s->lock);
    free(v->why_readonly);
    *v = (struct vol){.store = s, .next = s->spare};
    s->spare = v;
    pthread_rwlock_unlock(&s->lock);
}

struct vol *vol_gone_first(struct store *s)
{
    return s->gone;
}
