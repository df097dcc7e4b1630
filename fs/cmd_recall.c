/* `varve tier recall`: what some files have in repositories only comes here; all of a volume is `varve hydrate`. */
#include <stdio.h>

#include "conf/value.h"
#include "fs/recall_paths.h"
#include "fs/verb_repo.h"
#include "fs/verb_runs.h"
#include "snap/event.h"
#include "snap/idle.h"

static int recall(struct job *j, struct store *s, struct vol *v, const struct verb_args *a, struct buf *err)
{
    const struct verb_val *paths = verb_val(a, "path");
    struct recall_paths *p = NULL;
    char size[CONF_SIZE_TEXT];
    uint64_t bytes = 0;
    int r = v && paths ? recall_paths_new(v, paths->texts, paths->ntexts, &p, err) : -E_INVAL;

    if (r == 0)
        r = hydrate_paths(j, s, v, p, &bytes);
    recall_paths_free(p);
    conf_size_text(bytes, size);
    if (r == -E_IO)
        buf_printf(err, "the repository cannot be read; %s came, varve tier recall goes on", size);
    if (r < 0)
        return r;
    job_say(j, "what was asked for lies here: %s came", size);
    idle_sweep_reset(v); /* policies are to look at it anew */
    event_emit(s, "tier-recalled", v->rec.name, "%s of what was asked for came", size);
    return 0;
}

int recall_job(struct job *j, struct store *s, const struct job_info *info)
{
    struct verb_args a = {.verb = NULL};
    cleanup(buf_free) struct buf err = {0};
    int r = verb_parse_line("tier", info->detail, strlen(info->detail), &a, &err);

    if (r == 0)
        r = recall(j, s, verb_vol_of_id(s, info->vol), &a, &err);
    if (r < 0 && r != -E_CANCELED)
        job_say(j, "%s", err.len ? buf_cstr(&err) : err_text(r));
    verb_args_free(&a);
    return r;
}

/* A path that is not there is told at once. */
static int detail_of(struct vol *v, const struct verb_val *paths, struct buf *ret, struct buf *err)
{
    int r = buf_puts(ret, "recall");

    for (size_t i = 0; r == 0 && i < paths->ntexts; i++) {
        vfs_node n;

        r = tier_path_find(v, paths->texts[i], &n);
        if (r < 0)
            buf_printf(err, "%s: %s", paths->texts[i], err_text(r));
        else
            r = verb_line_add(ret, "path", paths->texts[i]);
    }
    return r < 0 ? r
                 : verb_job_fits(
                       ret, "tier recall: the paths are too long together; name a directory above them", err);
}

RUN(run_tier_recall)
{
    static const struct verb_job_words words = {.verb = "tier recall", .doing = "recalls"};
    const struct verb_val *paths = verb_val(a, "path");
    cleanup(buf_free) struct buf detail = {0};
    int r;

    if (!paths || paths->ntexts == 0)
        return run_hydrate(c, a, out, err);
    r = detail_of(c->vol, paths, &detail, err);
    return r < 0 ? r : verb_job_run(c, a, "recall", &detail, &words, out, err);
}
