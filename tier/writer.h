/* tier/writer: who adds a recovery point: what may be relied on while others delete (docs/repository-format.md, Deleting), and the order
 * in which things are put. -E_AGAIN of any call: what it relied on was condemned meanwhile; end it and begin anew, with no base. */
#ifndef VARVE_TIER_WRITER_H
#define VARVE_TIER_WRITER_H

#include "tier/condemned.h"
#include "tier/pack.h"

/* A prune may stand against a writer in each of its steps: it condemns what the writer relies on, names anew, deletes. Where objects are near and
 * few, several of them lie in the time of one try. */
#define WRITER_TRIES 8

struct writer {
    struct repo *r;
    struct packer *p;    /* after writer_base() */
    char base[SHA_TEXT]; /* the recovery point that the new one goes on from; "" none */
    struct condemned gone;
    int64_t began_ns, guarded_ns; /* by the backend's clock */
};

/* writer_begin: may this program write, and what is there? */
int writer_begin(struct writer *w, struct repo *r);
/* writer_base: base: an id, or "". Lists of condemned packs may stand against it: then w->base is "" afterwards. */
int writer_base(struct writer *w, const char *base);
/* writer_ready: everything given to the packer is in packs, and indexes name them. */
int writer_ready(struct writer *w);
/* writer_put: the recovery point, after that; fills p->id and p->regarded. */
int writer_put(struct writer *w, struct point *p);
/* writer_pause: before the n-th try (0: the first one, at once) some time for who stood in the way: 4.8 s before all of them
 * together. -E_CANCELED by the repository's call. */
int writer_pause(struct repo *r, unsigned n);
/* writer_failed: r of a run that failed: -E_AGAIN where what could not be read was deleted meanwhile, else r. */
int writer_failed(struct writer *w, int r);
void writer_end(struct writer *w);

#endif
