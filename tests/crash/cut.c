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

/* It was judged by the same promises, and tells nothing new. */
static bool told(const struct c_state *st, const struct c_cut *cut)
{
    return st->fits && st->acked == cut->acked && st->upto == cut->upto;
}

/* Some of those that recover go on: they reclaim, are checked whole, known or not, and closed. */
static void go_on(struct c_run *c)
{
    int r = store_reclaim_idle(c->s);

    WANT(c, r == 0, "reclaim: %s", err_name(r));
    c_sound(c, 0);
    r = store_close(TAKE(c->s));
    WANT(c, r == 0, "close: %s", err_name(r));
}

/* A disk with it, on another boot. */
static void image_start(struct c_run *c, struct lying_shot *shot)
{
    if (getenv("KEEP")) {
        lying_shot_free(c->shown);
        c->shown = lying_shot_copy(shot);
    }
    c_start(c, shot);
}

static void image_recover(struct c_run *c, bool again)
{
    int r;

    c_outcome_watch(c);
    if (again) {
        c->past.writes = 4;
        c_cut_watch(c, &c->past);
    }
    r = c_open(c);
    WANT(c, r == 0, "an image of a power cut does not open: %s", err_name(r));
    lying_on_cut(c->disk, NULL, NULL);
    c->fig.recovered++;
}

/* on: although all is known, and further. */
static struct c_state *state_judge(struct c_run *c, const struct c_cut *cut, const struct c_image_of *of,
                                   bool on)
{
    struct c_state *st = c_state_here(c, on);
    uint32_t passes;

    c_outcome_know(c, of, st);
    c_judge(c, st, cut->acked, cut->upto);
    passes = c_known_passes(&c->known, st);
    if (passes != C_NO_PASS)
        c_sound(c, passes);
    if (on)
        go_on(c);
    return st;
}

static struct c_state *image_judge(struct c_run *c, const struct c_cut *cut, struct lying_shot *shot,
                                   uint64_t sum, bool again)
{
    bool on = c_rand(c, C_ANEW) == 0;
    struct c_image_of of;
    struct c_state *st;

    image_start(c, shot);
    c_outcome_begin(c, &of);
    st = on || again ? NULL : c_outcome_state(c, &of);
    if (st) {
        c->fig.foreseen++;
        c_judge(c, st, cut->acked, cut->upto);
    } else {
        image_recover(c, again);
        st = state_judge(c, cut, &of, on);
    }
    c_know_image(&c->known, sum, st);
    c_stop(c);
    return st;
}

static void cut_judge(struct c_run *c, struct c_cut *cut, struct lying_shot **keep,
                      struct o_tree *ret_tree[VOLS])
{
    unsigned kept = keep ? (unsigned)c_rand(c, IMAGES) : IMAGES;

    c->acked = cut->acked, c->op = cut->upto;
    snprintf(c->what, sizeof(c->what), "cut, %u had returned", cut->acked);
    for (unsigned i = 0; i < IMAGES; i++) {
        uint64_t sum = lying_shot_sum(cut->shot[i]);
        struct c_state *st = c_known_image(&c->known, sum);
        bool again = cut->again && i == IMAGES - 1;

        c->fig.images++;
        if (i == kept)
            *keep = lying_shot_copy(cut->shot[i]);
        if (c->trace)
            printf("      image of mode %d, seed %llu, acked %u upto %u\n", (int)cut->mode[i],
                   (unsigned long long)cut->seed[i], cut->acked, cut->upto);
        if (st && !again && i != kept && told(st, cut))
            continue;
        c->fig.judged++;
        if (st && !again)
            c_judge(c, st, cut->acked, cut->upto);
        else
            st = image_judge(c, cut, TAKE(cut->shot[i]), sum, again);
        if (i != kept)
            continue;
        for (unsigned v = 0; v < VOLS; v++)
            ret_tree[v] = o_tree_copy(st->tree[v]);
        memcpy(c->there_kept, c->there, sizeof(c->there));
        memcpy(c->durable_kept, c->durable, sizeof(c->durable));
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
        for (size_t k = 0; k < c->past.ncuts; k++)
            cut_judge(c, &c->past.cut[k], NULL, NULL);
        c_cuts_free(&c->past);
    }
    c_cuts_free(l);
}
