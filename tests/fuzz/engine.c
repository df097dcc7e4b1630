/* libFuzzer's side: FUZZ_TARGET in the environment says which target this process explores. */
#ifdef FUZZ_ENGINE
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

static const struct fuzz_target *target;

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
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
    if (len > target->len_max)
        return -1;
    target->run(p, len);
    return 0;
}

void fuzz_seed(const char *name, const void *p, size_t len)
{
    (void)name;
    (void)p;
    (void)len;
}
#endif
