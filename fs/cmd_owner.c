/* backup owner: whose something is that several stores may have, one after the other. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/jw.h"
#include "fs/verb_repo.h"
#include "tier/owner.h"

static int say(const struct owner *o, bool json, struct buf *out)
{
    char uuid[UUID_TEXT_SIZE];
    struct jw j;

    uuid_format(&o->store, uuid);
    if (!json && o->epoch == 0)
        return buf_puts(out, "it is nobody's yet\n");
    if (!json)
        return buf_printf(out, "epoch %" PRIu64 ": store %s\n", o->epoch, uuid);
    j = jw_begin(out, true);
    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_u64(&j, "epoch", o->epoch);
    jw_str(&j, "store_uuid", o->epoch ? uuid : NULL);
    jw_close(&j);
    return jw_end(&j);
}

static int wish(const struct verb_args *a, struct owner *ret, struct buf *err)
{
    *ret = (struct owner){.epoch = verb_num(a, "take")};
    if (owner_name_check(verb_text(a, "name")) < 0) {
        buf_puts(err, "backup owner: a name has letters a-z, digits, . _ - and at most 100 of them");
        return -E_NAME;
    }
    if (verb_given(a, "take") != verb_given(a, "by") ||
        (verb_given(a, "by") && uuid_parse(verb_text(a, "by"), &ret->store) < 0)) {
        buf_puts(err, "backup owner: --take EPOCH goes with --by UUID, the uuid of a store");
        return -E_USAGE;
    }
    return 0;
}

REPO_LOCAL(backup_owner)
{
    cleanup(repo_place_free) struct repo_place *p = calloc(1, sizeof(*p));
    cleanup(repo_done) struct repo *repo = NULL;
    const char *name = verb_text(a, "name");
    struct owner o;
    int r = p ? repo_place_parse(verb_text(a, "repo"), false, a, p, &ans->err) : -E_NOMEM;

    if (r == 0)
        r = wish(a, &o, &ans->err);
    if (r == 0)
        r = repo_place_open(p, NULL, NULL, &repo, &ans->err);
    if (r < 0)
        return r;
    r = o.epoch ? owner_take(repo, name, &o) : owner_newest(repo, name, &o);
    if (r == -E_EXIST)
        buf_printf(&ans->err, "%s: another store has taken %s", repo_place_name(p), name);
    else if (r < 0)
        buf_printf(&ans->err, "%s: %s", repo_place_name(p), backend_text(r));
    return r < 0 ? r : say(&o, a->json, &ans->out);
}
