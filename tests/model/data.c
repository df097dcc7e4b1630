/* Reading, and where the holes are. */
#include "tests/model/model.h"

#include <stdlib.h>
#include <unistd.h>

void m_compare_bytes(struct m_run *m, struct m_vol *mv, vfs_node n, const struct o_ino *in, uint64_t off,
                     size_t len)
{
    size_t want_len = off >= in->size ? 0 : MIN_OF((uint64_t)len, in->size - off), got_len = 0;
    uint8_t *got = malloc(len + 1), *want = malloc(len + 1);

    assert(got && want);
    memset(got, 0xee, len);
    m_expect(m, vfs_read(mv->v, n, got, len, off, &got_len), 0, "read");
    WANT(m, got_len == want_len, "node %llx: read at %llu gives %zu bytes, not %zu", (unsigned long long)n.v,
         (unsigned long long)off, got_len, want_len);
    pages_read(&in->data, want, want_len, off);
    for (size_t i = 0; memcmp(got, want, want_len) != 0 && i < want_len; i++)
        WANT(m, got[i] == want[i], "node %llx: byte %llu (block %llu) is %02x, not %02x",
             (unsigned long long)n.v, (unsigned long long)(off + i),
             (unsigned long long)((off + i) / PG_SIZE), got[i], want[i]);
    free(got);
    free(want);
}

/* The end of the run of blocks of one sort (data or not) that begins at a block, in bytes, cut at the size. */
static bool is_data(const struct o_ino *in, uint64_t block)
{
    return in->is_inline || pages_kind(&in->data, block) == PG_DATA;
}

/* Where the next data begins at or after a block; UINT64_MAX: nowhere. */
static uint64_t next_data(const struct o_ino *in, uint64_t block)
{
    if (in->is_inline)
        return block;
    do
        block = pages_next(&in->data, block);
    while (block != UINT64_MAX && !is_data(in, block) && ++block);
    return block;
}

static void compare_seek(struct m_run *m, struct m_vol *mv, vfs_node n, int whence, uint64_t off,
                         uint64_t want)
{
    uint64_t got = 0;
    int r = vfs_seek(mv->v, n, whence, off, &got);

    if (!m_expect(m, r, want == UINT64_MAX ? -E_NXIO : 0, whence == SEEK_DATA ? "seek data" : "seek hole"))
        return;
    WANT(m, got == want, "node %llx: seek %s from %llu gives %llu, not %llu", (unsigned long long)n.v,
         whence == SEEK_DATA ? "data" : "hole", (unsigned long long)off, (unsigned long long)got,
         (unsigned long long)want);
}

void m_compare_map(struct m_run *m, struct m_vol *mv, vfs_node n, const struct o_ino *in)
{
    uint64_t at = 0;

    compare_seek(m, mv, n, SEEK_DATA, in->size, UINT64_MAX);
    while (at < in->size) {
        uint64_t data = next_data(in, at / PG_SIZE), hole;

        data = data == UINT64_MAX || data * PG_SIZE >= in->size ? UINT64_MAX : MAX_OF(at, data * PG_SIZE);
        compare_seek(m, mv, n, SEEK_DATA, at, data);
        if (data != at)
            compare_seek(m, mv, n, SEEK_HOLE, at, at);
        if (data == UINT64_MAX)
            return;
        hole = data / PG_SIZE;
        while (hole * PG_SIZE < in->size && is_data(in, hole))
            hole++;
        hole = MIN_OF(hole * PG_SIZE, in->size);
        compare_seek(m, mv, n, SEEK_HOLE, data, hole);
        at = hole;
    }
}
