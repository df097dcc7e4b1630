/* tier/transition: packs that are old enough get another storage class, where the backend has any: by a copy there, no byte comes here.
 * What must be readable at once stays as it is: indexes, recovery points, pins, and packs that hold metadata. One thread. */
#ifndef VARVE_TIER_TRANSITION_H
#define VARVE_TIER_TRANSITION_H

#include "tier/repo.h"

struct transition_opts {
    const char *class;
    int64_t before_ns; /* put, or given a class, before: by the backend's clock */
    bool dry;
    void *arg;
    int (*progress)(void *arg, uint64_t items,
                    uint64_t bytes); /* moved so far; negative ends it with that value */
};
struct transition_result {
    uint64_t packs, bytes;       /* moved, or to be moved */
    uint64_t there, there_bytes; /* had the class */
    uint64_t young, metadata;    /* packs that stay for that */
    uint64_t unnamed;            /* that no index names: a backup may be at work */
    uint64_t archived;           /* in an archive, from which nothing can be copied */
};

/* transition_class_check: letters, digits, _ and -. -E_INVAL. */
int transition_class_check(const char *class);

/* transition_run: interrupted, it is begun anew and passes over what has the class. -E_NOTSUP: there are no classes, err says so. */
int transition_run(struct repo *r, const struct transition_opts *o, struct transition_result *ret,
                   struct buf *err);

/* transition_decide: what becomes of one pack. Pure. */
enum transition_verdict {
    TRANSITION_MOVE,
    TRANSITION_THERE,
    TRANSITION_YOUNG,
    TRANSITION_METADATA,
    TRANSITION_UNNAMED
};
struct transition_pack {
    bool named, metadata; /* by an index; it holds some */
    const char *class;
    int64_t mtime_ns;
};
enum transition_verdict transition_decide(const struct transition_opts *o, const struct transition_pack *p);

#endif
