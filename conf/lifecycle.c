#include "conf/lifecycle.h"

#include <string.h>

#define DAY 86400
#define LOOKS 16 /* in the age that is asked for */

static void place_add(struct lifecycle_place *v, size_t *n, const char *name, const char *to)
{
    for (size_t i = 0; i < *n; i++)
        if (strcmp(v[i].to, to) == 0)
            return;
    v[(*n)++] = (struct lifecycle_place){name, to};
}

size_t lifecycle_places(const struct profile *p, struct lifecycle_place ret[LIFECYCLE_PLACES_MAX])
{
    size_t n = 0;

    for (size_t i = 0; i < p->nbackups; i++)
        place_add(ret, &n, p->backups[i].name, p->backups[i].to);
    if (p->tiering.to[0])
        place_add(ret, &n, LIFECYCLE_TIERING, p->tiering.to);
    return n;
}

int64_t lifecycle_after(const struct profile *p, enum lifecycle_what what)
{
    return what == LIFECYCLE_EXPIRE ? p->lifecycle.expire_after_s : p->lifecycle.transition_after_s;
}

bool lifecycle_schedule(const struct profile *p, enum lifecycle_what what, struct schedule *ret)
{
    int64_t after_s = lifecycle_after(p, what);

    *ret = (struct schedule){.occurrence = OCCUR_EVERY, .every_s = MIN_OF(MAX_OF(after_s / LOOKS, 60), DAY)};
    return after_s && (what == LIFECYCLE_EXPIRE || p->lifecycle.storage_class[0]);
}

int64_t lifecycle_before(int64_t after_s, int64_t here_ns, int64_t there_ns)
{
    int64_t now_ns = BROKEN(VARVE_BREAK_expire_clock) ? here_ns : MIN_OF(here_ns, there_ns);

    return now_ns - after_s * 1000000000;
}
