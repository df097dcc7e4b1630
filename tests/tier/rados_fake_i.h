/* The cluster behind what stands in for librados, between its own files. */
#ifndef VARVE_TESTS_TIER_RADOS_FAKE_I_H
#define VARVE_TESTS_TIER_RADOS_FAKE_I_H

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "tests/lib/test.h"
#include "tests/tier/rados_fake.h"

#define SECOND ((int64_t)1000000000)
#define ATTRS 4
#define NAME_SIZE 256
#define LOCKS 64

struct attr {
    char name[32], value[256];
    size_t len;
};

struct object {
    char name[NAME_SIZE];
    struct buf bytes;
    time_t mtime;
    struct attr attrs[ATTRS];
    size_t nattrs;
    struct object *next;
};

/* A write: what its steps ask for. */
struct write {
    bool create, exclusive, remove, put, compare, lock;
    struct buf bytes;
    struct attr attrs[ATTRS], compared;
    size_t nattrs;
    char cookie[64];
    uint32_t lasts_s;
};

struct late {
    struct write w;
    char name[NAME_SIZE];
    time_t mtime;
    unsigned at; /* operations that are done before; ~0u: when it thaws */
    struct late *next;
};

struct completion {
    void (*fn)(void *completion, void *arg);
    void *arg;
    int result;
    struct completion *next;
};

struct fake {
    pthread_mutex_t lock; /* guards all */
    struct object *objects;
    struct late *late;
    struct completion *silent;
    unsigned ops, fault_at, fault_times, counted;
    enum fake_fault what;
    bool writes_only, hit, gone;
    int error, refuse, full;
    int64_t ahead_ns;
    char max_write[16];
    struct {
        char cookie[64];
        int64_t until_ns;
    } locks[LOCKS];
    unsigned nlocks;
    /* Of a pool that others have, too: NULL: there are none. keyring: what connecting with that file gives, an error's number. */
    void (*enter)(struct fake *f);
    void (*leave)(struct fake *f, bool wrote);
    int (*keyring)(const char *path);
};

void fake_enter(struct fake *f);
void fake_leave(struct fake *f, bool wrote);

/* With the lock held. fake_faulty: the next operation goes wrong; counts it. fake_write_fault: what is told of a
 * write that does, 1: nothing. */
bool fake_faulty(struct fake *f, bool write);
int fake_write_fault(struct fake *f, struct write *w, const char *name, time_t mtime);
int fake_apply(struct fake *f, const struct write *w, const char *name, time_t mtime);
struct object *fake_find(struct fake *f, const char *name);
/* fake_answer: outside of the lock: the callback belongs to the code under test. */
int fake_answer(struct fake *f, struct completion *c, int result);
void fake_write_free(struct write *w);
void fake_attr_set(struct attr *v, size_t *n, const struct attr *a);

#endif
