#include "tier/places.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/array.h"

struct place {
    uint32_t in;
    uint64_t name; /* in names */
};

static void stand(struct places *p, uint32_t at, int fd)
{
    if (p->fd >= 0)
        close(p->fd);
    p->fd = fd;
    p->at = at;
}

void places_release(struct places *p)
{
    stand(p, PLACE_ROOT, -1);
    free(p->v);
    buf_free(&p->names);
    *p = (struct places)PLACES_OF(-1);
}

int places_add(struct places *p, uint32_t in, const char *name, size_t len, uint32_t *ret)
{
    struct place one = {.in = in, .name = p->names.len};
    struct place *v = p->n < UINT32_MAX ? array_more(p->v, p->n, sizeof(*v)) : NULL;
    int r;

    assert(in <= p->n);
    if (!v)
        return -E_NOMEM;
    p->v = v;
    if ((r = buf_add(&p->names, name, len)) < 0 || (r = buf_add(&p->names, "", 1)) < 0)
        return r;
    p->v[p->n++] = one;
    *ret = (uint32_t)p->n;
    return 0;
}

/* From the place up to the root. */
static int way_up(const struct places *p, uint32_t place, struct buf *ret)
{
    int r = 0;

    for (; r == 0 && place != PLACE_ROOT; place = p->v[place - 1].in)
        r = buf_add(ret, &place, sizeof(place));
    return r;
}

static int go_down(struct places *p, uint32_t place)
{
    const char *name = (const char *)p->names.data + p->v[place - 1].name;
    int fd = openat(p->fd >= 0 ? p->fd : p->root, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return err_from_errno(errno);
    stand(p, place, fd);
    return 0;
}

int places_open(struct places *p, uint32_t place, int *ret_fd)
{
    cleanup(buf_free) struct buf way = {0};
    int r = 0;

    assert(place <= p->n);
    if (p->at != place) {
        stand(p, PLACE_ROOT, -1);
        r = way_up(p, place, &way);
    }
    for (size_t at = way.len; r == 0 && at > 0; at -= sizeof(place)) {
        uint32_t next;

        memcpy(&next, way.data + at - sizeof(next), sizeof(next));
        r = go_down(p, next);
    }
    if (r < 0)
        stand(p, PLACE_ROOT, -1);
    else
        *ret_fd = p->fd >= 0 ? p->fd : p->root;
    return r;
}
