/* reopen --files N [--computing] [--kept DIR]: how long a store with N files and a full journal takes to open, after a process that was killed: on the same
 * boot, and as on another one, with nothing of the store in memory. The median of five each has to be at most a second;
 * with --computing it is that of the time spent computing, as on a machine where others keep the disk busy.
 *
 * A full journal: as far as writers get while a checkpoint does not: two deltas' worth of creations (one that was sealed, one that
 * filled up behind it), then small synced writes, whose bytes travel in the records, until only the last quarter is left, which is
 * kept for operations that free. --kept: the store that is opened is taken from there, and made there if it is not there yet. */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "snap/snapshot.h"
#include "snap/store/journal.h"
#include "snap/store/store_int.h"
#include "snap/vfs.h"
#include "tests/lib/test.h"
#include "tests/lib/tree.h"

#define RUNS 5
#define IN_DIR 1000u
#define BOUND_MS 1000.0
#define SYNCED 60000u

static uint64_t files = 1000000;
static bool computing;
static char path[410], kept[400]; /* the store that is opened, and as it was left */
static const char *keep;          /* as asked for: where it stays */
static const struct vfs_ctx ctx = {.umask = 022};

struct made {
    struct store *s;
    struct vol *v;
    vfs_node dir;
    uint64_t n;
};

static void make_one(struct made *m)
{
    static const char text[] = "a file has something in it, if only a line of text like this one\n";
    struct vfs_attr a;
    char name[32];

    if (m->n % IN_DIR == 0) {
        snprintf(name, sizeof(name), "d%llu", (unsigned long long)(m->n / IN_DIR));
        CHECK_OK(
            vfs_mknod(m->v, &ctx, vfs_node_make(m->v->rec.live_view, INO_ROOT), name, S_IFDIR | 0755, 0, &a));
        m->dir = a.node;
    }
    snprintf(name, sizeof(name), "file-%llu", (unsigned long long)m->n++);
    CHECK_OK(vfs_mknod(m->v, &ctx, m->dir, name, S_IFREG | 0644, 0, &a));
    CHECK_OK(vfs_write(m->v, &ctx, a.node, text, sizeof(text) - 1, 0, false));
}

static void open_it(const struct store_settings *set, struct made *m)
{
    char why[256] = "";

    if (store_open(io_real(), path, set, 0, &m->s, why) < 0)
        test_fail(__FILE__, __LINE__, "open: %s", why);
    CHECK_OK(snap_attach(m->s));
    CHECK_OK(volume_find(m->s, "main", &m->v));
}

/* Files in the tables, nothing in the journal. */
static void make_files(struct made *m)
{
    int64_t began = clock_mono_ns();
    struct vol *v;
    char why[256];

    CHECK_OK(store_create(io_real(), path, NULL));
    CHECK_OK(store_open(io_real(), path, NULL, 0, &m->s, why));
    CHECK_OK(snap_attach(m->s));
    CHECK_OK(volume_create(m->s, "main", NULL, &v));
    CHECK_OK(store_close(m->s));
    open_it(NULL, m);
    while (m->n < files)
        make_one(m);
    CHECK_OK(store_close(m->s));
    printf("  %llu files made in %.0f s\n", (unsigned long long)files,
           (double)(clock_mono_ns() - began) / 1e9);
}

/* Small synced writes; false: the journal has not even room for them any more. */
static void make_synced(struct made *m)
{
    static uint8_t bytes[SYNCED];
    struct vfs_attr a;

    CHECK_OK(
        vfs_mknod(m->v, &ctx, vfs_node_make(m->v->rec.live_view, INO_ROOT), "synced", S_IFREG | 0644, 0, &a));
    for (uint64_t i = 0; journal_room(m->s->journal) >= journal_capacity(m->s->journal) / 4; i++) {
        memset(bytes, (int)i, sizeof(bytes));
        CHECK_OK(vfs_write(m->v, &ctx, a.node, bytes, sizeof(bytes), i % 100 * SYNCED, false));
        CHECK_OK(vfs_fsync(m->v, a.node));
    }
}

static void fill_journal(struct made *m)
{
    const struct store_settings set = {.no_threads = true};
    uint64_t room, delta, n = m->n;

    open_it(&set, m);
    room = journal_room(m->s->journal);
    delta = 2 * m->s->set.delta_bytes;
    store_no_wait++;
    while (kv_delta_bytes(m->s->kv) < delta &&
           journal_room(m->s->journal) > journal_capacity(m->s->journal) / 3)
        make_one(m);
    n = m->n - n;
    make_synced(m);
    store_no_wait--;
    CHECK_OK(store_flush(m->s));
    printf("  journal: %.0f of %.0f MiB, %llu more files in it, delta %.0f MiB\n",
           (double)(room - journal_room(m->s->journal)) / 1048576,
           (double)journal_capacity(m->s->journal) / 1048576, (unsigned long long)n,
           (double)kv_delta_bytes(m->s->kv) / 1048576);
}

/* In a process that ends as if it were killed. */
static void in_child(void (*fn)(void *arg), void *arg)
{
    int status;
    pid_t pid = fork();

    CHECK(pid >= 0);
    if (pid == 0) {
        fn(arg);
        fflush(stdout);
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void build(void *arg)
{
    struct made m = {.n = 0};

    (void)arg;
    make_files(&m);
    fill_journal(&m);
}

/* What the store's directory holds is on the disk, and not in memory. */
static int forget_file(void *arg, const char *name)
{
    char file[800];
    int fd;

    snprintf(file, sizeof(file), "%s/%s", (const char *)arg, name);
    fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        close(fd);
    }
    return 0;
}

static void forget(void)
{
    static const char *const dirs[] = {"", "/meta", "/journal"};

    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        char dir[500];

        snprintf(dir, sizeof(dir), "%s%s", path, dirs[i]);
        (void)io_list(dir, forget_file, dir);
    }
}

struct run {
    bool other_boot;
    int pipe[2];
};

struct took {
    int64_t ns, cpu_ns;
};

static int64_t cpu_ns(void)
{
    struct timespec t;

    CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

/* What a daemon does until it can answer; then it ends. */
static void one_open(void *arg)
{
    struct run *run = arg;
    uint8_t boot[16] = {1};
    struct made m = {.n = 0};
    struct store_state st;
    struct took took;

    if (run->other_boot) {
        int64_t now = clock_wall_ns();

        memcpy(boot, &now, sizeof(now));
        journal_test_boot_id(boot);
    }
    took = (struct took){.ns = -clock_mono_ns(), .cpu_ns = -cpu_ns()};
    open_it(NULL, &m);
    took.ns += clock_mono_ns();
    took.cpu_ns += cpu_ns();
    store_get_state(m.s, &st);
    CHECK(st.mode == STORE_RW);
    CHECK(st.unclean);
    CHECK(st.powercut == run->other_boot);
    CHECK(write(run->pipe[1], &took, sizeof(took)) == sizeof(took));
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

/* On the disk before it is opened: what would have to wait for a copy to be written measures nothing. */
static void put_back(void)
{
    int fd;

    (void)tree_remove(path);
    CHECK_OK(tree_copy(kept, path));
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(fd >= 0 && syncfs(fd) == 0);
    close(fd);
}

/* The median. */
static double opened(const char *what, bool other_boot)
{
    struct run run = {.other_boot = other_boot};
    int64_t ns[RUNS], cpu[RUNS];
    int runs = computing ? RUNS - 2 : RUNS;
    struct took took;
    double p50, p50_cpu;

    CHECK(pipe(run.pipe) == 0);
    for (int i = 0; i < runs; i++) {
        put_back();
        if (other_boot)
            forget();
        in_child(one_open, &run);
        CHECK(read(run.pipe[0], &took, sizeof(took)) == sizeof(took));
        ns[i] = took.ns;
        cpu[i] = took.cpu_ns;
    }
    close(run.pipe[0]);
    close(run.pipe[1]);
    qsort(ns, (size_t)runs, sizeof(ns[0]), by_value);
    qsort(cpu, (size_t)runs, sizeof(cpu[0]), by_value);
    p50 = (double)ns[runs / 2] / 1e6;
    p50_cpu = (double)cpu[runs / 2] / 1e6;
    printf("  opened %-36s p50 %.0f ms, %.0f to %.0f; computing: p50 %.0f\n", what, p50, (double)ns[0] / 1e6,
           (double)ns[runs - 1] / 1e6, p50_cpu);
    return computing ? p50_cpu : p50;
}

static void tell_tables(void)
{
    struct stat st;
    char file[450];

    snprintf(file, sizeof(file), "%s/meta/data.mdb", kept);
    CHECK(stat(file, &st) == 0);
    printf("  tables: %.0f MB, %.0f bytes a file\n", (double)st.st_size / 1e6,
           (double)st.st_size / (double)files);
}

TEST(test_reopen__a_full_journal)
{
    double same, other;

    snprintf(kept, sizeof(kept), "%s%s", keep ? keep : test_dir(), keep ? "" : "/kept");
    snprintf(path, sizeof(path), "%s.open", kept);
    (void)tree_remove(path);
    if (access(kept, F_OK) < 0) {
        in_child(build, NULL);
        CHECK(rename(path, kept) == 0);
    }
    tell_tables();
    same = opened("on the same boot:", false);
    other = opened("on another boot, nothing in memory:", true);
    if (same > BOUND_MS || other > BOUND_MS)
        test_fail(__FILE__, __LINE__, "p50 %.0f and %.0f ms, at most %.0f", same, other, BOUND_MS);
    (void)tree_remove(path);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"files", required_argument, NULL, 'f'},
                                            {"computing", no_argument, NULL, 'c'},
                                            {"kept", required_argument, NULL, 'k'},
                                            {0}};
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'f': files = strtoull(optarg, NULL, 10); break;
        case 'c': computing = true; break;
        case 'k': keep = optarg; break;
        default: return 2;
        }
    }
    log_set_level(LOG_ERROR);
    argv[optind - 1] = argv[0];
    return test_main(argc - optind + 1, argv + optind - 1);
}
