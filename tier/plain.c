#include "tier/plain.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"
#include "base/io.h"
#include "base/jw.h"
#include "tier/plain_i.h"

#define LINES_BYTES (1u << 20)

struct plain {
    struct backend *b;
    const struct backend_call *c;
    struct vol *v;
    struct vt_at at;
    const struct plain_opts *o;
    struct plain_old old;
    struct plain_left left;
    struct buf path, lines; /* with its NUL; not yet written */
    struct level *levels;   /* directories from the root to the one under way */
    size_t nlevels;
    int fd; /* the manifest that is made */
    uint64_t len;
    struct plain_result res;
};

static int moved(struct plain *p)
{
    uint64_t items = p->res.files + p->res.dirs + p->res.others;

    return p->o->progress ? p->o->progress(p->o->arg, items, p->res.put_bytes) : 0;
}

/* --- the manifest --------------------------------------------------------------------------------------------------- */

static int lines_write(struct plain *p, size_t least)
{
    int r;

    if (p->lines.len < least)
        return 0;
    r = io_pwrite(io_real(), p->fd, p->lines.data, p->lines.len, p->len);
    if (r == 0) {
        p->len += p->lines.len;
        buf_reset(&p->lines);
    }
    return r;
}

static int line_end(struct plain *p, struct jw *j)
{
    int r;

    jw_close(j);
    r = jw_end(j);
    if (r == 0)
        r = buf_puts(&p->lines, "\n");
    return r < 0 ? r : lines_write(p, LINES_BYTES);
}

static struct jw line_begin(struct plain *p, const char *path)
{
    struct jw j = jw_begin(&p->lines, false);

    jw_object(&j, NULL);
    if (path)
        jw_name(&j, "path", path, strlen(path));
    return j;
}

static int head_line(struct plain *p, const struct layer_rec *rec)
{
    struct jw j = line_begin(p, NULL);
    char uuid[UUID_TEXT_SIZE];

    jw_u64(&j, "schema", 1);
    jw_u64(&j, "export", p->res.number);
    jw_name(&j, "volume", p->v->rec.name, strlen(p->v->rec.name));
    uuid_format(&p->v->rec.uuid, uuid);
    jw_str(&j, "volume_uuid", uuid);
    jw_name(&j, "snapshot", rec->name, strlen(rec->name));
    uuid_format(&rec->uuid, uuid);
    jw_str(&j, "snapshot_uuid", uuid);
    jw_time(&j, "taken", rec->taken_ns);
    return line_end(p, &j);
}

static int end_line(struct plain *p)
{
    struct jw j = line_begin(p, NULL);

    jw_bool(&j, "end", true);
    jw_u64(&j, "files", p->res.files);
    jw_u64(&j, "directories", p->res.dirs);
    jw_u64(&j, "others", p->res.others);
    jw_u64(&j, "bytes", p->res.bytes);
    return line_end(p, &j);
}

static int64_t ns_of(const struct timespec *t)
{
    return (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
}

static int xattr_member(void *arg, const char *name, size_t name_len, const void *p, size_t len)
{
    char key[256], hex[2 * 1024 + 1];
    struct jw *j = arg;

    if (len > 1024 || name_len >= sizeof(key))
        return 0;
    snprintf(key, sizeof(key), "%.*s", (int)name_len, name);
    for (size_t i = 0; i < len; i++)
        snprintf(hex + 2 * i, 3, "%02x", ((const uint8_t *)p)[i]);
    hex[2 * len] = 0;
    jw_str(j, key, hex);
    return 0;
}

static int link_member(struct plain *p, const struct inode *in, struct jw *j)
{
    char target[4096];
    size_t got = 0;
    int r = in->size < sizeof(target) ? file_read(p->v, p->at, in->ino, target, (size_t)in->size, 0, &got)
                                      : -E_CORRUPT;

    if (r == 0)
        jw_name(j, "target", target, got);
    return r;
}

/* What is there; object and sha of files only. */
static int entry_line(struct plain *p, const struct inode *in, const char *object, const char *sha)
{
    struct jw j = line_begin(p, (const char *)p->path.data);
    char mode[8], gen[17];
    int r = 0;

    jw_str(&j, "type", diff_type_name(in->mode));
    snprintf(mode, sizeof(mode), "%04o", in->mode & 07777);
    jw_str(&j, "mode", mode);
    jw_u64(&j, "uid", in->uid);
    jw_u64(&j, "gid", in->gid);
    jw_time(&j, "mtime", ns_of(&in->mtime));
    jw_i64(&j, "mtime_ns", ns_of(&in->mtime));
    jw_i64(&j, "ctime_ns", ns_of(&in->ctime));
    jw_u64(&j, "ino", in->ino);
    snprintf(gen, sizeof(gen), "%016llx", (unsigned long long)in->gen);
    jw_str(&j, "generation", gen); /* of 64 bits, which not all that read JSON know as a number */
    jw_u64(&j, "change", in->change);
    if (object) {
        jw_u64(&j, "links", in->nlink);
        jw_u64(&j, "size", in->size);
        jw_str(&j, "object", object);
        jw_str(&j, "sha256", sha);
    }
    if (S_ISLNK(in->mode))
        r = link_member(p, in, &j);
    if (S_ISBLK(in->mode) || S_ISCHR(in->mode))
        jw_u64(&j, "device", in->rdev);
    if (in->nxattr) {
        jw_object(&j, "attributes_hex");
        if (r == 0)
            r = walk_xattrs(p->v, p->at, in->ino, xattr_member, &j);
        jw_close(&j);
    }
    return r < 0 ? r : line_end(p, &j);
}

/* --- what is there no more ------------------------------------------------------------------------------------------ */

static int gone(struct plain *p)
{
    const struct plain_entry *e = &p->old.e;
    struct jw j;
    int r;

    if (!e->object[0])
        return 0;
    if (p->o->del || BROKEN(VARVE_BREAK_plain_delete)) {
        r = backend_del(p->b, p->c, e->object);
        p->res.deleted += r == 0;
        return r == -E_NOENT ? 0 : r;
    }
    p->res.gone++;
    j = line_begin(p, (const char *)e->path.data);
    jw_str(&j, "type", "file");
    jw_bool(&j, "gone", true);
    jw_str(&j, "object", e->object);
    return line_end(p, &j);
}

/* Entries of the last manifest before the path; is there one of the path itself? */
static int old_up_to(struct plain *p, const char *path, bool *ret_same)
{
    int r = 0, c = 1;

    while (r == 0 && p->old.have && (c = plain_path_cmp((const char *)p->old.e.path.data, path)) < 0) {
        r = gone(p);
        if (r == 0)
            r = plain_old_next(&p->old);
    }
    *ret_same = p->old.have && c == 0;
    return r;
}

/* --- files ---------------------------------------------------------------------------------------------------------- */

/* Is its object as the last manifest says, and nobody has touched it since? */
static bool unchanged(const struct plain *p, const struct inode *in)
{
    const struct plain_entry *e = &p->old.e;
    const struct plain_item *i;

    if (e->gone || !e->file || !e->object[0] || e->ino != in->ino || e->gen != in->gen ||
        e->size != in->size || (p->o->base && strcmp(p->o->base, "none") == 0))
        return false;
    if ((e->change != in->change || e->ctime_ns != ns_of(&in->ctime)) && !BROKEN(VARVE_BREAK_plain_changed))
        return false;
    if (!p->left.first_ns || BROKEN(VARVE_BREAK_plain_left))
        return true;
    i = plain_left_find(&p->left, e->object);
    return i && i->size == in->size && i->mtime_ns < p->left.first_ns;
}

/* Did the interrupted export of this snapshot put it? */
static bool put_before(const struct plain *p, const char *object, uint64_t size)
{
    const struct plain_item *i = p->left.mine_ns ? plain_left_find(&p->left, object) : NULL;

    return i && i->size == size && i->mtime_ns > p->left.mine_ns;
}

static int put_object(struct plain *p, const char *path, const struct plain_bytes *bytes,
                      char object[BACKEND_NAME_MAX + 1])
{
    int r = 0;

    for (int far = 0; far < 2; far++) { /* a name may be in the way of another, as a and a/b are */
        r = plain_name(path, far, object);
        if (r == 0 && put_before(p, object, bytes->len)) {
            p->res.resumed = true;
            return 0;
        }
        if (r == 0)
            r = plain_put(p->b, p->c, object, bytes);
        if (r != -E_EXIST && r != -E_NOTDIR && r != -E_ISDIR)
            break;
    }
    if (r == 0) {
        p->res.put++;
        p->res.put_bytes += bytes->len;
    }
    return r;
}

static int changed(struct plain *p, const struct inode *in, const char *was)
{
    const char *path = (const char *)p->path.data;
    char object[BACKEND_NAME_MAX + 1];
    struct plain_bytes bytes;
    int r = plain_read(p->v, p->at, in, p->o->room, p->c, &bytes);

    if (r < 0)
        return r;
    if (was[0] && !put_before(p, was, in->size)) {
        r = backend_del(p->b, p->c, was);
        if (r == -E_NOENT)
            r = 0;
    }
    if (r == 0)
        r = put_object(p, path, &bytes, object);
    if (r == 0)
        r = entry_line(p, in, object, bytes.sha);
    plain_bytes_release(&bytes);
    return r;
}

static int take_file(struct plain *p, const struct inode *in, bool same)
{
    p->res.files++;
    p->res.bytes += in->size;
    if (same && unchanged(p, in))
        return entry_line(p, in, p->old.e.object, p->old.e.sha);
    return changed(p, in, same ? p->old.e.object : "");
}

/* --- the tree ------------------------------------------------------------------------------------------------------- */

struct child {
    uint64_t ino;
    char *name; /* in the list's names */
};
struct children {
    struct buf raw; /* ino u64, name with its NUL */
    struct child *v;
    size_t n;
};

static void children_free(struct children *l)
{
    buf_free(&l->raw);
    free(l->v);
}

static int child_take(void *arg, const struct walk_dirent *e)
{
    struct children *l = arg;
    uint8_t ino[8];

    put_le64(ino, e->ino);
    l->n++;
    if (buf_add(&l->raw, ino, sizeof(ino)) < 0 || buf_add(&l->raw, e->name, e->name_len) < 0)
        return -E_NOMEM;
    return buf_add(&l->raw, "", 1);
}

static int by_name(const void *a, const void *b)
{
    return plain_path_cmp(((const struct child *)a)->name, ((const struct child *)b)->name);
}

static int children_of(struct plain *p, uint64_t dir, struct children *l)
{
    int r = walk_dirents(p->v, p->at, dir, child_take, l);
    size_t at = 0;

    if (r < 0 || l->n == 0)
        return r;
    if (!(l->v = calloc(l->n, sizeof(*l->v))))
        return -E_NOMEM;
    for (size_t i = 0; i < l->n; i++) {
        l->v[i] = (struct child){get_le64(l->raw.data + at), (char *)l->raw.data + at + 8};
        at += 8 + strlen(l->v[i].name) + 1;
    }
    qsort(l->v, l->n, sizeof(*l->v), by_name);
    return 0;
}

struct level {
    struct children l;
    size_t next, path_len;
};

static int level_enter(struct plain *p, uint64_t dir)
{
    struct level *more = array_more(p->levels, p->nlevels, sizeof(*more)), l = {.path_len = p->path.len};
    int r = more ? children_of(p, dir, &l.l) : -E_NOMEM;

    if (more)
        p->levels = more;
    if (r < 0)
        children_free(&l.l);
    else
        p->levels[p->nlevels++] = l;
    return r;
}

static int take_one(struct plain *p, uint64_t ino)
{
    struct inode in;
    bool same;
    int r = walk_inode(p->v, p->at, ino, &in);

    if (r == 0)
        r = old_up_to(p, (const char *)p->path.data, &same);
    if (r < 0)
        return r;
    if (S_ISREG(in.mode)) {
        r = take_file(p, &in, same);
    } else {
        *(S_ISDIR(in.mode) ? &p->res.dirs : &p->res.others) += 1;
        if (same)
            r = gone(p);
        if (r == 0)
            r = entry_line(p, &in, NULL, NULL);
    }
    if (r == 0 && same)
        r = plain_old_next(&p->old);
    if (r == 0)
        r = moved(p);
    return r == 0 && S_ISDIR(in.mode) ? level_enter(p, ino) : r;
}

/* The path of the next one of a level; 0: that was the last, and the path is the level's own. */
static int level_next(struct plain *p, struct level *l, uint64_t *ret_ino)
{
    const struct child *c = l->next < l->l.n ? &l->l.v[l->next++] : NULL;
    int r = 0;

    p->path.len = l->path_len;
    if (l->path_len)
        p->path.data[l->path_len - 1] = 0;
    if (!c)
        return 0;
    if (l->path_len) {
        p->path.len--; /* over the NUL */
        r = buf_add(&p->path, "/", 1);
    }
    if (r == 0)
        r = buf_add(&p->path, c->name, strlen(c->name) + 1);
    *ret_ino = c->ino;
    return r < 0 ? r : 1;
}

static int take_tree(struct plain *p)
{
    int r = level_enter(p, INO_ROOT);

    while (r == 0 && p->nlevels) {
        struct level *l = &p->levels[p->nlevels - 1];
        uint64_t ino;

        r = level_next(p, l, &ino);
        if (r == 1) {
            r = take_one(p, ino);
        } else if (r == 0) {
            children_free(&l->l);
            p->nlevels--;
        }
    }
    return r;
}

static void plain_end(struct plain *p)
{
    plain_old_release(&p->old);
    plain_left_release(&p->left);
    buf_free(&p->path);
    buf_free(&p->lines);
    for (size_t i = 0; i < p->nlevels; i++)
        children_free(&p->levels[i].l);
    free(p->levels);
    if (p->fd >= 0)
        close(p->fd);
}

/* --- the whole ------------------------------------------------------------------------------------------------------ */

static int one_name(void *arg, const char *name, const struct backend_stat *st)
{
    (void)arg;
    (void)name;
    (void)st;
    return 1;
}

static int base_check(struct plain *p, struct buf *err)
{
    const char *base = p->o->base;
    char number[16];

    snprintf(number, sizeof(number), "%u", p->old.number);
    if (!base || strcmp(base, "none") == 0 || (p->old.name[0] && strcmp(base, number) == 0) ||
        (p->old.name[0] && strcmp(base, p->old.snapshot) == 0))
        return 0;
    if (p->old.name[0])
        buf_printf(
            err, "--base %.100s: the last export there is number %u, of %s; leave --base out, or write none",
            base, p->old.number, p->old.snapshot);
    else
        buf_printf(err, "--base %.100s: there is no export yet", base);
    return -E_USAGE;
}

static int begin(struct plain *p, const struct layer_rec *rec, struct buf *err)
{
    int r = backend_list(p->b, p->c, "root/", "", one_name, NULL);

    if (r == 1) {
        buf_puts(err, "a repository lies there; plain objects go to a place of their own");
        return -E_REPO_EXIST;
    }
    if (r == 0 && (r = plain_old_open(&p->old)) == -E_CORRUPT)
        buf_printf(err, "%s is damaged; delete it, and the export goes on from the one before", p->old.name);
    if (r == 0)
        r = base_check(p, err);
    if (r < 0)
        return r;
    p->res.base = p->old.number;
    p->res.number = p->old.number + 1;
    r = plain_left_open(p->b, p->c, p->res.number, rec, &p->left);
    if (r == -E_NOTEMPTY)
        buf_puts(err,
                 "something else lies there, below files/ or far/; plain objects go to a place of their own");
    if (r == 0)
        r = plain_spool(p->o->room, &p->fd);
    return r < 0 ? r : head_line(p, rec);
}

static int finish(struct plain *p)
{
    char name[64];
    int r = 0;

    while (r == 0 && p->old.have) {
        r = gone(p);
        if (r == 0)
            r = plain_old_next(&p->old);
    }
    if (r == 0)
        r = end_line(p);
    if (r == 0)
        r = lines_write(p, 0);
    snprintf(name, sizeof(name), "manifest/%08u.jsonl", p->res.number);
    if (r == 0)
        r = plain_put(p->b, p->c, name, &(struct plain_bytes){.fd = p->fd, .len = p->len});
    return r < 0 ? r : plain_left_done(p->b, p->c, &p->left);
}

int plain_run(struct backend *b, const struct backend_call *c, struct vol *v, const struct layer_rec *rec,
              const struct plain_opts *o, struct plain_result *ret, struct buf *err)
{
    cleanup(plain_end) struct plain p = {
        .b = b, .c = c, .v = v, .at = {rec->branch, rec->layer}, .o = o, .old = {.b = b, .c = c}, .fd = -1};
    int r = begin(&p, rec, err);

    if (r == 0)
        r = take_tree(&p);
    if (r < 0 && r != -E_CANCELED && err->len == 0)
        buf_printf(err, "%s%s%s", p.path.len ? (const char *)p.path.data : "", p.path.len ? ": " : "",
                   backend_text(r));
    if (r == 0)
        r = finish(&p);
    *ret = p.res;
    return r;
}
