#include "tier/s3_http.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/lock.h"
#include "tier/curl_lib.h"

#define CONNECT_MS 10000
#define TICK_MS 50 /* how often time, pauses and callers are looked at while something is under way */
#define IDLE_MS 60000
#define HEADERS_MAX 65536
#define BUFFER_FAST (256 * 1024L)
#define BUFFER_SLOW (16 * 1024L) /* under a limit */
#define NS_PER_MS 1000000

struct work {
    const struct http_request *q;
    struct http_answer *a;
    struct http *h;
    CURL *easy;
    struct curl_slist *lines;
    char error[CURL_ERROR_SIZE];
    size_t at; /* of the request's body */
    int64_t moved_ns;
    bool paused_up, paused_down;
    int failed;      /* by one of our functions that libcurl calls */
    bool quit, done; /* guarded by h->lock */
    int result;
    struct work *next;
};

struct http {
    struct lock lock; /* guards waiting, stop, and of each work quit, done */
    struct cond ended;
    struct work *waiting, **waiting_end;
    bool stop;
    struct work *active; /* of the thread, as nactive */
    unsigned nactive, concurrency;
    int timeout_ms;
    char *ca;
    CURLM *multi;
    struct rate up, down;
    pthread_t thread;
};

void http_answer_release(struct http_answer *a)
{
    buf_free(&a->headers);
    buf_free(&a->body);
    *a = (struct http_answer){0};
}

const char *http_header(struct http_answer *a, const char *name)
{
    for (size_t at = 0; at < a->headers.len;) {
        const char *n = (const char *)a->headers.data + at, *v = n + strlen(n) + 1;

        if (strcmp(n, name) == 0)
            return v;
        at += strlen(n) + strlen(v) + 2;
    }
    return "";
}

int64_t http_date_ns(const char *text)
{
    time_t t = *text ? curl_lib.getdate(text, NULL) : -1;

    return t < 0 ? -1 : (int64_t)t * 1000000000;
}

/* --- what libcurl calls --------------------------------------------------------------------------------------------- */

static size_t on_send(char *to, size_t size, size_t n, void *arg)
{
    struct work *w = arg;
    size_t len = MIN_OF(size * n, w->q->len - w->at);

    if (len && rate_wait_ns(&w->h->up) > 0) {
        w->paused_up = true;
        return CURL_READFUNC_PAUSE;
    }
    if (len)
        memcpy(to, (const uint8_t *)w->q->body + w->at, len);
    w->at += len;
    w->moved_ns = clock_mono_ns();
    rate_add(&w->h->up, len);
    return len;
}

/* A connection that had been kept was closed meanwhile: libcurl takes another, from the beginning. */
static int on_seek(void *arg, curl_off_t off, int origin)
{
    struct work *w = arg;

    if (origin != SEEK_SET || off < 0 || (uint64_t)off > w->q->len)
        return CURL_SEEKFUNC_FAIL;
    w->at = (size_t)off;
    return CURL_SEEKFUNC_OK;
}

static bool is_part(const struct work *w)
{
    long status = 0;

    return w->q->part && curl_lib.easy_getinfo(w->easy, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK &&
           status == 206;
}

static int body_add(struct work *w, const char *p, size_t len)
{
    struct http_answer *a = w->a;
    bool part = is_part(w);

    if (part ? len > w->q->part_len - a->part_len : a->body.len + len > w->q->room) {
        snprintf(a->why, sizeof(a->why), "the answer is longer than it may be");
        return -E_PROTO;
    }
    if (!part)
        return buf_add(&a->body, p, len);
    memcpy((uint8_t *)w->q->part + a->part_len, p, len);
    a->part_len += len;
    return 0;
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct work *w = arg;
    size_t len = size * n;

    if (rate_wait_ns(&w->h->down) > 0) {
        w->paused_down = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    w->failed = body_add(w, p, len);
    w->moved_ns = clock_mono_ns();
    rate_add(&w->h->down, len);
    return w->failed < 0 ? 0 : len;
}

static int header_add(struct buf *b, const char *p, size_t len)
{
    const char *colon = memchr(p, ':', len);
    size_t n = colon ? (size_t)(colon - p) : 0;
    int r = 0;

    if (!colon || b->len + len > HEADERS_MAX)
        return 0;
    while (len && strchr("\r\n \t", p[len - 1]))
        len--;
    if (memchr(p, 0, len))
        return 0;
    for (size_t i = 0; r == 0 && i < n; i++)
        r = buf_add(b, &(char){(char)tolower((unsigned char)p[i])}, 1);
    for (n++; n < len && (p[n] == ' ' || p[n] == '\t'); n++)
        continue;
    if (r == 0)
        r = buf_add(b, "", 1);
    if (r == 0 && n < len)
        r = buf_add(b, p + n, len - n);
    return r < 0 ? r : buf_add(b, "", 1);
}

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
    struct work *w = arg;
    size_t len = size * n;

    if (len > 5 && memcmp(p, "HTTP/", 5) == 0)
        buf_reset(&w->a->headers); /* those before were of an answer in between */
    w->failed = header_add(&w->a->headers, p, len);
    w->moved_ns = clock_mono_ns();
    return w->failed < 0 ? 0 : len;
}

/* --- a request ------------------------------------------------------------------------------------------------------ */

static int lines_add(struct work *w)
{
    const struct buf *h = w->q->headers;
    struct curl_slist *l = curl_lib.slist_append(NULL, "Expect:");
    const char *p = (const char *)h->data, *end = p + h->len;

    while (l && p < end) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        char *line = strndup(p, (size_t)(nl - p));
        struct curl_slist *more = line ? curl_lib.slist_append(l, line) : NULL;

        free(line);
        if (!more)
            curl_lib.slist_free_all(l);
        l = more;
        p = nl + 1;
    }
    w->lines = l;
    return l ? 0 : -E_NOMEM;
}

static void method_set(struct work *w)
{
    const struct http_request *q = w->q;

    if (strcmp(q->method, "HEAD") == 0)
        curl_lib.easy_setopt(w->easy, CURLOPT_NOBODY, 1L);
    else if (strcmp(q->method, "PUT") == 0 || strcmp(q->method, "POST") == 0)
        curl_lib.easy_setopt(w->easy, CURLOPT_UPLOAD, 1L);
    else
        curl_lib.easy_setopt(w->easy, CURLOPT_HTTPGET, 1L);
    curl_lib.easy_setopt(w->easy, CURLOPT_CUSTOMREQUEST, strcmp(q->method, "HEAD") == 0 ? NULL : q->method);
    curl_lib.easy_setopt(w->easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)q->len);
}

static void functions_set(struct work *w)
{
    curl_lib.easy_setopt(w->easy, CURLOPT_READFUNCTION, on_send);
    curl_lib.easy_setopt(w->easy, CURLOPT_READDATA, w);
    curl_lib.easy_setopt(w->easy, CURLOPT_SEEKFUNCTION, on_seek);
    curl_lib.easy_setopt(w->easy, CURLOPT_SEEKDATA, w);
    curl_lib.easy_setopt(w->easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_lib.easy_setopt(w->easy, CURLOPT_WRITEDATA, w);
    curl_lib.easy_setopt(w->easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_lib.easy_setopt(w->easy, CURLOPT_HEADERDATA, w);
    curl_lib.easy_setopt(w->easy, CURLOPT_PRIVATE, w);
    curl_lib.easy_setopt(w->easy, CURLOPT_ERRORBUFFER, w->error);
}

static int easy_make(struct work *w)
{
    long buffer = w->h->up.per_s ? BUFFER_SLOW : BUFFER_FAST;

    w->easy = curl_lib.easy_init();
    if (!w->easy || lines_add(w) < 0)
        return -E_NOMEM;
    functions_set(w);
    method_set(w);
    if (curl_lib.easy_setopt(w->easy, CURLOPT_URL, w->q->url) != CURLE_OK)
        return -E_NOMEM;
    curl_lib.easy_setopt(w->easy, CURLOPT_HTTPHEADER, w->lines);
    curl_lib.easy_setopt(w->easy, CURLOPT_USERAGENT, "varve/" VARVE_VERSION);
    curl_lib.easy_setopt(w->easy, CURLOPT_PATH_AS_IS, 1L);
    curl_lib.easy_setopt(w->easy, CURLOPT_NOSIGNAL, 1L);
    curl_lib.easy_setopt(w->easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_lib.easy_setopt(w->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_lib.easy_setopt(w->easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    curl_lib.easy_setopt(w->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)MIN_OF(w->h->timeout_ms, CONNECT_MS));
    curl_lib.easy_setopt(w->easy, CURLOPT_BUFFERSIZE, buffer);
    curl_lib.easy_setopt(w->easy, CURLOPT_UPLOAD_BUFFERSIZE, buffer);
    if (w->h->ca)
        curl_lib.easy_setopt(w->easy, CURLOPT_CAINFO, w->h->ca);
    return 0;
}

static int code_of(CURLcode c)
{
    switch (c) {
    case CURLE_OK: return 0;
    case CURLE_OPERATION_TIMEDOUT: return -E_TIMEOUT;
    case CURLE_OUT_OF_MEMORY: return -E_NOMEM;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR: return -E_ACCES;
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY: return -E_PROTO;
    default: return -E_IO;
    }
}

/* --- the thread ----------------------------------------------------------------------------------------------------- */

static void finish(struct http *h, struct work *w, int result)
{
    long status = 0, out = 0;

    if (w->easy) {
        curl_lib.easy_getinfo(w->easy, CURLINFO_RESPONSE_CODE, &status);
        curl_lib.easy_getinfo(w->easy, CURLINFO_REQUEST_SIZE, &out);
        curl_lib.multi_remove_handle(h->multi, w->easy);
        curl_lib.easy_cleanup(w->easy);
    }
    curl_lib.slist_free_all(w->lines);
    w->a->status = (int)status;
    w->a->sent = out > 0;
    for (struct work **at = &h->active; *at; at = &(*at)->next)
        if (*at == w) {
            *at = w->next;
            h->nactive--;
            break;
        }
    lock_take(&h->lock);
    w->result = result;
    w->done = true;
    cond_wake_all(&h->ended);
    lock_drop(&h->lock);
}

static void begin(struct http *h, struct work *w)
{
    int r = easy_make(w);

    w->next = h->active;
    h->active = w;
    h->nactive++;
    w->moved_ns = clock_mono_ns();
    if (r == 0 && curl_lib.multi_add_handle(h->multi, w->easy) != CURLM_OK)
        r = -E_NOMEM;
    if (r < 0)
        finish(h, w, r);
}

/* false: it is time to end. */
static bool take_new(struct http *h)
{
    for (;;) {
        struct work *w = NULL;
        bool stop;

        lock_take(&h->lock);
        stop = h->stop;
        if (h->nactive < h->concurrency && (w = h->waiting)) {
            h->waiting = w->next;
            if (!h->waiting)
                h->waiting_end = &h->waiting;
        }
        lock_drop(&h->lock);
        if (!w)
            return !stop;
        begin(h, w);
    }
}

static void take_ended(struct http *h)
{
    CURLMsg *m;
    int left;

    while ((m = curl_lib.multi_info_read(h->multi, &left))) {
        CURLcode c = m->data.result;
        struct work *w;
        int r;

        if (m->msg != CURLMSG_DONE)
            continue;
        curl_lib.easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &w);
        r = w->failed < 0 ? w->failed : code_of(c);
        if (r < 0 && !w->a->why[0])
            snprintf(w->a->why, sizeof(w->a->why), "%s", w->error[0] ? w->error : curl_lib.easy_strerror(c));
        finish(h, w, r);
    }
}

static bool is_quit(struct http *h, const struct work *w)
{
    bool quit;

    lock_take(&h->lock);
    quit = w->quit;
    lock_drop(&h->lock);
    return quit;
}

static int overdue(struct http *h, struct work *w, int64_t now)
{
    if (is_quit(h, w))
        return -E_CANCELED;
    if (now > w->q->deadline_ns)
        snprintf(w->a->why, sizeof(w->a->why), "no answer came in time");
    else if (now - w->moved_ns > h->timeout_ms * (int64_t)NS_PER_MS)
        snprintf(w->a->why, sizeof(w->a->why), "no answer: nothing came or went for %.1f s",
                 h->timeout_ms / 1000.0);
    else
        return 0;
    return -E_TIMEOUT;
}

/* What is paused for the limit goes on; what takes too long ends. true: something is paused. */
static bool look_after(struct http *h)
{
    int64_t now = clock_mono_ns();
    bool paused = false;

    for (struct work *w = h->active, *next; w; w = next) {
        int r;

        next = w->next;
        if (w->paused_up || w->paused_down)
            w->moved_ns = now;
        if ((w->paused_up && rate_wait_ns(&h->up) == 0) || (w->paused_down && rate_wait_ns(&h->down) == 0)) {
            w->paused_up = w->paused_down = false;
            curl_lib.easy_pause(w->easy, CURLPAUSE_CONT);
        }
        paused |= w->paused_up || w->paused_down;
        if ((r = overdue(h, w, now)) < 0)
            finish(h, w, r);
    }
    return paused;
}

static void *drive(void *arg)
{
    struct http *h = arg;
    int running;

    pthread_setname_np(pthread_self(), "http");
    while (take_new(h)) {
        bool paused;

        curl_lib.multi_perform(h->multi, &running);
        take_ended(h);
        paused = look_after(h);
        curl_lib.multi_poll(h->multi, NULL, 0, paused ? TICK_MS / 5 : h->active ? TICK_MS : IDLE_MS, NULL);
    }
    return NULL;
}

/* --- from outside --------------------------------------------------------------------------------------------------- */

static void parts_free(struct http *h)
{
    if (h->multi)
        curl_lib.multi_cleanup(h->multi);
    rate_release(&h->up);
    rate_release(&h->down);
    cond_release(&h->ended);
    lock_release(&h->lock);
    free(h->ca);
    free(h);
}

int http_new(const struct http_conf *c, struct http **ret, struct buf *err)
{
    struct http *h;
    int r = curl_lib_load(CURL_LIB_NAME, err);

    if (r < 0)
        return r;
    if (!(h = calloc(1, sizeof(*h))))
        return -E_NOMEM;
    lock_init(&h->lock, RANK_LEAF, 0);
    cond_init(&h->ended);
    rate_init(&h->up, c->bandwidth);
    rate_init(&h->down, c->bandwidth);
    h->waiting_end = &h->waiting;
    h->concurrency = c->concurrency;
    h->timeout_ms = c->timeout_ms;
    h->multi = curl_lib.multi_init();
    if (!h->multi || (c->ca && !(h->ca = strdup(c->ca))))
        r = -E_NOMEM;
    else if (pthread_create(&h->thread, NULL, drive, h) != 0)
        r = -E_AGAIN;
    if (r < 0) {
        parts_free(h);
        return r;
    }
    *ret = h;
    return 0;
}

void http_free(struct http *h)
{
    if (!h)
        return;
    lock_take(&h->lock);
    h->stop = true;
    lock_drop(&h->lock);
    curl_lib.multi_wakeup(h->multi);
    pthread_join(h->thread, NULL);
    assert(!h->active && !h->waiting);
    parts_free(h);
}

static void enqueue(struct http *h, struct work *w)
{
    lock_take(&h->lock);
    *h->waiting_end = w;
    h->waiting_end = &w->next;
    lock_drop(&h->lock);
    curl_lib.multi_wakeup(h->multi);
}

/* Not begun yet, and shall not. */
static bool dequeue_locked(struct http *h, struct work *w) REQUIRES(h->lock)
{
    for (struct work **at = &h->waiting; *at; at = &(*at)->next)
        if (*at == w) {
            *at = w->next;
            if (!*at)
                h->waiting_end = at;
            return true;
        }
    return false;
}

static bool wait_tick(struct http *h, struct work *w)
{
    bool done;

    lock_take(&h->lock);
    if (!w->done)
        cond_wait_ms(&h->ended, &h->lock, TICK_MS);
    done = w->done;
    lock_drop(&h->lock);
    return done;
}

/* Whoever waits for its turn is taken out; what is under way is ended by the thread. true: it was not begun. */
static bool give_up(struct http *h, struct work *w, bool canceled)
{
    bool taken;

    lock_take(&h->lock);
    taken = dequeue_locked(h, w);
    w->quit = canceled;
    lock_drop(&h->lock);
    if (!taken)
        curl_lib.multi_wakeup(h->multi);
    return taken;
}

int http_perform(struct http *h, const struct http_request *q, struct http_answer *ret)
{
    const struct backend_call *c = q->call;
    struct work w = {.q = q, .a = ret, .h = h};
    bool canceled = false;

    *ret = (struct http_answer){0};
    enqueue(h, &w);
    while (!wait_tick(h, &w)) {
        if (canceled)
            continue;
        canceled = c && c->canceled && c->canceled(c->arg);
        if ((canceled || clock_mono_ns() > q->deadline_ns) && give_up(h, &w, canceled))
            return canceled ? -E_CANCELED : -E_TIMEOUT;
    }
    return w.result;
}
