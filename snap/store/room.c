#include "snap/store/room.h"

#include <sys/statvfs.h>
#include <time.h>

#include "base/clock.h"
#include "base/mark.h"
#include "snap/store/store_int.h"

#define WAIT_NS 5000000000ll  /* at most */
#define STALL_NS 1000000000ll /* nothing was freed for so long: nothing will be */
#define VAIN_NS 5000000000ll  /* so long nobody waits again for nothing new */
#define STEP_NS 10000000ll

static bool is_full(int r)
{
    return r == -E_QUOTA || r == -E_QUOTA_INODES || r == -E_NOSPC;
}

/* What there is more of when something was freed. */
static uint64_t free_now(const struct vol *v, int r)
{
    struct statvfs st;

    if (r == -E_QUOTA)
        return UINT64_MAX - vol_present_blocks(v);
    if (r == -E_QUOTA_INODES)
        return UINT64_MAX - __atomic_load_n(&v->stat.inodes, __ATOMIC_RELAXED);
    return statvfs(v->store->path, &st) == 0 ? (uint64_t)st.f_bavail : 0;
}

static bool has_orphans(struct vol *v)
{
    uint8_t k[5] = {TAB_ORPHAN};
    const uint8_t *found;
    struct txn_val val;
    struct txn t;
    size_t flen;
    bool any;

    if (txn_begin(v->store, TXN_READ, OP_NONE, v, &t) < 0)
        return false;
    put_be32(k + 1, v->rec.head);
    any = txn_ge(&t, KEEP_FIRM, k, sizeof(k), sizeof(k), &found, &flen, &val) == 0;
    txn_abort(&t);
    return any;
}

/* Is there anything that may become room? The quota counts files until they are forgotten, the disk until they are unlinked. */
static bool may_help(struct vol *v, int r)
{
    return (r == -E_NOSPC && __atomic_load_n(&v->store->reclaim_count, __ATOMIC_RELAXED) > 0) ||
           has_orphans(v);
}

/* Tells whether anything was removed since. */
static uint64_t removals(const struct vol *v)
{
    return __atomic_load_n(&v->room.orphans, __ATOMIC_RELAXED) +
           __atomic_load_n(&v->store->next.reclaim, __ATOMIC_RELAXED);
}

static bool in_vain(const struct vol *v)
{
    return __atomic_load_n(&v->room.vain_at, __ATOMIC_RELAXED) == removals(v) &&
           clock_mono_ns() < __atomic_load_n(&v->room.vain_until_ns, __ATOMIC_RELAXED);
}

static bool room_ends(struct vol *v)
{
    __atomic_store_n(&v->room.vain_at, removals(v), __ATOMIC_RELAXED);
    __atomic_store_n(&v->room.vain_until_ns, clock_mono_ns() + VAIN_NS, __ATOMIC_RELAXED);
    return false;
}

static void wait_a_step(struct vol *v)
{
    struct store *s = v->store;

    __atomic_fetch_add(&s->sift.hurry, 1, __ATOMIC_RELAXED);
    store_kick(s);
    nanosleep(&(struct timespec){.tv_nsec = STEP_NS}, NULL);
    io_move();
    __atomic_fetch_sub(&s->sift.hurry, 1, __ATOMIC_RELAXED);
}

bool room_await(struct vol *v, int r, struct room *w)
{
    int64_t now;
    uint64_t have;

    if (!is_full(r) || v->store->set.no_threads || BROKEN(VARVE_BREAK_room_at_once))
        return false;
    assert(!store_no_wait);
    now = clock_mono_ns();
    have = free_now(v, r);
    if (!w->until_ns) {
        *w = (struct room){now + WAIT_NS, now + STALL_NS, have};
        if (in_vain(v))
            return false;
    }
    if (have > w->free)
        w->stalled_ns = now + STALL_NS;
    w->free = have;
    if (!may_help(v, r) || now > w->until_ns || now > w->stalled_ns)
        return room_ends(v);
    MARK("room: waits for what is being freed");
    bool turn = __atomic_fetch_add(&v->room.waiters, 1, __ATOMIC_SEQ_CST) < ROOM_WAITERS;
    if (turn)
        wait_a_step(v);
    __atomic_fetch_sub(&v->room.waiters, 1, __ATOMIC_SEQ_CST);
    return turn;
}

bool room_wanted(const struct vol *v)
{
    return __atomic_load_n(&v->room.waiters, __ATOMIC_SEQ_CST) > 0;
}

void room_orphan(struct vol *v)
{
    __atomic_fetch_add(&v->room.orphans, 1, __ATOMIC_RELAXED);
}
