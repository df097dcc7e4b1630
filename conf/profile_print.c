/* Profiles as text, as JSON, as OpenSDS' ProfileSpec. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/jw.h"
#include "conf/profile_terms.h"

/* --- text ----------------------------------------------------------------------------------------------------------- */

static int key_line(const struct conf_key *k, const void *from, const char *indent, struct buf *out)
{
    int r;

    if (!conf_key_set(k, from))
        return 0;
    if ((r = buf_printf(out, "%s%s = ", indent, k->name)) == 0)
        r = conf_key_print(k, from, out);
    return r < 0 ? r : buf_puts(out, ";\n");
}

static bool section_set(const struct profile_section *s, const void *from)
{
    for (size_t i = 0; i < s->n; i++)
        if (conf_key_set(&s->keys[i], from))
            return true;
    return false;
}

static int group_print(const struct profile_section *s, const void *from, const char *indent, struct buf *out)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < s->n; i++)
        r = key_line(&s->keys[i], from, indent, out);
    return r;
}

static const struct profile_plan *plans_of(const struct profile *p, enum profile_part part, size_t *ret_n)
{
    *ret_n = part == PART_SNAPSHOTS ? p->nsnapshots : p->nbackups;
    return part == PART_SNAPSHOTS ? p->snapshots : p->backups;
}

static int list_print(const struct profile_section *s, const struct profile_plan *v, size_t n,
                      struct buf *out)
{
    int r = n ? buf_printf(out, "%s = (\n", s->name) : 0;

    for (size_t i = 0; r == 0 && i < n; i++) {
        if ((r = buf_puts(out, "    {\n")) == 0)
            r = group_print(s, &v[i], "        ", out);
        if (r == 0)
            r = buf_puts(out, i + 1 < n ? "    },\n" : "    }\n);\n");
    }
    return r;
}

static int others_print(const struct profile *p, struct buf *out)
{
    const char *at = (const char *)p->others.data, *end = (const char *)buf_end(&p->others);
    int r = p->others.len ? buf_puts(out, "others = (\n") : 0;

    while (r == 0 && at < end) {
        const char *value = at + strlen(at) + 1;

        r = buf_puts(out, "    { term = ");
        if (r == 0)
            r = conf_quote(at, out);
        if (r == 0)
            r = buf_puts(out, "; value = ");
        if (r == 0)
            r = conf_quote(value, out);
        at = value + strlen(value) + 1;
        if (r == 0)
            r = buf_puts(out, at < end ? "; },\n" : "; }\n);\n");
    }
    return r;
}

int profile_print(const struct profile *p, struct buf *out)
{
    size_t n, count;
    const struct profile_section *s = profile_sections(&n);
    int r = group_print(&s[PART_ROOT], p, "", out);

    for (enum profile_part part = PART_ROOT + 1; r == 0 && part < PART__N; part++) {
        if (s[part].list) {
            const struct profile_plan *v = plans_of(p, part, &count);

            r = list_print(&s[part], v, count, out);
        } else if (section_set(&s[part], p)) {
            r = buf_printf(out, "%s: {\n", s[part].name);
            r = r < 0 ? r : group_print(&s[part], p, "    ", out);
            r = r < 0 ? r : buf_puts(out, "};\n");
        }
    }
    return r < 0 ? r : others_print(p, out);
}

/* --- terms ---------------------------------------------------------------------------------------------------------- */

struct each {
    int (*cb)(void *arg, const char *term, const char *value, bool acted_on);
    void *arg;
};

static bool acted_on(const struct profile_section *s, const struct conf_key *k)
{
    return s->acted_on ? !(k->flags & CONF_KEPT) : k->flags & CONF_ACTED;
}

static int group_each(const struct each *e, const struct profile_section *s, const void *from,
                      const char *plan)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < s->n; i++) {
        cleanup(buf_free) struct buf value = {0};
        char term[128];

        if (!conf_key_set(&s->keys[i], from))
            continue;
        snprintf(term, sizeof(term), "%s%s%s%s%s", s->name, *s->name ? "." : "", plan, *plan ? "." : "",
                 s->keys[i].name);
        r = conf_key_print(&s->keys[i], from, &value);
        if (r == 0)
            r = buf_cstr(&value) ? e->cb(e->arg, term, buf_cstr(&value), acted_on(s, &s->keys[i])) : -E_NOMEM;
    }
    return r;
}

int profile_each_term(const struct profile *p,
                      int (*cb)(void *arg, const char *term, const char *value, bool acted_on), void *arg)
{
    const char *at = (const char *)p->others.data, *end = (const char *)buf_end(&p->others);
    struct each e = {cb, arg};
    size_t n, count;
    const struct profile_section *s = profile_sections(&n);
    int r = 0;

    for (enum profile_part part = PART_ROOT; r == 0 && part < PART__N; part++) {
        const struct profile_plan *v = plans_of(p, part, &count);

        if (!s[part].list)
            r = group_each(&e, &s[part], p, "");
        for (size_t i = 0; s[part].list && r == 0 && i < count; i++)
            r = group_each(&e, &s[part], &v[i], v[i].name);
    }
    while (r == 0 && at && at < end) {
        const char *value = at + strlen(at) + 1;

        r = cb(arg, at, value, false);
        at = value + strlen(value) + 1;
    }
    return r;
}

void profile_plan_text(const struct profile_plan *p, char out[128])
{
    char span[24];

    conf_span_print(p->every_s, span);
    if (p->every_s)
        snprintf(out, 128, "every %s", span);
    else if (p->occurrence == 1)
        snprintf(out, 128, "hourly at minute %d", p->when.at_s / 60);
    else
        snprintf(out, 128, "%s%s%s at %02d:%02d", occurrence_words[p->occurrence - 1],
                 p->occurrence > 2 ? " on " : "",
                 p->occurrence <= 2   ? ""
                 : p->on[0]           ? p->on
                 : p->occurrence == 3 ? "sun"
                                      : "1",
                 p->when.at_s / 3600, p->when.at_s / 60 % 60);
}

/* --- JSON ----------------------------------------------------------------------------------------------------------- */

/* A value as a file says it is JSON, but for sizes beyond an int ("L"). */
static json_t *value_json(const struct conf_key *k, const void *from)
{
    cleanup(buf_free) struct buf b = {0};
    json_t *o = NULL;

    if (k->type == CONF_TEXT)
        return json_string((const char *)from + k->offset);
    if (conf_key_print(k, from, &b) < 0)
        return NULL;
    if (b.len && b.data[b.len - 1] == 'L')
        b.len--;
    if (buf_cstr(&b))
        o = json_loads(buf_cstr(&b), JSON_DECODE_ANY, NULL);
    return o;
}

static int group_json(const struct profile_section *s, const void *from, json_t *into)
{
    for (size_t i = 0; i < s->n; i++)
        if (conf_key_set(&s->keys[i], from) &&
            json_object_set_new(into, s->keys[i].name, value_json(&s->keys[i], from)) < 0)
            return -E_NOMEM;
    return 0;
}

static int list_json(const struct profile_section *s, const struct profile_plan *v, size_t n, json_t *root)
{
    json_t *list = n ? json_array() : NULL;

    if (!n)
        return 0;
    if (!list || json_object_set_new(root, s->name, list) < 0)
        return -E_NOMEM;
    for (size_t i = 0; i < n; i++) {
        json_t *o = json_object();

        if (!o || json_array_append_new(list, o) < 0 || group_json(s, &v[i], o) < 0)
            return -E_NOMEM;
    }
    return 0;
}

/* "a.b.c" as members of members; where that cannot be, as one member. */
static int other_json(json_t *root, const char *term, const char *value)
{
    json_t *v = json_loads(value, JSON_DECODE_ANY, NULL), *at = root;
    const char *dot;

    if (!v)
        v = json_string(value);
    while (v && (dot = strchr(term, '.'))) {
        char name[256];
        json_t *in;

        snprintf(name, sizeof(name), "%.*s", (int)(dot - term), term);
        in = json_object_get(at, name);
        if (!in && json_object_set_new(at, name, json_object()) == 0)
            in = json_object_get(at, name);
        if (!json_is_object(in))
            break;
        at = in;
        term = dot + 1;
    }
    return v && json_object_set_new(at, term, v) == 0 ? 0 : -E_NOMEM;
}

static int others_json(const struct profile *p, json_t *root)
{
    const char *at = (const char *)p->others.data, *end = (const char *)buf_end(&p->others);
    int r = 0;

    while (r == 0 && at && at < end) {
        const char *value = at + strlen(at) + 1;

        r = other_json(root, at, value);
        at = value + strlen(value) + 1;
    }
    return r;
}

static int tree_json(const struct profile *p, json_t *root)
{
    size_t n, count;
    const struct profile_section *s = profile_sections(&n);
    int r = group_json(&s[PART_ROOT], p, root);

    for (enum profile_part part = PART_ROOT + 1; r == 0 && part < PART__N; part++) {
        const struct profile_plan *v = plans_of(p, part, &count);
        json_t *o;

        if (s[part].list) {
            r = list_json(&s[part], v, count, root);
        } else if (section_set(&s[part], p)) {
            o = json_object();
            r = o && json_object_set_new(root, s[part].name, o) == 0 ? group_json(&s[part], p, o) : -E_NOMEM;
        }
    }
    return r < 0 ? r : others_json(p, root);
}

static int dump(json_t *root, struct buf *out)
{
    char *text = json_dumps(root, JSON_INDENT(2));
    int r = text ? buf_printf(out, "%s\n", text) : -E_NOMEM;

    free(text);
    return r;
}

int profile_json(const struct profile *p, struct buf *out)
{
    json_t *root = json_object();
    int r = root ? json_object_set_new(root, "schema", json_integer(1)) : -1;

    r = r < 0 ? -E_NOMEM : tree_json(p, root);
    if (r == 0)
        r = dump(root, out);
    json_decref(root);
    return r;
}

/* --- OpenSDS -------------------------------------------------------------------------------------------------------- */

/* Where OpenSDS has a term of ours. Times: 's' ISO 8601, 'm' minutes, 'd' days; 0: as it is. */
static const struct {
    const char *term, *path;
    char as;
} places[] = {
    {"name", "name", 0},
    {"id", "id", 0},
    {"description", "description", 0},
    {"provisioning.policy", "provisioningProperties.dataStorage.provisioningPolicy", 0},
    {"provisioning.recovery_time_objective", "provisioningProperties.dataStorage.recoveryTimeObjective", 'm'},
    {"provisioning.character_code_set", "provisioningProperties.dataStorage.characterCodeSet", 0},
    {"provisioning.max_file_name_length_bytes", "provisioningProperties.dataStorage.maxFileNameLengthBytes",
     0},
    {"provisioning.compression", "provisioningProperties.dataStorage.compression", 0},
    {"provisioning.deduplication", "provisioningProperties.dataStorage.deduplication", 0},
    {"provisioning.access_protocol", "provisioningProperties.ioConnectivity.accessProtocol", 0},
    {"provisioning.max_iops", "provisioningProperties.ioConnectivity.maxIOPS", 0},
    {"provisioning.min_iops", "provisioningProperties.ioConnectivity.minIOPS", 0},
    {"provisioning.max_bws", "provisioningProperties.ioConnectivity.maxBWS", 0},
    {"provisioning.min_bws", "provisioningProperties.ioConnectivity.minBWS", 0},
    {"provisioning.latency", "provisioningProperties.ioConnectivity.latency", 0},
    {"protection.rpo", "replicationProperties.dataProtection.recoveryPointObjectiveTime", 's'},
    {"protection.rto", "replicationProperties.dataProtection.recoveryTimeObjective", 0},
    {"protection.geographic", "replicationProperties.dataProtection.recoveryGeographicObjective", 0},
    {"protection.replica_type", "replicationProperties.dataProtection.replicaType", 0},
    {"protection.min_lifetime", "replicationProperties.dataProtection.minLifetime", 's'},
    {"protection.isolated", "replicationProperties.dataProtection.isIsolated", 0},
    {"protection.update_mode", "replicationProperties.replicaInfos.replicaUpdateMode", 0},
    {"protection.consistency", "replicationProperties.replicaInfos.consistencyEnabled", 0},
    {"protection.period", "replicationProperties.replicaInfos.replicationPeriod", 's'},
    {"protection.bandwidth", "replicationProperties.replicaInfos.replicationBandwidth", 0},
};

struct opensds {
    const struct profile *p;
    json_t *root;
    struct buf *left;
};

static const struct conf_key *key_of(const char *term, const struct profile_section **ret)
{
    const char *dot = strchr(term, '.');
    size_t n, len = dot ? (size_t)(dot - term) : 0;
    const struct profile_section *s = profile_sections(&n);

    for (size_t i = 0; i < n; i++)
        if (!s[i].list && strlen(s[i].name) == len && strncmp(s[i].name, term, len) == 0) {
            *ret = &s[i];
            return conf_key_find(s[i].keys, s[i].n, dot ? dot + 1 : term);
        }
    return NULL;
}

static int place_put(struct opensds *o, const char *path, char as, const struct conf_key *k)
{
    char iso[32];
    int64_t s;
    json_t *v;
    int r;

    if (!as) {
        char *text = NULL;

        if ((v = value_json(k, o->p)))
            text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
        json_decref(v);
        r = text ? other_json(o->root, path, text) : -E_NOMEM;
        free(text);
        return r;
    }
    memcpy(&s, (const char *)o->p + k->offset, sizeof(s));
    if (as == 's')
        snprintf(iso, sizeof(iso), s % 86400 ? "\"PT%lldS\"" : "\"P%lldD\"",
                 (long long)(s % 86400 ? s : s / 86400));
    else
        snprintf(iso, sizeof(iso), "%lld", (long long)s / 60);
    return other_json(o->root, path, iso);
}

static int opensds_term(void *arg, const char *term, const char *value, bool acted)
{
    struct opensds *o = arg;
    const struct profile_section *s;
    const struct conf_key *k = key_of(term, &s);

    (void)value;
    (void)acted;
    for (size_t i = 0; k && i < ARRAY_LEN(places); i++)
        if (strcmp(places[i].term, term) == 0)
            return place_put(o, places[i].path, places[i].as, k);
    if (strncmp(term, "snapshots.", 10) == 0 || strncmp(term, "backups.", 8) == 0 ||
        strcmp(term, "storage_type") == 0 || (!k && strncmp(term, "customProperties.", 17) == 0))
        return 0; /* said apart */
    return buf_printf(o->left, "%s\n", term);
}

/* The first schedule that OpenSDS can say; the names of the others. */
static int opensds_schedule(struct opensds *o)
{
    const struct profile *p = o->p;
    bool said = false;
    char text[96];
    int r = 0;

    for (size_t i = 0; r == 0 && i < p->nsnapshots; i++) {
        const struct profile_plan *s = &p->snapshots[i];

        if (said || s->occurrence < 2) {
            r = buf_printf(o->left, "snapshots.%s\n", s->name);
            continue;
        }
        said = true;
        snprintf(text, sizeof(text), "\"%.10sT%02d:%02d:%02d\"", s->start[0] ? s->start : "2000-01-01",
                 s->when.at_s / 3600, s->when.at_s / 60 % 60, s->when.at_s % 60);
        r = other_json(o->root, "snapshotProperties.schedule.datetime", text);
        snprintf(text, sizeof(text), "\"%c%s\"", occurrence_words[s->occurrence - 1][0] - 'a' + 'A',
                 occurrence_words[s->occurrence - 1] + 1);
        if (r == 0)
            r = other_json(o->root, "snapshotProperties.schedule.occurrence", text);
        snprintf(text, sizeof(text), "%u", s->keep);
        if (r == 0 && s->keep)
            r = other_json(o->root, "snapshotProperties.retention.number", text);
        snprintf(text, sizeof(text), "%lld", (long long)(s->keep_for_s + 86399) / 86400);
        if (r == 0 && s->keep_for_s)
            r = other_json(o->root, "snapshotProperties.retention.duration", text);
    }
    for (size_t i = 0; r == 0 && i < p->nbackups; i++)
        r = buf_printf(o->left, "backups.%s\n", p->backups[i].name);
    return r;
}

static int opensds_fill(struct opensds *o)
{
    const char *at = (const char *)o->p->others.data, *end = (const char *)buf_end(&o->p->others);
    int r = other_json(o->root, "storageType", "\"file\"");

    if (r == 0)
        r = profile_each_term(o->p, opensds_term, o);
    if (r == 0)
        r = opensds_schedule(o);
    while (r == 0 && at && at < end) {
        const char *value = at + strlen(at) + 1;

        if (strncmp(at, "customProperties.", 17) == 0)
            r = other_json(o->root, at, value);
        at = value + strlen(value) + 1;
    }
    return r;
}

int profile_json_opensds(const struct profile *p, struct buf *out, struct buf *left)
{
    struct opensds o = {.p = p, .root = json_object(), .left = left};
    int r = o.root ? opensds_fill(&o) : -E_NOMEM;

    if (r == 0)
        r = dump(o.root, out);
    json_decref(o.root);
    return r;
}
