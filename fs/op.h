/* fs/op: inside of a connection: what the requests' functions (fs/op_*.c), the notifier and the .snapshots tree share.
 * Only they include it. */
#ifndef VARVE_FS_OP_H
#define VARVE_FS_OP_H

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdatomic.h>

#include "fs/session.h"
#include "snap/store/answer.h"

#define OP_MAX_WRITE (1u << 20)
#define OP_BUF_SIZE (OP_MAX_WRITE + 4096u) /* a request with its header; also what is needed for an answer */
#define OP_FOREVER 1e9                     /* time-out of what only this daemon can change, in seconds */
#define OP_CODES 64

/* Node ids above VFS_VIEW_MAX. */
#define NODE_VIEW_SNAPDIR 0xffffffu /* ino: the directory D whose D/.snapshots it is */
#define NODE_VIEW_CONTROL 0xfffffeu /* ino 1: .control; else a control file, by a number of its own */

struct notifier;
struct snapdir;

struct session {
    struct verb_env *env;
    struct vol *vol;
    char *snap; /* NULL: the live tree */
    struct mount_opts opts;
    uint64_t conn;
    struct session_hooks hooks;
    struct fuse_session *fuse;
    int fd; /* of the kernel, the same as long as the session lives; libfuse has a number of its own for it */
    vfs_node root; /* what node id 1 stands for */
    struct notifier *notifier;
    struct snapdir *snapdir;
    atomic_uint workers, idle;
    atomic_uint waits;    /* of workers: those in session_waits() */
    bool kernel_times;    /* writeback: size and times of regular files are the kernel's */
    bool answers_apart;   /* libfuse lets an answer go where its request came from */
    bool ring;            /* requests come over io_uring: fs/session_ring.c */
    const char *ring_why; /* it was asked for: why not */
    struct ring_queue *queues;
    unsigned nqueues;
    atomic_uint ring_workers; /* of workers */
    atomic_uint
        luck; /* requests that came soon after an answer, lately: fs/session_spin.c, with the next one */
    atomic_llong waits_ns; /* since when somebody waits for a request */
    atomic_bool ended;
    atomic_bool ready;   /* workers may be started: the first message is answered */
    atomic_bool starved; /* a worker had no memory: the next one is started a while later */
    atomic_bool rest;    /* workers whose read(2) is interrupted are to leave; a request ends it */
    struct {             /* of fs/rest.c alone */
        unsigned long long requests;
        int64_t since_ns;
    } seen;
    atomic_ullong requests[OP_CODES];
    atomic_ullong forgotten; /* node ids that the kernel has let go */
    atomic_ullong resent,
        known;            /* asked again after a death; of these, answered as a former daemon would have */
    _Atomic int64_t told; /* see session_told() */
    size_t init_len;      /* atomic, set last: the kernel's first message, for a keeper to come */
    uint8_t init[256];
    uint8_t init_out[96]; /* our answer to it */
    struct session *next; /* all of this process; guarded by sessions_lock in fs/session.c */
};

/* --- connections that rest: fs/rest.c -------------------------------------------------------------------------------------- */

/* rest_begin: before a session starts; does nothing when it went well once. rest_poke: a session has no worker any more, or is new. */
void rest_begin(void);
void rest_poke(void);

/* What it needs of fs/session*.c. sessions_each: under the list's lock. session_worker: starts one. session_wake_idle: interrupts the
 * read(2) of those who wait for a request. */
void sessions_each(void (*cb)(struct session *ss, void *arg), void *arg);
int session_worker(struct session *ss);
void session_wake_idle(struct session *ss);

/* --- requests ---------------------------------------------------------------------------------------------------------- */

/* The thread's request as it came, and room for an answer of OP_BUF_SIZE bytes. Only inside a request. */
const struct fuse_in_header *op_header(void);
uint8_t *op_room(void);
uint32_t op_setxattr_flags(void); /* FUSE_SETXATTR_EXT, cut out before libfuse parses */
/* The answer that a former daemon journaled and could not give; NULL: the request is to be carried out. */
const struct answer_rec *op_known(void);
int op_known_attr(const struct session *ss, uint64_t ino, struct vfs_attr *ret); /* of a live inode */

static inline struct session *op_session(fuse_req_t req)
{
    return fuse_req_userdata(req);
}
static inline vfs_node op_node(const struct session *ss, fuse_ino_t ino)
{
    return ino == FUSE_ROOT_ID ? ss->root : (vfs_node){ino};
}
static inline bool op_is_own(fuse_ino_t ino) /* belongs to .snapshots */
{
    return vfs_node_view((vfs_node){ino}) > VFS_VIEW_MAX;
}
struct vfs_ctx op_ctx(fuse_req_t req);
void op_reply(fuse_req_t req, int r); /* 0, or a code as its errno */
void op_stat(const struct session *ss, const struct vfs_attr *a, struct stat *ret);
void op_entry(const struct session *ss, const struct vfs_attr *a, struct fuse_entry_param *ret);

extern const struct fuse_lowlevel_ops op_table;

/* fs/op_name.c */
void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi);
void op_tmpfile(fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_file_info *fi);
void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name);
void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to_parent, const char *to,
               unsigned flags);
/* fs/op_attr.c */
void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set, struct fuse_file_info *fi);
void op_statx(fuse_req_t req, fuse_ino_t ino, int flags, int mask, struct fuse_file_info *fi);
void op_statfs(fuse_req_t req, fuse_ino_t ino);
void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags);
void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);
/* fs/op_file.c */
void op_readlink(fuse_req_t req, fuse_ino_t ino);
void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void op_write(fuse_req_t req, fuse_ino_t ino, const char *p, size_t size, off_t off,
              struct fuse_file_info *fi);
void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len, struct fuse_file_info *fi);
void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi);
void op_copy_file_range(fuse_req_t req, fuse_ino_t in, off_t in_off, struct fuse_file_info *fi_in,
                        fuse_ino_t out, off_t out_off, struct fuse_file_info *fi_out, size_t len, int flags);
/* fs/op_dir.c */
void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);

/* op_request_fits (fs/request.c): is everything there that the request announces? len is at least that of its header. */
bool op_request_fits(const struct fuse_in_header *h, size_t len);

/* For tests, which have no kernel: session_feed_begin answers the kernel's first message to fd, which it takes; session_feed
 * serves one request as a worker would, in the caller's thread; session_feed_end as if the kernel were gone. */
int session_feed_begin(struct session *ss, int fd, const void *init, size_t len);
void session_feed(struct session *ss, const void *req, size_t len);
void session_feed_end(struct session *ss);

/* --- fs/init.c: the first message ---------------------------------------------------------------------------------------- */

/* init_answer: feeds the INIT request to libfuse, which must have been given the descriptor catcher[0]; takes its answer
 * from catcher[1], puts our flags in, and writes it to fd unless that is -1. -E_PROTO, -E_NOSYS (the kernel is too old). */
int init_answer(struct session *ss, const void *req, size_t len, const int catcher[2], int fd);
/* init_answer_again: a former daemon had been told and did not come to answer: the kernel sent the request again. */
int init_answer_again(const struct session *ss, const struct fuse_in_header *h);
void init_op(void *arg, struct fuse_conn_info *conn);

/* --- fs/notify.c: the notifier ------------------------------------------------------------------------------------------- */

int notify_new(struct session *ss, struct notifier **ret);
void notify_free(struct notifier *n);                 /* waits for its end */
void notify_forget(struct session *ss, uint64_t ino); /* a hint: O(1), never waits */
void notify_taken_over(struct session *ss);           /* the kernel may never have been told of a rollback */
void notify_unlinked(struct session *ss);             /* some name went: there may be orphans */
void notify_making(
    struct session *ss); /* around the making of an inode without a name; notify_made() ends it. */
int notify_made(struct session *ss, uint64_t ino); /* ino 0: it was not made. -E_NOMEM: do not answer it */
void notify_rolled_back(struct session *ss, int64_t until_mono_ns);
void notify_end(struct session *ss); /* the last worker has left */
void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup);
void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);

#endif
