/* Verbs that show snapshots. */
#include <inttypes.h>
#include <stdio.h>

#include "fs/verb_runs.h"
#include "fs/verb_show.h"

struct listing {
    struct show_cols cols;
    struct jw j;
    bool json;
    size_t count;
};

static int tags_add(void *arg, const char *what, const char *a, const char *b)
{
    struct buf *text = arg;

    return buf_printf(text, "%s%s%s%s%s", text->len ? " " : "", what[0] == 'h' ? "held:" : "", a,
                      what[0] == 'l' ? "=" : "", b);
}

static int hold_or_label(void *arg, const char *what, const char *a, const char *b)
{
    return strcmp(what, "hold") == 0 || strcmp(what, "label") == 0 ? tags_add(arg, what, a, b) : 0;
}

static void row(struct show_cols *c, const struct layer_rec *rec, const char *text, size_t len)
{
    cleanup(buf_free) struct buf tags = {0};
    char when[32];

    show_text_each(text, len, hold_or_label, &tags);
    show_cell_name(c, rec->name);
    show_time(rec->taken_ns, when);
    show_cell(c, "%s", when);
    show_cell(c, "%s", show_layer_state(rec->state));
    show_cell_size(c, rec->blocks * BLOCK_SIZE);
    show_cell(c, "%" PRIu64, rec->inodes);
    show_time(rec->expires_ns, when);
    show_cell(c, "%s", when);
    show_cell(c, "%s", tags.len ? buf_cstr(&tags) : "-");
}

static int list_one(void *arg, const struct layer_rec *rec, const char *text, size_t len)
{
    struct listing *l = arg;

    l->count++;
    if (!l->json) {
        row(&l->cols, rec, text, len);
        return 0;
    }
    jw_object(&l->j, NULL);
    show_layer_json(&l->j, rec, text, len);
    jw_close(&l->j);
    return 0;
}

RUN(run_snapshot_list)
{
    static const char *const heads[] = {"NAME", "TAKEN", "STATE", "SIZE", "FILES", "EXPIRES", "TAGS"};
    struct listing l = {.cols = {.ncols = ARRAY_LEN(heads), .right = 1 << 3 | 1 << 4}, .json = c->json};
    int r, e;

    (void)a;
    (void)err;
    l.j = jw_begin(out, true);
    if (c->json) {
        jw_object(&l.j, NULL);
        jw_u64(&l.j, "schema", 1);
        jw_name(&l.j, "volume", c->vol->rec.name, strlen(c->vol->rec.name));
        jw_array(&l.j, "snapshots");
    } else {
        for (size_t i = 0; i < ARRAY_LEN(heads); i++)
            show_cell(&l.cols, "%s", heads[i]);
    }
    r = snap_each(c->vol, list_one, &l);
    if (c->json) {
        jw_close(&l.j);
        jw_close(&l.j);
        e = jw_end(&l.j);
    } else {
        e = show_cols_print(&l.cols, "", out);
    }
    return r < 0 ? r : e;
}

static int show_text(const struct snap_info *i, const struct buf *text, struct buf *out)
{
    struct show_cols c = {.ncols = 2};
    cleanup(buf_free) struct buf tags = {0};
    char when[32], uuid[UUID_TEXT_SIZE];

    show_text_each((const char *)text->data, text->len, hold_or_label, &tags);
    show_cell(&c, "name");
    show_cell_name(&c, i->rec.name);
    show_cell(&c, "taken");
    show_time(i->rec.taken_ns, when);
    show_cell(&c, "%s", when);
    show_cell(&c, "state");
    show_cell(&c, "%s", show_layer_state(i->rec.state));
    show_cell(&c, "size");
    show_cell_size(&c, i->rec.blocks * BLOCK_SIZE);
    show_cell(&c, "files");
    show_cell(&c, "%" PRIu64, i->rec.inodes);
    show_cell(&c, "only here");
    show_cell_size(&c, i->unique_bytes);
    show_cell(&c, "freed if deleted");
    show_cell_size(&c, i->freed_bytes);
    show_cell(&c, "expires");
    show_time(i->rec.expires_ns, when);
    show_cell(&c, "%s", i->rec.expires_ns ? when : "never");
    show_cell(&c, "tags");
    show_cell(&c, "%s", tags.len ? buf_cstr(&tags) : "-");
    show_cell(&c, "number, layer");
    show_cell(&c, "%" PRIu64 ", %" PRIu32, i->rec.number, i->rec.layer);
    show_cell(&c, "clones");
    show_cell(&c, "%" PRIu32, i->rec.children);
    show_cell(&c, "uuid");
    uuid_format(&i->rec.uuid, uuid);
    show_cell(&c, "%s", uuid);
    return show_cols_print(&c, "", out);
}

RUN(run_snapshot_show)
{
    cleanup(buf_free) struct buf text = {0};
    struct snap_info i;
    struct jw j;
    int r = snap_find(c->vol, verb_text(a, "name"), &i.rec);

    if (r == 0)
        r = snap_get_info(c->vol, i.rec.name, &i);
    if (r == 0)
        r = snap_text(c->vol, i.rec.name, &text);
    if (r < 0) {
        buf_printf(err, "snapshot %s: %s%s", verb_text(a, "name"), err_text(r),
                   r == -E_NOENT ? "; varve snapshot list shows what there is" : "");
        return r;
    }
    if (!c->json)
        return show_text(&i, &text, out);
    j = jw_begin(out, true);
    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_name(&j, "volume", c->vol->rec.name, strlen(c->vol->rec.name));
    jw_object(&j, "snapshot");
    show_layer_json(&j, &i.rec, (const char *)text.data, text.len);
    jw_u64(&j, "unique_bytes", i.unique_bytes);
    jw_u64(&j, "freed_bytes", i.freed_bytes);
    jw_close(&j);
    jw_close(&j);
    return jw_end(&j);
}
