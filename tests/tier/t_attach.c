/* Attachments: with each recovery point its own; whoever handles its tree handles them. */
#include <stdio.h>
#include <stdlib.h>

#include "snap/snapshot.h"
#include "tests/lib/test.h"
#include "tests/tier/rig.h"
#include "tier/copy.h"
#include "tier/point_diff.h"
#include "tier/prune.h"

static void attach(struct attachments *l, const char *name, size_t len, uint8_t with)
{
    struct attachment *v = realloc(l->v, (l->n + 1) * sizeof(*v));

    CHECK(v != NULL);
    l->v = v;
    v[l->n] = (struct attachment){.name = ""};
    snprintf(v[l->n].name, sizeof(v[l->n].name), "%s", name);
    CHECK_OK(buf_add_zero(&v[l->n].bytes, len));
    if (len)
        memset(v[l->n].bytes.data, with, len);
    l->n++;
}

static struct backup_result backed_up(struct repo_rig *g, const char *name, const struct attachments *l)
{
    struct backup_opts o = {.attach = l};
    struct backup_result res;
    struct layer_rec rec;

    CHECK_OK(snap_find(g->b.v, name, &rec));
    CHECK_OK(backup_run(g->w.r, g->b.v, &rec, &o, &res));
    return res;
}

static int tell(void *arg, const char *name, uint64_t len)
{
    return buf_printf(arg, "%s %llu\n", name, (unsigned long long)len);
}

static void has(struct repo_rig *g, struct repo *r, const char *id, const char *want)
{
    cleanup(buf_free) struct buf got = {0}, err = {0};
    struct point p;

    (void)g;
    CHECK_OK(repo_sync(r));
    CHECK_OK(point_find(r, id, &p, &err));
    CHECK_OK(attach_each(r, &p.tree, tell, &got));
    if (strcmp(buf_cstr(&got), want) != 0)
        test_fail(__FILE__, __LINE__, "%s, not %s", buf_cstr(&got), want);
    CHECK_EQ(p.flags & POINT_ATTACHED, *want ? POINT_ATTACHED : 0);
    point_release(&p);
}

static void bytes_are(struct repo *r, const char *id, const char *name, size_t len, uint8_t with)
{
    cleanup(buf_free) struct buf got = {0}, err = {0};
    struct point p;

    CHECK_OK(point_find(r, id, &p, &err));
    CHECK_OK(attach_get(r, &p.tree, name, &got));
    CHECK_EQ(got.len, len);
    for (size_t i = 0; i < len; i++)
        CHECK(got.data[i] == with);
    point_release(&p);
}

TEST(test_attach__each_recovery_point_has_its_own)
{
    struct attachments l = {0}, m = {0};
    struct backup_result x, y, z, again;
    struct repo_rig g;

    rig_begin(&g);
    box_text(&g.b, g.b.v, "f", "text");
    (void)rig_snapshot(&g, "a");
    attach(&l, "conf", 3000, 'c');
    attach(&l, "conf.d", 10, 'd');
    attach(&l, "empty", 0, 0);
    attach(&l, "large", ATTACH_BYTES, 'l');
    x = backed_up(&g, "a", &l);
    has(&g, g.w.r, x.id, "conf 3000\nconf.d 10\nempty 0\nlarge 1048576\n");
    bytes_are(g.w.r, x.id, "conf", 3000, 'c');
    bytes_are(g.w.r, x.id, "large", ATTACH_BYTES, 'l');
    bytes_are(g.w.r, x.id, "empty", 0, 0);
    box_text(&g.b, g.b.v, "f", "other");
    (void)rig_snapshot(&g, "b");
    attach(&m, "conf", 5, 'n');
    y = backed_up(&g, "b", &m);
    CHECK(strcmp(y.base, x.id) == 0);
    has(&g, g.w.r, y.id, "conf 5\n");
    box_text(&g.b, g.b.v, "f", "third");
    (void)rig_snapshot(&g, "c");
    z = backed_up(&g, "c", NULL);
    has(&g, g.w.r, z.id, "");
    CHECK(backed_up(&g, "c", NULL).same);
    again = backed_up(&g, "c", &m);
    CHECK(!again.same);
    has(&g, g.w.r, again.id, "conf 5\n");
    has(&g, g.w.r, x.id, "conf 3000\nconf.d 10\nempty 0\nlarge 1048576\n");
    rig_sound(&g);
    attachments_free(&l);
    attachments_free(&m);
    rig_end(&g);
}

/* A prune keeps them, a copy brings them, a restore of the files does not see them. */
TEST(test_attach__go_where_the_tree_goes)
{
    cleanup(buf_free) struct buf want = {0}, err = {0};
    struct prune_opts prune = {.exclusive = true};
    struct attachments l = {0};
    struct prune_result pruned;
    struct copy_opts o = {0};
    struct copy_result res;
    struct backup_result x;
    struct repo_root root;
    struct repo_rig g;
    struct world other;
    struct backend *b;
    struct point p;

    rig_begin(&g);
    rig_fill_file(&g, "f", 100000);
    rig_picture(&g, &want);
    (void)rig_snapshot(&g, "a");
    attach(&l, "one", 50000, '1');
    attach(&l, "two", 70000, '2');
    x = backed_up(&g, "a", &l);
    CHECK_OK(prune_run(g.w.r, &prune, &pruned, &err));
    bytes_are(g.w.r, x.id, "one", 50000, '1');
    rig_restores_to(&g, x.id, &want);
    other = (struct world){.m = mem_new(), .s = {.kdf = KDF_FILE}};
    memset(other.s.file.b, 7, sizeof(other.s.file.b));
    snprintf(other.cache, sizeof(other.cache), "%s/other", test_dir());
    b = mem_backend(other.m);
    CHECK_OK(repo_init(b, NULL, &other.s, &root));
    backend_close(b);
    world_repo(&other);
    p = rig_point(&g, x.id);
    CHECK_OK(copy_run(g.w.r, other.r, &p, &o, &res));
    point_release(&p);
    has(&g, other.r, res.id, "one 50000\ntwo 70000\n");
    bytes_are(other.r, res.id, "two", 70000, '2');
    world_close(&other);
    attachments_free(&l);
    rig_end(&g);
}
