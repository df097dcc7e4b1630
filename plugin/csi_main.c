/* varve-csi: the driver of one store on one node, or that of a controller, which asks those of nodes. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "plugin/csi.h"
#include "plugin/csi_route.h"

#define TAKEOVER_S 300
#define WORKERS 64 /* some calls wait for a repository as long as that takes: others are to go on */

static const char help[] =
    "usage: varve-csi --store STORE --endpoint unix:///PATH [option...]\n"
    "       varve-csi --controller --tls DIR --endpoint unix:///PATH [option...]\n"
    "\n"
    "Serves the volumes of a store to Kubernetes and others that speak CSI (gRPC). The store is served by\n"
    "`varve serve STORE`, which outlives this program. As a controller it has no store, and needs no root: "
    "it\n"
    "asks the drivers of nodes, over TLS.\n"
    "\n"
    "  --endpoint unix:///PATH       where it listens; default: $CSI_ENDPOINT\n"
    "  --node-id NAME                of this node; default: $NODE_ID, else the host's name\n"
    "  --registration PATH           also a socket by which the kubelet finds the driver\n"
    "  --kubelet-endpoint PATH       where the kubelet sees the socket; default: as of --endpoint\n"
    "  --max-volumes N               published on this node at a time; default: no limit\n"
    "  --takeover-after SECONDS      of a node that does not let go of a volume that follows its pod; "
    "default: 300\n"
    "  --driver-name NAME            default: " CSI_NAME "\n"
    "  --varve PATH                  the program varve; default: beside this one\n"
    "  --no-snapshot-topology        does not tell where snapshots are (a field that is new in CSI 1.13)\n"
    "  --listen ADDRESS:PORT         where controllers may ask, too, over TLS; default: nowhere\n"
    "  --tls DIR                     with ca.crt, tls.crt and tls.key, which may come and change later\n"
    "  --controller                  asks the drivers of nodes\n"
    "  --nodes FILE                  with a line NODE ADDRESS:PORT for each; default: what `varve-manifests "
    "nodes`\n"
    "                                prints, which lies beside this program\n"
    "  --verbose                     logs every call\n"
    "  --version\n";

enum {
    OPT_STORE,
    OPT_ENDPOINT,
    OPT_NODE,
    OPT_REGISTRATION,
    OPT_KUBELET,
    OPT_MAX,
    OPT_TAKEOVER,
    OPT_NAME,
    OPT_VARVE,
    OPT_PLAIN,
    OPT_LISTEN,
    OPT_TLS,
    OPT_CONTROLLER,
    OPT_NODES,
    OPT_VERBOSE,
    OPT_VERSION,
    OPT_HELP,
    OPT_COUNT
};

static const struct option longs[] = {{"store", required_argument, NULL, OPT_STORE},
                                      {"endpoint", required_argument, NULL, OPT_ENDPOINT},
                                      {"node-id", required_argument, NULL, OPT_NODE},
                                      {"registration", required_argument, NULL, OPT_REGISTRATION},
                                      {"kubelet-endpoint", required_argument, NULL, OPT_KUBELET},
                                      {"max-volumes", required_argument, NULL, OPT_MAX},
                                      {"takeover-after", required_argument, NULL, OPT_TAKEOVER},
                                      {"driver-name", required_argument, NULL, OPT_NAME},
                                      {"varve", required_argument, NULL, OPT_VARVE},
                                      {"no-snapshot-topology", no_argument, NULL, OPT_PLAIN},
                                      {"listen", required_argument, NULL, OPT_LISTEN},
                                      {"tls", required_argument, NULL, OPT_TLS},
                                      {"controller", no_argument, NULL, OPT_CONTROLLER},
                                      {"nodes", required_argument, NULL, OPT_NODES},
                                      {"verbose", no_argument, NULL, OPT_VERBOSE},
                                      {"version", no_argument, NULL, OPT_VERSION},
                                      {"help", no_argument, NULL, OPT_HELP},
                                      {NULL, 0, NULL, 0}};

struct settings {
    const char *o[OPT_COUNT];
    char store[PATH_MAX], program[PATH_MAX], node[256], topology[256];
    const char *path; /* of the endpoint */
};

static struct grpc_server *server;

static void on_signal(int sig)
{
    (void)sig;
    grpc_server_stop(server);
}

static int wrong(const char *what, const char *why)
{
    fprintf(stderr, "varve-csi: %s: %s\n", what, why);
    return 2;
}

/* The path behind unix:// or unix:. */
static const char *path_of(const char *endpoint)
{
    const char *p = endpoint;

    if (p && strncmp(p, "unix:", 5) == 0)
        p += strncmp(p + 5, "//", 2) == 0 ? 7 : 5;
    return p && p[0] == '/' ? p : NULL;
}

/* DIR/varve of our own program. */
static int beside(char to[PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", to, PATH_MAX - 8);
    char *slash;

    if (n <= 0)
        return -E_NOENT;
    to[n] = 0;
    slash = strrchr(to, '/');
    assert(slash);
    memcpy(slash + 1, "varve", 6);
    return 0;
}

static int number_of(const char *text, int64_t *ret)
{
    char *end;

    if (!text)
        return 0;
    *ret = strtoll(text, &end, 10);
    return !*text || *end || *ret < 0 ? -E_USAGE : 0;
}

/* What nodes and controllers have. */
static int fill_both(struct settings *s, struct csi *d)
{
    const char *endpoint = s->o[OPT_ENDPOINT] ? s->o[OPT_ENDPOINT] : getenv("CSI_ENDPOINT");

    s->path = path_of(endpoint);
    if (!s->path)
        return wrong("--endpoint", "is not unix:///PATH");
    d->name = s->o[OPT_NAME] ? s->o[OPT_NAME] : CSI_NAME;
    if (!*d->name || strlen(d->name) > 63)
        return wrong("--driver-name", "has 1 to 63 bytes");
    snprintf(s->topology, sizeof(s->topology), "topology.%s/node", d->name);
    if (s->o[OPT_VARVE])
        snprintf(s->program, sizeof(s->program), "%s", s->o[OPT_VARVE]);
    else if (beside(s->program) < 0)
        return wrong("--varve", "cannot be told from /proc");
    d->no_snapshot_topology = s->o[OPT_PLAIN] != NULL;
    d->topology = s->topology;
    d->program = s->program;
    return 0;
}

/* Options of the other one are no harmless ones. */
static int mode_check(const struct settings *s)
{
    static const int nodes[] = {OPT_STORE, OPT_NODE,     OPT_REGISTRATION, OPT_KUBELET,
                                OPT_MAX,   OPT_TAKEOVER, OPT_LISTEN};
    bool controller = s->o[OPT_CONTROLLER] != NULL;

    for (size_t i = 0; controller && i < ARRAY_LEN(nodes); i++)
        if (s->o[nodes[i]])
            return wrong(longs[nodes[i]].name, "is not for --controller");
    if (!controller && s->o[OPT_NODES])
        return wrong("--nodes", "is for --controller");
    if (controller && !s->o[OPT_TLS])
        return wrong("--tls", "is missing");
    if (!controller && !s->o[OPT_LISTEN] != !s->o[OPT_TLS])
        return wrong(s->o[OPT_TLS] ? "--listen" : "--tls", "is missing");
    return 0;
}

static int fill(struct settings *s, struct csi *d)
{
    const char *node = s->o[OPT_NODE] ? s->o[OPT_NODE] : getenv("NODE_ID");

    if (!s->o[OPT_STORE])
        return wrong("--store", "is missing");
    if (!realpath(s->o[OPT_STORE], s->store))
        return wrong(s->o[OPT_STORE], err_text(err_from_errno(errno)));
    if (!node && gethostname(s->node, sizeof(s->node)) == 0)
        node = s->node;
    if (!node || !*node || strlen(node) > 192)
        return wrong("--node-id", "is missing, or longer than 192 bytes");
    if (number_of(s->o[OPT_MAX], &d->volumes_max) < 0)
        return wrong("--max-volumes", "is no number");
    d->takeover_ms = TAKEOVER_S;
    if (number_of(s->o[OPT_TAKEOVER], &d->takeover_ms) < 0 || d->takeover_ms > INT32_MAX)
        return wrong("--takeover-after", "is no number of seconds");
    d->takeover_ms *= 1000;
    if (access(s->program, X_OK) < 0)
        return wrong(s->program, err_text(err_from_errno(errno)));
    d->store = s->store;
    d->node = node;
    d->endpoint = s->o[OPT_KUBELET] ? s->o[OPT_KUBELET] : s->path;
    return 0;
}

static int listen_on(const char *path)
{
    int r = grpc_server_listen(server, path, 0600);

    return r < 0 ? wrong(path, err_text(r)) : 0;
}

static int listen_far(const struct settings *s, const struct csi *d, struct tls_files **files)
{
    const char *address = s->o[OPT_LISTEN];
    unsigned port;
    int r = tls_files_new(s->o[OPT_TLS], d->name, TLS_NODE, files);

    if (r == 0)
        r = grpc_server_listen_tls(server, address, *files, &port);
    if (r < 0)
        return wrong(address, r == -E_INVAL ? "is not ADDRESS:PORT" : err_text(r));
    log_note("csi", "listens", "address=%s port=%u", address, port);
    return 0;
}

static int server_new(const struct grpc_settings *o)
{
    struct sigaction act = {.sa_handler = on_signal};
    int r = grpc_server_new(o, &server);

    if (r < 0)
        return wrong("the server cannot be made", err_text(r));
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGINT, &act, NULL);
    return 0;
}

static int serve(struct settings *s, struct csi *d)
{
    struct grpc_settings o = {.find = csi_find, .find_far = csi_find_far, .arg = d, .workers = WORKERS};
    struct tls_files *files = NULL;
    int r = csi_init(d);

    if (r == 0)
        r = server_new(&o);
    if (r)
        return r;
    r = listen_on(s->path);
    if (r == 0 && s->o[OPT_REGISTRATION])
        r = listen_on(s->o[OPT_REGISTRATION]);
    if (r == 0 && s->o[OPT_LISTEN])
        r = listen_far(s, d, &files);
    if (r == 0 && csi_sweep_begin(d) < 0)
        r = wrong("a thread", "cannot be made");
    if (r == 0) {
        log_note("csi", "serves", "store=%s node=%s endpoint=%s version=%s", d->store, d->node, s->path,
                 VARVE_VERSION);
        r = grpc_server_run(server) < 0;
        csi_sweep_end(d);
    }
    grpc_server_free(server);
    tls_files_free(files);
    csi_release(d);
    return r;
}

static int nodes_new(const struct settings *s, struct csi *d)
{
    struct grpc_client_settings o = {.files = NULL};
    struct grpc_client *client = NULL;
    int r = tls_files_new(s->o[OPT_TLS], d->name, TLS_CONTROLLER, &o.files);

    if (r == 0)
        r = grpc_client_new(&o, &client);
    if (r < 0)
        tls_files_free(o.files);
    if (r == 0)
        r = csi_nodes_new(d, s->o[OPT_NODES], client, &d->nodes);
    return r < 0 ? wrong("the list of nodes cannot be made", err_text(r)) : 0;
}

/* Each node is a connection, and 1024 files are what many are started with. */
static void files_raise(void)
{
    struct rlimit l;

    if (getrlimit(RLIMIT_NOFILE, &l) < 0)
        return;
    l.rlim_cur = l.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &l);
}

static int control(struct settings *s, struct csi *d)
{
    struct grpc_settings o = {.find = csi_route_find, .arg = d, .workers = WORKERS};
    int r = csi_init(d);

    files_raise();
    if (r == 0)
        r = nodes_new(s, d);
    if (r)
        return r;
    csi_route_init(d);
    r = server_new(&o);
    if (r == 0)
        r = listen_on(s->path);
    if (r == 0) {
        log_note("csi", "controls", "driver=%s endpoint=%s version=%s", d->name, s->path, VARVE_VERSION);
        r = grpc_server_run(server) < 0;
    }
    grpc_server_free(server);
    csi_nodes_free(d->nodes);
    csi_release(d);
    return r;
}

int main(int argc, char **argv)
{
    static struct settings s;
    struct csi d = {.name = NULL};
    int c, r;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (c == '?')
            return 2;
        s.o[c] = optarg ? optarg : "";
    }
    if (s.o[OPT_HELP])
        return fputs(help, stdout) < 0;
    if (s.o[OPT_VERSION])
        return printf("varve-csi %s\n", VARVE_VERSION) < 0;
    if (optind < argc)
        return wrong(argv[optind], "is one word too many");
    if (s.o[OPT_VERBOSE])
        log_set_level(LOG_DEBUG);
    r = mode_check(&s);
    if (r == 0)
        r = fill_both(&s, &d);
    if (r == 0 && s.o[OPT_CONTROLLER])
        return control(&s, &d);
    if (r == 0)
        r = fill(&s, &d);
    return r ? r : serve(&s, &d);
}
