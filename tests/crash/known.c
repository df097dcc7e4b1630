/* What was found out already in this life. What a store shows is what its tables and the files of its objects hold: images that
 * recover to the same are read and checked once, and judged by what was read. One in sixteen is read and checked all the same,
 * for the memory of a daemon might differ where its store does not. */
#include <stdlib.h>

#include "base/hash.h"
#include "snap/store/store_int.h"
#include "tests/crash/crash.h"

static void record_sum(void *arg, const struct kv_item *it)
{
    uint64_t *sum = arg;

    *sum = hash_sum(hash_sum(*sum, it->key, it->klen), it->val, it->vlen);
}

static uint64_t tables_sum(struct c_run *c)
{
    struct store_state st;
    uint64_t sum;

    store_get_state(c->s, &st);
    sum = (uint64_t)st.mode;
    c_records_each(c, record_sum, &sum);
    return sum | 1;
}

static struct c_sums sums_take(struct c_run *c)
{
    struct c_sums sums;
    const struct c_layout *l;
    uint64_t parts[2];
    char data[300];

    snprintf(data, sizeof(data), "%s/store/data", lying_root(c->disk));
    sums.tables = tables_sum(c);
    l = c_layout_here(c, sums.tables);
    lying_parts_sum(c->disk, data, NULL, l->part, l->n, parts);
    sums.shape = parts[0];
    sums.bytes = parts[1];
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

static void state_read(struct c_run *c, struct c_state *st)
{
    struct listing l = {.c = c, .to = st};

    for (; l.vol < VOLS; l.vol++) {
        int r = snap_each(c->vol[l.vol], on_snap, &l);

        WANT(c, r == 0, "snap_each: %s", err_name(r));
        st->tree[l.vol] = c_read_tree(c, l.vol, c->vol[l.vol]->rec.live_view);
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
    state_read(c, st);
    return st;
}

struct o_tree *c_state_snap(struct c_run *c, struct c_shown *sh)
{
    struct vfs_attr a;
    vfs_node root;
    int r;

    if (sh->tree || !c->s)
        return sh->tree;
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
