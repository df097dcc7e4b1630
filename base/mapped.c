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
static bool find(const void *p, uintptr_t *ret_from, uintptr_t *ret_to)
{
    cleanup(close_file) FILE *f = fopen("/proc/self/maps", "re");
    char line[4400], mode[5];
    uint64_t from, to, inode;

    while (f && fgets(line, sizeof(line), f)) {
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*x %*x:%*x %" SCNu64, &from, &to, mode, &inode) != 4)
            continue;
        if ((uintptr_t)p < from || (uintptr_t)p >= to)
            continue;
        *ret_from = (uintptr_t)from;
        *ret_to = (uintptr_t)to;
        return (mode[3] == 's' && inode != 0) || BROKEN(VARVE_BREAK_mapped_private);
    }
    return false;
}

int mapped_let_go(const void *p)
{
    uintptr_t from, to;

    return find(p, &from, &to) && madvise((void *)from, to - from, MADV_DONTNEED) == 0;
}
