/* Soundness: counters equal a walk, references equal the records, data/ holds what is named. */
#include "tests/lib/box.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include "base/hash.h"
#include "snap/store/object.h"
#include "snap/store/record.h"
#include "tests/lib/test.h"

struct objects {
    struct obj {
        uint64_t object, refs;
        uint32_t branch;
        uint64_t ino;
    } * v;
    size_t n, cap;
};

static void obj_count(struct objects *o, uint64_t object, uint32_t branch, uint64_t ino, uint64_t by)
{
    for (size_t i = o->n; i-- > 0;)
        if (o->v[i].object == object && o->v[i].branch == branch && o->v[i].ino == ino) {
            o->v[i].refs += by;
            return;
        }
    if (o->n == o->cap) {
        o->cap = o->cap ? o->cap * 2 : 64;
        o->v = realloc(o->v, o->cap * sizeof(*o->v));
        CHECK(o->v != NULL);
    }
    o->v[o->n++] = (struct obj){object, by, branch, ino};
}

/* Calls fn for each record of a table byte; 1 from fn ends it. */
static void each(struct box *b, uint8_t tab,
                 void (*fn)(void *arg, const uint8_t *key, size_t klen, const struct txn_val *v), void *arg)
{
    uint8_t k[KEY_SIZE_MAX + 1] = {tab};
    const uint8_t *found;
    size_t n = 1, flen;
    struct txn_val v;
    struct txn t;

    for (bool more = true; more;) { /* a transaction each, so that fn may open its own */
        CHECK_OK(txn_begin(b->s, TXN_READ, OP_NONE, NULL, &t));
        more = txn_ge(&t, KEEP_PENDING, k, n, 1, &found, &flen, &v) == 0;
        if (more) {
            cleanup(buf_free) struct buf val = {0};
            memcpy(k, found, flen);
            CHECK_OK(buf_add(&val, v.data, v.len));
            v.data = val.data;
            txn_abort(&t);
            fn(arg, k, flen, &v);
            k[flen] = 0;
            n = flen + 1;
        } else {
            txn_abort(&t);
        }
    }
}

static void count_record(void *arg, const uint8_t *key, size_t klen, const struct txn_val *v)
{
    uint64_t objs[RECORD_OBJECTS_MAX];
    int n;

    (void)klen;
    if (v->flags & VAL_TOMB)
        return;
    n = record_objects(key[0] & ~TAB_HISTORY, v->data, v->len, objs, RECORD_OBJECTS_MAX);
    CHECK_OK(n);
    for (int i = 0; i < n; i++)
        obj_count(arg, objs[i], get_be32(key + 1), get_be64(key + 5), 1);
}

static void compare_ref(void *arg, const uint8_t *key, size_t klen, const struct txn_val *v)
{
    CHECK_EQ(klen, 21);
    obj_count(arg, get_be64(key + 1), get_be32(key + 9), get_be64(key + 13), 0 - get_le64(v->data));
}

struct named {
    uint64_t branch, n;
};

static void count_key(void *arg, const uint8_t *key, size_t klen, const struct txn_val *v)
{
    struct named *nm = arg;

    (void)klen;
    (void)v;
    nm->n += !nm->branch || get_be32(key + 1) == nm->branch;
}

uint64_t box_records(struct box *b, uint8_t tab, uint32_t branch)
{
    struct named nm = {branch, 0};

    each(b, tab, count_key, &nm);
    return nm.n;
}

struct walk_sum {
    uint64_t blocks, inodes;
};

static int sum_volume(void *arg, struct vol *v)
{
    struct walk_sum sum = {0};
    const uint8_t *key;
    struct vt_scan sc;
    struct vt_val val;
    struct inode in;
    struct txn t;
    int r;

    (void)arg;
    CHECK_OK(txn_begin(v->store, TXN_READ, OP_NONE, v, &t));
    vt_scan_init(&sc, &t, KEEP_PENDING, vol_now(v), TAB_INODE, "", 0);
    while ((r = vt_scan_next(&sc, &key, &val)) == 1) {
        CHECK_OK(inode_decode(val.data, val.len, &in));
        sum.blocks += in.blocks + in.more_blocks;
        sum.inodes++;
    }
    CHECK_OK(r);
    CHECK_EQ(sum.blocks, vol_used_blocks(v));
    CHECK_EQ(sum.inodes, v->stat.inodes);
    txn_abort(&t);
    return 0;
}

struct seeing {
    char dir[600];
    void (*fn)(void *arg, uint64_t object, const char *path);
    void *arg;
};

static int see_file(void *arg, const char *name)
{
    struct seeing *s = arg;
    char path[900];

    snprintf(path, sizeof(path), "%s/%s", s->dir, name);
    s->fn(s->arg, strtoull(name, NULL, 16), path);
    return 0;
}

static int see_dir(void *arg, const char *name)
{
    struct seeing *s = arg;
    size_t len = strlen(s->dir);

    snprintf(s->dir + len, sizeof(s->dir) - len, "/%s", name);
    CHECK_OK(io_list(s->dir, see_file, s));
    s->dir[len] = 0;
    return 0;
}

void box_each_object(struct box *b, void (*fn)(void *arg, uint64_t object, const char *path), void *arg)
{
    struct seeing s = {.fn = fn, .arg = arg};

    snprintf(s.dir, sizeof(s.dir), "%s/data", b->path);
    CHECK_OK(io_list(s.dir, see_dir, &s));
}

struct files {
    uint64_t n, blocks;
    struct objects *known;
};

static void count_file(void *arg, uint64_t object, const char *path)
{
    struct files *f = arg;
    bool known = !f->known;
    struct stat st;

    CHECK_EQ(stat(path, &st), 0);
    f->n++;
    f->blocks += ((uint64_t)st.st_blocks + 7) / 8;
    for (size_t i = 0; f->known && i < f->known->n && !known; i++)
        known = f->known->v[i].object == object;
    if (!known)
        test_fail(__FILE__, __LINE__, "object %llx is named by nothing", (unsigned long long)object);
}

uint64_t box_disk_blocks(struct box *b)
{
    struct files f = {0};

    box_each_object(b, count_file, &f);
    return f.blocks;
}

uint64_t box_objects(struct box *b)
{
    struct files f = {0};

    box_each_object(b, count_file, &f);
    return f.n;
}

/* Life spans of one key do not overlap, in history and with the live record (I-02). */
struct spans {
    struct box *b;
    uint8_t key[64];
    size_t klen;
    uint32_t died;
};

static void check_span(void *arg, const uint8_t *key, size_t klen, const struct txn_val *v)
{
    struct spans *s = arg;
    uint32_t died = get_be32(key + klen - 4);

    CHECK(v->born < died);
    CHECK(klen - 4 <= sizeof(s->key));
    if (klen - 4 == s->klen && memcmp(key, s->key, s->klen) == 0)
        CHECK(v->born >= s->died);
    memcpy(s->key, key, klen - 4);
    s->klen = klen - 4;
    s->died = died;
}

static void check_live(void *arg, const uint8_t *key, size_t klen, const struct txn_val *v)
{
    struct spans *s = arg;
    uint8_t k[KEY_SIZE_MAX];
    const uint8_t *found;
    struct txn_val old;
    struct txn t;
    size_t flen;

    memcpy(k, key, klen);
    k[0] |= TAB_HISTORY;
    put_be32(k + klen, v->born + 1);
    CHECK_OK(txn_begin(s->b->s, TXN_READ, OP_NONE, NULL, &t));
    CHECK_ERR(txn_ge(&t, KEEP_PENDING, k, klen + 4, klen, &found, &flen, &old), -E_NOENT);
    txn_abort(&t);
}

static void check_spans(struct box *b)
{
    for (uint8_t tab = TAB_INODE; tab < TAB__LIFE_END; tab++) {
        struct spans s = {.b = b};
        each(b, tab | TAB_HISTORY, check_span, &s);
        each(b, tab, check_live, &s);
    }
}

/* References equal the records (I-08), in what is there now. */
static void check_refs(struct box *b, struct objects *o)
{
    each(b, TAB_INODE, count_record, o);
    each(b, TAB_INODE | TAB_HISTORY, count_record, o);
    each(b, TAB_SPAN, count_record, o);
    each(b, TAB_SPAN | TAB_HISTORY, count_record, o);
    each(b, TAB_OBJREF, compare_ref, o);
    for (size_t i = 0; i < o->n; i++)
        if (o->v[i].refs)
            test_fail(__FILE__, __LINE__, "object %llx branch %u ino %llu: records minus references: %lld",
                      (unsigned long long)o->v[i].object, o->v[i].branch, (unsigned long long)o->v[i].ino,
                      (long long)o->v[i].refs);
}

void box_refs(struct box *b)
{
    struct objects o = {0};

    check_refs(b, &o);
    free(o.v);
}

void box_sound(struct box *b)
{
    struct objects o = {0};
    struct files f = {.known = &o};

    CHECK_OK(store_reclaim_idle(b->s));
    check_spans(b);
    check_refs(b, &o);
    box_each_object(b, count_file, &f);
    free(o.v);
    CHECK_OK(volume_each(b->s, sum_volume, NULL));
}
