/* varve backup list, varve backup show: recovery points of a repository. In the command line's process. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"
#include "conf/value.h"
#include "fs/verb_repo.h"
#include "fs/verb_show.h"
#include "tier/attach.h"
#include "tier/trash.h"

#define ID_SHOWN 12

static void labels_json(struct jw *j, const struct buf *labels)
{
    jw_object(j, "labels");
    for (size_t at = 0; at < labels->len;) {
        const char *s = (const char *)labels->data + at, *eq = strchr(s, '=');
        char key[256];

        if (eq) {
            snprintf(key, sizeof(key), "%.*s", (int)(eq - s), s);
            jw_name(j, key, eq + 1, strlen(eq + 1));
        }
        at += strlen(s) + 1;
    }
    jw_close(j);
}

static void point_json(struct jw *j, const struct point *p)
{
    static const struct sha none;
    char uuid[UUID_TEXT_SIZE], base[SHA_TEXT], domain[ID16_TEXT];

    jw_str(j, "id", p->id);
    uuid_format(&p->volume, uuid);
    jw_name(j, "volume", p->volume_name, strlen(p->volume_name));
    jw_str(j, "volume_uuid", uuid);
    uuid_format(&p->store, uuid);
    jw_str(j, "store_uuid", uuid);
    uuid_format(&p->snapshot, uuid);
    jw_name(j, "snapshot", p->snapshot_name, strlen(p->snapshot_name));
    jw_str(j, "snapshot_uuid", uuid);
    jw_time(j, "taken", p->taken_ns);
    jw_time(j, "created", p->created_ns);
    hex_format(p->base.b, sizeof(p->base.b), base);
    jw_str(j, "base", memcmp(&p->base, &none, sizeof(none)) == 0 ? NULL : base);
    hex_format(p->domain.b, sizeof(p->domain.b), domain);
    jw_str(j, "domain", id16_none(&p->domain) ? NULL : domain);
    jw_u64(j, "files", p->files);
    jw_u64(j, "directories", p->dirs);
    jw_u64(j, "others", p->others);
    jw_u64(j, "bytes", p->bytes);
    jw_u64(j, "new_bytes", p->new_bytes);
    labels_json(j, &p->labels);
}

/* --- list ----------------------------------------------------------------------------------------------------------- */

struct points {
    struct point *v;
    size_t n;
    const char *volume; /* NULL: all */
    struct buf *err;
};

static void points_free(struct points *l)
{
    for (size_t i = 0; i < l->n; i++)
        point_release(&l->v[i]);
    free(l->v);
}

static int keep(void *arg, const struct point *p)
{
    struct points *l = arg;
    struct point *v;

    if (l->volume && strcmp(l->volume, p->volume_name) != 0)
        return 0;
    if (!(v = array_more(l->v, l->n, sizeof(*v))))
        return -E_NOMEM;
    l->v = v;
    v[l->n] = *p;
    v[l->n].labels = v[l->n].regarded = (struct buf){0};
    return buf_add(&v[l->n++].labels, p->labels.data, p->labels.len);
}

static void unreadable(void *arg, const char *id, int why)
{
    struct points *l = arg;

    buf_printf(l->err, "recovery point %.*s cannot be read: %s\n", ID_SHOWN, id, err_text(why));
}

static int by_time(const void *a, const void *b)
{
    const struct point *x = a, *y = b;

    if (x->taken_ns != y->taken_ns)
        return x->taken_ns < y->taken_ns ? -1 : 1;
    return strcmp(x->id, y->id);
}

static int list_json(const struct points *l, struct buf *out)
{
    struct jw j = jw_begin(out, true);

    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_array(&j, "recovery_points");
    for (size_t i = 0; i < l->n; i++) {
        jw_object(&j, NULL);
        point_json(&j, &l->v[i]);
        jw_close(&j);
    }
    jw_close(&j);
    jw_close(&j);
    return jw_end(&j);
}

static int list_text(const struct points *l, struct buf *out)
{
    static const char *const heads[] = {"ID", "VOLUME", "SNAPSHOT", "TAKEN", "FILES", "SIZE", "NEW"};
    struct show_cols c = {.ncols = ARRAY_LEN(heads), .right = 0x70};

    if (l->n == 0)
        return buf_puts(out, "no recovery points\n");
    for (size_t i = 0; i < ARRAY_LEN(heads); i++)
        show_cell(&c, "%s", heads[i]);
    for (size_t i = 0; i < l->n; i++) {
        const struct point *p = &l->v[i];
        char when[32];

        show_time(p->taken_ns, when);
        show_cell(&c, "%.*s", ID_SHOWN, p->id);
        show_cell_name(&c, p->volume_name);
        show_cell_name(&c, p->snapshot_name);
        show_cell(&c, "%s", when);
        show_cell(&c, "%" PRIu64, p->files);
        show_cell_size(&c, p->bytes);
        show_cell_size(&c, p->new_bytes);
    }
    return show_cols_print(&c, "", out);
}

REPO_LOCAL(backup_list)
{
    cleanup(repo_place_free) struct repo_place *p = calloc(1, sizeof(*p));
    cleanup(repo_done) struct repo *repo = NULL;
    cleanup(points_free) struct points l = {.volume = verb_text(a, "volume"), .err = &ans->err};
    int r = p ? repo_place_parse(verb_text(a, "repo"), false, a, p, &ans->err) : -E_NOMEM;

    if (r == 0)
        r = repo_place_open(p, NULL, NULL, &repo, &ans->err);
    if (r == 0)
        r = points_each(repo, keep, unreadable, &l);
    if (r < 0)
        return r;
    if (l.n)
        qsort(l.v, l.n, sizeof(*l.v), by_time);
    return a->json ? list_json(&l, &ans->out) : list_text(&l, &ans->out);
}

/* --- what is attached ----------------------------------------------------------------------------------------------- */

static int attached_json(void *arg, const char *name, uint64_t len)
{
    struct jw *j = arg;

    jw_object(j, NULL);
    jw_name(j, "name", name, strlen(name));
    jw_u64(j, "bytes", len);
    jw_close(j);
    return j->err;
}

static int attached_text(void *arg, const char *name, uint64_t len)
{
    char size[CONF_SIZE_TEXT];

    conf_size_text(len, size);
    return buf_printf(arg, "attached     %s, %s\n", name, size);
}

static int attached(struct repo *repo, const struct point *p,
                    int (*cb)(void *arg, const char *name, uint64_t len), void *arg)
{
    int r = p->flags & POINT_ATTACHED ? repo_sync(repo) : 0;

    return r < 0 || !(p->flags & POINT_ATTACHED) ? r : attach_each(repo, &p->tree, cb, arg);
}

/* --- show ----------------------------------------------------------------------------------------------------------- */

static int show_text(const struct point *p, struct buf *out)
{
    static const struct sha none;
    char taken[32], made[32], uuid[UUID_TEXT_SIZE], base[SHA_TEXT], size[CONF_SIZE_TEXT],
        fresh[CONF_SIZE_TEXT];
    int r;

    show_time(p->taken_ns, taken);
    show_time(p->created_ns, made);
    uuid_format(&p->volume, uuid);
    hex_format(p->base.b, sizeof(p->base.b), base);
    conf_size_text(p->bytes, size);
    conf_size_text(p->new_bytes, fresh);
    r = buf_printf(
        out,
        "id           %s\nvolume       %s (%s)\nsnapshot     %s\ntaken        %s\nmade         %s\n"
        "made from    %s\nfiles        %" PRIu64 ", %s\ndirectories  %" PRIu64 "\nothers       %" PRIu64
        "\nnew          %s\n",
        p->id, p->volume_name, uuid, p->snapshot_name, taken, made,
        memcmp(&p->base, &none, sizeof(none)) == 0 ? "everything was read" : base, p->files, size, p->dirs,
        p->others, fresh);
    for (size_t at = 0; r == 0 && at < p->labels.len;) {
        const char *s = (const char *)p->labels.data + at;

        r = buf_printf(out, "label        %s\n", s);
        at += strlen(s) + 1;
    }
    return r;
}

REPO_LOCAL(backup_show)
{
    cleanup(repo_place_free) struct repo_place *p = calloc(1, sizeof(*p));
    cleanup(repo_done) struct repo *repo = NULL;
    struct point pt = {.flags = 0};
    struct jw j;
    int r = p ? repo_place_parse(verb_text(a, "point"), true, a, p, &ans->err) : -E_NOMEM;

    if (r == 0)
        r = repo_place_open(p, NULL, NULL, &repo, &ans->err);
    if (r == 0)
        r = point_find(repo, p->id, &pt, &ans->err);
    if (r < 0)
        return r;
    if (a->json) {
        j = jw_begin(&ans->out, true);
        jw_object(&j, NULL);
        jw_u64(&j, "schema", 1);
        jw_object(&j, "recovery_point");
        point_json(&j, &pt);
        jw_array(&j, "attachments");
        r = attached(repo, &pt, attached_json, &j);
        jw_close(&j);
        jw_close(&j);
        jw_close(&j);
        r = r < 0 ? r : jw_end(&j);
    } else {
        r = show_text(&pt, &ans->out);
        if (r == 0)
            r = attached(repo, &pt, attached_text, &ans->out);
    }
    if (r < 0)
        buf_printf(&ans->err, "%.12s: %s", pt.id, backend_text(r));
    point_release(&pt);
    return r;
}

/* --- delete --------------------------------------------------------------------------------------------------------- */

/* A whole id goes also where the recovery point cannot be read. */
static int delete_find(struct repo *repo, const char *id, char ret[SHA_TEXT], struct buf *err)
{
    struct point pt = {.flags = 0};
    int r = 0;

    if (strlen(id) < SHA_TEXT - 1 || strspn(id, "0123456789abcdef") != SHA_TEXT - 1) {
        r = point_find(repo, id, &pt, err);
        id = pt.id;
    }
    if (r == 0)
        snprintf(ret, SHA_TEXT, "%s", id);
    point_release(&pt);
    return r;
}

static int deleted(const char *id, int64_t keep_ns, bool json, struct buf *out)
{
    char when[CONF_SIZE_TEXT];
    struct jw j;

    conf_duration_text(keep_ns, when);
    if (!json && keep_ns)
        return buf_printf(
            out, "recovery point %.12s is deleted; for %s varve backup undelete brings it back\n", id, when);
    if (!json)
        return buf_printf(out, "recovery point %.12s is deleted; varve repo prune frees its space\n", id);
    j = jw_begin(out, true);
    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_str(&j, "deleted", id);
    jw_u64(&j, "undo_seconds", (uint64_t)(keep_ns / 1000000000));
    jw_close(&j);
    return jw_end(&j);
}

REPO_LOCAL(backup_delete)
{
    cleanup(repo_place_free) struct repo_place *p = calloc(1, sizeof(*p));
    cleanup(repo_done) struct repo *repo = NULL;
    int64_t keep_ns = (int64_t)verb_num(a, "undo");
    char id[SHA_TEXT];
    int r = p ? repo_place_parse(verb_text(a, "point"), true, a, p, &ans->err) : -E_NOMEM;

    if (r == 0 && strcmp(p->id, "latest") == 0) {
        buf_puts(&ans->err, "backup delete: write which one: 8 or more digits of its id");
        return -E_USAGE;
    }
    if (r == 0)
        r = repo_place_open(p, NULL, NULL, &repo, &ans->err);
    if (r == 0 && (r = delete_find(repo, p->id, id, &ans->err)) < 0)
        return r;
    if (r == 0)
        r = trash_put(repo, id, keep_ns);
    if (r < 0) {
        if (ans->err.len == 0)
            buf_printf(&ans->err, "%s: %s %.12s", repo_place_name(p),
                       r == -E_NOENT ? "there is no recovery point" : backend_text(r), p->id);
        return r;
    }
    return deleted(id, keep_ns, a->json, &ans->out);
}
