/* A scrub of a store in use finds what lies in its files. */
#include "snap/scrub.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "snap/store/tabpages.h"
#include "tests/lib/box.h"
#include "tests/lib/rot.h"
#include "tests/lib/test.h"

static struct box b;
static struct buf said;
static struct rot rot;
static uint64_t cancel_at;

static int progress(void *arg, uint64_t objects, uint64_t bytes)
{
    (void)arg;
    (void)objects;
    return cancel_at && bytes >= cancel_at ? -E_CANCELED : 0;
}

static void found(void *arg, const char *line)
{
    (void)arg;
    CHECK_OK(buf_printf(&said, "%s\n", line));
}

static struct scrub_result scrub(int code, uint64_t rate)
{
    struct scrub_opts o = {.bytes_per_s = rate, .progress = progress, .found = found};
    struct scrub_result res;

    buf_reset(&said);
    CHECK_ERR(scrub_store(b.s, &o, &res), code);
    return res;
}

static void begin(void)
{
    uint64_t rng = 1;

    log_set_level(LOG_ERROR);
    rot_init(&rot);
    box_open(&b, &rot.io, NULL);
    box_mess(&b, b.v, &rng, 200);
    box_fill(&b, b.v, "large", 0, 300000, 1);
    CHECK_OK(snap_create(b.v, &b.c, "s", NULL));
    CHECK_OK(store_sync(b.s));
    CHECK_OK(store_checkpoint(b.s));
    box_text(&b, b.v, "last", "in the journal only");
    CHECK_OK(store_sync(b.s));
}

static void end(void)
{
    box_drop(&b);
    buf_free(&said);
}

/* Flips bits of a file of the store; what finds it is in place. */
static void flip(const char *file, uint64_t at)
{
    char path[700];
    uint8_t c;
    int fd;

    snprintf(path, sizeof(path), "%s/%s", b.path, file);
    fd = open(path, O_RDWR);
    CHECK(fd >= 0);
    CHECK(pread(fd, &c, 1, (off_t)at) == 1);
    c ^= 0x10;
    CHECK(pwrite(fd, &c, 1, (off_t)at) == 1);
    close(fd);
}

static enum store_mode mode(void)
{
    struct store_state st;

    store_get_state(b.s, &st);
    return st.mode;
}

TEST(test_scrub__a_sound_store_is_clean)
{
    struct scrub_result res;

    begin();
    res = scrub(0, 0);
    CHECK_EQ(res.damaged, 0);
    CHECK(res.pages > 0);
    CHECK(res.entries > 100);
    CHECK(res.records > 0);
    CHECK(res.objects > 0);
    CHECK(res.bytes > 300000);
    CHECK(mode() == STORE_RW);
    box_close(&b);
    buf_free(&said);
}

TEST(test_scrub__finds_a_page_of_the_tables)
{
    begin();
    flip("meta/data.mdb", 2 * 4096 + 10); /* kind of the first page that is no meta page */
    for (uint64_t page = 3; scrub(0, 0).damaged == 0; page++) {
        CHECK(page < 200);
        flip("meta/data.mdb", page * 4096 + 10);
    }
    CHECK(strstr(buf_cstr(&said), "of the tables is damaged"));
    CHECK(mode() == STORE_RO_FAILED);
    end();
}

/* The bit is wrong on the disk and right in memory, where everybody else reads it. */
TEST(test_scrub__proves_the_disk_not_the_memory)
{
    char meta[700], why[256];

    begin();
    CHECK_EQ(scrub(0, 0).damaged, 0);
    CHECK(rot.past > 0);
    rot.file = "/meta/data.mdb";
    rot.at = 2 * 4096 + 10;
    for (uint64_t page = 3; scrub(0, 0).damaged == 0; page++) {
        CHECK(page < 200);
        rot.at = page * 4096 + 10;
    }
    CHECK(strstr(buf_cstr(&said), "of the tables is damaged"));
    CHECK(mode() == STORE_RO_FAILED);
    snprintf(meta, sizeof(meta), "%s/meta", b.path);
    CHECK_OK(tabpages_check(b.io, meta, NULL, why, NULL));
    end();
}

TEST(test_scrub__proves_the_journal_on_the_disk)
{
    char name[32];

    begin();
    rot.file = name;
    rot.at = 4096 + 40;
    for (unsigned i = 0; i < 9; i++) {
        snprintf(name, sizeof(name), "/journal/%04u", i);
        if (scrub(0, 0).damaged)
            break;
    }
    CHECK(strstr(buf_cstr(&said), "of the journal is damaged"));
    end();
}

TEST(test_scrub__reads_objects_past_the_memory)
{
    unsigned before;

    begin();
    before = rot.cached;
    CHECK_EQ(scrub(0, 0).damaged, 0);
    CHECK_EQ(rot.cached, before);
    rot.refuse_open = true;
    CHECK(scrub(0, 0).cached);
    expect_mark("io: a filesystem refuses to be read past the page cache");
    CHECK(rot.cached > before);
    box_close(&b);
    buf_free(&said);
}

TEST(test_scrub__finds_a_record_of_the_journal)
{
    char name[32];

    begin();
    for (unsigned i = 0; scrub(0, 0).damaged == 0; i++) {
        CHECK(i < 9);
        snprintf(name, sizeof(name), "journal/%04u", i);
        flip(name, 4096 + 40);
    }
    CHECK(strstr(buf_cstr(&said), "of the journal is damaged"));
    CHECK(mode() == STORE_RO_FAILED);
    end();
}

static int remove_one(void *arg, const char *name)
{
    char path[900];

    snprintf(path, sizeof(path), "%s/%s", (const char *)arg, name);
    CHECK(unlink(path) == 0);
    return 1;
}

static int remove_first(void *arg, const char *name)
{
    char path[800];

    snprintf(path, sizeof(path), "%s/%s", (const char *)arg, name);
    return io_list(path, remove_one, path);
}

TEST(test_scrub__finds_an_object_that_cannot_be_read)
{
    char path[700];

    begin();
    snprintf(path, sizeof(path), "%s/data", b.path);
    CHECK_EQ(io_list(path, remove_first, path), 1);
    CHECK_EQ(scrub(0, 0).damaged, 1);
    CHECK(strstr(buf_cstr(&said), "cannot be read"));
    CHECK(mode() == STORE_RW); /* one file's damage */
    end();
}

TEST(test_scrub__is_slow_when_asked_and_ends_when_told)
{
    int64_t began;

    begin();
    began = clock_mono_ns();
    CHECK_EQ(scrub(0, 40 << 20).damaged, 0);
    /* the journal's segments alone are megabytes */
    CHECK(clock_mono_ns() - began > 80000000);
    cancel_at = 5000;
    (void)scrub(-E_CANCELED, 0);
    cancel_at = 0;
    end();
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
