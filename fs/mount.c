#include "fs/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/rights.h"
#include "fs/verb_target.h"

#define MOUNT_TYPE "fuse.varve"

/* That much not yet written the kernel keeps for a writeback mount. One percent of the memory is what it gives a FUSE filesystem by
 * itself; a snapshot waits until all of it has been written. */
#define WRITEBACK_BYTES "268435456"

/* --- options --------------------------------------------------------------------------------------------------------- */

struct flag_name {
    const char *name;
    unsigned long set, clear;
};
static const struct flag_name flag_names[] = {
    {"nosuid", MS_NOSUID, 0},
    {"suid", 0, MS_NOSUID},
    {"nodev", MS_NODEV, 0},
    {"dev", 0, MS_NODEV},
    {"noexec", MS_NOEXEC, 0},
    {"exec", 0, MS_NOEXEC},
    {"noatime", MS_NOATIME, 0},
    {"atime", 0, MS_NOATIME},
    {"nodiratime", MS_NODIRATIME, 0},
    {"diratime", 0, MS_NODIRATIME},
    {"relatime", MS_RELATIME, 0},
    {"norelatime", 0, MS_RELATIME},
    {"strictatime", MS_STRICTATIME, 0},
    {"sync", MS_SYNCHRONOUS, 0},
    {"async", 0, MS_SYNCHRONOUS},
    {"dirsync", MS_DIRSYNC, 0},
    {"nosymfollow", 256, 0},
    /* the user's own mounts, as mount(8) takes the word in fstab */
    {"user", MS_NOSUID | MS_NODEV | MS_NOEXEC, 0},
    {"users", MS_NOSUID | MS_NODEV | MS_NOEXEC, 0},
    {"owner", MS_NOSUID | MS_NODEV, 0},
    {"group", MS_NOSUID | MS_NODEV, 0},
};

/* Words of fstab that say nothing about the mount itself. */
static bool is_ignored(const char *w, size_t len)
{
    static const char *const words[] = {
        "defaults",   "auto",       "noauto",        "nofail",
        "_netdev",    "nouser",     "loud",          "silent",
        "noiversion", "nolazytime", "nostrictatime", "default_permissions" /* so it is in any case */};

    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (strlen(words[i]) == len && memcmp(words[i], w, len) == 0)
            return true;
    return len > 2 && (memcmp(w, "x-", 2) == 0 || memcmp(w, "X-", 2) == 0 || strncmp(w, "comment=", 8) == 0);
}

static int choose(const char *value, const char *const *names, size_t n, int *ret)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(value, names[i]) == 0) {
            *ret = (int)i;
            return 0;
        }
    return -E_USAGE;
}

static const char *const snapdir_names[] = {"hidden", "visible", "disabled"};
static const char *const control_names[] = {"admin", "snapshot", "read", "none"};

/* LABEL or "LABEL", which the kernel gets between quotes. */
static int parse_context(struct mount_opts *o, const char *value, char *why)
{
    size_t len = strlen(value);
    bool quoted = len >= 2 && value[0] == '"' && value[len - 1] == '"';

    if (quoted) {
        value++;
        len -= 2;
    }
    if (len == 0 || len >= sizeof(o->context) || memchr(value, '"', len) || memchr(value, '\\', len)) {
        snprintf(why, 256, "context=%.64s: it takes a label of SELinux, of %zu bytes at most", value,
                 sizeof(o->context) - 1);
        return -E_USAGE;
    }
    memcpy(o->context, value, len);
    o->context[len] = 0;
    return 0;
}

/* key=value */
static int parse_valued(struct mount_opts *o, const char *key, const char *value, char *why)
{
    char *end;
    int n = 0;

    if (strcmp(key, "snapdir") == 0) {
        if (choose(value, snapdir_names, ARRAY_LEN(snapdir_names), &n) < 0) {
            snprintf(why, 256, "snapdir=%.64s: it is hidden, visible or disabled", value);
            return -E_USAGE;
        }
        o->snapdir = (enum mount_snapdir)n;
        return 0;
    }
    if (strcmp(key, "control") == 0) {
        if (choose(value, control_names, ARRAY_LEN(control_names), &n) < 0) {
            snprintf(why, 256, "control=%.64s: it is none, read, snapshot or admin", value);
            return -E_USAGE;
        }
        o->control = (enum mount_control)n;
        return 0;
    }
    if (strcmp(key, "control_gid") == 0) {
        unsigned long gid = strtoul(value, &end, 10);

        if (*value < '0' || *value > '9' || *end != 0 || gid >= UINT32_MAX) {
            snprintf(why, 256, "control_gid=%.64s: it takes the number of a group", value);
            return -E_USAGE;
        }
        o->control_gid = (uint32_t)gid;
        o->has_control_gid = true;
        return 0;
    }
    if (strcmp(key, "context") == 0)
        return parse_context(o, value, why);
    if (strcmp(key, "user") == 0 || strcmp(key, "uhelper") == 0 || strcmp(key, "helper") == 0)
        return 0; /* of mount(8) itself */
    snprintf(why, 256, "there is no mount option '%.64s='", key);
    return -E_USAGE;
}

static int parse_one(struct mount_opts *o, const char *w, size_t len, char *why)
{
    char word[256];
    char *eq;

    if (len == 0 || is_ignored(w, len))
        return 0;
    if (len >= sizeof(word)) {
        snprintf(why, 256, "a mount option is too long: %.64s...", w);
        return -E_USAGE;
    }
    memcpy(word, w, len);
    word[len] = 0;
    for (size_t i = 0; i < ARRAY_LEN(flag_names); i++)
        if (strcmp(word, flag_names[i].name) == 0) {
            o->flags = (o->flags & ~flag_names[i].clear) | flag_names[i].set;
            return 0;
        }
    if (strcmp(word, "ro") == 0 || strcmp(word, "rw") == 0) {
        o->ro = word[1] == 'o';
        return 0;
    }
    if (strcmp(word, "allow_other") == 0) {
        o->allow_other = true;
        return 0;
    }
    if (strcmp(word, "allow_idmap") == 0) {
        o->allow_idmap = true;
        return 0;
    }
    if (strcmp(word, "writeback") == 0 || strcmp(word, "nowriteback") == 0) {
        o->writeback = word[0] == 'w';
        return 0;
    }
    if (strcmp(word, "io_uring") == 0 || strcmp(word, "noio_uring") == 0) {
        o->io_uring = word[0] == 'i';
        return 0;
    }
    eq = strchr(word, '=');
    if (eq) {
        *eq = 0;
        return parse_valued(o, word, eq + 1, why);
    }
    snprintf(why, 256, "there is no mount option '%.64s'", word);
    return -E_USAGE;
}

static size_t option_len(const char *list)
{
    static const char quoted[] = "context=\"";
    const char *end = !BROKEN(VARVE_BREAK_mount_label) && strncmp(list, quoted, sizeof(quoted) - 1) == 0
                          ? strchr(list + sizeof(quoted) - 1, '"')
                          : NULL;

    return end ? (size_t)(end - list) + strcspn(end, ",") : strcspn(list, ",");
}

int mount_opts_parse(struct mount_opts *o, const char *list, char *why)
{
    o->allow_other = o->allow_other || geteuid() == 0;
    for (;;) {
        size_t len = option_len(list);
        int r = parse_one(o, list, len, why);

        if (r < 0)
            return r;
        if (list[len] == 0)
            return 0;
        list += len + 1;
    }
}

int mount_opts_print(struct buf *b, const struct mount_opts *o)
{
    int r = buf_puts(b, o->ro ? "ro" : "rw");

    for (size_t i = 0; i < ARRAY_LEN(flag_names) && r == 0; i++)
        if (flag_names[i].set && !(flag_names[i].set & (flag_names[i].set - 1)) &&
            (o->flags & flag_names[i].set))
            r = buf_printf(b, ",%s", flag_names[i].name);
    if (r == 0 && o->snapdir != SNAPDIR_HIDDEN)
        r = buf_printf(b, ",snapdir=%s", snapdir_names[o->snapdir]);
    if (r == 0 && o->control != CONTROL_ADMIN)
        r = buf_printf(b, ",control=%s", control_names[o->control]);
    if (r == 0 && o->has_control_gid)
        r = buf_printf(b, ",control_gid=%u", o->control_gid);
    if (r == 0 && o->allow_other)
        r = buf_puts(b, ",allow_other");
    if (r == 0 && o->allow_idmap)
        r = buf_puts(b, ",allow_idmap");
    if (r == 0 && o->writeback)
        r = buf_puts(b, ",writeback");
    if (r == 0 && o->io_uring)
        r = buf_puts(b, ",io_uring");
    if (r == 0 && o->context[0])
        r = buf_printf(b, ",context=\"%s\"", o->context);
    return r;
}

const char *mount_opts_differ(const struct mount_opts *a, const struct mount_opts *b)
{
    if (a->ro != b->ro)
        return a->ro ? "ro" : "rw";
    if (a->snapdir != b->snapdir)
        return "snapdir";
    if (a->control != b->control)
        return "control";
    if (a->has_control_gid != b->has_control_gid || a->control_gid != b->control_gid)
        return "control_gid";
    if (a->allow_idmap != b->allow_idmap)
        return "allow_idmap";
    if (a->writeback != b->writeback)
        return "writeback";
    if (a->io_uring != b->io_uring)
        return "io_uring";
    if (strcmp(a->context, b->context) != 0)
        return "context";
    return NULL;
}

int mount_source(struct buf *b, const char *store, const char *volume, const char *snap)
{
    return buf_printf(b, "%s/%s%s%s", store, volume, snap && *snap ? "@" : "", snap ? snap : "");
}

/* --- the table of mounts ---------------------------------------------------------------------------------------------- */

struct point {
    const char *dir;
    bool found;
    unsigned major, minor;
};

static int match_point(void *arg, const struct verb_mount *m)
{
    struct point *p = arg;

    if (strcmp(m->dir, p->dir) == 0) {
        p->found = true; /* the last one is on top */
        p->major = m->major;
        p->minor = m->minor;
    }
    return 0;
}

bool mount_is_point(const char *dir)
{
    struct point p = {.dir = dir};

    verb_mounts_each(match_point, &p);
    return p.found;
}

static void turn_knob(const struct point *p, const char *name, const char *value)
{
    char path[64];
    FILE *knob;

    snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/%s", p->major, p->minor, name);
    knob = fopen(path, "we");
    if (!knob)
        return;
    fputs(value, knob);
    fclose(knob);
}

void mount_tune(const char *dir, const struct mount_opts *o)
{
    struct point p = {.dir = dir};

    verb_mounts_each(match_point, &p);
    if (!p.found)
        return;
    turn_knob(&p, "read_ahead_kb", "1024\n");
    if (o->writeback)
        turn_knob(&p, "max_bytes", WRITEBACK_BYTES "\n"); /* Linux 6.2 on */
}

int mount_point_check(const char *dir)
{
    struct stat st;

    if (mount_is_point(dir))
        return -E_BUSY;
    if (stat(dir, &st) < 0)
        return err_from_errno(errno);
    return S_ISDIR(st.st_mode) ? 0 : -E_NOTDIR;
}

/* --- mounting ---------------------------------------------------------------------------------------------------------- */

int mount_open_device(int *ret_fd)
{
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

    if (fd < 0)
        return errno == ENOENT || errno == ENODEV || errno == ENXIO ? -E_NOSYS : err_from_errno(errno);
    *ret_fd = fd;
    return 0;
}

void mount_data(char to[MOUNT_DATA_SIZE], int fd, const struct mount_opts *o)
{
    const char *c = o->context;

    snprintf(to, MOUNT_DATA_SIZE, "fd=%d,rootmode=40000,user_id=%u,group_id=%u,default_permissions%s%s%s%s",
             fd, geteuid(), getegid(), o->allow_other ? ",allow_other" : "", *c ? ",context=\"" : "", c,
             *c ? "\"" : "");
}

bool mount_selinux(void)
{
    static atomic_int known; /* 0 not yet, 1 it runs, 2 it does not */
    int is = atomic_load(&known);
    char line[128];
    FILE *f;

    if (is == 0 && (f = fopen("/proc/filesystems", "re"))) {
        is = 2;
        while (fgets(line, sizeof(line), f))
            is = strstr(line, "selinuxfs") ? 1 : is;
        fclose(f);
        atomic_store(&known, is);
    }
    return is != 2;
}

int mount_attach(int fd, const char *source, const char *dir, const struct mount_opts *o)
{
    char data[MOUNT_DATA_SIZE];
    int r = mount_point_check(dir);

    if (r < 0)
        return r;
    mount_data(data, fd, o);
    if (mount(source, dir, MOUNT_TYPE, o->flags | (o->ro ? MS_RDONLY : 0), data) < 0)
        return errno == ENODEV ? -E_NOSYS : err_from_errno(errno);
    return 0;
}

/* Escapes what fusermount3 would take for the end of an option. */
static int add_escaped(struct buf *b, const char *s)
{
    for (; *s; s++) {
        int r = *s == ',' || *s == '\\' ? buf_add(b, "\\", 1) : 0;

        if (r < 0 || (r = buf_add(b, s, 1)) < 0)
            return r;
    }
    return 0;
}

static int helper_options(struct buf *b, const char *source, const struct mount_opts *o)
{
    int r = buf_printf(b, "%s,subtype=varve,default_permissions%s%s%s%s,fsname=", o->ro ? "ro" : "rw",
                       o->flags & MS_NOEXEC ? ",noexec" : "", o->flags & MS_NOATIME ? ",noatime" : "",
                       o->flags & MS_SYNCHRONOUS ? ",sync" : "", o->allow_other ? ",allow_other" : "");

    if (r == 0)
        r = add_escaped(b, source);
    return r < 0 ? r : buf_cstr(b) ? 0 : -E_NOMEM;
}

static int receive_fd(int sock, int *ret_fd)
{
    union rights_room room;
    char byte;
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    int fd = -1;
    ssize_t n;

    rights_room_for(&m, &room);
    do
        n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n <= 0 || rights_take(&m, &fd) < 0 || fd < 0)
        return -E_PERM; /* fusermount3 has said why */
    *ret_fd = fd;
    return 0;
}

static const char *helper_path(void)
{
    static const char *const paths[] = {"/usr/bin/fusermount3", "/bin/fusermount3",
                                        "/usr/local/bin/fusermount3"};

    for (size_t i = 0; i < ARRAY_LEN(paths); i++)
        if (access(paths[i], X_OK) == 0)
            return paths[i];
    return NULL;
}

static void exec_helper(const char *path, char *const *argv, int commfd, int said)
{
    char number[16];

    snprintf(number, sizeof(number), "%d", commfd);
    dup2(said, STDERR_FILENO);
    if (commfd >= 0 && (fcntl(commfd, F_SETFD, 0) < 0 || setenv("_FUSE_COMMFD", number, 1) < 0))
        _exit(127);
    execv(path, argv);
    _exit(127);
}

/* What it says on standard error goes to why, first line, without its own name. */
static int run_helper(char *const *argv, int commfd, char *why)
{
    const char *path = helper_path();
    char said[256] = "";
    int status = 0, ends[2];
    ssize_t n;
    pid_t pid;

    if (!path)
        return -E_NOSYS;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_from_errno(errno);
    pid = fork();
    if (pid == 0)
        exec_helper(path, argv, commfd, ends[1]);
    close(ends[1]);
    n = pid < 0 ? -1 : read(ends[0], said, sizeof(said) - 1);
    said[n > 0 ? n : 0] = 0;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    close(ends[0]);
    said[strcspn(said, "\n")] = 0;
    if (pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    snprintf(why, 256, "%s", said);
    return -E_PERM;
}

int mount_by_helper(const char *source, const char *dir, const struct mount_opts *o, char *why, int *ret_fd)
{
    cleanup(buf_free) struct buf opts = {0};
    char name[] = "fusermount3", dash_o[] = "-o", dashes[] = "--";
    int pair[2];
    int r = helper_options(&opts, source, o);

    if (r == 0 && o->context[0]) {
        snprintf(why, 256, "context= is root's to set");
        r = -E_PERM;
    }
    if (r < 0)
        return r;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_from_errno(errno);
    {
        char *argv[] = {name, dash_o, (char *)opts.data, dashes, (char *)(uintptr_t)dir, NULL};

        r = run_helper(argv, pair[0], why);
    }
    close(pair[0]);
    if (r == 0)
        r = receive_fd(pair[1], ret_fd);
    close(pair[1]);
    return r;
}

int mount_detach(const char *dir, bool lazy, char *why)
{
    char name[] = "fusermount3", dash_u[] = "-u", dash_z[] = "-z", dashes[] = "--";
    char *argv[] = {name, dash_u, dashes, (char *)(uintptr_t)dir, NULL, NULL};
    int r;

    *why = 0;
    if (umount2(dir, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0)
        return 0;
    if (errno != EPERM)
        return errno == EINVAL ? -E_NOTMOUNTED : err_from_errno(errno);
    if (lazy) {
        argv[2] = dash_z;
        argv[3] = dashes;
        argv[4] = (char *)(uintptr_t)dir;
    }
    r = run_helper(argv, -1, why);
    return r == -E_PERM && strstr(why, strerror(EBUSY)) ? -E_BUSY : r;
}
