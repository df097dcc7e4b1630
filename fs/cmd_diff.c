#include "fs/verb_diff.h"

#include <inttypes.h>
#include <sys/stat.h>

#include "fs/verb_runs.h"
#include "fs/verb_show.h"
#include "fs/verb_value.h"
#include "snap/line.h"

static int path_text(const char *path, uint32_t type, struct buf *out)
{
    int r = *path ? verb_quote(path, strlen(path), out) : buf_puts(out, ".");

    return r < 0 || type != S_IFDIR ? r : buf_puts(out, "/");
}

static int entry_text(struct diff_say *d, const struct diff_entry *e)
{
    int r = buf_printf(d->out, "%c ", e->kind);

    if (r == 0 && e->kind == 'R') {
        r = path_text(e->old_path, e->type, d->out);
        if (r == 0)
            r = buf_puts(d->out, " -> ");
    }
    if (r == 0)
        r = path_text(e->path, e->type, d->out);
    for (size_t i = 0; r == 0 && i < e->nranges; i++)
        r = buf_printf(d->out, " %" PRIu64 "+%" PRIu64, e->ranges[i].off_bytes, e->ranges[i].len_bytes);
    if (r == 0 && e->meta && (e->kind == 'M' || e->kind == 'R'))
        r = buf_puts(d->out, " (meta)");
    return r < 0 ? r : buf_puts(d->out, "\n");
}

static void range_json(struct jw *j, uint64_t off, uint64_t len)
{
    jw_object(j, NULL);
    jw_u64(j, "offset", off);
    jw_u64(j, "length", len);
    jw_close(j);
}

static int entry_json(struct diff_say *d, const struct diff_entry *e)
{
    jw_object(&d->j, NULL);
    jw_strn(&d->j, "kind", &e->kind, 1);
    jw_str(&d->j, "type", diff_type_name(e->type));
    jw_name(&d->j, "path", e->path, strlen(e->path));
    if (e->kind == 'R')
        jw_name(&d->j, "old_path", e->old_path, strlen(e->old_path));
    jw_u64(&d->j, "ino", e->ino);
    jw_bool(&d->j, "meta", e->meta);
    jw_array(&d->j, "ranges");
    for (size_t i = 0; i < e->nranges; i++)
        range_json(&d->j, e->ranges[i].off_bytes, e->ranges[i].len_bytes);
    jw_close(&d->j);
    jw_close(&d->j);
    return d->j.err;
}

int diff_say_entry(void *arg, const struct diff_entry *e)
{
    struct diff_say *d = arg;

    d->count++;
    for (size_t i = 0; i < e->nranges; i++)
        d->bytes += e->ranges[i].len_bytes;
    return d->json ? entry_json(d, e) : entry_text(d, e);
}

/* A page of it: entries are sorted by path, and what has one path stays together. */
struct paging {
    struct diff_say *say;
    const char *after;
    uint64_t limit; /* 0: none */
    size_t most;    /* bytes of the text; 0: as there are */
    struct buf last;
    bool more;
};

static int paging_entry(void *arg, const struct diff_entry *e)
{
    struct paging *p = arg;
    const char *last = p->last.len ? (const char *)p->last.data : "";
    int r;

    if (p->after && strcmp(e->path, p->after) <= 0)
        return 0;
    if (p->limit && p->say->count >= p->limit && strcmp(e->path, last) != 0) {
        p->more = true;
        return 1;
    }
    if (p->most && p->say->out->len > p->most)
        return -E_TOOBIG;
    buf_reset(&p->last);
    r = buf_add(&p->last, e->path, strlen(e->path) + 1);
    return r < 0 ? r : diff_say_entry(p->say, e);
}

static int say_end(struct diff_say *d)
{
    jw_u64(&d->j, "count", d->count);
    jw_u64(&d->j, "bytes", d->bytes);
    jw_close(&d->j);
    return jw_end(&d->j);
}

int diff_say_end(struct diff_say *d)
{
    jw_close(&d->j);
    return say_end(d);
}

static int find(struct vol *v, const char *name, struct layer_rec *ret, struct buf *err)
{
    int r = snap_find(v, name, ret);

    if (r < 0)
        buf_printf(err, "snapshot %s: %s%s", name, err_text(r),
                   r == -E_NOENT ? "; varve snapshot list shows what there is" : "");
    return r;
}

static void side_json(struct jw *j, const char *key, const struct layer_rec *rec)
{
    if (!rec->name[0]) {
        jw_null(j, key);
        return;
    }
    jw_object(j, key);
    jw_name(j, "name", rec->name, strlen(rec->name));
    jw_time(j, "taken", rec->taken_ns);
    jw_close(j);
}

static int diff_page(struct vol *v, const char *a, const char *b, bool json, struct paging *p,
                     struct buf *out, struct buf *err)
{
    struct diff_say d = {.out = out, .json = json};
    struct layer_rec ra, rb = {.name = ""};
    bool now = !b || !*b;
    int r = find(v, a, &ra, err);

    if (r == 0 && !now)
        r = find(v, b, &rb, err);
    if (r < 0)
        return r;
    p->say = &d;
    d.j = jw_begin(out, true);
    if (json) {
        jw_object(&d.j, NULL);
        jw_u64(&d.j, "schema", 1);
        jw_name(&d.j, "volume", v->rec.name, strlen(v->rec.name));
        side_json(&d.j, "a", &ra);
        side_json(&d.j, "b", &rb);
        jw_array(&d.j, "entries");
    }
    r = diff_run_within(v, ra.name, now ? NULL : rb.name, p->most, paging_entry, p);
    if (r < 0 || !json) {
        if (r < 0 && err->len == 0)
            buf_printf(err, "diff %s %s: %s", ra.name, now ? "now" : rb.name, err_text(r));
        return MIN_OF(r, 0);
    }
    jw_close(&d.j);
    jw_bool(&d.j, "more", p->more);
    return say_end(&d);
}

int verb_diff(struct vol *v, const char *a, const char *b, bool json, struct buf *out, struct buf *err)
{
    struct paging p = {.most = VERB_DIFF_MAX};
    int r = diff_page(v, a, b, json, &p, out, err);

    buf_free(&p.last);
    return r;
}

RUN(run_diff)
{
    struct paging p = {.after = verb_text(a, "after"), .limit = verb_num(a, "limit")};
    int r = diff_page(c->vol, verb_text(a, "a"), verb_text(a, "b"), c->json, &p, out, err);

    buf_free(&p.last);
    return r;
}

/* --- ranges on a line ------------------------------------------------------------------------------------------------ */

#define RANGES_AT_ONCE 65536u

struct telling {
    struct buf *out;
    struct jw j;
    bool json;
    uint64_t n, end;
};

static int tell_range(void *arg, const struct line_range *r)
{
    struct telling *t = arg;

    t->n++;
    t->end = r->off_bytes + r->len_bytes;
    if (!t->json)
        return buf_printf(t->out, "%" PRIu64 " %" PRIu64 "\n", r->off_bytes, r->len_bytes);
    range_json(&t->j, r->off_bytes, r->len_bytes);
    return t->j.err;
}

static int ranges_complain(int r, const char *snap, struct buf *err)
{
    if (r == -E_RANGE)
        buf_puts(err, "snapshot ranges: a large file has too high an inode number for the line of offsets");
    else
        buf_printf(err, "snapshot ranges %s: %s", snap, err_text(r));
    return r;
}

RUN(run_snapshot_ranges)
{
    const char *snap = verb_text(a, "name"), *base = verb_given(a, "base") ? verb_text(a, "base") : "";
    uint64_t limit = verb_num(a, "limit");
    struct telling t = {.out = out, .json = c->json, .end = verb_num(a, "from")};
    struct layer_rec rec;
    bool more = true;
    int r = find(c->vol, snap, &rec, err);

    if (r == 0 && *base)
        r = find(c->vol, base, &rec, err);
    if (r < 0)
        return r;
    t.j = jw_begin(out, true);
    if (c->json) {
        jw_object(&t.j, NULL);
        jw_u64(&t.j, "schema", 1);
        jw_name(&t.j, "volume", c->vol->rec.name, strlen(c->vol->rec.name));
        jw_array(&t.j, "ranges");
    }
    while (r == 0 && more && (limit == 0 || t.n < limit)) {
        size_t n = limit ? (size_t)MIN_OF(limit - t.n, (uint64_t)RANGES_AT_ONCE) : RANGES_AT_ONCE;

        r = line_ranges(c->vol, base, snap, t.end, n, tell_range, &t, &more);
    }
    if (r < 0)
        return ranges_complain(r, snap, err);
    if (!c->json)
        return 0;
    jw_close(&t.j);
    jw_bool(&t.j, "more", more);
    jw_close(&t.j);
    return jw_end(&t.j);
}
