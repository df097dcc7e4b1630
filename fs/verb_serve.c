/* The daemon's side of a verb that comes over STORE/sock. */
#include <unistd.h>

#include "fs/verb.h"

/* "VOLUME@SNAP" for a verb that takes a snapshot there: what follows @ becomes its argument. */
static int target_split(struct verb_args *a, struct buf *err)
{
    char *at = a->target ? strchr(a->target, '@') : NULL;

    if (!at)
        return 0;
    *at = 0;
    for (size_t i = 0; i < VERB_ARGS_MAX && a->verb->args[i].name; i++)
        if (strcmp(a->verb->args[i].name, "snap") == 0)
            return verb_set(a, "snap", at + 1, err);
    buf_printf(err, "%s: a volume is meant, not a snapshot; leave @%s out", a->verb->name, at + 1);
    return -E_USAGE;
}

static int volume_of(struct verb_ctx *c, const struct verb_args *a, struct buf *err)
{
    int r;

    if (a->verb->need == NEED_STORE || !a->target || strcmp(a->target, ".") == 0)
        return 0;
    r = volume_find(c->env->store, a->target, &c->vol);
    if (r < 0)
        buf_printf(err, "%s/%s: volume %s; varve list shows what there is", store_path(c->env->store),
                   a->target, err_text(r));
    return r;
}

static int serve(struct verb_ctx *c, struct verb_args *a, struct buf *out, struct buf *err)
{
    cleanup(buf_free) struct buf ignored = {0};
    int r;

    if (a->help)
        return verb_help(a->verb, out);
    if (!a->verb->run) {
        buf_printf(err, "%s: runs in the command line only", a->verb->name);
        return -E_USAGE;
    }
    r = target_split(a, err);
    if (r == 0 && verb_begun(c, a)) {
        volume_of(c, a, &ignored); /* it may be what the command took away */
        c->json = a->json;
        return verb_resume(c, a, out);
    }
    if (r == 0)
        r = volume_of(c, a, err);
    if (r == 0 && a->verb->need == NEED_VOLUME && !c->vol) {
        buf_printf(err, "%s: a volume is missing", a->verb->name);
        r = -E_USAGE;
    }
    c->json = a->json;
    return r < 0 ? r : verb_run(c, a, out, err);
}

int verb_serve(struct verb_env *e, size_t nwords, char *const *words, uint32_t uid, uint32_t gid,
               struct buf *out, struct buf *err, int *ret_exit)
{
    struct verb_ctx c = {.env = e,
                         .role = uid == 0 || uid == geteuid() ? ROLE_ADMIN : ROLE_NONE,
                         .via = VIA_SOCKET,
                         .uid = uid,
                         .gid = gid};
    cleanup(verb_args_free) struct verb_args a = {0};
    int r = verb_parse_words((int)nwords, words, &a, err);

    if (r == 0)
        r = serve(&c, &a, out, err);
    *ret_exit = r > 0 ? r : r == 0 ? 0 : r == -E_USAGE ? 2 : 1;
    if (r < 0 && err->len == 0)
        buf_puts(err, err_text(r));
    return r;
}
