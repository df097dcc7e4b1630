/* conf/zone: time zones as data: from the tz database's files (TZif, RFC 8536) or from a rule as TZ has it. Nothing of the process is
 * asked or changed, so that decisions about times are functions of what they are given. Pure but for zone_load. */
#ifndef VARVE_CONF_ZONE_H
#define VARVE_CONF_ZONE_H

#include "base/base.h"

#define ZONE_NAME_MAX 63
#define ZONE_CHANGES_MAX 2048

/* A date of each year: Mm.w.d, Jn or n, and when of that day. */
struct zone_date {
    uint8_t kind; /* 'M', 'J', 'n' */
    int32_t month, week, day;
    int32_t at_s; /* local, -167 h to 167 h */
};

struct zone_rule {
    int32_t std_s, dst_s; /* east of UTC */
    bool has_dst;
    struct zone_date from, to; /* of daylight saving */
};

/* Zero state: UTC. */
struct zone {
    char name[ZONE_NAME_MAX + 1];
    struct zone_rule rule; /* after the last change */
    int32_t first_s;       /* before the first change */
    size_t n;              /* changes, ascending */
    struct zone_change {
        int64_t utc_s;
        int32_t offset_s;
    } * changes; /* owned */
};
void zone_release(struct zone *z);

/* zone_load(name): "" the machine's (/etc/localtime; UTC where there is none), "UTC", a name of the tz database, or a rule such as
 * "CET-1CEST,M3.5.0,M10.5.0/3". -E_NOENT: there is no such zone; -E_INVAL: its file is none; -E_NOMEM, -E_IO. */
int zone_load(const char *name, struct zone *ret);
int zone_rule_parse(const char *text, struct zone_rule *ret);     /* -E_INVAL */
int zone_tzif_parse(const void *p, size_t len, struct zone *ret); /* -E_INVAL, -E_NOMEM */

/* zone_offset: seconds east of UTC at an instant. */
int32_t zone_offset(const struct zone *z, int64_t utc_s);

/* zone_utc: the instant of a local time. One that comes twice: the first. One that is left out (clocks go forward): the instant at
 * which they do. So each local time of a day has one instant, and a later local time never an earlier one. */
int64_t zone_utc(const struct zone *z, int64_t local_s);
static inline int64_t zone_local(const struct zone *z, int64_t utc_s)
{
    return utc_s + zone_offset(z, utc_s);
}

#endif
