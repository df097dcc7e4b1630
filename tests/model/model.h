/* tests/model: random operations on the filesystem in this process, compared with an oracle. A run is a store of its own
 * in memory with up to VOLS_MAX volumes; `op` counts operations, and (seed, op) names a failure. */
#ifndef VARVE_TESTS_MODEL_MODEL_H
#define VARVE_TESTS_MODEL_MODEL_H

#include <setjmp.h>

#include "snap/check.h"
#include "snap/diff.h"
#include "snap/snapshot.h"
#include "tests/lib/test.h"
#include "tests/lib/oracle.h"

#define VOLS_MAX 3
#define SNAPS_MAX 64
#define STALE_MAX 4

struct m_snap {
    char name[NAME_LEN_MAX + 1];
    struct o_tree *tree; /* owned */
    bool held, entered;
    bool keeps; /* what was before a rollback: kept_view reads it */
    uint32_t kept_view;
    uint32_t view; /* by the root, once entered */
};
struct m_stale { /* a tree before a rollback: what was open keeps reading it */
    uint32_t view;
    struct o_tree *tree;
};
struct m_vol {
    char name[64];
    struct vol *v;
    struct o_tree *live;
    struct m_snap snap[SNAPS_MAX];
    size_t nsnaps;
    struct m_stale stale[STALE_MAX];
    size_t nstale;
    uint64_t max_ino;      /* numbers are never reused */
    uint64_t limit_blocks; /* 0: none */
};
enum m_op {
#define OP(name, weight) OP_M_##name,
#include "tests/model/ops.def"
#undef OP
    OP_M__END
};
struct m_run {
    uint64_t seed, rng, op, ops, snap_seq, vol_seq;
    const char *vol_name; /* what the operation under way is done to */
    const char *place;    /* what is being compared, or NULL */
    char dir[200];        /* of this seed's store */
    struct store_settings set;
    struct store *s;
    uint8_t boot[16];
    struct m_vol vol[VOLS_MAX];
    size_t nvols;
    struct vfs_ctx ctx;
    bool trace;
    uint64_t always; /* from this operation on everything is compared and checked after each; 0: never */
    jmp_buf out;
    uint64_t done[OP_M__END]; /* figures */
    size_t snaps_most;
    uint64_t branches; /* beyond the first of each volume */
};

/* run.c */
void m_fail(struct m_run *m, const char *fmt, ...) PRINTF_LIKE(2, 3) __attribute__((noreturn));
void m_trace(struct m_run *m, const char *fmt, ...) PRINTF_LIKE(2, 3);
uint64_t m_rand(struct m_run *m, uint64_t below); /* 0..below-1 */
bool m_chance(struct m_run *m, unsigned percent);
/* r is what the engine said; want: 0 or a code. Fails when they differ; true when the operation was done. */
bool m_expect(struct m_run *m, int r, int want, const char *what);
void m_now(struct timespec *ret); /* the time the engine sees */
int m_seed_run(struct m_run *m, uint64_t seed, uint64_t ops);
void m_vol_forget(struct m_vol *mv); /* ops_snap.c */
void m_adopt_snaps(struct m_run *m,
                   struct m_vol *mv); /* ops_snap.c: those that the oracle does not know yet */

#define WANT(m, cond, ...)                                                                                   \
    do {                                                                                                     \
        if (!(cond))                                                                                         \
            m_fail(m, __VA_ARGS__);                                                                          \
    } while (0)

/* pick.c */
vfs_node m_node(const struct m_vol *mv, uint64_t ino);
const struct o_ino *m_pick(struct m_run *m, const struct m_vol *mv,
                           uint32_t type);                                /* type 0: any; NULL: none */
const struct o_ino *m_pick_file(struct m_run *m, const struct m_vol *mv); /* regular; orphans too */
uint64_t m_pick_dir(struct m_run *m, const struct m_vol *mv);
void m_pick_name(struct m_run *m, char name[NAME_LEN_MAX + 1]);
const char *m_pick_entry(struct m_run *m, const struct m_vol *mv, uint64_t dir); /* NULL: empty */
uint64_t m_pick_offset(struct m_run *m, const struct o_ino *in);
size_t m_pick_len(struct m_run *m);
void m_fill(struct m_run *m, void *p, size_t len); /* bytes that only this operation writes */
struct m_snap *m_pick_snap(struct m_run *m, struct m_vol *mv);
struct m_snap *m_snap_find(struct m_vol *mv, const char *name);

/* ops_*.c: one operation each on the live tree of a volume, compared and applied to the oracle. */
#define OP(name, weight) void op_##name(struct m_run *m, struct m_vol *mv);
#include "tests/model/ops.def"
#undef OP

/* ops_data.c: r was the quota, and a change that maps this many more blocks would pass the limit: -E_QUOTA; else 0. */
int m_quota_error(const struct m_vol *mv, int r, uint64_t blocks);
/* After an operation that may have changed how the bytes of a file are kept. */
void m_data_follow(struct m_run *m, struct m_vol *mv, uint64_t ino);
void m_kill_priv(struct o_ino *in);
void m_touch(struct o_ino *in, bool data); /* ctime now, mtime too if data */

/* verify.c: everything of a tree, at a view (live: the volume's own number). */
void m_verify_ino(struct m_run *m, struct m_vol *mv, const struct o_ino *in, vfs_node n);
void m_verify_tree(struct m_run *m, struct m_vol *mv, const struct o_tree *t, uint32_t view);
void m_verify_live(struct m_run *m, struct m_vol *mv);
void m_verify_snap(struct m_run *m, struct m_vol *mv, struct m_snap *sn);
void m_verify_space(struct m_run *m, struct m_vol *mv);
void m_verify_list(struct m_run *m, struct m_vol *mv);
void m_verify_all(struct m_run *m);

/* data.c: reading compared with the oracle. */
void m_compare_bytes(struct m_run *m, struct m_vol *mv, vfs_node n, const struct o_ino *in, uint64_t off,
                     size_t len);
void m_compare_map(struct m_run *m, struct m_vol *mv, vfs_node n, const struct o_ino *in);

/* diff.c */
void m_verify_diff(struct m_run *m, struct m_vol *mv, const char *a, const struct o_tree *ta, const char *b,
                   const struct o_tree *tb);

/* threads.c: many threads at once, each in a directory of its own; compared at the end. Returns failures. */
int m_threads(const char *dir, uint64_t seed, uint64_t ops, unsigned threads);

#endif
