#include "base/array.h"

#include <malloc.h>
#include <stdlib.h>

#include "tests/lib/test.h"

/* One more element: what is there already stays, and there is room. */
static uint32_t *add(uint32_t *v, size_t n)
{
    uint32_t *more = array_more(v, n, sizeof(*v));

    CHECK(more != NULL);
    CHECK(malloc_usable_size(more) >= (n + 1) * sizeof(*v));
    more[n] = (uint32_t)n * 7;
    return more;
}

TEST(test_array__elements_stay_while_it_grows)
{
    uint32_t *v = NULL;

    for (size_t n = 0; n < 5000; n++)
        v = add(v, n);
    for (size_t n = 0; n < 5000; n++)
        CHECK_EQ(v[n], n * 7);
    free(v);
}

TEST(test_array__it_may_shrink_in_between)
{
    uint32_t *v = NULL;

    for (size_t turn = 0; turn < 3; turn++) {
        for (size_t n = turn * 3; n < 100; n++)
            v = add(v, n);
        for (size_t n = 0; n < 100; n++)
            CHECK_EQ(v[n], n * 7);
    }
    free(v);
}

TEST(test_array__no_memory_leaves_it_as_it_was)
{
    uint32_t *v = NULL;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    test_skip("the sanitizer ends who asks for so much");
#endif
    CHECK(array_more(NULL, 0, SIZE_MAX / 2) == NULL);
    for (size_t n = 0; n < 4; n++)
        v = add(v, n);
    CHECK(array_more(v, 4, SIZE_MAX / 4) == NULL);
    CHECK_EQ(v[3], 21);
    free(v);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
