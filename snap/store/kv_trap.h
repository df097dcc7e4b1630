/* snap/store/kv_trap: reading LMDB's map when its pages lie (F21). What would kill the process - SIGSEGV, SIGBUS of a bad sector,
 * an assertion of LMDB's - ends the call with MDB_CORRUPTED instead. For readers only: they hold nothing that a jump would leave
 * behind. What a call gives is touched before it is believed.
 *
 *     m = TRAPPED(mdb_get(txn, dbi, &k, &v)); */
#ifndef VARVE_SNAP_STORE_KV_TRAP_H
#define VARVE_SNAP_STORE_KV_TRAP_H

#include <lmdb.h>
#include <setjmp.h>

#include "base/base.h"

#define KV_VALUE_MAX (256u << 10) /* no value of ours is longer */

struct kv_trap {
    volatile bool on;
    sigjmp_buf out;
};
extern _Thread_local struct kv_trap kv_trap;

/* Once for the process; and for each environment. */
void kv_trap_install(MDB_env *env);
int kv_trap_sprung(void); /* says so; MDB_CORRUPTED */

/* kv_touch: reads from all pages of what LMDB gave; MDB_CORRUPTED if it is longer than anything of ours. Inside TRAPPED. */
int kv_touch(int m, const MDB_val *k, const MDB_val *v);

#define TRAPPED(call)                                                                                        \
    ({                                                                                                       \
        int trapped_m_;                                                                                      \
        if (sigsetjmp(kv_trap.out, 0) == 0) {                                                                \
            kv_trap.on = !BROKEN(VARVE_BREAK_trap);                                                          \
            trapped_m_ = (call);                                                                             \
            kv_trap.on = false;                                                                              \
        } else {                                                                                             \
            trapped_m_ = kv_trap_sprung();                                                                   \
        }                                                                                                    \
        trapped_m_;                                                                                          \
    })

#endif
