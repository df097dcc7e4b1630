/* Before a store is opened for a check: LMDB's pages have no checksums, and a damaged one can kill who follows it (F21). So a
 * child process reads them all first. */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "snap/check_i.h"
#include "snap/store/kv.h"

#define SECONDS_MAX 3600u

enum { PAGES_FINE = 0, PAGES_BAD = 1, PAGES_NO_MEMORY = 2 };

/* Every key once, in order, and every byte of the values. */
static int read_all(struct kv *kv, struct kv_read *r, uint64_t entries)
{
    uint8_t at[1024] = {0};
    size_t len = 1;
    uint64_t n = 0, sum = 0;
    struct kv_item it;
    int e;

    while ((e = kv_ge(kv, r, true, at, len, &it)) == 0) {
        if (++n > entries || it.klen >= sizeof(at))
            return PAGES_BAD;
        sum ^= hash_sum(n, it.val, it.vlen);
        memcpy(at, it.key, it.klen);
        at[it.klen] = 0;
        len = it.klen + 1;
    }
    log_debug("check", "pages", "entries=%" PRIu64 " sum=%016" PRIx64, n, sum);
    return e == -E_NOENT && n == entries ? PAGES_FINE : PAGES_BAD;
}

static int child(const char *dir)
{
    static const int deadly[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGALRM};
    const struct rlimit no_core = {0};
    struct kv_read *r;
    struct kv_stat st;
    struct kv *kv;
    size_t i;
    int e;

    for (i = 0; i < ARRAY_LEN(deadly); i++)
        (void)signal(deadly[i], SIG_DFL);
    (void)setrlimit(RLIMIT_CORE, &no_core);
    alarm(SECONDS_MAX);
    log_set_fd(open("/dev/null", O_WRONLY | O_CLOEXEC));
    e = kv_open(dir, 0, true, &kv);
    if (e == 0)
        e = kv_stat(kv, &st);
    if (e == 0)
        e = kv_read_begin(kv, &r);
    if (e < 0)
        return e == -E_NOMEM ? PAGES_NO_MEMORY : PAGES_BAD;
    e = read_all(kv, r, st.entries);
    kv_read_end(kv, r);
    kv_close(kv);
    return e;
}

int check_pages(const char *store, char why[256])
{
    char dir[4096];
    int status;
    pid_t pid;

    snprintf(dir, sizeof(dir), "%s/meta", store);
    pid = fork();
    if (pid < 0)
        return -E_NOMEM;
    if (pid == 0)
        _exit(child(dir));
    if (waitpid(pid, &status, 0) < 0)
        return -E_IO;
    if (WIFEXITED(status) && WEXITSTATUS(status) == PAGES_FINE)
        return 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == PAGES_NO_MEMORY)
        return -E_NOMEM;
    if (WIFSIGNALED(status))
        snprintf(why, 256, "pages of %.180s/data.mdb are damaged (reading them ended with signal %d)", dir,
                 WTERMSIG(status));
    else
        snprintf(why, 256, "pages of %.180s/data.mdb are damaged", dir);
    return -E_CORRUPT;
}
