/* POSIX ACLs as the kernel passes them: little endian, entries in the order user, named users, group, named groups, mask,
 * other. What the rules say is that of acl(5). */
#include <sys/stat.h>

#include "snap/ns.h"

#define ACL_VERSION 2u
enum acl_tag {
    ACL_USER_OBJ = 0x01,
    ACL_USER = 0x02,
    ACL_GROUP_OBJ = 0x04,
    ACL_GROUP = 0x08,
    ACL_MASK = 0x10,
    ACL_OTHER = 0x20,
};

static size_t acl_count(size_t len)
{
    return (len - ACL_HEADER_SIZE) / ACL_ENTRY_SIZE;
}

static uint8_t *acl_entry(void *p, size_t i)
{
    return (uint8_t *)p + ACL_HEADER_SIZE + i * ACL_ENTRY_SIZE;
}

static uint16_t acl_tag(const void *p, size_t i)
{
    return get_le16((const uint8_t *)p + ACL_HEADER_SIZE + i * ACL_ENTRY_SIZE);
}

static uint16_t acl_perm(const void *p, size_t i)
{
    return get_le16((const uint8_t *)p + ACL_HEADER_SIZE + i * ACL_ENTRY_SIZE + 2);
}

static uint32_t acl_id(const void *p, size_t i)
{
    return get_le32((const uint8_t *)p + ACL_HEADER_SIZE + i * ACL_ENTRY_SIZE + 4);
}

/* The place of a tag in the order of an ACL; 0: no tag at all. */
static int tag_rank(uint16_t tag)
{
    switch (tag) {
    case ACL_USER_OBJ: return 1;
    case ACL_USER: return 2;
    case ACL_GROUP_OBJ: return 3;
    case ACL_GROUP: return 4;
    case ACL_MASK: return 5;
    case ACL_OTHER: return 6;
    default: return 0;
    }
}

int acl_check(const void *p, size_t len)
{
    unsigned seen = 0;
    int last = 0;

    if (len == 0)
        return 1;
    if (len < ACL_HEADER_SIZE || (len - ACL_HEADER_SIZE) % ACL_ENTRY_SIZE != 0)
        return -E_INVAL;
    if (get_le32(p) != ACL_VERSION)
        return -E_NOTSUP;
    if (acl_count(len) == 0)
        return 1;
    for (size_t i = 0; i < acl_count(len); i++) {
        uint16_t tag = acl_tag(p, i);
        int rank = tag_rank(tag);
        bool named = tag == ACL_USER || tag == ACL_GROUP;

        if (rank == 0 || rank < last || (rank == last && !named))
            return -E_INVAL;
        if (acl_perm(p, i) > 7 || (named && acl_id(p, i) == UINT32_MAX))
            return -E_INVAL;
        last = rank;
        seen |= tag;
    }
    if ((seen & (ACL_USER_OBJ | ACL_GROUP_OBJ | ACL_OTHER)) != (ACL_USER_OBJ | ACL_GROUP_OBJ | ACL_OTHER))
        return -E_INVAL;
    if ((seen & (ACL_USER | ACL_GROUP)) && !(seen & ACL_MASK))
        return -E_INVAL;
    return 0;
}

/* The entry that stands for the group bits of the mode: the mask, or the owning group where there is none. */
static size_t group_class(const void *p, size_t len)
{
    size_t found = 0;

    for (size_t i = 0; i < acl_count(len); i++) {
        if (acl_tag(p, i) == ACL_GROUP_OBJ)
            found = i;
        if (acl_tag(p, i) == ACL_MASK && !BROKEN(VARVE_BREAK_acl_mask))
            return i;
    }
    return found;
}

static bool acl_is_more(const void *p, size_t len)
{
    for (size_t i = 0; i < acl_count(len); i++) {
        uint16_t tag = acl_tag(p, i);

        if (tag == ACL_USER || tag == ACL_GROUP || tag == ACL_MASK)
            return true;
    }
    return false;
}

/* How far to the left the bits of an entry stand in the mode; -1: not there. */
static int class_shift(const void *p, size_t i, size_t group)
{
    if (i == group)
        return 3;
    if (acl_tag(p, i) == ACL_USER_OBJ)
        return 6;
    return acl_tag(p, i) == ACL_OTHER ? 0 : -1;
}

bool acl_to_mode(const void *p, size_t len, uint32_t *mode)
{
    size_t group = group_class(p, len);
    uint32_t m = *mode & ~0777u;

    for (size_t i = 0; i < acl_count(len); i++) {
        int shift = class_shift(p, i, group);

        if (shift >= 0)
            m |= (uint32_t)acl_perm(p, i) << shift;
    }
    *mode = m;
    return acl_is_more(p, len);
}

bool acl_inherit(void *p, size_t len, uint32_t *mode)
{
    size_t group = group_class(p, len);
    uint32_t m = *mode & ~0777u;

    for (size_t i = 0; i < acl_count(len); i++) {
        int shift = class_shift(p, i, group);
        uint32_t both;

        if (shift < 0)
            continue;
        both = acl_perm(p, i) & (*mode >> shift) & 7;
        put_le16(acl_entry(p, i) + 2, (uint16_t)both);
        m |= both << shift;
    }
    *mode = m;
    return acl_is_more(p, len);
}

void acl_chmod(void *p, size_t len, uint32_t mode)
{
    size_t group = group_class(p, len);

    for (size_t i = 0; i < acl_count(len); i++) {
        int shift = class_shift(p, i, group);

        if (shift >= 0)
            put_le16(acl_entry(p, i) + 2, (uint16_t)(mode >> shift & 7));
    }
}
