/* tier/pin: what a living volume relies on (docs/repository-format.md, Pins; engine rule F16): a pin names a store, its directory and a
 * volume, and holds the recovery points whose chunks must stay, whole, so that they count as long as the pin does though they be
 * deleted. Threads: as struct repo. */
#ifndef VARVE_TIER_PIN_H
#define VARVE_TIER_PIN_H

#include "tier/point.h"

struct pin {
    char id[SHA_TEXT]; /* not in the bytes: their hash */
    int64_t created_ns;
    uint64_t
        generation; /* of this store directory and volume; the highest counts, a lower one was replaced */
    struct uuid store, dir, volume;
    char volume_name[POINT_NAME_MAX + 1];
    uint32_t npoints;
    bool sealed;       /* some of them, each in its domain */
    struct buf points; /* as encoded, one after the other */
};
void pin_release(struct pin *p);

/* pin_dir: which directory of a store this is: a copy of it has another one. -E_NOENT, -E_IO. */
int pin_dir(const char *path, struct uuid *ret);

int pin_add(struct repo *r, struct pin *p, const struct point *pt); /* pt->id is set */
int pin_encode(const struct pin *p, struct buf *out);
int pin_decode(const void *bytes, size_t len, struct pin *ret); /* -E_CORRUPT, -E_REPO_NEWER */
/* pin_points: its recovery points, but for those that were shredded; cb non-zero ends it with that value. -E_CORRUPT, -E_REPO_NEWER. */
int pin_points(struct repo *r, const struct pin *p, int (*cb)(void *arg, const struct point *pt), void *arg);
/* pin_first: the id of its first one, whatever became of that; "" where there is none. */
void pin_first(const struct pin *p, char ret[SHA_TEXT]);

/* pin_note: told the pin's id before any of it is in the repository: who notes that first can take it away whatever happens then.
 * Negative: it is not put. NULL: nobody wants to know. */
typedef int pin_note(void *arg, const struct pin *p);

/* pin_put: puts it, fills p->id, and sees that what it holds had not gone before: -E_NOENT when one of its recovery points was deleted
 * and no other pin holds it; the pin is taken away again then, unless stay is true. After 0 no prune takes what the pin holds. After another error than
 * those it may be there, or may come yet (a server that goes on with what its client has left). */
int pin_put(struct repo *r, struct pin *p, bool stay, pin_note *note, void *arg);

/* pin_point_get: a recovery point by its whole id, also one that was deleted and that a pin holds; without its labels then. -E_NOENT. */
int pin_point_get(struct repo *r, const char *id, struct point *ret);

/* pins_each: all pins. bad (may be NULL): told of those that cannot be read: -E_CORRUPT, -E_REPO_NEWER, -E_KEY. */
int pins_each(struct repo *r, int (*cb)(void *arg, const struct pin *p),
              void (*bad)(void *arg, const char *name, int why), void *arg);

/* pin_drop: by its whole id; 0 also when it is gone. */
int pin_drop(struct repo *r, const char *id);

#endif
