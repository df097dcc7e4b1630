#include "fs/verb_show.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "conf/value.h"
#include "fs/verb_value.h"

/* --- columns ------------------------------------------------------------------------------------------------------ */

static void cell_end(struct show_cols *c, int r)
{
    if (r == 0)
        r = buf_add(&c->cells, "", 1);
    if (r < 0 && c->err == 0)
        c->err = r;
}

void show_cell(struct show_cols *c, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    cell_end(c, buf_puts(&c->cells, text));
}

void show_cell_name(struct show_cols *c, const char *name)
{
    cell_end(c, verb_quote(name, strlen(name), &c->cells));
}

void show_cell_size(struct show_cols *c, uint64_t bytes)
{
    char text[CONF_SIZE_TEXT];

    conf_size_text(bytes, text);
    show_cell(c, "%s", text);
}

/* Characters, not bytes. */
static size_t width(const char *s)
{
    size_t n = 0;

    for (; *s; s++)
        n += (*s & 0xc0) != 0x80;
    return n;
}

static int cell_print(const char *s, size_t w, bool right, bool last, struct buf *out)
{
    size_t pad = w > width(s) ? w - width(s) : 0;
    int r = 0;

    if (right)
        r = buf_printf(out, "%*s", (int)pad, "");
    if (r == 0)
        r = buf_puts(out, s);
    if (r == 0 && !right && !last)
        r = buf_printf(out, "%*s", (int)pad, "");
    return r < 0 ? r : buf_puts(out, last ? "\n" : "  ");
}

int show_cols_print(struct show_cols *c, const char *indent, struct buf *out)
{
    const char *p = (const char *)c->cells.data, *end = (const char *)buf_end(&c->cells);
    size_t widths[SHOW_COLS_MAX] = {0};
    int r = c->err;

    assert(c->ncols > 0);
    assert(c->ncols <= SHOW_COLS_MAX);
    for (size_t i = 0; p < end; p += strlen(p) + 1, i++)
        widths[i % c->ncols] = MAX_OF(widths[i % c->ncols], width(p));
    p = (const char *)c->cells.data;
    for (size_t i = 0; r == 0 && p < end; p += strlen(p) + 1, i++) {
        size_t col = i % c->ncols;

        if (col == 0)
            r = buf_puts(out, indent);
        if (r == 0)
            r = cell_print(p, widths[col], c->right >> col & 1, col + 1 == c->ncols, out);
    }
    buf_free(&c->cells);
    return r;
}

void show_time(int64_t ns, char out[32])
{
    char text[CLOCK_TEXT_SIZE];

    if (ns == 0) {
        snprintf(out, 32, "-");
        return;
    }
    clock_format(ns, text);
    text[10] = text[10] == 'T' ? ' ' : text[10];
    snprintf(out, 32, "%s", text);
}

/* --- objects ------------------------------------------------------------------------------------------------------ */

static void uuid_json(struct jw *j, const char *key, const struct uuid *u)
{
    char text[UUID_TEXT_SIZE];

    if (uuid_is_null(u)) {
        jw_null(j, key);
        return;
    }
    uuid_format(u, text);
    jw_str(j, key, text);
}

static void limit_json(struct jw *j, const char *key, uint64_t limit)
{
    if (limit)
        jw_u64(j, key, limit);
    else
        jw_null(j, key);
}

void show_volume_json(struct jw *j, const struct volume_info *i)
{
    jw_name(j, "name", i->rec.name, strlen(i->rec.name));
    uuid_json(j, "uuid", &i->rec.uuid);
    jw_u64(j, "id", i->rec.id);
    jw_time(j, "created", i->rec.created_ns);
    limit_json(j, "size_limit_bytes", i->rec.size_limit);
    limit_json(j, "inode_limit", i->rec.inode_limit);
    limit_json(j, "snapshot_limit_bytes", i->rec.snap_limit);
    jw_u64(j, "used_bytes", i->used_bytes);
    jw_u64(j, "used_inodes", i->used_inodes);
    jw_u64(j, "snapshots", i->snapshots);
    jw_u64(j, "snapshot_bytes", i->snapshot_bytes);
    jw_bool(j, "mounted", i->mounts > 0);
}

int show_text_each(const char *text, size_t len,
                   int (*cb)(void *arg, const char *what, const char *a, const char *b), void *arg)
{
    const char *end = text + len;
    int r = 0;

    while (r == 0 && text < end) {
        const char *what = text, *a = what + strlen(what) + 1, *b = "";

        if (a >= end)
            break;
        text = a + strlen(a) + 1;
        if (strcmp(what, "label") == 0) {
            if (text >= end)
                break;
            b = text;
            text = b + strlen(b) + 1;
        }
        r = cb(arg, what, a, b);
    }
    return r;
}

struct text_json {
    struct jw *j;
    const char *want;
};

static int hold_json(void *arg, const char *what, const char *a, const char *b)
{
    struct text_json *t = arg;

    (void)b;
    if (strcmp(what, "hold") == 0)
        jw_str(t->j, NULL, a);
    return 0;
}

static int label_json(void *arg, const char *what, const char *a, const char *b)
{
    struct text_json *t = arg;

    if (strcmp(what, "label") == 0)
        jw_str(t->j, a, b);
    return 0;
}

const char *show_layer_state(uint32_t state)
{
    switch (state) {
    case LAYER_SETTLING: return "settling";
    case LAYER_DURABLE: return "durable";
    case LAYER_HIDDEN: return "hidden";
    case LAYER_DELETING: return "deleting";
    case LAYER_REMOTE: return "remote";
    default: return "unknown";
    }
}

void show_layer_json(struct jw *j, const struct layer_rec *rec, const char *text, size_t len)
{
    struct text_json t = {.j = j};

    jw_name(j, "name", rec->name, strlen(rec->name));
    uuid_json(j, "uuid", &rec->uuid);
    uuid_json(j, "group", &rec->group);
    jw_u64(j, "number", rec->number);
    jw_u64(j, "layer", rec->layer);
    jw_time(j, "taken", rec->taken_ns);
    jw_time(j, "expires", rec->expires_ns);
    jw_str(j, "state", show_layer_state(rec->state));
    jw_str(j, "grade", rec->grade ? "application-consistent" : "crash-consistent");
    jw_u64(j, "bytes", rec->blocks * BLOCK_SIZE);
    jw_u64(j, "inodes", rec->inodes);
    jw_u64(j, "clones", rec->children);
    jw_array(j, "holds");
    show_text_each(text, len, hold_json, &t);
    jw_close(j);
    jw_object(j, "labels");
    show_text_each(text, len, label_json, &t);
    jw_close(j);
}

void show_job_json(struct jw *j, const struct job_info *i, const char *volume)
{
    jw_u64(j, "id", i->id);
    jw_str(j, "verb", i->verb);
    jw_str(j, "volume", volume);
    jw_str(j, "detail", i->detail);
    jw_str(j, "state", job_state_name(i->state));
    jw_bool(j, "cancel_requested", i->cancel);
    jw_str(j, "result", job_state_ended(i->state) ? err_name(i->result) : NULL);
    jw_str(j, "text", i->text);
    jw_u64(j, "items_done", i->items_done);
    limit_json(j, "items_total", i->items_total);
    jw_u64(j, "bytes_done", i->bytes_done);
    limit_json(j, "bytes_total", i->bytes_total);
    jw_u64(j, "bytes_per_second", i->bytes_per_s);
    jw_u64(j, "items_per_second", i->items_per_s);
    if (i->eta_ns >= 0)
        jw_u64(j, "eta_seconds", (uint64_t)i->eta_ns / 1000000000u);
    else
        jw_null(j, "eta_seconds");
    jw_time(j, "created", i->created_ns);
    jw_time(j, "started", i->started_ns);
    jw_time(j, "ended", i->ended_ns);
}

void show_event_json(struct jw *j, const struct event *e)
{
    jw_u64(j, "id", e->id);
    jw_time(j, "time", e->time_ns);
    jw_str(j, "kind", e->kind);
    jw_str(j, "volume", e->volume[0] ? e->volume : NULL);
    jw_str(j, "text", e->text);
}

int show_event_text(const struct event *e, struct buf *out)
{
    char when[32];

    show_time(e->time_ns, when);
    return buf_printf(out, "%" PRIu64 "  %s  %s  %s%s%s\n", e->id, when, e->kind, e->volume,
                      e->volume[0] ? ": " : "", e->text);
}
