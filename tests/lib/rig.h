/* tests/lib/rig: a box (tests/lib/box.h) on the disk that lies, with small segments, and what the tests of the engine's rules
 * do to it: cut the power, kill the daemon, look at the bytes of files. */
#ifndef VARVE_TESTS_LIB_RIG_H
#define VARVE_TESTS_LIB_RIG_H

#include "tests/lib/box.h"
#include "tests/lib/lying.h"

struct rig {
    struct lying *d;
    char root[400];
    unsigned cuts;
    struct box b;
};

void rig_open(struct rig *g);

/* rig_cut: the power is cut now (or was, after lying_crash_at); the store is opened on another boot of the machine, on a new
 * lying disk that holds what had landed. rig_land: the first half of it: nothing is opened yet. */
void rig_cut(struct rig *g, uint64_t seed, enum lying_mode mode);
void rig_land(struct rig *g, uint64_t seed, enum lying_mode mode);
void rig_die(struct rig *g);   /* the daemon's death, and the next one on the same boot */
void rig_close(struct rig *g); /* sound, check says nothing, closes well */
void rig_check(struct rig *g); /* check_store finds no problem */

/* Bytes of a live file; `at` says what stands at each offset. */
typedef uint8_t (*rig_bytes)(uint64_t off);
uint8_t rig_a(uint64_t off);
uint8_t rig_b(uint64_t off);
uint8_t rig_zero(uint64_t off);
void rig_write(struct rig *g, const char *path, uint64_t off, size_t len, rig_bytes at);
void rig_expect(struct rig *g, const char *path, uint64_t off, size_t len, rig_bytes at);
bool rig_holds(struct rig *g, vfs_node n, uint64_t off, size_t len, rig_bytes at);
uint64_t rig_size(struct rig *g, const char *path);
vfs_node rig_node(struct rig *g, const char *path);
void rig_fsync(struct rig *g, const char *path);
void rig_punch(struct rig *g, const char *path, uint64_t off, uint64_t len);
void rig_copy(struct rig *g, const char *from, const char *to, uint64_t len); /* shares, from offset 0 */
void rig_quiet(struct rig *g); /* all is firm, the queue is run */

#endif
