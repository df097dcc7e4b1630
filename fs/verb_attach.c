#include "fs/verb_attach.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "fs/verb_value.h"

#define DRIVER_LABELS "csi."

/* NAME=FILE, where NAME is one component; else FILE, by its last component. */
static int split(const char *text, char name[POINT_NAME_MAX + 1], const char **ret_file, struct buf *err)
{
    const char *eq = strchr(text, '='), *slash = strchr(text, '/');
    bool named = eq && eq != text && (!slash || eq < slash);
    size_t n;

    *ret_file = named ? eq + 1 : text;
    slash = strrchr(*ret_file, '/');
    if (!named)
        text = slash ? slash + 1 : text;
    n = named ? (size_t)(eq - text) : strlen(text);
    snprintf(name, POINT_NAME_MAX + 1, "%.*s", (int)MIN_OF(n, (size_t)POINT_NAME_MAX), text);
    if (n <= POINT_NAME_MAX && attach_name_check(name) == 0)
        return 0;
    buf_printf(err, "--attach %.100s: that cannot be a name; write NAME=FILE", text);
    return -E_NAME;
}

static int resolve_one(const char *text, struct buf *out, struct buf *err)
{
    char name[POINT_NAME_MAX + 1], real[PATH_MAX];
    const char *file;
    int r = split(text, name, &file, err);

    if (r < 0)
        return r;
    if (!realpath(file, real)) {
        buf_printf(err, "--attach %s: there is no such file", file);
        return -E_NOENT;
    }
    r = buf_printf(out, "%s=%s", name, real);
    return r < 0 ? r : buf_add(out, "", 1);
}

int verb_attach_resolve(struct verb_args *a, struct buf *err)
{
    cleanup(buf_free) struct buf all = {0};
    const struct verb_val *v = verb_val(a, "attach");
    int r = 0;

    for (size_t i = 0; r == 0 && i < v->ntexts; i++)
        r = resolve_one(v->texts[i], &all, err);
    if (r < 0 || v->ntexts == 0)
        return r;
    verb_value_free(&a->vals[v - a->vals]);
    for (size_t at = 0; r == 0 && at < all.len; at += strlen((const char *)all.data + at) + 1)
        r = verb_set(a, "attach", (const char *)all.data + at, err);
    return r;
}

static int complain(int r, const char *name, const char *file, struct buf *err)
{
    const char *why = r == -E_TOOBIG  ? "is too large: 1 MiB is allowed for one, 16 MiB for all, 256 files"
                      : r == -E_EXIST ? "the name is there twice; write NAME=FILE"
                      : r == -E_INVAL ? "is no regular file"
                                      : err_text(r);

    buf_printf(err, "--attach %s=%s: %s", name, file, why);
    return r;
}

int verb_attach_read(const struct verb_args *a, struct attachments *ret, struct buf *err)
{
    const struct verb_val *v = verb_val(a, "attach");
    char name[POINT_NAME_MAX + 1];
    const char *file;
    int r = 0;

    for (size_t i = 0; r == 0 && i < v->ntexts; i++) {
        r = split(v->texts[i], name, &file, err);
        if (r == 0 && file[0] != '/')
            r = complain(-E_NOENT, name, file, err);
        else if (r == 0 && (r = attach_read(ret, name, file)) < 0)
            r = complain(r, name, file, err);
    }
    return r;
}

int verb_labels_check(const struct verb_ctx *c, const struct verb_val *labels, const struct verb_val *remove,
                      struct buf *err)
{
    const struct verb_val *const all[] = {labels, remove};

    for (size_t n = 0; c->via == VIA_CONTROL && n < ARRAY_LEN(all); n++)
        for (size_t i = 0; all[n] && i < all[n]->ntexts; i++)
            if (strncmp(all[n]->texts[i], DRIVER_LABELS, sizeof(DRIVER_LABELS) - 1) == 0) {
                buf_puts(err, "labels that begin with " DRIVER_LABELS " are those of varve-csi");
                return -E_PERM;
            }
    return 0;
}

int verb_attach_labels(const struct verb_args *a, struct buf *ret)
{
    const struct verb_val *v = verb_val(a, "label");
    int r = 0;

    for (size_t i = 0; r == 0 && i < v->ntexts; i++)
        r = buf_add(ret, v->texts[i], strlen(v->texts[i]) + 1);
    return r;
}
