/* fuzz --list | --seeds DIR | [--mutate N] [--seed S] TARGET FILE|DIR...: see fuzz.h. Without --mutate each file is replayed
 * once; with it N inputs besides are made of them by a few random edits. Closes with "N passed, N failed, N skipped"; an
 * input that crashes or hangs ends the program, and its name is the last thing said. */
#ifndef FUZZ_ENGINE
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/test.h"

#define HANG_SECONDS 20u

static struct {
    uint8_t *p;
    size_t len;
} * inputs;
static size_t ninputs;
static const struct fuzz_target *target;
static char now[600]; /* what is run */
static const char *seeds_dir;
static struct buf made; /* the mutated input, for the report */

static void say_and_die(int sig)
{
    static const char head[] = "\nFAILED in ";
    static const char hang[] = " (hangs)\n", crash[] = " (crashes)\n";

    (void)!write(2, head, sizeof(head) - 1);
    (void)!write(2, now, strlen(now));
    (void)!write(2, sig == SIGALRM ? hang : crash, sig == SIGALRM ? sizeof(hang) - 1 : sizeof(crash) - 1);
    if (made.len) {
        int fd = creat("fuzz-failed-input", 0600);
        (void)!write(fd, made.data, made.len);
    }
    signal(SIGABRT, SIG_DFL);
    abort();
}

static void signals_catch(void)
{
    signal(SIGALRM, say_and_die);
    signal(SIGABRT, say_and_die);
#ifndef __SANITIZE_ADDRESS__
    signal(SIGSEGV, say_and_die);
    signal(SIGBUS, say_and_die);
#endif
}

static void run(const uint8_t *p, size_t len)
{
    /* exactly as long as it is: a byte too far is seen */
    uint8_t *copy = malloc(len ? len : 1);

    FUZZ_CHECK(copy != NULL);
    if (len)
        memcpy(copy, p, len);
    alarm(HANG_SECONDS);
    target->run(copy, len);
    alarm(0);
    free(copy);
}

static int take_file(const char *path)
{
    cleanup(buf_free) struct buf b = {0};
    int r = io_read_file(io_real(), path, target->len_max, &b);

    if (r < 0)
        return r;
    inputs = realloc(inputs, (ninputs + 1) * sizeof(*inputs));
    FUZZ_CHECK(inputs != NULL);
    inputs[ninputs].len = b.len;
    inputs[ninputs++].p = (uint8_t *)in_text(b.data, b.len);
    snprintf(now, sizeof(now), "%s", path);
    run(b.data, b.len);
    return 0;
}

static int take_one(void *arg, const char *name)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/%s", (const char *)arg, name);
    return take_file(path);
}

/* The usual edits: bits, bytes, numbers at the edge, pieces moved, doubled, taken from another input. */
static void edit(struct buf *b, uint64_t *rng)
{
    static const uint64_t edges[] = {0,      1,      0x7f,       0x80,       0xff,
                                     0x7fff, 0xffff, 0x7fffffff, 0xffffffff, UINT64_MAX};
    size_t at = b->len ? test_rand(rng) % b->len : 0, n = 1 + test_rand(rng) % 8;
    size_t other = test_rand(rng) % ninputs, width = (size_t)1 << test_rand(rng) % 4;
    uint8_t word[8];

    put_le64(word, edges[test_rand(rng) % ARRAY_LEN(edges)]);
    switch (b->len ? test_rand(rng) % 7 : 3) {
    case 0: b->data[at] ^= (uint8_t)(1u << test_rand(rng) % 8); break;
    case 1: b->data[at] = (uint8_t)test_rand(rng); break;
    case 2: memcpy(b->data + at, word, MIN_OF(width, b->len - at)); break;
    case 3: (void)buf_add(b, inputs[other].p, MIN_OF(inputs[other].len, (size_t)256)); break;
    case 4: b->len = at; break;
    case 5:
        n = MIN_OF(n, b->len - at);
        memmove(b->data + at, b->data + at + n, b->len - at - n);
        b->len -= n;
        break;
    default:
        n = MIN_OF(n, b->len - at);
        (void)buf_add_zero(b, n);
        memmove(b->data + at + n, b->data + at, b->len - at - n);
        break;
    }
}

static void mutate(uint64_t count, uint64_t seed)
{
    uint64_t rng = seed;

    for (uint64_t i = 0; i < count && ninputs; i++) {
        size_t from = test_rand(&rng) % ninputs;

        buf_reset(&made);
        FUZZ_CHECK(buf_add(&made, inputs[from].p, inputs[from].len) == 0);
        for (uint64_t n = 1 + test_rand(&rng) % 6; n > 0; n--)
            edit(&made, &rng);
        made.len = MIN_OF(made.len, target->len_max);
        snprintf(now, sizeof(now), "%s --mutate, input %llu of seed %llu (kept as fuzz-failed-input)",
                 target->name, (unsigned long long)i, (unsigned long long)seed);
        run(made.data, made.len);
    }
    made.len = 0;
}

void fuzz_seed(const char *name, const void *p, size_t len)
{
    cleanup(buf_free) struct buf path = {0};
    char dir[400];
    FILE *f;

    (void)io_mkdir(io_real(), seeds_dir, 0755);
    snprintf(dir, sizeof(dir), "%s/%s", seeds_dir, target->name);
    (void)io_mkdir(io_real(), dir, 0755);
    FUZZ_CHECK(len <= target->len_max);
    FUZZ_CHECK(buf_printf(&path, "%s/seed-%s", dir, name) == 0);
    f = fopen(buf_cstr(&path), "w");
    FUZZ_CHECK(f != NULL);
    FUZZ_CHECK(fwrite(p, 1, len, f) == len);
    FUZZ_CHECK(fclose(f) == 0);
}

static int list(bool seeds)
{
    for (target = fuzz_targets; target->name; target++)
        if (seeds)
            target->seeds();
        else
            printf("%s %zu %s\n", target->name, target->len_max, target->doc);
    return 0;
}

static int replay(int n, char **paths, uint64_t count, uint64_t seed)
{
    int r = 0;

    for (int i = 0; i < n && r == 0; i++) {
        r = io_list(paths[i], take_one, paths[i]);
        if (r == -E_NOTDIR)
            r = take_file(paths[i]);
        if (r < 0)
            fprintf(stderr, "fuzz: %s: %s\n", paths[i], err_text(r));
    }
    if (r < 0)
        return 1;
    mutate(count, seed);
    printf("%-8s %zu inputs replayed, %llu made of them\n", target->name, ninputs, (unsigned long long)count);
    printf("%zu passed, 0 failed, 0 skipped\n", ninputs);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"list", no_argument, NULL, 'l'},
                                            {"seeds", required_argument, NULL, 'w'},
                                            {"mutate", required_argument, NULL, 'm'},
                                            {"seed", required_argument, NULL, 's'},
                                            {0}};
    uint64_t count = 0, seed = 1;
    int c;

    log_set_fd(open("/dev/null", O_WRONLY));
    signals_catch();
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
        switch (c) {
        case 'l': return list(false);
        case 'w': seeds_dir = optarg; return list(true);
        case 'm': count = strtoull(optarg, NULL, 10); break;
        case 's': seed = strtoull(optarg, NULL, 10); break;
        default: return 2;
        }
    target = optind < argc ? fuzz_find(argv[optind]) : NULL;
    if (!target) {
        fprintf(stderr, "usage: fuzz --list | --seeds DIR | [--mutate N] [--seed S] TARGET FILE|DIR...\n");
        return 2;
    }
    return replay(argc - optind - 1, argv + optind + 1, count, seed);
}
#endif
