/* Cuts: when they happen, and what is asked of each image. */
#include "tests/crash/crash.h"

#include <stdlib.h>

#include "base/clock.h"

void c_cut_now(struct c_run *c, struct c_life *l, uint32_t acked, uint32_t upto)
{
    struct c_cut *cut;

    assert(l->ncuts < CUTS_MAX);
    cut = &l->cut[l->ncuts++];
    *cut = (struct c_cut){.acked = acked, .upto = upto};
    for (unsigned i = 0; i < IMAGES; i++) {
        cut->mode[i] = i < 2 ? (enum lying_mode)i : (enum lying_mode)(LYING_PREFIX + c_rand(c, 4));
        cut->seed[i] = c_rand(c, UINT32_MAX);
        cut->shot[i] = lying_shot(c->disk, cut->seed[i], cut->mode[i]);
    }
    c->fig.cuts++;
}

static void on_cut(struct c_run *c, struct c_life *l, unsigned kind)
{
    if (kind & LYING_SYNC) {
        c->fig.cuts_sync++;
    } else {
        if (l->writes == 0 || c_rand(c, 2))
            return;
        l->writes--;
        c->fig.cuts_write++;
    }
    c->fig.cuts_open += c->op == 0;
    c_cut_now(c, l, c->acked, c->op);
}

static void on_life_cut(void *arg, unsigned kind)
{
    struct c_run *c = arg;

    on_cut(c, &c->life, kind);
}

static void on_recovery_cut(void *arg, unsigned kind)
{
    struct c_run *c = arg;

    on_cut(c, &c->past, kind);
    c->fig.cuts_recovery++;
}

void c_cut_watch(struct c_run *c, struct c_life *l)
{
    lying_on_cut(c->disk, l == &c->life ? on_life_cut : on_recovery_cut, c);
}

void c_cuts_free(struct c_life *l)
{
    for (size_t i = 0; i < l->ncuts; i++)
        for (unsigned k = 0; k < IMAGES; k++)
            lying_shot_free(TAKE(l->cut[i].shot[k]));
    l->ncuts = 0;
}

/* One that is as another while the same operation was under way tells nothing new. */
static bool seen_before(struct c_run *c, const struct c_cut *cut, const struct lying_shot *shot)
{
    uint64_t sum = lying_shot_sum(shot);

    if (c->nsums && (c->sums_acked != cut->acked || c->sums_upto != cut->upto))
        c->nsums = 0;
    c->sums_acked = cut->acked, c->sums_upto = cut->upto;
    for (size_t i = 0; i < c->nsums; i++)
        if (c->sums[i] == sum)
            return true;
    if (c->nsums < ARRAY_LEN(c->sums))
        c->sums[c->nsums++] = sum;
    return false;
}

/* Some of those that recover go on: they reclaim, are checked again, and closed. */
static void go_on(struct c_run *c)
{
    int r = store_reclaim_idle(c->s);

    WANT(c, r == 0, "reclaim: %s", err_name(r));
    c_sound(c);
    r = store_close(TAKE(c->s));
    WANT(c, r == 0, "close: %s", err_name(r));
}

static void image_judge(struct c_run *c, const struct c_cut *cut, struct lying_shot *shot, bool again,
                        struct o_tree *ret_tree[VOLS])
{
    int r;

    if (getenv("KEEP")) {
        lying_shot_free(c->shown);
        c->shown = lying_shot_copy(shot);
    }
    c_start(c, shot);
    c->acked = cut->acked, c->op = cut->upto;
    snprintf(c->what, sizeof(c->what), "cut, %u had returned", cut->acked);
    if (again) {
        c->past.writes = 4;
        c_cut_watch(c, &c->past);
    }
    r = c_open(c);
    WANT(c, r == 0, "an image of a power cut does not open: %s", err_name(r));
    lying_on_cut(c->disk, NULL, NULL);
    c_judge(c, cut->acked, cut->upto, ret_tree);
    c_sound(c);
    c->fig.judged++;
    if (c_rand(c, 16) == 0)
        go_on(c);
    c_stop(c);
}

static void cut_judge(struct c_run *c, struct c_cut *cut, struct lying_shot **keep,
                      struct o_tree *ret_tree[VOLS])
{
    unsigned kept = keep ? (unsigned)c_rand(c, IMAGES) : IMAGES;

    for (unsigned i = 0; i < IMAGES; i++) {
        c->fig.images++;
        if (i == kept)
            *keep = lying_shot_copy(cut->shot[i]);
        if (seen_before(c, cut, cut->shot[i]) && i != kept && !(cut->again && i == IMAGES - 1))
            continue;
        if (c->trace)
            printf("      image of mode %d, seed %llu, acked %u upto %u\n", (int)cut->mode[i],
                   (unsigned long long)cut->seed[i], cut->acked, cut->upto);
        image_judge(c, cut, TAKE(cut->shot[i]), cut->again && i == IMAGES - 1, i == kept ? ret_tree : NULL);
        if (i == kept) {
            memcpy(c->there_kept, c->there, sizeof(c->there));
            memcpy(c->durable_kept, c->durable, sizeof(c->durable));
        }
    }
}

void c_cuts_judge(struct c_run *c, struct lying_shot **keep, struct o_tree *ret_tree[VOLS])
{
    struct c_life *l = &c->life;
    size_t kept = l->ncuts - 1 - c_rand(c, MIN_OF(l->ncuts, (size_t)20));

    if (keep)
        l->cut[c_rand(c, l->ncuts)].again = true;
    for (size_t i = 0; i < l->ncuts; i++) {
        cut_judge(c, &l->cut[i], keep && i == kept ? keep : NULL, ret_tree);
        if (c->past.ncuts)
            c->nsums = 0;
        for (size_t k = 0; k < c->past.ncuts; k++)
            cut_judge(c, &c->past.cut[k], NULL, NULL);
        c_cuts_free(&c->past);
    }
    c_cuts_free(l);
}
