/* tests/lib/rot: a disk whose medium differs from what is in memory: the real door, but who reads past the page cache (O_DIRECT)
 * finds one bit of one file flipped. It can refuse such reading as some filesystems do. */
#ifndef VARVE_TESTS_LIB_ROT_H
#define VARVE_TESTS_LIB_ROT_H

#include "base/io.h"

struct rot {
    struct io io;
    struct io_ops ops;
    const char *file; /* end of its path; NULL: none */
    uint64_t at;      /* of the byte */
    bool refuse_open, refuse_read;
    unsigned past, cached; /* reads */
    bool direct[1024];     /* by descriptor */
};

void rot_init(struct rot *r);

#endif
