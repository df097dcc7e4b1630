/* varve mount; also mount.varve and mount.fuse.varve, the helpers of mount(8) (argv[0] then has a dot in it). */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fs/cmd.h"
#include "fs/keeper.h"
#include "fs/mount.h"
#include "fs/mount_from.h"
#include "base/sock.h"
#include "fs/verb_target.h"
#include "snap/store/store.h"

#define TRIES 50 /* a daemon that is just ending is waited for */

struct request {
    struct verb_target target;
    char dir[PATH_MAX];
    struct buf opts;
    bool create, foreground, helper, fake;
    struct mount_from from;
    bool private; /* a store of its own, which goes with the mount */
    pid_t keeper; /* foreground: ours */
};

static const struct option longs[] = {{"create", no_argument, NULL, 'c'},
                                      {"foreground", no_argument, NULL, 'F'},
                                      {"options", required_argument, NULL, 'o'},
                                      {"from", required_argument, NULL, 'R'},
                                      {"no-hydrate", no_argument, NULL, 'H'},
                                      {"passphrase-file", required_argument, NULL, 'P'},
                                      {"key-file", required_argument, NULL, 'K'},
                                      {"credentials", required_argument, NULL, 'C'},
                                      {NULL, 0, NULL, 0}};

static int add_options(struct request *q, const char *list)
{
    struct mount_opts o = {0};
    char why[256];

    if (mount_opts_parse(&o, list, why) < 0)
        return cmd_wrong(&cmd_mount, "%s", why);
    if (o.context[0] && !mount_selinux())
        return cmd_wrong(&cmd_mount, "context=: SELinux is not running here");
    return buf_printf(&q->opts, "%s%s", q->opts.len > 0 ? "," : "", list) < 0 ? cmd_fail("out of memory") : 0;
}

static int parse(struct request *q, int argc, char **argv, char **ret_path, char **ret_dir)
{
    int c, r;

    optind = 1;
    opterr = 0;
    while ((c = getopt_long(argc, argv, q->helper ? "o:sfnvt:N:" : "o:", longs, NULL)) != -1) {
        switch (c) {
        case 'o':
            r = add_options(q, optarg);
            if (r != 0)
                return r;
            break;
        case 'c': q->create = true; break;
        case 'F': q->foreground = true; break;
        case 'f': q->fake = true; break;
        case 'R': q->from.point = optarg; break;
        case 'H': q->from.no_hydrate = true; break;
        case 'P': q->from.passphrase_file = optarg; break;
        case 'K': q->from.key_file = optarg; break;
        case 'C': q->from.credentials = optarg; break;
        case '?': return cmd_wrong(&cmd_mount, "'%s' is not understood", argv[optind - 1]);
        default: break; /* -s, -n, -v, -t of mount(8) */
        }
    }
    q->private = q->from.point && argc - optind == 1;
    if (argc - optind != 2 && !q->private)
        return cmd_wrong(&cmd_mount, "it takes a store and a directory");
    *ret_path = q->private ? NULL : argv[optind];
    *ret_dir = argv[argc - 1];
    return q->private ? add_options(q, "ro") : 0;
}

static bool is_below(const char *path, const char *dir)
{
    size_t n = strlen(dir);

    return strcmp(dir, "/") == 0 || (strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == 0));
}

/* A store of its own. */
static int target_private(struct request *q)
{
    int r = mount_private_make(q->target.store);

    if (r < 0)
        return cmd_fail("no private store can be made below the cache directory: %s", err_text(r));
    snprintf(q->target.volume, sizeof(q->target.volume), "main");
    return 0;
}

static int resolve_target(struct request *q, const char *path)
{
    unsigned flags = TARGET_SNAP | TARGET_NO_DIR | (q->create ? TARGET_NEW : 0);
    cleanup(buf_free) struct buf err = {0};
    int r = 0;

    if (q->private && (r = target_private(q)) != 0)
        return r;
    if (q->from.point)
        flags = TARGET_NO_DIR | TARGET_NEW;
    if (!q->private)
        r = verb_target_parse(path, flags, &q->target, &err);
    if (r == 0 && q->from.point)
        r = mount_from_words(&q->from, q->target.volume, &err);
    if (r == 0)
        return 0;
    cmd_fail("%s", err.len > 0 && buf_cstr(&err) ? buf_cstr(&err) : err_text(r));
    return r == -E_USAGE && q->from.point ? CMD_USAGE : CMD_FAILED;
}

/* Of a store for a mounted recovery point alone: it is made before anybody sees a file, so half of the journal is half of the time. */
#define PRIVATE_SEGMENTS 4u

static int make_store(struct request *q)
{
    struct store_settings set = {.segments = q->private ? PRIVATE_SEGMENTS : 0};
    int r = store_create(io_real(), q->target.store, &set);

    if (r == 0 && q->private)
        r = mount_private_mark(q->target.store);
    return r < 0 ? cmd_fail("%s: the store cannot be created: %s", q->target.store, err_text(r)) : 0;
}

static int resolve(struct request *q, const char *path, const char *dir)
{
    int r = resolve_target(q, path);

    if (r != 0)
        return r;
    if (!realpath(dir, q->dir))
        return cmd_fail("%s: %s; the directory to mount on must exist", dir, err_text(err_from_errno(errno)));
    if (is_below(q->target.store, q->dir) || is_below(q->dir, q->target.store))
        return cmd_fail(
            "%s: a mount there would hide the store %s from its own daemon; choose a directory apart", q->dir,
            q->target.store);
    r = mount_point_check(q->dir);
    if (r == -E_BUSY)
        return cmd_fail("%s: a varve volume is mounted there already", q->dir);
    if (r < 0)
        return cmd_fail("%s: %s", q->dir, err_text(r));
    if (q->target.exists)
        return 0;
    if (!q->create && !q->from.point)
        return cmd_fail("%s holds no store; `varve create` makes one, or add --create", q->target.store);
    return make_store(q);
}

/* --- asking the daemon -------------------------------------------------------------------------------------------------------- */

static int send_words(int sock, const char *const *words, size_t n)
{
    cleanup(buf_free) struct buf b = {0};
    int r = sock_words(&b, words, n);

    return r < 0 ? r : sock_send(sock, SOCK_REQUEST, b.data, b.len, -1);
}

/* again: a daemon that died may have made the volume already. */
static int send_mount(const struct request *q, int sock, bool again)
{
    const char *words[6 + MOUNT_FROM_WORDS] = {
        "mount", q->target.volume,          q->target.snap, q->opts.len > 0 ? (const char *)q->opts.data : "",
        q->dir,  q->create ? "create" : "-"};
    size_t n = 6;

    if (q->from.point)
        words[5] = again ? "from-again" : "from";
    for (size_t at = 0; at < q->from.words.len && n < ARRAY_LEN(words); at += strlen(words[n++]) + 1)
        words[n] = (const char *)q->from.words.data + at;
    return send_words(sock, words, n);
}

/* The daemon lives in another mount namespace: it hands over the descriptor, and this process mounts. */
static int mount_here(const struct request *q, struct sock_msg *m, int sock)
{
    static const char *const good[] = {"mounted"}, *const bad[] = {"failed"};
    struct mount_opts o = {0};
    char why[256];
    int r = mount_opts_parse(&o, q->opts.len > 0 ? (const char *)q->opts.data : "", why);

    o.ro = o.ro || *q->target.snap;
    if (r == 0 && buf_cstr(&m->data) && m->fd >= 0)
        r = mount_attach(m->fd, (const char *)m->data.data, q->dir, &o);
    if (r < 0)
        cmd_fail("%s: cannot be mounted on: %s", q->dir, err_text(r));
    send_words(sock, r == 0 ? good : bad, 1);
    return r;
}

/* 0 and an exit code, or -E_CLOSED: the daemon was about to end and said nothing. */
static int ask(struct request *q, int sock, bool again, int *ret_exit)
{
    bool here = false;
    char why[256];
    int r = send_mount(q, sock, again);

    for (;;) {
        cleanup(sock_msg_free) struct sock_msg m = SOCK_MSG_NONE;

        if (r == 0)
            r = sock_recv(sock, &m);
        if (r < 0)
            return r;
        if (m.kind == SOCK_FD)
            here = (r = mount_here(q, &m, sock)) == 0;
        else if (m.kind == SOCK_ERR)
            fwrite(m.data.data, 1, m.data.len, stderr);
        else if (m.kind == SOCK_DONE && m.data.len >= 4) {
            *ret_exit = (int)get_le32(m.data.data);
            if (here && *ret_exit != CMD_OK)
                mount_detach(q->dir, true, why); /* nobody serves it */
            return 0;
        }
        if (r < 0) { /* said already */
            *ret_exit = CMD_FAILED;
            return 0;
        }
    }
}

/* Connects, and starts keeper and daemon where none are. */
static int reach(struct request *q, int *ret_sock)
{
    char why[512];
    int pid = 0;
    int r = sock_connect(q->target.store, ret_sock);

    if (r != -E_NOTMOUNTED)
        return r < 0 ? cmd_fail("%s: its daemon cannot be asked: %s", q->target.store, err_text(r)) : 0;
    r = keeper_start(q->target.store, q->foreground, &pid, why);
    if (r == 0 && q->foreground)
        q->keeper = pid;
    if (r < 0 && sock_connect(q->target.store, ret_sock) == 0)
        return 0; /* somebody else's was faster */
    if (r == -E_FAILED)
        return cmd_fail("%s", why);
    if (r < 0 && r != -E_CLOSED)
        return cmd_fail("%s: its keeper cannot be started: %s", q->target.store, err_text(r));
    if (r < 0)
        return cmd_fail("%s: the daemon did not start; see log/daemon.log there", q->target.store);
    r = sock_connect(q->target.store, ret_sock);
    return r < 0 && r != -E_NOTMOUNTED ? cmd_fail("%s: %s", q->target.store, err_text(r)) : r;
}

struct wanted_mount {
    const char *dir, *source;
    bool found;
};

static int match_wanted(void *arg, const struct verb_mount *m)
{
    struct wanted_mount *w = arg;

    if (strcmp(m->dir, w->dir) == 0)
        w->found = strcmp(m->source, w->source) == 0; /* the last one is on top */
    return 0;
}

/* Nothing of varve was there before: a daemon that died before it could say so has mounted it, and the next one has taken it over. */
static bool is_done(const struct request *q)
{
    cleanup(buf_free) struct buf source = {0};
    struct wanted_mount w = {.dir = q->dir};

    if (BROKEN(VARVE_BREAK_mount_twice) ||
        mount_source(&source, q->target.store, q->target.volume, q->target.snap) < 0)
        return false;
    w.source = buf_cstr(&source);
    return w.source && verb_mounts_each(match_wanted, &w) == 0 && w.found;
}

static int perform(struct request *q)
{
    struct timespec wait = {.tv_nsec = 100000000};
    int r = -E_CLOSED, exit_code = CMD_FAILED;

    for (int i = 0; i < TRIES; i++) {
        int sock = -1;

        r = reach(q, &sock);
        if (r > 0)
            return r;
        if (r == 0 && i > 0 && is_done(q)) {
            close(sock);
            return CMD_OK;
        }
        if (r == 0) {
            r = ask(q, sock, i > 0, &exit_code);
            close(sock);
        }
        if (r == 0)
            return exit_code;
        if (r != -E_CLOSED && r != -E_NOTMOUNTED)
            break;
        nanosleep(&wait, NULL);
    }
    return cmd_fail("%s: the daemon gave no answer: %s; see log/daemon.log there", q->target.store,
                    err_text(r));
}

static void report(const struct request *q)
{
    struct mount_opts o = {0};
    char why[256];

    mount_opts_parse(&o, q->opts.len > 0 ? (const char *)q->opts.data : "", why);
    if (q->private) {
        printf("%s is mounted on %s, read-only; bytes come when they are read%s\n", q->from.point, q->dir,
               q->from.no_hydrate ? "" : ", and the rest behind");
        return;
    }
    printf("%s/%s%s%s is mounted on %s\n", q->target.store, q->target.volume, *q->target.snap ? "@" : "",
           q->target.snap, q->dir);
    if (*q->target.snap || o.snapdir == SNAPDIR_DISABLED)
        return;
    printf("  look back      ls %s/.snapshots    (every directory has its own)\n", q->dir);
    if (!o.ro && (o.control == CONTROL_ADMIN || o.control == CONTROL_SNAPSHOT))
        printf("  take one       mkdir %s/.snapshots/NAME\n", q->dir);
    if (o.control != CONTROL_NONE)
        printf("  control files  %s/.snapshots/.control/    (start with: cat help)\n", q->dir);
}

/* At the first OPEN, OPENDIR and FLUSH the kernel learns that it need not send them; until it has, every file that is made costs a
 * RELEASE as well, and one whose program never opens a file that was there never learns it. */
static void teach_kernel(const struct request *q)
{
    static const char *const names[] = {"", "/.snapshots/.control/help"};
    char path[PATH_MAX + 32];

    for (size_t i = 0; i < ARRAY_LEN(names) && !BROKEN(VARVE_BREAK_teach_kernel); i++) {
        int fd;

        snprintf(path, sizeof(path), "%s%s", q->dir, names[i]);
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd >= 0)
            close(fd);
    }
}

static volatile sig_atomic_t told_pid;

static void tell_keeper(int sig)
{
    kill((pid_t)told_pid,
         sig == SIGHUP ? SIGTERM : sig); /* the terminal is gone; to the keeper it would mean: upgrade */
}

/* What this process is told goes on to the keeper, who unmounts. */
static int wait_keeper(pid_t pid)
{
    struct sigaction act = {.sa_handler = tell_keeper};
    int status = 0;

    fflush(stdout);
    told_pid = pid;
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGHUP, &act, NULL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? CMD_OK : CMD_FAILED;
}

/* It was not mounted: its daemon, if there is one, ends by itself, and takes it along. */
static void give_up_private(const struct request *q)
{
    int sock = -1;

    if (sock_connect(q->target.store, &sock) == -E_NOTMOUNTED)
        mount_private_remove(q->target.store);
    else if (sock >= 0)
        close(sock);
}

static int run(int argc, char **argv)
{
    struct request q = {.helper = strchr(argv[0], '.') != NULL};
    char *path = NULL, *dir = NULL;
    int r = parse(&q, argc, argv, &path, &dir);

    if (r == 0)
        r = resolve(&q, path, dir);
    if (r == 0 && !q.fake)
        r = perform(&q);
    if (r == 0 && !q.fake)
        teach_kernel(&q);
    if (r == 0 && !q.helper)
        report(&q);
    if (q.keeper > 0 && r == 0)
        r = wait_keeper(q.keeper);
    if (r != 0 && q.private && *q.target.store)
        give_up_private(&q);
    buf_free(&q.from.words);
    buf_free(&q.opts);
    return r;
}

const struct cmd cmd_mount = {
    .name = "mount",
    .synopsis = "mount STORE[/VOLUME][@SNAP] DIR [-o opt,...] [--create] [--foreground] | mount --from "
                "REPO#ID [STORE/VOLUME] DIR",
    .help =
        "Mounts a volume (main, if none is named) on a directory; with @SNAP a snapshot of it, read-only.\n"
        "A second mount of a volume shows the same at another place.\n"
        "\n"
        "  --from REPO#ID                a recovery point, seen at once; bytes come when they are read, the "
        "rest behind: without\n"
        "                                STORE/VOLUME read-only, with it as a new volume of that name\n"
        "  --no-hydrate                  what nobody reads stays in the repository\n"
        "  --passphrase-file, --key-file, --credentials FILE   of the repository; default: as added\n"
        "  --create                      makes the store and the volume where they are missing\n"
        "  --foreground                  stays; the daemon logs to standard error; interrupting it unmounts\n"
        "  -o ro                         read-only\n"
        "  -o snapdir=hidden             .snapshots is found by name, not listed (the default)\n"
        "     snapdir=visible            ls shows it in the root\n"
        "     snapdir=disabled           there is none\n"
        "  -o control=admin              what the control files in .snapshots/.control allow (the default "
        "is\n"
        "     control=snapshot|read      everything), each to the owner of the volume's root; its group "
        "reads\n"
        "     control=none               there are none, and snapshots are not taken by mkdir\n"
        "  -o control_gid=GID            this group may do what the owner may\n"
        "  -o writeback                  the kernel keeps what is written and sends it later: for many small "
        "writes\n"
        "                                without fsync; a power cut may take the last half minute of them\n"
        "  -o io_uring                   the kernel asks over io_uring (Linux 6.14, fuse.enable_uring=1): "
        "faster "
        "where requests\n"
        "                                are many; but the mount ends with its daemon. Where it cannot be "
        "had: "
        "as without\n"
        "  -o allow_idmap                lets idmapped mounts be made of it (Linux 6.12)\n"
        "  -o allow_other                others may look in where an ordinary user mounts (/etc/fuse.conf "
        "allows it);\n"
        "                                so it is in any case where root does\n"
        "  -o nosuid,nodev,noexec,noatime,sync  and what fstab has, as mount(8) knows them\n",
    .run = run};
