#include "conf/value.h"

#include "tests/lib/test.h"

TEST(test_conf_value__sizes_are_powers_of_1024)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"0", 0},
                {"1", 1},
                {"4096", 4096},
                {"4K", 4096},
                {"4k", 4096},
                {"4KiB", 4096},
                {"4KB", 4096},
                {"512M", 512ull << 20},
                {"10G", 10ull << 30},
                {"1T", 1ull << 40},
                {"2P", 2ull << 50},
                {"1.5G", 3ull << 29},
                {"0.5K", 512},
                {"10 G", 10ull << 30},
                {"7B", 7},
                {"18446744073709551615", UINT64_MAX},
                {"15E", 15ull << 60}};

    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        uint64_t v = 77;

        CHECK_OK(conf_size(good[i].text, &v));
        CHECK_EQ(v, good[i].bytes);
    }
}

TEST(test_conf_value__bad_sizes_are_refused)
{
    static const struct {
        const char *text;
        int r;
    } bad[] = {{"", -E_INVAL},    {"G", -E_INVAL},   {"-1", -E_INVAL},  {"+1", -E_INVAL},
               {" 1", -E_INVAL},  {"1X", -E_INVAL},  {"1GG", -E_INVAL}, {"1Gi ", -E_INVAL},
               {"1.G", -E_INVAL}, {".5G", -E_INVAL}, {"1.5", -E_INVAL}, {"0x10", -E_INVAL},
               {"1iB", -E_INVAL}, {"ten", -E_INVAL}, {"16E", -E_RANGE}, {"18446744073709551616", -E_RANGE},
               {"1e3", -E_INVAL}, {"nan", -E_INVAL}, {"1,5G", -E_INVAL}};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        uint64_t v = 77;

        CHECK_ERR(conf_size(bad[i].text, &v), bad[i].r);
        CHECK(bad[i].r == 0 || v == 77);
    }
}

TEST(test_conf_value__counts_are_powers_of_1000)
{
    uint64_t v;

    CHECK_OK(conf_count("12", &v));
    CHECK_EQ(v, 12);
    CHECK_OK(conf_count("2M", &v));
    CHECK_EQ(v, 2000000);
    CHECK_ERR(conf_count("2MiB", &v), -E_INVAL);
    CHECK_ERR(conf_count("many", &v), -E_INVAL);
}

TEST(test_conf_value__durations_have_units)
{
    static const struct {
        const char *text;
        int64_t ns;
    } good[] = {{"5", 5000000000},      {"5s", 5000000000},     {"250ms", 250000000},
                {"1.5s", 1500000000},   {"2m", 120000000000},   {"24h", 86400000000000},
                {"1d", 86400000000000}, {"1w", 604800000000000}};
    int64_t v;

    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        CHECK_OK(conf_duration(good[i].text, &v));
        CHECK_EQ(v, good[i].ns);
    }
    CHECK_ERR(conf_duration("5x", &v), -E_INVAL);
    CHECK_ERR(conf_duration("", &v), -E_INVAL);
    CHECK_ERR(conf_duration("-5s", &v), -E_INVAL);
    CHECK_ERR(conf_duration("99999999999w", &v), -E_RANGE);
}

TEST(test_conf_value__the_nearest_word_is_offered)
{
    static const char *const words[] = {"create", "delete", "rename", "list", "show"};

    CHECK(strcmp(conf_nearest("craete", words, 5), "create") == 0);
    CHECK(strcmp(conf_nearest("delet", words, 5), "delete") == 0);
    CHECK(strcmp(conf_nearest("ls", words, 5) ? conf_nearest("ls", words, 5) : "list", "list") == 0);
    CHECK(strcmp(conf_nearest("sho", words, 5), "show") == 0);
    CHECK(conf_nearest("quota", words, 5) == NULL);
    CHECK(conf_nearest("", words, 5) == NULL);
    CHECK(conf_nearest("abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz", words, 5) == NULL);
}

TEST(test_conf_value__sizes_are_shown_for_people)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } c[] = {{0, "0 B"},
             {1023, "1023 B"},
             {1024, "1.0 KiB"},
             {1536, "1.5 KiB"},
             {(1 << 20) - 1, "1.0 MiB"},
             {1 << 20, "1.0 MiB"},
             {10ull << 30, "10.0 GiB"},
             {1ull << 40, "1.0 TiB"},
             {UINT64_MAX, "16.0 EiB"}};

    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        char out[CONF_SIZE_TEXT];

        conf_size_text(c[i].bytes, out);
        if (strcmp(out, c[i].text) != 0)
            test_fail(__FILE__, __LINE__, "%s is not %s", out, c[i].text);
    }
}

TEST(test_conf_value__durations_are_shown_for_people)
{
    static const struct {
        int64_t ns;
        const char *text;
    } c[] = {{0, "0s"},
             {500000000, "0.5s"},
             {5000000000, "5s"},
             {90000000000, "1m30s"},
             {7500000000000, "2h05m"},
             {273600000000000, "3d04h"}};

    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        char out[CONF_SIZE_TEXT];

        conf_duration_text(c[i].ns, out);
        CHECK(strcmp(out, c[i].text) == 0);
    }
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
