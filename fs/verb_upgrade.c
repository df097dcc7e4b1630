#include "fs/verb_upgrade.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/jw.h"
#include "base/sock.h"

#define WAIT_NS 60000000000ll /* a daemon waits for jobs before it leaves */
#define STEP_NS 20000000
#define GONE_NS 2000000000ll /* so long without a socket: nothing is mounted any more */

struct who {
    int pid;
    char version[32], program[PATH_MAX];
};

static int who(const char *store, struct who *ret)
{
    static const char *const words[] = {"who"};
    cleanup(buf_free) struct buf out = {0};
    int r = sock_ask(store, words, 1, &out);

    if (r < 0)
        return r;
    *ret = (struct who){.pid = 0};
    if (!buf_cstr(&out) ||
        sscanf((const char *)out.data, "%d %31s %4095[^\n]", &ret->pid, ret->version, ret->program) != 3)
        return -E_PROTO;
    return 0;
}

/* Until another process answers. -E_NOTMOUNTED: the last mount ended meanwhile. */
static int await(const char *store, int old, struct who *ret)
{
    struct timespec step = {.tv_nsec = STEP_NS};
    int64_t until = clock_mono_ns() + WAIT_NS, there = clock_mono_ns();
    int r;

    do {
        nanosleep(&step, NULL);
        r = who(store, ret);
        if (r == 0 && ret->pid != old)
            return 0;
        if (r != -E_NOTMOUNTED)
            there = clock_mono_ns();
    } while (clock_mono_ns() < until && clock_mono_ns() - there < GONE_NS);
    return r < 0 ? r : -E_AGAIN;
}

static int program_of(const struct verb_args *a, char path[PATH_MAX], struct buf *err)
{
    const char *given = verb_text(a, "program");

    if (realpath(given ? given : "/proc/self/exe", path) && access(path, X_OK) == 0)
        return 0;
    buf_printf(err, "%s: no program that can be started", given ? given : "/proc/self/exe");
    return -E_INVAL;
}

static int report(const struct verb_args *a, const struct verb_target *t, const struct who *before,
                  const struct who *after, struct buf *out)
{
    struct jw j;

    if (!a->json)
        return buf_printf(out, "%s: process %d goes on as %d: varve %s, %s\n", t->store, before->pid,
                          after->pid, after->version, after->program);
    j = jw_begin(out, true);
    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_name(&j, "store", t->store, strlen(t->store));
    jw_u64(&j, "daemon_pid", (uint64_t)after->pid);
    jw_str(&j, "version", after->version);
    jw_name(&j, "program", after->program, strlen(after->program));
    jw_close(&j);
    return jw_end(&j);
}

static int not_mounted(const struct verb_target *t, struct verb_answer *ans)
{
    return buf_printf(
        &ans->err,
        "%s: nothing is mounted, so there is nothing to do: the next mount is by the new program\n",
        t->store);
}

int verb_upgrade(struct verb_args *a, const struct verb_target *t, struct verb_answer *ans)
{
    cleanup(buf_free) struct buf out = {0};
    char path[PATH_MAX];
    const char *words[] = {"upgrade", path};
    struct who before, after;
    int r = program_of(a, path, &ans->err);

    if (r < 0)
        return r;
    r = who(t->store, &before);
    if (r == -E_NOTMOUNTED)
        return not_mounted(t, ans);
    if (r == 0)
        r = sock_ask(t->store, words, ARRAY_LEN(words), &out);
    if (r < 0) {
        buf_add(&ans->err, out.data, out.len);
        return r;
    }
    r = await(t->store, before.pid, &after);
    if (r == -E_NOTMOUNTED)
        return not_mounted(t, ans);
    if (r < 0) {
        buf_printf(&ans->err, "%s: the daemon is still process %d; log/daemon.log there says why", t->store,
                   before.pid);
        return r;
    }
    if (strcmp(after.program, path) != 0) {
        buf_printf(&ans->err,
                   "%s: %s does not serve this store, so %s goes on; log/daemon.log there says why", t->store,
                   path, after.program);
        return -E_FAILED;
    }
    return report(a, t, &before, &after, &ans->out);
}
