#include "snap/check.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "snap/check_i.h"

#define SAID_MAX 200u /* findings of one pass that are said; the rest are counted */

static const struct {
    int number;
    int (*run)(struct check *c);
    const char *name, *rules;
} passes[] = {
#define PASS(number, fn, name, rules, repairs) {number, check_pass_##fn, name, rules},
#include "snap/check.def"
#undef PASS
};

void say(struct check *c, const char *fmt, ...)
{
    char line[1024];
    va_list ap;

    if (c->second || !c->o->say)
        return;
    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    c->o->say(c->o->arg, line);
}

int problem(struct check *c, const char *fmt, ...)
{
    char text[900];
    va_list ap;

    c->res.problems++;
    if (++c->found > SAID_MAX)
        return 0;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    say(c, "%s: %s", c->pass, text);
    return 0;
}

int check_turn(struct check *c)
{
    txn_abort(&c->t);
    return txn_begin(c->s, TXN_READ, OP_NONE, NULL, &c->t);
}

static void release(struct check *c)
{
    idmap_free(&c->objects);
    idmap_free(&c->unlinks);
    free(c->places);
    free(c->punches);
    buf_free(&c->cold);
    fixes_free(c);
}

static int run_passes(struct check *c)
{
    size_t i;
    int r = places_load(c);

    for (i = 0; i < ARRAY_LEN(passes) && r == 0; i++) {
        if (c->o->passes && !(c->o->passes >> passes[i].number & 1))
            continue;
        c->pass = passes[i].name;
        c->found = 0;
        r = passes[i].run(c);
        if (r == 0)
            r = check_turn(c);
        if (c->found > SAID_MAX)
            say(c, "%s: and %" PRIu64 " more", c->pass, c->found - SAID_MAX);
        if (!c->o->quiet)
            say(c, "pass %d %s%s%s%s: %" PRIu64 " problems", passes[i].number, c->pass,
                *passes[i].rules ? " (" : "", passes[i].rules, *passes[i].rules ? ")" : "", c->found);
    }
    return r;
}

static int look(struct check *c)
{
    struct store_state st;
    struct vol *v;
    int r = txn_begin(c->s, TXN_READ, OP_NONE, NULL, &c->t);

    if (r < 0)
        return r;
    c->fixes_end = &c->fixes;
    c->objects.vsize = sizeof(struct check_object);
    c->unlinks.vsize = 1;
    store_get_state(c->s, &st);
    c->unrecovered = st.unclean && st.mode != STORE_RW;
    for (v = vol_first(c->s); v; v = v->next)
        c->mounted |= v->mounts > 0;
    r = run_passes(c);
    txn_abort(&c->t);
    return r;
}

/* What the repairs have done is what a second look does not find any more. */
static int repair(struct check *c)
{
    struct check again = {.s = c->s, .o = c->o, .second = true};
    struct store_state st;
    int r;

    store_get_state(c->s, &st);
    if (st.mode != STORE_RW) {
        say(c, "the store is read-only (%s): nothing was repaired", st.why);
        return 0;
    }
    r = fixes_run(c);
    if (r == 0)
        r = store_sync(c->s);
    if (r == 0)
        r = store_checkpoint(c->s);
    if (r == 0)
        r = store_reclaim_idle(c->s);
    if (r == 0)
        r = look(&again);
    if (r == 0)
        c->res.repaired = c->res.problems - MIN_OF(c->res.problems, again.res.problems);
    release(&again);
    return r;
}

int check_store(struct store *s, const struct check_opts *o, struct check_result *ret)
{
    struct check c = {.s = s, .o = o};
    int r = look(&c);

    if (r == 0 && o->repair && c.res.problems > 0)
        r = repair(&c);
    if (r == 0)
        *ret = c.res;
    release(&c);
    return r;
}

/* What cannot be opened for its damage is a finding like others. */
static int unopened(const struct check_opts *o, int r, const char *why, struct check_result *ret)
{
    if (o->say && why[0])
        o->say(o->arg, why);
    if (r != -E_CORRUPT && r != -E_JOURNAL)
        return r;
    *ret = (struct check_result){.problems = 1};
    return 0;
}

int check_path(struct io *io, const char *path, const struct check_opts *o, struct check_result *ret)
{
    const struct store_settings set = {.no_threads = true};
    struct store *s;
    char why[256] = "";
    int r = store_path_is(path) == 1 ? check_pages(path, why) : 0, rc;

    if (r == 0)
        r = store_open(io, path, &set, o->repair ? 0 : STORE_CHECK, &s, why);
    if (r < 0)
        return unopened(o, r, why, ret);
    if (o->repair)
        (void)snap_attach(s);
    r = check_store(s, o, ret);
    rc = store_close(s);
    if (r == 0 && rc == 0 && ret->problems == ret->repaired)
        rc = store_failed_forget(io, path);
    return r < 0 ? r : rc;
}
