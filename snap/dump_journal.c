/* Segments of the journal as text: readable without opening the store. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "snap/dump_i.h"
#include "snap/store/journal.h"

static int dump_hdr(struct buf *out, uint32_t index, const struct jseg_hdr *h, uint64_t end)
{
    char store[UUID_TEXT_SIZE], boot[UUID_TEXT_SIZE];
    struct uuid u;

    memcpy(u.b, h->boot_id, 16);
    uuid_format(&h->store, store);
    uuid_format(&u, boot);
    return buf_printf(out,
                      "segment %04u: incarnation=%" PRIu64 " boot=%s first_lsn=%" PRIu64 " seed=%016" PRIx64
                      " trimmed_lsn=%" PRIu64 " bytes=%" PRIu64 " of %" PRIu64 " store=%s\n",
                      index, h->incarnation, boot, h->first_lsn, h->seed, h->trimmed_lsn, end,
                      h->segment_bytes, store);
}

static int dump_put(struct buf *out, const struct jput *p)
{
    static const char *const ops[] = {"put", "delete", "release"};
    int r = buf_printf(out, "    %s %s", p->level ? "pending" : "firm", ops[p->op < 3 ? p->op : 0]);

    if (r == 0 && (p->level || p->op == 2))
        r = buf_printf(out, " owner=%u/%" PRIu64, p->owner_branch, p->owner_ino);
    if (r == 0 && p->klen)
        r = buf_puts(out, " ");
    if (r == 0 && p->klen)
        r = dump_key(out, p->key, p->klen);
    return r < 0 ? r : buf_printf(out, " (%u)\n", p->vlen);
}

static int dump_rec(void *arg, uint64_t pos, struct jrec_view *v)
{
    struct buf *out = arg;
    struct jpayload y;
    struct jput p;
    char time[CLOCK_TEXT_SIZE];
    int r;

    clock_format(v->hdr.wall_ns, time);
    r = buf_printf(out,
                   "  @%" PRIu64 " lsn=%" PRIu64 " flushed=%" PRIu64
                   " %s kind=%u flags=%x vol=%u conn=%" PRIu64 " unique=%" PRIu64 " len=%u tail=%u\n",
                   pos, v->hdr.lsn, v->hdr.flushed_lsn, time, v->hdr.kind, v->hdr.flags, v->hdr.vol,
                   v->hdr.conn, v->hdr.unique, v->hdr.len, v->hdr.tail_len);
    while (r == 0 && (r = jrec_next_put(v, &p)) == 1)
        r = dump_put(out, &p);
    while (r == 0 && (r = jrec_next_payload(v, &y)) == 1)
        r = buf_printf(out, "    payload object=%" PRIx64 " off=%" PRIu64 " len=%u\n", y.object, y.off,
                       y.len);
    return r;
}

struct found {
    uint64_t first;
    uint32_t index;
};

static int found_order(const void *a, const void *b)
{
    const struct found *x = a, *y = b;

    return x->first != y->first ? (x->first > y->first) - (x->first < y->first)
                                : (x->index > y->index) - (x->index < y->index);
}

static int dump_one(struct io *io, const char *dir, uint32_t index, struct buf *out)
{
    cleanup(buf_free) struct buf records = {0};
    struct jseg_hdr h;
    uint64_t end;
    int r = journal_look(io, dir, index, &h, &end, dump_rec, &records);

    if (r == -E_CORRUPT)
        return buf_printf(out, "segment %04u: no valid header\n", index);
    if (r == 0)
        r = dump_hdr(out, index, &h, end);
    return r < 0 || !records.len ? r : buf_add(out, records.data, records.len);
}

/* One segment, or all in the order of their numbers. */
int dump_journal(struct io *io, const char *store, bool one, uint32_t index, struct buf *out)
{
    struct found all[64];
    struct jseg_hdr h;
    uint64_t end;
    uint32_t i, n = 0;
    char dir[4096];
    int r = 0;

    snprintf(dir, sizeof(dir), "%s/journal", store);
    if (one)
        return dump_one(io, dir, index, out);
    for (i = 0; n < ARRAY_LEN(all) && r != -E_NOENT; i++) {
        r = journal_look(io, dir, i, &h, &end, NULL, NULL);
        if (r < 0 && r != -E_CORRUPT && r != -E_NOENT)
            return r;
        if (r != -E_NOENT)
            all[n++] = (struct found){r == 0 ? h.first_lsn : 0, i};
    }
    if (n == 0)
        return -E_NOENT;
    qsort(all, n, sizeof(all[0]), found_order);
    for (i = 0, r = 0; i < n && r == 0; i++)
        r = dump_one(io, dir, all[i].index, out);
    return r;
}
