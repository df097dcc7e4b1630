/* sweep [--alloc] [--io] [--stride N] [--only NAME] [--from N]: see sweep.h.
 *
 * Allocations: each work in turn, in one store: its n-th allocation fails, n = 1, 2, 3 ... until it runs through. Each time: an answer,
 * which is 0 or ENOMEM; check finds nothing; the next one begins with a fresh copy of the store as it was before. At the end not one block of memory more than at the beginning.
 *
 * Calls to the disk: the whole of the works, one after the other; the n-th write, sync or read fails, with EIO or ENOSPC, or half of
 * it is done. Then the daemon dies; another one opens the store; check finds nothing. What failed to be synced: an object makes its
 * volume read-only, journal or tables the store, and says why. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "snap/check.h"
#include "snap/event.h"
#include "tests/lib/lying.h"
#include "tests/lib/test.h"
#include "tests/lib/tree.h"
#include "tests/sweep/sweep.h"

#define ENDLESS 20000

static struct {
    bool alloc, io;
    uint64_t stride, from;
    const char *only;
} args = {.stride = 1, .from = 1};
static struct place p; /* large: not on the stack */
static char base[300], before[300], now[300];

static void copy_to(const char *from, const char *to)
{
    (void)tree_remove(to);
    CHECK_OK(tree_copy(from, to));
}

static void say(void *arg, const char *line)
{
    (void)arg;
    printf("  check: %s\n", line);
}

static void checked(struct store *s, const char *what, uint64_t n)
{
    struct check_opts o = {.quiet = true, .say = say};
    struct check_result r = {0};
    int e = check_store(s, &o, &r);

    if (e < 0 || r.problems)
        test_fail(__FILE__, __LINE__, "%s, n=%llu: check: %s, %llu problems", what, (unsigned long long)n,
                  err_name(e), (unsigned long long)r.problems);
}

/* --- allocations -------------------------------------------------------------------------------------------------------- */

static void opened(const char *path)
{
    int r = place_open(&p, io_real(), path);

    if (r < 0)
        test_fail(__FILE__, __LINE__, "open: %s", err_name(r));
}

static int64_t live; /* blocks with nothing open */

/* One work until it runs through. The store as it was before lies in `before`, closed. Gives the n reached. */
static uint64_t alloc_sweep(const struct work *w, uint64_t *cases)
{
    bool fired = true;
    uint64_t n;

    copy_to(before, now);
    opened(now);
    for (n = args.from; fired; n += args.stride) {
        int r;

        if (w->before)
            w->before(&p);
        alloc_fail((int64_t)n);
        r = w->run(&p);
        fired = alloc_failed();
        if (r != 0 && (!fired || r != ENOMEM))
            test_fail(__FILE__, __LINE__, "%s, allocation %llu: %s", w->name, (unsigned long long)n,
                      r < 0 ? "no answer" : strerror(r));
        checked(p.env.store, w->name, n);
        *cases += fired;
        if (fired) { /* an answer may have been lost when all was done */
            CHECK_OK(place_close(&p));
            if (alloc_live() > live)
                test_fail(__FILE__, __LINE__, "%s, allocation %llu: %lld blocks of memory are lost", w->name,
                          (unsigned long long)n, (long long)(alloc_live() - live));
            copy_to(before, now);
            opened(now);
        }
        if (n > ENDLESS)
            test_fail(__FILE__, __LINE__, "%s does not end", w->name);
    }
    CHECK_OK(place_close(&p));
    return n - args.stride;
}

/* The store after the work, for the next one. */
static void go_on(const struct work *w)
{
    int r;

    opened(before);
    if (w->before)
        w->before(&p);
    r = w->run(&p);
    if (r != 0)
        test_fail(__FILE__, __LINE__, "%s: %s", w->name, r < 0 ? "no answer" : strerror(r));
    CHECK_OK(place_close(&p));
}

static uint64_t open_sweep(uint64_t *cases)
{
    bool fired = true;
    uint64_t n;

    for (n = args.from; fired; n += args.stride) {
        int r;

        copy_to(before, now);
        alloc_fail((int64_t)n);
        r = place_open(&p, io_real(), now);
        if (r == 0)
            r = place_close(&p);
        fired = alloc_failed();
        if (r != 0 && (!fired || r != -E_NOMEM))
            test_fail(__FILE__, __LINE__, "open and close, allocation %llu: %s", (unsigned long long)n,
                      err_name(r));
        *cases += fired;
        opened(now);
        checked(p.env.store, "open and close", n);
        CHECK_OK(place_close(&p));
    }
    return n - args.stride;
}

TEST(test_sweep__allocations)
{
    uint64_t cases = 0, most = 0, n;

    if (!args.alloc)
        test_skip("not asked for");
    if (!alloc_can())
        test_skip("the sanitizer has the allocator");
    snprintf(before, sizeof(before), "%s/before", test_dir());
    snprintf(now, sizeof(now), "%s/now", test_dir());
    place_make(before);
    /* what is made once and stays: both ways through all of it before it is counted */
    copy_to(before, now);
    for (size_t i = 0; i < nworks; i++)
        go_on(&works[i]);
    copy_to(now, before);
    printf("  %zu works\n", nworks); /* makes its buffer */
    live = alloc_live();
    for (size_t i = 0; i < nworks; i++) {
        if (!args.only || strcmp(args.only, works[i].name) == 0) {
            n = alloc_sweep(&works[i], &cases);
            printf("  %-24s up to allocation %llu\n", works[i].name, (unsigned long long)n);
            most = MAX_OF(most, n);
        }
        go_on(&works[i]);
        if (alloc_live() > live)
            test_fail(__FILE__, __LINE__, "%s: %lld blocks of memory more than before", works[i].name,
                      (long long)(alloc_live() - live));
    }
    if (!args.only || strcmp(args.only, "open") == 0) {
        n = open_sweep(&cases);
        printf("  %-24s up to allocation %llu\n", "open and close", (unsigned long long)n);
    }
    CHECK(alloc_live() <= live);
    printf("  allocations: %zu works, %llu failed, at most number %llu of one\n", nworks,
           (unsigned long long)cases, (unsigned long long)most);
}

/* --- the disk ----------------------------------------------------------------------------------------------------------- */

/* What an operation may say when the disk fails, or the volume or store stopped writing for it. */
static bool clean(int r)
{
    static const int fine[] = {0,      EIO,    ENOSPC, EROFS,   ENOMEM,  EBUSY,
                               ENOENT, EEXIST, EINVAL, ENOTDIR, ENODATA, ESTALE};

    for (size_t i = 0; i < ARRAY_LEN(fine); i++)
        if (r == fine[i])
            return true;
    return false;
}

/* The line of the trace that failed: "fdatasync data/0/12 ... IO". */
static void failed_line(struct buf *trace, char out[200])
{
    const char *line = buf_cstr(trace);

    out[0] = 0;
    while (line && *line) {
        size_t len = strcspn(line, "\n");
        char text[400];
        snprintf(text, sizeof(text), "%.*s", (int)MIN_OF(len, sizeof(text) - 1), line);
        if (strstr(text, " IO") || strstr(text, " NOSPC"))
            snprintf(out, 200, "%.199s", text);
        line += len + (line[len] == '\n');
    }
}

/* After a sync that failed: who stopped? */
static void stopped(const char *line, uint64_t n)
{
    struct store_state st;
    bool object = strstr(line, " data/") || strstr(line, "/data/"), sync = strncmp(line, "fdatasync", 9) == 0;

    if (!sync || strstr(line, "ballast"))
        return;
    store_get_state(p.env.store, &st);
    if (st.mode == STORE_RO_FAILED || (object && p.v->readonly)) {
        CHECK(st.mode != STORE_RO_FAILED || st.why[0]);
        CHECK(st.mode == STORE_RO_FAILED || p.v->why_readonly[0]);
        return;
    }
    test_fail(__FILE__, __LINE__, "n=%llu: %s failed, and nobody stopped", (unsigned long long)n, line);
}

/* One round; false: the n-th call was not reached. */
static bool io_round(unsigned kinds, uint64_t n, int code)
{
    cleanup(buf_free) struct buf trace = {0};
    struct lying *d;
    char root[300], store[320], line[200] = "";
    bool reached, was = false;

    snprintf(root, sizeof(root), "%s/disk", test_dir());
    snprintf(store, sizeof(store), "%s/store", root);
    CHECK(mkdir(root, 0755) == 0);
    CHECK_OK(tree_copy(base, store));
    CHECK_OK(lying_new(root, &d));
    if (place_open(&p, lying_io(d), store) < 0)
        test_fail(__FILE__, __LINE__, "open");
    lying_trace(d, &trace);
    lying_fail_at(d, kinds, n, code);
    for (size_t i = 0; i < nworks; i++) {
        int r;

        if (!was)
            buf_reset(&trace);
        if (works[i].before)
            works[i].before(&p);
        r = works[i].run(&p);
        if (!clean(r) && !(r == EUCLEAN && lying_faults(d)))
            test_fail(__FILE__, __LINE__, "%s, call %llu (%s): %s", works[i].name, (unsigned long long)n,
                      line, r < 0 ? "no answer" : strerror(r));
        if (r != 0 && !lying_faults(d))
            test_fail(__FILE__, __LINE__, "%s: %s without a fault", works[i].name, strerror(r));
        if (lying_faults(d) && !was) {
            was = true;
            failed_line(&trace, line);
            lying_trace(d, NULL);
        }
    }
    reached = lying_faults(d) > 0;
    stopped(line, n);
    lying_trace(d, NULL);
    lying_fail_off(d);
    place_drop(&p);
    lying_revive(d);
    if (place_open(&p, lying_io(d), store) < 0)
        test_fail(__FILE__, __LINE__, "open after call %llu (%s)", (unsigned long long)n, line);
    checked(p.env.store, line, n);
    CHECK_OK(place_close(&p));
    lying_free(d);
    CHECK_OK(tree_remove(root));
    return reached;
}

static void io_sweep(const char *what, unsigned kinds, int code)
{
    uint64_t n = args.from;

    while (io_round(kinds, n, code))
        n += args.stride;
    printf("  %-24s up to call %llu\n", what, (unsigned long long)n);
    CHECK(n > args.stride * 3);
}

static void io_begin(void)
{
    if (!args.io)
        test_skip("not asked for");
    snprintf(base, sizeof(base), "%s/base", test_dir());
    place_make(base);
}

TEST(test_sweep__writes_that_fail)
{
    io_begin();
    io_sweep("writes, EIO", LYING_WRITE, -E_IO);
}

TEST(test_sweep__writes_that_fail_half_way)
{
    io_begin();
    io_sweep("writes, half of it", LYING_WRITE | LYING_PARTIAL, -E_IO);
}

TEST(test_sweep__no_space)
{
    io_begin();
    io_sweep("space", LYING_SPACE, -E_NOSPC);
}

TEST(test_sweep__syncs_that_fail)
{
    io_begin();
    io_sweep("syncs", LYING_SYNC, -E_IO);
}

TEST(test_sweep__reads_that_fail)
{
    io_begin();
    io_sweep("reads", LYING_READ, -E_IO);
}

TEST(test_sweep__other_calls_that_fail)
{
    io_begin();
    io_sweep("other calls", LYING_ANY & ~(LYING_WRITE | LYING_READ | LYING_SYNC | LYING_CLOSE), -E_IO);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"alloc", no_argument, NULL, 'a'},        {"io", no_argument, NULL, 'i'},
        {"stride", required_argument, NULL, 's'}, {"only", required_argument, NULL, 'o'},
        {"from", required_argument, NULL, 'f'},   {0}};
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
        switch (c) {
        case 'a': args.alloc = true; break;
        case 'i': args.io = true; break;
        case 's': args.stride = strtoull(optarg, NULL, 10); break;
        case 'o': args.only = optarg; break;
        case 'f': args.from = strtoull(optarg, NULL, 10); break;
        default: return 2;
        }
    if (!args.alloc && !args.io)
        args.alloc = args.io = true;
    log_set_fd(open("/dev/null", O_WRONLY | O_CLOEXEC));
    argv[optind - 1] = argv[0];
    return test_main(argc - optind + 1, argv + optind - 1);
}
