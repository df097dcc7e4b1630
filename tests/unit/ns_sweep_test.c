/* Every write and every sync that the disk could refuse, one after the other, while names are made and moved: an operation
 * that failed has done nothing, one that succeeded is there after the next opening. */
#include <ftw.h>
#include <sys/stat.h>

#include "snap/ns.h"
#include "tests/lib/lying.h"
#include "tests/lib/nsfix.h"

#define FILES 12
static const struct store_settings small = {.no_threads = true, .segment_bytes = 1 << 20, .segments = 4};

enum { CREATED = 1, LINKED = 2, MOVED = 4, GONE = 8 };

static void setup(struct nsfix *f, struct lying **disk)
{
    snprintf(f->path, sizeof(f->path), "%s/store", test_dir());
    snprintf(f->name, sizeof(f->name), "main");
    CHECK(mkdir(f->path, 0700) == 0);
    CHECK_OK(lying_new(f->path, disk));
    f->io = lying_io(*disk);
    CHECK_OK(store_create(f->io, f->path, &small));
    CHECK_OK(store_open(f->io, f->path, &small, 0, &f->s, NULL));
    CHECK_OK(snap_attach(f->s));
    CHECK_OK(volume_create(f->s, f->name, &(struct volume_opts){0}, &f->v));
}

/* What each file came to. */
static void play(struct nsfix *f, unsigned *done)
{
    char a[16], b[16], c[16];
    struct vfs_attr at;

    for (int i = 0; i < FILES; i++) {
        snprintf(a, sizeof(a), "a%d", i);
        snprintf(b, sizeof(b), "b%d", i);
        snprintf(c, sizeof(c), "c%d", i);
        done[i] = 0;
        if (vfs_mknod(f->v, &f->c, NSFIX_ROOT, a, (i & 1 ? S_IFDIR : S_IFREG) | 0755, 0, &at) < 0)
            continue;
        done[i] |= CREATED;
        if (!(i & 1) && vfs_link(f->v, &f->c, at.node, NSFIX_ROOT, c, &at) == 0)
            done[i] |= LINKED;
        (void)vfs_setxattr(f->v, &f->c, at.node, "user.x", "value", 5, 0, false);
        if (vfs_rename(f->v, &f->c, NSFIX_ROOT, a, NSFIX_ROOT, b, 0) == 0)
            done[i] |= MOVED;
        if (i % 3 == 0 &&
            (i & 1 ? vfs_rmdir : vfs_unlink)(f->v, &f->c, NSFIX_ROOT, done[i] & MOVED ? b : a) == 0)
            done[i] |= GONE;
        (void)store_flush(f->s);
        if (i % 4 == 3)
            (void)store_checkpoint(f->s);
    }
}

static void compare(struct nsfix *f, const unsigned *done)
{
    char name[16];

    for (int i = 0; i < FILES; i++) {
        bool there = (done[i] & CREATED) && !(done[i] & GONE);

        snprintf(name, sizeof(name), "a%d", i);
        CHECK_EQ(nsfix_has(f, NSFIX_ROOT, name), there && !(done[i] & MOVED));
        snprintf(name, sizeof(name), "b%d", i);
        CHECK_EQ(nsfix_has(f, NSFIX_ROOT, name), there && (done[i] & MOVED));
        snprintf(name, sizeof(name), "c%d", i);
        CHECK_EQ(nsfix_has(f, NSFIX_ROOT, name), (done[i] & LINKED) != 0);
    }
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

/* One round: the n-th call of these kinds fails. Returns whether it was reached. */
static bool round_of(unsigned kinds, uint64_t n, int code)
{
    struct nsfix f = {0};
    struct lying *disk;
    unsigned done[FILES];
    struct vfs_attr a;
    bool reached;

    setup(&f, &disk);
    lying_fail_at(disk, kinds, n, code);
    play(&f, done);
    reached = lying_faults(disk) > 0;
    lying_fail_off(disk);
    if (vfs_getattr(f.v, NSFIX_ROOT, &a) ==
        0) /* LMDB refuses to be read after its meta page could not be written */
        compare(&f, done);
    store_drop(f.s); /* as a daemon that is killed then */
    lying_revive(disk);
    nsfix_attach(&f);
    compare(&f, done);
    nsfix_verify(&f);
    nsfix_close(&f);
    lying_free(disk);
    nftw(f.path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return reached;
}

static void sweep(unsigned kinds, int code)
{
    uint64_t n = 1;

    while (round_of(kinds, n, code))
        n++;
    printf("  %llu calls swept\n", (unsigned long long)(n - 1));
    CHECK(n > 10);
}

TEST(test_ns_sweep__writes_refused_for_space)
{
    sweep(LYING_WRITE, -E_NOSPC);
}

TEST(test_ns_sweep__writes_that_fail)
{
    sweep(LYING_WRITE, -E_IO);
}

TEST(test_ns_sweep__writes_that_fail_half_way)
{
    sweep(LYING_WRITE | LYING_PARTIAL, -E_IO);
}

TEST(test_ns_sweep__syncs_that_fail)
{
    sweep(LYING_SYNC, -E_IO);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
