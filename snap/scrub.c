#include "snap/scrub.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io_past.h"
#include "snap/store/object.h"
#include "snap/store/record.h"
#include "snap/store/scrub_store.h"

#define READ_SIZE (256u << 10)
#define NAP_NS 20000000

struct scrub {
    struct store *s;
    const struct scrub_opts *o;
    struct scrub_result res;
    int64_t began_ns;
    struct io *io; /* past the page cache */
    uint8_t *room;
};

static void found(struct scrub *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void found(struct scrub *c, const char *fmt, ...)
{
    char line[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    c->res.damaged++;
    if (c->o->found)
        c->o->found(c->o->arg, line);
}

/* Counts bytes read, and sleeps as long as they are ahead of their time. */
static int passed(void *arg, uint64_t bytes)
{
    struct scrub *c = arg;
    int r;

    c->res.bytes += bytes;
    do {
        int64_t due;

        r = c->o->progress ? c->o->progress(c->o->arg, c->res.objects, c->res.bytes) : 0;
        if (r < 0 || !c->o->bytes_per_s)
            return r;
        due = (int64_t)((double)c->res.bytes / (double)c->o->bytes_per_s * 1e9) -
              (clock_mono_ns() - c->began_ns);
        if (due <= 0)
            return 0;
        nanosleep(&(struct timespec){.tv_nsec = MIN_OF(due, (int64_t)NAP_NS)}, NULL);
    } while (true);
}

static int scrub_tables(struct scrub *c)
{
    struct tabpages_result t = {0};
    struct tabpages_opts o = {.progress = passed, .arg = c};
    char why[256];
    int r = store_scrub_tables(c->s, c->io, &o, why, &t);

    if (r == -E_CORRUPT || r == -E_IO) {
        found(c, "%s", why[0] ? why : err_text(r));
        return 0;
    }
    c->res.pages = t.pages;
    c->res.entries = t.entries;
    return r;
}

static int scrub_journal(struct scrub *c)
{
    char why[256];
    uint64_t bytes = 0;
    int r = 0;

    for (uint32_t i = 0; r == 0; i++) {
        r = store_scrub_segment(c->s, c->io, i, why, &c->res.records, &bytes);
        if (r == -E_NOENT)
            return 0;
        if (r == -E_CORRUPT || r == -E_IO) {
            found(c, "%s", why);
            r = 0;
        }
        if (r == 0)
            r = passed(c, bytes);
    }
    return r;
}

/* --- objects ------------------------------------------------------------------------------------------------------------ */

/* The next object, by number: 0, -E_NOENT at the end. */
static int object_next(struct scrub *c, uint64_t from, struct object_rec *ret)
{
    uint8_t k[KEY_SIZE_MAX];
    const uint8_t *key;
    struct txn_val v;
    size_t klen;
    struct txn t;
    int r = txn_begin(c->s, TXN_READ, OP_NONE, NULL, &t);

    if (r < 0)
        return r;
    r = txn_ge(&t, KEEP_PENDING, k, key_u64(k, TAB_OBJECT, from), 1, &key, &klen, &v);
    if (r == 0)
        r = object_rec_decode(v.data, v.len, ret);
    if (r == 0)
        ret->object = get_be64(key + 1);
    txn_abort(&t);
    return r;
}

static bool object_lives(struct scrub *c, uint64_t object)
{
    struct object_rec rec;
    struct txn t;
    int r = txn_begin(c->s, TXN_READ, OP_NONE, NULL, &t);

    if (r < 0)
        return false;
    r = object_get(&t, object, &rec);
    txn_abort(&t);
    return r == 0;
}

/* Holes are passed over: they are no bytes of the disk. */
static int object_read(struct scrub *c, int fd, uint64_t size)
{
    int r = 0;
    size_t got;

    for (off_t off = 0; r == 0 && (uint64_t)off < size;) {
        off_t data = lseek(fd, off, SEEK_DATA);

        if (data < 0 || (uint64_t)data >= size)
            return 0;
        r = io_pread(c->io, fd, c->room, READ_SIZE, (uint64_t)data, &got);
        if (r < 0 || got == 0)
            return r;
        off = data + (off_t)got;
        r = passed(c, got);
    }
    return r;
}

static int scrub_object(struct scrub *c, const struct object_rec *rec)
{
    char path[4096];
    struct stat st;
    int fd, r;

    object_path(c->s, rec->object, path);
    fd = io_open(c->io, path, O_RDONLY, 0);
    r = fd < 0 ? fd : io_fstat(c->io, fd, &st);
    if (r == 0)
        r = object_read(c, fd, (uint64_t)st.st_size);
    if (fd >= 0)
        io_close(c->io, fd);
    if (r == -E_NOENT && (rec->flags & OBJECT_COLD)) /* all of it is elsewhere, perhaps; check looks */
        return 0;
    if (r < 0 && r != -E_CANCELED && r != -E_NOMEM && object_lives(c, rec->object)) {
        found(c, "object %" PRIx64 " (volume %u, inode %" PRIu64 ") cannot be read: %s", rec->object,
              rec->vol, rec->ino, err_text(r));
        r = 0;
    }
    return r == -E_CANCELED || r == -E_NOMEM ? r : 0;
}

static int scrub_objects(struct scrub *c)
{
    struct object_rec rec = {.object = 0};
    int r;

    for (uint64_t at = 0; (r = object_next(c, at, &rec)) == 0; at = rec.object + 1) {
        r = scrub_object(c, &rec);
        if (r < 0)
            return r;
        c->res.objects++;
        r = passed(c, 0);
        if (r < 0)
            return r;
    }
    return r == -E_NOENT ? 0 : r;
}

int scrub_store(struct store *s, const struct scrub_opts *o, struct scrub_result *ret)
{
    struct scrub c = {.s = s, .o = o, .began_ns = clock_mono_ns(), .room = malloc(READ_SIZE)};
    struct io_past *past = NULL;
    int r = c.room ? io_past_new(store_io(s), &past) : -E_NOMEM;

    if (r == 0) {
        c.io = io_past_io(past);
        r = scrub_tables(&c);
    }
    if (r == 0)
        r = scrub_journal(&c);
    if (r == 0 && c.res.damaged)
        store_scrub_failed(s);
    if (r == 0)
        r = scrub_objects(&c);
    c.res.cached = past && io_past_refused(past);
    io_past_free(past);
    free(c.room);
    *ret = c.res;
    return r;
}
