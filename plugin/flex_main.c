/* varve-flex: the call-outs of FlexVolume. One process a call, one line of JSON on standard output. As the kubelet has it, it is called
 * PLUGINDIR/varve.io~varve/varve, with varve.conf beside it; `varve-flex install` puts both there.
 *
 *   varve.conf   lines of NAME=VALUE: store=/srv/store, varve=/usr/local/bin/varve */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/jw.h"
#include "plugin/csi.h"

#define VENDOR_DIR "varve.io~varve"
#define CONF_MAX 65536
#define PROGRAM_MAX (256u << 20)

struct flex {
    struct csi d;
    struct csi_call k;
    char store[PATH_MAX], varve[PATH_MAX];
    const char *volume, *options, *fsgroup, *capabilities; /* of a call */
    bool readonly, create;
    uint64_t size, new_size;
    const char *volume_name;
};

/* --- what is answered ---------------------------------------------------------------------------------------------------- */

static int answer(const struct flex *f, const char *status, const char *message)
{
    cleanup(buf_free) struct buf b = {0};
    struct jw j = jw_begin(&b, false);

    jw_object(&j, NULL);
    jw_str(&j, "status", status);
    if (message)
        jw_str(&j, "message", message);
    if (f->volume_name)
        jw_str(&j, "volumeName", f->volume_name);
    if (f->new_size)
        jw_u64(&j, "volumeNewSize", f->new_size);
    if (f->capabilities) {
        jw_object(&j, "capabilities");
        jw_bool(&j, "attach", false);
        jw_bool(&j, "selinuxRelabel", false);
        jw_bool(&j, "fsGroup", false);
        jw_bool(&j, "supportsMetrics", true);
        jw_bool(&j, "requiresFSResize", false);
        jw_close(&j);
    }
    jw_close(&j);
    if (jw_end(&j) < 0 || printf("%s\n", buf_cstr(&b)) < 0 || fflush(stdout) != 0)
        return 1;
    return strcmp(status, "Success") == 0 ? 0 : 1;
}

#define failed(f, ...) csi_fail(&(f)->k, GRPC_INVALID_ARGUMENT, __VA_ARGS__)

/* --- what is asked for --------------------------------------------------------------------------------------------------- */

static int conf_line(struct flex *f, const char *line)
{
    const char *eq = strchr(line, '=');
    size_t n = eq ? (size_t)(eq - line) : 0;

    if (!*line || *line == '#')
        return 0;
    if (n == 5 && strncmp(line, "store", n) == 0)
        snprintf(f->store, sizeof(f->store), "%s", eq + 1);
    else if (n == 5 && strncmp(line, "varve", n) == 0)
        snprintf(f->varve, sizeof(f->varve), "%s", eq + 1);
    else
        return failed(f, "varve.conf: \"%.40s\" is not understood", line);
    return 0;
}

/* varve.conf beside the program; there need not be one. */
static int conf_read(struct flex *f)
{
    cleanup(buf_free) struct buf b = {0};
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 16);
    char *slash, *save, *line;
    int r = 0;

    if (n <= 0)
        return failed(f, "/proc: the program cannot be told from it");
    path[n] = 0;
    slash = strrchr(path, '/');
    memcpy(slash + 1, "varve.conf", 11);
    snprintf(f->varve, sizeof(f->varve), "%.*s/varve", (int)(slash - path), path);
    if (io_read_file(io_real(), path, CONF_MAX, &b) < 0 || !buf_cstr(&b))
        return 0;
    for (line = strtok_r((char *)b.data, "\n", &save); line && r == 0; line = strtok_r(NULL, "\n", &save))
        r = conf_line(f, line);
    return r;
}

static int option_add(struct flex *f, const char *name, const char *value)
{
    f->options = arena_printf(&f->k.arena, "%s%s%s=%s", f->options, *f->options ? "," : "", name, value);
    return f->options ? 0 : csi_nomem(&f->k);
}

static bool is(const char *key, const char *a, const char *b)
{
    return strcmp(key, a) == 0 || (b && strcmp(key, b) == 0);
}

/* Both what the documents of FlexVolume and what its code calls things. */
static int option_kube(struct flex *f, const char *key, const char *value)
{
    const char *name = key + sizeof("kubernetes.io/") - 1;

    if (is(name, "readwrite", NULL))
        f->readonly = strcmp(value, "ro") == 0;
    else if (is(name, "fsGroup", "mounterArgs.FsGroup"))
        f->fsgroup = *value ? arena_dup(&f->k.arena, value) : NULL;
    else if (is(name, "fsType", NULL) && *value && strcmp(value, "varve") != 0)
        return failed(f, "fsType: \"%.40s\" is not varve; leave it out", value);
    return 0;
}

static int option_take(struct flex *f, const char *key, const char *value)
{
    csi_entry e = CSI__V1__CREATE_VOLUME_REQUEST__PARAMETERS_ENTRY__INIT, *es[] = {&e};
    struct csi_params p;
    if (strncmp(key, "kubernetes.io/", 14) == 0)
        return option_kube(f, key, value);
    if (is(key, "store", NULL)) {
        snprintf(f->store, sizeof(f->store), "%s", value);
    } else if (is(key, "volume", NULL)) {
        f->volume = arena_dup(&f->k.arena, value);
    } else if (is(key, "size", NULL)) {
        if (csi_number(value, &f->size) < 0)
            return failed(f, "options.size: \"%.40s\" is not understood; write 10Gi, or bytes", value);
    } else if (is(key, "create", NULL)) {
        f->create = strcmp(value, "true") == 0;
    } else if (is(key, "control", "snapdir") || is(key, "controlGid", NULL)) {
        e.key = (char *)(uintptr_t)key;
        e.value = (char *)(uintptr_t)value;
        if (csi_params_take(&f->k, "options", 1, es, &p) < 0 ||
            csi_control_check(&f->k, "options.control", p.control) < 0)
            return -E_FAILED;
        return option_add(f, is(key, "controlGid", NULL) ? "control_gid" : key, value);
    } else {
        return failed(f,
                      "options.%.40s: is not known; known are store, volume, size, create, control, "
                      "controlGid, snapdir",
                      key);
    }
    return 0;
}

static void json_free(json_t **j)
{
    json_decref(*j);
}

static int options_take(struct flex *f, const char *text)
{
    cleanup(json_free) json_t *j = text ? json_loads(text, 0, NULL) : NULL;
    char real[PATH_MAX];
    const char *key;
    json_t *v;
    int r = 0;

    f->options = "control=" CSI_CONTROL; /* a later one counts */
    if (!json_is_object(j))
        return failed(f, "the options are no JSON object");
    json_object_foreach(j, key, v)
    {
        if (r == 0 && json_is_string(v))
            r = option_take(f, key, json_string_value(v));
        else if (r == 0)
            r = failed(f, "options.%.40s: is no text", key);
    }
    if (r == 0 && !f->store[0])
        r = failed(f, "options.store: is missing, and varve.conf has none");
    if (r == 0 && (!f->volume || !*f->volume))
        r = failed(f, "options.volume: is missing");
    if (r == 0 && realpath(f->store, real))
        memcpy(f->store, real, strlen(real) + 1);
    f->d.store = f->store;
    return r;
}

/* --- call-outs ----------------------------------------------------------------------------------------------------------- */

static int volume_find(struct flex *f, struct csi_volumes *vs, const struct csi_volume **ret)
{
    int r = csi_volumes(&f->k, vs);

    *ret = r == 0 ? csi_volume_named(vs, f->volume) : NULL;
    return r;
}

static int volume_get(struct flex *f, struct csi_volumes *vs, const struct csi_volume **ret)
{
    const char *size = arena_printf(&f->k.arena, "--size=%" PRIu64, f->size);
    struct csi_result res;
    int r = volume_find(f, vs, ret);

    if (r < 0 || *ret)
        return r;
    if (!f->create && !f->size)
        return failed(f, "options.volume: the store has no volume %.200s; give create or size", f->volume);
    r = size ? CSI_VERB(&f->k, &res, NULL, "create", f->volume, f->size ? size : "--size=none")
             : csi_nomem(&f->k);
    if (r == 0 && !csi_result_is(&res, "OK") && !csi_result_is(&res, "EXIST"))
        r = csi_result_fail(&f->k, "options.volume", &res);
    if (r == 0)
        r = volume_find(f, vs, ret);
    return r == 0 && !*ret ? failed(f, "options.volume: was deleted by somebody else") : r;
}

/* Who writes a pod's description chooses the volume's name: those of claims are their namespaces'. */
static int claimed(struct flex *f, const struct csi_volume *v)
{
    struct csi_facts *facts = NULL;
    int r = csi_facts_get(&f->k, v->name, &facts);

    if (r == 0 && (facts || v->retired || csi_mobile_volume(v)))
        r = failed(f, "options.volume: %.200s is of a claim, which is mounted by CSI only", v->name);
    return r;
}

static int fsgroup_set(struct flex *f, const char *dir)
{
    uint64_t gid;

    if (!f->fsgroup)
        return 0;
    if (csi_number(f->fsgroup, &gid) < 0 || gid >= UINT32_MAX)
        return failed(f, "fsGroup: \"%.20s\" is no number of a group", f->fsgroup);
    return csi_group_set(&f->k, "fsGroup", dir, (gid_t)gid);
}

static int call_mount(struct flex *f, char **args)
{
    const struct csi_volume *v = NULL;
    struct csi_volumes vs;
    struct csi_mount m;
    const char *dir, *what;
    int r = options_take(f, args[1]);

    if (r == 0)
        r = csi_path(&f->k, "mount dir", args[0], &dir);
    if (r == 0)
        r = volume_get(f, &vs, &v);
    if (r == 0)
        r = claimed(f, v);
    if (r == 0)
        r = csi_mount_at(&f->k, dir, v, &m);
    if (r == 0 && m.dead && (r = csi_unmount(&f->k, "mount dir", dir, true)) == 0)
        m.at = CSI_AT_NOTHING;
    if (r == 0 && m.at == CSI_AT_OTHER)
        r = failed(f, "mount dir: something else is mounted there");
    if (r < 0 || m.at == CSI_AT_VOLUME)
        return r;
    if (mkdir(dir, 0750) < 0 && errno != EEXIST)
        return failed(f, "mount dir: %s", err_text(err_from_errno(errno)));
    what = arena_printf(&f->k.arena, "%s/%s", f->d.store, v->name);
    f->options =
        f->readonly ? arena_printf(&f->k.arena, "ro%s%s", *f->options ? "," : "", f->options) : f->options;
    if (!what || !f->options)
        return csi_nomem(&f->k);
    r = *f->options
            ? csi_varve(&f->k, "mount dir", (const char *const[]){"mount", what, dir, "-o", f->options, NULL})
            : csi_varve(&f->k, "mount dir", (const char *const[]){"mount", what, dir, NULL});
    return r == 0 && !f->readonly ? fsgroup_set(f, dir) : r;
}

/* Whatever the daemon is doing: a mount that is dead goes, too. */
static int call_unmount(struct flex *f, char **args)
{
    struct csi_mount m;
    const char *dir;
    int r = csi_path(&f->k, "mount dir", args[0], &dir);

    f->d.store = f->store;
    if (r == 0)
        r = csi_mount_at(&f->k, dir, NULL, &m);
    if (r < 0 || m.at == CSI_AT_NOTHING)
        return r;
    if (m.dead)
        return csi_unmount(&f->k, "mount dir", dir, true);
    return csi_varve(&f->k, "mount dir", (const char *const[]){"umount", dir, NULL});
}

static int call_name(struct flex *f, char **args)
{
    int r = options_take(f, args[0]);

    if (r == 0)
        f->volume_name = arena_printf(&f->k.arena, "%s/%s", f->d.store, f->volume);
    return r < 0 || f->volume_name ? r : csi_nomem(&f->k);
}

/* expandvolume OPTIONS DEVICE NEW OLD: never smaller. */
static int call_expand(struct flex *f, char **args)
{
    const struct csi_volume *v = NULL;
    struct csi_volumes vs;
    struct csi_result res;
    uint64_t size = 0;
    int r = options_take(f, args[0]);

    if (r == 0 && (csi_number(args[2], &size) < 0 || size == 0))
        r = failed(f, "new size: \"%.40s\" is no number of bytes", args[2]);
    if (r == 0)
        r = volume_find(f, &vs, &v);
    if (r == 0 && !v)
        r = failed(f, "options.volume: the store has no volume %.200s", f->volume);
    if (r == 0)
        r = claimed(f, v);
    if (r < 0)
        return r;
    f->new_size = MAX_OF(size, v->size);
    if (v->size == 0 || v->size >= size)
        return 0;
    r = CSI_VERB(&f->k, &res, NULL, "resize", v->name, args[2]);
    return r < 0 || csi_result_is(&res, "OK") ? r : csi_result_fail(&f->k, "new size", &res);
}

/* expandfs OPTIONS DEVICE DIR NEW OLD: the new limit holds already. */
static int call_expandfs(struct flex *f, char **args)
{
    if (csi_number(args[3], &f->new_size) < 0)
        return failed(f, "new size: \"%.40s\" is no number of bytes", args[3]);
    return 0;
}

static int call_init(struct flex *f, char **args)
{
    (void)args;
    f->capabilities = "";
    return 0;
}

/* --- installing ---------------------------------------------------------------------------------------------------------- */

/* install PLUGINDIR STORE: the kubelet looks as soon as a file has its name, so each gets it when it is whole. */
static int call_install(struct flex *f, char **args)
{
    cleanup(buf_free) struct buf program = {0}, conf = {0};
    const char *dir = arena_printf(&f->k.arena, "%s/" VENDOR_DIR, args[0]);
    const char *path = arena_printf(&f->k.arena, "%s/varve", dir),
               *new = arena_printf(&f->k.arena, "%s/.varve", dir);
    const char *conf_path = arena_printf(&f->k.arena, "%s/varve.conf", dir);
    int r;

    if (!dir || !path || !new || !conf_path)
        return csi_nomem(&f->k);
    if (!realpath(args[1], f->store))
        return failed(f, "STORE: %s", err_text(err_from_errno(errno)));
    if (mkdir(dir, 0755) < 0 && errno != EEXIST)
        return failed(f, "PLUGINDIR: %s", err_text(err_from_errno(errno)));
    r = buf_printf(&conf, "store=%s\nvarve=%s\n", f->store, f->varve);
    if (r == 0)
        r = io_replace(io_real(), conf_path, conf.data, conf.len);
    if (r == 0)
        r = io_read_file(io_real(), "/proc/self/exe", PROGRAM_MAX, &program);
    if (r == 0)
        r = io_replace(io_real(), new, program.data, program.len);
    if (r == 0 && (chmod(new, 0755) < 0 || rename(new, path) < 0))
        r = err_from_errno(errno);
    return r < 0 ? failed(f, "PLUGINDIR: %s", err_text(r)) : 0;
}

static const struct {
    const char *name;
    int args; /* at least */
    int (*run)(struct flex *f, char **args);
} calls[] = {{"init", 0, call_init},           {"mount", 2, call_mount},
             {"unmount", 1, call_unmount},     {"getvolumename", 1, call_name},
             {"expandvolume", 4, call_expand}, {"expandfs", 5, call_expandfs},
             {"install", 2, call_install}};

int main(int argc, char **argv)
{
    static struct flex f;
    const char *name = argc > 1 ? argv[1] : "";
    int r;

    f.k = (struct csi_call){.d = &f.d};
    f.d = (struct csi){.name = "varve.io/varve", .node = "this", .program = f.varve};
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        if (strcmp(name, calls[i].name) != 0)
            continue;
        r = conf_read(&f);
        if (r == 0 && argc - 2 < calls[i].args)
            r = failed(&f, "%s: takes %d arguments", name, calls[i].args);
        if (r == 0)
            r = calls[i].run(&f, argv + 2);
        r = r == 0 ? answer(&f, "Success", NULL) : answer(&f, "Failure", f.k.why ? f.k.why : "out of memory");
        arena_free(&f.k.arena);
        return r;
    }
    return answer(&f, "Not supported", NULL);
}
