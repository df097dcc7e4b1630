#include <sys/stat.h>

#include "base/hash.h"
#include "base/log.h"
#include "snap/ns.h"

uint64_t ns_hash_mask = UINT64_MAX;

int ns_name_init(const char *s, struct ns_name *ret)
{
    size_t len = strlen(s);

    if (len > NAME_LEN_MAX)
        return -E_NAMETOOLONG;
    if (len == 0 || memchr(s, '/', len) != NULL || strcmp(s, ".") == 0 || strcmp(s, "..") == 0)
        return -E_INVAL;
    *ret = (struct ns_name){s, len};
    return 0;
}

/* Group 0 is left out: its first numbers belong to "." and "..". */
uint64_t ns_name_group(const uint8_t hash_key[16], const char *name, size_t len)
{
    uint64_t h = hash_name(hash_key, name, len) & ns_hash_mask;

    h = (h >> 1) & ~(uint64_t)(NS_GROUP - 1);
    return h == 0 ? NS_GROUP : h;
}

static uint64_t name_group(const struct vol *v, const struct ns_name *name)
{
    return ns_name_group(v->rec.hash_key, name->s, name->len);
}

static void dirent_key(uint64_t dir, uint64_t hash, uint8_t key[16])
{
    put_be64(key, dir);
    put_be64(key + 8, hash);
}

int ns_dirent_parse(uint64_t hash, const void *p, size_t len, struct ns_dirent *ret)
{
    const uint8_t *b = p;

    if (len <= NS_DIRENT_HEAD || len > NS_DIRENT_HEAD + NAME_LEN_MAX ||
        memchr(b + NS_DIRENT_HEAD, '/', len - NS_DIRENT_HEAD) ||
        memchr(b + NS_DIRENT_HEAD, 0, len - NS_DIRENT_HEAD))
        return log_err(-E_CORRUPT, "snap", "dirent hash=%llx len=%zu", (unsigned long long)hash, len);
    *ret = (struct ns_dirent){
        .hash = hash,
        .ino = get_le64(b),
        .type = (uint32_t)b[8] << 12,
        .name = (const char *)b + NS_DIRENT_HEAD,
        .name_len = len - NS_DIRENT_HEAD,
    };
    return 0;
}

static bool same_name(const struct ns_dirent *e, const struct ns_name *name)
{
    return e->name_len == name->len && memcmp(e->name, name->s, name->len) == 0;
}

/* Walks the name's group. Stops at the name: 0 with ret. Else -E_NOENT, and the lowest free number in ret_free (0: none). */
static int group_walk(struct ns *o, uint64_t dir, uint64_t group, const struct ns_name *name,
                      struct ns_dirent *ret, uint64_t *ret_free)
{
    struct vt_scan sc;
    struct vt_val val;
    const uint8_t *key;
    uint8_t prefix[16];
    uint64_t gap = group;
    int r;

    dirent_key(dir, group, prefix);
    vt_scan_init(&sc, &o->t, KEEP_PENDING, o->at, TAB_DIRENT, prefix, 15);
    while ((r = vt_scan_next(&sc, &key, &val)) == 1) {
        uint64_t hash = get_be64(key + 8);
        struct ns_dirent e;

        r = ns_dirent_parse(hash, val.data, val.len, &e);
        if (r < 0)
            return r;
        if (same_name(&e, name)) {
            *ret = e;
            return 0;
        }
        if (hash == gap)
            gap++;
        else if (BROKEN(VARVE_BREAK_name_gap))
            break;
    }
    if (r < 0)
        return r;
    *ret_free = gap - group < NS_GROUP ? gap : 0;
    return -E_NOENT;
}

int ns_dirent_find(struct ns *o, uint64_t dir, const struct ns_name *name, struct ns_dirent *ret)
{
    uint64_t group = name_group(o->v, name), gap;
    struct ns_dirent e;
    struct vt_val val;
    uint8_t key[16];
    int r;

    /* nearly always the only one of its group: one seek instead of a scan */
    dirent_key(dir, group, key);
    r = vt_get(&o->t, KEEP_PENDING, o->at, TAB_DIRENT, key, &val);
    if (r == 0) {
        r = ns_dirent_parse(group, val.data, val.len, &e);
        if (r == 0 && same_name(&e, name)) {
            *ret = e;
            return 0;
        }
    }
    if (r < 0 && r != -E_NOENT)
        return r;
    r = group_walk(o, dir, group, name, ret, &gap);
    if (r == -E_NOENT)
        ret->hash = gap;
    return r;
}

int ns_dirent_slot(struct ns *o, uint64_t dir, const struct ns_name *name, uint64_t *ret_hash)
{
    uint64_t gap = 0;
    struct ns_dirent e;
    int r = group_walk(o, dir, name_group(o->v, name), name, &e, &gap);

    if (r == 0)
        return -E_EXIST;
    if (r != -E_NOENT)
        return r;
    if (gap == 0)
        return -E_NOSPC;
    *ret_hash = gap;
    return 0;
}

int ns_dirent_put(struct ns *o, uint64_t dir, uint64_t hash, uint64_t ino, uint32_t mode,
                  const struct ns_name *name)
{
    uint8_t key[16], val[NS_DIRENT_HEAD + NAME_LEN_MAX];

    assert(o->live);
    assert(name->len <= NAME_LEN_MAX);
    dirent_key(dir, hash, key);
    put_le64(val, ino);
    val[8] = (uint8_t)((mode & S_IFMT) >> 12);
    memcpy(val + NS_DIRENT_HEAD, name->s, name->len);
    return vt_put(&o->t, KEEP_FIRM, (struct txn_owner){0}, o->to, TAB_DIRENT, key, val,
                  NS_DIRENT_HEAD + name->len);
}

int ns_dirent_del(struct ns *o, uint64_t dir, uint64_t hash)
{
    uint8_t key[16];

    assert(o->live);
    dirent_key(dir, hash, key);
    return vt_del(&o->t, KEEP_FIRM, (struct txn_owner){0}, o->to, TAB_DIRENT, key);
}

int ns_dir_empty(struct ns *o, uint64_t dir)
{
    struct vt_scan sc;
    struct vt_val val;
    const uint8_t *key;
    uint8_t prefix[8];
    int r;

    put_be64(prefix, dir);
    vt_scan_init(&sc, &o->t, KEEP_PENDING, o->at, TAB_DIRENT, prefix, 8);
    r = vt_scan_next(&sc, &key, &val);
    return r == 1 ? -E_NOTEMPTY : r;
}
