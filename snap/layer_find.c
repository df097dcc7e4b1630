/* Names that say a time, and the words kept with a snapshot. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "snap/layer.h"

#define SECOND_NS 1000000000ll

/* @GMT-YYYY.MM.DD-HH.MM.SS, @RFC3339, @latest: the last instant that the name means. */
static int parse_when(const char *name, int64_t *ret_ns)
{
    unsigned n[6];
    char text[CLOCK_TEXT_SIZE];
    int end = 0;

    if (strcmp(name, "@latest") == 0) {
        *ret_ns = INT64_MAX;
        return 0;
    }
    if (sscanf(name, "@GMT-%4u.%2u.%2u-%2u.%2u.%2u%n", &n[0], &n[1], &n[2], &n[3], &n[4], &n[5], &end) == 6 &&
        end == 24 && name[end] == 0)
        snprintf(text, sizeof(text), "%04u-%02u-%02uT%02u:%02u:%02uZ", n[0], n[1], n[2], n[3], n[4], n[5]);
    else if (strlen(name) - 1 < sizeof(text))
        snprintf(text, sizeof(text), "%s", name + 1);
    else
        return -E_NOENT;
    if (clock_parse(text, ret_ns) < 0)
        return -E_NOENT;
    *ret_ns += SECOND_NS - 1; /* names have seconds: a snapshot taken within that second is meant by it */
    return 0;
}

struct newest {
    int64_t until_ns;
    struct layer *ret;
    bool any;
};

static int take_newest(void *arg, const struct layer *l)
{
    struct newest *n = arg;

    if (layer_shown(&l->rec) && l->rec.taken_ns <= n->until_ns) {
        *n->ret = *l;
        n->any = true;
    }
    return 0;
}

int layer_find(struct txn *t, uint32_t vol, const char *name, struct layer *ret)
{
    struct layer found;
    struct newest n = {.ret = &found};
    int r;

    if (name[0] != '@')
        return layer_named(t, vol, name, ret);
    if ((r = parse_when(name, &n.until_ns)) < 0)
        return r;
    r = layer_each(t, vol, take_newest, &n);
    if (r == 0 && !n.any)
        r = -E_NOENT;
    if (r == 0)
        *ret = found;
    return r;
}

static const char *next_word(const char **p, const char *end)
{
    const char *s = *p, *nul = s < end ? memchr(s, 0, (size_t)(end - s)) : NULL;

    if (!nul)
        return NULL;
    *p = nul + 1;
    return s;
}

int layer_text_next(const char **p, const char *end, struct layer_text *ret)
{
    ret->kind = next_word(p, end);
    ret->key = ret->kind ? next_word(p, end) : NULL;
    ret->value = "";
    if (ret->key && strcmp(ret->kind, "label") == 0)
        ret->value = next_word(p, end);
    return ret->key && ret->value;
}

static int add_entry(struct buf *out, const struct layer_text *e)
{
    int r = buf_add(out, e->kind, strlen(e->kind) + 1);

    if (r == 0)
        r = buf_add(out, e->key, strlen(e->key) + 1);
    if (r == 0 && strcmp(e->kind, "label") == 0)
        r = buf_add(out, e->value, strlen(e->value) + 1);
    return r;
}

int layer_text_edit(const struct layer *l, const struct layer_text *e, bool add, struct buf *out)
{
    const char *p = l->text, *end = p + l->text_len;
    struct layer_text x;
    int r = 0, had = 0;

    while (r == 0 && layer_text_next(&p, end, &x)) {
        if (strcmp(x.kind, e->kind) == 0 && strcmp(x.key, e->key) == 0)
            had = 1;
        else
            r = add_entry(out, &x);
    }
    if (r == 0 && add)
        r = add_entry(out, e);
    return r < 0 ? r : had;
}
