#include "tier/kek.h"

#include <pthread.h>
#include <sys/mman.h>

#include "base/hash.h"

#define KEPT 8

/* Found by a hash under a key that only this process has: no passphrase is kept. */
static struct {
    pthread_mutex_t lock; /* guards all below; nothing is taken below it */
    struct key own;
    struct kept {
        struct key kek;
        uint8_t name[32];
        uint64_t used; /* 0: free */
    } v[KEPT];
    uint64_t clock, derived;
    bool ready;
} keeper = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void ready(void)
{
    if (keeper.ready)
        return;
    (void)mlock(&keeper, sizeof(keeper)); /* keys do not go to a swap */
    hash_random(keeper.own.b, sizeof(keeper.own.b));
    keeper.ready = true;
}

static int name_of(const void *pass, size_t len, const uint8_t salt[32], const uint8_t cost[3],
                   uint8_t ret[32])
{
    uint8_t inner[32], both[32 + 3 + 32];
    int r = crypt_hmac(&keeper.own, pass, len, inner);

    memcpy(both, salt, 32);
    memcpy(both + 32, cost, 3);
    memcpy(both + 35, inner, 32);
    return r < 0 ? r : crypt_hmac(&keeper.own, both, sizeof(both), ret);
}

static struct kept *kept_get(const uint8_t name[32])
{
    for (size_t i = 0; i < KEPT; i++)
        if (keeper.v[i].used && memcmp(keeper.v[i].name, name, 32) == 0)
            return &keeper.v[i];
    return NULL;
}

static struct kept *kept_oldest(void)
{
    struct kept *k = &keeper.v[0];

    for (size_t i = 1; i < KEPT; i++)
        if (keeper.v[i].used < k->used)
            k = &keeper.v[i];
    return k;
}

static int derive_locked(const void *pass, size_t len, const uint8_t salt[32], const uint8_t cost[3],
                         struct key *ret)
{
    struct kept *k;
    uint8_t name[32];
    int r = name_of(pass, len, salt, cost, name);

    if (r < 0)
        return r;
    if (!(k = kept_get(name))) {
        if ((r = crypt_scrypt(pass, len, salt, cost[0], cost[1], cost[2], ret)) < 0)
            return r;
        keeper.derived++;
        k = kept_oldest();
        k->kek = *ret;
        memcpy(k->name, name, sizeof(name));
    }
    *ret = k->kek;
    k->used = ++keeper.clock;
    return 0;
}

int kek_scrypt(const void *pass, size_t len, const uint8_t salt[32], const uint8_t cost[3], struct key *ret)
{
    int r;

    pthread_mutex_lock(&keeper.lock);
    ready();
    r = derive_locked(pass, len, salt, cost, ret);
    pthread_mutex_unlock(&keeper.lock);
    return r;
}

uint64_t kek_derived(void)
{
    uint64_t n;

    pthread_mutex_lock(&keeper.lock);
    n = keeper.derived;
    pthread_mutex_unlock(&keeper.lock);
    return n;
}
