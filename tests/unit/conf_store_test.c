#include "conf/store.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/io.h"
#include "tests/lib/test.h"

TEST(test_conf_store__every_setting_is_read)
{
    cleanup(buf_free) struct buf err = {0};
    struct conf_store c = {0};

    CHECK_OK(conf_store_parse("flush_interval = \"2s\"; unsynced_limit = \"64M\";\ndelta_limit = \"8M\";\n"
                              "small_file = \"2K\";\nopen_objects = 100;\n",
                              "x", &c, &err));
    CHECK_EQ(c.flush_ms, 2000);
    CHECK_EQ(c.dirty_bytes, 64 << 20);
    CHECK_EQ(c.delta_bytes, 8 << 20);
    CHECK_EQ(c.inline_bytes, 2048);
    CHECK_EQ(c.fd_cache, 100);
}

TEST(test_conf_store__plain_numbers_are_seconds_and_bytes)
{
    cleanup(buf_free) struct buf err = {0};
    struct conf_store c = {0};

    CHECK_OK(
        conf_store_parse("flush_interval = 7; unsynced_limit = 8000000000L; small_file = 0;", "x", &c, &err));
    CHECK_EQ(c.flush_ms, 7000);
    CHECK_EQ(c.dirty_bytes, 8000000000);
    CHECK_EQ(c.inline_bytes, 0);
}

static void refused(const char *text, const char *words)
{
    cleanup(buf_free) struct buf err = {0};
    struct conf_store c = {.flush_ms = 9};

    CHECK_ERR(conf_store_parse(text, "/s/config", &c, &err), -E_INVAL);
    CHECK_EQ(c.flush_ms, 9);
    if (!strstr(buf_cstr(&err), words))
        test_fail(__FILE__, __LINE__, "\"%s\" lacks \"%s\"", buf_cstr(&err), words);
}

TEST(test_conf_store__mistakes_name_the_line_and_the_right_word)
{
    refused("\n\nflush_intervall = \"5s\";",
            "/s/config: line 3: unknown setting \"flush_intervall\"; did you mean \"flush_interval\"?");
    refused("quota = 5;", "unknown setting \"quota\"; conf/store.conf.sample lists the settings");
    refused("small_file = \"4K\"\nopen_objects = = 5;", "line 2: ");
    refused("\nsmall_file = \"1G\";", "line 2: small_file is out of range; it may be 0 to 16K");
    refused("small_file = -1;", "out of range");
    refused("flush_interval = \"soon\";", "flush_interval is not understood; write a time such as \"5s\"");
    refused("flush_interval = 0;", "out of range; it may be 10ms to 1h");
    refused("unsynced_limit = true;", "write a size such as \"64M\"");
    refused("unsynced_limit = [ 1, 2 ];", "is not understood");
    refused("open_objects = { a = 1; };", "write a number");
    refused("open_objects = 5; open_objects = 6;", "line 1: ");
    refused("# x\n \t@include \"/\"\n", "line 2: @include");
}

TEST(test_conf_store__an_absent_file_is_all_defaults)
{
    cleanup(buf_free) struct buf err = {0};
    struct conf_store c = {.flush_ms = 9};
    char path[4096];

    snprintf(path, sizeof(path), "%s/config", test_dir());
    CHECK_OK(conf_store_read(path, &c, &err));
    CHECK_EQ(c.flush_ms, 0);
}

TEST(test_conf_store__a_file_of_bytes_is_refused)
{
    cleanup(buf_free) struct buf err = {0};
    struct conf_store c = {0};
    char path[4096];
    int fd;

    snprintf(path, sizeof(path), "%s/config", test_dir());
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    CHECK(fd >= 0);
    CHECK(write(fd, "small_file\0= 1;", 15) == 15);
    close(fd);
    CHECK_ERR(conf_store_read(path, &c, &err), -E_INVAL);
    CHECK(strstr(buf_cstr(&err), "no text"));
}

TEST(test_conf_store__the_sample_is_valid)
{
    cleanup(buf_free) struct buf err = {0};
    struct conf_store c = {0};

    CHECK_OK(conf_store_read("conf/store.conf.sample", &c, &err));
    CHECK_EQ(c.flush_ms, 5000);
    CHECK_EQ(c.dirty_bytes, 128 << 20);
    CHECK_EQ(c.delta_bytes, 32 << 20);
    CHECK_EQ(c.inline_bytes, 4096);
    CHECK_EQ(c.fd_cache, 1024);
}

TEST(test_conf_store__the_sample_is_the_table)
{
    cleanup(buf_free) struct buf want = {0}, have = {0};

    CHECK_OK(conf_store_sample(&want));
    if (getenv("VARVE_WRITE_SAMPLES"))
        CHECK_OK(io_replace(io_real(), "conf/store.conf.sample", want.data, want.len));
    CHECK_OK(io_read_file(io_real(), "conf/store.conf.sample", 65536, &have));
    CHECK(strcmp(buf_cstr(&want), buf_cstr(&have)) == 0); /* VARVE_WRITE_SAMPLES=1 writes it */
}

TEST(test_conf_store__names_may_be_spelled_otherwise_but_not_twice)
{
    cleanup(buf_free) struct buf err = {0};
    struct conf_store c = {0};

    CHECK_OK(conf_store_parse("flushInterval = \"2s\";", "x", &c, &err));
    CHECK_EQ(c.flush_ms, 2000);
    refused("flushInterval = \"2s\";\nflush_interval = \"3s\";", "line 2: flush_interval is there twice");
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
