#include "snap/job.h"

#include <stdatomic.h>
#include <time.h>

#include "tests/lib/test.h"

static char path[4096];
static _Atomic int gate, ran;

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

/* Counts to 10; from 5 on only when the gate is open. */
static int run_count(struct job *j, struct store *s, const struct job_info *info)
{
    (void)s;
    (void)info;
    ran++;
    job_total(j, 10, 0);
    for (uint64_t i = 0; i <= 10; i++) {
        while (i == 5 && !gate && !job_canceled(j))
            nap();
        if (job_canceled(j))
            return -E_CANCELED;
        job_progress(j, i, 0);
    }
    job_report_line(j, "counted");
    job_say(j, "counted to ten");
    return 0;
}

static int run_fail(struct job *j, struct store *s, const struct job_info *info)
{
    (void)s;
    job_say(j, "no luck with %s", info->detail);
    return -E_QUOTA;
}

static const struct job_kind kinds[] = {
    {.verb = "count", .run = run_count},
    {.verb = "again", .run = run_count, .again = true},
    {.verb = "fail", .run = run_fail},
};

static struct store *open_store(unsigned flags)
{
    struct store_settings set = {.segment_bytes = 1 << 20, .segments = 4};
    struct store *s;

    snprintf(path, sizeof(path), "%s/s", test_dir());
    if (!store_path_is(path)) {
        gate = ran = 0;
        CHECK_OK(store_create(io_real(), path, &set));
    }
    CHECK_OK(store_open(io_real(), path, &set, flags, &s, NULL));
    CHECK_OK(jobs_attach(s, kinds, ARRAY_LEN(kinds)));
    return s;
}

static void close_store(struct store *s)
{
    jobs_detach(s);
    CHECK_OK(store_close(s));
}

static struct job_info info_of(struct store *s, uint64_t id)
{
    struct job_info i;

    CHECK_OK(job_get(s, id, &i));
    return i;
}

TEST(test_job__runs_behind_and_tells_how_far_it_is)
{
    cleanup(buf_free) struct buf report = {0};
    struct store *s = open_store(0);
    struct job_info i;
    uint64_t id;

    CHECK_OK(job_start(s, "count", 3, "x", &id));
    while (info_of(s, id).items_done < 4 || info_of(s, id).eta_ns < 0)
        nap();
    i = info_of(s, id);
    CHECK_EQ(i.state, JOB_RUNNING);
    CHECK_EQ(i.items_total, 10);
    CHECK_EQ(i.vol, 3);
    CHECK_EQ(jobs_running(s), 1);
    CHECK(i.eta_ns >= 0);
    CHECK_ERR(job_wait(s, id, 5), -E_AGAIN);
    gate = 1;
    CHECK_OK(job_wait(s, id, 5000));
    i = info_of(s, id);
    CHECK_EQ(i.state, JOB_DONE);
    CHECK_EQ(i.items_done, 10);
    CHECK(strcmp(i.text, "counted to ten") == 0);
    CHECK(i.ended_ns >= i.started_ns);
    CHECK_OK(job_report(s, id, &report));
    CHECK(strcmp(buf_cstr(&report), "counted\n") == 0);
    CHECK_EQ(jobs_running(s), 0);
    close_store(s);
}

TEST(test_job__the_same_is_joined_while_it_goes_on)
{
    struct store *s = open_store(0);
    uint64_t a, b, other, later;

    CHECK_OK(job_join(s, "count", 3, "x", &a));
    CHECK_OK(job_join(s, "count", 3, "x", &b));
    CHECK_OK(job_join(s, "count", 3, "y", &other));
    CHECK_EQ(a, b);
    CHECK(other != a);
    CHECK_OK(job_start(s, "count", 3, "x", &later));
    CHECK(later != a);
    gate = 1;
    CHECK_OK(job_wait(s, a, 5000));
    CHECK_OK(job_wait(s, later, 5000));
    CHECK_OK(job_join(s, "count", 3, "x", &b));
    CHECK(b != a && b != later);
    CHECK_OK(job_wait(s, b, 5000));
    CHECK_OK(job_wait(s, other, 5000));
    close_store(s);
}

TEST(test_job__failure_keeps_its_reason_over_a_restart)
{
    struct store *s = open_store(0);
    struct job_info i;
    uint64_t id;

    CHECK_OK(job_start(s, "fail", 0, "quota", &id));
    CHECK_ERR(job_wait(s, id, 5000), -E_QUOTA);
    close_store(s);
    s = open_store(0);
    i = info_of(s, id);
    CHECK_EQ(i.state, JOB_FAILED);
    CHECK_EQ(-i.result, E_QUOTA);
    CHECK(strcmp(i.text, "no luck with quota") == 0);
    CHECK_ERR(job_wait(s, id, 5000), -E_QUOTA);
    close_store(s);
}

TEST(test_job__cancel_stops_it)
{
    struct store *s = open_store(0);
    uint64_t id, queued[8];

    CHECK_OK(job_start(s, "count", 0, "", &id));
    for (size_t i = 0; i < ARRAY_LEN(queued); i++)
        CHECK_OK(job_start(s, "count", 0, "", &queued[i]));
    CHECK_OK(job_cancel(s, queued[7])); /* more than there are workers: still queued */
    CHECK_ERR(job_wait(s, queued[7], 1000), -E_CANCELED);
    CHECK_OK(job_cancel(s, id));
    CHECK_ERR(job_wait(s, id, 5000), -E_CANCELED);
    CHECK_EQ(info_of(s, id).state, JOB_CANCELED);
    CHECK_ERR(job_cancel(s, id), -E_INVAL);
    CHECK_ERR(job_cancel(s, 12345), -E_NOENT);
    CHECK_ERR(job_wait(s, 12345, 10), -E_NOENT);
    gate = 1;
    for (size_t i = 0; i < 7; i++)
        CHECK_OK(job_wait(s, queued[i], 5000));
    close_store(s);
}

TEST(test_job__of_a_dead_process_goes_on_or_is_interrupted)
{
    struct store *s = open_store(0);
    uint64_t once, again;

    CHECK_OK(job_start(s, "count", 0, "a", &once));
    CHECK_OK(job_start(s, "again", 0, "b", &again));
    while (info_of(s, once).items_done < 4 || info_of(s, again).items_done < 4)
        nap();
    jobs_detach(s); /* asks them to stop, but nobody cancelled them */
    CHECK_OK(store_close(s));
    gate = 1;
    s = open_store(0);
    CHECK_EQ(info_of(s, once).state, JOB_INTERRUPTED);
    CHECK_ERR(job_wait(s, once, 10), -E_INTR);
    CHECK_OK(job_wait(s, again, 5000));
    CHECK(strcmp(info_of(s, again).detail, "b") == 0);
    CHECK_EQ(ran, 3);
    close_store(s);
}

TEST(test_job__of_a_killed_process_is_known)
{
    struct store *s = open_store(0);
    uint64_t id, next;

    CHECK_OK(job_start(s, "count", 0, "a", &id));
    while (info_of(s, id).items_done < 4)
        nap();
    CHECK_OK(store_flush(s));
    jobs_detach(s);
    store_drop(s);
    s = open_store(0);
    CHECK_EQ(info_of(s, id).state, JOB_INTERRUPTED);
    gate = 1;
    CHECK_OK(job_start(s, "count", 0, "c", &next));
    CHECK(next > id);
    CHECK_OK(job_wait(s, next, 5000));
    close_store(s);
}

static int count(void *arg, const struct job_info *i)
{
    uint64_t *n = arg;

    n[0]++;
    n[1] = i->id;
    return 0;
}

TEST(test_job__ended_ones_are_forgotten_oldest_first)
{
    struct store *s = open_store(0);
    uint64_t id = 0, n[2] = {0};

    gate = 1;
    for (int i = 0; i < JOBS_KEPT + 20; i++) {
        CHECK_OK(job_start(s, "count", 0, "", &id));
        CHECK_OK(job_wait(s, id, 5000));
    }
    for (int again = 0; again < 2; again++) {
        n[0] = n[1] = 0;
        CHECK_OK(jobs_each(s, count, n));
        CHECK(n[0] <= JOBS_KEPT + 1);
        CHECK(n[0] >= JOBS_KEPT);
        CHECK_EQ(n[1], id);
        close_store(s);
        s = open_store(0);
    }
    close_store(s);
}

TEST(test_job__a_store_that_is_only_read_keeps_them_in_memory)
{
    struct store *s = open_store(0);
    uint64_t id;

    gate = 1;
    close_store(s);
    s = open_store(STORE_READONLY);
    CHECK_OK(job_start(s, "count", 0, "", &id));
    CHECK_OK(job_wait(s, id, 5000));
    close_store(s);
    s = open_store(0);
    CHECK_EQ(jobs_running(s), 0);
    close_store(s);
}

TEST(test_job__unknown_kinds_are_refused)
{
    struct store *s = open_store(0);
    char longer[JOB_DETAIL_MAX + 2];
    uint64_t id = 77;

    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = 0;
    CHECK_ERR(job_start(s, "nothing", 0, "", &id), -E_NOSYS);
    CHECK_ERR(job_start(s, "count", 0, longer, &id), -E_TOOBIG);
    CHECK_EQ(id, 77);
    close_store(s);
}

TEST(test_job__records_have_fixed_bytes)
{
    static const uint8_t golden[] = {3, 0, 0, 0, 4,   0,  0,   0,   1, 0,   0,   0,   0,   0,   0, 0,   5,
                                     0, 0, 0, 0, 0,   0,  0,   6,   0, 0,   0,   0,   0,   0,   0, 7,   0,
                                     0, 0, 0, 0, 0,   0,  8,   0,   0, 0,   0,   0,   0,   0,   9, 0,   0,
                                     0, 0, 0, 0, 0,   10, 0,   0,   0, 0,   0,   0,   0,   11,  0, 0,   0,
                                     0, 0, 0, 0, 'v', 0,  'd', 'e', 0, 'Q', 'U', 'O', 'T', 'A', 0, 't', 0};
    cleanup(buf_free) struct buf b = {0};
    struct job_info i = {.id = 2,
                         .vol = 3,
                         .state = JOB_FAILED,
                         .cancel = true,
                         .result = -E_QUOTA,
                         .created_ns = 5,
                         .started_ns = 6,
                         .ended_ns = 7,
                         .items_done = 8,
                         .items_total = 9,
                         .bytes_done = 10,
                         .bytes_total = 11,
                         .verb = "v",
                         .detail = "de",
                         .text = "t"},
                    back;

    CHECK_OK(job_record_encode(&i, &b));
    CHECK_EQ(b.len, sizeof(golden));
    CHECK(memcmp(b.data, golden, sizeof(golden)) == 0);
    CHECK_OK(job_record_decode(2, b.data, b.len, &back));
    CHECK(back.result == -E_QUOTA);
    CHECK(strcmp(back.detail, "de") == 0);
    CHECK_EQ(back.bytes_total, 11);
    for (size_t n = 0; n < b.len; n++)
        CHECK_ERR(job_record_decode(2, b.data, n, &back), -E_CORRUPT);
    b.data[4] = 0;
    CHECK_ERR(job_record_decode(2, b.data, b.len, &back), -E_CORRUPT);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
