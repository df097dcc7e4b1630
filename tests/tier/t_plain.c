/* Plain exports: what is there is what the snapshot holds, whatever came between. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/test.h"
#include "tests/tier/rig.h"
#include "tier/crypt.h"
#include "tier/plain_i.h"

struct plain_rig {
    struct repo_rig g;
    struct mem *m;
};

static void plain_begin(struct plain_rig *p)
{
    rig_begin(&p->g);
    p->m = mem_new();
}

static void plain_done(struct plain_rig *p)
{
    mem_free(p->m);
    rig_end(&p->g);
}

static int plain_try(struct plain_rig *p, struct mem *m, const char *snap, bool del, const char *base,
                     struct plain_result *res)
{
    cleanup(buf_free) struct buf err = {0};
    struct plain_opts o = {.del = del, .base = base, .room = test_dir()};
    struct backend *b = mem_backend(m);
    struct layer_rec rec;
    int r;

    CHECK_OK(snap_find(p->g.b.v, snap, &rec));
    mem_later(m, 10);
    r = plain_run(b, NULL, p->g.b.v, &rec, &o, res, &err);
    mem_later(m, 10);
    backend_close(b);
    return r;
}

static struct plain_result exported(struct plain_rig *p, const char *snap, bool del)
{
    struct plain_result res;

    CHECK_OK(plain_try(p, p->m, snap, del, NULL, &res));
    return res;
}

/* The last manifest's lines: of files path, size, sha; each object has these bytes. */
static void manifest(struct mem *m, struct buf *ret)
{
    struct backend *b = mem_backend(m);
    struct plain_old o = {.b = b};

    CHECK_OK(plain_old_open(&o));
    while (o.have) {
        if (o.e.file && !o.e.gone) {
            cleanup(buf_free) struct buf bytes = {0};
            char hex[SHA_TEXT];
            struct sha sum;

            CHECK_OK(backend_get_all(b, NULL, o.e.object, 1u << 30, &bytes));
            CHECK_OK(crypt_sha256(bytes.data ? bytes.data : (const uint8_t *)"", bytes.len, &sum));
            hex_format(sum.b, sizeof(sum.b), hex);
            if (strcmp(hex, o.e.sha) != 0 || bytes.len != o.e.size)
                test_fail(__FILE__, __LINE__, "%s has other bytes", o.e.object);
        }
        if (!o.e.gone)
            CHECK_OK(buf_printf(ret, "%s %d %llu %s\n", (const char *)o.e.path.data, o.e.file,
                                (unsigned long long)o.e.size, o.e.sha));
        CHECK_OK(plain_old_next(&o));
    }
    plain_old_release(&o);
    backend_close(b);
}

/* What is there is what an export of this snapshot to an empty place gives. */
static void plain_is(struct plain_rig *p, const char *snap)
{
    cleanup(buf_free) struct buf got = {0}, want = {0};
    struct mem *fresh = mem_new();
    struct plain_result res;

    CHECK_OK(plain_try(p, fresh, snap, false, NULL, &res));
    manifest(fresh, &want);
    manifest(p->m, &got);
    CHECK(box_same(&got, &want));
    mem_free(fresh);
}

static void snap(struct plain_rig *p, const char *name)
{
    (void)rig_snapshot(&p->g, name);
}

TEST(test_plain__names_can_be_read_and_fit)
{
    char out[BACKEND_NAME_MAX + 1], again[BACKEND_NAME_MAX + 1], path[400];

    CHECK_OK(plain_name("data/2026/a-b.parquet", false, out));
    CHECK(strcmp(out, "files/data/2026/a-b.parquet") == 0);
    CHECK_OK(plain_name("Äb c/.x/a_b..", false, out));
    CHECK(strcmp(out, "files/_c3_84b_20c/_2ex/a_5fb..") == 0);
    CHECK_OK(plain_name("a", true, out));
    CHECK(strncmp(out, "far/ca/ca978112", 15) == 0);
    memset(path, 'x', sizeof(path));
    path[300] = 0;
    CHECK_OK(plain_name(path, false, out));
    path[299] = 0;
    CHECK_OK(plain_name(path, false, again));
    CHECK(strncmp(out, "far/", 4) == 0 && strcmp(out, again) != 0);
}

TEST(test_plain__costs_what_changed)
{
    struct plain_result res;
    struct plain_rig p;

    plain_begin(&p);
    rig_fill_file(&p.g, "db", 20u << 20);
    box_mkdir(&p.g.b, p.g.b.v, "d");
    box_text(&p.g.b, p.g.b.v, "d/a", "text");
    box_text(&p.g.b, p.g.b.v, "gone", "text");
    snap(&p, "s1");
    res = exported(&p, "s1", false);
    CHECK(res.number == 1 && res.base == 0 && res.put == 3 && res.files == 3 && res.dirs == 1);
    CHECK_EQ(mem_count(p.m, "files/"), 3);
    plain_is(&p, "s1");
    CHECK_EQ(exported(&p, "s1", false).put, 0);
    box_text(&p.g.b, p.g.b.v, "d/a", "other");
    box_remove(&p.g.b, p.g.b.v, "gone");
    snap(&p, "s2");
    res = exported(&p, "s2", false);
    CHECK(res.number == 3 && res.base == 2 && res.put == 1 && res.put_bytes == 5 && res.gone == 1 &&
          !res.deleted);
    CHECK_EQ(mem_count(p.m, "files/"), 3);
    plain_is(&p, "s2");
    res = exported(&p, "s2", true);
    CHECK(res.put == 0 && res.deleted == 1);
    CHECK_EQ(mem_count(p.m, "files/"), 2);
    CHECK_EQ(mem_count(p.m, "run/"), 0);
    plain_is(&p, "s2");
    CHECK_ERR(plain_try(&p, p.m, "s2", false, "s1", &res), -E_USAGE);
    CHECK_OK(plain_try(&p, p.m, "s2", false, "s2", &res));
    CHECK_OK(plain_try(&p, p.m, "s2", false, "none", &res));
    CHECK_EQ(res.put, 2);
    plain_is(&p, "s2");
    plain_done(&p);
}

/* Objects that no export has put are not replaced: not even one. */
TEST(test_plain__what_others_have_put_stays)
{
    cleanup(buf_free) struct buf got = {0};
    struct plain_result res;
    struct plain_rig p;
    struct backend *b;

    plain_begin(&p);
    box_text(&p.g.b, p.g.b.v, "f", "mine");
    snap(&p, "s1");
    b = mem_backend(p.m);
    CHECK_OK(backend_put(b, NULL, "files/f", "theirs", 6));
    CHECK_ERR(plain_try(&p, p.m, "s1", true, NULL, &res), -E_NOTEMPTY);
    CHECK_OK(backend_get_all(b, NULL, "files/f", 100, &got));
    CHECK(got.len == 6 && memcmp(got.data, "theirs", 6) == 0);
    CHECK_EQ(mem_count(p.m, ""), 1);
    CHECK_OK(backend_del(b, NULL, "files/f"));
    CHECK_EQ(exported(&p, "s1", false).put, 1);
    backend_close(b);
    plain_done(&p);
}

/* Small changes that leave size and time of the file as they were; an older state; files and directories that change places. */
TEST(test_plain__every_state_arrives)
{
    uint64_t rng = test_seed();
    struct plain_rig p;
    char name[8];

    plain_begin(&p);
    for (int i = 0; i < 8; i++) {
        box_mess(&p.g.b, p.g.b.v, &rng, 30);
        snprintf(name, sizeof(name), "s%d", i);
        snap(&p, name);
    }
    for (int i = 0; i < 16; i++) {
        snprintf(name, sizeof(name), "s%d", (int)(test_rand(&rng) % 8));
        (void)exported(&p, name, test_rand(&rng) % 2);
        plain_is(&p, name);
    }
    plain_done(&p);
}

/* Ended at its n-th call in any way, of this snapshot or of another: the next one makes it right. */
TEST(test_plain__interrupted_anywhere_is_made_right)
{
    static const enum mem_fault kinds[] = {MEM_FAIL, MEM_UNSURE_DONE, MEM_UNSURE_NOT, MEM_CLOSED};
    struct plain_result res;
    struct plain_rig p;
    bool hit = true, resumed = false;

    plain_begin(&p);
    for (int i = 0; i < 4; i++) {
        char name[16];

        snprintf(name, sizeof(name), "f%d", i);
        box_text(&p.g.b, p.g.b.v, name, name);
    }
    snap(&p, "s1");
    box_text(&p.g.b, p.g.b.v, "f1", "F1");
    box_text(&p.g.b, p.g.b.v, "f2", "F2");
    box_remove(&p.g.b, p.g.b.v, "f3");
    box_text(&p.g.b, p.g.b.v, "f4", "f4");
    snap(&p, "s2");
    for (uint64_t n = 1; hit; n++)
        for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
            for (int same = 0; same < 2; same++) {
                struct plain_rig q = {.g = p.g, .m = mem_new()};

                (void)exported(&q, "s1", true);
                mem_fault(q.m, n, kinds[k], false);
                (void)plain_try(&q, q.m, "s2", true, NULL, &res);
                hit = mem_hit(q.m);
                mem_fault(q.m, 0, MEM_FAIL, false);
                CHECK_OK(plain_try(&q, q.m, same ? "s2" : "s1", true, NULL, &res));
                resumed |= res.resumed;
                plain_is(&q, same ? "s2" : "s1");
                CHECK_EQ(mem_count(q.m, "run/"), 0);
                mem_free(q.m);
            }
    CHECK(resumed);
    plain_done(&p);
}

/* A large file takes its time over a slow line, or under bandwidth=. */
TEST(test_plain__large_files_go_slowly)
{
    const struct backend_call c = {.timeout_ms = 100};
    struct plain_bytes bytes = {.fd = -1, .len = 1u << 20};
    cleanup(buf_free) struct buf err = {0};
    struct backend_stat st;
    struct backend *b;
    char url[300];

    snprintf(url, sizeof(url), "dir:%s/slow?bandwidth=256K", test_dir());
    CHECK_OK(backend_open(url, true, &b, &err));
    CHECK_OK(buf_add_zero(&bytes.mem, (size_t)bytes.len));
    CHECK_OK(plain_put(b, &c, "files/large", &bytes));
    CHECK_OK(backend_stat(b, NULL, "files/large", &st));
    CHECK_EQ(st.size, bytes.len);
    plain_bytes_release(&bytes);
    backend_close(b);
}

/* The line of a file with very many attributes is read again, too. */
TEST(test_plain__lines_are_as_long_as_they_are)
{
    static const uint8_t val[1024];
    struct plain_rig p;
    vfs_node n;
    char name[32];

    plain_begin(&p);
    box_text(&p.g.b, p.g.b.v, "f", "1");
    n = box_node(p.g.b.v, box_root(p.g.b.v), "f");
    for (int i = 0; i < 870; i++) {
        snprintf(name, sizeof(name), "user.%d", i);
        CHECK_OK(vfs_setxattr(p.g.b.v, &p.g.b.c, n, name, val, sizeof(val), 0, false));
    }
    snap(&p, "a");
    CHECK_EQ(exported(&p, "a", false).put, 1);
    box_text(&p.g.b, p.g.b.v, "g", "1");
    snap(&p, "b");
    CHECK_EQ(exported(&p, "b", false).put, 1);
    plain_is(&p, "b");
    plain_done(&p);
}

/* Deeper than any path. */
TEST(test_plain__no_tree_is_too_deep)
{
    struct plain_rig p;
    struct vfs_attr a;
    vfs_node dir;

    plain_begin(&p);
    dir = box_root(p.g.b.v);
    for (int i = 0; i < 3000; i++) {
        CHECK_OK(vfs_mknod(p.g.b.v, &p.g.b.c, dir, "deep", S_IFDIR | 0755, 0, &a));
        dir = a.node;
    }
    CHECK_OK(vfs_mknod(p.g.b.v, &p.g.b.c, dir, "file", S_IFREG | 0644, 0, &a));
    snap(&p, "a");
    CHECK(exported(&p, "a", false).dirs == 3000);
    plain_is(&p, "a");
    plain_done(&p);
}
