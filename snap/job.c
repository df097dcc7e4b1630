#include "snap/job.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "snap/store/vol.h"

#define WORKERS_MAX 4
#define SAVE_EVERY_NS 5000000000
#define REPORT_MAX (4u << 20)

struct jobs;

struct job {
    struct jobs *of;
    struct job_info info;
    struct buf report;
    const struct job_kind *kind; /* NULL: ended before this process began */
    int64_t began_mono_ns, saved_mono_ns;
    bool in_memory; /* the store is not written */
    struct job *next;
};

/* Jobs of one attached store, oldest first. lock guards all, the infos included. */
struct jobs {
    struct store *store;
    struct jobs *next;
    unsigned users; /* guarded by the registry's lock */
    const struct job_kind *kinds;
    size_t nkinds;
    pthread_mutex_t
        starting; /* one at a time looks whether there is the same, and begins it; taken before lock */
    pthread_mutex_t lock;
    pthread_cond_t work, ended;
    struct job *first;
    pthread_t workers[WORKERS_MAX];
    size_t nworkers, nidle;
    uint64_t last_id;
    bool closing;
};

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t registry_idle = PTHREAD_COND_INITIALIZER;
static struct jobs *registry;

static struct jobs *jobs_get(struct store *s)
{
    struct jobs *js;

    pthread_mutex_lock(&registry_lock);
    for (js = registry; js && js->store != s; js = js->next)
        ;
    if (js)
        js->users++;
    pthread_mutex_unlock(&registry_lock);
    return js;
}

static void jobs_release(struct jobs *js)
{
    pthread_mutex_lock(&registry_lock);
    if (--js->users == 0)
        pthread_cond_broadcast(&registry_idle);
    pthread_mutex_unlock(&registry_lock);
}

const char *job_state_name(enum job_state s)
{
    static const char *const names[] = {"unknown", "queued",    "running",    "done",
                                        "failed",  "cancelled", "interrupted"};

    return (size_t)s < ARRAY_LEN(names) ? names[s] : names[0];
}

/* --- what an earlier process left ---------------------------------------------------------------------------------- */

struct loading {
    struct jobs *js;
    struct job **end;
};

/* One that cannot be read stays, and its number is taken. */
static int load_one(void *arg, uint64_t id, const struct job_info *info)
{
    struct loading *l = arg;
    struct job *j;

    l->js->last_id = id;
    if (!info)
        return 0;
    if (!(j = calloc(1, sizeof(*j))))
        return -E_NOMEM;
    j->of = l->js;
    j->info = *info;
    *l->end = j;
    l->end = &j->next;
    return 0;
}

static int records_load(struct jobs *js)
{
    return job_records_each(js->store, load_one, &(struct loading){js, &js->first});
}

/* --- running ------------------------------------------------------------------------------------------------------ */

static const struct job_kind *kind_find(const struct jobs *js, const char *verb)
{
    for (size_t i = 0; i < js->nkinds; i++)
        if (strcmp(js->kinds[i].verb, verb) == 0)
            return &js->kinds[i];
    return NULL;
}

static struct job *find_locked(const struct jobs *js, uint64_t id)
{
    struct job *j;

    for (j = js->first; j && j->info.id != id; j = j->next)
        ;
    return j;
}

/* Journals what the job is now; the lock is let go meanwhile. */
static void save_locked(struct jobs *js, struct job *j)
{
    struct job_info copy = j->info;
    int r;

    if (j->in_memory)
        return;
    j->saved_mono_ns = clock_mono_ns();
    pthread_mutex_unlock(&js->lock);
    r = job_record_write(js->store, &copy);
    if (r < 0)
        log_warn("job", "unsaved", "id=%" PRIu64 " reason=%s", copy.id, err_name(r));
    pthread_mutex_lock(&js->lock);
}

static void end_locked(struct jobs *js, struct job *j, int r)
{
    if (r == -E_CANCELED && js->closing && !j->info.cancel)
        return; /* the record stays "running": the next process knows what to do with it */
    j->info.result = r;
    j->info.state = r == 0 ? JOB_DONE : r == -E_CANCELED ? JOB_CANCELED : JOB_FAILED;
    j->info.ended_ns = clock_wall_ns();
    if (!j->info.text[0])
        snprintf(j->info.text, sizeof(j->info.text), "%s", r == 0 ? "done" : err_text(r));
    save_locked(js, j);
    pthread_cond_broadcast(&js->ended);
}

/* The oldest ended ones beyond JOBS_KEPT go. */
static void forget_old_locked(struct jobs *js)
{
    size_t ended = 0;

    for (struct job *j = js->first; j; j = j->next)
        ended += job_state_ended(j->info.state);
    for (struct job **at = &js->first; *at && ended > JOBS_KEPT;) {
        struct job *j = *at;

        if (!job_state_ended(j->info.state)) {
            at = &j->next;
            continue;
        }
        *at = j->next;
        ended--;
        if (!j->in_memory) {
            uint64_t id = j->info.id;

            pthread_mutex_unlock(&js->lock);
            job_record_delete(js->store, id);
            pthread_mutex_lock(&js->lock);
            at = &js->first;
        }
        buf_free(&j->report);
        free(j);
    }
}

static struct job *next_queued_locked(struct jobs *js)
{
    struct job *j;

    for (j = js->first; j && (j->info.state != JOB_QUEUED || !j->kind); j = j->next)
        ;
    return j;
}

static void run_locked(struct jobs *js, struct job *j)
{
    struct job_info copy;
    unsigned held;
    int r;

    j->info.state = JOB_RUNNING;
    j->info.started_ns = clock_wall_ns();
    j->began_mono_ns = clock_mono_ns();
    save_locked(js, j);
    copy = j->info;
    pthread_mutex_unlock(&js->lock);
    held = vols_hold(js->store);
    r = copy.cancel ? -E_CANCELED : j->kind->run(j, js->store, &copy);
    vols_let_go(js->store, held);
    pthread_mutex_lock(&js->lock);
    end_locked(js, j, r);
}

static void *worker(void *arg)
{
    struct jobs *js = arg;

    pthread_mutex_lock(&js->lock);
    while (!js->closing) {
        struct job *j = next_queued_locked(js);

        if (j) {
            run_locked(js, j);
            continue;
        }
        js->nidle++;
        pthread_cond_wait(&js->work, &js->lock);
        js->nidle--;
    }
    pthread_mutex_unlock(&js->lock);
    return NULL;
}

/* Somebody will take the queued job: an idle worker, a new one, or a busy one later. */
static int wake_locked(struct jobs *js)
{
    size_t queued = 0;

    for (struct job *j = js->first; j; j = j->next)
        queued += j->info.state == JOB_QUEUED && j->kind;
    if (queued > js->nidle && js->nworkers < WORKERS_MAX) {
        if (pthread_create(&js->workers[js->nworkers], NULL, worker, js) == 0)
            js->nworkers++;
        else if (js->nworkers == 0)
            return -E_NOMEM;
    }
    pthread_cond_signal(&js->work);
    return 0;
}

/* A job that a dead process was at. */
static void adopt(struct jobs *js, struct job *j)
{
    const struct job_kind *k = kind_find(js, j->info.verb);

    if (job_state_ended(j->info.state))
        return;
    if (k && (k->again || j->info.state == JOB_QUEUED)) {
        j->kind = k;
        j->info.state = JOB_QUEUED;
        return;
    }
    j->info.state = JOB_INTERRUPTED;
    j->info.result = -E_INTR;
    j->info.ended_ns = clock_wall_ns();
    snprintf(j->info.text, sizeof(j->info.text), "the daemon ended before it was done; start it again");
    save_locked(js, j);
}

static void jobs_free(struct jobs *js)
{
    for (struct job *j = js->first; j;) {
        struct job *next = j->next;

        buf_free(&j->report);
        free(j);
        j = next;
    }
    pthread_cond_destroy(&js->work);
    pthread_cond_destroy(&js->ended);
    pthread_mutex_destroy(&js->starting);
    pthread_mutex_destroy(&js->lock);
    free(js);
}

static void conds_init(struct jobs *js)
{
    pthread_condattr_t a;

    pthread_condattr_init(&a);
    pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
    pthread_mutex_init(&js->starting, NULL);
    pthread_mutex_init(&js->lock, NULL);
    pthread_cond_init(&js->work, &a);
    pthread_cond_init(&js->ended, &a);
    pthread_condattr_destroy(&a);
}

int jobs_attach(struct store *s, const struct job_kind *kinds, size_t nkinds)
{
    struct jobs *js = calloc(1, sizeof(*js));
    struct store_state st;
    int r;

    if (!js)
        return -E_NOMEM;
    js->store = s;
    js->kinds = kinds;
    js->nkinds = nkinds;
    conds_init(js);
    r = records_load(js);
    if (r < 0) {
        jobs_free(js);
        return r;
    }
    store_get_state(s, &st);
    pthread_mutex_lock(&js->lock);
    for (struct job *j = js->first; j && st.mode == STORE_RW; j = j->next)
        adopt(js, j);
    if (next_queued_locked(js))
        wake_locked(js);
    pthread_mutex_unlock(&js->lock);
    pthread_mutex_lock(&registry_lock);
    js->next = registry;
    registry = js;
    pthread_mutex_unlock(&registry_lock);
    return 0;
}

void jobs_detach(struct store *s)
{
    struct jobs *js, **at;

    pthread_mutex_lock(&registry_lock);
    for (at = &registry; *at && (*at)->store != s; at = &(*at)->next)
        ;
    js = *at;
    if (js)
        *at = js->next;
    while (js && js->users > 0)
        pthread_cond_wait(&registry_idle, &registry_lock);
    pthread_mutex_unlock(&registry_lock);
    if (!js)
        return;
    pthread_mutex_lock(&js->lock);
    js->closing = true;
    pthread_cond_broadcast(&js->work);
    pthread_mutex_unlock(&js->lock);
    for (size_t i = 0; i < js->nworkers; i++)
        pthread_join(js->workers[i], NULL);
    jobs_free(js);
}

/* --- asking ------------------------------------------------------------------------------------------------------- */

static struct job *job_new(struct jobs *js, const struct job_kind *k, uint32_t vol, const char *detail)
{
    struct job *j = calloc(1, sizeof(*j));

    if (!j)
        return NULL;
    j->of = js;
    j->kind = k;
    j->info = (struct job_info){.vol = vol, .state = JOB_QUEUED, .created_ns = clock_wall_ns(), .eta_ns = -1};
    snprintf(j->info.verb, sizeof(j->info.verb), "%s", k->verb);
    snprintf(j->info.detail, sizeof(j->info.detail), "%s", detail);
    return j;
}

/* Makes it durable, or keeps it in memory where the store is not written. */
static int job_number(struct jobs *js, struct job *j)
{
    int r = job_record_write(js->store, &j->info);

    if (r == -E_ROFS || r == -E_FAILED) {
        j->in_memory = true;
        pthread_mutex_lock(&js->lock);
        j->info.id = js->last_id + 1;
        js->last_id = j->info.id;
        pthread_mutex_unlock(&js->lock);
        r = 0;
    }
    return r;
}

static int start(struct jobs *js, const struct job_kind *k, uint32_t vol, const char *detail,
                 uint64_t *ret_id)
{
    struct job *j = job_new(js, k, vol, detail), **end;
    int r;

    if (!j)
        return -E_NOMEM;
    r = job_number(js, j);
    if (r < 0) {
        free(j);
        return r;
    }
    *ret_id = j->info.id;
    pthread_mutex_lock(&js->lock);
    js->last_id = MAX_OF(js->last_id, j->info.id);
    for (end = &js->first; *end; end = &(*end)->next)
        ;
    *end = j;
    forget_old_locked(js);
    r = wake_locked(js);
    pthread_mutex_unlock(&js->lock);
    return r;
}

/* 0: there is none. */
static uint64_t same_goes_on(struct jobs *js, const struct job_kind *k, uint32_t vol, const char *detail)
{
    uint64_t id = 0;

    pthread_mutex_lock(&js->lock);
    for (const struct job *j = js->first; j && !BROKEN(VARVE_BREAK_job_twice); j = j->next)
        if (j->kind == k && j->info.vol == vol && !j->info.cancel && !job_state_ended(j->info.state) &&
            strcmp(j->info.detail, detail) == 0)
            id = j->info.id;
    pthread_mutex_unlock(&js->lock);
    return id;
}

static int begin(struct store *s, const char *verb, uint32_t vol, const char *detail, bool join,
                 uint64_t *ret_id)
{
    struct jobs *js = jobs_get(s);
    const struct job_kind *k;
    uint64_t same = 0;
    int r;

    if (!js)
        return -E_NOSYS;
    k = kind_find(js, verb);
    r = !k ? -E_NOSYS : strlen(detail) > JOB_DETAIL_MAX ? -E_TOOBIG : 0;
    pthread_mutex_lock(&js->starting);
    if (r == 0 && join && (same = same_goes_on(js, k, vol, detail)))
        *ret_id = same;
    else if (r == 0)
        r = start(js, k, vol, detail, ret_id);
    pthread_mutex_unlock(&js->starting);
    jobs_release(js);
    return r;
}

int job_start(struct store *s, const char *verb, uint32_t vol, const char *detail, uint64_t *ret_id)
{
    return begin(s, verb, vol, detail, false, ret_id);
}

int job_join(struct store *s, const char *verb, uint32_t vol, const char *detail, uint64_t *ret_id)
{
    return begin(s, verb, vol, detail, true, ret_id);
}

/* Rates and what is left, from what was done since it began. */
static void estimate_locked(const struct job *j, struct job_info *ret)
{
    int64_t took = clock_mono_ns() - j->began_mono_ns;
    double part;

    *ret = j->info;
    ret->eta_ns = -1;
    if (ret->state != JOB_RUNNING || took < 1000000)
        return;
    ret->bytes_per_s = (uint64_t)((double)ret->bytes_done * 1e9 / (double)took);
    ret->items_per_s = (uint64_t)((double)ret->items_done * 1e9 / (double)took);
    part = ret->bytes_total   ? (double)ret->bytes_done / (double)ret->bytes_total
           : ret->items_total ? (double)ret->items_done / (double)ret->items_total
                              : 0;
    if (part > 0.001)
        ret->eta_ns = part >= 1 ? 0 : (int64_t)((double)took / part * (1 - part));
}

int job_get(struct store *s, uint64_t id, struct job_info *ret)
{
    struct jobs *js = jobs_get(s);
    struct job *j;

    if (!js)
        return -E_NOENT;
    pthread_mutex_lock(&js->lock);
    j = find_locked(js, id);
    if (j)
        estimate_locked(j, ret);
    pthread_mutex_unlock(&js->lock);
    jobs_release(js);
    return j ? 0 : -E_NOENT;
}

int jobs_each(struct store *s, int (*cb)(void *arg, const struct job_info *i), void *arg)
{
    struct jobs *js = jobs_get(s);
    int r = 0;

    if (!js)
        return 0;
    pthread_mutex_lock(&js->lock);
    for (struct job *j = js->first; j && r == 0; j = j->next) {
        struct job_info i;

        estimate_locked(j, &i);
        r = cb(arg, &i);
    }
    pthread_mutex_unlock(&js->lock);
    jobs_release(js);
    return r;
}

static struct timespec deadline_in(unsigned ms)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += (long)(ms % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    return t;
}

int job_wait(struct store *s, uint64_t id, unsigned timeout_ms)
{
    struct timespec until = deadline_in(timeout_ms);
    struct jobs *js = jobs_get(s);
    struct job *j;
    int r, w = 0;

    if (!js)
        return -E_NOENT;
    pthread_mutex_lock(&js->lock);
    while ((j = find_locked(js, id)) && !job_state_ended(j->info.state) && w != ETIMEDOUT)
        w = pthread_cond_timedwait(&js->ended, &js->lock, &until);
    r = !j ? -E_NOENT : job_state_ended(j->info.state) ? j->info.result : -E_AGAIN;
    pthread_mutex_unlock(&js->lock);
    jobs_release(js);
    return r;
}

int job_cancel(struct store *s, uint64_t id)
{
    struct jobs *js = jobs_get(s);
    struct job *j;
    int r = 0;

    if (!js)
        return -E_NOENT;
    pthread_mutex_lock(&js->lock);
    j = find_locked(js, id);
    if (!j) {
        r = -E_NOENT;
    } else if (job_state_ended(j->info.state)) {
        r = -E_INVAL;
    } else {
        j->info.cancel = true;
        if (j->info.state == JOB_QUEUED)
            end_locked(js, j, -E_CANCELED);
        else
            save_locked(js, j);
    }
    pthread_mutex_unlock(&js->lock);
    jobs_release(js);
    return r;
}

int job_report(struct store *s, uint64_t id, struct buf *out)
{
    struct jobs *js = jobs_get(s);
    int r = -E_NOENT;
    struct job *j;

    if (!js)
        return r;
    pthread_mutex_lock(&js->lock);
    if ((j = find_locked(js, id)))
        r = buf_add(out, j->report.data, j->report.len);
    pthread_mutex_unlock(&js->lock);
    jobs_release(js);
    return r;
}

uint64_t jobs_running(struct store *s)
{
    struct jobs *js = jobs_get(s);
    uint64_t n = 0;

    if (!js)
        return 0;
    pthread_mutex_lock(&js->lock);
    for (struct job *j = js->first; j; j = j->next)
        n += !job_state_ended(j->info.state);
    pthread_mutex_unlock(&js->lock);
    jobs_release(js);
    return n;
}

/* --- for the functions of kinds ------------------------------------------------------------------------------------- */

bool job_canceled(struct job *j)
{
    bool yes;

    pthread_mutex_lock(&j->of->lock);
    yes = j->info.cancel || j->of->closing;
    pthread_mutex_unlock(&j->of->lock);
    return yes;
}

void job_total(struct job *j, uint64_t items, uint64_t bytes)
{
    pthread_mutex_lock(&j->of->lock);
    j->info.items_total = items;
    j->info.bytes_total = bytes;
    pthread_mutex_unlock(&j->of->lock);
}

void job_progress(struct job *j, uint64_t items, uint64_t bytes)
{
    pthread_mutex_lock(&j->of->lock);
    j->info.items_done = items;
    j->info.bytes_done = bytes;
    if (clock_mono_ns() - j->saved_mono_ns >= SAVE_EVERY_NS)
        save_locked(j->of, j);
    pthread_mutex_unlock(&j->of->lock);
}

bool job_stopped(void *arg)
{
    return job_canceled(arg);
}

int job_step(void *arg, uint64_t items, uint64_t bytes)
{
    job_progress(arg, items, bytes);
    return job_canceled(arg) ? -E_CANCELED : 0;
}

void job_say(struct job *j, const char *fmt, ...)
{
    va_list ap;

    pthread_mutex_lock(&j->of->lock);
    va_start(ap, fmt);
    vsnprintf(j->info.text, sizeof(j->info.text), fmt, ap);
    va_end(ap);
    pthread_mutex_unlock(&j->of->lock);
}

void job_report_line(struct job *j, const char *line)
{
    pthread_mutex_lock(&j->of->lock);
    if (j->report.len < REPORT_MAX && buf_puts(&j->report, line) == 0)
        buf_puts(&j->report, "\n");
    pthread_mutex_unlock(&j->of->lock);
}
