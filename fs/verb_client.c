#include "fs/verb_client.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "snap/store/store.h"

#define BUSY_WAIT_NS 5000000000
#define DAEMON_SAYS "the daemon of this store: "

/* --- over the socket ---------------------------------------------------------------------------------------------- */

static int word(struct buf *b, const char *s)
{
    return buf_add(b, s, strlen(s) + 1);
}

static int request(struct buf *b, const struct verb_target *t, const struct verb_args *a)
{
    int r = a->verb->noun ? word(b, a->verb->noun) : 0;

    if (r == 0)
        r = word(b, a->verb->name);
    if (r == 0)
        r = word(b, t->volume[0] ? t->volume : ".");
    if (r == 0 && a->json)
        r = word(b, "--json");
    for (size_t i = 0; i < VERB_ARGS_MAX && a->verb->args[i].name; i++)
        for (size_t n = 0; r == 0 && n < a->vals[i].ntexts; n++) {
            r = buf_printf(b, "--%s=%s", a->verb->args[i].name, a->vals[i].texts[n]);
            if (r == 0)
                r = buf_add(b, "", 1);
        }
    return r;
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

int verb_ask(const struct verb_target *t, const struct verb_args *a, struct verb_answer *ret)
{
    cleanup(buf_free) struct buf req = {0};
    int r = request(&req, t, a);

    return r < 0 ? r : sock_verb(t->store, &req, ret);
}

/* --- here --------------------------------------------------------------------------------------------------------- */

static bool is_verb(const struct verb_args *a, const char *name)
{
    return !a->verb->noun && strcmp(a->verb->name, name) == 0;
}

/* A verb of STORE/VOLUME that makes or finds it by name has it as target; of others it is found here. */
static int find_volume(struct verb_ctx *c, const struct verb_target *t, const struct verb_args *a,
                       struct buf *err)
{
    int r;

    if (a->verb->need == NEED_STORE || !t->volume[0])
        return 0;
    r = volume_find(c->env->store, t->volume, &c->vol);
    if (r < 0)
        buf_printf(err, "%s/%s: volume %s; varve list %s shows what there is", t->store, t->volume,
                   err_text(r), t->store);
    return r;
}

static void result_set(struct verb_answer *ret, int r)
{
    ret->exit_code = r > 0 ? r : r == 0 ? 0 : r == -E_USAGE ? 2 : 1;
    snprintf(ret->result, sizeof(ret->result), "%s", err_name(r));
}

static int run_open(struct verb_env *e, const struct verb_target *t, const struct verb_args *a,
                    struct verb_answer *ret)
{
    struct verb_ctx c = {.env = e,
                         .role = ROLE_ADMIN,
                         .via = VIA_CLI,
                         .uid = (uint32_t)getuid(),
                         .gid = (uint32_t)getgid(),
                         .json = a->json};
    int r = find_volume(&c, t, a, &ret->err);

    return r < 0 ? r : verb_run(&c, a, &ret->out, &ret->err);
}

static int run_here(const struct verb_target *t, const struct verb_args *a, struct verb_answer *ret)
{
    bool reads = a->verb->role == ROLE_READ && !(a->verb->noun && strcmp(a->verb->name, "wait") == 0);
    struct verb_env e = {0};
    int r = verb_open(io_real(), t->store, reads ? STORE_READONLY : 0, &e, &ret->err), closed;

    if (r < 0)
        return r;
    r = run_open(&e, t, a, ret);
    closed = verb_close(&e);
    if (r >= 0 && closed < 0) {
        buf_printf(&ret->err, "%s: done, but the store could not be closed: %s; run varve check", t->store,
                   err_text(closed));
        r = closed;
    }
    result_set(ret, r);
    return 0;
}

static int make_store(const struct verb_target *t, struct verb_answer *ret)
{
    int r = store_create(io_real(), t->store, &(struct store_settings){0});
    const char *todo = "";

    if (r == 0)
        return 0;
    if (r == -E_STORE_EXIST)
        todo = "; choose an empty directory, or one that is not there yet";
    else if (r == -E_STORE_HOLES)
        todo = "; use a directory on ext4 or XFS";
    else if (r == -E_ACCES || r == -E_PERM || r == -E_ROFS)
        todo = "; choose a directory that you may write";
    buf_printf(&ret->err, "%s: %s%s", t->store, err_text(r), todo);
    return r;
}

bool verb_retry(int r, int64_t *began_ns)
{
    if (r != -E_STORE_BUSY)
        return false;
    if (*began_ns == 0)
        *began_ns = clock_mono_ns();
    if (clock_mono_ns() - *began_ns > BUSY_WAIT_NS)
        return false;
    pause_ms(100);
    return true;
}

int verb_do(const struct verb_target *t, const struct verb_args *a, struct verb_answer *ret)
{
    int64_t began = 0;
    int r;

    if (!t->exists && is_verb(a, "create") && (r = make_store(t, ret)) < 0)
        return r;
    for (;;) {
        r = verb_ask(t, a, ret);
        if (r != -E_NOTMOUNTED)
            break;
        r = run_here(t, a, ret);
        if (!verb_retry(r, &began))
            return r;
        buf_reset(&ret->err);
    }
    if (r == -E_ACCES || r == -E_PERM)
        buf_printf(&ret->err, "%s: its daemon runs for another user; do it as root or as that user%s%s%s",
                   t->store, t->dir[0] ? ", or by the files in " : "", t->dir,
                   t->dir[0] ? "/.snapshots/.control" : "");
    else if (r == -E_DIES)
        buf_printf(&ret->err, "%s: %s", t->store, err_text(r));
    else if (r < 0)
        buf_printf(&ret->err, "%s: " DAEMON_SAYS "%s; try again", t->store, err_text(r));
    return r;
}
