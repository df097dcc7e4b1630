/* Starting the process that serves a backend. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tier/tierd.h"

extern char **environ;

static int program(char out[PATH_MAX])
{
    const char *given = getenv("VARVE_TIERD");
    ssize_t n;
    char *slash;

    if (given && *given) {
        snprintf(out, PATH_MAX, "%s", given);
        return access(out, X_OK) == 0 ? 0 : -E_NOENT;
    }
    n = readlink("/proc/self/exe", out, PATH_MAX - 16);
    if (n <= 0)
        return -E_NOENT;
    out[n] = 0;
    if (!(slash = strrchr(out, '/')))
        return -E_NOENT;
    snprintf(slash + 1, 16, "varve-tierd");
    return access(out, X_OK) == 0 ? 0 : -E_NOENT;
}

int tierd_spawn(const char *url, bool make, int theirs, pid_t *ret)
{
    char path[PATH_MAX], *argv[] = {path, (char *)(uintptr_t)url, make ? (char[]){"make"} : NULL, NULL};
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t at;
    sigset_t none;
    int e, r = program(path);

    if (r < 0)
        return r;
    sigemptyset(&none);
    posix_spawn_file_actions_init(&fa);
    posix_spawnattr_init(&at);
    posix_spawnattr_setflags(&at, POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigmask(&at, &none);
    posix_spawn_file_actions_adddup2(&fa, theirs, TIERD_FD);
    e = posix_spawn(ret, path, &fa, &at, argv, environ);
    posix_spawn_file_actions_destroy(&fa);
    posix_spawnattr_destroy(&at);
    return e ? err_from_errno(e) : 0;
}
