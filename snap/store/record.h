/* snap/store/record: the plain tables' records to bytes and back: packed, little endian, fields in the order of the structs
 * of format.h, names as u8 length + bytes. Decoders check lengths before they read: -E_CORRUPT. Keys likewise.
 * Version 1 of each; a later version appends fields. Golden bytes: tests/unit/record_test.c. */
#ifndef VARVE_SNAP_STORE_RECORD_H
#define VARVE_SNAP_STORE_RECORD_H

#include "base/buf.h"
#include "snap/store/format.h"

#define RECORD_SIZE_MAX 512u /* of any encoded record below, without layer texts */

/* Each returns the number of bytes put in out (RECORD_SIZE_MAX). */
size_t next_rec_encode(const struct next_rec *r, uint8_t *out);
size_t volume_rec_encode(const struct volume_rec *r, uint8_t *out);
size_t vstat_rec_encode(const struct vstat_rec *r, uint8_t *out);
size_t branch_rec_encode(const struct branch_rec *r, uint8_t *out);
size_t layer_rec_encode(const struct layer_rec *r, uint8_t *out); /* the text follows it in the value */
size_t view_rec_encode(const struct view_rec *r, uint8_t *out);
size_t object_rec_encode(const struct object_rec *r, uint8_t *out);
size_t reclaim_rec_encode(const struct reclaim_rec *r, uint8_t *out);

int next_rec_decode(const void *p, size_t len, struct next_rec *ret);
int volume_rec_decode(const void *p, size_t len, struct volume_rec *ret);
int vstat_rec_decode(const void *p, size_t len, struct vstat_rec *ret);
int branch_rec_decode(const void *p, size_t len, struct branch_rec *ret);
/* text/text_len may be NULL: what follows the record. */
int layer_rec_decode(const void *p, size_t len, struct layer_rec *ret, const char **text, size_t *text_len);
int view_rec_decode(const void *p, size_t len, struct view_rec *ret);
int object_rec_decode(const void *p, size_t len, struct object_rec *ret);
int reclaim_rec_decode(const void *p, size_t len, struct reclaim_rec *ret);

/* Keys: number of bytes put in out (KEY_SIZE_MAX). died: for history keys only. */
size_t key_live(uint8_t *out, uint8_t tab, uint32_t branch, const void *key, size_t klen);
size_t key_history(uint8_t *out, uint8_t tab, uint32_t branch, const void *key, size_t klen, uint32_t died);
size_t key_meta(uint8_t *out, enum meta m);
size_t key_u32(uint8_t *out, uint8_t tab,
               uint32_t a); /* TAB_VOLUME, TAB_VSTAT, TAB_BRANCH, TAB_PROFILE, TAB_SCHEDULE */
size_t key_u32_u32(uint8_t *out, uint8_t tab, uint32_t a, uint32_t b); /* TAB_LAYER, TAB_VIEW */
size_t key_u64(uint8_t *out, uint8_t tab, uint64_t a);                 /* TAB_OBJECT, TAB_RECLAIM, TAB_JOB */
size_t key_u32_u64(uint8_t *out, uint8_t tab, uint32_t a, uint64_t b); /* TAB_READ, TAB_SWEEP */
size_t key_name(uint8_t *out, uint8_t tab, const char *name);          /* TAB_VOLNAME */
size_t key_snapname(uint8_t *out, uint32_t vol, const char *name);     /* TAB_SNAPNAME */
size_t key_objref(uint8_t *out, uint64_t object, uint32_t branch, uint64_t ino);
size_t key_touched(uint8_t *out, uint32_t branch, uint32_t layer, uint8_t tab, const void *key, size_t klen);

#endif
