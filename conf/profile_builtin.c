/* The profiles that are there without any file: the texts of conf/profiles, which a test compares. */
#include "conf/profile.h"

static const struct {
    const char *name, *text;
} built_in[] = {
    {"archive",
     "# An archive: written once, read seldom, kept for years.\n"
     "name = \"archive\";\n"
     "id = \"4f1d7c0a-0d2e-4c55-9f0e-6d61ae000004\";\n"
     "description = \"one snapshot a day, thinned out to one a year\";\n"
     "\n"
     "snapshots = ( { occurrence = \"daily\"; at = \"01:00\"; } );\n"
     "retention: { daily = 30; weekly = 12; monthly = 24; yearly = 10; };\n"
     "protection: { rpo = \"1d\"; min_lifetime = \"P7Y\"; };\n"
     "\n"
     "# backups = ( { occurrence = \"weekly\"; on = \"sat\"; at = \"03:00\"; to = \"vault\"; } );\n"
     "# lifecycle: { transition_after = \"30d\"; storage_class = \"GLACIER\"; expire_after = \"P10Y\"; };\n"},
    {"database", "# A database: little may be lost, and what is lost is noticed within the day.\n"
                 "name = \"database\";\n"
                 "id = \"4f1d7c0a-0d2e-4c55-9f0e-6d61ae000001\";\n"
                 "description = \"snapshots every quarter of an hour, kept thinner as they age\";\n"
                 "\n"
                 "snapshots = (\n"
                 "    # 15 minutes apart for half a day\n"
                 "    { every = \"15m\"; keep = 48; },\n"
                 "    { occurrence = \"daily\"; at = \"02:30\"; keep = 7; }\n"
                 ");\n"
                 "\n"
                 "# of all of them: the last one of each of so many hours, days, weeks, months\n"
                 "retention: { hourly = 24; daily = 7; weekly = 4; monthly = 12; };\n"
                 "\n"
                 "# what is asked for; without backups it is the age of the last snapshot\n"
                 "protection: { rpo = \"15m\"; consistency = true; };\n"
                 "\n"
                 "# a repository of `varve repo add`:\n"
                 "# backups = ( { every = \"1h\"; to = \"offsite\"; }, { occurrence = \"daily\"; at = "
                 "\"03:00\"; to = \"vault\"; } );\n"},
    {"scratch", "# Scratch space: nothing of it is missed for longer than a day.\n"
                "name = \"scratch\";\n"
                "id = \"4f1d7c0a-0d2e-4c55-9f0e-6d61ae000003\";\n"
                "description = \"a few snapshots against slips, nothing else\";\n"
                "\n"
                "provisioning: { policy = \"Thin\"; };\n"
                "snapshots = ( { every = \"4h\"; keep = 6; } );\n"},
    {"shared", "# Shared content: files of many people, who delete the wrong one and notice it days later.\n"
               "name = \"shared\";\n"
               "id = \"4f1d7c0a-0d2e-4c55-9f0e-6d61ae000002\";\n"
               "description = \"hourly snapshots on one day, daily ones for two months\";\n"
               "\n"
               "snapshots = (\n"
               "    { occurrence = \"hourly\"; keep = 24; },\n"
               "    { occurrence = \"daily\"; at = \"23:30\"; keep_for = \"60d\"; }\n"
               ");\n"
               "retention: { weekly = 12; monthly = 12; };\n"
               "protection: { rpo = \"1h\"; };\n"
               "\n"
               "# where backups go, and what leaves the local disk for there:\n"
               "# backups = ( { occurrence = \"daily\"; at = \"01:00\"; to = \"offsite\"; } );\n"
               "# tiering: { policy = \"auto\"; after = \"31d\"; by = \"access\"; min_size = \"64K\"; };\n"},
};

const char *profile_built_in(size_t i, const char **ret_name)
{
    if (i >= ARRAY_LEN(built_in))
        return NULL;
    *ret_name = built_in[i].name;
    return built_in[i].text;
}
