/* varve-manifests: what is asked of Kubernetes' API server. A process of its own, since TLS and the account's token need not live in the
 * driver: it asks, prints, and ends. */
#include <curl/curl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "plugin/kube.h"

#define ALL_MS 5000    /* for all questions */
#define WRITE_MS 30000 /* where it is no call of somebody's that waits */
#define DAY_S 86400
#define DAYS_MAX 36500

static const char help[] =
    "usage: varve-manifests NAMESPACE/CLAIM\n"
    "       varve-manifests nodes [--selector LABELS] [--port N]\n"
    "       varve-manifests certificates [--driver-name NAME] [--days N] [--every SECONDS]\n"
    "\n"
    "NAMESPACE/CLAIM  prints a claim, its volume, its class, and the workload whose pods use it, as a list "
    "that\n"
    "                 kubectl apply takes.\n"
    "nodes            prints `NODE ADDRESS:PORT` for each pod of the DaemonSet in the namespace of this "
    "one.\n"
    "certificates     makes an authority and what it signs, for the nodes' drivers and for the controller's, "
    "in\n"
    "                 the secrets of the namespace, where there are none, where they do not belong together, "
    "and\n"
    "                 where a third of their life is left. The authority's key is kept nowhere.\n"
    "\n"
    "  --selector LABELS   of the pods; default: " NODES_SELECTOR "\n"
    "  --port N            default: the port of the pod that is called csi\n"
    "  --driver-name NAME  which the certificates are for; default: csi.varve.io\n"
    "  --days N            their life; default: 365\n"
    "  --every SECONDS     does not end, and looks again as often\n"
    "  --node-secret NAME  default: varve-node-tls\n"
    "  --controller-secret NAME\n"
    "                      default: varve-controller-tls\n"
    "\n"
    "The API server is that of $KUBERNETES_SERVICE_HOST and $KUBERNETES_SERVICE_PORT; token, namespace and "
    "ca.crt\n"
    "lie in $VARVE_KUBE_ACCOUNT, by default " KUBE_ACCOUNT ".\n"
    "\n"
    "Exit code: 3 where the API server cannot be reached from here, or refuses.\n";

enum {
    OPT_SELECTOR,
    OPT_PORT,
    OPT_DRIVER,
    OPT_DAYS,
    OPT_EVERY,
    OPT_NODE,
    OPT_CONTROLLER,
    OPT_HELP,
    OPT_COUNT
};

static const struct option longs[] = {{"selector", required_argument, NULL, OPT_SELECTOR},
                                      {"port", required_argument, NULL, OPT_PORT},
                                      {"driver-name", required_argument, NULL, OPT_DRIVER},
                                      {"days", required_argument, NULL, OPT_DAYS},
                                      {"every", required_argument, NULL, OPT_EVERY},
                                      {"node-secret", required_argument, NULL, OPT_NODE},
                                      {"controller-secret", required_argument, NULL, OPT_CONTROLLER},
                                      {"help", no_argument, NULL, OPT_HELP},
                                      {NULL, 0, NULL, 0}};

static int usage(void)
{
    fputs(help, stderr);
    return 2;
}

/* text NULL: what it is without. false: it is no number from 1 to max. */
static bool number(const char *text, long without, long max, long *ret)
{
    char *end;

    *ret = without;
    if (!text)
        return true;
    *ret = strtol(text, &end, 10);
    return *text && !*end && *ret > 0 && *ret <= max;
}

static int claim(const char *words)
{
    const char *slash = strchr(words, '/');
    char namespace[KUBE_NAME_SIZE];
    struct kube q = {.status = 0};
    int r;

    if (!slash || !kube_is_name(words, (size_t)(slash - words)) ||
        !kube_is_name(slash + 1, strlen(slash + 1)))
        return usage();
    snprintf(namespace, sizeof(namespace), "%.*s", (int)(slash - words), words);
    r = kube_begin(&q, ALL_MS);
    if (r == 0)
        r = kube_claim(&q, namespace, slash + 1);
    kube_end(&q);
    return r;
}

static int nodes(const char *const o[OPT_COUNT])
{
    struct kube q = {.status = 0};
    long port;
    int r;

    if (!number(o[OPT_PORT], 0, UINT16_MAX, &port))
        return usage();
    r = kube_begin(&q, ALL_MS);
    if (r == 0)
        r = kube_nodes(&q, o[OPT_SELECTOR] ? o[OPT_SELECTOR] : NODES_SELECTOR, o[OPT_PORT]);
    kube_end(&q);
    return r;
}

/* --- certificates ----------------------------------------------------------------------------------------------------------- */

static void on_end(int sig)
{
    (void)sig;
    _exit(0);
}

static int look(const struct kube_certificates *c)
{
    struct kube q = {.status = 0};
    int r = kube_begin(&q, WRITE_MS);

    if (r == 0)
        r = kube_certificates(&q, c);
    kube_end(&q);
    return r;
}

/* The first look has to go well: else it is tried again by whoever started this, and seen. */
static int certificates(const char *const o[OPT_COUNT])
{
    struct kube_certificates c = {.driver = o[OPT_DRIVER] ? o[OPT_DRIVER] : "csi.varve.io",
                                  .node = o[OPT_NODE] ? o[OPT_NODE] : "varve-node-tls",
                                  .controller =
                                      o[OPT_CONTROLLER] ? o[OPT_CONTROLLER] : "varve-controller-tls"};
    long days, every;
    int r;

    if (!number(o[OPT_DAYS], 365, DAYS_MAX, &days) || !number(o[OPT_EVERY], 0, DAY_S, &every) ||
        !kube_is_name(c.driver, strlen(c.driver)) || strlen(c.driver) > 63 ||
        !kube_is_name(c.node, strlen(c.node)) || !kube_is_name(c.controller, strlen(c.controller)))
        return usage();
    c.life_s = (int64_t)days * DAY_S;
    signal(SIGTERM, on_end); /* the first process of a container has no other end */
    signal(SIGINT, on_end);
    r = look(&c);
    while (r == 0 && every > 0) {
        sleep((unsigned)every);
        look(&c);
    }
    return r;
}

int main(int argc, char **argv)
{
    const char *o[OPT_COUNT] = {NULL};
    int c, r;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (c == OPT_HELP)
            return fputs(help, stdout) < 0;
        if (c < 0 || c >= OPT_COUNT)
            return usage();
        o[c] = optarg;
    }
    if (argc - optind != 1)
        return usage();
    curl_global_init(CURL_GLOBAL_DEFAULT);
    if (strcmp(argv[optind], "nodes") == 0)
        r = nodes(o);
    else if (strcmp(argv[optind], "certificates") == 0)
        r = certificates(o);
    else
        r = claim(argv[optind]);
    curl_global_cleanup();
    return r;
}
