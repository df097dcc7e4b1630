#include "tests/unit/base_lying_case.h"

static uint64_t sum_of(const char *dir)
{
    uint64_t sum = 0;

    CHECK_OK(tree_sum(dir, &sum));
    return sum;
}

static void random_contents(uint64_t *s, const char *name)
{
    int fd = io_open(io, at(0, name),
                     O_RDWR | (test_rand(s) % 2 ? O_CREAT : 0) | (test_rand(s) % 8 ? 0 : O_TRUNC), 0600);
    uint64_t off = test_rand(s) % 20000, len = test_rand(s) % 9000 + 1;

    if (fd < 0)
        return;
    switch (test_rand(s) % 4) {
    case 0: CHECK_OK(io_truncate(io, fd, off)); break;
    case 1: CHECK_OK(io_punch(io, fd, off, len)); break;
    default: fill(fd, (char)('a' + test_rand(s) % 26), off, len);
    }
    CHECK_OK(io_close(io, fd));
}

static void random_step(uint64_t *s)
{
    static const char *const names[] = {"f", "g", "h", "d/f", "d/g", "e/f", "e/d/f"};
    static const char *const dirs[] = {"d", "e", "e/d"};
    const char *a = names[test_rand(s) % ARRAY_LEN(names)], *b = names[test_rand(s) % ARRAY_LEN(names)];
    const char *d = dirs[test_rand(s) % ARRAY_LEN(dirs)], *e = dirs[test_rand(s) % ARRAY_LEN(dirs)];

    switch (test_rand(s) % 10) {
    case 0: (void)io_mkdir(io, at(0, d), 0700); break;
    case 1: (void)io_rmdir(io, at(0, d)); break;
    case 2: (void)io_unlink(io, at(0, a)); break;
    case 3: (void)io_rename(io, at(0, a), at(1, b)); break;
    case 4: (void)io_rename(io, at(0, d), at(1, e)); break;
    default: random_contents(s, a);
    }
}

static void random_sync(uint64_t *s)
{
    static const char *const names[] = {"f", "g", "d", "d/f", "e", "e/d", "e/d/f", ""};
    int fd = io_open(io, at(0, names[test_rand(s) % ARRAY_LEN(names)]), O_RDONLY, 0);

    if (fd < 0)
        return;
    CHECK_OK(io_fsync(io, fd));
    CHECK_OK(io_close(io, fd));
}

TEST(test_lying__all_is_what_the_process_saw_and_none_what_syncfs_saw)
{
    uint64_t s = test_seed();

    for (int run = 0; run < 60; run++) {
        uint64_t synced;
        int fd;

        disk_new();
        for (int i = 0; i < 60; i++) {
            random_step(&s);
            if (test_rand(&s) % 4 == 0)
                random_sync(&s);
            if (i % 10 == 9) {
                crash(s, LYING_ALL);
                CHECK_EQ(sum_of(image), sum_of(root));
                remove_tree(image);
            }
        }
        fd = io_open(io, root, O_RDONLY | O_DIRECTORY, 0);
        CHECK_OK(io_syncfs(io, fd));
        synced = sum_of(root);
        for (int i = 0; i < 30; i++)
            random_step(&s);
        crash(s, LYING_NONE);
        CHECK_EQ(sum_of(image), synced);
        remove_tree(image);
        for (int i = 0; i < 30; i++) {
            crash(test_rand(&s), LYING_MIXED); /* every choice is a tree that can be made */
            remove_tree(image);
        }
        lying_settle(disk);
        crash(s, LYING_NONE);
        CHECK_EQ(sum_of(image), sum_of(root));
        remove_tree(image);
        disk_end();
        remove_tree(root);
    }
}

TEST(test_lying__an_image_is_the_same_for_the_same_seed)
{
    uint64_t s = test_seed(), sum, differs = 0;

    disk_new();
    for (int i = 0; i < 60; i++)
        random_step(&s);
    crash(0, LYING_MIXED);
    sum = sum_of(image);
    for (uint64_t seed = 1; seed < 20; seed++) {
        crash(seed, LYING_MIXED);
        differs += sum_of(image) != sum;
        sum = sum_of(image);
        crash(seed, LYING_MIXED);
        CHECK_EQ(sum_of(image), sum);
    }
    CHECK(differs > 5);
    CHECK_ERR(lying_crash(disk, 0, LYING_ALL, test_dir()), -E_NOTEMPTY);
    disk_end();
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
