/* Reading directories. */
#include "fs/op.h"
#include "fs/snapdir.h"

struct list {
    fuse_req_t req;
    struct session *ss;
    size_t used, size;
    bool plus;
    bool full;
};

/* How an entry goes to the kernel: with its attributes and a lookup that it may keep, or as a bare name. */
static size_t put_entry(struct list *l, const struct vfs_dirent *d, const char *name)
{
    char *at = (char *)op_room() + l->used;
    size_t room = l->size - l->used;
    struct fuse_entry_param e = {.attr = {.st_ino = d->ino, .st_mode = d->type}};

    if (!l->plus)
        return fuse_add_direntry(l->req, at, room, name, &e.attr, (off_t)d->cookie);
    if (d->cookie > 2 && d->attr.node.v != 0)
        op_entry(l->ss, &d->attr, &e);
    return fuse_add_direntry_plus(l->req, at, room, name, &e, (off_t)d->cookie);
}

static int take(void *arg, const struct vfs_dirent *d)
{
    struct list *l = arg;
    char name[NAME_LEN_MAX + 1];
    size_t need;

    memcpy(name, d->name, d->name_len);
    name[d->name_len] = 0;
    need = put_entry(l, d, name);
    if (need > l->size - l->used)
        l->full = true;
    else
        l->used += need;
    return l->full;
}

static void list_dir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, bool plus)
{
    struct list l = {.req = req, .ss = op_session(req), .size = MIN_OF(size, OP_BUF_SIZE), .plus = plus};
    vfs_node dir = op_node(l.ss, ino);
    int r;

    if (op_is_own(ino))
        r = snapdir_readdir(l.ss, ino, (uint64_t)off, take, &l);
    else if (snapdir_is_listed(l.ss, ino) && off == (off_t)SNAPDIR_COOKIE)
        r = 0; /* it is the last one */
    else
        r = vfs_readdir(l.ss->vol, dir, (uint64_t)off, plus, take, &l);
    if (r == 0 && !l.full && snapdir_is_listed(l.ss, ino) && off != (off_t)SNAPDIR_COOKIE)
        r = snapdir_list_self(l.ss, dir, take, &l);
    if (r < 0)
        op_reply(req, r);
    else
        fuse_reply_buf(req, (const char *)op_room(), l.used);
}

void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    (void)fi;
    list_dir(req, ino, size, off, false);
}

void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    (void)fi;
    list_dir(req, ino, size, off, true);
}
