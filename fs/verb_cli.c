/* The command line: words become a verb and a target, the verb runs at the daemon or here, its answer is printed. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "fs/verb_attach.h"
#include "fs/verb_check.h"
#include "fs/verb_client.h"
#include "fs/verb_doctor.h"
#include "fs/verb_follow.h"
#include "fs/verb_holders.h"
#include "fs/verb_profile.h"
#include "fs/verb_repo.h"
#include "fs/verb_upgrade.h"

static bool is_verb(const struct verb_args *a, const char *noun, const char *name)
{
    const char *n = a->verb->noun;

    return (noun && n ? strcmp(n, noun) == 0 : noun == n) && strcmp(a->verb->name, name) == 0;
}

/* Each line of err with who says it. */
static void print_err(const struct buf *err)
{
    const char *p = (const char *)err->data, *end = p + err->len;

    while (p < end) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        size_t n = nl ? (size_t)(nl - p) : (size_t)(end - p);

        fprintf(stderr, "%s%.*s\n", *p == ' ' ? "" : "varve: ", (int)n, p);
        p += n + 1;
    }
}

/* A full disk behind standard output is a failure, too. */
static int print_out(const struct buf *out, int exit_code)
{
    if (out->len > 0 && (fwrite(out->data, 1, out->len, stdout) != out->len || fflush(stdout) != 0)) {
        if (errno != EPIPE)
            verb_complain(-E_IO, "standard output: %s", strerror(errno));
        return exit_code ? exit_code : 1;
    }
    return exit_code;
}

static int finish(int r, struct verb_answer *ans)
{
    if (r < 0) {
        if (ans->err.len == 0)
            buf_puts(&ans->err, err_text(r));
        print_err(&ans->err);
        return r == -E_USAGE ? 2 : 1;
    }
    r = print_out(&ans->out, ans->exit_code);
    print_err(&ans->err);
    return r;
}

/* --- the target --------------------------------------------------------------------------------------------------- */

static unsigned target_flags(const struct verb_args *a)
{
    if (is_verb(a, NULL, "create"))
        return TARGET_NEW | TARGET_NO_DIR;
    if (is_verb(a, NULL, "undelete"))
        return TARGET_NO_DIR;
    if (is_verb(a, NULL, "clone") || is_verb(a, "backup", "run") || is_verb(a, NULL, "export"))
        return TARGET_SNAP;
    if (a->verb->need == NEED_STORE)
        return TARGET_STORE;
    return a->verb->need == NEED_ANY ? TARGET_ANY : 0;
}

struct only {
    char source[PATH_MAX];
    bool several;
};

/* Mounts of one volume only, however many. */
static int only_one(void *arg, const struct verb_mount *m)
{
    struct only *o = arg;

    if (o->source[0] && strcmp(o->source, m->source) != 0)
        o->several = true;
    snprintf(o->source, sizeof(o->source), "%s", m->source);
    return 0;
}

/* No TARGET: where we are, or what alone is mounted. */
static int target_here(struct verb_target *t, struct buf *err)
{
    cleanup(buf_free) struct buf ignored = {0};
    struct only o = {.source = ""};

    if (verb_target_parse(".", TARGET_ANY, t, &ignored) == 0)
        return 0;
    verb_mounts_each(only_one, &o);
    if (!o.source[0] || o.several) {
        buf_printf(err,
                   "TARGET is missing: %s volumes are mounted here; name a mounted directory or STORE/VOLUME",
                   o.several ? "several" : "no");
        return -E_USAGE;
    }
    return verb_target_parse(o.source, TARGET_NO_DIR | TARGET_SNAP, t, err);
}

/* The target as the verb sees it: the volume's name. */
static int target_take(struct verb_args *a, struct verb_target *t, struct buf *err)
{
    int r = a->target ? verb_target_parse(a->target, target_flags(a), t, err) : target_here(t, err);

    if (r < 0)
        return r;
    free(a->target);
    a->target = strdup(t->volume);
    if (!a->target)
        return -E_NOMEM;
    if ((is_verb(a, NULL, "clone") || is_verb(a, "backup", "run") || is_verb(a, NULL, "export")) &&
        t->snap[0])
        return verb_set(a, "snap", t->snap, err);
    return 0;
}

/* --- what a command line does beyond the verb --------------------------------------------------------------------- */

struct mounts_of {
    char source[PATH_MAX];
    int (*cb)(void *arg, const struct verb_mount *m);
    void *arg;
};

static int mount_of(void *arg, const struct verb_mount *m)
{
    struct mounts_of *o = arg;

    return strcmp(m->source, o->source) == 0 ? o->cb(o->arg, m) : 0;
}

static void mounts_of(const struct verb_target *t, int (*cb)(void *arg, const struct verb_mount *m),
                      void *arg)
{
    struct mounts_of o = {.cb = cb, .arg = arg};

    if (snprintf(o.source, sizeof(o.source), "%s/%s", t->store, t->volume) < (int)sizeof(o.source))
        verb_mounts_each(mount_of, &o);
}

/* Stores to mapped files that were not written back belong into a snapshot taken from here. One mount is enough. */
static int sync_mount(void *arg, const struct verb_mount *m)
{
    int fd = open(m->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    (void)arg;
    if (fd < 0)
        return 0;
    syncfs(fd);
    close(fd);
    return 1;
}

static int snapshot_create(struct verb_args *a, const struct verb_target *t, struct verb_answer *ans)
{
    mounts_of(t, sync_mount, NULL);
    return verb_do(t, a, ans);
}

struct holding {
    struct buf lines;
    size_t processes;
};

static int hold_mount(void *arg, const struct verb_mount *m)
{
    struct holding *h = arg;

    verb_holders(m->major, m->minor, &h->lines, &h->processes);
    return 1;
}

/* Who had files open before: they keep the old tree. */
static int rollback(struct verb_args *a, const struct verb_target *t, struct verb_answer *ans)
{
    struct holding h = {.processes = 0};
    int r;

    mounts_of(t, sync_mount, NULL);
    mounts_of(t, hold_mount, &h);
    r = verb_do(t, a, ans);
    if (r == 0 && ans->exit_code == 0 && h.processes > 0) {
        buf_printf(&ans->err, "held open, these keep the tree of before, read-only; end or restart them:\n");
        buf_add(&ans->err, h.lines.data, h.lines.len);
    }
    buf_free(&h.lines);
    return r;
}

/* What is mapped belongs into a snapshot that is taken for it; names of repositories are this process's. */
static int backup(struct verb_args *a, const struct verb_target *t, struct verb_answer *ans)
{
    int r = verb_place_resolve(a, "to", &ans->err);

    if (r == 0)
        r = verb_attach_resolve(a, &ans->err);
    if (r == 0 && !verb_given(a, "snap"))
        mounts_of(t, sync_mount, NULL);
    return r < 0 ? r : verb_do(t, a, ans);
}

static int export_plain(struct verb_args *a, const struct verb_target *t, struct verb_answer *ans)
{
    int r = verb_url_resolve(a, "url", &ans->err);

    return r < 0 ? r : verb_do(t, a, ans);
}

static int migrate(struct verb_args *a, const struct verb_target *t, struct verb_answer *ans)
{
    int r = verb_sides_resolve(a, &ans->err);

    return r < 0 ? r : verb_do(t, a, ans);
}

/* Names of repositories are this process's. */
static int create(struct verb_args *a, const struct verb_target *t, struct verb_answer *ans)
{
    int r = verb_given(a, "from") ? verb_from_resolve(a, "from", &ans->err) : 0;

    if (r == 0) /* profiles by name are this process's, too: what goes on is the text */
        r = verb_profile_resolve(a, "profile", &ans->err);
    return r < 0 ? r : verb_do(t, a, ans);
}

static int profile_set(struct verb_args *a, const struct verb_target *t, struct verb_answer *ans)
{
    int r = verb_profile_resolve(a, "name", &ans->err);

    return r < 0 ? r : verb_do(t, a, ans);
}

static int job_wait_all(struct verb_args *a, const struct verb_target *t, struct verb_answer *ans)
{
    int r;

    do {
        verb_answer_free(ans);
        *ans = (struct verb_answer){.exit_code = 0};
        r = verb_do(t, a, ans);
    } while (r == 0 && strcmp(ans->result, err_name(-E_AGAIN)) == 0);
    return r;
}

/* A store in use is looked at by its daemon, any other here. */
static int check(struct verb_args *a, const struct verb_target *t, struct verb_answer *ans)
{
    int64_t began = 0;
    int r;

    do {
        buf_reset(&ans->err);
        r = verb_ask(t, a, ans);
        if (r != -E_NOTMOUNTED)
            return r;
        r = verb_check_path(t->store, verb_num(a, "repair"), a->json, &ans->out, &ans->err);
    } while (verb_retry(r, &began));
    if (r < 0)
        return r;
    ans->exit_code = r;
    return 0;
}

static int dump(struct verb_args *a, const struct verb_target *t, struct verb_answer *ans)
{
    const struct verb_val *what = verb_val(a, "what");
    int64_t began = 0;
    int r;

    do {
        buf_reset(&ans->err);
        r = verb_dump_path(t->store, (int)what->ntexts, what->texts, &ans->out, &ans->err);
    } while (verb_retry(r, &began));
    return r;
}

static int events(struct verb_args *a, const struct verb_target *t, struct verb_answer *ans)
{
    int r = -E_NOTMOUNTED;

    if (!verb_num(a, "follow"))
        r = verb_ask(t, a, ans);
    if (r != -E_NOTMOUNTED)
        return r;
    return verb_events_file(t->store, t->volume, verb_num(a, "since"), verb_num(a, "follow"), a->json,
                            &ans->err);
}

static int tier_release(struct verb_args *a, const struct verb_target *t, struct verb_answer *ans)
{
    int r = verb_place_resolve(a, "to", &ans->err);

    return r < 0 ? r : verb_do(t, a, ans);
}

static int tier_run(struct verb_args *a, const struct verb_target *t, struct verb_answer *ans)
{
    int r = verb_given(a, "to") ? verb_place_resolve(a, "to", &ans->err) : 0;

    if (r == 0 && verb_num(a, "upload"))
        mounts_of(t, sync_mount, NULL);
    return r < 0 ? r : verb_do(t, a, ans);
}

static int run(struct verb_args *a, const struct verb_target *t, struct verb_answer *ans)
{
    static const struct {
        const char *noun, *name;
        int (*fn)(struct verb_args *a, const struct verb_target *t, struct verb_answer *ans);
    } own[] = {
        {"snapshot", "create", snapshot_create}, {NULL, "rollback", rollback}, {"backup", "run", backup},
        {"tier", "release", tier_release},       {"tier", "run", tier_run},    {NULL, "export", export_plain},
        {"job", "wait", job_wait_all},           {NULL, "check", check},       {NULL, "dump", dump},
        {NULL, "upgrade", verb_upgrade},         {NULL, "events", events},     {NULL, "create", create},
        {"profile", "set", profile_set},         {"migrate", "plan", migrate}, {"migrate", "run", migrate}};

    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        if (is_verb(a, own[i].noun, own[i].name))
            return own[i].fn(a, t, ans);
    return verb_do(t, a, ans);
}

/* --- one command line --------------------------------------------------------------------------------------------- */

static int usage(const struct buf *err, int argc, char *const *argv)
{
    size_t count;
    const struct verb *t = verb_table(&count);
    bool known = false;

    print_err(err);
    for (size_t i = 0; argc > 0 && i < count; i++)
        known |= strcmp(t[i].noun ? t[i].noun : t[i].name, argv[0]) == 0;
    if (known)
        fprintf(stderr, "varve %s --help says more\n", argv[0]);
    else
        fputs("varve --help lists the commands\n", stderr);
    return 2;
}

static int help(const struct verb *v)
{
    cleanup(buf_free) struct buf text = {0};

    if (verb_help(v, &text) < 0)
        return verb_complain(-E_NOMEM, "%s", err_text(-E_NOMEM));
    return print_out(&text, 0);
}

/* "snapshot --help": every verb of the noun. 0 when it is none. */
static size_t help_noun(const char *noun, struct buf *out)
{
    size_t count, n = 0;
    const struct verb *t = verb_table(&count);

    for (size_t i = 0; i < count; i++)
        if (t[i].noun && strcmp(t[i].noun, noun) == 0) {
            if (n++ > 0)
                buf_puts(out, "\n");
            verb_help(&t[i], out);
        }
    return n;
}

static int run_parsed(struct verb_args *a, struct verb_answer *ans)
{
    struct verb_target *t;
    int r;

    if (is_verb(a, NULL, "doctor")) {
        ans->exit_code = verb_doctor(verb_text(a, "store"), a->json, &ans->out) ? 1 : 0;
        return 0;
    }
    r = verb_repo_run(a, ans);
    if (r != -E_NOSYS)
        return r;
    t = calloc(1, sizeof(*t));
    if (!t)
        return -E_NOMEM;
    r = target_take(a, t, &ans->err);
    if (r == 0)
        r = run(a, t, ans);
    free(t);
    return r;
}

int verb_main(int argc, char *const *argv)
{
    cleanup(verb_answer_free) struct verb_answer ans = {0};
    cleanup(verb_args_free) struct verb_args a = {0};
    int r;

    log_set_level(LOG_ERROR);
    if (argc == 2 && strcmp(argv[1], "--help") == 0 && help_noun(argv[0], &ans.out) > 0)
        return finish(0, &ans);
    if (argc == 0 || strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "help") == 0)
        return help(NULL);
    r = verb_parse_words(argc, argv, &a, &ans.err);
    if (r == -E_USAGE)
        return usage(&ans.err, argc, argv);
    if (r == 0 && a.help)
        return help(a.verb);
    if (r == 0)
        r = run_parsed(&a, &ans);
    return finish(r, &ans);
}
