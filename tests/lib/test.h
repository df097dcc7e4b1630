/* tests/lib/test: the runner of unit tests. A test program lists its tests with TEST() and ends main with
 * `return test_main(argc, argv);`. Each test runs in this process in the order of the file; a failed CHECK ends the
 * test. `PROGRAM name...` runs the named ones. SEED= replays a random run. The last line printed is
 * `N passed, N failed, N skipped`; exit 0 only without failures. */
#ifndef VARVE_TESTS_LIB_TEST_H
#define VARVE_TESTS_LIB_TEST_H

#include <setjmp.h>
#include <stdio.h>

#include "base/base.h"

struct test_case {
    const char *name;
    void (*fn)(void);
    struct test_case *next;
};

void test_register(struct test_case *t);
int test_main(int argc, char **argv);
void test_fail(const char *file, int line, const char *fmt, ...) PRINTF_LIKE(3, 4) __attribute__((noreturn));
void test_skip(const char *why) __attribute__((noreturn)); /* printed; counted apart */

uint64_t test_seed(void);             /* SEED= or a fresh one; printed by test_main on failure */
uint64_t test_rand(uint64_t *state);  /* splitmix64 step */
const char *test_dir(void);           /* an empty directory of this test, removed after it */
size_t mark_passed(const char *mark); /* so many times since the test began */
void expect_mark(const char *mark);   /* fails when MARK(mark) was not passed since the test began */

#define TEST(fn_)                                                                                            \
    static void fn_(void);                                                                                   \
    __attribute__((constructor)) static void register_##fn_(void)                                            \
    {                                                                                                        \
        static struct test_case t = {.name = #fn_, .fn = fn_};                                               \
        test_register(&t);                                                                                   \
    }                                                                                                        \
    static void fn_(void)

#define CHECK(cond)                                                                                          \
    do {                                                                                                     \
        if (!(cond))                                                                                         \
            test_fail(__FILE__, __LINE__, "%s", #cond);                                                      \
    } while (0)
#define CHECK_OK(expr)                                                                                       \
    do {                                                                                                     \
        int check_r_ = (expr);                                                                               \
        if (check_r_ < 0)                                                                                    \
            test_fail(__FILE__, __LINE__, "%s: %s", #expr, err_name(check_r_));                              \
    } while (0)
#define CHECK_ERR(expr, code)                                                                                \
    do {                                                                                                     \
        int check_r_ = (expr);                                                                               \
        if (check_r_ != (code))                                                                              \
            test_fail(__FILE__, __LINE__, "%s: got %s, want %s", #expr, err_name(check_r_), err_name(code)); \
    } while (0)
#define CHECK_EQ(a, b)                                                                                       \
    do {                                                                                                     \
        uint64_t check_a_ = (uint64_t)(a), check_b_ = (uint64_t)(b);                                         \
        if (check_a_ != check_b_)                                                                            \
            test_fail(__FILE__, __LINE__, "%s == %s: %llu, %llu", #a, #b, (unsigned long long)check_a_,      \
                      (unsigned long long)check_b_);                                                         \
    } while (0)

#endif
