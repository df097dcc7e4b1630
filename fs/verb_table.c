#include "fs/verb.h"

#include "fs/verb_runs.h"

#define SNAP_NAME                                                                                            \
    {                                                                                                        \
        "name", ARG_SNAP, ARG_REQUIRED | ARG_WORD, "NAME",                                                   \
            "the snapshot; @latest, or @TIME: the newest not later"                                          \
    }

#define REPO_SECRET                                                                                          \
    {"passphrase-file", ARG_PATH, 0, "FILE", "its passphrase; default: as added, or $VARVE_PASSPHRASE"},     \
        {"key-file", ARG_PATH, 0, "FILE", "a file of 32 bytes and more in place of a passphrase"},           \
    {                                                                                                        \
        "credentials", ARG_PATH, 0, "FILE", "keys of an s3: URL, as AWS' tools have them; a rados: keyring"  \
    }
#define REPO_TO_SECRET                                                                                       \
    {"to-passphrase-file", ARG_PATH, 0, "FILE",                                                              \
     "of the other repository; default: as added, or $VARVE_PASSPHRASE"},                                    \
        {"to-key-file", ARG_PATH, 0, "FILE", "of the other repository"},                                     \
    {                                                                                                        \
        "to-credentials", ARG_PATH, 0, "FILE", "of the other repository"                                     \
    }
/* Of `migrate`: both sides, and which recovery points. */
#define MIGRATE_WHAT                                                                                         \
    {"from", ARG_TEXT, 0, "REPO", "where they are: a name of varve repo list, or a URL"},                    \
        {"to", ARG_TEXT, 0, "REPO", "where they go"}, REPO_SECRET, REPO_TO_SECRET,                           \
        {"volume", ARG_VOLUME, 0, "NAME", "only those of this volume"},                                      \
        {"label", ARG_TEXT, 0, "KEY=VALUE", "only those with this label"},                                   \
        {"older", ARG_DURATION, 0, "AGE", "only those taken so long ago and before: 30d"},                   \
        {"newer", ARG_DURATION, 0, "AGE", "only those taken since"},                                         \
        {"larger", ARG_SIZE, 0, "SIZE", "only those of files of so many bytes in all, and more"},            \
        {"smaller", ARG_SIZE, 0, "SIZE", "only those of so many bytes and less"},                            \
        {"path", ARG_TEXT, 0, "PATH", "of each only what lies there and below, of those that have it"},      \
    {                                                                                                        \
        "bandwidth", ARG_SIZE, 0, "SIZE", "bytes a second each way, of each side; default: no limit"         \
    }
#define REPO_WORD                                                                                            \
    {                                                                                                        \
        "repo", ARG_TEXT, ARG_REQUIRED | ARG_WORD, "REPO",                                                   \
            "a name of varve repo list, or dir:/path, s3://..., rados://..."                                 \
    }
#define POINT_WORD                                                                                           \
    {                                                                                                        \
        "point", ARG_TEXT, ARG_REQUIRED | ARG_WORD, "REPO#ID",                                               \
            "a recovery point: 8 or more digits of its id, the uuid of its snapshot, or latest"              \
    }

/* clang-format off */
static const struct verb table[] = {
    {NULL, "create", NULL, NEED_STORE, ROLE_ADMIN, "STORE[/VOLUME]",
     {{"size", ARG_SIZE, 0, "SIZE", "limit of the live tree; default: the store's space"},
      {"inodes", ARG_COUNT, 0, "N", "limit of files and directories; default: none"},
      {"snapshot-limit", ARG_SIZE, 0, "SIZE", "limit of what snapshots may hold beside it; default: none"},
      {"profile", ARG_TEXT, 0, "NAME", "a name or id of varve profile list; its limits hold where none are given"},
      {"from", ARG_TEXT, 0, "REPO#ID", "from a recovery point: all of it is seen at once, bytes come when they are read"},
      {"no-hydrate", ARG_FLAG, 0, NULL, "with --from: what nobody reads stays in the repository"},
      REPO_SECRET},
     "make a store, and a volume in it (default name: main)",
     "STORE is a directory that is empty or not there yet. In a store that exists, the volume is added.\n", run_create},
    {NULL, "list", NULL, NEED_STORE, ROLE_READ, "STORE",
     {{"sources", ARG_FLAG, 0, NULL, "with --json: where bytes lie that are not here, and which files open that"}},
     "volumes of a store: sizes, limits, snapshots", NULL, run_list},
    {NULL, "status", NULL, NEED_VOLUME, ROLE_READ, "TARGET",
     {{"check", ARG_FLAG, ARG_CLI_ONLY, NULL, "say only what is wrong, exit code 1 then (for monitoring)"}},
     "state of a volume and of its store", NULL, run_status},

    {"snapshot", "create", "snapshots", NEED_VOLUME, ROLE_SNAPSHOT, "TARGET",
     {{"name", ARG_SNAP_NEW, ARG_WORD, "NAME", "default: its UTC time, 2026-11-20T22-00-00Z"},
      {"label", ARG_KEYVALUE, ARG_MANY, "KEY=VALUE", "kept with it; may be given more than once"},
      {"expire", ARG_WHEN, 0, "WHEN", "it goes then by itself: 7d, 12h, a date, RFC 3339"},
      {"hold", ARG_TAG, 0, "TAG", "held from the beginning: cannot be deleted until released"},
      {"sync", ARG_FLAG, 0, NULL, "wait until it is durable (from a control file: a job waits)"}},
     "take a snapshot: the same as mkdir .snapshots/NAME", NULL, run_snapshot_create},
    {"snapshot", "group", NULL, NEED_STORE, ROLE_ADMIN, "STORE",
     {{"name", ARG_SNAP_NEW, ARG_REQUIRED | ARG_WORD, "NAME", "what it is called in each of the volumes"},
      {"volume", ARG_VOLUME, ARG_REQUIRED | ARG_WORD | ARG_MANY, "VOLUME", "volumes of the store"},
      {"label", ARG_KEYVALUE, ARG_MANY, "KEY=VALUE", "kept with each; may be given more than once"},
      {"sync", ARG_FLAG, 0, NULL, "wait until they are durable"}},
     "take a snapshot of several volumes of a store at one moment", "All of them, or none.\n", run_snapshot_group},
    {"snapshot", "delete", "snapshots", NEED_VOLUME, ROLE_SNAPSHOT, "TARGET", {SNAP_NAME},
     "delete a snapshot: the same as rmdir .snapshots/NAME", "A held snapshot cannot be deleted.\n", run_snapshot_delete},
    {"snapshot", "rename", "snapshots", NEED_VOLUME, ROLE_SNAPSHOT, "TARGET",
     {SNAP_NAME, {"to", ARG_SNAP_NEW, ARG_REQUIRED | ARG_WORD, "NEW", "its new name"}},
     "rename a snapshot: the same as mv", NULL, run_snapshot_rename},
    {"snapshot", "list", NULL, NEED_VOLUME, ROLE_READ, "TARGET", {{0}},
     "snapshots of a volume, oldest first", NULL, run_snapshot_list},
    {"snapshot", "show", NULL, NEED_VOLUME, ROLE_READ, "TARGET", {SNAP_NAME},
     "everything about one snapshot, with the bytes that only it holds", NULL, run_snapshot_show},
    {"snapshot", "ranges", NULL, NEED_VOLUME, ROLE_READ, "TARGET",
     {SNAP_NAME,
      {"base", ARG_SNAP, 0, "A", "only what changed since this snapshot"},
      {"from", ARG_COUNT, 0, "OFFSET", "only what ends behind it"},
      {"limit", ARG_COUNT, 0, "N", "so many at most"}},
     "where a snapshot has bytes, all files on one line of offsets",
     "A line each: offset, length. Byte O of inode I lies, with c the largest for which (2^c - 1) MiB <= O, at\n"
     "c * 2^58 + I * 2^(c+20) + (O - (2^c - 1) MiB): the same place in all snapshots.\n", run_snapshot_ranges},
    {"snapshot", "hold", "snapshots", NEED_VOLUME, ROLE_SNAPSHOT, "TARGET",
     {SNAP_NAME, {"tag", ARG_TAG, ARG_WORD, "TAG", "who holds it; default: user"}},
     "keep a snapshot from being deleted", NULL, run_snapshot_hold},
    {"snapshot", "release", "snapshots", NEED_VOLUME, ROLE_SNAPSHOT, "TARGET",
     {SNAP_NAME, {"tag", ARG_TAG, ARG_WORD, "TAG", "which hold; default: user"}},
     "end a hold", NULL, run_snapshot_release},
    {"snapshot", "label", "snapshots", NEED_VOLUME, ROLE_SNAPSHOT, "TARGET",
     {SNAP_NAME,
      {"label", ARG_KEYVALUE, ARG_MANY | ARG_WORD, "KEY=VALUE", "set it; may be given more than once"},
      {"remove", ARG_TEXT, ARG_MANY, "KEY", "remove it; may be given more than once"}},
     "set or remove labels of a snapshot", NULL, run_snapshot_label},
    {"snapshot", "expire", "snapshots", NEED_VOLUME, ROLE_SNAPSHOT, "TARGET",
     {SNAP_NAME, {"at", ARG_WHEN, ARG_REQUIRED | ARG_WORD, "WHEN", "7d, 12h, a date, RFC 3339; never"}},
     "say when a snapshot goes by itself", "A held snapshot stays until it is released.\n", run_snapshot_expire},

    {NULL, "diff", NULL, NEED_VOLUME, ROLE_READ, "TARGET",
     {{"a", ARG_SNAP, ARG_REQUIRED | ARG_WORD, "A", "a snapshot"},
      {"b", ARG_SNAP, ARG_WORD, "B", "another one; default: now"},
      {"after", ARG_TEXT, 0, "PATH", "only paths that are sorted behind this one"},
      {"limit", ARG_COUNT, 0, "N", "so many at most, and others of the last one's path"}},
     "what changed from A to B: paths, kinds, byte ranges",
     "+ created, - removed, M changed, R renamed; then the path (directories end in /) and the changed\n"
     "ranges as OFFSET+LENGTH; (meta): mode, owner, times, links or attributes differ.\n"
     "Bytes that are no text, blanks and \\ are printed as \\ooo. Costs what changed, not what there is.\n", run_diff},
    {NULL, "rollback", "rollback", NEED_VOLUME, ROLE_SNAPSHOT, "TARGET", {SNAP_NAME},
     "make the volume what a snapshot shows",
     "The state before is kept as snapshot before-rollback-TIME: rolling back to that undoes it.\n"
     "What was open keeps the old tree, read-only; who holds such files is printed.\n", run_rollback},
    {NULL, "clone", "snapshots", NEED_VOLUME, ROLE_ADMIN, "TARGET[@SNAP]",
     {{"to", ARG_VOLUME, ARG_REQUIRED | ARG_WORD, "NEW", "name of the new volume, in the same store"},
      {"snap", ARG_SNAP, 0, "SNAP", "its first state; default: now"}},
     "make a volume that begins as a snapshot of another; instant", NULL, run_clone},
    {NULL, "hydrate", "jobs", NEED_VOLUME, ROLE_ADMIN, "TARGET",
     {{"background", ARG_FLAG, ARG_CLI_ONLY, NULL, "do not wait: varve job list shows how far it is"}},
     "bring everything of a volume that lies in a repository still",
     "What was read lately comes first. A job does it: varve job cancel stops it, after a kill it goes on. Then the\n"
     "volume needs the repository no more.\n", run_hydrate},
    {NULL, "resize", "status", NEED_VOLUME, ROLE_ADMIN, "TARGET",
     {{"size", ARG_SIZE, ARG_REQUIRED | ARG_WORD, "SIZE", "new limit of the live tree; none: the store's space"}},
     "change the size limit of a volume", "Below what is used nothing is lost: it can grow no more.\n", run_resize},
    {NULL, "rename", NULL, NEED_VOLUME, ROLE_ADMIN, "STORE/VOLUME",
     {{"to", ARG_VOLUME, ARG_REQUIRED | ARG_WORD, "NEW", "its new name"}},
     "rename a volume", NULL, run_rename},
    {NULL, "delete", NULL, NEED_VOLUME, ROLE_ADMIN, "STORE/VOLUME",
     {{"now", ARG_FLAG, 0, NULL, "free its space at once: it cannot be brought back"}},
     "delete a volume", "Refused while it is mounted or has clones. It is kept for 24 hours: varve undelete.\n", run_delete},
    {NULL, "undelete", NULL, NEED_STORE, ROLE_ADMIN, "STORE/VOLUME", {{0}},
     "bring back a volume deleted less than 24 hours ago", NULL, run_undelete},

    {"repo", "init", "repos", NEED_NOTHING, ROLE_ADMIN, NULL, {REPO_WORD, REPO_SECRET},
     "make a repository",
     "Everything in it is encrypted by a random key, which the passphrase or the key file opens: without\n"
     "that nothing in it can ever be read. dir:/path is made if it is not there, a bucket or a pool is not.\n", run_command},
    {"repo", "add", "repos", NEED_NOTHING, ROLE_ADMIN, NULL,
     {{"name", ARG_TEXT, ARG_REQUIRED | ARG_WORD, "NAME", "what it is called from now on, on this machine"},
      {"url", ARG_TEXT, ARG_REQUIRED | ARG_WORD, "URL", "where it is: dir:/path, s3://bucket/prefix?..., rados://pool/namespace"},
      REPO_SECRET,
      {"init", ARG_FLAG, 0, NULL, "make it, too"}},
     "give a repository a name",
     "Paths of files with secrets are kept with it, never a secret.\n", run_command},
    {"repo", "remove", "repos", NEED_NOTHING, ROLE_ADMIN, NULL,
     {{"name", ARG_TEXT, ARG_REQUIRED | ARG_WORD, "NAME", "which"}},
     "forget a name; the repository stays as it is", NULL, run_command},
    {"repo", "list", NULL, NEED_NOTHING, ROLE_READ, NULL,
     {{"name", ARG_TEXT, ARG_WORD, "NAME", "only this one; a failure where there is none of the name"}},
     "names of repositories", NULL, NULL},
    {"repo", "show", "repos", NEED_NOTHING, ROLE_ADMIN, NULL, {REPO_WORD, REPO_SECRET},
     "what a repository is and holds", NULL, run_command},
    {"repo", "test", "repos", NEED_NOTHING, ROLE_ADMIN, NULL, {REPO_WORD, REPO_SECRET},
     "open a repository, put an object, read it, delete it", NULL, run_command},
    {"repo", "verify", "repos", NEED_NOTHING, ROLE_ADMIN, NULL,
     {REPO_WORD,
      {"full", ARG_FLAG, 0, NULL, "read every byte; default: what is there, and metadata"},
      {"sample", ARG_TEXT, 0, "PERCENT", "read every byte of so many of the packs, drawn at random"},
      {"repair", ARG_FLAG, 0, NULL, "first make damaged indexes anew from the packs, and remove damaged lists of packs; then see that no backup relies on packs found damaged"},
      REPO_SECRET},
     "prove that what the recovery points need is there and right",
     "Damage is named with the files that it hurts. Exit code: 0 sound, 4 damaged.\n", run_command},
    {"repo", "prune", "repos", NEED_NOTHING, ROLE_ADMIN, NULL,
     {REPO_WORD,
      {"grace", ARG_DURATION, 0, "TIME", "between condemning and deleting; default 24h, 1h at least"},
      {"exclusive", ARG_FLAG, 0, NULL, "nobody else writes to it: delete at once, without a grace"},
      {"dry-run", ARG_FLAG, 0, NULL, "only tell what would be done"},
      REPO_SECRET},
     "free what no recovery point needs",
     "In two steps, so that backups may go on meanwhile: what is not needed is condemned now, and deleted by the\n"
     "first prune after the grace. Run it daily. It can be interrupted at any time; the next one goes on.\n", run_command},
    {"repo", "transition", "repos", NEED_NOTHING, ROLE_ADMIN, NULL,
     {REPO_WORD,
      {"class", ARG_TEXT, ARG_REQUIRED | ARG_WORD, "CLASS", "STANDARD_IA, GLACIER, ..., as the server calls it"},
      {"older", ARG_DURATION, ARG_REQUIRED, "AGE", "only packs that were put, or given a class, so long ago: 30d"},
      {"dry-run", ARG_FLAG, 0, NULL, "only tell how much that is"},
      REPO_SECRET},
     "give old packs another storage class",
     "In S3, by a copy there: no byte comes here. What is needed to find things, packs with metadata included, stays as\n"
     "it is. Interrupted, it is begun anew and passes over what has the class. A profile does it by itself.\n", run_command},
    {"repo", "unlock", "repos", NEED_NOTHING, ROLE_ADMIN, NULL,
     {REPO_WORD, {"force", ARG_FLAG, 0, NULL, "also when its holder seems to be at work"}},
     "remove what a dead prune left that keeps others out",
     "It goes by itself ten minutes after its holder was last heard of.\n", run_command},
    {"repo", "pins", "repos", NEED_NOTHING, ROLE_ADMIN, NULL, {REPO_WORD, REPO_SECRET},
     "volumes that rely on a repository, since they were mounted from it", NULL, run_command},
    {"repo", "forget", "repos", NEED_NOTHING, ROLE_ADMIN, NULL,
     {REPO_WORD,
      {"volume", ARG_TEXT, ARG_REQUIRED | ARG_WORD, "VOLUME", "its name, or 8 or more digits of varve repo pins"},
      REPO_SECRET},
     "keep nothing any more for a volume that is lost",
     "A volume that was mounted from a recovery point and is not hydrated keeps what it needs from being pruned,\n"
     "also when the recovery point is deleted. One that still lives loses by this what it has not read yet.\n", run_command},
    {"repo", "domains", "repos", NEED_NOTHING, ROLE_ADMIN, NULL, {REPO_WORD, REPO_SECRET},
     "deduplication domains of a repository: the shared one, and volumes' own", NULL, run_command},
    {"repo", "shred", "repos", NEED_NOTHING, ROLE_ADMIN, NULL,
     {REPO_WORD,
      {"domain", ARG_TEXT, ARG_REQUIRED | ARG_WORD, "DOMAIN", "8 or more digits of varve repo domains, or the name of a volume with one of its own"},
      {"force", ARG_FLAG, 0, NULL, "also when a volume reads from it what it has not here: it loses that"},
      REPO_SECRET},
     "destroy the key of a volume's own domain: nothing can read any more what is in it",
     "Its recovery points go at once and for good, its bytes with the next prunes. What was copied elsewhere stays.\n"
     "A process that has read from it keeps the key until it ends.\n", run_command},
    {"repo", "key", "repos", NEED_NOTHING, ROLE_ADMIN, NULL,
     {{"action", ARG_TEXT, ARG_REQUIRED | ARG_WORD, "ACTION", "list, add, rotate, or remove"},
      REPO_WORD,
      {"id", ARG_TEXT, ARG_WORD, "ID", "which key to remove: 8 or more digits"},
      {"new-passphrase-file", ARG_TEXT, 0, "FILE", "add, rotate: the new passphrase"},
      {"new-key-file", ARG_TEXT, 0, "FILE", "add, rotate: the new key file"},
      REPO_SECRET},
     "passphrases and key files that open a repository",
     "add: a further one opens it, too. rotate: the new one takes the place of the one given. Nothing else is\n"
     "written anew. Who has read an old key and its passphrase can still read what is there.\n", run_command},
    {"backup", "run", "backup", NEED_VOLUME, ROLE_ADMIN, "TARGET[@SNAP]",
     {{"to", ARG_TEXT, ARG_REQUIRED, "REPO", "a name of varve repo list, or dir:/path, s3://..., rados://..."},
      {"snap", ARG_SNAP, 0, "SNAP", "which snapshot; default: one is taken"},
      REPO_SECRET,
      {"compression", ARG_TEXT, 0, "KIND", "zstd (default) or lz4"},
      {"domain", ARG_TEXT, 0, "WHICH", "own: in a domain of the volume's own; shared; default: as its profile says, else as before"},
      {"full", ARG_FLAG, 0, NULL, "read everything, not only what changed"},
      {"attach", ARG_TEXT, ARG_MANY, "[NAME=]FILE", "a small file that travels along: 1 MiB at most, 16 MiB all"},
      {"label", ARG_KEYVALUE, ARG_MANY, "KEY=VALUE", "kept with it, beside those of the snapshot"},
      {"background", ARG_FLAG, ARG_CLI_ONLY, NULL, "do not wait: varve job list shows how far it is"}},
     "put a snapshot into a repository, as a recovery point",
     "Reads and sends what changed since the newest recovery point whose snapshot is still here, and of that\n"
     "what the repository has not yet. A job does it: varve job cancel stops it; after a kill it goes on\n"
     "without sending again what is there. A snapshot taken for it goes when the next one is backed up.\n", run_backup},
    {"tier", "release", "tier", NEED_VOLUME, ROLE_ADMIN, "TARGET",
     {{"to", ARG_TEXT, ARG_REQUIRED | ARG_WORD, "REPO", "the repository that has it: a name, or a URL"},
      {"path", ARG_TEXT, ARG_WORD | ARG_MANY, "PATH", "only these files and what lies below these directories"},
      REPO_SECRET,
      {"larger", ARG_SIZE, 0, "SIZE", "only files of this size and more"},
      {"older", ARG_DURATION, 0, "AGE", "only files not written for so long: 30d, 12h"},
      {"upload", ARG_FLAG, 0, NULL, "make a backup first, so that what no backup has can go, too"},
      {"snap", ARG_SNAP, 0, "SNAP", "with upload from a control file: the snapshot that is backed up"},
      {"background", ARG_FLAG, ARG_CLI_ONLY, NULL, "do not wait: varve job list shows how far it is"}},
     "free the room of what a repository has of a volume",
     "Of the newest recovery point whose snapshot is still here. Names, sizes and times stay; whoever reads gets\n"
     "the bytes from the repository. What was written since stays here; varve hydrate brings all back.\n", run_tier_release},
    {"tier", "run", "tier", NEED_VOLUME, ROLE_ADMIN, "TARGET",
     {{"to", ARG_TEXT, 0, "REPO", "the repository that has it; default: as the volume's profile says, as for all that follows"},
      {"after", ARG_DURATION, 0, "AGE", "what was not asked for during this time goes: 30d, 12h"},
      {"by", ARG_TEXT, 0, "WHAT", "access (default): the last read or change counts; change: the last change"},
      {"larger", ARG_SIZE, 0, "SIZE", "only files of this size and more"},
      {"smaller", ARG_SIZE, 0, "SIZE", "only files of this size and less"},
      {"pattern", ARG_TEXT, 0, "PATTERN", "only files whose path matches: *.mp4|archive"},
      {"high", ARG_ID, 0, "PERCENT", "with more in use what is oldest goes, whatever its age,"},
      {"low", ARG_ID, 0, "PERCENT", "until so much is in use"},
      {"upload", ARG_FLAG, 0, NULL, "make a backup first, so that what no backup has can go, too"},
      {"whole", ARG_FLAG, 0, NULL, "look at everything, not only at what changed or became old since the last time"},
      {"snap", ARG_SNAP, 0, "SNAP", "with upload from a control file: the snapshot that is backed up"},
      REPO_SECRET,
      {"background", ARG_FLAG, ARG_CLI_ONLY, NULL, "do not wait: varve job list shows how far it is"}},
     "release what a policy says: by age, size, path, and by how full it is",
     "What only snapshots need goes first. Of the size of the volume, where it has one, else of the filesystem below\n"
     "the store. Nothing goes that the newest recovery point does not have, or that is pinned.\n", run_tier_run},
    {"tier", "pin", "tier", NEED_VOLUME, ROLE_ADMIN, "TARGET",
     {{"path", ARG_TEXT, ARG_WORD | ARG_MANY, "PATH", "files and directories of the volume; default: all of it"}},
     "keep files here, and what lies below directories",
     "What is pinned is not released, by whoever and whatever. It brings nothing back: varve tier recall does.\n", run_tier_pin},
    {"tier", "unpin", "tier", NEED_VOLUME, ROLE_ADMIN, "TARGET",
     {{"path", ARG_TEXT, ARG_WORD | ARG_MANY, "PATH", "as they were pinned; default: the volume as a whole"}},
     "end that", "A pin of a directory above stays.\n", run_tier_unpin},
    {"tier", "recall", "tier", NEED_VOLUME, ROLE_ADMIN, "TARGET",
     {{"path", ARG_TEXT, ARG_WORD | ARG_MANY, "PATH", "only these files and what lies below these directories; default: all of it"},
      {"background", ARG_FLAG, ARG_CLI_ONLY, NULL, "do not wait: varve job list shows how far it is"}},
     "bring back what lies in repositories only",
     "A job does it: varve job cancel stops it; after a kill it goes on. What is here already is passed over. Without a\n"
     "path it is varve hydrate. recall_limit does not hold for it.\n", run_tier_recall},
    {"tier", "status", NULL, NEED_VOLUME, ROLE_READ, "TARGET", {{0}},
     "how much of a volume lies in repositories only", NULL, run_tier_status},
    {"migrate", "plan", NULL, NEED_STORE, ROLE_ADMIN, "STORE",
     {{"name", ARG_TEXT, ARG_WORD, "NAME", "of one that is there; default: what the options say"}, MIGRATE_WHAT},
     "what a migration would copy, in bytes and objects, and what is there already",
     "Objects are pieces: small files, mebibytes, runs of changed blocks. Reads metadata only.\n", run_migrate_plan},
    {"migrate", "run", NULL, NEED_STORE, ROLE_ADMIN, "STORE",
     {{"name", ARG_TEXT, ARG_REQUIRED | ARG_WORD, "NAME", "what it is called; of one that is there: go on with it"},
      MIGRATE_WHAT,
      {"at", ARG_WHEN, 0, "WHEN", "begin then: 12h, a date, RFC 3339; default: now"},
      {"verify", ARG_TEXT, 0, "HOW", "full: every byte (default); 5%: of so many packs, drawn at random"},
      {"delete-source", ARG_FLAG, 0, NULL, "delete what was copied at the source, after all is proved and switched"},
      {"grace", ARG_DURATION, 0, "TIME", "of the prune of the source then; default: 24h"},
      {"background", ARG_FLAG, ARG_CLI_ONLY, NULL, "do not wait: varve migrate status shows how far it is"}},
     "move recovery points to another repository, and volumes that read from the old one with them",
     "Copies what the other side has not, proves what is there, lets the store's volumes that rely on the source\n"
     "(released, mounted from it) read from the destination, and deletes at the source if that was asked for.\n"
     "Volumes are in use meanwhile. A job does it; after a kill it goes on, and sends nothing twice. With --path the\n"
     "copies are recovery points of that part, volumes read that part from there, and the source keeps what it has.\n", run_migrate_run},
    {"migrate", "status", NULL, NEED_STORE, ROLE_READ, "STORE",
     {{"name", ARG_TEXT, ARG_WORD, "NAME", "only this one, with everything about it"}},
     "migrations of a store, and how far they are", NULL, run_migrate_status},
    {"migrate", "cancel", NULL, NEED_STORE, ROLE_ADMIN, "STORE",
     {{"name", ARG_TEXT, ARG_REQUIRED | ARG_WORD, "NAME", "which"},
      {"forget", ARG_FLAG, 0, NULL, "and forget it: it cannot be gone on with"}},
     "stop a migration; both sides stay sound", "What was copied stays. Volumes that read from the destination by then go on doing so.\n", run_migrate_cancel},
    {"backup", "list", "backup", NEED_NOTHING, ROLE_ADMIN, NULL,
     {REPO_WORD, {"volume", ARG_VOLUME, 0, "NAME", "only those of this volume"}, REPO_SECRET},
     "recovery points of a repository, oldest first", NULL, run_command},
    {"backup", "show", "backup", NEED_NOTHING, ROLE_ADMIN, NULL, {POINT_WORD, REPO_SECRET},
     "everything about one recovery point", NULL, run_command},
    {"backup", "diff", "backup", NEED_NOTHING, ROLE_ADMIN, NULL,
     {{"point", ARG_TEXT, ARG_REQUIRED | ARG_WORD, "REPO#A", "a recovery point: 8 or more digits of its id, the uuid of its snapshot, or latest"},
      {"b", ARG_TEXT, ARG_REQUIRED | ARG_WORD, "[REPO#]B", "another one of the same repository"},
      {"path", ARG_TEXT, ARG_WORD, "PATH", "only what is there or below it"},
      REPO_SECRET},
     "what changed between two recovery points: paths, kinds, byte ranges",
     "As varve diff says it of snapshots. Ranges are those of the pieces that differ: of files up to 64 KiB all of\n"
     "it. Of a changed file with several names one is told. Costs what changed, not what there is.\n", run_command},
    {"backup", "copy", "backup", NEED_NOTHING, ROLE_ADMIN, NULL,
     {POINT_WORD,
      {"to", ARG_TEXT, ARG_REQUIRED | ARG_WORD, "REPO", "where it goes: a name, or a URL"},
      REPO_SECRET,
      {"to-passphrase-file", ARG_PATH, 0, "FILE", "of the other repository; default: as added, or $VARVE_PASSPHRASE"},
      {"to-key-file", ARG_PATH, 0, "FILE", "of the other repository"},
      {"to-credentials", ARG_PATH, 0, "FILE", "of the other repository"}},
     "copy a recovery point into another repository",
     "What the other one has is not sent; where an older recovery point of the volume is in both, only what\n"
     "changed since is read. Interrupted, it is begun anew and sends what is missing.\n", run_command},
    {"backup", "export", NULL, NEED_NOTHING, ROLE_READ, NULL,
     {POINT_WORD,
      {"file", ARG_TEXT, ARG_REQUIRED | ARG_WORD, "FILE", "what is made; - : standard output"},
      REPO_SECRET,
      {"to-passphrase-file", ARG_PATH, 0, "FILE", "of the export; default: what opens REPO"},
      {"to-key-file", ARG_PATH, 0, "FILE", "of the export"}},
     "a recovery point as one file, which needs nothing else",
     "The file is a repository of its own, with keys of its own: what opens REPO opens it, or what is given.\n"
     "Until it is whole it is FILE.part. Interrupted, the same command goes on with that.\n", NULL},
    {"backup", "import", NULL, NEED_NOTHING, ROLE_ADMIN, NULL,
     {{"file", ARG_TEXT, ARG_REQUIRED | ARG_WORD, "FILE", "an export; - : standard input"},
      {"to", ARG_TEXT, ARG_REQUIRED, "REPO", "where it goes: a name, or a URL"},
      {"passphrase-file", ARG_PATH, 0, "FILE", "of the export; default: what opens REPO"},
      {"key-file", ARG_PATH, 0, "FILE", "of the export"},
      {"to-passphrase-file", ARG_PATH, 0, "FILE", "of the repository; default: as added, or $VARVE_PASSPHRASE"},
      {"to-key-file", ARG_PATH, 0, "FILE", "of the repository"},
      {"to-credentials", ARG_PATH, 0, "FILE", "of the repository"}},
     "put an exported recovery point into a repository",
     "All of the file is proved first. What the repository has is not sent. Interrupted, it is begun anew and\n"
     "sends what is missing.\n", NULL},
    {"backup", "status", "backup", NEED_NOTHING, ROLE_ADMIN, NULL,
     {{"repo", ARG_TEXT, ARG_WORD, "REPO", "only this one; default: all of varve repo list"}, REPO_SECRET},
     "the last good backup of each volume, and how many copies there are",
     "Copies: the store, and each repository with a recovery point. Three copies, on two kinds of media, one of\n"
     "them elsewhere (s3: and rados: count as elsewhere) are what is advised. Exit code: 1 where a repository did\n"
     "not answer.\n", run_command},
    {"backup", "delete", "backup", NEED_NOTHING, ROLE_ADMIN, NULL,
     {POINT_WORD, REPO_SECRET, {"undo", ARG_DURATION, 0, "TIME", "it can be had back for so long; default: not at all"}},
     "delete a recovery point",
     "Its space comes back by varve repo prune, after that time. The others stay whole.\n", run_command},
    {"backup", "undelete", "backup", NEED_NOTHING, ROLE_ADMIN, NULL,
     {REPO_WORD, {"id", ARG_TEXT, ARG_WORD, "ID", "8 or more digits; default: list those that can be had back"}, REPO_SECRET},
     "bring back a recovery point that was deleted for a set time", NULL, run_command},
    {"backup", "owner", "backup", NEED_NOTHING, ROLE_ADMIN, NULL,
     {REPO_WORD,
      {"name", ARG_TEXT, ARG_REQUIRED | ARG_WORD, "NAME", "of what has an owner: letters a-z, digits, . _ -"},
      {"take", ARG_ID, 0, "EPOCH", "make a store its owner, from this epoch on"},
      {"by", ARG_TEXT, 0, "UUID", "with take: of that store"},
      REPO_SECRET},
     "which store owns what several may have one after the other",
     "An epoch has one owner for ever: who takes one that another store has fails. The highest one counts.\n", run_command},
    {"backup", "expire", "backup", NEED_NOTHING, ROLE_ADMIN, NULL,
     {REPO_WORD,
      {"volume", ARG_VOLUME, 0, "NAME", "only those of this volume"},
      {"older", ARG_DURATION, 0, "AGE", "only those taken so long ago: 90d"},
      {"keep", ARG_COUNT, 0, "N", "the newest N of each volume stay"},
      {"hourly", ARG_COUNT, 0, "N", "and the newest of each of N hours"},
      {"daily", ARG_COUNT, 0, "N", "days"},
      {"weekly", ARG_COUNT, 0, "N", "weeks"},
      {"monthly", ARG_COUNT, 0, "N", "months"},
      {"yearly", ARG_COUNT, 0, "N", "years"},
      {"undo", ARG_DURATION, 0, "TIME", "they can be had back for so long; default: not at all"},
      {"dry-run", ARG_FLAG, 0, NULL, "only tell which"},
      REPO_SECRET},
     "delete the recovery points that a rule does not want any more",
     "The newest of each volume stays in any case. Space comes back by varve repo prune.\n", run_command},
    {NULL, "export", "backup", NEED_VOLUME, ROLE_ADMIN, "TARGET@SNAP",
     {{"url", ARG_TEXT, ARG_REQUIRED | ARG_WORD, "URL", "dir:/path, s3://bucket/prefix"},
      {"snap", ARG_SNAP, 0, "SNAP", "which snapshot"},
      {"plain", ARG_FLAG, 0, NULL, "as plain objects: must be said, nothing is encrypted"},
      {"base", ARG_TEXT, 0, "SNAP|N|none", "of which export the objects there are; default: the last; none: put all anew"},
      {"delete", ARG_FLAG, 0, NULL, "delete objects of files that are gone"},
      {"credentials", ARG_PATH, 0, "FILE", "keys of an s3: URL, as AWS' tools have them; default: AWS_..."},
      {"background", ARG_FLAG, ARG_CLI_ONLY, NULL, "do not wait: varve job list shows how far it is"}},
     "a snapshot as plain objects, one for each file, for other programs",
     "files/PATH each, and a manifest of JSON lines. What has not changed since the last export there is not read.\n"
     "A job does it; interrupted, it goes on. One export to a place at a time.\n", run_plain},
    {NULL, "restore", "restore", NEED_NOTHING, ROLE_ADMIN, NULL,
     {POINT_WORD,
      {"to", ARG_TEXT, ARG_WORD | ARG_MANY, "[PATH...] DEST", "what, default everything; a directory, or STORE/VOLUME[:DIR]"},
      {"as", ARG_TEXT, 0, "STORE/VOLUME", "in place of DEST: everything, as a new volume"},
      REPO_SECRET,
      {"overwrite", ARG_FLAG, 0, NULL, "replace files that exist, each whole or not at all"},
      {"resume", ARG_FLAG, 0, NULL, "pass over files that exist and are equal; go on with what was interrupted"},
      {"attachments", ARG_PATH, 0, "DIR", "put what is attached to it into a directory; DEST may be missing then"}},
     "files of a recovery point into a directory or a volume, or all of it as a new volume",
     "DEST is made, or is empty where everything is restored; each PATH goes there by its last component.\n"
     "Nothing that exists is written over unless --overwrite says so; what is not in the recovery point stays in\n"
     "any case. Files damaged in the repository are named and left out: exit code 1.\n", run_command},

    {"profile", "list", NULL, NEED_NOTHING, ROLE_READ, NULL, {{0}}, "profiles of this machine", NULL, NULL},
    {"profile", "show", NULL, NEED_NOTHING, ROLE_READ, NULL,
     {{"name", ARG_TEXT, ARG_REQUIRED | ARG_WORD, "NAME", "a name or id of varve profile list"}},
     "each term of a profile, and whether it is acted on", NULL, NULL},
    {"profile", "add", NULL, NEED_NOTHING, ROLE_ADMIN, NULL,
     {{"file", ARG_PATH, ARG_REQUIRED | ARG_WORD, "FILE", "a profile in libconfig's grammar"},
      {"name", ARG_TEXT, 0, "NAME", "what it is called; default: as the file says"},
      {"replace", ARG_FLAG, 0, NULL, "in place of the one of that name"}},
     "keep a profile on this machine", "Volumes that have one of the name keep theirs: varve profile set gives them the new one.\n", NULL},
    {"profile", "remove", NULL, NEED_NOTHING, ROLE_ADMIN, NULL,
     {{"name", ARG_TEXT, ARG_REQUIRED | ARG_WORD, "NAME", "which"}},
     "forget a profile; volumes that have it keep it", NULL, NULL},
    {"profile", "import", NULL, NEED_NOTHING, ROLE_ADMIN, NULL,
     {{"file", ARG_PATH, ARG_REQUIRED | ARG_WORD, "FILE", "a profile in JSON, OpenSDS' ProfileSpec included"},
      {"name", ARG_TEXT, 0, "NAME", "what it is called; default: as the file says"},
      {"replace", ARG_FLAG, 0, NULL, "in place of the one of that name"}},
     "keep a profile of JSON on this machine", "Terms that are not known are kept, and shown as such.\n", NULL},
    {"profile", "export", NULL, NEED_NOTHING, ROLE_READ, NULL,
     {{"name", ARG_TEXT, ARG_REQUIRED | ARG_WORD, "NAME", "a name or id of varve profile list"},
      {"opensds", ARG_FLAG, 0, NULL, "as OpenSDS has a ProfileSpec; what has no place there is named"}},
     "a profile as JSON, which import reads", NULL, NULL},
    {"profile", "check", NULL, NEED_NOTHING, ROLE_READ, NULL,
     {{"file", ARG_PATH, ARG_REQUIRED | ARG_WORD, "FILE", "a profile in either grammar"}},
     "read a profile, and say what is wrong with it", NULL, NULL},
    {"profile", "set", NULL, NEED_VOLUME, ROLE_ADMIN, "TARGET",
     {{"name", ARG_TEXT, ARG_REQUIRED | ARG_WORD, "NAME", "a name or id of varve profile list; none"}},
     "give a volume a profile, or take it away: acts at once",
     "Limits that the profile says become the volume's. Volumes of a store that have one of the same name follow.\n", run_profile_set},
    {"profile", "get", NULL, NEED_VOLUME, ROLE_READ, "TARGET", {{0}},
     "the profile of a volume, when its schedules run next, and how they went", NULL, run_profile_get},
    {"config", "check", NULL, NEED_NOTHING, ROLE_READ, NULL,
     {{"file", ARG_PATH, ARG_WORD, "FILE", "default: $VARVE_CONFIG, /etc/varve/varve.conf"}},
     "read the machine's configuration, and say what is wrong with it", NULL, NULL},
    {"config", "show", NULL, NEED_NOTHING, ROLE_READ, NULL,
     {{"store", ARG_PATH, ARG_WORD, "STORE", "of this store, too; default: of those that the file names"}},
     "each setting, its value, and where that is from", NULL, NULL},
    {"config", "reload", NULL, NEED_ANY, ROLE_ADMIN, "[TARGET]", {{0}},
     "let the daemon of a store read the configuration again",
     "What cannot change while it runs is named: varve upgrade takes it up, and the mounts stay.\n", run_config_reload},

    {"job", "list", NULL, NEED_ANY, ROLE_READ, "[TARGET]", {{0}},
     "work that goes on behind, and its last results", NULL, run_job_list},
    {"job", "wait", "jobs", NEED_ANY, ROLE_READ, "[TARGET]",
     {{"id", ARG_ID, ARG_REQUIRED | ARG_WORD, "ID", "of the job"}},
     "wait until a job is done; its result is the exit code",
     "In a control file it answers within a second: EAGAIN while the job goes on.\n", run_job_wait},
    {"job", "cancel", "jobs", NEED_ANY, ROLE_SNAPSHOT, "[TARGET]",
     {{"id", ARG_ID, ARG_REQUIRED | ARG_WORD, "ID", "of the job"}},
     "stop a job", NULL, run_job_cancel},
    {NULL, "events", NULL, NEED_ANY, ROLE_READ, "[TARGET]",
     {{"follow", ARG_FLAG, ARG_CLI_ONLY, NULL, "go on with new ones as they come"},
      {"since", ARG_ID, 0, "ID", "only those after this one"}},
     "what happened: the last 1,000 lines", NULL, run_events},

    {NULL, "upgrade", NULL, NEED_ANY, ROLE_ADMIN, "[TARGET]",
     {{"program", ARG_PATH, ARG_CLI_ONLY, "PATH", "the program to go on as; default: this one"}},
     "let the daemon of a mounted store go on as another program",
     "Mounts stay, open files stay open: requests wait for a moment. If the new program does not\n"
     "serve the store, the old one goes on.\n", NULL},
    {NULL, "doctor", NULL, NEED_NOTHING, ROLE_READ, NULL,
     {{"store", ARG_PATH, ARG_WORD, "STORE", "look at this store's filesystem, too"}},
     "what this machine has and lacks for varve, and what that means", NULL, NULL},
    {NULL, "check", NULL, NEED_STORE, ROLE_ADMIN, "STORE",
     {{"repair", ARG_FLAG, ARG_CLI_ONLY, NULL, "put right what can be (nothing may be mounted)"}},
     "prove every invariant of a store, in numbered passes",
     "A store in use is looked at as it lives. Exit code: 0 clean, 1 repaired, 4 not.\n", run_check},
    {NULL, "scrub", "jobs", NEED_ANY, ROLE_ADMIN, "TARGET",
     {{"rate", ARG_SIZE, ARG_WORD, "SIZE", "read at most so many bytes a second; default: as fast as it goes"},
      {"background", ARG_FLAG, ARG_CLI_ONLY, NULL, "do not wait: varve job list shows how far it is"}},
     "read everything that a store keeps, and prove its checksums",
     "The store is in use meanwhile. Tables and journal are proved; of files' bytes, that they can be read.\n"
     "From a control file a job does it. Exit code: 0 clean, 4 damage was found.\n", run_scrub},
    {NULL, "dump", NULL, NEED_STORE, ROLE_ADMIN, "STORE",
     {{"what", ARG_TEXT, ARG_REQUIRED | ARG_WORD | ARG_MANY, "WHAT", "see below"}},
     "print any table, record, object, journal segment",
     "WHAT: version | tables | table NAME | key HEX | object N | inode VOLUME INO | journal | segment N\n", NULL},
};
/* clang-format on */

const struct verb *verb_table(size_t *ret_count)
{
    *ret_count = ARRAY_LEN(table);
    return table;
}

static bool same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

const struct verb *verb_find(const char *noun, const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (same(noun, table[i].noun) && strcmp(name, table[i].name) == 0)
            return &table[i];
    return NULL;
}

const struct verb *verb_find_in(const char *file, const char *noun, const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (same(file, table[i].file) && (!noun || same(noun, table[i].noun)) &&
            strcmp(name, table[i].name) == 0)
            return &table[i];
    return NULL;
}
