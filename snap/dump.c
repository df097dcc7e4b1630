/* dump: a store as text, also a damaged one. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "snap/dump_i.h"
#include "snap/store/object.h"
#include "snap/store/record.h"
#include "snap/store/version.h"

struct dump {
    struct io *io;
    const char *path;
    struct store *s;
    struct txn t;
    char **argv;
    struct buf *out;
};

/* dump_number: decimal, or hexadecimal for objects. -E_INVAL. */
static int number(const char *text, int base, uint64_t *ret)
{
    char *end;

    *ret = strtoull(text, &end, base);
    return *text == 0 || *end ? -E_INVAL : 0;
}

static int print_record(void *arg, const struct scan_item *it)
{
    struct dump *d = arg;

    return dump_record(d->out, it);
}

static int dump_version(struct dump *d)
{
    cleanup(buf_free) struct buf b = {0};
    struct store_version v = {0};
    char file[4096], uuid[UUID_TEXT_SIZE], time[CLOCK_TEXT_SIZE];
    int r;

    snprintf(file, sizeof(file), "%s/version", d->path);
    r = io_read_file(d->io, file, 4096, &b);
    if (r < 0)
        return r;
    r = store_version_decode(b.data, b.len, &v);
    if (r < 0 && r != -E_STORE_NEWER && r != -E_STORE_FEATURE)
        return r;
    uuid_format(&v.uuid, uuid);
    clock_format(v.created_ns, time);
    return buf_printf(d->out,
                      "format=%u block_size=%u span_shift=%u compat=%" PRIx64 " rocompat=%" PRIx64
                      " incompat=%" PRIx64 " uuid=%s created=%s segments=%u segment_bytes=%" PRIu64
                      " dir=%" PRIx64 ":%" PRIu64 "\n",
                      v.format, v.block_size, v.span_shift, v.compat, v.rocompat, v.incompat, uuid, time,
                      v.segments, v.segment_bytes, v.dir_dev, v.dir_ino);
}

/* --- tables ------------------------------------------------------------------------------------------------------------- */

struct count {
    uint64_t n, bytes, damaged;
};

static int count_record(void *arg, const struct scan_item *it)
{
    struct count *c = (struct count *)arg + it->key[0];

    c->n++;
    c->bytes += it->klen + it->raw_len;
    c->damaged += it->verdict < 0;
    return 0;
}

static int dump_tables(struct dump *d)
{
    struct count counts[256] = {0};
    int i, r = txn_scan(&d->t, KEEP_PENDING, NULL, 0, count_record, counts);

    for (i = 0; i < 256 && r == 0; i++) {
        const char *name = scan_table_name((uint8_t)i);

        if (counts[i].n)
            r = buf_printf(
                d->out, "%02x %-9s%-8s records=%" PRIu64 " bytes=%" PRIu64 " damaged=%" PRIu64 "\n", i,
                name ? name : "?", (i & TAB_HISTORY) && i < (TAB_HISTORY | TAB__LIFE_END) ? " history" : "",
                counts[i].n, counts[i].bytes, counts[i].damaged);
    }
    return r;
}

static int dump_table(struct dump *d)
{
    uint8_t tab = scan_table_find(d->argv[1]), old = tab | TAB_HISTORY;
    int r;

    if (!tab)
        return -E_INVAL;
    r = txn_scan(&d->t, KEEP_PENDING, &tab, 1, print_record, d);
    if (r == 0 && tab < TAB__LIFE_END)
        r = txn_scan(&d->t, KEEP_PENDING, &old, 1, print_record, d);
    return r;
}

static int dump_by_key(struct dump *d)
{
    const char *text = d->argv[1];
    uint8_t key[KEY_SIZE_MAX];
    char digits[3] = {0};
    uint64_t byte;
    size_t n = 0, len = strlen(text);

    if (len == 0 || len % 2 || len / 2 >= sizeof(key))
        return -E_INVAL;
    for (; n < len / 2; n++) {
        memcpy(digits, text + 2 * n, 2);
        if (number(digits, 16, &byte) < 0)
            return -E_INVAL;
        key[n] = (uint8_t)byte;
    }
    return txn_scan(&d->t, KEEP_PENDING, key, n, print_record, d);
}

/* --- objects ------------------------------------------------------------------------------------------------------------ */

struct of_object {
    struct dump *d;
    uint64_t object;
};

static int print_if_names(void *arg, const struct scan_item *it)
{
    struct of_object *o = arg;
    struct reclaim_rec rec;

    if (it->verdict < 0 || reclaim_rec_decode(it->val.data, it->val.len, &rec) < 0 || rec.object != o->object)
        return 0;
    return dump_record(o->d->out, it);
}

static int dump_object(struct dump *d)
{
    static const uint8_t reclaim = TAB_RECLAIM;
    struct of_object o = {.d = d};
    uint8_t key[KEY_SIZE_MAX];
    char path[4096];
    struct stat st;
    size_t n;
    int r = number(d->argv[1], 16, &o.object);

    if (r < 0)
        return r;
    n = key_u64(key, TAB_OBJECT, o.object);
    r = txn_scan(&d->t, KEEP_PENDING, key, n, print_record, d);
    key[0] = TAB_OBJREF;
    if (r == 0)
        r = txn_scan(&d->t, KEEP_PENDING, key, n, print_record, d);
    if (r == 0)
        r = txn_scan(&d->t, KEEP_PENDING, &reclaim, 1, print_if_names, &o);
    if (r < 0)
        return r;
    object_path(d->s, o.object, path);
    r = io_stat(d->io, path, &st);
    return r < 0 ? buf_printf(d->out, "file %s: %s\n", path, err_text(r))
                 : buf_printf(d->out, "file %s: size=%lld allocated=%lld\n", path, (long long)st.st_size,
                              (long long)st.st_blocks * 512);
}

/* --- inodes ------------------------------------------------------------------------------------------------------------- */

static int print_run(void *arg, const struct file_run *run)
{
    struct dump *d = arg;

    return run->kind == SPAN_HOLE ? 0
                                  : buf_printf(d->out,
                                               "  blocks %" PRIu64 "+%" PRIu64 ": kind=%u object=%" PRIx64
                                               "@%" PRIu64 " born=%u vol=%u\n",
                                               run->block, run->count, run->kind, run->object, run->obj_block,
                                               run->data_born, run->owner_vol);
}

/* The records of the inode in one branch, live and history, of every table that has its number first. */
static int dump_records_of(struct dump *d, uint32_t branch, uint64_t ino)
{
    static const uint8_t tabs[] = {TAB_INODE, TAB_LINK,   TAB_XATTR, TAB_DATA,
                                   TAB_SPAN,  TAB_ORPHAN, TAB_DIRENT};
    uint8_t key[13];
    size_t i;
    int r = 0;

    for (i = 0; i < 2 * ARRAY_LEN(tabs) && r == 0; i++) {
        key[0] = tabs[i / 2] | (i % 2 ? TAB_HISTORY : 0);
        put_be32(key + 1, branch);
        put_be64(key + 5, ino);
        r = txn_scan(&d->t, KEEP_PENDING, key, sizeof(key), print_record, d);
    }
    return r;
}

static int dump_inode(struct dump *d)
{
    struct vol *v = vol_by_name(d->s, d->argv[1]);
    struct branch_rec b;
    struct inode in;
    uint64_t ino;
    int r = number(d->argv[2], 10, &ino), depth;

    if (r < 0 || !v)
        return r < 0 ? r : -E_NOENT;
    b.parent = v->rec.head;
    for (depth = 0; b.parent && depth < 64 && r == 0; depth++) {
        r = branch_get(d->s, b.parent, &b);
        if (r == 0)
            r = dump_records_of(d, b.id, ino);
    }
    if (r < 0)
        return r;
    r = inode_get(&d->t, vol_now(v), ino, &in);
    if (r == 0 && !(in.flags & INODE_INLINE) && S_ISREG(in.mode))
        r = file_ranges(&d->t, vol_now(v), &in, 0, FILE_SIZE_MAX / BLOCK_SIZE, print_run, d);
    return r == -E_NOENT ? 0 : r;
}

static int in_store(struct dump *d, int (*fn)(struct dump *d))
{
    const struct store_settings set = {.no_threads = true};
    int r = store_open(d->io, d->path, &set, STORE_CHECK, &d->s, NULL);

    if (r < 0)
        return r;
    r = txn_begin(d->s, TXN_READ, OP_NONE, NULL, &d->t);
    if (r == 0) {
        r = fn(d);
        txn_abort(&d->t);
    }
    store_drop(d->s);
    return r;
}

int dump_path(struct io *io, const char *path, int argc, char **argv, struct buf *out)
{
    static const struct {
        const char *what;
        int args;
        int (*fn)(struct dump *d);
    } tables[] = {{"tables", 0, dump_tables},
                  {"table", 1, dump_table},
                  {"key", 1, dump_by_key},
                  {"object", 1, dump_object},
                  {"inode", 2, dump_inode}};
    struct dump d = {.io = io, .path = path, .argv = argv, .out = out};
    uint64_t n;
    size_t i;

    if (argc < 1)
        return -E_USAGE;
    if (argc == 1 && strcmp(argv[0], "version") == 0)
        return dump_version(&d);
    if (argc == 1 && strcmp(argv[0], "journal") == 0)
        return dump_journal(io, path, false, 0, out);
    if (argc == 2 && strcmp(argv[0], "segment") == 0)
        return number(argv[1], 10, &n) < 0 ? -E_INVAL : dump_journal(io, path, true, (uint32_t)n, out);
    for (i = 0; i < ARRAY_LEN(tables); i++)
        if (strcmp(argv[0], tables[i].what) == 0 && argc == 1 + tables[i].args)
            return in_store(&d, tables[i].fn);
    return -E_USAGE;
}
