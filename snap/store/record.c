#include "snap/store/record.h"

#include "base/enc.h"

static void enc_name(struct enc *e, const char *name)
{
    size_t len = strlen(name);

    assert(len <= NAME_LEN_MAX);
    enc_u8(e, (uint8_t)len);
    enc_bytes(e, name, len);
}

static void dec_name(struct dec *d, char *name)
{
    size_t len = dec_u8(d);

    dec_copy(d, name, len);
    name[len] = '\0';
}

static int dec_end(const struct dec *d)
{
    return d->bad ? -E_CORRUPT : 0;
}

size_t next_rec_encode(const struct next_rec *r, uint8_t *out)
{
    struct enc e = {out};

    enc_u64(&e, r->object);
    enc_u64(&e, r->reclaim);
    enc_u64(&e, r->job);
    enc_u32(&e, r->volume);
    enc_u32(&e, r->branch);
    return (size_t)(e.p - out);
}

int next_rec_decode(const void *p, size_t len, struct next_rec *ret)
{
    struct dec d = dec_of(p, len);
    struct next_rec r = {0};

    r.object = dec_u64(&d);
    r.reclaim = dec_u64(&d);
    r.job = dec_u64(&d);
    r.volume = dec_u32(&d);
    r.branch = dec_u32(&d);
    if (dec_end(&d) < 0)
        return -E_CORRUPT;
    *ret = r;
    return 0;
}

size_t volume_rec_encode(const struct volume_rec *r, uint8_t *out)
{
    struct enc e = {out};

    enc_bytes(&e, r->uuid.b, 16);
    enc_bytes(&e, r->family.b, 16);
    enc_bytes(&e, r->hash_key, 16);
    enc_u32(&e, r->id);
    enc_u32(&e, r->head);
    enc_u32(&e, r->layer);
    enc_u32(&e, r->live_view);
    enc_u32(&e, r->next_view);
    enc_u32(&e, r->flags);
    enc_u64(&e, r->size_limit);
    enc_u64(&e, r->inode_limit);
    enc_u64(&e, r->snap_limit);
    enc_u64(&e, (uint64_t)r->created_ns);
    enc_u64(&e, (uint64_t)r->deleted_ns);
    enc_u64(&e, r->epoch);
    enc_u32(&e, r->role);
    enc_u32(&e, r->profile);
    enc_u32(&e, r->key);
    enc_u32(&e, r->origin_vol);
    enc_u64(&e, r->snap_seq);
    enc_u64(&e, r->op_seq);
    enc_name(&e, r->name);
    return (size_t)(e.p - out);
}

int volume_rec_decode(const void *p, size_t len, struct volume_rec *ret)
{
    struct dec d = dec_of(p, len);
    struct volume_rec r;

    memset(&r, 0, sizeof(r));
    dec_copy(&d, r.uuid.b, 16);
    dec_copy(&d, r.family.b, 16);
    dec_copy(&d, r.hash_key, 16);
    r.id = dec_u32(&d);
    r.head = dec_u32(&d);
    r.layer = dec_u32(&d);
    r.live_view = dec_u32(&d);
    r.next_view = dec_u32(&d);
    r.flags = dec_u32(&d);
    r.size_limit = dec_u64(&d);
    r.inode_limit = dec_u64(&d);
    r.snap_limit = dec_u64(&d);
    r.created_ns = (int64_t)dec_u64(&d);
    r.deleted_ns = (int64_t)dec_u64(&d);
    r.epoch = dec_u64(&d);
    r.role = dec_u32(&d);
    r.profile = dec_u32(&d);
    r.key = dec_u32(&d);
    r.origin_vol = dec_u32(&d);
    r.snap_seq = dec_u64(&d);
    r.op_seq = dec_u64(&d);
    dec_name(&d, r.name);
    if (dec_end(&d) < 0)
        return -E_CORRUPT;
    *ret = r;
    return 0;
}

size_t vstat_rec_encode(const struct vstat_rec *r, uint8_t *out)
{
    struct enc e = {out};

    enc_u64(&e, r->blocks);
    enc_u64(&e, r->inodes);
    enc_u64(&e, r->next_ino);
    return (size_t)(e.p - out);
}

int vstat_rec_decode(const void *p, size_t len, struct vstat_rec *ret)
{
    struct dec d = dec_of(p, len);
    struct vstat_rec r = {0};

    r.blocks = dec_u64(&d);
    r.inodes = dec_u64(&d);
    r.next_ino = dec_u64(&d);
    if (dec_end(&d) < 0)
        return -E_CORRUPT;
    *ret = r;
    return 0;
}

size_t branch_rec_encode(const struct branch_rec *r, uint8_t *out)
{
    struct enc e = {out};

    enc_u32(&e, r->id);
    enc_u32(&e, r->vol);
    enc_u32(&e, r->parent);
    enc_u32(&e, r->parent_layer);
    enc_u32(&e, r->first_layer);
    enc_u32(&e, r->depth);
    enc_u32(&e, r->flags);
    return (size_t)(e.p - out);
}

int branch_rec_decode(const void *p, size_t len, struct branch_rec *ret)
{
    struct dec d = dec_of(p, len);
    struct branch_rec r = {0};

    r.id = dec_u32(&d);
    r.vol = dec_u32(&d);
    r.parent = dec_u32(&d);
    r.parent_layer = dec_u32(&d);
    r.first_layer = dec_u32(&d);
    r.depth = dec_u32(&d);
    r.flags = dec_u32(&d);
    if (dec_end(&d) < 0)
        return -E_CORRUPT;
    *ret = r;
    return 0;
}

size_t layer_rec_encode(const struct layer_rec *r, uint8_t *out)
{
    struct enc e = {out};

    enc_bytes(&e, r->uuid.b, 16);
    enc_bytes(&e, r->group.b, 16);
    enc_u32(&e, r->vol);
    enc_u32(&e, r->layer);
    enc_u32(&e, r->branch);
    enc_u32(&e, r->state);
    enc_u64(&e, r->number);
    enc_u64(&e, (uint64_t)r->taken_ns);
    enc_u64(&e, (uint64_t)r->expires_ns);
    enc_u64(&e, r->blocks);
    enc_u64(&e, r->inodes);
    enc_u64(&e, r->next_ino);
    enc_u64(&e, r->epoch);
    enc_u32(&e, r->holds);
    enc_u32(&e, r->children);
    enc_u32(&e, r->grade);
    enc_u32(&e, 0);
    enc_name(&e, r->name);
    return (size_t)(e.p - out);
}

int layer_rec_decode(const void *p, size_t len, struct layer_rec *ret, const char **text, size_t *text_len)
{
    struct dec d = dec_of(p, len);
    struct layer_rec r;

    memset(&r, 0, sizeof(r));
    dec_copy(&d, r.uuid.b, 16);
    dec_copy(&d, r.group.b, 16);
    r.vol = dec_u32(&d);
    r.layer = dec_u32(&d);
    r.branch = dec_u32(&d);
    r.state = dec_u32(&d);
    r.number = dec_u64(&d);
    r.taken_ns = (int64_t)dec_u64(&d);
    r.expires_ns = (int64_t)dec_u64(&d);
    r.blocks = dec_u64(&d);
    r.inodes = dec_u64(&d);
    r.next_ino = dec_u64(&d);
    r.epoch = dec_u64(&d);
    r.holds = dec_u32(&d);
    r.children = dec_u32(&d);
    r.grade = dec_u32(&d);
    (void)dec_u32(&d);
    dec_name(&d, r.name);
    if (dec_end(&d) < 0)
        return -E_CORRUPT;
    *ret = r;
    if (text)
        *text = (const char *)d.p;
    if (text_len)
        *text_len = d.left;
    return 0;
}

size_t view_rec_encode(const struct view_rec *r, uint8_t *out)
{
    struct enc e = {out};

    enc_u32(&e, r->branch);
    enc_u32(&e, r->layer);
    enc_u64(&e, r->dir);
    enc_u32(&e, r->kind);
    enc_u32(&e, 0);
    return (size_t)(e.p - out);
}

int view_rec_decode(const void *p, size_t len, struct view_rec *ret)
{
    struct dec d = dec_of(p, len);
    struct view_rec r = {0};

    r.branch = dec_u32(&d);
    r.layer = dec_u32(&d);
    r.dir = dec_u64(&d);
    r.kind = dec_u32(&d);
    (void)dec_u32(&d);
    if (dec_end(&d) < 0)
        return -E_CORRUPT;
    *ret = r;
    return 0;
}

size_t object_rec_encode(const struct object_rec *r, uint8_t *out)
{
    struct enc e = {out};

    enc_u64(&e, r->object);
    enc_u64(&e, r->ino);
    enc_u32(&e, r->vol);
    enc_u32(&e, r->branch);
    enc_u32(&e, r->layer);
    enc_u32(&e, r->flags);
    enc_u32(&e, r->key);
    enc_u32(&e, 0);
    return (size_t)(e.p - out);
}

int object_rec_decode(const void *p, size_t len, struct object_rec *ret)
{
    struct dec d = dec_of(p, len);
    struct object_rec r = {0};

    r.object = dec_u64(&d);
    r.ino = dec_u64(&d);
    r.vol = dec_u32(&d);
    r.branch = dec_u32(&d);
    r.layer = dec_u32(&d);
    r.flags = dec_u32(&d);
    r.key = dec_u32(&d);
    (void)dec_u32(&d);
    if (dec_end(&d) < 0)
        return -E_CORRUPT;
    *ret = r;
    return 0;
}

size_t reclaim_rec_encode(const struct reclaim_rec *r, uint8_t *out)
{
    struct enc e = {out};

    enc_u32(&e, r->kind);
    enc_u32(&e, r->vol);
    enc_u32(&e, r->branch);
    enc_u32(&e, r->layer);
    enc_u64(&e, r->object);
    enc_u64(&e, r->ino);
    enc_u64(&e, r->first);
    enc_u64(&e, r->count);
    return (size_t)(e.p - out);
}

int reclaim_rec_decode(const void *p, size_t len, struct reclaim_rec *ret)
{
    struct dec d = dec_of(p, len);
    struct reclaim_rec r = {0};

    r.kind = dec_u32(&d);
    r.vol = dec_u32(&d);
    r.branch = dec_u32(&d);
    r.layer = dec_u32(&d);
    r.object = dec_u64(&d);
    r.ino = dec_u64(&d);
    r.first = dec_u64(&d);
    r.count = dec_u64(&d);
    if (dec_end(&d) < 0)
        return -E_CORRUPT;
    *ret = r;
    return 0;
}
