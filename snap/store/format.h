/* snap/store/format: how a store lies on disk: table numbers, keys, values. Format 1.
 *
 * STORE/meta is one LMDB environment with one unnamed tree. A key begins with its table's number (1 byte); numbers
 * inside keys are big endian, so that keys sort as bytes; numbers inside values are little endian.
 *
 *   live     [table][branch u32][key ...]
 *   history  [table|0x80][branch u32][key ...][died u32]      only tables with life spans (table < TAB__PLAIN)
 *   plain    [table][key ...]                                 tables without life spans
 *
 * Keys of one table with life spans all have one length (given below), so "the first history entry with died > L" is
 * one seek. A record is visible in layer L exactly when born <= L < died (I-02); the live one has died = infinite.
 *
 *   value    version u8 | flags u8 | zero u16 | born u32 | sum u32 | payload        (VAL_HDR_SIZE bytes before payload)
 *
 * sum = hash_sum32 over the key (as live key, without table bit 0x80 and without died), then version, flags, born and
 * payload. Numbers once written are never reused; a change of meaning is a new version of the value. */
#ifndef VARVE_SNAP_STORE_FORMAT_H
#define VARVE_SNAP_STORE_FORMAT_H

#include "base/base.h"
#include "base/uuid.h"

#define STORE_FORMAT 1
#define BLOCK_SIZE 4096u
#define BLOCK_SHIFT 12
#define SPAN_BLOCKS 256u /* 1 MiB */
#define SPAN_SHIFT 20
#define INO_ROOT 1ull
#define INO_BITS 40
#define INO_MAX ((1ull << INO_BITS) - 1)
#define NAME_LEN_MAX 255
#define KEY_SIZE_MAX 320        /* LMDB's own bound is 511 */
#define INLINE_BYTES_MAX 16384u /* `small_file` is at most this */
#define PIECE_SIZE 1024u        /* inline bytes and xattr values are cut in pieces of this size */
#define FILE_SIZE_MAX                                                                                        \
    (((uint64_t)1 << 44) - BLOCK_SIZE) /* an object has the offsets of its file; ext4 ends at 16 TiB */

/* with life spans; the number after the name is the length of the key after [table][branch] */
enum tab {
    TAB_INODE = 0x01,  /* 8  ino                       -> inode_rec (snap/store/inode.h) */
    TAB_DIRENT = 0x02, /* 16 dir, hash                 -> dirent: ino u64, type u8 (S_IFMT>>12), name bytes */
    TAB_LINK = 0x03,   /* 24 ino, dir, hash            -> empty: one more (dir, hash) that names ino */
    TAB_XATTR =
        0x04, /* 17 ino, hash, piece u8       -> piece 0: total u32, name_len u8, name, bytes; then bytes */
    TAB_DATA =
        0x05, /* 10 ino, piece u16            -> inline bytes of a small file, or of a symlink's target */
    TAB_SPAN = 0x06,   /* 16 ino, span                 -> span map (snap/store/span.h) */
    TAB_ORPHAN = 0x07, /* 8  ino                       -> empty: nlink 0, still held by the kernel */
    TAB__LIFE_END = 0x08,

    TAB__PLAIN = 0x40,
    TAB_META = 0x40,     /* META_x u8                   -> see enum meta */
    TAB_VOLUME = 0x41,   /* vol u32                     -> volume_rec */
    TAB_VOLNAME = 0x42,  /* name                        -> vol u32 */
    TAB_VSTAT = 0x43,    /* vol u32                     -> vstat_rec: counters of the live tree */
    TAB_BRANCH = 0x44,   /* branch u32                  -> branch_rec */
    TAB_LAYER = 0x45,    /* vol u32, layer u32          -> layer_rec (a snapshot, or a pinned layer) */
    TAB_SNAPNAME = 0x46, /* vol u32, name               -> layer u32 */
    TAB_VIEW = 0x47,     /* vol u32, view u32           -> view_rec */
    TAB_TOUCHED = 0x48,  /* branch u32, layer u32, table u8, key -> empty (F15) */
    TAB_OBJECT = 0x49,   /* object u64                  -> object_rec */
    TAB_OBJREF =
        0x4a, /* object u64, branch u32, ino u64 -> records (inode or span, live or history) that name it, u64 */
    TAB_RECLAIM =
        0x4b, /* seq u64                     -> reclaim_rec; RECLAIM_SIFTS | object for objects to be sifted */
    TAB_RESULT = 0x4c, /* conn u64, unique u64        -> result_rec: answers not known as replied */
    TAB_JOB = 0x4d,    /* job u64                     -> job_rec */
    TAB_COLD = 0x4e, /* object u64, end u64         -> cold_range: blocks [end - blocks, end) are elsewhere */
    TAB_SOURCE = 0x4f,  /* source u32                  -> text of the rooms above: where that is */
    TAB_PROFILE = 0x50, /* profile u32               -> name and text of a profile (snap/policy.c) */
    TAB_SCHEDULE =
        0x51,        /* vol u32                   -> what became of the volume's schedules (snap/policy.c) */
    TAB_READ = 0x52, /* vol u32, ino u64            -> i64: seconds; not read since then (snap/idle.c) */
    TAB_IDLE = 0x53, /* vol u32, seconds u64, ino u64 -> empty: one for each of TAB_READ, not later than it */
    TAB_SWEEP = 0x54, /* vol u32, policy u64         -> how far a policy has looked (snap/idle.c) */
};

#define TAB_HISTORY 0x80
#define DIED_NEVER 0xffffffffu
#define LAYER_NOW 0xffffffffu /* "the live state", where a layer is asked for */

#define VAL_HDR_SIZE 12u
#define VAL_VERSION 1
#define VAL_TOMB 0x01 /* deletes an inherited record */

/* length of the key after [table][branch] for a table with life spans; 0 for others */
static inline size_t tab_key_len(uint8_t tab)
{
    static const uint8_t len[TAB__LIFE_END] = {
        [TAB_INODE] = 8, [TAB_DIRENT] = 16, [TAB_LINK] = 24, [TAB_XATTR] = 17,
        [TAB_DATA] = 10, [TAB_SPAN] = 16,   [TAB_ORPHAN] = 8};
    return tab < TAB__LIFE_END ? len[tab] : 0;
}

enum meta {
    META_APPLIED_LSN = 1, /* u64: the tables hold every firm record up to this one */
    META_NEXT = 2,        /* next_rec: numbers never reused */
    META_CUT = 3,         /* empty: after a power cut, until the snapshots that were settling are gone */
};

/* Packed, little endian on disk; read and written by the functions of record.h only. */
struct next_rec {
    uint64_t object;
    uint64_t reclaim;
    uint64_t job;
    uint32_t volume;
    uint32_t branch;
};

/* making: it is not there yet: a ghost until it is whole, freed at the next opening if it never is. */
enum volume_flag { VOLUME_DELETED = 1, VOLUME_GHOST = 2, VOLUME_SCHEDULED = 4, VOLUME_MAKING = 8 };

struct volume_rec {
    struct uuid uuid;
    struct uuid family;   /* shared by clones: dirent hashes and inode numbers mean the same */
    uint8_t hash_key[16]; /* of names in directories; inherited by clones */
    uint32_t id;
    uint32_t head;      /* branch */
    uint32_t layer;     /* current: the one written into */
    uint32_t live_view; /* view number of the live tree's node ids; 0 at first, a new one after a rollback */
    uint32_t next_view;
    uint32_t flags;       /* enum volume_flag */
    uint64_t size_limit;  /* bytes; 0: the store's space */
    uint64_t inode_limit; /* 0: none */
    uint64_t snap_limit;  /* bytes that snapshots may hold beside it; 0: none */
    int64_t created_ns;
    int64_t deleted_ns;  /* 0 while it is there */
    uint64_t epoch;      /* replication: raised at promotion */
    uint32_t role;       /* 0 none, 1 primary, 2 secondary */
    uint32_t profile;    /* 0 none */
    uint32_t key;        /* encryption key id, 0 none */
    uint32_t origin_vol; /* cloned from; 0 none */
    uint64_t snap_seq;   /* next snapshot number */
    uint64_t op_seq;     /* reserved for the per-volume sequence of records at a checkpoint */
    char name[NAME_LEN_MAX + 1];
};

struct vstat_rec {
    uint64_t blocks;   /* 4 KiB blocks of the live tree, orphans included; shared blocks count in each file */
    uint64_t inodes;   /* live inodes, the root and orphans included */
    uint64_t next_ino; /* never reused within the volume */
};

enum branch_flag { BRANCH_DEAD = 1, BRANCH_FLATTENED = 2 };

struct branch_rec {
    uint32_t id;
    uint32_t vol;
    uint32_t parent;       /* 0: none */
    uint32_t parent_layer; /* of the parent's volume */
    uint32_t first_layer;  /* of its own volume: its records are born here or later */
    uint32_t depth;        /* ancestors; 0 for a root */
    uint32_t flags;
};

/* settling: not all of its bytes are firm yet; vanishes at a power cut. hidden: deleted by name, but pinned by a child. */
enum layer_state {
    LAYER_SETTLING = 1,
    LAYER_DURABLE = 2,
    LAYER_HIDDEN = 3,
    LAYER_DELETING = 4,
    LAYER_REMOTE = 5
};

struct layer_rec {
    struct uuid uuid; /* global: kept over replication and restore */
    struct uuid group;
    uint32_t vol;
    uint32_t layer;
    uint32_t branch;
    uint32_t state;
    uint64_t number;    /* of the volume's snapshots, in the order of taking */
    int64_t taken_ns;   /* wall clock, never less than the snapshot before */
    int64_t expires_ns; /* 0: never */
    uint64_t blocks;    /* of the live tree at the seal, orphans left out */
    uint64_t inodes;
    uint64_t next_ino;
    uint64_t epoch;
    uint32_t holds;    /* number of hold tags in text */
    uint32_t children; /* branches that start here */
    uint32_t grade;    /* 0 crash consistent, 1 application consistent */
    uint32_t zero;
    char name[NAME_LEN_MAX + 1];
    /* then, variable: text "hold\0TAG\0" "label\0KEY\0VALUE\0" ..., "rp\0ID\0" (recovery points) */
};

struct view_rec {
    uint32_t branch;
    uint32_t layer;
    uint64_t dir;  /* inode by which it was entered */
    uint32_t kind; /* 1 snapshot, 2 the live tree before a rollback */
    uint32_t zero;
};

enum object_flag {
    OBJECT_SHARED = 1, /* named by more than its own inode: its dead blocks are sifted out */
    OBJECT_COLD =
        2, /* blocks of it are or were elsewhere (TAB_COLD): it is frozen, and its file may be missing */
};

struct object_rec {
    uint64_t object;
    uint64_t ino; /* owner */
    uint32_t vol;
    uint32_t branch;
    uint32_t layer; /* in which it was opened; it is frozen when that layer is sealed */
    uint32_t flags;
    uint32_t key;
    uint32_t zero;
};

enum reclaim_kind {
    RECLAIM_UNLINK = 1,  /* object */
    RECLAIM_PUNCH = 2,   /* object, blocks [first, first + count) */
    RECLAIM_LAYER = 3,   /* vol, layer: free what only it saw */
    RECLAIM_BRANCH = 4,  /* branch: all records of a dead branch */
    RECLAIM_ORPHAN = 5,  /* branch, ino: a file without names that nobody holds */
    RECLAIM_FLATTEN = 6, /* branch: copy what it shows from its parents */
    RECLAIM_SIFT =
        7, /* object, which is shared: punch those of its blocks that no record names; first: told apart by */
    RECLAIM_RELEASE = 8, /* object, blocks [first, first + count): punch those that are elsewhere */
};

#define RECLAIM_SIFTS                                                                                        \
    (1ull << 63) /* behind all others, so that who works these does not come by them again and again */

struct reclaim_rec {
    uint32_t kind;
    uint32_t vol;
    uint32_t branch;
    uint32_t layer;
    uint64_t object;
    uint64_t ino;
    uint64_t first;
    uint64_t count;
};

#endif
