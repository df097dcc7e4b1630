/* What the tests of cold ranges share: a place elsewhere whose bytes follow from their names, and files that are there. */
#ifndef VARVE_TESTS_UNIT_COLD_CASE_H
#define VARVE_TESTS_UNIT_COLD_CASE_H

#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "snap/check.h"
#include "snap/store/cold.h"
#include "snap/store/object.h"
#include "snap/volume.h"
#include "tests/lib/box.h"
#include "tests/lib/test.h"

#define MIB (1u << 20)

/* Elsewhere. A reference is a number of 8 bytes; each block of what it names has bytes of its own. */
struct far {
    uint64_t calls, blocks; /* atomic */
    int fail;               /* atomic: what fetching gives */
    unsigned delay_us;
    uint64_t failed; /* calls of that hook */
};

static inline void far_block(uint64_t id, uint64_t block, uint8_t out[BLOCK_SIZE])
{
    uint64_t rng = id * 0x9e3779b97f4a7c15ull + block;

    for (unsigned i = 0; i < BLOCK_SIZE; i += 8)
        put_le64(out + i, test_rand(&rng) | 1);
}

static inline int far_fetch(void *arg, uint32_t source, const struct cold_ref *ref, uint32_t blocks,
                            void *out)
{
    struct far *f = arg;
    int r = __atomic_load_n(&f->fail, __ATOMIC_SEQ_CST);

    CHECK_EQ(source, 1);
    CHECK_EQ(ref->len, 8);
    CHECK(blocks > 0 && blocks <= COLD_FETCH_BLOCKS);
    __atomic_fetch_add(&f->calls, 1, __ATOMIC_SEQ_CST);
    __atomic_fetch_add(&f->blocks, blocks, __ATOMIC_SEQ_CST);
    if (f->delay_us)
        nanosleep(&(struct timespec){.tv_nsec = f->delay_us * 1000}, NULL);
    for (uint32_t i = 0; r == 0 && i < blocks; i++)
        far_block(get_le64(ref->p), ref->skip + i, (uint8_t *)out + (size_t)i * BLOCK_SIZE);
    return r;
}

static inline void far_failed(void *arg, struct store *s, uint32_t source, uint64_t object, int error)
{
    (void)s;
    (void)source;
    (void)object;
    CHECK(error < 0);
    ((struct far *)arg)->failed++;
}

static inline void far_connect(struct box *b, struct far *f)
{
    store_set_cold(b->s, &(struct cold_hooks){.arg = f, .fetch = far_fetch, .failed = far_failed});
}

static inline void far_begin(struct box *b, struct far *f)
{
    uint32_t source;

    CHECK_OK(cold_begin(b->s));
    CHECK_OK(cold_source_put(b->s, "elsewhere", 9, &source));
    CHECK_EQ(source, 1);
    far_connect(b, f);
}

static inline struct cold_run far_run(uint64_t id, uint64_t block, uint64_t count)
{
    struct cold_run run = {.block = block, .count = count, .source = 1, .ref = {.len = 8}};

    put_le64(run.ref.p, id);
    return run;
}

/* Makes a file whose bytes are elsewhere. */
static inline void far_file(struct box *b, const char *path, uint64_t size, const struct cold_run *runs,
                            size_t n)
{
    struct txn t;

    box_write(b, b->v, path, NULL, 0, 0);
    uint64_t ino = vfs_node_ino(box_node(b->v, box_root(b->v), path));
    CHECK_OK(txn_begin(b->s, TXN_WRITE, OP_COLD, b->v, &t));
    CHECK_OK(cold_file_set(&t, b->v, ino, size, runs, n));
    CHECK_OK(txn_commit(&t));
}

/* What such a file holds. */
static inline void far_bytes(uint8_t *p, uint64_t size, const struct cold_run *runs, size_t n)
{
    uint8_t block[BLOCK_SIZE];

    memset(p, 0, size);
    for (size_t i = 0; i < n; i++)
        for (uint64_t k = 0; k < runs[i].count; k++) {
            uint64_t off = (runs[i].block + k) * BLOCK_SIZE;
            if (off >= size)
                break;
            far_block(get_le64(runs[i].ref.p), runs[i].ref.skip + k, block);
            memcpy(p + off, block, MIN_OF((uint64_t)BLOCK_SIZE, size - off));
        }
}

static inline int far_read(struct box *b, const char *path, void *p, size_t len, uint64_t off)
{
    size_t got = 0;
    int r = vfs_read(b->v, box_node(b->v, box_root(b->v), path), p, len, off, &got);

    if (r == 0)
        CHECK_EQ(got, len);
    return r;
}

static inline void far_expect(struct box *b, const char *path, const uint8_t *want, size_t len, uint64_t off)
{
    uint8_t *p = malloc(len + 1);

    CHECK_OK(far_read(b, path, p, len, off));
    for (size_t i = 0; i < len; i++)
        if (p[i] != want[i])
            test_fail(__FILE__, __LINE__, "%s: byte %llu is %02x, not %02x", path,
                      (unsigned long long)(off + i), p[i], want[i]);
    free(p);
}

static inline uint64_t far_ranges(struct box *b)
{
    struct cold_stat st;

    CHECK_OK(cold_stat(b->v, &st));
    return st.ranges;
}

static inline uint64_t far_records(struct box *b)
{
    uint8_t k[32] = {TAB_COLD};
    const uint8_t *found;
    struct txn_val v;
    size_t flen, n = 1;
    uint64_t count = 0;
    struct txn t;

    CHECK_OK(txn_begin(b->s, TXN_READ, OP_NONE, NULL, &t));
    for (; txn_ge(&t, KEEP_FIRM, k, n, 1, &found, &flen, &v) == 0; n = flen + 1, count++) {
        memcpy(k, found, flen);
        k[flen] = 0;
    }
    txn_abort(&t);
    return count;
}

/* Blocks of a file that are elsewhere only, looked at one by one. */
static inline uint64_t far_blocks_of(struct txn *t, struct vol *v, const struct inode *in)
{
    uint64_t end = in->size / BLOCK_SIZE / SPAN_BLOCKS + 3, gone = 0, n;
    const struct span_src *src;
    struct span sp;

    if (!S_ISREG(in->mode) || (in->flags & INODE_INLINE))
        return 0;
    for (uint64_t span = 0; span < MAX_OF(end, in->base_blocks / SPAN_BLOCKS + 1); span++) {
        CHECK_OK(span_get(t, vol_now(v), in, span, &sp));
        for (unsigned i = 0; i < SPAN_BLOCKS; i++) {
            if (!(src = span_at(&sp, i)))
                continue;
            uint64_t block = (uint64_t)((int64_t)(span * SPAN_BLOCKS + i) + src->delta);
            CHECK_OK(cold_missing(t, src->object, block, 1, &n));
            gone += n;
        }
    }
    return gone;
}

/* What a volume's live tree has here, by a walk over it. */
static inline uint64_t far_here(struct box *b, struct vol *v)
{
    uint64_t here = 0;
    const uint8_t *key;
    struct vt_scan sc;
    struct vt_val val;
    struct inode in;
    struct txn t;
    int r;

    CHECK_OK(txn_begin(b->s, TXN_READ, OP_NONE, v, &t));
    vt_scan_init(&sc, &t, KEEP_PENDING, vol_now(v), TAB_INODE, "", 0);
    while ((r = vt_scan_next(&sc, &key, &val)) == 1) {
        CHECK_OK(inode_from(&val, vol_now(v), &in));
        here += in.blocks - far_blocks_of(&t, v, &in);
    }
    CHECK_OK(r);
    txn_abort(&t);
    return here * BLOCK_SIZE;
}

/* What is told of each volume is what a walk finds. */
static inline int far_figure(void *arg, struct vol *v)
{
    struct cold_stat st;

    CHECK_OK(cold_stat(v, &st));
    CHECK_EQ(st.local_bytes, far_here(arg, v));
    return 0;
}

static inline void far_figures(struct box *b)
{
    CHECK_OK(volume_each(b->s, far_figure, b));
}

static inline void far_print(void *arg, const char *line)
{
    (void)arg;
    printf("    %s\n", line);
}

static inline uint64_t far_problems(struct box *b, bool loud)
{
    struct check_opts o = {.quiet = true, .say = loud ? far_print : NULL};
    struct check_result res;

    CHECK_OK(check_store(b->s, &o, &res));
    return res.problems;
}

static inline void far_sound(struct box *b)
{
    CHECK_OK(store_sync(b->s));
    CHECK_EQ(far_problems(b, true), 0);
}

#endif
