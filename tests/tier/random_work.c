#include "tests/tier/random_work.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/seeded.h"
#include "tests/lib/test.h"
#include "tier/copy.h"
#include "tier/prune.h"
#include "tier/reindex.h"

static int told(void *arg, const char *what, uint64_t done, uint64_t of)
{
    (void)arg, (void)what, (void)done, (void)of;
    return 0;
}

int work_backup(struct life *l, struct work *w)
{
    struct backup_opts o = {
        .full = w->full, .codec = w->codec, .domain = w->domain, .arg = w, .progress = w->progress};
    struct vol *v = l->twin[w->shot->vol].v;
    struct backup_result res;
    struct layer_rec rec;
    int r;

    CHECK_OK(snap_find(v, w->shot->name, &rec));
    r = backup_run(life_repo(l, w->machine, w->k), v, &rec, &o, &res);
    if (r < 0)
        return r;
    w->same = res.same;
    l->n[res.same ? N_SAME : res.base[0] ? N_INCREMENT : N_FULL]++;
    return 0;
}

int work_prune(struct life *l, struct work *w)
{
    cleanup(buf_free) struct buf err = {0};
    struct prune_opts o = {.exclusive = w->exclusive, .arg = w, .progress = told};
    struct prune_result res;
    int r = prune_run(life_repo(l, w->machine, w->k), &o, &res, &err);

    CHECK(r == 0 || err.len > 0);
    if (r == 0)
        l->n[w->exclusive ? N_EXCLUSIVE : N_PRUNE]++;
    return r;
}

int work_copy(struct life *l, struct work *w)
{
    cleanup(buf_free) struct buf err = {0};
    struct copy_opts o = {.arg = w, .progress = w->progress};
    struct repo *from = life_repo(l, w->machine, !w->k), *to = life_repo(l, w->machine, w->k);
    struct copy_result res;
    struct point p;
    int r = repo_sync(from);

    if (r == 0)
        r = point_find(from, w->id, &p, &err);
    if (r < 0)
        return r;
    r = copy_run(from, to, &p, &o, &res);
    point_release(&p);
    if (r == 0)
        l->n[N_COPY]++;
    return r;
}

int work_reindex(struct life *l, struct work *w)
{
    struct reindex_result res;
    int r = reindex_run(life_repo(l, w->machine, w->k), NULL, NULL, &res);

    if (r == 0)
        l->n[N_REINDEX]++;
    return r;
}

int work_child(struct life *l, struct work *w)
{
    uint64_t seed = test_rand(&l->rng);
    pid_t pid;

    fflush(NULL);
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        int r;

        seeded_begin(seed); /* numbers that are used once are not those of this process */
        if (w->shot) {
            unsigned box = w->shot->vol < 2 ? 0 : 1;

            box_attach(&l->box[box]);
            life_attached(l, box);
        }
        r = w->run(l, w);
        if (r < 0 && r != -E_BUSY)
            printf("  a process of its own: %s\n", err_name(r));
        fflush(NULL);
        _exit(r == 0 ? WORK_DONE : r == -E_BUSY ? WORK_BUSY : WORK_WRONG);
    }
    return (int)pid;
}

/* true: it was killed. */
bool work_child_end(struct life *l, int pid, int *ret)
{
    int status;

    CHECK(waitpid(pid, &status, 0) == pid);
    if (WIFSIGNALED(status)) {
        CHECK_EQ(WTERMSIG(status), SIGKILL);
        l->n[N_KILL]++;
        return true;
    }
    *ret = WEXITSTATUS(status);
    if (*ret != WORK_DONE && *ret != WORK_BUSY)
        test_fail(__FILE__, __LINE__, "a process of its own ended with %d", *ret);
    return false;
}

/* Nothing that a process has open is used in another one. */
void work_apart_begin(struct life *l, const struct shot *s)
{
    life_close_repos(l);
    if (s)
        box_close(&l->box[s->vol < 2 ? 0 : 1]);
}

void work_apart_end(struct life *l, const struct shot *s)
{
    unsigned box = s && s->vol < 2 ? 0 : 1;

    if (s) {
        box_attach(&l->box[box]);
        life_attached(l, box);
    }
}

/* By its own call, or after a random time. WORK_DONE, WORK_BUSY, or true in *killed. */
int work_in_child(struct life *l, struct work *w, bool *killed)
{
    unsigned us = life_draw(l, 2) ? 0 : 1 + (unsigned)life_draw(l, 12000);
    int r = WORK_DONE, pid;

    work_apart_begin(l, w->shot);
    if (us == 0)
        place_fault(&l->place[w->k], 1 + life_draw(l, 50),
                    life_draw(l, 2) ? PLACE_KILL_BEFORE : PLACE_KILL_AFTER);
    pid = work_child(l, w);
    if (us) {
        usleep(us);
        kill(pid, SIGKILL);
    }
    *killed = work_child_end(l, pid, &r);
    place_fault(&l->place[w->k], 0, PLACE_FAIL);
    work_apart_end(l, w->shot);
    return r;
}

/* With the n-th call going wrong. */
int work_with_fault(struct life *l, struct work *w)
{
    static const enum place_fault kinds[] = {PLACE_FAIL, PLACE_UNSURE_DONE, PLACE_UNSURE_NOT, PLACE_CLOSED};
    unsigned k = w->run == work_copy && life_draw(l, 3) == 0 ? !w->k : w->k;
    int r;

    (void)life_repo(l, w->machine, k);
    place_fault(&l->place[k], 1 + life_draw(l, 40), kinds[life_draw(l, ARRAY_LEN(kinds))]);
    r = w->run(l, w);
    if (r < 0 && !l->place[k].hit && r != -E_BUSY)
        test_fail(__FILE__, __LINE__, "without a fault: %s", err_name(r));
    l->n[N_FAULT] += l->place[k].hit;
    place_fault(&l->place[k], 0, PLACE_FAIL);
    if (r < 0 && life_draw(l, 2))
        life_close_repos(l);
    return r;
}
