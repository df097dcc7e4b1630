/* Each decision of a policy, as tables. */
#include "tier/policy.h"

#include <stdio.h>

#include "base/clock.h"
#include "tests/lib/test.h"

#define DAY 86400ll
#define NOW (20000 * DAY)

static const char *const verdicts[] = {"release", "young", "stays"};

static const struct tier_policy by_access = {TIER_COLD, true, 30 * DAY, 4096, 1 << 20, NULL, 0, 0},
                                by_change = {TIER_COLD, false, 30 * DAY, 0, 0, NULL, 0, 0},
                                nothing = {TIER_NOTHING, true, 30 * DAY, 0, 0, NULL, 0, 0},
                                replaced = {TIER_REPLACED, true, 0, 0, 0, NULL, 0, 0},
                                all = {TIER_ALL, true, 0, 0, 0, NULL, 0, 0},
                                level = {TIER_COLD, true, 0, 0, 0, NULL, 80, 70};

static const struct {
    const char *what;
    const struct tier_policy *p;
    struct tier_facts f;
    bool full;
    enum tier_verdict want;
    int64_t due_s;
} verdict_table[] = {
    {"old in all respects",
     &by_access,
     {.size = 5000, .mtime_s = NOW - 40 * DAY, .atime_s = NOW - 31 * DAY},
     false,
     TIER_RELEASE,
     0},
    {"to the second", &by_access, {.size = 5000, .mtime_s = NOW - 30 * DAY}, false, TIER_RELEASE, 0},
    {"a second less", &by_access, {.size = 5000, .mtime_s = NOW - 30 * DAY + 1}, false, TIER_YOUNG, NOW + 1},
    {"read lately",
     &by_access,
     {.size = 5000, .mtime_s = NOW - 40 * DAY, .read_s = NOW - DAY},
     false,
     TIER_YOUNG,
     NOW + 29 * DAY},
    {"its atime is late",
     &by_access,
     {.size = 5000, .mtime_s = 0, .atime_s = NOW - DAY},
     false,
     TIER_YOUNG,
     NOW + 29 * DAY},
    {"which is no change",
     &by_change,
     {.size = 5000, .mtime_s = 0, .atime_s = NOW - DAY},
     false,
     TIER_RELEASE,
     0},
    {"brought back lately",
     &by_change,
     {.size = 5000, .mtime_s = 0, .read_s = NOW - DAY},
     false,
     TIER_YOUNG,
     NOW + 29 * DAY},
    {"too small", &by_access, {.size = 4095, .mtime_s = 0}, false, TIER_STAYS, 0},
    {"just large enough", &by_access, {.size = 4096, .mtime_s = 0}, false, TIER_RELEASE, 0},
    {"just small enough", &by_access, {.size = 1 << 20, .mtime_s = 0}, false, TIER_RELEASE, 0},
    {"too large", &by_access, {.size = (1 << 20) + 1, .mtime_s = 0}, false, TIER_STAYS, 0},
    {"empty", &by_change, {.size = 0, .mtime_s = 0}, false, TIER_STAYS, 0},
    {"a directory", &by_change, {.other = true, .size = 4096}, true, TIER_STAYS, 0},
    {"before 1970", &by_change, {.size = 5000, .mtime_s = -5 * DAY}, false, TIER_RELEASE, 0},
    {"a time ahead says nothing",
     &by_access,
     {.size = 5000, .mtime_s = NOW + 400 * DAY, .atime_s = NOW - 31 * DAY},
     false,
     TIER_RELEASE,
     0},
    {"all of them ahead: used now",
     &by_access,
     {.size = 5000, .mtime_s = NOW + DAY, .atime_s = NOW + DAY, .read_s = NOW + 1},
     false,
     TIER_YOUNG,
     NOW + 30 * DAY},
    {"only snapshots have it", &by_access, {.gone = true}, false, TIER_RELEASE, 0},
    {"and that is all that may go", &replaced, {.gone = true}, false, TIER_RELEASE, 0},
    {"so a file stays", &replaced, {.size = 5000, .mtime_s = 0}, false, TIER_STAYS, 0},
    {"even when it is full", &replaced, {.size = 5000, .mtime_s = 0}, true, TIER_STAYS, 0},
    {"a new file of all", &all, {.size = 5000, .mtime_s = NOW}, false, TIER_RELEASE, 0},
    {"by level alone age is no reason", &level, {.size = 5000, .mtime_s = 0}, false, TIER_STAYS, 0},
    {"being full is", &level, {.size = 5000, .mtime_s = NOW}, true, TIER_RELEASE, 0},
    {"full, but too small", &by_access, {.size = 4095, .mtime_s = 0}, true, TIER_STAYS, 0},
    {"full, and young", &by_access, {.size = 5000, .mtime_s = NOW}, true, TIER_RELEASE, 0},
    {"no policy", &nothing, {.size = 5000, .mtime_s = 0}, true, TIER_STAYS, 0},
    {"no policy, gone", &nothing, {.gone = true}, true, TIER_STAYS, 0},
};

TEST(test_tier_policy__what_goes_and_what_stays)
{
    for (size_t i = 0; i < ARRAY_LEN(verdict_table); i++) {
        int64_t due_s = 0;
        enum tier_verdict v =
            tier_decide(verdict_table[i].p, &verdict_table[i].f, verdict_table[i].full, NOW, &due_s);

        if (v != verdict_table[i].want || due_s != verdict_table[i].due_s)
            test_fail(__FILE__, __LINE__, "%s: %s at %lld, not %s at %lld", verdict_table[i].what,
                      verdicts[v], (long long)due_s, verdicts[verdict_table[i].want],
                      (long long)verdict_table[i].due_s);
    }
}

/* A policy that waits for 30 days waits for 30 times 86,400 seconds, whatever clocks in towns and calendars do meanwhile. */
TEST(test_tier_policy__days_are_as_long_as_they_are)
{
    static const char *const from[] = {"2024-02-15T12:00:00Z", "2026-03-15T00:30:00Z", "2026-10-20T00:30:00Z",
                                       "2027-12-20T23:59:59Z"};
    struct tier_policy p = {.what = TIER_COLD, .after_s = 30 * DAY};

    for (size_t i = 0; i < ARRAY_LEN(from); i++) {
        int64_t ns, due_s = 0, t;
        struct tier_facts f = {.size = 5000};

        CHECK_OK(clock_parse(from[i], &ns));
        f.mtime_s = t = ns / 1000000000;
        CHECK_EQ(tier_decide(&p, &f, false, t + 30 * DAY - 1, &due_s), TIER_YOUNG);
        CHECK_EQ(due_s, t + 30 * DAY);
        CHECK_EQ(tier_decide(&p, &f, false, t + 30 * DAY, &due_s), TIER_RELEASE);
        CHECK_EQ(tier_decide(&p, &f, false, t - DAY, &due_s), TIER_YOUNG); /* the clock went back */
    }
}

TEST(test_tier_policy__levels)
{
    static const struct {
        uint32_t high, low;
        uint64_t used, total, want;
    } table[] = {
        {80, 70, 800, 1000, 0},    {80, 70, 801, 1000, 101},
        {80, 70, 1000, 1000, 300}, {80, 70, 0, 1000, 0},
        {0, 0, 1000, 1000, 0},     {80, 70, 5, 0, 0},
        {99, 1, 1200, 1000, 1190}, {80, 79, 1ull << 62, 1ull << 62, 968454063869751460ull},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct tier_policy p = {.what = TIER_COLD, .high_pct = table[i].high, .low_pct = table[i].low};

        CHECK_EQ(tier_excess(&p, table[i].used, table[i].total), table[i].want);
    }
}

TEST(test_tier_policy__patterns)
{
    static const struct {
        const char *pattern, *path;
        bool want;
    } table[] = {
        {NULL, "a/b", true},
        {"", "a/b", true},
        {"*.mp4", "film.mp4", true},
        {"*.mp4", "a/b/film.mp4", true},
        {"*.mp4", "film.mp3", false},
        {"archive", "archive/x/y", true},
        {"archive", "archives/x", false},
        {"archive/*", "archive/x/y", true},
        {"archive", "b/archive/x", false},
        {"*/archive", "b/archive/x", true},
        {"*.mp4|archive", "archive/x", true},
        {"*.mp4|archive", "b/x.mp4", true},
        {"*.mp4|archive", "b/x", false},
        {"|", "x", false},
        {"[ab]?.o", "a1.o", true},
        {"[ab]?.o", "c1.o", false},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (tier_matches(table[i].pattern, table[i].path) != table[i].want)
            test_fail(__FILE__, __LINE__, "%s and %s: not %d", table[i].pattern, table[i].path,
                      table[i].want);
}

TEST(test_tier_policy__another_policy_has_another_id)
{
    struct tier_policy p = {TIER_COLD, true, DAY, 1, 2, "x", 80, 70}, q = p;
    uint64_t id = tier_policy_id(&p, "dir:/r");

    CHECK_EQ(tier_policy_id(&q, "dir:/r"), id);
    CHECK(tier_policy_id(&p, "dir:/s") != id);
    q.high_pct = 90; /* levels say when, not which */
    CHECK_EQ(tier_policy_id(&q, "dir:/r"), id);
    q.by_access = false;
    CHECK(tier_policy_id(&q, "dir:/r") != id);
    q = p, q.after_s++;
    CHECK(tier_policy_id(&q, "dir:/r") != id);
    q = p, q.pattern = "y";
    CHECK(tier_policy_id(&q, "dir:/r") != id);
    q = p, q.most_bytes = 0;
    CHECK(tier_policy_id(&q, "dir:/r") != id);
}

TEST(test_tier_policy__profiles_say_it_in_their_words)
{
    static const struct {
        const char *text;
        enum tier_what what;
        bool by_access;
        const char *to;
    } table[] = {
        {"name = \"p\";", TIER_NOTHING, true, ""},
        {"tiering: { after = \"3d\"; to = \"r\"; };", TIER_COLD, true, "r"},
        {"tiering: { policy = \"auto\"; by = \"change\"; after = \"3d\"; to = \"r\"; };", TIER_COLD, false,
         "r"},
        {"tiering: { policy = \"none\"; };", TIER_NOTHING, true, ""},
        {"tiering: { policy = \"snapshot-only\"; to = \"r\"; };", TIER_REPLACED, true, "r"},
        {"tiering: { policy = \"all\"; to = \"r\"; };", TIER_ALL, true, "r"},
        {"tiering: { high_water = 80; low_water = 70; to = \"r\"; };", TIER_COLD, true, "r"},
        {"backups = ( { every = \"1d\"; to = \"b\"; } ); tiering: { policy = \"all\"; };", TIER_ALL, true,
         "b"},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        cleanup(profile_free) struct profile *p = NULL;
        cleanup(buf_free) struct buf err = {0};
        struct tier_policy t;

        CHECK_OK(profile_parse(table[i].text, "p", &p, &err));
        CHECK_EQ(tier_policy_of(p, &t), table[i].what != TIER_NOTHING);
        CHECK_EQ(t.what, table[i].what);
        CHECK_EQ(t.by_access, table[i].by_access);
        CHECK(strcmp(tier_policy_to(p), table[i].to) == 0);
    }
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
