/* Operations on the store as a whole: checkpoints, clean stops, deaths. */
#include "tests/model/model.h"

#include "base/hash.h"
#include "snap/store/journal.h"

void op_checkpoint(struct m_run *m, struct m_vol *mv)
{
    (void)mv;
    m_trace(m, "checkpoint");
    m_expect(m, store_checkpoint(m->s), 0, "checkpoint");
}

void op_tick(struct m_run *m, struct m_vol *mv)
{
    int r = store_tick(m->s);

    (void)mv;
    m_trace(m, "tick: %d", r);
    WANT(m, r >= 0, "tick: %s", err_name(r));
}

/* A machine that was booted anew: what was not made firm by a clean stop would be lost. */
static void new_boot(struct m_run *m)
{
    hash_random(m->boot, sizeof(m->boot));
    journal_test_boot_id(m->boot);
}

static void open_again(struct m_run *m)
{
    static const uint32_t inline_bytes[] = {64, 512, 4096, 4096, 16384};
    char why[256] = "";
    int r;

    if (m_chance(m, 30))
        m->set.inline_bytes = inline_bytes[m_rand(m, ARRAY_LEN(inline_bytes))];
    r = store_open(io_real(), m->dir, &m->set, 0, &m->s, why);
    WANT(m, r == 0, "open: %s: %s", err_name(r), why);
    m_expect(m, snap_attach(m->s), 0, "attach");
    for (size_t i = 0; i < m->nvols; i++)
        m_expect(m, volume_find(m->s, m->vol[i].name, &m->vol[i].v), 0, "volume_find");
}

/* What an unmount does: nobody holds anything any more. */
static void let_go(struct m_run *m, struct m_vol *mv)
{
    m_expect(m, vfs_orphans_drop_all(mv->v), 0, "orphans_drop_all");
    for (size_t i = mv->live->n; i-- > 0;)
        if (mv->live->v[i]->nlink == 0)
            o_del(mv->live, mv->live->v[i]->ino);
    m_expect(m, views_free_all(mv->v), 0, "views_free_all");
    for (size_t i = 0; i < mv->nsnaps; i++)
        mv->snap[i].entered = false;
    while (mv->nstale)
        o_tree_free(mv->stale[--mv->nstale].tree);
}

void op_reopen(struct m_run *m, struct m_vol *mv)
{
    int r;

    m_trace(m, "reopen");
    for (size_t i = 0; i < m->nvols; i++)
        let_go(m, &m->vol[i]);
    r = store_close(m->s);
    m->s = NULL;
    m_expect(m, r, 0, "close");
    if (m_chance(m, 50))
        new_boot(m);
    open_again(m);
    m_verify_live(m, mv);
    m_verify_space(m, mv);
}

/* The daemon dies, the machine stays: nothing that was answered is lost. */
void op_drop(struct m_run *m, struct m_vol *mv)
{
    m_trace(m, "drop");
    store_drop(m->s);
    m->s = NULL;
    open_again(m);
    m_verify_live(m, mv);
    m_verify_space(m, mv);
}

void op_verify(struct m_run *m, struct m_vol *mv)
{
    m_trace(m, "verify");
    m_verify_live(m, mv);
    m_verify_space(m, mv);
    if (mv->nsnaps)
        m_verify_snap(m, mv, m_pick_snap(m, mv));
}
