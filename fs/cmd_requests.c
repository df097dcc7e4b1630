/* varve requests: what the kernel has asked of a mount so far. For tests and support: a cache that works asks nothing. */
#include <stdio.h>
#include <unistd.h>

#include "fs/cmd.h"
#include "base/sock.h"
#include "fs/verb_target.h"

static int run(int argc, char **argv)
{
    cleanup(buf_free) struct buf err = {0};
    const char *words[] = {"requests", NULL};
    struct verb_target t;
    int exit_code = CMD_FAILED;
    int r;

    if (argc != 2)
        return cmd_wrong(&cmd_requests, "it takes STORE/VOLUME");
    r = verb_target_parse(argv[1], 0, &t, &err);
    if (r < 0)
        return cmd_fail("%s", err.len > 0 && buf_cstr(&err) ? buf_cstr(&err) : err_text(r));
    words[1] = t.volume;
    r = sock_call(t.store, words, ARRAY_LEN(words), STDOUT_FILENO, STDERR_FILENO, &exit_code, NULL);
    return r < 0 ? cmd_fail("%s: %s", argv[1], err_text(r)) : exit_code;
}

const struct cmd cmd_requests = {
    .name = "requests",
    .synopsis = "requests STORE/VOLUME",
    .help = "Prints how often the kernel has sent each kind of request for the mounted volume.\n",
    .run = run,
    .hidden = true};
