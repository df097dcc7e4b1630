/* snap/store/journal: what happened since the last checkpoint (F1, F10). Preallocated segments STORE/journal/NNNN, written
 * once with zeros and reused. Append is a pwrite into the page cache (the daemon's death loses nothing); flush is
 * fdatasync (what a power cut keeps). Layout, little endian:
 *
 *   segment  header block (4096 bytes): magic "VRVJSEG1", version u32, segment index u32, store uuid, incarnation u64,
 *            boot_id (16), first_lsn u64, seed u64 (checksum that the first record chains to), segment_bytes u64,
 *            trimmed_lsn u64 (the tables held everything up to it), segments u32, zero u32, sum u64
 *            records, each 8-aligned, none crosses the segment's end
 *   record   see struct jrec_hdr; then puts {op u8, level u8, klen u16, vlen u32, owner_branch u32, owner_ino u64, key,
 *            value}, payloads {object u64, off u64, len u32, zero u32, bytes}, TLV tail, zeros up to the alignment
 *
 * A record's checksum covers the whole record but itself, header then body, seeded with hash(previous record's checksum, chain), chain
 * being made of incarnation and store uuid: a record of another lap, of a dead incarnation or of another store's journal
 * (which may lie within a payload) never fits (ghosts, F10). flushed_lsn in each record: what was durable when it was
 * written; so a bad record below a later valid one's flushed_lsn is damage, else it is the torn end. On the boot that wrote
 * them, any later valid record is proof: the page cache does not tear.
 *
 * The chain runs on over segments: seed is the checksum of the last record before. After each open the numbers go on with a
 * gap as wide as the journal, so that a number is never given twice. One free segment is kept back for the next start. */
#ifndef VARVE_SNAP_STORE_JOURNAL_H
#define VARVE_SNAP_STORE_JOURNAL_H

#include "base/buf.h"
#include "base/io.h"
#include "base/uuid.h"

struct journal;

enum jrec_flag {
    JREC_PENDING = 1 /* has pending images */,
    JREC_FIRM = 2 /* has firm images */,
    JREC_MUST = 4 /* a reader that does not know the kind must stop */
};

#define JREC_MAGIC 0x4a565256u /* "VRVJ" */
#define JREC_VERSION 1
/* On disk, in this order, packed: JREC_HDR_SIZE bytes. */
struct jrec_hdr {
    uint32_t magic, len; /* len: whole record, a multiple of 8 */
    uint16_t kind, version;
    uint32_t flags;
    uint64_t lsn, flushed_lsn, prev_sum;
    int64_t wall_ns;
    uint32_t vol, tail_len;
    uint64_t vol_seq, epoch, group, conn, unique;
    uint32_t nputs, npayloads;
    uint64_t sum;
};
#define JREC_HDR_SIZE 112u
#define JREC_ALIGN 8u /* of records and their lengths */

/* One after-image: header then key and value bytes. op: 0 put, 1 delete, 2 release (drop all pending images of owner; no key).
 * level: 0 firm, 1 pending. */
struct jput {
    uint8_t op, level;
    uint32_t owner_branch;
    uint64_t owner_ino;
    const uint8_t *key, *val;
    uint32_t klen, vlen;
};
struct jpayload {
    uint64_t object, off;
    const uint8_t *data;
    uint32_t len;
};

/* A record to append: header fields the caller knows (kind, flags, vol, vol_seq, epoch, group, conn, unique, nputs,
 * npayloads, tail_len), the journal fills the rest. puts and payloads are arrays. tail: TLV bytes {u16 type, u16 len, bytes} of the logical
 * operation's arguments (may be empty). */
struct jrec {
    struct jrec_hdr hdr;
    const struct jput *puts;
    const struct jpayload *payloads;
    const void *tail;
};

/* What the parser gives; puts and payloads point into the bytes. Pure: no I/O; allocates nothing before bounds are checked.
 * jrec_parse: -E_CORRUPT for anything that does not fit; *ret_len is the record's length. Iterate with jrec_next_put (1 a
 * put, 0 the end, negative damage) and jrec_next_payload. */
struct jrec_view {
    struct jrec_hdr hdr;
    const uint8_t *p, *end; /* cursor over puts, then payloads */
    uint32_t puts_left, payloads_left;
    const uint8_t *tail;
    uint32_t segment; /* where it lies; of records that journal_replay gives */
    uint64_t pos;
};
int jrec_parse(const uint8_t *p, size_t len, uint64_t prev_sum, uint64_t chain, struct jrec_view *ret,
               size_t *ret_len);
uint64_t jrec_chain(const struct uuid *store, uint64_t incarnation);
int jrec_next_put(struct jrec_view *v, struct jput *ret);
int jrec_next_payload(struct jrec_view *v, struct jpayload *ret);
size_t jrec_size(const struct jrec *r);
/* jrec_encode: jrec_size() bytes; r->hdr.len and .sum are filled in. */
void jrec_encode(struct jrec *r, uint64_t chain, uint8_t *out);

/* journal_create(io, dir, uuid, segment_bytes, segments): the empty segments (zeros written, synced). segment_bytes: a
 * multiple of 4096, from 16 KiB to 1 GiB; segments: 3 to 9999; else -E_INVAL. */
#define JOURNAL_SEGMENT_BYTES_MIN (16u << 10)
#define JOURNAL_SEGMENTS_MIN 3u
int journal_create(struct io *io, const char *dir, const struct uuid *store, uint64_t segment_bytes,
                   uint32_t segments);

/* journal_open: reads the segments' headers; -E_JOURNAL (with why) when they are not those of this store or some are missing,
 * -E_STORE_NEWER. journal_replay: calls cb for each valid record with lsn > after_lsn in order. same_boot is told to cb (of
 * each record: was it written on this boot): pending images count only then. after_lsn 0: from the oldest one that is left.
 * Result: 0 (clean or torn end), -E_JOURNAL when there is damage in
 * the middle (why gets a sentence with segment, offset, lsn; records before it were given to cb), or cb's error.
 * journal_start: after replay: raises the incarnation, starts a fresh segment (F10; never the one with the torn end), syncs.
 * journal_unread: no more bytes of records than these come after after_lsn.
 * journal_ranges: what a replay will read, in this order; `most` ranges at the most. Their number; 0 where it is too little to ask for.
 * journal_again: one record that a replay has given, read again; it points into room, whose bytes are replaced. -E_CORRUPT: it is there
 * no longer.
 * Until journal_start nothing is written. When no segment is free (deaths in a row, each before the first checkpoint)
 * journal_start adds one: -E_NOSPC. */
int journal_open(struct io *io, const char *dir, const struct uuid *store, struct journal **ret,
                 char why[256]);
int journal_replay(struct journal *j, uint64_t after_lsn,
                   int (*cb)(void *arg, struct jrec_view *rec, bool same_boot), void *arg, char why[256]);
uint64_t journal_unread(const struct journal *j, uint64_t after_lsn);
unsigned journal_ranges(const struct journal *j, uint64_t after_lsn, struct io_range *ret, unsigned most);
struct jrec_at { /* of a record: where it lies, and what it was */
    uint64_t pos, sum, prev_sum;
    uint32_t segment, len;
};
int journal_again(struct journal *j, const struct jrec_at *at, struct buf *room, struct jrec_view *ret);
int journal_start(struct journal *j);
void journal_close(struct journal *j); /* writes nothing */

/* True when any segment of the last incarnation was written on this boot of the machine (/proc/sys/kernel/random/boot_id,
 * or VARVE_BOOT_ID in the environment of test builds via journal_test_boot_id()). */
bool journal_same_boot(const struct journal *j);
void journal_test_boot_id(const uint8_t id[16]); /* NULL: the real one again */

/* journal_append: under the store's exclusive lock (calls are ordered by it). Assigns the lsn (*ret_lsn) and pwrites.
 * -E_NOSPC: no free segment (checkpoint first); -E_IO: nothing counts as appended (the same place is written again). A
 * record larger than a segment: -E_TOOBIG. */
int journal_append(struct journal *j, struct jrec *r, uint64_t *ret_lsn);

/* Room in bytes left in free segments and the current one; capacity in all. keep: the last quarter is for freeing
 * operations (the caller decides by these). */
uint64_t journal_room(const struct journal *j);
uint64_t journal_capacity(const struct journal *j);

/* journal_flush(j, lsn): everything up to lsn is on disk. Any thread, no lock held: one leads with fdatasync of the segments
 * concerned, the others wait for it (group commit). A failed fdatasync is for ever: -E_FAILED from then on (append too). */
int journal_flush(struct journal *j, uint64_t lsn);
/* journal_flush_ns: when the last flush began, monotonic; 0: there was none. */
int64_t journal_flush_ns(const struct journal *j);
uint64_t journal_appended(const struct journal *j);
uint64_t journal_flushed(const struct journal *j);
uint64_t journal_incarnation(const struct journal *j);

/* journal_switch: under the exclusive lock: later records go to a fresh segment (at a seal). -E_NOSPC when none is free
 * (then appending goes on in the current one). journal_trim(j, lsn): segments whose records are all <= lsn are free again. */
int journal_switch(struct journal *j);
void journal_trim(struct journal *j, uint64_t lsn);

/* journal_segment: what a segment should hold now; false: there is no such segment. */
struct journal_segment {
    bool holds; /* records that the tables may lack */
    uint64_t first_lsn, last_lsn, bytes;
};
bool journal_segment(struct journal *j, uint32_t index, struct journal_segment *ret);

/* The header of a segment as it lies on disk; first_lsn 0: holds nothing. */
struct jseg_hdr {
    uint32_t index;
    struct uuid store;
    uint64_t incarnation;
    uint8_t boot_id[16];
    uint64_t first_lsn, seed;
    uint64_t segment_bytes, trimmed_lsn;
    uint32_t segments;
};

/* journal_look: one segment by itself, as it lies on disk: its header, and the records that chain on from it. *ret_end: the byte
 * where they end. -E_NOENT: no such segment; -E_CORRUPT: no valid header; what cb gave, when not 0. */
int journal_look(struct io *io, const char *dir, uint32_t index, struct jseg_hdr *ret, uint64_t *ret_end,
                 int (*cb)(void *arg, uint64_t pos, struct jrec_view *rec), void *arg);

#endif
