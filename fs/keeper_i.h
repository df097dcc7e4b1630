/* fs/keeper_i: what the parts of the keeper share: fs/keeper.c serves a daemon, fs/keeper_state.c hands over what is held,
 * fs/keeper_start.c begins and changes the process. */
#ifndef VARVE_FS_KEEPER_I_H
#define VARVE_FS_KEEPER_I_H

#include <limits.h>
#include <sys/types.h>

#include "fs/keeper.h"

#define KEEPER_SELF "/proc/self/exe"
#define DEATHS_MAX 16u

struct hold {
    struct hold *next;
    uint64_t conn;
    uint32_t vol;
    int fd;
    char *snap, *opts;
    uint8_t init[KEEPER_INIT_MAX];
    uint32_t init_len;
};

/* Where this keeper mounted, to be undone when a keeper in the foreground is told to end. */
struct place {
    struct place *next;
    char *dir;
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
};

struct hold *keeper_hold(struct keeper *k, uint64_t conn);
int keeper_hold_add(struct keeper *k, const struct keeper_msg *m, int fd); /* takes fd */
void keeper_hold_drop(struct keeper *k, uint64_t conn);
void keeper_place_add(struct keeper *k, const char *dir);

/* keeper_hand_over: HELLO with n, all that is held, GO. keeper_take_over: until GO; *ret_n is that of HELLO. */
int keeper_hand_over(struct keeper *k, int sock, uint32_t n);
int keeper_take_over(struct keeper *k, int sock, uint32_t *ret_n);

/* keeper_become: goes on as the program at path, which takes over all that is held. Returns only on failure. */
int keeper_become(struct keeper *k, const char *path);
int keeper_run(struct keeper *k);
void keeper_signals(const struct keeper *k);

#endif
