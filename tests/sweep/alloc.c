/* The allocator of the program, so that LMDB, libfuse, libconfig and jansson meet it, too. A sanitizer has its own: then nothing is
 * swept here, and it looks for leaks itself. */
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "tests/sweep/sweep.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
bool alloc_can(void)
{
    return false;
}
void alloc_fail(int64_t n)
{
    (void)n;
}
bool alloc_failed(void)
{
    return false;
}
int64_t alloc_live(void)
{
    return 0;
}
#else
/* libc's own, under other names */
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);
extern void *__libc_memalign(size_t align, size_t n);
extern void __libc_free(void *p);

static _Thread_local int64_t left; /* 0: none fails; negative: it did */
static _Atomic int64_t live;

bool alloc_can(void)
{
    return true;
}

void alloc_fail(int64_t n)
{
    left = n;
}

bool alloc_failed(void)
{
    bool did = left < 0;

    left = 0;
    return did;
}

int64_t alloc_live(void)
{
    return atomic_load(&live);
}

static bool refuse(void)
{
    if (left > 0 && --left == 0) {
        left = -1;
        errno = ENOMEM;
        return true;
    }
    return false;
}

static void *counted(void *p)
{
    if (p)
        atomic_fetch_add_explicit(&live, 1, memory_order_relaxed);
    return p;
}

void *malloc(size_t n)
{
    return refuse() ? NULL : counted(__libc_malloc(n));
}

void *calloc(size_t n, size_t size)
{
    return refuse() ? NULL : counted(__libc_calloc(n, size));
}

void *realloc(void *p, size_t n)
{
    void *q;

    if (refuse())
        return NULL;
    q = __libc_realloc(p, n);
    return p ? q : counted(q);
}

void *memalign(size_t align, size_t n)
{
    return refuse() ? NULL : counted(__libc_memalign(align, n));
}

void *aligned_alloc(size_t align, size_t n)
{
    return memalign(align, n);
}

int posix_memalign(void **ret, size_t align, size_t n)
{
    void *p = memalign(align, n);

    if (!p)
        return ENOMEM;
    *ret = p;
    return 0;
}

void free(void *p)
{
    int e = errno;

    if (p)
        atomic_fetch_sub_explicit(&live, 1, memory_order_relaxed);
    __libc_free(p);
    errno = e;
}
#endif
