#include "tier/expire.h"

#include <stdlib.h>

static int by_volume(const void *a, const void *b)
{
    const struct expire_item *x = a, *y = b;
    int r = memcmp(&x->volume, &y->volume, sizeof(x->volume));

    return r ? r : (x->taken_ns > y->taken_ns) - (x->taken_ns < y->taken_ns);
}

/* Those of one volume, ascending. */
static int decide_one(const struct expire_rule *rule, const struct zone *z, struct expire_item *v, size_t n)
{
    struct retain_snap *s = calloc(n, sizeof(*s));
    int gone = 0;

    if (!s)
        return -E_NOMEM;
    for (size_t i = 0; i < n; i++)
        s[i] = (struct retain_snap){.due_s = v[i].taken_ns / 1000000000, .schedule = -1};
    if (retain_all_set(&rule->keep))
        retain_decide(NULL, NULL, 0, &rule->keep, z, s, n);
    for (size_t i = 0; i < n; i++) {
        bool unwanted = retain_all_set(&rule->keep) ? s[i].drop : rule->before_ns != 0;

        v[i].drop = unwanted && i + 1 < n && (!rule->before_ns || v[i].taken_ns < rule->before_ns);
        gone += v[i].drop;
    }
    free(s);
    return gone;
}

int expire_decide(const struct expire_rule *rule, const struct zone *z, struct expire_item *v, size_t n)
{
    int gone = 0, r;

    if (n)
        qsort(v, n, sizeof(*v), by_volume);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && uuid_equal(&v[i].volume, &v[end].volume);)
            end++;
        r = decide_one(rule, z, v + i, end - i);
        if (r < 0)
            return r;
        gone += r;
    }
    return gone;
}
