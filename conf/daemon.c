#include "conf/daemon.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "conf/value.h"

#define FILE_MAX 262144
#define SAMPLE "conf/varve.conf.sample"
#define OF(m) CONF_MEMBER(struct conf_daemon, m)
#define REPO(m) CONF_MEMBER(struct conf_repo, m)

static const char *const levels[] = {"error", "warn", "note", "debug", NULL};

/* clang-format off */
const struct conf_key conf_daemon_keys[CONF_DAEMON_KEYS] = {
    {"log_level", CONF_WORD, OF(log_level), .words = levels, .range = "error, warn, note or debug", .built_in = "\"note\"", .flags = CONF_LIVE,
     .doc = "What a daemon writes into its log."},
    {"scheduler", CONF_FLAG, OF(scheduler), .built_in = "true", .flags = CONF_LIVE,
     .doc = "true: snapshots and backups are made as the profiles of volumes say. false: none is made or deleted by schedule."},
    {"time_zone", CONF_TEXT, OF(time_zone), .built_in = "\"\"", .flags = CONF_LIVE,
     .doc = "Of times of day in profiles: a name of the tz database (\"Europe/Berlin\"), \"UTC\", or a rule (\"CET-1CEST,M3.5.0,M10.5.0/3\").\nEmpty: that of the machine."},
};

const struct conf_key conf_limit_keys[CONF_LIMIT_KEYS] = {
    {"clients", CONF_COUNT, OF(clients), 4, 4096, "4 to 4096", .built_in = "256",
     .doc = "Commands that one daemon answers at a time; never more than a quarter of the descriptors it may have."},
    {"disk_low", CONF_COUNT, OF(disk_low_pct), 1, 50, "1 to 50", .built_in = "5", .flags = CONF_LIVE,
     .doc = "Percent of the disk below a store: with less free an event is raised."},
    {"schedule_snapshots", CONF_COUNT, OF(schedule_snapshots), 1, 100000, "1 to 100000", .built_in = "1000", .flags = CONF_LIVE,
     .doc = "Snapshots that schedules may hold of one volume: beyond that they take no more, and say so."},
};

static const struct conf_key repo_keys[] = {
    {"name", CONF_TEXT, REPO(name), .built_in = "\"offsite\"", .doc = "What it is called: letters, digits, . _ -."},
    {"url", CONF_TEXT, REPO(url), .built_in = "\"s3://bucket/prefix?endpoint=https://host\"", .doc = "Where it is: dir:/path, s3://bucket/prefix?..."},
    {"passphrase_file", CONF_TEXT, REPO(passphrase_file), .built_in = "\"/etc/varve/offsite.pass\"", .doc = "The file that holds its passphrase; or key_file."},
    {"key_file", CONF_TEXT, REPO(key_file), .built_in = "\"\"", .doc = "A file of 32 bytes and more in place of a passphrase."},
};

static const struct conf_key path_key = {
    "path", CONF_TEXT, CONF_MEMBER(struct conf_stored, path), .built_in = "\"/srv/varve\"", .doc = "Which store."};
/* clang-format on */

void conf_daemon_release(struct conf_daemon *c)
{
    free(c->stores);
    free(c->repos);
    *c = (struct conf_daemon){.nstores = 0};
}

bool conf_daemon_path(char out[PATH_MAX])
{
    const char *named = getenv("VARVE_CONFIG");

    snprintf(out, PATH_MAX, "%s", named && *named ? named : CONF_DAEMON_FILE);
    return named && *named;
}

/* --- reading ---------------------------------------------------------------------------------------------------------- */

static int elements(const struct conf_at *at, const config_setting_t *list, size_t most, size_t size,
                    void **ret)
{
    int n = config_setting_length(list);

    if (config_setting_type(list) != CONFIG_TYPE_LIST)
        return conf_refuse(at, list, "%s is a list of groups; write %s = ( { ... } );",
                           config_setting_name(list), config_setting_name(list));
    for (int i = 0; i < n; i++)
        if (!config_setting_is_group(config_setting_get_elem(list, (unsigned)i)))
            return conf_refuse(at, list, "%s is a list of groups; write %s = ( { ... } );",
                               config_setting_name(list), config_setting_name(list));
    if ((size_t)n > most)
        return conf_refuse(at, list, "%s: at most %zu of them", config_setting_name(list), most);
    *ret = calloc((size_t)n + 1, size);
    return *ret ? n : -E_NOMEM;
}

/* A store's group has its path besides the keys of a store's own file. */
static int store_group(const struct conf_at *at, const config_setting_t *group, struct conf_stored *ret)
{
    struct conf_key keys[CONF_STORE_KEYS + 1];
    unsigned lines[CONF_STORE_KEYS + 1] = {0};
    int r;

    for (size_t i = 0; i < CONF_STORE_KEYS; i++) {
        keys[i] = conf_store_keys[i];
        keys[i].offset += (uint32_t)offsetof(struct conf_stored, set);
    }
    keys[CONF_STORE_KEYS] = path_key;
    r = conf_group_read(at, group, keys, ARRAY_LEN(keys), ret, lines);
    memcpy(ret->lines, lines, sizeof(ret->lines));
    if (r == 0 && ret->path[0] != '/')
        r = conf_refuse(at, group, "path is missing or not absolute; write path = \"/srv/varve\"");
    return r;
}

static int stores_read(const struct conf_at *at, const config_setting_t *list, struct conf_daemon *c)
{
    void *room = NULL;
    int n = elements(at, list, CONF_STORES_MAX, sizeof(*c->stores), &room), r = 0;

    if (n < 0)
        return n;
    c->stores = room;
    for (int i = 0; r == 0 && i < n; i++) {
        const config_setting_t *s = config_setting_get_elem(list, (unsigned)i);

        r = store_group(at, s, &c->stores[i]);
        if (r == 0 && conf_daemon_store(c, c->stores[i].path))
            r = conf_refuse(at, s, "stores: %s is there twice; leave one out", c->stores[i].path);
        c->nstores++;
    }
    return r;
}

static int repo_group(const struct conf_at *at, const config_setting_t *s, struct conf_repo *ret)
{
    int r = conf_group_read(at, s, repo_keys, ARRAY_LEN(repo_keys), ret, NULL);

    if (r == 0 && conf_repo_name_check(ret->name) < 0)
        r = conf_refuse(at, s,
                        "repositories: name \"%.64s\" is missing or not allowed; letters, digits, . _ -",
                        ret->name);
    if (r == 0 && !ret->url[0])
        r = conf_refuse(at, s, "%s: url is missing; write url = \"dir:/path\"", ret->name);
    if (r == 0 && ret->passphrase_file[0] && ret->key_file[0])
        r = conf_refuse(at, s,
                        "%s: passphrase_file and key_file contradict each other; leave one of them out",
                        ret->name);
    return r;
}

static int repos_read(const struct conf_at *at, const config_setting_t *list, struct conf_daemon *c)
{
    void *room = NULL;
    int n = elements(at, list, CONF_REPOS_MAX, sizeof(*c->repos), &room), r = 0;

    if (n < 0)
        return n;
    c->repos = room;
    for (int i = 0; r == 0 && i < n; i++) {
        const config_setting_t *s = config_setting_get_elem(list, (unsigned)i);

        r = repo_group(at, s, &c->repos[i]);
        for (size_t k = 0; r == 0 && k < c->nrepos; k++)
            if (strcmp(c->repos[k].name, c->repos[i].name) == 0)
                r = conf_refuse(at, s, "repositories: %s is there twice; leave one out", c->repos[i].name);
        c->nrepos++;
    }
    return r;
}

static int daemon_group(const struct conf_at *at, const config_setting_t *s, struct conf_daemon *c)
{
    struct zone z = {.n = 0};
    int r = conf_group_read(at, s, conf_daemon_keys, CONF_DAEMON_KEYS, c, c->lines);

    if (r == 0 && c->time_zone[0] && zone_load(c->time_zone, &z) < 0)
        r = conf_refuse(
            at, config_setting_get_member(s, "time_zone"),
            "time_zone \"%s\" is not known here; write a name such as \"Europe/Berlin\", or \"UTC\"",
            c->time_zone);
    zone_release(&z);
    return r;
}

static int section(const struct conf_at *at, const config_setting_t *s, struct conf_daemon *c)
{
    static const char *const names[] = {"daemon", "limits", "stores", "repositories"};
    const char *name = config_setting_name(s);
    size_t i = 0;

    while (i < ARRAY_LEN(names) && !conf_name_same(names[i], name))
        i++;
    if (i == ARRAY_LEN(names))
        return conf_unknown(at, s, conf_nearest(name, names, ARRAY_LEN(names)));
    if (i < 2 && !config_setting_is_group(s))
        return conf_refuse(at, s, "%s is a group; write %s: { ... };", name, name);
    if (i == 0)
        return daemon_group(at, s, c);
    if (i == 1)
        return conf_group_read(at, s, conf_limit_keys, CONF_LIMIT_KEYS, c, c->lines + CONF_DAEMON_KEYS);
    if (i == 2 ? c->stores != NULL : c->repos != NULL)
        return conf_refuse(at, s, "%s is there twice; put all into one", name);
    return i == 2 ? stores_read(at, s, c) : repos_read(at, s, c);
}

static int parse_into(const char *text, const char *path, struct conf_daemon *c, struct buf *err)
{
    struct conf_at at = {.path = path, .all = SAMPLE, .err = err};
    config_t cfg;
    int r;

    config_init(&cfg);
    r = conf_text_parse(text, path, &cfg, err);
    for (int i = 0; r == 0 && i < config_setting_length(config_root_setting(&cfg)); i++)
        r = section(&at, config_setting_get_elem(config_root_setting(&cfg), (unsigned)i), c);
    config_destroy(&cfg);
    return r;
}

static void built_in(struct conf_daemon *ret)
{
    *ret = (struct conf_daemon){.nstores = 0};
    conf_keys_default(conf_daemon_keys, CONF_DAEMON_KEYS, ret);
    conf_keys_default(conf_limit_keys, CONF_LIMIT_KEYS, ret);
}

int conf_daemon_parse(const char *text, const char *path, struct conf_daemon *ret, struct buf *err)
{
    struct conf_daemon c;
    int r = 0;

    built_in(&c);
    if (*text)
        r = parse_into(text, path, &c, err);
    if (r < 0)
        conf_daemon_release(&c);
    else
        *ret = c;
    return r;
}

int conf_daemon_read(const char *path, struct conf_daemon *ret, struct buf *err)
{
    cleanup(buf_free) struct buf text = {0};
    char own[PATH_MAX];
    bool named = path != NULL;
    int r;

    if (!path) {
        named = conf_daemon_path(own);
        path = own;
    }
    r = conf_text_read(path, FILE_MAX, SAMPLE, &text, err);
    if (r == -E_NOENT && named)
        buf_printf(err, "%s: there is no such file; $VARVE_CONFIG or --config names it", path);
    if (r < 0 && (r != -E_NOENT || named))
        return r;
    return conf_daemon_parse(r == 0 ? buf_cstr(&text) : "", path, ret, err);
}

const struct conf_stored *conf_daemon_store(const struct conf_daemon *c, const char *path)
{
    for (size_t i = 0; i < c->nstores; i++)
        if (strcmp(c->stores[i].path, path) == 0)
            return &c->stores[i];
    return NULL;
}

/* --- the sample --------------------------------------------------------------------------------------------------------- */

static int sample_group(const char *name, const struct conf_key *keys, size_t n, struct buf *out)
{
    int r = buf_printf(out, "\n%s: {\n", name);

    if (r == 0)
        r = conf_sample_keys(keys, n, "    ", out);
    return r < 0 ? r : buf_puts(out, "};\n");
}

int conf_daemon_sample(struct buf *out)
{
    int r = buf_puts(out, "# /etc/varve/varve.conf: what holds on this machine. Every line may be left out; "
                          "the values shown are the built-in ones.\n"
                          "# An unknown setting is an error, and the message names the line. varve config "
                          "check FILE tries a file,\n"
                          "# varve config show prints what holds, varve config reload takes up what may "
                          "change while a daemon runs.\n");

    if (r == 0)
        r = sample_group("daemon", conf_daemon_keys, CONF_DAEMON_KEYS, out);
    if (r == 0)
        r = sample_group("limits", conf_limit_keys, CONF_LIMIT_KEYS, out);
    if (r == 0)
        r = buf_puts(out, "\n# Settings of stores by their paths, one group each, as in STORE/config. What "
                          "STORE/config says goes first.\n"
                          "stores = (\n#   {\n");
    if (r == 0)
        r = conf_sample_keys(&path_key, 1, "#     ", out);
    if (r == 0)
        r = conf_sample_keys(conf_store_keys, CONF_STORE_KEYS, "#     ", out);
    if (r == 0)
        r = buf_puts(out, "#   }\n);\n\n# Repositories by name, besides those of varve repo add, which go "
                          "first. Paths of files with secrets, never a secret.\n"
                          "repositories = (\n#   {\n");
    if (r == 0)
        r = conf_sample_keys(repo_keys, ARRAY_LEN(repo_keys), "#     ", out);
    return r < 0 ? r : buf_puts(out, "#   }\n);\n");
}

/* --- in force ----------------------------------------------------------------------------------------------------------- */

static pthread_mutex_t live_lock = PTHREAD_MUTEX_INITIALIZER; /* guards live */
static struct conf_daemon live;
static bool live_set;

static void live_fill_locked(void)
{
    if (!live_set)
        built_in(&live);
    live_set = true;
}

void conf_live_get(struct conf_live *ret)
{
    pthread_mutex_lock(&live_lock);
    live_fill_locked();
    *ret = (struct conf_live){.log_level = live.log_level ? (enum log_level)(live.log_level - 1) : LOG_NOTE,
                              .scheduler = live.scheduler,
                              .disk_low_pct = live.disk_low_pct,
                              .schedule_snapshots = live.schedule_snapshots,
                              .clients = live.clients};
    memcpy(ret->time_zone, live.time_zone, sizeof(ret->time_zone));
    pthread_mutex_unlock(&live_lock);
}

void conf_live_begin(const struct conf_daemon *c)
{
    pthread_mutex_lock(&live_lock);
    live = *c;
    live.stores = NULL;
    live.repos = NULL;
    live.nstores = live.nrepos = 0;
    live_set = true;
    pthread_mutex_unlock(&live_lock);
}

static int key_take(const char *group, const struct conf_key *k, const struct conf_daemon *c,
                    struct buf *said)
{
    cleanup(buf_free) struct buf value = {0};
    int r;

    if (memcmp((const char *)c + k->offset, (const char *)&live + k->offset, k->width) == 0)
        return 0;
    r = conf_key_print(k, c, &value);
    if (r < 0 || !buf_cstr(&value))
        return -E_NOMEM;
    if (k->flags & CONF_LIVE)
        memcpy((char *)&live + k->offset, (const char *)c + k->offset, k->width);
    return buf_printf(said, "%s.%s: %s%s\n", group, k->name, buf_cstr(&value),
                      k->flags & CONF_LIVE ? "" : "; needs a restart");
}

int conf_live_reload(const struct conf_daemon *c, struct buf *said)
{
    int r = 0;

    pthread_mutex_lock(&live_lock);
    live_fill_locked();
    for (size_t i = 0; r == 0 && i < CONF_DAEMON_KEYS; i++)
        r = key_take("daemon", &conf_daemon_keys[i], c, said);
    for (size_t i = 0; r == 0 && i < CONF_LIMIT_KEYS; i++)
        r = key_take("limits", &conf_limit_keys[i], c, said);
    pthread_mutex_unlock(&live_lock);
    return r;
}
