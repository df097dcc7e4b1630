/* The machine's file: its sample is its table, mistakes are named, what holds where from, what changes while a daemon runs. */
#include "conf/daemon.h"

#include <stdlib.h>

#include "base/io.h"
#include "tests/lib/test.h"

TEST(test_conf_daemon__the_sample_is_the_table)
{
    cleanup(buf_free) struct buf want = {0}, have = {0}, err = {0};
    cleanup(conf_daemon_release) struct conf_daemon c = {.nstores = 0}, none = {.nstores = 0};

    CHECK_OK(conf_daemon_sample(&want));
    if (getenv("VARVE_WRITE_SAMPLES"))
        CHECK_OK(io_replace(io_real(), "conf/varve.conf.sample", want.data, want.len));
    CHECK_OK(io_read_file(io_real(), "conf/varve.conf.sample", 65536, &have));
    CHECK(strcmp(buf_cstr(&want), buf_cstr(&have)) == 0); /* VARVE_WRITE_SAMPLES=1 writes it */
    CHECK_OK(conf_daemon_parse(buf_cstr(&have), "x", &c, &err));
    CHECK_OK(conf_daemon_parse("", "x", &none, &err));
    CHECK(c.log_level == none.log_level && c.scheduler == none.scheduler && c.clients == none.clients);
    CHECK(none.log_level == 3 && none.scheduler && none.clients == 256 && none.disk_low_pct == 5 &&
          none.schedule_snapshots == 1000);
    CHECK(none.lines[0] == 0 && c.lines[0] > 0);
}

/* Each key of each table stands in the sample, with its document and range. */
TEST(test_conf_daemon__every_key_is_documented)
{
    cleanup(buf_free) struct buf text = {0};
    const struct {
        const struct conf_key *keys;
        size_t n;
    } tables[] = {{conf_daemon_keys, CONF_DAEMON_KEYS},
                  {conf_limit_keys, CONF_LIMIT_KEYS},
                  {conf_store_keys, CONF_STORE_KEYS}};

    CHECK_OK(conf_daemon_sample(&text));
    for (size_t i = 0; i < ARRAY_LEN(tables); i++)
        for (size_t k = 0; k < tables[i].n; k++) {
            const struct conf_key *key = &tables[i].keys[k];
            char line[128];

            snprintf(line, sizeof(line), " %s = %s;", key->name, key->built_in);
            CHECK(strstr(buf_cstr(&text), line));
            CHECK(key->doc && (key->range || key->type == CONF_FLAG || key->type == CONF_TEXT));
            if (key->range)
                CHECK(strstr(buf_cstr(&text), key->range));
        }
}

static void refused(int line, const char *text, const char *words)
{
    cleanup(buf_free) struct buf err = {0};
    cleanup(conf_daemon_release) struct conf_daemon c = {.nstores = 0};
    int r = conf_daemon_parse(text, "/f", &c, &err);

    if (r != -E_INVAL || !strstr(buf_cstr(&err), words))
        test_fail(__FILE__, line, "%s: %s: \"%s\" lacks \"%s\"", text, err_name(r), buf_cstr(&err), words);
}

TEST(test_conf_daemon__mistakes_name_line_range_and_right_word)
{
    refused(__LINE__, "\ndeamon: { };", "/f: line 2: unknown setting \"deamon\"; did you mean \"daemon\"?");
    refused(__LINE__, "daemon: {\n loglevel_ = \"note\";\n log = 1; };",
            "line 3: unknown setting \"log\"; did you mean \"log_level\"?");
    refused(__LINE__, "colour = 5;", "conf/varve.conf.sample lists the settings");
    refused(__LINE__, "daemon: { log_level = \"notes\"; };",
            "log_level: \"notes\" is not known; did you mean \"note\"?");
    refused(__LINE__, "daemon: { log_level = 3; };", "it may be error, warn, note or debug");
    refused(__LINE__, "daemon: { scheduler = 1; };", "scheduler is not understood; write true or false");
    refused(__LINE__, "daemon: { time_zone = \"Mars/Olympus\"; };",
            "line 1: time_zone \"Mars/Olympus\" is not known here");
    refused(__LINE__, "daemon = 5;", "daemon is a group");
    refused(__LINE__, "limits: { clients = 3; };", "clients is out of range; it may be 4 to 4096");
    refused(__LINE__, "limits: { clients = 5; Clients = 6; };", "clients is there twice");
    refused(__LINE__, "stores = { };", "stores is a list of groups");
    refused(__LINE__, "stores = ( 5 );", "stores is a list of groups");
    refused(__LINE__, "stores = ( { flush_interval = \"5s\"; } );", "path is missing or not absolute");
    refused(__LINE__, "stores = ( { path = \"/a\"; },\n { path = \"/a\"; } );",
            "line 2: stores: /a is there twice");
    refused(__LINE__, "stores = ( { path = \"/a\"; flush = \"1s\"; } );",
            "unknown setting \"flush\"; did you mean \"flush_interval\"?");
    refused(__LINE__, "stores = ( { path = \"/a\"; small_file = \"1G\"; } );",
            "small_file is out of range; it may be 0 to 16K");
    refused(__LINE__, "repositories = ( { url = \"dir:/x\"; } );", "name \"\" is missing or not allowed");
    refused(__LINE__, "repositories = ( { name = \"a\"; } );", "a: url is missing");
    refused(__LINE__,
            "repositories = ( { name = \"a\"; url = \"dir:/x\"; key_file = \"/k\"; passphrase_file = \"/p\"; "
            "} );",
            "passphrase_file and key_file contradict");
    refused(__LINE__,
            "repositories = ( { name = \"a\"; url = \"dir:/x\"; }, { name = \"a\"; url = \"dir:/y\"; } );",
            "a is there twice");
    refused(__LINE__, "stores = ( ); stores = ( );", "line 1:");
}

TEST(test_conf_daemon__a_store_takes_what_its_own_file_does_not_say)
{
    cleanup(buf_free) struct buf err = {0};
    cleanup(conf_daemon_release) struct conf_daemon c = {.nstores = 0};
    struct conf_store own = {.flush_ms = 1000};

    CHECK_OK(conf_daemon_parse(
        "stores = ( { path = \"/a\"; flush_interval = \"9s\";\n small_file = \"2K\"; } );", "x", &c, &err));
    CHECK(!conf_daemon_store(&c, "/b"));
    CHECK_EQ(conf_daemon_store(&c, "/a")->lines[3], 2);
    conf_store_fill(&own, &conf_daemon_store(&c, "/a")->set);
    CHECK_EQ(own.flush_ms, 1000);
    CHECK_EQ(own.inline_bytes, 2048);
    CHECK_EQ(own.dirty_bytes, 0);
}

TEST(test_conf_daemon__which_file)
{
    cleanup(buf_free) struct buf err = {0};
    cleanup(conf_daemon_release) struct conf_daemon c = {.nstores = 0};
    struct conf_repo *r = calloc(1, sizeof(*r));
    char path[4200];

    CHECK(r);
    setenv("XDG_CONFIG_HOME", test_dir(), 1);
    snprintf(path, sizeof(path), "%s/f", test_dir());
    setenv("VARVE_CONFIG", path, 1);
    CHECK_ERR(conf_daemon_read(NULL, &c, &err), -E_NOENT); /* it was named */
    CHECK(strstr(buf_cstr(&err), "there is no such file"));
    CHECK_OK(io_replace(io_real(), path, "repositories = ( { name = \"nas\"; url = \"dir:/x\"; } );", 53));
    CHECK_OK(conf_repo_get("nas", r, &err));
    CHECK(strcmp(r->url, "dir:/x") == 0);
    CHECK_ERR(conf_repo_get("other", r, &err), -E_NOENT);
    unsetenv("VARVE_CONFIG");
    unsetenv("XDG_CONFIG_HOME");
    free(r);
}

TEST(test_conf_daemon__what_may_change_does_and_the_rest_is_said)
{
    cleanup(buf_free) struct buf err = {0}, said = {0};
    cleanup(conf_daemon_release) struct conf_daemon a = {.nstores = 0}, b = {.nstores = 0};
    struct conf_live live;

    CHECK_OK(conf_daemon_parse("", "x", &a, &err));
    CHECK_OK(conf_daemon_parse(
        "daemon: { log_level = \"debug\"; scheduler = false; }; limits: { clients = 9; };", "x", &b, &err));
    conf_live_begin(&a);
    CHECK_OK(conf_live_reload(&b, &said));
    CHECK(strcmp(
              buf_cstr(&said),
              "daemon.log_level: \"debug\"\ndaemon.scheduler: false\nlimits.clients: 9; needs a restart\n") ==
          0);
    conf_live_get(&live);
    CHECK(live.log_level == LOG_DEBUG && !live.scheduler && live.clients == 256);
    buf_reset(&said);
    CHECK_OK(conf_live_reload(&b, &said));
    CHECK(strcmp(buf_cstr(&said), "limits.clients: 9; needs a restart\n") == 0);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
