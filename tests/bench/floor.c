/* The floor's connection and its answers. */
#include "tests/bench/floor.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define READERS 3 /* as varve keeps */
#define MAX_WRITE (1u << 20)
#define BUFFER (MAX_WRITE + 4096u)
#define FOREVER 1000000000ull
#define CODES 64
/* as fs/init.c asks for, so that the kernel sends the same */
#define FLAGS                                                                                                \
    (FUSE_ASYNC_READ | FUSE_EXPORT_SUPPORT | FUSE_BIG_WRITES | FUSE_DONT_MASK | FUSE_DO_READDIRPLUS |        \
     FUSE_READDIRPLUS_AUTO | FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES | FUSE_POSIX_ACL |       \
     FUSE_CACHE_SYMLINKS | FUSE_EXPLICIT_INVAL_DATA | FUSE_HANDLE_KILLPRIV_V2 | 1ull << 29 | 1ull << 30 |    \
     1ull << 36)
#define BACKGROUND 256

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards the tree */
static uint64_t own_counts[CODES],
    *counts = own_counts; /* requests by opcode; with --counts others can read them */
static int device;

struct request {
    const struct fuse_in_header *h;
    const void *arg;
    struct node *node; /* it is about */
    uint8_t *room;     /* for the answer */
    size_t len;        /* of the answer */
    const void *ref;   /* instead of room: bytes of a node */
};

static void fill_attr(const struct node *n, struct fuse_attr *a)
{
    *a = (struct fuse_attr){.ino = node_id(n),
                            .size = n->size,
                            .blocks = (n->size + 4095) / 4096 * 8,
                            .atime = (uint64_t)n->atime.tv_sec,
                            .mtime = (uint64_t)n->mtime.tv_sec,
                            .ctime = (uint64_t)n->ctime.tv_sec,
                            .atimensec = (uint32_t)n->atime.tv_nsec,
                            .mtimensec = (uint32_t)n->mtime.tv_nsec,
                            .ctimensec = (uint32_t)n->ctime.tv_nsec,
                            .mode = n->mode,
                            .nlink = n->nlink,
                            .uid = n->uid,
                            .gid = n->gid,
                            .rdev = n->rdev,
                            .blksize = 4096};
}

static void fill_entry(struct node *n, struct fuse_entry_out *e)
{
    *e = (struct fuse_entry_out){
        .nodeid = node_id(n), .generation = 1, .entry_valid = FOREVER, .attr_valid = FOREVER};
    fill_attr(n, &e->attr);
    n->held++;
}

static int put_entry(struct request *q, struct node *n)
{
    fill_entry(n, (struct fuse_entry_out *)q->room);
    q->len = sizeof(struct fuse_entry_out);
    return 0;
}

static int put_attr(struct request *q, const struct node *n)
{
    struct fuse_attr_out *a = (struct fuse_attr_out *)q->room;

    *a = (struct fuse_attr_out){.attr_valid = FOREVER};
    fill_attr(n, &a->attr);
    q->len = sizeof(*a);
    return 0;
}

/* --- names --- */

static int do_lookup(struct request *q)
{
    struct entry *e = entry_find(q->node, q->arg);

    if (e)
        return put_entry(q, e->node);
    *(struct fuse_entry_out *)q->room = (struct fuse_entry_out){.entry_valid = FOREVER}; /* it is not there */
    q->len = sizeof(struct fuse_entry_out);
    return 0;
}

static int make(struct request *q, const char *name, uint32_t mode, struct node **ret)
{
    struct node *n;
    int r;

    if (entry_find(q->node, name))
        return -EEXIST;
    n = node_new(mode, q->h);
    r = n ? entry_add(q->node, name, n) : -ENOMEM;
    if (r < 0)
        free(n);
    else
        *ret = n;
    return r;
}

static int do_mknod(struct request *q)
{
    const struct fuse_mknod_in *in = q->arg;
    struct node *n;
    int r = make(q, (const char *)(in + 1), in->mode & ~(in->umask & 0777), &n);

    if (r < 0)
        return r;
    n->rdev = in->rdev;
    return put_entry(q, n);
}

static int do_mkdir(struct request *q)
{
    const struct fuse_mkdir_in *in = q->arg;
    struct node *n;
    int r = make(q, (const char *)(in + 1), S_IFDIR | (in->mode & 07777 & ~in->umask), &n);

    return r < 0 ? r : put_entry(q, n);
}

static int do_create(struct request *q)
{
    const struct fuse_create_in *in = q->arg;
    struct fuse_open_out *o = (struct fuse_open_out *)(q->room + sizeof(struct fuse_entry_out));
    struct node *n;
    int r = make(q, (const char *)(in + 1), S_IFREG | (in->mode & 07777 & ~in->umask), &n);

    if (r < 0)
        return r;
    put_entry(q, n);
    *o = (struct fuse_open_out){.open_flags = FOPEN_KEEP_CACHE};
    q->len += sizeof(*o);
    return 0;
}

static int do_symlink(struct request *q)
{
    const char *name = q->arg, *target = name + strlen(name) + 1;
    struct node *n;
    int r = make(q, name, S_IFLNK | 0777, &n);

    if (r == 0)
        r = node_resize(n, strlen(target));
    if (r < 0)
        return r;
    memcpy(n->data, target, strlen(target));
    return put_entry(q, n);
}

static int do_link(struct request *q)
{
    const struct fuse_link_in *in = q->arg;
    struct node *n = node_of(in->oldnodeid);
    int r =
        entry_find(q->node, (const char *)(in + 1)) ? -EEXIST : entry_add(q->node, (const char *)(in + 1), n);

    return r < 0 ? r : put_entry(q, n);
}

static int do_unlink(struct request *q)
{
    struct entry *e = entry_find(q->node, q->arg);

    if (!e)
        return -ENOENT;
    if (S_ISDIR(e->node->mode) != (q->h->opcode == FUSE_RMDIR))
        return q->h->opcode == FUSE_RMDIR ? -ENOTDIR : -EISDIR;
    if (S_ISDIR(e->node->mode) && !dir_is_empty(e->node))
        return -ENOTEMPTY;
    entry_drop(e);
    return 0;
}

static int rename_to(struct request *q, struct node *dir, const char *name, const char *to, uint32_t flags)
{
    struct entry *from = entry_find(q->node, name), *there = entry_find(dir, to);
    struct node *n;
    int r;

    if (flags & ~1u) /* RENAME_NOREPLACE */
        return -EINVAL;
    if (!from || (there && flags))
        return from ? -EEXIST : -ENOENT;
    if (there && S_ISDIR(there->node->mode) && !dir_is_empty(there->node))
        return -ENOTEMPTY;
    if (there && there->node == from->node)
        return 0;
    n = from->node;
    n->held++; /* it stays while it has no name */
    if (there)
        entry_drop(there);
    entry_drop(from);
    r = entry_add(dir, to, n);
    n->held--;
    return r;
}

static int do_rename(struct request *q)
{
    const struct fuse_rename2_in *in2 = q->arg;
    const struct fuse_rename_in *in = q->arg;
    bool two = q->h->opcode == FUSE_RENAME2;
    const char *name = two ? (const char *)(in2 + 1) : (const char *)(in + 1);

    return rename_to(q, node_of(in->newdir), name, name + strlen(name) + 1, two ? in2->flags : 0);
}

/* --- directories --- */

static size_t put_dirent(uint8_t *at, size_t room, bool plus, struct node *n, const char *name,
                         uint64_t cookie)
{
    size_t head = plus ? offsetof(struct fuse_direntplus, dirent) : 0, len = strlen(name);
    size_t need = FUSE_DIRENT_ALIGN(head + FUSE_NAME_OFFSET + len);
    struct fuse_dirent *d = (struct fuse_dirent *)(at + head);

    if (need > room)
        return 0;
    memset(at, 0, need);
    if (plus && cookie > 2)
        fill_entry(n, (struct fuse_entry_out *)at);
    d->ino = node_id(n);
    d->off = cookie;
    d->namelen = (uint32_t)len;
    d->type = (n->mode & S_IFMT) >> 12;
    memcpy(d->name, name, len);
    return need;
}

static int do_readdir(struct request *q)
{
    const struct fuse_read_in *in = q->arg;
    bool plus = q->h->opcode == FUSE_READDIRPLUS;
    size_t size = MIN_OF(in->size, MAX_WRITE), n = 1;
    struct node *dir = q->node;

    for (uint64_t i = in->offset; i < 2 && n; i++) {
        struct node *up = i && dir->parent ? dir->parent : dir;

        n = put_dirent(q->room + q->len, size - q->len, plus, up, i ? ".." : ".", i + 1);
        q->len += n;
    }
    for (struct entry *e = n ? dir_from(dir, in->offset) : NULL; e; e = e->next) {
        n = put_dirent(q->room + q->len, size - q->len, plus, e->node, e->name, e->cookie);
        if (!n)
            break;
        q->len += n;
        dir->cursor = e;
    }
    return 0;
}

/* --- attributes --- */

static void set_time(struct timespec *t, uint64_t sec, uint32_t nsec, bool now)
{
    if (now)
        clock_gettime(CLOCK_REALTIME, t);
    else
        *t = (struct timespec){.tv_sec = (time_t)sec, .tv_nsec = (long)nsec};
}

static int do_setattr(struct request *q)
{
    const struct fuse_setattr_in *in = q->arg;
    struct node *n = q->node;
    int r = in->valid & FATTR_SIZE ? node_resize(n, in->size) : 0;

    if (r < 0)
        return r;
    node_touch(n, (in->valid & FATTR_SIZE) != 0);
    if (in->valid & FATTR_MODE)
        n->mode = (n->mode & S_IFMT) | (in->mode & 07777);
    if (in->valid & FATTR_UID)
        n->uid = in->uid;
    if (in->valid & FATTR_GID)
        n->gid = in->gid;
    if (in->valid & FATTR_ATIME)
        set_time(&n->atime, in->atime, in->atimensec, (in->valid & FATTR_ATIME_NOW) != 0);
    if (in->valid & FATTR_MTIME)
        set_time(&n->mtime, in->mtime, in->mtimensec, (in->valid & FATTR_MTIME_NOW) != 0);
    return put_attr(q, n);
}

static int do_getxattr(struct request *q)
{
    const struct fuse_getxattr_in *in = q->arg;
    const struct xattr *x = *xattr_find(q->node, (const char *)(in + 1));

    if (!x)
        return -ENODATA;
    if (in->size > 0 && in->size < x->len)
        return -ERANGE;
    if (in->size == 0) {
        *(struct fuse_getxattr_out *)q->room = (struct fuse_getxattr_out){.size = (uint32_t)x->len};
        q->len = sizeof(struct fuse_getxattr_out);
        return 0;
    }
    memcpy(q->room, x->value, x->len);
    q->len = x->len;
    return 0;
}

static int do_listxattr(struct request *q)
{
    const struct fuse_getxattr_in *in = q->arg;
    uint8_t names[65536];
    size_t len = 0;

    for (const struct xattr *x = q->node->xattrs; x; x = x->next) {
        size_t n = strlen(x->name) + 1;

        if (len + n > sizeof(names))
            return -E2BIG;
        memcpy(names + len, x->name, n);
        len += n;
    }
    if (in->size > 0 && in->size < len)
        return -ERANGE;
    if (in->size == 0) {
        *(struct fuse_getxattr_out *)q->room = (struct fuse_getxattr_out){.size = (uint32_t)len};
        q->len = sizeof(struct fuse_getxattr_out);
        return 0;
    }
    memcpy(q->room, names, len);
    q->len = len;
    return 0;
}

static int do_removexattr(struct request *q)
{
    struct xattr **at = xattr_find(q->node, q->arg), *x = *at;

    if (!x)
        return -ENODATA;
    *at = x->next;
    free(x->name);
    free(x);
    return 0;
}

static int do_setxattr(struct request *q)
{
    const struct fuse_setxattr_in *in = q->arg;
    const char *name = (const char *)(in + 1);
    struct xattr **at = xattr_find(q->node, name), *x = *at;

    if ((in->flags == 1 && x) || (in->flags == 2 && !x)) /* XATTR_CREATE, XATTR_REPLACE */
        return x ? -EEXIST : -ENODATA;
    if (x) {
        *at = x->next;
        free(x->name);
        free(x);
    }
    x = malloc(sizeof(*x) + in->size);
    if (!x || !(x->name = strdup(name))) {
        free(x);
        return -ENOMEM;
    }
    x->len = in->size;
    memcpy(x->value, name + strlen(name) + 1, in->size);
    x->next = q->node->xattrs;
    q->node->xattrs = x;
    node_touch(q->node, false);
    return 0;
}

/* --- bytes --- */

static int do_read(struct request *q)
{
    const struct fuse_read_in *in = q->arg;
    struct node *n = q->node;

    if (in->offset >= n->size)
        return 0;
    q->len = MIN_OF((uint64_t)in->size, n->size - in->offset);
    q->ref = n->data + in->offset;
    return 0;
}

static int do_write(struct request *q)
{
    const struct fuse_write_in *in = q->arg;
    struct node *n = q->node;
    uint64_t end = in->offset + in->size;
    int r = end > n->size ? node_resize(n, end) : 0;

    if (r < 0)
        return r;
    memcpy(n->data + in->offset, in + 1, in->size);
    node_touch(n, true);
    *(struct fuse_write_out *)q->room = (struct fuse_write_out){.size = in->size};
    q->len = sizeof(struct fuse_write_out);
    return 0;
}

static int do_fallocate(struct request *q)
{
    const struct fuse_fallocate_in *in = q->arg;
    uint64_t end = in->offset + in->length;

    if (in->mode & 2) { /* punched */
        if (in->offset < q->node->size)
            memset(q->node->data + in->offset, 0, MIN_OF(end, q->node->size) - in->offset);
        return 0;
    }
    return !(in->mode & 1) && end > q->node->size ? node_resize(q->node, end) : 0;
}

static int do_statfs(struct request *q)
{
    struct fuse_statfs_out *s = (struct fuse_statfs_out *)q->room;

    *s = (struct fuse_statfs_out){.st = {.blocks = 1u << 24,
                                         .bfree = 1u << 23,
                                         .bavail = 1u << 23,
                                         .bsize = 4096,
                                         .namelen = 255,
                                         .frsize = 4096}};
    q->len = sizeof(*s);
    return 0;
}

/* --- the connection --- */

static int do_init(struct request *q)
{
    const struct fuse_init_in *in = q->arg;
    uint64_t offered = in->flags | (in->flags & 1u << 30 ? (uint64_t)in->flags2 << 32 : 0);
    struct fuse_init_out *o = (struct fuse_init_out *)q->room;

    *o = (struct fuse_init_out){.major = 7,
                                .minor = MIN_OF(in->minor, (uint32_t)FUSE_KERNEL_MINOR_VERSION),
                                .max_readahead = in->max_readahead,
                                .flags = (uint32_t)(offered & FLAGS),
                                .flags2 = (uint32_t)((offered & FLAGS) >> 32),
                                .max_background = BACKGROUND,
                                .congestion_threshold = BACKGROUND * 3 / 4,
                                .max_write = MAX_WRITE,
                                .max_pages = MAX_WRITE / 4096,
                                .time_gran = 1};
    q->len = sizeof(*o);
    return 0;
}

static int do_forget(struct request *q)
{
    node_forget(q->node, ((const struct fuse_forget_in *)q->arg)->nlookup);
    return 0;
}

static int do_batch_forget(struct request *q)
{
    const struct fuse_batch_forget_in *in = q->arg;
    const struct fuse_forget_one *one = (const struct fuse_forget_one *)(in + 1);

    for (uint32_t i = 0; i < in->count; i++)
        node_forget(node_of(one[i].nodeid), one[i].nlookup);
    return 0;
}

static int do_getattr(struct request *q)
{
    return put_attr(q, q->node);
}

static int do_readlink(struct request *q)
{
    q->ref = q->node->data;
    q->len = q->node->size;
    return 0;
}

static int do_nothing(struct request *q)
{
    (void)q;
    return 0;
}

typedef int do_fn(struct request *q);

static do_fn *const table[CODES] = {
    [FUSE_INIT] = do_init,           [FUSE_LOOKUP] = do_lookup,
    [FUSE_FORGET] = do_forget,       [FUSE_BATCH_FORGET] = do_batch_forget,
    [FUSE_GETATTR] = do_getattr,     [FUSE_SETATTR] = do_setattr,
    [FUSE_READLINK] = do_readlink,   [FUSE_SYMLINK] = do_symlink,
    [FUSE_MKNOD] = do_mknod,         [FUSE_MKDIR] = do_mkdir,
    [FUSE_CREATE] = do_create,       [FUSE_LINK] = do_link,
    [FUSE_UNLINK] = do_unlink,       [FUSE_RMDIR] = do_unlink,
    [FUSE_RENAME] = do_rename,       [FUSE_RENAME2] = do_rename,
    [FUSE_READ] = do_read,           [FUSE_WRITE] = do_write,
    [FUSE_FALLOCATE] = do_fallocate, [FUSE_STATFS] = do_statfs,
    [FUSE_FSYNC] = do_nothing,       [FUSE_FSYNCDIR] = do_nothing,
    [FUSE_RELEASE] = do_nothing,     [FUSE_RELEASEDIR] = do_nothing,
    [FUSE_SETXATTR] = do_setxattr,   [FUSE_GETXATTR] = do_getxattr,
    [FUSE_LISTXATTR] = do_listxattr, [FUSE_REMOVEXATTR] = do_removexattr,
    [FUSE_READDIR] = do_readdir,     [FUSE_READDIRPLUS] = do_readdir,
};

static void serve(const uint8_t *in, uint8_t *room)
{
    const struct fuse_in_header *h = (const struct fuse_in_header *)in;
    struct request q = {.h = h, .arg = h + 1, .room = room};
    struct fuse_out_header out = {.unique = h->unique};
    struct iovec iov[2];
    do_fn *fn = h->opcode < CODES ? table[h->opcode] : NULL;

    pthread_mutex_lock(&lock);
    if (h->opcode < CODES)
        counts[h->opcode]++;
    q.node = h->nodeid ? node_of(h->nodeid) : NULL;
    out.error = fn ? fn(&q) : -ENOSYS; /* OPEN, OPENDIR, FLUSH, ACCESS: the kernel never asks again */
    out.len = (uint32_t)(sizeof(out) + (out.error ? 0 : q.len));
    iov[0] = (struct iovec){&out, sizeof(out)};
    iov[1] = (struct iovec){(void *)(uintptr_t)(q.ref ? q.ref : room), out.len - sizeof(out)};
    if (!q.ref)
        pthread_mutex_unlock(&lock);
    if (h->opcode != FUSE_FORGET && h->opcode != FUSE_BATCH_FORGET && h->opcode != FUSE_INTERRUPT &&
        writev(device, iov, 2) < 0 && errno != ENOENT)
        perror("floor: writev");
    if (q.ref) /* the bytes are the tree's own */
        pthread_mutex_unlock(&lock);
}

static void *reader(void *arg)
{
    uint8_t *in = malloc(BUFFER), *room = malloc(BUFFER);

    (void)arg;
    if (!in || !room)
        abort();
    for (;;) {
        ssize_t n = read(device, in, BUFFER);

        if (n >= (ssize_t)sizeof(struct fuse_in_header))
            serve(in, room);
        else if (n >= 0 || (errno != EINTR && errno != EAGAIN && errno != ENOENT))
            break;
    }
    free(in);
    free(room);
    return NULL;
}

static int counts_map(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    if (fd < 0 || ftruncate(fd, sizeof(own_counts)) < 0)
        return -1;
    counts = mmap(NULL, sizeof(own_counts), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return counts == MAP_FAILED ? -1 : 0;
}

/* As varve's mount_tune(). */
static void tune(const char *dir)
{
    char path[64];
    struct stat st;
    FILE *f;

    if (stat(dir, &st) < 0)
        return;
    snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", (unsigned)(st.st_dev >> 8 & 0xfff),
             (unsigned)(st.st_dev & 0xff));
    f = fopen(path, "we");
    if (!f)
        return;
    fputs("1024\n", f);
    fclose(f);
}

static void *tune_main(void *arg)
{
    tune(arg);
    return NULL;
}

int floor_main(int argc, char **argv)
{
    pthread_t t[READERS + 1];
    char data[128];

    if ((argc != 2 && argc != 4) ||
        (argc == 4 && (strcmp(argv[2], "--counts") != 0 || counts_map(argv[3]) < 0))) {
        fprintf(stderr, "usage: bench floor DIR [--counts FILE]\n");
        return 2;
    }
    floor_root.mode = S_IFDIR | 0755;
    floor_root.nlink = 2;
    node_touch(&floor_root, true);
    device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    snprintf(data, sizeof(data), "fd=%d,rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other",
             device);
    if (device < 0 || mount("floor", argv[1], "fuse.varve-floor", 0, data) < 0) {
        perror(argv[1]);
        return 1;
    }
    for (unsigned i = 0; i <= READERS; i++)
        if (pthread_create(&t[i], NULL, i < READERS ? reader : tune_main, argv[1]) != 0)
            abort();
    for (unsigned i = 0; i <= READERS; i++)
        pthread_join(t[i], NULL);
    return 0;
}
