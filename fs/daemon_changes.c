/* `changes` of STORE/sock: what changed, as lines that are sent while they are found: what is held does not grow with what is told.
 *
 *   changes ranges VOLUME BASE SNAP FROM    as `varve snapshot ranges`; BASE "": all of it
 *   changes files  VOLUME A B AFTER         as `varve diff`, each entry an object; AFTER "": from the first path on
 *
 * Who reads slowly slows the walk. A snapshot that is deleted meanwhile: the answer ends with NOENT, whatever was told. */
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>

#include "base/sock.h"
#include "fs/daemon.h"
#include "fs/verb_diff.h"
#include "snap/line.h"

#define CHUNK (64u << 10)
#define LOOK_MS 200

struct stream {
    struct daemon *d;
    int sock;
    struct vol *v;
    const char *after;
    struct buf out;
};

/* Nobody is to wait for one who reads nothing: he asks the next daemon for the rest. */
static bool is_to_end(struct daemon *d)
{
    bool end;

    pthread_mutex_lock(&d->lock);
    end = d->closing || d->leaving || d->told_to_end || d->nwaiters > 0;
    pthread_mutex_unlock(&d->lock);
    return end;
}

/* Room in the socket is a part of its buffer, which a chunk fits in. */
static int room_wait(struct stream *s)
{
    struct pollfd p = {.fd = s->sock, .events = POLLOUT};

    while (poll(&p, 1, LOOK_MS) <= 0)
        if (is_to_end(s->d))
            return -E_CLOSED;
    return p.revents & (POLLERR | POLLHUP) ? -E_CLOSED : 0;
}

static int flush(struct stream *s)
{
    int r = 0;

    for (size_t at = 0; r == 0 && at < s->out.len; at += CHUNK) {
        r = room_wait(s);
        if (r == 0)
            r = sock_send(s->sock, SOCK_OUT, s->out.data + at, MIN_OF(s->out.len - at, CHUNK), -1);
    }
    buf_reset(&s->out);
    return r;
}

static int line_end(struct stream *s)
{
    return s->out.len < CHUNK ? 0 : flush(s);
}

static int range_line(void *arg, const struct line_range *r)
{
    struct stream *s = arg;
    int e = buf_printf(&s->out, "%" PRIu64 " %" PRIu64 "\n", r->off_bytes, r->len_bytes);

    return e < 0 ? e : line_end(s);
}

static int file_line(void *arg, const struct diff_entry *e)
{
    struct stream *s = arg;
    struct diff_say d = {.out = &s->out, .json = true, .j = jw_begin(&s->out, false)};
    int r;

    if (*s->after && strcmp(e->path, s->after) <= 0)
        return 0;
    r = diff_say_entry(&d, e);
    if (r == 0)
        r = jw_end(&d.j);
    if (r == 0)
        r = buf_puts(&s->out, "\n");
    return r < 0 ? r : line_end(s);
}

static int run(struct stream *s, char **words)
{
    struct layer_rec a = {.name = ""}, b, again;
    int r = *words[3] ? snap_find(s->v, words[3], &a) : 0;

    if (r == 0)
        r = snap_find(s->v, words[4], &b);
    if (r < 0)
        return r;
    r = strcmp(words[1], "ranges") == 0
            ? line_each(s->v, a.name, b.name, strtoull(words[5], NULL, 10), range_line, s)
            : diff_run(s->v, a.name, b.name, file_line, s);
    if (r == 0)
        r = flush(s);
    if (r == 0 && *words[3] && (r = snap_find(s->v, a.name, &again)) == 0 &&
        !uuid_equal(&a.uuid, &again.uuid))
        r = -E_NOENT;
    if (r == 0 && (r = snap_find(s->v, b.name, &again)) == 0 && !uuid_equal(&b.uuid, &again.uuid))
        r = -E_NOENT;
    return r;
}

int daemon_changes(struct daemon *d, int sock, char **words, size_t n)
{
    struct stream s = {.d = d, .sock = sock};
    int r = n == 6 ? volume_find(d->env.store, words[2], &s.v) : -E_PROTO;

    if (r == 0)
        s.after = words[5];
    if (r == 0)
        r = run(&s, words);
    buf_free(&s.out);
    return r;
}
