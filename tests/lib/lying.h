/* tests/lib/lying: a disk that lies. A test double of base/io.h for one directory. Writes go through to real files
 * below it, so that mmap and the page cache behave; beside them the double keeps what is on the medium. A power cut
 * can then be played at any call, any number of times, with every outcome that a disk is allowed to have.
 * tests/lib/lying_lmdb.c puts open, close, write, writev, pwrite, pwritev, fdatasync, fsync, ftruncate, unlink and
 * rename of libc through the same model when they concern a file below the directory: LMDB does its
 * own I/O. Writes through a shared writable mapping are not seen (LMDB without MDB_WRITEMAP makes none but in its
 * lock file, whose contents do not matter after a power cut).
 *
 * What is modelled
 *  - A write is not on the medium until fdatasync or fsync of its file, syncfs, or its own O_SYNC/O_DSYNC descriptor
 *    (the pages of that write only). sync_range promises nothing.
 *  - The page cache writes whole pages of 4096 bytes: of several unsynced writes to a page a later one never lands
 *    without the earlier ones. Pages land in any order. A page being written tears at 512 bytes.
 *  - Truncates and punches of a file land in order. A write lands independently of them where it goes in place (the
 *    page was inside the file and not punched all the time since the last sync), else only after them. A truncate
 *    that has not landed may have zeroed the rest of its last block already. A landed write makes the file reach its
 *    end; what is missing before it reads as zeros.
 *  - Names: create, mkdir, unlink, rmdir, rename. Those that concern a directory land in order; names in different
 *    directories are independent unless a rename or a mkdir ties them; moves of directories land in order. A rename is atomic. fsync of a directory makes
 *    its names durable, and its own creation. fsync and fdatasync of a file make its creation durable, and what came
 *    before it in that directory, but no rename of it. syncfs makes everything durable. Half of the random images
 *    take the stricter model of one journal: a prefix of all names.
 *  - After a failed sync the pages count as clean: a later sync succeeds and does not bring them to the medium, until
 *    the page is written again.
 * allocate() passes nothing to the real file unless lying_allocate() says so (it has no contents to lose).
 * O_DIRECT is dropped. Hard links, symlinks and `..` in paths are not modelled; a path elsewhere goes to the real disk.
 *
 * Threads: any; one lock a disk, calls that change the disk are one after the other. */
#ifndef VARVE_TESTS_LIB_LYING_H
#define VARVE_TESTS_LIB_LYING_H

#include "base/io.h"

struct lying;

/* Kinds of calls, for faults and counters. */
enum lying_kind {
    LYING_OPEN = 1 << 0,   /* of a file that exists, or not */
    LYING_CREATE = 1 << 1, /* an open that creates */
    LYING_CLOSE = 1 << 2,
    LYING_READ = 1 << 3,
    LYING_WRITE = 1 << 4,
    LYING_FDATASYNC = 1 << 5,
    LYING_FSYNC = 1 << 6,
    LYING_FSYNC_DIR = 1 << 7,
    LYING_SYNCFS = 1 << 8,
    LYING_SYNC_RANGE = 1 << 9,
    LYING_TRUNCATE = 1 << 10, /* and an open with O_TRUNC of a file that is not empty */
    LYING_ALLOCATE = 1 << 11,
    LYING_PUNCH = 1 << 12,
    LYING_STAT = 1 << 13,
    LYING_UNLINK = 1 << 14,
    LYING_RENAME = 1 << 15,
    LYING_MKDIR = 1 << 16,
    LYING_RMDIR = 1 << 17,
    LYING_KINDS = 18,

    LYING_PARTIAL = 1 << 30, /* with LYING_WRITE in a fault: the first half is written before it fails */

    LYING_SYNC = LYING_FDATASYNC | LYING_FSYNC | LYING_FSYNC_DIR | LYING_SYNCFS,
    LYING_SPACE = LYING_CREATE | LYING_WRITE | LYING_ALLOCATE | LYING_MKDIR,
    LYING_MUTATING = LYING_CREATE | LYING_WRITE | LYING_SYNC | LYING_TRUNCATE | LYING_ALLOCATE | LYING_PUNCH |
                     LYING_UNLINK | LYING_RENAME | LYING_MKDIR | LYING_RMDIR,
    LYING_ANY = (1 << LYING_KINDS) - 1,
};

/* What lands of that which is not durable when the power is cut. */
enum lying_mode {
    LYING_NONE,   /* nothing */
    LYING_ALL,    /* everything */
    LYING_PREFIX, /* what came before some moment */
    LYING_WRITES, /* each write whole or not at all */
    LYING_PAGES,  /* each page of 4096 bytes in any state that it went through */
    LYING_TORN,   /* each sector of 512 bytes in any state that its page went through */
    LYING_MODES,
    LYING_MIXED = LYING_MODES, /* one of the above, as the seed says */
};

/* lying_new(root, &ret): a lying disk for the directory root (absolute, exists; what is below it counts as durable). */
int lying_new(const char *root, struct lying **ret);
void lying_free(
    struct lying *d); /* closes the descriptors that are open still; leaves the files. NULL is allowed */
struct io *lying_io(struct lying *d);

/* lying_crash(d, seed, mode, outdir): writes into outdir (absolute, exists not or is empty, outside of root) what the
 * medium holds if the power is cut now, or, after lying_crash_at, at that call. Changes nothing in d: call it again
 * for other outcomes of the same moment. */
int lying_crash(struct lying *d, uint64_t seed, enum lying_mode mode, const char *outdir);

/* lying_crash_at(d, n): the power is cut in the n-th mutating call from now (1: the next). That call is in flight: it
 * may land in part, whole, or not. It and every later call gives -E_CRASH (EIO through libc); close() closes. 0: off. */
void lying_crash_at(struct lying *d, uint64_t n);
bool lying_crashed(struct lying *d);

/* lying_kill_at(d, n): as if the process were killed in the n-th mutating call from now: calls give -E_CRASH as above,
 * but nothing is lost; a write may be there in part (whole pages). lying_revive(d): closes all descriptors; the disk
 * works again, with what was unsynced unsynced still: the next process on the same boot. Not after a power cut. */
void lying_kill_at(struct lying *d, uint64_t n);
void lying_revive(struct lying *d);

/* lying_fail_at(d, kinds, n, code): the n-th call from now of one of these kinds fails with code (-E_IO, -E_NOSPC, ...)
 * and does nothing. lying_fail_from: that one and all later. One fault at a time; lying_fail_off ends it.
 * lying_faults: how many calls failed by these. */
void lying_fail_at(struct lying *d, unsigned kinds, uint64_t n, int code);
void lying_fail_from(struct lying *d, unsigned kinds, uint64_t n, int code);
void lying_fail_off(struct lying *d);
uint64_t lying_faults(struct lying *d);

/* lying_count(d, kinds): calls of these kinds since lying_new, those that failed included. */
uint64_t lying_count(struct lying *d, unsigned kinds);

/* lying_unsynced(d, path): bytes written to a file (NULL: all files) that are not durable; lying_unsynced_names(d): names. */
uint64_t lying_unsynced(struct lying *d, const char *path);
uint64_t lying_unsynced_names(struct lying *d);

/* lying_settle(d): all that was done is durable now, as after a long quiet time. */
void lying_settle(struct lying *d);

/* lying_trace(d, b): from now on a line a call is appended to b ("write journal/00000001 4096 0", "fdatasync objects/3",
 * paths relative to the root, then length and offset; failed calls end in their code). NULL ends it. */
void lying_trace(struct lying *d, struct buf *b);

/* lying_on_cut(d, fn, arg): fn is called in every mutating call, when the power may be cut: before a sync takes effect, after
 * anything else was done. kind: that of the call; a write that syncs by itself has LYING_FDATASYNC too. fn may call lying_shot
 * and nothing else of d. NULL ends it. So one run shows what every cut would leave, without a repetition for each. */
void lying_on_cut(struct lying *d, void (*fn)(void *arg, unsigned kind), void *arg);

/* A shot: the medium after a power cut, in memory. As lying_crash, but shares with the disk what did not change: some
 * microseconds each. Equal sums: the same contents. */
struct lying_shot;
struct lying_shot *lying_shot(struct lying *d, uint64_t seed, enum lying_mode mode);
struct lying_shot *lying_shot_copy(const struct lying_shot *s);
uint64_t lying_shot_sum(const struct lying_shot *s);
void lying_shot_free(struct lying_shot *s);                           /* NULL is allowed */
int lying_shot_store(const struct lying_shot *s, const char *outdir); /* as real files, to look at */

/* A disk in memory that holds a shot (NULL: an empty directory), the next boot. No real file lies behind it: its descriptors and
 * its path (lying_root) are known to the calls of libc above and to those in lying_libc.c, mmap among them, and to nobody else.
 * All else is as with lying_new; one thread only for all disks in memory and their shots. Takes the shot. */
struct lying *lying_ram(struct lying_shot *s);
const char *lying_root(const struct lying *d);

/* lying_sum(d, path, of): of all below path on a disk in memory, as the process sees it. Equal sums: the same names; and sizes and
 * holes; and bytes. */
enum lying_sum { LYING_SUM_NAMES, LYING_SUM_HOLES, LYING_SUM_BYTES };
uint64_t lying_sum(struct lying *d, const char *path, enum lying_sum of);

/* A log of changes, and what a file tree on another disk would be if they were made there, too.
 * lying_log_begin(d, path, log): from now on every change of bytes, sizes and names below path is kept in log, which is empty;
 * lying_log_end(d) ends it. A rename there cannot be kept: lying_log_whole() is false then.
 * lying_parts_sum(d, path, then, part, n, ret): of these pages of files below path, as the process sees them: whether they are
 * there, and of what size (ret[0]), and their bytes as well (ret[1]). What is not there counts as such. then: as they would be on
 * this disk, which holds a shot and was not written to, if these changes were made to it; it stays as it is (NULL: as they are).
 * Disks are in memory. */
struct lying_part {
    uint64_t first, pages; /* of LYING_PART_PAGE bytes */
    char path[48];         /* below */
};
#define LYING_PART_PAGE 4096u
struct lying_log;
struct lying_log *lying_log_new(void);
void lying_log_free(struct lying_log *log); /* NULL is allowed */
void lying_log_begin(struct lying *d, const char *path, struct lying_log *log);
void lying_log_end(struct lying *d);
bool lying_log_whole(const struct lying_log *log);
void lying_parts_sum(struct lying *d, const char *path, const struct lying_log *then,
                     const struct lying_part *part, size_t n, uint64_t ret[2]);

void lying_allocate(struct lying *d, bool real); /* whether allocate() reserves in the real file too */

#endif
