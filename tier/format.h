/* tier/format: numbers and offsets of the repository's format, version 1: docs/repository-format.md says what they mean. Pure. */
#ifndef VARVE_TIER_FORMAT_H
#define VARVE_TIER_FORMAT_H

#include "base/enc.h"
#include "base/uuid.h"

#define REPO_FORMAT 1
#define FRAME_LOG2 16 /* of a repository: what its chunks have at least */
#define FRAME_SIZE (1u << FRAME_LOG2)
#define FRAME_LOG2_MAX 18 /* of data in Zstandard, which small frames cost a tenth of what it gains */
#define CHUNK_PLAIN_MAX (64u << 20)
#define BLOB_MAX (1u << 20)
#define TIER_BLOCK 4096u
#define TIER_BLOCKS_MAX (BLOB_MAX / TIER_BLOCK)

struct id16 {
    uint8_t b[16];
};
struct sha {
    uint8_t b[32];
};
static inline struct id16 sha_half(const struct sha *s)
{
    struct id16 id;

    memcpy(id.b, s->b, sizeof(id.b));
    return id;
}
static inline bool id16_none(const struct id16 *id)
{
    static const struct id16 none;

    return memcmp(id->b, none.b, sizeof(none.b)) == 0;
}
#define ID16_TEXT 33
#define SHA_TEXT 65

enum plain_kind { PLAIN_ROOT = 1, PLAIN_KEY = 2, PLAIN_DOMAIN = 3, PLAIN_LEASE = 4 };
#define PLAIN_MAGIC "vREP"
#define PLAIN_HEAD 12u /* magic, version, kind, length; then the body, then the hash */
#define PLAIN_MAX 65536u
#define TLV_MUST 1u

#define ROOT_BODY 128u /* with the mac */
#define ROOT_MAC_AT 96u
#define KEY_BODY 124u
#define KEY_NONCE_AT 64u
#define DOMAIN_BODY 108u
#define DOMAIN_NONCE_AT 48u
enum domain_flag { DOMAIN_OWN = 1, DOMAIN_SHREDDED = 2 };
#define WRAPPED_SIZE 48u
#define NONCE_SIZE 12u
#define TAG_SIZE 16u

enum hash_id { HASH_HMAC_SHA256_128 = 1 };
enum cipher_id { CIPHER_AES_256_GCM = 1 };
enum codec_id { CODEC_NONE = 0, CODEC_LZ4 = 1, CODEC_ZSTD = 2 };
enum kdf_id { KDF_SCRYPT = 1, KDF_FILE = 2 };

enum chunk_kind {
    CHUNK_DATA = 1,
    CHUNK_META = 2,
    CHUNK_TRAILER = 3,
    CHUNK_INDEX = 4,
    CHUNK_POINT = 5,
    CHUNK_CONDEMNED = 6,
    CHUNK_PIN = 7,
};
#define CHUNK_MAGIC "vCHK"
#define CHUNK_HEAD 56u /* then the frames' lengths, sum8, the frames */
#define FRAME_RAW 0x80000000u
#define SUM8 8u

#define PACK_MAGIC "vPAK"
#define PACK_END_MAGIC "vPKE"
#define PACK_HEAD 40u
#define PACK_FOOT 28u
#define PACK_SIZE                                                                                            \
    (8u << 20) /* about: a pack ends with the chunk that passes it; three of them are in memory */
#define PACK_SIZE_MAX (256u << 20)
#define PACK_NAME 96
#define TRAILER_HEAD 8u
#define TRAILER_CHUNK 36u
#define TRAILER_BLOB 20u
#define TRAILER_OWN 1u /* flag of a chunk: its domain follows */
#define INDEX_HEAD 8u
#define INDEX_PACK 44u

#define SLICE_SIZE 44u
struct slice {
    struct id16 blob, chunk;
    uint32_t off, len; /* in the chunk's plain bytes */
    uint32_t skip;     /* where it begins in the blob */
};
static inline void slice_encode(struct enc *e, const struct slice *s)
{
    enc_bytes(e, s->blob.b, 16);
    enc_bytes(e, s->chunk.b, 16);
    enc_u32(e, s->off);
    enc_u32(e, s->len);
    enc_u32(e, s->skip);
}
static inline struct slice slice_decode(struct dec *d)
{
    struct slice s;

    dec_copy(d, s.blob.b, 16);
    dec_copy(d, s.chunk.b, 16);
    s.off = dec_u32(d);
    s.len = dec_u32(d);
    s.skip = dec_u32(d);
    return s;
}

/* Pages of the tree of metadata. */
#define PAGE_VERSION 1
#define PAGE_HEAD 8u
#define PAGE_ENTRY 4u
#define PAGE_TARGET 16384u
#define PAGE_MAX 65536u
#define TREE_KEY_MAX 300u
#define TREE_VALUE_MAX 4200u
#define TREE_DEPTH_MAX 12u
enum rec_kind {
    REC_INODE = 1,
    REC_XATTR = 2,
    REC_SYMLINK = 3,
    REC_DIRENT = 4,
    REC_RUN = 5,
    REC_EXTENT = 6,
    REC_USE = 7
};
enum extent_kind { EXTENT_ZERO = 0, EXTENT_SLICE = 1, EXTENT_ALLOCATED = 2 };
#define RUNS_MAX 8u
#define XATTR_INLINE 1024u /* larger values are blobs */

#endif
