/* tier/rados_i: what the files of the RADOS backend share: one operation on one object, waited for with bounds. */
#ifndef VARVE_TIER_RADOS_I_H
#define VARVE_TIER_RADOS_I_H

#include <stdio.h>

#include "base/lock.h"
#include "tier/rados.h"
#include "tier/rate.h"
#include "tier/why.h"

#define RAD_OWNER "varve.owner"
#define RAD_PARTS "varve.parts"
#define RAD_HEAD "varve.head"
#define RAD_OWNER_SIZE 33
#define RAD_NAME_SIZE (BACKEND_NAME_MAX + 1) /* names of parts and of the clock's object are shorter */
#define RAD_PART_PREFIX ".part/"

struct rad {
    struct backend b;
    const struct rados_lib *lib;
    struct rados_conf conf;
    char user[72];      /* client.NAME */
    void *cluster, *io; /* threads: any; nothing of them changes once they are open */
    bool connected;
    int64_t pool_id;
    uint64_t part; /* objects of more bytes are cut in parts of so many */
    struct rate up, down;
    struct why why;
    struct lock lock; /* guards what follows */
    int64_t clock_ns, clock_mono_ns,
        clock_wall_ns; /* the cluster's clock when these were ours; 0: not asked yet */
    int64_t seen_ns;   /* the youngest object that was told of */
    bool swept;        /* parts that nobody needs were looked for */
};

static inline struct rad *rad_of(struct backend *b)
{
    return (struct rad *)b;
}

/* One call of the backend, which may be several operations. */
struct rad_run {
    const struct backend_call *call;
    int64_t began_ns, deadline_ns;
};
struct rad_run rad_run_begin(const struct backend_call *c);
int rad_run_check(const struct rad_run *run); /* -E_CANCELED, -E_TIMEOUT */

/* One operation. Cancelled or out of time, the caller lets go of it; librados lets go when it has ended, which the cluster's time-out
 * sees to. So whatever librados writes to lies in here. */
struct rad_op {
    const struct rados_lib *lib;
    void *write, *read, *completion, *attrs;
    struct lock lock; /* guards done, result, refs */
    struct cond ended;
    bool done;
    int result;
    unsigned refs;
    int rc[3]; /* of its steps */
    uint64_t size;
    time_t mtime;
    size_t room, got;
    char *bytes; /* owned */
};

/* rad_op_write, rad_op_read: a new one, to which the caller adds steps. rad_op_look, rad_op_bytes: size, time and attributes; bytes, or
 * what a class answers. -E_NOMEM. rad_op_unref: NULL is allowed. */
int rad_op_write(struct rad *s, struct rad_op **ret);
int rad_op_read(struct rad *s, struct rad_op **ret);
void rad_op_look(struct rad_op *op);
int rad_op_room(struct rad_op *op, size_t len);
void rad_op_unref(struct rad_op *op);
static inline void rad_op_done(struct rad_op **op)
{
    rad_op_unref(*op);
}

/* rad_op_send: what begins may last as long as the cluster's time-out; rad_op_wait says what it came to: 0; -E_NOENT, -E_EXIST,
 * -E_STALE (what it was to compare was something else); for a write -E_UNSURE (no answer: it may have been carried out, or may still
 * be), for a read -E_TIMEOUT; -E_CANCELED; else an error of which why() tells. */
int rad_op_send(struct rad *s, struct rad_op *op, const char *name, int64_t mtime_ns);
int rad_op_wait(struct rad *s, const struct rad_run *run, struct rad_op *op, const char *doing);

/* What an object is. part 0: not cut. */
struct rad_object {
    uint64_t size, part;
    int64_t mtime_ns;
    char owner[RAD_OWNER_SIZE], head[RAD_NAME_SIZE];
};
int rad_object_of(struct rad *s, struct rad_op *op, const char *name,
                  struct rad_object *ret); /* of one that has ended */
int rad_look(struct rad *s, const struct rad_run *run, const char *name,
             struct rad_object *ret); /* -E_NOENT */
void rad_part_name(const char *owner, uint32_t i, char out[RAD_NAME_SIZE]);
static inline uint32_t rad_parts(const struct rad_object *o)
{
    return o->part ? (uint32_t)((o->size + o->part - 1) / o->part) : 0;
}

/* rad_put_named: creates one object that carries owner, and beside it one attribute more; finds out what came of it where no answer
 * came. 0; -E_EXIST, -E_UNSURE. */
struct rad_put {
    const char *name, *owner;
    const void *p;
    size_t len;
    const char *attr, *value; /* NULL: none */
    int64_t mtime_ns;
};
int rad_put_named(struct rad *s, const struct rad_run *run, const struct rad_put *put);
int rad_put_send(struct rad *s, const struct rad_put *put, struct rad_op **ret);
int rad_put(struct backend *b, const struct backend_call *c, const char *name, const void *p, size_t len);

/* rad_parts_put: in parts, several at a time. rad_parts_delete: all of one owner's, as far as that can be done. */
int rad_parts_put(struct rad *s, const struct rad_run *run, const char *name, const void *p, size_t len);
void rad_parts_delete(struct rad *s, const char *owner, uint32_t n);

int rad_list(struct backend *b, const struct backend_call *c, const char *prefix, const char *after,
             int (*cb)(void *arg, const char *name, const struct backend_stat *st), void *arg);
/* rad_each_name: every name of the namespace, also those that are none of the repository's, in no order; cb non-zero ends it. */
int rad_each_name(struct rad *s, const struct rad_run *run, int (*cb)(void *arg, const char *name),
                  void *arg);

/* rad_clock: the cluster's clock: librados stamps objects by the clock of this machine, so it is asked of an OSD. fresh: not reckoned
 * from an earlier answer. rad_seen: an object of that time was told of. */
int rad_clock(struct rad *s, const struct rad_run *run, bool fresh, int64_t *ret_ns);
void rad_seen(struct rad *s, int64_t mtime_ns);

/* rad_fail: writes down what an error of librados means, with its cause and what to do; the code. */
int rad_fail(struct rad *s, const char *doing, int result, bool write);
int rad_no_answer(struct rad *s, int code, const char *doing);
bool rad_pool_is_gone(struct rad *s);
int rad_connect_fail(const struct rad *s, int result, struct buf *err);
void rad_where(const struct rad *s, struct buf *out); /* "pool p, namespace n" */

#endif
