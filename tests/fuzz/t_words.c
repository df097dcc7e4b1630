/* The command line: words, each with its NUL. What is understood, printed as a line and parsed again, means the same. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "fs/verb.h"
#include "tests/fuzz/fuzz.h"

#define WORDS_MAX 24

static void parse_line(const char *line, size_t len)
{
    cleanup(verb_args_free) struct verb_args a = {0};
    cleanup(buf_free) struct buf err = {0};
    int r = verb_parse_line(NULL, line, len, &a, &err);

    FUZZ_CHECK(r == 0 || err.len > 0 || r == -E_NOMEM);
}

void run_words(const uint8_t *p, size_t len)
{
    cleanup(verb_args_free) struct verb_args a = {0};
    cleanup(buf_free) struct buf err = {0}, text = {0}, help = {0};
    char *copy = in_text(p, len), *words[WORDS_MAX + 1];
    int n = 0, r;

    clock_test_set(1790000000000000000, 1000000000);
    for (size_t i = 0; i < len && n < WORDS_MAX; i += strlen(copy + i) + 1)
        words[n++] = copy + i;
    words[n] = NULL;
    r = verb_parse_words(n, words, &a, &err);
    FUZZ_CHECK(r == 0 || err.len > 0 || r == -E_NOMEM);
    if (r == 0 && a.verb) {
        FUZZ_CHECK(verb_args_print(&a, &text) == 0);
        FUZZ_CHECK(verb_help(a.verb, &help) == 0);
        parse_line(buf_cstr(&text), text.len);
    }
    parse_line(copy, len);
    free(copy);
}

void seeds_words(void)
{
    static const char *const lines[] = {
        "create|/s/v|--size|10G|--inodes=5K",
        "snapshot|create|/mnt|name|--label|a=b|--label|c=d|--expire|7d|--sync",
        "snapshot|label|/mnt|name|a=b|c=d|--remove|x",
        "diff|/s/v|s1|s2|--json",
        "job|wait|--|12",
        "events|--since|4|/s/v",
        "check|/s|--repair",
        "dump|/s|table|INODE",
        "snapshot|--help",
        "clone|/s/v@s1|new",
        "create name=x label=a=b expire=2026-12-01 hold=tag",
        "rename s1 to=\"two words\"",
        "hold @latest tag=a:b",
        "# comment",
        "expire s1 at=never",
    };
    char name[16], text[200];

    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        snprintf(name, sizeof(name), "%zu", i);
        snprintf(text, sizeof(text), "%s", lines[i]);
        for (char *c = text; *c; c++)
            if (*c == '|')
                *c = 0;
        fuzz_seed(name, text, strlen(lines[i]) + 1);
    }
}
