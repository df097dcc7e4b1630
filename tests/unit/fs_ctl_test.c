/* Control files of a volume, without a mount. */
#include "fs/ctl.h"

#include <time.h>

#include "snap/job.h"
#include "tests/unit/fs_verb_case.h"

static struct verb_case tc;
static struct ctl *ctl;

static void begin(enum verb_role role)
{
    struct vol *v;

    tc = (struct verb_case){.exit_code = 0};
    case_open(&tc);
    if (volume_find(tc.env.store, "main", &v) < 0) {
        SAY(&tc, "create main --size 64M");
        SAY(&tc, "create other");
    }
    CHECK_OK(ctl_new(&tc.env, vol_of(&tc, "main"), role, &ctl));
}

static void end(void)
{
    ctl_free(ctl);
    case_close(&tc);
}

static int put_as(uint32_t pid, const char *path, const char *text)
{
    return ctl_write(ctl, 1000, 100, pid, path, text, strlen(text));
}

static int put(const char *path, const char *text)
{
    static uint32_t pid = 100;

    return put_as(pid++, path, text);
}

/* The text of a file; valid until the next call. */
static const char *get(const char *path)
{
    static struct buf b;

    buf_free(&b);
    CHECK_OK(ctl_read(ctl, path, &b));
    return buf_cstr(&b);
}

static json_t *get_json(const char *path)
{
    cleanup(buf_free) struct buf b = {0};

    CHECK_OK(ctl_read(ctl, path, &b));
    return json_of(&b);
}

static const char *const names[] = {"status",  "snapshots", "changes", "rollback", "jobs",  "backup", "tier",
                                    "restore", "repos",     "profile", "events",   "error", "help"};

struct listed {
    char names[64][64];
    size_t n;
};

static int list(void *arg, const char *name, const struct ctl_node *node)
{
    struct listed *l = arg;
    struct ctl_node found;

    CHECK(l->n < 64);
    snprintf(l->names[l->n++], 64, "%s", name);
    CHECK_OK(ctl_lookup(ctl, name, &found));
    CHECK_EQ(found.mode, node->mode);
    CHECK_EQ(found.kind, node->kind);
    return 0;
}

TEST(test_ctl__every_file_is_there_as_text_and_as_json)
{
    struct listed l = {.n = 0};

    begin(ROLE_ADMIN);
    CHECK_OK(ctl_list(ctl, "", list, &l));
    CHECK_EQ(l.n, 2 * ARRAY_LEN(names));
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct ctl_node n;
        char path[80];

        CHECK(strcmp(l.names[2 * i], names[i]) == 0);
        CHECK_OK(ctl_lookup(ctl, names[i], &n));
        if (S_ISDIR(n.mode))
            CHECK_EQ(n.kind, CTL_DIR);
        else
            CHECK(get(names[i])[0] == '#');
        snprintf(path, sizeof(path), "%s.json", names[i]);
        CHECK_OK(ctl_lookup(ctl, path, &n));
        CHECK_EQ(n.mode & 0222, 0);
        json_decref(get_json(path));
    }
    end();
}

TEST(test_ctl__names_that_are_no_files_are_not_found)
{
    static const char *const wrong[] = {
        "nothing",       "status.txt",       ".json",         "status/x",
        "changes/",      "changes/a..b",     "events-since-", "events-since-x",
        "events/since-", "status.json.json", "tiers",         "events-since-99999999999999999999999"};
    struct ctl_node n;

    begin(ROLE_ADMIN);
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        if (ctl_lookup(ctl, wrong[i], &n) != -E_NOENT)
            test_fail(__FILE__, __LINE__, "%s", wrong[i]);
    end();
}

TEST(test_ctl__lines_are_commands_and_the_first_bad_one_stops)
{
    struct layer_rec rec;

    begin(ROLE_ADMIN);
    CHECK_OK(put("snapshots", "create one label=a=1\n\n# a comment\ncreate \"two words\""));
    CHECK_OK(snap_find(vol_of(&tc, "main"), "one", &rec));
    CHECK_OK(snap_find(vol_of(&tc, "main"), "two words", &rec));
    CHECK_ERR(put("snapshots", "create three\ncreate one\ncreate four\n"), -E_EXIST);
    CHECK_OK(snap_find(vol_of(&tc, "main"), "three", &rec));
    CHECK_ERR(snap_find(vol_of(&tc, "main"), "four", &rec), -E_NOENT);
    CHECK(strstr(get("snapshots"), "a=1"));
    end();
}

TEST(test_ctl__a_refusal_says_who_when_what_and_why)
{
    cleanup(unref) json_t *o = NULL;
    const json_t *e;

    begin(ROLE_ADMIN);
    CHECK(strstr(get("error"), "nothing was refused"));
    CHECK_ERR(put_as(77, "snapshots", "delete x\n"), -E_NOENT);
    CHECK(strstr(get("error"),
                 "uid     1000\npid     77\nfile    snapshots\nline    delete x\nerror   NOENT\n"
                 "reason  snapshot x: does not exist; varve snapshot list shows what there is\n"));
    CHECK(strstr(get("snapshots"), ", uid 1000, \"delete x\": snapshot x: does not exist"));
    o = get_json("error.json");
    e = json_object_get(o, "error");
    CHECK_EQ(int_of(e, "uid"), 1000);
    CHECK(strcmp(str_of(e, "code"), "NOENT") == 0);
    CHECK(str_of(e, "time")[10] == 'T');
    CHECK_OK(put("snapshots", "create x"));
    CHECK(!strstr(get("snapshots"), "refused"));
    CHECK(strstr(get("snapshots"), "# last answer, "));
    CHECK(strstr(get("error"), "delete x"));
    end();
}

TEST(test_ctl__bad_lines_are_refused_and_survived)
{
    static const struct {
        const char *path, *text;
        int r;
    } c[] = {{"snapshots", "frobnicate x", -E_USAGE},
             {"snapshots", "create a/b", -E_NAME},
             {"snapshots", "create .x", -E_NAME},
             {"snapshots", "create @x", -E_NAME},
             {"snapshots", "create x.json", -E_NAME},
             {"snapshots", "create \"\"", -E_NAME},
             {"snapshots", "create x \x01", -E_USAGE},
             {"snapshots", "rollback x", -E_USAGE},
             {"rollback", "rollback nothing", -E_NOENT},
             {"rollback", "create x", -E_USAGE},
             {"jobs", "wait 7", -E_NOENT},
             {"jobs", "cancel 7", -E_NOENT},
             {"jobs", "wait", -E_USAGE},
             {"status", "resize tiny", -E_USAGE},
             {"status", "resize 5", -E_INVAL},
             {"status.json", "resize 5G", -E_ACCES},
             {"events", "x", -E_ACCES},
             {"error", "x", -E_ACCES},
             {"help", "x", -E_ACCES},
             {"changes", "x", -E_ISDIR},
             {"", "x", -E_ISDIR},
             {"nothing", "x", -E_NOENT}};

    begin(ROLE_ADMIN);
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        if (put(c[i].path, c[i].text) != c[i].r)
            test_fail(__FILE__, __LINE__, "%s: %s", c[i].path, c[i].text);
    CHECK_ERR(ctl_write(ctl, 0, 0, 1, "snapshots", "create a\0b", 10), -E_USAGE);
    end();
}

TEST(test_ctl__a_write_of_any_length_is_bounded)
{
    cleanup(buf_free) struct buf big = {0};

    begin(ROLE_ADMIN);
    for (int i = 0; i < 70000; i++)
        CHECK_OK(buf_puts(&big, "#"));
    CHECK_ERR(ctl_write(ctl, 0, 0, 1, "snapshots", big.data, big.len), -E_TOOBIG);
    CHECK_OK(ctl_write(ctl, 0, 0, 1, "snapshots", big.data, 60000));
    CHECK_OK(ctl_write(ctl, 0, 0, 1, "snapshots", NULL, 0));
    memset(big.data, 'x', 5000);
    CHECK_ERR(ctl_write(ctl, 0, 0, 1, "snapshots", big.data, 5000), -E_USAGE);
    CHECK(strlen(get("error")) < 4096);
    end();
}

TEST(test_ctl__roles_bound_what_is_shown_writable_and_done)
{
    struct ctl_node n;

    begin(ROLE_READ);
    CHECK_OK(ctl_lookup(ctl, "snapshots", &n));
    CHECK_EQ(n.mode & 0222, 0);
    CHECK_ERR(put("snapshots", "create x"), -E_ACCES);
    CHECK_OK(ctl_lookup(ctl, "jobs", &n));
    CHECK_EQ(n.mode & 0222, 0200);
    CHECK_ERR(put("jobs", "cancel 1"), -E_PERM);
    CHECK(strstr(get("error"), "cancel: not permitted here; mount with control=snapshot"));
    end();
    begin(ROLE_SNAPSHOT);
    CHECK_OK(put("snapshots", "create x"));
    CHECK_ERR(put("snapshots", "clone copy snap=x"), -E_PERM);
    CHECK_OK(put("rollback", "rollback x"));
    CHECK_ERR(put("status", "resize 1G"), -E_ACCES);
    end();
    begin(ROLE_NONE);
    CHECK_ERR(ctl_lookup(ctl, "", &n), -E_NOENT);
    CHECK_ERR(ctl_lookup(ctl, "status", &n), -E_NOENT);
    end();
}

TEST(test_ctl__admin_commands_work_from_files)
{
    struct volume_info i;
    struct vol *v;

    begin(ROLE_ADMIN);
    CHECK_OK(put("snapshots", "snapshot create a"));
    put_file(&tc, "main", "f", "x", 0);
    CHECK_OK(put("rollback", "rollback a"));
    CHECK(strstr(get("rollback"), "\nrollback before-rollback-"));
    CHECK_OK(put("status", "resize 1G"));
    CHECK_OK(volume_get_info(vol_of(&tc, "main"), &i));
    CHECK_EQ(i.rec.size_limit, 1 << 30);
    CHECK_OK(
        put("snapshots", "clone copy snap=a\nrename a to=b\nhold b\nrelease b\nexpire b at=7d\ndelete b"));
    CHECK_OK(volume_find(tc.env.store, "copy", &v));
    end();
}

TEST(test_ctl__changes_read_as_what_changed)
{
    cleanup(unref) json_t *o = NULL, *index = NULL;
    struct ctl_node n;

    begin(ROLE_ADMIN);
    put_file(&tc, "main", "f", "x", 0);
    CHECK_OK(put("snapshots", "create a"));
    put_file(&tc, "main", "g", "x", 0);
    CHECK_OK(put("snapshots", "create b..c"));
    put_file(&tc, "main", "h", "x", 0);
    CHECK_OK(ctl_lookup(ctl, "changes/a..b..c", &n));
    CHECK_EQ(n.mode, S_IFREG | 0440);
    CHECK(strstr(get("changes/a..b..c"), "+ g 0+1\n"));
    CHECK(!strstr(get("changes/a..b..c"), "+ h"));
    CHECK(strstr(get("changes/a..now"), "+ h 0+1\n"));
    CHECK(strstr(get("changes/a"), "+ h 0+1\n"));
    CHECK(strstr(get("changes/a.."), "+ g 0+1\n"));
    CHECK(!strstr(get("changes/b..c"), "+ g"));
    CHECK(!strstr(get("changes/b..c..now"), "+ g"));
    o = get_json("changes/a..b..c.json");
    CHECK(strcmp(str_of(json_object_get(o, "b"), "name"), "b..c") == 0);
    index = get_json("changes.json");
    CHECK_EQ(json_array_size(json_object_get(index, "files")), 2);
    CHECK_ERR(ctl_lookup(ctl, "changes/a..nothing", &n), -E_NOENT);
    CHECK_ERR(ctl_lookup(ctl, "changes/now..a", &n), -E_NOENT);
    end();
}

TEST(test_ctl__events_are_of_this_volume_and_since_an_id)
{
    cleanup(unref) json_t *all = NULL, *since = NULL;
    const json_t *list_of;
    char path[64];

    begin(ROLE_ADMIN);
    CHECK_OK(put("snapshots", "create a"));
    SAY(&tc, "snapshot create other unseen");
    all = get_json("events.json");
    list_of = json_object_get(all, "events");
    CHECK(json_array_size(list_of) >= 2);
    CHECK(!strstr(get("events"), "unseen"));
    snprintf(path, sizeof(path), "events-since-%lld.json",
             (long long)int_of(json_array_get(list_of, json_array_size(list_of) - 2), "id"));
    since = get_json(path);
    CHECK_EQ(json_array_size(json_object_get(since, "events")), 1);
    snprintf(path, sizeof(path), "events/since-%lld",
             (long long)int_of(json_array_get(list_of, json_array_size(list_of) - 1), "id"));
    CHECK(strcmp(get(path), "") == 0);
    end();
}

TEST(test_ctl__long_work_answers_with_a_job)
{
    cleanup(unref) json_t *o = NULL;
    char line[64];
    json_int_t id;
    int r;

    begin(ROLE_ADMIN);
    put_file(&tc, "main", "f", "x", 0);
    CHECK_OK(put("snapshots", "create a sync"));
    o = get_json("jobs.json");
    CHECK_EQ(json_array_size(json_object_get(o, "jobs")), 1);
    id = int_of(json_array_get(json_object_get(o, "jobs"), 0), "id");
    snprintf(line, sizeof(line), "job %lld waits until it is durable", (long long)id);
    CHECK(strstr(get("snapshots"), line));
    snprintf(line, sizeof(line), "wait %lld", (long long)id);
    do
        r = put("jobs", line);
    while (r == -E_AGAIN);
    CHECK_OK(r);
    CHECK(strstr(get("jobs"), "snapshot a is durable"));
    snprintf(line, sizeof(line), "cancel %lld", (long long)id);
    CHECK_ERR(put("jobs", line), -E_INVAL);
    end();
}

static int count_jobs(void *arg, const struct job_info *i)
{
    (void)i;
    (*(int *)arg)++;
    return 0;
}

TEST(test_ctl__a_repeated_write_is_answered_by_the_first_job)
{
    int jobs = 0;

    begin(ROLE_ADMIN);
    CHECK_OK(put_as(5, "snapshots", "create a sync\n"));
    CHECK_OK(put_as(5, "snapshots", "create a sync\n"));
    CHECK_ERR(put_as(6, "snapshots", "create a sync\n"), -E_EXIST);
    CHECK_OK(jobs_each(tc.env.store, count_jobs, &jobs));
    CHECK_EQ(jobs, 1);
    nanosleep(&(struct timespec){.tv_nsec = 600000000}, NULL);
    CHECK_ERR(put_as(5, "snapshots", "create a sync\n"), -E_EXIST);
    end();
}

TEST(test_ctl__jobs_of_other_volumes_are_not_seen)
{
    struct vol *other;
    uint64_t id;

    begin(ROLE_ADMIN);
    other = vol_of(&tc, "other");
    SAY(&tc, "snapshot create other s");
    CHECK_OK(job_start(tc.env.store, "snapshot-sync", other->rec.id, "s", &id));
    CHECK(strstr(get("jobs"), "no jobs"));
    CHECK_ERR(put("jobs", "wait 1"), -E_NOENT);
    CHECK_ERR(put("jobs", "cancel 1"), -E_NOENT);
    end();
}

TEST(test_ctl__the_change_number_grows_with_what_is_done)
{
    uint64_t n;

    begin(ROLE_ADMIN);
    n = ctl_change(ctl);
    CHECK_EQ(ctl_change(ctl), n);
    CHECK_OK(put("snapshots", "create a"));
    CHECK(ctl_change(ctl) > n);
    n = ctl_change(ctl);
    CHECK_ERR(put("snapshots", "create a"), -E_EXIST);
    CHECK(ctl_change(ctl) > n);
    end();
}

static bool begins_a_line(const char *text, const char *before, const char *name)
{
    char line[64];
    int n = snprintf(line, sizeof(line), "%s%s", before, name);
    const char *at = strstr(text, line);

    return at && (at[n] == ' ' || at[n] == '\n');
}

TEST(test_ctl__each_text_begins_with_its_commands)
{
    size_t count;
    const struct verb *t = verb_table(&count);

    begin(ROLE_ADMIN);
    for (size_t i = 0; i < count; i++) {
        if (!t[i].file)
            continue;
        CHECK(begins_a_line(get(t[i].file), "\n# ", t[i].name));
        CHECK(begins_a_line(get("help"), "\n    ", t[i].name));
    }
    CHECK(
        strstr(get("snapshots"), "\n# create [NAME] [label=KEY=VALUE]... [expire=WHEN] [hold=TAG] [sync]\n"));
    end();
}

/* A pod may make thousands of directories in one another: their paths would be gigabytes. */
TEST(test_ctl__changes_take_bounded_memory)
{
    char name[256] = {0};
    struct vol *v;
    struct vfs_attr a;
    vfs_node dir = {INO_ROOT};
    struct vfs_ctx c = {0};
    struct ctl_node n;
    cleanup(buf_free) struct buf b = {0};

    begin(ROLE_READ);
    v = vol_of(&tc, "main");
    CHECK_OK(snap_create(v, NULL, "a", NULL));
    memset(name, 'x', 250);
    for (int i = 0; i < 1200; i++) {
        CHECK_OK(vfs_mknod(v, &c, dir, name, S_IFDIR | 0755, 0, &a));
        dir = a.node;
    }
    CHECK_OK(ctl_lookup(ctl, "changes/a", &n));
    CHECK_ERR(ctl_read(ctl, "changes/a", &b), -E_TOOBIG);
    CHECK_ERR(ctl_read(ctl, "changes/a.json", &b), -E_TOOBIG);
    CHECK(b.cap < 1 << 20);
    end();
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
