/* tier/import: a recovery point becomes a volume of an open store: its tree at once, its bytes when they are read (snap/store/cold.h).
 * The volume is seen when it is whole; what a death leaves is freed at the next opening. */
#ifndef VARVE_TIER_IMPORT_H
#define VARVE_TIER_IMPORT_H

#include "snap/volume.h"
#include "tier/pin.h"

struct import_opts {
    const char *name; /* of the volume */
    void *arg;
    int (*progress)(void *arg, uint64_t items, uint64_t of); /* so far; negative ends it with that value */
    /* the text of the source that cold ranges name (cold_source_put), with the pin that keeps what they need; its id "": not yet; put: it
     * is there, else it is about to be put */
    int (*source)(void *arg, const struct point *p, const struct pin *pin, bool put, struct buf *ret);
};
struct import_result {
    struct vol *vol;
    uint32_t source;
    char pin[SHA_TEXT];
    uint64_t items, remote_bytes;
};

/* import_run: r is synced here. err: a sentence. -E_EXIST: the store has a volume of this name; -E_NOENT: the recovery point was deleted
 * meanwhile; -E_CORRUPT; those of the repository and of the store. After an error there is neither volume nor pin. */
int import_run(struct repo *r, const struct point *p, struct store *s, const struct import_opts *o,
               struct import_result *ret, struct buf *err);

/* import_slice: reads what a reference of cold ranges names (the slice that it holds): blocks from skip on, zeros after its end.
 * -E_CORRUPT, -E_NOENT (no index names its chunk), those of the repository. */
int import_slice(struct repo *r, const uint8_t *ref, size_t len, uint32_t skip, uint32_t blocks, void *out);

#endif
