/* What users do. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fs/snapdir.h"
#include "snap/check.h"
#include "snap/job.h"
#include "snap/scrub.h"
#include "tests/lib/test.h"
#include "tests/sweep/sweep.h"

#define SNAPDIR_OF_ROOT ((uint64_t)NODE_VIEW_SNAPDIR << INO_BITS | 1)
#define CONTROL ((uint64_t)NODE_VIEW_CONTROL << INO_BITS | 1)

static uint8_t bytes[60000];

/* --- requests ----------------------------------------------------------------------------------------------------------- */

static int ask_raw(struct place *p, uint32_t opcode, uint64_t node, const void *arg, size_t arg_len,
                   const void *rest, size_t rest_len)
{
    static uint8_t req[sizeof(struct fuse_in_header) + 70000], room[OP_BUF_SIZE];
    struct fuse_in_header h = {.opcode = opcode, .nodeid = node, .unique = p->unique += 2};
    struct fuse_out_header out;
    int r = -1;
    ssize_t n;

    h.len = (uint32_t)(sizeof(h) + arg_len + rest_len);
    memcpy(req, &h, sizeof(h));
    memcpy(req + sizeof(h), arg, arg_len);
    if (rest_len)
        memcpy(req + sizeof(h) + arg_len, rest, rest_len);
    session_feed(p->ss, req, h.len);
    while ((n = recv(p->fd, room, sizeof(room), 0)) > 0) {
        memcpy(&out, room, sizeof(out));
        if (out.unique != h.unique)
            continue;
        p->answer_len = MIN_OF((size_t)n - sizeof(out), sizeof(p->answer));
        memcpy(p->answer, room + sizeof(out), p->answer_len);
        r = -out.error;
    }
    return r;
}
#define ASK(p, op, node, arg, rest, len) ask_raw(p, op, node, &(arg), sizeof(arg), rest, len)
#define NAME(p, op, node, arg, name) ask_raw(p, op, node, &(arg), sizeof(arg), name, sizeof(name))
#define PLAIN(p, op, node, name) ask_raw(p, op, node, "", 0, name, sizeof(name))

static int look(struct place *p, uint64_t dir, const char *name)
{
    struct fuse_entry_out e;
    int r = ask_raw(p, FUSE_LOOKUP, dir, "", 0, name, strlen(name) + 1);

    if (r == 0) {
        memcpy(&e, p->answer, sizeof(e));
        p->node = e.nodeid;
        if (!e.nodeid)
            r = ENOENT;
    }
    return r;
}

/* Where the disk fails it may not be found: then a node that nobody knows is asked for. */
static void need(struct place *p, uint64_t dir, const char *name)
{
    if (look(p, dir, name) != 0)
        p->node = 1ull << 39;
}

static void at_small(struct place *p)
{
    need(p, 1, "small");
}
static void at_large(struct place *p)
{
    need(p, 1, "large");
}
static void at_late(struct place *p)
{
    need(p, 1, "late");
}

static int do_lookup(struct place *p)
{
    return look(p, 1, "large");
}
static int do_getattr(struct place *p)
{
    struct fuse_getattr_in a = {0};
    return ASK(p, FUSE_GETATTR, p->node, a, NULL, 0);
}
static int do_chmod(struct place *p)
{
    struct fuse_setattr_in a = {.valid = FATTR_MODE | FATTR_UID, .mode = S_IFREG | 0600, .uid = 5};
    return ASK(p, FUSE_SETATTR, p->node, a, NULL, 0);
}
static int do_cut(struct place *p)
{
    struct fuse_setattr_in a = {.valid = FATTR_SIZE, .size = 70001};
    return ASK(p, FUSE_SETATTR, p->node, a, NULL, 0);
}
static int do_mknod(struct place *p)
{
    struct fuse_mknod_in a = {.mode = S_IFREG | 0644};
    return NAME(p, FUSE_MKNOD, 1, a, "made");
}
static int do_mkdir(struct place *p)
{
    struct fuse_mkdir_in a = {.mode = 0755};
    return NAME(p, FUSE_MKDIR, 1, a, "folder");
}
static int do_create(struct place *p)
{
    struct fuse_create_in a = {.flags = O_RDWR | O_CREAT, .mode = S_IFREG | 0600};
    return NAME(p, FUSE_CREATE, 1, a, "created");
}
static int do_symlink(struct place *p)
{
    return PLAIN(p, FUSE_SYMLINK, 1, "link\0a/long/enough/target");
}
static int do_readlink(struct place *p)
{
    int r = look(p, 1, "link");
    return r ? r : ask_raw(p, FUSE_READLINK, p->node, "", 0, NULL, 0);
}
static int do_link(struct place *p)
{
    struct fuse_link_in a = {.oldnodeid = p->node};
    return NAME(p, FUSE_LINK, 1, a, "again");
}
static int do_rename(struct place *p)
{
    struct fuse_rename2_in a = {.newdir = 1};
    return NAME(p, FUSE_RENAME2, 1, a, "made\0moved");
}
static int do_replace(struct place *p)
{
    struct fuse_rename_in a = {.newdir = 1};
    return NAME(p, FUSE_RENAME, 1, a, "created\0moved");
}
static int do_exchange(struct place *p)
{
    struct fuse_rename2_in a = {.newdir = 1, .flags = 2};
    return NAME(p, FUSE_RENAME2, 1, a, "moved\0small");
}
static int do_exchange_back(struct place *p)
{
    return do_exchange(p);
}
static int do_unlink(struct place *p)
{
    return PLAIN(p, FUSE_UNLINK, 1, "again");
}
static int do_rmdir(struct place *p)
{
    return PLAIN(p, FUSE_RMDIR, 1, "folder");
}
static int do_tmpfile(struct place *p)
{
    struct fuse_create_in a = {.flags = O_RDWR, .mode = S_IFREG | 0600};
    return NAME(p, 51, 1, a, "x");
}
static int write_at(struct place *p, uint64_t off, uint32_t len)
{
    struct fuse_write_in a = {.offset = off, .size = len};
    return ASK(p, FUSE_WRITE, p->node, a, bytes, len);
}
static int do_write_small(struct place *p)
{
    return write_at(p, 100, 500);
}
static int do_write_grow(struct place *p)
{
    return write_at(p, 800, 9000);
}
static int do_write_sealed(struct place *p)
{
    return write_at(p, 30001, 40000);
}
static int do_write_far(struct place *p)
{
    return write_at(p, 5 << 20, 5000);
}
static int do_read(struct place *p)
{
    struct fuse_read_in a = {.size = 65536, .offset = 20000};
    return ASK(p, FUSE_READ, p->node, a, NULL, 0);
}
static int do_read_small(struct place *p)
{
    struct fuse_read_in a = {.size = 65536};
    return ASK(p, FUSE_READ, p->node, a, NULL, 0);
}
static int do_punch(struct place *p)
{
    struct fuse_fallocate_in a = {
        .offset = 5000, .length = 60000, .mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE};
    return ASK(p, FUSE_FALLOCATE, p->node, a, NULL, 0);
}
static int do_allocate(struct place *p)
{
    struct fuse_fallocate_in a = {.offset = 100000, .length = 300000};
    return ASK(p, FUSE_FALLOCATE, p->node, a, NULL, 0);
}
static int do_seek(struct place *p)
{
    struct fuse_lseek_in a = {.whence = SEEK_HOLE};
    return ASK(p, FUSE_LSEEK, p->node, a, NULL, 0);
}
static int do_copy(struct place *p)
{
    uint64_t from = p->node;
    int r = look(p, 1, "late");
    struct fuse_copy_file_range_in a = {
        .nodeid_out = p->node, .len = 100000, .off_in = 4096, .off_out = 8192};

    return r ? r : ASK(p, FUSE_COPY_FILE_RANGE, from, a, NULL, 0);
}
static int do_fsync(struct place *p)
{
    struct fuse_fsync_in a = {0};
    return ASK(p, FUSE_FSYNC, p->node, a, NULL, 0);
}
static int do_fsyncdir(struct place *p)
{
    struct fuse_fsync_in a = {0};
    return ASK(p, FUSE_FSYNCDIR, 1, a, NULL, 0);
}
static int do_setxattr(struct place *p)
{
    static char v[8 + 3000] = "user.x";
    struct fuse_setxattr_in a = {.size = 3000};
    return ask_raw(p, FUSE_SETXATTR, p->node, &a, sizeof(a), v, 7 + 3000);
}
static int do_getxattr(struct place *p)
{
    struct fuse_getxattr_in a = {.size = 4000};
    return NAME(p, FUSE_GETXATTR, p->node, a, "user.x");
}
static int do_listxattr(struct place *p)
{
    struct fuse_getxattr_in a = {.size = 4000};
    return ASK(p, FUSE_LISTXATTR, p->node, a, NULL, 0);
}
static int do_removexattr(struct place *p)
{
    return PLAIN(p, FUSE_REMOVEXATTR, p->node, "user.x");
}
static int do_setacl(struct place *p)
{
    static const char v[] =
        "system.posix_acl_access\0\2\0\0\0\1\0\7\0\377\377\377\377\2\0\6\0\1\0\0\0\4\0\5\0\377\377\377\377"
        "\20\0\7\0\377\377\377\377\40\0\5\0\377\377\377\377";
    struct fuse_setxattr_in a = {.size = 44};
    return ask_raw(p, FUSE_SETXATTR, p->node, &a, sizeof(a), v, 24 + 44);
}
static int do_readdir(struct place *p)
{
    struct fuse_read_in a = {.size = 4096};
    return ASK(p, FUSE_READDIR, 1, a, NULL, 0);
}
static int do_readdirplus(struct place *p)
{
    struct fuse_read_in a = {.size = 8192};
    return ASK(p, FUSE_READDIRPLUS, 1, a, NULL, 0);
}
static int do_statfs(struct place *p)
{
    return ask_raw(p, FUSE_STATFS, 1, "", 0, NULL, 0);
}

/* --- .snapshots --------------------------------------------------------------------------------------------------------- */

static int do_snapdir(struct place *p)
{
    return look(p, 1, ".snapshots");
}
static int do_take(struct place *p)
{
    struct fuse_mkdir_in a = {.mode = 0755};
    return NAME(p, FUSE_MKDIR, SNAPDIR_OF_ROOT, a, "taken");
}
static int do_snap_rename(struct place *p)
{
    struct fuse_rename2_in a = {.newdir = SNAPDIR_OF_ROOT};
    return NAME(p, FUSE_RENAME2, SNAPDIR_OF_ROOT, a, "taken\0kept");
}
static int do_snap_delete(struct place *p)
{
    return PLAIN(p, FUSE_RMDIR, SNAPDIR_OF_ROOT, "kept");
}
static int do_snap_list(struct place *p)
{
    struct fuse_read_in a = {.size = 4096};
    return ASK(p, FUSE_READDIRPLUS, SNAPDIR_OF_ROOT, a, NULL, 0);
}
static int do_view(struct place *p)
{
    struct fuse_read_in a = {.size = 4096, .offset = 100000};
    int r = look(p, SNAPDIR_OF_ROOT, "s1");

    if (r == 0)
        r = look(p, p->node, "large");
    return r ? r : ASK(p, FUSE_READ, p->node, a, NULL, 0);
}
static int do_view_xattr(struct place *p)
{
    struct fuse_getxattr_in a = {.size = 4000};
    int r = look(p, SNAPDIR_OF_ROOT, "s1");

    return r ? r : ASK(p, FUSE_LISTXATTR, p->node, a, NULL, 0);
}
static int control(struct place *p, const char *file, const char *text)
{
    struct fuse_write_in w = {.size = (uint32_t)strlen(text)};
    struct fuse_read_in a = {.size = 8192};
    int r = look(p, SNAPDIR_OF_ROOT, ".control");

    if (r == 0)
        r = look(p, CONTROL, file);
    if (r)
        return r;
    return *text ? ASK(p, FUSE_WRITE, p->node, w, text, strlen(text))
                 : ASK(p, FUSE_READ, p->node, a, NULL, 0);
}
static int do_control_read(struct place *p)
{
    return control(p, "status.json", "");
}
static int do_control_write(struct place *p)
{
    return control(p, "snapshots", "create by-control label=a=b hold=x\n");
}
static int do_control_undo(struct place *p)
{
    return control(p, "snapshots", "release by-control tag=x\ndelete by-control\n");
}

/* --- verbs -------------------------------------------------------------------------------------------------------------- */

static int say(struct place *p, const char *text)
{
    cleanup(buf_free) struct buf out = {0}, err = {0};
    char copy[300], *words[16], *save;
    int code, r;
    size_t n = 0;

    snprintf(copy, sizeof(copy), "%s", text);
    for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
        words[n++] = w;
    r = verb_serve(&p->env, n, words, (uint32_t)geteuid(), (uint32_t)getegid(), &out, &err, &code);
    return r < 0 ? err_errno(r) : 0;
}
#define VERB(fn, text)                                                                                       \
    static int fn(struct place *p)                                                                           \
    {                                                                                                        \
        return say(p, text);                                                                                 \
    }
VERB(v_list, "list . --json")
VERB(v_status, "status main --json")
VERB(v_create, "snapshot create main v1 --label k=v --expire 7d")
VERB(v_snaps, "snapshot list main --json")
VERB(v_show, "snapshot show main v1")
VERB(v_hold, "snapshot hold main v1 tag")
VERB(v_release, "snapshot release main v1 tag")
VERB(v_label, "snapshot label main v1 a=b --remove k")
VERB(v_expire, "snapshot expire main v1 never")
VERB(v_rename, "snapshot rename main v1 v2")
VERB(v_diff, "diff main s1 v2 --json")
VERB(v_clone, "clone main other --snap s1")
VERB(v_resize, "resize main 80M")
VERB(v_volrename, "rename other another")
VERB(v_delete, "delete another")
VERB(v_undelete, "undelete another")
VERB(v_purge, "delete another --now")
VERB(v_rollback, "rollback main v2")
VERB(v_snapdelete, "snapshot delete main v2")
VERB(v_jobs, "job list")
VERB(v_events, "events --json")

static int do_check(struct place *p)
{
    struct check_opts o = {.quiet = true};
    struct check_result res = {0};
    int r = check_store(p->env.store, &o, &res);

    return r < 0 ? err_errno(r) : res.problems ? EUCLEAN : 0;
}
static int do_scrub(struct place *p)
{
    struct scrub_opts o = {.bytes_per_s = 0};
    struct scrub_result res = {0};
    int r = scrub_store(p->env.store, &o, &res);

    return r < 0 ? err_errno(r) : 0;
}
static int of_store(int r)
{
    return r < 0 ? err_errno(r) : 0;
}
static int do_sync(struct place *p)
{
    return of_store(store_sync(p->env.store));
}
static int do_checkpoint(struct place *p)
{
    return of_store(store_checkpoint(p->env.store));
}
static int do_orphans(struct place *p)
{
    return of_store(vfs_orphans_drop_all(p->v));
}
static int do_reclaim(struct place *p)
{
    return of_store(store_reclaim_idle(p->env.store));
}
static int do_tick(struct place *p)
{
    return of_store(verb_tick(&p->env));
}

const struct work works[] = {
    {"lookup", NULL, do_lookup},
    {"getattr", at_large, do_getattr},
    {"mknod", NULL, do_mknod},
    {"create", NULL, do_create},
    {"mkdir", NULL, do_mkdir},
    {"symlink", NULL, do_symlink},
    {"readlink", NULL, do_readlink},
    {"link", at_large, do_link},
    {"rename", NULL, do_rename},
    {"rename over", NULL, do_replace},
    {"exchange", NULL, do_exchange},
    {"exchange back", NULL, do_exchange_back},
    {"write small", at_small, do_write_small},
    {"write grow", at_small, do_write_grow},
    {"write over a snapshot", at_large, do_write_sealed},
    {"write far", at_late, do_write_far},
    {"read", at_large, do_read},
    {"read small", at_small, do_read_small},
    {"fsync", at_large, do_fsync},
    {"cut", at_large, do_cut},
    {"punch", at_large, do_punch},
    {"allocate", at_large, do_allocate},
    {"seek", at_large, do_seek},
    {"copy", at_large, do_copy},
    {"chmod", at_large, do_chmod},
    {"setxattr", at_large, do_setxattr},
    {"getxattr", at_large, do_getxattr},
    {"listxattr", at_large, do_listxattr},
    {"setacl", at_large, do_setacl},
    {"removexattr", at_large, do_removexattr},
    {"readdir", NULL, do_readdir},
    {"readdirplus", NULL, do_readdirplus},
    {"statfs", NULL, do_statfs},
    {"unlink", NULL, do_unlink},
    {"rmdir", NULL, do_rmdir},
    {"tmpfile", NULL, do_tmpfile},
    {"fsyncdir", NULL, do_fsyncdir},
    {"orphans", NULL, do_orphans},
    {".snapshots", NULL, do_snapdir},
    {"mkdir .snapshots", NULL, do_take},
    {"view", NULL, do_view},
    {"view's attributes", NULL, do_view_xattr},
    {"list of snapshots", NULL, do_snap_list},
    {"rename in .snapshots", NULL, do_snap_rename},
    {"rmdir .snapshots", NULL, do_snap_delete},
    {"control file read", NULL, do_control_read},
    {"control file write", NULL, do_control_write},
    {"control file undo", NULL, do_control_undo},
    {"verb list", NULL, v_list},
    {"verb status", NULL, v_status},
    {"verb snapshot create", NULL, v_create},
    {"verb snapshot list", NULL, v_snaps},
    {"verb snapshot show", NULL, v_show},
    {"verb hold", NULL, v_hold},
    {"verb release", NULL, v_release},
    {"verb label", NULL, v_label},
    {"verb expire", NULL, v_expire},
    {"verb rename", NULL, v_rename},
    {"verb diff", NULL, v_diff},
    {"verb clone", NULL, v_clone},
    {"verb resize", NULL, v_resize},
    {"verb rename volume", NULL, v_volrename},
    {"verb delete volume", NULL, v_delete},
    {"verb undelete volume", NULL, v_undelete},
    {"verb purge volume", NULL, v_purge},
    {"sync", NULL, do_sync},
    {"checkpoint", NULL, do_checkpoint},
    {"verb rollback", NULL, v_rollback},
    {"verb snapshot delete", NULL, v_snapdelete},
    {"verb job list", NULL, v_jobs},
    {"verb events", NULL, v_events},
    {"reclaim", NULL, do_reclaim},
    {"tick", NULL, do_tick},
    {"scrub", NULL, do_scrub},
    {"check", NULL, do_check},
};
const size_t nworks = ARRAY_LEN(works);
