/* Profiles that were read lately, by their texts. The scheduler asks for the same few at each of its looks, and libconfig ends the
 * process when memory runs out: it reads what is new, and nothing twice. */
#include <pthread.h>
#include <stdlib.h>

#include "base/mark.h"
#include "conf/profile.h"

#define KEPT_MOST 32

struct kept {
    char *text; /* NULL: nothing here */
    struct profile *p;
    uint64_t used;
};

static pthread_mutex_t kept_lock = PTHREAD_MUTEX_INITIALIZER; /* guards kept, uses */
static struct kept kept[KEPT_MOST];
static uint64_t uses;

static struct profile *copy(const struct profile *p)
{
    struct profile *c = profile_new();

    if (!c)
        return NULL;
    *c = *p;
    c->others = (struct buf){0};
    if (buf_add(&c->others, p->others.data, p->others.len) < 0)
        profile_free(&c);
    return c;
}

/* The one with this text; NULL: the place for it is *ret_oldest. */
static struct kept *find_locked(const char *text, struct kept **ret_oldest)
{
    struct kept *oldest = kept;

    for (size_t i = 0; i < KEPT_MOST; i++) {
        if (kept[i].text && strcmp(kept[i].text, text) == 0)
            return &kept[i];
        if (kept[i].used < oldest->used)
            oldest = &kept[i];
    }
    *ret_oldest = oldest;
    return NULL;
}

/* 0, -E_NOMEM; -E_NOENT: it is not known. */
static int get(const char *text, struct profile **ret)
{
    struct kept *k, *oldest;
    int r = -E_NOENT;

    pthread_mutex_lock(&kept_lock);
    if ((k = find_locked(text, &oldest)) && !BROKEN(VARVE_BREAK_profile_kept)) {
        k->used = ++uses;
        *ret = copy(k->p);
        r = *ret ? 0 : -E_NOMEM;
    }
    pthread_mutex_unlock(&kept_lock);
    return r;
}

/* Where memory is out it is read anew the next time. */
static void put(const char *text, const struct profile *p)
{
    struct profile *c = copy(p);
    char *t = c ? strdup(text) : NULL;
    struct kept *place;

    if (!t) {
        profile_free(&c);
        return;
    }
    pthread_mutex_lock(&kept_lock);
    if (!find_locked(text, &place)) {
        struct kept was = *place;

        *place = (struct kept){t, c, ++uses};
        t = was.text;
        c = was.p;
    }
    pthread_mutex_unlock(&kept_lock);
    free(t);
    profile_free(&c);
}

int profile_parse_kept(const char *text, const char *path, struct profile **ret, struct buf *err)
{
    int r = get(text, ret);

    if (r != -E_NOENT)
        return r;
    MARK("profile: read by libconfig");
    r = profile_parse(text, path, ret, err);
    if (r == 0)
        put(text, *ret);
    return r;
}
