#include "fs/ctl_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "fs/verb_diff.h"
#include "fs/verb_list.h"
#include "fs/verb_repo.h"
#include "fs/verb_runs.h"
#include "fs/verb_show.h"
#include "fs/verb_value.h"

/* --- commands ----------------------------------------------------------------------------------------------------- */

int ctl_synopsis(const struct verb *v, struct buf *out)
{
    bool named = false;
    int r = buf_puts(out, v->name);

    for (size_t i = 0; r == 0 && i < VERB_ARGS_MAX && v->args[i].name; i++) {
        const struct verb_arg *a = &v->args[i];
        bool must = a->flags & ARG_REQUIRED;

        if (a->flags & ARG_CLI_ONLY)
            continue;
        r = buf_puts(out, must ? " " : " [");
        if (r == 0 && (a->flags & ARG_WORD) && !named) {
            named = true;
            r = buf_puts(out, a->shown);
        } else if (r == 0) {
            r = a->type == ARG_FLAG ? buf_puts(out, a->name) : buf_printf(out, "%s=%s", a->name, a->shown);
        }
        if (r == 0)
            r = buf_puts(out, must ? "" : "]");
        if (r == 0 && (a->flags & ARG_MANY))
            r = buf_puts(out, "...");
    }
    return r;
}

static int each_command(const struct ctl_file *f, int (*cb)(void *arg, const struct verb *v), void *arg)
{
    size_t count;
    const struct verb *t = verb_table(&count);
    int r = 0;

    for (size_t i = 0; r == 0 && i < count; i++)
        if (t[i].file && strcmp(t[i].file, f->name) == 0)
            r = cb(arg, &t[i]);
    return r;
}

static int command_comment(void *arg, const struct verb *v)
{
    struct buf *out = arg;
    int r = buf_puts(out, "# ");

    if (r == 0)
        r = ctl_synopsis(v, out);
    return r < 0 ? r : buf_printf(out, "\n#     %s\n", v->help);
}

static size_t index_of(const struct ctl_file *f)
{
    size_t count;

    return (size_t)(f - ctl_files(&count));
}

/* A text that may hold newlines, as one comment. */
static int comment(const char *text, struct buf *out)
{
    int r = 0;

    for (const char *p = text; *p && r == 0; p++)
        r = *p == '\n' ? (p[1] ? buf_puts(out, "\n#   ") : 0) : buf_add(out, p, 1);
    return r < 0 ? r : buf_puts(out, "\n");
}

int ctl_head(struct ctl *c, const struct ctl_file *f, struct buf *out)
{
    const struct ctl_refusal *no = &c->refused[index_of(f)];
    const struct ctl_reply *yes = &c->replies[index_of(f)];
    char when[32];
    int r = buf_printf(out, "# %s\n", f->doc);

    if (r == 0)
        r = each_command(f, command_comment, out);
    pthread_mutex_lock(&c->lock);
    if (r == 0 && yes->time_ns) {
        show_time(yes->time_ns, when);
        r = buf_printf(out, "# last answer, %s: ", when);
        r = r < 0 ? r : comment(yes->text, out);
    }
    if (r == 0 && no->time_ns) {
        show_time(no->time_ns, when);
        r = buf_printf(out, "# refused, %s, uid %" PRIu32 ", \"%s\": ", when, no->uid, no->line);
        r = r < 0 ? r : comment(no->reason, out);
    }
    pthread_mutex_unlock(&c->lock);
    return r;
}

/* --- what verbs print --------------------------------------------------------------------------------------------- */

static int by_verb(struct ctl *c, const char *noun, const char *name, bool json, struct buf *out)
{
    cleanup(buf_free) struct buf err = {0};
    struct verb_args a = {.verb = verb_find(noun, name), .json = json};
    struct verb_ctx ctx = {.env = c->env, .vol = c->vol, .role = ROLE_READ, .via = VIA_CONTROL, .json = json};

    assert(a.verb);
    return verb_run(&ctx, &a, out, &err);
}

int ctl_profile_text(struct ctl *c, const char *arg, struct buf *out)
{
    (void)arg;
    return by_verb(c, "profile", "get", false, out);
}

int ctl_profile_json(struct ctl *c, const char *arg, struct buf *out)
{
    (void)arg;
    return by_verb(c, "profile", "get", true, out);
}

int ctl_status_text(struct ctl *c, const char *arg, struct buf *out)
{
    (void)arg;
    return by_verb(c, NULL, "status", false, out);
}

int ctl_status_json(struct ctl *c, const char *arg, struct buf *out)
{
    (void)arg;
    return by_verb(c, NULL, "status", true, out);
}

int ctl_snapshots_text(struct ctl *c, const char *arg, struct buf *out)
{
    (void)arg;
    return by_verb(c, "snapshot", "list", false, out);
}

int ctl_snapshots_json(struct ctl *c, const char *arg, struct buf *out)
{
    (void)arg;
    return by_verb(c, "snapshot", "list", true, out);
}

int ctl_jobs_text(struct ctl *c, const char *arg, struct buf *out)
{
    (void)arg;
    return verb_jobs_list(c->env->store, c->vol, false, out);
}

int ctl_jobs_json(struct ctl *c, const char *arg, struct buf *out)
{
    (void)arg;
    return verb_jobs_list(c->env->store, c->vol, true, out);
}

int ctl_backup_text(struct ctl *c, const char *arg, struct buf *out)
{
    (void)arg;
    return verb_jobs_of(c->env->store, c->vol, "backup", false, out);
}

int ctl_backup_json(struct ctl *c, const char *arg, struct buf *out)
{
    (void)arg;
    return verb_jobs_of(c->env->store, c->vol, "backup", true, out);
}

int ctl_tier_text(struct ctl *c, const char *arg, struct buf *out)
{
    (void)arg;
    return tier_show(c->env->store, c->vol, false, out);
}

int ctl_tier_json(struct ctl *c, const char *arg, struct buf *out)
{
    (void)arg;
    return tier_show(c->env->store, c->vol, true, out);
}

int ctl_restore_text(struct ctl *c, const char *arg, struct buf *out)
{
    (void)arg;
    return verb_jobs_of(c->env->store, c->vol, "restore", false, out);
}

int ctl_restore_json(struct ctl *c, const char *arg, struct buf *out)
{
    (void)arg;
    return verb_jobs_of(c->env->store, c->vol, "restore", true, out);
}

static int repositories(bool json, struct buf *out)
{
    cleanup(verb_answer_free) struct verb_answer ans = {0};
    struct verb_args a = {.verb = verb_find("repo", "list"), .json = json};
    int r = repo_list(&a, &ans);

    return r < 0 ? r : buf_add(out, ans.out.data, ans.out.len);
}

int ctl_repos_text(struct ctl *c, const char *arg, struct buf *out)
{
    int r = repositories(false, out);

    (void)arg;
    return r < 0 ? r : verb_jobs_of(c->env->store, c->vol, "repository", false, out);
}

int ctl_repos_json(struct ctl *c, const char *arg, struct buf *out)
{
    (void)c;
    (void)arg;
    return repositories(true, out);
}

static uint64_t since(const char *arg)
{
    return *arg ? strtoull(arg, NULL, 10) : 0;
}

int ctl_events_text(struct ctl *c, const char *arg, struct buf *out)
{
    return verb_events_list(c->env->store, c->vol, since(arg), false, out);
}

int ctl_events_json(struct ctl *c, const char *arg, struct buf *out)
{
    return verb_events_list(c->env->store, c->vol, since(arg), true, out);
}

/* --- changes ------------------------------------------------------------------------------------------------------ */

static bool side(struct vol *v, const char *p, size_t len, bool may_be_now, char out[NAME_LEN_MAX + 1])
{
    struct layer_rec rec;

    if (len > NAME_LEN_MAX)
        return false;
    memcpy(out, p, len);
    out[len] = 0;
    if (len > 0 && snap_find(v, out, &rec) == 0)
        return true;
    out[0] = 0;
    return may_be_now && (len == 0 || (len == 3 && memcmp(p, "now", 3) == 0));
}

int ctl_changes_split(struct vol *v, const char *arg, char a[NAME_LEN_MAX + 1], char b[NAME_LEN_MAX + 1])
{
    for (const char *dots = strstr(arg, ".."); dots; dots = strstr(dots + 1, ".."))
        if (side(v, arg, (size_t)(dots - arg), false, a) && side(v, dots + 2, strlen(dots + 2), true, b))
            return 0;
    b[0] = 0;
    return side(v, arg, strlen(arg), false, a) ? 0 : -E_NOENT;
}

static int changes(struct ctl *c, const char *arg, bool json, struct buf *out)
{
    cleanup(buf_free) struct buf err = {0};
    char a[NAME_LEN_MAX + 1], b[NAME_LEN_MAX + 1];
    int r = ctl_changes_split(c->vol, arg, a, b);

    return r < 0 ? r : verb_diff(c->vol, a, b, json, out, &err);
}

int ctl_changes_text(struct ctl *c, const char *arg, struct buf *out)
{
    return changes(c, arg, false, out);
}

struct pairs {
    struct jw j;
    char before[NAME_LEN_MAX + 1];
};

static void pair(struct pairs *p, const char *to)
{
    char path[2 * NAME_LEN_MAX + 32];

    snprintf(path, sizeof(path), "changes/%s..%s.json", p->before, to);
    jw_name(&p->j, NULL, path, strlen(path));
}

static int pair_take(void *arg, const struct layer_rec *rec, const char *text, size_t len)
{
    struct pairs *p = arg;

    (void)text;
    (void)len;
    if (p->before[0])
        pair(p, rec->name);
    snprintf(p->before, sizeof(p->before), "%s", rec->name);
    return 0;
}

/* changes.json: what can be asked for, in the order of taking. */
static int changes_index(struct ctl *c, struct buf *out)
{
    struct pairs p = {.j = jw_begin(out, true)};
    int r;

    jw_object(&p.j, NULL);
    jw_u64(&p.j, "schema", 1);
    jw_array(&p.j, "files");
    r = snap_each(c->vol, pair_take, &p);
    if (p.before[0])
        pair(&p, "now");
    jw_close(&p.j);
    jw_close(&p.j);
    return r < 0 ? r : jw_end(&p.j);
}

int ctl_changes_json(struct ctl *c, const char *arg, struct buf *out)
{
    return *arg ? changes(c, arg, true, out) : changes_index(c, out);
}

/* --- rollback ----------------------------------------------------------------------------------------------------- */

struct undo {
    struct buf *out;
    struct jw *j;
    size_t count;
};

static int undo_take(void *arg, const struct layer_rec *rec, const char *text, size_t len)
{
    struct undo *u = arg;

    (void)text;
    (void)len;
    if (strncmp(rec->name, "before-rollback-", 16) != 0)
        return 0;
    u->count++;
    if (u->j) {
        jw_object(u->j, NULL);
        jw_name(u->j, "name", rec->name, strlen(rec->name));
        jw_time(u->j, "taken", rec->taken_ns);
        jw_close(u->j);
        return 0;
    }
    return buf_printf(u->out, "rollback %s\n", rec->name);
}

int ctl_rollback_text(struct ctl *c, const char *arg, struct buf *out)
{
    struct undo u = {.out = out};
    int r = snap_each(c->vol, undo_take, &u);

    (void)arg;
    return r < 0 || u.count ? r : buf_puts(out, "nothing was rolled back\n");
}

int ctl_rollback_json(struct ctl *c, const char *arg, struct buf *out)
{
    struct jw j = jw_begin(out, true);
    struct undo u = {.out = out, .j = &j};
    int r;

    (void)arg;
    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_array(&j, "undo");
    r = snap_each(c->vol, undo_take, &u);
    jw_close(&j);
    jw_close(&j);
    return r < 0 ? r : jw_end(&j);
}

/* --- error -------------------------------------------------------------------------------------------------------- */

int ctl_error_text(struct ctl *c, const char *arg, struct buf *out)
{
    char when[32];
    int r;

    (void)arg;
    pthread_mutex_lock(&c->lock);
    show_time(c->last.time_ns, when);
    if (c->last.time_ns)
        r = buf_printf(out,
                       "time    %s\nuid     %" PRIu32 "\npid     %" PRIu32
                       "\nfile    %s\nline    %s\nerror   %s\nreason  %s\n",
                       when, c->last.uid, c->last.pid, c->last.file, c->last.line, err_name(c->last.result),
                       c->last.reason);
    else
        r = buf_puts(out, "nothing was refused\n");
    pthread_mutex_unlock(&c->lock);
    return r;
}

int ctl_error_json(struct ctl *c, const char *arg, struct buf *out)
{
    struct jw j = jw_begin(out, true);

    (void)arg;
    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    pthread_mutex_lock(&c->lock);
    if (c->last.time_ns) {
        jw_object(&j, "error");
        jw_time(&j, "time", c->last.time_ns);
        jw_u64(&j, "uid", c->last.uid);
        jw_u64(&j, "pid", c->last.pid);
        jw_str(&j, "file", c->last.file);
        jw_str(&j, "line", c->last.line);
        jw_str(&j, "code", err_name(c->last.result));
        jw_str(&j, "reason", c->last.reason);
        jw_close(&j);
    } else {
        jw_null(&j, "error");
    }
    pthread_mutex_unlock(&c->lock);
    jw_close(&j);
    return jw_end(&j);
}

/* --- help --------------------------------------------------------------------------------------------------------- */

static int command_line(void *arg, const struct verb *v)
{
    struct buf *out = arg;
    int r = buf_puts(out, "    ");

    if (r == 0)
        r = ctl_synopsis(v, out);
    return r < 0 ? r : buf_printf(out, "\n        %s\n", v->help);
}

int ctl_help_text(struct ctl *c, const char *arg, struct buf *out)
{
    size_t count;
    const struct ctl_file *f = ctl_files(&count);
    int r = buf_puts(
        out, "Read a file to see; write lines to command: VERB [NAME] [key=value]... A name with blanks is\n"
             "written \"in quotes\". Several lines are several commands, up to the first that is refused;\n"
             "the reason stands in error and in the file. Each file is there as FILE.json for programs.\n\n");

    (void)arg;
    for (size_t i = 0; r == 0 && i < count; i++) {
        if (c->role < f[i].role)
            continue;
        r = buf_printf(out, "%s\n    %s\n", f[i].name, f[i].doc);
        if (r == 0)
            r = each_command(&f[i], command_line, out);
    }
    return r;
}

static int command_json(void *arg, const struct verb *v)
{
    static const char *const roles[] = {"none", "read", "snapshot", "admin"};
    cleanup(buf_free) struct buf line = {0};
    struct jw *j = arg;
    int r = ctl_synopsis(v, &line);

    if (r < 0)
        return r;
    jw_object(j, NULL);
    jw_strn(j, "line", line.data, line.len);
    jw_str(j, "role", roles[v->role]);
    jw_str(j, "help", v->help);
    jw_close(j);
    return j->err;
}

int ctl_help_json(struct ctl *c, const char *arg, struct buf *out)
{
    struct jw j = jw_begin(out, true);
    size_t count;
    const struct ctl_file *f = ctl_files(&count);
    int r = 0;

    (void)arg;
    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_array(&j, "files");
    for (size_t i = 0; r == 0 && i < count; i++) {
        if (c->role < f[i].role)
            continue;
        jw_object(&j, NULL);
        jw_str(&j, "name", f[i].name);
        jw_str(&j, "doc", f[i].doc);
        jw_array(&j, "commands");
        r = each_command(&f[i], command_json, &j);
        jw_close(&j);
        jw_close(&j);
    }
    jw_close(&j);
    jw_close(&j);
    return r < 0 ? r : jw_end(&j);
}
