/* `varve scrub`: a job of the process that has the store open; whoever asked over the socket waits for it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "conf/value.h"
#include "fs/verb_runs.h"
#include "fs/verb_show.h"
#include "snap/event.h"
#include "snap/scrub.h"

enum { SCRUB_CLEAN = 0, SCRUB_DAMAGE = 4 };

/* --- the job ------------------------------------------------------------------------------------------------------------ */

struct scrubbing {
    struct job *j;
    struct store *s;
};

static int on_progress(void *arg, uint64_t objects, uint64_t bytes)
{
    return job_step(((struct scrubbing *)arg)->j, objects, bytes);
}

static void on_found(void *arg, const char *line)
{
    struct scrubbing *w = arg;

    job_report_line(w->j, line);
    event_emit(w->s, "damage-found", "", "%s", line);
}

/* detail: the rate, in bytes a second, or nothing. */
int scrub_job(struct job *j, struct store *s, const struct job_info *info)
{
    struct scrubbing w = {j, s};
    struct scrub_opts o = {.bytes_per_s = strtoull(info->detail, NULL, 10),
                           .arg = &w,
                           .progress = on_progress,
                           .found = on_found};
    struct scrub_result res;
    char size[CONF_SIZE_TEXT];
    int r = scrub_store(s, &o, &res);

    if (r < 0)
        return r;
    conf_size_text(res.bytes, size);
    job_say(j,
            "%s: %s read: %" PRIu64 " pages with %" PRIu64 " records, %" PRIu64
            " records of the journal, %" PRIu64 " objects%s",
            res.damaged ? "DAMAGED" : "clean", size, res.pages, res.entries, res.records, res.objects,
            res.cached ? "; the filesystem below refuses O_DIRECT, so some of it may have come from memory"
                       : "");
    event_emit(s, "scrub-done", "", "%" PRIu64 " damages, %s read", res.damaged, size);
    return res.damaged ? -E_CORRUPT : 0;
}

/* --- the verb ----------------------------------------------------------------------------------------------------------- */

/* Lines of the report as members of an array. */
static void lines_json(struct jw *j, struct buf *report)
{
    const char *p = buf_cstr(report);

    jw_array(j, "damages");
    for (size_t n; p && *p; p += n + (p[n] == '\n')) {
        n = strcspn(p, "\n");
        jw_strn(j, NULL, p, n);
    }
    jw_close(j);
}

static int answer_json(struct verb_ctx *c, const struct job_info *info, struct buf *report, struct buf *out)
{
    struct jw j = jw_begin(out, true);

    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_name(&j, "store", store_path(c->env->store), strlen(store_path(c->env->store)));
    jw_object(&j, "job");
    show_job_json(&j, info, NULL);
    jw_close(&j);
    lines_json(&j, report);
    jw_str(&j, "verdict",
           !job_state_ended(info->state) ? "running"
           : info->result == 0           ? "clean"
                                         : "damaged");
    jw_close(&j);
    return jw_end(&j);
}

static int answer(struct verb_ctx *c, uint64_t id, struct buf *out, struct buf *err)
{
    cleanup(buf_free) struct buf report = {0};
    struct job_info info;
    int r = job_get(c->env->store, id, &info);

    if (r == 0)
        r = job_report(c->env->store, id, &report);
    if (r < 0)
        return r;
    if (info.state == JOB_CANCELED || (info.state == JOB_FAILED && info.result != -E_CORRUPT)) {
        buf_printf(err, "scrub: %s", info.text);
        return info.result;
    }
    if (c->json)
        r = answer_json(c, &info, &report, out);
    else if (!job_state_ended(info.state))
        r = buf_printf(out, "job %" PRIu64 " scrubs; varve job list shows how far it is\n", id);
    else if ((r = buf_add(out, report.data, report.len)) == 0)
        r = buf_printf(out, "%s\n", info.text);
    return r < 0 ? r : job_state_ended(info.state) && info.result < 0 ? SCRUB_DAMAGE : SCRUB_CLEAN;
}

RUN(run_scrub)
{
    char detail[32] = "";
    uint64_t id;
    int r;

    if (verb_num(a, "rate"))
        snprintf(detail, sizeof(detail), "%" PRIu64, verb_num(a, "rate"));
    r = job_start(c->env->store, "scrub", 0, detail, &id);
    if (r < 0) {
        buf_printf(err, "scrub: %s", err_text(r));
        return r;
    }
    r = verb_job_await(c, a, id, err);
    return r < 0 ? r : answer(c, id, out, err);
}
