#include "snap/store/kv_trap.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mark.h"

#define PAGE 4096u

_Thread_local struct kv_trap kv_trap;
static struct sigaction before[2];
static const int signals[2] = {SIGSEGV, SIGBUS};

static void on_fault(int sig, siginfo_t *info, void *context)
{
    const struct sigaction *old = &before[sig == SIGBUS];

    if (kv_trap.on)
        siglongjmp(kv_trap.out, sig);
    /* not ours: as if nobody had been here */
    if (old->sa_flags & SA_SIGINFO) {
        old->sa_sigaction(sig, info, context);
        return;
    }
    if (old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN) {
        old->sa_handler(sig);
        return;
    }
    (void)signal(sig, SIG_DFL); /* the instruction is done again, and ends the process */
}

static void on_assert(MDB_env *env, const char *text)
{
    (void)env;
    if (kv_trap.on)
        siglongjmp(kv_trap.out, SIGABRT);
    log_error("tables", "assertion", "text=\"%s\"", text);
    abort();
}

static void install(void)
{
    struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};

    sigemptyset(&sa.sa_mask);
    for (unsigned i = 0; i < 2; i++)
        sigaction(signals[i], &sa, &before[i]);
}

void kv_trap_install(MDB_env *env)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, install);
    (void)mdb_env_set_assert(env, on_assert);
}

int kv_trap_sprung(void)
{
    kv_trap.on = false;
    MARK("kv: a damaged page would have killed its reader");
    return MDB_CORRUPTED;
}

static uint8_t touch(const MDB_val *v)
{
    const volatile uint8_t *p = v->mv_data;
    uint8_t sum = 0;

    for (size_t i = 0; i < v->mv_size; i += PAGE)
        sum ^= p[i];
    return v->mv_size ? sum ^ p[v->mv_size - 1] : sum;
}

int kv_touch(int m, const MDB_val *k, const MDB_val *v)
{
    if (m)
        return m;
    if (k->mv_size == 0 || k->mv_size > 511 || v->mv_size > KV_VALUE_MAX)
        return MDB_CORRUPTED;
    (void)touch(k);
    (void)touch(v);
    return 0;
}
