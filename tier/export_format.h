/* tier/export_format: the bytes between the objects of an export file (docs/repository-format.md, Export files). Pure. Each structure ends
 * in the first 8 bytes of the SHA-256 of what comes before it. */
#ifndef VARVE_TIER_EXPORT_FORMAT_H
#define VARVE_TIER_EXPORT_FORMAT_H

#include "tier/backend.h"
#include "tier/crypt.h"

#define EXPORT_VERSION 1
#define EXPORT_MAGIC "vEXP"
#define EXPORT_OBJECT_MAGIC "vOBJ"
#define EXPORT_END_MAGIC "vEND"
#define EXPORT_HEAD 56u
#define EXPORT_OBJECT_FIX 48u /* then the name, sum8, the object's bytes */
#define EXPORT_OBJECT_MAX (EXPORT_OBJECT_FIX + BACKEND_NAME_MAX + SUM8)
#define EXPORT_END 64u

struct export_head {
    struct sha point; /* the recovery point that it was made from, in the repository it came from */
    int64_t created_ns;
};
struct export_object {
    char name[BACKEND_NAME_MAX + 1];
    uint64_t len;
    struct sha sum; /* of its bytes */
    uint8_t head_sum[SUM8];
};
struct export_end {
    uint64_t objects, len; /* len: of the file before the end */
    struct sha sums;       /* of all objects' head_sum, in their order */
};

int export_head_encode(const struct export_head *h, uint8_t out[EXPORT_HEAD]);
/* fills o->head_sum. *ret_len: bytes of out that are used */
int export_object_encode(struct export_object *o, uint8_t out[EXPORT_OBJECT_MAX], size_t *ret_len);
int export_end_encode(const struct export_end *e, uint8_t out[EXPORT_END]);

/* -E_CORRUPT; -E_REPO_NEWER (the head's version). export_object_size: of the structure whose first EXPORT_OBJECT_FIX bytes these are. */
int export_head_decode(const uint8_t p[EXPORT_HEAD], struct export_head *ret);
int export_object_size(const uint8_t p[EXPORT_OBJECT_FIX], size_t *ret);
int export_object_decode(const uint8_t *p, size_t len, struct export_object *ret);
int export_end_decode(const uint8_t p[EXPORT_END], struct export_end *ret);

#endif
