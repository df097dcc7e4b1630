#include "fs/ctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/hash.h"
#include "fs/ctl_text.h"
#include "snap/event.h"
#include "snap/store/answer.h"

#define WRITE_MAX 65536
#define REPEAT_NS 500000000
#define SINCE "events-since-"

/* clang-format off */
static const struct ctl_file files[] = {
    {"status", 0640, ROLE_READ, false, ctl_status_text, ctl_status_json, "state of the volume and of its store"},
    {"snapshots", 0640, ROLE_READ, false, ctl_snapshots_text, ctl_snapshots_json, "the snapshots, oldest first"},
    {"changes", 0550, ROLE_READ, true, ctl_changes_text, ctl_changes_json,
     "changes/A..B: what changed from snapshot A to B; A..now, or A alone: until now"},
    {"rollback", 0640, ROLE_READ, false, ctl_rollback_text, ctl_rollback_json,
     "make the volume what a snapshot shows; below: what undoes rollbacks of before"},
    {"jobs", 0640, ROLE_READ, false, ctl_jobs_text, ctl_jobs_json, "work that goes on behind, and its last results"},
    {"backup", 0640, ROLE_READ, false, ctl_backup_text, ctl_backup_json, "backups of this volume and how they ended"},
    {"tier", 0640, ROLE_READ, false, ctl_tier_text, ctl_tier_json, "how much lies in repositories only"},
    {"restore", 0640, ROLE_READ, false, ctl_restore_text, ctl_restore_json,
     "what was restored into this volume, and how that ended; to=DIR is a directory of it"},
    {"repos", 0600, ROLE_ADMIN, false, ctl_repos_text, ctl_repos_json,
     "repositories by name, and how commands about them ended"},
    {"profile", 0440, ROLE_READ, false, ctl_profile_text, ctl_profile_json, "the volume's profile, its schedules and how they went"},
    {"events", 0440, ROLE_READ, false, ctl_events_text, ctl_events_json,
     "what happened: the last 1,000 lines; events-since-ID: those after that one"},
    {"error", 0440, ROLE_READ, false, ctl_error_text, ctl_error_json, "why a command was refused last, mkdir, rmdir and mv in .snapshots included"},
    {"help", 0444, ROLE_READ, false, ctl_help_text, ctl_help_json, "all files and their commands"},
};
/* clang-format on */
static_assert(ARRAY_LEN(files) <= CTL_FILES_MAX, "a slot for each file");

const struct ctl_file *ctl_files(size_t *ret_count)
{
    *ret_count = ARRAY_LEN(files);
    return files;
}

int ctl_new(struct verb_env *e, struct vol *v, enum verb_role role, struct ctl **ret)
{
    struct ctl *c = calloc(1, sizeof(*c));

    if (!c)
        return -E_NOMEM;
    c->env = e;
    c->vol = v;
    c->role = role;
    pthread_mutex_init(&c->lock, NULL);
    *ret = c;
    return 0;
}

void ctl_free(struct ctl *c)
{
    if (!c)
        return;
    pthread_mutex_destroy(&c->lock);
    free(c);
}

enum verb_role ctl_role(const struct ctl *c)
{
    return c->role;
}

uint64_t ctl_change(struct ctl *c)
{
    uint64_t n;

    pthread_mutex_lock(&c->lock);
    n = c->changes;
    pthread_mutex_unlock(&c->lock);
    return n + events_last(c->env->store) + snap_list_change(c->vol);
}

/* --- names -------------------------------------------------------------------------------------------------------- */

static const struct ctl_file *file_named(const struct ctl *c, const char *name, size_t len)
{
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        if (strlen(files[i].name) == len && memcmp(files[i].name, name, len) == 0)
            return c->role >= files[i].role ? &files[i] : NULL;
    return NULL;
}

/* Does the role allow any command of the file? */
static bool takes_commands(const struct ctl *c, const struct ctl_file *f)
{
    size_t count;
    const struct verb *t = verb_table(&count);

    for (size_t i = 0; i < count; i++)
        if (t[i].file && strcmp(t[i].file, f->name) == 0 && t[i].role <= c->role)
            return true;
    return false;
}

static void node_fill(const struct ctl *c, const struct ctl_file *f, bool json, struct ctl_node *n)
{
    bool dir = f->dir && !json && !n->arg[0];
    uint32_t mode = f->mode;

    n->file = f;
    n->kind = dir ? CTL_DIR : json ? CTL_JSON : CTL_TEXT;
    if (f->dir && !dir)
        mode &= 0444;
    if (json || n->arg[0] || !takes_commands(c, f))
        mode &= ~0222u;
    n->mode = (dir ? S_IFDIR : S_IFREG) | mode;
}

/* A trailing ".json" is cut off len. */
static bool is_json(const char *p, size_t *len)
{
    if (*len <= 5 || memcmp(p + *len - 5, ".json", 5) != 0)
        return false;
    *len -= 5;
    return true;
}

static int arg_set(struct ctl_node *n, const char *p, size_t len)
{
    if (len >= sizeof(n->arg))
        return -E_NAMETOOLONG;
    memcpy(n->arg, p, len);
    n->arg[len] = 0;
    return 0;
}

static int lookup_changes(struct ctl *c, const char *name, struct ctl_node *n)
{
    char a[NAME_LEN_MAX + 1], b[NAME_LEN_MAX + 1];
    size_t len = strlen(name);
    bool json = is_json(name, &len);
    int r;

    if (len == 0 || strchr(name, '/'))
        return -E_NOENT;
    r = arg_set(n, name, len);
    if (r == 0)
        r = ctl_changes_split(c->vol, n->arg, a, b);
    if (r == 0)
        node_fill(c, file_named(c, "changes", 7), json, n);
    return r;
}

static int lookup_since(struct ctl *c, const char *id, struct ctl_node *n)
{
    size_t len = strlen(id);
    bool json = is_json(id, &len);

    if (len == 0 || len > 19 || strspn(id, "0123456789") != len)
        return -E_NOENT;
    arg_set(n, id, len);
    node_fill(c, file_named(c, "events", 6), json, n);
    return 0;
}

static int lookup(struct ctl *c, const char *path, struct ctl_node *n)
{
    const char *slash = strchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) : strlen(path);
    const struct ctl_file *f;
    bool json;

    if (!*path) {
        n->kind = CTL_ROOT;
        n->mode = S_IFDIR | 0550;
        return 0;
    }
    if (strncmp(path, SINCE, strlen(SINCE)) == 0)
        return lookup_since(c, path + strlen(SINCE), n);
    json = !slash && is_json(path, &len);
    f = file_named(c, path, len);
    if (!f)
        return -E_NOENT;
    if (slash && f->dir)
        return lookup_changes(c, slash + 1, n);
    if (slash && strcmp(f->name, "events") == 0 && strncmp(slash + 1, "since-", 6) == 0)
        return lookup_since(c, slash + 7, n);
    if (slash)
        return -E_NOENT;
    node_fill(c, f, json, n);
    n->listed = true;
    return 0;
}

int ctl_lookup(struct ctl *c, const char *path, struct ctl_node *ret)
{
    struct ctl_node n = {.kind = CTL_ROOT};
    int r = c->role == ROLE_NONE ? -E_NOENT : lookup(c, path, &n);

    if (r == 0)
        *ret = n;
    return r;
}

int ctl_list(struct ctl *c, const char *path,
             int (*cb)(void *arg, const char *name, const struct ctl_node *n), void *arg)
{
    int r = 0;

    if (*path || c->role == ROLE_NONE)
        return 0;
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(files); i++) {
        struct ctl_node n = {.listed = true};
        char name[64];

        if (c->role < files[i].role)
            continue;
        node_fill(c, &files[i], false, &n);
        r = cb(arg, files[i].name, &n);
        if (r != 0)
            break;
        snprintf(name, sizeof(name), "%s.json", files[i].name);
        node_fill(c, &files[i], true, &n);
        r = cb(arg, name, &n);
    }
    return r;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

int ctl_read(struct ctl *c, const char *path, struct buf *out)
{
    struct ctl_node n;
    int r = ctl_lookup(c, path, &n);

    if (r < 0)
        return r;
    if (n.kind == CTL_ROOT || n.kind == CTL_DIR)
        return -E_ISDIR;
    if (n.kind == CTL_JSON)
        return n.file->json(c, n.arg, out);
    if (!n.arg[0])
        r = ctl_head(c, n.file, out);
    return r < 0 ? r : n.file->text(c, n.arg, out);
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

struct writing {
    struct ctl *c;
    const struct ctl_file *file;
    uint32_t uid, gid, pid;
    bool made_job;
};

/* What can be printed of a line, whatever was written. */
static void line_keep(const char *line, size_t len, char out[CTL_LINE_MAX + 1])
{
    size_t n = MIN_OF(len, CTL_LINE_MAX);

    for (size_t i = 0; i < n; i++)
        out[i] = (unsigned char)line[i] < 0x20 || line[i] == 0x7f ? '?' : line[i];
    out[n] = 0;
}

static void refuse(struct writing *w, const char *line, size_t len, int result, struct buf *err)
{
    struct ctl *c = w->c;
    const char *why = err->len ? buf_cstr(err) : NULL;

    pthread_mutex_lock(&c->lock);
    c->last =
        (struct ctl_refusal){.time_ns = clock_wall_ns(), .uid = w->uid, .pid = w->pid, .result = result};
    snprintf(c->last.file, sizeof(c->last.file), "%s", w->file->name);
    snprintf(c->last.reason, sizeof(c->last.reason), "%s", why ? why : err_text(result));
    line_keep(line, len, c->last.line);
    c->refused[w->file - files] = c->last;
    c->changes++;
    pthread_mutex_unlock(&c->lock);
}

void ctl_refused(struct ctl *c, uint32_t uid, const char *file, const char *line, int result, struct buf *err)
{
    struct writing w = {.c = c, .file = file_named(c, file, strlen(file)), .uid = uid};

    if (w.file)
        refuse(&w, line, strlen(line), result, err);
}

static void accept(struct writing *w, struct buf *out)
{
    struct ctl *c = w->c;
    struct ctl_reply *r = &c->replies[w->file - files];

    pthread_mutex_lock(&c->lock);
    c->refused[w->file - files].time_ns = 0;
    r->time_ns = clock_wall_ns();
    snprintf(r->text, sizeof(r->text), "%s", out->len ? buf_cstr(out) : "done");
    c->changes++;
    pthread_mutex_unlock(&c->lock);
}

static int command(struct writing *w, const char *line, size_t len)
{
    cleanup(verb_args_free) struct verb_args a = {0};
    cleanup(buf_free) struct buf out = {0}, err = {0};
    struct verb_ctx ctx = {.env = w->c->env,
                           .vol = w->c->vol,
                           .role = w->c->role,
                           .via = VIA_CONTROL,
                           .uid = w->uid,
                           .gid = w->gid};
    int r = verb_parse_line(w->file->name, line, len, &a, &err);

    if (r == 0 && !a.verb)
        return 0;
    if (r == 0)
        r = verb_begun(&ctx, &a) ? verb_resume(&ctx, &a, &out) : verb_run(&ctx, &a, &out, &err);
    if (r < 0) {
        refuse(w, line, len, r, &err);
        return r;
    }
    w->made_job |= ctx.job != 0;
    accept(w, &out);
    return 0;
}

/* A former daemon may have done the first ones of them (F19). */
static int commands(struct writing *w, const char *p, size_t len)
{
    uint32_t first = answer_steps_begin();
    const char *end = p + len;
    int r = 0;

    for (uint32_t i = 0; r == 0 && p < end; i++) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        size_t n = nl ? (size_t)(nl - p) : (size_t)(end - p);

        answer_step(i);
        if (i >= first)
            r = command(w, p, n);
        p += n + 1;
    }
    return r;
}

static bool is_repeat(struct writing *w, uint64_t sum)
{
    struct ctl_repeat *r = &w->c->repeat;
    bool yes;

    pthread_mutex_lock(&w->c->lock);
    yes = r->mono_ns && clock_mono_ns() - r->mono_ns < REPEAT_NS && r->sum == sum && r->uid == w->uid &&
          r->pid == w->pid && strcmp(r->file, w->file->name) == 0;
    pthread_mutex_unlock(&w->c->lock);
    return yes;
}

static void repeat_keep(struct writing *w, uint64_t sum)
{
    struct ctl_repeat *r = &w->c->repeat;

    pthread_mutex_lock(&w->c->lock);
    *r = (struct ctl_repeat){.mono_ns = clock_mono_ns(), .uid = w->uid, .pid = w->pid, .sum = sum};
    snprintf(r->file, sizeof(r->file), "%s", w->file->name);
    pthread_mutex_unlock(&w->c->lock);
}

int ctl_write(struct ctl *c, uint32_t uid, uint32_t gid, uint32_t pid, const char *path, const void *data,
              size_t len)
{
    struct writing w = {.c = c, .uid = uid, .gid = gid, .pid = pid};
    uint64_t sum = hash_sum(0, data, len);
    struct ctl_node n;
    int r = ctl_lookup(c, path, &n);

    if (r < 0)
        return r;
    if (n.kind != CTL_TEXT)
        return n.kind == CTL_JSON ? -E_ACCES : -E_ISDIR;
    if (!(n.mode & 0200))
        return -E_ACCES;
    if (len > WRITE_MAX)
        return -E_TOOBIG;
    w.file = n.file;
    if (is_repeat(&w, sum))
        return 0;
    r = commands(&w, data, len);
    if (r == 0 && w.made_job)
        repeat_keep(&w, sum);
    return r;
}
