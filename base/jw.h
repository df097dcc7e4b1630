/* base/jw: writes JSON into a buffer as it goes. A failed append is kept and given back at the end, so calls need no checks:
 *
 *     struct jw j = jw_begin(&out, true);
 *     jw_object(&j, NULL); jw_u64(&j, "schema", 1); jw_array(&j, "items"); ... jw_close(&j); jw_close(&j);
 *     return jw_end(&j);
 *
 * key is NULL inside an array and for the outermost value. Bytes that are no UTF-8 become U+FFFD. One owner. */
#ifndef VARVE_BASE_JW_H
#define VARVE_BASE_JW_H

#include "base/buf.h"

#define JW_DEPTH_MAX 16

struct jw {
    struct buf *out;
    int err;
    unsigned depth;
    bool lines; /* one member a line, indented; else all on one line */
    bool some[JW_DEPTH_MAX];
    char ends[JW_DEPTH_MAX];
};

struct jw jw_begin(struct buf *out, bool lines);
int jw_end(struct jw *j); /* asserts that all is closed; a newline follows if lines. 0 or -E_NOMEM */

void jw_object(struct jw *j, const char *key);
void jw_array(struct jw *j, const char *key);
void jw_close(struct jw *j);

void jw_str(struct jw *j, const char *key, const char *s); /* NULL: null */
void jw_strn(struct jw *j, const char *key, const void *p, size_t len);
/* a name that strangers chose: where it is no UTF-8, KEY_hex follows with its exact bytes */
void jw_name(struct jw *j, const char *key, const void *p, size_t len);
void jw_u64(struct jw *j, const char *key, uint64_t v);
void jw_i64(struct jw *j, const char *key, int64_t v);
void jw_bool(struct jw *j, const char *key, bool v);
void jw_null(struct jw *j, const char *key);
void jw_time(struct jw *j, const char *key, int64_t wall_ns); /* RFC 3339; 0: null */

/* utf8_length: bytes of the character at p (1..4), 0 when there is none that is well formed. */
size_t utf8_length(const uint8_t *p, size_t len);

#endif
