/* One seed: a store, its operations, its comparison. */
#include "tests/model/model.h"

#include <ftw.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "snap/store/journal.h"
#include "tests/lib/seeded.h"

static const struct {
    const char *name;
    unsigned weight;
    void (*fn)(struct m_run *m, struct m_vol *mv);
} ops[] = {
#define OP(name, weight) {#name, weight, op_##name},
#include "tests/model/ops.def"
#undef OP
};

void m_fail(struct m_run *m, const char *fmt, ...)
{
    va_list ap;

    printf("FAIL seed %llu op %llu: %s%s%s: ", (unsigned long long)m->seed, (unsigned long long)m->op,
           m->vol_name ? m->vol_name : "", m->place ? " " : "", m->place ? m->place : "");
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n  replay: build/tests/model --seed %llu --seeds 1 --ops %llu --trace\n",
           (unsigned long long)m->seed, (unsigned long long)m->ops);
    fflush(stdout);
    longjmp(m->out, 1);
}

void m_trace(struct m_run *m, const char *fmt, ...)
{
    va_list ap;

    if (!m->trace)
        return;
    printf("%5llu %s ", (unsigned long long)m->op, m->vol_name);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    fflush(stdout);
}

uint64_t m_rand(struct m_run *m, uint64_t below)
{
    assert(below > 0);
    return test_rand(&m->rng) % below;
}

bool m_chance(struct m_run *m, unsigned percent)
{
    return m_rand(m, 100) < percent;
}

bool m_expect(struct m_run *m, int r, int want, const char *what)
{
    WANT(m, r == want, "%s: %s, not %s", what, err_name(r), err_name(want));
    return r == 0;
}

void m_now(struct timespec *ret)
{
    int64_t now = clock_wall_ns();

    ret->tv_sec = now / 1000000000;
    ret->tv_nsec = now % 1000000000;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void settings_choose(struct m_run *m)
{
    static const uint32_t inline_bytes[] = {64, 512, 4096, 4096, 16384};

    m->set =
        (struct store_settings){.no_threads = true, .segments = 4, .fd_cache = 4 + (uint32_t)m_rand(m, 60)};
    m->set.segment_bytes = (1u + m_rand(m, 2)) << 20;
    m->set.delta_bytes = (64u + m_rand(m, 1000)) << 10;
    m->set.inline_bytes = inline_bytes[m_rand(m, ARRAY_LEN(inline_bytes))];
    m->set.dirty_bytes = (1u + m_rand(m, 4)) << 20;
    m->set.map_bytes = 1u << 20;
}

static void root_know(struct m_run *m, struct m_vol *mv)
{
    struct vfs_attr a;
    struct o_ino *root;

    mv->live = o_tree_new();
    m_expect(m, vfs_getattr(mv->v, (vfs_node){INO_ROOT}, &a), 0, "getattr of the root");
    root = o_add(mv->live, INO_ROOT);
    root->mode = a.mode, root->uid = a.uid, root->gid = a.gid, root->nlink = 2;
    root->parent = INO_ROOT;
    root->atime = a.atime, root->mtime = a.mtime, root->ctime = a.ctime, root->btime = a.btime;
    mv->max_ino = INO_ROOT;
}

static void begin(struct m_run *m)
{
    struct volume_opts vo = {.mode = 0755};
    char why[256] = "";
    int r;

    hash_random(m->boot, sizeof(m->boot));
    journal_test_boot_id(m->boot);
    clock_test_set(1763676000000000000ll + (int64_t)m_rand(m, 1000000000), 1000000000ll);
    settings_choose(m);
    m_expect(m, store_create(io_real(), m->dir, &m->set), 0, "store_create");
    r = store_open(io_real(), m->dir, &m->set, 0, &m->s, why);
    WANT(m, r == 0, "store_open: %s: %s", err_name(r), why);
    m_expect(m, snap_attach(m->s), 0, "attach");
    if (m_chance(m, 30))
        vo.size_limit = (1u + m_rand(m, 8)) << 20;
    snprintf(m->vol[0].name, sizeof(m->vol[0].name), "main");
    m_expect(m, volume_create(m->s, "main", &vo, &m->vol[0].v), 0, "volume_create");
    m->vol[0].limit_blocks = vo.size_limit / BLOCK_SIZE;
    m->nvols = 1;
    root_know(m, &m->vol[0]);
}

static enum m_op choose(struct m_run *m)
{
    unsigned sum = 0;
    uint64_t at;

    for (size_t i = 0; i < ARRAY_LEN(ops); i++)
        sum += ops[i].weight;
    at = m_rand(m, sum);
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        if (at < ops[i].weight)
            return (enum m_op)i;
        at -= ops[i].weight;
    }
    assert(false);
}

static void on_check_line(void *arg, const char *line)
{
    const struct m_run *m = arg;

    printf("  seed %llu: check: %s\n", (unsigned long long)m->seed, line);
}

static void check(struct m_run *m)
{
    struct check_opts co = {.quiet = true, .say = on_check_line, .arg = m};
    struct check_result found = {0};

    m_expect(m, check_store(m->s, &co, &found), 0, "check");
    WANT(m, found.problems == 0, "check finds %llu problems", (unsigned long long)found.problems);
}

static void step(struct m_run *m)
{
    static const uint32_t umasks[] = {022, 0, 077};
    struct m_vol *mv = &m->vol[m_chance(m, 60) ? 0 : m_rand(m, m->nvols)];
    enum m_op op = choose(m);

    m->vol_name = mv->name;
    clock_test_advance(1 + (int64_t)m_rand(m, m_chance(m, 10) ? 3000000000u : 1000000u));
    m->ctx = (struct vfs_ctx){.uid = (uint32_t)m_rand(m, 2) * 1000, .gid = (uint32_t)m_rand(m, 3) * 1000};
    m->ctx.umask = umasks[m_rand(m, 3)];
    m->ctx.conn = 1, m->ctx.unique = m->op * 2;
    ops[op].fn(m, mv);
    m->done[op]++;
    if (m->always && m->op >= m->always) {
        m_verify_all(m);
        check(m);
    }
}

static void finish(struct m_run *m)
{
    m_verify_all(m);
    op_reopen(m, &m->vol[0]);
    m_verify_all(m);
    m_expect(m, store_checkpoint(m->s), 0, "checkpoint");
    m_expect(m, store_reclaim_idle(m->s), 0, "reclaim_idle");
    m_verify_all(m);
    check(m);
    for (size_t i = 0; i < m->nvols; i++)
        m_expect(m, vfs_orphans_drop_all(m->vol[i].v), 0, "orphans_drop_all");
    m_expect(m, store_close(TAKE(m->s)), 0, "close");
}

int m_seed_run(struct m_run *m, uint64_t seed, uint64_t count)
{
    volatile int failed = 0;

    m->seed = m->rng = seed;
    m->ops = count;
    m->s = NULL;
    m->nvols = 0;
    m->vol_name = m->place = NULL;
    m->snap_seq = m->vol_seq = m->op = 0;
    seeded_begin(seed);
    if (setjmp(m->out) == 0) {
        begin(m);
        for (m->op = 1; m->op <= count; m->op++)
            step(m);
        finish(m);
    } else {
        failed = 1;
    }
    if (m->s)
        store_drop(m->s);
    for (size_t i = 0; i < VOLS_MAX; i++)
        m_vol_forget(&m->vol[i]);
    if (!failed || !getenv("KEEP"))
        nftw(m->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    seeded_end();
    clock_test_off();
    journal_test_boot_id(NULL);
    return failed;
}
