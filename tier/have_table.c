/* Reading and changing both tables. */
#include <stdio.h>

#include "tier/have_i.h"

MDB_val have_key(uint8_t room[HAVE_KEY_MAX], uint8_t kind, const void *p, size_t len)
{
    room[0] = kind;
    memcpy(room + 1, p, len);
    return (MDB_val){len + 1, room};
}

int have_get(struct have *h, uint8_t kind, const void *key, size_t klen, void *out, size_t len_short,
             size_t len)
{
    const struct have_table *old = &h->t[HAVE_OLD];
    uint8_t room[HAVE_KEY_MAX];
    MDB_val k = have_key(room, kind, key, klen), v;
    MDB_txn *t;
    int m = mdb_txn_begin(old->env, NULL, MDB_RDONLY, &t);

    if (m != 0)
        return have_from_mdb(m);
    m = mdb_get(t, old->dbi, &k, &v);
    if (m == 0 && v.mv_size != len && v.mv_size != len_short)
        m = MDB_CORRUPTED;
    if (m == 0 && len) {
        memcpy(out, v.mv_data, v.mv_size);
        memset((uint8_t *)out + v.mv_size, 0, len - v.mv_size);
    }
    mdb_txn_abort(t);
    have_looked(h);
    return have_told(h, have_from_mdb(m));
}

int have_begin(struct have *h, struct have_txn *w)
{
    int r;

    w->h = h;
    r = have_from_mdb(mdb_txn_begin(h->t[HAVE_OLD].env, NULL, 0, &w->t[HAVE_OLD]));
    if (r < 0)
        return r;
    r = have_from_mdb(mdb_txn_begin(h->t[HAVE_YOUNG].env, NULL, 0, &w->t[HAVE_YOUNG]));
    if (r < 0)
        mdb_txn_abort(TAKE(w->t[HAVE_OLD]));
    return r;
}

int have_end(struct have_txn *w, int r)
{
    for (int i = 0; i < HAVE__N; i++) {
        MDB_txn **t = &w->t[w->moves ? i : HAVE__N - 1 - i];

        if (!*t)
            continue;
        if (r == 0)
            r = have_told(w->h, have_from_mdb(mdb_txn_commit(TAKE(*t))));
        else
            mdb_txn_abort(TAKE(*t));
    }
    return r;
}

int have_put(struct have_txn *w, enum have_which which, uint8_t kind, const void *key, size_t klen,
             const void *p, size_t len)
{
    uint8_t room[HAVE_KEY_MAX];
    MDB_val k = have_key(room, kind, key, klen), v = {len, (void *)(uintptr_t)p};

    return have_told(w->h, have_from_mdb(mdb_put(w->t[which], w->h->t[which].dbi, &k, &v, 0)));
}

int have_drop(struct have_txn *w, enum have_which which, uint8_t kind, const void *key, size_t klen)
{
    uint8_t room[HAVE_KEY_MAX];
    MDB_val k = have_key(room, kind, key, klen);
    int r = have_told(w->h, have_from_mdb(mdb_del(w->t[which], w->h->t[which].dbi, &k, NULL)));

    return r == -E_NOENT ? 0 : r;
}

bool have_names(struct have_txn *w, enum have_which which, uint8_t kind, const void *key, const void *p,
                size_t len)
{
    uint8_t room[HAVE_KEY_MAX];
    MDB_val k = have_key(room, kind, key, 16), v;

    return mdb_get(w->t[which], w->h->t[which].dbi, &k, &v) == 0 && v.mv_size >= len &&
           memcmp(v.mv_data, p, len) == 0;
}
