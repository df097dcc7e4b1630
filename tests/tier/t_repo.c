/* Recovery points of a volume without a mount: made, restored, compared, damaged, interrupted. */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"
#include "snap/snapshot.h"
#include "tests/lib/test.h"
#include "tests/lib/tree.h"
#include "tests/tier/rig.h"
#include "tier/have.h"

/* --- tests ---------------------------------------------------------------------------------------------------------- */

TEST(test_repo__random_trees_come_back_from_any_recovery_point)
{
    struct {
        struct buf want;
        char id[SHA_TEXT], snap[16];
    } v[24] = {{.id = ""}};
    uint64_t rng = test_seed();
    struct repo_rig g;

    rig_begin(&g);
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        struct backup_result res;
        size_t which;

        box_mess(&g.b, g.b.v, &rng, 1 + (int)(test_rand(&rng) % 60));
        rig_picture(&g, &v[i].want);
        snprintf(v[i].snap, sizeof(v[i].snap), "s%zu", i);
        rig_snapshot(&g, v[i].snap);
        CHECK_OK(rig_try_backup(&g, v[i].snap, test_rand(&rng) % 6 == 0, &res));
        memcpy(v[i].id, res.id, sizeof(res.id));
        if (i > 2 && test_rand(&rng) % 3 == 0) /* the next one goes on from an older one, or from none */
            snap_delete(g.b.v, NULL, v[i - test_rand(&rng) % 3].snap);
        if (i > 4 && test_rand(&rng) % 5 == 0)
            (void)snap_rollback(g.b.v, NULL, v[test_rand(&rng) % i].snap, NULL);
        if (test_rand(&rng) % 5 == 0)
            world_forget(&g.w);
        which = test_rand(&rng) % (i + 1);
        rig_restores_to(&g, v[which].id, &v[which].want);
    }
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        rig_restores_to(&g, v[i].id, &v[i].want);
        buf_free(&v[i].want);
    }
    rig_sound(&g);
    rig_end(&g);
}

TEST(test_repo__ten_bytes_of_a_large_file_cost_kilobytes)
{
    cleanup(buf_free) struct buf want = {0};
    struct backup_result res;
    struct repo_rig g;

    rig_begin(&g);
    rig_fill_file(&g, "db", 64u << 20);
    box_text(&g.b, g.b.v, "small", "text");
    res = rig_back_up(&g, "a");
    CHECK(res.sent_bytes > 60u << 20);
    box_fill(&g.b, g.b.v, "db", 31234567, 10, 99);
    rig_picture(&g, &want);
    res = rig_back_up(&g, "b");
    CHECK(res.base[0]);
    CHECK_EQ(res.read_bytes, 4096);
    CHECK(res.sent_bytes < 32u << 10);
    rig_restores_to(&g, res.id, &want);
    res = rig_back_up(&g, "c");
    CHECK_EQ(res.read_bytes, 0);
    CHECK(res.sent_bytes < 2048);
    CHECK_OK(rig_try_backup(&g, "c", false, &res));
    CHECK(res.same);
    CHECK_EQ(res.sent_bytes, 0);
    CHECK_OK(rig_try_backup(&g, "c", true, &res)); /* everything is read, and found */
    CHECK(!res.same);
    CHECK(res.sent_bytes < 1100u << 10); /* but the mebibyte that the ten bytes lie in */
    rig_end(&g);
}

TEST(test_repo__a_file_that_shrinks_and_grows_has_no_old_bytes)
{
    cleanup(buf_free) struct buf want = {0};
    struct backup_result res;
    struct repo_rig g;

    rig_begin(&g);
    rig_fill_file(&g, "f", 3u << 20);
    rig_back_up(&g, "a");
    box_truncate(&g.b, g.b.v, "f", (2u << 20) + 100);
    rig_back_up(&g, "b");
    box_truncate(&g.b, g.b.v, "f", 4u << 20);
    rig_picture(&g, &want);
    res = rig_back_up(&g, "c");
    rig_restores_to(&g, res.id, &want);
    rig_end(&g);
}

TEST(test_repo__equal_bytes_are_sent_once)
{
    struct backup_result res;
    struct repo_rig g;

    rig_begin(&g);
    rig_fill_file(&g, "one", 4u << 20);
    res = rig_back_up(&g, "a");
    CHECK(res.sent_bytes > 3u << 20);
    rig_fill_file(&g, "two", 4u << 20);
    res = rig_back_up(&g, "b");
    CHECK(res.sent_bytes < 32u << 10);
    rig_end(&g);
}

/* Another machine, without what this one knows, finds what is there. */
TEST(test_repo__two_writers_share_what_they_put)
{
    struct backup_result res;
    struct world other;
    struct repo_rig g;
    struct repo *mine;

    rig_begin(&g);
    rig_fill_file(&g, "f", 4u << 20);
    rig_snapshot(&g, "a");
    other = g.w;
    other.r = NULL;
    snprintf(other.cache, sizeof(other.cache), "%s/other", test_dir());
    world_repo(&other);
    CHECK_OK(rig_try_backup(&g, "a", false, &res));
    mine = g.w.r;
    g.w.r = other.r;
    CHECK_OK(rig_try_backup(&g, "a", true, &res));
    CHECK(res.sent_bytes < 16u << 10);
    g.w.r = mine;
    repo_close(other.r);
    rig_sound(&g);
    rig_end(&g);
}

/* --- trouble -------------------------------------------------------------------------------------------------------- */

/* A backup that ends at its n-th call in each way: what is there is sound, and the next one is whole. */
static void break_at(uint64_t n, enum mem_fault what, bool *ret_hit)
{
    cleanup(buf_free) struct buf want = {0};
    struct backup_result res;
    struct repo_rig g;
    int r;

    rig_begin(&g);
    rig_fill_file(&g, "f", 5u << 20);
    box_text(&g.b, g.b.v, "t", "text");
    rig_back_up(&g, "a");
    rig_fill_file(&g, "g", 3u << 20);
    box_fill(&g.b, g.b.v, "f", 100000, 10000, 5);
    rig_picture(&g, &want);
    rig_snapshot(&g, "b");
    mem_fault(g.w.m, n, what, false);
    r = rig_try_backup(&g, "b", false, &res);
    *ret_hit = mem_hit(g.w.m);
    CHECK(r == 0 || r == -E_IO || r == -E_CLOSED || r == -E_UNSURE);
    CHECK(r == 0 || *ret_hit);
    mem_fault(g.w.m, 0, what, false);
    world_repo(&g.w);
    CHECK_OK(rig_try_backup(&g, "b", false, &res));
    rig_restores_to(&g, res.id, &want);
    rig_sound(&g);
    rig_end(&g);
}

TEST(test_repo__every_call_may_fail)
{
    static const enum mem_fault kinds[] = {MEM_FAIL, MEM_UNSURE_DONE, MEM_UNSURE_NOT, MEM_CLOSED};
    bool hit = true;

    for (uint64_t n = 1; hit; n++)
        break_at(n, kinds[n % ARRAY_LEN(kinds)], &hit);
}

/* What an interrupted backup has put is not put again, though no index names it. */
TEST(test_repo__what_is_there_is_not_sent_again)
{
    struct backup_result res;
    uint64_t before;
    struct repo_rig g;

    rig_begin(&g);
    rig_fill_file(&g, "f", 60u << 20);
    rig_snapshot(&g, "a");
    mem_fault(g.w.m, 3, MEM_CLOSED, true); /* two packs were put */
    CHECK(rig_try_backup(&g, "a", false, &res) < 0);
    mem_fault(g.w.m, 0, MEM_FAIL, false);
    before = mem_bytes(g.w.m, "packs/");
    CHECK(before > 15u << 20);
    world_repo(&g.w);
    CHECK_OK(rig_try_backup(&g, "a", false, &res));
    CHECK(res.sent_bytes < (62u << 20) - before);
    CHECK(mem_bytes(g.w.m, "packs/") < 62u << 20);
    rig_sound(&g);
    rig_end(&g);
}

/* What was put and is gone by then is put again. */
TEST(test_repo__a_pack_that_vanished_before_it_was_named_is_sent_again)
{
    cleanup(buf_free) struct buf want = {0};
    struct backup_result res;
    struct repo_rig g;

    rig_begin(&g);
    rig_fill_file(&g, "f", 40u << 20);
    rig_picture(&g, &want);
    rig_snapshot(&g, "a");
    mem_fault(g.w.m, 3, MEM_CLOSED, true);
    CHECK(rig_try_backup(&g, "a", false, &res) < 0);
    mem_drop(g.w.m, mem_name(g.w.m, "packs/", 0));
    world_repo(&g.w);
    CHECK_OK(rig_try_backup(&g, "a", false, &res));
    expect_mark("pack: a pending one is gone");
    rig_restores_to(&g, res.id, &want);
    rig_sound(&g);
    rig_end(&g);
}

TEST(test_repo__nobody_writes_while_what_is_condemned_cannot_be_read)
{
    struct backup_result res;
    struct backend *b;
    struct repo_rig g;

    rig_begin(&g);
    box_text(&g.b, g.b.v, "t", "text");
    rig_back_up(&g, "a");
    b = mem_backend(g.w.m);
    CHECK_OK(backend_put(b, NULL, "condemned/x", "x", 1));
    rig_snapshot(&g, "b");
    CHECK_ERR(rig_try_backup(&g, "b", false, &res), -E_CORRUPT);
    CHECK_OK(backend_del(b, NULL, "condemned/x"));
    CHECK_OK(rig_try_backup(&g, "b", false, &res));
    backend_close(b);
    rig_end(&g);
}

static int cancel(void *arg, uint64_t items, uint64_t bytes)
{
    (void)arg;
    (void)items;
    return bytes > 2u << 20 ? -E_CANCELED : 0;
}

TEST(test_repo__a_backup_can_be_cancelled)
{
    struct backup_opts o = {.progress = cancel};
    struct backup_result res;
    struct layer_rec rec;
    struct repo_rig g;

    rig_begin(&g);
    rig_fill_file(&g, "f", 8u << 20);
    rec = rig_snapshot(&g, "a");
    CHECK_ERR(backup_run(g.w.r, g.b.v, &rec, &o, &res), -E_CANCELED);
    CHECK_EQ(mem_count(g.w.m, "points/"), 0);
    rig_sound(&g);
    rig_end(&g);
}

TEST(test_repo__another_key_opens_nothing)
{
    cleanup(buf_free) struct buf err = {0};
    struct world w;

    world_open(&w);
    w.s.file.b[0] ^= 1;
    CHECK_ERR(world_try(&w, &err), -E_KEY);
    w.s.file.b[0] ^= 1;
    world_repo(&w);
    mem_flip(w.m, "root/00000001", 70);
    CHECK_ERR(world_try(&w, &err), -E_CORRUPT);
    mem_flip(w.m, "root/00000001", 70);
    mem_flip(w.m, mem_name(w.m, "keys/", 0), 70);
    CHECK_ERR(world_try(&w, &err), -E_CORRUPT);
    mem_drop(w.m, "root/00000001");
    CHECK_ERR(world_try(&w, &err), -E_REPO_MISSING);
    world_close(&w);
}

/* --- damage --------------------------------------------------------------------------------------------------------- */

/* The i-th pack that is full: it holds bytes of files, as the last one holds metadata. */
static const char *big_pack(struct repo_rig *g, size_t i)
{
    for (size_t k = 0; k < mem_count(g->w.m, "packs/"); k++)
        if (mem_bytes(g->w.m, mem_name(g->w.m, "packs/", k)) > PACK_SIZE / 4 * 3 && i-- == 0)
            return mem_name(g->w.m, "packs/", k);
    return NULL;
}

/* Two packs: the files a and b, each large enough for one of its own. */
static void two_packs(struct repo_rig *g)
{
    char name[16];

    rig_begin(g);
    box_mkdir(&g->b, g->b.v, "d");
    rig_fill_file(g, "d/a", PACK_SIZE + (1u << 20));
    for (unsigned i = 0; i <= PACK_SIZE >> 20; i++) {
        snprintf(name, sizeof(name), "b%u", i);
        box_fill(&g->b, g->b.v, name, 0, 1u << 20, 1000 + i);
    }
    rig_back_up(g, "s");
    CHECK(big_pack(g, 1) != NULL);
}

static size_t lines_with(struct buf *b, const char *what)
{
    size_t n = 0;

    for (const char *s = buf_cstr(b); (s = strstr(s, what)); s++)
        n++;
    return n;
}

/* The first chunk of each pack in turn: a file is hurt, and all others come back. */
TEST(test_repo__damage_is_named_with_the_files_it_hurts)
{
    char to[400];
    struct repo_rig g;

    snprintf(to, sizeof(to), "%s/out", test_dir());
    two_packs(&g);
    for (size_t i = 0; i < 2; i++) {
        cleanup(buf_free) struct buf lines = {0}, none = {0}, hurt = {0};
        const char *pack = big_pack(&g, i);
        struct restore_result res;
        struct verify_result ver;

        mem_flip(g.w.m, pack, 200000);
        CHECK_EQ(rig_verified(&g, false, &none).damages,
                 0); /* structure looks at what is there, not at bytes */
        ver = rig_verified(&g, true, &lines);
        CHECK_EQ(ver.hurt, 1);
        CHECK_EQ(lines_with(&lines, "is lost"), 1);
        CHECK_EQ(lines_with(&lines, "of its chunks cannot be read"), 1);
        res = rig_restored(&g, "latest", to, &hurt);
        CHECK_EQ(res.hurt, 1);
        CHECK_EQ(res.files, (PACK_SIZE >> 20) + 1);
        CHECK(hurt.len > 2);
        hurt.len--;
        CHECK(strstr(buf_cstr(&lines), buf_cstr(&hurt)) != NULL);
        tree_remove(to);
        mem_flip(g.w.m, pack, 200000);
    }
    rig_sound(&g);
    rig_end(&g);
}

TEST(test_repo__a_pack_that_is_gone_or_short_is_found_at_once)
{
    cleanup(buf_free) struct buf lines = {0}, more = {0};
    struct verify_result ver;
    char pack[BACKEND_NAME_MAX + 1];
    struct repo_rig g;

    two_packs(&g);
    snprintf(pack, sizeof(pack), "%s", big_pack(&g, 0));
    mem_cut(g.w.m, pack, 100000);
    ver = rig_verified(&g, false, &lines);
    CHECK_EQ(lines_with(&lines, "has not the length"), 1);
    CHECK(ver.hurt >= 1);
    mem_drop(g.w.m, pack);
    ver = rig_verified(&g, false, &more);
    CHECK_EQ(lines_with(&more, "is gone"), 1);
    CHECK(ver.hurt >= 1);
    rig_end(&g);
}

/* What is here still is put again where the repository has lost it: by whoever reads all of it. */
TEST(test_repo__what_a_lost_or_short_pack_held_is_sent_again)
{
    for (size_t i = 0; i < 2; i++) {
        cleanup(buf_free) struct buf want = {0};
        struct backup_result res;
        char pack[BACKEND_NAME_MAX + 1];
        struct repo_rig g;

        two_packs(&g);
        rig_picture(&g, &want);
        snprintf(pack, sizeof(pack), "%s", big_pack(&g, 0));
        if (i == 0)
            mem_cut(g.w.m, pack, 100000);
        else
            mem_drop(g.w.m, pack);
        rig_snapshot(&g, "t");
        CHECK_OK(rig_try_backup(&g, "t", true, &res));
        rig_restores_to(&g, res.id, &want);
        rig_end(&g);
    }
}

TEST(test_repo__a_damaged_index_or_recovery_point_is_told)
{
    cleanup(buf_free) struct buf lines = {0}, more = {0};
    struct repo_rig g;

    two_packs(&g);
    mem_flip(g.w.m, mem_name(g.w.m, "points/", 0), 90);
    rig_verified(&g, false, &lines);
    CHECK_EQ(lines_with(&lines, "recovery point"), 1);
    mem_flip(g.w.m, mem_name(g.w.m, "points/", 0), 90);
    mem_flip(g.w.m, mem_name(g.w.m, "index/", 0), 90);
    rig_verified(&g, false, &more);
    CHECK_EQ(lines_with(&more, "index"), 1);
    mem_flip(g.w.m, mem_name(g.w.m, "index/", 0), 90);
    rig_sound(&g);
    rig_end(&g);
}

/* --- restoring ------------------------------------------------------------------------------------------------------ */

TEST(test_repo__nothing_that_exists_is_written_over)
{
    cleanup(buf_free) struct buf err = {0}, text = {0};
    char to[400], file[410], *paths[] = {(char[]){"d/t"}};
    struct restore_opts o = {.paths = paths, .npaths = 1};
    struct restore_result res;
    struct repo_rig g;
    struct point p;

    rig_begin(&g);
    box_mkdir(&g.b, g.b.v, "d");
    box_text(&g.b, g.b.v, "d/t", "text");
    rig_back_up(&g, "a");
    snprintf(to, sizeof(to), "%s/out", test_dir());
    snprintf(file, sizeof(file), "%s/t", to);
    CHECK_OK(point_find(g.w.r, "latest", &p, &err));
    CHECK_OK(restore_run(g.w.r, &p, to, &o, &res, &err));
    CHECK_EQ(res.files, 1);
    CHECK_OK(io_read_file(io_real(), file, 100, &text));
    CHECK(text.len == 4 && memcmp(text.data, "text", 4) == 0);
    CHECK_ERR(restore_run(g.w.r, &p, to, &o, &res, &err), -E_EXIST);
    CHECK(strstr(buf_cstr(&err), "/out/t: exists already"));
    o.npaths = 0;
    buf_reset(&err);
    CHECK_ERR(restore_run(g.w.r, &p, to, &o, &res, &err), -E_NOTEMPTY);
    o.npaths = 1;
    paths[0] = (char[]){"d/none"};
    buf_reset(&err);
    CHECK_ERR(restore_run(g.w.r, &p, to, &o, &res, &err), -E_NOENT);
    CHECK(strstr(buf_cstr(&err), "d/none is not in the recovery point"));
    paths[0] = (char[]){".."};
    CHECK_ERR(restore_run(g.w.r, &p, to, &o, &res, &err), -E_INVAL);
    point_release(&p);
    rig_end(&g);
}

/* Of the file in which this machine keeps what it knows: its name goes to ret. */
static void cache_file(struct world *w, const char *name, char ret[900])
{
    char to[300];
    struct dirent *e;
    DIR *d;

    CHECK((d = opendir(w->cache)) != NULL);
    while ((e = readdir(d)) && e->d_name[0] == '.')
        ;
    CHECK(e != NULL);
    snprintf(to, sizeof(to), "%s", e->d_name);
    closedir(d);
    snprintf(ret, 900, "%s/%s/%s", w->cache, to, name);
}

/* Its first two pages say what it is. A killed process may leave one of them, a bad disk none. */
static void harm_cache(struct world *w, unsigned how)
{
    uint8_t bad[8192];
    char path[900];
    int fd;

    cache_file(w, how == 3 ? "damaged" : "data.mdb", path);
    CHECK((fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600)) >= 0);
    memset(bad, 0x77, sizeof(bad));
    if (how < 2)
        CHECK(ftruncate(fd, how == 0 ? 4096 : 100) == 0);
    else if (how == 2)
        CHECK(pwrite(fd, bad, sizeof(bad), 0) == sizeof(bad));
    close(fd);
}

TEST(test_repo__a_cache_that_is_damaged_is_made_anew)
{
    cleanup(buf_free) struct buf want = {0};
    struct backup_result res;
    struct repo_rig g;

    rig_begin(&g);
    rig_fill_file(&g, "f", 20u << 20);
    rig_back_up(&g, "a");
    for (unsigned how = 0; how < 4; how++) {
        char name[16];

        repo_close(TAKE(g.w.r));
        harm_cache(&g.w, how);
        world_repo(&g.w);
        expect_mark("have: made anew");
        snprintf(name, sizeof(name), "n%u", how);
        box_text(&g.b, g.b.v, "t", name);
        rig_picture(&g, &want);
        res = rig_back_up(&g, name);
        CHECK(res.sent_bytes < 1u << 20);
        rig_restores_to(&g, res.id, &want);
        buf_reset(&want);
    }
    rig_sound(&g);
    rig_end(&g);
}

/* A daemon has it open all the time: what it opens next is another one all the same. */
TEST(test_repo__a_cache_in_use_that_is_damaged_is_made_anew)
{
    static const uint8_t zeros[64 << 10];
    char dir[300], path[400];
    struct have *first, *second, *third;
    char name[SHA_TEXT];
    int fd;

    snprintf(dir, sizeof(dir), "%s/cache", test_dir());
    snprintf(path, sizeof(path), "%s/data.mdb", dir);
    memset(name, 'a', sizeof(name));
    name[SHA_TEXT - 1] = 0;
    CHECK_OK(have_open(dir, &first));
    CHECK_OK(have_put_point(first, name, "x", 1));
    CHECK_OK(have_open(dir, &second));
    CHECK(second == first);
    CHECK((fd = open(path, O_RDWR | O_CLOEXEC)) >= 0);
    CHECK(pwrite(fd, zeros, sizeof(zeros), 8192) == sizeof(zeros));
    close(fd);
    CHECK_ERR(have_put_point(first, name, "x", 1), -E_CORRUPT);
    CHECK_OK(have_open(dir, &third));
    CHECK(third != first);
    expect_mark("have: made anew");
    CHECK_OK(have_put_point(third, name, "x", 1));
    have_close(second);
    have_close(TAKE(first));
    CHECK_OK(have_open(dir, &first));
    CHECK(first == third);
    have_close(first);
    have_close(third);
}

TEST(test_repo__recovery_points_are_found_by_their_digits)
{
    cleanup(buf_free) struct buf err = {0};
    struct backup_result a, b;
    char shorter[SHA_TEXT];
    struct repo_rig g;
    struct point p;

    rig_begin(&g);
    box_text(&g.b, g.b.v, "t", "1");
    a = rig_back_up(&g, "a");
    box_text(&g.b, g.b.v, "t", "2");
    b = rig_back_up(&g, "b");
    CHECK_OK(point_find(g.w.r, "latest", &p, &err));
    CHECK(strcmp(p.id, b.id) == 0);
    CHECK(strcmp(p.volume_name, "main") == 0);
    CHECK(strcmp(p.snapshot_name, "b") == 0);
    CHECK_EQ(p.files, 1);
    point_release(&p);
    snprintf(shorter, sizeof(shorter), "%.8s", a.id);
    CHECK_OK(point_find(g.w.r, shorter, &p, &err));
    CHECK(strcmp(p.id, a.id) == 0);
    point_release(&p);
    CHECK_ERR(point_find(g.w.r, "0123456", &p, &err), -E_USAGE);
    CHECK_ERR(point_find(g.w.r, "xyzxyzxyz", &p, &err), -E_USAGE);
    shorter[0] = shorter[0] == '0' ? '1' : '0';
    CHECK_ERR(point_find(g.w.r, shorter, &p, &err), -E_NOENT);
    rig_end(&g);
}
