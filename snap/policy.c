#include "snap/policy.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/enc.h"
#include "snap/store/record.h"

#define RECORD_VERSION 1

static const struct txn_owner nobody;

static int64_t now_s(void)
{
    return clock_wall_ns() / 1000000000;
}

/* --- values --------------------------------------------------------------------------------------------------------- */

/* version u8 | name length u8, name | text */
static int profile_encode(const char *name, const char *text, size_t len, struct buf *out)
{
    uint8_t head[2] = {RECORD_VERSION, (uint8_t)strlen(name)};
    int r = buf_add(out, head, sizeof(head));

    if (r == 0)
        r = buf_add(out, name, head[1]);
    return r < 0 ? r : buf_add(out, text, len);
}

int policy_profile_decode(const void *p, size_t len, char name[PROFILE_NAME_MAX + 1], const char **ret_text,
                          size_t *ret_len)
{
    struct dec d = dec_of(p, len);
    uint8_t version = dec_u8(&d), n = dec_u8(&d);
    const uint8_t *at = dec_bytes(&d, n);

    if (d.bad || version < RECORD_VERSION || n == 0 || n > PROFILE_NAME_MAX || memchr(at, 0, n))
        return -E_CORRUPT;
    memcpy(name, at, n);
    name[n] = 0;
    *ret_text = (const char *)d.p;
    *ret_len = d.left;
    return 0;
}

/* version u8 | count u8 | each: kind u8, failures u32, since i64, done i64, tried i64, ok i64, ended i64, job u64, due i64,
 * name length u8, name, result length u8, result */
#define RUN_FIXED (1 + 4 + 7 * 8)

static void text_put(struct enc *e, const char *s)
{
    enc_u8(e, (uint8_t)strlen(s));
    enc_bytes(e, s, strlen(s));
}

int policy_runs_encode(const struct policy_runs *r, struct buf *out)
{
    uint8_t room[RUN_FIXED + 2 + SCHEDULE_NAME_MAX + POLICY_RESULT_MAX];
    uint8_t head[2] = {RECORD_VERSION, (uint8_t)r->n};
    int e = buf_add(out, head, sizeof(head));

    static_assert(POLICY_RUNS_MAX <= 255 && POLICY_RESULT_MAX <= 255, "one byte each");
    for (size_t i = 0; e == 0 && i < r->n; i++) {
        const struct policy_run *one = &r->v[i];
        struct enc c = {room};

        enc_u8(&c, (uint8_t)one->kind);
        enc_u32(&c, one->state.failures);
        enc_u64(&c, (uint64_t)one->state.since_s);
        enc_u64(&c, (uint64_t)one->state.done_s);
        enc_u64(&c, (uint64_t)one->state.tried_s);
        enc_u64(&c, (uint64_t)one->ok_s);
        enc_u64(&c, (uint64_t)one->ended_s);
        enc_u64(&c, one->job);
        enc_u64(&c, (uint64_t)one->due_s);
        text_put(&c, one->name);
        text_put(&c, one->result);
        e = buf_add(out, room, (size_t)(c.p - room));
    }
    return e;
}

static void text_get(struct dec *d, char *out, size_t most)
{
    uint8_t n = dec_u8(d);
    const uint8_t *p = dec_bytes(d, n);

    if (!p || n > most || memchr(p, 0, n)) {
        d->bad = true;
        return;
    }
    memcpy(out, p, n);
    out[n] = 0;
}

int policy_runs_decode(const void *p, size_t len, struct policy_runs *ret)
{
    struct dec d = dec_of(p, len);
    uint8_t version = dec_u8(&d), n = dec_u8(&d);

    *ret = (struct policy_runs){.n = 0};
    if (d.bad || version < RECORD_VERSION || n > POLICY_RUNS_MAX)
        return -E_CORRUPT;
    for (; ret->n < n && !d.bad; ret->n++) {
        struct policy_run *one = &ret->v[ret->n];

        one->kind = dec_u8(&d);
        one->state.failures = dec_u32(&d);
        one->state.since_s = (int64_t)dec_u64(&d);
        one->state.done_s = (int64_t)dec_u64(&d);
        one->state.tried_s = (int64_t)dec_u64(&d);
        one->ok_s = (int64_t)dec_u64(&d);
        one->ended_s = (int64_t)dec_u64(&d);
        one->job = dec_u64(&d);
        one->due_s = (int64_t)dec_u64(&d);
        text_get(&d, one->name, SCHEDULE_NAME_MAX);
        text_get(&d, one->result, POLICY_RESULT_MAX);
        d.bad |= one->kind < POLICY_SNAPSHOT || one->kind > POLICY_MOVE;
    }
    return d.bad || (d.left > 0 && version == RECORD_VERSION) ? -E_CORRUPT : 0;
}

const char *policy_kind_name(uint32_t kind)
{
    static const char *const names[] = {"?",    "snapshot", "backup",    "last-backup",
                                        "tier", "expiry",   "transition"};

    return names[kind < ARRAY_LEN(names) ? kind : 0];
}

/* --- runs ----------------------------------------------------------------------------------------------------------- */

struct policy_run *policy_run_find(struct policy_runs *r, enum policy_kind kind, const char *name)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->v[i].kind == kind && strcmp(r->v[i].name, name) == 0)
            return &r->v[i];
    return NULL;
}

static int runs_load(struct txn *t, uint32_t vol, struct policy_runs *ret)
{
    uint8_t k[KEY_SIZE_MAX];
    struct txn_val v;
    int r = txn_get(t, KEEP_PENDING, k, key_u32(k, TAB_SCHEDULE, vol), &v);

    *ret = (struct policy_runs){.n = 0};
    return r == -E_NOENT ? 0 : r < 0 ? r : policy_runs_decode(v.data, v.len, ret);
}

static int runs_store(struct txn *t, uint32_t vol, const struct policy_runs *runs)
{
    cleanup(buf_free) struct buf b = {0};
    uint8_t k[KEY_SIZE_MAX];
    size_t n = key_u32(k, TAB_SCHEDULE, vol);
    int r;

    if (runs->n == 0)
        return txn_del(t, KEEP_FIRM, nobody, k, n);
    r = policy_runs_encode(runs, &b);
    return r < 0 ? r : txn_put_plain(t, k, n, b.data, b.len);
}

int policy_runs_get(struct vol *v, struct policy_runs *ret)
{
    struct txn t;
    int r = txn_begin(v->store, TXN_READ, OP_NONE, v, &t);

    if (r < 0)
        return r;
    r = runs_load(&t, v->rec.id, ret);
    txn_abort(&t);
    return r;
}

static int run_into(struct policy_runs *runs, const struct policy_run *run)
{
    struct policy_run *at = policy_run_find(runs, run->kind, run->name);

    if (!at && runs->n == POLICY_RUNS_MAX)
        return -E_TOOBIG;
    if (!at)
        at = &runs->v[runs->n++];
    *at = *run;
    return 0;
}

/* later: only when the one there is older, or of a time that is not yet: the clock was ahead. */
static int run_write(struct vol *v, const struct policy_run *run, bool later)
{
    struct policy_runs runs;
    struct policy_run *was;
    struct txn t;
    int r = txn_begin(v->store, TXN_WRITE, OP_POLICY, v, &t);

    if (r < 0)
        return r;
    r = v->rec.flags & (VOLUME_DELETED | VOLUME_GHOST) ? -E_NOENT : runs_load(&t, v->rec.id, &runs);
    was = r == 0 ? policy_run_find(&runs, run->kind, run->name) : NULL;
    if (r == 0 && later && was && was->ok_s >= run->ok_s && was->ok_s <= now_s()) {
        txn_abort(&t);
        return 0;
    }
    if (r == 0)
        r = run_into(&runs, run);
    if (r == 0)
        r = runs_store(&t, v->rec.id, &runs);
    if (r == 0)
        return txn_commit(&t);
    txn_abort(&t);
    return r;
}

int policy_run_put(struct vol *v, const struct policy_run *run)
{
    return run_write(v, run, false);
}

int policy_backed_up(struct vol *v, int64_t taken_s)
{
    int64_t now = now_s();
    struct policy_run run = {
        .kind = POLICY_LAST, .ok_s = MIN_OF(taken_s, now), .ended_s = now, .result = "ok"};

    return run_write(v, &run, true);
}

/* --- profiles ------------------------------------------------------------------------------------------------------- */

struct stored {
    uint32_t id;
    char name[PROFILE_NAME_MAX + 1];
    const char *text; /* of the transaction's arena */
    size_t len;
};

/* The next one with a number from `from` on. -E_NOENT. */
static int stored_from(struct txn *t, uint32_t from, struct stored *ret)
{
    uint8_t k[KEY_SIZE_MAX];
    const uint8_t *key;
    struct txn_val v;
    size_t klen;
    int r = txn_ge(t, KEEP_PENDING, k, key_u32(k, TAB_PROFILE, from), 1, &key, &klen, &v);

    if (r < 0)
        return r;
    ret->id = get_be32(key + 1);
    return policy_profile_decode(v.data, v.len, ret->name, &ret->text, &ret->len);
}

static uint32_t users(struct txn *t, uint32_t id)
{
    uint32_t n = 0;

    for (struct vol *v = vol_first(t->store); v; v = v->next)
        n += v->rec.profile == id && !(v->rec.flags & VOLUME_GHOST);
    return n;
}

/* The number of this name, or a new one: beyond all that are there and all that a volume has. */
static int number_of(struct txn *t, const char *name, uint32_t *ret)
{
    uint32_t next = 1;
    struct stored one;
    int r;

    for (uint32_t from = 1; (r = stored_from(t, from, &one)) == 0; from = one.id + 1) {
        next = MAX_OF(next, one.id + 1);
        if (strcmp(one.name, name) == 0) {
            *ret = one.id;
            return 0;
        }
    }
    for (struct vol *v = vol_first(t->store); v; v = v->next)
        next = MAX_OF(next, v->rec.profile + 1);
    *ret = next;
    return r == -E_NOENT ? 0 : r;
}

/* As it was, or from now on. */
static int run_follow(struct policy_runs *old, enum policy_kind kind, const char *name,
                      struct policy_runs *runs)
{
    struct policy_run fresh = {.kind = kind, .state = {.since_s = now_s()}};
    const struct policy_run *was = policy_run_find(old, kind, name);

    snprintf(fresh.name, sizeof(fresh.name), "%s", name);
    return run_into(runs, was ? was : &fresh);
}

static int plans_into(const struct profile_plan *plans, size_t n, enum policy_kind kind,
                      struct policy_runs *old, struct policy_runs *runs)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < n; i++)
        r = run_follow(old, kind, plans[i].name, runs);
    return r;
}

static int places_into(const struct profile *p, enum lifecycle_what what, enum policy_kind kind,
                       struct policy_runs *old, struct policy_runs *runs)
{
    struct lifecycle_place v[LIFECYCLE_PLACES_MAX];
    size_t n = lifecycle_places(p, v);
    struct schedule when;
    int r = 0;

    for (size_t i = 0; r == 0 && i < n && lifecycle_schedule(p, what, &when); i++)
        r = run_follow(old, kind, v[i].name, runs);
    return r;
}

/* Schedules of the same name go on, new ones begin now, others are forgotten; the last good backup stays. */
static int runs_follow(struct txn *t, uint32_t vol, const struct profile *p)
{
    struct policy_runs old, runs = {.n = 0};
    struct policy_run *last;
    int r = runs_load(t, vol, &old);

    if (r == -E_CORRUPT)
        r = 0;
    last = r == 0 ? policy_run_find(&old, POLICY_LAST, "") : NULL;
    if (last)
        r = run_into(&runs, last);
    if (r == 0 && p)
        r = plans_into(p->snapshots, p->nsnapshots, POLICY_SNAPSHOT, &old, &runs);
    if (r == 0 && p)
        r = plans_into(p->backups, p->nbackups, POLICY_BACKUP, &old, &runs);
    if (r == 0 && p)
        r = places_into(p, LIFECYCLE_EXPIRE, POLICY_EXPIRE, &old, &runs);
    if (r == 0 && p)
        r = places_into(p, LIFECYCLE_MOVE, POLICY_MOVE, &old, &runs);
    return r < 0 ? r : runs_store(t, vol, &runs);
}

static int text_store(struct txn *t, uint32_t id, const struct profile *p)
{
    cleanup(buf_free) struct buf text = {0}, b = {0};
    uint8_t k[KEY_SIZE_MAX];
    int r = profile_print(p, &text);

    if (r == 0 && text.len > POLICY_TEXT_MAX)
        return -E_TOOBIG;
    if (r == 0)
        r = profile_encode(p->name, (const char *)text.data, text.len, &b);
    return r < 0 ? r : txn_put_plain(t, k, key_u32(k, TAB_PROFILE, id), b.data, b.len);
}

static void limits_follow(const struct profile *p, struct volume_rec *vr)
{
    if (p->provisioning.size_bytes)
        vr->size_limit = p->provisioning.size_bytes;
    if (p->provisioning.inodes)
        vr->inode_limit = p->provisioning.inodes;
    if (p->provisioning.snapshot_limit_bytes)
        vr->snap_limit = p->provisioning.snapshot_limit_bytes;
}

static int others_follow(struct txn *t, struct vol *v, uint32_t id, const struct profile *p, uint32_t *ret)
{
    int r = 0;

    for (struct vol *o = vol_first(t->store); r == 0 && o; o = o->next)
        if (o != v && o->rec.profile == id && !(o->rec.flags & (VOLUME_GHOST | VOLUME_DELETED))) {
            r = runs_follow(t, o->rec.id, p);
            (*ret)++;
        }
    return r;
}

static int set(struct txn *t, struct vol *v, const struct profile *p, bool limits, uint32_t *others)
{
    struct volume_rec vr = v->rec;
    uint32_t old = vr.profile;
    uint8_t k[KEY_SIZE_MAX];
    int r = vr.flags & (VOLUME_DELETED | VOLUME_GHOST) ? -E_NOENT : 0;

    vr.profile = 0;
    if (r == 0 && p)
        r = number_of(t, p->name, &vr.profile);
    if (r == 0 && p) {
        if (limits)
            limits_follow(p, &vr);
        r = text_store(t, vr.profile, p);
    }
    if (r == 0)
        r = vol_put(t, v, &vr);
    if (r == 0)
        r = runs_follow(t, vr.id, p);
    if (r == 0 && p)
        r = others_follow(t, v, vr.profile, p, others);
    if (r == 0 && old && old != vr.profile &&
        users(t, old) == 1) /* it was the last one: v->rec changes at the commit */
        r = txn_del(t, KEEP_FIRM, nobody, k, key_u32(k, TAB_PROFILE, old));
    return r;
}

int policy_set(struct vol *v, const struct profile *p, bool limits, uint32_t *ret_others)
{
    uint32_t others = 0;
    struct txn t;
    int r = txn_begin(v->store, TXN_WRITE, OP_POLICY, v, &t);

    if (r < 0)
        return r;
    if ((r = set(&t, v, p, limits, &others)) < 0) {
        txn_abort(&t);
        return r;
    }
    r = txn_commit(&t);
    if (r == 0 && ret_others)
        *ret_others = others;
    return r;
}

int policy_get(struct vol *v, struct profile **ret, struct buf *err)
{
    cleanup(buf_free) struct buf text = {0}, why = {0};
    uint8_t k[KEY_SIZE_MAX];
    struct stored one;
    struct txn_val val;
    struct txn t;
    int r = txn_begin(v->store, TXN_READ, OP_NONE, v, &t);

    if (r < 0)
        return r;
    r = v->rec.profile ? txn_get(&t, KEEP_PENDING, k, key_u32(k, TAB_PROFILE, v->rec.profile), &val)
                       : -E_NODATA;
    if (r == -E_NOENT)
        r = -E_CORRUPT;
    if (r == 0)
        r = policy_profile_decode(val.data, val.len, one.name, &one.text, &one.len);
    if (r == 0)
        r = buf_add(&text, one.text, one.len);
    txn_abort(&t);
    if (r == 0)
        r = buf_cstr(&text) ? profile_parse_kept(buf_cstr(&text), one.name, ret, err ? err : &why) : -E_NOMEM;
    if (r == -E_CORRUPT && err)
        buf_printf(
            err,
            "volume %s: its profile cannot be read; varve check says more, varve profile set gives it one",
            v->rec.name);
    return r;
}

int policy_each(struct store *s, int (*cb)(void *arg, uint32_t id, const char *name, uint32_t volumes),
                void *arg)
{
    struct stored one;
    struct txn t;
    int r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t);

    if (r < 0)
        return r;
    for (uint32_t from = 1; (r = stored_from(&t, from, &one)) == 0; from = one.id + 1)
        if ((r = cb(arg, one.id, one.name, users(&t, one.id))) != 0)
            break;
    txn_abort(&t);
    return r == -E_NOENT ? 0 : r;
}

int policy_forget(struct txn *t, uint32_t vol)
{
    struct vol *v = vol_by_id(t->store, vol);
    uint8_t k[KEY_SIZE_MAX];
    int r = txn_del(t, KEEP_FIRM, nobody, k, key_u32(k, TAB_SCHEDULE, vol));

    if (r == 0 && v && v->rec.profile && users(t, v->rec.profile) == !(v->rec.flags & VOLUME_GHOST))
        r = txn_del(t, KEEP_FIRM, nobody, k, key_u32(k, TAB_PROFILE, v->rec.profile));
    return r;
}
