/* varve umount: umount(2), then waits until the daemon has made everything durable. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "fs/cmd.h"
#include "fs/mount.h"
#include "base/sock.h"
#include "fs/verb_target.h"

struct found {
    const char *dir;
    char source[PATH_MAX + 2 * NAME_LEN_MAX];
    unsigned major, minor;
    bool hit;
    unsigned others; /* places where the same superblock is mounted */
};

#define WAIT_TRIES 150 /* of 20 ms, without a daemon */

static int match_dir(void *arg, const struct verb_mount *m)
{
    struct found *f = arg;

    if (strcmp(m->dir, f->dir) != 0)
        return 0;
    f->hit = true; /* the last one is on top */
    f->major = m->major;
    f->minor = m->minor;
    snprintf(f->source, sizeof(f->source), "%s", m->source);
    return 0;
}

static int count_same(void *arg, const struct verb_mount *m)
{
    struct found *f = arg;

    /* the number alone may be another filesystem's by now */
    f->others += m->major == f->major && m->minor == f->minor && strcmp(m->source, f->source) == 0;
    return 0;
}

/* The absolute path of a mount point, without touching what is mounted there: its parent is resolved. */
static int resolve(const char *dir, char ret[PATH_MAX])
{
    char copy[PATH_MAX], parent[PATH_MAX];
    size_t len = strlen(dir);
    char *slash;

    while (len > 1 && dir[len - 1] == '/')
        len--;
    if (len == 0 || len >= sizeof(copy))
        return -E_NAMETOOLONG;
    memcpy(copy, dir, len);
    copy[len] = 0;
    slash = strrchr(copy, '/');
    if (strcmp(copy, ".") == 0 || strcmp(copy, "..") == 0 ||
        (slash && (strcmp(slash, "/.") == 0 || strcmp(slash, "/..") == 0)))
        return realpath(copy, ret) ? 0 : err_from_errno(errno);
    if (slash)
        *slash = 0;
    if (!realpath(!slash ? "." : *copy ? copy : "/", parent))
        return err_from_errno(errno);
    if (snprintf(ret, PATH_MAX, "%s/%s", strcmp(parent, "/") == 0 ? "" : parent, slash ? slash + 1 : copy) >=
        PATH_MAX)
        return -E_NAMETOOLONG;
    return 0;
}

/* A symbolic link to a mount point is followed only when nothing is mounted by that name itself. */
static int find(const char *dir, char ret[PATH_MAX], struct found *f)
{
    int r = resolve(dir, ret);

    if (r < 0)
        return r;
    f->dir = ret;
    verb_mounts_each(match_dir, f);
    if (!f->hit && realpath(dir, ret))
        verb_mounts_each(match_dir, f);
    return f->hit ? 0 : -E_NOTMOUNTED;
}

/* STORE/VOLUME[@SNAP] of the table of mounts. */
static int split_source(char *source, const char **ret_volume, const char **ret_snap)
{
    char *slash = strrchr(source, '/');
    char *at = slash ? strchr(slash, '@') : NULL;

    if (!slash || slash == source)
        return -E_INVAL;
    *slash = 0;
    *ret_volume = slash + 1;
    *ret_snap = "";
    if (at) {
        *at = 0;
        *ret_snap = at + 1;
    }
    return 0;
}

static int send_words(int sock, const char *const *words, size_t n)
{
    cleanup(buf_free) struct buf b = {0};
    int r = sock_words(&b, words, n);

    return r < 0 ? r : sock_send(sock, SOCK_REQUEST, b.data, b.len, -1);
}

/* Asks the daemon, before anything is unmounted, to say later when it has closed what belongs to the mount. -1: there is no
 * daemon, or it is not ours to ask. */
static int announce(const struct found *f)
{
    cleanup(sock_msg_free) struct sock_msg m = SOCK_MSG_NONE;
    char store[sizeof(f->source)];
    const char *words[] = {"gone", NULL, NULL};
    int sock = -1;

    memcpy(store, f->source, sizeof(store));
    if (split_source(store, &words[1], &words[2]) < 0 || sock_connect(store, &sock) < 0)
        return -1;
    if (send_words(sock, words, ARRAY_LEN(words)) == 0 && sock_recv(sock, &m) == 0 && m.kind == SOCK_OUT)
        return sock;
    close(sock);
    return -1;
}

/* Until the last word. -E_CLOSED: the daemon has ended without it. */
static int wait_once(int sock)
{
    const char *words[] = {"unmounted"};
    int r = sock < 0 ? -E_CLOSED : send_words(sock, words, ARRAY_LEN(words));

    while (r == 0) {
        cleanup(sock_msg_free) struct sock_msg m = SOCK_MSG_NONE;

        r = sock_recv(sock, &m);
        if (r == 0 && m.kind == SOCK_ERR)
            fwrite(m.data.data, 1, m.data.len, stderr);
        if (r == 0 && m.kind == SOCK_DONE && m.data.len >= 4)
            return (int)get_le32(m.data.data);
    }
    return r;
}

/* A daemon that dies meanwhile is followed by another one, which does what that one had begun. */
static int wait_durable(const struct found *f, int *sock)
{
    struct timespec pause = {.tv_nsec = 20000000};
    int r = wait_once(*sock);

    for (int i = 0; i < WAIT_TRIES && r < 0; i++) {
        nanosleep(&pause, NULL);
        if (*sock >= 0)
            close(*sock);
        *sock = announce(f);
        r = wait_once(*sock);
    }
    if (r >= 0)
        return r;
    return cmd_fail(
        "the daemon ended before it said that everything is on disk; the next mount replays its journal");
}

static int unmount(struct found *f, bool lazy)
{
    int sock = lazy ? -1 : announce(f);
    char why[256];
    int r = mount_detach(f->dir, lazy, why);

    if (r == -E_BUSY)
        r = cmd_fail("%s is in use (`fuser -vm %s` lists by whom); end that, or use --lazy", f->dir, f->dir);
    else if (r < 0)
        r = cmd_fail("%s: %s", f->dir, *why ? why : err_text(r));
    if (r == 0)
        verb_mounts_each(count_same, f);
    if (r == 0 && f->others == 0 && sock >= 0)
        r = wait_durable(f, &sock);
    if (sock >= 0)
        close(sock);
    return r;
}

static int run(int argc, char **argv)
{
    bool lazy = argc == 3 && strcmp(argv[1], "--lazy") == 0;
    char dir[PATH_MAX];
    struct found f = {0};
    int r;

    if (argc != 2 + lazy || argv[1 + lazy][0] == '-')
        return cmd_wrong(&cmd_umount, "it takes a directory");
    r = find(argv[1 + lazy], dir, &f);
    if (r == -E_NOTMOUNTED)
        return cmd_fail("%s: no varve volume is mounted there", argv[1 + lazy]);
    return r < 0 ? cmd_fail("%s: %s", argv[1 + lazy], err_text(r)) : unmount(&f, lazy);
}

const struct cmd cmd_umount = {
    .name = "umount",
    .synopsis = "umount [--lazy] DIR",
    .help = "Unmounts a volume and waits until everything in it is on disk. When it was the last one of its "
            "store, the\n"
            "store is closed and its daemon ends. A plain `umount DIR` does the same without waiting.\n"
            "\n"
            "  --lazy    takes it out of the tree at once; it ends when its last user has gone\n",
    .run = run};
