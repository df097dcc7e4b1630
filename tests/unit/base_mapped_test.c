#include "base/mapped.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/lib/test.h"

#define LEN ((size_t)1 << 20)

/* A file of bytes, mapped and read. */
static uint8_t *mapped_file(int how)
{
    char path[512];
    uint8_t *p;
    int fd;

    snprintf(path, sizeof(path), "%s/file", test_dir());
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && ftruncate(fd, LEN) == 0);
    for (size_t at = 0; at < LEN; at += 4096)
        CHECK(pwrite(fd, "x", 1, (off_t)at) == 1);
    p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, how, fd, 0);
    CHECK(p != MAP_FAILED);
    close(fd);
    for (size_t at = 0; at < LEN; at += 4096)
        CHECK(((volatile uint8_t *)p)[at] == 'x');
    return p;
}

static uint64_t rss_kib(const void *p)
{
    FILE *f = fopen("/proc/self/smaps", "re");
    unsigned long from = 0, to = 0, rss = 0, n;
    char line[4400];
    bool here = false;

    CHECK(f != NULL);
    while (fgets(line, sizeof(line), f)) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2 && to > from)
            here = (uintptr_t)p >= from && (uintptr_t)p < to;
        else if (here && sscanf(line, "Rss: %lu", &n) == 1)
            rss = n;
    }
    fclose(f);
    return rss;
}

TEST(test_mapped__pages_of_a_file_are_let_go_and_come_again)
{
    uint8_t *p = mapped_file(MAP_SHARED);

    CHECK(rss_kib(p) >= LEN >> 10);
    CHECK_EQ(mapped_let_go(p + LEN / 2), 1);
    CHECK_EQ(rss_kib(p), 0);
    for (size_t at = 0; at < LEN; at += 4096)
        CHECK(p[at] == 'x');
    munmap(p, LEN);
}

/* Has the kernel been told that reads of it are at random? */
static bool is_scattered(const void *p)
{
    FILE *f = fopen("/proc/self/smaps", "re");
    bool here = false, is = false;
    unsigned long from, to;
    char line[4400];

    CHECK(f != NULL);
    while (fgets(line, sizeof(line), f)) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2 && to > from)
            here = (uintptr_t)p >= from && (uintptr_t)p < to;
        else if (here && strncmp(line, "VmFlags:", 8) == 0)
            is = strstr(line, " rr") != NULL;
    }
    fclose(f);
    return is;
}

TEST(test_mapped__reads_all_over_a_file)
{
    uint8_t *p = mapped_file(MAP_SHARED);

    CHECK(!is_scattered(p));
    CHECK_EQ(mapped_scattered(p + LEN / 2, true), 1);
    CHECK(is_scattered(p));
    CHECK_EQ(mapped_scattered(p, false), 1);
    CHECK(!is_scattered(p));
    CHECK_EQ(mapped_scattered(NULL, true), 0);
    munmap(p, LEN);
}

/* What is nowhere else stays. */
TEST(test_mapped__other_memory_stays)
{
    uint8_t *file = mapped_file(MAP_PRIVATE), *own;

    own = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(own != MAP_FAILED);
    own[5] = file[5] = 'y';
    CHECK_EQ(mapped_let_go(own), 0);
    CHECK_EQ(mapped_let_go(file), 0);
    CHECK_EQ(mapped_let_go(NULL), 0);
    CHECK(own[5] == 'y' && file[5] == 'y');
    munmap(own, LEN);
    munmap(file, LEN);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
