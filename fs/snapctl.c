#include "fs/snapctl.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "fs/ctl.h"
#include "fs/ctl_text.h"

#define BUCKETS 256u
#define CONTROL_INO 1u
#define PATH_SIZE (3 * NAME_LEN_MAX)

struct node {
    struct node *next;          /* of the bucket */
    struct node *older, *newer; /* all, by age */
    uint64_t ino, lookups;
    uint64_t generation; /* what had this number before is another one */
    char *path;          /* below .control */
    struct buf text;
    uint64_t size;
    int64_t made_ns;
    uint32_t mode;
    bool written; /* its text is no longer what a reader should get */
    bool lost;    /* the text went, others needed the room */
};

struct snapctl {
    struct ctl *ctl;
    pthread_mutex_t lock; /* guards what follows */
    struct node *buckets[BUCKETS];
    struct node *oldest, *newest;
    uint64_t made, text_bytes; /* nodes made so far */
    unsigned nodes;            /* that are there */
    uint64_t incarnation;      /* of the store: one for each daemon */
    int64_t made_ns;
};

/* --- the nodes ------------------------------------------------------------------------------------------------------------- */

static struct node *find_locked(struct snapctl *sc, fuse_ino_t id)
{
    uint64_t ino = vfs_node_ino((vfs_node){id});
    struct node *n = sc->buckets[ino % BUCKETS];

    while (n && n->ino != ino)
        n = n->next;
    return n;
}

static struct node *find_path_locked(struct snapctl *sc, const char *path)
{
    struct node *n = sc->newest;

    while (n && strcmp(n->path, path) != 0)
        n = n->older;
    return n;
}

static void lose_text_locked(struct snapctl *sc, struct node *n)
{
    sc->text_bytes -= n->text.cap;
    buf_free(&n->text);
    n->lost = true;
}

static void remove_locked(struct snapctl *sc, struct node *n)
{
    struct node **at = &sc->buckets[n->ino % BUCKETS];

    while (*at != n)
        at = &(*at)->next;
    *at = n->next;
    *(n->older ? &n->older->newer : &sc->oldest) = n->newer;
    *(n->newer ? &n->newer->older : &sc->newest) = n->older;
    sc->text_bytes -= n->text.cap;
    sc->nodes--;
    buf_free(&n->text);
    free(n->path);
    free(n);
}

/* Numbers of nodes: daemon (16 bits), count (16), file (8: 0 none, else 1 + 2 * index + json). The next daemon gives others, and
 * knows by the last part what the kernel still has of this one. */
#define CODE_BITS 8
#define COUNT_BITS 16

static uint64_t code_of(const char *path)
{
    size_t count, len = strlen(path);
    const struct ctl_file *f = ctl_files(&count);
    bool json = len > 5 && strcmp(path + len - 5, ".json") == 0;

    len -= json ? 5 : 0;
    for (size_t i = 0; i < count; i++)
        if (strlen(f[i].name) == len && memcmp(f[i].name, path, len) == 0)
            return 1 + 2 * i + json;
    return 0;
}

static uint64_t new_ino_locked(struct snapctl *sc, const char *path)
{
    uint64_t ino;

    do
        ino = ((sc->incarnation & 0xffff) << COUNT_BITS | (++sc->made & 0xffff)) << CODE_BITS | code_of(path);
    while (ino == CONTROL_INO || find_locked(sc, ino));
    return ino;
}

/* The kernel forgets what was looked up when it wants the memory: files of any number of events may be there until then, and there are
 * fewer numbers. Directories stay, there is one. */
static void bound_nodes_locked(struct snapctl *sc)
{
    struct node *n = sc->oldest;

    if (sc->nodes <= SNAPCTL_NODES_MAX)
        return;
    while (n != sc->newest && S_ISDIR(n->mode))
        n = n->newer;
    if (n != sc->newest)
        remove_locked(sc, n);
}

/* Takes text. */
static int add_locked(struct snapctl *sc, const char *path, uint64_t ino, uint32_t mode, struct buf *text,
                      struct node **ret)
{
    struct node *n = calloc(1, sizeof(*n));

    if (n)
        n->path = strdup(path);
    if (!n || !n->path) {
        free(n);
        return -E_NOMEM;
    }
    n->ino = ino;
    n->generation = 1 + (sc->made >> COUNT_BITS);
    n->mode = mode;
    n->text = *text;
    *text = (struct buf){0};
    n->size = n->text.len;
    n->made_ns = clock_wall_ns();
    n->next = sc->buckets[n->ino % BUCKETS];
    sc->buckets[n->ino % BUCKETS] = n;
    n->older = sc->newest;
    *(sc->newest ? &sc->newest->newer : &sc->oldest) = n;
    sc->newest = n;
    sc->text_bytes += n->text.cap;
    sc->nodes++;
    bound_nodes_locked(sc);
    for (struct node *o = sc->oldest; o != n && sc->text_bytes > SNAPCTL_TEXT_MAX; o = o->newer)
        lose_text_locked(sc, o);
    *ret = n;
    return 0;
}

/* A node that the kernel has from a daemon before this one: with the text as it is now. */
static void revive(struct snapctl *sc, fuse_ino_t id)
{
    uint64_t ino = vfs_node_ino((vfs_node){id}), code = ino & ((1u << CODE_BITS) - 1);
    cleanup(buf_free) struct buf text = {0};
    char path[NAME_LEN_MAX];
    struct ctl_node cn;
    struct node *n;
    size_t count;
    const struct ctl_file *f = ctl_files(&count);
    bool known;

    pthread_mutex_lock(&sc->lock);
    known = find_locked(sc, id) || ino >> (CODE_BITS + COUNT_BITS) == (sc->incarnation & 0xffff);
    pthread_mutex_unlock(&sc->lock);
    if (known || ino == CONTROL_INO || code == 0 || (code - 1) / 2 >= count)
        return;
    snprintf(path, sizeof(path), "%s%s", f[(code - 1) / 2].name, code % 2 ? "" : ".json");
    if (ctl_lookup(sc->ctl, path, &cn) < 0 || (!S_ISDIR(cn.mode) && ctl_read(sc->ctl, path, &text) < 0))
        return;
    pthread_mutex_lock(&sc->lock);
    if (!find_locked(sc, id))
        add_locked(sc, path, ino, cn.mode, &text, &n);
    pthread_mutex_unlock(&sc->lock);
}

/* --- attributes ------------------------------------------------------------------------------------------------------------- */

static fuse_ino_t node_id(uint64_t ino)
{
    return vfs_node_make(NODE_VIEW_CONTROL, ino).v;
}

static void fill(const struct snapctl_owner *own, uint64_t ino, uint32_t mode, uint64_t size, int64_t ns,
                 struct stat *ret)
{
    struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};

    if (own->group_writes && (mode & 0200))
        mode |= 0020;
    *ret = (struct stat){.st_ino = node_id(ino),
                         .st_mode = mode,
                         .st_nlink = S_ISDIR(mode) ? 2 : 1,
                         .st_uid = own->uid,
                         .st_gid = own->gid,
                         .st_size = (off_t)size,
                         .st_blksize = 4096,
                         .st_blocks = (blkcnt_t)((size + 511) / 512),
                         .st_atim = t,
                         .st_mtim = t,
                         .st_ctim = t};
}

static int entry_of_root(struct snapctl *sc, const struct snapctl_owner *own, struct fuse_entry_param *ret)
{
    struct ctl_node cn;
    int r = ctl_lookup(sc->ctl, "", &cn);

    if (r < 0)
        return r;
    *ret =
        (struct fuse_entry_param){.ino = node_id(CONTROL_INO), .generation = 1, .entry_timeout = OP_FOREVER};
    fill(own, CONTROL_INO, cn.mode, 0, sc->made_ns, &ret->attr);
    return 0;
}

/* Path below .control of a name in the directory. -E_STALE: the directory is not known. */
static int path_of(struct snapctl *sc, fuse_ino_t dir, const char *name, char ret[PATH_SIZE])
{
    struct node *n = NULL;
    int len;

    if (vfs_node_ino((vfs_node){dir}) != CONTROL_INO) {
        revive(sc, dir);
        pthread_mutex_lock(&sc->lock);
        n = find_locked(sc, dir);
        len = n ? snprintf(ret, PATH_SIZE, "%s%s%s", n->path, *name ? "/" : "", name) : -1;
        pthread_mutex_unlock(&sc->lock);
        if (len < 0)
            return -E_STALE;
    } else {
        len = snprintf(ret, PATH_SIZE, "%s", name);
    }
    return len < PATH_SIZE ? 0 : -E_NAMETOOLONG;
}

static bool is_same(const struct node *n, const struct buf *text)
{
    return S_ISDIR(n->mode) || (!n->written && !n->lost && n->text.len == text->len &&
                                (text->len == 0 || memcmp(n->text.data, text->data, text->len) == 0));
}

int snapctl_lookup(struct snapctl *sc, const struct snapctl_owner *own, fuse_ino_t dir, const char *name,
                   struct fuse_entry_param *ret)
{
    cleanup(buf_free) struct buf text = {0};
    char path[PATH_SIZE];
    struct ctl_node cn;
    struct node *n;
    int r;

    if (!name)
        return entry_of_root(sc, own, ret);
    r = path_of(sc, dir, name, path);
    if (r < 0 || (r = ctl_lookup(sc->ctl, path, &cn)) < 0)
        return r;
    if (!S_ISDIR(cn.mode) && (r = ctl_read(sc->ctl, path, &text)) < 0)
        return r;
    pthread_mutex_lock(&sc->lock);
    n = find_path_locked(sc, path);
    if (!n || !is_same(n, &text))
        r = add_locked(sc, path, new_ino_locked(sc, path), cn.mode, &text, &n);
    if (r == 0) {
        n->lookups++;
        *ret = (struct fuse_entry_param){.ino = node_id(n->ino), .generation = n->generation};
        fill(own, n->ino, n->mode, n->size, n->made_ns, &ret->attr);
    }
    pthread_mutex_unlock(&sc->lock);
    return r;
}

int snapctl_getattr(struct snapctl *sc, const struct snapctl_owner *own, fuse_ino_t ino, struct stat *ret)
{
    struct fuse_entry_param e;
    struct node *n;
    int r = 0;

    if (vfs_node_ino((vfs_node){ino}) == CONTROL_INO) {
        r = entry_of_root(sc, own, &e);
        if (r == 0)
            *ret = e.attr;
        return r;
    }
    revive(sc, ino);
    pthread_mutex_lock(&sc->lock);
    n = find_locked(sc, ino);
    if (n)
        fill(own, n->ino, n->mode, n->size, n->made_ns, ret);
    else
        r = -E_STALE;
    pthread_mutex_unlock(&sc->lock);
    return r;
}

/* What `>` does before it writes: takes the text away. */
int snapctl_truncate(struct snapctl *sc, fuse_ino_t ino, uint64_t size)
{
    struct node *n;
    int r = 0;

    revive(sc, ino);
    pthread_mutex_lock(&sc->lock);
    n = find_locked(sc, ino);
    if (!n) {
        r = -E_STALE;
    } else if (S_ISDIR(n->mode)) {
        r = -E_ISDIR;
    } else {
        n->size = size;
        n->written = true;
    }
    pthread_mutex_unlock(&sc->lock);
    return r;
}

void snapctl_forget(struct snapctl *sc, fuse_ino_t ino, uint64_t count)
{
    struct node *n;

    pthread_mutex_lock(&sc->lock);
    n = find_locked(sc, ino);
    if (n) {
        n->lookups -= MIN_OF(count, n->lookups);
        if (n->lookups == 0)
            remove_locked(sc, n);
    }
    pthread_mutex_unlock(&sc->lock);
}

/* --- reading and writing -------------------------------------------------------------------------------------------------------- */

struct lister {
    uint64_t off, at;
    int (*cb)(void *arg, const struct vfs_dirent *d);
    void *arg;
};

static int list_one(void *arg, const char *name, const struct ctl_node *cn)
{
    struct lister *l = arg;
    struct vfs_dirent d = {.name = name, .name_len = strlen(name), .cookie = ++l->at};

    if (!cn->listed || l->at <= l->off)
        return 0;
    d.type = cn->mode & S_IFMT;
    d.ino = node_id(1000 + l->at);
    return l->cb(l->arg, &d);
}

int snapctl_readdir(struct snapctl *sc, fuse_ino_t dir, uint64_t off,
                    int (*cb)(void *arg, const struct vfs_dirent *d), void *arg)
{
    struct lister l = {.off = off, .cb = cb, .arg = arg};
    struct vfs_dirent dots = {.name = "..", .type = S_IFDIR, .ino = dir};
    char path[PATH_SIZE];
    int r = path_of(sc, dir, "", path);

    if (r < 0)
        return r;
    for (l.at = 0; l.at < 2; l.at++) {
        dots.name_len = l.at + 1;
        dots.cookie = l.at + 1;
        if (l.at >= off && cb(arg, &dots) != 0)
            return 0;
    }
    r = ctl_list(sc->ctl, path, list_one, &l);
    return r < 0 ? r : 0;
}

int snapctl_read(struct snapctl *sc, fuse_ino_t ino, void *p, size_t len, uint64_t off, size_t *ret_len)
{
    struct node *n;
    int r = 0;

    revive(sc, ino);
    pthread_mutex_lock(&sc->lock);
    n = find_locked(sc, ino);
    if (!n || n->lost) {
        r = -E_STALE;
    } else {
        size_t have = off < n->text.len ? n->text.len - (size_t)off : 0;

        *ret_len = MIN_OF(len, have);
        if (*ret_len > 0)
            memcpy(p, n->text.data + off, *ret_len);
    }
    pthread_mutex_unlock(&sc->lock);
    return r;
}

int snapctl_write(struct snapctl *sc, const struct vfs_ctx *c, uint32_t pid, fuse_ino_t ino, const void *p,
                  size_t len, uint64_t off)
{
    char path[PATH_SIZE];
    struct node *n;
    int r = path_of(sc, ino, "", path);

    if (r < 0)
        return r;
    r = ctl_write(sc->ctl, c->uid, c->gid, pid, path, p, len);
    pthread_mutex_lock(&sc->lock);
    n = find_locked(sc, ino);
    if (n) {
        n->written = true;
        n->size = MAX_OF(n->size, off + len);
    }
    pthread_mutex_unlock(&sc->lock);
    return r;
}

int snapctl_refused(struct snapctl *sc, const struct vfs_ctx *c, const char *what, const char *name, int r)
{
    cleanup(buf_free) struct buf line = {0}, err = {0};

    if (r >= 0 || !snapctl_is_there(sc))
        return r;
    verb_snap_complain(r, name, &err);
    if (buf_printf(&line, "%s %s", what, name) == 0 && buf_cstr(&line))
        ctl_refused(sc->ctl, c->uid, "snapshots", buf_cstr(&line), r, &err);
    return r;
}

/* --- life --------------------------------------------------------------------------------------------------------------------- */

bool snapctl_is_there(const struct snapctl *sc)
{
    return ctl_role(sc->ctl) != ROLE_NONE;
}

static enum verb_role role_of(const struct mount_opts *o)
{
    static const enum verb_role roles[] = {[CONTROL_ADMIN] = ROLE_ADMIN,
                                           [CONTROL_SNAPSHOT] = ROLE_SNAPSHOT,
                                           [CONTROL_READ] = ROLE_READ,
                                           [CONTROL_NONE] = ROLE_NONE};

    return roles[o->control];
}

int snapctl_new(struct session *ss, struct snapctl **ret)
{
    struct snapctl *sc = calloc(1, sizeof(*sc));
    struct store_state st;
    int r;

    if (!sc)
        return -E_NOMEM;
    r = ctl_new(ss->env, ss->vol, ss->snap ? ROLE_NONE : role_of(&ss->opts), &sc->ctl);
    if (r < 0) {
        free(sc);
        return r;
    }
    pthread_mutex_init(&sc->lock, NULL);
    store_get_state(ss->env->store, &st);
    sc->incarnation = st.incarnation;
    sc->made_ns = clock_wall_ns();
    *ret = sc;
    return 0;
}

void snapctl_free(struct snapctl *sc)
{
    if (!sc)
        return;
    while (sc->oldest)
        remove_locked(sc, sc->oldest);
    ctl_free(sc->ctl);
    pthread_mutex_destroy(&sc->lock);
    free(sc);
}
