#include "tests/lib/tree.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/io.h"
#include "tests/lib/test.h"

static char from[300], to[300];

static void put(const char *name, const char *text, uint64_t off)
{
    char p[400];
    int fd;

    snprintf(p, sizeof(p), "%s/%s", from, name);
    fd = io_open(io_real(), p, O_WRONLY | O_CREAT, 0640);
    CHECK_OK(fd);
    CHECK_OK(io_pwrite(io_real(), fd, text, strlen(text), off));
    CHECK_OK(io_close(io_real(), fd));
}

static void begin(void)
{
    char p[400];

    snprintf(from, sizeof(from), "%s/from", test_dir());
    snprintf(to, sizeof(to), "%s/to", test_dir());
    CHECK_OK(io_mkdir(io_real(), from, 0700));
    snprintf(p, sizeof(p), "%s/d", from);
    CHECK_OK(io_mkdir(io_real(), p, 0700));
    put("a", "hello", 0);
    put("d/sparse", "end", 1 << 26);
}

static uint64_t sum(const char *path)
{
    uint64_t s = 0;

    CHECK_OK(tree_sum(path, &s));
    return s;
}

TEST(test_tree__a_copy_is_equal_and_sparse)
{
    struct stat st;
    char p[400];

    begin();
    CHECK_OK(tree_copy(from, to));
    CHECK_EQ(sum(from), sum(to));
    snprintf(p, sizeof(p), "%s/d/sparse", to);
    CHECK_OK(io_stat(io_real(), p, &st));
    CHECK_EQ(st.st_size, (1 << 26) + 3);
    CHECK(st.st_blocks < 64);
    CHECK_EQ(st.st_mode, S_IFREG | 0640);
    CHECK_ERR(tree_copy(from, to), -E_EXIST);
}

TEST(test_tree__sum_sees_names_bytes_and_kinds)
{
    uint64_t s;
    char p[400];

    begin();
    s = sum(from);
    put("a", "J", 0);
    CHECK(sum(from) != s);
    put("a", "h", 0);
    CHECK_EQ(sum(from), s);
    put("b", "", 0);
    CHECK(sum(from) != s);
    snprintf(p, sizeof(p), "%s/b", from);
    CHECK_OK(io_unlink(io_real(), p));
    CHECK_EQ(sum(from), s);
    CHECK_OK(io_mkdir(io_real(), p, 0700));
    CHECK(sum(from) != s);
}

TEST(test_tree__remove_takes_all_and_follows_no_symlink)
{
    struct stat st;
    char p[400];

    begin();
    CHECK_OK(io_mkdir(io_real(), to, 0700));
    snprintf(p, sizeof(p), "%s/link", to);
    CHECK(symlink(from, p) == 0);
    CHECK_OK(tree_remove(to));
    CHECK_ERR(io_stat(io_real(), to, &st), -E_NOENT);
    CHECK_OK(tree_remove(from));
    CHECK_ERR(io_stat(io_real(), from, &st), -E_NOENT);
    CHECK_ERR(tree_remove(from), -E_NOENT);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
