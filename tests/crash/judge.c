#include "tests/crash/crash.h"

#define SECTOR 512u

static const struct o_ino *at(const struct c_run *c, uint32_t op, uint64_t ino)
{
    return o_get(c->life.state[op], ino);
}

/* The operation from which on the inode's bytes are promised to whoever sees the state after op p. */
static uint32_t floor_of(const struct c_run *c, uint64_t ino, uint32_t p)
{
    uint32_t low = 0;

    for (size_t i = 0; i < c->life.nevents; i++) {
        const struct c_event *e = &c->life.event[i];
        if (e->ino == ino && e->op <= p && e->op > low)
            low = e->op;
    }
    while (low < p && !at(c, low, ino)) /* not before it was there */
        low++;
    return low;
}

/* A sector of a file with these bytes, which is what it was after operation v? */
static bool sector_is(const struct o_ino *in, uint64_t off, const uint8_t *got, size_t len)
{
    uint8_t want[SECTOR];

    pages_read(&in->data, want, len, off);
    return memcmp(want, got, len) == 0;
}

/* Bytes that were put back from the journal meet later ones anywhere, not at a sector's edge. */
static bool bytes_are(struct c_run *c, uint64_t ino, uint64_t off, const uint8_t *got, size_t len,
                      uint32_t firm, uint32_t upto)
{
    for (size_t i = 0; i < len; i++) {
        bool known = false;

        for (uint32_t v = firm; v <= upto && !known; v++)
            known = at(c, v, ino) && sector_is(at(c, v, ino), off + i, got + i, 1);
        if (!known)
            return false;
    }
    return true;
}

/* An operation of several steps (a copy, zeroing) that was cut: the size may be one in between. */
static bool size_fits(const struct c_run *c, const struct o_ino *got, const struct o_ino *base, uint32_t upto)
{
    const struct o_ino *before = upto ? at(c, upto - 1, got->ino) : NULL, *after = at(c, upto, got->ino);

    if (base->size == got->size)
        return true;
    return before && after && base == before && got->size >= MIN_OF(before->size, after->size) &&
           got->size <= MAX_OF(before->size, after->size);
}

/* Could the file be what a power cut leaves when its firm state is that after op firm? Later bytes may have landed. */
static bool explains(struct c_run *c, const struct o_ino *got, uint32_t firm, uint32_t upto, char why[256])
{
    const struct o_ino *base = at(c, firm, got->ino), *in;
    uint8_t sector[SECTOR];

    if (!base || !size_fits(c, got, base, upto)) {
        snprintf(why, 256, "inode %llu: %llu bytes", (unsigned long long)got->ino,
                 (unsigned long long)got->size);
        return false;
    }
    for (uint64_t off = 0; off < got->size; off += SECTOR) {
        size_t len = MIN_OF((uint64_t)SECTOR, got->size - off);
        bool known = false;

        pages_read(&got->data, sector, len, off);
        for (uint32_t v = firm; v <= upto && !known; v++) {
            in = at(c, v, got->ino);
            known = in && sector_is(in, off, sector, len);
        }
        if (!known && !bytes_are(c, got->ino, off, sector, len, firm, upto)) {
            snprintf(why, 256,
                     "inode %llu: sector at %llu was never so since operation %u (begins %02x %02x)",
                     (unsigned long long)got->ino, (unsigned long long)off, firm, sector[0], sector[1]);
            return false;
        }
    }
    return true;
}

static bool bytes_promised(struct c_run *c, const struct o_tree *got, uint32_t p, uint32_t upto,
                           char why[256])
{
    for (size_t i = 0; i < got->n; i++) {
        const struct o_ino *in = got->v[i];
        uint32_t low;
        bool ok = false;

        if (!S_ISREG(in->mode))
            continue;
        low = floor_of(c, in->ino, p);
        for (uint32_t firm = p; !ok; firm--) {
            ok = explains(c, in, firm, upto, why);
            if (firm == low)
                break;
        }
        if (!ok) {
            size_t n = strlen(why);
            snprintf(why + n, 256 - n, " [promised since %u]", low);
            return false;
        }
    }
    return true;
}

/* After a death: each file as after the last operation that had returned; the one under way may be there in part. */
static bool bytes_between(struct c_run *c, const struct o_tree *got, uint32_t acked, uint32_t upto,
                          char why[256])
{
    for (size_t i = 0; i < got->n; i++)
        if (S_ISREG(got->v[i]->mode) && !explains(c, got->v[i], acked, upto, why) &&
            !explains(c, got->v[i], upto, upto, why))
            return false;
    return true;
}

struct seen {
    struct c_run *c;
    uint32_t p, acked;
    bool there[SNAPS_MAX], durable[SNAPS_MAX];
    char *why;
};

static int on_snap(void *arg, const struct layer_rec *rec, const char *text, size_t text_len)
{
    struct seen *s = arg;
    struct c_life *l = &s->c->life;

    (void)text, (void)text_len;
    for (size_t i = 0; i < l->nsnaps; i++) {
        if (strcmp(l->snap[i].name, rec->name) != 0 || l->snap[i].created > s->p ||
            l->snap[i].deleted <= s->p)
            continue;
        s->there[i] = true;
        s->durable[i] = rec->state != LAYER_SETTLING;
        return 0;
    }
    snprintf(s->why, 256, "snapshot %.200s is there", rec->name);
    return 1;
}

/* A snapshot that is there is what it was. */
static bool snap_whole(struct c_run *c, const struct c_snap *sn, char why[256])
{
    struct vfs_attr a;
    struct o_tree *t;
    vfs_node root;
    bool same;
    int r = view_enter(c->v, sn->name, INO_ROOT, &root, &a);

    WANT(c, r == 0, "view_enter %s: %s", sn->name, err_name(r));
    t = c_read_tree(c, root, vfs_node_view(root));
    same = c_same_tree(t, sn->tree, why);
    o_tree_free(t);
    c->snaps_seen++;
    if (!same) {
        char text[256];
        memcpy(text, why, 256);
        snprintf(why, 256, "snapshot %.40s: %.200s", sn->name, text);
    }
    return same;
}

static bool snaps_promised(struct c_run *c, uint32_t p, uint32_t acked, bool all, char why[256])
{
    struct seen s = {.c = c, .p = p, .acked = acked, .why = why};
    int r = snap_each(c->v, on_snap, &s);

    WANT(c, r >= 0, "snap_each: %s", err_name(r));
    if (r != 0)
        return false;
    memcpy(c->there, s.there, sizeof(c->there));
    memcpy(c->durable, s.durable, sizeof(c->durable));
    for (size_t i = 0; i < c->life.nsnaps; i++) {
        const struct c_snap *sn = &c->life.snap[i];

        if (s.there[i] && !snap_whole(c, sn, why))
            return false;
        if (!s.there[i] && sn->created <= p && sn->deleted > p && (all || sn->durable <= acked)) {
            snprintf(why, 256, "snapshot %.40s is missing (taken %u, durable %u)", sn->name, sn->created,
                     sn->durable);
            return false;
        }
    }
    return true;
}

static void on_line(void *arg, const char *line)
{
    (void)arg;
    printf("  check: %s\n", line);
}

void c_sound(struct c_run *c)
{
    struct check_opts co = {.quiet = true, .say = on_line};
    struct check_result found = {0};
    int r = check_store(c->s, &co, &found);

    WANT(c, r == 0 && found.problems == 0, "check: %llu problems: %s", (unsigned long long)found.problems,
         err_name(r));
}

uint32_t c_judge(struct c_run *c, uint32_t acked, uint32_t upto, struct o_tree **ret_tree)
{
    struct o_tree *got = c_read_tree(c, (vfs_node){INO_ROOT}, c->v->rec.live_view);
    char why[256] = "no state fits", best[256] = "";
    uint32_t low = 0, best_p = 0;

    for (uint32_t k = 0; k <= acked; k++)
        if (c->life.flushed[k])
            low = k;
    for (uint32_t p = upto;; p--) {
        bool names = c_same_names(got, c->life.state[p], why);

        if (names && bytes_promised(c, got, p, upto, why) && snaps_promised(c, p, acked, false, why)) {
            if (ret_tree)
                *ret_tree = got;
            else
                o_tree_free(got);
            return p;
        }
        if ((names || !best[0]) && p >= low) {
            memcpy(best, why, 256);
            best_p = p;
        }
        if (p == low)
            break;
    }
    c_fail(c, "no state from %u to %u fits; nearest %u: %s", low, upto, best_p, best);
}

void c_judge_death(struct c_run *c, uint32_t acked, uint32_t upto, uint32_t *ret_op)
{
    struct o_tree *got = c_read_tree(c, (vfs_node){INO_ROOT}, c->v->rec.live_view);
    char why[256] = "";

    for (uint32_t p = upto;; p--) {
        if (c_same_names(got, c->life.state[p], why) && bytes_between(c, got, acked, upto, why) &&
            snaps_promised(c, p, acked, true, why)) {
            o_tree_free(got);
            *ret_op = p;
            return;
        }
        if (p == acked)
            break;
    }
    c_fail(c, "after a death: not the state after %u or %u: %s", acked, upto, why);
}
