/* Maps of files whose bytes are all elsewhere: for imports. */
#include "snap/store/change.h"
#include "snap/store/cold_i.h"

/* A file that gets runs: those from block 0 on without a gap are its dense base; behind the first hole each span has a record. */
struct mapping {
    struct txn *t;
    struct vt_at at;
    uint32_t vol;
    struct inode *in;
    uint64_t object;
    uint64_t end;     /* of the runs so far */
    uint64_t in_span; /* the span in hand, + 1; 0: none */
    struct span span;
};

static int span_out(struct mapping *m)
{
    uint8_t key[16], out[SPAN_SIZE_MAX];

    if (!m->in_span)
        return 0;
    put_be64(key, m->in->ino);
    put_be64(key + 8, m->in_span - 1);
    m->in_span = 0;
    m->in->flags |= INODE_SPANS;
    return vt_put(m->t, KEEP_FIRM, (struct txn_owner){0}, m->at, TAB_SPAN, key, out,
                  span_encode(&m->span, out));
}

static int span_in(struct mapping *m, uint64_t span)
{
    int r = 0;

    if (m->in_span == span + 1)
        return 0;
    r = span_out(m);
    if (r == 0)
        r = span_get(m->t, (struct vt_at){m->at.branch, LAYER_NOW}, m->in, span, &m->span);
    if (r == 0)
        m->in_span = span + 1;
    return r;
}

static int map_spans(struct mapping *m, uint64_t block, uint64_t count)
{
    struct span_src src = {
        .kind = SPAN_OBJECT, .data_born = m->at.layer, .owner_vol = m->vol, .object = m->object};

    for (uint64_t n; count; block += n, count -= n) {
        unsigned first = (unsigned)(block % SPAN_BLOCKS);
        n = MIN_OF(count, (uint64_t)(SPAN_BLOCKS - first));
        int r = span_in(m, block / SPAN_BLOCKS);
        if (r == 0)
            r = span_set(&m->span, first, (unsigned)n, &src);
        if (r < 0)
            return r;
    }
    return 0;
}

static int map_run(struct mapping *m, const struct cold_run *run)
{
    struct inode *in = m->in;
    bool dense = !(in->flags & INODE_SPANS) && !m->in_span;
    struct cold_range range = {.object = m->object,
                               .first = run->block,
                               .blocks = (uint32_t)run->count,
                               .source = run->source,
                               .ref = run->ref};
    int r = 0;

    if (dense && run->block == 0 && in->blocks == 0) {
        in->base_obj = m->object;
        in->base_layer = m->at.layer;
        in->base_blocks = run->count;
    } else if (dense && in->base_obj == m->object && run->block == in->base_blocks) {
        in->base_blocks += run->count;
    } else {
        r = map_spans(m, run->block, run->count);
    }
    in->blocks += run->count;
    m->end = run->block + run->count;
    return r < 0 ? r : cold_put_new(m->t, &range);
}

static int map_runs(struct mapping *m, const struct cold_run *runs, size_t n)
{
    int r = 0;

    for (size_t i = 0; i < n && r == 0; i++) {
        const struct cold_run *run = &runs[i];
        if (run->block < m->end || !run->count || run->count > UINT32_MAX || run->ref.len > COLD_REF_MAX ||
            run->block > FILE_SIZE_MAX / BLOCK_SIZE || run->count > FILE_SIZE_MAX / BLOCK_SIZE - run->block)
            r = -E_INVAL;
        else
            r = map_run(m, run);
    }
    return r < 0 ? r : span_out(m);
}

static struct mapping mapping_of(struct txn *t, const struct vol *v, struct inode *in)
{
    return (struct mapping){.t = t, .at = vol_write(v), .vol = v->rec.id, .in = in};
}

int cold_file_map(struct txn *t, struct vol *v, struct inode *in, const struct cold_run *runs, size_t n)
{
    struct mapping m = mapping_of(t, v, in);
    int r;

    if (!S_ISREG(in->mode) || in->base_obj || in->open_obj || (in->flags & INODE_SPANS) ||
        n > COLD_RUNS_MAX || in->blocks)
        return -E_INVAL;
    if (!__atomic_load_n(&t->store->cold->begun, __ATOMIC_RELAXED))
        return -E_NOTSUP;
    if (n == 0 && in->size == 0)
        return 0; /* as any empty file */
    in->flags &= ~(uint32_t)INODE_INLINE;
    r = n ? cold_object_new(t, v, in->ino, &m.object) : 0;
    return r < 0 ? r : map_runs(&m, runs, n);
}

/* The object and the end of what an inode has by cold_file_map. */
static int last_mapped(struct mapping *m)
{
    const struct inode *in = m->in;
    uint64_t span = UINT64_MAX;
    struct vt_scan sc;
    uint8_t key[8];
    const uint8_t *found;
    struct vt_val v;
    int r = 0;

    m->object = in->base_obj;
    m->end = in->base_blocks;
    put_be64(key, in->ino);
    vt_scan_init(&sc, m->t, KEEP_FIRM, (struct vt_at){m->at.branch, LAYER_NOW}, TAB_SPAN, key, 8);
    while (in->flags & INODE_SPANS && (r = vt_scan_next(&sc, &found, &v)) == 1)
        span = get_be64(found + 8);
    if (r < 0 || span == UINT64_MAX)
        return r;
    r = span_in(m, span);
    for (unsigned b = 0; b < SPAN_BLOCKS && r == 0; b++)
        if (span_at(&m->span, b)) {
            m->object = span_at(&m->span, b)->object;
            m->end = MAX_OF(m->end, span * SPAN_BLOCKS + b + 1);
        }
    return r;
}

/* Only what an import made, in this layer, and what it alone knows of. */
static int may_add(struct mapping *m, bool pending)
{
    struct object_rec rec;
    int r = object_get(m->t, m->object, &rec);

    if (r < 0)
        return r == -E_NOENT ? -E_INVAL : r;
    return rec.ino == m->in->ino && rec.layer == m->at.layer && rec.branch == m->at.branch &&
                   (rec.flags & OBJECT_COLD) && !(rec.flags & OBJECT_SHARED) && !m->in->open_obj && !pending
               ? 0
               : -E_INVAL;
}

static int put_changed(struct txn *t, struct vol *v, struct inode *in, uint64_t size, uint64_t had)
{
    int r = vol_room(v, in->blocks - had, 0);

    in->size = size;
    in->change++;
    if (r == 0)
        r = inode_put_at(t, KEEP_FIRM, (struct txn_owner){0}, vol_write(v), in);
    if (r == 0)
        txn_charge(t, v, (int64_t)(in->blocks - had), 0);
    return r;
}

int cold_file_add(struct txn *t, struct vol *v, uint64_t ino, uint64_t size, const struct cold_run *runs,
                  size_t n)
{
    struct inode in;
    struct mapping m = mapping_of(t, v, &in);
    uint64_t had;
    int r = n > COLD_RUNS_MAX ? -E_INVAL : inode_get(t, vol_now(v), ino, &in);

    if (r < 0)
        return r;
    if (in.blocks == 0)
        return cold_file_set(t, v, ino, size, runs, n);
    had = in.blocks;
    if (size < in.size || in.inherited || (in.flags & INODE_INLINE))
        return -E_INVAL;
    r = last_mapped(&m);
    if (r == 0)
        r = may_add(&m, file_is_pending(t, m.at.branch, ino));
    if (r == 0)
        r = map_runs(&m, runs, n);
    return r < 0 ? r : put_changed(t, v, &in, size, had);
}

int cold_file_set(struct txn *t, struct vol *v, uint64_t ino, uint64_t size, const struct cold_run *runs,
                  size_t n)
{
    struct inode in;
    int r = inode_get(t, vol_now(v), ino, &in);

    if (r < 0)
        return r;
    if (in.size || in.blocks || in.inherited || file_is_pending(t, v->rec.head, ino))
        return -E_INVAL;
    in.size = size;
    in.open_obj = 0;
    r = cold_file_map(t, v, &in, runs, n);
    return r < 0 ? r : put_changed(t, v, &in, size, 0);
}
