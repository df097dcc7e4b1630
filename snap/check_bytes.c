/* Pass 5: where the bytes of every file are: the objects exist, have the blocks, and none of these is about to be punched; the
 * number of blocks is what the inode says. Pass 7: the sums of the live trees. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"

#include "snap/check_i.h"

struct bytes {
    struct check *c;
    const struct place *p;
    uint64_t ino;
    uint64_t mapped;
    bool data_known; /* the objects are as the records say */
    uint64_t object; /* open: */
    int fd;
    uint64_t size;
    bool missing;
};

/* --- what is known of objects ------------------------------------------------------------------------------------------- */

static int load_object(void *arg, const struct scan_item *it)
{
    struct check *c = arg;
    struct check_object *o;
    struct object_rec rec;

    if (it->verdict < 0)
        return 0;
    if (object_rec_decode(it->val.data, it->val.len, &rec) < 0 || rec.object != get_be64(it->key + 1))
        return problem(c, "the record of object %" PRIx64 " is malformed", get_be64(it->key + 1));
    o = idmap_put(&c->objects, rec.object);
    if (!o)
        return -E_NOMEM;
    o->rec = rec;
    return 0;
}

static int load_reclaim(void *arg, const struct scan_item *it)
{
    struct check *c = arg;
    struct reclaim_rec rec;
    struct punch *p;

    if (it->verdict < 0 || reclaim_rec_decode(it->val.data, it->val.len, &rec) < 0)
        return 0;
    if (rec.kind == RECLAIM_UNLINK && !idmap_put(&c->unlinks, rec.object))
        return -E_NOMEM;
    if (rec.kind != RECLAIM_PUNCH)
        return 0;
    if (!(p = array_more(c->punches, c->npunches, sizeof(*p))))
        return -E_NOMEM;
    c->punches = p;
    c->punches[c->npunches++] = (struct punch){rec.object, rec.first, rec.count, get_be64(it->key + 1)};
    return 0;
}

static int punch_order(const void *a, const void *b)
{
    const struct punch *x = a, *y = b;

    return (x->object > y->object) - (x->object < y->object);
}

static int load(struct check *c)
{
    static const uint8_t objects = TAB_OBJECT, reclaim = TAB_RECLAIM;
    int r = txn_scan(&c->t, KEEP_PENDING, &objects, 1, load_object, c);

    if (r == 0)
        r = txn_scan(&c->t, KEEP_PENDING, &reclaim, 1, load_reclaim, c);
    if (r == 0)
        r = check_cold_load(c);
    if (r == 0 && c->npunches)
        qsort(c->punches, c->npunches, sizeof(*c->punches), punch_order);
    return r;
}

/* --- one run of blocks -------------------------------------------------------------------------------------------------- */

static void see_punches(struct bytes *b, const struct file_run *run)
{
    struct check *c = b->c;
    size_t lo = 0, hi = c->npunches;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (c->punches[mid].object < run->object)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (; lo < c->npunches && c->punches[lo].object == run->object; lo++) {
        const struct punch *p = &c->punches[lo];
        struct fix *f;

        if (p->first >= run->obj_block + run->count || run->obj_block >= p->first + p->count)
            continue;
        f = fix_add(c, FIX_DEL);
        f->klen = key_u64(f->key, TAB_RECLAIM, p->seq);
        problem(c,
                "%s: living blocks of inode %" PRIu64 " (object %" PRIx64 ", from block %" PRIu64
                ") are queued to be punched",
                b->p->name, b->ino, run->object, run->obj_block);
    }
}

static void object_open(struct bytes *b, uint64_t object)
{
    char path[4096];
    struct stat st = {0};

    if (b->object == object)
        return;
    if (b->fd >= 0)
        (void)io_close(store_io(b->c->s), b->fd);
    object_path(b->c->s, object, path);
    b->object = object;
    b->fd = io_open(store_io(b->c->s), path, O_RDONLY, 0);
    b->missing = b->fd < 0 || io_fstat(store_io(b->c->s), b->fd, &st) < 0;
    b->size = (uint64_t)st.st_size;
}

/* A block without any byte within those that should have some. The end of the object may lie within its last one, and a filesystem
 * with smaller blocks keeps only those parts of ours that were written. */
static bool has_hole(const struct bytes *b, const struct file_run *run)
{
    uint64_t from = run->obj_block * BLOCK_SIZE, to = from + run->count * BLOCK_SIZE, whole;
    off_t hole, data;

    while (from < to) {
        hole = lseek(b->fd, (off_t)from, SEEK_HOLE);
        if (hole < 0)
            return errno == ENXIO;
        if ((uint64_t)hole >= to)
            return false;
        data = lseek(b->fd, hole, SEEK_DATA);
        if (data < 0 && errno != ENXIO)
            return false;
        whole = ((uint64_t)hole + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
        from = data < 0 || (uint64_t)data > to ? to : (uint64_t)data;
        if (whole + BLOCK_SIZE <= from)
            return true;
    }
    return false;
}

/* What does not lie elsewhere is in the object's file. */
static int see_local(struct bytes *b, const struct file_run *run)
{
    uint64_t last = run->obj_block + run->count, first = run->obj_block, end = last;

    for (; check_cold_gap(b->c, run->object, &first, &end); first = end, end = last) {
        struct file_run part = *run;

        part.obj_block = first;
        part.count = end - first;
        part.block += first - run->obj_block;
        object_open(b, run->object);
        if (b->missing)
            return problem(b->c, "%s: the file of object %" PRIx64 " of inode %" PRIu64 " is missing",
                           b->p->name, run->object, b->ino);
        if (run->kind == SPAN_OBJECT && b->data_known && has_hole(b, &part))
            return problem(b->c,
                           "%s: inode %" PRIu64 ": blocks from %" PRIu64 " (%" PRIu64
                           ") have no bytes in object %" PRIx64,
                           b->p->name, b->ino, part.block, part.count, run->object);
    }
    return 0;
}

static int see_run(void *arg, const struct file_run *run)
{
    struct bytes *b = arg;
    struct check *c = b->c;

    if (run->kind == SPAN_HOLE || run->object == 0)
        return 0;
    b->mapped += run->count;
    if (run->kind == SPAN_SLICE)
        return 0;
    if (!idmap_get(&c->objects, run->object))
        return problem(c, "%s: inode %" PRIu64 " points into object %" PRIx64 ", which has no record",
                       b->p->name, b->ino, run->object);
    see_punches(b, run);
    return see_local(b, run);
}

static int see_file(struct bytes *b, const struct inode *in)
{
    int r;

    if (!S_ISREG(in->mode) || (in->flags & INODE_INLINE) || in->nlink == 0)
        return 0;
    b->ino = in->ino;
    b->mapped = 0;
    r = file_ranges(&b->c->t, b->p->at, in, 0, FILE_SIZE_MAX / BLOCK_SIZE, see_run, b);
    if (r == -E_CORRUPT)
        return problem(b->c, "%s: the map of inode %" PRIu64 " is damaged", b->p->name, in->ino);
    if (r == 0 && b->mapped != in->blocks)
        problem(b->c, "%s: inode %" PRIu64 " says %" PRIu64 " blocks, %" PRIu64 " are mapped", b->p->name,
                in->ino, in->blocks, b->mapped);
    return r;
}

static int see_place(struct bytes *b)
{
    struct vt_scan sc;
    struct vt_val v;
    struct inode in;
    const uint8_t *key;
    int r;

    vt_scan_init(&sc, &b->c->t, KEEP_PENDING, b->p->at, TAB_INODE, "", 0);
    while ((r = vt_scan_next(&sc, &key, &v)) == 1) {
        r = inode_from(&v, b->p->at, &in);
        if (r == 0)
            r = see_file(b, &in);
        if (r < 0 && r != -E_CORRUPT)
            return r;
    }
    return r == -E_CORRUPT ? problem(b->c, "%s: the inodes cannot be walked: a value is damaged", b->p->name)
                           : r;
}

int check_pass_bytes(struct check *c)
{
    struct bytes b = {.c = c, .fd = -1, .data_known = !c->unrecovered};
    size_t i;
    int r = load(c);

    if (!b.data_known && !c->o->quiet)
        say(c, "the bytes of objects are left out: the store has to recover first, with its next mount");
    for (i = 0; i < c->nplaces && r == 0; i++) {
        b.p = &c->places[i];
        r = see_place(&b);
        if (r == 0)
            r = check_turn(c);
    }
    if (b.fd >= 0)
        (void)io_close(store_io(c->s), b.fd);
    return r;
}

/* --- sums --------------------------------------------------------------------------------------------------------------- */

struct sums {
    uint64_t blocks, inodes, highest, orphan_blocks, orphans;
};

static int sum_up(struct check *c, enum keep keep, struct vt_at at, struct sums *ret)
{
    struct sums s = {0};
    struct vt_scan sc;
    struct vt_val v;
    struct inode in;
    const uint8_t *key;
    int r;

    vt_scan_init(&sc, &c->t, keep, at, TAB_INODE, "", 0);
    while ((r = vt_scan_next(&sc, &key, &v)) == 1) {
        if (inode_decode(v.data, v.len, &in) < 0)
            return -E_CORRUPT;
        s.blocks += in.blocks + in.more_blocks;
        s.inodes++;
        s.orphan_blocks += in.nlink == 0 ? in.blocks + in.more_blocks : 0;
        s.orphans += in.nlink == 0;
        s.highest = MAX_OF(s.highest, in.ino);
    }
    *ret = s;
    return r;
}

static void see_live(struct check *c, const struct place *p, const struct sums *s)
{
    const struct vstat_rec *st = &p->v->stat;
    struct fix *f;

    if (st->blocks == s->blocks && st->inodes == s->inodes && st->next_ino > s->highest)
        return;
    f = fix_add(c, FIX_VSTAT);
    f->vol = p->v->rec.id;
    f->a = s->blocks;
    f->b = s->inodes;
    f->c = MAX_OF(st->next_ino, s->highest + 1);
    problem(c,
            "%s: counts %" PRIu64 " blocks, %" PRIu64 " inodes, next inode %" PRIu64 "; the walk %" PRIu64
            ", %" PRIu64 ", highest %" PRIu64,
            p->name, st->blocks, st->inodes, st->next_ino, s->blocks, s->inodes, s->highest);
}

static int see_snapshot(struct check *c, const struct place *p, const struct sums *s)
{
    uint8_t k[KEY_SIZE_MAX];
    struct layer_rec l;
    struct txn_val v;
    int r = txn_get(&c->t, KEEP_PENDING, k, key_u32_u32(k, TAB_LAYER, p->v->rec.id, p->at.layer), &v);

    if (r < 0 || layer_rec_decode(v.data, v.len, &l, NULL, NULL) < 0 || l.state == LAYER_SETTLING)
        return 0;
    if (l.blocks != s->blocks - s->orphan_blocks || l.inodes != s->inodes - s->orphans)
        problem(c, "%s: says %" PRIu64 " blocks, %" PRIu64 " inodes; the walk %" PRIu64 ", %" PRIu64, p->name,
                l.blocks, l.inodes, s->blocks - s->orphan_blocks, s->inodes - s->orphans);
    return 0;
}

int check_pass_space(struct check *c)
{
    struct sums s;
    size_t i;
    int r = 0;

    for (i = 0; i < c->nplaces && r == 0; i++) {
        const struct place *p = &c->places[i];

        r = sum_up(c, KEEP_FIRM, p->at, &s);
        if (r == -E_CORRUPT)
            r = problem(c, "%s: cannot be summed up: an inode is damaged", p->name);
        else if (r == 0 && p->live)
            see_live(c, p, &s);
        else if (r == 0)
            r = see_snapshot(c, p, &s);
        if (r == 0)
            r = check_turn(c);
    }
    return r;
}
