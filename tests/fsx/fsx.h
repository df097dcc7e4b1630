/* tests/fsx: random operations on real files through a mount, compared with a model in memory. */
#ifndef VARVE_TESTS_FSX_FSX_H
#define VARVE_TESTS_FSX_FSX_H

#include <stdio.h>

#include "base/base.h"
#include "tests/lib/pages.h"
#include "tests/lib/test.h"

#define FILES 8
#define FILE_MAX (64ull << 20)
#define IO_MAX (1u << 20)
#define SNAPS_MAX 80
#define SNAPS_WANTED 52
#define NAME_SIZE 128

struct fx_file {
    char name[NAME_SIZE];
    char second[NAME_SIZE]; /* another link, "" when there is none */
    uint64_t size;
    struct pages data;
};
struct fx_snap {
    char name[NAME_SIZE];
    struct fx_file file[FILES];
};
enum fx_op {
#define OP(name, weight) FX_##name,
#include "tests/fsx/ops.def"
#undef OP
    FX__END
};
struct fx {
    uint64_t seed, rng, op, ops, next_name;
    bool trace, mounted, clone_mounted;
    char dir[256], varve[256];
    char store[300], mnt[300], clone_mnt[300];
    struct fx_file file[FILES];
    int fd[FILES]; /* -1: not open */
    struct fx_snap snap[SNAPS_MAX];
    size_t nsnaps, snaps_most;
    uint8_t *buf, *want;
    bool instead; /* the last one done was in the place of another */
    uint64_t done[FX__END], bytes_written, bytes_compared;
};

/* main.c */
void fx_fail(struct fx *f, const char *fmt, ...) PRINTF_LIKE(2, 3) __attribute__((noreturn));
void fx_log(struct fx *f, const char *fmt, ...) PRINTF_LIKE(2, 3);
uint64_t fx_rand(struct fx *f, uint64_t below);
void fx_do(
    struct fx *f,
    enum fx_op op); /* runs and counts one; an operation that cannot be done now does another instead */

/* mount.c: the command line, mounts, control files. */
int fx_run(struct fx *f,
           const char *const *argv); /* the command's exit code; its output is shown when it is not 0 */
void fx_create(struct fx *f);
void fx_mount(struct fx *f);
void fx_umount(struct fx *f);
void fx_check(struct fx *f);
void fx_cleanup(struct fx *f); /* unmounts and removes everything, whatever state things are in */
void fx_control(struct fx *f, const char *file, const char *line);

/* files.c */
void fx_path(const struct fx *f, const char *under, const char *name, char *out, size_t size);
int fx_open(struct fx *f, unsigned i); /* the descriptor */
void fx_close_all(struct fx *f);
void fx_compare(struct fx *f, int fd, const struct fx_file *file, uint64_t off, uint64_t len,
                const char *what);
void fx_compare_dir(struct fx *f, const char *under, const struct fx_file *files, bool whole);
void fx_file_copy(struct fx_file *dst, const struct fx_file *src);
void fx_file_free(struct fx_file *file);
void fx_fill(struct fx *f, size_t len); /* f->buf gets bytes that only this operation writes */

#define OP(name, weight) void fx_##name(struct fx *f);
#include "tests/fsx/ops.def"
#undef OP

#define WANT(f, cond, ...)                                                                                   \
    do {                                                                                                     \
        if (!(cond))                                                                                         \
            fx_fail(f, __VA_ARGS__);                                                                         \
    } while (0)

#endif
