/* The program varve, started for what it does in a process of its own: mounts, and what is asked of repositories. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "plugin/csi.h"

#define SAID_MAX 1024

extern char **environ;

/* What it said, the first line without "varve: ". */
static const char *said_of(struct csi_call *k, int fd)
{
    char text[SAID_MAX], *s = text;
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

    text[n > 0 ? n : 0] = 0;
    text[strcspn(text, "\n")] = 0;
    if (strncmp(s, "varve: ", 7) == 0)
        s += 7;
    else if (strncmp(s, "varve-manifests: ", 17) == 0)
        s += 17;
    return arena_dup(&k->arena, *s ? s : "it failed");
}

static int spawn(const char *program, const char *const *words, int out, int said, pid_t *ret)
{
    const char *argv[16] = {program};
    posix_spawn_file_actions_t acts;
    size_t n = 1;
    int e;

    while (words[n - 1] && n + 1 < ARRAY_LEN(argv)) {
        argv[n] = words[n - 1];
        n++;
    }
    assert(!words[n - 1]);
    if (posix_spawn_file_actions_init(&acts) != 0)
        return -E_NOMEM;
    e = posix_spawn_file_actions_addopen(&acts, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (e == 0 && out >= 0)
        e = posix_spawn_file_actions_adddup2(&acts, out, STDOUT_FILENO);
    else if (e == 0)
        e = posix_spawn_file_actions_addopen(&acts, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    if (e == 0)
        e = posix_spawn_file_actions_adddup2(&acts, said, STDERR_FILENO);
    if (e == 0)
        e = posix_spawn(ret, program, &acts, NULL, (char **)(uintptr_t)argv, environ);
    posix_spawn_file_actions_destroy(&acts);
    return e ? err_from_errno(e) : 0;
}

/* Runs it to its end: 0, else *ret_status is what it ended with (-1: it was not run), and *ret_why says why. */
static int run(struct csi_call *k, const char *program, const char *const *words, int out, int *ret_status,
               const char **ret_why)
{
    cleanup(fd_close) int said = memfd_create("varve-said", MFD_CLOEXEC);
    pid_t pid;
    int r = said < 0 ? -E_FILES : spawn(program, words, out, said, &pid);

    *ret_status = -1;
    if (r < 0) {
        *ret_why = arena_printf(&k->arena, "%s cannot be run: %s", program, err_text(r));
        return r;
    }
    while (waitpid(pid, ret_status, 0) < 0 && errno == EINTR)
        continue;
    if (WIFEXITED(*ret_status) && WEXITSTATUS(*ret_status) == 0)
        return 0;
    *ret_why = said_of(k, said);
    return -E_FAILED;
}

int csi_varve(struct csi_call *k, const char *field, const char *const *words)
{
    const char *why = NULL;
    int status, r = run(k, k->d->program, words, -1, &status, &why);

    if (r == 0)
        return 0;
    return csi_fail(k,
                    status >= 0 && WIFEXITED(status) && WEXITSTATUS(status) == 2 ? GRPC_INVALID_ARGUMENT
                                                                                 : GRPC_INTERNAL,
                    "%s: %s", field, why ? why : "it failed");
}

int csi_varve_json(struct csi_call *k, const char *const *words, json_t **ret, const char **ret_why)
{
    cleanup(fd_close) int out = memfd_create("varve-out", MFD_CLOEXEC);
    int status, r = out < 0 ? csi_nomem(k) : 0;
    json_error_t e;

    *ret = NULL;
    *ret_why = NULL;
    if (r < 0)
        return r;
    if (run(k, k->d->program, words, out, &status, ret_why) < 0)
        return *ret_why ? 0 : csi_nomem(k);
    if (lseek(out, 0, SEEK_SET) == 0)
        *ret = json_loadfd(out, 0, &e);
    return *ret ? 0 : csi_fail(k, GRPC_INTERNAL, "%s told something in another way", k->d->program);
}

int csi_manifests(struct csi_call *k, const char *claim, struct buf *ret, const char **ret_why)
{
    const char *program = arena_printf(&k->arena, "%s-manifests", k->d->program);
    cleanup(fd_close) int out = memfd_create("varve-out", MFD_CLOEXEC);
    int status, r = out < 0 || !program ? csi_nomem(k) : 0;
    struct stat st;

    *ret_why = NULL;
    if (r < 0)
        return r;
    if (run(k, program, (const char *const[]){claim, NULL}, out, &status, ret_why) < 0)
        return *ret_why ? 0 : csi_nomem(k);
    if (fstat(out, &st) < 0 || st.st_size <= 0 || buf_reserve(ret, (size_t)st.st_size) < 0)
        return csi_nomem(k);
    ret->len = (size_t)st.st_size;
    return pread(out, ret->data, ret->len, 0) == (ssize_t)ret->len ? 0 : csi_nomem(k);
}
