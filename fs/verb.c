#include "fs/verb.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "fs/verb_value.h"
#include "snap/event.h"

static const char *role_name(enum verb_role r)
{
    static const char *const names[] = {"none", "read", "snapshot", "admin"};

    return names[r];
}

/* The first value that names a file of this machine, or a place by its URL. Repositories by name were added by who may. */
static const char *reaches_out(const struct verb_args *a)
{
    for (size_t i = 0; i < VERB_ARGS_MAX && a->verb->args[i].name; i++) {
        const struct verb_arg *x = &a->verb->args[i];
        const struct verb_val *v = &a->vals[i];
        const char *shown = x->shown ? x->shown : "";

        if (v->ntexts && (strcmp(shown, "FILE") == 0 || strcmp(shown, "URL") == 0))
            return x->name;
        for (size_t n = 0; strncmp(shown, "REPO", 4) == 0 && n < v->ntexts; n++)
            if (strchr(v->texts[n], ':'))
                return x->name;
    }
    return NULL;
}

/* The daemon opens files and writes to places for who asks: by a control file for those only who could do so themselves. */
static int may_reach(const struct verb_ctx *c, const struct verb_args *a, struct buf *err)
{
    const char *what;

    if (c->via != VIA_CONTROL || c->uid == 0 || c->uid == (uint32_t)geteuid() ||
        BROKEN(VARVE_BREAK_control_reach) || !(what = reaches_out(a)))
        return 0;
    buf_printf(
        err,
        "%s: %s= with a file or a URL is for root and the user of the daemon here; give a repository by "
        "its name, or use the command line",
        a->verb->name, what);
    return -E_PERM;
}

int verb_run(struct verb_ctx *c, const struct verb_args *a, struct buf *out, struct buf *err)
{
    const struct verb *v = a->verb;
    unsigned held;
    int r;

    assert(v->run);
    assert(c->env && c->env->store);
    assert(v->need != NEED_VOLUME || c->vol);
    if (c->role < v->role) {
        buf_printf(err, "%s: not permitted here; %s", v->name,
                   c->via == VIA_CONTROL ? "mount with control="
                                         : "do it as root or as the user of the store");
        if (c->via == VIA_CONTROL)
            buf_puts(err, role_name(v->role));
        return -E_PERM;
    }
    if ((r = may_reach(c, a, err)) < 0)
        return r;
    held = vols_hold(c->env->store);
    r = v->run(c, a, out, err);
    vols_let_go(c->env->store, held);
    if (r >= 0 && v->role > ROLE_READ && v->name && strcmp(v->name, "check") != 0) {
        int f = store_flush(c->env->store);

        if (f < 0 && r == 0) { /* above 0 it is a verdict, and the store may have stopped for it */
            buf_reset(err);
            buf_printf(err, "%s: done, but not on the disk: %s; see the store's events", v->name,
                       err_text(f));
            return f;
        }
    }
    if (r < 0 && err->len == 0)
        buf_printf(err, "%s: %s", v->name, err_text(r));
    return r;
}

int verb_complain(int r, const char *fmt, ...)
{
    va_list ap;

    fputs("varve: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return r == -E_USAGE ? 2 : 1;
}

/* --- help --------------------------------------------------------------------------------------------------------- */

static void synopsis(const struct verb *v, struct buf *out)
{
    buf_printf(out, "varve %s%s%s", v->noun ? v->noun : "", v->noun ? " " : "", v->name);
    if (v->target)
        buf_printf(out, " %s", v->target);
    for (size_t i = 0; i < VERB_ARGS_MAX && v->args[i].name; i++) {
        const struct verb_arg *a = &v->args[i];

        if (a->flags & ARG_WORD)
            buf_printf(out, a->flags & ARG_REQUIRED ? " %s%s" : " [%s]%s", a->shown,
                       a->flags & ARG_MANY ? "..." : "");
        else if (a->type == ARG_FLAG)
            buf_printf(out, " [--%s]", a->name);
        else
            buf_printf(out, " [--%s %s]%s", a->name, a->shown, a->flags & ARG_MANY ? "..." : "");
    }
}

static void help_args(const struct verb *v, struct buf *out)
{
    for (size_t i = 0; i < VERB_ARGS_MAX && v->args[i].name; i++) {
        const struct verb_arg *a = &v->args[i];
        char left[64];

        if (a->flags & ARG_WORD)
            snprintf(left, sizeof(left), "%s", a->shown);
        else
            snprintf(left, sizeof(left), "--%s%s%s", a->name, a->shown ? " " : "", a->shown ? a->shown : "");
        buf_printf(out, "  %-22s %s\n", left, a->help);
    }
    if (v->run || v->need == NEED_NOTHING)
        buf_printf(out, "  %-22s %s\n", "--json", "for programs: an object with \"schema\": 1");
}

static int help_one(const struct verb *v, struct buf *out)
{
    buf_puts(out, "usage: ");
    synopsis(v, out);
    buf_printf(out, "\n\n%s\n\n", v->help);
    help_args(v, out);
    if (v->more)
        buf_printf(out, "\n%s", v->more);
    if (v->target && (v->need == NEED_VOLUME || v->need == NEED_ANY) && strstr(v->target, "TARGET"))
        buf_puts(
            out,
            "\nTARGET: a mounted directory (or anything below it), or STORE/VOLUME; STORE alone means its "
            "volume main.\n");
    if (v->need == NEED_ANY)
        buf_puts(out, "Without TARGET: the volume in which you are, or the only one that is mounted.\n");
    if (v->file)
        buf_printf(out, "\nAlso: echo '%s%s ...' > .snapshots/.control/%s\n", v->name,
                   v->args[0].name && (v->args[0].flags & ARG_REQUIRED) ? " NAME" : "", v->file);
    return buf_cstr(out) ? 0 : -E_NOMEM;
}

int verb_help(const struct verb *v, struct buf *out)
{
    size_t count;
    const struct verb *t = verb_table(&count);

    if (v)
        return help_one(v, out);
    for (size_t i = 0; i < count; i++) {
        cleanup(buf_free) struct buf line = {0};

        synopsis(&t[i], &line);
        if (!buf_cstr(&line))
            return -E_NOMEM;
        buf_printf(out, "  %s\n      %s\n", buf_cstr(&line), t[i].help);
    }
    return buf_cstr(out) ? 0 : -E_NOMEM;
}
