#include "plugin/kube.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/io.h"

#define ANSWER_MAX (16u << 20) /* bytes of one answer */
#define TOKEN_MAX (64u << 10)
#define PAGE 500

int kube_said(int code, const char *what, const char *why)
{
    fprintf(stderr, "varve-manifests: %s: %s\n", what, why);
    return code;
}

void kube_json_free(json_t **j)
{
    json_decref(*j);
}

const char *kube_text(const json_t *o, const char *a, const char *b)
{
    const char *s = json_string_value(json_object_get(b ? json_object_get(o, a) : o, b ? b : a));

    return s ? s : "";
}

bool kube_is_name(const char *s, size_t n)
{
    return n > 0 && n < 254 && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789.-") >= n && s[0] != '.';
}

/* --- one question ----------------------------------------------------------------------------------------------------------- */

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct buf *b = arg;

    return b->len + size * n <= ANSWER_MAX && buf_add(b, p, size * n) == 0 ? size * n : 0;
}

/* body NULL: GET. */
static int ask(struct kube *q, const char *method, const char *path, const char *body)
{
    int64_t left_ms = (q->until_ns - clock_mono_ns()) / 1000000;
    char url[2048], error[CURL_ERROR_SIZE] = "";
    CURLcode c;

    if (left_ms <= 0)
        return kube_said(KUBE_NO_ACCESS, path, "the API server takes too long");
    if (snprintf(url, sizeof(url), "%s%s", q->base, path) >= (int)sizeof(url))
        return kube_said(1, path, "is too long");
    buf_reset(&q->body);
    curl_easy_setopt(q->curl, CURLOPT_URL, url);
    curl_easy_setopt(q->curl, CURLOPT_POSTFIELDS, body);
    if (!body)
        curl_easy_setopt(q->curl, CURLOPT_HTTPGET, 1L);
    curl_easy_setopt(q->curl, CURLOPT_CUSTOMREQUEST, body ? method : NULL);
    curl_easy_setopt(q->curl, CURLOPT_TIMEOUT_MS, (long)left_ms);
    curl_easy_setopt(q->curl, CURLOPT_ERRORBUFFER, error);
    c = curl_easy_perform(q->curl);
    curl_easy_setopt(q->curl, CURLOPT_ERRORBUFFER, NULL);
    if (c == CURLE_WRITE_ERROR)
        return kube_said(1, path, "the answer is too large");
    if (c != CURLE_OK)
        return kube_said(KUBE_NO_ACCESS, path, *error ? error : curl_easy_strerror(c));
    curl_easy_getinfo(q->curl, CURLINFO_RESPONSE_CODE, &q->status);
    return q->status == 401 ? kube_said(KUBE_NO_ACCESS, path, "the token is refused") : 0;
}

int kube_get(struct kube *q, const char *path, json_t **ret)
{
    int r = ask(q, "GET", path, NULL);

    *ret = NULL;
    if (r != 0 || q->status == 404 || q->status == 403)
        return r;
    if (q->status != 200)
        return kube_said(KUBE_NO_ACCESS, path, "the API server answers with an error");
    *ret = json_loadb((const char *)q->body.data, q->body.len, 0, NULL);
    if (json_is_object(*ret))
        return 0;
    json_decref(*ret);
    *ret = NULL;
    return kube_said(1, path, "the answer is no object");
}

int kube_send(struct kube *q, const char *method, const char *path, const json_t *body)
{
    char *text = json_dumps(body, JSON_COMPACT);
    int r = text ? ask(q, method, path, text) : kube_said(1, path, "out of memory");

    curl_easy_setopt(q->curl, CURLOPT_POSTFIELDS, NULL);
    free(text);
    return r;
}

/* --- lists ------------------------------------------------------------------------------------------------------------------ */

/* What the list goes on with; "" at its end, and where it is nothing for an address. */
static void next_of(const json_t *page, char *to, size_t len)
{
    const char *next = kube_text(page, "metadata", "continue");

    if (strlen(next) >= len || strspn(next, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                            "0123456789-_.~%") != strlen(next))
        next = "";
    snprintf(to, len, "%s", next);
}

int kube_each(struct kube *q, const char *path, const char *query, int (*fn)(void *arg, json_t *o), void *arg)
{
    char url[2 * KUBE_PATH_SIZE], more[512] = "";
    int r = 0;

    do {
        cleanup(kube_json_free) json_t *page = NULL;
        json_t *o;
        size_t i;

        if (snprintf(url, sizeof(url), "%s?limit=%d%s%s%s%s", path, PAGE, *query ? "&" : "", query,
                     *more ? "&continue=" : "", more) >= (int)sizeof(url))
            return kube_said(1, path, "is too long");
        r = kube_get(q, url, &page);
        json_array_foreach(json_object_get(page, "items"), i, o) if (r == 0) r = fn(arg, o);
        next_of(page, more, sizeof(more));
    } while (r == 0 && *more);
    return r;
}

/* --- who we are, and where it is -------------------------------------------------------------------------------------------- */

/* A file of the account, its first line. */
static int account_read(const char *dir, const char *name, const char *missing, struct buf *ret)
{
    char path[PATH_MAX + 32];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (io_read_file(io_real(), path, TOKEN_MAX, ret) < 0 || !buf_cstr(ret))
        return kube_said(KUBE_NO_ACCESS, path, missing);
    ret->len = strcspn(buf_cstr(ret), "\r\n");
    return 0;
}

int kube_namespace(const struct kube *q, char to[KUBE_NAME_SIZE])
{
    cleanup(buf_free) struct buf b = {0};
    int r = account_read(q->dir, "namespace", "there is no namespace", &b);

    if (r != 0)
        return r;
    if (!kube_is_name((const char *)b.data, b.len))
        return kube_said(1, q->dir, "namespace: is none");
    snprintf(to, KUBE_NAME_SIZE, "%.*s", (int)b.len, (const char *)b.data);
    return 0;
}

static int headers_make(struct kube *q)
{
    cleanup(buf_free) struct buf token = {0}, line = {0};
    int r = account_read(q->dir, "token", "there is no token", &token);
    struct curl_slist *more;

    if (r != 0)
        return r;
    if (buf_printf(&line, "Authorization: Bearer %.*s", (int)token.len, (const char *)token.data) < 0 ||
        !(q->headers = curl_slist_append(NULL, buf_cstr(&line))) ||
        !(more = curl_slist_append(q->headers, "Content-Type: application/json")))
        return kube_said(1, q->dir, "out of memory");
    q->headers = more;
    return 0;
}

static void options_set(struct kube *q)
{
    curl_easy_setopt(q->curl, CURLOPT_HTTPHEADER, q->headers);
    curl_easy_setopt(q->curl, CURLOPT_CAINFO, q->ca);
    curl_easy_setopt(q->curl, CURLOPT_CAPATH, NULL);
    curl_easy_setopt(q->curl, CURLOPT_SSL_VERIFYHOST, BROKEN(VARVE_BREAK_manifests_name) ? 0L : 2L);
    curl_easy_setopt(q->curl, CURLOPT_PROTOCOLS_STR, "https");
    curl_easy_setopt(q->curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(q->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(q->curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(q->curl, CURLOPT_WRITEDATA, &q->body);
    curl_easy_setopt(q->curl, CURLOPT_USERAGENT, "varve/" VARVE_VERSION);
}

int kube_begin(struct kube *q, int64_t ms)
{
    const char *host = getenv("KUBERNETES_SERVICE_HOST"), *port = getenv("KUBERNETES_SERVICE_PORT");
    const char *dir = getenv("VARVE_KUBE_ACCOUNT");
    bool six = host && strchr(host, ':');
    int r;

    if (!host || !port || !*host)
        return kube_said(KUBE_NO_ACCESS, "KUBERNETES_SERVICE_HOST", "is not set: this is no pod");
    dir = dir ? dir : KUBE_ACCOUNT;
    snprintf(q->base, sizeof(q->base), "https://%s%s%s:%s", six ? "[" : "", host, six ? "]" : "", port);
    if (snprintf(q->ca, sizeof(q->ca), "%s/ca.crt", dir) >= (int)sizeof(q->ca))
        return kube_said(1, dir, "is too long");
    snprintf(q->dir, sizeof(q->dir), "%s", dir);
    if ((r = headers_make(q)) != 0)
        return r;
    q->curl = curl_easy_init();
    if (!q->curl)
        return kube_said(1, "curl", "out of memory");
    options_set(q);
    q->until_ns = clock_mono_ns() + ms * 1000000;
    return 0;
}

void kube_end(struct kube *q)
{
    curl_easy_cleanup(q->curl);
    curl_slist_free_all(q->headers);
    buf_free(&q->body);
    *q = (struct kube){.status = 0};
}
