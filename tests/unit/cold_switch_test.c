/* Bytes that lie elsewhere get another name while they are read: the old one goes when nothing needs it. */
#include "tests/unit/cold_case.h"

struct moving {
    struct far far;
    struct box b;
    uint32_t now; /* the other source */
    uint64_t size;
    uint8_t *want;
};

/* Both places have the same. */
static int fetch_any(void *arg, uint32_t source, const struct cold_ref *ref, uint32_t blocks, void *out)
{
    (void)source;
    return far_fetch(arg, 1, ref, blocks, out);
}

static void connect(struct moving *m)
{
    store_set_cold(m->b.s, &(struct cold_hooks){.arg = &m->far, .fetch = fetch_any});
}

/* A file of two ranges. */
static void moving_begin(struct moving *m)
{
    struct cold_run runs[] = {far_run(7, 0, 700), far_run(8, 700, 20)};

    *m = (struct moving){.size = 720 * BLOCK_SIZE};
    m->want = malloc(m->size);
    box_open(&m->b, NULL, NULL);
    far_begin(&m->b, &m->far);
    far_file(&m->b, "a", m->size, runs, 2);
    far_bytes(m->want, m->size, runs, 2);
    CHECK_OK(cold_source_put(m->b.s, "elsewhere", 9, &m->now));
    connect(m);
}

static void moving_end(struct moving *m)
{
    far_sound(&m->b);
    box_sound(&m->b);
    box_close(&m->b);
    free(m->want);
}

static size_t named(struct moving *m, uint32_t source, struct buf *ret)
{
    struct cold_cursor c = {.object = 0};
    int r;

    buf_reset(ret);
    while ((r = cold_named(m->b.s, source, &c, 1, ret)) == 1)
        continue;
    CHECK_OK(r);
    return ret->len / sizeof(struct cold_range);
}

static size_t moved(struct moving *m, const struct buf *list)
{
    const struct cold_range *v = (const struct cold_range *)(const void *)list->data;
    size_t n = list->len / sizeof(*v), done = 0;
    struct cold_switch x[8];

    CHECK(n <= 8);
    for (size_t i = 0; i < n; i++)
        x[i] = (struct cold_switch){v[i], m->now, v[i].ref};
    CHECK_OK(cold_switch(m->b.s, x, n, &done));
    return done;
}

TEST(test_cold_switch__all_that_names_a_source_names_another)
{
    cleanup(buf_free) struct buf list = {0};
    struct moving m;

    moving_begin(&m);
    CHECK_EQ(named(&m, 1, &list), 2);
    CHECK_EQ(named(&m, m.now, &list), 0);
    CHECK_ERR(cold_source_del(m.b.s, 1), -E_BUSY);
    named(&m, 1, &list);
    CHECK_EQ(moved(&m, &list), 2);
    CHECK_EQ(moved(&m, &list), 0); /* they are called otherwise by now */
    CHECK_EQ(named(&m, 1, &list), 0);
    CHECK_EQ(named(&m, m.now, &list), 2);
    CHECK_OK(cold_source_del(m.b.s, 1));
    CHECK_OK(store_flush(m.b.s));
    box_die(&m.b);
    connect(&m);
    CHECK_EQ(named(&m, m.now, &list), 2);
    far_expect(&m.b, "a", m.want, m.size, 0);
    moving_end(&m);
}

/* What was brought in part since it was looked at is another range: it is left as it is, and found by the next look. */
TEST(test_cold_switch__what_changed_meanwhile_is_left)
{
    cleanup(buf_free) struct buf list = {0};
    struct moving m;

    moving_begin(&m);
    CHECK_EQ(named(&m, 1, &list), 2);
    far_expect(&m.b, "a", m.want, 10, 0);
    CHECK_OK(cold_settle(m.b.s));
    CHECK_EQ(moved(&m, &list), 1);
    CHECK_EQ(named(&m, 1, &list), 1);
    CHECK_EQ(moved(&m, &list), 1);
    far_expect(&m.b, "a", m.want, m.size, 0);
    CHECK_OK(cold_settle(m.b.s));
    CHECK_EQ(far_records(&m.b), 0);
    moving_end(&m);
}

static uint64_t object_of(struct box *b, const char *path)
{
    struct inode in;
    struct txn t;

    CHECK_OK(txn_begin(b->s, TXN_READ, OP_NONE, NULL, &t));
    CHECK_OK(inode_get(&t, vol_now(b->v), vfs_node_ino(box_node(b->v, box_root(b->v), path)), &in));
    txn_abort(&t);
    return in.base_obj;
}

/* Whoever was told of a source before it ended names nothing by it: what a range names could not be read any more. */
TEST(test_cold_switch__nothing_names_a_source_that_went)
{
    cleanup(buf_free) struct buf list = {0};
    struct cold_range range = {.first = 0, .blocks = 20, .ref = far_run(9, 0, 20).ref};
    struct moving m;
    struct txn t;
    size_t done = 0;
    uint8_t p[20 * BLOCK_SIZE];

    moving_begin(&m);
    far_bytes(p, sizeof(p), &(struct cold_run){.count = 20, .ref = range.ref}, 1);
    box_write(&m.b, m.b.v, "here", p, sizeof(p), 0);
    CHECK_OK(snap_create(m.b.v, &m.b.c, "s", NULL)); /* it is frozen */
    CHECK_OK(store_sync(m.b.s));
    range.object = object_of(&m.b, "here");
    CHECK_OK(cold_source_del(m.b.s, m.now));
    range.source = m.now;
    CHECK_OK(txn_begin(m.b.s, TXN_WRITE, OP_COLD, m.b.v, &t));
    CHECK_ERR(cold_release(&t, &range), -E_STALE);
    txn_abort(&t);
    CHECK_EQ(named(&m, 1, &list), 2);
    struct cold_switch x = {*(const struct cold_range *)(const void *)list.data, m.now, range.ref};
    CHECK_ERR(cold_switch(m.b.s, &x, 1, &done), -E_STALE);
    CHECK_EQ(named(&m, 1, &list), 2);
    far_expect(&m.b, "here", p, sizeof(p), 0);
    moving_end(&m);
}

static struct moving *meanwhile;

/* It gets another name while its bytes are on their way by the old one. */
static int fetch_and_move(void *arg, uint32_t source, const struct cold_ref *ref, uint32_t blocks, void *out)
{
    cleanup(buf_free) struct buf list = {0};
    struct moving *m = TAKE(meanwhile);

    if (m) {
        CHECK_EQ(source, 1);
        named(m, 1, &list);
        CHECK_EQ(moved(m, &list), 2);
    }
    return far_fetch(arg, 1, ref, blocks, out);
}

TEST(test_cold_switch__what_is_on_its_way_comes_and_stays)
{
    struct moving m;
    uint64_t records;

    moving_begin(&m);
    meanwhile = &m;
    store_set_cold(m.b.s, &(struct cold_hooks){.arg = &m.far, .fetch = fetch_and_move});
    far_expect(&m.b, "a", m.want, 10, 0);
    CHECK(!meanwhile);
    records = m.far.calls;
    far_expect(&m.b, "a", m.want, 10, 0); /* it was kept */
    CHECK_EQ(m.far.calls, records);
    CHECK_OK(cold_settle(m.b.s));
    far_expect(&m.b, "a", m.want, m.size, 0);
    moving_end(&m);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
