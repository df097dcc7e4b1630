/* Names of snapshots are one space over all volumes. What is kept here is a hint: it is filled by a walk at the first question, and
 * what it says is asked of that volume again. */
#include <stdlib.h>

#include "plugin/csi.h"

struct entry {
    struct entry *next;
    char uuid[UUID_TEXT_SIZE];
    char name[];
};

struct csi_names {
    bool filled;
    struct entry *first;
};

static struct entry *entry_new(const char *uuid, const char *name)
{
    size_t n = strlen(name) + 1;
    struct entry *e = malloc(sizeof(*e) + n);

    if (!e)
        return NULL;
    memcpy(e->name, name, n);
    memcpy(e->uuid, uuid, UUID_TEXT_SIZE);
    return e;
}

static void names_free(struct csi_names *n)
{
    for (struct entry *e = n ? n->first : NULL, *next; e; e = next) {
        next = e->next;
        free(e);
    }
    free(n);
}

static int put_locked(struct csi *d, const char *uuid, const char *name) REQUIRES(d->lock)
{
    struct entry *e;

    if (!d->names && !(d->names = calloc(1, sizeof(*d->names))))
        return -E_NOMEM;
    for (e = d->names->first; e; e = e->next)
        if (strcmp(e->uuid, uuid) == 0 && strcmp(e->name, name) == 0)
            return 0;
    e = entry_new(uuid, name);
    if (!e)
        return -E_NOMEM;
    e->next = d->names->first;
    d->names->first = e;
    return 0;
}

int csi_name_put(struct csi_call *k, const struct csi_volume *v, const char *name)
{
    int r;

    lock_take(&k->d->lock);
    r = put_locked(k->d, v->uuid, name);
    lock_drop(&k->d->lock);
    return r < 0 ? csi_nomem(k) : 0;
}

void csi_name_drop(struct csi *d, const char *uuid, const char *name)
{
    lock_take(&d->lock);
    for (struct entry **at = d->names ? &d->names->first : NULL; at && *at; at = &(*at)->next)
        if (strcmp((*at)->uuid, uuid) == 0 && strcmp((*at)->name, name) == 0) {
            struct entry *e = *at;

            *at = e->next;
            free(e);
            break;
        }
    lock_drop(&d->lock);
}

static bool is_filled(struct csi *d)
{
    bool filled;

    lock_take(&d->lock);
    filled = d->names && d->names->filled;
    lock_drop(&d->lock);
    return filled;
}

static int fill(struct csi_call *k, const struct csi_volumes *vs)
{
    struct csi_snapshots ss = {.n = 0};
    int r = csi_snapshots_all(k, vs, &ss);

    if (r < 0)
        return r;
    lock_take(&k->d->lock);
    for (size_t i = 0; i < ss.n && r == 0; i++)
        r = put_locked(k->d, ss.s[i].volume->uuid, ss.s[i].csi_name);
    if (r == 0 && !k->d->names && !(k->d->names = calloc(1, sizeof(*k->d->names))))
        r = -E_NOMEM;
    if (r == 0)
        k->d->names->filled = true;
    lock_drop(&k->d->lock);
    return r < 0 ? csi_nomem(k) : 0;
}

/* The uuid of a volume that is said to have the name. */
static bool said(struct csi *d, const char * not, const char *name, char ret[UUID_TEXT_SIZE])
{
    bool found = false;

    lock_take(&d->lock);
    for (struct entry *e = d->names->first; e && !found; e = e->next) {
        found = strcmp(e->name, name) == 0 && strcmp(e->uuid, not ) != 0;
        if (found)
            memcpy(ret, e->uuid, UUID_TEXT_SIZE);
    }
    lock_drop(&d->lock);
    return found;
}

int csi_name_elsewhere(struct csi_call *k, const struct csi_volumes *vs, const struct csi_volume *v,
                       const char *name, const char **ret)
{
    char uuid[UUID_TEXT_SIZE];
    int r = is_filled(k->d) ? 0 : fill(k, vs);

    *ret = NULL;
    while (r == 0 && !*ret && said(k->d, v->uuid, name, uuid)) {
        struct csi_snapshots ss = {.n = 0};

        for (size_t i = 0; i < vs->n && r == 0; i++)
            if (strcmp(vs->v[i].uuid, uuid) == 0)
                r = csi_snapshots_add(k, &vs->v[i], false, &ss);
        for (size_t i = 0; i < ss.n && !*ret; i++)
            if (strcmp(ss.s[i].csi_name, name) == 0)
                *ret = ss.s[i].volume->uuid;
        if (r == 0 && !*ret)
            csi_name_drop(k->d, uuid, name); /* deleted by somebody else */
    }
    return r;
}

void csi_release(struct csi *d)
{
    assert(!d->busy);
    csi_mobile_release(d);
    names_free(d->names);
    d->names = NULL;
    lock_release(&d->lock);
}
