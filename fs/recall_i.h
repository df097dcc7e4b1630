/* fs/recall_i: inside of recall*.c. */
#ifndef VARVE_FS_RECALL_I_H
#define VARVE_FS_RECALL_I_H

#include <pthread.h>

#include "fs/recall.h"
#include "snap/store/cold.h"

#define POOL_MAX 4u /* times that one repository is open */

struct pool { /* one repository */
    struct pool *next;
    struct conf_repo conf;
    unsigned open, nfree;
    struct repo *free[POOL_MAX];
    struct repo_keys keys; /* once one was opened */
    bool has_keys, opening;
    struct backend
        *shared;       /* of which each has a share: one process serves all of them; NULL: none is open */
    int64_t singly_ns; /* until then chunks come one by one: several at once had taken too long */
    bool lost;         /* the last read of it failed, and an event has said so */
    int64_t used_ns;
};

struct unpacked { /* a chunk, or one on its way */
    struct unpacked *next;
    struct id16 id;
    struct buf plain;
    unsigned refs;
    bool ready;
    int result;
    int64_t used_ns;
};

struct from { /* a source that was read from */
    struct from *next;
    uint32_t number;
    struct pool *pool;
    struct uuid volume;
    char name[POINT_NAME_MAX + 1];
};

struct budget { /* what readers may still recall of a volume */
    struct budget *next;
    struct uuid volume;
    uint64_t bytes;
    int64_t at_ns; /* as of then */
    bool said;     /* an event told that it was used up */
};

struct recall {
    struct recall *next;
    struct store *s;
    struct recall_opts opts;
    pthread_mutex_t lock; /* guards what follows, but never held while a repository is asked */
    pthread_cond_t change;
    bool closing; /* atomic */
    struct pool *pools;
    struct from *froms;
    struct budget *budgets;
    struct unpacked *unpacked;
    size_t unpacked_bytes;
    unsigned waiting;           /* requests that wait for bytes */
    unsigned importing;         /* volumes that are being made: their sources have no pins yet */
    unsigned ending;            /* sources that are being taken away: who would begin to import waits */
    int64_t moved_ns;           /* when one of them last got something, or the first began */
    int64_t began_ns;           /* when it was attached */
    int64_t looked_ns;          /* of recall_keep; 0: not yet */
    uint64_t archived;          /* atomic: how often something was met that lies in an archive */
    pthread_mutex_t ahead_lock; /* guards what follows; taken last */
    pthread_cond_t ahead_change;
    unsigned aheads, ahead_idle; /* threads that read ahead */
    uint64_t ahead_asked;        /* how often there was more */
};

struct recall *recall_of(struct store *s); /* NULL */

/* recall_on_fetch, recall_on_run: hooks of snap/store/cold.h. */
int recall_on_fetch(void *arg, uint32_t source, const struct cold_ref *ref, uint32_t blocks, void *out);
void recall_on_run(void *arg, const struct cold_piece *v, unsigned n,
                   void (*got)(void *of, unsigned i, int result), void *of);
/* recall_moved: something came from a repository. recall_slice: what a reference says; is it all of a chunk that fits into so many blocks? */
void recall_moved(struct recall *rc, struct pool *p);
bool recall_slice(const struct cold_ref *ref, uint32_t blocks, struct slice *ret, bool *ret_whole);

/* recall_from_of: what a source says now. It stays until recall_detach(). */
int recall_from_of(struct recall *rc, uint32_t source, struct from **ret);

/* recall_wait_locked: until something changes or 100 ms have passed; says that the request moves. -E_TIMEOUT, -E_CANCELED. */
int recall_wait_locked(struct recall *rc, int64_t until_ns);

/* pool_find_locked: -E_NOMEM: NULL. pool_take: a repository, open, for this thread alone, whose calls end by then; err may be NULL. */
struct pool *pool_find_locked(struct recall *rc, const struct conf_repo *conf);
int pool_take(struct recall *rc, struct pool *p, int64_t until_ns, struct repo **ret, struct buf *err);
void pool_give(struct recall *rc, struct pool *p, struct repo *r);
void pool_rest(struct recall *rc); /* closes what was not used lately */
void pools_free(struct recall *rc);

/* recall_limit_take: so many bytes are about to be read from a source; waits until they may be. -E_BUSY: not within the time;
 * -E_CANCELED. */
int recall_limit_take(struct recall *rc, const struct from *f, uint64_t bytes, int64_t until_ns);
bool recall_is_limited(const struct recall *rc); /* this thread, by recall_limit */
bool recall_is_canceled(void);                   /* the job that this thread recalls for */

/* recall_on_ahead: a hook of snap/store/cold.h: threads of its own bring what readers will want next; they end when there was nothing
 * for a while. recall_ahead_end: rc->closing is set; waits for them. */
void recall_on_ahead(void *arg);
void recall_ahead_end(struct recall *rc);

#endif
