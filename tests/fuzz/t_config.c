#include <stdio.h>
#include <stdlib.h>

#include "conf/daemon.h"
#include "conf/profile.h"
#include "conf/store.h"
#include "tests/fuzz/fuzz.h"

/* A refusal says why. */
static void said(int r, struct buf *err)
{
    FUZZ_CHECK(r == 0 || err->len > 0 || r == -E_NOMEM);
    buf_free(err);
}

/* What was understood is written, read back, and the same. */
static void again(struct profile *p)
{
    cleanup(buf_free) struct buf text = {0}, more = {0}, err = {0}, left = {0};
    cleanup(profile_free) struct profile *q = NULL;

    FUZZ_CHECK(profile_print(p, &text) == 0 && buf_cstr(&text));
    if (text.len > PROFILE_TEXT_MAX)
        return;
    FUZZ_CHECK(profile_parse(buf_cstr(&text), "again", &q, &err) == 0);
    FUZZ_CHECK(profile_print(q, &more) == 0);
    FUZZ_CHECK(more.len == text.len && (!text.len || memcmp(more.data, text.data, text.len) == 0));
    buf_reset(&more);
    (void)profile_json_opensds(p, &more, &left);
}

static void profiles(const uint8_t *p, size_t len, const char *text)
{
    cleanup(profile_free) struct profile *a = NULL, *b = NULL;
    struct buf err = {0};

    said(profile_parse(text, "profile", &a, &err), &err);
    said(profile_parse_json((const char *)p, len, "json", &b, &err), &err);
    if (a)
        again(a);
    if (b)
        again(b);
}

static void zones(const uint8_t *p, size_t len, const char *text)
{
    struct zone z = {.n = 0};
    struct zone_rule rule;
    int64_t t = (int64_t)len * 1000003;

    if (zone_rule_parse(text, &rule) == 0) {
        z.rule = rule;
        FUZZ_CHECK(zone_utc(&z, t) <= zone_utc(&z, t + 86400 * 3));
    }
    if (zone_tzif_parse(p, len, &z) == 0)
        (void)zone_utc(&z, t);
    zone_release(&z);
}

void run_config(const uint8_t *p, size_t len)
{
    cleanup(conf_daemon_release) struct conf_daemon d = {.nstores = 0};
    struct buf err = {0};
    struct conf_store c = {0};
    char *text = in_text(p, len);

    said(conf_store_parse(text, "config", &c, &err), &err);
    said(conf_daemon_parse(text, "machine", &d, &err), &err);
    profiles(p, len, text);
    zones(p, len, text);
    free(text);
}

void seeds_config(void)
{
    static const char *const texts[] = {
        "",
        "flush_interval = \"5s\";\nunsynced_limit = \"128M\";\n",
        "small_file = 4096; open_objects = 256\n",
        "delta_limit = \"32MiB\"; # comment\n// another\n/* and\none */\n",
        "flush_intervall = 5;\n",
        "small_file = -1;\n",
        "unsynced_limit = 99999999999999999999;\n",
        "a = { b = ( 1, 2.5, \"x\" ); };\n",
        "flush_interval = 5\nflush_interval = 6\n",
        "@include \"config\"\n",
        "open_objects = 0x10L;\n",
        "daemon: { log_level = \"debug\"; time_zone = \"UTC\"; }; limits: { clients = 9; };",
        "stores = ( { path = \"/a\"; small_file = \"2K\"; } ); repositories = ( { name = \"n\"; url = "
        "\"dir:/x\"; } );",
        "name = \"a\"; snapshots = ( { every = \"15m\"; keep = 4; }, { occurrence = \"weekly\"; on = "
        "\"mon,thu\"; at = \"02:30\"; keep_for = \"8w\"; } );",
        "name = \"b\"; backups = ( { occurrence = \"monthly\"; on = \"last\"; to = \"r\"; } ); x: { y = ( 1, "
        "2.5 ); };",
        "{\"snapshotProperties\":{\"schedule\":{\"datetime\":\"2019-09-07T07:10:40\",\"occurrence\":"
        "\"Weekly\"},\"retention\":{\"number\":3}}}",
        "{\"replicationProperties\":{\"dataProtection\":{\"minLifetime\":\"P3Y6M4DT12H30M5S\"}},"
        "\"customProperties\":{\"a b\":[1]}}",
        "CET-1CEST,M3.5.0,M10.5.0/3"};
    char name[16];

    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        snprintf(name, sizeof(name), "%zu", i);
        fuzz_seed(name, texts[i], strlen(texts[i]));
    }
}
