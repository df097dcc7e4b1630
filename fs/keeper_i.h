/* fs/keeper_i: what the parts of the keeper share: fs/keeper.c serves a daemon, fs/keeper_state.c hands over what is held,
 * fs/keeper_save.c puts that into a file, fs/keeper_service.c speaks with a service manager, fs/keeper_start.c begins and changes
 * the process. */
#ifndef VARVE_FS_KEEPER_I_H
#define VARVE_FS_KEEPER_I_H

#include <limits.h>
#include <sys/types.h>

#include "base/buf.h"
#include "fs/keeper.h"
#include "fs/sdnotify.h"

#define KEEPER_SELF "/proc/self/exe"
#define DEATHS_MAX 16u

struct hold {
    struct hold *next;
    uint64_t conn;
    uint32_t vol;
    int fd;
    char *snap, *opts;
    int64_t told; /* as in KEEPER_TOLD */
    uint8_t init[KEEPER_INIT_MAX];
    uint32_t init_len;
};

/* Where this keeper mounted, to be undone when a keeper in the foreground is told to end. */
struct place {
    struct place *next;
    char *dir;
    bool ours; /* it was when the table of mounts was last read */
};

struct keeper {
    const char *store;
    int sock;     /* to the daemon */
    int listen;   /* of STORE/sock; -1 none yet */
    int ready_fd; /* who started us waits there; -1 once told */
    pid_t daemon;
    bool bye, failed, foreground;
    bool ready;       /* the daemon has said so */
    bool left;        /* it goes on purpose, to make room for the next */
    bool hung;        /* it stood still, and we ended it */
    int64_t alive_ns; /* when it last said that it lives */
    bool killed;      /* the last one was, by somebody else (SIGKILL) */
    unsigned tries;   /* in a row without anything to hold */
    bool was_ended;   /* the last one served, and somebody ended it (SIGKILL): not its own fault */
    bool adopted;     /* it is not our child */
    struct hold *holds;
    struct place *places;
    int64_t deaths[DEATHS_MAX];
    uint32_t ndeaths;
    char next[PATH_MAX]; /* program that the keeper is to become when the daemon has left; "" none */
    int before_fd;       /* of the program that it was before; -1: the present one has proved itself */
    bool service;        /* `varve serve`: it stays when nothing is mounted */
    bool ending;         /* it was told to end */
    bool served;         /* some daemon of this keeper has served the store */
    struct sdnotify manager;
    int64_t pinged_ns;   /* when the manager's watchdog was last told that all is well */
    int64_t extended_ns; /* when it was last told that a start takes longer */
    int64_t well_ns;     /* when a daemon that moves was last heard, or the keeper began */
    uint64_t generation; /* of what the manager keeps; 0: nothing yet */
    bool unsaved;        /* something is newer than that */
};

struct hold *keeper_hold(struct keeper *k, uint64_t conn);
int keeper_hold_add(struct keeper *k, const struct keeper_msg *m, int fd); /* takes fd */
void keeper_hold_drop(struct keeper *k, uint64_t conn);
void keeper_place_add(struct keeper *k, const char *dir);
void keeper_place_remove(struct keeper *k, const char *dir);

/* keeper_tell_all: HELLO with n, all that is held, LISTEN, GO, each to put with its descriptor or -1. keeper_hand_over: to a socket.
 * keeper_take_over: from one, until GO; *ret_n is that of HELLO. keeper_take_one: a single one; takes fd. */
int keeper_tell_all(struct keeper *k, uint32_t n, int (*put)(void *arg, const struct keeper_msg *m, int fd),
                    void *arg);
int keeper_hand_over(struct keeper *k, int sock, uint32_t n);
int keeper_take_over(struct keeper *k, int sock, uint32_t *ret_n);
int keeper_take_one(struct keeper *k, const struct keeper_msg *m, int fd, uint32_t *ret_n);

/* --- fs/keeper_save.c: what is held, without its descriptors, in a sealed memfd
 *
 *   header, 40 bytes = "varveKPR" | version u32 | 0 u32 | generation u64 | length u64 | sum u64     numbers little endian
 *   then the messages of keeper_tell_all, each as it lies in memory, cut behind its data and padded to 8
 *
 * sum is hash_sum() of the messages, seeded with that of the header before it. ------------------------------------------- */
#define KEEPER_SAVE_VERSION 1u
#define KEEPER_SAVE_MAX (64u << 20)

int keeper_save(struct keeper *k, uint64_t generation, int *ret_fd);

/* keeper_load: the messages. -E_PROTO: it is none of ours, or damaged, or not sealed; -E_STORE_NEWER: a later varve's. *ret must be
 * empty. keeper_load_next: the one at *at; 1, or 0 at the end; -E_PROTO. */
int keeper_load(int fd, struct buf *ret, uint64_t *ret_generation);
int keeper_load_next(const struct buf *b, size_t *at, struct keeper_msg *m);

/* --- fs/keeper_service.c: the service manager. Without one all of it does nothing --------------------------------------- */

/* keeper_service_begin: takes back what the manager kept. What is no connection of this store that lives is let go, there too.
 * -E_STORE_NEWER: a later varve put it there; nothing is touched. */
int keeper_service_begin(struct keeper *k);

/* A connection is held from now on, before it is mounted; no longer; something about what is held is new; the socket of the store. Each
 * returns when the manager has it, as far as it answers. */
void keeper_service_hold(struct keeper *k, uint64_t conn);
void keeper_service_drop(struct keeper *k, uint64_t conn);
void keeper_service_save(struct keeper *k);
void keeper_service_listen(struct keeper *k);

/* keeper_service_tick: tells the watchdog that all is well, when it is time and true. Milliseconds until it wants to be called again, 0: it
 * does not. */
unsigned keeper_service_tick(struct keeper *k);
void keeper_service_ready(struct keeper *k);
void keeper_service_changing(struct keeper *k);                              /* to another program */
void keeper_service_say(struct keeper *k, const char *text);                 /* for `systemctl status` */
void keeper_service_stop(struct keeper *k, bool unmount);                    /* it was told to end */
void keeper_service_ended(struct keeper *k);                                 /* nothing more comes */
void keeper_service_print(const struct keeper *k, struct keeper_msg *hello); /* puts its fields */

/* keeper_become: goes on as the program at path, which takes over all that is held. Returns only on failure. */
int keeper_become(struct keeper *k, const char *path);
int keeper_run(struct keeper *k);
void keeper_places_detach(struct keeper *k);
void keeper_signals(const struct keeper *k);

#endif
