#include "tests/lib/oracle.h"

#include <stdlib.h>

enum { USER_OBJ = 1, USER = 2, GROUP_OBJ = 4, GROUP = 8, MASK = 16, OTHER = 32 };
#define ENTRY 8u

static uint8_t *entry(uint8_t *acl, size_t len, unsigned tag)
{
    for (size_t at = 4; at + ENTRY <= len; at += ENTRY)
        if (get_le16(acl + at) == tag)
            return acl + at;
    return NULL;
}

static uint8_t *group_class(uint8_t *acl, size_t len)
{
    uint8_t *mask = entry(acl, len, MASK);

    return mask ? mask : entry(acl, len, GROUP_OBJ);
}

uint32_t o_acl_mode(const uint8_t *acl, size_t len, uint32_t mode, bool *plain)
{
    uint8_t copy[512];
    uint32_t bits;

    assert(len <= sizeof(copy));
    memcpy(copy, acl, len);
    bits = (uint32_t)get_le16(entry(copy, len, USER_OBJ) + 2) << 6;
    bits |= (uint32_t)get_le16(group_class(copy, len) + 2) << 3;
    bits |= get_le16(entry(copy, len, OTHER) + 2);
    *plain = len == 4 + 3 * ENTRY;
    return (mode & ~0777u) | bits;
}

static void put_perm(uint8_t *e, uint32_t perm)
{
    put_le16(e + 2, (uint16_t)(perm & 7));
}

void o_acl_chmod(struct o_ino *in)
{
    const struct o_xattr *x = o_xattr_find(in, O_ACL_ACCESS);

    if (!x)
        return;
    put_perm(entry(x->val, x->len, USER_OBJ), in->mode >> 6);
    put_perm(group_class(x->val, x->len), in->mode >> 3);
    put_perm(entry(x->val, x->len, OTHER), in->mode);
}

static void narrow(uint8_t *e, uint32_t perm)
{
    put_perm(e, get_le16(e + 2) & perm);
}

void o_acl_inherit(const struct o_ino *dir, struct o_ino *in, uint32_t mode, uint32_t umask)
{
    const struct o_xattr *def = S_ISLNK(mode) ? NULL : o_xattr_find(dir, O_ACL_DEFAULT);
    uint8_t acl[512];
    bool plain;

    in->mode = mode;
    if (!def) {
        in->mode &= S_ISLNK(mode) ? ~0u : ~(umask & 0777);
        return;
    }
    assert(def->len <= sizeof(acl));
    memcpy(acl, def->val, def->len);
    narrow(entry(acl, def->len, USER_OBJ), mode >> 6);
    narrow(group_class(acl, def->len), mode >> 3);
    narrow(entry(acl, def->len, OTHER), mode);
    in->mode = o_acl_mode(acl, def->len, mode, &plain);
    if (!plain)
        o_xattr_set(in, O_ACL_ACCESS, acl, def->len);
    if (S_ISDIR(mode))
        o_xattr_set(in, O_ACL_DEFAULT, def->val, def->len);
}
