/* librados.so.2 for tests: what stands in for it in the tests of RADOS (tests/tier/rados_fake.h), with one pool for several processes: the file
 * $VARVE_RADOS_POOL. Who connects has a keyring with the key $VARVE_RADOS_KEY. */
#include <fcntl.h>
#include <stdarg.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/tier/rados_fake.c"
#include "tests/tier/rados_fake_lib.c"

#define RADOS_FN(result_, name_, arguments_)                                                                 \
    result_ rados_##name_ arguments_ __attribute__((visibility("default"), alias("f_" #name_)));
#include "tier/rados_lib.def"
#undef RADOS_FN

void test_fail(const char *file, int line, const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "%s:%d: ", file, line);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    abort();
}

/* --- the pool's file: its locks, then its objects ---------------------------------------------------------------------------- */

static int pool = -1; /* guarded by the cluster's lock */

static bool take(const struct buf *b, size_t *at, void *to, size_t len)
{
    if (*at == b->len)
        return false;
    CHECK(len <= b->len - *at);
    memcpy(to, b->data + *at, len);
    *at += len;
    return true;
}

static void read_all(struct buf *b)
{
    struct stat st;

    CHECK(fstat(pool, &st) == 0);
    CHECK_OK(buf_reserve(b, (size_t)st.st_size));
    CHECK(pread(pool, b->data, (size_t)st.st_size, 0) == st.st_size);
    b->len = (size_t)st.st_size;
}

static void pool_enter(struct fake *f)
{
    cleanup(buf_free) struct buf all = {0};
    struct object head, **to = &f->objects;
    size_t at = 0;

    pool = open(getenv("VARVE_RADOS_POOL"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK(pool >= 0 && flock(pool, LOCK_EX) == 0);
    while (f->objects)
        drop(&f->objects);
    read_all(&all);
    if (take(&all, &at, f->locks, sizeof(f->locks)))
        take(&all, &at, &f->nlocks, sizeof(f->nlocks));
    while (take(&all, &at, &head, sizeof(head))) { /* in the same order */
        struct object *o = calloc(1, sizeof(*o));

        CHECK(o != NULL);
        *o = head;
        o->next = NULL;
        o->bytes = (struct buf){0};
        CHECK_OK(buf_add(&o->bytes, all.data + at, head.bytes.len));
        at += head.bytes.len;
        *to = o;
        to = &o->next;
    }
}

static void pool_leave(struct fake *f, bool wrote)
{
    cleanup(buf_free) struct buf all = {0};

    if (wrote) {
        CHECK_OK(buf_add(&all, f->locks, sizeof(f->locks)));
        CHECK_OK(buf_add(&all, &f->nlocks, sizeof(f->nlocks)));
        for (const struct object *o = f->objects; o; o = o->next) {
            CHECK_OK(buf_add(&all, o, sizeof(*o)));
            CHECK_OK(buf_add(&all, o->bytes.data, o->bytes.len));
        }
        CHECK(ftruncate(pool, 0) == 0 && pwrite(pool, all.data, all.len, 0) == (ssize_t)all.len);
    }
    close(pool);
}

/* --- who connects --------------------------------------------------------------------------------------------------------------- */

static int keyring_look(const char *path)
{
    char text[1024] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return ENOENT;
    if (read(fd, text, sizeof(text) - 1) < 0)
        text[0] = 0;
    close(fd);
    return strstr(text, getenv("VARVE_RADOS_KEY")) ? 0 : EACCES;
}

__attribute__((constructor)) static void begin(void)
{
    next_cluster = fake_new();
    next_cluster->refuse = ENOENT; /* no key */
    next_cluster->enter = pool_enter;
    next_cluster->leave = pool_leave;
    next_cluster->keyring = keyring_look;
}
