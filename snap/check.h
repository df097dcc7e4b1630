/* snap/check: numbered passes over every invariant, and dump. */
#ifndef VARVE_SNAP_CHECK_H
#define VARVE_SNAP_CHECK_H

#include "snap/snapshot.h"

#define CHECK_PASS_BYTES 5u  /* the one that looks at the objects' files */
#define CHECK_PASS_FILES 10u /* the one that looks at their names */
struct check_opts {
    bool repair;
    bool quiet;      /* say nothing of passes, only findings */
    uint32_t passes; /* these only, a bit for each by its number; 0: all */
    void (*say)(
        void *arg,
        const char *line); /* one line each: "pass 3 references (I-03, I-08): 0 problems" or a finding */
    void *arg;
};
struct check_result {
    uint64_t problems, repaired;
};
/* check_store: a store that is open (any mode; nothing else changes it meanwhile, except read-only for a live one).
 * 0 with the counts, or an error that kept it from looking. */
int check_store(struct store *s, const struct check_opts *o, struct check_result *ret);

/* check_path: opens the store at path with STORE_CHECK, checks, repairs if asked, closes. */
int check_path(struct io *io, const char *path, const struct check_opts *o, struct check_result *ret);

/* dump: prints tables, one record, objects or journal segments as text; what: "tables", "table NAME", "key HEX", "object N",
 * "inode VOL INO", "journal", "segment N", "version". */
int dump_path(struct io *io, const char *path, int argc, char **argv, struct buf *out);

#endif
