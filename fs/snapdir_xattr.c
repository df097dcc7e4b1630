/* user.varve.snap.*: what is known of a snapshot, on its directory in .snapshots. */
#include <stdio.h>

#include "base/clock.h"
#include "fs/snapdir.h"
#include "snap/snapshot.h"

/* The snapshot whose directory this node is. -E_NODATA: it is no such directory. */
static int snapshot_of(struct session *ss, vfs_node n, struct layer_rec *ret)
{
    struct view_rec view;
    int r;

    if (ss->snap || vfs_node_view(n) == 0 || vfs_node_view(n) == ss->vol->rec.live_view)
        return -E_NODATA;
    r = view_get(ss->vol, vfs_node_view(n), &view);
    if (r < 0)
        return r;
    if (view.kind != 1 || view.dir != vfs_node_ino(n))
        return -E_NODATA;
    r = snap_by_layer(ss->vol, view.layer, ret);
    return r == -E_NOENT ? -E_STALE : r;
}

static int put_btime(struct session *ss, const char *snap, struct buf *b)
{
    struct layer_rec rec;
    int r = snap_find(ss->vol, snap, &rec);

    return r < 0 ? r
                 : buf_printf(b, "%lld.%09lld", (long long)(rec.taken_ns / 1000000000),
                              (long long)(rec.taken_ns % 1000000000));
}

static int put_expiry(struct session *ss, const char *snap, struct buf *b)
{
    char text[CLOCK_TEXT_SIZE] = "never";
    struct layer_rec rec;
    int r = snap_find(ss->vol, snap, &rec);

    if (r < 0)
        return r;
    if (rec.expires_ns != 0)
        clock_format(rec.expires_ns, text);
    return buf_puts(b, text);
}

static int put_info(struct session *ss, const char *snap, bool freed, struct buf *b)
{
    struct snap_info info;
    int r = snap_get_info(ss->vol, snap, &info);

    return r < 0 ? r
                 : buf_printf(b, "%llu", (unsigned long long)(freed ? info.freed_bytes : info.unique_bytes));
}

static int put_unique(struct session *ss, const char *snap, struct buf *b)
{
    return put_info(ss, snap, false, b);
}

static int put_freed(struct session *ss, const char *snap, struct buf *b)
{
    return put_info(ss, snap, true, b);
}

/* The texts of one kind: "hold TAG", "label KEY VALUE", with a comma between. */
static int put_texts(struct session *ss, const char *snap, const char *kind, size_t nwords, struct buf *b)
{
    cleanup(buf_free) struct buf text = {0};
    int r = snap_text(ss->vol, snap, &text);
    size_t first = b->len;

    for (size_t at = 0; r == 0 && at < text.len;) {
        const char *word = (const char *)text.data + at;
        bool mine = strcmp(word, kind) == 0;
        size_t words = strcmp(word, "label") == 0 ? 2 : 1;

        at += strlen(word) + 1;
        for (size_t i = 0; i < words && at < text.len && r == 0; i++) {
            word = (const char *)text.data + at;
            at += strlen(word) + 1;
            if (mine && i < nwords)
                r = buf_printf(b, "%s%s", i > 0 ? "=" : b->len > first ? "," : "", word);
        }
    }
    return r;
}

static int put_labels(struct session *ss, const char *snap, struct buf *b)
{
    return put_texts(ss, snap, "label", 2, b);
}

static int put_hold(struct session *ss, const char *snap, struct buf *b)
{
    return put_texts(ss, snap, "hold", 1, b);
}

static const struct {
    const char *name;
    int (*put)(struct session *ss, const char *snap, struct buf *b);
} table[] = {{"user.varve.snap.btime", put_btime}, {"user.varve.snap.unique", put_unique},
             {"user.varve.snap.freed", put_freed}, {"user.varve.snap.labels", put_labels},
             {"user.varve.snap.hold", put_hold},   {"user.varve.snap.expiry", put_expiry}};

int snapdir_getxattr(struct session *ss, vfs_node n, const char *name, struct buf *ret)
{
    struct layer_rec rec;
    int r = snapshot_of(ss, n, &rec);

    if (r < 0)
        return r;
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (strcmp(table[i].name, name) == 0)
            return table[i].put(ss, rec.name, ret);
    return -E_NODATA;
}

int snapdir_listxattr(struct session *ss, vfs_node n, struct buf *ret)
{
    struct layer_rec rec;
    int r = snapshot_of(ss, n, &rec);

    if (r < 0)
        return r == -E_NODATA ? 0 : r;
    for (size_t i = 0; i < ARRAY_LEN(table) && r == 0; i++)
        r = buf_add(ret, table[i].name, strlen(table[i].name) + 1);
    return r;
}
