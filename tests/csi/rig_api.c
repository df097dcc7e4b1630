#include "tests/csi/rig_api.h"

#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "tests/csi/rig_repo.h"

extern char **environ;
static pid_t server;
char api_dir[400], api_account[420];

static void server_end(void)
{
    if (server > 0) {
        kill(server, SIGKILL);
        waitpid(server, NULL, 0);
    }
    server = 0;
}

void api_behaves(const char *mode)
{
    put(api_dir, "mode", mode);
}

void api_begin(const char *dir, const char *name)
{
    static bool registered;
    char port_path[500];
    const char *argv[] = {"python3", "tests/csi/api.py", api_dir, NULL};
    cleanup(buf_free) struct buf port = {0};

    if (!registered)
        atexit(server_end);
    registered = true;
    server_end();
    snprintf(api_dir, sizeof(api_dir), "%s/api", dir);
    snprintf(api_account, sizeof(api_account), "%s/account", api_dir);
    CHECK(mkdir(api_dir, 0700) == 0);
    put(api_dir, "name", name);
    api_behaves("ok");
    if (posix_spawnp(&server, argv[0], NULL, NULL, (char **)(uintptr_t)argv, environ) != 0)
        test_skip("needs python3");
    snprintf(port_path, sizeof(port_path), "%s/port", api_dir);
    for (int i = 0; i < 1000 && io_read_file(io_real(), port_path, 64, &port) < 0; i++, pause_ms(20))
        if (waitpid(server, NULL, WNOHANG) != 0) {
            server = 0;
            test_skip("needs python3 with ssl, and openssl");
        }
    CHECK(port.len > 0);
    setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1", 1);
    setenv("KUBERNETES_SERVICE_PORT", buf_cstr(&port), 1);
    setenv("VARVE_KUBE_ACCOUNT", api_account, 1);
}

void api_end(void)
{
    unsetenv("KUBERNETES_SERVICE_HOST");
    unsetenv("KUBERNETES_SERVICE_PORT");
    unsetenv("VARVE_KUBE_ACCOUNT");
    server_end();
}

int api_ask(const char *words, struct buf *out, struct buf *err)
{
    char command[2000], path[2][500], self[400];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    int status;

    CHECK(n > 0);
    self[n] = 0;
    for (int i = 0; i < 2; i++)
        *strrchr(self, '/') = 0;
    snprintf(path[0], sizeof(path[0]), "%s/out", api_dir);
    snprintf(path[1], sizeof(path[1]), "%s/err", api_dir);
    snprintf(command, sizeof(command), "%s/varve-manifests %s >%s 2>%s", self, words, path[0], path[1]);
    status = system(command);
    buf_reset(out);
    buf_reset(err);
    CHECK_OK(io_read_file(io_real(), path[0], 4 << 20, out));
    CHECK_OK(io_read_file(io_real(), path[1], 1 << 20, err));
    CHECK(buf_cstr(out) && buf_cstr(err) && WIFEXITED(status));
    CHECK(!strstr(buf_cstr(err), "the-token"));
    return WEXITSTATUS(status);
}
