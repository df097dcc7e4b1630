/* From trees of settings to profiles, whichever spelling. */
#include "conf/profile.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "conf/profile_terms.h"

#define DEPTH_MAX 12
#define TERM_MAX 200

struct reading {
    struct conf_at at;
    struct profile *p;
    const config_setting_t *seen[PART__N][32]; /* by key: the setting that gave its value */
    struct profile_plan opensds;               /* the one schedule of snapshotProperties */
    bool opensds_schedule;
    char bucket[1025];
};

/* --- what is not known ---------------------------------------------------------------------------------------------- */

static json_t *json_of(const config_setting_t *s, int depth)
{
    json_t *o;

    switch (config_setting_type(s)) {
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64: return json_integer(config_setting_get_int64(s));
    case CONFIG_TYPE_FLOAT: return json_real(config_setting_get_float(s));
    case CONFIG_TYPE_BOOL: return json_boolean(config_setting_get_bool(s));
    case CONFIG_TYPE_STRING: return json_string(config_setting_get_string(s));
    default: break;
    }
    if (depth > DEPTH_MAX)
        return NULL;
    o = config_setting_is_group(s) ? json_object() : json_array();
    for (int i = 0; o && i < config_setting_length(s); i++) {
        const config_setting_t *e = config_setting_get_elem(s, (unsigned)i);
        json_t *v = json_of(e, depth + 1);
        int r = config_setting_is_group(s) ? json_object_set_new(o, config_setting_name(e), v)
                                           : json_array_append_new(o, v);

        if (r < 0) {
            json_decref(o);
            return NULL;
        }
    }
    return o;
}

/* "provisioning.dataStorage.x" */
static void term_of(const config_setting_t *s, char *out, size_t size)
{
    const config_setting_t *up = config_setting_parent(s);
    const char *name = config_setting_name(s);
    size_t n;

    out[0] = 0;
    if (up && !config_setting_is_root(up))
        term_of(up, out, size);
    n = strlen(out);
    if (name)
        snprintf(out + n, size - n, "%s%s", n ? "." : "", name);
}

/* A group's members are terms of their own. */
static int keep_other(struct reading *rd, const config_setting_t *s)
{
    char term[TERM_MAX], *text;
    json_t *j;
    int r = 0;

    if (config_setting_is_group(s) && config_setting_length(s) > 0) {
        for (int i = 0; r == 0 && i < config_setting_length(s); i++)
            r = keep_other(rd, config_setting_get_elem(s, (unsigned)i));
        return r;
    }
    j = json_of(s, 0);

    term_of(s, term, sizeof(term));
    text = j ? json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    json_decref(j);
    if (!text)
        return conf_refuse(&rd->at, s, "%s cannot be kept: it is no text, or nested too deeply", term);
    r = profile_other(rd->p, term, text);
    free(text);
    return r == -E_TOOBIG ? conf_refuse(&rd->at, s, "too much that is not known; leave some of it out") : r;
}

/* --- terms ---------------------------------------------------------------------------------------------------------- */

/* Groups of OpenSDS that say nothing by themselves. */
static bool is_shell(const char *name)
{
    static const char *const names[] = {"dataStorage", "ioConnectivity", "dataProtection", "replicaInfos"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (conf_name_same(names[i], name))
            return true;
    return false;
}

static const void *member(const struct conf_key *k, const void *of)
{
    return (const char *)of + k->offset;
}

/* The same term twice, in two spellings or two places: once is enough, two values are a contradiction. */
static int term_again(struct reading *rd, const config_setting_t *before, const config_setting_t *s,
                      const struct conf_key *k, const void *was, const void *now)
{
    char a[TERM_MAX], b[TERM_MAX];

    if (memcmp(member(k, was), member(k, now), k->width) == 0)
        return 0;
    term_of(before, a, sizeof(a));
    term_of(s, b, sizeof(b));
    return conf_refuse(&rd->at, s, "%s and %s contradict each other; leave one of them out", a, b);
}

/* s is one of the part's keys: its value into what lies at ret (size bytes). seen NULL: it cannot be there before. */
static int term_read(struct reading *rd, const config_setting_t *s, const struct conf_key *k, void *ret,
                     size_t size, const config_setting_t **seen)
{
    void *copy = calloc(1, size);
    int r = copy ? conf_key_read(&rd->at, s, k, copy) : -E_NOMEM;

    if (r == 0 && *seen)
        r = term_again(rd, *seen, s, k, ret, copy);
    else if (r == 0)
        memcpy((char *)ret + k->offset, member(k, copy), k->width);
    if (r == 0)
        *seen = s;
    free(copy);
    return r;
}

static int group_of(struct reading *rd, const config_setting_t *s)
{
    return config_setting_is_group(s) ? 0
                                      : conf_refuse(&rd->at, s, "%s is a group; write %s: { ... }",
                                                    config_setting_name(s), config_setting_name(s));
}

static int part_read(struct reading *rd, const config_setting_t *group, enum profile_part part)
{
    size_t n;
    const struct profile_section *sec = &profile_sections(&n)[part];
    int r = group_of(rd, group);

    assert(sec->n <= ARRAY_LEN(rd->seen[0]));
    for (int i = 0; r == 0 && i < config_setting_length(group); i++) {
        const config_setting_t *s = config_setting_get_elem(group, (unsigned)i);
        const char *name = config_setting_name(s);
        const struct conf_key *k = conf_key_find(sec->keys, sec->n, name);

        if (k)
            r = term_read(rd, s, k, rd->p, sizeof(*rd->p), &rd->seen[part][k - sec->keys]);
        else if (is_shell(name) && config_setting_is_group(s))
            r = part_read(rd, s, part);
        else
            r = keep_other(rd, s);
    }
    return r;
}

/* --- plans ---------------------------------------------------------------------------------------------------------- */

static int plan_read(struct reading *rd, const config_setting_t *group, enum profile_part part,
                     struct profile_plan *ret)
{
    size_t n;
    const struct profile_section *sec = &profile_sections(&n)[part];
    const config_setting_t *seen[16] = {NULL};
    int r = 0;

    assert(sec->n <= ARRAY_LEN(seen));
    if (!config_setting_is_group(group))
        return conf_refuse(&rd->at, group, "%s is a list of groups; write %s = ( { ... } );", sec->name,
                           sec->name);
    for (int i = 0; r == 0 && i < config_setting_length(group); i++) {
        const config_setting_t *s = config_setting_get_elem(group, (unsigned)i);
        const struct conf_key *k = conf_key_find(sec->keys, sec->n, config_setting_name(s));

        if (k)
            r = term_read(rd, s, k, ret, sizeof(*ret), &seen[k - sec->keys]);
        else
            r = keep_other(rd, s);
    }
    return r;
}

static int plans_read(struct reading *rd, const config_setting_t *list, enum profile_part part,
                      struct profile_plan *plans, size_t *count)
{
    bool one = config_setting_is_group(list);
    int r = 0;

    if (!one && config_setting_type(list) != CONFIG_TYPE_LIST &&
        config_setting_type(list) != CONFIG_TYPE_ARRAY)
        return conf_refuse(&rd->at, list, "%s is a list of groups; write %s = ( { ... } );",
                           config_setting_name(list), config_setting_name(list));
    for (int i = 0; r == 0 && i < (one ? 1 : config_setting_length(list)); i++) {
        if (*count == PROFILE_PLANS_MAX)
            return conf_refuse(&rd->at, list, "%s: at most %d of them", config_setting_name(list),
                               PROFILE_PLANS_MAX);
        r = plan_read(rd, one ? list : config_setting_get_elem(list, (unsigned)i), part, &plans[*count]);
        if (r == 0)
            (*count)++;
    }
    return r;
}

/* --- OpenSDS' snapshotProperties: one schedule, its retention, one bucket -------------------------------------------- */

static int bucket_read(struct reading *rd, const config_setting_t *group)
{
    for (int i = 0; i < config_setting_length(group); i++) {
        const config_setting_t *s = config_setting_get_elem(group, (unsigned)i);
        const char *text = config_setting_get_string(s);
        int r = 0;

        if (!conf_name_same(config_setting_name(s), "bucket"))
            r = keep_other(rd, s);
        else if (!text || strlen(text) >= sizeof(rd->bucket))
            r = conf_refuse(&rd->at, s, "bucket is not understood; write the name of a repository");
        else
            memcpy(rd->bucket, text, strlen(text) + 1);
        if (r < 0)
            return r;
    }
    return 0;
}

static int opensds_part(struct reading *rd, const config_setting_t *s)
{
    static const char *const groups[] = {"schedule", "retention"};

    if (config_setting_is_group(s) && conf_name_same(config_setting_name(s), "topology"))
        return bucket_read(rd, s);
    for (size_t i = 0; i < ARRAY_LEN(groups); i++)
        if (config_setting_is_group(s) && conf_name_same(config_setting_name(s), groups[i])) {
            rd->opensds_schedule = true;
            return plan_read(rd, s, PART_SNAPSHOTS, &rd->opensds);
        }
    return keep_other(rd, s);
}

static int opensds_snapshots(struct reading *rd, const config_setting_t *group)
{
    int r = group_of(rd, group);

    for (int i = 0; r == 0 && i < config_setting_length(group); i++)
        r = opensds_part(rd, config_setting_get_elem(group, (unsigned)i));
    return r;
}

/* datetime says the time of day, and on which day of a week or month. */
static int opensds_plan(struct reading *rd)
{
    struct profile_plan *p = &rd->opensds;
    int year, month, day;

    if (rd->bucket[0] && !rd->opensds_schedule)
        return conf_refuse(&rd->at, NULL,
                           "topology and schedule: a bucket is said, but not when; add a schedule");
    if (!rd->opensds_schedule)
        return 0;
    if (rd->p->nsnapshots == PROFILE_PLANS_MAX || (rd->bucket[0] && rd->p->nbackups == PROFILE_PLANS_MAX))
        return conf_refuse(&rd->at, NULL, "snapshots: at most %d of them", PROFILE_PLANS_MAX);
    if (!p->at[0] && strlen(p->start) >= 16 && p->start[10] == 'T')
        snprintf(p->at, sizeof(p->at), "%.5s", p->start + 11);
    if (!p->on[0] && p->occurrence && sscanf(p->start, "%4d-%2d-%2d", &year, &month, &day) == 3) {
        static const char *const days[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

        if (p->occurrence == 3 && month >= 1 && month <= 12)
            snprintf(p->on, sizeof(p->on), "%s", days[((clock_days(year, month, day) + 4) % 7 + 7) % 7]);
        if (p->occurrence == 4)
            snprintf(p->on, sizeof(p->on), "%d", day);
    }
    rd->p->snapshots[rd->p->nsnapshots++] = *p;
    if (rd->bucket[0]) {
        struct profile_plan *b = &rd->p->backups[rd->p->nbackups++];

        *b = *p;
        b->keep = 0;
        b->keep_for_s = 0;
        memcpy(b->to, rd->bucket, sizeof(b->to));
    }
    return 0;
}

/* --- the whole ------------------------------------------------------------------------------------------------------ */

/* others = ( { term = "..."; value = "..."; } ): what profile_print() wrote of terms that are not known. */
static int others_read(struct reading *rd, const config_setting_t *list)
{
    for (int i = 0; i < config_setting_length(list); i++) {
        const config_setting_t *s = config_setting_get_elem(list, (unsigned)i);
        const char *term, *value;
        int r;

        if (!config_setting_is_group(s) || config_setting_lookup_string(s, "term", &term) != CONFIG_TRUE ||
            config_setting_lookup_string(s, "value", &value) != CONFIG_TRUE || strlen(term) >= TERM_MAX)
            return conf_refuse(&rd->at, s ? s : list, "others: write { term = \"...\"; value = \"...\"; }");
        r = profile_other(rd->p, term, value);
        if (r < 0)
            return r == -E_TOOBIG
                       ? conf_refuse(&rd->at, s, "too much that is not known; leave some of it out")
                       : r;
    }
    return 0;
}

static int section_read(struct reading *rd, const config_setting_t *s)
{
    static const struct {
        const char *name;
        enum profile_part part;
    } names[] = {{"provisioning", PART_PROVISIONING},
                 {"provisioningProperties", PART_PROVISIONING},
                 {"retention", PART_RETENTION},
                 {"protection", PART_PROTECTION},
                 {"replicationProperties", PART_PROTECTION},
                 {"dataProtectionProperties", PART_PROTECTION},
                 {"tiering", PART_TIERING},
                 {"lifecycle", PART_LIFECYCLE}};
    const char *name = config_setting_name(s);

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (conf_name_same(names[i].name, name))
            return part_read(rd, s, names[i].part);
    if (conf_name_same("snapshots", name))
        return plans_read(rd, s, PART_SNAPSHOTS, rd->p->snapshots, &rd->p->nsnapshots);
    if (conf_name_same("backups", name))
        return plans_read(rd, s, PART_BACKUPS, rd->p->backups, &rd->p->nbackups);
    if (conf_name_same("snapshotProperties", name))
        return opensds_snapshots(rd, s);
    if (conf_name_same("others", name) && !config_setting_is_group(s))
        return others_read(rd, s);
    return keep_other(rd, s);
}

int profile_of_tree(const config_setting_t *root, const char *path, struct profile *p, struct buf *err)
{
    struct reading *rd = calloc(1, sizeof(*rd));
    size_t n;
    const struct profile_section *sec = &profile_sections(&n)[PART_ROOT];
    int r = rd ? 0 : -E_NOMEM;

    if (rd) {
        rd->at = (struct conf_at){.path = path, .all = "docs/configuration.md", .err = err};
        rd->p = p;
    }
    for (int i = 0; r == 0 && i < config_setting_length(root); i++) {
        const config_setting_t *s = config_setting_get_elem(root, (unsigned)i);
        const struct conf_key *k = conf_key_find(sec->keys, sec->n, config_setting_name(s));

        r = k ? term_read(rd, s, k, p, sizeof(*p), &rd->seen[PART_ROOT][k - sec->keys]) : section_read(rd, s);
    }
    if (r == 0)
        r = opensds_plan(rd);
    free(rd);
    if (r == 0 && p->protection.update_mode > PROFILE_MODES)
        p->protection.update_mode -= 2; /* Async, Sync */
    return r;
}

int profile_parse(const char *text, const char *path, struct profile **ret, struct buf *err)
{
    cleanup(profile_free) struct profile *p = profile_new();
    cleanup(buf_free) struct buf why = {0};
    config_t cfg;
    int r = p ? 0 : -E_NOMEM;

    if (r == 0 && strlen(text) > PROFILE_TEXT_MAX) {
        buf_printf(err, "%s: is too long; at most %d bytes", path, PROFILE_TEXT_MAX);
        return -E_INVAL;
    }
    config_init(&cfg);
    if (r == 0)
        r = conf_text_parse(text, path, &cfg, err);
    if (r == 0)
        r = profile_of_tree(config_root_setting(&cfg), path, p, err);
    config_destroy(&cfg);
    if (r == 0 && (r = profile_check(p, &why)) < 0)
        buf_printf(err, "%s: %s", path, why.len && buf_cstr(&why) ? buf_cstr(&why) : err_text(r));
    if (r == 0)
        *ret = TAKE(p);
    return r;
}
