/* Opening, and what memory of it is used: a directory is opened once in a process, and made anew where it is damaged. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mark.h"
#include "tier/have_i.h"

#define MAP_SIZE ((size_t)1 << 36)
#define AHEAD_LOOK                                                                                           \
    ((off_t)128                                                                                              \
     << 10) /* a look may wait for the disk once (0.1 to 0.2 ms), in which that reads so much in a row */

#define YOUNG_AHEAD ((off_t)32 << 20)
#define YOUNG_LET_GO_EACH 256u /* looks: side by side more often than not */

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct have *registry;

int have_from_mdb(int m)
{
    switch (m) {
    case MDB_SUCCESS: return 0;
    case MDB_NOTFOUND: return -E_NOENT;
    case MDB_MAP_FULL: return -E_MAPFULL;
    case MDB_PAGE_NOTFOUND:
    case MDB_CORRUPTED:
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
    case MDB_INCOMPATIBLE: /* from here on: what pages say cannot be */
    case MDB_PAGE_FULL:
    case MDB_CURSOR_FULL:
    case MDB_BAD_TXN:
    case MDB_BAD_VALSIZE: return -E_CORRUPT;
    default: return m > 0 ? err_from_errno(m) : -E_IO;
    }
}

struct have_path {
    char s[PATH_MAX + 16];
};

static struct have_path path_in(const struct have *h, const char *name)
{
    struct have_path p;

    snprintf(p.s, sizeof(p.s), "%s/%s", h->dir, name);
    return p;
}

static const char *const files[HAVE__N] = {"data.mdb", "young.mdb"};
static const char *const locks[HAVE__N] = {"lock.mdb", "young.mdb-lock"};

static int table_open(const struct have *h, enum have_which which, struct have_table *t)
{
    struct have_path path = path_in(h, which == HAVE_OLD ? "" : files[which]);
    unsigned flags = MDB_NOTLS | MDB_NORDAHEAD | (which == HAVE_OLD ? 0 : MDB_NOSUBDIR);
    MDB_txn *x;
    int m;

    if ((m = mdb_env_create(&t->env)) != 0)
        return have_from_mdb(m);
    mdb_env_set_mapsize(t->env, MAP_SIZE);
    if ((m = mdb_env_open(t->env, path.s, flags, 0600)) != 0 || (m = mdb_txn_begin(t->env, NULL, 0, &x)) != 0)
        return have_from_mdb(m);
    if ((m = mdb_dbi_open(x, NULL, 0, &t->dbi)) != 0) {
        mdb_txn_abort(x);
        return have_from_mdb(m);
    }
    (void)mdb_reader_check(t->env, NULL); /* of who was killed: they hold room */
    return have_from_mdb(mdb_txn_commit(x));
}

static int env_open(struct have *h)
{
    int r = 0;

    for (int i = 0; r == 0 && i < HAVE__N; i++)
        r = table_open(h, (enum have_which)i, &h->t[i]);
    return r;
}

static void env_close(struct have *h)
{
    for (int i = 0; i < HAVE__N; i++)
        if (h->t[i].env)
            mdb_env_close(TAKE(h->t[i].env));
}

static int forget_file(const struct have *h, const char *name)
{
    return unlink(path_in(h, name).s) < 0 && errno != ENOENT ? err_from_errno(errno) : 0;
}

/* Found while it was in use: whoever opens it next makes it anew, in this process too, though others here have it open still. */
int have_told(struct have *h, int r)
{
    int fd;

    if (r != -E_CORRUPT || atomic_load(&h->damaged))
        return r;
    if ((fd = open(path_in(h, "damaged").s, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)) < 0)
        return r;
    close(fd);
    atomic_store(&h->damaged, true);
    return r;
}

static bool was_told(const struct have *h)
{
    return access(path_in(h, "damaged").s, F_OK) == 0;
}

/* What somebody left half made who was killed, and what is damaged, goes: it is made again from the repository. */
static int env_anew(struct have *h)
{
    int r;

    env_close(h);
    log_warn("tier", "cache-damaged", "path=%s done=made-anew", h->dir);
    for (int i = 0; i < HAVE__N; i++)
        if ((r = forget_file(h, files[i])) < 0 || (r = forget_file(h, locks[i])) < 0)
            return r;
    if ((r = forget_file(h, "damaged")) < 0)
        return r;
    MARK("have: made anew");
    return env_open(h);
}

/* One process at a time, as others must not meet a file of the old ones beside one of the new. */
static int env_lock(const struct have *h)
{
    int fd = open(path_in(h, "open.lock").s, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return err_from_errno(errno);
    while (flock(fd, LOCK_EX) < 0)
        if (errno != EINTR) {
            int r = err_from_errno(errno);

            close(fd);
            return r;
        }
    return fd;
}

static int make_dirs(const char *path)
{
    char p[PATH_MAX];

    snprintf(p, sizeof(p), "%s", path);
    for (char *s = strchr(p + 1, '/');; s = strchr(s + 1, '/')) {
        if (s)
            *s = 0;
        if (mkdir(p, 0700) < 0 && errno != EEXIST)
            return err_from_errno(errno);
        if (!s)
            return 0;
        *s = '/';
    }
}

/* Of this program's version, and both of the same: then what left one is in the other. 1, 0. */
static int version_is(struct have_txn *w)
{
    uint8_t v[HAVE__N][HAVE_VERSION_VAL], room[HAVE_KEY_MAX];

    for (int i = 0; i < HAVE__N; i++) {
        MDB_val k = have_key(room, K_VERSION, "", 0), got;
        int m = mdb_get(w->t[i], w->h->t[i].dbi, &k, &got);

        if (m != 0 && m != MDB_NOTFOUND)
            return have_from_mdb(m);
        if (m == MDB_NOTFOUND || got.mv_size != HAVE_VERSION_VAL)
            return 0;
        memcpy(v[i], got.mv_data, HAVE_VERSION_VAL);
    }
    return v[HAVE_OLD][0] == HAVE_VERSION &&
           (memcmp(v[HAVE_OLD], v[HAVE_YOUNG], HAVE_VERSION_VAL) == 0 || BROKEN(VARVE_BREAK_have_pair));
}

int have_empty(struct have_txn *w)
{
    uint8_t v[HAVE_VERSION_VAL] = {HAVE_VERSION};
    int r = 0;

    hash_random(v + 1, HAVE_VERSION_VAL - 1);
    for (int i = 0; r == 0 && i < HAVE__N; i++) {
        r = have_from_mdb(mdb_drop(w->t[i], w->h->t[i].dbi, 0));
        if (r == 0)
            r = have_put(w, (enum have_which)i, K_VERSION, "", 0, v, sizeof(v));
    }
    return r;
}

static int check_version(struct have *h)
{
    struct have_txn w = {0};
    int r = have_begin(h, &w);

    if (r < 0)
        return r;
    r = version_is(&w);
    r = have_end(&w, r == 0 ? have_empty_but_pending(&w) : MIN_OF(r, 0));
    if (r != -E_REPO_NEWER)
        return r;
    r = have_begin(h, &w); /* pending ones of another version, in some other form */
    return r < 0 ? r : have_end(&w, have_empty(&w));
}

/* Where LMDB has mapped it: there it stays until it is closed. */
static void find_map(struct have_table *t)
{
    uint8_t key = K_VERSION;
    MDB_val k = {1, &key}, v;
    MDB_txn *x;

    if (mdb_txn_begin(t->env, NULL, MDB_RDONLY, &x) != 0)
        return;
    if (mdb_get(x, t->dbi, &k, &v) != 0 || !mapped_find(v.mv_data, &t->map))
        t->map.to = 0;
    mdb_txn_abort(x);
}

static off_t file_size(const struct have_table *t, int *ret_fd)
{
    struct stat st;

    return mdb_env_get_fd(t->env, ret_fd) == 0 && fstat(*ret_fd, &st) == 0 ? st.st_size : 0;
}

/* All of it will be looked into. */
static void young_ahead(const struct have *h)
{
    int fd = -1;
    off_t size = file_size(&h->t[HAVE_YOUNG], &fd);

    if (size > 0 && size <= YOUNG_AHEAD)
        (void)posix_fadvise(fd, 0, size, POSIX_FADV_WILLNEED);
}

void have_let_go(struct have *h)
{
    for (int i = 0; i < HAVE__N; i++)
        if (h->t[i].map.to && !BROKEN(VARVE_BREAK_have_let_go) && mapped_drop(&h->t[i].map))
            MARK("have: pages that were read are let go");
}

/* Keys are hashes, so each look reads a page anywhere: the more looks there were, the more of the file is asked for in a row. */
static void read_ahead(struct have *h, unsigned looks)
{
    off_t len = HAVE_LET_GO_EACH * AHEAD_LOOK, at = looks * AHEAD_LOOK - len;
    int fd;

    if (at >= file_size(&h->t[HAVE_OLD], &fd))
        return;
    if (posix_fadvise(fd, at, len, POSIX_FADV_WILLNEED) == 0)
        MARK("have: the file is read ahead");
}

void have_looked(struct have *h)
{
    unsigned looks = atomic_fetch_add(&h->looks, 1) + 1;

    if (looks % HAVE_LET_GO_EACH == 0) {
        have_let_go(h);
        read_ahead(h, looks);
    }
}

void have_young_looks(struct have *h)
{
    unsigned looks = atomic_fetch_add(&h->young_looks, 1);

    if (looks == 0)
        young_ahead(h);
    else if (looks % YOUNG_LET_GO_EACH == 0)
        have_let_go(h);
}

static void have_free(struct have *h)
{
    env_close(h);
    free(h);
}

static int open_or_make(struct have *h)
{
    cleanup(fd_close) int lock = env_lock(h);
    int r;

    if (lock < 0)
        return lock;
    if ((r = was_told(h) ? -E_CORRUPT : env_open(h)) == 0)
        r = check_version(h);
    if (r == -E_CORRUPT && !BROKEN(VARVE_BREAK_have_anew) && (r = env_anew(h)) == 0)
        r = check_version(h);
    return r;
}

static int have_new(const char *dir, struct have **ret)
{
    struct have *h = calloc(1, sizeof(*h));
    int r;

    if (!h)
        return -E_NOMEM;
    snprintf(h->dir, sizeof(h->dir), "%s", dir);
    r = make_dirs(dir);
    if (r == 0)
        r = open_or_make(h);
    if (r < 0) {
        have_free(h);
        return r;
    }
    for (int i = 0; i < HAVE__N; i++)
        find_map(&h->t[i]);
    h->users = 1;
    h->next = registry;
    registry = h;
    *ret = h;
    return 0;
}

static bool is_given_up(struct have *h)
{
    return atomic_load(&h->damaged) && !BROKEN(VARVE_BREAK_have_given_up);
}

int have_open(const char *dir, struct have **ret)
{
    struct have *h;
    int r = 0;

    if (strlen(dir) >= PATH_MAX)
        return -E_NAMETOOLONG;
    pthread_mutex_lock(&registry_lock);
    for (h = registry; h && (strcmp(h->dir, dir) != 0 || is_given_up(h)); h = h->next)
        ;
    if (h) {
        h->users++;
        *ret = h;
    } else {
        r = have_new(dir, ret);
    }
    pthread_mutex_unlock(&registry_lock);
    return r;
}

void have_close(struct have *h)
{
    struct have **at;

    if (!h)
        return;
    pthread_mutex_lock(&registry_lock);
    if (--h->users == 0) {
        for (at = &registry; *at != h; at = &(*at)->next)
            ;
        *at = h->next;
        have_free(h);
    }
    pthread_mutex_unlock(&registry_lock);
}
