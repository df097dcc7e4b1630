/* Many threads on one store with its background threads on: writing, reading, cutting, copying, syncing and renaming, while
 * snapshots are taken and deleted and their views read. Run with SAN=tsan it proves the locking; in any build the bytes. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "snap/check.h"
#include "tests/lib/box.h"
#include "tests/lib/test.h"

#define WRITERS 4
#define SHARED 3
#define BLOCK 4096u
#define BLOCKS 96u /* of each file */

struct threads {
    struct box b;
    bool stop;
    uint64_t seed;
    int bad;
    char what[200];
    pthread_mutex_t lock;
};

static void bad(struct threads *t, const char *what, int r)
{
    pthread_mutex_lock(&t->lock);
    if (!t->bad++)
        snprintf(t->what, sizeof(t->what), "%s: %s", what, r < 0 ? err_name(r) : "wrong bytes");
    pthread_mutex_unlock(&t->lock);
    __atomic_store_n(&t->stop, true, __ATOMIC_RELAXED);
}

static bool stopped(struct threads *t)
{
    return __atomic_load_n(&t->stop, __ATOMIC_RELAXED);
}

struct worker {
    struct threads *t;
    unsigned id;
    uint64_t rng;
    char name[16], other[16]; /* its own file has one of the two names */
    uint8_t block[BLOCKS];    /* what each block of it is filled with */
    uint64_t size;            /* in blocks */
    vfs_node own;
};

static int own_write(struct worker *w, vfs_node n)
{
    struct vol *v = w->t->b.v;
    unsigned at = (unsigned)(test_rand(&w->rng) % BLOCKS), len = 1 + (unsigned)(test_rand(&w->rng) % 12);
    uint8_t fill = (uint8_t)(1 + test_rand(&w->rng) % 250), *p;
    int r;

    len = MIN_OF(len, BLOCKS - at);
    p = malloc(len * BLOCK);
    memset(p, fill, len * BLOCK);
    r = vfs_write(v, &w->t->b.c, n, p, len * BLOCK, (uint64_t)at * BLOCK, false);
    free(p);
    if (r < 0)
        return r;
    memset(w->block + at, fill, len);
    w->size = MAX_OF(w->size, (uint64_t)at + len);
    return 0;
}

static int own_read(struct worker *w, vfs_node n)
{
    static _Thread_local uint8_t p[BLOCKS * BLOCK];
    size_t got;
    int r = vfs_read(w->t->b.v, n, p, sizeof(p), 0, &got);

    if (r == 0 && got != w->size * BLOCK)
        return -E_CORRUPT;
    for (size_t i = 0; r == 0 && i < got; i++)
        if (p[i] != w->block[i / BLOCK])
            return -E_CORRUPT;
    return r;
}

static int own_cut(struct worker *w, vfs_node n)
{
    struct vfs_setattr set = {.set = VFS_SIZE};
    struct vfs_attr a;
    uint64_t to = test_rand(&w->rng) % BLOCKS;
    int r;

    set.size = to * BLOCK;
    r = vfs_setattr(w->t->b.v, &w->t->b.c, n, &set, &a);
    if (r == 0) {
        memset(w->block + to, 0, BLOCKS - to);
        w->size = to;
    }
    return r;
}

static int own_punch(struct worker *w, vfs_node n)
{
    unsigned at = (unsigned)(test_rand(&w->rng) % BLOCKS), len = 1 + (unsigned)(test_rand(&w->rng) % 8);
    int r;

    len = MIN_OF(len, BLOCKS - at);
    r = vfs_fallocate(w->t->b.v, &w->t->b.c, n, 3, (uint64_t)at * BLOCK, (uint64_t)len * BLOCK);
    if (r == 0)
        memset(w->block + at, 0, len);
    return r;
}

static int own_rename(struct worker *w)
{
    char was[16];
    int r = vfs_rename(w->t->b.v, &w->t->b.c, box_root(w->t->b.v), w->name, box_root(w->t->b.v), w->other, 0);

    if (r == 0) {
        memcpy(was, w->name, sizeof(was));
        memcpy(w->name, w->other, sizeof(was));
        memcpy(w->other, was, sizeof(was));
    }
    return r;
}

/* Files that all write: only that nothing breaks. */
static int shared_do(struct worker *w)
{
    struct threads *t = w->t;
    char name[16], to[16];
    struct vfs_attr a, c;
    uint64_t done;
    uint8_t p[20000];
    size_t got;
    int r;

    snprintf(name, sizeof(name), "shared%u", (unsigned)(test_rand(&w->rng) % SHARED));
    snprintf(to, sizeof(to), "shared%u", (unsigned)(test_rand(&w->rng) % SHARED));
    r = vfs_lookup(t->b.v, box_root(t->b.v), name, &a);
    if (r < 0)
        return r == -E_NOENT ? 0 : r;
    memset(p, (int)w->id, sizeof(p));
    switch (test_rand(&w->rng) % 7) {
    case 0:
    case 1: r = vfs_write(t->b.v, &t->b.c, a.node, p, sizeof(p), test_rand(&w->rng) % 300000, false); break;
    case 2: r = vfs_read(t->b.v, a.node, p, sizeof(p), test_rand(&w->rng) % 300000, &got); break;
    case 3: r = vfs_setxattr(t->b.v, &t->b.c, a.node, "user.x", p, 100, 0, false); break;
    case 4:
        r = vfs_lookup(t->b.v, box_root(t->b.v), to, &c);
        if (r == 0)
            r = vfs_copy(t->b.v, &t->b.c, a.node, 0, c.node, 0, 100000, &done);
        break;
    case 5: r = vfs_fsync(t->b.v, a.node); break;
    default:
        r = vfs_unlink(t->b.v, &t->b.c, box_root(t->b.v), name);
        if (r == 0)
            r = vfs_orphans_drop_all(t->b.v);
        if (r == 0)
            r = vfs_mknod(t->b.v, &t->b.c, box_root(t->b.v), name, S_IFREG | 0644, 0, &a);
    }
    return r == -E_NOENT || r == -E_STALE || r == -E_EXIST || r == -E_INVAL ? 0 : r;
}

static void *write_on(void *arg)
{
    struct worker *w = arg;
    struct threads *t = w->t;

    while (!stopped(t)) {
        int r;

        switch (test_rand(&w->rng) % 12) {
        case 0: r = own_cut(w, w->own); break;
        case 1: r = own_punch(w, w->own); break;
        case 2: r = own_rename(w); break;
        case 3: r = vfs_fsync(t->b.v, w->own); break;
        case 4:
        case 5: r = own_read(w, w->own); break;
        case 6:
        case 7: r = shared_do(w); break;
        default: r = own_write(w, w->own);
        }
        if (r < 0)
            bad(t, "writer", r);
    }
    return NULL;
}

static void *snap_on(void *arg)
{
    struct worker *w = arg;
    struct threads *t = w->t;
    char name[16];

    while (!stopped(t)) {
        struct layer_rec rec;
        int r;

        snprintf(name, sizeof(name), "s%u", (unsigned)(test_rand(&w->rng) % 5));
        if (test_rand(&w->rng) % 2)
            r = snap_create(t->b.v, &t->b.c, name, &rec);
        else
            r = snap_delete(t->b.v, &t->b.c, name);
        if (r == 0 && test_rand(&w->rng) % 4 == 0 && snap_find(t->b.v, name, &rec) == 0)
            r = snap_wait_durable(t->b.v, rec.layer);
        if (r < 0 && r != -E_NOENT && r != -E_EXIST)
            bad(t, "snapshots", r);
        nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL);
    }
    return NULL;
}

/* A view shows the same twice. */
static int look_twice(struct worker *w, vfs_node root)
{
    static uint8_t one[BLOCKS * BLOCK], two[BLOCKS * BLOCK];
    struct vol *v = w->t->b.v;
    struct vfs_attr a;
    size_t n = 0, m = 0;
    char name[16];
    int r;

    snprintf(name, sizeof(name), "%s%u", test_rand(&w->rng) % 2 ? "a" : "b",
             (unsigned)(test_rand(&w->rng) % WRITERS));
    r = vfs_lookup(v, root, name, &a);
    if (r == 0)
        r = vfs_read(v, a.node, one, sizeof(one), 0, &n);
    if (r == 0)
        r = vfs_read(v, a.node, two, sizeof(two), 0, &m);
    if (r == -E_CORRUPT || (r == 0 && (n != m || memcmp(one, two, n) != 0))) {
        struct vfs_attr c;
        printf("r=%s n=%zu m=%zu then %s\n", err_name(r), n, m, err_name(vfs_getattr(v, root, &c)));
        for (size_t i = 0; i < n; i += 4096)
            if (one[i] != two[i])
                printf("%zu:%u/%u ", i / 4096, one[i], two[i]);
        r = -E_CORRUPT;
    }
    return r;
}

static void *view_on(void *arg)
{
    struct worker *w = arg;
    struct threads *t = w->t;
    struct store_state st;
    char name[16];

    while (!stopped(t)) {
        struct vfs_attr a;
        vfs_node root;
        int r;

        snprintf(name, sizeof(name), "s%u", (unsigned)(test_rand(&w->rng) % 5));
        r = view_enter(t->b.v, name, INO_ROOT, &root, &a);
        for (int i = 0; i < 5 && r == 0; i++)
            r = look_twice(w, root);
        if (r < 0 && r != -E_NOENT && r != -E_STALE)
            bad(t, "views", r);
        store_get_state(t->b.s, &st);
        struct statvfs sv;
        (void)vfs_statfs(t->b.v, &sv);
    }
    return NULL;
}

static void run(struct threads *t, int64_t ms)
{
    pthread_t th[WRITERS + 2];
    struct worker w[WRITERS + 2];
    struct vfs_attr a;

    memset(w, 0, sizeof(w));
    for (unsigned i = 0; i < SHARED; i++) {
        char name[16];
        snprintf(name, sizeof(name), "shared%u", i);
        CHECK_OK(vfs_mknod(t->b.v, &t->b.c, box_root(t->b.v), name, S_IFREG | 0644, 0, &a));
    }
    for (unsigned i = 0; i < WRITERS + 2; i++) {
        w[i].t = t;
        w[i].id = i;
        w[i].rng = t->seed + i;
        snprintf(w[i].name, sizeof(w[i].name), "a%u", i);
        snprintf(w[i].other, sizeof(w[i].other), "b%u", i);
        if (i < WRITERS) {
            CHECK_OK(vfs_mknod(t->b.v, &t->b.c, box_root(t->b.v), w[i].name, S_IFREG | 0644, 0, &a));
            w[i].own = a.node;
        }
    }
    for (unsigned i = 0; i < WRITERS + 2; i++)
        CHECK_EQ(pthread_create(&th[i], NULL,
                                i < WRITERS    ? write_on
                                : i == WRITERS ? snap_on
                                               : view_on,
                                &w[i]),
                 0);
    for (int64_t left = ms; left > 0 && !stopped(t); left -= 10)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    __atomic_store_n(&t->stop, true, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < WRITERS + 2; i++)
        pthread_join(th[i], NULL);
    if (t->bad)
        test_fail(__FILE__, __LINE__, "%s", t->what);
    for (unsigned i = 0; i < WRITERS; i++)
        CHECK_OK(own_read(&w[i], w[i].own));
}

static void say(void *arg, const char *line)
{
    (void)arg;
    printf("  check: %s\n", line);
}

static void look(struct threads *t)
{
    struct check_opts o = {.quiet = true, .say = say};
    struct check_result res;

    CHECK_OK(store_reclaim_idle(t->b.s));
    CHECK_OK(check_store(t->b.s, &o, &res));
    CHECK_EQ(res.problems, 0);
}

static int64_t duration_ms(void)
{
    const char *e = getenv("MS"), *scale = getenv("SCALE");

    return e ? strtol(e, NULL, 10) : scale && strcmp(scale, "full") == 0 ? 20000 : 3000;
}

TEST(test_threads__all_kinds_of_work_at_once)
{
    static struct threads t;

    t = (struct threads){.seed = test_seed()};
    pthread_mutex_init(&t.lock, NULL);
    log_set_level(LOG_WARN);
    box_open(&t.b, NULL, NULL);
    t.b.set.no_threads = false; /* from here on with the store's own threads, and much for them to do */
    t.b.set.flush_ms = 20;
    t.b.set.dirty_bytes = 1 << 20;
    t.b.set.delta_bytes = 1 << 20;
    t.b.set.fd_cache = 8;
    box_reopen(&t.b);
    run(&t, duration_ms());
    box_close(&t.b);
    t.b.set.no_threads = true;
    box_attach(&t.b);
    look(&t);
    box_close(&t.b);
}

/* What was reckoned by the wall clock before it was set back lies that far ahead. */
static atomic_long ahead_s;

int clock_gettime(clockid_t id, struct timespec *ts)
{
    long r = syscall(SYS_clock_gettime, id, ts);

    ts->tv_sec += id == CLOCK_REALTIME ? atomic_load(&ahead_s) : 0;
    return (int)r;
}

TEST(test_threads__a_wall_clock_set_back_holds_nothing_up)
{
    struct store_state st;
    struct box b;

    box_open(&b, NULL, NULL);
    b.set.no_threads = false;
    b.set.flush_ms = 20;
    atomic_store(&ahead_s, 3600);
    box_reopen(&b);
    nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL); /* it waits for its next turn */
    box_fill(&b, b.v, "f", 0, 100000, 1);
    store_get_state(b.s, &st);
    CHECK(st.dirty_bytes > 0);
    for (int i = 0; i < 500 && st.dirty_bytes; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        store_get_state(b.s, &st);
    }
    CHECK_EQ(st.dirty_bytes, 0);
    box_close(&b);
    atomic_store(&ahead_s, 0);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
