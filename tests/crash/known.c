/* What was found out already in this life. What a store shows is what its tables and the files of its objects hold: images that
 * recover to the same are read and checked once, and judged by what was read. One in sixteen is read and checked all the same,
 * for the memory of a daemon might differ where its store does not. */
#include <stdlib.h>

#include "base/hash.h"
#include "tests/crash/crash.h"

struct summing {
    struct c_run *c;
    struct c_sums *to;
};

static void record_sum(void *arg, const struct kv_item *it)
{
    const struct summing *su = arg;
    uint64_t one = hash_sum(hash_sum(0, it->key, it->klen), it->val, it->vlen);
    unsigned vol = c_record_vol(su->c, it);

    su->to->tables = (su->to->tables ^ one) * 0x9e3779b97f4a7c15;
    if (vol < VOLS)
        su->to->vol[vol] = (su->to->vol[vol] ^ one) * 0x9e3779b97f4a7c15;
}

static struct c_sums sums_take(struct c_run *c)
{
    struct c_sums sums = {0};
    struct store_state st;
    const struct c_layout *l;
    uint64_t parts[2];
    char data[300];

    snprintf(data, sizeof(data), "%s/store/data", lying_root(c->disk));
    store_get_state(c->s, &st);
    sums.tables = (uint64_t)st.mode;
    c_records_each(c, record_sum, &(struct summing){c, &sums});
    sums.tables |= 1;
    l = c_layout_here(c, sums.tables);
    lying_parts_sum(c->disk, data, NULL, l->part, l->n, parts);
    sums.shape = parts[0];
    sums.bytes = parts[1];
    for (unsigned i = 0; i < VOLS; i++) {
        lying_parts_sum(c->disk, data, NULL, l->part + l->from[i], l->from[i + 1] - l->from[i], parts);
        sums.vol[i] = hash_sum(sums.vol[i], parts, sizeof(parts));
    }
    sums.names = lying_sum(c->disk, data, LYING_SUM_NAMES);
    return sums;
}

struct listing {
    struct c_run *c;
    struct c_state *to;
    unsigned vol;
};

static int on_snap(void *arg, const struct layer_rec *rec, const char *text, size_t text_len)
{
    struct listing *l = arg;
    struct c_shown *sh;

    (void)text, (void)text_len;
    WANT(l->c, l->to->nsnaps < SNAPS_MAX, "there are too many snapshots");
    sh = &l->to->snap[l->to->nsnaps++];
    *sh = (struct c_shown){.vol = l->vol, .durable = rec->state != LAYER_SETTLING, .whole = -1};
    snprintf(sh->name, sizeof(sh->name), "%s", rec->name);
    return 0;
}

static void state_clear(struct c_state *st)
{
    for (unsigned i = 0; i < VOLS; i++)
        o_tree_free(st->tree[i]);
    for (size_t i = 0; i < st->nsnaps; i++)
        o_tree_free(st->snap[i].tree);
    memset(st, 0, offsetof(struct c_state, snap));
}

/* Another state in which the volume's trees are the same; NULL: not known. */
static const struct c_state *state_like(const struct c_known *kn, const struct c_state *st, unsigned vol)
{
    for (size_t i = 0; i < C_STATES; i++)
        if (kn->state[i].tree[vol] && kn->state[i].sums.vol[vol] == st->sums.vol[vol] && &kn->state[i] != st)
            return &kn->state[i];
    return NULL;
}

/* anew: what is known is compared with it. */
static struct o_tree *tree_read(struct c_run *c, const struct c_state *st, unsigned vol, bool anew)
{
    const struct c_state *like = state_like(&c->known, st, vol);
    char why[256];
    struct o_tree *t;

    if (like && !anew)
        return o_tree_copy(like->tree[vol]);
    t = c_read_tree(c, vol, c->vol[vol]->rec.live_view);
    WANT(c, !like || c_same_tree(t, like->tree[vol], why),
         "a volume shows another tree than in a store that has the same of it: %s", why);
    return t;
}

static void state_read(struct c_run *c, struct c_state *st, bool anew)
{
    struct listing l = {.c = c, .to = st};

    for (; l.vol < VOLS; l.vol++) {
        int r = snap_each(c->vol[l.vol], on_snap, &l);

        WANT(c, r == 0, "snap_each: %s", err_name(r));
        st->tree[l.vol] = tree_read(c, st, l.vol, anew);
    }
    c->fig.read++;
}

struct c_state *c_known_state(struct c_known *kn, const struct c_sums *sums)
{
    for (size_t i = 0; i < C_STATES; i++)
        if (kn->state[i].tree[0] && kn->state[i].sums.tables == sums->tables &&
            kn->state[i].sums.bytes == sums->bytes)
            return &kn->state[i];
    return NULL;
}

struct c_state *c_state_here(struct c_run *c, bool anew)
{
    struct c_known *kn = &c->known;
    struct c_sums sums = sums_take(c);
    struct c_state *st = c_known_state(kn, &sums);

    if (st && !anew && c_rand(c, C_ANEW))
        return st;
    if (!st)
        st = &kn->state[kn->next_state++ % C_STATES];
    state_clear(st);
    st->sums = sums;
    state_read(c, st, anew);
    return st;
}

/* The same snapshot of another state in which the volume's trees are the same. */
static const struct c_shown *snap_like(const struct c_known *kn, const struct c_state *st,
                                       const struct c_shown *sh)
{
    for (size_t i = 0; i < C_STATES; i++) {
        const struct c_state *other = &kn->state[i];

        if (!other->tree[sh->vol] || other->sums.vol[sh->vol] != st->sums.vol[sh->vol])
            continue;
        for (size_t k = 0; k < other->nsnaps; k++)
            if (other->snap[k].tree && other->snap[k].vol == sh->vol &&
                strcmp(other->snap[k].name, sh->name) == 0)
                return &other->snap[k];
    }
    return NULL;
}

struct o_tree *c_state_snap(struct c_run *c, const struct c_state *st, struct c_shown *sh)
{
    const struct c_shown *like;
    struct vfs_attr a;
    vfs_node root;
    int r;

    if (sh->tree || !c->s)
        return sh->tree;
    like = c_rand(c, C_ANEW) ? snap_like(&c->known, st, sh) : NULL;
    if (like) {
        sh->whole = like->whole;
        return sh->tree = o_tree_copy(like->tree);
    }
    r = view_enter(c->vol[sh->vol], sh->name, INO_ROOT, &root, &a);
    WANT(c, r == 0, "view_enter %s: %s", sh->name, err_name(r));
    sh->tree = c_read_tree(c, sh->vol, vfs_node_view(root));
    return sh->tree;
}

struct c_state *c_known_image(struct c_known *kn, uint64_t image)
{
    for (size_t i = 0; i < C_SUMS; i++)
        if (kn->image[i].image == image)
            return c_known_state(kn, &kn->image[i].sums);
    return NULL;
}

void c_know_image(struct c_known *kn, uint64_t image, const struct c_state *st)
{
    kn->image[kn->next_image++ % C_SUMS] = (struct c_image){image, st->sums};
}

/* All passes look at the tables; one at what is there of the parts that records name, too, and one at the names of files, which wants
 * to be run after that. */
uint32_t c_known_passes(struct c_known *kn, const struct c_state *st)
{
    bool tables = false, names = false, shape = false;

    for (size_t i = 0; i < C_SUMS; i++) {
        const struct c_sums *was = &kn->sound[i];

        if (was->tables != st->sums.tables)
            continue;
        tables = true;
        names |= was->names == st->sums.names;
        shape |= was->shape == st->sums.shape;
    }
    if (names && shape)
        return C_NO_PASS;
    kn->sound[kn->next_sound++ % C_SUMS] = st->sums;
    return tables ? 1u << CHECK_PASS_BYTES | (names ? 0 : 1u << CHECK_PASS_FILES) : 0;
}

void c_known_forget(struct c_known *kn)
{
    for (size_t i = 0; i < C_STATES; i++)
        state_clear(&kn->state[i]);
    memset(kn->image, 0, sizeof(kn->image));
    memset(kn->sound, 0, sizeof(kn->sound));
    kn->next_state = kn->next_image = kn->next_sound = 0;
    c_outcomes_forget(kn);
    c_layouts_forget(kn);
}
