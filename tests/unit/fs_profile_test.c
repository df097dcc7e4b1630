/* Profiles through verbs and the daemon's tick, by a false clock: what is due is done, shown, and told when it is late. */
#include "base/clock.h"
#include "conf/daemon.h"
#include "fs/ctl.h"
#include "tests/unit/fs_verb_case.h"

static void at(const char *when)
{
    int64_t ns;

    CHECK_OK(clock_parse(when, &ns));
    clock_test_set(ns, clock_mono_ns() + 1000000000);
}

/* A profile's text as one word: '^' is a blank. */
#define TEXT "name=\"x\";^snapshots=({every=\"1h\";keep=2;});^protection:{rpo=\"1h\";};\n"

static bool has(struct verb_case *c, const char *words)
{
    return strstr(buf_cstr(&c->out), words) != NULL;
}

TEST(test_profile__the_tick_does_what_is_due_and_status_says_so)
{
    static struct verb_case c;
    json_t *o, *p;

    at("2026-11-20T12:10:00Z");
    case_open(&c);
    SAY(&c, "create main --profile " TEXT);
    CHECK_OK(verb_tick(&c.env));
    CHECK_EQ(c.env.wait_s, 50 * 60);
    SAY(&c, "status main --check");
    at("2026-11-20T13:00:00Z");
    CHECK_OK(verb_tick(&c.env));
    SAY(&c, "snapshot list main");
    CHECK(has(&c, "auto-every-1h-2026-11-20T13-00-00Z"));
    CHECK(has(&c, "schedule=every-1h due=2026-11-20T13:00:00Z"));
    SAY(&c, "events main");
    CHECK(has(&c, "snapshot-created  main: auto-every-1h-2026-11-20T13-00-00Z"));
    at("2026-11-20T13:50:00Z");
    SAY(&c, "status main --json");
    o = json_of(&c.out);
    p = json_object_get(o, "profile");
    CHECK(json_integer_value(json_object_get(p, "age_seconds")) == 3000);
    CHECK(json_integer_value(json_object_get(p, "rpo_seconds")) == 3600);
    CHECK(
        strcmp(json_string_value(json_object_get(json_array_get(json_object_get(p, "schedules"), 0), "next")),
               "2026-11-20T14:00:00Z") == 0);
    json_decref(o);
    /* nobody ticks: it becomes too old */
    at("2026-11-20T14:30:00Z");
    REFUSED(&c, "status main --check", -E_TIMEOUT,
            "protection: the last good snapshot is 1h30m ago (1h asked)");
    CHECK_OK(verb_tick(&c.env));
    SAY(&c, "status main --check");
    at("2026-11-20T15:00:00Z");
    CHECK_OK(verb_tick(&c.env));
    SAY(&c, "snapshot list main");
    CHECK(!has(&c, "T13-00-00Z") && has(&c, "T14-00-00Z") && has(&c, "T15-00-00Z"));
    /* the clock was ahead: nobody knows how old it is */
    at("2026-11-19T15:30:00Z");
    REFUSED(&c, "status main --check", -E_TIMEOUT,
            "protection: the last good snapshot is of a time to come (1h asked)");
    CHECK_OK(verb_tick(&c.env));
    at("2026-11-19T16:00:00Z");
    CHECK_OK(verb_tick(&c.env));
    SAY(&c, "status main --check");
    case_close(&c);
}

TEST(test_profile__a_scheduler_that_is_off_does_nothing)
{
    cleanup(conf_daemon_release) struct conf_daemon off = {.nstores = 0};
    cleanup(buf_free) struct buf said = {0};
    static struct verb_case c;

    at("2026-11-20T12:10:00Z");
    case_open(&c);
    SAY(&c, "create main --profile " TEXT);
    CHECK_OK(conf_daemon_parse("daemon: { scheduler = false; };", "x", &off, &said));
    CHECK_OK(conf_live_reload(&off, &said));
    at("2026-11-20T13:10:00Z");
    CHECK_OK(verb_tick(&c.env));
    SAY(&c, "snapshot list main");
    CHECK(!has(&c, "auto-"));
    SAY(&c, "config reload"); /* there is no file: what is built in holds again */
    CHECK(has(&c, "daemon.scheduler: true"));
    CHECK_OK(verb_tick(&c.env));
    SAY(&c, "snapshot list main");
    CHECK(has(&c, "auto-every-1h-2026-11-20T13-00-00Z"));
    case_close(&c);
}

TEST(test_profile__a_repository_that_is_not_known_is_told_and_tried_again)
{
    static struct verb_case c;
    cleanup(buf_free) struct buf text = {0};
    struct ctl *ctl;
    struct vol *v;

    setenv("XDG_CONFIG_HOME", test_dir(), 1);
    at("2026-11-20T12:10:00Z");
    case_open(&c);
    SAY(&c, "create main");
    SAY(&c, "profile set main name=\"x\";^backups=({every=\"1h\";to=\"nowhere\";});\n");
    CHECK(strstr(buf_cstr(&c.err), "knows no repository nowhere"));
    at("2026-11-20T13:00:00Z");
    CHECK_OK(verb_tick(&c.env));
    SAY(&c, "events main");
    CHECK(has(&c, "backup-failed  main: every-1h: nowhere: there is no repository of this name"));
    REFUSED(&c, "status main --check", -E_TIMEOUT, "schedule every-1h: nowhere: there is no repository");
    CHECK_OK(volume_find(c.env.store, "main", &v));
    CHECK_OK(ctl_new(&c.env, v, ROLE_READ, &ctl));
    CHECK_OK(ctl_read(ctl, "profile", &text));
    CHECK(strstr(buf_cstr(&text), "to nowhere") && strstr(buf_cstr(&text), "there is no repository"));
    CHECK_ERR(ctl_write(ctl, 0, 0, 1, "profile", "set x", 5), -E_ACCES);
    ctl_free(ctl);
    case_close(&c);
    unsetenv("XDG_CONFIG_HOME");
}

int main(int argc, char **argv)
{
    setenv("VARVE_CONFIG", "", 1);
    return test_main(argc, argv);
}
