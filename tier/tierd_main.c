/* varve-tierd URL [make]: serves the backend of URL on descriptor 3 (tier/tierd.h). Started by varve, not by people. */
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "tier/tierd.h"

int main(int argc, char **argv)
{
    cleanup(buf_free) struct buf err = {0};
    struct backend *b;
    int r;

    if (argc < 2 || argc > 3 || (argc == 3 && strcmp(argv[2], "make") != 0) || fcntl(TIERD_FD, F_GETFD) < 0) {
        fprintf(stderr, "varve-tierd %s is started by varve\n", VARVE_VERSION);
        return 2;
    }
    (void)mallopt(M_MMAP_THRESHOLD, 1 << 20); /* packs go back when they are put, whichever thread had them */
    signal(SIGINT, SIG_IGN);                  /* who asked decides what ends */
    signal(SIGPIPE, SIG_IGN);
    log_set_level(LOG_WARN);
    fcntl(TIERD_FD, F_SETFD, FD_CLOEXEC);
    (void)close_range(TIERD_FD + 1, ~0u, 0); /* nothing of who started it is kept open by it */
    r = backend_open(argv[1], argc == 3, &b, &err);
    if (tierd_hello(TIERD_FD, r, err.len ? buf_cstr(&err) : "") < 0 || r < 0)
        return 1;
    return tierd_serve(TIERD_FD, b) < 0;
}
