#include "tests/tier/random.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/lib/seeded.h"
#include "tests/lib/test.h"
#include "tests/lib/tree.h"
#include "tests/tier/random_work.h"
#include "tier/domains.h"
#include "tier/have_i.h"
#include "tier/map.h"
#include "tier/lease.h"
#include "tier/prune.h"
#include "tier/reindex.h"
#include "tier/verify.h"

#define POINTS_KEPT 14 /* of a repository, before some are deleted */
#define SHOTS_KEPT 5   /* of a volume */

/* --- backups -------------------------------------------------------------------------------------------------------- */

static int cancel(void *arg, uint64_t items, uint64_t bytes)
{
    struct work *w = arg;

    (void)items;
    (void)bytes;
    return w->at-- == 0 ? -E_CANCELED : 0;
}

/* Another process of the same machine names what was put so far, and looks what is there: it has the same knowledge. */
static void same_machine(struct life *l, const struct work *w)
{
    struct repo *mine = TAKE(l->repo[w->machine][w->k]), *r = life_repo(l, w->machine, w->k);
    struct packer *p;

    CHECK_OK(repo_sync(r));
    if (life_draw(l, 2)) {
        CHECK_OK(packer_new(r, NULL, &p));
        CHECK_OK(packer_index(p));
        packer_free(p);
    }
    repo_close(r);
    l->repo[w->machine][w->k] = mine;
}

/* Others prune in the middle of it, when what was condemned before is due, and again. */
static int meanwhile(void *arg, uint64_t items, uint64_t bytes)
{
    struct work *w = arg;
    struct life *l = w->l;
    struct work other = {.run = work_prune, .machine = PRUNER, .k = w->k};
    unsigned n = 1 + (unsigned)life_draw(l, 2);

    (void)items;
    (void)bytes;
    if (w->done || w->at-- > 0)
        return 0;
    w->done = true;
    if (w->gone && w->gone->id[0])
        life_point_delete(l, w->k, w->gone);
    for (unsigned i = 0; w->all && i < POINTS; i++)
        if (l->rp[w->k][i].id[0] && l->shot[l->rp[w->k][i].shot].vol == w->vol)
            life_point_delete(l, w->k, &l->rp[w->k][i]);
    for (unsigned i = 0; i < n; i++) {
        place_later(&l->place[w->k], CONDEMNED_GRACE_NS + 1);
        if (life_draw(l, 4) == 0)
            same_machine(l, w);
        CHECK_OK(work_prune(l, &other));
    }
    if (life_draw(l, 2))
        same_machine(l, w);
    l->n[N_MEANWHILE]++;
    return 0;
}

static bool has_it(const struct life *l, unsigned k, const struct shot *s)
{
    for (unsigned i = 0; i < POINTS; i++)
        if (l->rp[k][i].id[0] && &l->shot[l->rp[k][i].shot] == s)
            return true;
    return false;
}

static void must_be_there(struct life *l, unsigned k, const struct shot *s)
{
    life_reconcile(l, k);
    if (!has_it(l, k, s))
        test_fail(__FILE__, __LINE__, "%s was acknowledged and is in no recovery point", s->name);
}

static void backup_plainly(struct life *l, struct work *w)
{
    CHECK_OK(w->run(l, w));
    must_be_there(l, w->k, w->shot);
}

/* In one of the ways in which a backup goes, or does not. */
static void backup_somehow(struct life *l, struct work *w)
{
    uint64_t way = life_draw(l, 20);
    bool killed = false, ended = false;

    if (way < 8) {
        ended = w->run(l, w) == 0;
        CHECK(ended);
    } else if (way < 10) {
        w->at = life_draw(l, 30);
        w->progress = cancel;
        ended = w->run(l, w) == 0;
        l->n[N_CANCELED] += !ended;
    } else if (way < 13) {
        ended = work_with_fault(l, w) == 0;
    } else if (way < 16) {
        w->at = life_draw(l, 10);
        w->gone = life_draw(l, 2) ? life_point(l, w->k) : NULL;
        w->all = life_draw(l, 2);
        w->full = life_draw(l, 2); /* then it relies on what is found, not on what it goes on from */
        w->vol = w->shot->vol;
        w->progress = meanwhile;
        CHECK_OK(w->run(l, w));
        ended = true;
    } else if (!l->place[w->k].m) {
        ended = work_in_child(l, w, &killed) == WORK_DONE && !killed;
        l->n[N_INCREMENT] += ended;
    }
    w->progress = NULL;
    life_reconcile(l, w->k);
    if (ended)
        must_be_there(l, w->k, w->shot);
}

static struct work backup_of(struct life *l, struct shot *s)
{
    return (struct work){.run = work_backup,
                         .machine = s->vol < 2 ? 0 : 1,
                         .k = life_draw(l, 8) == 0,
                         .shot = s,
                         .full = life_draw(l, 8) == 0,
                         .codec = life_draw(l, 3) ? CODEC_NONE : CODEC_LZ4,
                         .domain = life_draw(l, 3)   ? BACKUP_AS_BEFORE
                                   : life_draw(l, 2) ? BACKUP_OWN
                                                     : BACKUP_SHARED,
                         .l = l};
}

static void room_make(struct life *l)
{
    for (unsigned k = 0; k < REPOS; k++)
        while (life_points(l, k) > POINTS_KEPT)
            life_point_delete(l, k, life_point(l, k));
}

static struct shot *shot_of(struct life *l, unsigned vol, unsigned *ret_n)
{
    struct shot *found = NULL;

    *ret_n = 0;
    for (unsigned i = 0; i < SHOTS; i++)
        if (l->shot[i].used && l->shot[i].here && l->shot[i].vol == vol && life_draw(l, ++*ret_n) == 0)
            found = &l->shot[i];
    return found;
}

static struct shot *shot_new_or_old(struct life *l)
{
    unsigned vol = (unsigned)life_draw(l, VOLS), n;
    struct shot *s = shot_of(l, vol, &n);

    if (s && life_draw(l, 10) == 0)
        return s;
    if (n >= SHOTS_KEPT)
        life_unshoot(l, s);
    twin_mess(&l->twin[vol], &l->rng, 1 + (unsigned)life_draw(l, 12));
    return life_shoot(l, vol);
}

static void step_backup(struct life *l)
{
    struct work w = backup_of(l, shot_new_or_old(l));

    backup_somehow(l, &w);
    if (!has_it(l, w.k, w.shot) && life_draw(l, 3)) {
        l->n[N_AGAIN]++;
        backup_plainly(l, &w);
    }
}

/* Two writers and a prune at the same time, each in a process of its own; now and then one of them is killed. */
static void step_storm(struct life *l)
{
    struct shot *s[2] = {NULL};
    struct work w[3];
    int pid[3], r;

    for (unsigned i = 0; i < 2; i++) {
        unsigned vol = i ? 2 : (unsigned)life_draw(l, 2);

        twin_mess(&l->twin[vol], &l->rng, 1 + (unsigned)life_draw(l, 12));
        s[i] = life_shoot(l, vol);
        w[i] = backup_of(l, s[i]);
        w[i].k = 0;
    }
    w[2] = (struct work){.run = work_prune, .machine = PRUNER};
    if (life_draw(l, 2))
        place_later(&l->place[0], CONDEMNED_GRACE_NS + 1);
    for (unsigned i = 0; i < 2; i++)
        work_apart_begin(l, s[i]);
    for (unsigned i = 0; i < 3; i++)
        pid[i] = work_child(l, &w[i]);
    for (unsigned i = 0; i < 3; i++)
        if (life_draw(l, 3) == 0) {
            usleep((unsigned)life_draw(l, 8000));
            kill(pid[i], SIGKILL);
        }
    for (unsigned i = 0; i < 3; i++)
        if (work_child_end(l, pid[i], &r))
            w[i].done = true;
    for (unsigned i = 0; i < 2; i++)
        work_apart_end(l, s[i]);
    for (unsigned i = 0; i < 2; i++)
        if (!w[i].done)
            must_be_there(l, 0, s[i]);
    life_reconcile(l, 0);
    for (unsigned i = 0; i < 2; i++)
        if (life_draw(l, 2) || l->n[N_STORM] % 3)
            life_unshoot(l, s[i]);
    l->n[N_STORM]++;
}

/* --- the other steps ------------------------------------------------------------------------------------------------ */

/* Whoever died in a prune holds the lease for a while. */
static void lease_away(struct life *l, unsigned k)
{
    struct backend *b;
    unsigned gone, alive;

    if (life_draw(l, 2)) {
        place_later(&l->place[k], LEASE_NS + 1);
        return;
    }
    b = place_backend(&l->place[k]);
    CHECK_OK(lease_break(b, NULL, true, &gone, &alive));
    backend_close(b);
    l->n[N_UNLOCK]++;
}

static void prune_plainly(struct life *l, struct work *w)
{
    int r = w->run(l, w);

    if (r == -E_BUSY) {
        lease_away(l, w->k);
        r = w->run(l, w);
    }
    CHECK_OK(r);
}

static void step_prune(struct life *l)
{
    struct work w = {.run = work_prune,
                     .machine = (unsigned)life_draw(l, 3),
                     .k = life_draw(l, 4) == 0,
                     .exclusive = life_draw(l, 3) == 0};
    uint64_t way = life_draw(l, 10);
    bool killed;

    if (life_draw(l, 2))
        place_later(&l->place[w.k], (int64_t)life_draw(l, 2 * (uint64_t)CONDEMNED_GRACE_NS));
    if (way < 5)
        prune_plainly(l, &w);
    else if (way < 7)
        (void)work_with_fault(l, &w);
    else if (!l->place[w.k].m && work_in_child(l, &w, &killed) == WORK_DONE && !killed)
        l->n[w.exclusive ? N_EXCLUSIVE : N_PRUNE]++;
    life_reconcile(l, w.k);
}

static void step_copy(struct life *l)
{
    unsigned k = (unsigned)life_draw(l, 2);
    struct rp *p = life_point(l, !k);
    struct work w = {.run = work_copy, .machine = (unsigned)life_draw(l, 3), .k = k, .l = l};
    uint64_t way = life_draw(l, 8);
    bool killed = false, ended = false;
    struct shot *s;

    if (!p)
        return;
    w.id = p->id;
    s = &l->shot[p->shot];
    if (way < 2) {
        ended = work_with_fault(l, &w) == 0;
    } else if (way < 4 && !l->place[k].m && !l->place[!k].m) {
        ended = work_in_child(l, &w, &killed) == WORK_DONE && !killed;
        l->n[N_COPY] += ended;
    } else {
        w.at = life_draw(l, 30);
        w.gone = life_draw(l, 2) ? life_point(l, k) : NULL;
        w.all = life_draw(l, 3) == 0;
        w.vol = s->vol;
        w.progress = life_draw(l, 3) ? NULL : meanwhile;
        CHECK_OK(w.run(l, &w));
        ended = true;
    }
    life_reconcile(l, k);
    if (ended)
        must_be_there(l, k, s);
}

static void step_delete(struct life *l)
{
    unsigned k = (unsigned)life_draw(l, 3) == 0;
    struct rp *p = life_point(l, k);

    if (p)
        life_point_delete(l, k, p);
}

static struct id16 domain_of(struct life *l, unsigned k, const struct rp *p)
{
    struct point pt;

    CHECK_OK(point_get(life_repo(l, PRUNER, k), p->id, &pt));
    point_release(&pt);
    return pt.domain;
}

/* All recovery points of a volume's own domain go with it, and no others. */
static void step_shred(struct life *l)
{
    unsigned k = (unsigned)life_draw(l, 3) == 0;
    struct rp *one = life_point(l, k);
    struct id16 id = one ? domain_of(l, k, one) : (struct id16){{0}}, is;
    uint64_t points, n = 0;

    if (id16_none(&id))
        return;
    for (unsigned i = 0; i < POINTS; i++) {
        struct rp *p = &l->rp[k][i];

        is = p->id[0] ? domain_of(l, k, p) : (struct id16){{0}};
        if (memcmp(is.b, id.b, sizeof(id.b)) != 0)
            continue;
        p->id[0] = 0;
        n++;
    }
    CHECK_OK(domain_shred(life_repo(l, PRUNER, k), &id, &points));
    CHECK_EQ(points, n);
    l->n[N_SHRED]++;
}

static void step_restore(struct life *l)
{
    struct work w = {.machine = (unsigned)life_draw(l, MACHINES), .k = life_draw(l, 3) == 0, .l = l};
    struct rp *p = life_point(l, w.k);

    if (!p)
        return;
    w.at = life_draw(l, 6);
    if (life_draw(l, 2) == 0) { /* others prune in the middle of it */
        l->restoring = meanwhile;
        l->restoring_arg = &w;
    }
    life_restore(l, w.machine, w.k, p, life_draw(l, 3) == 0);
    l->restoring = NULL;
}

static void step_verify(struct life *l)
{
    uint64_t way = life_draw(l, 4);

    life_verify(l, life_draw(l, 3) == 0, way == 0, way == 1 ? 0.5 : 0);
}

/* Indexes are damaged or gone; then they are made anew, by whoever it is. */
static void step_reindex(struct life *l)
{
    cleanup(buf_free) struct buf names = {0};
    struct work w = {.run = work_reindex, .machine = (unsigned)life_draw(l, 3), .k = life_draw(l, 3) == 0};
    bool killed;

    place_names(&l->place[w.k], "index/", &names);
    for (size_t at = 0; at < names.len; at += strlen((char *)names.data + at) + 1) {
        if (life_draw(l, 3) == 0)
            place_flip(&l->place[w.k], (char *)names.data + at, 8 + life_draw(l, 100));
        else if (life_draw(l, 3) == 0)
            place_drop(&l->place[w.k], (char *)names.data + at);
    }
    if (!l->place[w.k].m && life_draw(l, 3) == 0)
        (void)work_in_child(l, &w, &killed);
    CHECK_OK(w.run(l, &w));
    life_verify(l, w.k, life_draw(l, 2), 0);
}

/* A bit of a pack that is named is another: it is noticed. Then it is as it was. */
static void step_damage(struct life *l)
{
    cleanup(buf_free) struct buf names = {0};
    struct verify_opts o = {.full = true};
    struct verify_result res;
    unsigned k = life_draw(l, 2);
    size_t n = place_names(&l->place[k], "packs/", &names), which = n ? life_draw(l, n) : 0, at = 0;
    uint64_t byte = 40 + life_draw(l, 100);

    if (n == 0)
        return;
    while (which-- > 0)
        at += strlen((char *)names.data + at) + 1;
    place_flip(&l->place[k], (char *)names.data + at, byte);
    life_forget(l, EYE);
    CHECK_OK(verify_run(life_repo(l, EYE, k), &o, &res));
    CHECK(res.damages > 0 || res.unnamed > 0);
    place_flip(&l->place[k], (char *)names.data + at, byte);
    l->n[N_DAMAGE]++;
}

static void step_daemon(struct life *l)
{
    unsigned box = (unsigned)life_draw(l, 2);

    if (life_draw(l, 2))
        box_die(&l->box[box]);
    else
        box_reopen(&l->box[box]);
    life_attached(l, box);
    l->n[N_DIE]++;
}

static void step_forget(struct life *l)
{
    life_forget(l, (unsigned)life_draw(l, MACHINES));
    l->n[N_FORGET]++;
}

static void step_rollback(struct life *l)
{
    unsigned vol = (unsigned)life_draw(l, VOLS), n;
    struct twin *t = &l->twin[vol];
    struct shot *s = shot_of(l, vol, &n);
    char kept[NAME_LEN_MAX + 1];

    if (!s)
        return;
    if (snap_rollback(t->v, NULL, s->name, kept) == -E_DEPTH) /* too many of them, until they are flattened */
        return;
    CHECK_OK(snap_delete(t->v, NULL, kept));
    tree_remove(t->plain);
    plain_copy(s->copy, t->plain);
    l->n[N_ROLLBACK]++;
}

static void step(struct life *l)
{
    static const struct {
        void (*fn)(struct life *l);
        unsigned weight;
    } steps[] = {{step_backup, 44}, {step_storm, 3},    {step_prune, 16},  {step_copy, 7},   {step_delete, 6},
                 {step_restore, 9}, {step_verify, 3},   {step_reindex, 2}, {step_damage, 1}, {step_daemon, 2},
                 {step_forget, 2},  {step_rollback, 3}, {step_shred, 2}};
    uint64_t sum = 0, at;
    size_t i = 0;

    for (size_t j = 0; j < ARRAY_LEN(steps); j++)
        sum += steps[j].weight;
    for (at = life_draw(l, sum); at >= steps[i].weight; i++)
        at -= steps[i].weight;
    steps[i].fn(l);
    room_make(l);
}

/* All that is there comes back, and all of it goes. */
static void judge(struct life *l)
{
    cleanup(buf_free) struct buf names = {0};

    for (unsigned k = 0; k < REPOS; k++) {
        struct work w = {.run = work_prune, .machine = PRUNER, .k = k, .exclusive = true};
        struct rp *p;

        life_verify(l, k, true, 0);
        for (unsigned i = 0; i < POINTS; i++)
            if (l->rp[k][i].id[0])
                life_restore(l, EYE, k, &l->rp[k][i], false);
        prune_plainly(l, &w);
        life_verify(l, k, true, 0);
        while ((p = life_point(l, k)))
            life_point_delete(l, k, p);
        prune_plainly(l, &w);
        CHECK_EQ(place_names(&l->place[k], "packs/", &names), 0);
        CHECK_EQ(place_names(&l->place[k], "index/", &names), 0);
        CHECK_EQ(place_names(&l->place[k], "condemned/", &names), 0);
    }
    for (unsigned i = 0; i < 2; i++)
        box_sound(&l->box[i]);
}

/* --- lives ---------------------------------------------------------------------------------------------------------- */

static uint64_t number(const char *name, uint64_t otherwise)
{
    const char *s = getenv(name);

    return s && *s ? strtoull(s, NULL, 0) : otherwise;
}

static void show(const uint64_t n[N_COUNTS], unsigned lives)
{
    uint64_t backups = n[N_FULL] + n[N_INCREMENT] + n[N_SAME];

    printf(
        "    %u lives: %llu backups (%llu whole, %llu incremental, %llu of what was there), %llu cancelled, "
        "%llu begun again, %llu with two writers and a prune at once\n",
        lives, (unsigned long long)backups, (unsigned long long)n[N_FULL], (unsigned long long)n[N_INCREMENT],
        (unsigned long long)n[N_SAME], (unsigned long long)n[N_CANCELED], (unsigned long long)n[N_AGAIN],
        (unsigned long long)n[N_STORM]);
    printf("    %llu prunes (%llu of them exclusive, %llu runs of a prune inside of a backup or copy), %llu "
           "leases "
           "broken, %llu deleted, %llu copies\n",
           (unsigned long long)(n[N_PRUNE] + n[N_EXCLUSIVE]), (unsigned long long)n[N_EXCLUSIVE],
           (unsigned long long)n[N_MEANWHILE], (unsigned long long)n[N_UNLOCK],
           (unsigned long long)n[N_DELETE], (unsigned long long)n[N_COPY]);
    printf("    %llu kill -9, %llu calls gone wrong, %llu stores closed or dead, %llu caches lost\n",
           (unsigned long long)n[N_KILL], (unsigned long long)n[N_FAULT], (unsigned long long)n[N_DIE],
           (unsigned long long)n[N_FORGET]);
    printf(
        "    %llu restores, %llu of paths, %llu verified, %llu indexes made anew, %llu damages found, %llu "
        "rollbacks, %llu domains shredded\n",
        (unsigned long long)n[N_RESTORE], (unsigned long long)n[N_PATHS], (unsigned long long)n[N_VERIFY],
        (unsigned long long)n[N_REINDEX], (unsigned long long)n[N_DAMAGE], (unsigned long long)n[N_ROLLBACK],
        (unsigned long long)n[N_SHRED]);
}

static struct life life;

/* Maps and caches are small here: in most lives they work as large ones do. */
static void sizes_for(uint64_t seed)
{
    static uint64_t roll_from, young_max, part_max;

    if (!roll_from) {
        roll_from = map_roll_from;
        young_max = have_young_max;
        part_max = have_part_max;
    }
    map_roll_from = seed % 4 ? 2 + seed % 7 : roll_from;
    have_young_max = seed % 3 ? 10 + seed % 50 : young_max;
    have_part_max = seed % 3 ? 30 : part_max;
}

static void test_random__everything_comes_back(void)
{
    uint64_t lives = number("LIVES", 4), steps = number("STEPS", 100), sum[N_COUNTS] = {0};
    mode_t mask = umask(0);

    for (uint64_t i = 0; i < lives; i++) {
        uint64_t seed = test_seed() + i;

        sizes_for(seed);
        seeded_begin(seed);
        life_begin(&life, seed);
        for (uint64_t n = 0; n < steps; n++) {
            if (getenv("SAY"))
                printf("seed %llu step %llu\n", (unsigned long long)seed, (unsigned long long)n);
            step(&life);
        }
        judge(&life);
        life_end(&life);
        seeded_end();
        for (unsigned k = 0; k < N_COUNTS; k++)
            sum[k] += life.n[k];
    }
    umask(mask);
    show(sum, (unsigned)lives);
    if (lives >= 4 && steps >= 50) {
        expect_mark("map: it rolls");
        expect_mark("have: a part was settled");
    }
}

int random_main(char *program)
{
    static struct test_case t = {.name = "test_random__everything_comes_back",
                                 .fn = test_random__everything_comes_back};
    char *argv[] = {program, (char *)(uintptr_t)t.name, NULL};

    test_register(&t);
    return test_main(2, argv);
}
