/* Segments of the journal: their headers, and making them. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "snap/store/journal_i.h"

#define SUM_AT 96u
/* The page cache keeps in one piece what was written in one, and looks at all of a piece for each record that goes into it. */
#define ZERO_RUN (64u << 10)

static const char magic[8] = "VRVJSEG1";
static uint8_t test_boot_id[16];
static bool test_boot;

void journal_test_boot_id(const uint8_t id[16])
{
    test_boot = id != NULL;
    if (id)
        memcpy(test_boot_id, id, sizeof(test_boot_id));
}

int journal__boot_id(uint8_t out[16])
{
    cleanup(buf_free) struct buf b = {0};
    struct uuid id;
    int r;

    if (test_boot) {
        memcpy(out, test_boot_id, 16);
        return 0;
    }
    r = io_read_file(io_real(), "/proc/sys/kernel/random/boot_id", 64, &b);
    if (r < 0)
        return r;
    while (b.len > 0 && b.data[b.len - 1] == '\n')
        b.len--;
    if (!buf_cstr(&b) || uuid_parse(buf_cstr(&b), &id) < 0)
        return -E_IO;
    memcpy(out, id.b, 16);
    return 0;
}

void jseg_encode(const struct jseg_hdr *h, uint8_t out[JSEG_HDR_SIZE])
{
    memset(out, 0, JSEG_HDR_SIZE);
    memcpy(out, magic, 8);
    put_le32(out + 8, JSEG_VERSION);
    put_le32(out + 12, h->index);
    memcpy(out + 16, h->store.b, 16);
    put_le64(out + 32, h->incarnation);
    memcpy(out + 40, h->boot_id, 16);
    put_le64(out + 56, h->first_lsn);
    put_le64(out + 64, h->seed);
    put_le64(out + 72, h->segment_bytes);
    put_le64(out + 80, h->trimmed_lsn);
    put_le32(out + 88, h->segments);
    put_le64(out + SUM_AT, hash_sum(0, out, SUM_AT));
}

int jseg_decode(const uint8_t *p, size_t len, struct jseg_hdr *ret)
{
    struct jseg_hdr h;

    if (len < JSEG_HDR_SIZE || memcmp(p, magic, 8) != 0)
        return -E_CORRUPT;
    if (get_le64(p + SUM_AT) != hash_sum(0, p, SUM_AT))
        return -E_CORRUPT;
    if (get_le32(p + 8) > JSEG_VERSION)
        return -E_STORE_NEWER;
    h.index = get_le32(p + 12);
    memcpy(h.store.b, p + 16, 16);
    h.incarnation = get_le64(p + 32);
    memcpy(h.boot_id, p + 40, 16);
    h.first_lsn = get_le64(p + 56);
    h.seed = get_le64(p + 64);
    h.segment_bytes = get_le64(p + 72);
    h.trimmed_lsn = get_le64(p + 80);
    h.segments = get_le32(p + 88);
    if (h.segment_bytes < JOURNAL_SEGMENT_BYTES_MIN || h.segment_bytes > 1u << 30 ||
        h.segments > JSEG_COUNT_MAX)
        return -E_CORRUPT;
    *ret = h;
    return 0;
}

int jseg_write(struct journal *j, struct jseg *s)
{
    uint8_t block[JSEG_HDR_SIZE];

    jseg_encode(&s->hdr, block);
    return io_pwrite(j->io, s->fd, block, sizeof(block), 0);
}

static int segment_fill(struct io *io, int fd, const struct jseg_hdr *h)
{
    uint8_t block[JSEG_HDR_SIZE], *zeros = calloc(1, ZERO_RUN);
    uint64_t off = JSEG_HDR_SIZE;
    int r = 0;

    if (!zeros)
        return -E_NOMEM;
    while (off < h->segment_bytes && r == 0) {
        size_t n = (size_t)MIN_OF((uint64_t)ZERO_RUN, h->segment_bytes - off);

        r = io_pwrite(io, fd, zeros, n, off);
        off += n;
    }
    free(zeros);
    if (r < 0)
        return r;
    jseg_encode(h, block);
    r = io_pwrite(io, fd, block, sizeof(block), 0);
    return r < 0 ? r : io_fdatasync(io, fd);
}

/* Under another name until it is whole: a power cut must not leave a short one among the segments. */
static int segment_create(struct io *io, const char *dir, const struct jseg_hdr *h)
{
    cleanup(buf_free) struct buf path = {0}, made = {0};
    struct stat st;
    int fd, r, rc;

    if (buf_printf(&path, "%s/%04u", dir, h->index) < 0 || !buf_cstr(&path) ||
        buf_printf(&made, "%s/%04u.new", dir, h->index) < 0 || !buf_cstr(&made))
        return -E_NOMEM;
    if (io_stat(io, (char *)path.data, &st) == 0)
        return -E_EXIST;
    fd = io_open(io, (char *)made.data, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0)
        return fd;
    r = segment_fill(io, fd, h);
    rc = io_close(io, fd);
    r = r < 0 ? r : rc;
    return r < 0 ? r : io_rename(io, (char *)made.data, (char *)path.data);
}

int journal_create(struct io *io, const char *dir, const struct uuid *store, uint64_t segment_bytes,
                   uint32_t segments)
{
    struct jseg_hdr h = {.store = *store, .segment_bytes = segment_bytes, .segments = segments};
    int r;

    if (segment_bytes < JOURNAL_SEGMENT_BYTES_MIN || segment_bytes > 1u << 30 || segment_bytes % 4096 ||
        segments < JOURNAL_SEGMENTS_MIN || segments > JSEG_COUNT_MAX)
        return -E_INVAL;
    r = io_mkdir(io, dir, 0700);
    if (r < 0 && r != -E_EXIST)
        return r;
    r = journal__boot_id(h.boot_id);
    for (h.index = 0; h.index < segments && r == 0; h.index++)
        r = segment_create(io, dir, &h);
    return r < 0 ? r : io_sync_dir(io, dir);
}

/* One more segment, free: j->segs moves. */
int jseg_add(struct journal *j)
{
    cleanup(buf_free) struct buf path = {0};
    struct jseg_hdr h = {
        .index = j->nsegs, .store = j->store, .segment_bytes = j->segment_bytes, .segments = j->nsegs + 1};
    size_t cur = j->cur ? (size_t)(j->cur - j->segs) : 0;
    struct jseg *segs;
    int fd, r;

    if (j->nsegs >= JSEG_COUNT_MAX)
        return -E_NOSPC;
    memcpy(h.boot_id, j->boot_id, 16);
    r = segment_create(j->io, j->dir, &h);
    if (r == 0)
        r = io_sync_dir(j->io, j->dir);
    if (r == 0)
        r = buf_printf(&path, "%s/%04u", j->dir, h.index);
    if (r < 0)
        return r;
    segs = realloc(j->segs, (j->nsegs + 1) * sizeof(*segs));
    if (!segs)
        return -E_NOMEM;
    j->segs = segs;
    j->cur = j->cur ? &segs[cur] : NULL;
    fd = io_open(j->io, buf_cstr(&path), O_RDWR, 0);
    if (fd < 0)
        return fd;
    segs[j->nsegs++] = (struct jseg){.fd = fd, .valid = true, .hdr = h, .state = JSEG_FREE};
    return 0;
}

static int look_records(const uint8_t *p, size_t len, const struct jseg_hdr *h, uint64_t *ret_end,
                        int (*cb)(void *arg, uint64_t pos, struct jrec_view *rec), void *arg)
{
    uint64_t chain = jrec_chain(&h->store, h->incarnation), sum = h->seed, lsn = h->first_lsn,
             pos = JSEG_HDR_SIZE;
    struct jrec_view v;
    size_t n;
    int r = 0;

    while (r == 0 && h->first_lsn && pos < len && jrec_parse(p + pos, len - pos, sum, chain, &v, &n) == 0 &&
           v.hdr.lsn == lsn) {
        sum = v.hdr.sum;
        lsn++;
        r = cb ? cb(arg, pos, &v) : 0;
        pos += n;
    }
    *ret_end = pos;
    return r;
}

int journal_look(struct io *io, const char *dir, uint32_t index, struct jseg_hdr *ret, uint64_t *ret_end,
                 int (*cb)(void *arg, uint64_t pos, struct jrec_view *rec), void *arg)
{
    cleanup(buf_free) struct buf path = {0}, b = {0};
    struct jseg_hdr h;
    int r;

    if (buf_printf(&path, "%s/%04u", dir, index) < 0 || !buf_cstr(&path))
        return -E_NOMEM;
    r = io_read_file(io, (char *)path.data, (size_t)1 << 30, &b);
    if (r == 0)
        r = jseg_decode(b.data, b.len, &h);
    if (r < 0)
        return r;
    *ret = h;
    return look_records(b.data, (size_t)MIN_OF((uint64_t)b.len, h.segment_bytes), &h, ret_end, cb, arg);
}
