/* Schedules at work on a store: a month by a false clock with restarts, deaths and power cuts; what is bound; backups; profiles that
 * change. */
#include "snap/schedule.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "snap/check.h"
#include "tests/lib/box.h"
#include "tests/lib/rig.h"
#include "tests/lib/test.h"

#define BERLIN "CET-1CEST,M3.5.0,M10.5.0/3"
#define SECOND 1000000000ll
#define HOUR 3600
#define DAY 86400

static struct zone zone;
static unsigned taken, gone, troubles;

static void on_change(void *arg, struct vol *v, const char *name, bool is_taken)
{
    (void)arg;
    (void)v;
    (void)name;
    taken += is_taken;
    gone += !is_taken;
}

static void on_trouble(void *arg, struct vol *v, const char *kind, const char *text)
{
    (void)arg;
    (void)v;
    (void)kind;
    (void)text;
    troubles++;
}

static struct schedule_hooks hooks = {.changed = on_change, .trouble = on_trouble};

static int64_t utc(const char *s)
{
    int64_t ns;

    CHECK_OK(clock_parse(s, &ns));
    return ns / SECOND;
}

static void begin(const char *when)
{
    log_set_level(LOG_ERROR);
    taken = gone = troubles = 0;
    hooks.backup = NULL;
    CHECK_OK(zone_load(BERLIN, &zone));
    clock_test_set(utc(when) * SECOND, SECOND);
}

static void at(const char *when)
{
    clock_test_set(utc(when) * SECOND, clock_mono_ns() + SECOND);
}

static void give(struct vol *v, const char *text)
{
    cleanup(profile_free) struct profile *p = NULL;
    cleanup(buf_free) struct buf err = {0};

    if (profile_parse(text, "x", &p, &err) < 0)
        test_fail(__FILE__, __LINE__, "%s", buf_cstr(&err));
    CHECK_OK(policy_set(v, p, true, NULL));
}

static void tick(struct box *b)
{
    CHECK(schedules_tick(b->s, &zone, &hooks) > 0);
}

static int name_add(void *arg, const struct layer_rec *rec, const char *text, size_t len)
{
    (void)text;
    (void)len;
    return buf_printf(arg, "%s\n", rec->name);
}

/* The snapshots, a line each; freed by the caller. */
static struct buf list(struct vol *v)
{
    struct buf b = {0};

    CHECK_OK(snap_each(v, name_add, &b));
    CHECK(buf_cstr(&b));
    return b;
}

static void check_list(int line, struct vol *v, const char *want)
{
    cleanup(buf_free) struct buf b = list(v);

    if (strcmp(buf_cstr(&b), want) != 0)
        test_fail(__FILE__, line, "there are\n%snot\n%s", buf_cstr(&b), want);
}

#define DAILY "name = \"d\"; snapshots = ( { occurrence = \"daily\"; at = \"02:30\"; keep = 3; } );"

TEST(test_schedule__a_run_is_done_once_and_missed_ones_are_caught_up_with_once)
{
    struct policy_runs runs;
    struct box b;

    begin("2026-11-20T12:00:00Z");
    box_open(&b, NULL, NULL);
    give(b.v, DAILY);
    tick(&b);
    check_list(__LINE__, b.v, "");
    at("2026-11-21T01:30:05Z");
    tick(&b);
    tick(&b);
    check_list(__LINE__, b.v, "auto-daily-2026-11-21T01-30-00Z\n");
    at("2026-11-25T12:00:00Z");
    tick(&b);
    tick(&b);
    check_list(__LINE__, b.v, "auto-daily-2026-11-21T01-30-00Z\nauto-daily-2026-11-25T01-30-00Z\n");
    CHECK_OK(policy_runs_get(b.v, &runs));
    CHECK_EQ(runs.n, 1);
    CHECK_EQ(runs.v[0].state.done_s, utc("2026-11-25T01:30:00Z"));
    CHECK(strcmp(runs.v[0].result, "ok; 3 before it were missed") == 0);
    at("2026-11-24T12:00:00Z"); /* the clock goes back */
    tick(&b);
    at("2026-11-25T13:00:00Z");
    tick(&b);
    CHECK_EQ(taken, 2);
    box_close(&b);
}

TEST(test_schedule__what_was_taken_before_a_death_is_not_taken_again)
{
    struct policy_run run = {.kind = POLICY_SNAPSHOT, .name = "daily"};
    struct box b;

    begin("2026-11-20T12:00:00Z");
    box_open(&b, NULL, NULL);
    give(b.v, DAILY);
    at("2026-11-21T01:30:05Z");
    tick(&b);
    run.state.since_s =
        utc("2026-11-20T12:00:00Z"); /* as if the daemon had died before the run was written down */
    CHECK_OK(policy_run_put(b.v, &run));
    box_die(&b);
    tick(&b);
    check_list(__LINE__, b.v, "auto-daily-2026-11-21T01-30-00Z\n");
    CHECK_EQ(taken, 1);
    tick(&b);
    /* one of that name that somebody else took is left alone, and counts for nothing */
    CHECK_OK(snap_create(b.v, &b.c, "auto-daily-2026-11-22T01-30-00Z", NULL));
    at("2026-11-22T01:30:05Z");
    tick(&b);
    check_list(__LINE__, b.v,
               "auto-daily-2026-11-21T01-30-00Z\nauto-daily-2026-11-22T01-30-00Z\nauto-daily-2026-11-22T01-"
               "30-00Z-1\n");
    box_close(&b);
}

TEST(test_schedule__what_is_held_cloned_or_a_base_stays)
{
    struct vol *clone;
    struct box b;

    begin("2026-11-01T12:00:00Z");
    box_open(&b, NULL, NULL);
    give(b.v, "name = \"d\"; snapshots = ( { occurrence = \"daily\"; at = \"02:30\"; keep = 1; } );");
    for (int day = 2; day <= 9; day++) {
        char when[32], name[64];

        snprintf(when, sizeof(when), "2026-11-%02dT01:30:00Z", day);
        snprintf(name, sizeof(name), "auto-daily-2026-11-%02dT01-30-00Z", day);
        at(when);
        tick(&b);
        if (day == 2)
            CHECK_OK(snap_hold(b.v, name, "me"));
        if (day == 4)
            CHECK_OK(volume_clone(b.v, name, "clone", &clone));
        if (day == 6)
            CHECK_OK(snap_label(b.v, name, "base.0123", "dir:/x"));
    }
    check_list(__LINE__, b.v,
               "auto-daily-2026-11-02T01-30-00Z\nauto-daily-2026-11-04T01-30-00Z\n"
               "auto-daily-2026-11-06T01-30-00Z\nauto-daily-2026-11-09T01-30-00Z\n");
    CHECK_OK(snap_release(b.v, "auto-daily-2026-11-02T01-30-00Z", "me"));
    CHECK_OK(snap_label(b.v, "auto-daily-2026-11-06T01-30-00Z", "base.0123", NULL));
    tick(&b);
    check_list(__LINE__, b.v, "auto-daily-2026-11-04T01-30-00Z\nauto-daily-2026-11-09T01-30-00Z\n");
    check_list(__LINE__, clone, "auto-daily-2026-11-09T01-30-00Z\n"); /* it has the profile, too */
    at("2026-11-11T01:30:00Z");
    tick(&b);
    check_list(__LINE__, clone, "auto-daily-2026-11-11T01-30-00Z\n");
    box_close(&b);
}

TEST(test_schedule__a_change_of_the_profile_acts_at_once)
{
    cleanup(profile_free) struct profile *p = NULL;
    struct policy_runs runs;
    struct volume_info i;
    struct vol *other;
    uint32_t others;
    struct box b;

    begin("2026-11-20T12:00:00Z");
    box_open(&b, NULL, NULL);
    CHECK_OK(volume_create(b.s, "other", &(struct volume_opts){.uid = 0}, &other));
    give(b.v, DAILY);
    give(other, DAILY);
    at("2026-11-21T01:30:00Z");
    tick(&b);
    CHECK_EQ(taken, 2);
    CHECK_OK(profile_parse("name = \"d\"; provisioning: { size = \"1G\"; inodes = 500; };"
                           "snapshots = ( { occurrence = \"daily\"; at = \"04:00\"; keep = 9; }, { every = "
                           "\"1h\"; keep = 2; } );",
                           "x", &p, &(struct buf){0}));
    CHECK_OK(policy_set(b.v, p, true, &others));
    CHECK_EQ(others, 1);
    CHECK_OK(volume_get_info(b.v, &i));
    CHECK_EQ(i.rec.size_limit, 1 << 30);
    CHECK_EQ(i.rec.inode_limit, 500);
    CHECK_EQ(i.rec.profile, other->rec.profile);
    at("2026-11-21T02:00:00Z"); /* an hour is full; daily was done today already, but 04:00 is another time */
    tick(&b);
    CHECK_EQ(taken, 4);
    at("2026-11-21T03:00:00Z");
    tick(&b);
    CHECK_EQ(taken, 8);
    box_reopen(&b);
    profile_free(&p);
    CHECK_OK(policy_get(b.v, &p, NULL));
    CHECK_EQ(p->nsnapshots, 2);
    CHECK_OK(policy_set(b.v, NULL, true, NULL));
    CHECK_ERR(policy_get(b.v, &p, NULL), -E_NODATA);
    CHECK_OK(policy_runs_get(b.v, &runs));
    CHECK_EQ(runs.n, 0);
    at("2026-11-21T04:00:00Z");
    tick(&b);
    CHECK_EQ(taken, 9); /* the other volume's */
    box_close(&b);
}

TEST(test_schedule__failures_are_tried_again_and_said_once)
{
    struct policy_runs runs;
    struct box b;

    begin("2026-11-20T12:00:00Z");
    box_open(&b, NULL, NULL);
    box_fill(&b, b.v, "f", 0, 3 << 20, 1);
    give(b.v, "name = \"d\"; provisioning: { snapshot_limit = \"1M\"; }; snapshots = ( { every = \"1h\"; "
              "keep = 9; } );");
    at("2026-11-20T13:00:00Z");
    tick(&b);
    box_fill(&b, b.v, "f", 0, 3 << 20, 2); /* the first one holds 3 MiB from now on */
    CHECK_OK(store_sync(b.s));
    at("2026-11-20T14:00:00Z");
    tick(&b);
    at("2026-11-20T14:00:30Z");
    tick(&b);
    at("2026-11-20T14:01:00Z");
    tick(&b);
    CHECK_EQ(taken, 1);
    CHECK_EQ(troubles, 1);
    CHECK_OK(policy_runs_get(b.v, &runs));
    CHECK_EQ(runs.v[0].state.failures, 2);
    CHECK(strstr(runs.v[0].result, err_text(-E_SNAP_LIMIT)));
    CHECK_OK(snap_delete(b.v, &b.c, "auto-every-1h-2026-11-20T13-00-00Z"));
    CHECK_OK(store_reclaim_idle(b.s));
    at("2026-11-20T14:03:00Z");
    tick(&b);
    check_list(__LINE__, b.v, "auto-every-1h-2026-11-20T14-00-00Z\n");
    box_close(&b);
}

/* What was taken while the clock was ahead is not the newest for as long as that. */
TEST(test_schedule__a_clock_that_was_ahead_takes_no_later_ones_away)
{
    struct box b;

    begin("2026-11-20T12:00:00Z");
    box_open(&b, NULL, NULL);
    give(b.v, DAILY);
    at("2026-11-21T01:30:00Z");
    tick(&b);
    for (int day = 1; day <= 4; day++) {
        char when[32];

        snprintf(when, sizeof(when), "2027-06-%02dT02:00:00Z", day);
        at(when);
        tick(&b);
    }
    at("2026-11-25T12:00:00Z");
    tick(&b);
    check_list(__LINE__, b.v,
               "auto-daily-2027-06-02T00-30-00Z\nauto-daily-2027-06-03T00-30-00Z\n"
               "auto-daily-2027-06-04T00-30-00Z\n");
    at("2026-11-26T12:00:00Z");
    tick(&b);
    at("2026-11-27T12:00:00Z");
    tick(&b);
    check_list(__LINE__, b.v,
               "auto-daily-2027-06-04T00-30-00Z\nauto-daily-2026-11-26T01-30-00Z\n"
               "auto-daily-2026-11-27T01-30-00Z\n");
    box_close(&b);
}

/* What was taken while the clock was ahead has the names of runs to come: these are done all the same, once each. */
TEST(test_schedule__names_of_a_time_ahead_stop_no_run)
{
    struct policy_run run = {.kind = POLICY_SNAPSHOT, .name = "daily"};
    struct box b;

    begin("2026-11-20T12:00:00Z");
    box_open(&b, NULL, NULL);
    give(b.v, DAILY);
    at("2026-11-22T01:20:00Z"); /* which is the 21st */
    tick(&b);
    at("2026-11-22T01:40:00Z");
    tick(&b);
    at("2026-11-23T01:40:00Z");
    tick(&b);
    at("2026-11-21T12:00:00Z");
    tick(&b);
    at("2026-11-22T02:00:00Z");
    tick(&b);
    tick(&b);
    at("2026-11-23T02:00:00Z");
    tick(&b);
    check_list(__LINE__, b.v,
               "auto-daily-2026-11-23T01-30-00Z\nauto-daily-2026-11-22T01-30-00Z-1\n"
               "auto-daily-2026-11-23T01-30-00Z-1\n");
    run.state.since_s = utc("2026-11-22T12:00:00Z"); /* a death before the last one was written down */
    CHECK_OK(policy_run_put(b.v, &run));
    box_die(&b);
    tick(&b);
    check_list(__LINE__, b.v,
               "auto-daily-2026-11-23T01-30-00Z\nauto-daily-2026-11-22T01-30-00Z-1\n"
               "auto-daily-2026-11-23T01-30-00Z-1\n");
    box_close(&b);
}

/* As with rules over all: each day has one, those of the time ahead, too. */
TEST(test_schedule__days_that_were_ahead_are_as_many_days)
{
    struct box b;

    begin("2026-11-20T12:00:00Z");
    box_open(&b, NULL, NULL);
    give(b.v, "name = \"d\"; snapshots = ( { every = \"12h\"; } ); retention: { daily = 3; };");
    for (int half = 2; half <= 7; half++) {
        char when[32];

        snprintf(when, sizeof(when), "2027-06-%02dT%02d:30:00Z", half / 2, half % 2 * 12);
        at(when);
        tick(&b);
    }
    at("2026-11-23T12:30:00Z");
    tick(&b);
    at("2026-11-24T00:30:00Z");
    tick(&b);
    at("2026-11-24T12:30:00Z");
    tick(&b);
    check_list(__LINE__, b.v,
               "auto-every-12h-2027-06-02T12-00-00Z\nauto-every-12h-2027-06-03T12-00-00Z\n"
               "auto-every-12h-2026-11-24T12-00-00Z\n");
    box_close(&b);
}

/* The last good backup is not of a time to come for years, in which nobody would hear that there are none. */
TEST(test_schedule__the_last_backup_of_a_clock_that_was_ahead)
{
    struct policy_runs runs;
    struct box b;

    begin("2027-06-01T12:00:00Z");
    box_open(&b, NULL, NULL);
    CHECK_OK(policy_backed_up(b.v, utc("2027-06-01T11:00:00Z")));
    at("2026-11-20T12:00:00Z");
    CHECK_OK(policy_backed_up(b.v, utc("2027-06-01T11:00:00Z"))); /* snapshots' times do not go back */
    CHECK_OK(policy_runs_get(b.v, &runs));
    CHECK_EQ(runs.v[0].ok_s, utc("2026-11-20T12:00:00Z"));
    CHECK_OK(policy_backed_up(b.v, utc("2026-11-20T11:00:00Z"))); /* an older one changes nothing */
    CHECK_OK(policy_runs_get(b.v, &runs));
    CHECK_EQ(runs.v[0].ok_s, utc("2026-11-20T12:00:00Z"));
    box_close(&b);
}

static bool disk_fails;

static int failing_fdatasync(struct io *io, int fd)
{
    return disk_fails ? -E_IO : io_real()->ops->fdatasync(io, fd);
}

/* One that a power cut would take back is none that older ones may go for. */
TEST(test_schedule__what_is_not_durable_yet_takes_no_older_ones_away)
{
    struct io_ops ops = *io_real()->ops;
    struct io io = {.ops = &ops};
    struct box b;

    begin("2026-11-20T12:00:00Z");
    ops.fdatasync = failing_fdatasync;
    disk_fails = false;
    box_open(&b, &io, NULL);
    give(b.v, "name = \"d\"; snapshots = ( { every = \"1h\"; keep = 1; } );");
    box_fill(&b, b.v, "f", 0, 100000, 1);
    at("2026-11-20T13:00:00Z");
    tick(&b);
    box_fill(&b, b.v, "f", 0, 100000, 2);
    disk_fails = true;
    at("2026-11-20T14:00:00Z");
    tick(&b);
    CHECK_EQ(troubles, 1);
    check_list(__LINE__, b.v, "auto-every-1h-2026-11-20T13-00-00Z\nauto-every-1h-2026-11-20T14-00-00Z\n");
    disk_fails = false;
    box_drop(&b);
}

static int backups, backup_fails;
static int64_t backup_due_s;

static int backup(void *arg, struct vol *v, const struct profile_plan *p, int64_t due_s, uint64_t *ret_job,
                  struct buf *err)
{
    (void)arg;
    (void)v;
    CHECK(strcmp(p->to, "offsite") == 0);
    if (backup_fails) {
        buf_puts(err, "no such repository");
        return -E_NOENT;
    }
    backups++;
    backup_due_s = due_s;
    *ret_job = 4711; /* nobody knows it: as a job that was forgotten */
    return 0;
}

TEST(test_schedule__backups_are_begun_and_looked_after)
{
    struct policy_runs runs;
    struct box b;

    begin("2026-11-20T12:00:00Z");
    backups = backup_fails = 0;
    box_open(&b, NULL, NULL);
    give(b.v, "name = \"d\"; backups = ( { every = \"1h\"; to = \"offsite\"; } );");
    hooks.backup = backup;
    backup_fails = 1;
    at("2026-11-20T13:00:00Z");
    tick(&b);
    tick(&b);
    CHECK_OK(policy_runs_get(b.v, &runs));
    CHECK(strcmp(runs.v[0].result, "no such repository") == 0 && runs.v[0].state.failures == 1);
    backup_fails = 0;
    at("2026-11-20T13:01:00Z");
    tick(&b);
    CHECK_EQ(backups, 1);
    CHECK_EQ(backup_due_s, utc("2026-11-20T13:00:00Z"));
    box_reopen(&b);
    tick(&b); /* how it ended is not known: a failure; tried again in its time */
    CHECK_EQ(backups, 1);
    CHECK_OK(policy_runs_get(b.v, &runs));
    CHECK_EQ(runs.v[0].job, 0);
    CHECK_EQ(runs.v[0].state.failures, 2);
    at("2026-11-20T13:03:00Z");
    tick(&b);
    CHECK_EQ(backups, 2);
    CHECK_OK(policy_backed_up(b.v, 5000));
    CHECK_OK(policy_backed_up(b.v, 4000)); /* an older one changes nothing */
    CHECK_OK(policy_runs_get(b.v, &runs));
    CHECK_EQ(policy_run_find(&runs, POLICY_LAST, "")->ok_s, 5000);
    box_close(&b);
}

/* --- tiering ------------------------------------------------------------------------------------------------------------ */

static unsigned tier_dues, tier_looks, tier_jobs;
static bool too_much;

static int64_t tier_period(void *arg, const struct profile *p)
{
    (void)arg;
    return p->tiering.after_s ? HOUR : 0;
}

static int tier(void *arg, struct vol *v, bool due, uint64_t *ret_job, struct buf *err)
{
    (void)arg;
    (void)v;
    (void)err;
    tier_dues += due;
    tier_looks += !due;
    *ret_job = !due && too_much ? 4711 + tier_jobs++ : 0;
    return 0;
}

TEST(test_schedule__tiering_is_due_at_once_and_then_in_its_time)
{
    struct policy_runs runs;
    struct box b;

    begin("2026-11-20T12:10:00Z");
    tier_dues = tier_looks = tier_jobs = too_much = 0;
    hooks.tier = tier;
    hooks.tier_period = tier_period;
    box_open(&b, NULL, NULL);
    give(b.v, "name = \"n\"; tiering: { policy = \"none\"; };");
    tick(&b);
    CHECK_EQ(tier_dues + tier_looks, 0);
    give(b.v, "name = \"c\"; tiering: { after = \"3d\"; to = \"r\"; };");
    tick(&b);
    tick(&b);
    CHECK_EQ(tier_dues, 1);
    CHECK_EQ(tier_looks, 0);
    box_reopen(&b); /* a restart begins nothing anew */
    at("2026-11-20T12:14:59Z");
    tick(&b);
    CHECK_EQ(tier_dues + tier_looks, 1);
    at("2026-11-20T12:15:00Z");
    tick(&b);
    CHECK_EQ(tier_looks, 1);
    too_much = true;
    tick(&b);
    CHECK_EQ(tier_jobs, 1);
    CHECK_OK(policy_runs_get(b.v, &runs));
    CHECK_EQ(policy_run_find(&runs, POLICY_TIER, POLICY_TIER_NAME)->job, 4711);
    too_much = false;
    at("2026-11-20T13:00:00Z");
    tick(&b); /* nobody knows how that ended */
    CHECK_EQ(troubles, 1);
    at("2026-11-20T13:10:00Z");
    tick(&b);
    CHECK_EQ(tier_dues, 2);
    at("2026-11-19T13:10:00Z"); /* the clock goes back */
    tick(&b);
    at("2026-11-19T14:10:00Z");
    tick(&b);
    CHECK(tier_dues >= 3);
    give(b.v, "name = \"c\"; tiering: { after = \"4d\"; to = \"r\"; };"); /* another text acts at once */
    tick(&b);
    CHECK(tier_dues >= 4);
    hooks.tier = NULL;
    box_close(&b);
}

/* --- lifecycle ---------------------------------------------------------------------------------------------------------- */

static unsigned lives, lives_moved, life_fails;
static char life_to[64];

static int life(void *arg, struct vol *v, const struct profile *p, enum lifecycle_what what, const char *to,
                uint64_t *ret_job, struct buf *err)
{
    (void)arg;
    (void)v;
    CHECK_EQ(p->lifecycle.undo_s, 7 * DAY);
    lives_moved += what == LIFECYCLE_MOVE;
    if (life_fails && strcmp(to, "away") == 0) {
        buf_puts(err, "no such repository");
        return -E_NOENT;
    }
    lives++;
    snprintf(life_to, sizeof(life_to), "%s", to);
    *ret_job = 4711; /* nobody knows it: as a job that was forgotten */
    return 0;
}

static const struct policy_run *expiry(struct box *b, const char *name)
{
    static struct policy_runs runs;

    CHECK_OK(policy_runs_get(b->v, &runs));
    CHECK(policy_run_find(&runs, POLICY_EXPIRE, name));
    return policy_run_find(&runs, POLICY_EXPIRE, name);
}

#define EXPIRES                                                                                              \
    "name = \"e\"; backups = ( { name = \"far\"; occurrence = \"monthly\"; to = \"away\"; },"                \
    "{ name = \"near\"; occurrence = \"monthly\"; to = \"here\"; } );"                                       \
    "lifecycle: { expire_after = \"90d\"; undo = \"7d\"; };"

#define MOVES                                                                                                \
    "name = \"e\"; backups = ( { name = \"far\"; occurrence = \"monthly\"; to = \"away\"; },"                \
    "{ name = \"near\"; occurrence = \"monthly\"; to = \"here\"; } );"                                       \
    "lifecycle: { expire_after = \"90d\"; undo = \"7d\"; transition_after = \"30d\"; storage_class = "       \
    "\"GLACIER\"; };"

TEST(test_schedule__what_is_old_in_each_repository_is_looked_at_in_its_time)
{
    struct box b;

    begin("2026-11-02T12:10:00Z");
    lives = lives_moved = life_fails = 0;
    hooks.life = life;
    box_open(&b, NULL, NULL);
    give(b.v, EXPIRES);
    tick(&b); /* a profile that is new ends nothing at once */
    CHECK_EQ(lives, 0);
    life_fails = 1;
    at("2026-11-03T00:00:00Z");
    tick(&b);
    CHECK_EQ(lives, 1);
    CHECK(strcmp(life_to, "here") == 0);
    CHECK_EQ(troubles, 1);
    CHECK(expiry(&b, "far")->state.failures == 1 && strstr(expiry(&b, "far")->result, "no such repository"));
    CHECK_EQ(expiry(&b, "near")->job, 4711);
    box_reopen(
        &b); /* how that ended is not known any more: it is tried again in its time, and nothing at once */
    tick(&b);
    CHECK_EQ(lives, 1);
    CHECK(expiry(&b, "near")->job == 0 && expiry(&b, "near")->state.failures == 1);
    at("2026-11-03T00:00:59Z");
    tick(&b);
    CHECK_EQ(lives, 1);
    at("2026-11-03T00:01:00Z");
    tick(&b);
    CHECK_EQ(lives, 2);
    CHECK_EQ(expiry(&b, "far")->state.failures, 2);
    CHECK_EQ(troubles, 2); /* each is said once */
    give(b.v, EXPIRES);    /* the same profile, given once more, forgets nothing */
    CHECK_EQ(expiry(&b, "far")->state.failures, 2);
    life_fails = 0;
    at("2026-11-09T05:00:00Z"); /* days later: once, for the newest due time */
    tick(&b);
    at("2026-11-09T05:02:00Z");
    tick(&b);
    CHECK_EQ(lives, 4);
    CHECK_EQ(expiry(&b, "far")->due_s, utc("2026-11-09T00:00:00Z"));
    CHECK_EQ(lives_moved, 0);
    give(b.v, MOVES);
    at("2026-11-12T05:00:00Z");
    tick(
        &b); /* to another class in both places; and away, but where it is not known yet how the last time ended */
    CHECK_EQ(lives, 7);
    CHECK_EQ(lives_moved, 2);
    give(b.v, DAILY);
    CHECK_OK(policy_set(b.v, NULL, true, NULL));
    at("2026-11-14T05:00:00Z");
    tick(&b);
    CHECK_EQ(lives, 7);
    hooks.life = NULL;
    box_close(&b);
}

/* --- a month ------------------------------------------------------------------------------------------------------------ */

#define MONTH                                                                                                \
    "name = \"m\"; snapshots = ( { every = \"6h\"; keep = 200; }, { every = \"4h\"; keep = 5; }, { "         \
    "occurrence = \"daily\"; at = \"02:30\"; keep = 40; },"                                                  \
    "{ occurrence = \"weekly\"; on = \"sun\"; at = \"02:30\"; keep = 9; }, { occurrence = \"monthly\"; on "  \
    "= \"last\"; keep = 9; } );"

struct seen {
    unsigned n[5];
};

static int see(void *arg, const struct layer_rec *rec, const char *text, size_t len)
{
    static const char *const kinds[] = {"auto-every-6h-", "auto-daily-", "auto-weekly-", "auto-monthly-",
                                        "auto-every-4h-"};
    struct seen *s = arg;

    (void)text;
    (void)len;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        s->n[i] += strncmp(rec->name, kinds[i], strlen(kinds[i])) == 0;
    return 0;
}

/* October 2026 by a clock that goes on in steps of some minutes, over the end of summer time: the store is closed and opened, its daemon
 * dies, the power is cut, all at random, and the clock now and then goes wrong for a while. */
TEST(test_schedule__a_month_with_restarts_loses_and_doubles_nothing)
{
    uint64_t rng = test_seed();
    struct seen seen = {.n = {0}};
    unsigned restarts = 0;
    struct rig g;
    int64_t now, end = utc("2026-11-01T00:00:00Z");

    begin("2026-09-30T22:00:00Z");
    rig_open(&g);
    give(g.b.v, MONTH);
    CHECK_OK(store_flush(g.b.s)); /* as whoever sets one does */
    for (now = utc("2026-09-30T22:00:00Z"); now < end; now += 60 + (int64_t)(test_rand(&rng) % 3000)) {
        clock_test_set(now * SECOND, clock_mono_ns() + 60 * SECOND);
        tick(&g.b);
        switch (test_rand(&rng) % 60) {
        case 0: box_reopen(&g.b); break;
        case 1: rig_die(&g); break;
        case 2: rig_cut(&g, test_rand(&rng), LYING_MIXED); break;
        case 3: /* wrong by an hour, and right again */
            clock_test_set((now - HOUR) * SECOND, clock_mono_ns() + SECOND);
            tick(&g.b);
            continue;
        default: continue;
        }
        restarts++;
        tick(&g.b);
    }
    CHECK_OK(snap_each(g.b.v, see, &seen));
    CHECK_EQ(seen.n[1], 31); /* each day once, of 25 hours or not */
    CHECK_EQ(seen.n[2], 4);  /* 4, 11, 18, 25 */
    CHECK_EQ(seen.n[3], 1);
    CHECK_EQ(seen.n[0], 124); /* from October 1, 00:00, to October 31, 18:00 UTC */
    CHECK_EQ(seen.n[4], 5);
    CHECK_EQ(troubles, 0);
    CHECK(restarts >= 10);
    rig_close(&g);
}

TEST(test_schedule__records_that_are_damaged_are_refused)
{
    cleanup(buf_free) struct buf b = {0};
    struct policy_runs runs = {.n = 2}, got;
    char name[PROFILE_NAME_MAX + 1];
    const char *text;
    size_t len;

    runs.v[0] = (struct policy_run){
        .kind = POLICY_BACKUP, .name = "x", .ok_s = 7, .job = 9, .due_s = 3, .result = "ok"};
    runs.v[1] = (struct policy_run){.kind = POLICY_LAST, .ok_s = -1};
    CHECK_OK(policy_runs_encode(&runs, &b));
    CHECK_OK(policy_runs_decode(b.data, b.len, &got));
    CHECK(got.n == 2 && got.v[0].ok_s == 7 && got.v[0].due_s == 3 && got.v[1].ok_s == -1 &&
          strcmp(got.v[0].result, "ok") == 0);
    for (size_t n = 0; n < b.len; n++)
        CHECK_ERR(policy_runs_decode(b.data, n, &got), -E_CORRUPT);
    b.data[2] = 9; /* no such kind */
    CHECK_ERR(policy_runs_decode(b.data, b.len, &got), -E_CORRUPT);
    CHECK_OK(policy_profile_decode("\1\3abctext", 9, name, &text, &len));
    CHECK(strcmp(name, "abc") == 0 && len == 4);
    CHECK_ERR(policy_profile_decode("\1\3ab", 4, name, &text, &len), -E_CORRUPT);
    CHECK_ERR(policy_profile_decode("\1\0", 2, name, &text, &len), -E_CORRUPT);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
