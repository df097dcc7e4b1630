/* fs/verb: every verb of varve in one table: its words, where it may be said, what it needs, what it takes, what it does.
 * Both parsers come from it: words of the command line (`varve snapshot create TARGET NAME --label k=v`) and lines of
 * control files (`echo 'create NAME label=k=v' > .snapshots/.control/snapshots`). A line is the command's words without
 * `varve` and TARGET, options as key=value, one positional name allowed.
 *
 * A verb runs in a process that has the store open: the daemon (over its socket, or for a control file), or the command
 * line itself when no daemon runs. Threads: any, unless said. */
#ifndef VARVE_FS_VERB_H
#define VARVE_FS_VERB_H

#include <sys/types.h>

#include "base/buf.h"
#include "snap/snapshot.h"

/* Who may say it. A mount's option control=none|read|snapshot|admin bounds its control files; the socket's peer is an
 * admin when it is root or the user of the daemon. */
enum verb_role { ROLE_NONE, ROLE_READ, ROLE_SNAPSHOT, ROLE_ADMIN };
enum verb_via { VIA_CLI, VIA_SOCKET, VIA_CONTROL };

/* What stands before the arguments of a command line. NEED_STORE: STORE, or STORE/VOLUME where the volume is to be made or
 * found by the verb itself. NEED_VOLUME: TARGET. NEED_ANY: a TARGET that may be left out (the store mounted here). */
enum verb_need { NEED_NOTHING, NEED_STORE, NEED_VOLUME, NEED_ANY };

enum verb_arg_type {
    ARG_TEXT,     /* as it is, not empty */
    ARG_SNAP_NEW, /* a name for a snapshot (snap_name_check) */
    ARG_SNAP,     /* a snapshot: name, @latest, @GMT-..., @RFC 3339 */
    ARG_VOLUME,   /* a name of a volume (volume_name_check) */
    ARG_SIZE,     /* 10G, 512M, 1T, 4K (powers of 1024), bytes, "none" = 0 */
    ARG_COUNT,    /* 12, 4K (powers of 1000), "none" = 0 */
    ARG_ID,       /* a number from 1 */
    ARG_WHEN,     /* RFC 3339, a date, +7d or 7d (from now; s m h d w), never = 0 */
    ARG_DURATION, /* 30m, 24h, 7d: nanoseconds in num */
    ARG_KEYVALUE, /* key=value */
    ARG_TAG,      /* 1..64 of letters, digits, . _ - : @ / */
    ARG_FLAG,     /* yes or no; on a command line its presence */
    ARG_PATH,     /* made absolute by the command line */
};

enum verb_arg_flag {
    ARG_REQUIRED = 1,
    ARG_WORD = 2,     /* on a command line it may stand as a word of its own, in the order of the table */
    ARG_MANY = 4,     /* may be given more than once; as a word it takes all that follow */
    ARG_CLI_ONLY = 8, /* not in control lines */
};

struct verb_arg {
    const char *name; /* key of a control line, --name of a command line; NULL ends the list */
    enum verb_arg_type type;
    unsigned flags;    /* of enum verb_arg_flag */
    const char *shown; /* NAME, SIZE: what the help calls its value */
    const char *help;
};
#define VERB_ARGS_MAX 24

struct verb_ctx;
struct verb_args;

struct verb {
    const char *noun; /* "snapshot"; NULL for verbs of one word */
    const char *name;
    const char *file; /* control file that takes it; NULL: none */
    enum verb_need need;
    enum verb_role role;
    const char *target; /* what the help calls the target; NULL: none */
    struct verb_arg args[VERB_ARGS_MAX];
    const char *help; /* one line */
    const char *more; /* further lines of --help, or NULL */
    /* NULL: the command line does it itself (dump, doctor). out: what was asked for; err: one sentence for people when
     * the result is negative ("what: why; what to do"), or remarks (complete lines) when it is not. A positive result is an
     * exit code of its own (check). */
    int (*run)(struct verb_ctx *c, const struct verb_args *a, struct buf *out, struct buf *err);
};

const struct verb *verb_table(size_t *ret_count);
/* noun may be NULL. NULL: there is none. */
const struct verb *verb_find(const char *noun, const char *name);
/* verb_find_in: a verb of a control file; noun as said in the line, or NULL. */
const struct verb *verb_find_in(const char *file, const char *noun, const char *name);

/* Parsed arguments, index as in verb->args. Zero state: empty. Owns its texts. */
struct verb_val {
    bool set;
    uint64_t num; /* sizes, counts, ids; flags 0 or 1 */
    int64_t when_ns;
    size_t ntexts;
    char **texts; /* as given; the values of an ARG_MANY in their order */
};
struct verb_args {
    const struct verb *verb;
    char *target; /* as given; NULL in control lines */
    bool json, help;
    struct verb_val vals[VERB_ARGS_MAX];
};
void verb_args_free(struct verb_args *a);
/* By name of the table (asserts that there is one). Text: NULL when not given. */
const struct verb_val *verb_val(const struct verb_args *a, const char *name);
const char *verb_text(const struct verb_args *a, const char *name);
uint64_t verb_num(const struct verb_args *a, const char *name); /* 0 when not given */
bool verb_given(const struct verb_args *a, const char *name);
/* verb_set: gives one more value, as the parsers do: -E_USAGE, -E_NAME, -E_NAMETOOLONG with a sentence in err. */
int verb_set(struct verb_args *a, const char *name, const char *text, struct buf *err);
/* verb key=value ... as text, for comparing and logs; times as RFC 3339. */
int verb_args_print(const struct verb_args *a, struct buf *out);

/* verb_parse_words: argv without "varve": {"snapshot", "create", "/mnt", "x"}. --help and --json anywhere before "--".
 * verb_parse_line: one line of a control file (file NULL: any verb, for tests). Result 0 (free ret), or -E_USAGE and the
 * like with a sentence in err. An empty line or a comment: 0 and ret->verb NULL. */
int verb_parse_words(int argc, char *const *argv, struct verb_args *ret, struct buf *err);
int verb_parse_line(const char *file, const char *line, size_t len, struct verb_args *ret, struct buf *err);
int verb_line_add(struct buf *line, const char *key,
                  const char *text); /* key="text"; nothing where text is NULL */

/* What the process that serves mounts knows and does, and nobody else can. Any member may be NULL. */
struct verb_host {
    void *arg;
    /* each place where v (NULL: any volume of the store) is mounted: options as in the mount table */
    int (*mounts)(void *arg, struct vol *v, int (*cb)(void *cb_arg, const char *dir, const char *opts),
                  void *cb_arg);
    /* by what the kernel asks: text of at most 160 bytes, or NULL */
    const char *(*transport)(void *arg, struct vol *v, char *room);
    /* before a snapshot of v is taken: what the kernel holds back comes here (writeback mounts) */
    int (*flush)(void *arg, struct vol *v);
    /* after a snapshot appeared, went, was renamed; after a rollback (the live tree has a new view); after a resize */
    void (*snapshots_changed)(void *arg, struct vol *v);
    void (*rolled_back)(void *arg, struct vol *v);
    /* somebody waits for the store to be closed: who waits for a job does so no longer */
    bool (*closes)(void *arg);
};

/* A store in use, with jobs and events attached. verb_open (ret->host set by the caller): reads STORE/config, opens the
 * store, connects the rooms above, jobs and events; flags of enum store_open_flag; err gets the sentence. verb_close: ends
 * the jobs, then store_close().
 * verb_env_attach/detach: for a caller that opened the store and called snap_attach() itself. */
struct verb_env {
    struct store *store;
    const struct verb_host *host; /* NULL: no mounts are served here */
    bool
        forgiving; /* set by the caller of verb_open: a file of settings that is wrong is logged, not followed */
    int64_t wait_s; /* after verb_tick: until a schedule has something to do; 0 not known */
    uint64_t recall_ms, recall_wait_ms, recall_limit; /* see fs/recall.h; 0: the default */
};
int verb_open(struct io *io, const char *path, unsigned flags, struct verb_env *ret, struct buf *err);
int verb_close(struct verb_env *e);
int verb_env_attach(struct verb_env *e);
void verb_env_detach(struct verb_env *e);

/* verb_tick(e): does what profiles have due, deletes expired snapshots, purges volumes deleted 24 h ago, raises events of a full disk. The daemon calls
 * it about once a minute from a thread that may wait. */
int verb_tick(struct verb_env *e);

/* The same as the verbs, for mkdir, rmdir and mv in .snapshots: with the host told and an event. */
int verb_snap_create(struct verb_env *e, struct vol *v, const struct vfs_ctx *c, const char *name,
                     struct layer_rec *ret);
int verb_snap_delete(struct verb_env *e, struct vol *v, const struct vfs_ctx *c, const char *name);
int verb_snap_rename(struct verb_env *e, struct vol *v, const struct vfs_ctx *c, const char *name,
                     const char *to);
/* Says in err, where nothing stands there yet, why one of these was refused: "snapshot NAME: why; what to do". Gives r. */
int verb_snap_complain(int r, const char *name, struct buf *err);

struct verb_ctx {
    struct verb_env *env;
    struct vol *vol; /* NEED_VOLUME, and of NEED_ANY when known; else NULL */
    enum verb_role role;
    enum verb_via via;
    uint32_t uid, gid;
    bool json;
    uint64_t job; /* ret: the job that goes on with it, 0 none */
};
/* verb_run: checks the role, then runs; what it changed is on disk when it returns. */
int verb_run(struct verb_ctx *c, const struct verb_args *a, struct buf *out, struct buf *err);

/* fs/verb_resume.c: a former daemon had journaled the beginning of this command. verb_begun: it is not to be run again, verb_resume
 * says what it would have said; verb_snap_taken: the snapshot that it had taken. */
bool verb_begun(const struct verb_ctx *c, const struct verb_args *a);
int verb_resume(struct verb_ctx *c, const struct verb_args *a, struct buf *out);
bool verb_snap_taken(struct vol *v, struct layer_rec *ret);

/* The command line: words as of verb_parse_words; the exit code: 0, 1 failure, 2 usage (check: 4). No words: the list. */
int verb_main(int argc, char *const *argv);
/* Appends the help of one verb, or with v NULL the list of all. */
int verb_help(const struct verb *v, struct buf *out);
/* verb_complain: "varve: what: why; do this" on standard error; gives the exit code. */
int verb_complain(int r, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* verb_serve: the words of a request of STORE/sock after `verb`: a command's words, where STORE is "." and a TARGET is the
 * name of the volume ("verb snapshot create main x"; with --json where asked for). uid, gid: of the peer. out and err: for
 * its standard output and error, complete sentences; *ret_exit its exit code. The result is 0 or the verb's error, for
 * sock_done(). It may wait for the disk, and a check of the store takes its time: call it from the connection's own thread. */
int verb_serve(struct verb_env *e, size_t nwords, char *const *words, uint32_t uid, uint32_t gid,
               struct buf *out, struct buf *err, int *ret_exit);

#endif
