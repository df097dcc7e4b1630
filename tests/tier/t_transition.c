/* Which packs get another storage class; backends that have none say so. */
#include "tier/transition.h"

#include "tests/lib/test.h"
#include "tests/tier/rig.h"

#define DAY_NS (24 * 3600 * (int64_t)1000000000)

TEST(test_transition__which_packs_go)
{
    static const struct transition_opts o = {.class = "GLACIER", .before_ns = 10 * DAY_NS};
    static const struct {
        struct transition_pack p;
        enum transition_verdict want;
    } rows[] = {
        {{true, false, "STANDARD", 9 * DAY_NS}, TRANSITION_MOVE},
        {{true, false, "STANDARD", 10 * DAY_NS - 1}, TRANSITION_MOVE},
        {{true, false, "STANDARD", 10 * DAY_NS}, TRANSITION_YOUNG},
        {{true, false, "STANDARD", 4000 * DAY_NS}, TRANSITION_YOUNG}, /* a clock was wrong */
        {{true, false, "STANDARD_IA", 1}, TRANSITION_MOVE},
        {{true, false, "DEEP_ARCHIVE", 1}, TRANSITION_MOVE}, /* the server says whether it can */
        {{true, false, "GLACIER", 1}, TRANSITION_THERE},
        {{true, true, "GLACIER", 1}, TRANSITION_THERE},
        {{true, true, "STANDARD", 1}, TRANSITION_METADATA},
        {{true, true, "STANDARD", 20 * DAY_NS}, TRANSITION_METADATA},
        {{false, false, "STANDARD", 1}, TRANSITION_UNNAMED},
        {{true, false, "GLACIER_IR", 1}, TRANSITION_MOVE},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (transition_decide(&o, &rows[i].p) != rows[i].want)
            test_fail(__FILE__, __LINE__, "row %zu: %d", i, (int)transition_decide(&o, &rows[i].p));
}

TEST(test_transition__names_of_classes)
{
    static const char *const good[] = {"STANDARD_IA", "GLACIER", "x", "a-b_9"},
                             *const bad[] = {
                                 "",        "a b", "a\nb", "a:b", "0123456789012345678901234567890123456789",
                                 "\xc3\xa4"};

    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        CHECK_OK(transition_class_check(good[i]));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK_ERR(transition_class_check(bad[i]), -E_INVAL);
}

TEST(test_transition__a_place_without_classes_says_so)
{
    struct transition_opts o = {.class = "GLACIER", .before_ns = INT64_MAX};
    cleanup(buf_free) struct buf err = {0};
    struct transition_result res;
    struct repo_rig g;

    rig_begin(&g);
    CHECK_ERR(transition_run(g.w.r, &o, &res, &err), -E_NOTSUP);
    CHECK(strstr(buf_cstr(&err), "no storage classes here"));
    CHECK_EQ(backend_wake(g.w.r->b, NULL, "packs/00/aa", true), 0);
    rig_end(&g);
}
