/* The daemon ends itself, as kill -9 would, at a point of an operation. VARVE_KILL names a file that says where: "KIND POINT N", numbers
 * of enum op_kind and enum answer_point, the N-th time; then how: nothing more (it ends), "each" (so does the next one), "both" (its
 * keeper, too), "keeper" (that alone; goes on when there is another one), "hang" (that thread stands still for ever), "slow" (for 5 s it
 * does nothing but read a file). KIND 0 is a connection that begins: before and after the daemon notes it, before the kernel's first
 * message is answered. The file is taken away before, so that the next daemon lives, but for "each". */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "snap/store/answer.h"

static const char *order;

static void move_slowly(void)
{
    struct timespec wait = {.tv_nsec = 100000000};
    int fd = io_open(io_real(), "/proc/self/exe", O_RDONLY, 0);
    uint8_t byte;
    size_t n;

    for (int i = 0; i < 50; i++) {
        (void)io_pread(io_real(), fd, &byte, 1, 0, &n);
        nanosleep(&wait, NULL);
    }
    io_close(io_real(), fd);
}

/* The daemon was its child and is nobody's now; another keeper has its place within moments. */
static void lose_keeper(void)
{
    struct timespec wait = {.tv_sec = 2, .tv_nsec = 500000000};

    kill(getppid(), SIGKILL);
    nanosleep(&wait, NULL);
}

static void carry_out(const char *how)
{
    if (strcmp(how, "slow") == 0)
        move_slowly();
    else if (strcmp(how, "keeper") == 0)
        lose_keeper();
    else if (strcmp(how, "hang") == 0)
        for (;;)
            pause();
    else {
        if (strcmp(how, "both") == 0)
            kill(getppid(), SIGKILL);
        kill(getpid(), SIGKILL);
    }
}

static void kill_point(enum answer_point at, unsigned kind)
{
    static _Atomic unsigned seen;
    unsigned want_kind, want_at, n;
    char how[8] = "";
    FILE *f = fopen(order, "re");
    bool now;

    if (!f)
        return;
    now = fscanf(f, "%u %u %u %7s", &want_kind, &want_at, &n, how) >= 3 && kind == want_kind &&
          at == want_at && ++seen >= n && (strcmp(how, "each") == 0 || unlink(order) == 0);
    fclose(f);
    if (now)
        carry_out(how);
}

__attribute__((constructor)) static void open_door(void)
{
    order = getenv("VARVE_KILL");
    if (order)
        answer_door = kill_point;
}
