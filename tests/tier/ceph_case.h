/* tests/tier/ceph_case: tests that need a Ceph cluster. They are there only where $VARVE_TEST_CEPH is a pool of it and
 * $VARVE_TEST_CEPH_OPTIONS the options of a URL that reach it, as tests/tier/ceph.sh sets them. */
#ifndef VARVE_TESTS_TIER_CEPH_CASE_H
#define VARVE_TESTS_TIER_CEPH_CASE_H

#include <stdlib.h>

#include "tests/lib/test.h"

#define CEPH_TEST(fn_)                                                                                       \
    static void fn_(void);                                                                                   \
    __attribute__((constructor)) static void register_##fn_(void)                                            \
    {                                                                                                        \
        static struct test_case t = {.name = #fn_, .fn = fn_};                                               \
        if (getenv("VARVE_TEST_CEPH"))                                                                       \
            test_register(&t);                                                                               \
    }                                                                                                        \
    static void fn_(void)

/* ceph_case_url: a namespace of its own; options: more of them, "&a=b". */
void ceph_case_url(const char *options, char out[600]);

#endif
