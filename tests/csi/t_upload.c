/* Snapshots that a class uploads, and volumes out of recovery points, on the node that took them and on another. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/sock.h"
#include "tests/csi/rig_repo.h"

#define GIB ((int64_t)1 << 30)
#define SECRET REPO_SECRET_TEXT
#define CLASS REPO_CLASS

/* --- calls ------------------------------------------------------------------------------------------------------------------ */

static Csi__V1__CreateSnapshotRequest__ParametersEntry param, *params[] = {&param};
static void ask(Csi__V1__CreateSnapshotRequest *q, const char *volume, const char *name, const char *key,
                const char *value)
{
    csi__v1__create_snapshot_request__init(q);
    csi__v1__create_snapshot_request__parameters_entry__init(&param);
    q->source_volume_id = text(volume);
    q->name = text(name);
    param.key = text(key);
    param.value = text(value);
    q->parameters = params;
    q->n_parameters = 1;
    q->secrets = secrets;
    q->n_secrets = secret.key ? 1 : 0;
}

static int snap_status(const char *volume, const char *name, const char *key, const char *value)
{
    Csi__V1__CreateSnapshotRequest q;

    ask(&q, volume, name, key, value);
    return rpc_status("/csi.v1.Controller/CreateSnapshot", &q);
}

/* One call of those that a sidecar makes until it is ready; the id is the caller's. */
static char *snap_once(const char *volume, const char *name, const char *key, const char *value, bool *ready)
{
    Csi__V1__CreateSnapshotResponse *a;
    Csi__V1__CreateSnapshotRequest q;
    char *id;

    ask(&q, volume, name, key, value);
    a = RPC(Controller, CreateSnapshot, &q, 0);
    *ready = a->snapshot->ready_to_use;
    CHECK_EQ(a->snapshot->n_accessible_topology, 0);
    id = strdup(a->snapshot->snapshot_id);
    rpc_free(a);
    return id;
}

static char *snap_up(const char *volume, const char *name, const char *key, const char *value)
{
    bool ready = false;
    char *id = snap_once(volume, name, key, value, &ready), *again;

    for (int i = 0; i < 500 && !ready; i++) {
        pause_ms(20);
        again = snap_once(volume, name, key, value, &ready);
        CHECK(strcmp(id, again) == 0);
        free(again);
    }
    CHECK(ready);
    return id;
}

static int snap_delete(const char *id)
{
    Csi__V1__DeleteSnapshotRequest q = CSI__V1__DELETE_SNAPSHOT_REQUEST__INIT;

    q.snapshot_id = text(id);
    q.secrets = (Csi__V1__DeleteSnapshotRequest__SecretsEntry **)(void *)secrets;
    q.n_secrets = secret.key ? 1 : 0;
    return rpc_status("/csi.v1.Controller/DeleteSnapshot", &q);
}

/* GetSnapshot: *ret_ready, if it is there. */
static int snap_get(const char *id, bool *ret_ready, int64_t *ret_size)
{
    Csi__V1__GetSnapshotRequest q = CSI__V1__GET_SNAPSHOT_REQUEST__INIT;
    Csi__V1__GetSnapshotResponse *a;
    int status;

    q.snapshot_id = text(id);
    q.secrets = (Csi__V1__GetSnapshotRequest__SecretsEntry **)(void *)secrets;
    q.n_secrets = secret.key ? 1 : 0;
    status = rpc_status("/csi.v1.Controller/GetSnapshot", &q);
    if (status != 0)
        return status;
    a = RPC(Controller, GetSnapshot, &q, 0);
    CHECK(strcmp(a->snapshot->snapshot_id, id) == 0 && a->snapshot->creation_time->seconds > 1000000000);
    CHECK_EQ(strlen(a->snapshot->source_volume_id), 73);
    *ret_ready = a->snapshot->ready_to_use;
    *ret_size = a->snapshot->size_bytes;
    rpc_free(a);
    return 0;
}

static size_t snaps_listed(const char *id)
{
    Csi__V1__ListSnapshotsRequest q = CSI__V1__LIST_SNAPSHOTS_REQUEST__INIT;
    Csi__V1__ListSnapshotsResponse *a;
    size_t n;

    q.snapshot_id = text(id);
    q.secrets = (Csi__V1__ListSnapshotsRequest__SecretsEntry **)(void *)secrets;
    q.n_secrets = secret.key ? 1 : 0;
    a = RPC(Controller, ListSnapshots, &q, 0);
    n = a->n_entries;
    rpc_free(a);
    return n;
}

/* Of those that are listed on this node. */
static bool any_ready(void)
{
    Csi__V1__ListSnapshotsRequest q = CSI__V1__LIST_SNAPSHOTS_REQUEST__INIT;
    Csi__V1__ListSnapshotsResponse *a = RPC(Controller, ListSnapshots, &q, 0);
    bool ready = false;

    CHECK_EQ(a->n_entries, 1);
    for (size_t i = 0; i < a->n_entries; i++)
        ready |= a->entries[i]->snapshot->ready_to_use;
    rpc_free(a);
    return ready;
}

/* --- the tests -------------------------------------------------------------------------------------------------------------- */

static int take_name(void *arg, const char *name)
{
    snprintf(arg, 65, "%s", name);
    return 0;
}

TEST(test_csi__a_class_uploads_and_another_node_restores)
{
    char *id, *snap, *copy, what[200];
    int64_t size;
    bool ready;

    repo_begin(REPO_ONE, "passphrase");
    id = volume_with("pvc-upload", "then");
    snap = snap_up(id, "snapshot-up", "profile", CLASS);
    CHECK(strncmp(snap, "offsite#", 8) == 0 && strlen(snap) == 8 + 36);
    CHECK_EQ(points_in("repo"), 1);
    CHECK_EQ(snap_get(snap, &ready, &size), 0);
    CHECK(ready && size >= 4 && snaps_listed(snap) == 1);
    CHECK_EQ(restore("pvc-here", GIB, snap, &copy), 0);
    holds_volume(copy, "then");
    free(copy);
    no_secret_left();
    repo_other_node();
    CHECK_EQ(snap_get(snap, &ready, &size), 0);
    CHECK(ready && size >= 4 && snaps_listed(snap) == 1);
    CHECK_EQ(restore("pvc-there", GIB, snap, &copy), 0);
    holds_volume(copy, "then");
    free(copy);
    CHECK_EQ(restore("pvc-there", GIB, snap, &copy), 0);
    secret.key = NULL;
    CHECK_EQ(restore("pvc-closed", GIB, snap, NULL), GRPC_UNAUTHENTICATED);
    CHECK(strstr(rig.why, "snapshot_id: "));
    secret_is("passphrase", "another one");
    CHECK_EQ(snap_delete(snap), GRPC_UNAUTHENTICATED);
    secret_is("passphrase", SECRET);
    CHECK_EQ(snap_delete(snap), 0);
    CHECK_EQ(points_in("repo"), 0);
    CHECK_EQ(snap_delete(snap), 0);
    CHECK_EQ(snap_get(snap, &ready, &size), GRPC_NOT_FOUND);
    CHECK_EQ(snaps_listed(snap), 0);
    CHECK_EQ(restore("pvc-late", GIB, snap, NULL), GRPC_NOT_FOUND);
    CHECK_EQ(delete_volume(copy), 0);
    no_secret_left();
    snprintf(what, sizeof(what), "offsite#latest");
    CHECK_EQ(restore("pvc-latest", GIB, what, NULL), GRPC_INVALID_ARGUMENT);
    free(copy);
    free(id);
    free(snap);
    rig_stop();
}

/* All that the profile names have it before it is ready; the volume need not stay for it; deleting takes it away everywhere. */
TEST(test_csi__an_upload_goes_to_all_that_the_profile_names)
{
    char *id, *snap, *copy, at[200];
    int64_t size;
    bool ready;

    repo_begin(REPO_BOTH, "key");
    id = volume_with("pvc-both", "twice");
    free(snap_once(id, "snapshot-both", "profile", CLASS, &ready));
    rig_csi_end(SIGKILL);
    kill(rig_daemon(), SIGKILL);
    rig_csi_start(NULL);
    snap = snap_up(id, "snapshot-both", "profile", CLASS);
    CHECK(points_in("repo") == 1 && points_in("other") == 1);
    CHECK_EQ(delete_volume(id), 0);
    CHECK_EQ(snap_get(snap, &ready, &size), 0);
    snprintf(at, sizeof(at), "vault#%s", strchr(snap, '#') + 1);
    CHECK_EQ(restore("pvc-vault", GIB, at, &copy), 0);
    holds_volume(copy, "twice");
    CHECK_EQ(restore("pvc-small", 1 << 20, at, NULL), 0);
    CHECK_EQ(snap_delete(snap), 0);
    CHECK(points_in("repo") == 0 && points_in("other") == 0);
    CHECK_EQ(delete_volume(copy), 0);
    no_secret_left();
    free(copy);
    free(id);
    free(snap);
    rig_stop();
}

struct shredding {
    char option[300];
    unsigned done;
};

static int shred_one(void *arg, const char *name)
{
    struct shredding *x = arg;

    x->done += rig_varve_status(
                   (const char *const[]){"repo", "shred", "offsite", name, "--force", x->option, NULL}) == 0;
    return 0;
}

/* Each volume in a domain of its own, as its profile says: the bytes of one are not the other's, and they are shredded alone. */
/* It ended unseen by CreateSnapshot, and the daemon has forgotten its job since: what was ready is, and its volume need not stay. */
TEST(test_csi__what_was_ready_stays_ready)
{
    char *id, *other, *snap, key[400];
    bool ready = false;
    int64_t size;

    repo_begin(REPO_ONE, "key");
    snprintf(key, sizeof(key), "--key-file=%spass", rig.dir);
    id = volume_with("pvc-ready", "bytes");
    other = volume_with("pvc-other", "bytes");
    snap = snap_once(id, "snapshot-ready", "profile", CLASS, &ready);
    for (int i = 0; i < 500 && !ready; i++, pause_ms(20))
        CHECK_EQ(snap_get(snap, &ready, &size), 0);
    CHECK(ready);
    for (int i = 0; i < 101; i++) { /* as many as it remembers, and one */
        cleanup(sock_answer_free) struct sock_answer a = {.exit_code = 0};
        cleanup(buf_free) struct buf words = {0};
        const char *w[] = {"backup", "run", "pvc-other", "--to=offsite", key};

        CHECK_OK(sock_words(&words, w, ARRAY_LEN(w)));
        CHECK_OK(sock_verb(rig.store, &words, &a));
        CHECK(strcmp(a.result, "OK") == 0);
    }
    CHECK_EQ(snap_get(snap, &ready, &size), 0);
    CHECK(ready);
    CHECK_EQ(delete_volume(id), 0);
    CHECK_EQ(delete_volume(other), 0);
    CHECK_EQ(snap_delete(snap), 0);
    free(id);
    free(other);
    free(snap);
    rig_stop();
}

TEST(test_csi__domains_of_their_own_are_shredded)
{
    struct shredding x = {.done = 0};
    char *one, *two, *up, *up_two, *copy, domains[300];
    size_t n = 0;

    repo_begin(REPO_ONE "domain = \"own\";\n", "key");
    one = volume_with("pvc-one", "apart");
    two = volume_with("pvc-two", "apart");
    up = snap_up(one, "snapshot-one", "profile", CLASS);
    up_two = snap_up(two, "snapshot-two", "profile", CLASS);
    snprintf(domains, sizeof(domains), "%.200srepo/domains", rig.dir);
    io_list(domains, count_name, &n);
    CHECK_EQ(n, 3); /* the one that all share, and two */
    repo_other_node();
    CHECK_EQ(restore("pvc-there", GIB, up, &copy), 0);
    holds_volume(copy, "apart");
    CHECK_EQ(delete_volume(copy), 0);
    free(copy);
    snprintf(x.option, sizeof(x.option), "--key-file=%.200spass", rig.dir);
    io_list(domains, shred_one, &x);
    CHECK_EQ(x.done, 2);
    CHECK_EQ(restore("pvc-late", GIB, up, NULL), GRPC_NOT_FOUND);
    CHECK_EQ(restore("pvc-late", GIB, up_two, NULL), GRPC_NOT_FOUND);
    free(one);
    free(two);
    free(up);
    free(up_two);
    rig_stop();
}

/* A volume that may be brought back needs what opens its repository, also where the store has no other one. */
TEST(test_csi__a_deleted_volume_keeps_its_secret_until_it_is_gone)
{
    char *id, *snap, *copy, vol[300], main_vol[300], from[64], dir[300], file[400];
    cleanup(buf_free) struct buf b = {0};

    repo_begin(REPO_ONE, "key");
    CHECK_OK(buf_add_zero(&b, 100000));
    memset(b.data, 'x', b.len - 1);
    id = volume_with("pvc-upload", (const char *)b.data);
    snap = snap_up(id, "snapshot-up", "profile", CLASS);
    repo_other_node();
    CHECK_EQ(restore("pvc-there", GIB, snap, &copy), 0);
    snprintf(vol, sizeof(vol), "%.200s/apart", rig.store);
    snprintf(main_vol, sizeof(main_vol), "%.200s/main", rig.store);
    snprintf(dir, sizeof(dir), "%.200s/csi/.secrets", rig.store);
    snprintf(file, sizeof(file), "--key-file=%s/kept", dir);
    snprintf(from, sizeof(from), "--from=%.50s", snap);
    CHECK_EQ(delete_volume(copy), 0);
    no_secret_left();
    rig_csi_end(SIGTERM);
    put(dir, "kept", SECRET);
    rig_varve_words((const char *const[]){"create", vol, from, "--no-hydrate", file, NULL});
    rig_varve("delete", main_vol, NULL, NULL);
    rig_varve("delete", vol, NULL, NULL);
    rig_csi_start(NULL); /* it sweeps when it begins */
    pause_ms(500);
    CHECK_EQ(secrets_left(), 1);
    rig_varve("undelete", vol, NULL, NULL);
    rig_varve("mount", vol, rig.stage, NULL);
    CHECK(holds(rig.stage, "f", (const char *)b.data));
    rig_varve("umount", rig.stage, NULL, NULL);
    rig_varve("delete", vol, "--now", NULL);
    CHECK_EQ(snap_delete(snap), 0);
    free(copy);
    free(id);
    free(snap);
    rig_stop();
}

/* Any recovery point, by what a person sees of it; one that is kept when its snapshot goes (Retain) is one of these. */
TEST(test_csi__a_recovery_point_is_a_snapshot)
{
    char *id, *copy, at[500], vol[300], point[65] = "";
    int64_t size;
    bool ready;

    setenv("VARVE_PASSPHRASE", SECRET, 1);
    repo_begin(REPO_ONE, "passphrase");
    unsetenv("VARVE_PASSPHRASE");
    id = volume_with("pvc-person", "by hand");
    snprintf(vol, sizeof(vol), "%s/pvc-person", rig.store);
    rig_varve("backup", "run", vol, "--to=offsite");
    snprintf(at, sizeof(at), "%srepo/points", rig.dir);
    io_list(at, take_name, point);
    CHECK_EQ(strlen(point), 64);
    CHECK_EQ(delete_volume(id), 0);
    snprintf(at, sizeof(at), "offsite#%.12s", point);
    CHECK_EQ(snap_get(at, &ready, &size), 0);
    CHECK(ready);
    CHECK_EQ(restore("pvc-again", GIB, at, &copy), 0);
    holds_volume(copy, "by hand");
    snprintf(at, sizeof(at), "%s#%s", repo_url, point);
    CHECK_EQ(snap_get(at, &ready, &size), 0);
    CHECK_EQ(snap_delete(at), 0);
    CHECK_EQ(points_in("repo"), 0);
    CHECK_EQ(delete_volume(copy), 0);
    free(copy);
    free(id);
    rig_stop();
}

static void class_ask(Csi__V1__CreateVolumeRequest *q, struct cap *c, const char *name,
                      const char *repository)
{
    static Csi__V1__CreateVolumeRequest__ParametersEntry e, *list[] = {&e};

    csi__v1__create_volume_request__init(q);
    csi__v1__create_volume_request__parameters_entry__init(&e);
    cap_init(c, SNW);
    q->name = text(name);
    q->n_volume_capabilities = 1;
    q->volume_capabilities = c->list;
    e.key = text("repository");
    e.value = text(repository);
    q->parameters = list;
    q->n_parameters = 1;
}

static int class_status(const char *name, const char *repository)
{
    Csi__V1__CreateVolumeRequest q;
    struct cap c;

    class_ask(&q, &c, name, repository);
    return rpc_status("/csi.v1.Controller/CreateVolume", &q);
}

static char *volume_id(const char *name)
{
    Csi__V1__CreateVolumeResponse *a;
    Csi__V1__CreateVolumeRequest q;
    struct cap c;
    char *id;

    class_ask(&q, &c, name, "offsite");
    a = RPC(Controller, CreateVolume, &q, 0);
    id = strdup(a->volume->volume_id);
    rpc_free(a);
    return id;
}

TEST(test_csi__what_a_class_cannot_mean_is_told)
{
    char *id, *snap;

    repo_begin("", "key");
    id = make_volume("pvc-wrong", GIB);
    CHECK_EQ(snap_status(id, "s-1", "profile", "upload-snapshot-to-clowd"), GRPC_INVALID_ARGUMENT);
    CHECK(strstr(rig.why, "did you mean " CLASS "?") && strncmp(rig.why, "parameters[profile]: ", 21) == 0);
    CHECK_EQ(snap_status(id, "s-1", "repository", "ofsite"), GRPC_INVALID_ARGUMENT);
    CHECK(strstr(rig.why, "did you mean offsite?") && strncmp(rig.why, "parameters[repository]: ", 24) == 0);
    CHECK_EQ(snap_status(id, "s-1", "profiles", CLASS), GRPC_INVALID_ARGUMENT);
    CHECK_EQ(snap_status(id, "s-1", "profile", CLASS), GRPC_INVALID_ARGUMENT); /* it names no repository */
    CHECK(strstr(rig.why, "names no repository"));
    CHECK_EQ(snaps_listed(""), 0);
    secret.key = NULL;
    for (int i = 0, status = 0; status == 0; i++, pause_ms(20)) {
        CHECK(i < 500);
        status = snap_status(id, "s-2", "repository", "offsite");
        CHECK(status == 0 || status == GRPC_UNAUTHENTICATED);
    }
    CHECK(!any_ready()); /* it is taken, and nowhere yet */
    secret_is("offsite.key", SECRET);
    free(snap_up(id, "s-2", "repository", "offsite"));
    CHECK_EQ(snap_status(id, "s-2", "repository", "vault"), GRPC_ALREADY_EXISTS);
    CHECK_EQ(class_status("pvc-class", "ofsite"), GRPC_INVALID_ARGUMENT);
    CHECK(strstr(rig.why, "did you mean offsite?") && strncmp(rig.why, "parameters[repository]: ", 24) == 0);
    CHECK_EQ(class_status("pvc-class", "offsite"),
             0); /* what the profile leaves open the volume's class says */
    free(id);
    id = volume_id("pvc-class");
    snap = snap_up(id, "s-3", "profile", CLASS);
    CHECK(strncmp(snap, "offsite#", 8) == 0 && points_in("repo") == 2);
    no_secret_left();
    free(snap);
    free(id);
    rig_stop();
}

/* By a library that stands in for librados, and asks for the key that the class' secret has. */
TEST(test_csi__a_class_uploads_to_rados)
{
    static const char url[] = "rados://pool/space?monitors=stand-in:1";
    char *id, *snap, *copy, path[600] = "", key[400], *slash;
    int64_t size;
    bool ready;

    CHECK(readlink("/proc/self/exe", path, 400) > 0);
    slash = strrchr(path, '/');
    snprintf(slash, sizeof(path) - (size_t)(slash - path), "/standin");
    setenv("LD_LIBRARY_PATH", path, 1);
    snprintf(path, sizeof(path), "%s/pool", test_dir());
    setenv("VARVE_RADOS_POOL", path, 1);
    setenv("VARVE_RADOS_KEY", SECRET, 1);
    repo_begin(REPO_ONE, "key");
    rig_varve_words((const char *const[]){"repo", "remove", "offsite", NULL});
    snprintf(key, sizeof(key), "--key-file=%spass", rig.dir);
    put(rig.dir, "keyring", "[client.admin]\n\tkey = " SECRET "\n");
    snprintf(path, sizeof(path), "--credentials=%skeyring", rig.dir);
    rig_varve_words((const char *const[]){"repo", "init", url, key, path, NULL});
    rig_varve_words((const char *const[]){"repo", "add", "offsite", url, key, NULL});
    secret_is("credentials", "[client.admin]\n\tkey = " SECRET "\n");
    id = volume_with("pvc-rados", "then");
    snap = snap_up(id, "snapshot-rados", "profile", CLASS);
    CHECK(strncmp(snap, "offsite#", 8) == 0);
    no_secret_left();
    repo_other_node();
    CHECK_EQ(snap_get(snap, &ready, &size), 0);
    CHECK(ready && size >= 4);
    CHECK_EQ(restore("pvc-there", GIB, snap, &copy), 0);
    holds_volume(copy, "then");
    CHECK_EQ(delete_volume(copy), 0);
    secret_is("credentials", "[client.admin]\n\tkey = another one\n");
    CHECK_EQ(restore("pvc-closed", GIB, snap, NULL), GRPC_UNAVAILABLE);
    CHECK(strstr(rig.why, "the cluster refuses the key"));
    secret_is("credentials", "[client.admin]\n\tkey = " SECRET "\n");
    CHECK_EQ(snap_delete(snap), 0);
    CHECK_EQ(snap_get(snap, &ready, &size), GRPC_NOT_FOUND);
    no_secret_left();
    free(copy);
    free(id);
    free(snap);
    rig_stop();
    unsetenv("LD_LIBRARY_PATH");
}
