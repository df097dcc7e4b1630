#include "base/io.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/lib/test.h"

static char path_buf[4][512];

static const char *path(int slot, const char *name)
{
    snprintf(path_buf[slot], sizeof(path_buf[slot]), "%s/%s", test_dir(), name);
    return path_buf[slot];
}

TEST(test_io__bytes_written_are_read_and_short_only_at_the_end)
{
    struct io *io = io_real();
    int fd = io_open(io, path(0, "f"), O_RDWR | O_CREAT, 0600);
    char b[16] = {0};
    struct stat st;
    size_t n;

    CHECK_OK(fd);
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    CHECK_OK(io_pwrite(io, fd, "hello", 5, 3));
    CHECK_OK(io_pread(io, fd, b, sizeof(b), 0, &n));
    CHECK_EQ(n, 8);
    CHECK(memcmp(b, "\0\0\0hello", 8) == 0);
    CHECK_OK(io_pread(io, fd, b, sizeof(b), 100, &n));
    CHECK_EQ(n, 0);
    CHECK_OK(io_truncate(io, fd, 4));
    CHECK_OK(io_fstat(io, fd, &st));
    CHECK_EQ(st.st_size, 4);
    CHECK_OK(io_fdatasync(io, fd));
    CHECK_OK(io_fsync(io, fd));
    CHECK_OK(io_syncfs(io, fd));
    CHECK_OK(io_sync_range(io, fd, 0, 4096));
    CHECK_OK(io_close(io, fd));
    CHECK_ERR(io_close(io, fd), -E_IO);
}

TEST(test_io__allocate_and_punch_keep_the_size)
{
    struct io *io = io_real();
    int fd = io_open(io, path(0, "f"), O_RDWR | O_CREAT, 0600);
    struct stat st;
    char b[8192];
    size_t n;

    CHECK_OK(fd);
    memset(b, 'x', sizeof(b));
    CHECK_OK(io_pwrite(io, fd, b, sizeof(b), 0));
    CHECK_OK(io_allocate(io, fd, 0, 1 << 20));
    CHECK_OK(io_fstat(io, fd, &st));
    CHECK_EQ(st.st_size, 8192);
    CHECK(st.st_blocks >= (1 << 20) / 512);
    CHECK_OK(io_punch(io, fd, 0, 4096));
    CHECK_OK(io_pread(io, fd, b, sizeof(b), 0, &n));
    CHECK_EQ(n, 8192);
    CHECK_EQ(b[0], 0);
    CHECK_EQ(b[4095], 0);
    CHECK_EQ(b[4096], 'x');
    CHECK_OK(io_close(io, fd));
}

TEST(test_io__errors_come_as_codes)
{
    struct io *io = io_real();
    struct stat st = {.st_size = 99};
    int fd;

    CHECK_ERR(io_open(io, path(0, "none"), O_RDONLY, 0), -E_NOENT);
    CHECK_ERR(io_stat(io, path(0, "none"), &st), -E_NOENT);
    CHECK_EQ(st.st_size, 99);
    CHECK_ERR(io_unlink(io, path(0, "none")), -E_NOENT);
    CHECK_ERR(io_rename(io, path(0, "none"), path(1, "n2")), -E_NOENT);
    CHECK_OK(io_mkdir(io, path(0, "d"), 0700));
    CHECK_ERR(io_mkdir(io, path(0, "d"), 0700), -E_EXIST);
    fd = io_open(io, path(1, "d/f"), O_WRONLY | O_CREAT | O_EXCL, 0600);
    CHECK_OK(fd);
    CHECK_ERR(io_rmdir(io, path(0, "d")), -E_NOTEMPTY);
    CHECK_ERR(io_open(io, path(1, "d/f"), O_WRONLY | O_CREAT | O_EXCL, 0600), -E_EXIST);
    CHECK_ERR(io_open(io, path(0, "d"), O_WRONLY, 0), -E_ISDIR);
    CHECK_ERR(io_open(io, path(2, "d/f/x"), O_RDONLY, 0), -E_NOTDIR);
    CHECK_OK(io_close(io, fd));
    CHECK_OK(io_unlink(io, path(1, "d/f")));
    CHECK_OK(io_sync_dir(io, path(0, "d")));
    CHECK_OK(io_rmdir(io, path(0, "d")));
    CHECK_ERR(io_sync_dir(io, path(0, "d")), -E_NOENT);
    fd = io_open(io, "/dev/full", O_WRONLY, 0);
    CHECK_OK(fd);
    CHECK_ERR(io_pwrite(io, fd, "x", 1, 0), -E_NOSPC);
    CHECK_OK(io_close(io, fd));
}

static int add_name(void *arg, const char *name)
{
    return buf_printf(arg, "%s,", name);
}

static int stop(void *arg, const char *name)
{
    (void)name;
    return ++*(int *)arg == 2 ? 42 : 0;
}

TEST(test_io__list_gives_every_name_and_stops_when_told)
{
    cleanup(buf_free) struct buf names = {0};
    char name[16];
    int n = 0;

    for (unsigned i = 0; i < 50; i++) {
        snprintf(name, sizeof(name), "n%02u", i);
        CHECK_OK(io_close(io_real(), io_open(io_real(), path(0, name), O_WRONLY | O_CREAT, 0600)));
    }
    CHECK_OK(io_list(test_dir(), add_name, &names));
    CHECK_EQ(names.len, 50 * 4);
    for (unsigned i = 0; i < 50; i++) {
        snprintf(name, sizeof(name), "n%02u,", i);
        CHECK(strstr(buf_cstr(&names), name));
    }
    CHECK_EQ(io_list(test_dir(), stop, &n), 42);
    CHECK_ERR(io_list(path(0, "none"), stop, &n), -E_NOENT);
}

TEST(test_io__replace_is_whole_and_leaves_nothing_beside)
{
    cleanup(buf_free) struct buf b = {0}, names = {0};
    struct io *io = io_real();

    CHECK_OK(io_replace(io, path(0, "version"), "first and longer", 16));
    CHECK_OK(io_replace(io, path(0, "version"), "second", 6));
    CHECK_OK(io_read_file(io, path(0, "version"), 100, &b));
    CHECK(strcmp(buf_cstr(&b), "second") == 0);
    CHECK_OK(io_list(test_dir(), add_name, &names));
    CHECK(strcmp(buf_cstr(&names), "version,") == 0);
    CHECK_ERR(io_replace(io, path(1, "none/version"), "x", 1), -E_NOENT);
}

TEST(test_io__read_file_is_bounded)
{
    cleanup(buf_free) struct buf b = {0};
    struct io *io = io_real();
    char *big = calloc(1, 200000);

    CHECK(big);
    big[199999] = 'e';
    CHECK_OK(io_replace(io, path(0, "f"), big, 200000));
    free(big);
    CHECK_OK(buf_puts(&b, "old"));
    CHECK_ERR(io_read_file(io, path(0, "f"), 199999, &b), -E_TOOBIG);
    CHECK(strcmp(buf_cstr(&b), "old") == 0);
    CHECK_OK(io_read_file(io, path(0, "f"), 200000, &b));
    CHECK_EQ(b.len, 200000);
    CHECK_EQ(b.data[199999], 'e');
    CHECK_OK(io_replace(io, path(0, "f"), "", 0));
    CHECK_OK(io_read_file(io, path(0, "f"), 0, &b));
    CHECK_EQ(b.len, 0);
    CHECK_ERR(io_read_file(io, path(1, "none"), 10, &b), -E_NOENT);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
