/* libFuzzer's side: FUZZ_TARGET in the environment says which target this process explores. An input that takes HANG_SECONDS of the
 * processor is a failure; libFuzzer's own time-out is by the wall clock, which on a busy machine tells nothing but that it is busy. */
#ifdef FUZZ_ENGINE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/log.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

#define HANG_SECONDS 20

static const struct fuzz_target *target;

static void hangs(int sig)
{
    static const char words[] = "ERROR: an input takes more than 20 s of the processor\n";

    (void)sig;
    (void)!write(2, words, sizeof(words) - 1);
    abort(); /* libFuzzer keeps the input */
}

static void watch(long seconds)
{
    setitimer(ITIMER_PROF, &(struct itimerval){.it_value.tv_sec = seconds}, NULL);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *name = getenv("FUZZ_TARGET");

    (void)argc;
    (void)argv;
    target = name ? fuzz_find(name) : NULL;
    if (!target) {
        fprintf(stderr, "FUZZ_TARGET names no target\n");
        exit(2);
    }
    log_set_fd(-1);
    signal(SIGPROF, hangs);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
    if (len > target->len_max)
        return -1;
    watch(HANG_SECONDS);
    target->run(p, len);
    watch(0);
    return 0;
}

void fuzz_seed(const char *name, const void *p, size_t len)
{
    (void)name;
    (void)p;
    (void)len;
}
#endif
