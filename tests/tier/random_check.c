/* The random test's judge: recovery points are restored, by any machine, and compared with what was kept beside. */
#include <stdlib.h>
#include <sys/stat.h>

#include "tests/lib/test.h"
#include "tests/lib/tree.h"
#include "tests/tier/random_life.h"
#include "tests/tier/rig.h"

static void on_hurt(void *arg, const char *path, int why)
{
    (void)arg;
    test_fail(__FILE__, __LINE__, "%s is hurt: %s", path, err_name(why));
}

/* paths: of the tree's own, or none for everything. */
static void restore(struct life *l, struct repo *r, const struct rp *p, const char *to, char *const *paths,
                    size_t n)
{
    cleanup(buf_free) struct buf err = {0};
    struct restore_opts o = {
        .paths = paths, .npaths = n, .arg = l->restoring_arg, .progress = l->restoring, .hurt = on_hurt};
    struct restore_result res;
    struct point pt;

    CHECK_OK(point_find(r, p->id, &pt, &err));
    if (restore_run(r, &pt, to, &o, &res, &err) < 0)
        test_fail(__FILE__, __LINE__, "%.12s of %s: %s", p->id, pt.snapshot_name, buf_cstr(&err));
    point_release(&pt);
    CHECK_EQ(res.hurt + res.weaker, 0);
}

static void same(const char *a, const char *b, bool whole)
{
    cleanup(buf_free) struct buf x = {0}, y = {0};

    rig_dir_picture(a, whole, &x);
    rig_dir_picture(b, whole, &y);
    if (!box_same(&x, &y))
        test_fail(__FILE__, __LINE__, "%s and %s differ", a, b);
}

static void restore_paths(struct life *l, struct repo *r, const struct rp *p, const char *to)
{
    const struct shot *s = &l->shot[p->shot];
    char a[300], was[720], is[720], *paths[] = {a};

    if (!plain_pick(s->copy, &l->rng, a))
        return;
    restore(l, r, p, to, paths, 1);
    snprintf(was, sizeof(was), "%s/%s", s->copy, a);
    snprintf(is, sizeof(is), "%s/%s", to, strrchr(a, '/') ? strrchr(a, '/') + 1 : a);
    same(was, is, false);
    tree_remove(to);
    l->n[N_PATHS]++;
}

void life_restore(struct life *l, unsigned machine, unsigned k, const struct rp *p, bool paths)
{
    struct repo *r = life_repo(l, machine, k);
    char to[300];

    snprintf(to, sizeof(to), "%s/out", test_dir());
    if (paths) {
        restore_paths(l, r, p, to);
        return;
    }
    restore(l, r, p, to, NULL, 0);
    same(l->shot[p->shot].copy, to, true);
    tree_remove(to);
    l->n[N_RESTORE]++;
}

static void found(void *arg, const char *line)
{
    CHECK_OK(buf_printf(arg, "%s\n", line));
}

void life_verify(struct life *l, unsigned k, bool full, double share)
{
    cleanup(buf_free) struct buf lines = {0};
    struct verify_opts o = {.full = full, .share = share, .arg = &lines, .found = found};
    struct verify_result res;

    life_forget(l, EYE);
    CHECK_OK(verify_run(life_repo(l, EYE, k), &o, &res));
    if (res.damages)
        test_fail(__FILE__, __LINE__, "repository %u: %s", k, buf_cstr(&lines));
    CHECK_EQ(res.points, life_points(l, k));
    l->n[N_VERIFY]++;
}
