/* fs/cmd: the subcommands of `varve`. Each is one `struct cmd` in a file of its own (fs/cmd_*.c); fs/main.c lists them.
 * main answers `--help` from the struct, and calls run with argv[0] = the subcommand's name. */
#ifndef VARVE_FS_CMD_H
#define VARVE_FS_CMD_H

#include "base/base.h"

enum { CMD_OK = 0, CMD_FAILED = 1, CMD_USAGE = 2 }; /* exit codes */

struct cmd {
    const char *name;
    const char *synopsis; /* what follows "varve ": "mount STORE[/VOLUME][@SNAP] DIR [-o opt,...]" */
    const char *help;     /* the paragraph under it, lines ending in \n */
    int (*run)(int argc, char **argv);
    bool hidden; /* private: not listed */
};

extern const struct cmd cmd_mount;
extern const struct cmd cmd_umount;
extern const struct cmd cmd_requests;
extern const struct cmd cmd_serve;
extern const struct cmd cmd_keeper;
extern const struct cmd cmd_daemon;
extern const struct cmd cmd_syncer;

/* cmd_wrong(c, what, ...): says what is wrong and the synopsis on standard error; returns CMD_USAGE. */
int cmd_wrong(const struct cmd *c, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* cmd_fail(what, ...): "varve: what" on standard error; returns CMD_FAILED. The sentence says what to do. */
int cmd_fail(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* cmd_find(name): the subcommand, or NULL. cmd_at(i): all of them in order, NULL at the end. */
const struct cmd *cmd_find(const char *name);
const struct cmd *cmd_at(size_t i);

#endif
