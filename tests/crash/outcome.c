/* What recovery makes of an image, without recovering it. It looks at the tables' file, at the records of the journal that follow them,
 * and at the names of objects' files; never at what lies behind the end of the journal's chain, and it puts bytes into files without
 * looking at them. So images that agree in these recover to the same tables, and what one recovery has done to the objects'
 * files is what it does to those of the other. One in C_ANEW is recovered all the same, and so is one of which the outcome is
 * not known yet: there the foresight is compared with what happened. */
#include <stdlib.h>

#include "base/hash.h"
#include "snap/store/journal.h"
#include "snap/store/store_int.h"
#include "snap/store/tabpages.h"
#include "snap/store/version.h"
#include "tests/crash/crash.h"

static void path_of(const struct c_run *c, const char *part, char path[300])
{
    snprintf(path, 300, "%s/store%s", lying_root(c->disk), part);
}

static uint64_t part_sum(struct c_run *c, const char *part, enum lying_sum of)
{
    char path[300];

    path_of(c, part, path);
    return lying_sum(c->disk, path, of);
}

/* What the tables hold of the journal, read as opening reads it. */
static bool applied_read(struct c_run *c, uint64_t *ret)
{
    char meta[300], why[256] = "";
    uint8_t key[KEY_SIZE_MAX];
    struct kv_read *read;
    struct kv_item it;
    struct kv *kv;
    bool ok = false;

    path_of(c, "/meta", meta);
    if (tabpages_check(lying_io(c->disk), meta, NULL, why, NULL) < 0 ||
        kv_open(meta, c->set.map_bytes, true, &kv) < 0)
        return false;
    if (kv_read_begin(kv, &read) == 0) {
        ok = kv_get(kv, read, true, key, key_meta(key, META_APPLIED_LSN), &it) == 0 &&
             it.vlen == VAL_HDR_SIZE + 8;
        if (ok)
            *ret = get_le64((const uint8_t *)it.val + VAL_HDR_SIZE);
        kv_read_end(kv, read);
    }
    kv_close(kv);
    return ok;
}

static bool applied_of(struct c_run *c, uint64_t meta, uint64_t *ret)
{
    struct c_known *kn = &c->known;

    for (size_t i = 0; i < C_OUTCOMES; i++) {
        if (kn->applied[i].meta == meta) {
            *ret = kn->applied[i].lsn;
            return true;
        }
    }
    if (!applied_read(c, ret))
        return false;
    kn->applied[kn->next_applied].meta = meta;
    kn->applied[kn->next_applied++ % C_OUTCOMES].lsn = *ret;
    kn->next_applied %= C_OUTCOMES;
    return true;
}

/* A record is taken as the bytes that recovery is given, not as the checksum that is said to stand for them; also what is pending in
 * it: that there was a record at all tells recovery something. */
static int record_sum(void *arg, struct jrec_view *rec, bool same_boot)
{
    uint64_t *sum = arg;

    *sum = hash_sum(*sum + same_boot, rec->p - JREC_HDR_SIZE, rec->hdr.len);
    return 0;
}

static bool records_read(struct c_run *c, uint64_t lsn, uint64_t *ret)
{
    cleanup(buf_free) struct buf b = {0};
    struct store_version ver;
    struct journal *j;
    char path[300], why[256] = "";
    int r;

    path_of(c, "/version", path);
    if (io_read_file(lying_io(c->disk), path, 4096, &b) < 0 || store_version_decode(b.data, b.len, &ver) < 0)
        return false;
    path_of(c, "/journal", path);
    if (journal_open(lying_io(c->disk), path, &ver.uuid, &j, why) < 0)
        return false;
    *ret = hash_sum(journal_same_boot(j), b.data, b.len);
    r = journal_replay(j, lsn, record_sum, ret, why);
    journal_close(j);
    return r == 0;
}

static bool records_of(struct c_run *c, uint64_t lsn, uint64_t *ret)
{
    uint64_t journal = part_sum(c, "/journal", LYING_SUM_BYTES);
    struct c_known *kn = &c->known;
    size_t at = kn->next_records;

    for (size_t i = 0; i < C_SUMS; i++) {
        if (kn->records[i].journal == journal && kn->records[i].lsn == lsn) {
            *ret = kn->records[i].records;
            return true;
        }
    }
    if (!records_read(c, lsn, ret))
        return false;
    kn->records[at].journal = journal;
    kn->records[at].lsn = lsn;
    kn->records[at].records = *ret;
    kn->next_records = (at + 1) % C_SUMS;
    return true;
}

void c_outcome_begin(struct c_run *c, struct c_image_of *of)
{
    uint64_t lsn, all[4] = {part_sum(c, "/meta", LYING_SUM_BYTES), part_sum(c, "", LYING_SUM_NAMES)};
    const struct c_layout *l;
    uint64_t parts[2];
    char data[300];

    *of = (struct c_image_of){0};
    if (!applied_of(c, all[0], &lsn) || !records_of(c, lsn, &all[2]))
        return;
    all[3] = lsn;
    of->image = hash_sum(4, all, sizeof(all)) | 1;
    for (size_t i = 0; i < C_OUTCOMES && !of->known; i++)
        if (c->known.outcome[i].image == of->image)
            of->known = &c->known.outcome[i];
    l = of->known ? c_layout(&c->known, of->known->tables) : NULL;
    if (!l) {
        of->known = NULL;
        return;
    }
    path_of(c, "/data", data);
    lying_parts_sum(c->disk, data, of->known->log, l->part, l->n, parts);
    of->then.tables = of->known->tables;
    of->then.shape = parts[0];
    of->then.bytes = parts[1];
}

struct c_state *c_outcome_state(struct c_run *c, const struct c_image_of *of)
{
    return of->known ? c_known_state(&c->known, &of->then) : NULL;
}

void c_outcome_watch(struct c_run *c)
{
    char data[300];

    path_of(c, "/data", data);
    c->log = lying_log_new();
    lying_log_begin(c->disk, data, c->log);
}

void c_outcome_know(struct c_run *c, const struct c_image_of *of, const struct c_state *st)
{
    struct c_outcome *o = &c->known.outcome[c->known.next_outcome];

    lying_log_end(c->disk);
    if (of->known)
        WANT(c, of->then.tables == st->sums.tables && of->then.bytes == st->sums.bytes,
             "an image does not recover as another did, that has the same tables, records and names: %s",
             of->then.tables == st->sums.tables ? "bytes" : "tables");
    if (of->known || !of->image || !lying_log_whole(c->log))
        return;
    lying_log_free(o->log);
    *o = (struct c_outcome){of->image, st->sums.tables, TAKE(c->log)};
    c->known.next_outcome = (c->known.next_outcome + 1) % C_OUTCOMES;
}

void c_outcomes_forget(struct c_known *kn)
{
    for (size_t i = 0; i < C_OUTCOMES; i++)
        lying_log_free(kn->outcome[i].log);
    memset(kn->outcome, 0, sizeof(kn->outcome));
    memset(kn->applied, 0, sizeof(kn->applied));
    memset(kn->records, 0, sizeof(kn->records));
    kn->next_outcome = kn->next_applied = kn->next_records = 0;
}
