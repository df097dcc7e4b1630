#include "tests/lib/seeded.h"

#include <pthread.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/lib/test.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards what follows */
static bool seeded;
static uint64_t stream;

void seeded_begin(uint64_t seed)
{
    pthread_mutex_lock(&lock);
    seeded = true;
    stream = seed;
    pthread_mutex_unlock(&lock);
}

void seeded_end(void)
{
    pthread_mutex_lock(&lock);
    seeded = false;
    pthread_mutex_unlock(&lock);
}

ssize_t getrandom(void *p, size_t len, unsigned flags)
{
    ssize_t n = (ssize_t)len;

    pthread_mutex_lock(&lock);
    for (size_t i = 0; seeded && i < len; i++)
        ((uint8_t *)p)[i] = (uint8_t)test_rand(&stream);
    if (!seeded)
        n = syscall(SYS_getrandom, p, len, flags);
    pthread_mutex_unlock(&lock);
    return n;
}
