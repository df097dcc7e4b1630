/* tier/places: directories below one, each by its name in another: found again however deep they lie, which no path does. One owner. */
#ifndef VARVE_TIER_PLACES_H
#define VARVE_TIER_PLACES_H

#include "base/buf.h"

#define PLACE_ROOT 0u

struct places {
    int root; /* not its own */
    struct place *v;
    size_t n;
    struct buf names; /* each with its NUL */
    uint32_t at;      /* where fd stands; PLACE_ROOT: nowhere */
    int fd;
};
#define PLACES_OF(root_)                                                                                     \
    {                                                                                                        \
        .root = (root_), .fd = -1                                                                            \
    }
void places_release(struct places *p);

/* places_add: a directory's number, by its name in another (PLACE_ROOT: the one all lie in). The same may be added twice. */
int places_add(struct places *p, uint32_t in, const char *name, size_t len, uint32_t *ret);
/* places_open: a descriptor (O_PATH) of it, good until the next call; no symbolic link leads on the way there. -E_NOTDIR, -E_LOOP: something
 * else is there now. */
int places_open(struct places *p, uint32_t place, int *ret_fd);

#endif
