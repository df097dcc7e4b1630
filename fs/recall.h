/* fs/recall: bytes of a store that lie in repositories (snap/store/cold.h), for a process that has the store open: repositories are
 * opened when something is read, through varve-tierd, a few times each, so that several reads go on at once; what was unpacked last
 * stays in memory. A read that gets nothing within the store's recall_timeout fails with EIO and an event; the next one tries anew.
 * Threads: any, but for attach and detach. */
#ifndef VARVE_FS_RECALL_H
#define VARVE_FS_RECALL_H

#include "fs/verb_repo.h"
#include "tier/import.h"

#define RECALL_TIMEOUT_MS 30000u

/* Of STORE/config (conf/store.h). */
struct recall_opts {
    uint64_t timeout_ms;  /* of one read; 0: the default */
    uint64_t wait_ms;     /* a read that fails is tried again for so long; 0: it fails */
    uint64_t limit_bytes; /* that readers of a volume may recall in an hour; 0: any number */
};
/* recall_attach; recall_detach: reads under way fail. */
int recall_attach(struct store *s, const struct recall_opts *o);
void recall_detach(struct store *s);

/* What a source says: a repository, never a secret; what keeps there what is needed. */
struct recall_source {
    struct conf_repo conf;               /* url, paths of secrets */
    char point[SHA_TEXT], pin[SHA_TEXT]; /* pin "": none yet, or none any more */
    char meant
        [SHA_TEXT]; /* "": none; a pin that was about to be put: it may be there, or come yet, whoever meant it has died */
    struct uuid volume, dir; /* as in the pin */
    uint64_t generation;
    char name[POINT_NAME_MAX + 1]; /* of the volume, when it was made */
    bool ended;                    /* nothing needs it any more; its pin is to go */
    int64_t ended_ns;              /* wall clock; 0: not known */
};
int recall_source_print(const struct recall_source *src, struct buf *out);
int recall_source_parse(const void *text, size_t len, struct recall_source *ret); /* -E_CORRUPT */

/* recall_unbound: what this thread recalls from now on somebody has asked for by name: recall_limit does not hold for it. j: the job that
 * does it for him: it does not wait for a repository (recall_wait) when it is to end; NULL: it is over. */
struct job;
void recall_unbound(struct job *j);

/* recall_lend: an open repository becomes one of those that serve this place. Takes r. */
void recall_lend(struct store *s, const struct conf_repo *place, struct repo *r);

/* recall_keep: what has to be done from time to time: sources that nothing needs any more go, with their pins; a copied store pins
 * for itself. May take long. all: also what is looked at seldom. recall_due: in how many seconds it is wanted again; 0: no sooner than
 * usual. */
void recall_keep(struct store *s, bool all);
int64_t recall_due(struct store *s);

/* recall_importing: around an import: no source is taken for one that nothing needs. recall_forget: all pins of this store go: it is
 * about to be removed. */
void recall_importing(struct store *s, bool begins);
void recall_forget(struct store *s);

/* recall_source_for: the source by which this volume's ranges name what the recovery point has, a new one if there is none, and the
 * pin that keeps it. Within recall_importing(). */
int recall_source_for(struct store *s, const struct vol *v, const struct conf_repo *place, struct repo *r,
                      const struct point *p, uint32_t *ret);

/* recall_source_beside: likewise for the volume of another source, whose ranges are about to be read from another place. recall_sources:
 * those that something may still need; cb non-zero ends it. */
int recall_source_beside(struct store *s, const struct recall_source *was, const struct conf_repo *place,
                         struct repo *r, const struct point *p, uint32_t *ret);
int recall_sources(struct store *s, int (*cb)(void *arg, uint32_t number, const struct recall_source *src),
                   void *arg);

/* recall_archived: how often a read has met what lies in an archive. recall_thaw_*: for whoever is about to bring many ranges: add them, then
 * look until *ret_left is 0: so many packs are still to be waited for; ask: they are asked for, if nobody has yet. on after each that was
 * looked at; negative ends it with that value. After an error it may be called again. One thread. */
struct cold_range;
struct recall_thaw;
uint64_t recall_archived(struct store *s);
int recall_thaw_new(struct store *s, struct recall_thaw **ret);
void recall_thaw_free(struct recall_thaw *t); /* NULL is allowed */
int recall_thaw_add(struct recall_thaw *t, const struct cold_range *range);
int recall_thaw_look(struct recall_thaw *t, bool ask, int (*on)(void *arg, uint64_t ready, uint64_t of),
                     void *arg, uint64_t *ret_left);

/* recall_any: does the store have sources? recall_from: was this volume made from a recovery point? */
bool recall_any(struct store *s);
bool recall_from(struct store *s, const struct vol *v);

#endif
