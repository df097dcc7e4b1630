#include "conf/profile_terms.h"

#include <stdlib.h>

#define ONE_DAY 86400
#define YEARS_100 (100ull * 365 * ONE_DAY)
#define PERCENT_RANGE "1 to 99"
#define TIME_RANGE "1m to 100 years"
#define ROOT(m) CONF_MEMBER(struct profile, m)
#define PLAN(m) CONF_MEMBER(struct profile_plan, m)

static const char *const types[] = {"block", "file", "object", NULL};
static const char *const fixed_thin[] = {"Fixed", "Thin", NULL};
static const char *const rto_words[] = {"OnlineActive", "OnlinePassive", "Nearline", "Offline", NULL};
static const char *const places[] = {"Datacenter", "Rack", "RackGroup", "Region", "Row", "Server", NULL};
static const char *const replicas[] = {"Clone", "Mirror", "Snapshot", "TokenizedClone", NULL};
const char *const profile_modes[] = {"Active", "Adaptive", "Asynchronous", "Synchronous", "Async",
                                     "Sync",   NULL};
static const char *const domains[] = {"own", "shared", NULL};
static const char *const codecs[] = {"zstd", "lz4", NULL};
static const char *const tier_policies[] = {"none", "snapshot-only", "auto", "all", NULL};
static const char *const tier_by[] = {"access", "change", NULL};

/* clang-format off */
static const struct conf_key root_keys[] = {
    {"name", CONF_TEXT, ROOT(name), .doc = "Letters, digits, . _ -; the file is called NAME.conf."},
    {"id", CONF_TEXT, ROOT(id), .doc = "Another name that never changes; given when the profile is added."},
    {"description", CONF_TEXT, ROOT(description), .doc = "A sentence for people."},
    {"storage_type", CONF_WORD, ROOT(storage_type), .words = types, .range = "block, file or object", .doc = "Of OpenSDS; a volume is always one of files.", .flags = CONF_KEPT},
};

static const struct conf_key provisioning_keys[] = {
    {"size", CONF_SIZE, ROOT(provisioning.size_bytes), 1 << 20, 1ull << 60, "1M to 1E, or none", .also = "capacity", .flags = CONF_NONE, .doc = "Limit of the live tree."},
    {"inodes", CONF_COUNT, ROOT(provisioning.inodes), 1, 1ull << 40, "1 to 1T, or none", .flags = CONF_NONE, .doc = "Limit of files and directories."},
    {"snapshot_limit", CONF_SIZE, ROOT(provisioning.snapshot_limit_bytes), 1 << 20, 1ull << 60, "1M to 1E, or none", .flags = CONF_NONE, .doc = "Limit of what snapshots may hold beside it."},
    {"options", CONF_TEXT, ROOT(provisioning.options), .doc = "Of mounts, as after -o; what a mount says itself goes first.", .flags = CONF_KEPT},
    {"policy", CONF_WORD, ROOT(provisioning.policy), .words = fixed_thin, .range = "Fixed or Thin", .also = "provisioningPolicy", .flags = CONF_KEPT},
    {"recovery_time_objective", CONF_SECONDS, ROOT(provisioning.rto_s), 60, YEARS_100, TIME_RANGE, .unit = 60, .flags = CONF_KEPT},
    {"character_code_set", CONF_TEXT, ROOT(provisioning.characters), .also = "characterCodeSet", .flags = CONF_KEPT},
    {"max_file_name_length_bytes", CONF_COUNT, ROOT(provisioning.name_length), 1, 255, "1 to 255", .flags = CONF_KEPT},
    {"compression", CONF_FLAG, ROOT(provisioning.compression), .flags = CONF_KEPT},
    {"deduplication", CONF_FLAG, ROOT(provisioning.deduplication), .flags = CONF_KEPT},
    {"domain", CONF_WORD, ROOT(provisioning.domain), .words = domains, .range = "own or shared", .doc = "Of backups: own: in a deduplication domain of the volume's own, which can be shredded alone."},
    {"access_protocol", CONF_TEXT, ROOT(provisioning.protocol), .flags = CONF_KEPT},
    {"max_iops", CONF_COUNT, ROOT(provisioning.max_iops), 1, UINT32_MAX, "1 to 4G", .flags = CONF_KEPT},
    {"min_iops", CONF_COUNT, ROOT(provisioning.min_iops), 1, UINT32_MAX, "1 to 4G", .flags = CONF_KEPT},
    {"max_bws", CONF_COUNT, ROOT(provisioning.max_bws), 1, UINT32_MAX, "1 to 4G", .flags = CONF_KEPT},
    {"min_bws", CONF_COUNT, ROOT(provisioning.min_bws), 1, UINT32_MAX, "1 to 4G", .flags = CONF_KEPT},
    {"latency", CONF_COUNT, ROOT(provisioning.latency), 1, UINT32_MAX, "1 to 4G", .flags = CONF_KEPT},
};

#define PLAN_KEYS \
    {"name", CONF_TEXT, PLAN(name), .doc = "Part of the snapshots' names; default: hourly, daily, ..., every-15m."}, \
    {"every", CONF_SECONDS, PLAN(every_s), 60, 366 * ONE_DAY, "1m to 366d", .doc = "At whole multiples of this time, from 1970-01-01 00:00 UTC or from start on."}, \
    {"occurrence", CONF_WORD, PLAN(occurrence), .words = occurrence_words, .range = "hourly, daily, weekly or monthly", .doc = "By the calendar of the time zone."}, \
    {"at", CONF_TEXT, PLAN(at), .doc = "Local time, \"02:30\"; of hourly ones the minute, \"00:15\"."}, \
    {"on", CONF_TEXT, PLAN(on), .doc = "Of weekly ones the days, \"mon,thu\"; of monthly ones 1 to 31, or last."}, \
    {"start", CONF_TEXT, PLAN(start), .also = "datetime", .doc = "Not before; RFC 3339, or without a zone: local time."}

static const struct conf_key snapshot_keys[] = {
    PLAN_KEYS,
    {"keep", CONF_COUNT, PLAN(keep), 1, 10000, "1 to 10000", .also = "number", .doc = "The newest so many of them stay."},
    {"keep_for", CONF_SECONDS, PLAN(keep_for_s), 60, YEARS_100, TIME_RANGE, .also = "duration", .unit = ONE_DAY, .doc = "As many stay as come in this time. A plain number: days."},
};

static const struct conf_key retention_keys[] = {
    {"newest", CONF_COUNT, ROOT(retention.newest), 1, 10000, "1 to 10000"},
    {"hourly", CONF_COUNT, ROOT(retention.hourly), 1, 10000, "1 to 10000"},
    {"daily", CONF_COUNT, ROOT(retention.daily), 1, 10000, "1 to 10000"},
    {"weekly", CONF_COUNT, ROOT(retention.weekly), 1, 10000, "1 to 10000"},
    {"monthly", CONF_COUNT, ROOT(retention.monthly), 1, 10000, "1 to 10000"},
    {"yearly", CONF_COUNT, ROOT(retention.yearly), 1, 10000, "1 to 10000"},
};

static const struct conf_key backup_keys[] = {
    PLAN_KEYS,
    {"to", CONF_TEXT, PLAN(to), .also = "bucket repository", .doc = "A name of varve repo list, or a URL."},
    {"compression", CONF_WORD, PLAN(compression), .words = codecs, .range = "zstd or lz4"},
};

static const struct conf_key protection_keys[] = {
    {"rpo", CONF_SECONDS, ROOT(protection.rpo_s), 60, YEARS_100, TIME_RANGE, .also = "recoveryPointObjectiveTime recoveryPointObjective", .doc = "The last good backup (without backups: snapshot) is never older; varve status --check says when it is.", .flags = CONF_ACTED},
    {"rto", CONF_WORD, ROOT(protection.rto), .words = rto_words, .range = "OnlineActive, OnlinePassive, Nearline or Offline", .also = "recoveryTimeObjective"},
    {"geographic", CONF_WORD, ROOT(protection.geographic), .words = places, .range = "Datacenter, Rack, RackGroup, Region, Row or Server", .also = "recoveryGeographicObjective"},
    {"replica_type", CONF_WORD, ROOT(protection.replica_type), .words = replicas, .range = "Clone, Mirror, Snapshot or TokenizedClone"},
    {"update_mode", CONF_WORD, ROOT(protection.update_mode), .words = profile_modes, .range = "Active, Adaptive, Asynchronous or Synchronous", .also = "replicaUpdateMode replicationUpdateMode"},
    {"period", CONF_SECONDS, ROOT(protection.period_s), 1, YEARS_100, "1s to 100 years", .also = "replicationPeriod", .unit = 60},
    {"bandwidth", CONF_COUNT, ROOT(protection.bandwidth), 1, UINT32_MAX, "1 to 4G", .also = "replicationBandwidth"},
    {"min_lifetime", CONF_SECONDS, ROOT(protection.min_lifetime_s), 1, YEARS_100, "1s to 100 years"},
    {"isolated", CONF_FLAG, ROOT(protection.isolated), .also = "isIsolated"},
    {"consistency", CONF_FLAG, ROOT(protection.consistency), .also = "consistencyEnabled"},
};

static const struct conf_key tiering_keys[] = {
    {"policy", CONF_WORD, ROOT(tiering.policy), .words = tier_policies, .range = "none, snapshot-only, auto or all", .doc = "What leaves: what only snapshots need, that and what is old (auto), or all that a backup has."},
    {"after", CONF_SECONDS, ROOT(tiering.after_s), 60, YEARS_100, TIME_RANGE, .also = "coolingPeriod", .doc = "What was not asked for during this time is old."},
    {"by", CONF_WORD, ROOT(tiering.by), .words = tier_by, .range = "access or change", .doc = "The last access counts (default), or the last change."},
    {"min_size", CONF_SIZE, ROOT(tiering.min_size), 1, 1ull << 60, "1 to 1E", .doc = "Smaller files stay."},
    {"max_size", CONF_SIZE, ROOT(tiering.max_size), 1, 1ull << 60, "1 to 1E", .doc = "Larger files stay."},
    {"pattern", CONF_TEXT, ROOT(tiering.pattern), .doc = "Only files whose path in the volume it matches: *.mp4|archive"},
    {"high_water", CONF_COUNT, ROOT(tiering.high_water), 1, 99, PERCENT_RANGE, .doc = "With more in use than this of the volume's size (without one: of the filesystem below), whatever is old goes,"},
    {"low_water", CONF_COUNT, ROOT(tiering.low_water), 1, 99, PERCENT_RANGE, .doc = "until so much is in use."},
    {"to", CONF_TEXT, ROOT(tiering.to), .doc = "The repository: a name of varve repo list, or a URL; default: where the first of backups goes."},
    {"upload", CONF_FLAG, ROOT(tiering.upload), .doc = "Make a backup first, so that what no backup has can go, too."},
};

static const struct conf_key lifecycle_keys[] = {
    {"transition_after", CONF_SECONDS, ROOT(lifecycle.transition_after_s), 60, YEARS_100, TIME_RANGE, .unit = ONE_DAY, .doc = "Packs that are so old get another storage class, in each repository of backups and tiering that has any.", .flags = CONF_ACTED},
    {"storage_class", CONF_TEXT, ROOT(lifecycle.storage_class), .doc = "Which: STANDARD_IA, GLACIER, as the server calls it.", .flags = CONF_ACTED},
    {"tier", CONF_COUNT, ROOT(lifecycle.tier), 1, 9999, "1 to 9999"},
    {"expire_after", CONF_SECONDS, ROOT(lifecycle.expire_after_s), 60, YEARS_100, TIME_RANGE, .unit = ONE_DAY, .doc = "Recovery points of the volume that are so old are deleted, in each repository of backups and tiering; the newest never.", .flags = CONF_ACTED},
    {"undo", CONF_SECONDS, ROOT(lifecycle.undo_s), 60, YEARS_100, TIME_RANGE, .doc = "They can be had back for so long; default: not at all.", .flags = CONF_ACTED},
};

#define SECTION(name_, keys_, doc_, acted_, list_) {name_, doc_, keys_, ARRAY_LEN(keys_), acted_, list_}
static const struct profile_section sections[PART__N] = {
    [PART_ROOT] = SECTION("", root_keys, "What it is called.", true, false),
    [PART_PROVISIONING] = SECTION("provisioning", provisioning_keys, "How a volume is made.", true, false),
    [PART_SNAPSHOTS] = SECTION("snapshots", snapshot_keys, "When snapshots are taken, and how many stay.", true, true),
    [PART_RETENTION] = SECTION("retention", retention_keys, "Of all that were taken by schedules: the newest of so many hours, days, ... stays, too.", true, false),
    [PART_BACKUPS] = SECTION("backups", backup_keys, "When backups are made, and where they go.", true, true),
    [PART_PROTECTION] = SECTION("protection", protection_keys, "What is asked of copies.", false, false),
    [PART_TIERING] = SECTION("tiering", tiering_keys, "What leaves the local disk.", true, false),
    [PART_LIFECYCLE] = SECTION("lifecycle", lifecycle_keys, "What becomes of backups.", false, false),
};
/* clang-format on */

const struct profile_section *profile_sections(size_t *ret_n)
{
    *ret_n = PART__N;
    return sections;
}

struct profile *profile_new(void)
{
    return calloc(1, sizeof(struct profile));
}

void profile_free(struct profile **p)
{
    if (*p)
        buf_free(&(*p)->others);
    free(*p);
    *p = NULL;
}

int profile_other(struct profile *p, const char *term, const char *json)
{
    if (p->others.len + strlen(term) + strlen(json) > PROFILE_TEXT_MAX / 2)
        return -E_TOOBIG;
    if (buf_reserve(&p->others, strlen(term) + strlen(json) + 2) < 0)
        return -E_NOMEM;
    buf_add(&p->others, term, strlen(term) + 1);
    return buf_add(&p->others, json, strlen(json) + 1);
}
