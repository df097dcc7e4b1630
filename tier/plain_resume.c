/* What interrupted exports have left. Each begins with an object run/NUMBER-TRY that names its snapshot; the manifest of that number ends
 * it. Which objects were put since then is told by the backend's times. */
#include <stdio.h>
#include <stdlib.h>

#include "tier/plain_i.h"

#define TEXT_MAX 1024

/* Of an export that is over only its marker is left: its end was interrupted. */
static int take_marker(void *arg, const char *name, const struct backend_stat *st)
{
    struct plain_left *l = arg;

    if (l->n == ARRAY_LEN(l->markers))
        return -E_BUSY;
    snprintf(l->markers[l->n++], sizeof(l->markers[0]), "%s", name);
    if (strtoul(name + strlen("run/"), NULL, 10) < l->number)
        return 0;
    if (l->first_ns == 0)
        l->first_ns = st->mtime_ns;
    l->mine_ns = st->mtime_ns;
    return 0;
}

static int take_item(void *arg, const char *name, const struct backend_stat *st)
{
    struct plain_left *l = arg;
    struct plain_item i = {l->names.len, st->size, st->mtime_ns};

    return buf_add(&l->items, &i, sizeof(i)) < 0 ? -E_NOMEM : buf_add(&l->names, name, strlen(name) + 1);
}

const struct plain_item *plain_left_find(const struct plain_left *l, const char *object)
{
    const struct plain_item *v = (const struct plain_item *)l->items.data;
    size_t lo = 0, hi = l->items.len / sizeof(*v);

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = strcmp((const char *)l->names.data + v[mid].name, object);

        if (c == 0)
            return &v[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

static int one_name(void *arg, const char *name, const struct backend_stat *st)
{
    (void)arg;
    (void)name;
    (void)st;
    return -E_NOTEMPTY;
}

/* No export was ever begun there: what has our names is somebody else's, and would be replaced. */
static int nothing_there(struct backend *b, const struct backend_call *c)
{
    int r = backend_list(b, c, "files/", "", one_name, NULL);

    return r < 0 ? r : backend_list(b, c, "far/", "", one_name, NULL);
}

/* After the last; those between the first and it say nothing any more. */
static int put_marker(struct backend *b, const struct backend_call *c, const char *uuid, struct plain_left *l)
{
    const char *dash = l->n ? strchr(l->markers[l->n - 1], '-') : NULL;
    unsigned tries = dash ? (unsigned)strtoul(dash + 1, NULL, 10) : 0;
    int r = 0;

    while (r == 0 && l->n > 1) {
        r = backend_del(b, c, l->markers[l->n - 1]);
        if (r == -E_NOENT)
            r = 0;
        l->n--;
    }
    snprintf(l->markers[l->n], sizeof(l->markers[0]), "run/%08u-%04u", l->number, tries + 1);
    l->n++;
    return r < 0 ? r : backend_put_same(b, c, l->markers[l->n - 1], uuid, strlen(uuid));
}

int plain_left_open(struct backend *b, const struct backend_call *c, uint32_t number,
                    const struct layer_rec *rec, struct plain_left *ret)
{
    cleanup(buf_free) struct buf last = {0};
    char uuid[UUID_TEXT_SIZE];
    int r;

    ret->number = number;
    r = backend_list(b, c, "run/", "", take_marker, ret);
    if (r == 0 && number == 1 && ret->n == 0 && !BROKEN(VARVE_BREAK_plain_foreign))
        r = nothing_there(b, c);
    uuid_format(&rec->uuid, uuid);
    if (r == 0 && ret->first_ns)
        r = backend_get_all(b, c, ret->markers[ret->n - 1], TEXT_MAX, &last);
    if (r == 0 && ret->first_ns)
        r = backend_list(b, c, "far/", "", take_item, ret);
    if (r == 0 && ret->first_ns)
        r = backend_list(b, c, "files/", "", take_item, ret);
    if (r < 0 || (ret->first_ns && last.len == strlen(uuid) && memcmp(last.data, uuid, last.len) == 0))
        return r;
    ret->mine_ns = 0;
    return put_marker(b, c, uuid, ret);
}

int plain_left_done(struct backend *b, const struct backend_call *c, const struct plain_left *l)
{
    int r = 0;

    for (size_t i = l->n; (r == 0 || r == -E_NOENT) && i-- > 0;)
        r = backend_del(b, c, l->markers[i]);
    return r == -E_NOENT ? 0 : r;
}

void plain_left_release(struct plain_left *l)
{
    buf_free(&l->items);
    buf_free(&l->names);
}
