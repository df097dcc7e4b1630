/* varve: one program. The first word chooses: mount and umount are here by a row of their own, all other commands are verbs
 * (fs/verb.h). Called as mount.varve or mount.fuse.varve (by mount(8)) it is `varve mount`. */
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "fs/cmd.h"
#include "fs/verb.h"

/* One row a subcommand, each `const struct cmd cmd_NAME` of fs/cmd.h, in the order in which help lists them. */
static const struct cmd *const cmds[] = {&cmd_mount,  &cmd_umount, &cmd_serve, &cmd_requests,
                                         &cmd_keeper, &cmd_daemon, &cmd_syncer};

const struct cmd *cmd_at(size_t i)
{
    return i < ARRAY_LEN(cmds) ? cmds[i] : NULL;
}

const struct cmd *cmd_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(cmds); i++)
        if (strcmp(cmds[i]->name, name) == 0)
            return cmds[i];
    return NULL;
}

int cmd_wrong(const struct cmd *c, const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "varve %s: ", c->name);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\nusage: varve %s\n", c->synopsis);
    return CMD_USAGE;
}

int cmd_fail(const char *fmt, ...)
{
    va_list ap;

    fputs("varve: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return CMD_FAILED;
}

static int list(FILE *to, int exit_code)
{
    cleanup(buf_free) struct buf verbs = {0};

    if (verb_help(NULL, &verbs) < 0)
        return cmd_fail("%s", err_text(-E_NOMEM));
    fputs("varve: volumes with exact snapshots, in a directory of a local filesystem\n\n", to);
    for (size_t i = 0; i < ARRAY_LEN(cmds); i++)
        if (!cmds[i]->hidden)
            fprintf(to, "  varve %s\n      %.*s\n", cmds[i]->synopsis, (int)strcspn(cmds[i]->help, ".\n"),
                    cmds[i]->help);
    fprintf(to, "%s\n`varve COMMAND --help` says more of one; `varve --version`.\n", buf_cstr(&verbs));
    return exit_code;
}

static int explain(const struct cmd *c)
{
    printf("usage: varve %s\n\n%s", c->synopsis, c->help);
    return CMD_OK;
}

static bool asks_help(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0)
            return false;
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    }
    return false;
}

/* varve help [COMMAND...] is varve COMMAND... --help */
static int help(int argc, char **argv)
{
    const struct cmd *c = argc > 1 ? cmd_find(argv[1]) : NULL;
    char flag[] = "--help";

    if (argc < 2)
        return list(stdout, CMD_OK);
    if (c)
        return explain(c);
    argv[0] = flag;
    for (int i = 0; i + 1 < argc; i++)
        argv[i] = argv[i + 1];
    argv[argc - 1] = flag;
    return verb_main(argc, argv);
}

static int dispatch(int argc, char **argv)
{
    const struct cmd *c;

    if (argc < 1)
        return list(stderr, CMD_USAGE);
    if (strcmp(argv[0], "--config") == 0) { /* for this process and those that it starts */
        if (argc < 2 || setenv("VARVE_CONFIG", argv[1], 1) < 0)
            return cmd_fail("--config FILE COMMAND...: the file is missing");
        return dispatch(argc - 2, argv + 2);
    }
    if (strcmp(argv[0], "--version") == 0 || strcmp(argv[0], "version") == 0) {
        puts("varve " VARVE_VERSION);
        return CMD_OK;
    }
    if (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0 || strcmp(argv[0], "help") == 0)
        return help(argc, argv);
    c = cmd_find(argv[0]);
    if (!c)
        return verb_main(argc, argv);
    return asks_help(argc, argv) ? explain(c) : c->run(argc, argv);
}

int main(int argc, char **argv)
{
    const char *self = argc > 0 ? basename(argv[0]) : "";

    if (strncmp(self, "mount.", 6) == 0)
        return cmd_mount.run(argc, argv);
    return dispatch(argc - 1, argv + 1);
}
