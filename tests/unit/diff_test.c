#include "snap/diff.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "tests/lib/box.h"
#include "tests/lib/test.h"

/* --- what a comparison of two whole trees says --- */

struct entry {
    char path[300];
    uint64_t dir, ino, xattrs;
    struct vfs_attr a;
    bool used;
};
struct tree {
    struct entry *v;
    size_t n, cap;
    struct vol *vol;
    struct vfs_attr root;
};

struct filling {
    struct tree *t;
    const char *path;
    uint64_t dir;
};

static uint64_t sum_xattrs(struct vol *v, vfs_node n)
{
    cleanup(buf_free) struct buf names = {0};
    uint64_t sum = 0;

    CHECK_OK(vfs_listxattr(v, n, &names));
    for (size_t i = 0; i < names.len; i += strlen((char *)names.data + i) + 1) {
        cleanup(buf_free) struct buf val = {0};
        CHECK_OK(vfs_getxattr(v, n, (char *)names.data + i, &val));
        sum += hash_sum(names.data[i], val.data, val.len) + i;
    }
    return sum;
}

static int add_entry(void *arg, const struct vfs_dirent *e)
{
    struct filling *f = arg;
    struct tree *t = f->t;
    struct entry *x;

    if (strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0)
        return 0;
    if (t->n == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 64;
        t->v = realloc(t->v, t->cap * sizeof(*t->v));
        CHECK(t->v != NULL);
    }
    x = &t->v[t->n++];
    *x = (struct entry){.dir = f->dir, .ino = vfs_node_ino(e->attr.node), .a = e->attr};
    snprintf(x->path, sizeof(x->path), "%s%s%.*s", f->path, *f->path ? "/" : "", (int)e->name_len, e->name);
    return 0;
}

static void fill_tree(struct tree *t, vfs_node dir, const char *path)
{
    struct filling f = {t, path, vfs_node_ino(dir)};
    size_t from = t->n;

    CHECK_OK(vfs_readdir(t->vol, dir, 0, true, add_entry, &f));
    for (size_t i = from, to = t->n; i < to; i++) {
        char sub[300];
        t->v[i].xattrs = sum_xattrs(t->vol, t->v[i].a.node);
        memcpy(sub, t->v[i].path, sizeof(sub));
        if (S_ISDIR(t->v[i].a.mode))
            fill_tree(t, t->v[i].a.node, sub);
    }
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->path, ((const struct entry *)b)->path);
}

static void take_tree(struct tree *t, struct vol *v, vfs_node root)
{
    *t = (struct tree){.vol = v};
    CHECK_OK(vfs_getattr(v, root, &t->root));
    fill_tree(t, root, "");
    if (t->n)
        qsort(t->v, t->n, sizeof(*t->v), by_path);
}

static const char *base_name(const char *path)
{
    const char *s = strrchr(path, '/');

    return s ? s + 1 : path;
}

static struct entry *same_name(struct tree *t, const struct entry *e)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->v[i].dir == e->dir && t->v[i].ino == e->ino &&
            strcmp(base_name(t->v[i].path), base_name(e->path)) == 0)
            return &t->v[i];
    return NULL;
}

static struct entry *same_ino(struct tree *t, uint64_t ino)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->v[i].ino == ino)
            return &t->v[i];
    return NULL;
}

static bool meta_equal(const struct vfs_attr *x, const struct vfs_attr *y)
{
    return x->mode == y->mode && x->uid == y->uid && x->gid == y->gid && x->nlink == y->nlink &&
           memcmp(&x->mtime, &y->mtime, sizeof(x->mtime)) == 0 &&
           memcmp(&x->ctime, &y->ctime, sizeof(x->ctime)) == 0;
}

static uint8_t *bytes(struct vol *v, const struct vfs_attr *a, uint64_t size)
{
    uint8_t *p = calloc(1, size + 1);
    size_t got = 0;

    CHECK(p != NULL);
    for (uint64_t off = 0; off < a->size; off += got) {
        CHECK_OK(vfs_read(v, a->node, p + off, a->size - off, off, &got));
        CHECK(got > 0);
    }
    return p;
}

/* --- what diff said --- */

struct said {
    struct line {
        char kind;
        bool meta, used;
        uint32_t type;
        uint64_t ino;
        char path[300], old[300];
        struct diff_range *r;
        size_t nr;
    } * v;
    size_t n, cap;
};

static int note(void *arg, const struct diff_entry *e)
{
    struct said *s = arg;
    struct line *l;

    if (s->n == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 64;
        s->v = realloc(s->v, s->cap * sizeof(*s->v));
        CHECK(s->v != NULL);
    }
    l = &s->v[s->n++];
    *l = (struct line){.kind = e->kind, .meta = e->meta, .type = e->type, .ino = e->ino, .nr = e->nranges};
    snprintf(l->path, sizeof(l->path), "%s", e->path);
    snprintf(l->old, sizeof(l->old), "%s", e->old_path ? e->old_path : "");
    CHECK((e->old_path != NULL) == (e->kind == 'R'));
    l->r = malloc((e->nranges + 1) * sizeof(*l->r));
    if (e->nranges)
        memcpy(l->r, e->ranges, e->nranges * sizeof(*l->r));
    return 0;
}

static void said_free(struct said *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->v[i].r);
    free(s->v);
    *s = (struct said){0};
}

static struct line *find_line(struct said *s, char kind, const char *path, const char *old)
{
    for (size_t i = 0; i < s->n; i++)
        if (!s->v[i].used && s->v[i].kind == kind && strcmp(s->v[i].path, path) == 0 &&
            (!old || strcmp(s->v[i].old, old) == 0)) {
            s->v[i].used = true;
            return &s->v[i];
        }
    test_fail(__FILE__, __LINE__, "diff does not say %c %s %s", kind, old ? old : "", path);
}

/* Ranges: ascending, apart, within the larger size, whole blocks, and every byte that differs is in one. */
static void check_ranges(const struct line *l, const uint8_t *x, const uint8_t *y, uint64_t size)
{
    uint64_t at = 0;

    for (size_t i = 0; i <= l->nr; i++) {
        uint64_t from = i < l->nr ? l->r[i].off_bytes : size, len = i < l->nr ? l->r[i].len_bytes : 0;
        CHECK(i == l->nr || (len > 0 && from % 4096 == 0 && (i == 0 || from > at)));
        CHECK(from + len <= size);
        CHECK(i == l->nr || (from + len) % 4096 == 0 || from + len == size);
        if (memcmp(x + at, y + at, from - at) != 0)
            test_fail(__FILE__, __LINE__, "%s: bytes %llu..%llu differ and are not told", l->path,
                      (unsigned long long)at, (unsigned long long)from);
        at = from + len;
    }
}

static void check_content(const struct line *l, struct tree *a, const struct entry *was, struct tree *b,
                          const struct entry *is)
{
    uint64_t size = MAX_OF(was ? was->a.size : 0, is->a.size);
    uint8_t *x, *y;

    if (!S_ISREG(is->a.mode)) {
        CHECK_EQ(l->nr, 0);
        return;
    }
    x = was ? bytes(a->vol, &was->a, size) : calloc(1, size + 1);
    y = bytes(b->vol, &is->a, size);
    check_ranges(l, x, y, size);
    free(x);
    free(y);
}

static bool changed(struct tree *a, const struct entry *was, struct tree *b, const struct entry *is)
{
    uint64_t size = MAX_OF(was->a.size, is->a.size);
    bool same = meta_equal(&was->a, &is->a) && was->a.size == is->a.size && was->xattrs == is->xattrs;

    if (same && S_ISREG(is->a.mode)) {
        uint8_t *x = bytes(a->vol, &was->a, size), *y = bytes(b->vol, &is->a, size);
        same = memcmp(x, y, size) == 0;
        free(x);
        free(y);
    }
    return !same;
}

/* Names of one inode that went and came, in the order of paths; what pairs is a renaming. */
static void check_names(struct said *s, struct tree *a, struct tree *b, const struct entry *one)
{
    struct entry *gone[64], *came[64];
    size_t ng = 0, nc = 0, k = 0;
    bool both = same_ino(a, one->ino) && same_ino(b, one->ino);

    for (size_t i = 0; i < a->n; i++)
        if (a->v[i].ino == one->ino && !same_name(b, &a->v[i]))
            gone[ng++] = &a->v[i];
    for (size_t i = 0; i < b->n; i++)
        if (b->v[i].ino == one->ino && !same_name(a, &b->v[i]))
            came[nc++] = &b->v[i];
    for (; both && k < ng && k < nc; k++) {
        struct line *l = find_line(s, 'R', came[k]->path, gone[k]->path);
        check_content(l, a, gone[k], b, came[k]);
    }
    for (size_t i = k; i < ng; i++)
        (void)find_line(s, '-', gone[i]->path, NULL);
    for (size_t i = k; i < nc; i++)
        check_content(find_line(s, '+', came[i]->path, NULL), a, NULL, b, came[i]);
}

static void check_changed(struct said *s, struct tree *a, struct tree *b)
{
    for (size_t i = 0; i < b->n; i++) {
        struct entry *is = &b->v[i], *was = same_ino(a, is->ino);
        if (!was || !same_name(a, is) || !changed(a, was, b, is))
            continue;
        struct line *l = find_line(s, 'M', is->path, NULL);
        CHECK_EQ(l->type, is->a.mode & S_IFMT);
        CHECK(l->meta || meta_equal(&was->a, &is->a));
        check_content(l, a, was, b, is);
    }
    if (!meta_equal(&a->root, &b->root))
        CHECK_EQ(find_line(s, 'M', "", NULL)->ino, INO_ROOT);
}

static void mark_all(struct said *s, struct tree *t, struct tree *other, struct tree *a, struct tree *b)
{
    for (size_t i = 0; i < t->n; i++) {
        struct entry *e = &t->v[i];
        if (e->used || same_name(other, e))
            continue;
        for (size_t k = 0; k < a->n; k++)
            a->v[k].used |= a->v[k].ino == e->ino;
        for (size_t k = 0; k < b->n; k++)
            b->v[k].used |= b->v[k].ino == e->ino;
        check_names(s, a, b, e);
    }
}

static void compare(struct vol *v, const char *sa, const char *sb)
{
    struct said s = {0};
    struct tree a, b;

    take_tree(&a, v, box_view(v, sa));
    take_tree(&b, v, sb ? box_view(v, sb) : box_root(v));
    CHECK_OK(diff_run(v, sa, sb, note, &s));
    for (size_t i = 1; i < s.n; i++)
        CHECK(strcmp(s.v[i - 1].path, s.v[i].path) <= 0);
    mark_all(&s, &a, &b, &a, &b);
    mark_all(&s, &b, &a, &a, &b);
    check_changed(&s, &a, &b);
    for (size_t i = 0; i < s.n; i++)
        if (!s.v[i].used)
            test_fail(__FILE__, __LINE__, "diff %s..%s says %c %s %s, and it is not so", sa, sb ? sb : "now",
                      s.v[i].kind, s.v[i].old, s.v[i].path);
    said_free(&s);
    free(a.v);
    free(b.v);
}

TEST(test_diff__F15_equals_a_comparison_of_whole_trees)
{
    enum { N = 6 };
    uint64_t rng = test_seed();
    char a[16], c[16];
    struct box b;

    box_open(&b, NULL, NULL);
    for (int i = 0; i < N; i++) {
        snprintf(a, sizeof(a), "s%d", i);
        CHECK_OK(snap_create(b.v, &b.c, a, NULL));
        box_mess(&b, b.v, &rng, 25);
    }
    for (int i = 0; i < N; i++) {
        snprintf(a, sizeof(a), "s%d", i);
        compare(b.v, a, NULL);
        for (int k = 0; k < N; k++) {
            snprintf(c, sizeof(c), "s%d", k);
            compare(b.v, a, c);
        }
    }
    box_close(&b);
}

TEST(test_diff__F15_after_snapshots_between_were_deleted)
{
    enum { N = 9 };
    uint64_t rng = test_seed();
    char a[16], c[16];
    bool gone[N] = {0};
    struct box b;

    box_open(&b, NULL, NULL);
    for (int i = 0; i < N; i++) {
        snprintf(a, sizeof(a), "s%d", i);
        CHECK_OK(snap_create(b.v, &b.c, a, NULL));
        box_mess(&b, b.v, &rng, 20);
    }
    for (int round = 0; round < 6; round++) {
        int x = (int)(test_rand(&rng) % N);
        if (!gone[x]) {
            snprintf(a, sizeof(a), "s%d", x);
            CHECK_OK(snap_delete(b.v, &b.c, a));
            gone[x] = true;
        }
        CHECK_OK(store_reclaim_idle(b.s));
        for (int i = 0; i < N; i++) {
            snprintf(a, sizeof(a), "s%d", i);
            snprintf(c, sizeof(c), "s%d", i + 1 + round % 3);
            if (gone[i])
                continue;
            compare(b.v, a, NULL);
            if (i + 1 + round % 3 < N && !gone[i + 1 + round % 3])
                compare(b.v, a, c);
        }
        box_mess(&b, b.v, &rng, 8);
    }
    box_close(&b);
}

TEST(test_diff__F14_across_rollbacks)
{
    char kept[4][NAME_LEN_MAX + 1];
    uint64_t rng = test_seed();
    struct box b;

    box_open(&b, NULL, NULL);
    box_mess(&b, b.v, &rng, 60);
    CHECK_OK(snap_create(b.v, &b.c, "s", NULL));
    box_mess(&b, b.v, &rng, 30);
    CHECK_OK(snap_create(b.v, &b.c, "t", NULL));
    for (int i = 0; i < 4; i++) {
        box_mess(&b, b.v, &rng, 25);
        CHECK_OK(snap_rollback(b.v, &b.c, i == 1 ? "t" : i == 3 ? kept[1] : "s", kept[i]));
    }
    box_mess(&b, b.v, &rng, 25);
    compare(b.v, "s", NULL);
    compare(b.v, "t", NULL);
    for (int i = 0; i < 4; i++) {
        compare(b.v, kept[i], NULL);
        compare(b.v, "t", kept[i]);
        compare(b.v, kept[i], "s");
        for (int k = 0; k < 4; k++)
            compare(b.v, kept[i], kept[k]);
    }
    box_close(&b);
}

TEST(test_diff__F14_of_a_flattened_branch)
{
    char kept[NAME_LEN_MAX + 1] = "s", names[7][NAME_LEN_MAX + 1];
    uint64_t rng = test_seed();
    struct branch_rec br;
    struct box b;

    box_open(&b, NULL, NULL);
    box_mess(&b, b.v, &rng, 60);
    CHECK_OK(snap_create(b.v, &b.c, "s", NULL));
    for (int i = 0; i < 7; i++) {
        box_mess(&b, b.v, &rng, 12);
        CHECK_OK(snap_rollback(b.v, &b.c, kept, names[i]));
        box_mess(&b, b.v, &rng, 6);
        memcpy(kept, names[i], sizeof(kept));
    }
    CHECK_OK(store_reclaim_idle(b.s));
    CHECK_OK(branch_get(b.s, b.v->rec.head, &br));
    CHECK(br.depth <= 4);
    box_mess(&b, b.v, &rng, 12);
    compare(b.v, "s", NULL);
    for (int i = 0; i < 7; i++)
        compare(b.v, names[i], NULL);
    for (int i = 0; i < 6; i++)
        CHECK_OK(snap_delete(b.v, &b.c, names[i]));
    box_sound(&b);
    compare(b.v, names[6], NULL);
    compare(b.v, "s", NULL);
    compare(b.v, "s", names[6]);
    box_close(&b);
}

static void expect(struct vol *v, const char *a, const char *b, const char *want)
{
    cleanup(buf_free) struct buf got = {0};
    struct said s = {0};

    CHECK_OK(diff_run(v, a, b, note, &s));
    for (size_t i = 0; i < s.n; i++) {
        CHECK_OK(buf_printf(&got, "%c %s%s%s", s.v[i].kind, s.v[i].old, *s.v[i].old ? ">" : "", s.v[i].path));
        for (size_t k = 0; k < s.v[i].nr; k++)
            CHECK_OK(buf_printf(&got, " %llu+%llu", (unsigned long long)s.v[i].r[k].off_bytes,
                                (unsigned long long)s.v[i].r[k].len_bytes));
        CHECK_OK(buf_puts(&got, "\n"));
    }
    if (strcmp(buf_cstr(&got), want) != 0)
        test_fail(__FILE__, __LINE__, "diff says\n%swant\n%s", buf_cstr(&got), want);
    said_free(&s);
}

TEST(test_diff__tells_kinds_and_ranges_exactly)
{
    struct box b;

    box_open(&b, NULL, NULL);
    box_mkdir(&b, b.v, "d");
    box_mkdir(&b, b.v, "d/e");
    box_fill(&b, b.v, "d/e/big", 0, 4 << 20, 1);
    box_text(&b, b.v, "d/small", "one");
    box_text(&b, b.v, "gone", "x");
    CHECK_OK(snap_create(b.v, &b.c, "a", NULL));
    expect(b.v, "a", NULL, "");
    box_fill(&b, b.v, "d/e/big", (1 << 20) + 100, 5000, 2);
    box_fill(&b, b.v, "d/e/big", 3 << 20, 1, 2);
    CHECK_OK(snap_create(b.v, &b.c, "b", NULL));
    expect(b.v, "a", "b", "M d/e/big 1048576+8192 3145728+4096\n");
    expect(b.v, "b", "a", "M d/e/big 1048576+8192 3145728+4096\n");
    box_text(&b, b.v, "d/small", "two");
    box_rename(&b, b.v, "d/e", "e2");
    box_remove(&b, b.v, "gone");
    box_text(&b, b.v, "new", "hello");
    box_link(&b, b.v, "new", "new2");
    CHECK_OK(snap_create(b.v, &b.c, "c", NULL));
    expect(b.v, "b", "c", "M \nM d\nM d/small 0+3\nR d/e>e2\n- gone\n+ new 0+5\n+ new2 0+5\n");
    expect(b.v, "a", "c",
           "M \nM d\nM d/small 0+3\nR d/e>e2\nM e2/big 1048576+8192 3145728+4096\n- gone\n+ new 0+5\n+ new2 "
           "0+5\n");
    expect(b.v, "c", "b", "M \nM d\nR e2>d/e\nM d/small 0+3\n+ gone 0+1\n- new\n- new2\n");
    box_truncate(&b, b.v, "e2/big", 2 << 20);
    expect(b.v, "c", NULL, "M e2/big 2097152+2097152\n");
    box_truncate(&b, b.v, "e2/big", 6 << 20);
    expect(b.v, "c", NULL, "M e2/big 2097152+2097152\n");
    CHECK_OK(vfs_fallocate(b.v, &b.c, box_node(b.v, box_root(b.v), "e2/big"),
                           FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8192, 4096));
    expect(b.v, "c", NULL, "M e2/big 8192+4096 2097152+2097152\n");
    CHECK_OK(vfs_fallocate(b.v, &b.c, box_node(b.v, box_root(b.v), "e2/big"), 0, 5 << 20, 1 << 20));
    expect(b.v, "c", NULL,
           "M e2/big 8192+4096 2097152+2097152\n"); /* reserved blocks read as zeros, as before */
    CHECK_ERR(diff_run(b.v, "none", NULL, note, NULL), -E_NOENT);
    box_close(&b);
}

TEST(test_diff__F15_cost_does_not_grow_with_the_tree)
{
    char name[32];
    struct box b;

    box_open(&b, NULL, NULL);
    for (int i = 0; i < 4000; i++) {
        snprintf(name, sizeof(name), "n%d", i);
        box_text(&b, b.v, name, "x");
    }
    CHECK_OK(snap_create(b.v, &b.c, "a", NULL));
    box_text(&b, b.v, "n77", "y");
    expect(b.v, "a", NULL, "M n77 0+1\n");
    CHECK_EQ(box_records(&b, TAB_TOUCHED, 0) < 4000u * 3 + 10, 1);
    box_close(&b);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
