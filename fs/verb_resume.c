/* A command of a control file, or of the command line, that a former daemon had begun when it died: its first record is in the journal (F19). What cannot be
 * done twice is taken as done; everything else is done over, which changes nothing. */
#include "base/jw.h"
#include "fs/verb.h"
#include "fs/verb_profile.h"
#include "snap/snapshot.h"
#include "snap/store/answer.h"
#include "snap/volume.h"

static bool is(const struct verb *v, const char *noun, const char *name)
{
    return strcmp(v->name, name) == 0 && (v->noun && noun ? strcmp(v->noun, noun) == 0 : v->noun == noun);
}

static bool is_named(struct store *s, const char *name)
{
    struct vol *v;

    return volume_find(s, name, &v) == 0;
}

/* A clone without a snapshot takes one first: that record does not make it. */
static bool is_cloned(struct store *s, const struct verb_args *a)
{
    return is_named(s, verb_text(a, "to"));
}

bool verb_begun(const struct verb_ctx *c, const struct verb_args *a)
{
    uint64_t value;

    if (!a->verb || !answer_begun(&value))
        return false;
    if (is(a->verb, NULL, "clone"))
        return is_cloned(c->env->store, a);
    if (is(a->verb, NULL, "create") && verb_given(a, "from")) /* its name comes with its last record */
        return a->target && is_named(c->env->store, a->target);
    return is(a->verb, NULL, "rollback") || is(a->verb, NULL, "create") || is(a->verb, NULL, "rename") ||
           is(a->verb, NULL, "delete") || is(a->verb, NULL, "undelete") ||
           is(a->verb, "snapshot", "delete") || is(a->verb, "snapshot", "rename") ||
           is(a->verb, "snapshot", "release");
}

/* The volume may be there without its profile: giving it once more changes nothing. */
static void create_profile(struct verb_ctx *c, const struct verb_args *a)
{
    cleanup(profile_free) struct profile *p = NULL;
    cleanup(buf_free) struct buf ignored = {0};
    struct vol *v;

    if (profile_of_word(verb_text(a, "profile"), &p, &ignored) == 0 &&
        volume_find(c->env->store, a->target, &v) == 0)
        policy_set(v, p, false, NULL);
}

int verb_resume(struct verb_ctx *c, const struct verb_args *a, struct buf *out)
{
    const struct verb_host *h = c->env->host;
    struct jw j;

    if (is(a->verb, NULL, "create") && verb_given(a, "profile"))
        create_profile(c, a);
    if (is(a->verb, NULL, "rollback") && h && h->rolled_back && c->vol)
        h->rolled_back(h->arg, c->vol);
    if (h && h->snapshots_changed && c->vol)
        h->snapshots_changed(h->arg, c->vol);
    if (!c->json)
        return buf_puts(out, "done\n");
    j = jw_begin(out, true);
    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_bool(&j, "done", true);
    jw_close(&j);
    return jw_end(&j);
}

bool verb_snap_taken(struct vol *v, struct layer_rec *ret)
{
    uint64_t layer;

    return answer_begun(&layer) && snap_by_layer(v, (uint32_t)layer, ret) == 0;
}
