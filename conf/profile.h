/* conf/profile: a named set of policies of a volume: how it is provisioned, when snapshots are taken and how long they stay, where
 * backups go, what tiers out, what expires. Text in libconfig's grammar, or JSON; the terms of Swordfish as OpenSDS and SODA have them
 * are understood in both, in either spelling. What is not acted on is kept and shown as such. See docs/configuration.md.
 * Pure, but for conf/profile_lib.c and what conf/profile_kept.c remembers. */
#ifndef VARVE_CONF_PROFILE_H
#define VARVE_CONF_PROFILE_H

#include "conf/retain.h"
#include "conf/table.h"

#define PROFILE_NAME_MAX 64
#define PROFILE_PLANS_MAX 8
#define PROFILE_TEXT_MAX 65536

/* One schedule, as it is written, and what that means. Of snapshots, or of backups (`to` is set). */
struct profile_plan {
    char name[SCHEDULE_NAME_MAX + 1];
    int64_t every_s;
    uint32_t occurrence; /* index + 1 into occurrence_words; 0 not said */
    char at[16], on[64], start[32];
    uint32_t keep;
    int64_t keep_for_s;
    char to[1025]; /* a repository: name or URL */
    uint32_t compression;
    struct schedule when; /* made by profile_check() */
};

struct profile {
    char name[PROFILE_NAME_MAX + 1], id[PROFILE_NAME_MAX + 1], description[512];
    uint32_t storage_type;
    struct {
        uint64_t size_bytes, inodes, snapshot_limit_bytes;
        char options[256]; /* of mounts */
        uint32_t policy;   /* 1 Fixed, 2 Thin */
        int64_t rto_s;
        uint32_t name_length;
        char characters[32], protocol[32];
        bool compression, deduplication;
        uint32_t domain; /* of backups: 1 own, 2 shared */
        uint32_t max_iops, min_iops, max_bws, min_bws, latency;
    } provisioning;
    struct profile_plan snapshots[PROFILE_PLANS_MAX], backups[PROFILE_PLANS_MAX];
    size_t nsnapshots, nbackups;
    struct retain_all retention;
    struct {
        int64_t rpo_s, min_lifetime_s, period_s;
        uint32_t rto, geographic, replica_type, update_mode, bandwidth;
        bool isolated, consistency;
    } protection;
    struct {
        uint32_t policy, by, high_water, low_water;
        int64_t after_s;
        uint64_t min_size, max_size;
        char pattern[256], to[1025];
        bool upload;
    } tiering;
    struct {
        int64_t transition_after_s, expire_after_s, undo_s;
        char storage_class[64];
        uint32_t tier;
    } lifecycle;
    struct buf others; /* terms that are not known: path NUL value (JSON) NUL ... */
};
void profile_free(struct profile **p); /* fit for cleanup() */
struct profile *profile_new(void);     /* NULL: memory is out */

/* The sections and their tables, for printing and documents. Lists: snapshots, backups. */
struct profile_section {
    const char *name, *doc;
    const struct conf_key *keys;
    size_t n;
    bool acted_on; /* else kept for later, but for those keys that are CONF_ACTED */
    bool list;
};
#define CONF_ACTED 256 /* flag of a key: acted on in a section that is not */
#define CONF_KEPT 512  /* flag of a key: not acted on in a section that is */
const struct profile_section *profile_sections(size_t *ret_n);

/* profile_parse: text in libconfig's grammar; profile_parse_json: JSON. path for sentences. Both end with profile_check(). ret is to be
 * freed by profile_free(). -E_INVAL with a sentence, -E_NOMEM. */
int profile_parse(const char *text, const char *path, struct profile **ret, struct buf *err);
int profile_parse_json(const char *text, size_t len, const char *path, struct profile **ret, struct buf *err);

/* profile_parse_kept: the same as profile_parse, but what was read lately is not read by libconfig again. From any thread. */
int profile_parse_kept(const char *text, const char *path, struct profile **ret, struct buf *err);

/* profile_check: what each plan means, and what contradicts itself: -E_INVAL, err names both terms. */
int profile_check(struct profile *p, struct buf *err);
int profile_name_check(const char *name); /* as names of repositories: -E_NAME */

/* profile_print: as text that profile_parse() reads back, the same profile. profile_json: in the same sections as JSON; opensds: as
 * OpenSDS has a ProfileSpec; left gets the names of the terms that have no place there, a line each. */
int profile_print(const struct profile *p, struct buf *out);
int profile_json(const struct profile *p, struct buf *out);
int profile_json_opensds(const struct profile *p, struct buf *out, struct buf *left);

/* profile_each_term: each term that is set: "section.key" (lists: "snapshots.NAME.key"), its value as a file says it, and whether it is acted on. */
int profile_each_term(const struct profile *p,
                      int (*cb)(void *arg, const char *term, const char *value, bool acted_on), void *arg);
/* profile_plan_text: "every 15m", "daily at 02:30", "weekly on sun at 00:00". */
void profile_plan_text(const struct profile_plan *p, char out[128]);

/* --- profiles of this machine (conf/profile_lib.c) --------------------------------------------------------------------
 * A file NAME.conf each, in $XDG_CONFIG_HOME/varve/profiles, else ~/.config/varve/profiles, /etc/varve/profiles; and those that are
 * built in (conf/profiles). A file takes the place of a built-in one of its name. */
/* profile_lib_get: by name or id. -E_NOENT, -E_NAME; others with a sentence in err. */
int profile_lib_get(const char *name_or_id, struct profile **ret, struct buf *err);
int profile_lib_put(struct profile *p,
                    bool replace);     /* -E_EXIST, -E_NAME; gives it an id where it has none */
int profile_lib_del(const char *name); /* -E_NOENT; a built-in one: -E_PERM */
/* profile_lib_each: by name, ascending; p NULL: it cannot be read, why says so. */
int profile_lib_each(int (*cb)(void *arg, const char *name, const struct profile *p, bool built_in,
                               const char *why),
                     void *arg);
/* profile_built_in: the i-th name and text; NULL at the end. */
const char *profile_built_in(size_t i, const char **ret_name);

#endif
