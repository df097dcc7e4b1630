/* LMDB asks for 2 MiB of zeros each time that it is opened, and touches a page or two of them. From the heap they cost more than
 * all else in opening a small store; here they are memory that is given back to the kernel, which zeroes what was touched. */
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/base.h"

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

#define PIECE (4ull << 20)
#define PIECES 8u

void *__libc_calloc(size_t n, size_t each);
void __libc_free(void *p);

static uint8_t *room; /* PIECES pieces; NULL: not asked for yet */
static bool taken[PIECES];

static void *piece_take(void)
{
    if (!room) {
        void *p = (void *)syscall(SYS_mmap, NULL, PIECE * PIECES, PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED)
            return NULL;
        room = p;
    }
    for (unsigned i = 0; i < PIECES; i++)
        if (!__atomic_exchange_n(&taken[i], true, __ATOMIC_ACQ_REL))
            return room + i * PIECE;
    return NULL;
}

void *calloc(size_t n, size_t each)
{
    size_t len;
    void *p = NULL;

    if (!__builtin_mul_overflow(n, each, &len) && len > PIECE / 4 && len <= PIECE)
        p = piece_take();
    return p ? p : __libc_calloc(n, each);
}

void free(void *p)
{
    uint64_t off = (uint64_t)((uint8_t *)p - room);

    if (!room || off >= PIECE * PIECES) {
        __libc_free(p);
        return;
    }
    (void)syscall(SYS_madvise, p, PIECE, MADV_DONTNEED);
    __atomic_store_n(&taken[off / PIECE], false, __ATOMIC_RELEASE);
}

#endif
