/* tier/migrate: recovery points move from one repository to another, and with them what volumes of a store have there only. What a move
 * is and how far it has come lies in STORE/migrate/NAME, so that whoever has the store next goes on with it. Copies are copy_run()'s:
 * what the other side has is not sent. Threads: one migration, one thread. */
#ifndef VARVE_TIER_MIGRATE_H
#define VARVE_TIER_MIGRATE_H

#include "base/io.h"
#include "conf/repo.h"
#include "snap/store/store.h"
#include "tier/copy.h"

#define MIGRATE_NAME_MAX 64
#define MIGRATE_LABEL_MAX 255
#define MIGRATE_WHY_MAX 255

enum migrate_state { MIGRATE_WAITS, MIGRATE_RUNS, MIGRATE_DONE, MIGRATE_FAILED, MIGRATE_CANCELED };
enum migrate_stage { STAGE_COPY, STAGE_VERIFY, STAGE_SWITCH, STAGE_DELETE };
const char *migrate_state_name(enum migrate_state s);
const char *migrate_stage_name(enum migrate_stage s);

/* Which recovery points; all that is set must be true of one. */
struct migrate_filter {
    char volume[POINT_NAME_MAX + 1];   /* "" any */
    char label[MIGRATE_LABEL_MAX + 1]; /* KEY=VALUE; "" any */
    int64_t before_ns, since_ns;       /* taken before, not before; 0 any */
    uint64_t least_bytes, most_bytes;  /* 0 any */
    char path[PART_PATH_MAX +
              1]; /* "": all of each; else what each has of it, of those that have it (tier/part.h) */
};
const char *migrate_path(const struct migrate_filter *f); /* NULL: all of each */
bool migrate_takes(const struct migrate_filter *f, const struct point *p);

struct migrate_count { /* pieces are blobs: small files, mebibytes, runs of changed blocks */
    uint64_t points, pieces, bytes;
};
struct migrate_moved { /* a recovery point and its copy */
    struct sha from, to;
};
struct migrate {
    char name[MIGRATE_NAME_MAX + 1];
    struct conf_repo from, to; /* urls, paths of secrets */
    struct migrate_filter filter;
    int64_t made_ns, at_ns; /* at_ns: not before; 0 at once */
    double share;           /* of the packs that are read to prove them; 1: all */
    uint64_t bandwidth;     /* bytes a second each way; 0 no limit */
    int64_t grace_ns;       /* of the prune of the source; 0: its own */
    bool drop_source;
    enum migrate_state state;
    enum migrate_stage stage;
    struct migrate_count there, todo, done; /* on the other side before; to be copied; of that, done */
    uint64_t sent_bytes;                    /* put, of all runs */
    uint64_t ranges, range_bytes;           /* that volumes read from the other side since */
    uint64_t dropped;                       /* recovery points deleted at the source */
    int64_t began_ns, ended_ns;
    char why[MIGRATE_WHY_MAX + 1];
    struct buf moved; /* struct migrate_moved each, when all is copied */
};
void migrate_release(struct migrate *m);

/* The text of a migration: a first line with the version, KEY=VALUE lines, and their checksum. -E_CORRUPT, -E_REPO_NEWER. */
int migrate_print(const struct migrate *m, struct buf *out);
int migrate_parse(const void *text, size_t len, struct migrate *ret);

/* STORE/migrate/NAME. migrate_save: durable; the old one or the new one after a power cut. migrate_load: -E_NOENT. migrate_each: by
 * name; those that cannot be read are told with their name alone and the error in bad. migrate_forget: -E_NOENT. */
int migrate_name_check(const char *name); /* -E_NAME */
int migrate_save(struct io *io, const char *store, const struct migrate *m);
int migrate_load(struct io *io, const char *store, const char *name, struct migrate *ret);
int migrate_each(struct io *io, const char *store, int (*cb)(void *arg, struct migrate *m, int bad),
                 void *arg);
int migrate_forget(struct io *io, const char *store, const char *name);

/* What is to be copied: recovery points in the order in which that costs least. */
struct migrate_item {
    struct point p;      /* without labels */
    char copy[SHA_TEXT]; /* the other side's; "" not there */
    bool asked;          /* the filter takes it; else a volume relies on it */
};
struct migrate_list {
    struct migrate_item *v;
    size_t n;
    const char *path; /* of the filter, which has to stay; NULL: all of each */
};
void migrate_list_free(struct migrate_list *l);
/* migrate_list_make: relied: SHA_TEXT bytes each: ids that volumes rely on, also deleted ones that pins hold. to NULL: nothing is there. */
int migrate_list_make(struct repo *from, struct repo *to, const struct migrate_filter *f,
                      const struct buf *relied, struct migrate_list *ret, struct buf *err);
/* migrate_count: what that is: there, todo. Reads all metadata of them. */
struct migrate_hooks {
    void *arg;
    int (*progress)(void *arg); /* m->done has grown; negative ends it with that value */
    /* of migrate_copy and migrate_switch: packs that are needed come out of an archive; as progress; NULL is allowed */
    int (*thaws)(void *arg, uint64_t ready, uint64_t of);
};
int migrate_weigh(struct repo *from, const struct migrate_list *l, struct migrate_count *there,
                  struct migrate_count *todo, const struct migrate_hooks *h);
/* migrate_copy: those that are not there; m->done and m->sent_bytes grow; then m->moved is set. err: which one, and why. */
int migrate_copy(struct repo *from, struct repo *to, struct migrate_list *l, struct migrate *m,
                 const struct migrate_hooks *h, struct buf *err);
/* migrate_drop: recovery points of m->moved at the source, those whose copies can be read. */
int migrate_drop(struct repo *from, struct repo *to, struct migrate *m, const struct migrate_hooks *h,
                 struct buf *err);

/* migrate_switch: ranges of a store that name source `was` (of recovery point p in from) name `now` (of its copy q in to, which a pin
 * holds) afterwards. *ret_left: ranges that the copy does not have: they stay as they are. Durable when it returns; what was done
 * before an error stays done. One of each 256 is read from both sides first, and waited for where it lies in an archive:
 * -E_CORRUPT: they differ. */
struct migrate_side {
    struct repo *r;
    const struct point *p;
    uint32_t source;
};
int migrate_switch(struct store *s, const struct migrate_side *was, const struct migrate_side *now,
                   struct migrate *m, const struct migrate_hooks *h, uint64_t *ret_left);

#endif
