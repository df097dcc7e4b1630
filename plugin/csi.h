/* plugin/csi: the CSI driver of one store: between gRPC calls and the store's daemon.
 *
 * What the driver knows of a volume besides what the store knows (its name in CSI, what was asked for) are its facts, a file each in
 * STORE/csi (csi_facts.c). Everything else is asked of the daemon at each call, so a driver that is killed at any point is followed by
 * one that goes on where it was: every step may be done twice.
 *
 *   volume id           STORE/VOLUME          by their uuids
 *   snapshot id         STORE/VOLUME/SNAPSHOT
 *   group snapshot id   STORE/GROUP
 *   of what is uploaded REPO#SNAPSHOT         the same on every node: the global id of its recovery point (csi_upload.c, csi_point.c);
 *                                             REPO#ID of any recovery point is understood
 *
 * A volume that CSI has deleted while it still has snapshots of CSI, or clones, is retired: renamed to retired-UUID, and gone with the
 * last of these.
 *
 * A method gets its request and an answer of the right type, empty, and fills that in: 0, or what csi_fail gave. Memory is the call's. */
#ifndef VARVE_PLUGIN_CSI_H
#define VARVE_PLUGIN_CSI_H

#include <jansson.h>
#include <protobuf-c/protobuf-c.h>
#include <sys/types.h>

#include "base/lock.h"
#include "base/uuid.h"
#include "plugin/arena.h"
#include "plugin/csi.pb-c.h"
#include "plugin/grpc.h"

#define CSI_NAME "csi.varve.io"
#define CSI_VOLUME_MIN (1u << 20)
#define CSI_KUBE "csi.storage.k8s.io/" /* keys that Kubernetes' sidecars add */

/* In the manifest of a node's GetPluginInfo: its store's uuid (while a daemon serves it), by which ids begin; --node-id. */
#define CSI_MANIFEST_STORE "varve.io/store"
#define CSI_MANIFEST_NODE "varve.io/node"

struct csi_names;
struct csi_nodes;
struct csi_wait;

struct csi {
    const char *name; /* of the driver, as in CSIDriver and provisioner: */
    struct csi_nodes
        *nodes; /* of a controller, which has none of the following but program; NULL: a node's driver */
    const char *store;    /* directory */
    const char *node;     /* id of this node */
    const char *topology; /* key of its segment */
    const char *program;  /* varve, for mount and umount */
    const char *endpoint; /* path of the socket as the kubelet is to see it */
    bool no_snapshot_topology;
    int64_t volumes_max; /* published on this node at a time; 0: no limit */
    int64_t takeover_ms; /* so long another store may not let go of a volume that follows its pod */
    struct lock lock;    /* RANK_JOB: what follows */
    struct cond wake;
    pthread_t sweeper;
    bool sweep, ends;
    struct csi_busy *busy;
    struct csi_wait *waits;
    struct csi_names *names;
    struct csi_secret_use *secrets;
    uint64_t secrets_taken; /* so many times */
};

struct csi_call {
    struct csi *d;
    struct grpc_call *grpc;
    struct arena arena;
    enum grpc_code code;
    const char *why;
};

/* csi_find: methods of all services, for grpc_settings; arg is the struct csi. */
const struct grpc_method *csi_find(void *arg, const char *path);
/* csi_find_far: those that a controller may ask for over the net: nothing of Node, which is the kubelet's, nor of its registration. */
const struct grpc_method *csi_find_far(void *arg, const char *path);
const ProtobufCMethodDescriptor *csi_describe(
    const char *path);       /* its messages; NULL: there is no such method */
int csi_init(struct csi *d); /* after its fields are set */
void csi_release(struct csi *d);

/* csi_fail: the call fails with this: always negative. The sentence begins with the field of the request that is meant. */
int csi_fail(struct csi_call *k, enum grpc_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);
int csi_nomem(struct csi_call *k);
/* csi_missing(k, field, value): fails where a required text is empty (NULL or ""). */
int csi_missing(struct csi_call *k, const char *field, const char *value);

/* csi_unpack: a message, which lasts as long as the call. NULL: these bytes are none of its type, or memory ran out. */
ProtobufCMessage *csi_unpack(struct csi_call *k, const ProtobufCMessageDescriptor *d, const uint8_t *p,
                             size_t len);
/* csi_send: one message of a method that streams. */
int csi_send(struct csi_call *k, const ProtobufCMessage *a);

/* csi_enter: nobody else works at this key (a volume's uuid, a name) until csi_leave; else ABORTED. A call has at most CSI_KEYS. */
#define CSI_KEYS 4
struct csi_held {
    struct csi *d;
    struct csi_busy *at[CSI_KEYS];
    size_t n;
};
int csi_enter(struct csi_call *k, struct csi_held *h, const char *field, const char *key);
void csi_leave(struct csi_held *h); /* fit for cleanup() */

/* --- capabilities, parameters, sizes, ids: csi_ask.c ------------------------------------------------------------------------ */

/* csi_caps_check: INVALID_ARGUMENT where one is not to be had, with its number. csi_cap_why: the sentence, NULL: it is to be had. */
int csi_caps_check(struct csi_call *k, size_t n, Csi__V1__VolumeCapability *const *caps);
int csi_cap_check(struct csi_call *k, const Csi__V1__VolumeCapability *cap);
const char *csi_cap_why(const Csi__V1__VolumeCapability *cap);

/* What a pod may do by control files where nobody says more. With admin the root of a container is the node's: the daemon would read and write
 * the node's files and repositories for it. So only a class may say that, no pod for itself: csi_control_check. */
#define CSI_CONTROL "snapshot"

/* What a StorageClass says. Texts are the call's. */
struct csi_params {
    uint64_t inodes, snapshot_limit; /* 0: none */
    const char *profile, *repository;
    bool mobile;
    const char *control, *control_gid, *snapdir; /* of the mount; NULL: as is usual there */
};
/* field: "parameters" or the like. Unknown keys are INVALID_ARGUMENT; those of Kubernetes' sidecars are passed over. */
typedef Csi__V1__CreateVolumeRequest__ParametersEntry
    csi_entry; /* every map<string, string> looks like this */
int csi_params_take(struct csi_call *k, const char *field, size_t n, csi_entry *const *entries,
                    struct csi_params *ret);
int csi_control_check(struct csi_call *k, const char *field, const char *control);
/* csi_mutable_take: of a VolumeAttributesClass: the profile, NULL: it says nothing of it. */
int csi_mutable_take(struct csi_call *k, size_t n, csi_entry *const *entries, const char **ret_profile);
/* csi_none_known: of a map of which no key is known here. */
int csi_none_known(struct csi_call *k, const char *field, size_t n, csi_entry *const *entries);
#define CSI_MAP(r, member) (r)->n_##member, (csi_entry *const *)(r)->member
bool csi_entry_is(const csi_entry *e,
                  const char *key); /* with a value that is a word, the name of something */
bool csi_of_kubernetes(const char *key);
int csi_map_put(struct csi_call *k, size_t *n, csi_entry ***map, const char *key, const char *value);

/* csi_number: 12, 10K, 5M, 2G, 1T (powers of 1000), 10Ki, 5Mi... (of 1024). -E_INVAL, -E_RANGE. */
int csi_number(const char *s, uint64_t *ret);

/* csi_size_take: what a capacity range asks for, 0: nothing. OUT_OF_RANGE, INVALID_ARGUMENT. */
int csi_size_take(struct csi_call *k, const Csi__V1__CapacityRange *range, uint64_t total, uint64_t *ret);
bool csi_size_fits(const Csi__V1__CapacityRange *range, uint64_t size);

/* csi_name_of: the name in the store for a name in CSI: itself where that is harmless, else made of it. ret holds CSI_NAME_SIZE. */
#define CSI_NAME_SIZE 256
void csi_volume_name(const char *name, char ret[CSI_NAME_SIZE]);
void csi_snapshot_name(const char *name, char ret[CSI_NAME_SIZE]);
void csi_name_hashed(const char *name, char ret[CSI_NAME_SIZE]); /* csi- and 32 hexadecimal digits */

/* csi_id_split: n uuids of an id. False: it is none of this driver's. */
bool csi_id_split(const char *id, size_t n, char parts[][UUID_TEXT_SIZE]);

/* csi_topology: this node, as a list of one. csi_node_allowed: is it among those that are asked for? */
int csi_topology(struct csi_call *k, size_t *ret_n, Csi__V1__Topology ***ret);
bool csi_node_is(const struct csi *d, const Csi__V1__Topology *t);
int csi_node_allowed(struct csi_call *k, const Csi__V1__TopologyRequirement *t);

/* csi_page: a slice of n things that are sorted by key. ABORTED: the token is none of ours; INVALID_ARGUMENT: max < 0. */
struct csi_page {
    size_t first, n;
    const char *next; /* "": no more */
};
int csi_page(struct csi_call *k, int32_t max, const char *token, size_t n,
             const char *(*key)(const void *arg, size_t i), const void *arg, struct csi_page *ret);
/* csi_page_begin: besides room for its entries, and the token of the next one: members of an answer. entries: a pointer to such a one. */
int csi_page_begin(struct csi_call *k, const struct csi_page *p, void *entries, char **next_token);

/* --- the store: csi_store.c ------------------------------------------------------------------------------------------------- */

struct csi_volume {
    const char *name, *uuid;
    uint64_t size, inodes, snapshot_limit; /* limits; 0: none */
    uint64_t used, snapshots;
    bool mounted, retired;
};
struct csi_volumes {
    char store[UUID_TEXT_SIZE];
    uint64_t total, free; /* bytes of the disk */
    size_t n;
    struct csi_volume *v; /* by uuid */
};
struct csi_snapshot {
    const struct csi_volume *volume;
    const char *name, *uuid, *csi_name, *group; /* csi_name, group: NULL: none */
    const char *upload;                         /* first repository that it is uploaded to, NULL: none */
    int64_t taken_ns;
    uint64_t bytes;
    bool durable;
};
struct csi_snapshots {
    size_t n, cap;
    struct csi_snapshot *s;
};

/* csi_verb(k, ret, WORDS..., NULL): done by the daemon: its output as JSON in ret (may be NULL), which lives as long as the call.
 * 0; else the name of what the daemon said is in result, and nothing has failed yet. A daemon that cannot be asked is UNAVAILABLE. */
struct csi_result {
    char result[32];
    const char *why;
};
int csi_verb(struct csi_call *k, struct csi_result *ret, char **ret_out, const char *const *words);
#define CSI_VERB(k, ret, out, ...) csi_verb(k, ret, out, (const char *const[]){__VA_ARGS__, NULL})
/* csi_lines: a request that is answered by lines (sock_lines): 1: it was cut off, and is to be asked for anew from where it was. */
int csi_lines(struct csi_call *k, struct csi_result *ret, const char *const *words, size_t n,
              int (*line)(void *arg, char *s, size_t len), void *arg);
int csi_no_daemon(struct csi_call *k);
bool csi_result_is(const struct csi_result *r, const char *name);
int csi_result_fail(struct csi_call *k, const char *field, const struct csi_result *r);

int csi_volumes(struct csi_call *k, struct csi_volumes *ret);
const struct csi_volume *csi_volume_named(const struct csi_volumes *vs, const char *name);
const struct csi_volume *csi_volume_by_id(const struct csi_volumes *vs, const char *id);
/* csi_volume_find: NOT_FOUND, or INVALID_ARGUMENT for none. vs is filled in. Retired ones are not found. */
int csi_volume_find(struct csi_call *k, const char *field, const char *id, struct csi_volumes *vs,
                    const struct csi_volume **ret);
/* csi_volume_if_there: *ret NULL: there is none, which is no failure. */
int csi_volume_if_there(struct csi_call *k, const char *field, const char *id, struct csi_volumes *vs,
                        const struct csi_volume **ret);
/* csi_volume_find_here: for calls that a sidecar on each node would make: UNAVAILABLE for a volume of another store, which that one's driver answers
 * for. csi_is_elsewhere: this id of a volume, a group or a snapshot is of another store. */
int csi_volume_find_here(struct csi_call *k, const char *field, const char *id, struct csi_volumes *vs,
                         const struct csi_volume **ret);
bool csi_is_elsewhere(const struct csi_volumes *vs, const char *id);
/* csi_volume_renamed: after NOENT: it has another name now, and *v says which; else *ret is false. */
int csi_volume_renamed(struct csi_call *k, const struct csi_volume **v, bool *ret);
char *csi_volume_id(struct csi_call *k, const struct csi_volumes *vs, const struct csi_volume *v);
int csi_volume_fill(struct csi_call *k, const struct csi_volumes *vs, const struct csi_volume *v,
                    Csi__V1__Volume **ret);

/* csi_snapshots_add: those of a volume; all: also those that CSI did not take. */
int csi_snapshots_add(struct csi_call *k, const struct csi_volume *v, bool all, struct csi_snapshots *ret);
int csi_snapshots_all(struct csi_call *k, const struct csi_volumes *vs, struct csi_snapshots *ret);
/* csi_snapshots_needed: those of a volume for which it must stay: taken by CSI, and not uploaded; waiting: those that are on their way. */
int csi_snapshots_needed(struct csi_call *k, const struct csi_volume *v, size_t *ret, size_t *ret_waiting);
/* csi_snapshot_by_id: *ret NULL: there is none here (also where the id is none of ours). */
int csi_snapshot_by_id(struct csi_call *k, const char *id, struct csi_volumes *vs, struct csi_snapshot **ret);
int csi_timestamp(struct csi_call *k, int64_t ns, Google__Protobuf__Timestamp **ret);
int csi_snapshot_fill(struct csi_call *k, const struct csi_volumes *vs, const struct csi_snapshot *s,
                      Csi__V1__Snapshot **ret);

/* --- the program varve: csi_program.c ----------------------------------------------------------------------------------------- */

int csi_varve(struct csi_call *k, const char *field, const char *const *words);
/* csi_varve_json: what it prints, by --json. It failed: *ret NULL, *ret_why its sentence, and nothing has failed yet. */
int csi_varve_json(struct csi_call *k, const char *const *words, json_t **ret, const char **ret_why);
void csi_json_free(json_t **j); /* fit for cleanup() */
/* csi_manifests: what Kubernetes knows of a claim NAMESPACE/NAME, by varve-manifests, which lies beside varve. It failed: *ret_why says why, and
 * nothing has failed yet. */
int csi_manifests(struct csi_call *k, const char *claim, struct buf *ret, const char **ret_why);

/* --- secrets: csi_secret.c ---------------------------------------------------------------------------------------------------- */

/* What a call brings along to open repositories, as files of mode 0600 in STORE/csi/.secrets, whose names tell nothing. Each is removed when
 * no call uses it, no job, and no volume that lies in a repository still. Known: passphrase, key, credentials, and each with a
 * repository's name before it: offsite.passphrase. */
struct csi_secrets {
    struct csi *d;
    const char *names[3]; /* of files; NULL: none */
    const char *words[3]; /* options of commands, the first n */
    size_t n;
};
int csi_secrets_take(struct csi_call *k, const char *repo, size_t n, csi_entry *const *entries,
                     struct csi_secrets *ret);
void csi_secrets_drop(struct csi_secrets *s); /* fit for cleanup() */
int csi_secrets_sweep(struct csi_call *k, size_t *left);

/* --- recovery points: csi_point.c --------------------------------------------------------------------------------------------- */

bool csi_point_is(const char *id); /* REPO#ID */
/* csi_point_show: what varve says of it; *ret NULL: there is none. secrets: of the call. */
int csi_point_show(struct csi_call *k, const char *field, const char *id, size_t n, csi_entry *const *secrets,
                   json_t **ret);
int csi_point_fill(struct csi_call *k, const char *id, const json_t *point, Csi__V1__Snapshot **ret);
int csi_point_delete(struct csi_call *k, const char *field, const char *id, size_t n,
                     csi_entry *const *secrets);
/* csi_point_create: a volume of this name out of it: those of words, which are ended by NULL, besides. As csi_verb. */
int csi_point_create(struct csi_call *k, const char *id, size_t n, csi_entry *const *secrets,
                     const char *const *words, struct csi_result *ret);
/* csi_repository_check: INVALID_ARGUMENT where there is none of this name here, and the nearest. */
int csi_repository_check(struct csi_call *k, const char *field, const char *repo);

/* --- uploads: csi_upload.c ---------------------------------------------------------------------------------------------------- */

/* Where a class of snapshots wants them to be; n 0: they stay here. */
#define CSI_UPLOADS_MAX 8
struct csi_upload_class {
    const char *profile, *field;
    const char *to[CSI_UPLOADS_MAX];
    size_t n;
    bool apart; /* the profile wants a domain of the volume's own, whatever the volume's says */
};
/* csi_upload_class_take: words only. csi_upload_class_look: what they mean for a volume. */
int csi_upload_class_take(struct csi_call *k, size_t n, csi_entry *const *entries,
                          struct csi_upload_class *ret);
int csi_upload_class_look(struct csi_call *k, const struct csi_volume *v, struct csi_upload_class *c);
/* csi_upload_go: begins what is not begun, notes what is done. Fails where an upload has failed; the next call begins it anew. */
int csi_upload_go(struct csi_call *k, const struct csi_snapshot *s, const struct csi_upload_class *c,
                  size_t n, csi_entry *const *secrets);
int csi_upload_done(struct csi_call *k, const struct csi_snapshot *s, bool *ret); /* all of them are there */
/* csi_upload_delete: s NULL: it is not here (any more). */
int csi_upload_delete(struct csi_call *k, const char *id, const struct csi_snapshot *s, size_t n,
                      csi_entry *const *secrets);

int csi_snapshot_delete(struct csi_call *k,
                        const struct csi_snapshot *s); /* the one that is here: csi_snapshot.c */

/* Retired volumes that nobody needs any more go, soon, and secrets: csi_sweep.c. */
int csi_sweep_begin(struct csi *d);
void csi_sweep_soon(struct csi *d);
void csi_sweep_end(struct csi *d);

/* --- volumes of a pod's own: csi_ephemeral.c -------------------------------------------------------------------------------- */

bool csi_is_ephemeral(const Csi__V1__NodePublishVolumeRequest *q);
int csi_ephemeral_publish(struct csi_call *k, const Csi__V1__NodePublishVolumeRequest *q, const char *target);
/* csi_ephemeral_is: as far as the facts say. csi_ephemeral_find: the volume of such an id, whose call is entered; *ret NULL: it is none of
 * these, or gone: then its facts go. */
int csi_ephemeral_is(struct csi_call *k, const char *id, bool *ret);
int csi_ephemeral_find(struct csi_call *k, const char *id, const struct csi_volumes *vs,
                       const struct csi_volume **ret);
int csi_ephemeral_drop(struct csi_call *k, const struct csi_volume *v); /* after its unmount */

/* --- facts: csi_facts.c ----------------------------------------------------------------------------------------------------- */

struct csi_facts {
    const char *name;   /* in CSI */
    const char *source; /* content source: "snapshot ID", "volume ID", "" */
    const char *params; /* JSON, sorted */
    const char *claim;  /* NAMESPACE/NAME of what it was made for, NULL: not known */
    uint64_t size;
    const char *node; /* published there, NULL: nowhere */
    bool node_readonly, block_ro;
    uint64_t epoch; /* of one that follows its pod: this node's; 0: none */
    bool handed;    /* nothing was written since its last recovery point */
};
/* csi_facts_get: of the volume of this name in the store; *ret NULL: there are none. csi_facts_put: durable when it returns. */
int csi_facts_get(struct csi_call *k, const char *volume, struct csi_facts **ret);
int csi_facts_put(struct csi_call *k, const char *volume, const struct csi_facts *f);
int csi_facts_drop(struct csi_call *k, const char *volume);
const char *csi_facts_param(struct csi_call *k, const struct csi_facts *f, const char *key); /* NULL: none */
/* csi_file_*: the same of any small file below STORE/csi, "DIR/NAME". csi_file_get: *ret NULL: there is none. */
int csi_file_get(struct csi_call *k, const char *name, json_t **ret);
int csi_file_put(struct csi_call *k, const char *name, const void *p, size_t len);
int csi_file_drop(struct csi_call *k, const char *name);

/* --- volumes that follow their pod: csi_mobile.c ------------------------------------------------------------------------------ */

#define CSI_MOBILE "mobile" /* content source of a copy that was made when it was staged */
bool csi_mobile_is(const char *id);
bool csi_mobile_volume(const struct csi_volume *v);
bool csi_mobile_names(const char *id, const char *local); /* the volume of this name is the copy of it */
char *csi_mobile_id(struct csi_call *k, const struct csi_volume *v); /* NULL: it is none, or out of memory */
int csi_mobile_name(struct csi_call *k, const char *name, const char *repo, char ret[CSI_NAME_SIZE]);
int csi_mobile_caps_check(struct csi_call *k, size_t n, Csi__V1__VolumeCapability *const *caps);
/* csi_mobile_take: this node's copy is the one that counts, made anew where it was not; work: it is going to be used. NOT_FOUND, ABORTED
 * (another node was first), UNAVAILABLE (also: another node may be at work), FAILED_PRECONDITION (the copy is mounted, and fenced).
 * csi_mobile_publish: the same for one that is staged, before it is used again. csi_mobile_hand: it is let go: what it holds is in the
 * repository; not where it is another's. csi_mobile_forget: it is nobody's any more, its recovery points go. csi_mobile_sweep: this node's
 * copy goes where it counts no more; *idle: one more, where it may later. */
int csi_mobile_take(struct csi_call *k, const char *id, bool work, struct csi_volumes *vs,
                    const struct csi_volume **v);
int csi_mobile_publish(struct csi_call *k, const char *id, struct csi_volumes *vs,
                       const struct csi_volume **v);
/* csi_mobile_here: UNAVAILABLE, where v (or NULL) is not the copy that counts; in_use: nor where no pod uses it. 0 for others. */
int csi_mobile_here(struct csi_call *k, const char *field, const char *id, const struct csi_volumes *vs,
                    const struct csi_volume *v, bool in_use);
int csi_mobile_hand(struct csi_call *k, const struct csi_volumes *vs, const struct csi_volume *v);
int csi_mobile_forget(struct csi_call *k, const char *id, const struct csi_volumes *vs);
int csi_mobile_sweep(struct csi_call *k, const struct csi_volume *v, size_t *idle);
void csi_mobile_release(struct csi *d);

int csi_volume_drop(struct csi_call *k, const struct csi_volume *v); /* deleted, or retired: csi_volume.c */

/* --- names of snapshots: csi_names.c: which volume has the snapshot of a name, without a walk over all volumes --------------- */

/* csi_name_elsewhere: the uuid of a volume other than this one that has a snapshot of this name, NULL: none. */
int csi_name_elsewhere(struct csi_call *k, const struct csi_volumes *vs, const struct csi_volume *v,
                       const char *name, const char **ret);
int csi_name_put(struct csi_call *k, const struct csi_volume *v, const char *name);
void csi_name_drop(struct csi *d, const char *volume_uuid, const char *name);

/* --- mounts of this node: csi_mount.c ---------------------------------------------------------------------------------------- */

enum csi_at { CSI_AT_NOTHING, CSI_AT_VOLUME, CSI_AT_OTHER };
struct csi_mount {
    enum csi_at at;
    bool readonly, dead;
    char source[4096 + 512];
};
/* csi_mount_at: what is mounted on this directory: the volume, something else. */
int csi_mount_at(struct csi_call *k, const char *dir, const struct csi_volume *v, struct csi_mount *ret);
/* csi_mount_others: is the volume mounted on other directories than these two? */
int csi_mount_others(struct csi_call *k, const struct csi_volume *v, const char *a, const char *b, bool *ret);
/* csi_path: as the table of mounts has it: absolute, what lies above without symbolic links, no slash at its end. */
int csi_path(struct csi_call *k, const char *field, const char *path, const char **ret);
/* csi_group_set: what is mounted here has this group from its root on: new files get it. */
int csi_group_set(struct csi_call *k, const char *field, const char *dir, gid_t gid);
int csi_unmount(struct csi_call *k, const char *field, const char *dir, bool dead);

#endif
