/* Writes that end after their layer was sealed (F6): they belong to its snapshot, and so do their blocks. */
#include "snap/store/store_int.h"

int layer_late_blocks(struct txn *t, const struct vol *v, uint32_t layer, int64_t blocks)
{
    uint8_t k[KEY_SIZE_MAX];
    size_t n = key_u32_u32(k, TAB_LAYER, v->rec.id, layer), text_len, len;
    struct layer_rec rec;
    struct txn_val val;
    const char *text;
    uint8_t *out;
    int r;

    if (layer == v->rec.layer || blocks == 0)
        return 0;
    r = txn_get(t, KEEP_FIRM, k, n, &val);
    if (r < 0)
        return r == -E_NOENT ? 0 : r; /* deleted already */
    r = layer_rec_decode(val.data, val.len, &rec, &text, &text_len);
    if (r < 0)
        return r;
    rec.blocks += (uint64_t)blocks;
    out = txn_alloc(t, RECORD_SIZE_MAX + text_len);
    if (!out)
        return -E_NOMEM;
    len = layer_rec_encode(&rec, out);
    if (text_len)
        memcpy(out + len, text, text_len);
    return txn_put_plain(t, k, n, out, len + text_len);
}
