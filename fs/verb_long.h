/* fs/verb_long: long work of the command line's own process: a line about it on a terminal, and Ctrl-C. One at a time. */
#ifndef VARVE_FS_VERB_LONG_H
#define VARVE_FS_VERB_LONG_H

#include <stdbool.h>
#include <stdint.h>

struct verb_long {
    bool tty;
    int64_t began_ns, said_ns;
};

/* long_begin: from here on SIGINT asks the work to stop (a second one ends the process). quiet: no line, as with --json. */
void long_begin(struct verb_long *l, bool quiet);
void long_end(struct verb_long *l); /* wipes the line */

bool long_stopped(void *arg); /* fit for backend_call.canceled */

/* long_say: writes the line over, twice a second at the most; of 0: it is not known how much there is, else rate and time left are
 * told. -E_CANCELED when it shall stop. */
int long_say(struct verb_long *l, const char *what, uint64_t done, uint64_t of, uint64_t bytes);

#endif
