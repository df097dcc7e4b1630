#include "fs/verb_follow.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "base/io.h"
#include "fs/verb_show.h"

#define EVENTS_SIZE_MAX (64u << 20)
#define POLL_MS 200

struct follow {
    char path[PATH_MAX];
    const char *volume;
    uint64_t since;
    bool follow, json;
    struct stat seen;
    struct buf out;
    struct jw j; /* the one object, without follow */
};

static int show(struct follow *f, const struct event *e)
{
    int r;

    f->since = e->id;
    if (f->volume[0] && e->volume[0] && strcmp(e->volume, f->volume) != 0)
        return 0;
    if (!f->json)
        return show_event_text(e, &f->out);
    if (f->follow) {
        r = event_json(e, &f->out);
        return r < 0 ? r : buf_puts(&f->out, "\n");
    }
    jw_object(&f->j, NULL);
    show_event_json(&f->j, e);
    jw_close(&f->j);
    return f->j.err;
}

static int show_lines(struct follow *f, const char *p, size_t len)
{
    cleanup(buf_free) struct buf strings = {0};
    const char *end = p + len, *nl;
    int r = 0;

    for (; r == 0 && (nl = memchr(p, '\n', (size_t)(end - p))); p = nl + 1) {
        struct event e;

        if (event_parse(p, (size_t)(nl - p), &strings, &e) == 0 && e.id > f->since)
            r = show(f, &e);
    }
    return r;
}

/* What is new in the file; a store without events has none. */
static int read_new(struct follow *f, struct buf *err)
{
    cleanup(buf_free) struct buf text = {0};
    struct stat st;
    int r;

    if (stat(f->path, &st) < 0 && errno == ENOENT)
        return 0;
    if (f->seen.st_ino == st.st_ino && f->seen.st_size == st.st_size &&
        f->seen.st_mtim.tv_sec == st.st_mtim.tv_sec && f->seen.st_mtim.tv_nsec == st.st_mtim.tv_nsec)
        return 0;
    r = io_read_file(io_real(), f->path, EVENTS_SIZE_MAX, &text);
    if (r == 0)
        r = show_lines(f, text.data ? (const char *)text.data : "", text.len);
    if (r < 0)
        buf_printf(err, "%s: %s", f->path, err_text(r));
    f->seen = st;
    return r;
}

static int flush(struct follow *f)
{
    size_t n = f->out.len;
    bool ok = n == 0 || (fwrite(f->out.data, 1, n, stdout) == n && fflush(stdout) == 0);

    buf_reset(&f->out);
    return ok ? 0 : -E_CLOSED;
}

static int run(struct follow *f, struct buf *err)
{
    int r;

    f->j = jw_begin(&f->out, true);
    if (f->json && !f->follow) {
        jw_object(&f->j, NULL);
        jw_u64(&f->j, "schema", 1);
        jw_array(&f->j, "events");
    }
    r = read_new(f, err);
    if (r == 0 && f->json && !f->follow) {
        jw_close(&f->j);
        jw_close(&f->j);
        r = jw_end(&f->j);
    }
    while (r == 0 && (r = flush(f)) == 0 && f->follow) {
        nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000l}, NULL);
        r = read_new(f, err);
    }
    return r == -E_CLOSED ? 0 : r;
}

int verb_events_file(const char *store, const char *volume, uint64_t since, bool follow, bool json,
                     struct buf *err)
{
    struct follow f = {.volume = volume, .since = since, .follow = follow, .json = json};
    int r;

    if (snprintf(f.path, sizeof(f.path), "%s/log/events", store) >= (int)sizeof(f.path))
        return -E_NAMETOOLONG;
    r = run(&f, err);
    buf_free(&f.out);
    return r;
}
