#include "tests/fsx/fsx.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

static void snap_keep(struct fx *f, const char *name, const struct fx_file *files)
{
    struct fx_snap *sn = &f->snap[f->nsnaps++];

    snprintf(sn->name, sizeof(sn->name), "%s", name);
    for (unsigned i = 0; i < FILES; i++)
        fx_file_copy(&sn->file[i], &files[i]);
    f->snaps_most = MAX_OF(f->snaps_most, f->nsnaps);
}

static void snap_path(const struct fx *f, const char *name, char *out, size_t size)
{
    fx_path(f, ".snapshots", name, out, size);
}

void fx_snapshot(struct fx *f)
{
    char name[NAME_SIZE], path[1024];

    if (f->nsnaps + 2 > SNAPS_MAX)
        return fx_do(f, FX_snapdel);
    snprintf(name, sizeof(name), "s%llu", (unsigned long long)++f->next_name);
    snap_path(f, name, path, sizeof(path));
    fx_log(f, "snapshot %s", name);
    WANT(f, mkdir(path, 0755) == 0, "mkdir %s: %s", path, strerror(errno));
    snap_keep(f, name, f->file);
}

void fx_snapdel(struct fx *f)
{
    char path[1024];
    struct fx_snap *sn;
    struct stat st;

    if (f->nsnaps <= SNAPS_WANTED)
        return fx_do(f, FX_snapshot);
    sn = &f->snap[fx_rand(f, f->nsnaps)];
    snap_path(f, sn->name, path, sizeof(path));
    fx_log(f, "snapdel %s", sn->name);
    WANT(f, rmdir(path) == 0, "rmdir %s: %s", path, strerror(errno));
    WANT(f, stat(path, &st) < 0 && errno == ENOENT, "%s is still there", path);
    for (unsigned i = 0; i < FILES; i++)
        fx_file_free(&sn->file[i]);
    *sn = f->snap[--f->nsnaps];
    memset(&f->snap[f->nsnaps], 0, sizeof(*sn));
}

/* The name under which a rollback kept what was before: the one that we do not know. */
static void adopt_kept(struct fx *f, const struct fx_file *files)
{
    char path[1024], kept[NAME_SIZE] = "";
    struct dirent *e;
    DIR *d;

    fx_path(f, "", ".snapshots", path, sizeof(path));
    d = opendir(path);
    WANT(f, d, "opendir %s: %s", path, strerror(errno));
    while ((e = readdir(d))) {
        bool known = e->d_name[0] == '.';

        for (size_t i = 0; i < f->nsnaps && !known; i++)
            known = strcmp(f->snap[i].name, e->d_name) == 0;
        WANT(f, known || !kept[0], "snapshots %s and %s came from nowhere", kept, e->d_name);
        if (!known)
            snprintf(kept, sizeof(kept), "%.120s", e->d_name);
    }
    closedir(d);
    WANT(f, strncmp(kept, "before-rollback-", 16) == 0, "rollback kept the state before as '%s'", kept);
    snap_keep(f, kept, files);
}

void fx_rollback(struct fx *f)
{
    struct fx_file before[FILES];
    char line[NAME_SIZE + 16];
    struct fx_snap *sn;

    if (f->nsnaps == 0 || f->nsnaps + 2 > SNAPS_MAX)
        return fx_do(f, FX_snapdel);
    sn = &f->snap[fx_rand(f, f->nsnaps)];
    fx_log(f, "rollback %s", sn->name);
    snprintf(line, sizeof(line), "rollback %s\n", sn->name);
    fx_close_all(f);
    fx_control(f, "rollback", line);
    for (unsigned i = 0; i < FILES; i++) {
        before[i] = f->file[i];
        fx_file_copy(&f->file[i], &sn->file[i]);
    }
    adopt_kept(f, before);
    for (unsigned i = 0; i < FILES; i++)
        fx_file_free(&before[i]);
    fx_compare_dir(f, "", f->file, false);
}

/* Reads in a snapshot what was there. */
void fx_view(struct fx *f)
{
    struct fx_snap *sn;
    char under[NAME_SIZE + 16];

    if (f->nsnaps == 0)
        return fx_do(f, FX_snapshot);
    sn = &f->snap[fx_rand(f, f->nsnaps)];
    snprintf(under, sizeof(under), ".snapshots/%s", sn->name);
    fx_log(f, "view %s", sn->name);
    fx_compare_dir(f, under, sn->file, fx_rand(f, 100) == 0);
}

/* A volume of its own from a snapshot: every so often it is mounted, compared and written. */
void fx_clone(struct fx *f)
{
    char from[700], name[64], volume[700], mnt[300];
    struct fx_snap *sn;

    if (f->nsnaps == 0)
        return fx_do(f, FX_snapshot);
    sn = &f->snap[fx_rand(f, f->nsnaps)];
    snprintf(from, sizeof(from), "%s/main@%s", f->store, sn->name);
    snprintf(name, sizeof(name), "c%llu", (unsigned long long)++f->next_name);
    snprintf(volume, sizeof(volume), "%s/%s", f->store, name);
    fx_log(f, "clone %s of %s", name, sn->name);
    WANT(f, fx_run(f, (const char *[]){f->varve, "clone", from, name, NULL}) == 0, "clone failed");
    if (fx_rand(f, 20) == 0) {
        WANT(f, fx_run(f, (const char *[]){f->varve, "mount", volume, f->clone_mnt, NULL}) == 0,
             "mount of a clone");
        f->clone_mounted = true;
        memcpy(mnt, f->mnt, sizeof(mnt));
        memcpy(f->mnt, f->clone_mnt, sizeof(mnt));
        fx_compare_dir(f, "", sn->file, true);
        memcpy(f->mnt, mnt, sizeof(mnt));
        WANT(f, fx_run(f, (const char *[]){f->varve, "umount", f->clone_mnt, NULL}) == 0,
             "umount of a clone");
        f->clone_mounted = false;
    }
    WANT(f, fx_run(f, (const char *[]){f->varve, "delete", volume, "--now", NULL}) == 0, "delete of a clone");
}

void fx_remount(struct fx *f)
{
    fx_log(f, "remount");
    fx_close_all(f);
    fx_umount(f);
    fx_mount(f);
    fx_compare_dir(f, "", f->file, true);
}
