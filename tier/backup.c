#include "tier/backup.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "snap/layer.h"
#include "tier/backup_i.h"
#include "tier/domains.h"

#define LET_GO_INODES 1024u    /* walked through, after which memory of the tables is given back */
#define EDITS_BYTES (6u << 20) /* edits in memory before they become pages */
#define TRIES 3                /* where what a backup relied on was condemned meanwhile */
#define FLAGS_KEPT (INODE_IMMUTABLE | INODE_APPEND)

/* --- one inode ------------------------------------------------------------------------------------------------------ */

static int put_inode(struct backup *b, const struct inode *in)
{
    struct point_inode p = {.mode = in->mode,
                            .uid = in->uid,
                            .gid = in->gid,
                            .nlink = in->nlink,
                            .rdev = in->rdev,
                            .size = in->size,
                            .flags = in->flags & FLAGS_KEPT,
                            .project = in->project,
                            .parent = in->parent,
                            .parent_hash = in->parent_hash,
                            .mtime = in->mtime,
                            .ctime = in->ctime,
                            .btime = in->btime,
                            .atime = in->atime,
                            .gen = in->gen};
    struct tree_key k = tree_key(in->ino, REC_INODE);
    uint8_t v[POINT_INODE_SIZE];

    point_inode_encode(&p, v);
    return edits_put(b->e, &k, v, sizeof(v));
}

struct with_ino {
    struct backup *b;
    uint64_t ino;
    struct buf
        large; /* attributes that become blobs, once no transaction is open: name_len u8, name, len u32, bytes */
};

static int put_dirent(void *arg, const struct walk_dirent *e)
{
    struct with_ino *w = arg;
    struct tree_key k = tree_key(w->ino, REC_DIRENT);
    uint8_t v[9 + POINT_NAME_MAX];

    if (e->name_len > POINT_NAME_MAX)
        return -E_CORRUPT;
    tree_key_u64(&k, e->hash);
    put_le64(v, e->ino);
    v[8] = (uint8_t)(e->type >> 12);
    memcpy(v + 9, e->name, e->name_len);
    return edits_put(w->b->e, &k, v, 9 + e->name_len);
}

static int put_xattr(void *arg, const char *name, size_t name_len, const void *p, size_t len)
{
    struct with_ino *w = arg;
    struct tree_key k = tree_key(w->ino, REC_XATTR);
    uint8_t v[1 + XATTR_INLINE] = {0}, n[5] = {(uint8_t)name_len};

    tree_key_add(&k, name, name_len);
    if (len <= XATTR_INLINE) {
        if (len)
            memcpy(v + 1, p, len);
        return edits_put(w->b->e, &k, v, 1 + len);
    }
    put_le32(n + 1, (uint32_t)len);
    if (buf_add(&w->large, n, 1) < 0 || buf_add(&w->large, name, name_len) < 0 ||
        buf_add(&w->large, n + 1, 4) < 0)
        return -E_NOMEM;
    return buf_add(&w->large, p, len);
}

static int put_large(struct with_ino *w)
{
    struct dec d = dec_of(w->large.data, w->large.len);
    int r = 0;

    while (r == 0 && d.left) {
        struct tree_key k = tree_key(w->ino, REC_XATTR);
        uint8_t n = dec_u8(&d), v[1 + SLICE_SIZE] = {1};
        const uint8_t *name = dec_bytes(&d, n), *p;
        struct enc e = {v + 1};
        struct slice s;
        uint32_t len = dec_u32(&d);

        p = dec_bytes(&d, len);
        assert(!d.bad);
        tree_key_add(&k, name, n);
        r = packer_blob(w->b->p, CHUNK_META, p, len, &s);
        slice_encode(&e, &s);
        if (r == 0)
            r = edits_put(w->b->e, &k, v, sizeof(v));
    }
    return r;
}

static int put_xattrs(struct backup *b, const struct inode *in)
{
    struct with_ino w = {.b = b, .ino = in->ino};
    int r = in->nxattr ? walk_xattrs(b->v, b->at, in->ino, put_xattr, &w) : 0;

    if (r == 0)
        r = put_large(&w);
    buf_free(&w.large);
    return r;
}

static int put_link(struct backup *b, const struct inode *in)
{
    cleanup(buf_free) struct buf target = {0};
    struct tree_key k = tree_key(in->ino, REC_SYMLINK);
    int r = backup_link_target(b, in, &target);

    return r < 0 ? r : edits_put(b->e, &k, target.data, target.len);
}

/* Everything of an inode, new in the tree. */
static int put_whole(struct backup *b, const struct inode *in)
{
    struct with_ino w = {.b = b, .ino = in->ino};
    int r = put_inode(b, in);

    if (r == 0)
        r = put_xattrs(b, in);
    if (r == 0 && S_ISREG(in->mode))
        r = backup_file_whole(b, in);
    else if (r == 0 && S_ISDIR(in->mode))
        r = walk_dirents(b->v, b->at, in->ino, put_dirent, &w);
    else if (r == 0 && S_ISLNK(in->mode))
        r = put_link(b, in);
    return r < 0 ? r : backup_moved(b, 1, 0);
}

int backup_edits_full(void *arg)
{
    struct backup *b = arg;

    return edits_bytes(b->e) > EDITS_BYTES ? tree_apply(b->p, b->r, &b->tree, b->e) : 0;
}

static void count_inode(struct backup *b, uint32_t mode, uint64_t size, int64_t by)
{
    uint64_t *n = S_ISREG(mode) ? &b->res.files : S_ISDIR(mode) ? &b->res.dirs : &b->res.others;

    *n += (uint64_t)by;
    if (S_ISREG(mode))
        b->res.bytes += (uint64_t)by * size;
}

/* What the recovery point before said of an inode is no part of the sums any more. */
static int uncount(void *arg, const uint8_t *val, size_t len)
{
    struct point_inode old;
    int r = point_inode_decode(val, len, &old);

    if (r == 0)
        count_inode(arg, old.mode, old.size, -1);
    return r;
}

/* --- everything ----------------------------------------------------------------------------------------------------- */

static int run_full(struct backup *b, const struct layer_rec *rec)
{
    struct inode *v = malloc(WALK_BATCH * sizeof(*v));
    uint64_t after = 0, walked = 0;
    size_t n = 1;
    int r = v ? 0 : -E_NOMEM;

    if (b->o->total)
        b->o->total(b->o->arg, rec->inodes, rec->blocks * TIER_BLOCK);
    while (r == 0 && n > 0) {
        r = walk_inodes(b->v, b->at, after, v, &n);
        for (size_t i = 0; r == 0 && i < n; i++) {
            count_inode(b, v[i].mode, v[i].size, 1);
            r = put_whole(b, &v[i]);
            if (r == 0)
                r = backup_edits_full(b);
            after = v[i].ino;
        }
        if (walked / LET_GO_INODES != (walked + n) / LET_GO_INODES)
            store_pages_let_go(b->v->store);
        walked += n;
    }
    free(v);
    return r;
}

/* --- what changed --------------------------------------------------------------------------------------------------- */

static int remove_kind(struct backup *b, uint64_t ino, enum rec_kind kind)
{
    struct tree_key k = tree_key(ino, kind);

    return edits_remove(b->e, &k);
}

static int put_entries(struct backup *b, const struct walk_change *c)
{
    struct with_ino w = {.b = b, .ino = c->ino};
    int r = 0;

    for (size_t i = 0; r == 0 && i < c->nhashes; i++) {
        struct tree_key k = tree_key(c->ino, REC_DIRENT);

        tree_key_u64(&k, c->hashes[i]);
        r = edits_remove(b->e, &k);
        if (r == 0)
            r = walk_dirent(b->v, b->at, c->ino, c->hashes[i], put_dirent, &w);
        if (r == -E_NOENT)
            r = 0;
    }
    return r;
}

static int put_changed(struct backup *b, const struct walk_change *c)
{
    const struct inode *in = c->is;
    int r = put_inode(b, in);

    if (r == 0)
        r = remove_kind(b, in->ino, REC_XATTR);
    if (r == 0)
        r = put_xattrs(b, in);
    if (r == 0 && S_ISREG(in->mode))
        r = backup_file_ranges(b, c);
    else if (r == 0 && S_ISDIR(in->mode))
        r = put_entries(b, c);
    return r < 0 ? r : backup_moved(b, 1, 0);
}

static int take_change(struct backup *b, const struct walk_change *c)
{
    struct tree_key all = tree_key_ino(c->ino);
    int r = 0;

    b->looked += 1 + c->nranges;
    if (b->looked >= LET_GO_INODES) { /* the tables say what changed from all over */
        b->looked = 0;
        store_pages_let_go(b->v->store);
    }
    if (!c->same || !c->is)
        r = edits_remove(b->e, &all);
    if (r == 0 && c->is) {
        count_inode(b, c->is->mode, c->is->size, 1);
        r = c->same ? put_changed(b, c) : put_whole(b, c->is);
    }
    return r < 0 ? r : backup_edits_full(b);
}

static int run_changes(struct backup *b, const struct layer_rec *rec)
{
    struct walk_changed *w = NULL;
    struct backup_scouts *scouts;
    int r = walk_changed_new(b->v, b->from, b->at, &w);
    struct walk_change c;
    size_t at = 0;
    uint64_t ino;

    if (r < 0)
        return r;
    scouts = backup_scouts_new(b, w, rec->inodes);
    while (r == 0 && walk_changed_next(w, &at, &ino)) {
        backup_scouts_at(scouts, at);
        r = walk_changed_look(w, at, 0, UINT64_MAX, &c);
        if (r == 1)
            r = take_change(b, &c);
    }
    backup_scouts_free(scouts);
    walk_changed_free(w);
    return r;
}

/* --- from which ----------------------------------------------------------------------------------------------------- */

struct choosing {
    struct backup *b;
    const struct layer_rec *rec;
    struct point base; /* without what it owns */
    bool found, same;
};

struct still {
    const struct point *p;
    bool here;
};

static int is_it(void *arg, const struct layer_rec *rec, const char *text, size_t text_len)
{
    struct still *s = arg;

    (void)text;
    (void)text_len;
    s->here = uuid_equal(&rec->uuid, &s->p->snapshot) && rec->branch == s->p->branch &&
              rec->layer == s->p->layer && rec->state == LAYER_DURABLE;
    return s->here;
}

/* Is it of a snapshot that this volume still has, as it was? */
static int still_here(struct choosing *c, const struct point *p, bool *ret)
{
    struct still s = {.p = p};
    int r = snap_each(c->b->v, is_it, &s);

    *ret = s.here;
    return r < 0 ? r : 0;
}

/* What was read of its snapshot counts only if that is still there. */
static int base_still(struct choosing *c)
{
    bool here;
    int r = still_here(c, &c->base, &here);

    return r < 0 ? r : here || BROKEN(VARVE_BREAK_relied_moved) ? 0 : -E_AGAIN;
}

static int choose(void *arg, const struct point *p)
{
    struct choosing *c = arg;
    struct store_state st;
    bool here;
    int r;

    store_get_state(c->b->v->store, &st);
    if (!uuid_equal(&p->store, &st.uuid) || !uuid_equal(&p->volume, &c->b->v->rec.uuid) || p->tree.depth == 0)
        return 0;
    if (!repo_is_into(c->b->r, &p->domain) && !BROKEN(VARVE_BREAK_domain_base)) /* domains share nothing */
        return 0;
    if (uuid_equal(&p->snapshot, &c->rec->uuid)) {
        c->same = true;
        memcpy(c->b->res.id, p->id, sizeof(p->id));
    }
    if (c->found && p->taken_ns <= c->base.taken_ns)
        return 0;
    if ((r = still_here(c, p, &here)) < 0 || !here)
        return r;
    c->base = *p;
    c->base.labels = c->base.regarded = (struct buf){0};
    c->found = true;
    return 0;
}

/* --- what is put at the end ----------------------------------------------------------------------------------------- */

static int fill(struct backup *b, const struct layer_rec *rec, struct point *p)
{
    struct store_state st;
    struct txn t;
    int r = txn_begin(b->v->store, TXN_READ, OP_NONE, b->v, &t);

    if (r < 0)
        return r;
    p->volume = b->v->rec.uuid;
    p->family = b->v->rec.family;
    p->has_hash_key = true;
    memcpy(p->hash_key, b->v->rec.hash_key, sizeof(p->hash_key));
    p->size_limit = b->v->rec.size_limit;
    p->inode_limit = b->v->rec.inode_limit;
    snprintf(p->volume_name, sizeof(p->volume_name), "%s", b->v->rec.name);
    txn_abort(&t);
    store_get_state(b->v->store, &st);
    p->store = st.uuid;
    p->snapshot = rec->uuid;
    p->group = rec->group;
    p->branch = rec->branch;
    p->layer = rec->layer;
    p->epoch = rec->epoch;
    p->grade = rec->grade;
    p->taken_ns = rec->taken_ns;
    p->created_ns = clock_wall_ns();
    snprintf(p->snapshot_name, sizeof(p->snapshot_name), "%s", rec->name);
    p->tree = b->tree;
    p->flags = b->o->attach && b->o->attach->n ? POINT_ATTACHED : 0;
    p->files = b->res.files;
    p->dirs = b->res.dirs;
    p->others = b->res.others;
    p->bytes = b->res.bytes;
    p->new_bytes = b->res.new_bytes;
    if (b->res.base[0])
        r = hex_parse(b->res.base, p->base.b, sizeof(p->base.b));
    return r;
}

static bool has_label(const struct point *p, const char *key)
{
    size_t n = strlen(key);

    for (size_t at = 0; at < p->labels.len; at += strlen((const char *)p->labels.data + at) + 1)
        if (strncmp((const char *)p->labels.data + at, key, n) == 0 && p->labels.data[at + n] == '=')
            return true;
    return false;
}

static int labels(struct backup *b, const struct layer_rec *rec, struct point *p)
{
    cleanup(buf_free) struct buf text = {0};
    struct layer_text e;
    const char *at;
    int r = snap_text(b->v, rec->name, &text);

    if (r == 0 && b->o->labels)
        r = buf_add(&p->labels, b->o->labels->data, b->o->labels->len);
    if (r < 0)
        return r;
    at = (const char *)text.data;
    while (text.len && layer_text_next(&at, (const char *)text.data + text.len, &e) == 1)
        if (strcmp(e.kind, "label") == 0 && !has_label(p, e.key))
            if ((r = buf_printf(&p->labels, "%s=%s", e.key, e.value)) < 0 ||
                (r = buf_add(&p->labels, "", 1)) < 0)
                return r;
    return 0;
}

/* --- the whole ------------------------------------------------------------------------------------------------------ */

/* Packs, then the index, then the point: nobody ever sees a point that is not whole. */
static int publish(struct backup *b, const struct layer_rec *rec)
{
    struct packer_stat st;
    struct point p = {.flags = 0};
    int r = writer_ready(&b->w);

    packer_get_stat(b->w.p, &st);
    b->res.new_bytes = st.new_bytes;
    if (r == 0)
        r = fill(b, rec, &p);
    if (r == 0)
        r = labels(b, rec, &p);
    if (r == 0)
        r = writer_put(&b->w, &p);
    if (r == 0)
        memcpy(b->res.id, p.id, sizeof(p.id));
    point_release(&p);
    return r;
}

static bool attached(const struct backup *b)
{
    return b->o->attach && b->o->attach->n;
}

static int run(struct backup *b, const struct layer_rec *rec)
{
    static const struct attachments none;
    struct choosing c = {.b = b, .rec = rec};
    int r = points_each(b->r, choose, NULL, &c);

    if (r < 0)
        return r;
    b->res.same = c.same && !b->o->full && !attached(b) && !(b->o->labels && b->o->labels->len);
    if (b->res.same)
        return 0;
    if ((r = writer_base(&b->w, c.found && !b->o->full && !b->again ? c.base.id : "")) < 0)
        return r;
    b->p = b->w.p;
    if (b->w.base[0]) {
        memcpy(b->res.base, b->w.base, sizeof(b->w.base));
        b->from = (struct vt_at){c.base.branch, c.base.layer};
        b->base = b->tree = c.base.tree;
        packer_increment(b->p);
        b->res.files = c.base.files;
        b->res.dirs = c.base.dirs;
        b->res.others = c.base.others;
        b->res.bytes = c.base.bytes;
        edits_watch(b->e, uncount, b);
        r = run_changes(b, rec);
    } else {
        r = run_full(b, rec);
    }
    if (r == 0 && (attached(b) || (b->w.base[0] && (c.base.flags & POINT_ATTACHED))))
        r = attach_put(b->p, b->e, attached(b) ? b->o->attach : &none);
    if (r == 0)
        r = tree_apply(b->p, b->r, &b->tree, b->e);
    if (r == 0 && b->compared)
        r = base_still(&c);
    return r < 0 ? r : publish(b, rec);
}

struct newest {
    const struct uuid *volume;
    int64_t taken_ns;
    bool found, own;
};

static int newest_one(void *arg, const struct point *p)
{
    struct newest *n = arg;

    if (!uuid_equal(&p->volume, n->volume) || (n->found && p->taken_ns <= n->taken_ns))
        return 0;
    n->taken_ns = p->taken_ns;
    n->own = !id16_none(&p->domain);
    n->found = true;
    return 0;
}

/* As before. One whose domain was shredded, with all that was in it, gets another one of its own. */
static int was_own(struct backup *b, bool *ret)
{
    struct newest n = {.volume = &b->v->rec.uuid};
    const struct domain *d;
    int r;

    *ret = false;
    if (!(b->r->root.incompat & REPO_DOMAINS))
        return 0;
    r = points_each(b->r, newest_one, NULL, &n);
    *ret = n.own;
    if (r != 0 || n.found)
        return r;
    r = repo_domain_own(b->r, n.volume, false, &d);
    *ret = r == 0 || r == -E_SHREDDED;
    return r == -E_SHREDDED || r == -E_NOENT ? 0 : r;
}

static int domain_choose(struct backup *b)
{
    const struct domain *d = NULL;
    bool own = b->o->domain == BACKUP_OWN;
    int r = b->o->domain == BACKUP_AS_BEFORE ? was_own(b, &own) : 0;

    if (r == 0 && own)
        r = repo_domain_own(b->r, &b->v->rec.uuid, true, &d);
    if (r == 0)
        repo_into(b->r, d);
    return r;
}

static int attempt(struct backup *b, const struct layer_rec *rec)
{
    int r = writer_begin(&b->w, b->r);

    if (r == 0)
        r = domain_choose(b);
    if (r == 0)
        r = edits_new(&b->e);
    if (r == 0 && (r = backup_cold_any(b)) >= 0) {
        b->cold = r;
        r = 0;
    }
    if (r == 0)
        r = run(b, rec);
    r = writer_failed(&b->w, r);
    edits_free(b->e);
    free(b->old);
    writer_end(&b->w);
    return r;
}

int backup_run(struct repo *r, struct vol *v, const struct layer_rec *rec, const struct backup_opts *o,
               struct backup_result *ret)
{
    uint8_t *room = malloc(BLOB_MAX);
    uint64_t before = r->put_bytes;
    enum codec_id codec = r->dom.codec;
    int x = room ? -E_AGAIN : -E_NOMEM;

    store_pages_let_go(v->store); /* what others looked up before is not this work's */
    if (o->codec)
        r->dom.codec = o->codec;
    for (unsigned n = 0; x == -E_AGAIN && n < WRITER_TRIES; n++) {
        struct backup b = {
            .r = r, .v = v, .o = o, .at = {rec->branch, rec->layer}, .room = room, .again = n > 0};

        x = writer_pause(r, n);
        x = x < 0 ? x : attempt(&b, rec);
        b.res.sent_bytes = r->put_bytes - before;
        if (x == 0)
            *ret = b.res;
        else if (x == -E_AGAIN)
            log_warn("tier", "backup-again", "snapshot=%s reason=condemned", rec->name);
    }
    store_pages_let_go(v->store);
    have_let_go(r->have);
    r->dom.codec = codec;
    repo_into(r, NULL);
    free(room);
    (void)malloc_trim(0);
    if (x < 0 && x != -E_CANCELED)
        log_warn("tier", "backup-failed", "snapshot=%s reason=%s", rec->name, err_name(x));
    return x == -E_AGAIN ? -E_PRUNED : x;
}
