/* fs/session: one connection to the kernel: a volume (or one snapshot of it) as a mounted filesystem.
 *
 * The descriptor comes from the keeper (fs/keeper.h). The loop is our own: worker threads read(2) requests from it, each into
 * a buffer of its own, and hand them to libfuse for parsing (fuse_session_process_buf); fs/op_*.c answer them over
 * snap/vfs.h. A notifier thread of the session (fs/notify.c) does what a request's thread must never do: it tells the kernel
 * to drop what it cached (rollback), and asks it whether an unlinked inode is still held (F9).
 *
 * INIT: libfuse's own answer is caught, the flags that this filesystem lives by are put in, and the kernel gets that. So
 * they hold with every libfuse (3.14 never sends some of them); what the kernel does not offer is left out. The request is
 * given to on_init, before it is answered: whoever takes the connection over later starts from it.
 *
 * Life: session_new -> session_own -> session_start -> (kernel unmounts: on_end from the notifier, once) -> session_free. */
#ifndef VARVE_FS_SESSION_H
#define VARVE_FS_SESSION_H

#include "fs/mount.h"
#include "fs/verb.h"
#include "snap/vfs.h"

#define SESSION_TRANSPORT 160

struct session;

struct session_hooks {
    void *arg;
    /* the first message is about to be answered: req as read from the kernel. It is when this returns: from then on whoever takes the
     * connection over must know it */
    void (*on_init)(void *arg, struct session *ss, const void *req, size_t len);
    /* the kernel knows of session_told() from now on: whoever takes over later need not tell it */
    void (*on_told)(void *arg, struct session *ss);
    /* the kernel is gone, no request is under way any more, orphans are reclaimed */
    void (*on_end)(void *arg, struct session *ss);
};

/* session_new: a connection for volume v. snap: NULL, or the snapshot that is shown, read-only. conn: random id of the
 * connection, the same over a restart of the daemon. env outlives it; hooks is copied. -E_NOENT: no such snapshot. */
int session_new(struct verb_env *env, struct vol *v, const char *snap, const struct mount_opts *opts,
                uint64_t conn, const struct session_hooks *hooks, struct session **ret);

/* What the kernel and a former daemon had said to each other. */
struct session_past {
    const void *init; /* the kernel's first message */
    size_t init_len;  /* 0: the former daemon died before it had answered even that */
    int64_t told;     /* session_told() as it was; SESSION_TOLD_UNKNOWN */
};
#define SESSION_TOLD_UNKNOWN (-1)

/* session_own: takes the connection's descriptor (closed at the end), before session_start and before others see the session. */
void session_own(struct session *ss, int fd);

/* session_start: past NULL: the kernel has mounted it, and its first message is answered here. past given (takeover): asks the kernel
 * to send again what the former daemon left unanswered. */
int session_start(struct session *ss, const struct session_past *past);

void session_free(struct session *ss); /* after on_end, or when it never started */

struct vol *session_vol(const struct session *ss);
const char *session_snap(const struct session *ss); /* NULL: the live tree */
const struct mount_opts *session_opts(const struct session *ss);
uint64_t session_conn(const struct session *ss);
int session_fd(const struct session *ss); /* of the connection, from session_own on */
bool session_ended(
    const struct session *ss); /* the kernel is gone, it is asked; on_end has come or is about to */

/* session_rolled_back(v): the live tree of v was exchanged: every connection that shows it makes its kernel forget the old
 * one. Returns when that is done, after 2 s at the latest. Any thread. */
void session_rolled_back(struct vol *v);

/* session_settle(v, ms): waits until every request of v's connections (NULL: of all) that the kernel had made before is answered, at
 * most so long: then -E_BUSY. syncfs(2) hands dirty pages over as requests and does not wait for their answers (Linux 6.16 and
 * newer): whoever takes a snapshot for it does. Any thread; the request that it serves is not waited for.
 * session_flush(v): a writeback mount: has the kernel send what it keeps, and settles. -E_BUSY after 5 s. */
int session_settle(const struct vol *v, unsigned ms);
int session_flush(struct vol *v);

/* session_waits: the request of this thread, if it serves one, begins or ends to wait for something that is far away: its connection gets
 * another worker meanwhile, so that other requests go on. Whoever waits bounds how many do. */
void session_waits(bool begins);

/* session_ring_why_not: NULL: FUSE over io_uring can be had here; else a sentence. session_transport(v): by what the kernel and the
 * live tree's connection speak: "io_uring", "classic", or "classic: " and why io_uring, which was asked for, is not; NULL: there is
 * none. session_any_ring: some connection of this process goes over io_uring, and cannot be handed over. */
const char *session_ring_why_not(void);
const char *session_transport(const struct vol *v, char room[SESSION_TRANSPORT]);
bool session_any_ring(void);

/* session_leave_all: no more requests are read; those under way are answered, which is waited for. True: all of them were. The
 * connections stay as they are, for the next daemon. */
bool session_leave_all(unsigned timeout_ms);

/* session_init_bytes: the kernel's first message, at most size bytes; 0: there was none yet. */
size_t session_init_bytes(const struct session *ss, void *p, size_t size);

/* session_told: which live tree (volume_rec.live_view) the kernel was last told to look at. While that is the live one, all names that the
 * kernel keeps are right: each was given or changed by an answer to the kernel. */
int64_t session_told(const struct session *ss);

/* session_still_ms: how long the request that has stood still longest has done so. One that waits while another long one moves counts
 * as moving. From one thread only. */
unsigned session_still_ms(void);

/* session_print_requests: how often each kind of request came, "LOOKUP 12\n" by line; for tests and support. */
int session_print_requests(const struct session *ss, struct buf *out);

#endif
