/* Records of the tables as text. */
#include <inttypes.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "snap/dump_i.h"
#include "snap/job.h"
#include "snap/ns.h"
#include "snap/store/cold.h"
#include "snap/policy.h"
#include "snap/store/record.h"
#include "snap/store/span.h"

int dump_hex(struct buf *out, const uint8_t *p, size_t len, size_t most)
{
    size_t i;
    int r = 0;

    for (i = 0; i < len && i < most && r == 0; i++)
        r = buf_printf(out, "%02x", p[i]);
    return r == 0 && len > most ? buf_printf(out, "...(%zu)", len) : r;
}

int dump_text(struct buf *out, const char *p, size_t len)
{
    size_t i;
    int r = buf_add(out, "\"", 1);

    for (i = 0; i < len && r == 0; i++) {
        uint8_t ch = (uint8_t)p[i];

        r = ch < 0x20 || ch == '"' || ch == '\\' || ch == 0x7f ? buf_printf(out, "\\x%02x", ch)
                                                               : buf_add(out, &ch, 1);
    }
    return r < 0 ? r : buf_add(out, "\"", 1);
}

static int life_key(struct buf *out, uint8_t tab, const uint8_t *k)
{
    switch (tab) {
    case TAB_INODE:
    case TAB_ORPHAN: return buf_printf(out, " ino=%" PRIu64, get_be64(k));
    case TAB_DIRENT: return buf_printf(out, " dir=%" PRIu64 " hash=%" PRIx64, get_be64(k), get_be64(k + 8));
    case TAB_LINK:
        return buf_printf(out, " ino=%" PRIu64 " dir=%" PRIu64 " hash=%" PRIx64, get_be64(k), get_be64(k + 8),
                          get_be64(k + 16));
    case TAB_XATTR:
        return buf_printf(out, " ino=%" PRIu64 " hash=%" PRIx64 " piece=%u", get_be64(k), get_be64(k + 8),
                          k[16]);
    case TAB_DATA: return buf_printf(out, " ino=%" PRIu64 " piece=%u", get_be64(k), get_be16(k + 8));
    default: return buf_printf(out, " ino=%" PRIu64 " span=%" PRIu64, get_be64(k), get_be64(k + 8));
    }
}

static int plain_key(struct buf *out, const uint8_t *key, size_t klen)
{
    const uint8_t *k = key + 1;
    int r;

    switch (key[0]) {
    case TAB_META: return buf_printf(out, " what=%u", k[0]);
    case TAB_VOLUME:
    case TAB_SCHEDULE:
    case TAB_VSTAT: return buf_printf(out, " vol=%u", get_be32(k));
    case TAB_PROFILE: return buf_printf(out, " profile=%u", get_be32(k));
    case TAB_BRANCH: return buf_printf(out, " branch=%u", get_be32(k));
    case TAB_VOLNAME:
        r = buf_puts(out, " name=");
        return r < 0 ? r : dump_text(out, (const char *)k, klen - 1);
    case TAB_SNAPNAME:
        r = buf_printf(out, " vol=%u name=", get_be32(k));
        return r < 0 ? r : dump_text(out, (const char *)k + 4, klen - 5);
    case TAB_LAYER: return buf_printf(out, " vol=%u layer=%u", get_be32(k), get_be32(k + 4));
    case TAB_VIEW: return buf_printf(out, " vol=%u view=%u", get_be32(k), get_be32(k + 4));
    case TAB_TOUCHED:
        r = buf_printf(out, " branch=%u layer=%u %s", get_be32(k), get_be32(k + 4),
                       scan_table_name(k[8]) ? scan_table_name(k[8]) : "?");
        return r < 0 || tab_key_len(k[8]) != klen - 10 ? r : life_key(out, k[8], k + 9);
    case TAB_OBJREF:
        return buf_printf(out, " object=%" PRIx64 " branch=%u ino=%" PRIu64, get_be64(k), get_be32(k + 8),
                          get_be64(k + 12));
    case TAB_OBJECT: return buf_printf(out, " object=%" PRIx64, get_be64(k));
    case TAB_COLD: return buf_printf(out, " object=%" PRIx64 " end=%" PRIu64, get_be64(k), get_be64(k + 8));
    case TAB_SOURCE: return buf_printf(out, " source=%u", get_be32(k));
    case TAB_READ: return buf_printf(out, " vol=%u ino=%" PRIu64, get_be32(k), get_be64(k + 4));
    case TAB_IDLE:
        return buf_printf(out, " vol=%u seconds=%" PRIu64 " ino=%" PRIu64, get_be32(k), get_be64(k + 4),
                          get_be64(k + 12));
    case TAB_SWEEP: return buf_printf(out, " vol=%u policy=%" PRIx64, get_be32(k), get_be64(k + 4));
    case TAB_RESULT:
        return buf_printf(out, " conn=%" PRIu64 " unique=%" PRIu64, get_be64(k), get_be64(k + 8));
    default: return buf_printf(out, " number=%" PRIu64, get_be64(k));
    }
}

int dump_key(struct buf *out, const uint8_t *key, size_t klen)
{
    const char *name = scan_table_name(key[0]);
    bool life = (key[0] & ~TAB_HISTORY) < TAB__LIFE_END, old = life && (key[0] & TAB_HISTORY);
    int r = buf_printf(out, "%s%s", name ? name : "?", old ? " history" : "");

    if (r == 0 && !scan_key_ok(key, klen))
        return buf_puts(out, " ") < 0 ? -E_NOMEM : dump_hex(out, key, klen, 64);
    if (r < 0 || !life)
        return r < 0 ? r : plain_key(out, key, klen);
    r = buf_printf(out, " branch=%u", get_be32(key + 1));
    if (r == 0)
        r = life_key(out, key[0] & (uint8_t)~TAB_HISTORY, key + 5);
    return r == 0 && old ? buf_printf(out, " died=%u", get_be32(key + klen - 4)) : r;
}

/* --- values --------------------------------------------------------------------------------------------------------------- */

static int dump_time(struct buf *out, const char *what, const struct timespec *ts)
{
    char text[CLOCK_TEXT_SIZE];
    int64_t ns;

    if (__builtin_mul_overflow((int64_t)ts->tv_sec, (int64_t)1000000000, &ns) ||
        __builtin_add_overflow(ns, (int64_t)ts->tv_nsec, &ns))
        return buf_printf(out, " %s=@%lld", what, (long long)ts->tv_sec);
    clock_format(ns, text);
    return buf_printf(out, " %s=%s", what, text);
}

static int dump_inode(struct buf *out, const struct txn_val *v)
{
    struct inode in;
    int r = inode_decode(v->data, v->len, &in);

    if (r == 0)
        r = buf_printf(out,
                       " mode=%o uid=%u gid=%u nlink=%u size=%" PRIu64 " blocks=%" PRIu64 " parent=%" PRIu64
                       " parent_hash=%" PRIx64 " base=%" PRIx64 "+%" PRIu64 " base_layer=%u open=%" PRIx64
                       " open_layer=%u flags=%x nxattr=%u+%" PRIu64 "+%" PRIu64
                       " more_blocks=%u rdev=%" PRIx64 " gen=%" PRIu64 " change=%" PRIu64,
                       in.mode, in.uid, in.gid, in.nlink, in.size, in.blocks, in.parent, in.parent_hash,
                       in.base_obj, in.base_blocks, in.base_layer, in.open_obj, in.open_layer, in.flags,
                       in.nxattr, in.xattr_names, in.xattr_values, in.more_blocks, in.rdev, in.gen,
                       in.change);
    if (r == 0)
        r = dump_time(out, "mtime", &in.mtime);
    return r < 0 ? r : dump_time(out, "ctime", &in.ctime);
}

static int dump_dirent(struct buf *out, const struct txn_val *v)
{
    struct ns_dirent e;
    int r = ns_dirent_parse(0, v->data, v->len, &e);

    if (r == 0)
        r = buf_printf(out, " ino=%" PRIu64 " type=%o name=", e.ino, e.type);
    return r < 0 ? r : dump_text(out, e.name, e.name_len);
}

static int dump_span(struct buf *out, const uint8_t *key, const struct txn_val *v)
{
    uint64_t base = get_be64(key + 13) * SPAN_BLOCKS;
    struct span sp;
    unsigned b, n;
    int r = span_decode(v->data, v->len, &sp);

    for (b = 0; b < SPAN_BLOCKS && r == 0; b += n) {
        const struct span_src *s = span_at(&sp, b);

        for (n = 1; b + n < SPAN_BLOCKS && sp.block[b + n] == sp.block[b]; n++)
            continue;
        if (s)
            r = buf_printf(out, " [%u+%u kind=%u object=%" PRIx64 "@%" PRId64 " born=%u vol=%u]", b, n,
                           s->kind, s->object, (int64_t)(base + b + (uint64_t)s->delta), s->data_born,
                           s->owner_vol);
    }
    return r;
}

static int dump_volume(struct buf *out, const struct txn_val *v)
{
    struct volume_rec rec;
    char uuid[UUID_TEXT_SIZE];
    int r = volume_rec_decode(v->data, v->len, &rec);

    if (r < 0)
        return r;
    uuid_format(&rec.uuid, uuid);
    r = buf_printf(out,
                   " id=%u head=%u layer=%u live_view=%u flags=%x size_limit=%" PRIu64 " inode_limit=%" PRIu64
                   " snap_limit=%" PRIu64 " origin=%u snap_seq=%" PRIu64 " uuid=%s name=",
                   rec.id, rec.head, rec.layer, rec.live_view, rec.flags, rec.size_limit, rec.inode_limit,
                   rec.snap_limit, rec.origin_vol, rec.snap_seq, uuid);
    return r < 0 ? r : dump_text(out, rec.name, strlen(rec.name));
}

static int dump_layer(struct buf *out, const struct txn_val *v)
{
    static const char *const states[] = {"?", "settling", "durable", "hidden", "deleting", "remote"};
    struct layer_rec rec;
    const char *text;
    size_t text_len;
    char time[CLOCK_TEXT_SIZE];
    int r = layer_rec_decode(v->data, v->len, &rec, &text, &text_len);

    if (r < 0)
        return r;
    clock_format(rec.taken_ns, time);
    r = buf_printf(out,
                   " branch=%u state=%s number=%" PRIu64 " taken=%s blocks=%" PRIu64 " inodes=%" PRIu64
                   " children=%u holds=%u name=",
                   rec.branch, states[rec.state < ARRAY_LEN(states) ? rec.state : 0], rec.number, time,
                   rec.blocks, rec.inodes, rec.children, rec.holds);
    if (r == 0)
        r = dump_text(out, rec.name, strlen(rec.name));
    if (r == 0 && text_len)
        r = buf_puts(out, " text=");
    return r < 0 || !text_len ? r : dump_text(out, text, text_len);
}

static int dump_branch(struct buf *out, const struct txn_val *v)
{
    struct branch_rec rec;
    int r = branch_rec_decode(v->data, v->len, &rec);

    return r < 0 ? r
                 : buf_printf(out, " vol=%u parent=%u@%u first_layer=%u depth=%u flags=%x", rec.vol,
                              rec.parent, rec.parent_layer, rec.first_layer, rec.depth, rec.flags);
}

static int dump_object_rec(struct buf *out, const struct txn_val *v)
{
    struct object_rec rec;
    int r = object_rec_decode(v->data, v->len, &rec);

    return r < 0 ? r
                 : buf_printf(out, " ino=%" PRIu64 " vol=%u branch=%u layer=%u flags=%x", rec.ino, rec.vol,
                              rec.branch, rec.layer, rec.flags);
}

static int dump_cold(struct buf *out, const uint8_t *key, const struct txn_val *v)
{
    struct cold_range range;
    int r = cold_decode(key, 17, v->data, v->len, &range);

    if (r == 0)
        r = buf_printf(out, " blocks=%" PRIu64 "+%u source=%u skip=%u ref=", range.first, range.blocks,
                       range.source, range.ref.skip);
    return r < 0 ? r : dump_hex(out, range.ref.p, range.ref.len, COLD_REF_MAX);
}

static int dump_reclaim(struct buf *out, const struct txn_val *v)
{
    static const char *const kinds[] = {"?",      "unlink",  "punch", "layer",  "branch",
                                        "orphan", "flatten", "sift",  "release"};
    struct reclaim_rec rec;
    int r = reclaim_rec_decode(v->data, v->len, &rec);

    return r < 0 ? r
                 : buf_printf(out,
                              " %s vol=%u branch=%u layer=%u object=%" PRIx64 " ino=%" PRIu64
                              " blocks=%" PRIu64 "+%" PRIu64,
                              kinds[rec.kind < ARRAY_LEN(kinds) ? rec.kind : 0], rec.vol, rec.branch,
                              rec.layer, rec.object, rec.ino, rec.first, rec.count);
}

static int dump_meta(struct buf *out, const uint8_t *key, const struct txn_val *v)
{
    struct next_rec rec;
    int r;

    if (key[1] == META_APPLIED_LSN && v->len == 8)
        return buf_printf(out, " applied_lsn=%" PRIu64, get_le64(v->data));
    r = next_rec_decode(v->data, v->len, &rec);
    return r < 0 ? r
                 : buf_printf(out,
                              " next object=%" PRIx64 " reclaim=%" PRIu64 " job=%" PRIu64
                              " volume=%u branch=%u",
                              rec.object, rec.reclaim, rec.job, rec.volume, rec.branch);
}

static int dump_profile(struct buf *out, const struct txn_val *v)
{
    char name[PROFILE_NAME_MAX + 1];
    const char *text;
    size_t len;
    int r = policy_profile_decode(v->data, v->len, name, &text, &len);

    return r < 0 ? r : buf_printf(out, " %s text=%zu bytes", name, len);
}

static int dump_schedule(struct buf *out, const struct txn_val *v)
{
    struct policy_runs runs;
    int r = policy_runs_decode(v->data, v->len, &runs);

    for (size_t i = 0; r == 0 && i < runs.n; i++)
        r = buf_printf(out, " %s:%s since=%" PRId64 " done=%" PRId64 " failures=%u ok=%" PRId64,
                       policy_kind_name(runs.v[i].kind), runs.v[i].name, runs.v[i].state.since_s,
                       runs.v[i].state.done_s, runs.v[i].state.failures, runs.v[i].ok_s);
    return r;
}

static int dump_small(struct buf *out, const uint8_t *key, const struct txn_val *v)
{
    struct vstat_rec st;
    struct view_rec view;
    struct job_info job;
    int r;

    switch (key[0]) {
    case TAB_VSTAT:
        r = vstat_rec_decode(v->data, v->len, &st);
        return r < 0 ? r
                     : buf_printf(out, " blocks=%" PRIu64 " inodes=%" PRIu64 " next_ino=%" PRIu64, st.blocks,
                                  st.inodes, st.next_ino);
    case TAB_VIEW:
        r = view_rec_decode(v->data, v->len, &view);
        return r < 0 ? r
                     : buf_printf(out, " branch=%u layer=%u dir=%" PRIu64 " kind=%u", view.branch, view.layer,
                                  view.dir, view.kind);
    case TAB_JOB:
        r = job_record_decode(get_be64(key + 1), v->data, v->len, &job);
        return r < 0 ? r : buf_printf(out, " %s %s", job.verb, job_state_name(job.state));
    case TAB_VOLNAME:
    case TAB_SNAPNAME: return v->len == 4 ? buf_printf(out, " %u", get_le32(v->data)) : -E_CORRUPT;
    case TAB_OBJREF: return v->len == 8 ? buf_printf(out, " %" PRIu64, get_le64(v->data)) : -E_CORRUPT;
    default: return v->len ? buf_puts(out, " ") < 0 ? -E_NOMEM : dump_hex(out, v->data, v->len, 64) : 0;
    }
}

static int dump_value(struct buf *out, const uint8_t *key, const struct txn_val *v)
{
    switch ((key[0] & ~TAB_HISTORY) < TAB__LIFE_END ? key[0] & ~TAB_HISTORY : key[0]) {
    case TAB_INODE: return dump_inode(out, v);
    case TAB_DIRENT: return dump_dirent(out, v);
    case TAB_SPAN: return dump_span(out, key, v);
    case TAB_VOLUME: return dump_volume(out, v);
    case TAB_LAYER: return dump_layer(out, v);
    case TAB_BRANCH: return dump_branch(out, v);
    case TAB_OBJECT: return dump_object_rec(out, v);
    case TAB_RECLAIM: return dump_reclaim(out, v);
    case TAB_COLD: return dump_cold(out, key, v);
    case TAB_SOURCE: return buf_puts(out, " ") < 0 ? -E_NOMEM : dump_text(out, (const char *)v->data, v->len);
    case TAB_META: return dump_meta(out, key, v);
    case TAB_PROFILE: return dump_profile(out, v);
    case TAB_SCHEDULE: return dump_schedule(out, v);
    default: return dump_small(out, key, v);
    }
}

int dump_record(struct buf *out, const struct scan_item *it)
{
    bool life = (it->key[0] & ~TAB_HISTORY) < TAB__LIFE_END;
    int r = dump_key(out, it->key, it->klen);

    if (r == 0)
        r = buf_puts(out, ":");
    if (r == 0 && it->verdict == 0 && life)
        r = buf_printf(out, " born=%u%s", it->val.born, it->val.flags & VAL_TOMB ? " tombstone" : "");
    if (r == 0 && it->verdict == 0 && !scan_key_ok(it->key, it->klen))
        r = -E_CORRUPT; /* what the value means is told by the key */
    else if (r == 0 && it->verdict == 0 && !(it->val.flags & VAL_TOMB))
        r = dump_value(out, it->key, &it->val);
    if (it->verdict < 0 || r == -E_CORRUPT) {
        r = buf_puts(out, it->verdict < 0 ? " DAMAGED " : " MALFORMED ");
        if (r == 0)
            r = dump_hex(out, it->raw, it->raw_len, 256);
    }
    return r < 0 ? r : buf_puts(out, "\n");
}
