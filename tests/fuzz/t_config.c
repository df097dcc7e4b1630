#include <stdio.h>
#include <stdlib.h>

#include "conf/store.h"
#include "tests/fuzz/fuzz.h"

void run_config(const uint8_t *p, size_t len)
{
    cleanup(buf_free) struct buf err = {0};
    struct conf_store c = {0};
    char *text = in_text(p, len);
    int r = conf_store_parse(text, "config", &c, &err);

    FUZZ_CHECK(r == 0 || err.len > 0 || r == -E_NOMEM); /* a refusal says why */
    free(text);
}

void seeds_config(void)
{
    static const char *const texts[] = {"",
                                        "flush_interval = \"5s\";\nunsynced_limit = \"128M\";\n",
                                        "small_file = 4096; open_objects = 256\n",
                                        "delta_limit = \"32MiB\"; # comment\n// another\n/* and\none */\n",
                                        "flush_intervall = 5;\n",
                                        "small_file = -1;\n",
                                        "unsynced_limit = 99999999999999999999;\n",
                                        "a = { b = ( 1, 2.5, \"x\" ); };\n",
                                        "flush_interval = 5\nflush_interval = 6\n",
                                        "@include \"config\"\n",
                                        "open_objects = 0x10L;\n"};
    char name[16];

    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        snprintf(name, sizeof(name), "%zu", i);
        fuzz_seed(name, texts[i], strlen(texts[i]));
    }
}
