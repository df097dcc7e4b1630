#include "snap/store/recover_bytes.h"

#include <stdlib.h>

#include "snap/store/store_int.h"

struct recover_synced {
    uint64_t object, lsn;
};

int recover_bytes_note(struct recover_bytes *b, const struct jrec_view *rec)
{
    const struct jrec_at at = {.pos = rec->pos,
                               .sum = rec->hdr.sum,
                               .prev_sum = rec->hdr.prev_sum,
                               .segment = rec->segment,
                               .len = rec->hdr.len};

    return buf_add(&b->records, &at, sizeof(at));
}

int recover_bytes_synced(struct recover_bytes *b, uint64_t object, uint64_t lsn)
{
    const struct recover_synced s = {object, lsn};

    return buf_add(&b->synced, &s, sizeof(s));
}

static int by_object(const void *a, const void *b)
{
    const struct recover_synced *x = a, *y = b;

    if (x->object != y->object)
        return x->object < y->object ? -1 : 1;
    return (x->lsn > y->lsn) - (x->lsn < y->lsn);
}

/* Was the object synced after this record? */
static bool synced_since(const struct recover_bytes *b, uint64_t object, uint64_t lsn)
{
    const struct recover_synced *at = (const void *)b->synced.data, after = {object, lsn + 1};
    size_t n = b->synced.len / sizeof(*at), lo = 0;

    for (size_t hi = n; lo < hi;) {
        size_t mid = lo + (hi - lo) / 2;

        if (by_object(&at[mid], &after) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < n && at[lo].object == object && !BROKEN(VARVE_BREAK_synced);
}

static int payload_write(struct store *s, const struct jpayload *p)
{
    struct objfd *f;
    int r = objfd_get(s, p->object, true, &f);

    if (r < 0)
        return r;
    objfd_writes(f);
    r = io_pwrite(s->io, f->fd, p->data, p->len, p->off);
    objfd_put(s, f);
    return r;
}

static int record_write(struct recover_bytes *b, struct store *s, struct jrec_view *rec)
{
    struct jpayload p;
    int r;

    while ((r = jrec_next_payload(rec, &p)) == 1) {
        if (synced_since(b, p.object, rec->hdr.lsn))
            continue;
        if ((r = payload_write(s, &p)) < 0)
            return r;
        b->payloads++;
    }
    return r;
}

int recover_bytes_write(struct recover_bytes *b, struct store *s)
{
    const struct jrec_at *at = (const void *)b->records.data;
    cleanup(buf_free) struct buf room = {0};
    struct jrec_view rec;
    int r = 0;

    if (b->synced.len)
        qsort(b->synced.data, b->synced.len / sizeof(struct recover_synced), sizeof(struct recover_synced),
              by_object);
    for (size_t i = 0; i < b->records.len / sizeof(*at) && r == 0; i++) {
        r = journal_again(s->journal, &at[i], &room, &rec);
        if (r == 0)
            r = record_write(b, s, &rec);
    }
    return r;
}

void recover_bytes_free(struct recover_bytes *b)
{
    buf_free(&b->records);
    buf_free(&b->synced);
}
