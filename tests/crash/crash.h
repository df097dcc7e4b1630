/* tests/crash: power cuts and deaths. A life of a store with two volumes is played once, on a lying disk in memory, and what
 * the volumes held after every operation is remembered. On the way the power is cut at every sync and at 20 random writes or more:
 * each time 5 images of the medium are kept. Then each image must open, be sound, and hold what had been promised:
 *
 *  - names, attributes and small files of all volumes are those after one operation, not before the last flush that had
 *    returned (I-05);
 *  - a file's bytes are at least as new as what its last sync (fsync, rename, link) made firm; each sector is what it was
 *    then or what was written later, never anything else (F1, F12, F13);
 *  - a durable snapshot is there and what it was; one that was settling is whole or gone; a group is whole or gone (F2, F6);
 *  - what is deleted stays deleted, and no record of an older life comes back (F10).
 *
 * Some of the images are cut again while they recover; the next life begins with one of them. After the daemon's death on the
 * same boot everything acknowledged is there, and its first fsync keeps its word (F11). */
#ifndef VARVE_TESTS_CRASH_CRASH_H
#define VARVE_TESTS_CRASH_CRASH_H

#include "snap/check.h"
#include "snap/snapshot.h"
#include "snap/store/kv.h"
#include "tests/lib/lying.h"
#include "tests/lib/oracle.h"
#include "tests/lib/test.h"

#define VOLS 2u
#define OPS_MAX 400u
#define SNAPS_MAX 64u
#define INOS_MAX 4096u
#define CUTS_MAX 4096u
#define IMAGES 5u  /* of one cut */
#define WRITES 11u /* cut at random in a life: 20 in a seed at least */
#define NEVER UINT32_MAX

/* Operations after which an inode's bytes were firm, ascending: whoever sees one sees the inode at least as it was then. */
struct c_firm {
    uint32_t *op;
    size_t n, cap;
};
struct c_snap {
    char name[NAME_LEN_MAX + 1];
    unsigned vol;
    int twin;                           /* the other volume's of a group; -1: taken alone */
    uint32_t created, deleted, durable; /* operations; NEVER */
    struct o_tree *tree;
};
/* The power is cut while operation `upto` is under way or done; `acked` ones had returned. */
struct c_cut {
    uint32_t acked, upto;
    bool again; /* its recovery is cut, too */
    struct lying_shot *shot[IMAGES];
    uint64_t seed[IMAGES];
    enum lying_mode mode[IMAGES];
};
/* What a life was like: states between operations, what was promised when, cuts to be judged. */
struct c_life {
    uint32_t ops;
    struct o_tree *state[OPS_MAX + 1][VOLS]; /* after operation k; [0] at the beginning */
    bool flushed[OPS_MAX + 1];               /* when k had returned, the journal was on disk */
    bool steps[OPS_MAX + 1]; /* k is made of several: of its sizes one in between may be firm */
    struct c_firm firm[VOLS][INOS_MAX];
    struct c_snap snap[SNAPS_MAX];
    size_t nsnaps;
    struct c_cut cut[CUTS_MAX];
    size_t ncuts;
    unsigned writes; /* cuts at writes that are due */
};
/* A snapshot that a recovered store shows. */
struct c_shown {
    char name[NAME_LEN_MAX + 1];
    unsigned vol;
    bool durable;
    int whole;           /* the snapshot of the life that it was found to be as, or -1 */
    struct o_tree *tree; /* NULL: not read yet */
};
struct c_sums {
    uint64_t tables; /* all records */
    uint64_t bytes,
        shape;          /* of those parts of the objects' files that a record names: all; sizes and holes */
    uint64_t names;     /* of the objects' files */
    uint64_t vol[VOLS]; /* records, and parts of files, from which the trees of a volume are made */
};
/* What a recovered store holds. */
struct c_state {
    struct c_sums sums;
    struct o_tree *tree[VOLS]; /* NULL: no state is here */
    uint32_t acked, upto;      /* fits: what was promised when the power went between these */
    bool fits;
    size_t nsnaps;
    struct c_shown snap[SNAPS_MAX];
};
#define C_ANEW 16 /* one in so many is recovered, read and checked though it is known */
#define C_STATES 96u
#define C_SUMS 512u
#define C_OUTCOMES 256u
/* What recovery does to an image whose tables, records and names are the same; see outcome.c. */
struct c_outcome {
    uint64_t image; /* 0: free */
    uint64_t tables;
    struct lying_log *log; /* of what it does to the objects' files */
};
#define C_LAYOUTS 256u
/* The parts of the objects' files that tables name, whoever sees them. */
struct c_layout {
    uint64_t tables;         /* 0: free */
    struct lying_part *part; /* those of the first volume, then the other's */
    size_t n, cap, from[VOLS + 1];
};
/* The latest ones of this life; see known.c. */
struct c_known {
    struct c_state state[C_STATES];
    struct c_image {
        uint64_t image;
        struct c_sums sums;
    } image[C_SUMS];
    struct c_sums sound[C_SUMS];
    struct c_outcome outcome[C_OUTCOMES];
    struct c_layout layout[C_LAYOUTS];
    struct {
        uint64_t meta, lsn; /* a file of tables, what it holds of the journal */
    } applied[C_OUTCOMES];
    struct {
        uint64_t journal, lsn, records; /* the files, where they are read from, what recovery sees in them */
    } records[C_SUMS];
    size_t next_state, next_image, next_sound, next_outcome, next_applied, next_records, next_layout;
};
struct c_figures {
    uint64_t ops, cuts, cuts_sync, cuts_write, cuts_open, cuts_recovery, images, judged, foreseen, recovered,
        read, checked, deaths, snaps;
};
struct c_run {
    uint64_t seed, rng, life_seed, starts;
    unsigned life_no;
    bool trace, killing; /* killing: the daemon is to die, not the machine */
    struct store_settings set;
    uint8_t boot[16];
    struct c_life life;
    struct c_life past;                        /* of the recovery that is being cut: only its cuts */
    bool there[SNAPS_MAX], durable[SNAPS_MAX]; /* snapshots of the life that the state judged last shows */
    bool there_kept[SNAPS_MAX],
        durable_kept[SNAPS_MAX]; /* the same of the image that the next life begins with */
    struct c_known known;
    struct lying_log *log; /* of the recovery under way */
    /* one playing */
    struct lying *disk;
    struct lying_shot *shown; /* with KEEP=: the image that is judged */
    struct store *s;
    struct vol *vol[VOLS];
    uint32_t op, acked;
    char what[200]; /* the operation under way */
    struct c_figures fig;
    struct buf disk_trace; /* with --trace: what the disk was asked for since the last line */
    uint8_t *bytes, *bytes2;
    jmp_buf out;
};

#define C_FILE_MAX (2u << 20)

/* main.c */
void c_fail(struct c_run *c, const char *fmt, ...) PRINTF_LIKE(2, 3) __attribute__((noreturn));
uint64_t c_rand(struct c_run *c, uint64_t below);

/* seeds.c: n seeds, with figures; 1 if any failed. */
int c_seeds(struct c_run *c, uint64_t from, uint64_t n, uint32_t ops);

/* life.c: one seed. */
int c_seed(struct c_run *c, uint64_t seed, uint32_t ops);

/* world.c: disks, boots. */
void c_new_boot(struct c_run *c);
int c_open(struct c_run *c);                            /* the store on c->disk and its volumes */
void c_start(struct c_run *c, struct lying_shot *shot); /* a disk with that, on another boot; takes shot */
void c_stop(struct c_run *c);                           /* drops the store, frees the disk */
struct lying_shot *c_first_store(struct c_run *c);      /* with empty volumes, closed */

/* cut.c */
void c_cut_watch(struct c_run *c, struct c_life *l); /* what happens on c->disk from now on is cut */
void c_cut_now(struct c_run *c, struct c_life *l, uint32_t acked, uint32_t upto);
void c_cuts_free(struct c_life *l);
/* Judges all. keep: one of the images is given back unopened, and ret_tree is what it recovers to (NULL: not asked for). */
void c_cuts_judge(struct c_run *c, struct lying_shot **keep, struct o_tree *ret_tree[VOLS]);

/* play.c: operation k of a life, as (seed, k, the state before) demands. now: the trees to apply it to when it is played for
 * the first time, NULL in a repetition. */
int c_play(struct c_run *c, uint32_t k, struct o_tree *const before[VOLS], struct o_tree *const now[VOLS]);
void c_promise(struct c_life *l, unsigned vol, uint64_t ino, uint32_t op);
void c_life_free(struct c_life *l);

/* look.c: what a volume holds. */
struct o_tree *c_read_tree(struct c_run *c, unsigned vol, uint32_t view);
const uint8_t *c_page(const struct pages *p, uint64_t block); /* its bytes, PG_SIZE of them */
bool c_same_names(const struct o_tree *a, const struct o_tree *b, char why[256]);
bool c_same_bytes(const struct o_ino *a, const struct o_ino *b, char why[256]);
bool c_same_tree(const struct o_tree *a, const struct o_tree *b, char why[256]);

/* known.c */
/* What the open store holds, read if it is not known (anew: in any case). Valid until the next call. */
struct c_state *c_state_here(struct c_run *c, bool anew);
struct c_state *c_known_state(struct c_known *kn, const struct c_sums *sums); /* by tables and bytes; NULL */
/* The tree of a snapshot that it shows. NULL: not read, and no store is open. */
struct o_tree *c_state_snap(struct c_run *c, const struct c_state *st, struct c_shown *sh);
struct c_state *c_known_image(struct c_known *kn,
                              uint64_t image); /* what an image recovers to; NULL: not known */
void c_know_image(struct c_known *kn, uint64_t image, const struct c_state *st);
/* The passes of check that were not made over such a state yet, for check_opts; they are about to be. */
#define C_NO_PASS UINT32_MAX
uint32_t c_known_passes(struct c_known *kn, const struct c_state *st);
void c_known_forget(struct c_known *kn);

/* layout.c */
/* All records of the open store but the one that says how much of the journal they hold. */
void c_records_each(struct c_run *c, void (*fn)(void *arg, const struct kv_item *it), void *arg);
unsigned c_record_vol(struct c_run *c,
                      const struct kv_item *it); /* whose it is; VOLS: nobody's tree shows it */
struct c_layout *c_layout(struct c_known *kn, uint64_t tables);   /* NULL: not known */
struct c_layout *c_layout_here(struct c_run *c, uint64_t tables); /* of the open store */
void c_layouts_forget(struct c_known *kn);

/* outcome.c */
/* c_outcome_begin: of the image that c->disk holds, which is not open; to be called before it is recovered. */
struct c_image_of {
    uint64_t image; /* all that recovery looks at; 0: it cannot be foreseen */
    struct c_outcome *known;
    struct c_sums then; /* with known: tables and bytes as they will be */
};
void c_outcome_begin(struct c_run *c, struct c_image_of *of);
struct c_state *c_outcome_state(struct c_run *c, const struct c_image_of *of); /* NULL: not known */
/* Around recovery, and when it was found what it led to: that is what had been foreseen. */
void c_outcome_watch(struct c_run *c);
void c_outcome_know(struct c_run *c, const struct c_image_of *of, const struct c_state *st);
void c_outcomes_forget(struct c_known *kn);

/* judge.c */
/* Is the state one that may be found after a power cut while operation `upto` was under way or done, when acked ones had
 * returned? Fails if not. */
void c_judge(struct c_run *c, struct c_state *st, uint32_t acked, uint32_t upto);
/* The same after a death, of the open store; gives the operation whose state it is. */
uint32_t c_judge_death(struct c_run *c, uint32_t acked, uint32_t upto);
void c_sound(struct c_run *c, uint32_t passes); /* check_store finds nothing */

#define WANT(c, cond, ...)                                                                                   \
    do {                                                                                                     \
        if (!(cond))                                                                                         \
            c_fail(c, __VA_ARGS__);                                                                          \
    } while (0)

#endif
