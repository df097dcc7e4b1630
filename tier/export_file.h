/* tier/export_file: a repository in one file, as a backend: objects are appended, none is deleted, the end is written last. Threads: any. */
#ifndef VARVE_TIER_EXPORT_FILE_H
#define VARVE_TIER_EXPORT_FILE_H

#include "tier/export_format.h"

struct export_file;

/* export_begin: an export to `path`, which must not be there (-E_EXIST); until the end it is path.part. One of the same recovery point that
 * was interrupted is gone on with: what stands whole in it is there. -E_BUSY: another process writes it.
 * path NULL: it goes to the descriptor out as it is made, and to a file without a name in dir, since it is read again, too. */
int export_begin(const char *path, int out, const char *dir, const struct sha *point,
                 struct export_file **ret);
/* export_end: the end is written, everything on the disk, and the file has its name. */
int export_end(struct export_file *x);

/* export_open: reads all of it, and proves it. fd: of a pipe, which is kept in a file without a name in dir; -1: path. progress negative
 * ends it. Objects that are damaged are counted, and can be read: chunks prove themselves, so it can be told what is hurt. err: the
 * sentence.
 * -E_CORRUPT: it is no export, or its end is missing; -E_REPO_NEWER. */
int export_open(const char *path, int fd, const char *dir, int (*progress)(void *arg, uint64_t bytes),
                void *arg, struct export_file **ret, struct buf *err);

uint64_t export_damaged(const struct export_file *x);
uint64_t export_size(const struct export_file *x);
uint64_t export_resumed(const struct export_file *x); /* objects that an interrupted run had written */

/* export_backend: any number of them on one file, each closed by its user; export_close() comes after that. */
struct backend *export_backend(struct export_file *x); /* NULL: no memory */
void export_close(struct export_file *x);              /* what was begun stays as path.part */

#endif
