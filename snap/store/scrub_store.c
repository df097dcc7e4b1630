#include "snap/store/scrub_store.h"

#include <inttypes.h>
#include <stdio.h>

#include "snap/store/store_int.h"

#define TRIES 5

int store_scrub_tables(struct store *s, struct io *io, const struct tabpages_opts *o, char why[256],
                       struct tabpages_result *ret)
{
    char meta[4200];
    int r = -E_AGAIN;

    snprintf(meta, sizeof(meta), "%s/meta", s->path);
    /* commits in a row between holding a state and reading its meta page: hold another one */
    for (int i = 0; i < TRIES && r == -E_AGAIN; i++) {
        struct tabpages_opts held = *o;
        struct kv_hold *h;

        r = kv_hold(s->kv, &h, &held.txn);
        if (r < 0)
            return r;
        r = tabpages_check(io, meta, &held, why, ret);
        kv_unhold(s->kv, h);
    }
    return r;
}

struct seen {
    uint64_t lsn, records;
};

static int seen_record(void *arg, uint64_t pos, struct jrec_view *rec)
{
    struct seen *n = arg;

    (void)pos;
    n->lsn = rec->hdr.lsn;
    n->records++;
    return 0;
}

int store_scrub_segment(struct store *s, struct io *io, uint32_t index, char why[256], uint64_t *records,
                        uint64_t *ret_bytes)
{
    struct journal_segment before, after;
    struct seen n = {0};
    struct jseg_hdr h;
    char dir[4200];
    uint64_t end = 0;
    int r;

    why[0] = 0;
    *ret_bytes = 0;
    if (!journal_segment(s->journal, index, &before))
        return -E_NOENT;
    if (!before.holds)
        return 0; /* nobody will read it again */
    snprintf(dir, sizeof(dir), "%s/journal", s->path);
    r = journal_look(io, dir, index, &h, &end, seen_record, &n);
    if (r == -E_NOMEM || r == -E_FILES)
        return r;
    *ret_bytes = before.bytes;
    *records += n.records;
    /* only what was there all the time counts: a segment may have been given away, and begun anew */
    if (!journal_segment(s->journal, index, &after) || after.first_lsn != before.first_lsn || !after.holds)
        return 0;
    if (BROKEN(VARVE_BREAK_scrub_journal) ||
        (r == 0 && h.first_lsn == before.first_lsn &&
         (n.lsn >= before.last_lsn || before.last_lsn < before.first_lsn)))
        return 0;
    snprintf(why, 256, "segment %04" PRIu32 " of the journal is damaged: record %" PRIu64 " cannot be read",
             index, r == 0 && n.records ? n.lsn + 1 : before.first_lsn);
    return -E_CORRUPT;
}

void store_scrub_failed(struct store *s)
{
    store_fail(s, "a scrub found damage in the tables or the journal");
}
