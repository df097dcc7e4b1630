#include "fs/verb_long.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/base.h"
#include "base/clock.h"
#include "base/err.h"
#include "conf/value.h"

#define SAY_NS 500000000
#define WIDTH 79

static volatile sig_atomic_t stopped;
static struct sigaction before;

static void on_stop(int sig)
{
    (void)sig;
    stopped = 1;
}

void long_begin(struct verb_long *l, bool quiet)
{
    struct sigaction stop = {.sa_handler = on_stop, .sa_flags = (int)SA_RESETHAND};

    *l = (struct verb_long){.tty = !quiet && isatty(STDERR_FILENO), .began_ns = clock_mono_ns()};
    sigaction(SIGINT, &stop, &before);
}

void long_end(struct verb_long *l)
{
    if (l->tty && l->said_ns)
        fprintf(stderr, "\r%*s\r", WIDTH, "");
    sigaction(SIGINT, &before, NULL);
}

bool long_stopped(void *arg)
{
    (void)arg;
    return stopped;
}

/* ", 12.3 MiB, 4.0 MiB/s" */
static int rate(const struct verb_long *l, uint64_t bytes, char *out, size_t room)
{
    char size[CONF_SIZE_TEXT], each[CONF_SIZE_TEXT];
    int64_t ns = MAX_OF(clock_mono_ns() - l->began_ns, (int64_t)1);

    conf_size_text(bytes, size);
    conf_size_text((uint64_t)((double)bytes * 1e9 / (double)ns), each);
    return bytes ? snprintf(out, room, ", %s, %s/s", size, each) : 0;
}

static void left(const struct verb_long *l, uint64_t done, uint64_t of, char *out, size_t room)
{
    char text[CONF_SIZE_TEXT];
    int64_t ns = clock_mono_ns() - l->began_ns;

    if (done == 0 || of <= done)
        return;
    conf_duration_text((int64_t)((double)ns * (double)(of - done) / (double)done), text);
    snprintf(out, room, ", %s left", text);
}

int long_say(struct verb_long *l, const char *what, uint64_t done, uint64_t of, uint64_t bytes)
{
    char line[WIDTH + 1], all[32] = "", how[48] = "", when[32] = "";

    if (stopped)
        return -E_CANCELED;
    if (!l->tty || clock_mono_ns() - l->said_ns < SAY_NS)
        return 0;
    l->said_ns = clock_mono_ns();
    if (of)
        snprintf(all, sizeof(all), " of %" PRIu64, of);
    rate(l, bytes, how, sizeof(how));
    left(l, done, of, when, sizeof(when));
    snprintf(line, sizeof(line), "%" PRIu64 "%s %s%s%s", done, all, what, how, when);
    fprintf(stderr, "\r%-*s", WIDTH, line);
    return 0;
}
