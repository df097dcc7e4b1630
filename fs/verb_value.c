#include "fs/verb_value.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/clock.h"
#include "base/jw.h"
#include "conf/value.h"
#include "snap/snapshot.h"

#define TAG_MAX 64

const char *verb_name_complaint(int r, bool volume)
{
    if (r != -E_NAME)
        return err_text(r);
    return volume ? "volumes' names have no / @ # or control characters, do not begin with '.' and are none "
                    "of the "
                    "store's own names"
                  : "snapshots' names have no / or control characters, do not begin with '.' or '@' and do "
                    "not end "
                    "in .json";
}

static int refuse(struct buf *err, const char *who, const char *text, const char *why)
{
    buf_printf(err, "%s: \"%s\" is not understood; %s", who, text, why);
    return -E_USAGE;
}

static int name_set(const char *text, const char *who, int r, bool volume, struct buf *err)
{
    if (r < 0 && !*text)
        buf_printf(err, "%s: the name is empty; give one", who);
    else if (r < 0)
        buf_printf(err, "%s: name \"%.40s%s\" is not allowed: %s", who, text, strlen(text) > 40 ? "..." : "",
                   verb_name_complaint(r, volume));
    return r;
}

/* What exists is found later; here only what can never be. */
static int snap_check(const char *text)
{
    return !*text || strchr(text, '/') ? -E_NAME : strlen(text) > NAME_LEN_MAX ? -E_NAMETOOLONG : 0;
}

static int number_set(const struct verb_arg *arg, const char *text, uint64_t *ret, const char *who,
                      struct buf *err)
{
    int r;

    if (arg->type != ARG_ID && strcmp(text, "none") == 0) {
        *ret = 0;
        return 0;
    }
    if (arg->type == ARG_SIZE)
        r = conf_size(text, ret);
    else
        r = conf_count(text, ret);
    if (r == 0 && arg->type == ARG_ID && *ret == 0)
        r = -E_INVAL;
    if (r == 0)
        return 0;
    return refuse(err, who, text,
                  r == -E_RANGE            ? "it is too large"
                  : arg->type == ARG_SIZE  ? "write a size such as 10G, 512M, 1T, bytes, or none"
                  : arg->type == ARG_COUNT ? "write a number such as 100000, 2M, or none"
                                           : "write a number from 1");
}

static int when_set(const char *text, int64_t *ret, const char *who, struct buf *err)
{
    int64_t ns;

    if (strcmp(text, "never") == 0) {
        *ret = 0;
        return 0;
    }
    if (clock_parse(text, ret) == 0)
        return 0;
    if (*text && conf_duration(text + (*text == '+'), &ns) == 0 &&
        !__builtin_add_overflow(clock_wall_ns(), ns, ret))
        return 0;
    return refuse(err, who, text, "write 7d, 12h, 2026-12-31, 2026-12-31T18:00:00Z, or never");
}

static int duration_set(const char *text, uint64_t *ret, const char *who, struct buf *err)
{
    int64_t ns;

    if (!*text || conf_duration(text, &ns) < 0)
        return refuse(err, who, text, "write a time such as 30m, 24h, 7d");
    *ret = (uint64_t)ns;
    return 0;
}

static int tag_check(const char *text, const char *who, struct buf *err)
{
    size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:@/");

    if (n > 0 && n <= TAG_MAX && !text[n])
        return 0;
    return refuse(err, who, text, "tags are 1 to 64 letters, digits, or . _ - : @ /");
}

static int flag_set(const char *text, uint64_t *ret, const char *who, struct buf *err)
{
    *ret = strcmp(text, "yes") == 0;
    if (*ret || strcmp(text, "no") == 0)
        return 0;
    return refuse(err, who, text, "write yes or no");
}

static int keyvalue_check(const char *text, const char *who, struct buf *err)
{
    const char *eq = strchr(text, '=');

    if (eq && eq > text && strlen(text) <= 1024)
        return 0;
    return refuse(err, who, text, "write KEY=VALUE, at most 1,024 bytes");
}

static int typed(const struct verb_arg *arg, const char *text, struct verb_val *v, const char *who,
                 struct buf *err)
{
    switch (arg->type) {
    case ARG_SNAP_NEW: return name_set(text, who, snap_name_check(text), false, err);
    case ARG_SNAP: return name_set(text, who, snap_check(text), false, err);
    case ARG_VOLUME: return name_set(text, who, volume_name_check(text), true, err);
    case ARG_SIZE:
    case ARG_COUNT:
    case ARG_ID: return number_set(arg, text, &v->num, who, err);
    case ARG_WHEN: return when_set(text, &v->when_ns, who, err);
    case ARG_DURATION: return duration_set(text, &v->num, who, err);
    case ARG_KEYVALUE: return keyvalue_check(text, who, err);
    case ARG_TAG: return tag_check(text, who, err);
    case ARG_FLAG: return flag_set(text, &v->num, who, err);
    case ARG_TEXT:
    case ARG_PATH: break;
    }
    return *text ? 0 : refuse(err, who, text, "it may not be empty");
}

int verb_value_set(const struct verb_arg *arg, const char *text, struct verb_val *v, const char *who,
                   struct buf *err)
{
    char **more;
    int r;

    if (v->set && !(arg->flags & ARG_MANY)) {
        buf_printf(err, "%s: given twice; give it once", who);
        return -E_USAGE;
    }
    r = typed(arg, text, v, who, err);
    if (r < 0)
        return r;
    more = array_more(v->texts, v->ntexts, sizeof(*more));
    if (!more)
        return -E_NOMEM;
    v->texts = more;
    if (!(v->texts[v->ntexts] = strdup(text)))
        return -E_NOMEM;
    v->ntexts++;
    v->set = true;
    return 0;
}

void verb_value_free(struct verb_val *v)
{
    for (size_t i = 0; i < v->ntexts; i++)
        free(v->texts[i]);
    free(v->texts);
    *v = (struct verb_val){0};
}

int verb_quote(const void *p, size_t len, struct buf *out)
{
    const uint8_t *b = p;
    int r = 0;

    while (len > 0 && r == 0) {
        size_t n = utf8_length(b, len);

        if (n == 0 || *b <= ' ' || *b == 0x7f || *b == '\\') {
            n = 1;
            r = buf_printf(out, "\\%03o", *b);
        } else {
            r = buf_add(out, b, n);
        }
        b += n;
        len -= n;
    }
    return r;
}

int verb_words_add(struct verb_words *w, const char *word)
{
    char *copy;

    if (w->n == VERB_WORDS_MAX)
        return 0;
    if (!(copy = strdup(word)))
        return -E_NOMEM;
    w->words[w->n++] = copy;
    return 0;
}

void verb_words_near(const struct verb_words *w, const char *word, const char *otherwise, struct buf *err)
{
    const char *near = conf_nearest(word, w->words, w->n);

    if (near)
        buf_printf(err, "; did you mean %s?", near);
    else
        buf_printf(err, "; %s", otherwise);
}

void verb_words_free(struct verb_words *w)
{
    for (size_t i = 0; i < w->n; i++)
        free((char *)(uintptr_t)w->words[i]);
}
