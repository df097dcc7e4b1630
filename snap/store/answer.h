/* snap/store/answer: answers by request id (F19). The kernel sends a request again when the daemon that had read it died before it
 * answered. What the first execution journaled is known then: the second one gives the same answer and changes nothing.
 *
 * The thread that carries out a request says so (answer_begin), and ends it when the reply has been written (answer_end). In between
 * the record that completes the request's work is noted under (connection, unique) with one number (`txn.answer`: an inode, a
 * length); records before that have `txn.part` and count for nothing: their work is done over. Attributes are not kept, errors
 * neither.
 *
 * An answer lives in memory until its reply has been written. The next record then tells the journal so (TAIL_ACKED); a replay
 * on the same boot ends with those that were not known as replied, and a checkpoint puts them into TAB_RESULT. So there are about
 * as many as requests under way: ANSWERS_MAX at the most. What was not asked for again a minute after a takeover goes.
 *
 * A request of several commands (a control file's write) has numbered steps: answer_steps_begin, then answer_step before each. Its
 * answer is how far it came: a step whose first record is there is begun, not necessarily done.
 *
 * Locks: one of its own, taken under any other. Threads: begin to end in one thread. */
#ifndef VARVE_SNAP_STORE_ANSWER_H
#define VARVE_SNAP_STORE_ANSWER_H

#include "base/buf.h"
#include "snap/store/txn.h"

#define ANSWERS_MAX 8192u
#define ANSWER_SOCKET 1u /* in place of a connection: requests of the command line */
#define ANSWER_KEPT_NS 60000000000ll

struct answers;
struct jrec;
struct jrec_view;

struct answer_rec {
    uint64_t conn, unique; /* of the request, without the bit that marks what was sent again */
    uint64_t lsn;          /* of the record that completed it */
    uint64_t value;
    uint32_t step;
    uint16_t kind; /* enum op_kind */
};

#define ANSWER_REC_SIZE 24u /* of the value in TAB_RESULT; connection and unique are the key */
size_t answer_key(uint8_t *out, uint64_t conn, uint64_t unique);
void answer_rec_encode(const struct answer_rec *r, uint8_t out[ANSWER_REC_SIZE]);
int answer_rec_decode(const void *key, size_t klen, const void *p, size_t len,
                      struct answer_rec *ret); /* -E_CORRUPT */

/* answer_begin: again: it was sent again. True: it is known, *ret says how. answer_end: the reply has been written. */
bool answer_begin(struct store *s, uint64_t conn, uint64_t unique, bool again, struct answer_rec *ret);
void answer_end(void);

/* The first step that is not known as done: 0 for a new request. answer_begun: true when the present step is, with the number of its
 * first record. */
uint32_t answer_steps_begin(void);
void answer_step(uint32_t step);
bool answer_begun(uint64_t *ret_value);

/* answers_keep: those of other connections go (nobody will ask for them). answers_forget: this connection has ended. answers_each: those
 * of a connection that are waiting to be asked for. */
void answers_keep(struct store *s, const uint64_t *conns, size_t n);
void answers_forget(struct store *s, uint64_t conn);
void answers_each(struct store *s, uint64_t conn, void (*cb)(void *arg, const struct answer_rec *r),
                  void *arg);
size_t answers_count(struct store *s);

/* Test door: called when a client's operation is about to be journaled, has been, and is about to be answered. */
enum answer_point { ANSWER_BEFORE_JOURNAL, ANSWER_AFTER_JOURNAL, ANSWER_BEFORE_REPLY };
extern void (*answer_door)(enum answer_point at, unsigned kind);
extern bool answer_none; /* test door: nothing is kept; set before the store is opened */
void answer_replying(void);

/* --- for this room ------------------------------------------------------------------------------------------------------ */

int answers_new(struct answers **ret);
void answers_free(struct answers *a);

/* txn_commit calls these with the store's lock: before the record is appended (takes memory, adds to its tail; -E_NOMEM), and after
 * (t->lsn 0: it was not). */
int answer_prepare(struct txn *t, struct jrec *rec);
void answer_appended(struct txn *t);

/* Replay: what the tables held, then the tails of records in order. */
int answers_load(struct store *s);
int answers_replay(struct store *s, const struct jrec_view *rec, uint16_t tail_type, const uint8_t *p,
                   size_t len);
void answers_clear(struct store *s); /* another boot: there is nobody left to ask */

/* At the seal of a checkpoint, with the lock held exclusive: what is not known as replied goes into the delta. */
int answers_store_locked(struct store *s);

#endif
