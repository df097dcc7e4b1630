/* Many threads at once on one volume, with the store's own background threads: each works in a directory of its own and
 * knows what its files hold; one more takes, reads, rolls forward and deletes snapshots. A snapshot must hold what had
 * been written when it was asked for (a counter in each directory proves it), and never change afterwards. */
#include "tests/model/model.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"

#define FILES 8
#define FILE_MAX (300u << 10)
#define THREADS_MAX 32

struct worker {
    struct shared *sh;
    unsigned index;
    uint64_t rng, op, dir, seq_ino;
    uint64_t ino[FILES];
    struct pages data[FILES];
    uint64_t size[FILES];
    bool moved[FILES]; /* under its second name */
    uint8_t *buf, *want;
    _Atomic uint64_t asked, returned; /* of the counter */
};
struct shared {
    struct store *s;
    struct vol *v;
    uint64_t seed, ops;
    unsigned threads;
    struct worker w[THREADS_MAX];
    _Atomic bool stop;
    _Atomic uint64_t snaps;
};

static const struct vfs_ctx nobody;

static void die(const struct worker *w, const char *what, int r)
{
    printf("FAIL seed %llu thread %u op %llu: %s: %s\n", (unsigned long long)w->sh->seed, w->index,
           (unsigned long long)w->op, what, err_name(r));
    fflush(stdout);
    abort();
}

#define OK(w, expr)                                                                                          \
    do {                                                                                                     \
        int r_ = (expr);                                                                                     \
        if (r_ < 0)                                                                                          \
            die(w, #expr, r_);                                                                               \
    } while (0)
#define TRUE(w, cond)                                                                                        \
    do {                                                                                                     \
        if (!(cond))                                                                                         \
            die(w, #cond, 0);                                                                                \
    } while (0)

static uint64_t below(struct worker *w, uint64_t n)
{
    return test_rand(&w->rng) % n;
}

static vfs_node node(const struct worker *w, uint64_t ino)
{
    return vfs_node_make(w->sh->v->rec.live_view, ino);
}

static void names(const struct worker *w, unsigned i, char now[16], char other[16])
{
    snprintf(now, 16, "%c%u", w->moved[i] ? 'm' : 'f', i);
    snprintf(other, 16, "%c%u", w->moved[i] ? 'f' : 'm', i);
}

static void read_compare(struct worker *w, unsigned i, vfs_node n)
{
    size_t got = 0;

    OK(w, vfs_read(w->sh->v, n, w->buf, FILE_MAX + 1, 0, &got));
    TRUE(w, got == w->size[i]);
    pages_read(&w->data[i], w->want, got, 0);
    TRUE(w, memcmp(w->buf, w->want, got) == 0);
}

static void change_bytes(struct worker *w, unsigned i)
{
    uint64_t off = below(w, FILE_MAX - 40000);
    size_t len = 1 + below(w, below(w, 3) ? 3000 : 40000);
    struct vfs_setattr a = {.set = VFS_SIZE, .size = off};
    struct vfs_attr got;

    if (below(w, 6) == 0) {
        OK(w, vfs_setattr(w->sh->v, &nobody, node(w, w->ino[i]), &a, &got));
        if (off < w->size[i]) {
            pages_zero(&w->data[i], off, w->size[i] - off, w->op);
            pages_set(&w->data[i], off / PG_SIZE + 1, FILE_MAX, PG_HOLE, -1, w->op);
        }
        w->size[i] = off;
        return;
    }
    if (below(w, 4) == 0)
        off = w->size[i];
    if (off + len > FILE_MAX)
        return;
    memset(w->buf, (int)(1 + w->op % 250), len);
    OK(w, vfs_write(w->sh->v, &nobody, node(w, w->ino[i]), w->buf, len, off, false));
    pages_write(&w->data[i], w->buf, len, off, w->op);
    w->size[i] = MAX_OF(w->size[i], off + len);
}

static void change_name(struct worker *w, unsigned i)
{
    char now[16], other[16];
    struct vfs_attr a;

    names(w, i, now, other);
    if (below(w, 3)) {
        OK(w, vfs_rename(w->sh->v, &nobody, node(w, w->dir), now, node(w, w->dir), other, 0));
        w->moved[i] = !w->moved[i];
        return;
    }
    OK(w, vfs_unlink(w->sh->v, &nobody, node(w, w->dir), now));
    OK(w, vfs_orphan_drop(w->sh->v, w->ino[i]));
    OK(w, vfs_mknod(w->sh->v, &nobody, node(w, w->dir), now, S_IFREG | 0644, 0, &a));
    w->ino[i] = vfs_node_ino(a.node);
    pages_free(&w->data[i]);
    w->size[i] = 0;
}

static void count_up(struct worker *w)
{
    uint64_t n = atomic_load(&w->returned) + 1;

    atomic_store(&w->asked, n);
    OK(w, vfs_write(w->sh->v, &nobody, node(w, w->seq_ino), &n, sizeof(n), 0, false));
    atomic_store(&w->returned, n);
}

static void one_op(struct worker *w)
{
    unsigned i = (unsigned)below(w, FILES);

    switch (below(w, 12)) {
    case 0:
    case 1:
    case 2:
    case 3: change_bytes(w, i); break;
    case 4: change_name(w, i); break;
    case 5: OK(w, vfs_fsync(w->sh->v, node(w, w->ino[i]))); break;
    case 6: OK(w, vfs_setxattr(w->sh->v, &nobody, node(w, w->ino[i]), "user.t", &w->op, 8, 0, false)); break;
    case 7:
    case 8: count_up(w); break;
    default: read_compare(w, i, node(w, w->ino[i])); break;
    }
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;

    for (w->op = 1; w->op <= w->sh->ops; w->op++)
        one_op(w);
    return NULL;
}

static void worker_prepare(struct shared *sh, unsigned index)
{
    struct worker *w = &sh->w[index];
    struct vfs_attr a;
    char name[16], other[16];

    w->sh = sh;
    w->index = index;
    w->rng = sh->seed * 1000 + index;
    w->buf = malloc(FILE_MAX + 1);
    w->want = malloc(FILE_MAX + 1);
    assert(w->buf && w->want);
    snprintf(name, sizeof(name), "t%u", index);
    OK(w, vfs_mknod(sh->v, &nobody, (vfs_node){INO_ROOT}, name, S_IFDIR | 0755, 0, &a));
    w->dir = vfs_node_ino(a.node);
    OK(w, vfs_mknod(sh->v, &nobody, node(w, w->dir), "seq", S_IFREG | 0644, 0, &a));
    w->seq_ino = vfs_node_ino(a.node);
    count_up(w);
    for (unsigned i = 0; i < FILES; i++) {
        names(w, i, name, other);
        OK(w, vfs_mknod(sh->v, &nobody, node(w, w->dir), name, S_IFREG | 0644, 0, &a));
        w->ino[i] = vfs_node_ino(a.node);
    }
}

/* What a snapshot's counters say lies between what had returned before it was asked for and what had begun when it was
 * there; read again later they say the same. */
static void snap_counters(struct shared *sh, const char *name, uint64_t *seen)
{
    struct worker *any = &sh->w[0];
    struct vfs_attr a;
    vfs_node root;

    OK(any, view_enter(sh->v, name, INO_ROOT, &root, &a));
    for (unsigned i = 0; i < sh->threads; i++) {
        vfs_node n = vfs_node_make(vfs_node_view(root), sh->w[i].seq_ino);
        size_t len = 0;

        OK(any, vfs_read(sh->v, n, &seen[i], sizeof(seen[i]), 0, &len));
        TRUE(any, len == sizeof(seen[i]));
    }
}

static void snap_round(struct shared *sh, unsigned k)
{
    uint64_t before[THREADS_MAX], after[THREADS_MAX], seen[THREADS_MAX], again[THREADS_MAX] = {0};
    struct worker *any = &sh->w[0];
    char name[32];

    snprintf(name, sizeof(name), "s%u", k);
    for (unsigned i = 0; i < sh->threads; i++)
        before[i] = atomic_load(&sh->w[i].returned);
    OK(any, snap_create(sh->v, &nobody, name, NULL));
    for (unsigned i = 0; i < sh->threads; i++)
        after[i] = atomic_load(&sh->w[i].asked);
    snap_counters(sh, name, seen);
    for (unsigned i = 0; i < sh->threads; i++) {
        TRUE(any, seen[i] >= before[i]);
        TRUE(any, seen[i] <= after[i]);
    }
    snap_counters(sh, name, again);
    TRUE(any, memcmp(seen, again, sh->threads * sizeof(seen[0])) == 0);
    atomic_fetch_add(&sh->snaps, 1);
    if (k >= 12) {
        snprintf(name, sizeof(name), "s%u", k - 12);
        OK(any, snap_delete(sh->v, &nobody, name));
    }
}

static void *snap_main(void *arg)
{
    struct shared *sh = arg;

    for (unsigned k = 0; !atomic_load(&sh->stop); k++)
        snap_round(sh, k);
    return NULL;
}

static void open_store(struct shared *sh, const char *dir, const struct store_settings *set)
{
    char why[256] = "";
    struct worker *any = &sh->w[0];

    OK(any, store_open(io_real(), dir, set, 0, &sh->s, why));
    OK(any, snap_attach(sh->s));
}

static void check_all(struct shared *sh)
{
    for (unsigned i = 0; i < sh->threads; i++)
        for (unsigned k = 0; k < FILES; k++)
            read_compare(&sh->w[i], k, node(&sh->w[i], sh->w[i].ino[k]));
}

static void on_line(void *arg, const char *line)
{
    (void)arg;
    printf("check: %s\n", line);
}

static uint64_t check_problems(struct shared *sh)
{
    struct check_opts co = {.quiet = true, .say = on_line};
    struct check_result found = {0};

    OK(&sh->w[0], store_checkpoint(sh->s));
    OK(&sh->w[0], store_reclaim_idle(sh->s));
    OK(&sh->w[0], check_store(sh->s, &co, &found));
    return found.problems;
}

static void run_threads(struct shared *sh)
{
    pthread_t t[THREADS_MAX], snap;

    for (unsigned i = 0; i < sh->threads; i++)
        TRUE(&sh->w[i], pthread_create(&t[i], NULL, worker_main, &sh->w[i]) == 0);
    TRUE(&sh->w[0], pthread_create(&snap, NULL, snap_main, sh) == 0);
    for (unsigned i = 0; i < sh->threads; i++)
        pthread_join(t[i], NULL);
    atomic_store(&sh->stop, true);
    pthread_join(snap, NULL);
}

int m_threads(const char *base, uint64_t seed, uint64_t count, unsigned threads)
{
    static struct shared sh;
    struct store_settings set = {.flush_ms = 20,
                                 .delta_bytes = 1u << 20,
                                 .segment_bytes = 1u << 20,
                                 .segments = 6,
                                 .dirty_bytes = 4u << 20,
                                 .fd_cache = 16};
    int64_t began = clock_mono_ns();
    uint64_t problems;
    char dir[300];

    sh.seed = seed, sh.ops = count, sh.threads = MIN_OF(threads, (unsigned)THREADS_MAX);
    sh.w[0].sh = &sh;
    snprintf(dir, sizeof(dir), "%s/threads", base);
    OK(&sh.w[0], store_create(io_real(), dir, &set));
    open_store(&sh, dir, &set);
    OK(&sh.w[0], volume_create(sh.s, "main", &(struct volume_opts){0}, &sh.v));
    for (unsigned i = 0; i < sh.threads; i++)
        worker_prepare(&sh, i);
    run_threads(&sh);
    check_all(&sh);
    problems = check_problems(&sh);
    OK(&sh.w[0], store_close(sh.s));
    open_store(&sh, dir, &set);
    OK(&sh.w[0], volume_find(sh.s, "main", &sh.v));
    check_all(&sh);
    OK(&sh.w[0], store_close(sh.s));
    for (unsigned i = 0; i < sh.threads; i++) {
        for (unsigned k = 0; k < FILES; k++)
            pages_free(&sh.w[i].data[k]);
        free(sh.w[i].buf);
        free(sh.w[i].want);
    }
    printf("%u threads, %llu operations each, %llu snapshots, %.1f s, %llu problems\n", sh.threads,
           (unsigned long long)count, (unsigned long long)atomic_load(&sh.snaps),
           (double)(clock_mono_ns() - began) / 1e9, (unsigned long long)problems);
    printf("%d passed, %d failed, 0 skipped\n", problems == 0, problems != 0);
    return problems != 0;
}
