#include "base/io_past.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "tests/lib/rot.h"
#include "tests/lib/test.h"

#define SIZE 700001u

static uint8_t bytes[SIZE];
static char path[512];

static void begin(void)
{
    uint64_t rng = 7;

    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (uint8_t)test_rand(&rng);
    snprintf(path, sizeof(path), "%s/f", test_dir());
    int fd = io_open(io_real(), path, O_RDWR | O_CREAT, 0600);
    CHECK_OK(fd);
    CHECK_OK(io_pwrite(io_real(), fd, bytes, SIZE, 0));
    CHECK_OK(io_close(io_real(), fd));
}

static void expect(struct io *io, int fd, uint64_t off, size_t len)
{
    uint8_t *p = malloc(len + 1);
    size_t n = 0, want = off < SIZE ? MIN_OF((size_t)(SIZE - off), len) : 0;

    CHECK(p);
    CHECK_OK(io_pread(io, fd, p, len, off, &n));
    CHECK_EQ(n, want);
    CHECK(n == 0 || memcmp(p, bytes + off, n) == 0);
    free(p);
}

/* At the edges of sectors, of its own memory, of the file; and anywhere. */
static void read_about(struct io *io)
{
    static const uint64_t edges[] = {0,      1,      511,    512,      4095, 4096,       262143,
                                     262144, 262145, 524288, SIZE - 1, SIZE, SIZE + 5000};
    int fd = io_open(io, path, O_RDONLY, 0);
    uint64_t rng = 3;
    struct stat st;

    CHECK_OK(fd);
    CHECK_OK(io_fstat(io, fd, &st));
    CHECK_EQ(st.st_size, SIZE);
    for (size_t i = 0; i < ARRAY_LEN(edges); i++)
        for (size_t k = 0; k < ARRAY_LEN(edges); k++)
            expect(io, fd, edges[i], (size_t)edges[k]);
    for (int i = 0; i < 300; i++)
        expect(io, fd, test_rand(&rng) % (SIZE + 9000), (size_t)(test_rand(&rng) % 300000));
    CHECK_OK(io_close(io, fd));
}

TEST(test_io_past__reads_what_is_there)
{
    struct io_past *p;

    begin();
    CHECK_OK(io_past_new(io_real(), &p));
    read_about(io_past_io(p));
    printf("  O_DIRECT is %s here\n", io_past_refused(p) ? "refused" : "taken");
    CHECK_ERR(io_open(io_past_io(p), "/nowhere/at/all", O_RDONLY, 0), -E_NOENT);
    CHECK_ERR(io_open(io_past_io(p), path, O_RDWR, 0), -E_INVAL);
    io_past_free(p);
}

TEST(test_io_past__finds_what_memory_does_not_show)
{
    struct rot rot;
    struct io_past *p;
    uint8_t byte;
    size_t n;
    int fd;

    begin();
    rot_init(&rot);
    rot.file = "/f";
    rot.at = 300000;
    CHECK_OK(io_past_new(&rot.io, &p));
    fd = io_open(io_past_io(p), path, O_RDONLY, 0);
    CHECK_OK(fd);
    CHECK_OK(io_pread(io_past_io(p), fd, &byte, 1, rot.at, &n));
    CHECK_EQ(byte, bytes[rot.at] ^ 0x10);
    CHECK_EQ(rot.past, 1);
    CHECK_EQ(rot.cached, 0);
    CHECK_OK(io_close(io_past_io(p), fd));
    fd = io_open(&rot.io, path, O_RDONLY, 0);
    expect(&rot.io, fd, 0, SIZE);
    CHECK_OK(io_close(&rot.io, fd));
    io_past_free(p);
}

TEST(test_io_past__goes_on_where_it_is_refused)
{
    for (int at_read = 0; at_read < 2; at_read++) {
        struct rot rot;
        struct io_past *p;

        begin();
        rot_init(&rot);
        rot.refuse_open = !at_read;
        rot.refuse_read = at_read;
        CHECK_OK(io_past_new(&rot.io, &p));
        read_about(io_past_io(p));
        expect_mark("io: a filesystem refuses to be read past the page cache");
        CHECK(io_past_refused(p));
        CHECK_EQ(rot.past, 0);
        CHECK(rot.cached > 300);
        io_past_free(p);
    }
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
