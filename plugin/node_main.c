/* varve-node: what the image brings to a node. `install` puts the programs of the image where the node's own processes find them, and
 * has the store served by a process of the node, which no container's end touches; `probe` is what the kubelet asks of varve-csi. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/sock.h"

/* The programs know this path: that of their libraries is written in them. */
#define HOME "/opt/varve"
#define PROGRAM HOME "/bin/varve"
#define UNIT "/etc/systemd/system/varve@.service"
#define SERVED_TRIES 600 /* of 100 ms */
#define PROBE_SECONDS 5
#define ID_MAX 65

static const char help[] =
    "usage: varve-node install --store STORE [--flex PLUGINDIR] [--here]\n"
    "       varve-node probe --endpoint unix:///PATH [--store STORE]\n"
    "\n"
    "install: puts the programs beside this one into the node's " HOME
    ", makes the store where it is not there,\n"
    "and has it served by the node: by systemd where it runs, else by a process of its own. What runs "
    "already\n"
    "goes on as the new program; mounts stay. Run in a container that sees the node's processes (hostPID).\n"
    "probe: 0 when varve-csi answers there, and, with --store, the store is served.\n"
    "\n"
    "  --flex PLUGINDIR   install: FlexVolume's driver too\n"
    "  --here             install: this is no container\n"
    "  --version\n";

enum { OPT_STORE, OPT_ENDPOINT, OPT_FLEX, OPT_HERE, OPT_VERSION, OPT_HELP, OPT_COUNT };

static const struct option longs[] = {{"store", required_argument, NULL, OPT_STORE},
                                      {"endpoint", required_argument, NULL, OPT_ENDPOINT},
                                      {"flex", required_argument, NULL, OPT_FLEX},
                                      {"here", no_argument, NULL, OPT_HERE},
                                      {"version", no_argument, NULL, OPT_VERSION},
                                      {"help", no_argument, NULL, OPT_HELP},
                                      {NULL, 0, NULL, 0}};

extern char **environ;

static int wrong(const char *what, const char *why)
{
    fprintf(stderr, "varve-node: %s: %s\n", what, why);
    return -E_FAILED;
}

static int wrong_errno(const char *what)
{
    return wrong(what, strerror(errno));
}

/* --- the programs -------------------------------------------------------------------------------------------------------- */

static int copy_bytes(int from, int to, off_t size)
{
    while (size > 0) {
        ssize_t n = sendfile(to, from, NULL, (size_t)size);

        if (n <= 0)
            return n == 0 ? -E_IO : err_from_errno(errno);
        size -= n;
    }
    return fsync(to) < 0 ? err_from_errno(errno) : 0;
}

static int copy_file(int from_dir, int to_dir, const char *name, const struct stat *st)
{
    int from = openat(from_dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), to = -1, r = 0;

    if (from >= 0)
        to = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, st->st_mode & 0777);
    r = from < 0 || to < 0 ? err_from_errno(errno) : copy_bytes(from, to, st->st_size);
    if (r == 0 && fchmod(to, st->st_mode & 0777) < 0)
        r = err_from_errno(errno);
    if (from >= 0)
        close(from);
    if (to >= 0)
        close(to);
    return r;
}

static int copy_link(int from_dir, int to_dir, const char *name)
{
    char target[PATH_MAX];
    ssize_t n = readlinkat(from_dir, name, target, sizeof(target) - 1);

    if (n < 0)
        return err_from_errno(errno);
    target[n] = 0;
    return symlinkat(target, to_dir, name) < 0 ? err_from_errno(errno) : 0;
}

static int copy_tree(int from, int to);

static int copy_entry(int from, int to, const char *name)
{
    struct stat st;
    int r, a, b;

    if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return err_from_errno(errno);
    if (S_ISREG(st.st_mode))
        return copy_file(from, to, name, &st);
    if (S_ISLNK(st.st_mode))
        return copy_link(from, to, name);
    if (!S_ISDIR(st.st_mode))
        return 0;
    if (mkdirat(to, name, 0755) < 0)
        return err_from_errno(errno);
    a = openat(from, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    b = openat(to, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    r = a < 0 || b < 0 ? err_from_errno(errno) : copy_tree(a, b);
    if (a >= 0)
        close(a);
    if (b >= 0)
        close(b);
    return r;
}

static DIR *dir_of(int fd)
{
    int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = again < 0 ? NULL : fdopendir(again);

    if (!d && again >= 0)
        close(again);
    return d;
}

static bool is_dot(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static int copy_tree(int from, int to)
{
    DIR *d = dir_of(from);
    struct dirent *e;
    int r = d ? 0 : err_from_errno(errno);

    while (r == 0 && (e = readdir(d)))
        if (!is_dot(e->d_name))
            r = copy_entry(from, to, e->d_name);
    if (d)
        closedir(d);
    return r;
}

/* As much as goes: what is left over is in nobody's way. */
static void remove_tree(int at, const char *name)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;

    if (!d) {
        if (fd >= 0)
            close(fd);
        unlinkat(at, name, 0);
        return;
    }
    while ((e = readdir(d)))
        if (!is_dot(e->d_name))
            remove_tree(fd, e->d_name);
    closedir(d);
    unlinkat(at, name, AT_REMOVEDIR);
}

/* The tree this program is part of, and what it is called: a digest of all that is in it, made with the image. */
static int own_tree(char id[ID_MAX], int *ret)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
    int fd;

    if (n <= 0)
        return wrong_errno("/proc/self/exe");
    path[n] = 0;
    for (int i = 0; i < 2; i++)
        path[strrchr(path, '/') ? strrchr(path, '/') - path : 0] = 0;
    *ret = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*ret < 0)
        return wrong_errno(path);
    fd = openat(*ret, "id", O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, id, ID_MAX - 1);
    if (fd >= 0)
        close(fd);
    id[n > 0 ? n : 0] = 0;
    id[strspn(id, "0123456789abcdef")] = 0;
    return *id ? 0 : wrong(path, "no programs of an image: the file `id` is missing");
}

/* HOME is a symbolic link to the tree of one image, so that it changes at one moment. */
static int put_programs(int tree, const char *id)
{
    char dir[256], part[256 + 8], link[] = HOME ".new";
    int to, r;

    snprintf(dir, sizeof(dir), HOME "-%s", id);
    snprintf(part, sizeof(part), "%s.part", dir);
    if (access(dir, F_OK) < 0) {
        remove_tree(AT_FDCWD, part);
        if (mkdir(part, 0755) < 0)
            return wrong_errno(part);
        to = open(part, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        r = to < 0 ? err_from_errno(errno) : copy_tree(tree, to);
        if (to >= 0)
            close(to);
        if (r < 0)
            return wrong(part, err_text(r));
        if (rename(part, dir) < 0)
            return wrong_errno(dir);
    }
    unlink(link);
    if (symlink(strrchr(dir, '/') + 1, link) < 0 || rename(link, HOME) < 0)
        return wrong_errno(HOME);
    return 0;
}

/* Does a process of the node run from /opt/NAME: another store's? Where that cannot be told it does. */
static bool runs_from(const char *name)
{
    char link[NAME_MAX + 16], exe[PATH_MAX], tree[NAME_MAX + 8];
    DIR *d = opendir("/proc");
    struct dirent *e;
    bool runs = !d;
    ssize_t n;

    snprintf(tree, sizeof(tree), "/opt/%s/", name);
    while (d && !runs && (e = readdir(d))) {
        if (e->d_name[0] < '1' || e->d_name[0] > '9')
            continue;
        snprintf(link, sizeof(link), "/proc/%s/exe", e->d_name);
        n = readlink(link, exe, sizeof(exe) - 1);
        exe[n > 0 ? n : 0] = 0;
        runs = strncmp(exe, tree, strlen(tree)) == 0;
    }
    if (d)
        closedir(d);
    return runs && !BROKEN(VARVE_BREAK_node_drops);
}

/* Trees of images before, when nothing runs from them any more. */
static void drop_others(const char *id)
{
    char keep[NAME_MAX];
    DIR *d = opendir("/opt");
    struct dirent *e;

    snprintf(keep, sizeof(keep), "varve-%s", id);
    while (d && (e = readdir(d)))
        if (strncmp(e->d_name, "varve-", 6) == 0 && strcmp(e->d_name, keep) != 0 &&
            e->d_name[6 + strspn(e->d_name + 6, "0123456789abcdef")] == 0 && !runs_from(e->d_name))
            remove_tree(dirfd(d), e->d_name);
    if (d)
        closedir(d);
}

/* --- the node ------------------------------------------------------------------------------------------------------------ */

static bool same_namespace(const char *name)
{
    char own[64], first[64];
    struct stat a, b;

    snprintf(own, sizeof(own), "/proc/self/ns/%s", name);
    snprintf(first, sizeof(first), "/proc/1/ns/%s", name);
    return stat(own, &a) == 0 && stat(first, &b) == 0 && a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

/* From here on this process is one of the node, but for its cgroup. */
static int enter_node(void)
{
    static const char *const names[] = {"cgroup", "ipc", "uts", "net", "mnt"};
    int fds[ARRAY_LEN(names)];
    char path[64];

    if (same_namespace("mnt"))
        return wrong("/proc/1/ns/mnt",
                     "is this process' own: the pod needs hostPID: true (outside of a pod: --here)");
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(path, sizeof(path), "/proc/1/ns/%s", names[i]);
        fds[i] = same_namespace(names[i]) ? -1 : open(path, O_RDONLY | O_CLOEXEC);
        if (fds[i] < 0 && !same_namespace(names[i]))
            return wrong_errno(path);
    }
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (fds[i] >= 0 && setns(fds[i], 0) < 0)
            return wrong_errno(names[i]);
        if (fds[i] >= 0)
            close(fds[i]);
    }
    return chdir("/") < 0 ? wrong_errno("/") : 0;
}

static int write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));

    if (fd >= 0)
        close(fd);
    return n < 0 ? -E_IO : 0;
}

/* Out of the pod's cgroups: its end is the end of everything in them. */
static int leave_cgroups(void)
{
    static const char top[] = "/sys/fs/cgroup";
    char path[PATH_MAX];
    DIR *d = opendir(top);
    struct dirent *e;
    int left = 0;

    snprintf(path, sizeof(path), "%s/cgroup.procs", top);
    left += write_text(path, "0") == 0;
    while (d && (e = readdir(d))) {
        if (is_dot(e->d_name))
            continue;
        snprintf(path, sizeof(path), "%s/%s/cgroup.controllers", top, e->d_name);
        if (access(path, F_OK) == 0 && access("/sys/fs/cgroup/cgroup.procs", F_OK) == 0)
            continue; /* a child of the one hierarchy */
        snprintf(path, sizeof(path), "%s/%s/cgroup.procs", top, e->d_name);
        left += write_text(path, "0") == 0;
    }
    if (d)
        closedir(d);
    return left > 0 ? 0 : wrong(top, "no cgroup of the node can be entered");
}

/* Runs a program and waits for it. */
static int run(const char *const *words)
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        execvp(words[0], (char *const *)words);
        fprintf(stderr, "varve-node: %s: %s\n", words[0], strerror(errno));
        _exit(127);
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -E_FAILED;
}
#define RUN(...) run((const char *const[]){__VA_ARGS__, NULL})

static bool is_served(const char *store)
{
    static const char *const words[] = {"ping"};
    cleanup(buf_free) struct buf out = {0};

    return sock_ask(store, words, ARRAY_LEN(words), &out) == 0;
}

static int await_served(const char *store)
{
    struct timespec step = {.tv_nsec = 100000000};

    for (int i = 0; i < SERVED_TRIES; i++) {
        if (is_served(store))
            return 0;
        nanosleep(&step, NULL);
    }
    return wrong(store, "is not served after a minute; log/daemon.log there says why");
}

/* As systemd-escape --path. */
static int unit_of(const char *store, char *to, size_t size)
{
    size_t n = (size_t)snprintf(to, size, "varve@");

    for (const char *at = store + 1; *at && n + 16 < size; at++)
        if (*at == '/')
            to[n++] = '-';
        else if ((*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || (*at >= '0' && *at <= '9') ||
                 *at == '_' || *at == ':' || (*at == '.' && at != store + 1))
            to[n++] = *at;
        else
            n += (size_t)snprintf(to + n, size - n, "\\x%02x", (unsigned char)*at);
    if (n + 16 >= size)
        return wrong(store, "is too long for the name of a unit");
    snprintf(to + n, size - n, ".service");
    return 0;
}

static int serve_by_systemd(const char *store)
{
    cleanup(buf_free) struct buf unit = {0}, old = {0};
    char name[512];
    int r = io_read_file(io_real(), HOME "/share/varve@.service", 65536, &unit);

    if (r < 0)
        return wrong(HOME "/share/varve@.service", err_text(r));
    if (io_read_file(io_real(), UNIT, 65536, &old) < 0 || old.len != unit.len ||
        memcmp(old.data, unit.data, unit.len) != 0) {
        r = io_replace(io_real(), UNIT, unit.data, unit.len);
        if (r < 0)
            return wrong(UNIT, err_text(r));
        r = RUN("systemctl", "daemon-reload");
    }
    if (r == 0)
        r = unit_of(store, name, sizeof(name));
    return r < 0 ? r : RUN("systemctl", "enable", "--now", name);
}

/* The second process is nobody's child, and so the node's. */
static int serve_alone(const char *store)
{
    int status, null;
    pid_t pid = fork();

    if (pid < 0)
        return wrong_errno("fork");
    if (pid > 0)
        return waitpid(pid, &status, 0) == pid && status == 0 ? 0 : wrong(PROGRAM, "cannot be started");
    if (setsid() < 0 || (!BROKEN(VARVE_BREAK_node_stays) && leave_cgroups() < 0))
        _exit(1);
    pid = fork();
    if (pid != 0)
        _exit(pid < 0);
    null = open("/dev/null", O_RDWR);
    for (int i = 0; i < 3; i++)
        dup2(null, i);
    execl(PROGRAM, "varve", "serve", store, (char *)NULL);
    _exit(127);
}

/* Does the daemon run as the program that lies there now? Its own word for itself is `PID VERSION PROGRAM`. */
static bool is_current(const char *store)
{
    static const char *const words[] = {"who"};
    cleanup(buf_free) struct buf out = {0};
    char path[PATH_MAX], program[PATH_MAX];

    return sock_ask(store, words, ARRAY_LEN(words), &out) == 0 && buf_cstr(&out) && realpath(PROGRAM, path) &&
           sscanf((const char *)out.data, "%*d %*s %4095[^\n]", program) == 1 && strcmp(program, path) == 0;
}

static int serve(const char *store)
{
    int r;

    if (is_served(store))
        return is_current(store) ? 0 : RUN(PROGRAM, "upgrade", store);
    if (access("/run/systemd/system", F_OK) == 0)
        r = serve_by_systemd(store);
    else
        r = serve_alone(store);
    return r < 0 ? r : await_served(store);
}

/* --- what is asked for --------------------------------------------------------------------------------------------------- */

static int make_store(const char *store)
{
    char path[PATH_MAX], *slash;

    if (store[0] != '/' || strlen(store) >= sizeof(path) - 16)
        return wrong(store, "is no absolute path");
    snprintf(path, sizeof(path), "%s/version", store);
    if (access(path, F_OK) == 0)
        return 0;
    snprintf(path, sizeof(path), "%s", store);
    for (slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
            return wrong_errno(path);
        *slash = '/';
    }
    return RUN(PROGRAM, "create", store);
}

static int install(const char *const *o)
{
    char id[ID_MAX];
    int tree, lock, r;

    if (!o[OPT_STORE])
        return wrong("--store", "is missing");
    r = own_tree(id, &tree);
    if (r == 0 && !o[OPT_HERE])
        r = enter_node();
    if (r < 0)
        return r;
    mkdir("/opt", 0755);
    lock = open("/opt/.varve.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock < 0 || flock(lock, LOCK_EX) < 0)
        return wrong_errno("/opt/.varve.lock");
    r = put_programs(tree, id);
    if (r == 0)
        r = make_store(o[OPT_STORE]);
    if (r == 0)
        r = serve(o[OPT_STORE]);
    if (r == 0 && o[OPT_FLEX])
        r = RUN(HOME "/bin/varve-flex", "install", o[OPT_FLEX], o[OPT_STORE]);
    if (r == 0)
        drop_others(id);
    return r;
}

/* A server of HTTP/2 answers the first words of a client with its settings. */
static int speaks(const char *path)
{
    static const char hello[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct timeval wait = {.tv_sec = PROBE_SECONDS};
    unsigned char frame[9];
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), r;

    if (s < 0 || strlen(path) >= sizeof(a.sun_path))
        return wrong(path, "no socket can be made for it");
    snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
    r = connect(s, (struct sockaddr *)&a, sizeof(a)) == 0 &&
                send(s, hello, sizeof(hello), MSG_NOSIGNAL) == sizeof(hello) &&
                recv(s, frame, sizeof(frame), MSG_WAITALL) == sizeof(frame) && frame[3] == 4
            ? 0
            : wrong(path, "varve-csi does not answer");
    close(s);
    return r;
}

static int probe(const char *const *o)
{
    const char *path = o[OPT_ENDPOINT];

    if (path && strncmp(path, "unix:", 5) == 0)
        path += strncmp(path + 5, "//", 2) == 0 ? 7 : 5;
    if (!path || path[0] != '/')
        return wrong("--endpoint", "is not unix:///PATH");
    if (o[OPT_STORE] && !is_served(o[OPT_STORE]))
        return wrong(o[OPT_STORE], "is not served");
    return speaks(path);
}

int main(int argc, char **argv)
{
    const char *o[OPT_COUNT] = {NULL}, *what;
    int c;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (c == '?')
            return 2;
        o[c] = optarg ? optarg : "";
    }
    if (o[OPT_HELP])
        return fputs(help, stdout) < 0;
    if (o[OPT_VERSION])
        return printf("varve-node %s\n", VARVE_VERSION) < 0;
    what = optind + 1 == argc ? argv[optind] : "";
    if (strcmp(what, "install") == 0)
        return install(o) < 0;
    if (strcmp(what, "probe") == 0)
        return probe(o) < 0;
    fputs(help, stderr);
    return 2;
}
