#include "base/jw.h"

#include <jansson.h>

#include "tests/lib/test.h"

TEST(test_jw__objects_and_arrays_nest)
{
    cleanup(buf_free) struct buf b = {0};
    struct jw j = jw_begin(&b, false);

    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_array(&j, "list");
    jw_str(&j, NULL, "a");
    jw_object(&j, NULL);
    jw_close(&j);
    jw_close(&j);
    jw_i64(&j, "minus", -5);
    jw_bool(&j, "yes", true);
    jw_str(&j, "none", NULL);
    jw_time(&j, "at", 1000000000);
    jw_time(&j, "never", 0);
    jw_close(&j);
    CHECK_OK(jw_end(&j));
    CHECK(strcmp(buf_cstr(&b),
                 "{\"schema\": 1, \"list\": [\"a\", {}], \"minus\": -5, \"yes\": true, \"none\": null, "
                 "\"at\": \"1970-01-01T00:00:01Z\", \"never\": null}") == 0);
}

TEST(test_jw__lines_are_indented)
{
    cleanup(buf_free) struct buf b = {0};
    struct jw j = jw_begin(&b, true);

    jw_object(&j, NULL);
    jw_u64(&j, "n", UINT64_MAX);
    jw_array(&j, "list");
    jw_close(&j);
    jw_close(&j);
    CHECK_OK(jw_end(&j));
    CHECK(strcmp(buf_cstr(&b), "{\n  \"n\": 18446744073709551615,\n  \"list\": []\n}\n") == 0);
}

TEST(test_jw__any_bytes_give_valid_json)
{
    cleanup(buf_free) struct buf b = {0};
    struct jw j = jw_begin(&b, false);
    uint8_t all[255];
    json_t *v;

    for (unsigned i = 0; i < 255; i++)
        all[i] = (uint8_t)(i + 1);
    jw_object(&j, NULL);
    jw_strn(&j, "all", all, sizeof(all));
    jw_name(&j, "good", "f\xc3\xbcr \"\\\n", 8);
    jw_name(&j, "bad", "x\xff", 2);
    jw_close(&j);
    CHECK_OK(jw_end(&j));
    v = json_loadb((const char *)b.data, b.len, 0, NULL);
    CHECK(v != NULL);
    CHECK(strcmp(json_string_value(json_object_get(v, "good")), "f\xc3\xbcr \"\\\n") == 0);
    CHECK(json_object_get(v, "good_hex") == NULL);
    CHECK(strcmp(json_string_value(json_object_get(v, "bad")), "x\xef\xbf\xbd") == 0);
    CHECK(strcmp(json_string_value(json_object_get(v, "bad_hex")), "78ff") == 0);
    json_decref(v);
}

TEST(test_jw__only_well_formed_characters_pass)
{
    static const struct {
        const char *s;
        size_t n;
    } c[] = {{"a", 1},
             {"\xc3\xbc", 2},
             {"\xe2\x82\xac", 3},
             {"\xf0\x9f\x98\x80", 4},
             {"\xc0\x80", 0},
             {"\xc3", 0},
             {"\xed\xa0\x80", 0},
             {"\x80", 0},
             {"\xf4\x90\x80\x80", 0},
             {"\xe0\x80\x80", 0},
             {"\xf8\x88", 0}};

    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        CHECK_EQ(utf8_length((const uint8_t *)c[i].s, strlen(c[i].s)), c[i].n);
    CHECK_EQ(utf8_length((const uint8_t *)"a", 0), 0);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
