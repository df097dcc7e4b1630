/* Making an empty store. The version file is written last: until then the directory is no store. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "snap/store/store_int.h"
#include "snap/store/version.h"

#define CONFIG_TEXT "# settings of this store, one a line: flush_interval = \"5s\"; see varve.conf(5)\n"

static int refuse_any(void *arg, const char *name)
{
    (void)arg;
    return strcmp(name, "lost+found") == 0 ? 0 : -E_STORE_EXIST;
}

/* Does the filesystem below keep holes? A sparse file must not take its length. */
static int probe_holes(struct io *io, const char *path)
{
    char probe[4096];
    struct stat st;
    int fd, r;

    snprintf(probe, sizeof(probe), "%s/.probe", path);
    fd = io_open(io, probe, O_RDWR | O_CREAT, 0600);
    if (fd < 0)
        return fd;
    r = io_truncate(io, fd, 8u << 20);
    if (r == 0)
        r = io_pwrite(io, fd, "x", 1, 4u << 20);
    if (r == 0)
        r = io_punch(io, fd, 0, 1u << 20);
    if (r == 0)
        r = io_fstat(io, fd, &st);
    io_close(io, fd);
    io_unlink(io, probe);
    if (r == -E_NOTSUP || (r == 0 && st.st_blocks * 512ll > (4 << 20)))
        return -E_STORE_HOLES;
    return r;
}

static int make_dirs(struct io *io, const char *path)
{
    static const char *const names[] = {"meta", "journal", "data", "cache", "log"};
    char dir[4096];

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(dir, sizeof(dir), "%s/%s", path, names[i]);
        int r = io_mkdir(io, dir, 0700);
        if (r < 0 && r != -E_EXIST)
            return r;
    }
    snprintf(dir, sizeof(dir), "%s/config", path);
    return io_replace(io, dir, CONFIG_TEXT, sizeof(CONFIG_TEXT) - 1);
}

static int first_records(const char *path, const struct store_settings *set)
{
    char dir[4096];
    struct kv *kv;
    struct next_rec next = {.object = 1, .reclaim = 1, .job = 1, .volume = 1, .branch = 1};
    uint8_t key[KEY_SIZE_MAX], rec[RECORD_SIZE_MAX], env[RECORD_SIZE_MAX + VAL_HDR_SIZE], akey[KEY_SIZE_MAX],
        lsn[8] = {0};
    uint8_t aenv[VAL_HDR_SIZE + 8];
    size_t klen = key_meta(key, META_NEXT), alen = key_meta(akey, META_APPLIED_LSN),
           len = next_rec_encode(&next, rec);

    snprintf(dir, sizeof(dir), "%s/meta", path);
    int r = kv_open(dir, set->map_bytes, false, &kv);
    if (r < 0)
        return r;
    envelope_make(env, key, klen, 0, 0, rec, len);
    envelope_make(aenv, akey, alen, 0, 0, lsn, sizeof(lsn));
    r = kv_reserve(kv, 1, klen + len + VAL_HDR_SIZE);
    if (r == 0) {
        kv_put(kv, key, klen, env, len + VAL_HDR_SIZE);
        r = kv_checkpoint_seal(kv);
    }
    if (r == 0)
        r = kv_checkpoint_write(kv, akey, alen, aenv, sizeof(aenv), NULL, NULL);
    if (r == 0)
        kv_checkpoint_done(kv);
    kv_close(kv);
    return r;
}

void store_settings_defaults(struct store_settings *set, const struct store_settings *from)
{
    struct rlimit l;

    *set = from ? *from : (struct store_settings){0};
    set->flush_ms = set->flush_ms ? set->flush_ms : 5000;
    set->dirty_bytes = set->dirty_bytes ? set->dirty_bytes : 128ull << 20;
    set->delta_bytes = set->delta_bytes ? set->delta_bytes : 32ull << 20;
    set->segment_bytes = set->segment_bytes ? set->segment_bytes : 16ull << 20;
    set->segments = set->segments ? set->segments : 8;
    set->inline_bytes = set->inline_bytes ? set->inline_bytes : 4096;
    set->fd_cache = set->fd_cache ? set->fd_cache : 1024;
    if (getrlimit(RLIMIT_NOFILE, &l) == 0 && set->fd_cache > l.rlim_cur / 2)
        set->fd_cache = (uint32_t)(l.rlim_cur / 2);
}

static int write_version(struct io *io, const char *path, const struct uuid *uuid,
                         const struct store_settings *set)
{
    struct store_version v = {.format = STORE_FORMAT,
                              .block_size = BLOCK_SIZE,
                              .span_shift = SPAN_SHIFT,
                              .uuid = *uuid,
                              .created_ns = clock_wall_ns(),
                              .segment_bytes = set->segment_bytes,
                              .segments = set->segments};
    uint8_t out[STORE_VERSION_SIZE];
    char file[4096];
    struct stat st;
    int r = io_stat(io, path, &st);

    if (r < 0)
        return r;
    v.dir_dev = st.st_dev;
    v.dir_ino = st.st_ino;
    store_version_encode(&v, out);
    snprintf(file, sizeof(file), "%s/version", path);
    return io_replace(io, file, out, sizeof(out));
}

/* The name of the new store's directory is in its parent, which may not be ours to open. */
static void sync_parent(struct io *io, const char *path)
{
    char dir[4096];
    char *slash;

    snprintf(dir, sizeof(dir), "%s", path);
    while ((slash = strrchr(dir, '/')) && slash > dir && slash[1] == 0)
        *slash = 0;
    if (!slash)
        snprintf(dir, sizeof(dir), ".");
    else
        slash[slash == dir] = 0;
    (void)io_sync_dir(io, dir);
}

int store_create(struct io *io, const char *path, const struct store_settings *settings)
{
    struct store_settings set;
    struct uuid uuid = uuid_new();
    char dir[4096];
    int r = io_mkdir(io, path, 0700);

    store_settings_defaults(&set, settings);
    if (r == -E_EXIST)
        r = io_list(path, refuse_any, NULL);
    if (r == 0)
        r = probe_holes(io, path);
    if (r == 0)
        r = make_dirs(io, path);
    snprintf(dir, sizeof(dir), "%s/journal", path);
    if (r == 0)
        r = journal_create(io, dir, &uuid, set.segment_bytes, set.segments);
    if (r == 0)
        r = first_records(path, &set);
    if (r == 0)
        r = write_version(io, path, &uuid, &set);
    if (r == 0)
        r = io_sync_dir(io, path);
    if (r == 0)
        sync_parent(io, path);
    return r;
}

int store_path_is(const char *path)
{
    cleanup(buf_free) struct buf b = {0};
    char file[4096];

    snprintf(file, sizeof(file), "%s/version", path);
    return io_read_file(io_real(), file, 4096, &b) == 0 && b.len >= 8 && memcmp(b.data, STORE_MAGIC, 8) == 0;
}
