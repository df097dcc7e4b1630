/* base/sock: messages between the command line and the daemon of a store, over the Unix stream socket STORE/sock.
 *
 *   frame   len u32 le | kind u8 | payload (len bytes, at most SOCK_MAX)
 *   words   a payload of kind REQUEST: words, each with its NUL; the first says which service:
 *             verb [#ID] WORD...  a command's words without `varve`: run by the table of verbs, `verb snapshot create main x`.
 *                            ID: hexadecimal, the client's own: the same again is the same request (F19)
 *             mount ...      fs/cmd_mount.c
 *             changes ...    fs/daemon_changes.c: lines, sent while they are found
 *             ping           answers DONE
 *   answer  any number of OUT (for standard output) and ERR (for standard error), then one DONE: exit code i32 le, then the
 *           name of the error ("OK", "NOENT", ...) with its NUL. FD carries one descriptor beside it and comes before DONE.
 *
 * A client that goes away ends its request. The path may be longer than a socket address holds: all goes through a
 * descriptor of the directory. Only the user that runs the daemon, and root, may connect (mode 0600, and asked again). */
#ifndef VARVE_BASE_SOCK_H
#define VARVE_BASE_SOCK_H

#include "base/buf.h"

#define SOCK_MAX (16u << 20)
#define SOCK_WORDS_MAX 256

enum sock_kind { SOCK_REQUEST = 1, SOCK_OUT = 2, SOCK_ERR = 3, SOCK_DONE = 4, SOCK_FD = 5 };

struct sock_msg {
    enum sock_kind kind;
    struct buf data;
    int fd; /* -1: none; owned by the message */
};
void sock_msg_free(struct sock_msg *m); /* fit for cleanup() */
#define SOCK_MSG_NONE                                                                                        \
    {                                                                                                        \
        .fd = -1                                                                                             \
    }

/* sock_connect(store): a connection to the daemon of the store in this directory. -E_NOTMOUNTED: none is running;
 * -E_ACCES: another user's. sock_listen(store): replaces what a dead daemon left; only for the holder of STORE/lock. */
int sock_connect(const char *store, int *ret_fd);
int sock_listen(const char *store, int *ret_fd);

/* sock_is_named(store, fd): STORE/sock is there and is the file of this listening socket. Whose file it is only the administrator of the
 * network may ask (CAP_NET_ADMIN); for others, that it is there has to do. */
bool sock_is_named(const char *store, int fd);

/* sock_again(errno, &tries): is a message to be sent or received once more? Where the kernel has no memory for it at the moment: after
 * a while, for a second in all. *tries: 0 at first. */
bool sock_again(int e, unsigned *tries);

/* sock_send: fd -1: none goes along. -E_CLOSED when the other side is gone. sock_recv: -E_CLOSED at its end, -E_PROTO. */
int sock_send(int sock, enum sock_kind kind, const void *p, size_t len, int fd);
int sock_recv(int sock, struct sock_msg *ret);
int sock_done(int sock, int exit_code, int err); /* err: 0 or a negative code: its name goes along */

/* sock_words: puts words one after the other; sock_split: and apart again (pointers into b). -E_PROTO, -E_TOOBIG. */
int sock_words(struct buf *b, const char *const *words, size_t n);
int sock_split(const struct buf *b, char *words[SOCK_WORDS_MAX], size_t *ret_n);

/* sock_call(store, words, n, out, err, ret_exit): one request; OUT goes to stream descriptor out as it comes, ERR to err.
 * ret_exit: the exit code. -E_NOTMOUNTED when no daemon runs. ret_fd (may be NULL): descriptor that came, or -1. */
int sock_call(const char *store, const char *const *words, size_t n, int out, int err, int *ret_exit,
              int *ret_fd);

/* sock_ask: one short request; what it has for standard output and error is added to out. -E_FAILED: it says why. */
int sock_ask(const char *store, const char *const *words, size_t n, struct buf *out);

/* sock_verb(store, words, ret): a command's words (sock_words) without `varve`, with "." for a STORE and a volume's name for a TARGET, carried out
 * by the daemon of the store. It has an id of its own, so that a daemon that takes over from one that died knows it again: asked until
 * somebody answers, ten seconds at most, then -E_CLOSED. -E_DIES: two of them, one after the other, died within a second of being asked: a
 * third death would make the store read-only. -E_NOTMOUNTED: no daemon runs. ret is begun as zero, and freed in any case. */
struct sock_answer {
    struct buf out, err;
    int exit_code;
    char result[32]; /* name of the error, "OK" */
};
void sock_answer_free(struct sock_answer *a);
int sock_verb(const char *store, const struct buf *words, struct sock_answer *ret);

/* sock_lines(store, words, n, line, arg, ret): one request, whose answer is lines: each as it comes, without its newline, its bytes the callee's to
 * change; a line that is negative ends it with that. ret: as of sock_verb, without the lines. -E_CLOSED: it was cut off. */
int sock_lines(const char *store, const char *const *words, size_t n,
               int (*line)(void *arg, char *s, size_t len), void *arg, struct sock_answer *ret);

/* sock_peer(sock): who is at the other end. */
struct sock_peer {
    int pid;
    uint32_t uid, gid;
};
int sock_peer(int sock, struct sock_peer *ret);

#endif
