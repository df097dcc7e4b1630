/* varve repo prune, varve repo unlock: freeing what no recovery point needs. In the command line's process. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "conf/value.h"
#include "fs/verb_long.h"
#include "fs/verb_repo.h"
#include "fs/verb_show.h"
#include "tier/lease.h"
#include "tier/prune.h"

static int on_progress(void *arg, const char *what, uint64_t done, uint64_t of)
{
    return long_say(arg, what, done, of, 0);
}

static int prune_json(const struct prune_result *s, bool dry, struct buf *out)
{
    struct jw j = jw_begin(out, true);

    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_bool(&j, "dry_run", dry);
    jw_u64(&j, "recovery_points", s->points);
    jw_u64(&j, "packs", s->packs);
    jw_u64(&j, "pack_bytes", s->bytes);
    jw_u64(&j, "needed_bytes", s->needed);
    jw_u64(&j, "condemned_packs", s->condemned);
    jw_u64(&j, "condemned_bytes", s->condemned_bytes);
    jw_u64(&j, "rewritten_packs", s->moved);
    jw_u64(&j, "rewritten_bytes", s->moved_bytes);
    jw_u64(&j, "archived_packs", s->archived);
    jw_u64(&j, "deleted_packs", s->deleted);
    jw_u64(&j, "deleted_bytes", s->deleted_bytes);
    jw_u64(&j, "rescued_packs", s->rescued);
    jw_u64(&j, "young_bytes", s->young_bytes);
    jw_u64(&j, "refused", s->refused);
    jw_u64(&j, "stuck_packs", s->stuck);
    jw_u64(&j, "stuck_bytes", s->stuck_bytes);
    if (s->refused_why[0])
        jw_str(&j, "refused_why", s->refused_why);
    jw_u64(&j, "waiting_lists", s->waiting);
    jw_u64(&j, "waiting_seconds", (uint64_t)(s->wait_ns / 1000000000));
    jw_close(&j);
    return jw_end(&j);
}

static int refused_text(const struct prune_result *s, struct buf *out)
{
    char stuck[CONF_SIZE_TEXT];

    conf_size_text(s->stuck_bytes, stuck);
    return buf_printf(out,
                      "%" PRIu64 " objects may not be deleted; for it %" PRIu64
                      " packs, %s, that nothing needs stay; the next prune tries again\n%s\n",
                      s->refused, s->stuck, stuck, s->refused_why);
}

static int prune_text(const struct prune_result *s, const struct prune_opts *o, struct buf *out)
{
    char all[CONF_SIZE_TEXT], needed[CONF_SIZE_TEXT], gone[CONF_SIZE_TEXT], bad[CONF_SIZE_TEXT],
        when[CONF_SIZE_TEXT];
    const char *will = o->dry ? "would be " : "";
    int r;

    conf_size_text(s->bytes, all);
    conf_size_text(s->needed, needed);
    conf_size_text(s->deleted_bytes, gone);
    conf_size_text(s->condemned_bytes, bad);
    r = buf_printf(out,
                   "%" PRIu64 " recovery points need %s of %s in %" PRIu64 " packs\n%" PRIu64
                   " packs, %s, %sdeleted\n",
                   s->points, needed, all, s->packs, s->deleted, gone, will);
    if (r == 0 && s->condemned && (!o->exclusive || o->dry)) {
        conf_duration_text(o->grace_ns, when);
        r = buf_printf(out, "%" PRIu64 " packs, %s, %scondemned: the first prune after %s deletes them\n",
                       s->condemned, bad, will, o->exclusive ? "this" : when);
    }
    if (r == 0 && s->young_bytes) {
        conf_size_text(s->young_bytes, bad);
        r = buf_printf(out, "%s that nothing needs yet were put lately: a backup may be at work\n", bad);
    }
    if (r == 0 && s->moved)
        r = buf_printf(out, "%" PRIu64 " of them written anew without what is not needed\n", s->moved);
    if (r == 0 && s->archived)
        r = buf_printf(out,
                       "%" PRIu64 " packs of which little is needed lie in an archive: they stay whole\n",
                       s->archived);
    if (r == 0 && s->rescued)
        r = buf_printf(out, "%" PRIu64 " condemned packs are needed again and stay\n", s->rescued);
    if (r == 0 && s->refused)
        r = refused_text(s, out);
    if (r == 0 && s->waiting) {
        conf_duration_text(s->wait_ns, when);
        r = buf_printf(out, "condemned before, to be deleted in %s at the earliest: %" PRIu64 " lists\n",
                       when, s->waiting);
    }
    return r;
}

static int opts_of(const struct verb_args *a, struct prune_opts *o, struct buf *err)
{
    *o = (struct prune_opts){.grace_ns = PRUNE_GRACE_NS,
                             .exclusive = verb_num(a, "exclusive"),
                             .dry = verb_num(a, "dry-run"),
                             .progress = on_progress};
    if (verb_given(a, "grace"))
        o->grace_ns = (int64_t)verb_num(a, "grace");
    if (o->grace_ns >= CONDEMNED_GRACE_NS)
        return 0;
    buf_puts(err, "repo prune: a grace is 1h at least, so that backups under way notice; --exclusive where "
                  "there are none");
    return -E_USAGE;
}

REPO_LOCAL(repo_prune)
{
    cleanup(repo_place_free) struct repo_place *p = NULL;
    cleanup(repo_done) struct repo *repo = NULL;
    struct backend_call call = {.canceled = long_stopped};
    struct prune_result res = {0};
    cleanup(buf_free) struct buf why = {0};
    struct prune_opts o;
    struct verb_long l;
    int r = opts_of(a, &o, &ans->err);

    if (r == 0)
        r = repo_place_of(a, ans, &p);
    if (r == 0)
        r = repo_place_open(p, &call, NULL, &repo, &ans->err);
    if (r < 0)
        return r;
    o.arg = &l;
    long_begin(&l, a->json);
    r = prune_run(repo, &o, &res, &why);
    long_end(&l);
    if (r < 0) {
        buf_printf(&ans->err, "%s: %s", repo_place_name(p), buf_cstr(&why));
        return r;
    }
    return a->json ? prune_json(&res, o.dry, &ans->out) : prune_text(&res, &o, &ans->out);
}

REPO_LOCAL(repo_unlock_lease)
{
    cleanup(repo_place_free) struct repo_place *p = NULL;
    struct backend_call call = {.timeout_ms = REPO_CALL_MS};
    unsigned gone = 0, alive = 0;
    struct backend *b = NULL;
    struct jw j;
    int r = repo_place_of(a, ans, &p);

    if (r == 0)
        r = repo_place_backend(p, false, NULL, &b, &ans->err);
    if (r < 0)
        return r;
    r = lease_break(b, &call, verb_num(a, "force"), &gone, &alive);
    backend_close(b);
    if (r < 0 || alive) {
        buf_printf(&ans->err, "%s: %s", repo_place_name(p),
                   r < 0 ? backend_text(r)
                         : "a prune was at work in the last ten minutes; wait, or --force where it is known "
                           "to be dead");
        return r < 0 ? r : -E_BUSY;
    }
    if (!a->json)
        return buf_printf(&ans->out, gone ? "%s is free again\n" : "%s: nothing kept anybody out\n",
                          repo_place_name(p));
    j = jw_begin(&ans->out, true);
    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_u64(&j, "removed", gone);
    jw_close(&j);
    return jw_end(&j);
}
