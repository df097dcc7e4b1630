#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/lib/test.h"

static char text[65536];

static int log_begin(void)
{
    int fd = memfd_create("log", MFD_CLOEXEC);

    CHECK(fd >= 0);
    CHECK(fcntl(fd, F_SETFL, O_APPEND) == 0);
    log_set_fd(fd);
    log_set_level(LOG_NOTE);
    clock_test_set((int64_t)1795212000 * 1000000000, 0);
    return fd;
}

static const char *log_end(int fd)
{
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

    CHECK(n >= 0);
    text[n] = 0;
    close(fd);
    log_set_fd(STDERR_FILENO);
    clock_test_off();
    return text;
}

static unsigned count(const char *s, const char *what)
{
    unsigned n = 0;

    for (; (s = strstr(s, what)); s++)
        n++;
    return n;
}

TEST(test_log__line_has_time_level_room_event_and_values)
{
    int fd = log_begin();

    log_warn("snap", "journal.torn", "lsn=%d path=%s", 7, "/x");
    log_note("fs", "start", "%s", "");
    log_debug("fs", "hidden", "x=%d", 1);
    CHECK(strcmp(log_end(fd), "2026-11-20T22:00:00Z warn snap journal.torn lsn=7 path=/x\n"
                              "2026-11-20T22:00:00Z note fs start \n") == 0);
}

TEST(test_log__err_gives_the_code_back)
{
    int fd = log_begin();

    errno = 33;
    CHECK_ERR(log_err(-E_NOSPC, "io", "off=%d", 5), -E_NOSPC);
    CHECK_ERR(log_err(-E_IO, "io", "plain"), -E_IO);
    CHECK_EQ(errno, 33);
    CHECK(strcmp(log_end(fd), "2026-11-20T22:00:00Z error io NOSPC off=5 (the store's filesystem is full)\n"
                              "2026-11-20T22:00:00Z error io IO plain (input/output error)\n") == 0);
}

static void one_site(int i)
{
    log_note("t", "tick", "i=%d", i);
}

TEST(test_log__a_site_writes_ten_lines_a_second_and_then_counts)
{
    int fd = log_begin();

    for (int i = 0; i < 25; i++)
        one_site(i);
    log_note("t", "other", "site=%d", 2);
    clock_test_advance(1000000000);
    one_site(25);
    one_site(26);
    log_end(fd);
    CHECK_EQ(count(text, "tick"), 12);
    CHECK_EQ(count(text, "other"), 1);
    CHECK(strstr(text, "i=9\n"));
    CHECK(!strstr(text, "i=10"));
    CHECK(strstr(text, "i=25 held_back=15\n"));
    CHECK(strstr(text, "i=26\n"));
}

TEST(test_log__an_event_is_one_line_whatever_the_values_hold)
{
    int fd = log_begin();
    char *big = malloc(100001);

    CHECK(big);
    memset(big, 'x', 100000);
    big[100000] = 0;
    log_note("t", "name", "name=%s", "a\nb\033c");
    log_note("t", "big", "name=%s", big);
    free(big);
    log_end(fd);
    CHECK_EQ(count(text, "\n"), 2);
    CHECK(strstr(text, "name=a?b?c\n"));
    CHECK(strlen(text) < 2048);
    CHECK(text[strlen(text) - 1] == '\n');
}

static void *log_much(void *arg)
{
    for (int i = 0; i < 200; i++)
        log_note("t", "thread", "n=%d", *(int *)arg);
    return NULL;
}

TEST(test_log__threads_share_a_site)
{
    int fd = log_begin(), n[4] = {1, 2, 3, 4};
    pthread_t th[4];

    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&th[i], NULL, log_much, &n[i]) == 0);
    for (int i = 0; i < 4; i++)
        pthread_join(th[i], NULL);
    log_end(fd);
    CHECK_EQ(count(text, "thread"), 10);
}

TEST(test_log__of_a_long_file_the_last_lines_stay)
{
    int fd = log_begin();

    CHECK(write(fd, "first line\nsecond line\nthird\nlast one\n", 38) == 38);
    CHECK(!log_bound(fd, 38, 20));
    CHECK(log_bound(fd, 37, 20));
    CHECK(!log_bound(fd, 37, 20));
    log_note("fs", "goes", "on=%d", 1);
    CHECK(strcmp(log_end(fd), "third\nlast one\n2026-11-20T22:00:00Z note fs goes on=1\n") == 0);
}

TEST(test_log__its_file_stays_below_its_bound)
{
    static char much[900];
    struct stat st = {0};
    int fd = log_begin();

    memset(much, 'x', sizeof(much) - 1);
    for (int i = 0; i < 12000; i++) {
        log_note("fs", "much", "%d %s", i, much);
        if (i % 10 == 9)
            clock_test_set((int64_t)(1795212000 + i) * 1000000000, (int64_t)(i + 1) * 1000000000);
        CHECK(fstat(fd, &st) == 0 && st.st_size < (8 << 20) + (128 << 10));
    }
    CHECK(st.st_size > 2 << 20);
    log_end(fd);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
