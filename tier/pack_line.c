/* Chunks are sealed and packs are put by threads of their own, so that reading, computing and sending go on at once. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mark.h"
#include "tier/pack_i.h"

#define VERSION 1
#define PACKS_AT_ONCE 1 /* beside the one that fills up; each is in memory here and in varve-tierd */

static unsigned sealers(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);

    return n < 1 ? 1 : n > LINE_THREADS_MAX ? LINE_THREADS_MAX : (unsigned)n;
}

void line_init(struct pack_line *l, struct repo *r)
{
    *l = (struct pack_line){.r = r, .threads = sealers()};
    l->chunks_end = &l->chunks;
    l->packs_end = &l->packs;
}

/* --- chunks --------------------------------------------------------------------------------------------------------- */

static void chunk_free(struct chunk_work *w)
{
    task_unref(w->task);
    buf_free(&w->plain);
    buf_free(&w->blobs);
    buf_free(&w->sealed);
    free(w);
}

void line_chunk_spare(struct pack_line *l, struct chunk_work *w)
{
    task_unref(w->task);
    w->task = NULL;
    buf_reset(&w->plain);
    buf_reset(&w->blobs);
    buf_reset(&w->sealed);
    w->n = 0;
    w->next = l->chunks_spare;
    l->chunks_spare = w;
}

struct chunk_work *line_chunk_new(struct pack_line *l)
{
    struct chunk_work *w = l->chunks_spare;

    if (w) {
        l->chunks_spare = w->next;
        w->next = NULL;
        return w;
    }
    if ((w = calloc(1, sizeof(*w))))
        w->line = l;
    return w;
}

/* There are as many as threads. */
static unsigned sealer_take(struct pack_line *l)
{
    for (unsigned i = 0;; i = (i + 1) % l->threads)
        if (!atomic_exchange(&l->busy[i], true))
            return i;
}

static void seal_one(struct task *t, void *arg)
{
    struct chunk_work *w = arg;
    unsigned i;

    w->result = -E_CANCELED;
    if (t && task_canceled(t))
        return;
    i = sealer_take(w->line);
    w->line->sealer[i].hard = w->hard;
    w->result = seal_with(&w->line->sealer[i], &w->line->r->into, w->kind, &w->id, w->plain.data,
                          w->plain.len, &w->sealed);
    atomic_store(&w->line->busy[i], false);
}

bool line_chunks_full(const struct pack_line *l)
{
    return l->nchunks >= l->threads;
}

int line_chunk_send(struct pack_line *l, struct chunk_work *w, bool last)
{
    int r = 0;

    assert(!line_chunks_full(l));
    if (last && !l->sealing)
        seal_one(NULL, w);
    else if (!l->sealing)
        r = task_pool_new("seal", l->threads, l->threads, &l->sealing);
    if (r == 0 && l->sealing)
        r = task_submit_wait(l->sealing, seal_one, w, &w->task);
    if (r < 0) {
        line_chunk_spare(l, w);
        return r;
    }
    w->next = NULL;
    *l->chunks_end = w;
    l->chunks_end = &w->next;
    l->nchunks++;
    return 0;
}

struct chunk_work *line_chunk_take(struct pack_line *l, bool wait)
{
    struct chunk_work *w = l->chunks;

    if (!w || (w->task && task_wait(w->task, wait ? -1 : 0) < 0))
        return NULL;
    if (!(l->chunks = w->next))
        l->chunks_end = &l->chunks;
    l->nchunks--;
    return w;
}

/* --- packs ---------------------------------------------------------------------------------------------------------- */

/* Its memory goes at once: else it would lie there while the next one fills up. */
void line_pack_free(struct pack_work *w)
{
    task_unref(w->task);
    buf_free(&w->pack);
    buf_free(&w->trailer);
    free(w);
}

/* The head of its trailer is written when it is known how many chunks there are. */
struct pack_work *line_pack_new(struct pack_line *l)
{
    struct pack_work *w = calloc(1, sizeof(*w));

    if (!w)
        return NULL;
    w->repo = l->r;
    if (pack_begin(&l->r->root.uuid, &l->r->dom, &w->pack) < 0 ||
        buf_add_zero(&w->trailer, TRAILER_HEAD) < 0) {
        line_pack_free(w);
        return NULL;
    }
    return w;
}

static int pack_put(struct pack_work *w)
{
    struct repo *repo = w->repo;
    char name[PACK_NAME];
    int r;

    put_le16(w->trailer.data, VERSION);
    put_le32(w->trailer.data + 4, w->nchunks);
    r = pack_close(&repo->dom, w->trailer.data, w->trailer.len, &w->pack);
    if (r == 0)
        r = crypt_sha256(w->pack.data, w->pack.len, &w->name);
    if (r < 0)
        return r;
    pack_name(&w->name, name);
    r = backend_put_same(repo->b, &repo->call, name, w->pack.data, w->pack.len);
    w->put = r == 0;
    if (r == 0)
        r = have_pack(repo->have, &w->name, w->pack.len, w->trailer.data, w->trailer.len, true);
    if (r == 0)
        MARK("pack: put");
    return r;
}

static void put_one(struct task *t, void *arg)
{
    struct pack_work *w = arg;

    w->result = t && task_canceled(t) ? -E_CANCELED : pack_put(w);
    if (w->result < 0)
        snprintf(w->why, sizeof(w->why), "%s", backend_text(w->result));
}

bool line_packs_full(const struct pack_line *l)
{
    return l->npacks >= PACKS_AT_ONCE;
}

int line_pack_send(struct pack_line *l, struct pack_work *w, bool last)
{
    int r = 0;

    assert(!line_packs_full(l));
    if (last && !l->putting)
        put_one(NULL, w);
    else if (!l->putting)
        r = task_pool_new("put", PACKS_AT_ONCE, PACKS_AT_ONCE, &l->putting);
    if (r == 0 && l->putting)
        r = task_submit_wait(l->putting, put_one, w, &w->task);
    if (r < 0) {
        line_pack_free(w);
        return r;
    }
    *l->packs_end = w;
    l->packs_end = &w->next;
    l->npacks++;
    return 0;
}

struct pack_work *line_pack_take(struct pack_line *l, bool wait)
{
    struct pack_work *w = l->packs;

    if (!w || (w->task && task_wait(w->task, wait ? -1 : 0) < 0))
        return NULL;
    if (!(l->packs = w->next))
        l->packs_end = &l->packs;
    l->npacks--;
    return w;
}

/* Those that nobody waits for any more, as the work was stopped: what is there was sent. */
static void packs_free(struct pack_work *w)
{
    for (struct pack_work *next; w; w = next) {
        next = w->next;
        if (w->put) {
            w->repo->put_bytes += w->pack.len;
            w->repo->puts++;
        }
        line_pack_free(w);
    }
}

/* --- its end -------------------------------------------------------------------------------------------------------- */

static void chunks_free(struct chunk_work *w)
{
    for (struct chunk_work *next; w; w = next) {
        next = w->next;
        chunk_free(w);
    }
}

void line_release(struct pack_line *l)
{
    task_pool_stop(l->sealing);
    task_pool_stop(l->putting);
    chunks_free(l->chunks);
    chunks_free(l->chunks_spare);
    packs_free(l->packs);
    for (unsigned i = 0; i < l->threads; i++)
        sealer_release(&l->sealer[i]);
}
