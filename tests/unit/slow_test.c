/* A transaction that waited for long says in the log for what; one that did not says nothing. */
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "snap/store/txn.h"
#include "tests/lib/box.h"
#include "tests/lib/test.h"

struct reader {
    pthread_t thread;
    struct box *b;
    pthread_barrier_t reads;
    long holds_ms;
};

static void *reader_run(void *arg)
{
    struct reader *rd = arg;
    struct timespec wait = {rd->holds_ms / 1000, rd->holds_ms % 1000 * 1000000};
    struct txn t;

    CHECK_OK(txn_begin(rd->b->s, TXN_READ, OP_NONE, rd->b->v, &t));
    pthread_barrier_wait(&rd->reads);
    nanosleep(&wait, NULL);
    txn_abort(&t);
    return NULL;
}

/* A file is written while somebody reads for so long: what the log says of it. The caller frees it. */
static char *log_of_write_beside(long holds_ms)
{
    struct reader rd = {.holds_ms = holds_ms};
    char *text = calloc(1, 4096);
    int fd = memfd_create("log", MFD_CLOEXEC);
    struct box b;

    CHECK(text && fd >= 0);
    box_open(&b, NULL, NULL);
    box_text(&b, b.v, "f", "first");
    log_set_fd(fd);
    rd.b = &b;
    CHECK_EQ(pthread_barrier_init(&rd.reads, NULL, 2), 0);
    CHECK_EQ(pthread_create(&rd.thread, NULL, reader_run, &rd), 0);
    pthread_barrier_wait(&rd.reads);
    box_text(&b, b.v, "g", "second");
    CHECK_EQ(pthread_join(rd.thread, NULL), 0);
    log_set_fd(STDERR_FILENO);
    CHECK(pread(fd, text, 4095, 0) >= 0);
    close(fd);
    pthread_barrier_destroy(&rd.reads);
    box_close(&b);
    return text;
}

static int ms_of(const char *text, const char *what)
{
    const char *at = strstr(text, what);

    return at ? (int)strtol(at + strlen(what), NULL, 10) : -1;
}

TEST(test_slow__a_long_wait_for_the_lock_is_told)
{
    char *text = log_of_write_beside(700);

    CHECK(strstr(text, " store slow "));
    CHECK(ms_of(text, "lock_ms=") >= 250);
    CHECK(ms_of(text, "room_ms=") >= 0 && ms_of(text, "room_ms=") < ms_of(text, "lock_ms="));
    free(text);
}

/* Whoever shares the machine may hold one of them up. */
TEST(test_slow__a_short_one_is_not)
{
    bool silent = false;

    for (int i = 0; i < 5 && !silent; i++) {
        char *text = log_of_write_beside(20);

        silent = !strstr(text, " store slow ");
        free(text);
    }
    CHECK(silent);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
