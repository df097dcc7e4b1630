#include "tests/tier/random_life.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "tests/lib/test.h"
#include "tests/lib/tree.h"

uint64_t life_draw(struct life *l, uint64_t below)
{
    return test_rand(&l->rng) % below;
}

/* --- stores and machines -------------------------------------------------------------------------------------------- */

static unsigned box_of(unsigned vol)
{
    return vol < 2 ? 0 : 1;
}

void life_attached(struct life *l, unsigned box)
{
    for (unsigned i = 0; i < VOLS; i++)
        if (box_of(i) == box)
            CHECK_OK(volume_find(l->box[box].s, i == 1 ? "second" : "main", &l->twin[i].v));
}

static void cache_of(unsigned machine, char out[300])
{
    snprintf(out, 300, "%s/cache%u", test_dir(), machine);
}

struct repo *life_repo(struct life *l, unsigned machine, unsigned k)
{
    cleanup(buf_free) struct buf err = {0};
    char cache[300];

    cache_of(machine, cache);
    if (!l->repo[machine][k] &&
        repo_open(place_backend(&l->place[k]), NULL, &l->secret[k], cache, &l->repo[machine][k], &err) < 0)
        test_fail(__FILE__, __LINE__, "%s", buf_cstr(&err));
    return l->repo[machine][k];
}

void life_close_repos(struct life *l)
{
    for (unsigned i = 0; i < MACHINES; i++)
        for (unsigned k = 0; k < REPOS; k++)
            repo_close(TAKE(l->repo[i][k]));
}

void life_forget(struct life *l, unsigned machine)
{
    char cache[300];

    cache_of(machine, cache);
    for (unsigned k = 0; k < REPOS; k++)
        repo_close(TAKE(l->repo[machine][k]));
    (void)tree_remove(cache);
}

static void repository_make(struct life *l, unsigned k, bool memory)
{
    struct repo_root root;
    struct backend *b;
    char dir[300];

    snprintf(dir, sizeof(dir), "%s/r%u", test_dir(), k);
    place_open(&l->place[k], memory ? NULL : dir);
    l->secret[k] = (struct secret){.kdf = KDF_FILE};
    memset(l->secret[k].file.b, 0x11 + (int)k, sizeof(l->secret[k].file.b));
    b = place_backend(&l->place[k]);
    CHECK_OK(repo_init(b, NULL, &l->secret[k], &root));
    backend_close(b);
}

void life_begin(struct life *l, uint64_t seed)
{
    char path[300];

    *l = (struct life){.rng = seed};
    for (unsigned i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/store%u", test_dir(), i);
        box_open(&l->box[i], NULL, path);
    }
    CHECK_OK(volume_create(l->box[0].s, "second", NULL, &l->twin[1].v));
    for (unsigned i = 0; i < 2; i++)
        life_attached(l, i);
    for (unsigned i = 0; i < VOLS; i++) {
        struct twin *t = &l->twin[i];

        t->b = &l->box[box_of(i)];
        l->uuid[i] = t->v->rec.uuid;
        snprintf(t->plain, sizeof(t->plain), "%s/plain%u", test_dir(), i);
        twin_begin(t);
        twin_mess(t, &l->rng, 30);
    }
    repository_make(l, 0, false);
    repository_make(l, 1, life_draw(l, 2));
}

void life_end(struct life *l)
{
    life_close_repos(l);
    for (unsigned i = 0; i < 2; i++) {
        box_close(&l->box[i]);
        tree_remove(l->box[i].path);
    }
    for (unsigned i = 0; i < MACHINES; i++)
        life_forget(l, i);
    for (unsigned i = 0; i < VOLS; i++)
        tree_remove(l->twin[i].plain);
    for (unsigned i = 0; i < SHOTS; i++)
        if (l->shot[i].used)
            tree_remove(l->shot[i].copy);
    for (unsigned k = 0; k < REPOS; k++) {
        if (l->place[k].dir[0])
            tree_remove(l->place[k].dir);
        place_release(&l->place[k]);
    }
}

/* --- snapshots ------------------------------------------------------------------------------------------------------ */

static bool is_needed(const struct life *l, unsigned shot)
{
    for (unsigned k = 0; k < REPOS; k++)
        for (unsigned i = 0; i < POINTS; i++)
            if (l->rp[k][i].id[0] && l->rp[k][i].shot == shot)
                return true;
    return l->shot[shot].here;
}

static struct shot *shot_new(struct life *l)
{
    for (unsigned i = 0; i < SHOTS; i++) {
        struct shot *s = &l->shot[i];

        if (s->used && is_needed(l, i))
            continue;
        if (s->used)
            tree_remove(s->copy);
        *s = (struct shot){.used = true, .here = true};
        return s;
    }
    test_fail(__FILE__, __LINE__, "too many snapshots");
}

struct shot *life_shoot(struct life *l, unsigned vol)
{
    struct shot *s = shot_new(l);
    struct vol *v = l->twin[vol].v;
    struct layer_rec rec;

    s->vol = vol;
    snprintf(s->name, sizeof(s->name), "s%llu", (unsigned long long)++l->shots);
    snprintf(s->copy, sizeof(s->copy), "%s/%s", test_dir(), s->name);
    plain_copy(l->twin[vol].plain, s->copy);
    CHECK_OK(snap_create(v, NULL, s->name, &rec));
    CHECK_OK(snap_wait_durable(v, rec.layer));
    return s;
}

void life_unshoot(struct life *l, struct shot *s)
{
    CHECK_OK(snap_delete(l->twin[s->vol].v, NULL, s->name));
    s->here = false;
}

/* --- recovery points ------------------------------------------------------------------------------------------------ */

unsigned life_points(const struct life *l, unsigned k)
{
    unsigned n = 0;

    for (unsigned i = 0; i < POINTS; i++)
        n += l->rp[k][i].id[0] != 0;
    return n;
}

struct rp *life_point(struct life *l, unsigned k)
{
    unsigned n = life_points(l, k), at = n ? (unsigned)life_draw(l, n) : 0;

    for (unsigned i = 0; n && i < POINTS; i++)
        if (l->rp[k][i].id[0] && at-- == 0)
            return &l->rp[k][i];
    return NULL;
}

void life_point_delete(struct life *l, unsigned k, struct rp *p)
{
    char name[80];

    snprintf(name, sizeof(name), "points/%s", p->id);
    place_drop(&l->place[k], name);
    p->id[0] = 0;
    l->n[N_DELETE]++;
}

static bool is_known(const struct life *l, unsigned k, const char *id)
{
    for (unsigned i = 0; i < POINTS; i++)
        if (strcmp(l->rp[k][i].id, id) == 0)
            return true;
    return false;
}

/* By what it says: whose snapshot it is. */
static void point_take(struct life *l, unsigned k, const char *id)
{
    struct point p;
    unsigned at = 0, shot = SHOTS;

    CHECK_OK(point_get(life_repo(l, EYE, k), id, &p));
    for (unsigned i = 0; i < SHOTS; i++)
        if (l->shot[i].used && strcmp(l->shot[i].name, p.snapshot_name) == 0 &&
            uuid_equal(&l->uuid[l->shot[i].vol], &p.volume))
            shot = i;
    if (shot == SHOTS)
        test_fail(__FILE__, __LINE__, "recovery point %s of %s@%s: nobody made it", id, p.volume_name,
                  p.snapshot_name);
    point_release(&p);
    while (at < POINTS && l->rp[k][at].id[0])
        at++;
    CHECK(at < POINTS);
    l->rp[k][at].shot = shot;
    snprintf(l->rp[k][at].id, sizeof(l->rp[k][at].id), "%s", id);
}

void life_reconcile(struct life *l, unsigned k)
{
    cleanup(buf_free) struct buf names = {0};
    size_t n = place_names(&l->place[k], "points/", &names);
    unsigned known = 0;

    for (size_t at = 0; at < names.len; at += strlen((char *)names.data + at) + 1)
        known += is_known(l, k, (char *)names.data + at + strlen("points/"));
    if (known != life_points(l, k))
        test_fail(__FILE__, __LINE__,
                  "repository %u: %u recovery points were acknowledged, %u of them are there", k,
                  life_points(l, k), known);
    for (size_t at = 0; known < n && at < names.len; at += strlen((char *)names.data + at) + 1)
        if (!is_known(l, k, (char *)names.data + at + strlen("points/")))
            point_take(l, k, (char *)names.data + at + strlen("points/"));
}
