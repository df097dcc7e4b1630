/* Taking snapshots (F2, F6). */
#include "snap/snapshot.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "snap/space.h"
#include "snap/internal.h"

static bool ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), m = strlen(tail);

    return n >= m && strcmp(s + n - m, tail) == 0;
}

int snap_name_check(const char *name)
{
    if (strlen(name) > NAME_LEN_MAX)
        return -E_NAMETOOLONG;
    if (!name[0] || name[0] == '.' || name[0] == '@' || strchr(name, '/') || ends_with(name, ".json"))
        return -E_NAME;
    for (const char *p = name; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return -E_NAME;
    return 0;
}

/* prefix and the UTC time, with -1, -2... when that is taken. */
int snap_name_by_time(struct txn *t, uint32_t vol, const char *prefix, char out[NAME_LEN_MAX + 1])
{
    char text[CLOCK_TEXT_SIZE];
    struct layer l;
    int r;

    clock_format(clock_wall_ns(), text);
    for (char *p = text; *p; p++)
        if (*p == ':')
            *p = '-';
    snprintf(out, NAME_LEN_MAX + 1, "%s%s", prefix, text);
    for (unsigned i = 1; (r = layer_named(t, vol, out, &l)) == 0; i++)
        snprintf(out, NAME_LEN_MAX + 1, "%s%s-%u", prefix, text, i);
    return r == -E_NOENT ? 0 : r;
}

/* In the transaction: the name is free, the limit not reached, the layer sealed. */
static int seal(struct txn *t, struct vol *v, const char *name, const struct uuid *group,
                struct layer_rec *ret)
{
    struct volume_rec vr = v->rec;
    char by_time[NAME_LEN_MAX + 1];
    struct layer l;
    int r;

    if (vr.flags & (VOLUME_DELETED | VOLUME_GHOST))
        return -E_NOENT;
    if (!name) {
        if ((r = snap_name_by_time(t, vr.id, "", by_time)) < 0)
            return r;
        name = by_time;
    }
    r = layer_named(t, vr.id, name, &l);
    if (r != -E_NOENT)
        return r == 0 ? -E_EXIST : r;
    if ((r = space_limit_check(t, v)) < 0)
        return r;
    r = layer_seal(t, v, name, group, &vr, ret);
    return r < 0 ? r : vol_put(t, v, &vr);
}

/* After the commit: seen in the list; writes of the sealed layer come to their end; settling begins. */
void snap_sealed(struct vol *v, const struct layer_rec *rec)
{
    state_list_changed(v->store, rec->vol, rec->taken_ns);
    layer_wait(v, rec->layer);
    store_settle(v->store, rec->vol, rec->layer);
}

/* text: labels that are there from the first moment. */
static int take(struct vol *v, const struct vfs_ctx *c, const char *name, const char *text, size_t len,
                struct layer_rec *ret)
{
    struct layer_rec rec = {0};
    struct txn t;
    int r;

    r = txn_begin(v->store, TXN_WRITE, OP_SNAPSHOT, v, &t);
    if (r < 0)
        return r;
    if (c) {
        t.conn = c->conn;
        t.unique = c->unique;
    }
    r = seal(&t, v, name, NULL, &rec);
    if (r == 0 && len)
        r = layer_put(&t, &rec, text, len);
    t.answer = rec.layer;
    if (r < 0) {
        txn_abort(&t);
        return r;
    }
    if ((r = txn_commit(&t)) < 0)
        return r;
    snap_sealed(v, &rec);
    if (ret)
        *ret = rec;
    return 0;
}

int snap_take(struct vol *v, const struct vfs_ctx *c, const char *name, struct layer_rec *ret)
{
    return take(v, c, name, NULL, 0, ret);
}

int snap_create_labelled(struct vol *v, const char *name, const void *text, size_t len, struct layer_rec *ret)
{
    int r = snap_name_check(name);

    return r < 0 ? r : take(v, NULL, name, text, len, ret);
}

int snap_create(struct vol *v, const struct vfs_ctx *c, const char *name, struct layer_rec *ret)
{
    int r = name ? snap_name_check(name) : 0;

    return r < 0 ? r : snap_take(v, c, name, ret);
}

int snap_create_group(struct vol **vols, size_t n, const char *name)
{
    struct uuid group = uuid_new();
    cleanup(buf_free) struct buf recs = {0};
    struct layer_rec rec;
    struct txn t;
    int r;

    if (n == 0)
        return -E_INVAL;
    if ((r = snap_name_check(name)) < 0)
        return r;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++)
            if (vols[i] == vols[k])
                return -E_INVAL;
    if ((r = txn_begin(vols[0]->store, TXN_WRITE, OP_SNAPSHOT, NULL, &t)) < 0)
        return r;
    for (size_t i = 0; i < n && r == 0; i++) {
        r = seal(&t, vols[i], name, &group, &rec);
        if (r == 0)
            r = buf_add(&recs, &rec, sizeof(rec));
    }
    if (r < 0) {
        txn_abort(&t);
        return r;
    }
    if ((r = txn_commit(&t)) < 0)
        return r;
    for (size_t i = 0; i < n; i++) {
        memcpy(&rec, recs.data + i * sizeof(rec), sizeof(rec));
        snap_sealed(vols[i], &rec);
    }
    return 0;
}

/* --- settling: visible at once, durable when all bytes of its layer are firm --- */

static int layer_state(struct vol *v, uint32_t layer)
{
    struct layer l;
    struct txn t;
    int r;

    if ((r = txn_begin(v->store, TXN_READ, OP_NONE, v, &t)) < 0)
        return r;
    r = layer_get(&t, v->rec.id, layer, &l);
    txn_abort(&t);
    return r < 0 ? r : (int)l.rec.state;
}

int snap_wait_durable(struct vol *v, uint32_t layer)
{
    int r = layer_state(v, layer);

    if (r < 0)
        return r;
    if (r == LAYER_SETTLING) {
        layer_wait(v, layer);
        if ((r = file_make_firm(v->store, v->rec.id, layer)) < 0)
            return r;
        if ((r = snap_settled(v->store, v->rec.id, layer)) < 0)
            return r;
    }
    return store_flush(v->store);
}

int snap_drop_internal(struct vol *v, uint32_t layer)
{
    struct layer l;
    struct txn t;
    int r;

    if ((r = txn_begin_freeing(v->store, OP_SNAPSHOT, v, &t)) < 0)
        return r;
    r = layer_get(&t, v->rec.id, layer, &l);
    if (r == 0)
        r = layer_name_del(&t, v->rec.id, l.rec.name);
    if (r == 0)
        r = layer_doom(&t, &l);
    if (r == 0)
        return txn_commit(&t);
    txn_abort(&t);
    return r;
}
