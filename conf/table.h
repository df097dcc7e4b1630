/* conf/table: settings by a table of their keys: what parses a file, writes its sample and shows what holds is one table. Files are in
 * libconfig's grammar. A name may be spelled `flush_interval`, `flushInterval` or `FlushInterval`. Pure but for conf_text_read. */
#ifndef VARVE_CONF_TABLE_H
#define VARVE_CONF_TABLE_H

#include <libconfig.h>

#include "base/buf.h"

enum conf_type {
    CONF_SIZE,    /* bytes: a number, or "64M" (conf_size) */
    CONF_COUNT,   /* a number, or "1M" (conf_count) */
    CONF_MS,      /* milliseconds; written as "5s", a plain number counts `unit` ms (0: 1000) */
    CONF_SECONDS, /* seconds; "5m", ISO 8601 "PT5M"; a plain number counts `unit` seconds (0: 1) */
    CONF_FLAG,    /* true, false */
    CONF_WORD,    /* one of words; kept as its index from 1, 0 is not set */
    CONF_TEXT,    /* at most width - 1 bytes */
};

enum conf_key_flag {
    CONF_LIVE = 1,   /* taken up by `varve config reload` */
    CONF_NONE = 2,   /* "none" may be written: 0 */
    CONF_HIDDEN = 4, /* understood, never written */
};

struct conf_key {
    const char *name;
    enum conf_type type;
    uint32_t offset, width;   /* of the member: 1 (flag), 4 or 8 bytes; of a text its room */
    uint64_t min, max;        /* numbers, in the member's unit */
    const char *range;        /* of a number, for people: "10ms to 1h" */
    const char *built_in;     /* what holds where it is not set, as a file says it */
    const char *doc;          /* a sentence or two; lines at \n */
    const char *also;         /* further spellings, blanks between; NULL: none */
    const char *const *words; /* of CONF_WORD, NULL at the end */
    uint32_t unit;
    unsigned flags; /* enum conf_key_flag */
};
#define CONF_MEMBER(type_, member_) .offset = offsetof(type_, member_), .width = sizeof(((type_ *)0)->member_)
#define CONF_KEYS_MAX 64

/* Where a group is being read, for sentences and for what is not known. */
struct conf_at {
    const char *path; /* of the file */
    const char *all;  /* what lists the settings, for sentences: "conf/store.conf.sample" */
    struct buf *err;
    int (*unknown)(void *arg, const config_setting_t *s); /* NULL: an unknown setting is an error */
    void *arg;
};

/* conf_name_same: the same name in another spelling. conf_key_find: by name or further spelling; NULL. */
bool conf_name_same(const char *a, const char *b);
const struct conf_key *conf_key_find(const struct conf_key *keys, size_t n, const char *name);

/* conf_group_read: each setting of a group into the struct at ret. lines (may be NULL, n of them): the line of each that was there.
 * -E_INVAL: an unknown key, one that is not understood, out of range, or there twice; err then gets
 * "PATH: line N: what; what to do". conf_key_read: one setting of one key; a refusal says so in err. */
int conf_group_read(const struct conf_at *at, const config_setting_t *group, const struct conf_key *keys,
                    size_t n, void *ret, unsigned *lines);
int conf_key_read(const struct conf_at *at, const config_setting_t *s, const struct conf_key *k, void *ret);
/* conf_refuse: "PATH: line N: " and the words into at->err; gives -E_INVAL. */
int conf_refuse(const struct conf_at *at, const config_setting_t *s, const char *fmt, ...) PRINTF_LIKE(3, 4);
int conf_unknown(const struct conf_at *at, const config_setting_t *s, const char *near);

/* conf_key_set: does the struct hold another value than 0, "", false? conf_key_print: that value as a file says it. */
bool conf_key_set(const struct conf_key *k, const void *from);
int conf_key_print(const struct conf_key *k, const void *from, struct buf *out);
/* conf_quote: a string of libconfig's grammar, with its quotes. conf_span_print: seconds, "90m", "7d", the largest unit that fits. */
int conf_quote(const char *text, struct buf *out);
void conf_span_print(int64_t seconds, char out[24]);

/* conf_keys_default: what is built in, as the tables say it. Allocates nothing; a table that says nonsense is our bug. */
void conf_keys_default(const struct conf_key *keys, size_t n, void *ret);
/* conf_sample_keys: each key with its document, range and built-in value, as comments and a line that is in force. */
int conf_sample_keys(const struct conf_key *keys, size_t n, const char *indent, struct buf *out);

/* conf_text_read(path): the text of a file of at most max bytes. -E_NOENT is the caller's to explain; other refusals stand in err.
 * conf_text_parse: by libconfig's grammar into cfg (initialized); @include is refused. -E_INVAL with a sentence. -E_NOMEM: there is not
 * clearly enough for it, without asking libconfig, which ends the process then. */
int conf_text_read(const char *path, size_t max, const char *all, struct buf *ret, struct buf *err);
int conf_text_parse(const char *text, const char *path, config_t *cfg, struct buf *err);

/* conf_iso_duration: ISO 8601 durations, P3Y6M4DT12H30M5S, P2W: a year has 365 days, a month 30. -E_INVAL, -E_RANGE. */
int conf_iso_duration(const char *s, int64_t *ret_seconds);

#endif
