/* tests/powercut: a block device that remembers every write and every flush, so that what lies on the medium after a power cut can
 * be built for any instant. The device is a loop device over the only file of a small FUSE server (disk.c), which appends what it is
 * asked for to a log, and marks by which a workload says what it has been promised. image.c builds images from the log.
 *
 * The log: records of struct pc_rec, a write's or mark's bytes behind it. Its positions are the numbers of its records. */
#ifndef VARVE_TESTS_POWERCUT_H
#define VARVE_TESTS_POWERCUT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum pc_kind { PC_WRITE = 1, PC_ZERO, PC_FLUSH, PC_MARK };

struct pc_rec {
    uint32_t kind;
    uint32_t len; /* of the bytes that follow */
    uint64_t off, count;
};

/* What of the writes since the last flush is on the medium. */
enum pc_way { PC_LOST, PC_PREFIX, PC_BLOCKS, PC_TORN, PC_KEPT, PC_WAYS };

uint64_t pc_rand(uint64_t *state); /* splitmix64 */
void pc_die(const char *what) __attribute__((noreturn));

/* disk.c: serves the file `file` of that size until it is unmounted; marks come through the socket. */
int pc_disk(const char *file, uint64_t size, const char *log, const char *socket);
int pc_mark(const char *socket); /* each line of stdin is a mark; answered when it is in the log */

/* image.c */
enum pc_way pc_way_of(const char *name); /* lost, prefix, blocks, torn, kept */
/* Each line "POS WAY SEED" of stdin makes `out` the medium of a cut there, and `marks` what had been promised; answered by a line.
 * Rising positions cost what lies between them. Between a line and the next one `out` may be changed by anybody. */
int pc_images(const char *log, const char *out, const char *marks);
int pc_points(const char *log, uint64_t n,
              uint64_t seed);                /* prints positions after the mark "begin" and before "end" */
int pc_marks(const char *log, uint64_t pos); /* prints the marks before a position */

#endif
