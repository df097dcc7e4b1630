#include "snap/store/record.h"

size_t key_live(uint8_t *out, uint8_t tab, uint32_t branch, const void *key, size_t klen)
{
    assert(klen + 9 <= KEY_SIZE_MAX);
    out[0] = tab;
    put_be32(out + 1, branch);
    memcpy(out + 5, key, klen);
    return 5 + klen;
}

size_t key_history(uint8_t *out, uint8_t tab, uint32_t branch, const void *key, size_t klen, uint32_t died)
{
    size_t n = key_live(out, tab | TAB_HISTORY, branch, key, klen);

    put_be32(out + n, died);
    return n + 4;
}

size_t key_meta(uint8_t *out, enum meta m)
{
    out[0] = TAB_META;
    out[1] = (uint8_t)m;
    return 2;
}

size_t key_u32(uint8_t *out, uint8_t tab, uint32_t a)
{
    out[0] = tab;
    put_be32(out + 1, a);
    return 5;
}

size_t key_u32_u32(uint8_t *out, uint8_t tab, uint32_t a, uint32_t b)
{
    out[0] = tab;
    put_be32(out + 1, a);
    put_be32(out + 5, b);
    return 9;
}

size_t key_u32_u64(uint8_t *out, uint8_t tab, uint32_t a, uint64_t b)
{
    out[0] = tab;
    put_be32(out + 1, a);
    put_be64(out + 5, b);
    return 13;
}

size_t key_u64(uint8_t *out, uint8_t tab, uint64_t a)
{
    out[0] = tab;
    put_be64(out + 1, a);
    return 9;
}

size_t key_name(uint8_t *out, uint8_t tab, const char *name)
{
    size_t len = strlen(name);

    assert(len <= NAME_LEN_MAX);
    out[0] = tab;
    memcpy(out + 1, name, len);
    return 1 + len;
}

size_t key_snapname(uint8_t *out, uint32_t vol, const char *name)
{
    size_t len = strlen(name);

    assert(len <= NAME_LEN_MAX);
    out[0] = TAB_SNAPNAME;
    put_be32(out + 1, vol);
    memcpy(out + 5, name, len);
    return 5 + len;
}

size_t key_objref(uint8_t *out, uint64_t object, uint32_t branch, uint64_t ino)
{
    out[0] = TAB_OBJREF;
    put_be64(out + 1, object);
    put_be32(out + 9, branch);
    put_be64(out + 13, ino);
    return 21;
}

size_t key_touched(uint8_t *out, uint32_t branch, uint32_t layer, uint8_t tab, const void *key, size_t klen)
{
    assert(klen + 10 <= KEY_SIZE_MAX);
    out[0] = TAB_TOUCHED;
    put_be32(out + 1, branch);
    put_be32(out + 5, layer);
    out[9] = tab;
    memcpy(out + 10, key, klen);
    return 10 + klen;
}
