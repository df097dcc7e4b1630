/* tests/tier/s3_case: tests that need an S3 server. They are there only where $VARVE_TEST_S3 is its endpoint, as tests/tier/s3.sh sets
 * it; keys are in the environment as AWS' tools want them, the bucket is $VARVE_TEST_BUCKET. */
#ifndef VARVE_TESTS_TIER_S3_CASE_H
#define VARVE_TESTS_TIER_S3_CASE_H

#include <stdlib.h>

#include "tests/lib/test.h"
#include "tier/url.h"

#define S3_TEST(fn_)                                                                                         \
    static void fn_(void);                                                                                   \
    __attribute__((constructor)) static void register_##fn_(void)                                            \
    {                                                                                                        \
        static struct test_case t = {.name = #fn_, .fn = fn_};                                               \
        if (getenv("VARVE_TEST_S3"))                                                                         \
            test_register(&t);                                                                               \
    }                                                                                                        \
    static void fn_(void)

/* s3_case_url: a place of its own below the bucket; options: more of them, "&a=b", after the endpoint's. */
void s3_case_url(const char *options, char out[600]);

#endif
