#include "snap/job.h"

#include <stdio.h>

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
