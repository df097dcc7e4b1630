/* One seed: lives of a store, one after the other. */
#include "tests/crash/crash.h"

#include <stdlib.h>

#include "base/clock.h"
#include "snap/store/journal.h"

#define LIVES 2u

static void settings_choose(struct c_run *c)
{
    static const uint32_t inline_bytes[] = {512, 4096, 4096, 16384}, segment_kib[] = {64, 96, 128, 192};

    c->set = (struct store_settings){.no_threads = true, .segments = 4, .fd_cache = 8};
    c->set.segment_bytes = segment_kib[c_rand(c, 4)] << 10;
    c->set.inline_bytes = inline_bytes[c_rand(c, 4)];
    c->set.delta_bytes = (32u + c_rand(c, 400)) << 10;
    c->set.dirty_bytes = (1u + c_rand(c, 4)) << 20;
    c->set.map_bytes = 1u << 20;
    c->set.flush_ms = 500 + (uint32_t)c_rand(c, 4500);
}

static void clock_begin(struct c_run *c)
{
    clock_test_set(1763676000000000000ll + (int64_t)c->life_no * 1000000000000ll,
                   1000000000000ll * (c->life_no + 1));
}

/* Cuts at writes: each belongs to an operation, 0 is the opening. */
static void writes_due(struct c_run *c, const uint32_t due[WRITES], uint32_t op)
{
    for (unsigned i = 0; i < WRITES; i++)
        c->life.writes += due[i] == op;
}

static void state_copy(struct o_tree *to[VOLS], struct o_tree *const from[VOLS])
{
    for (unsigned i = 0; i < VOLS; i++)
        to[i] = o_tree_copy(from[i]);
}

/* The whole life without an end; how many calls changed the disk. */
static uint64_t life_record(struct c_run *c, const struct lying_shot *base, uint32_t ops)
{
    struct c_life *l = &c->life;
    struct o_tree *now[VOLS];
    uint32_t due[WRITES];
    uint64_t calls;

    state_copy(now, l->state[0]);
    for (unsigned i = 0; i < WRITES; i++)
        due[i] = (uint32_t)c_rand(c, ops + 1);
    clock_begin(c);
    c_start(c, lying_shot_copy(base));
    c->op = c->acked = 0;
    writes_due(c, due, 0);
    c_cut_watch(c, l);
    WANT(c, c_open(c) == 0, "open");
    for (uint32_t k = 1; k <= ops; k++) {
        c->op = k;
        writes_due(c, due, k);
        int r = c_play(c, k, l->state[k - 1], now);
        WANT(c, r == 0, "%s", err_name(r));
        state_copy(l->state[k], now);
        l->ops = c->acked = k;
    }
    c_cut_now(c, l, ops, ops);
    for (unsigned i = 0; i < VOLS; i++)
        o_tree_free(now[i]);
    calls = lying_count(c->disk, LYING_MUTATING);
    c->fig.ops += l->ops;
    c_stop(c);
    return calls;
}

/* Plays until the daemon is dead. acked: operations that had returned; upto: those whose effects may be seen. */
static void play_to_the_end(struct c_run *c, uint32_t *acked, uint32_t *upto)
{
    struct c_life *l = &c->life;

    *acked = *upto = 0;
    c->op = 0;
    snprintf(c->what, sizeof(c->what), "open");
    if (c_open(c) < 0)
        return;
    for (uint32_t k = 1; k <= l->ops; k++) {
        int r = c_play(c, k, l->state[k - 1], NULL);

        *upto = k;
        if (r < 0)
            return;
        *acked = k;
    }
}

/* The first fsync of the next daemon covers what the dead one had acknowledged (F11). */
static void fsync_some(struct c_run *c, uint32_t state, uint32_t acked)
{
    unsigned vol = (unsigned)c_rand(c, VOLS);
    const struct o_tree *t = c->life.state[state][vol];

    for (size_t i = 0; i < t->n; i++) {
        const struct o_ino *in = t->v[i];
        int r;

        if (!S_ISREG(in->mode) || !o_get(c->life.state[acked][vol], in->ino))
            continue;
        r = vfs_fsync(c->vol[vol], vfs_node_make(c->vol[vol]->rec.live_view, in->ino));
        WANT(c, r == 0, "fsync after a death: %s", err_name(r));
        c_promise(&c->life, vol, in->ino, acked);
        c->life.flushed[acked] = true;
        if (c_rand(c, 3) == 0)
            break;
    }
}

/* The daemon dies somewhere; the next one on the same boot has everything. It syncs, and the power goes. The last thing in a
 * life: what it promises is noted in it. */
static void one_death(struct c_run *c, const struct lying_shot *base, uint64_t at)
{
    uint32_t acked, upto, k;
    int r;

    clock_begin(c);
    c_start(c, lying_shot_copy(base));
    lying_kill_at(c->disk, at);
    c->killing = true;
    play_to_the_end(c, &acked, &upto);
    c->killing = false;
    if (c->s)
        store_drop(TAKE(c->s));
    lying_revive(c->disk);
    r = c_open(c);
    WANT(c, r == 0, "open after a death: %s", err_name(r));
    k = c_judge_death(c, acked, upto);
    c->fig.deaths++;
    fsync_some(c, k, acked);
    c_cut_now(c, &c->life, acked, upto);
    c_stop(c);
    c_cuts_judge(c, NULL, NULL);
}

/* The next life begins with what a cut left. */
static void life_next(struct c_run *c, struct o_tree *const t[VOLS])
{
    static struct c_snap kept[SNAPS_MAX];
    int moved[SNAPS_MAX];
    size_t n = 0;

    for (size_t i = 0; i < c->life.nsnaps; i++)
        moved[i] = c->there[i] ? (int)n++ : -1;
    for (size_t i = 0; i < c->life.nsnaps; i++) {
        const struct c_snap *sn = &c->life.snap[i];

        if (moved[i] < 0)
            continue;
        kept[moved[i]] = *sn;
        kept[moved[i]].created = 0;
        kept[moved[i]].durable = c->durable[i] ? 0 : NEVER;
        kept[moved[i]].deleted = NEVER;
        kept[moved[i]].twin = sn->twin < 0 ? -1 : moved[sn->twin];
        kept[moved[i]].tree = o_tree_copy(sn->tree);
    }
    c_life_free(&c->life);
    c_known_forget(&c->known);
    memcpy(c->life.snap, kept, n * sizeof(*kept));
    c->life.nsnaps = n;
    for (unsigned i = 0; i < VOLS; i++)
        c->life.state[0][i] = t[i];
    c->life.flushed[0] = true;
}

static void one_life(struct c_run *c, struct lying_shot **base, uint32_t ops)
{
    struct o_tree *t[VOLS] = {NULL};
    bool there[SNAPS_MAX], durable[SNAPS_MAX];
    struct lying_shot *next = NULL;
    uint64_t calls;

    c->life_seed = c->seed * 100 + c->life_no;
    calls = life_record(c, *base, ops);
    c_cuts_judge(c, &next, t);
    memcpy(there, c->there_kept, sizeof(there));
    memcpy(durable, c->durable_kept, sizeof(durable));
    one_death(c, *base, 1 + c_rand(c, calls));
    memcpy(c->there, there, sizeof(there));
    memcpy(c->durable, durable, sizeof(durable));
    lying_shot_free(*base);
    *base = next;
    life_next(c, t);
}

int c_seed(struct c_run *c, uint64_t seed, uint32_t ops)
{
    struct lying_shot *volatile base = NULL;
    struct lying_shot *at;
    volatile int failed = 0;

    c->seed = c->rng = seed;
    c->life_no = 0;
    c->starts = 0;
    c->killing = false;
    settings_choose(c);
    if (setjmp(c->out) == 0) {
        clock_begin(c);
        base = c_first_store(c);
        for (; c->life_no < LIVES; c->life_no++) {
            at = base;
            base = NULL;
            one_life(c, &at, ops / LIVES);
            base = at;
        }
    } else {
        failed = 1;
    }
    c_stop(c);
    lying_shot_free(base);
    c_cuts_free(&c->past);
    c_life_free(&c->life);
    c_known_forget(&c->known);
    clock_test_off();
    journal_test_boot_id(NULL);
    return failed;
}
