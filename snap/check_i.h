/* snap/check_i: what the passes of check share. */
#ifndef VARVE_SNAP_CHECK_I_H
#define VARVE_SNAP_CHECK_I_H

#include "snap/check.h"
#include "snap/store/object.h"
#include "snap/store/record.h"
#include "snap/store/scan.h"
#include "snap/store/vol.h"

/* A table in memory from a number to a struct of the caller's. */
struct idmap {
    uint64_t *keys; /* 0: free; keys are stored as key + 1 */
    uint8_t *vals;
    size_t vsize, cap, n;
};
void *idmap_get(const struct idmap *m, uint64_t key); /* NULL: not there */
void *idmap_put(struct idmap *m, uint64_t key);       /* the one there or a zeroed new one; NULL: -E_NOMEM */
void idmap_free(struct idmap *m);
#define idmap_each(m, i)                                                                                     \
    for (size_t i = 0; i < (m)->cap; i++)                                                                    \
        if ((m)->keys[i])
static inline uint64_t idmap_key(const struct idmap *m, size_t i)
{
    return m->keys[i] - 1;
}
static inline void *idmap_val(const struct idmap *m, size_t i)
{
    return m->vals + i * m->vsize;
}

/* A repair, decided while looking and done afterwards, each in a transaction of its own. */
enum fix_kind {
    FIX_PUT,    /* a plain record */
    FIX_DEL,    /* a plain record */
    FIX_VT_PUT, /* a live record: empty payload */
    FIX_VT_DEL, /* a live record */
    FIX_NLINK,  /* a: inode, b: links */
    FIX_VSTAT,  /* a: blocks, b: inodes, c: next inode number */
    FIX_UNLINK, /* a: object: queue its removal */
    FIX_FILE,   /* a: object: remove its file */
    FIX_LAYER,  /* a: layer: b: children */
};
struct fix {
    struct fix *next;
    enum fix_kind kind;
    uint32_t vol;
    uint8_t tab;
    uint64_t a, b, c;
    size_t klen, vlen;
    uint8_t key[KEY_SIZE_MAX];
    uint8_t val[RECORD_SIZE_MAX];
};

/* Where a tree can be seen: the live one of a volume, or a retained layer. */
struct place {
    struct vol *v;
    struct vt_at at;
    bool live;
    char name[2 * NAME_LEN_MAX + 8];
};

struct check_object {
    struct object_rec rec;
    uint64_t refs; /* counted by the walk */
};
struct cold_blocks {
    uint64_t object, first, end;
};
struct punch {
    uint64_t object, first, count, seq;
};

struct check {
    int64_t idle; /* of the queue of files that were read: places without one */
    struct store *s;
    struct txn t;
    const struct check_opts *o;
    struct check_result res;
    const char *pass;
    uint64_t found; /* in this pass */
    bool second;    /* the look after the repairs: silent */
    bool mounted;
    bool
        unrecovered; /* opened read-only after a death or a power cut: what recovery clears away is still there */
    struct place *places;
    size_t nplaces;
    uint64_t inodes;      /* of the live trees */
    struct idmap objects; /* struct check_object */
    struct idmap unlinks; /* objects whose removal is queued; no values */
    struct punch *punches;
    size_t npunches;
    struct buf cold; /* of struct cold_blocks, by object and place: what is elsewhere */
    struct fix *fixes, **fixes_end;
    uint64_t nfixes;
};
#define SMALL_INODES 100000u /* stores up to here have the trees of their snapshots walked, too */

/* problem: one finding. Returns 0, so that a callback can end with it. */
int problem(struct check *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
void say(struct check *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
struct fix *fix_add(
    struct check *c,
    enum fix_kind kind); /* zeroed but for the kind; never NULL (a spare one, when memory is out) */
void fix_key(struct fix *f, const void *key, size_t klen);
int fixes_run(struct check *c);
void fixes_free(struct check *c);

/* check_pages(path, why): reads all pages of the tables in a child process (F21). -E_CORRUPT, with why. */
int check_pages(const char *store, char why[256]);

/* Ends the reading transaction and begins another: its arena is freed, and writers of a mounted store get a turn. */
int check_turn(struct check *c);
int places_load(struct check *c);

/* check_cold_load: which blocks lie elsewhere, into c->cold. check_cold_gap: cuts [first, end) of an object to the first run of blocks
 * that do not; false: there is none. */
int check_cold_load(struct check *c);
bool check_cold_gap(const struct check *c, uint64_t object, uint64_t *first, uint64_t *end);

#define PASS(number, fn, name, rules, repairs) int check_pass_##fn(struct check *c);
#include "snap/check.def"
#undef PASS

#endif
