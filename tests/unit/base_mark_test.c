#include "base/mark.h"

#include <setjmp.h>

#include "tests/lib/test.h"

TEST(test_mark__a_passed_mark_is_expected)
{
    MARK("mark: one");
    MARK("mark: one");
    MARK("mark: two");
    expect_mark("mark: one");
    expect_mark("mark: two");
}

TEST(test_runner__dir_is_empty_for_each_test)
{
    FILE *f;
    char p[512];

    snprintf(p, sizeof(p), "%s/file", test_dir());
    f = fopen(p, "wx");
    CHECK(f);
    fclose(f);
}

TEST(test_runner__dir_is_empty_for_each_test_again)
{
    FILE *f;
    char p[512];

    snprintf(p, sizeof(p), "%s/file", test_dir());
    f = fopen(p, "wx");
    CHECK(f);
    fclose(f);
}

TEST(test_runner__rand_is_splitmix64)
{
    uint64_t state = 1234567;

    CHECK_EQ(test_rand(&state), 6457827717110365317ull);
    CHECK_EQ(test_rand(&state), 3203168211198807973ull);
    CHECK_EQ(test_seed(), test_seed());
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
