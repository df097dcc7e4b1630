/* tests/lib/nsfix: a store with a volume for tests of the namespace, without a mount. NS_TEST(test_x) makes five tests of
 * one body: nsfix_turn(f), which bodies call between their steps, does nothing, or closes and opens the store, or loses
 * its memory as a killed daemon does, or takes a snapshot, or goes on in a fresh clone, so that later steps work on
 * replayed, historical and inherited records. After each body the whole live tree is walked and compared with its counts
 * (nsfix_verify), and at the close `check` must find nothing. */
#ifndef VARVE_TESTS_LIB_NSFIX_H
#define VARVE_TESTS_LIB_NSFIX_H

#include <sys/stat.h>

#include "snap/volume.h"
#include "tests/lib/test.h"

enum nsfix_mode { NSFIX_PLAIN, NSFIX_REOPEN, NSFIX_KILL, NSFIX_SNAP, NSFIX_CLONE };

struct nsfix {
    struct io *io; /* NULL: the real disk */
    struct store *s;
    struct vol *v;
    struct vfs_ctx c; /* root's, umask 0 */
    enum nsfix_mode mode;
    unsigned turns;
    bool background; /* the store runs its own threads from the next opening on */
    char path[300];
    char name[64]; /* of the volume */
};

#define NSFIX_ROOT ((vfs_node){INO_ROOT})

void nsfix_open(struct nsfix *f, enum nsfix_mode mode);
void nsfix_turn(struct nsfix *f);
void nsfix_attach(struct nsfix *f); /* opens the store at path, takes the volume by name */
void nsfix_reopen(struct nsfix *f);
void nsfix_verify(struct nsfix *f);
void nsfix_close(struct nsfix *f);
void nsfix_run(void (*body)(struct nsfix *f), enum nsfix_mode mode);

#define NS_TEST(fn)                                                                                          \
    static void fn(struct nsfix *f);                                                                         \
    TEST(fn##__plain)                                                                                        \
    {                                                                                                        \
        nsfix_run(fn, NSFIX_PLAIN);                                                                          \
    }                                                                                                        \
    TEST(fn##__reopened)                                                                                     \
    {                                                                                                        \
        nsfix_run(fn, NSFIX_REOPEN);                                                                         \
    }                                                                                                        \
    TEST(fn##__killed)                                                                                       \
    {                                                                                                        \
        nsfix_run(fn, NSFIX_KILL);                                                                           \
    }                                                                                                        \
    TEST(fn##__snapshots)                                                                                    \
    {                                                                                                        \
        nsfix_run(fn, NSFIX_SNAP);                                                                           \
    }                                                                                                        \
    TEST(fn##__clones)                                                                                       \
    {                                                                                                        \
        nsfix_run(fn, NSFIX_CLONE);                                                                          \
    }                                                                                                        \
    static void fn(struct nsfix *f)

/* Short forms that must succeed. */
vfs_node nsfix_mk(struct nsfix *f, vfs_node dir, const char *name, uint32_t mode);
struct vfs_attr nsfix_attr(struct nsfix *f, vfs_node n);
struct vfs_attr nsfix_look(struct nsfix *f, vfs_node dir, const char *name);
bool nsfix_has(struct nsfix *f, vfs_node dir, const char *name);
size_t nsfix_count(struct nsfix *f, vfs_node dir); /* entries but . and .. */

#endif
