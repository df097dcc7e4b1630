/* varve: one program. The first word chooses the subcommand; called as mount.varve or mount.fuse.varve (by mount(8)) it is
 * `varve mount`. */
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>

#include "fs/cmd.h"

/* One row a subcommand, each `const struct cmd cmd_NAME` in fs/cmd_NAME.c, in the order in which help lists them. */
#define CMDS(X)

#define CMD_DECLARE(name) extern const struct cmd cmd_##name;
#define CMD_ROW(name) &cmd_##name,
CMDS(CMD_DECLARE)
static const struct cmd *const cmds[] = {CMDS(CMD_ROW) NULL};

const struct cmd *cmd_at(size_t i)
{
    return i + 1 < ARRAY_LEN(cmds) ? cmds[i] : NULL;
}

const struct cmd *cmd_find(const char *name)
{
    for (size_t i = 0; cmds[i]; i++)
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

static void list(FILE *to)
{
    fputs("varve: volumes with exact snapshots, in a directory of a local filesystem\n\n", to);
    for (size_t i = 0; cmds[i]; i++)
        if (!cmds[i]->hidden)
            fprintf(to, "  varve %s\n", cmds[i]->synopsis);
    fputs("\n`varve COMMAND --help` says more of one; `varve --version`.\n", to);
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

/* varve help [COMMAND] */
static int help(int argc, char **argv)
{
    const struct cmd *c = argc > 1 ? cmd_find(argv[1]) : NULL;

    if (c)
        return explain(c);
    list(stdout);
    return CMD_OK;
}

static int dispatch(int argc, char **argv)
{
    const struct cmd *c;

    if (argc < 1) {
        list(stderr);
        return CMD_USAGE;
    }
    if (strcmp(argv[0], "--version") == 0 || strcmp(argv[0], "version") == 0) {
        puts("varve " VARVE_VERSION);
        return CMD_OK;
    }
    if (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0 || strcmp(argv[0], "help") == 0)
        return help(argc, argv);
    c = cmd_find(argv[0]);
    if (!c) {
        fprintf(stderr, "varve: there is no command '%s'; `varve help` lists them\n", argv[0]);
        return CMD_USAGE;
    }
    return asks_help(argc, argv) ? explain(c) : c->run(argc, argv);
}

int main(int argc, char **argv)
{
    const char *self = argc > 0 ? basename(argv[0]) : "";
    char mount_name[] = "mount";

    if (strncmp(self, "mount.", 6) != 0)
        return dispatch(argc - 1, argv + 1);
    argv[0] = mount_name;
    return dispatch(argc, argv);
}
