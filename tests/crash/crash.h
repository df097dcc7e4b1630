/* tests/crash: power cuts and deaths. A life of a store on the lying disk is played once whole, and what the volume held
 * after every operation is remembered; then it is played again and again with the power cut somewhere, and each image
 * that the disk may leave must open, be sound, and hold what had been promised:
 *
 *  - names, attributes and small files are those after some operation, not before the last flush that had returned;
 *  - a file's bytes are at least as new as what its last sync (fsync, rename, link) made firm; each sector is what it was
 *    then or what was written later, never anything else (F1, F12, F13);
 *  - a durable snapshot is there and what it was; one that was settling is whole or gone (F2, F6);
 *  - what is deleted stays deleted, and no record of an older life comes back (F10).
 *
 * After the daemon's death on the same boot everything acknowledged is there, and its first fsync keeps its word (F11). */
#ifndef VARVE_TESTS_CRASH_CRASH_H
#define VARVE_TESTS_CRASH_CRASH_H

#include "snap/check.h"
#include "snap/snapshot.h"
#include "tests/lib/lying.h"
#include "tests/lib/oracle.h"
#include "tests/lib/test.h"

#define OPS_MAX 400
#define EVENTS_MAX 20000
#define SNAPS_MAX 64
#define NEVER UINT32_MAX

struct c_event {
    uint32_t op; /* whoever sees this operation sees the inode at least as it was then */
    uint64_t ino;
};
struct c_snap {
    char name[NAME_LEN_MAX + 1];
    uint32_t created, deleted, durable; /* operations; NEVER */
    struct o_tree *tree;
};
/* What a life was like: states between operations, and what was promised when. */
struct c_life {
    uint32_t ops;
    struct o_tree *state[OPS_MAX + 1]; /* after operation k; [0] at the beginning */
    bool flushed[OPS_MAX + 1];         /* when k had returned, the journal was on disk */
    struct c_event event[EVENTS_MAX];
    size_t nevents;
    struct c_snap snap[SNAPS_MAX];
    size_t nsnaps;
};
struct c_run {
    uint64_t seed, rng, life_seed;
    unsigned life_no;
    bool trace, killing; /* killing: the daemon is to die, not the machine */
    char dir[200];
    struct store_settings set;
    uint8_t boot[16];
    struct c_life life;
    bool there[SNAPS_MAX], durable[SNAPS_MAX]; /* snapshots of the life that the state judged last shows */
    /* one playing */
    char work[256];
    struct lying *disk;
    struct store *s;
    struct vol *v;
    uint32_t op;
    char what[200]; /* the operation under way */
    /* figures */
    uint64_t images, cuts, deaths, cut_in_open, snaps_seen, ops_done;
    struct buf disk_trace; /* with --trace: what the disk was asked for since the last line */
    uint8_t *bytes, *bytes2;
    jmp_buf out;
};

#define C_FILE_MAX (2u << 20)

/* main.c */
void c_fail(struct c_run *c, const char *fmt, ...) PRINTF_LIKE(2, 3) __attribute__((noreturn));
uint64_t c_rand(struct c_run *c, uint64_t below);
int c_seed(struct c_run *c, const char *base, uint64_t seed);

/* world.c: directories, disks, boots. */
void c_remove(const char *path);
void c_copy(struct c_run *c, const char *from, const char *to); /* what is durable in from; sparse */
void c_new_boot(struct c_run *c);
int c_open(struct c_run *c, struct io *io, const char *path); /* the store and its volume */
void c_start(struct c_run *c, const char *from);              /* a lying disk of its own for a copy of from */
void c_stop(struct c_run *c); /* drops the store, frees the disk, removes the copy */

/* play.c: operation k of a life, as (seed, k, the state before) demands. now: the tree to apply it to when it is played for
 * the first time, NULL in a repetition. */
int c_play(struct c_run *c, uint32_t k, const struct o_tree *before, struct o_tree *now);
void c_life_free(struct c_life *l);

/* look.c: what a volume holds. */
struct o_tree *c_read_tree(struct c_run *c, vfs_node root, uint32_t view);
bool c_same_names(const struct o_tree *a, const struct o_tree *b, char why[256]);
bool c_same_bytes(const struct o_ino *a, const struct o_ino *b, char why[256]);
bool c_same_tree(const struct o_tree *a, const struct o_tree *b, char why[256]);

/* judge.c */
/* What was recovered, after a power cut while operation `upto` was under way or done; acked ones had returned. Fails, or gives
 * the operation whose state it is. */
uint32_t c_judge(struct c_run *c, uint32_t acked, uint32_t upto, struct o_tree **ret_tree);
void c_judge_death(struct c_run *c, uint32_t acked, uint32_t upto, uint32_t *ret_op);
void c_sound(struct c_run *c); /* check_store finds nothing */

#define WANT(c, cond, ...)                                                                                   \
    do {                                                                                                     \
        if (!(cond))                                                                                         \
            c_fail(c, __VA_ARGS__);                                                                          \
    } while (0)

#endif
