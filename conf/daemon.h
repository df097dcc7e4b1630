/* conf/daemon: the machine's file: $VARVE_CONFIG, else /etc/varve/varve.conf. Groups daemon and limits, lists stores and repositories.
 * What a store's own file says goes before what stands here about it. See conf/varve.conf.sample, docs/configuration.md. */
#ifndef VARVE_CONF_DAEMON_H
#define VARVE_CONF_DAEMON_H

#include <limits.h>

#include "base/log.h"
#include "conf/repo.h"
#include "conf/store.h"
#include "conf/zone.h"

#define CONF_DAEMON_FILE "/etc/varve/varve.conf"
#define CONF_DAEMON_KEYS 3
#define CONF_LIMIT_KEYS 3
#define CONF_STORES_MAX 64
#define CONF_REPOS_MAX 64

struct conf_stored { /* of one store, by its path */
    char path[1024];
    struct conf_store set;
    unsigned lines[CONF_STORE_KEYS];
};

struct conf_daemon {
    uint32_t log_level; /* 1 error, 2 warn, 3 note, 4 debug */
    bool scheduler;
    char time_zone[ZONE_NAME_MAX + 1];
    uint32_t clients, disk_low_pct;
    uint32_t schedule_snapshots;                        /* most that schedules may hold of one volume */
    unsigned lines[CONF_DAEMON_KEYS + CONF_LIMIT_KEYS]; /* where each was said; 0: built in */
    struct conf_stored *stores;
    size_t nstores;
    struct conf_repo *repos;
    size_t nrepos;
};
void conf_daemon_release(struct conf_daemon *c); /* fit for cleanup() */

extern const struct conf_key conf_daemon_keys[CONF_DAEMON_KEYS], conf_limit_keys[CONF_LIMIT_KEYS];

/* conf_daemon_path: which file; true: it was named, and has to be there. */
bool conf_daemon_path(char out[PATH_MAX]);
/* conf_daemon_read: the file of conf_daemon_path(), or path; absent and not named: what is built in. conf_daemon_parse: from memory.
 * -E_INVAL with "PATH: line N: what; what to do" in err; -E_NOENT, -E_ACCES, -E_NOMEM. */
int conf_daemon_read(const char *path, struct conf_daemon *ret, struct buf *err);
int conf_daemon_parse(const char *text, const char *path, struct conf_daemon *ret, struct buf *err);
/* conf_daemon_store: what it says of a store; NULL: nothing. */
const struct conf_stored *conf_daemon_store(const struct conf_daemon *c, const char *path);
/* conf_daemon_sample: the text of conf/varve.conf.sample, from the tables. */
int conf_daemon_sample(struct buf *out);

/* What holds in this process; what is built in until conf_live_begin(). conf_live_reload: takes up what may change while it runs;
 * said: a line for each key that changed: "daemon.log_level: \"debug\"", "limits.clients: 64; needs a restart". Threads: any. */
struct conf_live {
    enum log_level log_level;
    bool scheduler;
    char time_zone[ZONE_NAME_MAX + 1];
    uint32_t disk_low_pct, schedule_snapshots, clients;
};
void conf_live_get(struct conf_live *ret);
void conf_live_begin(const struct conf_daemon *c);
int conf_live_reload(const struct conf_daemon *c, struct buf *said);

#endif
