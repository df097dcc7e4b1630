#include "tests/crash/crash.h"

#include "snap/store/journal.h"
#include "tests/lib/seeded.h"

static const char *const names[VOLS] = {"main", "other"};

void c_new_boot(struct c_run *c)
{
    for (size_t i = 0; i < sizeof(c->boot); i++)
        c->boot[i] = (uint8_t)c_rand(c, 256);
    journal_test_boot_id(c->boot);
}

static void path_of(const struct c_run *c, char path[256])
{
    snprintf(path, 256, "%s/store", lying_root(c->disk));
}

int c_open(struct c_run *c)
{
    char why[256] = "", path[256];
    int r;

    path_of(c, path);
    r = store_open(lying_io(c->disk), path, &c->set, 0, &c->s, why);
    if (r == 0)
        r = snap_attach(c->s);
    for (unsigned i = 0; i < VOLS && r == 0; i++)
        r = volume_find(c->s, names[i], &c->vol[i]);
    if (r < 0 && c->trace)
        printf("      open: %s: %s\n", err_name(r), why);
    return r;
}

void c_start(struct c_run *c, struct lying_shot *shot)
{
    assert(!c->disk);
    c->disk = lying_ram(shot);
    seeded_begin(++c->starts * 1000003 + c->seed);
    c_new_boot(c);
    if (c->trace)
        lying_trace(c->disk, &c->disk_trace);
}

void c_stop(struct c_run *c)
{
    if (c->s)
        store_drop(TAKE(c->s));
    memset(c->vol, 0, sizeof(c->vol));
    lying_free(TAKE(c->disk));
    lying_log_free(TAKE(c->log));
}

struct lying_shot *c_first_store(struct c_run *c)
{
    struct lying_shot *shot;
    char path[256];
    int r;

    c_start(c, NULL);
    path_of(c, path);
    r = store_create(lying_io(c->disk), path, &c->set);
    if (r == 0)
        r = store_open(lying_io(c->disk), path, &c->set, 0, &c->s, NULL);
    if (r == 0)
        r = snap_attach(c->s);
    for (unsigned i = 0; i < VOLS && r == 0; i++)
        r = volume_create(c->s, names[i], &(struct volume_opts){0}, &c->vol[i]);
    WANT(c, r == 0, "a new store: %s", err_name(r));
    for (unsigned i = 0; i < VOLS; i++)
        c->life.state[0][i] = c_read_tree(c, i, c->vol[i]->rec.live_view);
    c->life.flushed[0] = true;
    r = store_close(TAKE(c->s));
    WANT(c, r == 0, "close: %s", err_name(r));
    lying_settle(c->disk);
    shot = lying_shot(c->disk, 1, LYING_ALL);
    c_stop(c);
    return shot;
}
