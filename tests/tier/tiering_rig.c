#include "tests/tier/tiering_rig.h"

#include "snap/store/cold.h"
#include "tests/lib/test.h"
#include "tier/import.h"

unsigned tiering_fetches;

static int on_fetch(void *arg, uint32_t source, const struct cold_ref *ref, uint32_t blocks, void *out)
{
    struct repo_rig *g = arg;

    (void)source;
    tiering_fetches++;
    return import_slice(g->w.r, ref->p, ref->len, ref->skip, blocks, out);
}

void tiering_connect(struct repo_rig *g)
{
    store_set_cold(g->b.s, &(struct cold_hooks){.arg = g, .fetch = on_fetch});
}

int tiering_try(struct repo_rig *g, const char *id, const char *snap, struct release_opts o,
                struct release_result *ret)
{
    cleanup(buf_free) struct buf err = {0};
    struct layer_rec rec;
    struct point p;
    int r;

    CHECK_OK(cold_begin(g->b.s));
    CHECK_OK(cold_source_put(g->b.s, "here", 4, &o.source));
    CHECK_OK(point_get(g->w.r, id, &p));
    CHECK_OK(snap_find(g->b.v, snap, &rec));
    r = release_run(g->w.r, &p, g->b.v, &rec, &o, ret, &err);
    point_release(&p);
    return r;
}

struct release_result tiering_released(struct repo_rig *g, const char *id, const char *snap)
{
    struct release_result res;

    CHECK_OK(tiering_try(g, id, snap, (struct release_opts){0}, &res));
    return res;
}

uint64_t tiering_remote(struct repo_rig *g)
{
    struct cold_stat st;

    CHECK_OK(cold_stat(g->b.v, &st));
    return st.remote_bytes;
}
