#include "tests/crash/crash.h"

#include <ftw.h>
#include <unistd.h>

#include "base/hash.h"
#include "snap/store/journal.h"

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

void c_remove(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* An empty run of a lying disk knows what is there, holes too. */
void c_copy(struct c_run *c, const char *from, const char *to)
{
    struct lying *d = NULL;
    int r = lying_new(from, &d);

    if (r == 0)
        r = lying_crash(d, 1, LYING_ALL, to);
    lying_free(d);
    WANT(c, r == 0, "copy of %s: %s", from, err_name(r));
}

void c_new_boot(struct c_run *c)
{
    hash_random(c->boot, sizeof(c->boot));
    journal_test_boot_id(c->boot);
}

int c_open(struct c_run *c, struct io *io, const char *path)
{
    char why[256] = "";
    int r = store_open(io, path, &c->set, 0, &c->s, why);

    if (r == 0)
        r = snap_attach(c->s);
    if (r == 0)
        r = volume_find(c->s, "main", &c->v);
    if (r < 0 && c->trace)
        printf("      open: %s: %s\n", err_name(r), why);
    return r;
}

void c_start(struct c_run *c, const char *from)
{
    snprintf(c->work, sizeof(c->work), "%s/work", c->dir);
    c_remove(c->work);
    c_copy(c, from, c->work);
    WANT(c, lying_new(c->work, &c->disk) == 0, "lying disk for %s", c->work);
    c_new_boot(c);
    if (c->trace)
        lying_trace(c->disk, &c->disk_trace);
}

void c_stop(struct c_run *c)
{
    if (c->s)
        store_drop(TAKE(c->s));
    c->v = NULL;
    lying_free(TAKE(c->disk));
    if (c->work[0])
        c_remove(c->work);
}
