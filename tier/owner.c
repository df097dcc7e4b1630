#include "tier/owner.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define NAME_MAX_BYTES 100
#define OBJECT_MAX 4096

static void object_name(const char *name, uint64_t epoch, char ret[BACKEND_NAME_MAX + 1])
{
    snprintf(ret, BACKEND_NAME_MAX + 1, "owners/%s/%016" PRIx64, name, epoch);
}

int owner_name_check(const char *name)
{
    size_t n = strlen(name);

    return n > 0 && n <= NAME_MAX_BYTES && name[0] != '.' &&
                   strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == n
               ? 0
               : -E_NAME;
}

static int take_name(void *arg, const char *name, const struct backend_stat *st)
{
    uint64_t *newest = arg;
    const char *hex = strrchr(name, '/') + 1;

    (void)st;
    if (strlen(hex) == 16 && strspn(hex, "0123456789abcdef") == 16)
        *newest = MAX_OF(*newest, strtoull(hex, NULL, 16));
    return 0;
}

int owner_newest(struct repo *r, const char *name, struct owner *ret)
{
    cleanup(buf_free) struct buf b = {0};
    char prefix[BACKEND_NAME_MAX + 1], object[BACKEND_NAME_MAX + 1];
    struct owner o = {.epoch = 0};
    int x;

    snprintf(prefix, sizeof(prefix), "owners/%s/", name);
    x = backend_list(r->b, &r->call, prefix, "", take_name, &o.epoch);
    if (x == 0 && o.epoch > 0) {
        object_name(name, o.epoch, object);
        x = backend_get_all(r->b, &r->call, object, OBJECT_MAX, &b);
        if (x == 0 && (b.len != UUID_TEXT_SIZE || !buf_cstr(&b)))
            x = -E_CORRUPT;
        if (x == 0)
            ((char *)b.data)[UUID_TEXT_SIZE - 1] = 0; /* its newline */
        if (x == 0 && uuid_parse((const char *)b.data, &o.store) < 0)
            x = -E_CORRUPT;
    }
    if (x == 0)
        *ret = o;
    return x;
}

int owner_take(struct repo *r, const char *name, const struct owner *o)
{
    char object[BACKEND_NAME_MAX + 1], text[UUID_TEXT_SIZE + 1];
    struct owner newest;
    int x = repo_may_write(r);

    assert(o->epoch > 0);
    uuid_format(&o->store, text);
    memcpy(text + UUID_TEXT_SIZE - 1, "\n", 2);
    object_name(name, o->epoch, object);
    if (x == 0)
        x = repo_put(r, object, text, UUID_TEXT_SIZE);
    if (BROKEN(VARVE_BREAK_owner_twice) && x == -E_EXIST)
        x = 0;
    if (x == 0)
        x = owner_newest(r, name, &newest);
    return x == 0 && newest.epoch > o->epoch ? -E_EXIST : x;
}
