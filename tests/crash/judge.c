#include "tests/crash/crash.h"

#define SECTOR 512u

/* Which volume is looked at. */
struct look {
    struct c_run *c;
    unsigned vol;
};

static const struct o_ino *at(const struct look *k, uint32_t op, uint64_t ino)
{
    return o_get(k->c->life.state[op][k->vol], ino);
}

/* The operation from which on the inode's bytes are promised to whoever sees the state after op p. */
static uint32_t floor_of(const struct look *k, uint64_t ino, uint32_t p)
{
    const struct c_firm *f = &k->c->life.firm[k->vol][ino];
    uint32_t low = 0;

    for (size_t i = 0; i < f->n; i++)
        if (f->op[i] <= p && f->op[i] > low)
            low = f->op[i];
    while (low < p && !at(k, low, ino)) /* not before it was there */
        low++;
    return low;
}

/* What the file was after each operation from firm to upto. */
struct versions {
    const struct pages *data[OPS_MAX + 1];
    size_t n;
};

static void versions_get(const struct look *k, uint64_t ino, uint32_t firm, uint32_t upto,
                         struct versions *ret)
{
    const struct o_ino *last = NULL;

    ret->n = 0;
    for (uint32_t op = firm; op <= upto; op++) {
        const struct o_ino *in = at(k, op, ino);

        if (in && in != last)
            ret->data[ret->n++] = &in->data;
        last = in;
    }
}

static bool part_known(const struct versions *v, uint64_t page, size_t off, const uint8_t *got, size_t len)
{
    const uint8_t *last = NULL;

    for (size_t i = 0; i < v->n; i++) {
        const uint8_t *want = c_page(v->data[i], page);

        if (want != last && memcmp(want + off, got, len) == 0)
            return true;
        last = want;
    }
    return false;
}

/* Bytes that were put back from the journal meet later ones anywhere, not at a sector's edge. */
static bool page_known(const struct versions *v, uint64_t page, const uint8_t *got, size_t len,
                       size_t *ret_bad)
{
    if (part_known(v, page, 0, got, len))
        return true;
    for (size_t off = 0; off < len; off += SECTOR) {
        size_t n = MIN_OF((size_t)SECTOR, len - off);

        *ret_bad = off;
        if (part_known(v, page, off, got + off, n))
            continue;
        for (size_t i = 0; i < n; i++)
            if (!part_known(v, page, off + i, got + off + i, 1))
                return false;
    }
    return true;
}

/* The size is that after op firm, or one in between of what came next: of an operation that was cut, or of one of several steps (a copy,
 * zeroing) of which the last are pending and lost. */
static bool size_fits(const struct look *k, const struct o_ino *got, uint32_t firm, uint32_t upto)
{
    const struct o_ino *base = at(k, firm, got->ino);

    if (base->size == got->size)
        return true;
    for (uint32_t op = firm + 1; op <= upto && at(k, op - 1, got->ino) == base; op++) {
        const struct o_ino *after = at(k, op, got->ino);

        if ((op == upto || k->c->life.steps[op]) && after && got->size >= MIN_OF(base->size, after->size) &&
            got->size <= MAX_OF(base->size, after->size))
            return true;
    }
    return false;
}

/* Could the file be what a power cut leaves when its firm state is that after op firm? Later bytes may have landed. */
static bool explains(const struct look *k, const struct o_ino *got, uint32_t firm, uint32_t upto,
                     char why[256])
{
    struct versions v;
    size_t bad;

    if (!at(k, firm, got->ino) || !size_fits(k, got, firm, upto)) {
        snprintf(why, 256, "inode %llu: %llu bytes", (unsigned long long)got->ino,
                 (unsigned long long)got->size);
        return false;
    }
    versions_get(k, got->ino, firm, upto, &v);
    for (uint64_t page = 0; page * PG_SIZE < got->size; page++) {
        const uint8_t *p = c_page(&got->data, page);
        size_t len = MIN_OF((uint64_t)PG_SIZE, got->size - page * PG_SIZE);

        if (!page_known(&v, page, p, len, &bad)) {
            snprintf(why, 256,
                     "inode %llu: sector at %llu was never so since operation %u (begins %02x %02x)",
                     (unsigned long long)got->ino, (unsigned long long)(page * PG_SIZE + bad), firm, p[bad],
                     p[bad + 1]);
            return false;
        }
    }
    return true;
}

/* The firm state may be that after any operation from the last promise to p. The earliest one whose size fits allows all the
 * bytes that a later one does. */
static bool bytes_promised(const struct look *k, const struct o_tree *got, uint32_t p, uint32_t upto,
                           char why[256])
{
    for (size_t i = 0; i < got->n; i++) {
        const struct o_ino *in = got->v[i];
        uint32_t low, firm;

        if (!S_ISREG(in->mode))
            continue;
        low = floor_of(k, in->ino, p);
        for (firm = low; firm < p; firm++)
            if (at(k, firm, in->ino) && size_fits(k, in, firm, upto))
                break;
        if (!explains(k, in, firm, upto, why)) {
            size_t n = strlen(why);
            snprintf(why + n, 256 - n, " [promised since %u]", low);
            return false;
        }
    }
    return true;
}

/* After a death: each file as after the last operation that had returned; the one under way may be there in part. */
static bool bytes_between(const struct look *k, const struct o_tree *got, uint32_t acked, uint32_t upto,
                          char why[256])
{
    for (size_t i = 0; i < got->n; i++)
        if (S_ISREG(got->v[i]->mode) && !explains(k, got->v[i], acked, upto, why) &&
            !explains(k, got->v[i], upto, upto, why))
            return false;
    return true;
}

/* The snapshot of the life that this is when p operations count; -1: none. */
static int snap_of(const struct c_life *l, const struct c_shown *sh, uint32_t p)
{
    for (size_t i = 0; i < l->nsnaps; i++)
        if (l->snap[i].vol == sh->vol && strcmp(l->snap[i].name, sh->name) == 0 && l->snap[i].created <= p &&
            l->snap[i].deleted > p)
            return (int)i;
    return -1;
}

/* A snapshot that is there is what it was. */
static bool snap_whole(struct c_run *c, const struct c_state *st, struct c_shown *sh, int i, char why[256])
{
    const struct c_snap *sn = &c->life.snap[i];
    const struct o_tree *t = c_state_snap(c, st, sh);

    if (!t || sh->whole == i)
        return true;
    c->fig.snaps++;
    if (!c_same_tree(t, sn->tree, why)) {
        char text[256];
        memcpy(text, why, 256);
        snprintf(why, 256, "snapshot %.40s: %.200s", sn->name, text);
        return false;
    }
    sh->whole = i;
    return true;
}

/* Which ones are there is noted. */
static bool snaps_seen(struct c_run *c, struct c_state *st, uint32_t p, bool all, char why[256])
{
    memset(c->there, 0, sizeof(c->there));
    memset(c->durable, 0, sizeof(c->durable));
    for (size_t k = 0; k < st->nsnaps; k++) {
        struct c_shown *sh = &st->snap[k];
        int i = snap_of(&c->life, sh, p);

        if (i < 0) {
            snprintf(why, 256, "snapshot %.200s is there", sh->name);
            return false;
        }
        c->there[i] = true;
        c->durable[i] = sh->durable;
        if ((all || c_rand(c, 3) == 0) && !snap_whole(c, st, sh, i, why))
            return false;
    }
    return true;
}

/* A snapshot of a group is there with the other's, unless one of them was deleted since. */
static bool group_whole(const struct c_life *l, const bool *there, size_t i, uint32_t upto)
{
    const struct c_snap *sn = &l->snap[i], *twin = sn->twin < 0 ? NULL : &l->snap[sn->twin];

    return !twin || there[i] == there[sn->twin] || sn->deleted <= upto || twin->deleted <= upto;
}

static bool snaps_promised(struct c_run *c, struct c_state *st, uint32_t p, uint32_t acked, uint32_t upto,
                           bool all, char why[256])
{
    const struct c_life *l = &c->life;

    if (!snaps_seen(c, st, p, all, why))
        return false;
    for (size_t i = 0; i < l->nsnaps; i++) {
        const struct c_snap *sn = &l->snap[i];

        if (!c->there[i] && sn->created <= p && sn->deleted > p && (all || sn->durable <= acked)) {
            snprintf(why, 256, "snapshot %.40s is missing (taken %u, durable %u)", sn->name, sn->created,
                     sn->durable);
            return false;
        }
        if (!group_whole(l, c->there, i, upto)) {
            snprintf(why, 256, "group snapshot %.40s is there in one volume only", sn->name);
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

void c_sound(struct c_run *c, uint32_t passes)
{
    struct check_opts co = {.quiet = true, .passes = passes, .say = on_line};
    struct check_result found = {0};
    int r = check_store(c->s, &co, &found);

    c->fig.checked++;
    WANT(c, r == 0 && found.problems == 0, "check: %llu problems: %s", (unsigned long long)found.problems,
         err_name(r));
}

static bool all_names(struct c_run *c, struct o_tree *const got[VOLS], uint32_t p, char why[256])
{
    for (unsigned i = 0; i < VOLS; i++)
        if (!c_same_names(got[i], c->life.state[p][i], why))
            return false;
    return true;
}

static bool all_bytes(struct c_run *c, struct o_tree *const got[VOLS], uint32_t p, uint32_t upto,
                      char why[256])
{
    for (unsigned i = 0; i < VOLS; i++)
        if (!bytes_promised(&(struct look){c, i}, got[i], p, upto, why))
            return false;
    return true;
}

void c_judge(struct c_run *c, struct c_state *st, uint32_t acked, uint32_t upto)
{
    char why[256] = "no state fits", best[256] = "";
    uint32_t low = 0, best_p = 0;
    bool named = false; /* a state of which the names fit was met */

    for (uint32_t k = 0; k <= acked; k++)
        if (c->life.flushed[k])
            low = k;
    for (uint32_t p = upto;; p--) {
        bool names = all_names(c, st->tree, p, why);

        if (names && all_bytes(c, st->tree, p, upto, why) &&
            snaps_promised(c, st, p, acked, upto, false, why)) {
            st->fits = true, st->acked = acked, st->upto = upto;
            return;
        }
        if (!named) {
            memcpy(best, why, 256);
            best_p = p;
        }
        named |= names;
        if (p == low)
            break;
    }
    c_fail(c, "no state from %u to %u fits; nearest %u: %s", low, upto, best_p, best);
}

uint32_t c_judge_death(struct c_run *c, uint32_t acked, uint32_t upto)
{
    struct c_state *st = c_state_here(c, true);
    char why[256] = "";

    for (uint32_t p = upto;; p--) {
        bool fits = all_names(c, st->tree, p, why);

        for (unsigned i = 0; i < VOLS && fits; i++)
            fits = bytes_between(&(struct look){c, i}, st->tree[i], acked, upto, why);
        if (fits && snaps_promised(c, st, p, acked, upto, true, why))
            return p;
        if (p == acked)
            break;
    }
    c_fail(c, "after a death: not the state after %u or %u: %s", acked, upto, why);
}
