/* A volume that is filled before anybody sees it: a ghost until its last record. */
#include "base/log.h"
#include "snap/internal.h"
#include "snap/volume.h"

#define HIDDEN (VOLUME_DELETED | VOLUME_GHOST | VOLUME_MAKING)

int volume_make(struct store *s, const char *name, const struct volume_opts *o, const uint8_t *hash_key,
                struct vol **ret)
{
    static const struct volume_opts none;
    struct volume_rec vr;
    struct vol *v;
    struct txn t;
    int r;

    if ((r = volume_name_check(name)) < 0)
        return r;
    volume_fill(&vr, name, o ? o : &none);
    vr.flags = BROKEN(VARVE_BREAK_make_hidden) ? 0 : HIDDEN;
    if (hash_key)
        memcpy(vr.hash_key, hash_key, sizeof(vr.hash_key));
    if ((r = txn_begin(s, TXN_WRITE, OP_VOLUME, NULL, &t)) < 0)
        return r;
    r = volume_bare(&t, &vr, 0, &v);
    if (r == 0 && BROKEN(VARVE_BREAK_make_hidden))
        r = volume_name_put(&t, name, vr.id);
    if (r < 0) {
        txn_abort(&t);
        return r;
    }
    if ((r = txn_commit(&t)) == 0)
        *ret = v;
    return r;
}

int volume_show(struct vol *v, uint64_t next_ino)
{
    struct volume_rec vr;
    struct vstat_rec st;
    struct vol *other;
    struct txn t;
    int r;

    if ((r = txn_begin(v->store, TXN_WRITE, OP_VOLUME, v, &t)) < 0)
        return r;
    vr = v->rec;
    st = v->stat;
    st.next_ino = next_ino;
    vr.flags &= ~(uint32_t)HIDDEN;
    other = vol_by_name(v->store, vr.name);
    r = other && other != v ? -E_EXIST : volume_name_put(&t, vr.name, vr.id);
    if (r == 0)
        r = vol_put(&t, v, &vr);
    if (r == 0)
        r = vol_put_stat(&t, v, &st);
    if (r == 0)
        return txn_commit(&t);
    txn_abort(&t);
    return r;
}

int volume_make_undo(struct vol *v)
{
    return volume_reclaim_begin(v);
}

int volume_make_leftovers(struct store *s)
{
    struct vol *v;
    struct txn t;
    int r;

    do {
        if ((r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t)) < 0)
            return r;
        for (v = vol_first(s); v && !(v->rec.flags & VOLUME_MAKING);)
            v = v->next;
        txn_abort(&t);
        if (v && (r = volume_reclaim_begin(v)) == 0)
            log_note("snap", "unfinished", "volume=%u is freed", v->rec.id);
    } while (v && r == 0);
    return r;
}
