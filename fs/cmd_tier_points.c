/* Which recovery points can be released from; what profiles and words ask for. */
#include <stdio.h>
#include <stdlib.h>

#include "fs/verb_profile.h"
#include "fs/verb_runs.h"
#include "fs/verb_tier.h"
#include "snap/idle.h"
#include "snap/store/cold.h"

/* --- recovery points -------------------------------------------------------------------------------------------------- */

struct points {
    struct buf *ret;
    size_t from; /* of ours in ret */
};

static int note_snapshot(void *arg, const struct layer_rec *rec, const char *text, size_t len)
{
    struct points *ps = arg;

    (void)text;
    (void)len;
    return rec->state == LAYER_DURABLE
               ? buf_add(ps->ret, &(struct tier_point){*rec, ""}, sizeof(struct tier_point))
               : 0;
}

static int note_point(void *arg, const struct point *p)
{
    struct points *ps = arg;
    struct tier_point *v = (struct tier_point *)(void *)(ps->ret->data + ps->from);
    size_t n = (ps->ret->len - ps->from) / sizeof(*v);

    for (size_t i = 0; i < n; i++)
        if (uuid_equal(&v[i].rec.uuid, &p->snapshot))
            memcpy(v[i].id, p->id, sizeof(v[i].id));
    return 0;
}

/* Snapshots without one are left out. */
static void only_found(struct points *ps)
{
    struct tier_point *v = (struct tier_point *)(void *)(ps->ret->data + ps->from);
    size_t n = (ps->ret->len - ps->from) / sizeof(*v), kept = 0;

    for (size_t i = 0; i < n; i++)
        if (v[i].id[0])
            v[kept++] = v[i];
    ps->ret->len = ps->from + kept * sizeof(*v);
}

int tier_points(struct vol *v, struct repo *repo, const char *place, struct buf *ret, struct buf *err)
{
    struct points ps = {.ret = ret, .from = ret->len};
    int r = snap_each(v, note_snapshot, &ps);

    if (r == 0 && ret->len > ps.from) {
        r = points_each(repo, note_point, NULL, &ps);
        only_found(&ps);
    }
    if (r == 0 && ret->len == ps.from) {
        buf_printf(
            err,
            "%s has no recovery point of volume %s whose snapshot is still here; varve backup run makes one",
            place, v->rec.name);
        r = -E_NOENT;
    }
    return r;
}

int tier_points_newest(struct vol *v, struct repo *repo, const char *place, struct tier_point *ret,
                       struct buf *err)
{
    cleanup(buf_free) struct buf all = {0};
    int r = tier_points(v, repo, place, &all, err);

    if (r == 0)
        memcpy(ret, all.data + all.len - sizeof(*ret), sizeof(*ret));
    return r;
}

/* --- terms ------------------------------------------------------------------------------------------------------------ */

static int from_profile(struct vol *v, struct tier_terms *ret, struct buf *err)
{
    cleanup(profile_free) struct profile *p = NULL;
    int r = policy_get(v, &p, err);

    if (r < 0)
        return r == -E_NODATA ? 0 : r;
    tier_policy_of(p, &ret->p);
    snprintf(ret->to, sizeof(ret->to), "%s", tier_policy_to(p));
    snprintf(ret->pattern, sizeof(ret->pattern), "%s", p->tiering.pattern);
    ret->upload = p->tiering.upload;
    return 0;
}

static int text_of(const struct verb_args *a, const char *name, char *out, size_t size, struct buf *err)
{
    const char *text = verb_text(a, name);

    if (text && strlen(text) >= size) {
        buf_printf(err, "tier run: --%s is too long", name);
        return -E_USAGE;
    }
    if (text)
        snprintf(out, size, "%s", text);
    return 0;
}

static int percent(const struct verb_args *a, const char *name, uint32_t *ret, bool *own, struct buf *err)
{
    if (!verb_given(a, name))
        return 0;
    if (verb_num(a, name) < 1 || verb_num(a, name) > 99) {
        buf_printf(err, "tier run: --%s is a part of a hundred: 1 to 99", name);
        return -E_USAGE;
    }
    *ret = (uint32_t)verb_num(a, name);
    *own = true;
    return 0;
}

static int ages(const struct verb_args *a, struct tier_terms *t, struct buf *err)
{
    const char *by = verb_text(a, "by");

    if (by && strcmp(by, "access") != 0 && strcmp(by, "change") != 0) {
        buf_puts(err, "tier run: --by is access or change");
        return -E_USAGE;
    }
    if (verb_given(a, "after")) {
        t->p.what = TIER_COLD;
        t->p.after_s = (int64_t)(verb_num(a, "after") / 1000000000);
        t->own = true;
    }
    if (by)
        t->p.by_access = by[0] == 'a', t->own = true;
    return 0;
}

static int from_words(const struct verb_args *a, struct tier_terms *t, struct buf *err)
{
    int r = ages(a, t, err);

    if (r == 0)
        r = percent(a, "high", &t->p.high_pct, &t->own, err);
    if (r == 0)
        r = percent(a, "low", &t->p.low_pct, &t->own, err);
    if (r == 0)
        r = text_of(a, "to", t->to, sizeof(t->to), err);
    if (r == 0)
        r = text_of(a, "pattern", t->pattern, sizeof(t->pattern), err);
    if (r < 0)
        return r;
    if (verb_given(a, "larger"))
        t->p.least_bytes = verb_num(a, "larger"), t->own = true;
    if (verb_given(a, "smaller"))
        t->p.most_bytes = verb_num(a, "smaller"), t->own = true;
    t->own |= verb_given(a, "pattern");
    t->upload |= verb_num(a, "upload");
    if (t->p.high_pct && t->p.what < TIER_COLD)
        t->p.what = TIER_COLD;
    return 0;
}

static int whole(const struct vol *v, const struct tier_terms *t, struct buf *err)
{
    if (!t->p.high_pct != !t->p.low_pct || (t->p.high_pct && t->p.low_pct >= t->p.high_pct)) {
        buf_puts(err, "tier run: --high and --low go together, and the low one is below the high one");
        return -E_USAGE;
    }
    if (t->p.most_bytes && t->p.most_bytes < t->p.least_bytes) {
        buf_puts(
            err,
            "tier run: --larger and --smaller contradict each other: no file is that large and that small");
        return -E_USAGE;
    }
    if (t->p.what == TIER_NOTHING) {
        buf_printf(
            err,
            "volume %s: nothing says what is to be released; give --after or --high and --low, or a profile "
            "with tiering by varve profile set",
            v->rec.name);
        return -E_NODATA;
    }
    if (!t->to[0]) {
        buf_printf(err, "volume %s: nothing says which repository has it; give --to", v->rec.name);
        return -E_NODATA;
    }
    return 0;
}

int tier_terms_of(struct vol *v, const struct verb_args *a, struct tier_terms *ret, struct buf *err)
{
    int r;

    *ret = (struct tier_terms){.p = {.by_access = true}};
    r = from_profile(v, ret, err);
    if (r == 0 && a)
        r = from_words(a, ret, err);
    ret->p.pattern = ret->pattern;
    return r < 0 ? r : whole(v, ret, err);
}

/* --- what no backup has ---------------------------------------------------------------------------------------------- */

int tier_secrets(const struct verb_args *a, struct buf *line)
{
    static const char *const keys[] = {"passphrase-file", "key-file", "credentials"};
    int r = 0;

    for (size_t i = 0; r == 0 && i < ARRAY_LEN(keys); i++)
        r = verb_line_add(line, keys[i], verb_text(a, keys[i]));
    return r;
}

/* What no backup has gets into one first; as `varve backup run` does it, within this job. */
int tier_upload(struct job *j, uint64_t id, struct store *s, struct vol *v, const struct repo_place *place,
                const struct verb_args *a)
{
    struct job_info *info = calloc(1, sizeof(*info));
    cleanup(buf_free) struct buf line = {0};
    int r = info ? buf_puts(&line, "run") : -E_NOMEM;

    if (r == 0)
        r = verb_line_add(&line, "snap", verb_text(a, "snap"));
    if (r == 0)
        r = verb_line_add(&line, "to", place->conf.url);
    if (r == 0)
        r = tier_secrets(a, &line);
    if (r == 0 && !verb_given(a, "passphrase-file") && place->conf.passphrase_file[0])
        r = verb_line_add(&line, "passphrase-file", place->conf.passphrase_file);
    if (r == 0 && !verb_given(a, "key-file") && place->conf.key_file[0])
        r = verb_line_add(&line, "key-file", place->conf.key_file);
    if (r == 0 && (!buf_cstr(&line) || line.len > JOB_DETAIL_MAX))
        r = -E_TOOBIG;
    if (r == 0) {
        info->id = id; /* it holds the snapshot by that */
        info->vol = v->rec.id;
        snprintf(info->detail, sizeof(info->detail), "%s", buf_cstr(&line));
        r = backup_job(j, s, info);
    }
    free(info);
    return r;
}

/* --- room ------------------------------------------------------------------------------------------------------------- */

int tier_room(struct vol *v, const struct tier_policy *p, uint64_t *ret_used, uint64_t *ret_total)
{
    struct store_state st;
    struct cold_stat cold;
    struct txn t;
    int r;

    store_get_state(v->store, &st);
    r = txn_begin(v->store, TXN_READ, OP_NONE, v, &t);
    if (r < 0)
        return r;
    *ret_total = v->rec.size_limit;
    *ret_used = vol_present_blocks(v) * BLOCK_SIZE;
    txn_abort(&t);
    if (!*ret_total) {
        *ret_total = st.disk_total;
        *ret_used = st.disk_total - st.disk_free;
        return 0;
    }
    if (!tier_excess(p, *ret_used, *ret_total)) /* what is elsewhere need not be counted */
        return 1;
    r = cold_stat(v, &cold);
    if (r == 0)
        *ret_used = cold.local_bytes;
    return r < 0 ? r : 1;
}

/* --- reads ------------------------------------------------------------------------------------------------------------ */

int tier_follow(struct vol *v)
{
    cleanup(profile_free) struct profile *p = NULL;
    cleanup(buf_free) struct buf err = {0};
    struct tier_policy policy;
    int r = policy_get(v, &p, &err);

    if (r < 0 || !tier_policy_of(p, &policy))
        return idle_follow(v, 0, false);
    return idle_follow(v, tier_grain(&policy), policy.by_access && policy.what == TIER_COLD);
}

static int follow_one(void *arg, struct vol *v)
{
    (void)arg;
    return tier_follow(v);
}

void tier_follow_all(struct store *s)
{
    volume_each(s, follow_one, NULL);
}
