#include "snap/job.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "snap/store/vol.h"

/*  vol u32 | state u32 | cancel u32 | zero u32 | created i64 | started i64 | ended i64 |
 *  items done u64 | items total u64 | bytes done u64 | bytes total u64 | verb NUL detail NUL result NUL text NUL */
#define FIXED_SIZE 72u

/* A result travels by name: the numbers of codes never leave the process. */
static int result_of(const char *name)
{
    for (int e = E__FIRST + 1; e < E__END; e++)
        if (strcmp(err_name(-e), name) == 0)
            return -e;
    return strcmp(name, err_name(0)) == 0 ? 0 : -E_IO;
}

int job_record_encode(const struct job_info *i, struct buf *out)
{
    const char *texts[] = {i->verb, i->detail, err_name(i->result), i->text};
    uint8_t f[FIXED_SIZE] = {0};
    int r;

    put_le32(f, i->vol);
    put_le32(f + 4, i->state);
    put_le32(f + 8, i->cancel);
    put_le64(f + 16, (uint64_t)i->created_ns);
    put_le64(f + 24, (uint64_t)i->started_ns);
    put_le64(f + 32, (uint64_t)i->ended_ns);
    put_le64(f + 40, i->items_done);
    put_le64(f + 48, i->items_total);
    put_le64(f + 56, i->bytes_done);
    put_le64(f + 64, i->bytes_total);
    r = buf_add(out, f, sizeof(f));
    for (size_t n = 0; r == 0 && n < ARRAY_LEN(texts); n++)
        r = buf_add(out, texts[n], strlen(texts[n]) + 1);
    return r;
}

/* The next text of at most size - 1 bytes. */
static int text_take(const uint8_t **p, size_t *len, char *out, size_t size)
{
    const uint8_t *end = memchr(*p, 0, *len);
    size_t n;

    if (!end || (size_t)(end - *p) >= size)
        return -E_CORRUPT;
    n = (size_t)(end - *p) + 1;
    memcpy(out, *p, n);
    *p += n;
    *len -= n;
    return 0;
}

int job_record_decode(uint64_t id, const uint8_t *p, size_t len, struct job_info *ret)
{
    struct job_info i = {.id = id, .eta_ns = -1};
    char result[64];

    if (len < FIXED_SIZE)
        return -E_CORRUPT;
    i.vol = get_le32(p);
    i.state = (enum job_state)get_le32(p + 4);
    i.cancel = get_le32(p + 8) != 0;
    i.created_ns = (int64_t)get_le64(p + 16);
    i.started_ns = (int64_t)get_le64(p + 24);
    i.ended_ns = (int64_t)get_le64(p + 32);
    i.items_done = get_le64(p + 40);
    i.items_total = get_le64(p + 48);
    i.bytes_done = get_le64(p + 56);
    i.bytes_total = get_le64(p + 64);
    p += FIXED_SIZE;
    len -= FIXED_SIZE;
    if (i.state < JOB_QUEUED || i.state > JOB_INTERRUPTED ||
        text_take(&p, &len, i.verb, sizeof(i.verb)) < 0 ||
        text_take(&p, &len, i.detail, sizeof(i.detail)) < 0 ||
        text_take(&p, &len, result, sizeof(result)) < 0 || text_take(&p, &len, i.text, sizeof(i.text)) < 0 ||
        len != 0)
        return -E_CORRUPT;
    i.result = result_of(result);
    *ret = i;
    return 0;
}

/* --- in the table --------------------------------------------------------------------------------------------------- */

static void key_of(uint64_t id, uint8_t key[9])
{
    key[0] = TAB_JOB;
    put_be64(key + 1, id);
}

static int put(struct txn *t, struct job_info *info)
{
    cleanup(buf_free) struct buf b = {0};
    uint8_t key[9];
    int r;

    if (info->id == 0)
        info->id = txn_next_job(t);
    key_of(info->id, key);
    r = job_record_encode(info, &b);
    return r < 0 ? r : txn_put_plain(t, key, sizeof(key), b.data, b.len);
}

/* r: how the work in it went. */
static int end_with(struct txn *t, int r)
{
    if (r == 0)
        return txn_commit(t);
    txn_abort(t);
    return r;
}

int job_record_write(struct store *s, struct job_info *info)
{
    struct txn t;
    int r = txn_begin(s, TXN_WRITE, OP_JOB, NULL, &t);

    return r < 0 ? r : end_with(&t, put(&t, info));
}

int job_record_delete(struct store *s, uint64_t id)
{
    uint8_t key[9];
    struct txn t;
    int r = txn_begin(s, TXN_WRITE, OP_JOB, NULL, &t);

    key_of(id, key);
    return r < 0 ? r : end_with(&t, txn_del(&t, KEEP_FIRM, (struct txn_owner){0}, key, sizeof(key)));
}

/* The first whose number is not below *id: its number goes there. -E_NOENT: there is none. */
static int next(struct txn *t, uint64_t *id, struct txn_val *ret)
{
    const uint8_t *k;
    uint8_t key[9];
    size_t klen;
    int r;

    key_of(*id, key);
    r = txn_ge(t, KEEP_PENDING, key, sizeof(key), 1, &k, &klen, ret);
    if (r == 0 && klen != sizeof(key))
        r = -E_NOENT;
    if (r == 0)
        *id = get_be64(k + 1);
    return r;
}

int job_records_each(struct store *s, int (*cb)(void *arg, uint64_t id, const struct job_info *info),
                     void *arg)
{
    struct txn_val v;
    struct txn t;
    int r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t);

    if (r < 0)
        return r;
    for (uint64_t id = 0; r == 0 && (r = next(&t, &id, &v)) == 0; id++) {
        struct job_info info;
        bool ok = job_record_decode(id, v.data, v.len, &info) == 0;

        if (!ok)
            log_warn("job", "unreadable", "id=%" PRIu64, id);
        r = cb(arg, id, ok ? &info : NULL);
    }
    txn_abort(&t);
    return r == -E_NOENT ? 0 : r;
}
