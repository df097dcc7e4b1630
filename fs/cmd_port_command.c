/* Commands about repositories that come by a control file: a job that runs the same command line in a process of its own, which speaks to
 * repositories and, of a restore, writes through the mount: the process that serves the mount must wait for neither. Root, and the user
 * of the daemon, may say them: that process does what they may do. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/verb_runs.h"
#include "fs/verb_value.h"
#include "snap/event.h"

#define WORDS_MAX 64
#define ASK_MS 200
#define STOP_MS 15000 /* between asking it to stop and ending it */
#define SAID_MAX 4096

struct command {
    struct job *j;
    struct buf words;      /* each with its NUL */
    char *argv[WORDS_MAX]; /* into words */
    struct buf said;
    pid_t pid;
    int out; /* what it says */
};

/* --- words ---------------------------------------------------------------------------------------------------------- */

static int word(struct command *c, const char *option, const char *text)
{
    int r = option ? buf_printf(&c->words, "--%s=%s", option, text) : buf_puts(&c->words, text);

    return r < 0 ? r : buf_add(&c->words, "", 1);
}

/* The command line that the line of a control file means. */
static int words_of(struct command *c, const struct verb_args *a)
{
    const struct verb *v = a->verb;
    int r = word(c, NULL, "varve");
    size_t n = 0;

    if (r == 0 && v->noun)
        r = word(c, NULL, v->noun);
    if (r == 0)
        r = word(c, NULL, v->name);
    for (size_t i = 0; i < VERB_ARGS_MAX && v->args[i].name; i++)
        for (size_t k = 0; r == 0 && k < a->vals[i].ntexts; k++)
            r = word(c, v->args[i].name, a->vals[i].texts[k]);
    for (size_t at = 0; r == 0 && at < c->words.len; at += strlen((char *)c->words.data + at) + 1) {
        if (n == WORDS_MAX - 1)
            return -E_TOOBIG;
        c->argv[n++] = (char *)c->words.data + at;
    }
    return r;
}

/* --- the process ---------------------------------------------------------------------------------------------------- */

/* Between fork and exec: nothing that may take a lock. */
static void become(struct command *c, int out, pid_t parent)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGINT, SIG_DFL);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
        _exit(126);
    if (dup2(out, STDOUT_FILENO) < 0 || dup2(out, STDERR_FILENO) < 0)
        _exit(126);
    execv("/proc/self/exe", c->argv);
    _exit(127);
}

static int start(struct command *c)
{
    pid_t parent = getpid();
    int p[2];

    if (pipe2(p, O_CLOEXEC) < 0)
        return err_from_errno(errno);
    c->pid = fork();
    if (c->pid == 0)
        become(c, p[1], parent);
    close(p[1]);
    c->out = p[0];
    if (c->pid > 0)
        return 0;
    close(p[0]);
    return err_from_errno(errno);
}

/* What it says; 0 at the end. */
static bool listen_to(struct command *c)
{
    struct pollfd f = {.fd = c->out, .events = POLLIN};
    char text[512];
    ssize_t n;

    if (poll(&f, 1, ASK_MS) <= 0)
        return true;
    n = read(c->out, text, sizeof(text));
    if (n > 0 && c->said.len < SAID_MAX)
        (void)buf_add(&c->said, text, (size_t)n);
    return n > 0 || (n < 0 && errno == EINTR);
}

static int wait_for(struct command *c, int *ret_status)
{
    int asked_ms = -1;

    while (listen_to(c)) {
        if (asked_ms < 0 && job_canceled(c->j)) {
            asked_ms = 0;
            kill(c->pid, SIGINT);
        } else if (asked_ms >= 0 && (asked_ms += ASK_MS) > STOP_MS) {
            kill(c->pid, SIGKILL);
        }
    }
    while (waitpid(c->pid, ret_status, 0) < 0)
        if (errno != EINTR)
            return err_from_errno(errno);
    return asked_ms >= 0 ? -E_CANCELED : 0;
}

/* --- the job -------------------------------------------------------------------------------------------------------- */

/* Lines as one text, without who says them. */
static void tell(struct command *c, char out[JOB_TEXT_MAX + 1])
{
    const char *p = c->said.len ? buf_cstr(&c->said) : "";
    size_t n = 0;

    while (p && *p && n < JOB_TEXT_MAX) {
        if (strncmp(p, "varve: ", 7) == 0)
            p += 7;
        for (; *p && *p != '\n' && n < JOB_TEXT_MAX; p++)
            out[n++] = *p;
        p += *p == '\n';
        if (*p && n + 2 < JOB_TEXT_MAX) {
            memcpy(out + n, "; ", 2);
            n += 2;
        }
    }
    out[n] = 0;
}

static int work(struct command *c, const struct verb_args *a)
{
    char text[JOB_TEXT_MAX + 1];
    int status = -1, r = words_of(c, a);

    if (r == 0)
        r = start(c);
    if (r < 0)
        return r;
    r = wait_for(c, &status);
    close(c->out);
    tell(c, text);
    job_say(c->j, "%s", text);
    if (r == 0 && !(WIFEXITED(status) && WEXITSTATUS(status) == 0))
        r = WIFEXITED(status) && WEXITSTATUS(status) == 2 ? -E_USAGE : -E_IO;
    return r;
}

/* detail: FILE and the line. */
int command_job(struct job *j, struct store *s, const struct job_info *info)
{
    cleanup(verb_args_free) struct verb_args a = {0};
    cleanup(buf_free) struct buf err = {0};
    struct command c = {.j = j, .out = -1};
    const char *line = strchr(info->detail, ' ');
    char file[32];
    int r = line ? 0 : -E_INVAL;

    (void)s;
    if (r == 0) {
        snprintf(file, sizeof(file), "%.*s", (int)(line - info->detail), info->detail);
        r = verb_parse_line(file, line + 1, strlen(line + 1), &a, &err);
    }
    if (r == 0)
        r = a.verb ? work(&c, &a) : -E_INVAL;
    buf_free(&c.words);
    buf_free(&c.said);
    return r;
}

/* --- the verb ------------------------------------------------------------------------------------------------------- */

/* A restore by a control file goes into this volume, and nowhere else: DEST is a directory of it. */
static int into_volume(struct verb_ctx *c, const char *dest, struct buf *ret, struct buf *err)
{
    for (const char *p = dest; *p; p += strcspn(p, "/"), p += strspn(p, "/"))
        if (p[0] == '.' && p[1] == '.' && (!p[2] || p[2] == '/')) {
            buf_puts(err, "restore: the last to= is a directory of this volume; write it without ..");
            return -E_INVAL;
        }
    return buf_printf(ret, "%s/%s:%s", store_path(c->env->store), c->vol->rec.name, dest + strspn(dest, "/"));
}

static int add_value(struct verb_ctx *c, const struct verb_args *a, size_t i, size_t k, struct buf *ret,
                     struct buf *err)
{
    cleanup(buf_free) struct buf dest = {0};
    const struct verb_val *v = &a->vals[i];
    bool restore = !a->verb->noun && strcmp(a->verb->name, "restore") == 0;
    int r;

    if (!restore || strcmp(a->verb->args[i].name, "to") != 0 || k + 1 < v->ntexts)
        return verb_line_add(ret, a->verb->args[i].name, v->texts[k]);
    r = into_volume(c, v->texts[k], &dest, err);
    return r < 0 ? r : verb_line_add(ret, "to", buf_cstr(&dest));
}

static int detail_of(struct verb_ctx *c, const struct verb_args *a, struct buf *ret, struct buf *err)
{
    int r = buf_printf(ret, "%s %s%s%s", a->verb->file, a->verb->noun ? a->verb->noun : "",
                       a->verb->noun ? " " : "", a->verb->name);

    for (size_t i = 0; i < VERB_ARGS_MAX && a->verb->args[i].name; i++)
        for (size_t k = 0; r == 0 && k < a->vals[i].ntexts; k++)
            r = add_value(c, a, i, k, ret, err);
    if (r == 0 && (!buf_cstr(ret) || ret->len > JOB_DETAIL_MAX)) {
        buf_puts(err, "the line is too long; use shorter names, or the command line");
        r = -E_TOOBIG;
    }
    return r;
}

static int check(const struct verb_ctx *c, const struct verb_args *a, struct buf *err)
{
    bool restore = strcmp(a->verb->file, "restore") == 0;

    if (c->via != VIA_CONTROL || !c->vol) {
        buf_printf(err, "%s: runs in the command line only", a->verb->name);
        return -E_USAGE;
    }
    if (c->uid != 0 && c->uid != (uint32_t)geteuid() && !BROKEN(VARVE_BREAK_command_uid)) {
        buf_printf(err, "%s: is for root and the user of the daemon here; use the command line",
                   a->verb->name);
        return -E_PERM;
    }
    if (restore && (!verb_given(a, "to") || verb_given(a, "as") || verb_given(a, "attachments"))) {
        buf_puts(err, "restore: write to=DIR, a directory of this volume; the command line does the rest");
        return -E_USAGE;
    }
    return 0;
}

RUN(run_command)
{
    cleanup(buf_free) struct buf detail = {0};
    uint64_t id;
    int r = check(c, a, err);

    if (r == 0)
        r = detail_of(c, a, &detail, err);
    if (r == 0)
        r = job_start(c->env->store, strcmp(a->verb->file, "restore") == 0 ? "restore" : "repository",
                      c->vol->rec.id, buf_cstr(&detail), &id);
    if (r < 0)
        return r;
    c->job = id;
    return buf_printf(out, "job %" PRIu64 " does it; jobs shows how it ends\n", id);
}
