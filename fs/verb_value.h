/* fs/verb_value: one argument's text becomes a value, by its type. Pure but for ARG_WHEN, which asks the clock. */
#ifndef VARVE_FS_VERB_VALUE_H
#define VARVE_FS_VERB_VALUE_H

#include "fs/verb.h"

/* verb_value_set: checks text and adds it to v. who: what messages begin with ("snapshot create: --label"). -E_USAGE,
 * -E_NAME, -E_NAMETOOLONG with a sentence in err; -E_NOMEM. */
int verb_value_set(const struct verb_arg *arg, const char *text, struct verb_val *v, const char *who,
                   struct buf *err);
void verb_value_free(struct verb_val *v);

/* verb_quote: a name as one word of a line for people: bytes that are no text as \ooo, space and \ too. */
int verb_quote(const void *p, size_t len, struct buf *out);

/* verb_name_complaint: why a name is refused, for -E_NAME and -E_NAMETOOLONG; else err_text(r). */
const char *verb_name_complaint(int r, bool volume);

/* Words that may have been meant: verb_words_near(w, word, err) adds "; did you mean X?", or otherwise. */
#define VERB_WORDS_MAX 128
struct verb_words {
    const char *words[VERB_WORDS_MAX];
    size_t n; /* more are passed over */
};
int verb_words_add(struct verb_words *w, const char *word); /* a copy. -E_NOMEM */
void verb_words_near(const struct verb_words *w, const char *word, const char *otherwise, struct buf *err);
void verb_words_free(struct verb_words *w); /* fit for cleanup() */

#endif
