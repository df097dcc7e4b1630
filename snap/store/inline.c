/* Bytes of small files, in pieces in the tables. A piece that is not there is zeros; none reaches beyond the size. */
#include "snap/store/change.h"

static void piece_key(uint8_t key[10], uint64_t ino, uint64_t piece)
{
    put_be64(key, ino);
    put_be16(key + 8, (uint16_t)piece);
}

static struct txn_owner keep_owner(const struct change *ch)
{
    return ch->keep == KEEP_PENDING ? ch->owner : (struct txn_owner){0};
}

static int piece_load(struct change *ch, uint64_t piece, uint8_t buf[PIECE_SIZE], size_t *ret_len)
{
    uint8_t key[10];
    struct vt_val v;

    piece_key(key, ch->ino, piece);
    int r = vt_get(&ch->t, KEEP_PENDING, (struct vt_at){ch->at.branch, LAYER_NOW}, TAB_DATA, key, &v);
    memset(buf, 0, PIECE_SIZE);
    *ret_len = 0;
    if (r == 0 && v.len > PIECE_SIZE)
        r = -E_CORRUPT;
    if (r == 0) {
        memcpy(buf, v.data, v.len);
        *ret_len = v.len;
    }
    return r == -E_NOENT ? 0 : r;
}

int inline_write(struct change *ch, const uint8_t *p, size_t len, uint64_t off)
{
    uint64_t end = off + len;

    for (uint64_t piece = off / PIECE_SIZE; piece * PIECE_SIZE < end; piece++) {
        uint64_t base = piece * PIECE_SIZE, a = MAX_OF(off, base), b = MIN_OF(end, base + PIECE_SIZE);
        uint8_t key[10], buf[PIECE_SIZE];
        size_t had = 0;
        int r = 0;
        if (base < ch->in.size)
            r = piece_load(ch, piece, buf, &had);
        else
            memset(buf, 0, (size_t)(a - base));
        if (r < 0)
            return r;
        memcpy(buf + (a - base), p + (a - off), b - a);
        piece_key(key, ch->ino, piece);
        r = vt_put(&ch->t, ch->keep, keep_owner(ch), ch->at, TAB_DATA, key, buf, MAX_OF(had, b - base));
        if (r < 0)
            return r;
    }
    return 0;
}

int inline_trim(struct change *ch, uint64_t size)
{
    uint64_t pieces = (ch->in.size + PIECE_SIZE - 1) / PIECE_SIZE;

    for (uint64_t piece = size / PIECE_SIZE; piece < pieces; piece++) {
        uint8_t key[10], buf[PIECE_SIZE];
        size_t had, keep = size > piece * PIECE_SIZE ? (size_t)(size - piece * PIECE_SIZE) : 0;
        int r = piece_load(ch, piece, buf, &had);
        piece_key(key, ch->ino, piece);
        if (r == 0 && keep == 0)
            r = vt_del(&ch->t, ch->keep, keep_owner(ch), ch->at, TAB_DATA, key);
        else if (r == 0 && had > keep)
            r = vt_put(&ch->t, ch->keep, keep_owner(ch), ch->at, TAB_DATA, key, buf, keep);
        if (r < 0)
            return r;
    }
    return 0;
}
