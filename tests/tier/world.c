#include "tests/tier/world.h"

#include <stdio.h>

#include "tests/lib/test.h"
#include "tests/lib/tree.h"

int world_try(struct world *w, struct buf *err)
{
    repo_close(TAKE(w->r));
    return repo_open(mem_backend(w->m), NULL, &w->s, w->cache, &w->r, err);
}

void world_repo(struct world *w)
{
    cleanup(buf_free) struct buf err = {0};

    if (world_try(w, &err) < 0)
        test_fail(__FILE__, __LINE__, "%s", buf_cstr(&err));
}

void world_forget(struct world *w)
{
    repo_close(TAKE(w->r));
    tree_remove(w->cache);
    world_repo(w);
}

void world_open(struct world *w)
{
    struct repo_root root;
    struct backend *b;

    *w = (struct world){.m = mem_new(), .s = {.kdf = KDF_FILE}};
    memset(w->s.file.b, 0x5a, sizeof(w->s.file.b));
    snprintf(w->cache, sizeof(w->cache), "%s/cache", test_dir());
    b = mem_backend(w->m);
    CHECK_OK(repo_init(b, NULL, &w->s, &root));
    CHECK_ERR(repo_init(b, NULL, &w->s, &root), -E_REPO_EXIST);
    backend_close(b);
    world_repo(w);
    CHECK_OK(repo_sync(w->r));
}

void world_other(struct world *o, const char *name)
{
    struct repo_root root;
    struct backend *b;

    *o = (struct world){.m = mem_new(), .s = {.kdf = KDF_FILE}};
    memset(o->s.file.b, name[0], sizeof(o->s.file.b));
    snprintf(o->cache, sizeof(o->cache), "%s/%s", test_dir(), name);
    b = mem_backend(o->m);
    CHECK_OK(repo_init(b, NULL, &o->s, &root));
    backend_close(b);
    world_repo(o);
}

void world_close(struct world *w)
{
    repo_close(TAKE(w->r));
    mem_free(TAKE(w->m));
}
