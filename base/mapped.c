#include "base/mapped.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>

static void close_file(FILE **f)
{
    if (*f)
        fclose(*f);
}

/* The shared mapping of a file that holds p; private ones have bytes that are nowhere else. */
bool mapped_find(const void *p, struct mapped *ret)
{
    cleanup(close_file) FILE *f = fopen("/proc/self/maps", "re");
    char line[4400], mode[5];
    uint64_t from, to, inode;

    while (f && fgets(line, sizeof(line), f)) {
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*x %*x:%*x %" SCNu64, &from, &to, mode, &inode) != 4)
            continue;
        if ((uintptr_t)p < from || (uintptr_t)p >= to)
            continue;
        *ret = (struct mapped){(uintptr_t)from, (uintptr_t)to};
        return (mode[3] == 's' && inode != 0) || BROKEN(VARVE_BREAK_mapped_private);
    }
    return false;
}

bool mapped_drop(const struct mapped *m)
{
    return madvise((void *)m->from, m->to - m->from, MADV_DONTNEED) == 0;
}

int mapped_scattered(const void *p, bool on)
{
    struct mapped m;

    return mapped_find(p, &m) &&
           madvise((void *)m.from, m.to - m.from,
                   on && !BROKEN(VARVE_BREAK_scattered) ? MADV_RANDOM : MADV_NORMAL) == 0;
}

int mapped_let_go(const void *p)
{
    struct mapped m;

    return mapped_find(p, &m) && mapped_drop(&m);
}
