/* What is retired goes when nobody needs it any more: looked for by a thread of its own, since a copy that was deleted keeps its source
 * until the store has reclaimed it. */
#include <stdlib.h>
#include <sys/prctl.h>

#include "base/log.h"
#include "plugin/csi.h"

#define FIRST_MS 50
#define LONGEST_MS 30000
#define IDLE_FIRST_MS 5000 /* a look at repositories, for copies of volumes that follow their pod */
#define IDLE_LONGEST_MS 600000

/* One that is retired: gone, or not yet. */
static int sweep_one(struct csi_call *k, const struct csi_volume *v, size_t *left)
{
    struct csi_result res;
    size_t needed, waiting;
    int r = csi_snapshots_needed(k, v, &needed, &waiting);

    *left += r == 0 && waiting > 0;
    if (r == 0 && needed == 0) {
        r = CSI_VERB(k, &res, NULL, "delete", v->name, "--now");
        *left += r == 0 && !csi_result_is(&res, "OK") && !csi_result_is(&res, "NOENT");
    }
    return r;
}

/* *left: those that wait for something that nobody will tell. *idle: those of which another node may tell in a repository. */
static int sweep(struct csi *d, size_t *left, size_t *idle)
{
    struct csi_call k = {.d = d};
    struct csi_volumes vs;
    int r = csi_volumes(&k, &vs);

    for (size_t i = 0; r == 0 && i < vs.n; i++)
        if (vs.v[i].retired)
            r = sweep_one(&k, &vs.v[i], left);
        else if (csi_mobile_volume(&vs.v[i]))
            r = csi_mobile_sweep(&k, &vs.v[i], idle);
    if (r == 0)
        r = csi_secrets_sweep(&k, left);
    arena_free(&k.arena);
    return r;
}

static void *sweeper(void *arg)
{
    struct csi *d = arg;
    int64_t wait_ms = FIRST_MS;

    prctl(PR_SET_NAME, "csi-sweeper");
    lock_take(&d->lock);
    while (!d->ends) {
        size_t left = 0, idle = 0;
        int r;

        d->sweep = false;
        lock_drop(&d->lock);
        r = sweep(d, &left, &idle);
        lock_take(&d->lock);
        if (d->sweep)
            wait_ms = FIRST_MS;
        else if (r < 0 || left > 0)
            wait_ms = MIN_OF(wait_ms * 2, LONGEST_MS);
        else if (idle > 0)
            wait_ms = MIN_OF(MAX_OF(wait_ms * 2, IDLE_FIRST_MS), IDLE_LONGEST_MS);
        else
            wait_ms = 0;
        while (!d->ends && !d->sweep)
            if (wait_ms == 0)
                cond_wait(&d->wake, &d->lock);
            else if (!cond_wait_ms(&d->wake, &d->lock, wait_ms))
                break;
        if (d->sweep)
            wait_ms = FIRST_MS;
    }
    lock_drop(&d->lock);
    return NULL;
}

void csi_sweep_soon(struct csi *d)
{
    lock_take(&d->lock);
    d->sweep = true;
    cond_wake_all(&d->wake);
    lock_drop(&d->lock);
}

int csi_sweep_begin(struct csi *d)
{
    cond_init(&d->wake);
    return pthread_create(&d->sweeper, NULL, sweeper, d) == 0 ? 0 : -E_AGAIN;
}

void csi_sweep_end(struct csi *d)
{
    lock_take(&d->lock);
    d->ends = true;
    cond_wake_all(&d->wake);
    lock_drop(&d->lock);
    pthread_join(d->sweeper, NULL);
    cond_release(&d->wake);
}
