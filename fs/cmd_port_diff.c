/* varve backup diff: what changed between two recovery points. In the command line's process. */
#include <stdio.h>
#include <stdlib.h>

#include "fs/verb_diff.h"
#include "fs/verb_long.h"
#include "fs/verb_repo.h"
#include "tier/point_diff.h"

struct sides {
    struct point a, b;
    const char *below;
};

static void sides_release(struct sides *s)
{
    point_release(&s->a);
    point_release(&s->b);
}

static void side_json(struct jw *j, const char *key, const struct point *p)
{
    jw_object(j, key);
    jw_name(j, "name", p->snapshot_name, strlen(p->snapshot_name));
    jw_time(j, "taken", p->taken_ns);
    jw_str(j, "id", p->id);
    jw_close(j);
}

static int complain(int r, const struct sides *s, struct buf *err)
{
    switch (r) {
    case -E_UNRELATED:
        buf_printf(err, "%.12s and %.12s are of volumes that have nothing in common", s->a.id, s->b.id);
        break;
    case -E_NOENT: buf_printf(err, "%s is in neither of them", s->below); break;
    case -E_CORRUPT:
        buf_puts(err, "metadata that is needed is damaged; varve repo verify says what and names the files");
        break;
    default: buf_printf(err, "backup diff: %s", backend_text(r)); break;
    }
    return r;
}

static int say(struct repo *repo, const struct sides *s, bool json, struct buf *out, struct buf *err)
{
    struct diff_say d = {.out = out, .j = jw_begin(out, true), .json = json};
    int r;

    if (json) {
        jw_object(&d.j, NULL);
        jw_u64(&d.j, "schema", 1);
        jw_name(&d.j, "volume", s->b.volume_name, strlen(s->b.volume_name));
        side_json(&d.j, "a", &s->a);
        side_json(&d.j, "b", &s->b);
        jw_array(&d.j, "entries");
    }
    r = point_diff(repo, &s->a, &s->b, s->below, diff_say_entry, &d);
    if (r < 0)
        return complain(r, s, err);
    return json ? diff_say_end(&d) : 0;
}

/* ID, or REPO#ID where REPO is the same: it is opened by the first word. */
static int second_id(const char *text, const char *first, char out[SHA_TEXT], struct buf *err)
{
    const char *hash = strrchr(text, '#'), *id = hash ? hash + 1 : text, *mine = strrchr(first, '#');
    bool same = !hash ||
                (mine && hash - text == mine - first && strncmp(text, first, (size_t)(mine - first)) == 0) ||
                hash == text;

    if (!same || !*id || strlen(id) >= SHA_TEXT) {
        buf_printf(err,
                   same ? "%s: what follows # is no recovery point"
                        : "%s: both must be of one repository; varve backup copy brings one over",
                   text);
        return -E_USAGE;
    }
    snprintf(out, SHA_TEXT, "%s", id);
    return 0;
}

static int find_both(struct repo *repo, const char *a, const char *b, struct sides *s, struct buf *err)
{
    int r = point_find(repo, a, &s->a, err);

    return r < 0 ? r : point_find(repo, b, &s->b, err);
}

REPO_LOCAL(backup_diff)
{
    cleanup(sides_release) struct sides s = {.below = ""};
    cleanup(repo_place_free) struct repo_place *p = calloc(1, sizeof(*p));
    cleanup(repo_done) struct repo *repo = NULL;
    struct backend_call call = {.canceled = long_stopped};
    char id[SHA_TEXT];
    struct verb_long l;
    int r = p ? repo_place_parse(verb_text(a, "point"), true, a, p, &ans->err) : -E_NOMEM;

    if (r == 0)
        r = second_id(verb_text(a, "b"), verb_text(a, "point"), id, &ans->err);
    if (verb_given(a, "path"))
        s.below = verb_text(a, "path");
    if (r < 0)
        return r;
    long_begin(&l, a->json);
    r = repo_place_open(p, &call, NULL, &repo, &ans->err);
    if (r == 0)
        r = find_both(repo, p->id, id, &s, &ans->err);
    if (r == 0)
        r = say(repo, &s, a->json, &ans->out, &ans->err);
    long_end(&l);
    return r;
}
