#include "tier/pin.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

#define PIN_VERSION 1
#define PIN_FIX 68u
#define PIN_POINT 36u
#define PIN_POINTS_MAX 65536u
#define PIN_SEALED 1u /* flag: recovery points of other domains are there as chunks */

void pin_release(struct pin *p)
{
    buf_free(&p->points);
    p->npoints = 0;
}

/* --- which directory ------------------------------------------------------------------------------------------------ */

/* A machine's number, where it has one. */
static size_t machine_id(char out[64])
{
    int fd = open("/etc/machine-id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, out, 64);

    if (fd >= 0)
        close(fd);
    return n > 0 ? (size_t)n : 0;
}

int pin_dir(const char *path, struct uuid *ret)
{
    cleanup(buf_free) struct buf b = {0};
    uint8_t nums[16];
    struct statfs fs;
    struct stat st;
    char machine[64];
    struct sha sum;
    int r;

    if (stat(path, &st) < 0 || statfs(path, &fs) < 0)
        return err_from_errno(errno);
    put_le64(nums, st.st_ino);
    memcpy(nums + 8, &fs.f_fsid, 8);
    if ((r = buf_add(&b, nums, sizeof(nums))) < 0 || (r = buf_add(&b, machine, machine_id(machine))) < 0 ||
        (r = crypt_sha256(b.data, b.len, &sum)) < 0)
        return r;
    memcpy(ret->b, sum.b, sizeof(ret->b));
    return 0;
}

/* --- bytes ---------------------------------------------------------------------------------------------------------- */

int pin_add(struct repo *r, struct pin *p, const struct point *pt)
{
    cleanup(buf_free) struct buf b = {0};
    uint8_t head[PIN_POINT];
    int x = hex_parse(pt->id, head, 32);

    if (x == 0)
        x = point_seal(r, pt, &b);
    if (x < 0)
        return x;
    p->sealed = p->sealed || !id16_none(&pt->domain);
    put_le32(head + 32, (uint32_t)b.len);
    if ((x = buf_add(&p->points, head, sizeof(head))) == 0 && (x = buf_add(&p->points, b.data, b.len)) == 0)
        p->npoints++;
    return x;
}

int pin_encode(const struct pin *p, struct buf *out)
{
    size_t name = strlen(p->volume_name);
    uint8_t fix[PIN_FIX], n[4];
    struct enc e = {fix};
    int r;

    enc_u16(&e, PIN_VERSION);
    enc_u16(&e, p->sealed ? PIN_SEALED : 0);
    enc_u64(&e, (uint64_t)p->created_ns);
    enc_u64(&e, p->generation);
    enc_bytes(&e, p->store.b, 16);
    enc_bytes(&e, p->dir.b, 16);
    enc_bytes(&e, p->volume.b, 16);
    assert(e.p == fix + PIN_FIX);
    put_le16(n, (uint16_t)name);
    if ((r = buf_add(out, fix, sizeof(fix))) < 0 || (r = buf_add(out, n, 2)) < 0 ||
        (r = buf_add(out, p->volume_name, name)) < 0)
        return r;
    put_le32(n, p->npoints);
    r = buf_add(out, n, 4);
    return r < 0 ? r : buf_add(out, p->points.data, p->points.len);
}

/* Steps over the recovery points; the rest is the tail. */
static int points_skip(struct dec *d, uint32_t n)
{
    for (; n > 0 && !d->bad; n--) {
        dec_bytes(d, 32);
        dec_bytes(d, dec_u32(d));
    }
    return d->bad ? -E_CORRUPT : 0;
}

static void fix_decode(struct dec *d, struct pin *p)
{
    p->sealed = dec_u16(d) & PIN_SEALED;
    p->created_ns = (int64_t)dec_u64(d);
    p->generation = dec_u64(d);
    dec_copy(d, p->store.b, 16);
    dec_copy(d, p->dir.b, 16);
    dec_copy(d, p->volume.b, 16);
}

int pin_decode(const void *bytes, size_t len, struct pin *ret)
{
    struct dec d = dec_of(bytes, len);
    struct pin p = {.generation = 0};
    uint16_t version = dec_u16(&d);
    const uint8_t *name, *points;
    size_t n;
    int r;

    if (d.bad)
        return -E_CORRUPT;
    if (version != PIN_VERSION)
        return -E_REPO_NEWER;
    fix_decode(&d, &p);
    n = dec_u16(&d);
    name = dec_bytes(&d, n);
    p.npoints = dec_u32(&d);
    if (d.bad || n > POINT_NAME_MAX || memchr(name, 0, n) || p.npoints > PIN_POINTS_MAX)
        return -E_CORRUPT;
    memcpy(p.volume_name, name, n);
    points = d.p;
    if ((r = points_skip(&d, p.npoints)) < 0)
        return r;
    if ((r = tlv_known(d, 0)) < 0 || (r = buf_add(&p.points, points, (size_t)(d.p - points))) < 0)
        return r;
    *ret = p;
    return 0;
}

void pin_first(const struct pin *p, char ret[SHA_TEXT])
{
    ret[0] = 0;
    if (p->points.len >= PIN_POINT)
        hex_format(p->points.data, sizeof(struct sha), ret);
}

int pin_points(struct repo *repo, const struct pin *p, int (*cb)(void *arg, const struct point *pt),
               void *arg)
{
    struct dec d = dec_of(p->points.data, p->points.len);
    int r = 0;

    while (r == 0 && d.left) {
        struct point pt;
        struct sha id;
        uint32_t n;

        dec_copy(&d, id.b, sizeof(id.b));
        n = dec_u32(&d);
        r = d.bad || n > d.left ? -E_CORRUPT : point_open(repo, d.p, n, &pt);
        if (r < 0 && r != -E_SHREDDED)
            return r;
        dec_bytes(&d, n);
        if (r == -E_SHREDDED) {
            r = 0;
            continue;
        }
        hex_format(id.b, sizeof(id.b), pt.id);
        r = cb(arg, &pt);
        point_release(&pt);
    }
    return r;
}

/* --- in the repository ---------------------------------------------------------------------------------------------- */

static int pin_get(struct repo *r, const char *name, struct pin *ret)
{
    cleanup(buf_free) struct buf b = {0};
    const char *hex = name + strlen("pins/");
    int x = strlen(hex) == SHA_TEXT - 1 ? repo_object(r, name, CHUNK_PIN, &b) : -E_REPO_NEWER;

    if (x == 0)
        x = pin_decode(b.data, b.len, ret);
    if (x == 0)
        snprintf(ret->id, sizeof(ret->id), "%s", hex);
    return x;
}

int pins_each(struct repo *r, int (*cb)(void *arg, const struct pin *p),
              void (*bad)(void *arg, const char *name, int why), void *arg)
{
    cleanup(buf_free) struct buf names = {0};
    int x = backend_names(r->b, &r->call, "pins/", &names);

    for (size_t at = 0; x == 0 && at < names.len; at += strlen((char *)names.data + at) + 1) {
        const char *name = (const char *)names.data + at;
        struct pin p;

        x = pin_get(r, name, &p);
        if (x == 0) {
            x = cb(arg, &p);
            pin_release(&p);
        } else if (x == -E_CORRUPT || x == -E_REPO_NEWER || x == -E_KEY || x == -E_NOENT) {
            if (bad && x != -E_NOENT)
                bad(arg, name, x);
            x = 0;
        }
    }
    return x;
}

int pin_drop(struct repo *r, const char *id)
{
    char name[80];
    int x;

    snprintf(name, sizeof(name), "pins/%s", id);
    x = backend_del(r->b, &r->call, name);
    return x == -E_NOENT ? 0 : x;
}

struct holding {
    struct repo *r;
    const struct pin *own;
    const char *point; /* which one is looked for */
};

static int is_point(void *arg, const struct point *pt)
{
    return strcmp(pt->id, ((struct holding *)arg)->point) == 0;
}

static int other_holds(void *arg, const struct pin *p)
{
    struct holding *h = arg;

    return strcmp(p->id, h->own->id) == 0 ? 0 : pin_points(h->r, p, is_point, h);
}

/* There when the pin was: so each mark sees it, or sees the pin. */
static int is_held(void *arg, const struct point *pt)
{
    struct holding *h = arg;
    struct backend_stat st;
    char name[80];
    int x;

    snprintf(name, sizeof(name), "points/%s", pt->id);
    x = backend_stat(h->r->b, &h->r->call, name, &st);
    if (x != -E_NOENT)
        return x;
    h->point = pt->id;
    x = pins_each(h->r, other_holds, NULL, h);
    return x < 0 ? x : x == 0 ? -E_NOENT : 0;
}

int pin_put(struct repo *r, struct pin *p, bool stay, pin_note *note, void *arg)
{
    struct holding h = {.r = r, .own = p};
    cleanup(buf_free) struct buf b = {0}, sealed = {0};
    int x = repo_may_write(r);

    p->created_ns = clock_wall_ns();
    if (x == 0)
        x = pin_encode(p, &b);
    if (x == 0)
        x = repo_seal_object(r, CHUNK_PIN, b.data, b.len, &sealed, p->id);
    if (x == 0 && note)
        x = note(arg, p);
    if (x == 0)
        x = repo_put_sealed(r, "pins", &sealed, p->id);
    if (x < 0)
        return x;
    if (!BROKEN(VARVE_BREAK_pin_late))
        x = pin_points(r, p, is_held, &h);
    if (x < 0 && !(x == -E_NOENT && stay)) {
        log_warn("tier", "pin-late", "pin=%s reason=%s", p->id, err_name(x));
        (void)pin_drop(r, p->id);
    }
    return x;
}

struct looking {
    struct repo *r;
    const char *point;
    struct point found;
};

static int same_point(void *arg, const struct point *pt)
{
    struct looking *l = arg;

    if (strcmp(pt->id, l->point) != 0)
        return 0;
    l->found = *pt;
    l->found.labels = l->found.regarded = (struct buf){0};
    return 1;
}

static int in_pin(void *arg, const struct pin *p)
{
    return pin_points(((struct looking *)arg)->r, p, same_point, arg);
}

int pin_point_get(struct repo *r, const char *id, struct point *ret)
{
    struct looking l = {.r = r, .point = id};
    int x = point_get(r, id, ret);

    if (x != -E_NOENT)
        return x;
    x = pins_each(r, in_pin, NULL, &l);
    if (x == 1)
        *ret = l.found;
    return x < 0 ? x : x == 1 ? 0 : -E_NOENT;
}
