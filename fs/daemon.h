/* fs/daemon: the process that has a store open and serves its mounts. It is started by the keeper and told there what a
 * former daemon had mounted; it mounts and unmounts nothing itself. It ends when nothing is mounted any more: the store is
 * then closed, and everything in it durable.
 *
 * fs/daemon.c: life, connections. fs/daemon_serve.c: requests over STORE/sock. fs/daemon_keeper.c: words with the keeper. This
 * header is between them. */
#ifndef VARVE_FS_DAEMON_H
#define VARVE_FS_DAEMON_H

#include <pthread.h>

#include "fs/keeper.h"
#include "fs/session.h"

struct served {
    struct served *next;
    struct session *ss;
    bool ended; /* the kernel is gone: the main thread takes it off the list */
};

/* What a service manager does for the keeper. */
struct daemon_service {
    bool served, kept; /* it is `varve serve`; a manager has the descriptors and starts it anew */
    uint32_t watchdog_ms, descriptors; /* 0: none; not said */
};

struct daemon {
    struct verb_env env;
    struct verb_host host;
    const char *store;
    int64_t began_ns, opened_ns; /* monotonic: this process; it had the store */
    bool private;                /* the store goes with its last mount */
    bool serves;                 /* atomic: all that a former daemon had mounted, too */
    uint64_t opening;            /* atomic: see io_moved, of the main thread until then */
    int listen;
    struct daemon_service service; /* as of the keeper's first word */
    pthread_mutex_t keeper_lock;   /* one question to the keeper at a time */
    pthread_mutex_t mount_lock;    /* one mount at a time */
    pthread_mutex_t lock;          /* guards what follows */
    pthread_cond_t change;
    struct served *served;
    uint32_t busy;  /* requests over the socket that are being answered; and who else needs the store open */
    bool was_asked; /* somebody has come since the start */
    bool closing;   /* no more requests; waiters stay connected until the end */
    bool stays;     /* is here when nothing is mounted, too: until it is told to end */
    bool told_to_end;
    int *waiters; /* sockets that get the last word */
    size_t nwaiters;
    bool told_to_leave, leaving; /* makes room for another program; no more clients are let in */
    int32_t asked;               /* number of the last question to the keeper */
    bool asking;                 /* its answer is awaited */
    struct keeper_msg *reply;    /* to that question */
    int reply_fd;
    bool reply_lost;               /* the keeper died */
    int64_t keeper_since_ns;       /* the hearing thread's */
    int wake;                      /* ends the wait for clients */
    uint32_t clients, clients_max; /* connected to the socket; a part of the descriptors that there are */
    pthread_t accepting;
    bool accepts; /* that thread is there, and nobody waits for its end */
};

/* daemon_ask: one question to the keeper, with fd unless that is -1, and its answer. why: 256 bytes. ret_fd: -1 or owned by the caller.
 * -E_CLOSED: whether it was carried out is not known. */
int daemon_ask(struct daemon *d, struct keeper_msg *m, int fd, char *why, int *ret_fd);

void daemon_tell(uint32_t kind, uint64_t conn, uint32_t n, int fd);
void daemon_tell_failed(const char *why);
void daemon_tell_init(struct daemon *d, struct session *ss); /* waits until it is held */
void daemon_tell_told(const struct session *ss);

/* daemon_leave: finishes what it is at and ends, the mounts stay with the keeper. daemon_hear_main: the keeper's words, and another
 * keeper when it dies. daemon_alive_main: says that requests move, before them the opening of the store. */
void daemon_leave(struct daemon *d);
void daemon_end(struct daemon *d); /* no longer stays */
void *daemon_hear_main(void *arg);
void *daemon_alive_main(void *arg);

/* daemon_find_locked: the connection that shows (volume, snap), or NULL. snap NULL or "": the live tree. It may have ended
 * (session_ended): then wait for a change and ask again. */
struct session *daemon_find_locked(struct daemon *d, const struct vol *v, const char *snap);
struct vol *daemon_volume(struct daemon *d, uint32_t id); /* NULL: it is not there */

/* daemon_add: makes a connection and serves it. Takes fd. past as for session_start(). */
int daemon_add(struct daemon *d, struct vol *v, const char *snap, const struct mount_opts *o, uint64_t conn,
               int fd, const struct session_past *past);

/* daemon_serve_main(d): accepts connections of STORE/sock until d->closing or d->leaving. daemon_accept_over: waits for that, once. */
void *daemon_serve_main(void *arg);
void daemon_accept_over(struct daemon *d);

/* daemon_changes: the words of a request `changes`; its lines go to the socket. -E_CLOSED: nobody is there, or is to be. */
int daemon_changes(struct daemon *d, int sock, char **words, size_t n);

#endif
