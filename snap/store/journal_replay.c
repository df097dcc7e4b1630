/* Reading the journal at open: follows the chain of checksums from the first segment that the tables may lack, then looks
 * beyond its end whether what stopped it is the torn end of a power cut or damage. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mark.h"
#include "snap/store/journal_i.h"

#define AHEAD_LEAST (1u << 20) /* smaller segments are there as soon as they are asked for */

struct replay {
    struct journal *j;
    uint64_t after;
    int (*cb)(void *arg, struct jrec_view *rec, bool same_boot);
    void *arg;
    char *why;
    uint8_t *bytes;            /* of the segment looked at */
    const struct jseg *loaded; /* which that is */
    size_t len;
    bool *visited; /* by segment */
    struct jseg *last;
    uint64_t last_pos; /* where the chain stops in it */
    uint64_t lsn, sum; /* of the last record of the chain */
};

static bool on_this_boot(const struct journal *j, const struct jseg *s)
{
    return memcmp(s->hdr.boot_id, j->boot_id, 16) == 0;
}

static bool holds(const struct jseg *s)
{
    return s->valid && s->hdr.first_lsn > 0;
}

static const struct jseg *segment_behind(const struct journal *j, const struct jseg *s)
{
    const struct jseg *next = NULL, *o;

    for (o = j->segs; o < j->segs + j->nsegs; o++)
        if (holds(o) && o->hdr.first_lsn > s->hdr.first_lsn &&
            (!next || o->hdr.first_lsn < next->hdr.first_lsn))
            next = o;
    return next;
}

/* The segment after this one is wanted next: the disk brings it while the records of this one are looked at. */
static void ahead_of(const struct replay *y, const struct jseg *s)
{
    const struct jseg *next = y->j->segment_bytes < AHEAD_LEAST ? NULL : segment_behind(y->j, s);

    if (next)
        io_ahead(next->fd, 0, y->j->segment_bytes);
}

static int segment_read(struct replay *y, const struct jseg *s)
{
    int r;

    if (y->loaded == s)
        return 0;
    ahead_of(y, s);
    r = io_pread(y->j->io, s->fd, y->bytes, y->j->segment_bytes, 0, &y->len);
    y->loaded = r == 0 ? s : NULL;
    return r;
}

/* The latest segment that begins at or before the first record that is wanted; else the oldest one. */
static struct jseg *find_first(const struct replay *y)
{
    struct jseg *before = NULL, *oldest = NULL, *s;

    for (s = y->j->segs; s < y->j->segs + y->j->nsegs; s++) {
        if (!holds(s))
            continue;
        if (!oldest || s->hdr.first_lsn < oldest->hdr.first_lsn)
            oldest = s;
        if (s->hdr.first_lsn <= y->after + 1 && (!before || s->hdr.first_lsn > before->hdr.first_lsn))
            before = s;
    }
    return before ? before : oldest;
}

/* The segment that goes on from the end of the chain. */
static struct jseg *find_next(const struct replay *y)
{
    struct jseg *best = NULL, *s;

    for (s = y->j->segs; s < y->j->segs + y->j->nsegs; s++) {
        if (!holds(s) || y->visited[s - y->j->segs] || s->hdr.seed != y->sum || s->hdr.first_lsn <= y->lsn ||
            s->hdr.incarnation < y->last->hdr.incarnation)
            continue;
        if (s->hdr.incarnation == y->last->hdr.incarnation && s->hdr.first_lsn != y->lsn + 1)
            continue;
        if (!best || s->hdr.first_lsn < best->hdr.first_lsn)
            best = s;
    }
    return best;
}

static int segment_follow(struct replay *y, struct jseg *s)
{
    uint64_t chain = jrec_chain(&y->j->store, s->hdr.incarnation), pos = JSEG_HDR_SIZE;
    bool same_boot = on_this_boot(y->j, s);
    struct jrec_view v;
    size_t n;
    int r = segment_read(y, s);

    y->visited[s - y->j->segs] = true;
    y->last = s;
    y->lsn = s->hdr.first_lsn - 1;
    y->sum = s->hdr.seed;
    while (r == 0 && jrec_parse(y->bytes + pos, y->len - pos, y->sum, chain, &v, &n) == 0 &&
           v.hdr.lsn == y->lsn + 1) {
        y->lsn = v.hdr.lsn;
        y->sum = v.hdr.sum;
        v.segment = s->hdr.index;
        v.pos = pos;
        pos += n;
        if (v.hdr.lsn > y->after)
            r = y->cb(y->arg, &v, same_boot);
    }
    y->last_pos = pos;
    s->last_lsn = y->lsn;
    return r;
}

/* The next place at or after pos, which records may begin at, where one could; NULL: none. */
static const uint8_t *next_magic(const struct replay *y, uint64_t pos)
{
    const uint8_t *hit;

    while (pos + JREC_HDR_SIZE <= y->len && (hit = memchr(y->bytes + pos, JREC_MAGIC & 0xff, y->len - pos))) {
        pos = (uint64_t)(hit - y->bytes) / JREC_ALIGN * JREC_ALIGN;
        if (pos + JREC_HDR_SIZE <= y->len && get_le32(y->bytes + pos) == JREC_MAGIC)
            return y->bytes + pos;
        pos += JREC_ALIGN;
    }
    return NULL;
}

/* What its header says, if that is true: would it prove that the record after `end` had been there? */
static bool proves(const uint8_t *p, uint64_t end, bool same_boot)
{
    return get_le64(p + offsetof(struct jrec_hdr, lsn)) > end &&
           (get_le64(p + offsetof(struct jrec_hdr, flushed_lsn)) > end || same_boot);
}

/* Looks for a record that is whole by itself (it names the checksum that it chains to) and proves that the one after the
 * end of the chain had been there. Most of what lies there is of laps before, and not looked at any closer. */
static int segment_search(struct replay *y, const struct jseg *s, uint64_t from, uint64_t incarnation,
                          bool same_boot)
{
    uint64_t chain = jrec_chain(&y->j->store, incarnation), end = MAX_OF(y->lsn, y->after);
    const uint8_t *p;
    struct jrec_view v;
    size_t n;

    for (; (p = next_magic(y, from)); from = (uint64_t)(p - y->bytes) + JREC_ALIGN) {
        if (!proves(p, end, same_boot) ||
            jrec_parse(p, y->len - (size_t)(p - y->bytes), get_le64(p + offsetof(struct jrec_hdr, prev_sum)),
                       chain, &v, &n) < 0)
            continue;
        snprintf(y->why, 256,
                 "journal segment %04u is damaged at byte %" PRIu64 ": record %" PRIu64
                 " is unreadable, but was complete when record %" PRIu64 " was written (segment %04u)",
                 (unsigned)(y->last ? y->last - y->j->segs : 0), y->last_pos, y->lsn + 1, v.hdr.lsn,
                 (unsigned)(s - y->j->segs));
        return -E_JOURNAL;
    }
    return 0;
}

/* Beyond the end of the chain: the rest of its last segment, segments of higher numbers, unreadable segments. */
static int search_beyond(struct replay *y)
{
    struct journal *j = y->j;
    struct jseg *s;
    int r = 0;

    if (y->last) {
        r = segment_read(y, y->last);
        if (r == 0)
            r = segment_search(y, y->last, y->last_pos, y->last->hdr.incarnation, on_this_boot(j, y->last));
    }
    for (s = j->segs; s < j->segs + j->nsegs && r == 0; s++) {
        if (y->visited[s - j->segs] || (s->valid && s->hdr.first_lsn <= MAX_OF(y->lsn, y->after)))
            continue;
        MARK("journal: a segment beyond the end");
        s->dead = s->valid;
        r = segment_read(y, s);
        if (r == 0 && s->valid)
            r = segment_search(y, s, JSEG_HDR_SIZE, s->hdr.incarnation, on_this_boot(j, s));
        else if (r == 0)
            r = segment_search(y, s, JSEG_HDR_SIZE, j->incarnation, journal_same_boot(j));
    }
    return r;
}

static int check_age(struct replay *y)
{
    struct jseg *s;

    for (s = y->j->segs; s < y->j->segs + y->j->nsegs; s++)
        if (holds(s) && s->hdr.trimmed_lsn > y->after) {
            snprintf(y->why, 256,
                     "the tables are older than the journal: they hold records up to %" PRIu64
                     ", the journal needs %" PRIu64,
                     y->after, s->hdr.trimmed_lsn);
            return -E_JOURNAL;
        }
    return 0;
}

static int follow_chain(struct replay *y)
{
    struct jseg *s;
    int r = 0;

    for (s = find_first(y); s && r == 0; s = find_next(y))
        r = segment_follow(y, s);
    return r;
}

/* What the journal goes on from. A segment of the chain without a record (of a daemon that died at once) is free, too: the
 * next one chains to the same record. */
static void take_end(struct replay *y)
{
    struct journal *j = y->j;
    struct jseg *s;

    for (s = j->segs; s < j->segs + j->nsegs; s++)
        s->state = y->visited[s - j->segs] && s->last_lsn >= s->hdr.first_lsn && s->last_lsn > y->after
                       ? JSEG_FULL
                       : JSEG_FREE;
    j->cur = y->last;
    j->last_sum = y->sum;
    j->appended = MAX_OF(y->lsn, y->after);
    j->trimmed = y->after;
    j->replayed = true;
}

int journal_replay(struct journal *j, uint64_t after_lsn,
                   int (*cb)(void *arg, struct jrec_view *rec, bool same_boot), void *arg, char why[256])
{
    struct replay y = {.j = j, .after = after_lsn, .cb = cb, .arg = arg, .why = why};
    int r;

    assert(!j->started);
    why[0] = 0;
    y.bytes = malloc(j->segment_bytes);
    y.visited = calloc(j->nsegs, sizeof(*y.visited));
    r = y.bytes && y.visited ? check_age(&y) : -E_NOMEM;
    if (r == 0)
        r = follow_chain(&y);
    if (r == 0)
        r = search_beyond(&y);
    if (r == 0 || r == -E_JOURNAL) {
        take_end(&y);
        j->damaged = r < 0;
    }
    free(y.bytes);
    free(y.visited);
    return r;
}

unsigned journal_ranges(const struct journal *j, uint64_t after_lsn, struct io_range *ret, unsigned most)
{
    const struct replay y = {.j = (struct journal *)(uintptr_t)j, .after = after_lsn};
    const struct jseg *s = j->segment_bytes < AHEAD_LEAST ? NULL : find_first(&y);
    unsigned n = 0;

    for (; s && n < most; s = segment_behind(j, s))
        ret[n++] = (struct io_range){s->fd, 0, j->segment_bytes};
    return n;
}

uint64_t journal_unread(const struct journal *j, uint64_t after_lsn)
{
    uint64_t segments = 1; /* the one that after_lsn lies in */

    for (const struct jseg *s = j->segs; s < j->segs + j->nsegs; s++)
        segments += holds(s) && s->hdr.first_lsn > after_lsn + 1;
    return segments * j->segment_bytes;
}

int journal_again(struct journal *j, const struct jrec_at *at, struct buf *room, struct jrec_view *ret)
{
    const struct jseg *s = &j->segs[at->segment];
    size_t got = 0, n;
    int r;

    assert(at->segment < j->nsegs);
    room->len = 0;
    r = buf_reserve(room, at->len);
    if (r == 0)
        r = io_pread(j->io, s->fd, room->data, at->len, at->pos, &got);
    if (r == 0)
        r = jrec_parse(room->data, got, at->prev_sum, jrec_chain(&j->store, s->hdr.incarnation), ret, &n);
    return r == 0 && ret->hdr.sum != at->sum ? -E_CORRUPT : r;
}
