/* tier/tierd: a backend in a process of its own: varve-tierd serves one, spoken to over socket pairs (base/msg.h). It holds no keys
 * and sees sealed objects only; when it dies or a call takes too long, that call fails, those at the same time, too, and the next one
 * starts another. Each line (a socket pair) has one call at a time, and a thread that answers it: TIERD_LINES calls go on at once.
 *
 *   TIERD_MORE, on the first line: the other lines' descriptors; no answer
 *   TIERD_ROOM, on any line: a descriptor of memory (sealed, so that it does not shrink) that both sides map; no answer
 *   request, type TIERD_CALL: op u8 | flags u8 | name length u16 | after length u16 | 0 u16 | timeout ms i32 | off u64 | length u64 |
 *                             name | after                             (name is the prefix of a list, after a class)
 *            TIERD_BYTES, after the call of a put: what is put (PUT_FD: a file's descriptor comes with the call, and length counts
 *            its bytes)
 *   answer:  TIERD_ITEMS (a list, any number of them before the last): for each: size u64 | mtime i64 | name length u16 | name
 *            TIERD_DONE:   name of the error ("OK") with its NUL, then what the call gives: bytes | size u64, mtime i64 | now i64 |
 *                          length u64 (LOOK, which is a GET whose bytes are put at the beginning of the line's room);
 *                          of an error: a sentence, or nothing
 *            TIERD_HELLO:  as DONE, once at the start, with a sentence behind it */
#ifndef VARVE_TIER_TIERD_H
#define VARVE_TIER_TIERD_H

#include <sys/types.h>

#include "tier/backend.h"

enum {
    TIERD_CALL = 1,
    TIERD_ITEMS = 2,
    TIERD_DONE = 3,
    TIERD_HELLO = 4,
    TIERD_MORE = 5,
    TIERD_BYTES = 6,
    TIERD_ROOM = 7
};
enum tierd_op {
    TIERD_PUT = 1,
    TIERD_GET = 2,
    TIERD_STAT = 3,
    TIERD_LIST = 4,
    TIERD_DEL = 5,
    TIERD_NOW = 6,
    TIERD_PUT_FD = 7,
    TIERD_LOOK = 8,
    TIERD_CLASSES = 9,
    TIERD_CLASS_SET = 10,
    TIERD_WAKE = 11
};
#define TIERD_WANTED 1 /* flag of a call: what is archived is asked for */
#define TIERD_HEAD 28u
#define TIERD_MSG_MAX (48u << 20) /* a get of more is several calls */
#define TIERD_FD 3
#define TIERD_LINES 4
#define TIERD_ROOM_MAX (16u << 20) /* of a line, at most */

/* tierd_open: the backend for url, served by a process of its own: $VARVE_TIERD, else varve-tierd beside this program. call: bounds the
 * opening, may be NULL. Errors as of backend_open, -E_NOENT where there is no such program, -E_TIMEOUT, -E_CANCELED. */
int tierd_open(const char *url, bool make, const struct backend_call *call, struct backend **ret,
               struct buf *err);

/* tierd_spawn: the process, whose end of the first line becomes TIERD_FD. -E_NOENT: there is no such program. */
int tierd_spawn(const char *url, bool make, int theirs, pid_t *ret);

/* tierd_share: the same backend, of tierd_open, once more: one process, that ends when all have closed. */
struct backend *tierd_share(struct backend *b);

/* tierd_serve: answers calls on fd, and on the lines that come over it, until the other side closes. Takes b. */
int tierd_serve(int fd, struct backend *b);
/* tierd_hello: tells how opening went. */
int tierd_hello(int fd, int result, const char *sentence);

int tierd_code(const char *name); /* the error of a name; -E_PROTO for what is none */

#endif
