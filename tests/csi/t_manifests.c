/* What Kubernetes knows of a claim goes along with what is uploaded: against a server that plays its API over TLS (api.py). */
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/io.h"
#include "tests/csi/rig_api.h"
#include "tests/csi/rig_repo.h"

#define GIB ((int64_t)1 << 30)

static void object_is(const json_t *list, size_t i, const char *kind, const char *name)
{
    const json_t *o = json_array_get(json_object_get(list, "items"), i);
    const char *k = json_string_value(json_object_get(o, "kind"));
    const json_t *meta = json_object_get(o, "metadata");
    const char *n = json_string_value(json_object_get(meta, "name"));

    if (!k || !n || strcmp(k, kind) != 0 || strcmp(n, name) != 0)
        test_fail(__FILE__, __LINE__, "object %zu: %s %s, not %s %s", i, k ? k : "-", n ? n : "-", kind,
                  name);
    CHECK(!json_object_get(o, "status") && json_object_get(o, "apiVersion"));
    CHECK(!json_object_get(meta, "uid") && !json_object_get(meta, "resourceVersion"));
    CHECK(!json_object_get(meta, "managedFields") && !json_object_get(meta, "ownerReferences"));
}

static void all_is(const char *text)
{
    json_t *list = json_loads(text, 0, NULL), *pvc;

    CHECK(list);
    object_is(list, 0, "PersistentVolumeClaim", "data");
    object_is(list, 1, "PersistentVolume", "pv-1");
    object_is(list, 2, "StorageClass", "varve");
    object_is(list, 3, "Deployment", "db");
    object_is(list, 4, "Job", "sum"); /* what owns it is of a kind that is not known */
    object_is(list, 5, "Pod", "alone");
    CHECK_EQ(json_array_size(json_object_get(list, "items")), 6);
    pvc = json_array_get(json_object_get(list, "items"), 0);
    CHECK(!json_object_get(json_object_get(pvc, "spec"), "volumeName"));
    CHECK(json_object_get(json_object_get(pvc, "spec"), "storageClassName"));
    CHECK(json_object_get(json_object_get(json_object_get(pvc, "metadata"), "labels"), "app"));
    json_decref(list);
}

TEST(test_csi__manifests_are_those_of_the_claim_and_its_workload)
{
    cleanup(buf_free) struct buf out = {0}, err = {0};

    api_begin(test_dir(), "IP:127.0.0.1");
    CHECK_EQ(api_ask("shop/data", &out, &err), 0);
    CHECK_EQ(err.len, 0);
    all_is(buf_cstr(&out));
    CHECK_EQ(api_ask("shop/none", &out, &err), 3);
    CHECK(out.len == 0 && strstr(buf_cstr(&err), "there is no such claim"));
    CHECK_EQ(api_ask("'shop/../../x'", &out, &err), 2);
    CHECK_EQ(api_ask("shop", &out, &err), 2);
    api_end();
}

/* Nothing is printed, and a sentence says why. */
static void refused(const char *mode, int code, const char *why)
{
    cleanup(buf_free) struct buf out = {0}, err = {0};
    int got;

    api_behaves(mode);
    got = api_ask("shop/data", &out, &err);
    if (got != code || out.len > 0 || !strstr(buf_cstr(&err), why))
        test_fail(__FILE__, __LINE__, "%s: exit code %d, %zu bytes, \"%s\"", mode, got, out.len,
                  buf_cstr(&err));
}

TEST(test_csi__an_api_server_that_is_not_ours_is_not_asked)
{
    cleanup(buf_free) struct buf b = {0};
    char other[500];

    api_begin(test_dir(), "IP:127.0.0.1");
    refused("forbidden", 3, "not for us to see");
    refused("anonymous", 3, "the token is refused");
    refused("garbage", 1, "no object");
    refused("large", 1, "too large");
    refused("slow", 3, "imed out");
    snprintf(other, sizeof(other), "%s/other-ca.crt", api_dir);
    CHECK_OK(io_read_file(io_real(), other, 1 << 16, &b));
    snprintf(other, sizeof(other), "%s/ca.crt", api_account);
    unlink(other); /* a link to that of the server */
    put(api_account, "ca.crt", buf_cstr(&b));
    refused("ok", 3, "certificate");
    setenv("VARVE_KUBE_ACCOUNT", "/nonexistent", 1);
    refused("ok", 3, "there is no token");
    setenv("VARVE_KUBE_ACCOUNT", api_account, 1);
    setenv("KUBERNETES_SERVICE_PORT", "1", 1);
    refused("ok", 3, "onnect");
    unsetenv("KUBERNETES_SERVICE_HOST");
    refused("ok", 3, "this is no pod");
    api_end();
}

TEST(test_csi__an_api_server_of_another_name_is_not_asked)
{
    api_begin(test_dir(), "DNS:api.example.org");
    refused("ok", 3, "127.0.0.1");
    api_end();
}

/* --- with the driver ---------------------------------------------------------------------------------------------------------- */

static char *claimed(const char *name)
{
    static Csi__V1__CreateVolumeRequest__ParametersEntry e[2], *list[] = {&e[0], &e[1]};
    Csi__V1__CreateVolumeRequest q = CSI__V1__CREATE_VOLUME_REQUEST__INIT;
    Csi__V1__CreateVolumeResponse *a;
    struct cap c;
    char *id;

    for (size_t i = 0; i < 2; i++)
        csi__v1__create_volume_request__parameters_entry__init(&e[i]);
    cap_init(&c, SNW);
    q.name = text(name);
    q.n_volume_capabilities = 1;
    q.volume_capabilities = c.list;
    e[0].key = text("csi.storage.k8s.io/pvc/name");
    e[0].value = text("data");
    e[1].key = text("csi.storage.k8s.io/pvc/namespace");
    e[1].value = text("shop");
    q.parameters = list;
    q.n_parameters = 2;
    a = RPC(Controller, CreateVolume, &q, 0);
    id = strdup(a->volume->volume_id);
    rpc_free(a);
    return id;
}

/* A snapshot that is uploaded, its id. */
static char *uploaded(const char *volume, const char *name)
{
    Csi__V1__CreateSnapshotRequest__ParametersEntry
        e = CSI__V1__CREATE_SNAPSHOT_REQUEST__PARAMETERS_ENTRY__INIT,
        *list[] = {&e};
    Csi__V1__CreateSnapshotRequest q = CSI__V1__CREATE_SNAPSHOT_REQUEST__INIT;

    e.key = text("profile");
    e.value = text(REPO_CLASS);
    q.source_volume_id = text(volume);
    q.name = text(name);
    q.parameters = list;
    q.n_parameters = 1;
    q.secrets = secrets;
    q.n_secrets = 1;
    for (int i = 0; i < 500; i++, pause_ms(20)) {
        Csi__V1__CreateSnapshotResponse *a = RPC(Controller, CreateSnapshot, &q, 0);
        char *id = a->snapshot->ready_to_use ? strdup(a->snapshot->snapshot_id) : NULL;

        rpc_free(a);
        if (id)
            return id;
    }
    test_fail(__FILE__, __LINE__, "%s does not become ready", name);
    return NULL;
}

/* What a person gets of it: 0 bytes: nothing is attached. */
static size_t attached(const char *point, struct buf *ret)
{
    char dir[400], key[400], path[500];

    snprintf(dir, sizeof(dir), "--attachments=%sattached-%s", rig.dir, strchr(point, '#') + 1);
    snprintf(key, sizeof(key), "--key-file=%spass", rig.dir);
    rig_varve_words((const char *const[]){"restore", point, dir, key, NULL});
    snprintf(path, sizeof(path), "%s/manifests.json", strchr(dir, '=') + 1);
    buf_reset(ret);
    return io_read_file(io_real(), path, 4 << 20, ret) < 0 ? 0 : ret->len;
}

static size_t kept(void)
{
    char path[400];
    size_t n = 0;

    snprintf(path, sizeof(path), "%s/csi/.manifests", rig.store);
    io_list(path, count_name, &n);
    return n;
}

TEST(test_csi__manifests_travel_with_what_is_uploaded)
{
    cleanup(buf_free) struct buf b = {0}, log = {0};
    char *id, *point, *bare;

    repo_begin(REPO_ONE, "key");
    rig_csi_end(SIGTERM);
    api_begin(rig.dir, "IP:127.0.0.1");
    rig_csi_start(NULL);
    id = claimed("pvc-claimed");
    point = uploaded(id, "snapshot-1");
    CHECK(attached(point, &b) > 0);
    all_is(buf_cstr(&b));
    CHECK_EQ(kept(), 0);
    api_behaves("forbidden"); /* the snapshot goes on without */
    bare = uploaded(id, "snapshot-2");
    CHECK_EQ(attached(bare, &b), 0);
    CHECK_OK(io_read_file(io_real(), rig.log, 64 << 20, &log));
    CHECK(strstr(buf_cstr(&log), "no manifests") && !strstr(buf_cstr(&log), "the-token"));
    CHECK_EQ(delete_volume(id), 0);
    free(id);
    free(point);
    free(bare);
    api_end();
    rig_stop();
}
