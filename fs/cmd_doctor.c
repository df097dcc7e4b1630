#define FUSE_USE_VERSION 314
#include "fs/verb_doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "conf/value.h"
#include "fs/session.h"
#include "base/sock.h"
#include "fs/verb_show.h"

#define FILES_WANTED 4096
#define LOCKED_WANTED (64u << 20) /* buffers of waiting threads */

enum verdict { FINE, LACKS, BROKEN_HERE };

struct report {
    bool json, broken;
    struct jw j;
    struct show_cols cols;
};

/* value: what is there; means: what it is good for, or what goes without it. */
static void tell(struct report *r, enum verdict v, const char *name, const char *value, const char *means)
{
    static const char *const words[] = {"ok", "lacks", "MISSING"};
    static const char *const states[] = {"ok", "optional-missing", "missing"};

    r->broken |= v == BROKEN_HERE;
    if (r->json) {
        jw_object(&r->j, NULL);
        jw_str(&r->j, "name", name);
        jw_str(&r->j, "state", states[v]);
        jw_str(&r->j, "value", value);
        jw_str(&r->j, "means", means);
        jw_close(&r->j);
        return;
    }
    show_cell(&r->cols, "%s", words[v]);
    show_cell(&r->cols, "%s", name);
    show_cell(&r->cols, "%s", value);
    show_cell(&r->cols, "%s", means);
}

bool doctor_version_at_least(const char *version, unsigned major, unsigned minor, unsigned patch)
{
    unsigned v[3] = {0}, want[3] = {major, minor, patch};

    sscanf(version, "%u.%u.%u", &v[0], &v[1], &v[2]);
    for (size_t i = 0; i < 3; i++)
        if (v[i] != want[i])
            return v[i] > want[i];
    return true;
}

static void kernel(struct report *r)
{
    struct utsname u;

    if (uname(&u) < 0)
        return;
    tell(r, doctor_version_at_least(u.release, 5, 10, 0) ? FINE : BROKEN_HERE, "kernel", u.release,
         "5.10 or newer is needed");
    tell(
        r, doctor_version_at_least(u.release, 6, 9, 0) ? FINE : LACKS, "takeover", u.release,
        "from 6.9 on, requests under way when a daemon dies are asked again; before, they hang until umount");
    tell(r, doctor_version_at_least(u.release, 6, 12, 0) ? FINE : LACKS, "idmapped mounts", u.release,
         "from 6.12 on, mount option allow_idmap");
}

static void io_uring(struct report *r)
{
    const char *why = session_ring_why_not();

    tell(r, why ? LACKS : FINE, "io_uring", why ? why : "can be had",
         "mount option io_uring; without it the classic transport is taken");
}

static void device(struct report *r)
{
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

    if (fd >= 0) {
        close(fd);
        tell(r, FINE, "/dev/fuse", "opens", "nothing can be mounted without it");
        return;
    }
    tell(r, BROKEN_HERE, "/dev/fuse", strerror(errno),
         errno == ENOENT ? "load the module fuse (modprobe fuse), or give the container the device"
                         : "nothing can be mounted; allow this user or container to open it");
}

static void library(struct report *r)
{
    const char *v = fuse_pkgversion();

    tell(r, doctor_version_at_least(v, 3, 14, 0) ? FINE : BROKEN_HERE, "libfuse", v,
         "3.14 or newer is needed");
    tell(r, doctor_version_at_least(v, 3, 18, 3) ? FINE : LACKS, "libfuse >= 3.18.3", v,
         "without it: no O_TMPFILE, no birth times (statx)");
}

/* 0 not there, 1 there, 2 there and set-user-id root */
static int find_program(const char *name, char path[4096])
{
    const char *dirs[] = {"/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin", "/sbin"};
    struct stat st;

    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        snprintf(path, 4096, "%s/%s", dirs[i], name);
        if (stat(path, &st) == 0 && (st.st_mode & 0111))
            return st.st_uid == 0 && (st.st_mode & S_ISUID) ? 2 : 1;
    }
    return 0;
}

static void helper(struct report *r)
{
    char path[4096];

    switch (find_program("fusermount3", path)) {
    case 2: tell(r, FINE, "fusermount3", path, "ordinary users can mount stores of their own"); return;
    case 1: tell(r, LACKS, "fusermount3", path, "is not set-user-id root: only root can mount"); return;
    default: tell(r, LACKS, "fusermount3", "not found", "only root can mount; apt-get install fuse3"); return;
    }
}

static bool conf_has(const char *path, const char *word)
{
    char line[256];
    bool yes = false;
    FILE *f = fopen(path, "re");

    while (f && !yes && fgets(line, sizeof(line), f)) {
        line[strcspn(line, " \t\r\n#")] = 0;
        yes = strcmp(line, word) == 0;
    }
    if (f)
        fclose(f);
    return yes;
}

static void allow_other(struct report *r)
{
    bool yes = conf_has("/etc/fuse.conf", "user_allow_other");

    tell(r, yes ? FINE : LACKS, "user_allow_other", yes ? "set in /etc/fuse.conf" : "not set",
         "other users see what an ordinary user mounted only with it (mounts of root are seen by all)");
}

static void files(struct report *r)
{
    struct rlimit l;
    char value[64];

    if (getrlimit(RLIMIT_NOFILE, &l) < 0)
        return;
    snprintf(value, sizeof(value), "%" PRIu64 ", up to %" PRIu64, (uint64_t)l.rlim_cur, (uint64_t)l.rlim_max);
    tell(r, l.rlim_max >= FILES_WANTED ? FINE : LACKS, "open files", value,
         "the daemon keeps a few hundred data files open; fewer make it slower, not wrong");
}

static bool capable(unsigned cap)
{
    struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct d[2] = {{0}};

    return syscall(SYS_capget, &h, d) == 0 && (d[cap / 32].effective & 1u << cap % 32);
}

static void privileges(struct report *r)
{
    char value[64];

    snprintf(value, sizeof(value), "uid %u%s", geteuid(), capable(CAP_SYS_ADMIN) ? ", may mount" : "");
    tell(r, capable(CAP_SYS_ADMIN) ? FINE : LACKS, "privileges", value,
         "without CAP_SYS_ADMIN mounts go through fusermount3: one user's, owned by that user");
    tell(r, capable(CAP_DAC_READ_SEARCH) ? FINE : LACKS, "other users' files",
         capable(CAP_DAC_READ_SEARCH) ? "readable" : "as permitted",
         "without it, rollback cannot name other users' processes");
}

/* What is tried and gone without. */
static void best_effort(struct report *r)
{
    bool resource = capable(CAP_SYS_RESOURCE);
    struct rlimit l = {0};
    bool locks = capable(CAP_IPC_LOCK) || (getrlimit(RLIMIT_MEMLOCK, &l) == 0 && l.rlim_cur >= LOCKED_WANTED);

    tell(r, resource ? FINE : LACKS, "I/O flusher", resource ? "allowed" : "no CAP_SYS_RESOURCE",
         "without it a machine short of memory may make the daemon wait for its own mounts");
    tell(r, resource ? FINE : LACKS, "spared from OOM", resource ? "allowed" : "no CAP_SYS_RESOURCE",
         "without it daemon and keeper may be ended for want of memory; the mounts outlive the daemon");
    tell(r, locks ? FINE : LACKS, "locked memory",
         locks ? "allowed" : "no CAP_IPC_LOCK, RLIMIT_MEMLOCK small",
         "without it a request that is read in the moment of a death may fail (EIO)");
    tell(r, access("/sys/class/bdi", W_OK) == 0 ? FINE : LACKS, "read-ahead",
         access("/sys/class/bdi", W_OK) == 0 ? "settable" : "/sys is read-only or another's",
         "without it sequential reads come in pieces of 128 KiB");
}

/* The daemon knows what its keeper was told. */
static void service(struct report *r, const char *store)
{
    static const char *const words[] = {"kept"};
    cleanup(buf_free) struct buf out = {0};
    unsigned served = 0, kept = 0, ms = 0, fds = 0;
    char value[128];

    if (sock_ask(store, words, 1, &out) < 0 || !buf_cstr(&out) ||
        sscanf((const char *)out.data, "served=%u kept=%u watchdog_ms=%u descriptors=%u", &served, &kept, &ms,
               &fds) != 4)
        return; /* nobody serves it */
    if (ms > 0)
        snprintf(value, sizeof(value), "watchdog %.1f s, ", ms / 1000.0);
    else
        snprintf(value, sizeof(value), "no watchdog, ");
    if (fds > 0)
        snprintf(value + strlen(value), sizeof(value) - strlen(value), "keeps %u descriptors", fds);
    else
        snprintf(value + strlen(value), sizeof(value) - strlen(value), "does not say how many descriptors");
    tell(r, kept && ms > 0 ? FINE : LACKS, "service manager",
         kept     ? value
         : served ? "`varve serve` without one"
                  : "none",
         "with one the mounts outlive the death of keeper and daemon together: varve-serve(1)");
}

/* --- the filesystem below a store --------------------------------------------------------------------------------- */

static const char *fs_name(long type)
{
    switch (type) {
    case EXT4_SUPER_MAGIC: return "ext2/3/4";
    case XFS_SUPER_MAGIC: return "XFS";
    case BTRFS_SUPER_MAGIC: return "btrfs";
    case TMPFS_MAGIC: return "tmpfs";
    case OVERLAYFS_SUPER_MAGIC: return "overlayfs";
    case NFS_SUPER_MAGIC: return "NFS";
    case FUSE_SUPER_MAGIC: return "FUSE";
    default: return "unknown";
    }
}

/* Writes and punches in a file without a name. 1 works, 0 not, negative: could not try. */
static int holes_work(const char *dir)
{
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600), r;

    if (fd < 0)
        return errno == EOPNOTSUPP ? 0 : -E_ACCES;
    r = fallocate(fd, 0, 0, 65536) == 0 &&
        fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 8192) == 0;
    close(fd);
    return r;
}

static void store_fs(struct report *r, const char *dir)
{
    struct statfs sf;
    char value[64], a[CONF_SIZE_TEXT], b[CONF_SIZE_TEXT];
    int holes;

    if (statfs(dir, &sf) < 0) {
        tell(r, BROKEN_HERE, "store directory", strerror(errno), "give a directory that is there");
        return;
    }
    tell(r, sf.f_type == EXT4_SUPER_MAGIC || sf.f_type == XFS_SUPER_MAGIC ? FINE : LACKS, "store filesystem",
         fs_name(sf.f_type), "varve is made for ext4 and XFS; others may do, on a disk of this machine");
    holes = holes_work(dir);
    tell(r,
         holes > 0    ? FINE
         : holes == 0 ? BROKEN_HERE
                      : LACKS,
         "sparse files",
         holes > 0    ? "work"
         : holes == 0 ? "do not work"
                      : "could not try: not writable",
         "freed space of data files goes back to the disk by them");
    conf_size_text((uint64_t)sf.f_bavail * (uint64_t)sf.f_frsize, a);
    conf_size_text((uint64_t)sf.f_blocks * (uint64_t)sf.f_frsize, b);
    snprintf(value, sizeof(value), "%s of %s free", a, b);
    tell(r, (uint64_t)sf.f_bavail >= (uint64_t)sf.f_blocks / 20 ? FINE : LACKS, "disk space", value,
         "below 5 % new snapshots are refused, then writes");
}

bool verb_doctor(const char *store, bool json, struct buf *out)
{
    struct report r = {.json = json, .cols = {.ncols = 4}, .j = jw_begin(out, true)};

    if (json) {
        jw_object(&r.j, NULL);
        jw_u64(&r.j, "schema", 1);
        jw_str(&r.j, "varve", VARVE_VERSION);
        jw_array(&r.j, "checks");
    }
    kernel(&r);
    device(&r);
    library(&r);
    io_uring(&r);
    helper(&r);
    allow_other(&r);
    files(&r);
    privileges(&r);
    best_effort(&r);
    if (store)
        store_fs(&r, store);
    if (store)
        service(&r, store);
    if (json) {
        jw_close(&r.j);
        jw_bool(&r.j, "works", !r.broken);
        jw_close(&r.j);
        jw_end(&r.j);
    } else {
        show_cols_print(&r.cols, "", out);
        buf_puts(out, r.broken ? "what is MISSING keeps varve from working here\n"
                               : "varve works here; what it lacks is said above\n");
    }
    return r.broken;
}
