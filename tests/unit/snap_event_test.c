#include "snap/event.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <unistd.h>

#include "tests/lib/test.h"

static char path[4096];

static struct store *open_store(void)
{
    struct store_settings set = {.segment_bytes = 1 << 20, .segments = 4};
    struct store *s;

    snprintf(path, sizeof(path), "%s/s", test_dir());
    if (!store_path_is(path))
        CHECK_OK(store_create(io_real(), path, &set));
    CHECK_OK(store_open(io_real(), path, &set, 0, &s, NULL));
    CHECK_OK(events_attach(s));
    return s;
}

static void close_store(struct store *s)
{
    events_detach(s);
    CHECK_OK(store_close(s));
}

struct seen {
    uint64_t count, first, last;
    char text[64];
    bool ascending;
};

static int see(void *arg, const struct event *e)
{
    struct seen *s = arg;

    s->ascending = s->count == 0 || (s->ascending && e->id > s->last);
    if (s->count++ == 0)
        s->first = e->id;
    s->last = e->id;
    snprintf(s->text, sizeof(s->text), "%s|%s|%s", e->kind, e->volume, e->text);
    return 0;
}

static struct seen seen_since(struct store *s, uint64_t after, const char *volume)
{
    struct seen seen = {.count = 0};

    CHECK_OK(events_each(s, after, volume, see, &seen));
    return seen;
}

TEST(test_event__is_kept_over_a_restart_with_its_id)
{
    struct store *s = open_store();
    uint64_t a = event_emit(s, "snapshot-created", "main", "%s of %d \"x\"\n", "one", 1), b;
    struct seen seen;

    CHECK(a > 0);
    close_store(s);
    s = open_store();
    seen = seen_since(s, 0, NULL);
    CHECK_EQ(seen.count, 1);
    CHECK_EQ(seen.last, a);
    CHECK(strcmp(seen.text, "snapshot-created|main|one of 1 \"x\"\n") == 0);
    b = event_emit(s, "disk-low", NULL, "low");
    CHECK(b > a);
    CHECK_EQ(events_last(s), b);
    close_store(s);
}

TEST(test_event__since_gives_only_what_came_after)
{
    struct store *s = open_store();
    uint64_t id = 0;
    struct seen seen;

    for (int i = 0; i < 10; i++) {
        uint64_t e = event_emit(s, "k", i % 2 ? "a" : "b", "%d", i);

        if (i == 4)
            id = e;
    }
    seen = seen_since(s, id, NULL);
    CHECK_EQ(seen.count, 5);
    CHECK_EQ(seen.first, id + 1);
    event_emit(s, "store", NULL, "all see it");
    CHECK_EQ(seen_since(s, id, "a").count, 4);
    CHECK_EQ(seen_since(s, events_last(s), NULL).count, 0);
    close_store(s);
}

static uint64_t lines_of_file(void)
{
    cleanup(buf_free) struct buf b = {0};
    char file[4200];
    uint64_t n = 0;

    snprintf(file, sizeof(file), "%s/log/events", path);
    CHECK_OK(io_read_file(io_real(), file, 64 << 20, &b));
    for (size_t i = 0; i < b.len; i++)
        n += b.data[i] == '\n';
    return n;
}

TEST(test_event__the_last_thousand_are_kept_and_the_file_is_bounded)
{
    struct store *s = open_store();
    struct seen seen;
    uint64_t last = 0;

    for (int i = 0; i < 4500; i++) {
        last = event_emit(s, "k", "", "%d", i);
        if (i % 100 == 0)
            CHECK(lines_of_file() <= 2 * EVENTS_KEPT);
    }
    CHECK(lines_of_file() >= EVENTS_KEPT);
    for (int again = 0; again < 2; again++) {
        seen = seen_since(s, 0, NULL);
        CHECK_EQ(seen.count, EVENTS_KEPT);
        CHECK_EQ(seen.last, last);
        CHECK_EQ(seen.first, last - EVENTS_KEPT + 1);
        CHECK(seen.ascending);
        close_store(s);
        s = open_store();
    }
    close_store(s);
}

TEST(test_event__a_torn_or_foreign_line_is_dropped)
{
    struct store *s = open_store();
    uint64_t id = event_emit(s, "k", "", "good");
    char file[4200];
    int fd;

    close_store(s);
    snprintf(file, sizeof(file), "%s/log/events", path);
    fd = open(file, O_WRONLY | O_APPEND);
    CHECK(fd >= 0);
    CHECK(write(fd, "nonsense\n{\"id\": -4}\n{\"schema\": 1, \"id\": 99, \"ti", 46) == 46);
    close(fd);
    s = open_store();
    CHECK_EQ(seen_since(s, 0, NULL).count, 1);
    CHECK(event_emit(s, "k", "", "next") > id);
    close_store(s);
    s = open_store();
    CHECK_EQ(seen_since(s, 0, NULL).count, 2);
    close_store(s);
}

TEST(test_event__ids_grow_after_an_unclean_stop)
{
    struct store *s = open_store();
    uint64_t id = event_emit(s, "k", "", "before");
    char file[4200];

    events_detach(s);
    store_drop(s);
    snprintf(file, sizeof(file), "%s/log/events", path);
    CHECK(truncate(file, 0) == 0); /* what a power cut may do to it */
    s = open_store();
    CHECK(event_emit(s, "k", "", "after") > id);
    close_store(s);
}

TEST(test_event__lines_are_json_and_come_back)
{
    cleanup(buf_free) struct buf line = {0}, strings = {0};
    struct event e = {.id = 7, .time_ns = 1000000000, .kind = "k", .volume = "v\"", .text = "a\nb\\"}, back;

    CHECK_OK(event_json(&e, &line));
    CHECK(!memchr(line.data, '\n', line.len));
    CHECK_OK(event_parse((char *)line.data, line.len, &strings, &back));
    CHECK_EQ(back.id, 7);
    CHECK_EQ(back.time_ns, 1000000000);
    CHECK(strcmp(back.volume, e.volume) == 0);
    CHECK(strcmp(back.text, e.text) == 0);
    CHECK_ERR(event_parse("{}", 2, &strings, &back), -E_PROTO);
    CHECK_ERR(event_parse("[1]", 3, &strings, &back), -E_PROTO);
    CHECK_ERR(event_parse("", 0, &strings, &back), -E_PROTO);
}

static void *emitter(void *arg)
{
    for (int i = 0; i < 200; i++)
        event_emit(arg, "k", "", "%d", i);
    return NULL;
}

TEST(test_event__threads_share_one_log)
{
    struct store *s = open_store();
    pthread_t t[4];
    struct seen seen;

    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        CHECK(pthread_create(&t[i], NULL, emitter, s) == 0);
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        pthread_join(t[i], NULL);
    seen = seen_since(s, 0, NULL);
    CHECK_EQ(seen.count, 800);
    CHECK(seen.ascending);
    close_store(s);
}

TEST(test_event__a_store_that_is_not_attached_costs_nothing)
{
    struct store *s = open_store();

    events_detach(s);
    CHECK_EQ(event_emit(s, "k", "", "nobody listens"), 0);
    CHECK_EQ(events_last(s), 0);
    CHECK_EQ(seen_since(s, 0, NULL).count, 0);
    CHECK_OK(store_close(s));
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
