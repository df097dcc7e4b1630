#include "tier/copy.h"
#include "tier/thaw.h"

int copy_run_thawed(struct repo *from, struct repo *to, const struct point *p, const struct copy_opts *o,
                    int (*thaws)(void *arg, uint64_t ready, uint64_t of), struct copy_result *ret,
                    struct buf *err)
{
    char *paths[] = {(char *)(uintptr_t)o->path};
    struct thaw_opts t = {.arg = o->arg, .progress = thaws};
    struct thaw_result thawed;
    int r = copy_run(from, to, p, o, ret);

    if (r != -E_ARCHIVED || BROKEN(VARVE_BREAK_copy_unthawed))
        return r;
    if (o->path) {
        t.paths = paths;
        t.npaths = 1;
    } else if (ret->was.depth) {
        t.but = &ret->was;
    }
    r = thaw_run(from, p, &t, &thawed, err);
    return r < 0 ? r : copy_run(from, to, p, o, ret);
}
