/* tests/unit/base_lying_case: what the tests of the lying disk share. */
#ifndef VARVE_TESTS_UNIT_BASE_LYING_CASE_H
#define VARVE_TESTS_UNIT_BASE_LYING_CASE_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/lying.h"
#include "tests/lib/test.h"
#include "tests/lib/tree.h"

#define SEEDS 300

static struct lying *disk; /* of the running test */
static struct io *io;
static char root[160], paths[8][320], image[160];
static unsigned images;

/* disk_new: an empty disk below the test's directory; at(slot, name): a path on it. */
static inline void disk_new(void)
{
    snprintf(root, sizeof(root), "%s/disk", test_dir());
    CHECK_OK(io_mkdir(io_real(), root, 0700));
    CHECK_OK(lying_new(root, &disk));
    io = lying_io(disk);
    images = 0;
}

static inline void disk_end(void)
{
    lying_free(disk);
    disk = NULL;
}

static inline const char *at(int slot, const char *name)
{
    snprintf(paths[slot], sizeof(paths[slot]), "%s/%s", root, name);
    return paths[slot];
}

/* make(name): opens a file, made where it is missing. fill: len bytes c. */
static inline int make(const char *name)
{
    int fd = io_open(io, at(7, name), O_RDWR | O_CREAT, 0600);

    CHECK_OK(fd);
    return fd;
}

static inline void fill(int fd, char c, uint64_t off, size_t len)
{
    char *p = malloc(len);

    CHECK(p);
    memset(p, c, len);
    CHECK_OK(io_pwrite(io, fd, p, len, off));
    free(p);
}

/* crash(seed, mode): the next image; its path is in image. */
static inline void crash(uint64_t seed, enum lying_mode mode)
{
    snprintf(image, sizeof(image), "%s/image%u", test_dir(), images++);
    CHECK_OK(lying_crash(disk, seed, mode, image));
}

/* read_image(name, b): contents of a file of the last image; false when it is not there. */
static inline bool read_image(const char *name, struct buf *b)
{
    char p[320];
    int r;

    snprintf(p, sizeof(p), "%s/%s", image, name);
    r = io_read_file(io_real(), p, 1 << 26, b);
    if (r == -E_NOENT)
        return false;
    CHECK_OK(r);
    return true;
}

static inline void remove_tree(const char *path)
{
    CHECK_OK(tree_remove(path));
}

/* all_are(b, c, from, len): that many bytes c. */
static inline bool all_are(const struct buf *b, char c, size_t from, size_t len)
{
    for (size_t i = from; i < from + len; i++) {
        if (i >= b->len || b->data[i] != (uint8_t)c)
            return false;
    }
    return true;
}

#endif
