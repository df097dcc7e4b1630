#include "tests/csi/rig_repo.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/sock.h"

void put(const char *dir, const char *name, const char *bytes)
{
    char path[600];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    CHECK(write(fd, bytes, strlen(bytes)) == (ssize_t)strlen(bytes));
    close(fd);
}

bool holds(const char *dir, const char *name, const char *bytes)
{
    cleanup(buf_free) struct buf b = {0};
    char path[600];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return io_read_file(io_real(), path, 1 << 20, &b) == 0 && b.len == strlen(bytes) &&
           memcmp(b.data, bytes, b.len) == 0;
}

Csi__V1__CreateSnapshotRequest__SecretsEntry secret, *secrets[] = {&secret};

void secret_is(const char *key, const char *value)
{
    csi__v1__create_snapshot_request__secrets_entry__init(&secret);
    secret.key = text(key);
    secret.value = text(value);
}

int restore(const char *name, int64_t size, const char *snapshot, char **ret)
{
    Csi__V1__VolumeContentSource__SnapshotSource s = CSI__V1__VOLUME_CONTENT_SOURCE__SNAPSHOT_SOURCE__INIT;
    Csi__V1__VolumeContentSource from = CSI__V1__VOLUME_CONTENT_SOURCE__INIT;
    Csi__V1__CapacityRange range = CSI__V1__CAPACITY_RANGE__INIT;
    Csi__V1__CreateVolumeRequest q;
    struct cap c;

    create_request(&q, &c, name, SNW);
    q.capacity_range = &range;
    range.required_bytes = size;
    s.snapshot_id = text(snapshot);
    from.type_case = CSI__V1__VOLUME_CONTENT_SOURCE__TYPE_SNAPSHOT;
    from.snapshot = &s;
    q.volume_content_source = &from;
    q.secrets = (Csi__V1__CreateVolumeRequest__SecretsEntry **)(void *)secrets;
    q.n_secrets = secret.key ? 1 : 0;
    if (!ret)
        return rpc_status("/csi.v1.Controller/CreateVolume", &q);
    *ret = create_volume(&q);
    return 0;
}

char repo_url[400], other_url[400];

/* A passphrase takes a third of a second each time, a key nothing. */
void repo_begin(const char *repos, const char *kind)
{
    char path[400], profile[1024];

    secret_is(kind, REPO_SECRET_TEXT);
    rig_start(NULL); /* for its directory, and to skip */
    rig_stop();
    snprintf(path, sizeof(path), "%sconfig", rig.dir);
    setenv("XDG_CONFIG_HOME", path, 1);
    snprintf(path, sizeof(path), "%scache", rig.dir);
    setenv("XDG_CACHE_HOME", path, 1);
    put(rig.dir, "pass", REPO_SECRET_TEXT);
    snprintf(path, sizeof(path), "--%s-file=%spass", kind, rig.dir);
    snprintf(repo_url, sizeof(repo_url), "dir:%srepo", rig.dir);
    snprintf(other_url, sizeof(other_url), "dir:%sother", rig.dir);
    rig_varve("repo", "init", repo_url, path);
    rig_varve("repo", "init", other_url, path);
    rig_varve("repo", "add", "offsite", repo_url);
    rig_varve("repo", "add", "vault", other_url);
    snprintf(profile, sizeof(profile), "name = \"" REPO_CLASS "\";\n%s", repos);
    put(rig.dir, "profile", profile);
    snprintf(path, sizeof(path), "%sprofile", rig.dir);
    rig_varve("profile", "add", path, "--replace");
    rig_serve_start();
    rig_csi_start(NULL);
}

/* As another node: another store, with a daemon and a driver of its own. */
void repo_node(int n)
{
    rig_csi_end(SIGTERM);
    rig_serve_end();
    if (n > 1)
        snprintf(rig.store, sizeof(rig.store), "%.200sstore-%d", rig.dir, n);
    else
        snprintf(rig.store, sizeof(rig.store), "%.200sstore", rig.dir);
    if (access(rig.store, F_OK) < 0)
        rig_varve("create", rig.store, NULL, NULL);
    rig_serve_start();
    rig_csi_start(NULL);
}

void repo_other_node(void)
{
    repo_node(2);
}

int count_name(void *arg, const char *name)
{
    *(size_t *)arg += name[0] != 0;
    return 0;
}

size_t points_in(const char *repo)
{
    char path[400];
    size_t n = 0;

    snprintf(path, sizeof(path), "%s%s/points", rig.dir, repo);
    io_list(path, count_name, &n);
    return n;
}

size_t secrets_left(void)
{
    char path[400];
    size_t n = 0;

    snprintf(path, sizeof(path), "%s/csi/.secrets", rig.store);
    io_list(path, count_name, &n);
    return n > 0 ? n - 1 : 0; /* but for the salt */
}

void no_secret_left(void)
{
    cleanup(buf_free) struct buf log = {0}, jobs = {0};
    cleanup(sock_answer_free) struct sock_answer a = {.exit_code = 0};
    const char *w[] = {"job", "list", ".", "--json"};

    for (int i = 0; i < 500 && secrets_left() > 0; i++)
        pause_ms(20);
    CHECK_EQ(secrets_left(), 0);
    CHECK_OK(io_read_file(io_real(), rig.log, 64 << 20, &log));
    CHECK(!strstr(buf_cstr(&log), REPO_SECRET_TEXT));
    CHECK_OK(sock_words(&jobs, w, ARRAY_LEN(w)));
    CHECK_OK(sock_verb(rig.store, &jobs, &a));
    CHECK(!strstr(buf_cstr(&a.out), REPO_SECRET_TEXT));
}

char *volume_with(const char *name, const char *bytes)
{
    char *id = make_volume(name, ((int64_t)1 << 30));

    CHECK_EQ(stage_as(id, rig.stage, SNW, NULL, NULL), 0);
    put(rig.stage, "f", bytes);
    CHECK_EQ(unstage(id, rig.stage), 0);
    return id;
}

void holds_volume(const char *id, const char *bytes)
{
    CHECK_EQ(stage_as(id, rig.stage, SNW, NULL, NULL), 0);
    CHECK(holds(rig.stage, "f", bytes));
    CHECK_EQ(unstage(id, rig.stage), 0);
}
