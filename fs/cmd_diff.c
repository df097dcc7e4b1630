#include "fs/verb_diff.h"

#include <inttypes.h>
#include <sys/stat.h>

#include "fs/verb_runs.h"
#include "fs/verb_show.h"
#include "fs/verb_value.h"

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
    for (size_t i = 0; i < e->nranges; i++) {
        jw_object(&d->j, NULL);
        jw_u64(&d->j, "offset", e->ranges[i].off_bytes);
        jw_u64(&d->j, "length", e->ranges[i].len_bytes);
        jw_close(&d->j);
    }
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

int diff_say_end(struct diff_say *d)
{
    jw_close(&d->j);
    jw_u64(&d->j, "count", d->count);
    jw_u64(&d->j, "bytes", d->bytes);
    jw_close(&d->j);
    return jw_end(&d->j);
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

int verb_diff(struct vol *v, const char *a, const char *b, bool json, struct buf *out, struct buf *err)
{
    struct diff_say d = {.out = out, .json = json};
    struct layer_rec ra, rb = {.name = ""};
    bool now = !b || !*b;
    int r = find(v, a, &ra, err);

    if (r == 0 && !now)
        r = find(v, b, &rb, err);
    if (r < 0)
        return r;
    d.j = jw_begin(out, true);
    if (json) {
        jw_object(&d.j, NULL);
        jw_u64(&d.j, "schema", 1);
        jw_name(&d.j, "volume", v->rec.name, strlen(v->rec.name));
        side_json(&d.j, "a", &ra);
        side_json(&d.j, "b", &rb);
        jw_array(&d.j, "entries");
    }
    r = diff_run(v, ra.name, now ? NULL : rb.name, diff_say_entry, &d);
    if (r < 0 || !json) {
        if (r < 0 && err->len == 0)
            buf_printf(err, "diff %s %s: %s", ra.name, now ? "now" : rb.name, err_text(r));
        return r;
    }
    return diff_say_end(&d);
}

RUN(run_diff)
{
    return verb_diff(c->vol, verb_text(a, "a"), verb_text(a, "b"), c->json, out, err);
}
