/* Segments as hostile as they can be while their sums are right. The input is a list of pieces; each goes to the current place
 * of the current segment:
 *
 *   0 len16 bytes    as they are
 *   1 len16 bytes    a record: header fields and body from the bytes; magic, version, length, link and sum are put right
 *   2 seg8 bytes[84] from now on in another segment, whose header has fields from the bytes, its sum put right
 *   3 n16            leaves a gap
 *   4 flags8         the next record breaks: 1 its link, 2 its sum, 4 its number, 8 chains to another incarnation
 *   5 n16            cuts the segment's file there
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"
#include "snap/store/journal_i.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/tree.h"

#define SEGMENTS 3u
#define SEGMENT_BYTES JOURNAL_SEGMENT_BYTES_MIN

static const struct uuid store = {.b = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};
static const uint8_t boot[16] = {42};

struct image {
    uint8_t seg[SEGMENTS][SEGMENT_BYTES];
    size_t len[SEGMENTS];
    unsigned at;
    size_t pos;
    uint64_t lsn, sum, incarnation;
    uint8_t breaks;
};

static void header(struct image *m, unsigned n, const uint8_t *p, size_t len)
{
    struct jseg_hdr h = {.index = n,
                         .store = store,
                         .incarnation = m->incarnation,
                         .first_lsn = m->lsn,
                         .seed = m->sum,
                         .segment_bytes = SEGMENT_BYTES,
                         .segments = SEGMENTS};

    memcpy(h.boot_id, boot, sizeof(boot));
    jseg_encode(&h, m->seg[n]);
    for (size_t i = 0; i + 1 < len; i += 2)
        m->seg[n][8 + p[i] % 84] ^= p[i + 1];
    put_le64(m->seg[n] + 96, hash_sum(0, m->seg[n], 96));
    if (jseg_decode(m->seg[n], JSEG_HDR_SIZE, &h) == 0) {
        m->incarnation = h.incarnation;
        m->lsn = h.first_lsn;
        m->sum = h.seed;
    }
}

static void record(struct image *m, const uint8_t *p, size_t len)
{
    uint64_t chain = jrec_chain(&store, m->incarnation + (m->breaks & 8 ? 1 : 0));
    uint8_t *at = m->seg[m->at] + m->pos, link[8];
    struct jrec_hdr h = {0};

    if (SEGMENT_BYTES - m->pos < JREC_HDR_SIZE)
        return;
    len = MIN_OF(len, SEGMENT_BYTES - m->pos) & ~(size_t)7;
    if (len < JREC_HDR_SIZE)
        len = JREC_HDR_SIZE;
    else
        memcpy(at, p, len);
    memcpy(&h, at, sizeof(h));
    h.magic = JREC_MAGIC;
    h.version = JREC_VERSION;
    h.len = (uint32_t)len;
    h.lsn = m->lsn + (m->breaks & 4 ? 5 : 0);
    h.prev_sum = m->sum ^ (m->breaks & 1);
    memcpy(at, &h, sizeof(h));
    put_le64(link, h.prev_sum);
    h.sum = hash_sum(hash_sum(hash_sum(chain, link, 8), at, offsetof(struct jrec_hdr, sum)),
                     at + JREC_HDR_SIZE, len - JREC_HDR_SIZE) ^
            (m->breaks & 2);
    memcpy(at, &h, sizeof(h));
    m->sum = h.sum;
    m->lsn++;
    m->pos += len;
    m->breaks = 0;
}

static void piece(struct image *m, struct fuzz_in *in)
{
    uint8_t kind = in_u8(in);
    size_t n = 0, len;
    const uint8_t *p;

    switch (kind % 6) {
    case 0:
    case 1:
        len = in_u16(in);
        p = in_bytes(in, len, &n);
        n = MIN_OF(n, SEGMENT_BYTES - m->pos);
        if (kind % 6 == 1) {
            record(m, p, n);
            break;
        }
        memcpy(m->seg[m->at] + m->pos, p, n);
        m->pos += n;
        break;
    case 2:
        m->at = in_u8(in) % SEGMENTS;
        p = in_bytes(in, 8, &n);
        header(m, m->at, p, n);
        m->pos = JSEG_HDR_SIZE;
        break;
    case 3:
        n = m->pos + in_u16(in);
        m->pos = MIN_OF(n, (size_t)SEGMENT_BYTES);
        break;
    case 4: m->breaks = in_u8(in); break;
    default: m->len[m->at] = in_u16(in) % (SEGMENT_BYTES + 1); break;
    }
}

struct seen {
    uint64_t lsn, sum;
};

/* Every byte that a record gives is read. */
static int read_record(void *arg, struct jrec_view *v, bool same_boot)
{
    struct seen *s = arg;
    struct jrec_view again = *v;
    struct jpayload y;
    struct jput p;
    int r;

    FUZZ_CHECK(v->hdr.lsn > s->lsn || s->lsn == 0);
    s->lsn = v->hdr.lsn;
    while ((r = jrec_next_put(v, &p)) == 1)
        s->sum ^= hash_sum(p.owner_ino + same_boot, p.key, p.klen) ^ hash_sum(p.op, p.val, p.vlen);
    FUZZ_CHECK(r == 0); /* the parser has seen that it all fits */
    while ((r = jrec_next_payload(&again, &y)) == 1)
        s->sum ^= hash_sum(y.object + y.off, y.data, y.len);
    FUZZ_CHECK(r == 0);
    return 0;
}

static void go_on(struct journal *j)
{
    struct jput put = {.key = (const uint8_t *)"key", .klen = 3, .val = (const uint8_t *)"value", .vlen = 5};
    struct jrec rec = {.hdr = {.kind = 1, .flags = JREC_FIRM, .nputs = 1}, .puts = &put};
    uint64_t lsn, last = journal_appended(j);

    if (journal_start(j) < 0)
        return;
    for (int i = 0; i < 3; i++)
        if (journal_append(j, &rec, &lsn) == 0) {
            FUZZ_CHECK(lsn > last);
            last = lsn;
        }
    FUZZ_CHECK(journal_flush(j, last) == 0);
    journal_trim(j, last);
    (void)journal_switch(j);
}

static void open_and_replay(const char *dir, uint64_t after)
{
    char why[256] = "";
    struct seen s = {0};
    struct journal *j;
    struct jseg_hdr h;
    uint64_t end;
    int r;

    for (uint32_t i = 0; i < SEGMENTS; i++)
        (void)journal_look(io_real(), dir, i, &h, &end, NULL, NULL);
    if (journal_open(io_real(), dir, &store, &j, why) < 0)
        return;
    r = journal_replay(j, after, read_record, &s, why);
    FUZZ_CHECK(r == 0 || r == -E_JOURNAL || r == -E_NOMEM);
    FUZZ_CHECK(r != -E_JOURNAL || why[0]);
    if (r == 0)
        go_on(j);
    journal_close(j);
}

void run_journal(const uint8_t *p, size_t len)
{
    static struct image m;
    struct fuzz_in in = {p, len};
    uint64_t after = in_u8(&in);
    char dir[300], path[320];

    memset(&m, 0, sizeof(m));
    m.lsn = m.incarnation = 1;
    for (unsigned i = 0; i < SEGMENTS; i++) {
        m.len[i] = SEGMENT_BYTES;
        m.at = i;
        header(&m, i, NULL, 0);
        if (i > 0)
            put_le64(m.seg[i] + 56, 0); /* holds nothing */
        put_le64(m.seg[i] + 96, hash_sum(0, m.seg[i], 96));
    }
    m.at = 0;
    m.pos = JSEG_HDR_SIZE;
    while (in.left)
        piece(&m, &in);
    snprintf(dir, sizeof(dir), "%s/journal", fuzz_dir());
    FUZZ_CHECK(io_mkdir(io_real(), dir, 0700) == 0);
    for (unsigned i = 0; i < SEGMENTS; i++) {
        int fd;
        snprintf(path, sizeof(path), "%s/%04u", dir, i);
        fd = open(path, O_RDWR | O_CREAT, 0600);
        FUZZ_CHECK(fd >= 0 && write(fd, m.seg[i], m.len[i]) == (ssize_t)m.len[i]);
        close(fd);
    }
    journal_test_boot_id(boot);
    open_and_replay(dir, after);
    journal_test_boot_id((const uint8_t[16]){7});
    open_and_replay(dir, after);
    journal_test_boot_id(NULL);
    (void)tree_remove(dir);
}

/* One true record as piece 1 takes it. */
static void add_record(struct buf *b, uint32_t nputs, uint32_t npayloads)
{
    struct jput puts[4] = {
        {.key = (const uint8_t *)"k1", .klen = 2, .val = (const uint8_t *)"value", .vlen = 5},
        {.op = 1, .level = 1, .owner_branch = 1, .owner_ino = 9, .key = (const uint8_t *)"k2", .klen = 2},
        {.op = 2, .owner_branch = 1, .owner_ino = 9},
        {.key = (const uint8_t *)"k4", .klen = 2, .val = (const uint8_t *)"", .vlen = 0}};
    struct jpayload pay[2] = {{7, 4096, (const uint8_t *)"payload", 7}, {8, 0, (const uint8_t *)"x", 1}};
    struct jrec r = {
        .hdr = {.kind = 32, .flags = JREC_FIRM, .nputs = nputs, .npayloads = npayloads, .tail_len = 12},
        .puts = puts,
        .payloads = pay,
        .tail = "\1\0\10\0\7\0\0\0\0\0\0\0"};
    uint8_t out[1024], head[3] = {1};
    size_t n = jrec_size(&r);

    jrec_encode(&r, 0, out);
    put_le16(head + 1, (uint16_t)n);
    FUZZ_CHECK(buf_add(b, head, 3) == 0);
    FUZZ_CHECK(buf_add(b, out, n) == 0);
}

void seeds_journal(void)
{
    cleanup(buf_free) struct buf b = {0};
    static const uint8_t next[] = {2, 1, 0, 0, 0, 0, 0, 0, 0, 0}, gap[] = {3, 64, 0}, bad_sum[] = {4, 2},
                         cut[] = {5, 0, 20};

    FUZZ_CHECK(buf_add_zero(&b, 1) == 0);
    add_record(&b, 1, 0);
    fuzz_seed("one", b.data, b.len);
    add_record(&b, 4, 2);
    add_record(&b, 2, 1);
    fuzz_seed("three", b.data, b.len);
    FUZZ_CHECK(buf_add(&b, bad_sum, sizeof(bad_sum)) == 0);
    add_record(&b, 1, 0);
    add_record(&b, 1, 0);
    fuzz_seed("damaged", b.data, b.len);
    FUZZ_CHECK(buf_add(&b, next, sizeof(next)) == 0);
    add_record(&b, 1, 1);
    fuzz_seed("next-segment", b.data, b.len);
    FUZZ_CHECK(buf_add(&b, gap, sizeof(gap)) == 0);
    add_record(&b, 1, 0);
    fuzz_seed("gap", b.data, b.len);
    FUZZ_CHECK(buf_add(&b, cut, sizeof(cut)) == 0);
    fuzz_seed("cut", b.data, b.len);
}
