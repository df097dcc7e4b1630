/* bitflip [--flips N] [--seed S] [--under N] [--trace]: a store with files, snapshots and clones is made; then, N times, one of
 * its files lies somewhere: a bit, a byte, a few bytes, a page of zeros, the end cut off. Each time a process of its own opens the
 * store, looks at everything, changes something, closes it. It must end by itself, and what it shows must be right or an error:
 * metadata never wrong without a word. Bytes of files lie in objects without checksums: those may be wrong, and are counted.
 *
 * --under N: the tables' file lies N times under a store that is open already. There a lost name is not always noticed at once:
 * these are counted, and scrub must find them. */
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "snap/check.h"
#include "snap/store/journal.h"
#include "snap/store/tabpages.h"
#include "tests/bitflip/flip.h"
#include "tests/lib/box.h"
#include "tests/lib/test.h"
#include "tests/lib/tree.h"

#define FILES_MAX 400
#define HANG_SECONDS 30u

/* How a try ended, as the child's exit code. */
enum verdict {
    V_REFUSED = 10,
    V_READONLY,
    V_ERRORS,
    V_HARMLESS,
    V_BYTES,
    V_CHECKED,
    V_WRONG,
    V_UNSEEN,
    V_END
};
static const char *const verdict_names[] = {"refused at open",       "opened read-only, says why",
                                            "errors where it lies",  "without effect",
                                            "bytes of a file wrong", "found by check",
                                            "WRONG WITHOUT A WORD",  "unseen until a scrub finds it"};

static struct {
    uint64_t flips, under, seed, only;
    bool trace;
} args = {.flips = 2000, .under = 400, .seed = 1, .only = UINT64_MAX};

static char root[200], base[256], work[256];
static struct store_settings set = {.no_threads = true,
                                    .segment_bytes = 512 << 10,
                                    .segments = 4,
                                    .map_bytes = 16 << 20,
                                    .inline_bytes = 2048};
static struct buf before, after; /* pictures: without the last record of the journal, and with it */
static uint64_t rng;
static const uint8_t boot[16] = "bitflip";

static struct {
    char path[600];
    uint64_t size;
} files[FILES_MAX];
static size_t nfiles;

static uint64_t dice(uint64_t n)
{
    return n ? test_rand(&rng) % n : 0;
}

/* --- the store ---------------------------------------------------------------------------------------------------------- */

static void store_make(void)
{
    struct box b = {.io = io_real()};
    struct vol *clone;
    struct store *s;

    b.set = set;
    snprintf(b.path, sizeof(b.path), "%s", base);
    CHECK_OK(store_create(b.io, b.path, &set));
    CHECK_OK(store_open(b.io, b.path, &set, 0, &b.s, NULL));
    CHECK_OK(snap_attach(b.s));
    CHECK_OK(volume_create(b.s, "main", NULL, &b.v));
    for (unsigned i = 0; i < 3; i++) {
        char name[16];
        snprintf(name, sizeof(name), "s%u", i);
        box_mess(&b, b.v, &rng, 250);
        CHECK_OK(snap_create(b.v, &b.c, name, NULL));
        CHECK_OK(store_checkpoint(b.s));
    }
    CHECK_OK(volume_clone(b.v, "s1", "clone", &clone));
    for (unsigned i = 0; i < 300; i++) { /* pages enough for branches */
        char name[80];
        snprintf(name, sizeof(name), "a-name-as-long-as-names-are-wont-to-be-%u", i);
        box_write(&b, clone, name, "bytes", 5, 0);
    }
    CHECK_OK(snap_delete(b.v, &b.c, "s0"));
    CHECK_OK(store_close(b.s));
    /* and a part that only the journal has; the last record is one of its own */
    CHECK_OK(store_open(b.io, b.path, &set, 0, &s, NULL));
    CHECK_OK(snap_attach(b.s = s));
    CHECK_OK(volume_find(s, "main", &b.v));
    box_mess(&b, b.v, &rng, 60);
    CHECK_OK(store_sync(s));
    picture_take(s, &before);
    box_mkdir(&b, b.v, "the-last-thing-that-was-done");
    CHECK_OK(store_flush(s));
    picture_take(s, &after);
    store_drop(s);
}

static int file_note(void *arg, const char *name)
{
    const char *dir = arg;
    char path[600];
    struct stat st;

    snprintf(path, sizeof(path), "%s%s%s", dir, *dir ? "/" : "", name);
    {
        char whole[900];
        snprintf(whole, sizeof(whole), "%s/%s", base, path);
        CHECK_OK(io_stat(io_real(), whole, &st));
        if (S_ISDIR(st.st_mode))
            return io_list(whole, file_note, path);
    }
    if (st.st_size == 0 || strstr(path, "lock") || nfiles == FILES_MAX)
        return 0;
    snprintf(files[nfiles].path, sizeof(files[0].path), "%s", path);
    files[nfiles++].size = (uint64_t)st.st_size;
    return 0;
}

/* --- one lie ------------------------------------------------------------------------------------------------------------ */

struct lie {
    size_t file;
    int kind; /* 0 bit, 1 byte, 2 few bytes, 3 zeros, 4 cut, 5 a page of another place */
    uint64_t at, len;
    uint64_t seed;
};
static const char *const kinds[] = {"bit", "byte", "bytes", "zeros", "cut", "page of another place"};

static size_t file_pick(bool tables)
{
    size_t tries = 0, i;

    for (;;) { /* the tables as often as all others, the objects seldom */
        bool mdb, object;
        i = dice(nfiles);
        mdb = strstr(files[i].path, "data.mdb") != NULL;
        object = strncmp(files[i].path, "data/", 5) == 0;
        if (mdb || (!tables && (dice(2) || tries > 400) && !(object && dice(20))))
            if (tables ? mdb : mdb || tries++ > nfiles / 2)
                return i;
        tries++;
    }
}

static struct lie lie_make(bool tables)
{
    struct lie l = {.file = file_pick(tables), .seed = test_rand(&rng)};
    uint64_t size = files[l.file].size;

    l.kind = (int)dice(12);
    l.kind = l.kind < 6 ? 0 : l.kind < 7 ? 1 : l.kind - 6;
    if (tables && l.kind == 4)
        l.kind = 0;
    l.at = dice(size);
    if (l.kind == 5 && size < 8192)
        l.kind = 1;
    l.len = l.kind == 2 ? 1 + dice(64) : l.kind == 3 ? 1 + dice(4096) : 1;
    if (l.kind == 5) {
        l.at = l.at / 4096 * 4096;
        l.len = 4096;
    }
    l.len = MIN_OF(l.len, size - l.at);
    return l;
}

static bool lie_tell(const struct lie *l, const char *store)
{
    uint8_t was[4096], is[4096];
    uint64_t seed = l->seed;
    char path[600];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", store, files[l->file].path);
    fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0);
    if (l->kind == 4) {
        CHECK(ftruncate(fd, (off_t)l->at) == 0);
        close(fd);
        return true;
    }
    CHECK(pread(fd, was, l->len, (off_t)l->at) == (ssize_t)l->len);
    memcpy(is, was, l->len);
    switch (l->kind) {
    case 0: is[0] ^= (uint8_t)(1u << test_rand(&seed) % 8); break;
    case 3: memset(is, 0, l->len); break;
    case 5:
        CHECK(pread(fd, is, l->len, (off_t)(test_rand(&seed) % (files[l->file].size / 4096) * 4096)) > 0);
        break;
    default:
        for (size_t i = 0; i < l->len; i++)
            is[i] = (uint8_t)test_rand(&seed);
    }
    CHECK(pwrite(fd, is, l->len, (off_t)l->at) == (ssize_t)l->len);
    close(fd);
    return memcmp(is, was, l->len) != 0;
}

/* --- what the store makes of it ------------------------------------------------------------------------------------------ */

static enum verdict judge(struct buf *got, bool journal, char where[512])
{
    enum difference d = picture_compare(&after, got, where);

    /* the last record, damaged, looks like the torn end of a journal */
    if (d == WRONG && journal && picture_compare(&before, got, where) < WRONG)
        d = SAME;
    return d == WRONG ? V_WRONG : d == WRONG_BYTES ? V_BYTES : d == ERRORS ? V_ERRORS : V_HARMLESS;
}

static void use(struct store *s)
{
    struct box b = {.io = io_real(), .s = s};
    static const char text[] = "new bytes";
    struct vfs_attr a;
    vfs_node dir;

    if (volume_find(s, "main", &b.v) < 0)
        return;
    dir = vfs_node_make(b.v->rec.live_view, INO_ROOT);
    if (vfs_mknod(b.v, &b.c, dir, "a new file", S_IFREG | 0644, 0, &a) == 0)
        (void)vfs_write(b.v, &b.c, a.node, text, sizeof(text), 100000, false);
    (void)vfs_unlink(b.v, &b.c, dir, "a new file");
    (void)store_sync(s);
    (void)store_checkpoint(s);
    (void)store_reclaim_idle(s);
}

static bool check_finds(const char *store)
{
    struct check_opts o = {.quiet = true};
    struct check_result res = {0};
    int r = check_path(io_real(), store, &o, &res);

    return r < 0 || res.problems > 0;
}

/* In the child: never returns. */
static void try_closed(const struct lie *l)
{
    cleanup(buf_free) struct buf got = {0};
    struct store_state st;
    struct store *s;
    char why[256], where[512] = "";
    enum verdict v;
    int r = store_open(io_real(), work, &set, 0, &s, why);

    if (r == 0)
        r = snap_attach(s);
    if (r < 0) {
        if (args.trace)
            printf("    %s: %s\n", err_name(r), why);
        fflush(stdout);
        _exit(V_REFUSED);
    }
    picture_take(s, &got);
    store_get_state(s, &st);
    v = judge(&got, strstr(files[l->file].path, "journal") != NULL, where);
    if (v == V_BYTES && strncmp(files[l->file].path, "data/", 5) != 0)
        v = V_WRONG; /* only objects have no checksums */
    if (st.mode != STORE_RW)
        v = V_READONLY;
    use(s);
    (void)store_close(s);
    if (v == V_HARMLESS && check_finds(work))
        v = V_CHECKED;
    if (v >= V_WRONG || args.trace)
        printf("    %s\n", where);
    fflush(stdout);
    _exit(v);
}

static bool scrub_finds(void)
{
    char meta[300], why[256];

    snprintf(meta, sizeof(meta), "%s/meta", work);
    return tabpages_check(io_real(), meta, NULL, why, NULL) == -E_CORRUPT;
}

static void try_open(const struct lie *l)
{
    cleanup(buf_free) struct buf got = {0};
    struct store_state st;
    struct store *s;
    char where[512] = "";
    enum verdict v;
    bool found;

    CHECK_OK(store_open(io_real(), work, &set, 0, &s, NULL));
    CHECK_OK(snap_attach(s));
    if (!lie_tell(l, work))
        _exit(V_HARMLESS);
    found = scrub_finds();
    picture_take(s, &got);
    v = judge(&got, false, where);
    use(s);
    store_get_state(s, &st);
    if (st.mode != STORE_RW)
        v = V_READONLY;
    else if (v == V_WRONG || v == V_BYTES)
        v = found ? V_UNSEEN : V_WRONG;
    if (v == V_WRONG || args.trace)
        printf("    %s %s\n", where, found ? "(found by scrub)" : "");
    store_drop(s);
    fflush(stdout);
    _exit(v);
}

/* --- all of it ---------------------------------------------------------------------------------------------------------- */

static uint64_t counts[V_END], failures;

static void try_one(uint64_t n, bool under)
{
    const struct rlimit no_core = {0};
    struct lie l = lie_make(under);
    int status, v;
    pid_t pid;

    if (args.only != UINT64_MAX && n != args.only)
        return;
    if (args.trace)
        printf("%llu %s: %s at %llu +%llu\n", (unsigned long long)n, files[l.file].path, kinds[l.kind],
               (unsigned long long)l.at, (unsigned long long)l.len);
    CHECK_OK(tree_copy(base, work));
    if (!under && !lie_tell(&l, work)) {
        CHECK_OK(tree_remove(work));
        return;
    }
    fflush(stdout);
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        setrlimit(RLIMIT_CORE, &no_core);
        alarm(HANG_SECONDS);
        if (under)
            try_open(&l);
        try_closed(&l);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK_OK(tree_remove(work));
    v = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    if (v >= V_REFUSED && v < V_END)
        counts[v]++;
    if (v >= V_REFUSED && v < V_END && v != V_WRONG)
        return;
    failures++;
    printf("FAIL %s %llu of seed %llu, %s: %s at %llu +%llu: ", under ? "under" : "flip",
           (unsigned long long)n, (unsigned long long)args.seed, files[l.file].path, kinds[l.kind],
           (unsigned long long)l.at, (unsigned long long)l.len);
    if (WIFSIGNALED(status))
        printf("%s %d\n", WTERMSIG(status) == SIGALRM ? "hangs, signal" : "died of signal", WTERMSIG(status));
    else
        printf("%s\n", v == V_WRONG ? verdict_names[v - V_REFUSED] : "ended by itself");
}

static void tell(const char *what, uint64_t n, uint64_t failed)
{
    printf("%s: %llu, of these", what, (unsigned long long)n);
    for (unsigned v = V_REFUSED; v < V_END; v++)
        if (counts[v])
            printf(" | %s %llu", verdict_names[v - V_REFUSED], (unsigned long long)counts[v]);
    printf(" | crashed or hung %llu\n", (unsigned long long)failed);
    memset(counts, 0, sizeof(counts));
}

TEST(test_bitflip)
{
    uint64_t failed;
    char empty[] = "";

    log_set_fd(open("/dev/null", O_WRONLY | O_CLOEXEC));
    snprintf(root, sizeof(root), "%s", test_dir());
    snprintf(base, sizeof(base), "%s/base", root);
    snprintf(work, sizeof(work), "%s/work", root);
    journal_test_boot_id(boot);
    rng = args.seed;
    store_make();
    CHECK_OK(io_list(base, file_note, empty));
    printf("%zu files, %zu lines to see\n", nfiles, (size_t)(after.len / 60));
    for (uint64_t n = 0; n < args.flips; n++)
        try_one(n, false);
    failed = failures;
    tell("files that lie at opening", args.flips, failed - counts[V_WRONG]);
    for (uint64_t n = 0; n < args.under; n++)
        try_one(n, true);
    tell("tables that lie under an open store", args.under, failures - failed - counts[V_WRONG]);
    buf_free(&before);
    buf_free(&after);
    if (failures)
        test_fail(__FILE__, __LINE__, "%llu of %llu", (unsigned long long)failures,
                  (unsigned long long)(args.flips + args.under));
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"flips", required_argument, NULL, 'f'}, {"under", required_argument, NULL, 'u'},
        {"seed", required_argument, NULL, 's'},  {"only", required_argument, NULL, 'o'},
        {"trace", no_argument, NULL, 't'},       {0}};
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
        switch (c) {
        case 'f': args.flips = strtoull(optarg, NULL, 10); break;
        case 'u': args.under = strtoull(optarg, NULL, 10); break;
        case 's': args.seed = strtoull(optarg, NULL, 10); break;
        case 'o': args.only = strtoull(optarg, NULL, 10); break;
        case 't': args.trace = true; break;
        default: return 2;
        }
    return test_main(1, argv);
}
