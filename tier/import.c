#include "tier/import.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/log.h"
#include "snap/plant.h"
#include "tier/ahead.h"
#include "tier/map.h"

#define PROGRESS_ITEMS 128u

/* The inode whose records are being read. */
struct reading {
    uint64_t ino; /* 0: none */
    struct point_inode rec;
    bool has_rec;
    struct inode in;
    struct buf target;
    struct map_runs runs;
};

struct import {
    struct repo *r;
    const struct point *p;
    struct store *s;
    const struct import_opts *o;
    struct vol *v;
    struct plant *plant;
    struct reading now;
    struct buf many; /* u64 each, ascending: inodes with several names */
    struct buf cold; /* struct cold_run each: room */
    uint32_t source;
    uint64_t first_ino, next_ino;
    struct import_result res;
};

/* --- one inode ------------------------------------------------------------------------------------------------------ */

static void reading_clear(struct reading *n)
{
    map_runs_clear(&n->runs);
    n->target.len = 0;
    n->has_rec = false;
    n->ino = 0;
}

static void reading_free(struct reading *n)
{
    map_runs_free(&n->runs);
    buf_free(&n->target);
}

static bool kind_known(uint32_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFLNK:
    case S_IFIFO:
    case S_IFSOCK:
    case S_IFCHR:
    case S_IFBLK: return true;
    default: return false;
    }
}

static int take_inode(struct import *w, const uint8_t *val, size_t vlen)
{
    struct reading *n = &w->now;
    struct point_inode *c = &n->rec;
    int r = point_inode_decode(val, vlen, c);

    if (r < 0)
        return r;
    if (n->ino > INO_MAX || !kind_known(c->mode) || c->nlink == 0 ||
        (n->ino == INO_ROOT && !S_ISDIR(c->mode)))
        return -E_CORRUPT;
    if (S_ISREG(c->mode) && c->size > FILE_SIZE_MAX)
        return -E_FBIG;
    n->in = (struct inode){
        .ino = n->ino,
        .size = c->size,
        .rdev = c->rdev,
        .gen = c->gen,
        .change = 1,
        .parent = c->parent,
        .parent_hash = c->parent_hash,
        .mode = c->mode,
        .uid = c->uid,
        .gid = c->gid,
        .nlink = c->nlink,
        .flags = c->flags & (INODE_IMMUTABLE | INODE_APPEND),
        .project = c->project,
        .atime = c->atime,
        .mtime = c->mtime,
        .ctime = c->ctime,
        .btime = c->btime,
    };
    n->has_rec = true;
    return 0;
}

static int take_xattr(struct import *w, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    char name[256];

    if (vlen < 1 || val[0] != 0 || klen - 9 >= sizeof(name) || memchr(key + 9, 0, klen - 9))
        return -E_CORRUPT;
    memcpy(name, key + 9, klen - 9);
    name[klen - 9] = 0;
    return plant_xattr(w->plant, &w->now.in, name, val + 1, vlen - 1);
}

static int take_name(struct import *w, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    struct plant_name n = {.dir = w->now.ino};
    struct point_dirent e;
    int r = klen == 17 ? point_dirent_decode(val, vlen, &e) : -E_CORRUPT;

    if (r < 0)
        return r;
    n.hash = get_be64(key + 9);
    n.ino = e.ino;
    n.type = e.type;
    n.name = e.name;
    n.len = e.name_len;
    return plant_name_kept(w->plant, &n);
}

/* What lies behind the file's end is left out, though a slice may have more. */
static int add_run(struct import *w, const struct extent *x)
{
    uint64_t off = x->block * TIER_BLOCK, size = w->now.in.size;
    struct cold_run run = {.block = x->block, .count = x->blocks, .source = w->source};
    struct slice s = x->s;
    struct enc e = {run.ref.p};

    if (x->kind != EXTENT_SLICE || off >= size)
        return 0;
    s.len = (uint32_t)MIN_OF((uint64_t)s.len, size - off);
    run.count = MIN_OF(run.count, ((uint64_t)s.len + TIER_BLOCK - 1) / TIER_BLOCK);
    slice_encode(&e, &s);
    run.ref.len = SLICE_SIZE;
    w->res.remote_bytes += s.len;
    return buf_add(&w->cold, &run, sizeof(run));
}

static int put_inode(struct import *w)
{
    struct reading *n = &w->now;
    int r = 0;

    if (S_ISLNK(n->in.mode))
        r = plant_target(w->plant, &n->in, (const char *)n->target.data, n->target.len);
    w->cold.len = 0;
    if (r == 0 && n->runs.n && S_ISREG(n->in.mode)) {
        r = map_runs_lay(&n->runs);
        for (size_t i = 0; r == 0 && i < n->runs.v[0].n; i++)
            r = add_run(w, &n->runs.v[0].v[i]);
    }
    if (r == 0 && !S_ISDIR(n->in.mode) && n->in.nlink > 1)
        r = buf_add(&w->many, &n->ino, sizeof(n->ino));
    if (r == 0)
        r = plant_inode(w->plant, &n->in, (const struct cold_run *)w->cold.data,
                        w->cold.len / sizeof(struct cold_run));
    if (w->res.items == 0)
        w->first_ino = n->ino;
    w->next_ino = n->ino + 1;
    w->res.items++;
    if (r < 0 || !w->o->progress || w->res.items % PROGRESS_ITEMS != 0)
        return r;
    r = plant_flush(w->plant); /* what is told may look at the store */
    return r < 0 ? r : w->o->progress(w->o->arg, w->res.items, w->p->files + w->p->dirs + w->p->others);
}

static int finish_inode(struct import *w)
{
    int r = 0;

    if (w->now.ino)
        r = w->now.has_rec ? put_inode(w) : -E_CORRUPT;
    reading_clear(&w->now);
    return r;
}

static int take_record(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    struct import *w = arg;
    int r = 0;

    if (klen < 9)
        return -E_CORRUPT;
    if (get_be64(key) == POINT_INO_ATTACH)
        return 0;
    if (get_be64(key) != w->now.ino) {
        r = finish_inode(w);
        w->now.ino = get_be64(key);
    }
    if (r == 0 && key[8] != REC_INODE && !w->now.has_rec)
        r = -E_CORRUPT;
    if (r < 0)
        return r;
    switch (key[8]) {
    case REC_INODE: return take_inode(w, val, vlen);
    case REC_XATTR: return take_xattr(w, key, klen, val, vlen);
    case REC_SYMLINK: return buf_add(&w->now.target, val, vlen);
    case REC_DIRENT: return w->p->has_hash_key ? take_name(w, key, klen, val, vlen) : 0;
    case REC_EXTENT: return map_runs_add(&w->now.runs, key, klen, val, vlen);
    default: return 0;
    }
}

/* --- names, where all inodes must be known -------------------------------------------------------------------------- */

static int ino_cmp(const void *a, const void *b)
{
    uint64_t x, y;

    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return (x > y) - (x < y);
}

static int name_again(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    struct import *w = arg;
    struct plant_name n;
    struct point_dirent e;
    int r;

    if (klen < 9 || key[8] != REC_DIRENT)
        return 0;
    r = klen == 17 ? point_dirent_decode(val, vlen, &e) : -E_CORRUPT;
    if (r < 0)
        return r;
    n = (struct plant_name){get_be64(key), get_be64(key + 9), e.ino, e.type, e.name, e.name_len};
    if (!w->p->has_hash_key)
        return plant_name_new(w->plant, &n);
    if (!bsearch(&e.ino, w->many.data, w->many.len / sizeof(e.ino), sizeof(e.ino), ino_cmp))
        return 0;
    return BROKEN(VARVE_BREAK_import_links) ? 0 : plant_name_more(w->plant, &n);
}

static int put_tree(struct import *w)
{
    int r = plant_new(w->v, &w->plant);

    if (r == 0)
        r = tree_scan_ahead(w->r, &w->p->tree, take_record, w);
    if (r == 0)
        r = finish_inode(w);
    if (r == 0 && w->first_ino != INO_ROOT) /* nor is there anything else without a root */
        r = -E_CORRUPT;
    if (r == 0 && (w->many.len || !w->p->has_hash_key))
        r = tree_scan_ahead(w->r, &w->p->tree, name_again, w);
    if (r == 0)
        r = plant_flush(w->plant);
    plant_free(w->plant);
    return r == -E_NOENT || r == -E_KEY ? -E_CORRUPT : r;
}

/* --- the whole ------------------------------------------------------------------------------------------------------ */

static int put_source(struct import *w, const struct pin *pin, bool put)
{
    cleanup(buf_free) struct buf text = {0};
    int r = w->o->source(w->o->arg, w->p, pin, put, &text);

    if (r < 0)
        return r;
    if (w->source == 0)
        return cold_source_put(w->s, text.data, text.len, &w->source);
    return cold_source_set(w->s, w->source, text.data, text.len);
}

static int on_note(void *arg, const struct pin *pin)
{
    return put_source(arg, pin, false);
}

/* Nobody sees the volume before what it needs is kept for it. */
static int pin_down(struct import *w, struct pin *pin)
{
    int r = pin_add(w->r, pin, w->p);

    if (r == 0)
        r = pin_put(w->r, pin, false, on_note, w);
    if (r == 0) {
        memcpy(w->res.pin, pin->id, sizeof(pin->id));
        r = put_source(w, pin, true);
    }
    if (r == 0) /* the pin's name must be known after a power cut, too */
        r = store_flush(w->s);
    return r;
}

static int run(struct import *w)
{
    struct pin pin = {.generation = 1};
    struct store_state st;
    int r;

    store_get_state(w->s, &st);
    pin.store = st.uuid;
    pin.volume = w->v->rec.uuid;
    snprintf(pin.volume_name, sizeof(pin.volume_name), "%s", w->o->name);
    r = pin_dir(store_path(w->s), &pin.dir);
    if (r == 0)
        r = put_source(w, &pin, false);
    if (r == 0)
        r = put_tree(w);
    if (r == 0)
        r = pin_down(w, &pin);
    if (r == 0)
        r = volume_show(w->v, w->next_ino);
    if (r == 0)
        r = store_flush(w->s);
    if (r < 0 && w->res.pin[0])
        (void)pin_drop(w->r, w->res.pin);
    pin_release(&pin);
    return r;
}

static void complain(const struct import *w, int r, struct buf *err)
{
    if (r == -E_EXIST)
        buf_printf(err, "the store has a volume %s already", w->o->name);
    else if (r == -E_NOENT)
        buf_printf(err, "recovery point %.12s was deleted meanwhile", w->p->id);
    else if (r != -E_CANCELED)
        buf_printf(err, "recovery point %.12s: %s", w->p->id, backend_text(r));
}

int import_run(struct repo *r, const struct point *p, struct store *s, const struct import_opts *o,
               struct import_result *ret, struct buf *err)
{
    struct import w = {.r = r, .p = p, .s = s, .o = o};
    struct volume_opts vo = {.size_limit = p->size_limit, .inode_limit = p->inode_limit};
    int x = repo_sync(r);

    if (x == 0)
        x = cold_begin(s);
    if (x == 0)
        x = volume_make(s, o->name, &vo, p->has_hash_key ? p->hash_key : NULL, &w.v);
    if (x == 0 && (x = run(&w)) < 0)
        (void)volume_make_undo(w.v);
    reading_free(&w.now);
    buf_free(&w.many);
    buf_free(&w.cold);
    if (x < 0) {
        complain(&w, x, err);
        return x;
    }
    w.res.vol = w.v;
    w.res.source = w.source;
    *ret = w.res;
    return 0;
}

int import_slice(struct repo *r, const uint8_t *ref, size_t len, uint32_t skip, uint32_t blocks, void *out)
{
    struct dec d = dec_of(ref, len);
    struct slice s = slice_decode(&d);
    size_t want = (size_t)blocks * TIER_BLOCK, from = (size_t)skip * TIER_BLOCK, plen, n;
    const uint8_t *p;
    int x;

    if (d.bad || d.left)
        return -E_CORRUPT;
    memset(out, 0, want);
    if (from >= s.len)
        return 0;
    n = MIN_OF(want, s.len - from);
    x = repo_chunk(r, &s.chunk, &p, &plen);
    if (x < 0)
        return x;
    if (s.off > plen || s.len > plen - s.off)
        return -E_CORRUPT;
    memcpy(out, p + s.off + from, n);
    return 0;
}
