/* What files and directories of a volume have in repositories only, piece by piece. */
#include "fs/recall_paths.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "fs/verb_runs.h"
#include "snap/store/file.h"
#include "snap/tier.h"
#include "snap/walk.h"

struct recall_paths {
    struct vol *v;
    struct vt_at at;
    struct buf roots;  /* uint64_t each: inodes */
    struct buf todo;   /* likewise: still to be looked at in this pass */
    struct buf pieces; /* struct cold_range each: of the file in hand */
    size_t given;      /* of pieces */
};

void recall_paths_free(struct recall_paths *p)
{
    if (!p)
        return;
    buf_free(&p->roots);
    buf_free(&p->todo);
    buf_free(&p->pieces);
    free(p);
}

static int root_add(struct recall_paths *p, const char *path, struct buf *err)
{
    struct vfs_place place;
    vfs_node n;
    int r = tier_path_find(p->v, path, &n);

    if (r == 0)
        r = vfs_place(p->v, n, &place);
    if (r < 0) {
        buf_printf(err, "%s: %s", path, err_text(r));
        return r;
    }
    p->at = place.at;
    return buf_add(&p->roots, &place.ino, sizeof(place.ino));
}

int recall_paths_new(struct vol *v, char *const *paths, size_t n, struct recall_paths **ret, struct buf *err)
{
    struct recall_paths *p = calloc(1, sizeof(*p));
    int r = p ? 0 : -E_NOMEM;

    if (p)
        p->v = v;
    for (size_t i = 0; r == 0 && i < n; i++)
        r = root_add(p, paths[i], err);
    if (r < 0) {
        recall_paths_free(p);
        return r;
    }
    *ret = p;
    return 0;
}

/* --- one file ------------------------------------------------------------------------------------------------------- */

struct looking {
    struct recall_paths *p;
    struct txn *t;
    uint64_t first, end; /* blocks of the object */
};

static int piece_add(void *arg, const struct cold_range *range)
{
    struct looking *l = arg;
    uint64_t at = MAX_OF(range->first, l->first), end = MIN_OF(range->first + range->blocks, l->end);
    struct cold_range piece = {.object = range->object, .source = range->source, .ref = range->ref};
    int r = 0;

    if (range->first >= l->end)
        return 1;
    for (; r == 0 && at < end; at += piece.blocks) {
        piece.first = at;
        piece.blocks = (uint32_t)MIN_OF(end - at, (uint64_t)COLD_FETCH_BLOCKS);
        piece.ref.skip = range->ref.skip + (uint32_t)(at - range->first);
        r = buf_add(&l->p->pieces, &piece, sizeof(piece));
    }
    return r;
}

static int run_look(void *arg, const struct file_run *run)
{
    struct looking *l = arg;
    int r;

    if (!run->object)
        return 0;
    l->first = run->obj_block;
    l->end = run->obj_block + run->count;
    r = cold_ranges_each(l->t, run->object, l->first, piece_add, l);
    return MIN_OF(r, 0);
}

static int file_look(struct recall_paths *p, const struct inode *in)
{
    struct looking l = {.p = p};
    struct txn t;
    int r;

    p->pieces.len = p->given = 0;
    if (!S_ISREG(in->mode) || (in->flags & INODE_INLINE) || in->size == 0)
        return 0;
    r = txn_begin(p->v->store, TXN_READ, OP_NONE, p->v, &t);
    if (r < 0)
        return r;
    l.t = &t;
    r = file_ranges(&t, p->at, in, 0, (in->size + BLOCK_SIZE - 1) / BLOCK_SIZE, run_look, &l);
    txn_abort(&t);
    return r;
}

/* --- all of them ---------------------------------------------------------------------------------------------------- */

static int note_entry(void *arg, const struct walk_dirent *e)
{
    return buf_add(arg, &e->ino, sizeof(e->ino));
}

/* The next inode to be looked at; what has gone since is passed over. 0: there is none. */
static int step(struct recall_paths *p)
{
    struct inode in;
    uint64_t ino;
    int r;

    if (p->todo.len == 0)
        return 0;
    p->todo.len -= sizeof(ino);
    memcpy(&ino, p->todo.data + p->todo.len, sizeof(ino));
    r = walk_inode(p->v, p->at, ino, &in);
    if (r == 0)
        r = S_ISDIR(in.mode) ? walk_dirents(p->v, p->at, ino, note_entry, &p->todo) : file_look(p, &in);
    return r < 0 && r != -E_NOENT ? r : 1;
}

int recall_paths_begin(struct recall_paths *p)
{
    p->todo.len = p->pieces.len = p->given = 0;
    return buf_add(&p->todo, p->roots.data, p->roots.len);
}

int recall_paths_next(struct recall_paths *p, uint64_t failed, struct cold_range *ret)
{
    int r = 1;

    while (r == 1) {
        while (p->given < p->pieces.len) {
            memcpy(ret, p->pieces.data + p->given, sizeof(*ret));
            p->given += sizeof(*ret);
            if (ret->object != failed)
                return 1;
        }
        r = step(p);
    }
    return r;
}

int recall_paths_sum(struct recall_paths *p, uint64_t *ret_bytes)
{
    struct cold_range range;
    uint64_t bytes = 0;
    int r = recall_paths_begin(p);

    if (r == 0)
        while ((r = recall_paths_next(p, 0, &range)) == 1)
            bytes += (uint64_t)range.blocks * BLOCK_SIZE;
    if (r == 0)
        *ret_bytes = bytes;
    return r;
}
