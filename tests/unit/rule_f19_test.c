/* F19: a request that is sent again gets its first answer. */
#include "snap/snapshot.h"
#include "snap/store/answer.h"
#include "tests/lib/rig.h"
#include "tests/lib/test.h"

#define CONN 7u

static struct vfs_ctx ctx_of(uint64_t unique)
{
    return (struct vfs_ctx){.conn = CONN, .unique = unique};
}

/* Carries out one creation as request `unique`, without the reply. */
static uint64_t make(struct rig *g, uint64_t unique, const char *name)
{
    struct vfs_ctx c = ctx_of(unique);
    struct answer_rec was;
    struct vfs_attr a;

    CHECK(!answer_begin(g->b.s, CONN, unique, false, &was));
    CHECK_OK(vfs_mknod(g->b.v, &c, (vfs_node){INO_ROOT}, name, S_IFREG | 0644, 0, &a));
    return vfs_node_ino(a.node);
}

static bool knows(struct rig *g, uint64_t unique, struct answer_rec *ret)
{
    return answer_begin(g->b.s, CONN, unique, true, ret);
}

TEST(test_f19__what_was_not_answered_is_known_after_a_death)
{
    struct answer_rec was;
    struct rig g;
    uint64_t ino;

    rig_open(&g);
    ino = make(&g, 10, "f");
    rig_die(&g);
    CHECK(knows(&g, 10, &was));
    CHECK_EQ(was.value, ino);
    CHECK_EQ(was.kind, OP_CREATE);
    CHECK(!knows(&g, 11, &was));
    rig_close(&g);
}

TEST(test_f19__what_was_answered_is_forgotten)
{
    struct answer_rec was;
    struct rig g;

    rig_open(&g);
    make(&g, 10, "f");
    answer_end();
    CHECK_EQ(answers_count(g.b.s), 0);
    make(&g, 12, "g"); /* its record tells that the reply to the first was written */
    rig_die(&g);
    CHECK_EQ(answers_count(g.b.s), 1);
    CHECK(!knows(&g, 10, &was));
    CHECK(knows(&g, 12, &was));
    answer_end();
    rig_close(&g);
}

TEST(test_f19__a_checkpoint_keeps_answers_and_drops_them)
{
    struct answer_rec was;
    struct rig g;

    rig_open(&g);
    make(&g, 10, "f");
    CHECK_OK(store_checkpoint(g.b.s));
    for (int i = 0; i < 3; i++) { /* deaths in a row */
        rig_die(&g);
        CHECK_EQ(answers_count(g.b.s), 1);
        CHECK_OK(store_checkpoint(g.b.s));
    }
    CHECK(knows(&g, 10, &was));
    rig_check(&g);
    answer_end();
    CHECK_OK(store_checkpoint(g.b.s));
    rig_die(&g);
    CHECK_EQ(answers_count(g.b.s), 0);
    rig_close(&g);
}

TEST(test_f19__another_boot_knows_nothing)
{
    struct rig g;

    rig_open(&g);
    make(&g, 10, "f");
    CHECK_OK(store_checkpoint(g.b.s));
    make(&g, 12, "g");
    CHECK_OK(store_flush(g.b.s));
    rig_cut(&g, 1, LYING_ALL);
    CHECK_EQ(answers_count(g.b.s), 0);
    rig_close(&g);
}

TEST(test_f19__answers_of_gone_connections_go)
{
    const uint64_t other = CONN + 1, same = CONN;
    struct rig g;

    rig_open(&g);
    make(&g, 10, "f");
    rig_die(&g);
    answers_keep(g.b.s, &same, 1);
    CHECK_EQ(answers_count(g.b.s), 1);
    answers_keep(g.b.s, &other, 1);
    CHECK_EQ(answers_count(g.b.s), 0);
    rig_close(&g);
}

/* A copy of several records: how far it came is its answer. */
TEST(test_f19__a_copy_answers_how_far_it_came)
{
    struct vfs_ctx c = ctx_of(10);
    struct answer_rec was;
    uint64_t done = 0;
    struct rig g;

    rig_open(&g);
    rig_write(&g, "a", 0, 300000, rig_a);
    make(&g, 8, "b");
    answer_end();
    CHECK(!answer_begin(g.b.s, CONN, 10, false, &was));
    CHECK_OK(vfs_copy(g.b.v, &c, rig_node(&g, "a"), 0, rig_node(&g, "b"), 0, 300000, &done));
    CHECK_EQ(done, 300000);
    rig_die(&g);
    CHECK(knows(&g, 10, &was));
    CHECK_EQ(was.value, 300000);
    rig_expect(&g, "b", 0, 300000, rig_a);
    rig_close(&g);
}

/* A change of size and mode is two records: the first is no answer. */
TEST(test_f19__half_a_request_is_no_answer)
{
    struct vfs_setattr set = {.set = VFS_SIZE | VFS_MODE, .size = 100, .mode = 0600};
    struct vfs_ctx c = ctx_of(10);
    struct answer_rec was;
    struct vfs_attr a;
    struct rig g;

    rig_open(&g);
    rig_write(&g, "f", 0, 300000, rig_a);
    CHECK(!answer_begin(g.b.s, CONN, 10, false, &was));
    CHECK_OK(vfs_setattr(g.b.v, &c, rig_node(&g, "f"), &set, &a));
    CHECK_EQ(answers_count(g.b.s), 1);
    answer_end();
    set.set = VFS_SIZE;
    set.size = 50;
    c.unique = 12;
    CHECK(!answer_begin(g.b.s, CONN, 12, false, &was));
    CHECK_OK(vfs_setattr(g.b.v, &c, rig_node(&g, "f"), &set, &a));
    rig_die(&g);
    CHECK(knows(&g, 12, &was));
    CHECK(!knows(&g, 10, &was));
    rig_close(&g);
}

/* Several commands in one request. */
TEST(test_f19__steps_go_on_where_they_stopped)
{
    struct layer_rec rec;
    struct answer_rec was;
    uint64_t value = 0;
    struct rig g;

    rig_open(&g);
    CHECK(!answer_begin(g.b.s, CONN, 10, false, &was));
    CHECK_EQ(answer_steps_begin(), 0);
    answer_step(0);
    CHECK(!answer_begun(&value));
    CHECK_OK(snap_create(g.b.v, NULL, "one", &rec));
    answer_step(1);
    CHECK_OK(snap_create(g.b.v, NULL, "two", &rec));
    CHECK_OK(snap_hold(g.b.v, "two", "tag"));
    rig_die(&g);
    CHECK(knows(&g, 10, &was));
    CHECK_EQ(answer_steps_begin(), 1);
    answer_step(1);
    CHECK(answer_begun(&value));
    CHECK_EQ(value, rec.layer);
    answer_step(2);
    CHECK(!answer_begun(&value));
    answer_end();
    rig_close(&g);
}

/* A snapshot that a command waits for becomes durable in the command's own thread; killed just then, it has not begun. */
TEST(test_f19__what_a_command_waits_for_does_not_begin_it)
{
    struct layer_rec rec;
    struct answer_rec was;
    uint64_t value = 0;
    struct rig g;

    rig_open(&g);
    rig_write(&g, "f", 0, 300000, rig_a);
    CHECK_OK(snap_create(g.b.v, NULL, "s", &rec));
    CHECK_EQ(rec.state, LAYER_SETTLING);
    CHECK(!answer_begin(g.b.s, CONN, 10, false, &was));
    CHECK_EQ(answer_steps_begin(), 0);
    answer_step(0);
    CHECK_OK(snap_wait_durable(g.b.v, rec.layer)); /* the first thing that a rollback or a clone does */
    rig_die(&g);
    CHECK(!knows(&g, 10, &was));
    answer_steps_begin();
    answer_step(0);
    CHECK(!answer_begun(&value));
    CHECK_OK(snap_rollback(g.b.v, NULL, "s", NULL));
    rig_die(&g);
    CHECK(knows(&g, 10, &was));
    CHECK_EQ(was.kind, OP_ROLLBACK);
    answer_end();
    rig_close(&g);
}

TEST(test_f19__records_of_answers_have_their_bytes)
{
    struct answer_rec r = {.conn = 1, .unique = 2, .lsn = 3, .value = 4, .step = 5, .kind = 6}, back;
    uint8_t key[KEY_SIZE_MAX], val[ANSWER_REC_SIZE];
    static const uint8_t golden[ANSWER_REC_SIZE] = {3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0,
                                                    0, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0};

    answer_rec_encode(&r, val);
    CHECK(memcmp(val, golden, sizeof(golden)) == 0);
    CHECK_OK(answer_rec_decode(key, answer_key(key, 1, 2), val, sizeof(val), &back));
    CHECK(memcmp(&r, &back, sizeof(r)) == 0);
    CHECK_ERR(answer_rec_decode(key, 16, val, sizeof(val), &back), -E_CORRUPT);
    CHECK_ERR(answer_rec_decode(key, 17, val, sizeof(val) - 1, &back), -E_CORRUPT);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
