/* varve backup copy: a recovery point into another repository. In the command line's process. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "conf/value.h"
#include "fs/verb_long.h"
#include "fs/verb_repo.h"
#include "fs/verb_show.h"
#include "tier/copy.h"

#define ID_SHOWN 12

static int on_progress(void *arg, uint64_t items, uint64_t bytes)
{
    return long_say(arg, "items", items, 0, bytes);
}

int copy_json(const struct copy_result *res, struct buf *out)
{
    struct jw j = jw_begin(out, true);

    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_str(&j, "id", res->id);
    jw_str(&j, "base", res->base[0] ? res->base : NULL);
    jw_bool(&j, "same", res->same);
    jw_u64(&j, "items", res->items);
    jw_u64(&j, "bytes", res->bytes);
    jw_u64(&j, "new_bytes", res->new_bytes);
    jw_u64(&j, "sent_bytes", res->sent_bytes);
    jw_close(&j);
    return jw_end(&j);
}

static int copy_text(const struct copy_result *res, const struct repo_place *to, struct buf *out)
{
    char bytes[CONF_SIZE_TEXT], sent[CONF_SIZE_TEXT];

    if (res->same)
        return buf_printf(out, "%s has it already: %.*s\n", repo_place_name(to), ID_SHOWN, res->id);
    conf_size_text(res->bytes, bytes);
    conf_size_text(res->sent_bytes, sent);
    return buf_printf(out, "recovery point %.*s in %s: read %s, sent %s\n", ID_SHOWN, res->id,
                      repo_place_name(to), bytes, sent);
}

/* What is needed lies in an archive in part: it was asked for. */
static int on_thaw(void *arg, uint64_t ready, uint64_t of)
{
    return long_say(arg, "packs are out of the archive", ready, of, 0);
}

static int copy_between(struct repo *from, struct repo *to, const char *id, bool json,
                        struct copy_result *res, struct buf *err)
{
    struct verb_long l;
    struct copy_opts o = {.arg = &l, .progress = on_progress};
    struct point p = {.flags = 0};
    int r = point_find(from, id, &p, err);

    if (r < 0)
        return r;
    long_begin(&l, json);
    r = copy_run_thawed(from, to, &p, &o, on_thaw, res, err);
    long_end(&l);
    point_release(&p);
    if (r < 0 && err->len)
        return r;
    if (r == -E_CORRUPT)
        buf_puts(err,
                 "something that is needed is damaged: varve repo verify says in which repository and what");
    else if (r < 0)
        buf_printf(err, "backup copy: %s", err_text(r));
    return r;
}

REPO_LOCAL(backup_copy)
{
    cleanup(repo_place_free) struct repo_place *p = calloc(1, sizeof(*p)), *q = calloc(1, sizeof(*q));
    cleanup(repo_done) struct repo *from = NULL, *to = NULL;
    struct backend_call call = {.canceled = long_stopped};
    struct copy_result res = {.same = false};
    int r = p && q ? repo_place_parse(verb_text(a, "point"), true, a, p, &ans->err) : -E_NOMEM;

    if (r == 0)
        r = repo_place_parse_to(verb_text(a, "to"), a, q, &ans->err);
    if (r == 0)
        r = repo_place_open(p, &call, NULL, &from, &ans->err);
    if (r == 0)
        r = repo_place_open(q, &call, NULL, &to, &ans->err);
    if (r == 0 && uuid_equal(&from->root.uuid, &to->root.uuid)) {
        buf_printf(&ans->err, "%s and %s are the same repository", repo_place_name(p), repo_place_name(q));
        r = -E_USAGE;
    }
    if (r == 0)
        r = copy_between(from, to, p->id, a->json, &res, &ans->err);
    if (r < 0)
        return r;
    return a->json ? copy_json(&res, &ans->out) : copy_text(&res, q, &ans->out);
}
