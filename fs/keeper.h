/* fs/keeper: the small process beside each daemon. It opens /dev/fuse and mounts, and holds the descriptors, so that a mount
 * outlives the daemon that serves it: when the daemon dies, it starts another one and hands everything over.
 *
 * Keeper and daemon are the same program and speak over a pair of packet sockets, in `struct keeper_msg` as it lies in memory.
 * The daemon's descriptor of it is KEEPER_FD.
 *
 *   keeper -> daemon   HELLO, RESTORE* (each with its descriptor), PLACE*, LISTEN (when there was a socket), GO;
 *                      then REPLY, LEAVE, END
 *   daemon -> keeper   LISTEN (holds the socket of STORE/sock), READY or FAILED (text); then
 *                      MOUNT, ATTACH, OPEN, UPGRADE, INIT (answered by REPLY), TOLD, GONE, ALIVE, LEFT, BYE
 *
 * The same words from HELLO to GO bring what is held to a new keeper: from the keeper that becomes another program, and from the
 * daemon when its keeper has died. Either of the two may die; the other one restores it. Where a service manager runs the keeper
 * (`varve serve`) it keeps the descriptors, and those words in a file without a name: then both may die (fs/keeper_service.c).
 *
 * Nothing here touches a mount: no stat, no path inside one, no sync. */
#ifndef VARVE_FS_KEEPER_H
#define VARVE_FS_KEEPER_H

#include "base/base.h"

#define KEEPER_FD 3
#define KEEPER_DATA 12288u
#define KEEPER_INIT_MAX 256u

enum keeper_kind {
    KEEPER_HELLO =
        1, /* n: deaths of daemons by their own fault within the last minute; conn: KEEPER_STAYS, KEEPER_KEPT;
                       * fields: milliseconds of the manager's watchdog, descriptors that it keeps at the most, generation
                       * of the file that it has */
    KEEPER_RESTORE, /* conn, n: volume; fields snap, options, as TOLD; init; with its descriptor */
    KEEPER_LISTEN,
    KEEPER_GO,
    KEEPER_READY,
    KEEPER_FAILED, /* data: why */
    KEEPER_MOUNT, /* conn, n: volume; fields snap, options, source, dir: opens, mounts, holds. REPLY carries it */
    KEEPER_ATTACH, /* conn; fields "", options, source, dir: mounts once more what it holds */
    KEEPER_OPEN,   /* as MOUNT, but the caller mounts: opens and holds */
    KEEPER_INIT,   /* as RESTORE, with its descriptor: before the kernel's first message is answered. REPLY */
    KEEPER_GONE,   /* conn: let it go; data: where it was mounted and nobody came to serve it, or nothing */
    KEEPER_BYE,    /* the store is closed, nothing is mounted */
    KEEPER_REPLY, /* n: err of the question, its number; err: 0 or a negative code; data: a sentence, or empty */
    KEEPER_PLACE,   /* data: a directory that was mounted on */
    KEEPER_UPGRADE, /* data: the program to become when the daemon has left. REPLY */
    KEEPER_LEAVE,   /* the daemon is to make room for the next one: finish, and go */
    KEEPER_LEFT,    /* it goes now; the mounts stay */
    KEEPER_ALIVE,   /* n: milliseconds that some request has stood still */
    KEEPER_END,     /* a daemon that stays ends when nothing is mounted any more, or now */
    KEEPER_TOLD,    /* conn; field: which live tree the kernel was told of, a number; "": not known */
};

#define KEEPER_STAYS 1u /* the daemon stays when nothing is mounted */
#define KEEPER_KEPT                                                                                          \
    2u /* a service manager starts the keeper anew and has the descriptors: the daemon does not */

/* A daemon that says nothing for so long, or whose requests stand still, is replaced. VARVE_HUNG_MS in the environment changes it. */
#define KEEPER_HUNG_MS 30000u
unsigned keeper_hung_ms(void);

/* keeper_descriptors: this process may open as many files as are allowed from now on: how many. 0: that is not known. */
uint64_t keeper_descriptors(void);

struct keeper_msg {
    uint32_t kind;
    int32_t err;
    uint64_t conn;
    uint32_t n;
    uint32_t init_len;
    uint32_t len;                              /* of data */
    _Alignas(8) uint8_t init[KEEPER_INIT_MAX]; /* the kernel's structs lie in it */
    char data[KEEPER_DATA];                    /* fields, each with its NUL */
};

/* keeper_put: appends a field. -E_TOOBIG. keeper_field: the i-th one, "" when there are fewer. */
int keeper_put(struct keeper_msg *m, const char *field);
const char *keeper_field(const struct keeper_msg *m, unsigned i);

/* The field of KEEPER_TOLD, from and to session_told(). */
int keeper_put_told(struct keeper_msg *m, int64_t told);
int64_t keeper_told(const struct keeper_msg *m, unsigned i);

/* fd -1: none goes along. recv: *ret_fd is -1 or owned by the caller; -1 on failure. -E_CLOSED; -E_PROTO: malformed, the next one
 * may be sound. */
int keeper_send(int sock, const struct keeper_msg *m, int fd);
int keeper_recv(int sock, struct keeper_msg *m, int *ret_fd);
bool keeper_is_sound(const struct keeper_msg *m, size_t n); /* n bytes of it are there */

/* keeper_start(store, foreground, why): starts a keeper and its daemon, waits until they serve the store. 0, or a negative
 * code with a sentence in why (512 bytes). foreground: *ret_pid is the keeper, a child of the caller that logs to standard
 * error and does not leave its session. */
int keeper_start(const char *store, bool foreground, int *ret_pid, char *why);

#endif
