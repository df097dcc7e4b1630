#include "snap/event.h"

#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/jw.h"
#include "base/log.h"

#define FILE_LINES_MAX (2 * EVENTS_KEPT) /* then it is written anew with those that are kept */
#define FILE_SIZE_MAX_BYTES (64u << 20)
#define IDS_EACH                                                                                             \
    10000 /* a power cut may take lines: each opening of the store begins above what was given before */

struct entry {
    struct event e;
    char *strings; /* owns what e points to */
};

/* One attached store. lock guards all below it. */
struct log {
    struct store *store;
    struct log *next;
    unsigned users; /* guarded by the registry's lock */
    pthread_mutex_t lock;
    struct entry ring[EVENTS_KEPT];
    size_t first, count;
    uint64_t last_id;
    char path[4096];
    int fd; /* -1: in memory only */
    uint64_t size;
    size_t lines;
};

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t registry_idle = PTHREAD_COND_INITIALIZER;
static struct log *registry;

static struct log *log_get(struct store *s)
{
    struct log *l;

    pthread_mutex_lock(&registry_lock);
    for (l = registry; l && l->store != s; l = l->next)
        ;
    if (l)
        l->users++;
    pthread_mutex_unlock(&registry_lock);
    return l;
}

static void log_release(struct log *l)
{
    pthread_mutex_lock(&registry_lock);
    if (--l->users == 0)
        pthread_cond_broadcast(&registry_idle);
    pthread_mutex_unlock(&registry_lock);
}

int event_json(const struct event *e, struct buf *out)
{
    struct jw j = jw_begin(out, false);

    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_u64(&j, "id", e->id);
    jw_time(&j, "time", e->time_ns);
    jw_str(&j, "kind", e->kind);
    jw_str(&j, "volume", e->volume[0] ? e->volume : NULL);
    jw_str(&j, "text", e->text);
    jw_close(&j);
    return jw_end(&j);
}

static const char *string_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : "";
}

/* The three strings one after the other in b, and e pointing to them. */
static int strings_keep(struct buf *b, const char *kind, const char *volume, const char *text,
                        struct event *e)
{
    size_t nk = strlen(kind) + 1, nv = strlen(volume) + 1, nt = strlen(text) + 1;
    int r = buf_reserve(b, nk + nv + nt);

    if (r < 0)
        return r;
    buf_add(b, kind, nk);
    buf_add(b, volume, nv);
    buf_add(b, text, nt);
    e->kind = (char *)b->data;
    e->volume = e->kind + nk;
    e->text = e->volume + nv;
    return 0;
}

int event_parse(const char *line, size_t len, struct buf *buf, struct event *ret)
{
    json_t *o = json_loadb(line, len, 0, NULL);
    struct event e = {.id = 0};
    int r = -E_PROTO;

    buf_reset(buf);
    if (json_is_object(o) && json_is_integer(json_object_get(o, "id")) &&
        json_integer_value(json_object_get(o, "id")) > 0 &&
        clock_parse(string_of(o, "time"), &e.time_ns) == 0) {
        e.id = (uint64_t)json_integer_value(json_object_get(o, "id"));
        r = strings_keep(buf, string_of(o, "kind"), string_of(o, "volume"), string_of(o, "text"), &e);
    }
    json_decref(o);
    if (r == 0)
        *ret = e;
    return r;
}

/* Takes strings. */
static void ring_add(struct log *l, const struct event *e, struct buf *strings)
{
    size_t at = (l->first + l->count) % EVENTS_KEPT;

    if (l->count == EVENTS_KEPT) {
        free(l->ring[l->first].strings);
        l->first = (l->first + 1) % EVENTS_KEPT;
        l->count--;
    }
    l->ring[at] = (struct entry){.e = *e, .strings = (char *)TAKE(strings->data)};
    *strings = (struct buf){0};
    l->count++;
    l->last_id = e->id;
}

/* What the file holds goes into the ring; gives the bytes of whole lines. */
static size_t load_lines(struct log *l, const char *p, size_t len)
{
    const char *at = p, *nl;

    for (; (nl = memchr(at, '\n', len - (size_t)(at - p))); at = nl + 1) {
        cleanup(buf_free) struct buf strings = {0};
        struct event e;

        l->lines++;
        if (event_parse(at, (size_t)(nl - at), &strings, &e) == 0 && e.id > l->last_id)
            ring_add(l, &e, &strings);
    }
    return (size_t)(at - p);
}

static int file_load(struct log *l)
{
    cleanup(buf_free) struct buf text = {0};
    int r = io_read_file(store_io(l->store), l->path, FILE_SIZE_MAX_BYTES, &text);

    if (r == -E_NOENT)
        return 0;
    if (r == -E_TOOBIG) {
        log_warn("event", "dropped", "path=%s reason=too-large", l->path);
        l->lines = FILE_LINES_MAX;
        return 0;
    }
    if (r < 0)
        return r;
    l->size = load_lines(l, text.data ? (const char *)text.data : "", text.len);
    return 0;
}

static int file_open(struct log *l)
{
    struct io *io = store_io(l->store);
    int r;

    r = io_open(io, l->path, O_WRONLY | O_CREAT, 0640);
    if (r < 0)
        return r;
    l->fd = r;
    return io_truncate(io, l->fd, l->size); /* a torn last line goes */
}

/* The kept ones only, in a new file. */
static int file_rotate(struct log *l)
{
    cleanup(buf_free) struct buf text = {0};
    struct io *io = store_io(l->store);
    int r = 0;

    for (size_t i = 0; r == 0 && i < l->count; i++) {
        r = event_json(&l->ring[(l->first + i) % EVENTS_KEPT].e, &text);
        if (r == 0)
            r = buf_puts(&text, "\n");
    }
    if (r == 0)
        r = io_replace(io, l->path, text.data, text.len);
    if (r < 0)
        return r;
    if (l->fd >= 0)
        io_close(io, l->fd);
    l->fd = -1;
    l->size = text.len;
    l->lines = l->count;
    return file_open(l);
}

static int file_append(struct log *l, const struct event *e)
{
    cleanup(buf_free) struct buf line = {0};
    int r;

    if (l->fd < 0)
        return 0;
    if (l->lines >= FILE_LINES_MAX)
        return file_rotate(l); /* the ring has e already */
    r = event_json(e, &line);
    if (r == 0)
        r = buf_puts(&line, "\n");
    if (r == 0)
        r = io_pwrite(store_io(l->store), l->fd, line.data, line.len, l->size);
    if (r < 0)
        return r;
    l->size += line.len;
    l->lines++;
    return 0;
}

static void log_free(struct log *l)
{
    if (l->fd >= 0)
        io_close(store_io(l->store), l->fd);
    for (size_t i = 0; i < EVENTS_KEPT; i++)
        free(l->ring[i].strings);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

static int log_open(struct log *l)
{
    struct io *io = store_io(l->store);
    struct store_state st;
    char dir[4096];
    int r;

    if (snprintf(dir, sizeof(dir), "%s/log", store_path(l->store)) >= (int)sizeof(dir) ||
        snprintf(l->path, sizeof(l->path), "%s/log/events", store_path(l->store)) >= (int)sizeof(l->path))
        return -E_NAMETOOLONG;
    r = file_load(l);
    if (r < 0)
        return r;
    store_get_state(l->store, &st);
    l->last_id = MAX_OF(l->last_id, st.incarnation * IDS_EACH);
    if (st.mode != STORE_RW)
        return 0;
    r = io_mkdir(io, dir, 0750);
    if (r < 0 && r != -E_EXIST)
        return r;
    return file_open(l);
}

int events_attach(struct store *s)
{
    struct log *l = calloc(1, sizeof(*l));
    int r;

    if (!l)
        return -E_NOMEM;
    l->store = s;
    l->fd = -1;
    pthread_mutex_init(&l->lock, NULL);
    r = log_open(l);
    if (r < 0) {
        log_free(l);
        return r;
    }
    pthread_mutex_lock(&registry_lock);
    l->next = registry;
    registry = l;
    pthread_mutex_unlock(&registry_lock);
    return 0;
}

void events_detach(struct store *s)
{
    struct log *l, **at;

    pthread_mutex_lock(&registry_lock);
    for (at = &registry; *at && (*at)->store != s; at = &(*at)->next)
        ;
    l = *at;
    if (l) {
        *at = l->next;
        while (l->users > 0)
            pthread_cond_wait(&registry_idle, &registry_lock);
    }
    pthread_mutex_unlock(&registry_lock);
    if (l)
        log_free(l);
}

static uint64_t emit(struct log *l, struct event *e)
{
    cleanup(buf_free) struct buf strings = {0};
    uint64_t id = 0;
    int r;

    pthread_mutex_lock(&l->lock);
    e->id = l->last_id + 1;
    r = strings_keep(&strings, e->kind, e->volume, e->text, e);
    if (r == 0) {
        ring_add(l, e, &strings);
        id = e->id;
        r = file_append(l, e);
    }
    if (r < 0)
        log_warn("event", "unwritten", "id=%" PRIu64 " reason=%s", e->id, err_name(r));
    pthread_mutex_unlock(&l->lock);
    return id;
}

uint64_t event_emit(struct store *s, const char *kind, const char *volume, const char *fmt, ...)
{
    char text[EVENT_TEXT_MAX + 1];
    struct event e = {.time_ns = clock_wall_ns(), .kind = kind, .volume = volume ? volume : "", .text = text};
    struct log *l;
    uint64_t id = 0;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    log_note("event", "emit", "kind=%s volume=%s text=\"%s\"", kind, e.volume, text);
    l = log_get(s);
    if (l) {
        id = emit(l, &e);
        log_release(l);
    }
    return id;
}

int events_each(struct store *s, uint64_t after, const char *volume,
                int (*cb)(void *arg, const struct event *e), void *arg)
{
    struct log *l = log_get(s);
    int r = 0;

    if (!l)
        return 0;
    pthread_mutex_lock(&l->lock);
    for (size_t i = 0; r == 0 && i < l->count; i++) {
        const struct event *e = &l->ring[(l->first + i) % EVENTS_KEPT].e;

        if (e->id > after && (!volume || !e->volume[0] || strcmp(e->volume, volume) == 0))
            r = cb(arg, e);
    }
    pthread_mutex_unlock(&l->lock);
    log_release(l);
    return r;
}

uint64_t events_last(struct store *s)
{
    struct log *l = log_get(s);
    uint64_t id;

    if (!l)
        return 0;
    pthread_mutex_lock(&l->lock);
    id = l->count ? l->ring[(l->first + l->count - 1) % EVENTS_KEPT].e.id : 0;
    pthread_mutex_unlock(&l->lock);
    log_release(l);
    return id;
}
