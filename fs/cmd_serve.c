/* varve serve: the keeper in the place of this process, for a service manager. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fs/cmd.h"

static int run(int argc, char **argv)
{
    char name[] = "varve", sub[] = "keeper", mode[] = "service", none[] = "-1", store[PATH_MAX];
    char version[PATH_MAX + 16];
    char *words[] = {name, sub, store, mode, none, NULL};

    if (argc != 2 || argv[1][0] == '-')
        return cmd_wrong(&cmd_serve, "it takes a store");
    if (!realpath(argv[1], store))
        return cmd_fail("%s: %s", argv[1], err_text(err_from_errno(errno)));
    snprintf(version, sizeof(version), "%s/version", store);
    if (access(version, F_OK) < 0)
        return cmd_fail("%s holds no store; `varve create` makes one", store);
    execv("/proc/self/exe", words);
    return cmd_fail("the keeper cannot be started: %s", err_text(err_from_errno(errno)));
}

const struct cmd cmd_serve = {
    .name = "serve",
    .synopsis = "serve STORE",
    .help = "Serves a store for a service manager (systemd and others that speak sd_notify), until it is "
            "told to end:\n"
            "`varve mount` finds it there. The manager keeps the connections of what is mounted, so that the "
            "mounts\n"
            "outlive even all processes of varve; its watchdog is told that all is well only while requests "
            "move.\n"
            "\n"
            "SIGTERM leaves the mounts to the next `varve serve` where a manager keeps them, and else undoes "
            "them;\n"
            "SIGINT undoes them in any case. SIGHUP: goes on as the program that lies where this one lay.\n",
    .run = run};
