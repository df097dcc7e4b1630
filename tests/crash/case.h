/* tests/crash/case: what the directed tests share: a store on a lying disk, files with bytes that can be told apart, power
 * cuts with every outcome. */
#ifndef VARVE_TESTS_CRASH_CASE_H
#define VARVE_TESTS_CRASH_CASE_H

#include "snap/check.h"
#include "snap/snapshot.h"
#include "tests/lib/lying.h"
#include "tests/lib/test.h"

#define MIB (1u << 20)
#define PAGE 4096u

struct world {
    char path[256], image[256];
    struct store_settings set;
    struct lying *disk; /* NULL: an image is open, on the real disk */
    struct store *s;
    struct vol *v;
};
extern const struct vfs_ctx nobody;

void world_new(struct world *w, uint32_t inline_bytes); /* a store with the volume main, settled */
void world_end(struct world *w);
void world_new_boot(void);
/* Kills the daemon (nothing is lost) and opens again on the same boot. */
void world_death(struct world *w);

/* A test in a world of its own, `w`. */
#define WORLD_TEST(name, inline_bytes)                                                                       \
    static void name##__in(struct world *w);                                                                 \
    TEST(name)                                                                                               \
    {                                                                                                        \
        struct world world;                                                                                  \
                                                                                                             \
        world_new(&world, inline_bytes);                                                                     \
        name##__in(&world);                                                                                  \
        world_end(&world);                                                                                   \
    }                                                                                                        \
    static void name##__in(struct world *w)

uint64_t file_new(struct world *w, const char *name);
void two_files(struct world *w, uint64_t *ret_a, uint64_t *ret_b); /* "a" and "b" */
vfs_node node_of(const struct world *w, uint64_t ino);
void put(struct world *w, uint64_t ino, uint64_t off, size_t len, uint8_t fill);
void sync_file(struct world *w, uint64_t ino);
uint64_t find(struct world *w, const char *name); /* 0: not there */
uint64_t size_of(struct world *w, uint64_t ino);
void truncate_to(struct world *w, uint64_t ino, uint64_t size);

/* Every byte of [off, off + len) is one of these (0: ends the list; zero bytes are never allowed). n may be a view's node. */
void only(struct world *w, vfs_node n, uint64_t off, size_t len, const char *allowed);

/* Cuts the power now, in every mode and with several seeds; each image is opened on another boot in a world of its own, given
 * to look(), and checked. The world goes on untouched. */
void cut_everywhere(struct world *w, void (*look)(struct world *image, void *arg), void *arg);

#endif
