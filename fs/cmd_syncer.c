/* varve syncer: syncfs(2) of a mount, for a daemon that serves it (fs/session_flush.c). Standard input is the connection. It is attached
 * once more, nowhere, so that it does not matter in which directory of which namespace the volume is mounted. */
#include "fs/verb_target.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

#include "fs/cmd.h"

/* The mount's root opened; -1. What is given here must only be complete: the superblock is there already. */
static int open_attached(void)
{
    int fs = fsopen("fuse", FSOPEN_CLOEXEC), mnt = -1, dir = -1;
    char uid[16], gid[16];

    snprintf(uid, sizeof(uid), "%u", geteuid());
    snprintf(gid, sizeof(gid), "%u", getegid());
    if (fs < 0)
        return -1;
    if (fsconfig(fs, FSCONFIG_SET_STRING, "fd", "0", 0) == 0 &&
        fsconfig(fs, FSCONFIG_SET_STRING, "rootmode", "40000", 0) == 0 &&
        fsconfig(fs, FSCONFIG_SET_STRING, "user_id", uid, 0) == 0 &&
        fsconfig(fs, FSCONFIG_SET_STRING, "group_id", gid, 0) == 0 &&
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
        mnt = fsmount(fs, FSMOUNT_CLOEXEC, 0);
    close(fs);
    if (mnt >= 0) {
        dir = openat(mnt, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        close(mnt);
    }
    return dir;
}

struct place {
    const char *source;
    int dir;
};

static int open_place(void *arg, const struct verb_mount *m)
{
    struct place *p = arg;

    if (strcmp(m->source, p->source) == 0)
        p->dir = open(m->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return p->dir >= 0;
}

static int run(int argc, char **argv)
{
    struct place p = {.source = argc > 1 ? argv[1] : "", .dir = open_attached()};

    /* the connection ends when daemon and keeper have: this process, which waits for them, must not keep it */
    close(STDIN_FILENO);
    if (p.dir < 0) /* an ordinary user's */
        verb_mounts_each(open_place, &p);
    if (p.dir < 0)
        return CMD_FAILED;
    (void)syncfs(p.dir); /* an error is one of writing, at any time before: who wrote is told of it */
    return CMD_OK;
}

const struct cmd cmd_syncer = {.name = "syncer",
                               .synopsis = "syncer SOURCE",
                               .help = "Of the daemon: has the kernel write back what it keeps of a mount.\n",
                               .hidden = true,
                               .run = run};
