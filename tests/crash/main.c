/* crash [--seeds N] [--seed S] [--ops M] [--cuts C] [--trace] [--directed [name...]]: see crash.h. One seed is one test: a
 * chain of lives, each cut in many places; every image is opened, judged and checked. */
#include "tests/crash/crash.h"

#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "snap/store/journal.h"

struct args {
    uint64_t seed, seeds, ops, cuts, lives;
    bool trace, directed;
};
static struct args args = {.seed = 1, .seeds = 20, .ops = 120, .cuts = 8, .lives = 3};

void c_fail(struct c_run *c, const char *fmt, ...)
{
    va_list ap;

    printf("FAIL seed %llu life %u op %u (%s): ", (unsigned long long)c->seed, c->life_no, c->op, c->what);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n  replay: build/tests/crash --seed %llu --seeds 1 --ops %llu --cuts %llu --trace\n",
           (unsigned long long)c->seed, (unsigned long long)args.ops, (unsigned long long)args.cuts);
    fflush(stdout);
    longjmp(c->out, 1);
}

uint64_t c_rand(struct c_run *c, uint64_t below)
{
    return test_rand(&c->rng) % below;
}

static void settings_choose(struct c_run *c)
{
    static const uint32_t inline_bytes[] = {512, 4096, 4096, 16384};

    c->set =
        (struct store_settings){.no_threads = true, .segments = 4, .segment_bytes = 1u << 20, .fd_cache = 8};
    c->set.inline_bytes = inline_bytes[c_rand(c, 4)];
    c->set.delta_bytes = (32u + c_rand(c, 400)) << 10;
    c->set.dirty_bytes = (1u + c_rand(c, 4)) << 20;
    c->set.map_bytes = 1u << 20;
    c->set.flush_ms = 500 + (uint32_t)c_rand(c, 4500);
}

static void path_of(const struct c_run *c, const char *name, char out[256])
{
    snprintf(out, 256, "%s/%s", c->dir, name);
}

/* An empty store with a volume, closed. */
static void first_store(struct c_run *c, const char *path)
{
    int r = store_create(io_real(), path, &c->set);

    c_new_boot(c);
    if (r == 0)
        r = store_open(io_real(), path, &c->set, 0, &c->s, NULL);
    if (r == 0)
        r = snap_attach(c->s);
    if (r == 0)
        r = volume_create(c->s, "main", &(struct volume_opts){0}, &c->v);
    WANT(c, r == 0, "a new store: %s", err_name(r));
    c->life.state[0] = c_read_tree(c, (vfs_node){INO_ROOT}, c->v->rec.live_view);
    c->life.flushed[0] = true;
    r = store_close(TAKE(c->s));
    WANT(c, r == 0, "close: %s", err_name(r));
}

static void clock_begin(struct c_run *c)
{
    clock_test_set(1763676000000000000ll + (int64_t)c->life_no * 1000000000000ll,
                   1000000000000ll * (c->life_no + 1));
}

/* The whole life without a cut; how many calls changed the disk. */
static uint64_t life_record(struct c_run *c, const char *base)
{
    struct c_life *l = &c->life;
    struct o_tree *now = o_tree_copy(l->state[0]);
    uint64_t calls;

    clock_begin(c);
    c_start(c, base);
    WANT(c, c_open(c, lying_io(c->disk), c->work) == 0, "open");
    for (uint32_t k = 1; k <= args.ops; k++) {
        int r = c_play(c, k, l->state[k - 1], now);
        WANT(c, r == 0, "%s", err_name(r));
        l->state[k] = o_tree_copy(now);
        l->ops = k;
    }
    o_tree_free(now);
    calls = lying_count(c->disk, LYING_MUTATING);
    c->ops_done += l->ops;
    c_stop(c);
    return calls;
}

/* Plays until the disk is gone. acked: operations that had returned; upto: those whose effects may be seen. */
static void play_to_the_end(struct c_run *c, uint32_t *acked, uint32_t *upto)
{
    struct c_life *l = &c->life;

    *acked = *upto = 0;
    c->op = 0;
    snprintf(c->what, sizeof(c->what), "open");
    if (c_open(c, lying_io(c->disk), c->work) < 0 || lying_crashed(c->disk)) {
        c->cut_in_open++;
        return;
    }
    for (uint32_t k = 1; k <= l->ops && !lying_crashed(c->disk); k++) {
        int r = c_play(c, k, l->state[k - 1], NULL);

        *upto = k;
        if (r == 0)
            *acked = k;
        else if (!c->killing)
            WANT(c, lying_crashed(c->disk), "in a repetition: %s", err_name(r));
        else
            return;
    }
}

static void forget_images(struct c_run *c)
{
    char path[256];

    for (unsigned i = 0; i < 4; i++) {
        char name[16];
        snprintf(name, sizeof(name), "image%u", i);
        path_of(c, name, path);
        c_remove(path);
    }
}

/* Opens a copy of an image on another boot, judges and checks it. */
static void image_judge(struct c_run *c, const char *image, uint32_t acked, uint32_t upto,
                        struct o_tree **ret_tree)
{
    char copy[256];
    int r;

    path_of(c, "copy", copy);
    c_remove(copy);
    c_copy(c, image, copy);
    c_new_boot(c);
    r = c_open(c, io_real(), copy);
    WANT(c, r == 0, "an image of a power cut does not open: %s", err_name(r));
    c_judge(c, acked, upto, ret_tree);
    c_sound(c);
    r = store_reclaim_idle(c->s);
    WANT(c, r == 0, "reclaim: %s", err_name(r));
    c_sound(c);
    r = store_close(TAKE(c->s));
    WANT(c, r == 0, "close: %s", err_name(r));
    c->images++;
    c_remove(copy);
}

/* Images of one moment, each with another outcome; the last one is left as image0. */
static void cut_images(struct c_run *c, uint32_t acked, uint32_t upto, unsigned n, struct o_tree **ret_tree)
{
    char image[256];

    path_of(c, "image0", image);
    for (unsigned i = 0; i < n; i++) {
        enum lying_mode mode = i < 2 ? (enum lying_mode)i : (enum lying_mode)c_rand(c, LYING_MODES + 1);
        uint64_t seed = c_rand(c, UINT32_MAX);

        c_remove(image);
        WANT(c, lying_crash(c->disk, seed, mode, image) == 0, "image");
        if (c->trace)
            printf("      image mode %d seed %llu, acked %u upto %u\n", (int)mode, (unsigned long long)seed,
                   acked, upto);
        image_judge(c, image, acked, upto, i + 1 == n ? ret_tree : NULL);
    }
}

static void one_cut(struct c_run *c, const char *base, uint64_t at, struct o_tree **ret_tree)
{
    uint32_t acked, upto;

    clock_begin(c);
    c_start(c, base);
    lying_crash_at(c->disk, at);
    play_to_the_end(c, &acked, &upto);
    if (c->s)
        store_drop(TAKE(c->s));
    cut_images(c, acked, upto, 3, ret_tree);
    c->cuts++;
    c_stop(c);
}

/* The daemon dies somewhere; the next one on the same boot has everything. Its first fsync covers what the dead one had
 * acknowledged (F11): then the power goes. */
static void one_death(struct c_run *c, const char *base, uint64_t at)
{
    uint32_t acked, upto, k;
    struct c_life *l = &c->life;
    size_t events = l->nevents;
    bool was;
    int r;

    clock_begin(c);
    c_start(c, base);
    lying_kill_at(c->disk, at);
    c->killing = true;
    play_to_the_end(c, &acked, &upto);
    c->killing = false;
    if (c->s)
        store_drop(TAKE(c->s));
    lying_revive(c->disk);
    r = c_open(c, lying_io(c->disk), c->work);
    WANT(c, r == 0, "open after a death: %s", err_name(r));
    c_judge_death(c, acked, upto, &k);
    c->deaths++;
    was = l->flushed[acked];
    for (size_t i = 0; i < l->state[k]->n; i++) {
        const struct o_ino *in = l->state[k]->v[i];

        if (!S_ISREG(in->mode) || !o_get(l->state[acked], in->ino))
            continue;
        r = vfs_fsync(c->v, vfs_node_make(c->v->rec.live_view, in->ino));
        WANT(c, r == 0, "fsync after a death: %s", err_name(r));
        l->event[l->nevents++] = (struct c_event){acked, in->ino};
        l->flushed[acked] = true;
        if (c_rand(c, 3) == 0)
            break;
    }
    cut_images(c, acked, upto, 1, NULL);
    l->nevents = events;
    l->flushed[acked] = was;
    c_stop(c);
}

/* The next life begins with what a cut left. */
static void life_next(struct c_run *c, struct o_tree *t)
{
    static struct c_snap kept[SNAPS_MAX];
    char base[256], image[256];
    size_t n = 0;

    path_of(c, "base", base);
    path_of(c, "image0", image);
    c_remove(base);
    WANT(c, rename(image, base) == 0, "rename");
    for (size_t i = 0; i < c->life.nsnaps; i++) {
        if (!c->there[i])
            continue;
        kept[n] = c->life.snap[i];
        kept[n].created = 0;
        kept[n].durable = c->durable[i] ? 0 : NEVER;
        kept[n].deleted = NEVER;
        kept[n++].tree = o_tree_copy(c->life.snap[i].tree);
    }
    c_life_free(&c->life);
    memcpy(c->life.snap, kept, n * sizeof(*kept));
    c->life.nsnaps = n;
    c->life.state[0] = t;
    c->life.flushed[0] = true;
}

static void one_life(struct c_run *c)
{
    struct o_tree *t = NULL;
    char base[256];
    uint64_t calls;

    path_of(c, "base", base);
    c->life_seed = c->seed * 100 + c->life_no;
    calls = life_record(c, base);
    for (uint64_t i = 0; i < args.cuts; i++) {
        o_tree_free(TAKE(t));
        one_cut(c, base, 1 + c_rand(c, calls + calls / 20), &t);
        if (i % 3 == 0)
            one_death(c, base, 1 + c_rand(c, calls));
        if (i + 1 == args.cuts) /* image0 must be of the cut whose tree we have */
            one_cut(c, base, 1 + c_rand(c, calls), &t);
    }
    life_next(c, t);
    forget_images(c);
}

int c_seed(struct c_run *c, const char *dir, uint64_t seed)
{
    char base[256];
    volatile int failed = 0;

    c->seed = c->rng = seed;
    c->life_no = 0;
    c->killing = false;
    snprintf(c->dir, sizeof(c->dir), "%s/%llu", dir, (unsigned long long)seed);
    c_remove(c->dir);
    mkdir(c->dir, 0700);
    settings_choose(c);
    if (setjmp(c->out) == 0) {
        clock_begin(c);
        path_of(c, "base", base);
        first_store(c, base);
        for (; c->life_no < args.lives; c->life_no++)
            one_life(c);
    } else {
        failed = 1;
    }
    c_stop(c);
    c_life_free(&c->life);
    if (!failed || !getenv("KEEP"))
        c_remove(c->dir);
    clock_test_off();
    journal_test_boot_id(NULL);
    return failed;
}

static uint64_t number(const char *s)
{
    char *end;
    uint64_t n = strtoull(s, &end, 0);

    if (!*s || *end) {
        fprintf(stderr, "crash: %s is no number\n", s);
        exit(2);
    }
    return n;
}

static void parse(int argc, char **argv)
{
    static const struct option longs[] = {
        {"seeds", 1, NULL, 'n'}, {"ops", 1, NULL, 'o'},   {"seed", 1, NULL, 's'},     {"cuts", 1, NULL, 'c'},
        {"trace", 0, NULL, 'v'}, {"lives", 1, NULL, 'l'}, {"directed", 0, NULL, 'd'}, {NULL, 0, NULL, 0}};
    int c;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (c) {
        case 'n': args.seeds = number(optarg); break;
        case 'o': args.ops = MIN_OF(number(optarg), (uint64_t)OPS_MAX); break;
        case 's': args.seed = number(optarg); break;
        case 'c': args.cuts = number(optarg); break;
        case 'l': args.lives = number(optarg); break;
        case 'v': args.trace = true; break;
        case 'd': args.directed = true; break;
        default: exit(2);
        }
    }
}

static int run_seeds(const char *dir)
{
    static struct c_run c;
    uint64_t failed = 0;
    int64_t began = clock_mono_ns();

    c.trace = args.trace;
    c.bytes = malloc(C_FILE_MAX + 8);
    c.bytes2 = malloc(C_FILE_MAX + 8);
    assert(c.bytes);
    assert(c.bytes2);
    for (uint64_t i = 0; i < args.seeds; i++)
        failed += (uint64_t)c_seed(&c, dir, args.seed + i);
    printf(
        "seeds %llu..%llu: %llu operations, %llu power cuts (%llu while opening), %llu images, %llu deaths, "
        "%llu snapshots compared, %.1f s\n",
        (unsigned long long)args.seed, (unsigned long long)(args.seed + args.seeds - 1),
        (unsigned long long)c.ops_done, (unsigned long long)c.cuts, (unsigned long long)c.cut_in_open,
        (unsigned long long)c.images, (unsigned long long)c.deaths, (unsigned long long)c.snaps_seen,
        (double)(clock_mono_ns() - began) / 1e9);
    printf("%llu passed, %llu failed, 0 skipped\n", (unsigned long long)(args.seeds - failed),
           (unsigned long long)failed);
    free(c.bytes);
    free(c.bytes2);
    return failed > 0;
}

int main(int argc, char **argv)
{
    char dir[64];
    int r;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (getenv("SEED"))
        args.seed = number(getenv("SEED"));
    parse(argc, argv);
    log_set_level(LOG_ERROR);
    if (!args.trace) /* each cut makes a store stop, which says so */
        log_set_fd(open("/dev/null", O_WRONLY | O_CLOEXEC));
    if (args.directed) {
        argv[optind - 1] = argv[0];
        return test_main(argc - optind + 1, argv + optind - 1);
    }
    snprintf(dir, sizeof(dir), "%s/varve-crash.XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(dir)) {
        perror(dir);
        return 1;
    }
    r = run_seeds(dir);
    if (!r || !getenv("KEEP"))
        c_remove(dir);
    return r;
}
