/* Pages of metadata: each is proved once by those who look at many records, and never trusted before. */
#include <stdio.h>

#include "tests/lib/test.h"
#include "tests/tier/rig.h"
#include "tier/repo_page.h"
#include "tier/tree.h"

#define FILES 5000u /* more than a hundred pages */

static void many_files(struct repo_rig *g)
{
    char name[16];

    for (unsigned i = 0; i < FILES; i++) {
        snprintf(name, sizeof(name), "f%05u", i);
        box_text(&g->b, g->b.v, name, name);
    }
}

static int count_page(void *arg, const struct slice *page, const uint8_t *p, size_t len, int error)
{
    (void)page;
    (void)p;
    (void)len;
    CHECK_OK(error);
    ++*(uint64_t *)arg;
    return 0;
}

TEST(test_page__a_restore_proves_each_once)
{
    cleanup(buf_free) struct buf was = {0};
    struct repo_page *root = NULL;
    struct backup_result up;
    uint64_t pages = 0;
    struct repo_rig g;
    struct point p;
    char to[400];

    rig_begin(&g);
    many_files(&g);
    up = rig_back_up(&g, "s");
    expect_mark("kv: pages that were read are let go");
    world_repo(&g.w);
    p = rig_point(&g, up.id);
    CHECK_OK(repo_page_get(g.w.r, &p.tree.root, &root));
    CHECK_OK(buf_add(&was, root->plain.data, root->plain.len));
    snprintf(to, sizeof(to), "%s/to", test_dir());
    CHECK_EQ(rig_restored(&g, up.id, to, NULL).files, FILES);
    CHECK_OK(tree_walk(g.w.r, &p.tree, count_page, &pages));
    CHECK(pages > 64);
    CHECK(g.w.r->proved_pages <= 4 * pages); /* the names, then the files, then the walk here */
    CHECK(root->plain.len == was.len && memcmp(root->plain.data, was.data, was.len) == 0);
    repo_page_put(&root);
    point_release(&p);
    rig_end(&g);
}

/* A reference that says another name than the bytes have. */
TEST(test_page__one_that_is_not_proved_is_not_kept)
{
    struct repo_page *page = NULL;
    struct backup_result up;
    struct repo_rig g;
    struct point p;
    struct slice s;

    rig_begin(&g);
    box_text(&g.b, g.b.v, "f", "text");
    up = rig_back_up(&g, "s");
    p = rig_point(&g, up.id);
    s = p.tree.root;
    CHECK_OK(repo_page_get(g.w.r, &s, &page));
    repo_page_put(&page);
    s.blob.b[0] ^= 1;
    for (unsigned i = 0; i < 2; i++)
        CHECK_ERR(repo_page_get(g.w.r, &s, &page), -E_CORRUPT);
    s = p.tree.root;
    s.chunk.b[0] ^= 1; /* the right name at a place that is not there */
    CHECK_ERR(repo_page_get(g.w.r, &s, &page), -E_NOENT);
    point_release(&p);
    rig_end(&g);
}
