/* Profiles: both grammars and spellings, what is kept, what contradicts itself, and that what is written is what was read. */
#include "conf/profile.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "tests/lib/test.h"

static struct profile *parsed(const char *text)
{
    cleanup(buf_free) struct buf err = {0};
    struct profile *p = NULL;

    if (profile_parse(text, "x", &p, &err) < 0)
        test_fail(__FILE__, __LINE__, "%s: %s", text, buf_cstr(&err));
    return p;
}

static struct profile *imported(const char *text)
{
    cleanup(buf_free) struct buf err = {0};
    struct profile *p = NULL;

    if (profile_parse_json(text, strlen(text), "x", &p, &err) < 0)
        test_fail(__FILE__, __LINE__, "%s: %s", text, buf_cstr(&err));
    return p;
}

static void refused(int line, const char *text, const char *words)
{
    cleanup(buf_free) struct buf err = {0};
    cleanup(profile_free) struct profile *p = NULL;
    bool json = *text == '[' || (*text == '{' && text[1] == '"');
    int r = json ? profile_parse_json(text, strlen(text), "x", &p, &err) : profile_parse(text, "x", &p, &err);

    if (r != -E_INVAL || p || !strstr(buf_cstr(&err), words))
        test_fail(__FILE__, line, "%s: %s: \"%s\" lacks \"%s\"", text, err_name(r), buf_cstr(&err), words);
}

/* The same profile: what each prints is the same. */
static void same(const struct profile *a, const struct profile *b)
{
    cleanup(buf_free) struct buf x = {0}, y = {0};

    CHECK_OK(profile_print(a, &x));
    CHECK_OK(profile_print(b, &y));
    if (strcmp(buf_cstr(&x), buf_cstr(&y)) != 0)
        test_fail(__FILE__, __LINE__, "\n%s\nis not\n%s", buf_cstr(&x), buf_cstr(&y));
}

static const char whole[] =
    "name = \"all\"; id = \"7\"; description = \"with \\\"all\\\" of it\";\n"
    "provisioning: { size = \"100G\"; inodes = \"2M\"; snapshot_limit = 12345678901L; options = "
    "\"snapdir=visible\"; policy = \"Fixed\";\n"
    "  recovery_time_objective = \"90m\"; compression = true; domain = \"own\"; max_iops = 5000; min_iops = "
    "10; "
    "character_code_set = \"UTF-8\"; };\n"
    "snapshots = ( { every = \"90m\"; keep = 16; }, { name = \"nightly\"; occurrence = \"daily\"; at = "
    "\"02:30:15\"; keep_for = \"2w\"; },\n"
    "  { occurrence = \"weekly\"; on = \"mon,thu\"; keep = 4; }, { occurrence = \"monthly\"; on = \"last\"; "
    "at = \"23:59\"; start = \"2026-12-01T00:00:00Z\"; } );\n"
    "retention: { newest = 3; hourly = 24; daily = 7; weekly = 4; monthly = 12; yearly = 5; };\n"
    "backups = ( { occurrence = \"daily\"; at = \"03:00\"; to = \"offsite\"; compression = \"lz4\"; } );\n"
    "protection: { rpo = \"1d\"; rto = \"Nearline\"; update_mode = \"Async\"; geographic = \"Region\"; "
    "replica_type = \"Mirror\"; consistency = true; period = \"PT30M\"; };\n"
    "tiering: { policy = \"auto\"; after = \"31d\"; by = \"access\"; high_water = 85; low_water = 70; "
    "pattern = \"*.iso\"; };\n"
    "lifecycle: { transition_after = 30; storage_class = \"GLACIER\"; expire_after = \"P1Y\"; undo = \"7d\"; "
    "};\n"
    "colour = \"green\"; x: { y = ( 1, 2.5, true, \"a\\nb\" ); };\n";

TEST(test_conf_profile__what_is_written_is_what_was_read)
{
    cleanup(profile_free) struct profile *p = parsed(whole), *again = NULL, *json = NULL;
    cleanup(buf_free) struct buf text = {0}, js = {0};

    CHECK_OK(profile_print(p, &text));
    again = parsed(buf_cstr(&text));
    same(p, again);
    CHECK_OK(profile_json(p, &js));
    json = imported(buf_cstr(&js));
    same(p, json);
    CHECK_EQ(p->provisioning.size_bytes, 100ull << 30);
    CHECK_EQ(p->provisioning.inodes, 2000000);
    CHECK_EQ(p->provisioning.rto_s, 5400);
    CHECK_EQ(p->provisioning.domain, 1);
    CHECK_EQ(p->nsnapshots, 4);
    CHECK(strcmp(p->snapshots[0].name, "every-90m") == 0);
    CHECK_EQ(p->snapshots[1].when.at_s, 2 * 3600 + 1815);
    CHECK_EQ(p->snapshots[1].keep_for_s, 14 * 86400);
    CHECK_EQ(p->snapshots[2].when.weekdays, 1 << 1 | 1 << 4);
    CHECK_EQ(p->snapshots[3].when.day, SCHEDULE_LAST_DAY);
    CHECK_EQ(p->snapshots[3].when.start_s, 1796083200);
    CHECK_EQ(p->protection.update_mode, 3);
    CHECK_EQ(p->lifecycle.transition_after_s, 30 * 86400);
    CHECK_EQ(p->lifecycle.expire_after_s, 365 * 86400);
}

static const char opensds[] =
    "{\"name\":\"gold\",\"description\":\"d\",\"storageType\":\"file\",\"provisioningProperties\":{"
    "\"dataStorage\":{\"recoveryTimeObjective\":3,"
    "\"provisioningPolicy\":\"Thin\",\"maxFileNameLengthBytes\":255,\"storageAccessCapability\":[\"Read\","
    "\"Write\"],\"compression\":true},"
    "\"ioConnectivity\":{\"accessProtocol\":\"nfs\",\"maxIOPS\":5000,\"maxBWS\":500}},"
    "\"replicationProperties\":{\"dataProtection\":{\"isIsolated\":true,\"minLifetime\":\"P3Y6M4DT12H30M5S\","
    "\"recoveryGeographicObjective\":\"Datacenter\","
    "\"recoveryPointObjectiveTime\":\"P1D\",\"recoveryTimeObjective\":\"OnlineActive\",\"replicaType\":"
    "\"Mirror\"},"
    "\"replicaInfos\":{\"replicaUpdateMode\":\"Asynchronous\",\"consistencyEnabled\":true,"
    "\"replicationPeriod\":\"PT1H\",\"replicationBandwidth\":10}},"
    "\"snapshotProperties\":{\"schedule\":{\"datetime\":\"2019-09-07T07:10:40\",\"occurrence\":\"Daily\"},"
    "\"retention\":{\"number\":10,\"duration\":3},"
    "\"topology\":{\"bucket\":\"minio\"}},"
    "\"dataProtectionProperties\":{\"dataProtection\":{\"recoveryPointObjectiveTime\":\"PT24H\"},"
    "\"consistencyEnabled\":true},"
    "\"customProperties\":{\"diskType\":\"SAS\",\"a.b c\":[1,2]}}";

TEST(test_conf_profile__opensds_is_understood)
{
    cleanup(profile_free) struct profile *p = imported(opensds), *again = NULL, *text = NULL;
    cleanup(buf_free) struct buf js = {0}, left = {0}, lib = {0};
    json_t *o;

    CHECK_EQ(p->provisioning.rto_s, 180);
    CHECK_EQ(p->provisioning.policy, 2);
    CHECK_EQ(p->provisioning.max_bws, 500);
    CHECK_EQ(p->protection.rpo_s, 86400);
    CHECK_EQ(p->protection.rto, 1);
    CHECK_EQ(p->protection.update_mode, 3);
    CHECK_EQ(p->protection.period_s, 3600);
    CHECK_EQ(p->protection.min_lifetime_s, (3 * 365 + 6 * 30 + 4) * 86400 + 12 * 3600 + 30 * 60 + 5);
    CHECK_EQ(p->nsnapshots, 1);
    CHECK_EQ(p->snapshots[0].keep, 10);
    CHECK_EQ(p->snapshots[0].keep_for_s, 3 * 86400);
    CHECK_EQ(p->snapshots[0].when.at_s, 7 * 3600 + 600);
    CHECK_EQ(p->nbackups, 1);
    CHECK(strcmp(p->backups[0].to, "minio") == 0);
    CHECK(memmem(p->others.data, p->others.len, "customProperties.a.b c\0[1,2]", 28));
    CHECK(memmem(p->others.data, p->others.len, "storageAccessCapability\0[\"Read\",\"Write\"]", 40));
    CHECK_OK(profile_print(p, &lib));
    text = parsed(buf_cstr(&lib));
    same(p, text);
    CHECK_OK(profile_json_opensds(p, &js, &left));
    CHECK(strstr(buf_cstr(&left), "backups.daily"));
    again = imported(buf_cstr(&js));
    CHECK_EQ(again->protection.min_lifetime_s, p->protection.min_lifetime_s);
    CHECK_EQ(again->protection.period_s, 3600);
    CHECK_EQ(again->provisioning.rto_s, 180);
    CHECK_EQ(again->snapshots[0].keep, 10);
    CHECK_EQ(again->snapshots[0].when.at_s, 7 * 3600 + 600);
    o = json_loads(buf_cstr(&js), 0, NULL);
    CHECK(o);
    CHECK(strcmp(json_string_value(json_object_get(json_object_get(o, "customProperties"), "diskType")),
                 "SAS") == 0);
    json_decref(o);
}

TEST(test_conf_profile__the_other_spelling_is_understood)
{
    cleanup(profile_free) struct profile *p =
        imported("{\"Name\":\"deck\",\"ReplicationProperties\":{\"RecoveryTimeObjective\":\"Offline\","
                 "\"RecoveryPointObjective\":\"P1D\","
                 "\"RecoveryGeographicObjective\":\"Rack\",\"ReplicaType\":\"Mirror\","
                 "\"ReplicationUpdateMode\":\"Sync\",\"ConsistencyEnabled\":true,"
                 "\"ReplicationBandwidth\":5},\"snapshots\":[{\"occurrence\":\"Daily\",\"keep\":3}]}");

    CHECK_EQ(p->protection.rto, 4);
    CHECK_EQ(p->protection.rpo_s, 86400);
    CHECK_EQ(p->protection.update_mode, 4);
    CHECK_EQ(p->protection.replica_type, 2);
    CHECK(p->protection.consistency);
    CHECK_EQ(p->others.len, 0);
}

#define SNAPS "snapshots = ( { every = \"1h\"; keep = 3; } );"

TEST(test_conf_profile__contradictions_name_both_terms)
{
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"snapshots = ( { every = \"1h\"; occurrence = \"daily\"; keep = 3; } );",
         "every and occurrence contradict"},
        {"snapshots = ( { every = \"1h\"; at = \"02:30\"; keep = 3; } );", "every and at contradict"},
        {"snapshots = ( { every = \"1h\"; on = \"mon\"; keep = 3; } );", "every and on contradict"},
        {"snapshots = ( { occurrence = \"daily\"; on = \"mon\"; keep = 3; } );",
         "on \"mon\" and occurrence \"daily\" contradict"},
        {"snapshots = ( { occurrence = \"hourly\"; at = \"02:30\"; keep = 3; } );",
         "at \"02:30\" and occurrence \"hourly\" contradict"},
        {"snapshots = ( { keep = 3; } );", "neither every nor occurrence"},
        {"snapshots = ( { every = \"1h\"; } );", "neither keep, keep_for nor retention"},
        {"snapshots = ( { occurrence = \"daily\"; keep_for = \"1h\"; } );",
         "keep_for is less than the time from one snapshot to the next"},
        {"snapshots = ( { occurrence = \"daily\"; keep = 3; }, { occurrence = \"daily\"; at = \"01:00\"; "
         "keep = 3; } );",
         "two are called \"daily\""},
        {"retention: { daily = 3; };", "retention and snapshots"},
        {"backups = ( { every = \"1h\"; } );", "to says no repository"},
        {SNAPS "protection: { rpo = \"15m\"; };",
         "protection.rpo and snapshots contradict each other: 15m is asked for, but they come every 1h"},
        {SNAPS "backups = ( { occurrence = \"weekly\"; to = \"r\"; } ); protection: { rpo = \"1d\"; };",
         "protection.rpo and backups contradict"},
        {"protection: { rpo = \"1d\"; };", "protection.rpo and backups"},
        {"protection: { update_mode = \"Sync\"; period = \"1h\"; };",
         "protection.update_mode Synchronous and protection.period"},
        {"provisioning: { policy = \"Fixed\"; };", "provisioning.policy Fixed and provisioning.size"},
        {"provisioning: { min_iops = 5; max_iops = 4; };", "provisioning.min_iops and provisioning.max_iops"},
        {"storage_type = \"block\";", "storage_type and varve"},
        {"tiering: { high_water = 80; };", "tiering.high_water and tiering.low_water"},
        {"tiering: { high_water = 80; low_water = 80; to = \"r\"; };",
         "tiering.low_water and tiering.high_water contradict"},
        {"tiering: { policy = \"none\"; after = \"3d\"; };", "tiering.policy none and tiering.after"},
        {"tiering: { policy = \"auto\"; after = \"3d\"; };", "tiering and tiering.to"},
        {"tiering: { policy = \"auto\"; to = \"r\"; };", "tiering.policy auto and tiering.after"},
        {"tiering: { policy = \"all\"; by = \"change\"; to = \"r\"; };",
         "tiering.policy all and tiering.by contradict"},
        {"tiering: { after = \"3d\"; min_size = \"2M\"; max_size = \"1M\"; to = \"r\"; };",
         "tiering.min_size and tiering.max_size contradict"},
        {"lifecycle: { transition_after = \"30d\"; expire_after = \"30d\"; storage_class = \"X\"; };",
         "lifecycle.transition_after and lifecycle.expire_after"},
        {"lifecycle: { transition_after = \"30d\"; };",
         "lifecycle.transition_after and lifecycle.storage_class"},
        {"lifecycle: { expire_after = \"30d\"; }; protection: { min_lifetime = \"P1Y\"; };",
         "protection.min_lifetime and lifecycle.expire_after"},
        {"protection: { rpo = \"1d\"; recoveryPointObjective = \"2d\"; };",
         "protection.rpo and protection.recoveryPointObjective contradict"},
        {"{\"replicationProperties\":{\"dataProtection\":{\"replicaType\":\"Clone\"}},"
         "\"dataProtectionProperties\":{\"dataProtection\":{\"replicaType\":\"Mirror\"}}}",
         "replicationProperties.dataProtection.replicaType and "
         "dataProtectionProperties.dataProtection.replicaType contradict"},
        {"{\"snapshotProperties\":{\"topology\":{\"bucket\":\"b\"}}}", "topology and schedule"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        refused(__LINE__, cases[i].text, cases[i].words);
}

TEST(test_conf_profile__bad_values_say_where_and_what_may_be)
{
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"\nprovisioning: { size = \"1K\"; };",
         "x: line 2: size is out of range; it may be 1M to 1E, or none"},
        {"snapshots = (\n {\n  every = \"30s\"; keep = 2; } );",
         "line 3: every is out of range; it may be 1m to 366d"},
        {"snapshots = ( { every = 1.5; } );", "every is not understood; write a time"},
        {"snapshots = ( { occurrence = \"dayly\"; } );", "\"dayly\" is not known; did you mean \"daily\"?"},
        {"snapshots = ( { occurrence = \"daily\"; at = \"2:30\"; keep = 2; } );",
         "at \"2:30\" is no time of day"},
        {"snapshots = ( { occurrence = \"daily\"; at = \"24:00\"; keep = 2; } );",
         "at \"24:00\" is no time of day"},
        {"snapshots = ( { occurrence = \"weekly\"; on = \"moonday\"; keep = 2; } );",
         "on \"moonday\" is no day of the week"},
        {"snapshots = ( { occurrence = \"monthly\"; on = \"32\"; keep = 2; } );", "is no day of a month"},
        {"snapshots = ( { occurrence = \"daily\"; start = \"soon\"; keep = 2; } );",
         "start \"soon\" is not understood"},
        {"snapshots = ( { name = \"a/b\"; every = \"1h\"; keep = 2; } );", "name \"a/b\" is not allowed"},
        {"snapshots = 5;", "snapshots is a list of groups"},
        {"snapshots = ( 5 );", "snapshots is a list of groups"},
        {"retention = 5;", "retention is a group"},
        {"provisioning: { options = 5; };", "options is not understood; write a text in quotes"},
        {"protection: { isolated = 1; };", "isolated is not understood; write true or false"},
        {"protection: { rpo = \"P1\"; };", "rpo is not understood"},
        {"protection: { rpo = \"PT\"; };", "rpo is not understood"},
        {"name = \"../x\";", "name \"../x\" is not allowed"},
        {"name = ;", "x: line 1:"},
        {"@include \"/etc/passwd\"\n", "@include is not understood"},
        {"{\"a\":", "x: line 1"},
        {"[\"a\"]", "is no object"},
        {"{\"a\":1,\"a\":2}", "x: line 1"},
        {"{\"name\":\"a\\u0000b\"}", "x"},
        {"{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":"
         "1}}}}}}}}}}}}}}",
         "nested too deeply"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        refused(__LINE__, cases[i].text, cases[i].words);
}

struct terms {
    size_t n, kept;
    bool colour;
};

static int count(void *arg, const char *term, const char *value, bool acted_on)
{
    struct terms *t = arg;

    t->n++;
    t->kept += !acted_on;
    t->colour |= strcmp(term, "colour") == 0 && strcmp(value, "\"green\"") == 0 && !acted_on;
    if (strcmp(term, "snapshots.nightly.at") == 0 || strcmp(term, "retention.hourly") == 0 ||
        strcmp(term, "protection.rpo") == 0 || strncmp(term, "tiering.", 8) == 0)
        CHECK(acted_on);
    if (strcmp(term, "lifecycle.tier") == 0 || strcmp(term, "provisioning.max_iops") == 0)
        CHECK(!acted_on);
    return 0;
}

TEST(test_conf_profile__each_term_says_whether_it_is_acted_on)
{
    cleanup(profile_free) struct profile *p = parsed(whole);
    struct terms t = {0};

    CHECK_OK(profile_each_term(p, count, &t));
    CHECK(t.colour && t.n > 50 && t.kept > 12 && t.kept < t.n / 2);
}

TEST(test_conf_profile__samples_are_built_in)
{
    const char *name, *text;
    size_t i;

    for (i = 0; (text = profile_built_in(i, &name)); i++) {
        cleanup(profile_free) struct profile *p = parsed(text);
        cleanup(buf_free) struct buf b = {0};
        char path[128];

        CHECK(strcmp(p->name, name) == 0 && p->id[0] && p->description[0] && p->others.len == 0);
        snprintf(path, sizeof(path), "conf/profiles/%s.conf", name);
        CHECK_OK(io_read_file(io_real(), path, 65536, &b));
        if (strcmp(buf_cstr(&b), text) != 0)
            test_fail(__FILE__, __LINE__, "%s is not what is built in", path);
    }
    CHECK_EQ(i, 4);
}

/* --- memory ----------------------------------------------------------------------------------------------------------- */

#define READ "profile: read by libconfig"

static void kept(const char *text)
{
    cleanup(buf_free) struct buf err = {0};
    cleanup(profile_free) struct profile *p = NULL, *q = parsed(text);

    CHECK_OK(profile_parse_kept(text, "x", &p, &err));
    same(p, q);
}

TEST(test_conf_profile__what_was_read_is_not_read_again)
{
    cleanup(buf_free) struct buf err = {0};
    struct profile *p = NULL;
    char text[128];

    kept(whole);
    kept(whole);
    CHECK_EQ(mark_passed(READ), 1);
    for (int i = 0; i < 100; i++) {
        snprintf(text, sizeof(text), "name = \"n%d\"; description = \"%d\"; colour = %d;", i, i, i);
        kept(text);
        kept(text);
        kept(whole); /* what is asked for stays */
    }
    CHECK_EQ(mark_passed(READ), 101);
    CHECK_ERR(profile_parse_kept("name = ;", "x", &p, &err), -E_INVAL);
    CHECK_ERR(profile_parse_kept("name = ;", "x", &p, &err), -E_INVAL);
    CHECK_EQ(mark_passed(READ), 103);
}

static char *many_terms(void)
{
    static char text[24000];
    size_t n = 0;

    for (int i = 0; n < sizeof(text) - 64; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "term_%d = %d;\n", i, i);
    return text;
}

/* In a process that may have so many more bytes than it has. */
static void reads_within(size_t more, const char *text)
{
    cleanup(buf_free) struct buf err = {0};
    cleanup(profile_free) struct profile *p = NULL;
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    int r;

    CHECK(f && fscanf(f, "%lu", &pages) == 1);
    fclose(f);
    pages = pages * (unsigned long)sysconf(_SC_PAGESIZE) + more;
    CHECK(setrlimit(RLIMIT_AS, &(struct rlimit){pages, pages}) == 0);
    r = profile_parse(text, "x", &p, &err);
    _exit(r == 0 ? 10 : r == -E_NOMEM ? 11 : 12);
}

TEST(test_conf_profile__memory_that_is_out_ends_no_process)
{
    const char *text = many_terms();
    size_t ends[2] = {0};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    test_skip("a sanitizer takes all addresses");
#endif
    for (size_t more = 0; more <= 64 << 20; more += more < 4 << 20 ? 64 << 10 : 4 << 20) {
        pid_t pid = fork();
        int status;

        CHECK(pid >= 0);
        if (pid == 0)
            reads_within(more, text);
        CHECK(waitpid(pid, &status, 0) == pid);
        if (!WIFEXITED(status) || (WEXITSTATUS(status) != 10 && WEXITSTATUS(status) != 11))
            test_fail(__FILE__, __LINE__, "%zu more bytes: status %x", more, (unsigned)status);
        ends[WEXITSTATUS(status) - 10]++;
    }
    CHECK(ends[0] > 0 && ends[1] > 0);
}

struct listed {
    char names[256];
};

static int list(void *arg, const char *name, const struct profile *p, bool built_in, const char *why)
{
    struct listed *l = arg;
    size_t n = strlen(l->names);

    CHECK(!p == (why != NULL));
    snprintf(l->names + n, sizeof(l->names) - n, "%s%s%s ", name, built_in ? "*" : "", p ? "" : "!");
    return 0;
}

TEST(test_conf_profile__profiles_of_the_machine)
{
    cleanup(profile_free) struct profile *p = parsed("name = \"own\";" SNAPS), *got = NULL;
    cleanup(buf_free) struct buf err = {0};
    struct listed l = {.names = ""};
    char path[4200], id[80];

    setenv("XDG_CONFIG_HOME", test_dir(), 1);
    CHECK_OK(profile_lib_put(p, false));
    CHECK_EQ(strlen(p->id), 36);
    CHECK_ERR(profile_lib_put(p, false), -E_EXIST);
    CHECK_OK(profile_lib_put(p, true));
    CHECK_OK(profile_lib_get("own", &got, &err));
    same(p, got);
    profile_free(&got);
    snprintf(id, sizeof(id), "%s", p->id);
    CHECK_OK(profile_lib_get(id, &got, &err));
    same(p, got);
    profile_free(&got);
    CHECK_OK(profile_lib_get("4f1d7c0a-0d2e-4c55-9f0e-6d61ae000001", &got, &err));
    CHECK(strcmp(got->name, "database") == 0);
    profile_free(&got);
    CHECK_ERR(profile_lib_get("nobody", &got, &err), -E_NOENT);
    CHECK_ERR(profile_lib_get("../own", &got, &err), -E_NOENT);
    CHECK_ERR(profile_lib_del("database"), -E_PERM);
    snprintf(p->name, sizeof(p->name), "database"); /* in place of the built-in one */
    CHECK_OK(profile_lib_put(p, false));
    snprintf(path, sizeof(path), "%s/varve/profiles/bad.conf", test_dir());
    CHECK_OK(io_replace(io_real(), path, "x = ", 4));
    CHECK_OK(profile_lib_each(list, &l));
    if (strcmp(l.names, "archive* bad! database own scratch* shared* ") != 0)
        test_fail(__FILE__, __LINE__, "\"%s\"", l.names);
    CHECK_OK(profile_lib_del("database"));
    CHECK_OK(profile_lib_del("own"));
    CHECK_ERR(profile_lib_del("own"), -E_NOENT);
    unsetenv("XDG_CONFIG_HOME");
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
