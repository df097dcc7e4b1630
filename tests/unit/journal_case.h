/* tests/unit/journal_case: what the tests of the journal share: a journal below the test's directory, records with a tag, and
 * the bytes of its segments. */
#ifndef VARVE_TESTS_UNIT_JOURNAL_CASE_H
#define VARVE_TESTS_UNIT_JOURNAL_CASE_H

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "snap/store/journal.h"
#include "tests/lib/test.h"

#define SEG (16u << 10)
#define HDR 4096u
#define REC 208u /* of append(): 112 + 20 + 8 + 64, aligned */

static const struct uuid store = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};
static const uint8_t boot_a[16] = "boot-aaaaaaaaaa", boot_b[16] = "boot-bbbbbbbbbb";
static char why[256];

/* --- helpers ---------------------------------------------------------------------------------------------------------- */

static inline const char *dir(void)
{
    static char path[512];

    snprintf(path, sizeof(path), "%s/journal", test_dir());
    return path;
}

static inline const char *segment(uint32_t n)
{
    static char path[600];

    snprintf(path, sizeof(path), "%s/%04u", dir(), n);
    return path;
}

static inline int append_len(struct journal *j, uint64_t tag, size_t vlen, uint64_t *lsn)
{
    static uint8_t val[1 << 20];
    uint8_t key[8];
    struct jput put = {.key = key, .klen = 8, .val = val, .vlen = (uint32_t)vlen};
    struct jrec r = {.hdr = {.kind = 16, .flags = JREC_FIRM, .nputs = 1}, .puts = &put};

    put_be64(key, tag);
    memset(val, (int)(tag & 0xff), vlen);
    return journal_append(j, &r, lsn);
}

static inline uint64_t append(struct journal *j, uint64_t tag)
{
    uint64_t lsn = 0;

    CHECK_OK(append_len(j, tag, 64, &lsn));
    return lsn;
}

struct seen {
    uint64_t tags[4096], lsns[4096];
    bool same[4096];
    size_t n;
    int stop; /* given back by the callback */
};

static inline int see(void *arg, struct jrec_view *v, bool same_boot)
{
    struct seen *s = arg;
    struct jput p;

    CHECK_EQ(jrec_next_put(v, &p), 1);
    CHECK_EQ(p.klen, 8);
    CHECK(s->n < 4096);
    s->tags[s->n] = get_be64(p.key);
    s->lsns[s->n] = v->hdr.lsn;
    s->same[s->n++] = same_boot;
    return s->stop;
}

static inline struct journal *open_replay(struct io *io, uint64_t after, struct seen *s, int want)
{
    struct journal *j = NULL;

    s->n = 0;
    CHECK_OK(journal_open(io, dir(), &store, &j, why));
    CHECK_ERR(journal_replay(j, after, see, s, why), want);
    return j;
}

static inline struct journal *fresh(struct io *io, uint32_t segments)
{
    static struct seen s;
    struct journal *j;

    CHECK_OK(journal_create(io, dir(), &store, SEG, segments));
    j = open_replay(io, 0, &s, 0);
    CHECK_EQ(s.n, 0);
    CHECK_OK(journal_start(j));
    return j;
}

static inline struct journal *reopen(struct io *io, uint64_t after, struct seen *s)
{
    struct journal *j = open_replay(io, after, s, 0);

    CHECK_OK(journal_start(j));
    return j;
}

static inline void patch(uint32_t seg, uint64_t off, const void *p, size_t len)
{
    int fd = open(segment(seg), O_WRONLY | O_CLOEXEC);

    CHECK(fd >= 0);
    CHECK_EQ(pwrite(fd, p, len, (off_t)off), len);
    close(fd);
}

static inline void fetch(uint32_t seg, uint64_t off, void *p, size_t len)
{
    int fd = open(segment(seg), O_RDONLY | O_CLOEXEC);

    CHECK(fd >= 0);
    CHECK_EQ(pread(fd, p, len, (off_t)off), len);
    close(fd);
}

static inline void flip(uint32_t seg, uint64_t off)
{
    uint8_t b;

    fetch(seg, off, &b, 1);
    b ^= 0x10;
    patch(seg, off, &b, 1);
}

/* The segment that the last daemon began with: the one of the highest incarnation. */
static inline uint32_t current_segment(uint32_t segments)
{
    uint32_t i, best = 0;
    uint64_t most = 0, inc;

    for (i = 0; i < segments; i++) {
        fetch(i, 32, &inc, 8);
        if (inc > most) {
            most = inc;
            best = i;
        }
    }
    return best;
}

#endif
