/* What the tables say of where bytes lie, as text; and what is to be done about sources from time to time. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "fs/recall_i.h"
#include "snap/event.h"
#include "snap/store/cold.h"

#define FIRST_LINE "varve source 1\n"
#define SELDOM_NS 600000000000ll
#define SOON_NS 60000000000ll /* so long what a death left is looked at every SOON_S */
#define SOON_S 3
#define LATE_NS 3600000000000ll /* a pin may come so long after whoever put it has died */

/* --- text ----------------------------------------------------------------------------------------------------------- */

static int line(struct buf *out, const char *key, const char *value)
{
    if (strpbrk(value, "\n"))
        return -E_INVAL;
    return *value ? buf_printf(out, "%s=%s\n", key, value) : 0;
}

int recall_source_print(const struct recall_source *src, struct buf *out)
{
    char volume[UUID_TEXT_SIZE], dir[UUID_TEXT_SIZE], generation[24], ended[24] = "";
    const struct {
        const char *key, *value;
    } lines[] = {{"url", src->conf.url},
                 {"passphrase-file", src->conf.passphrase_file},
                 {"key-file", src->conf.key_file},
                 {"point", src->point},
                 {"pin", src->pin},
                 {"meant", src->meant},
                 {"volume", volume},
                 {"dir", dir},
                 {"generation", generation},
                 {"name", src->name},
                 {"ended", ended}};
    int r = buf_puts(out, FIRST_LINE);

    uuid_format(&src->volume, volume);
    uuid_format(&src->dir, dir);
    snprintf(generation, sizeof(generation), "%" PRIu64, src->generation);
    if (src->ended)
        snprintf(ended, sizeof(ended), "%" PRId64, src->ended_ns);
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(lines); i++)
        r = line(out, lines[i].key, lines[i].value);
    return r;
}

static int put(char *out, size_t size, const char *value, size_t len)
{
    if (len >= size)
        return -E_CORRUPT;
    memcpy(out, value, len);
    out[len] = 0;
    return 0;
}

static int field(struct recall_source *s, const char *key, size_t klen, const char *value, size_t len)
{
    char text[64] = "";
    const struct {
        const char *key;
        char *out;
        size_t size;
    } texts[] = {{"url", s->conf.url, sizeof(s->conf.url)},
                 {"passphrase-file", s->conf.passphrase_file, sizeof(s->conf.passphrase_file)},
                 {"key-file", s->conf.key_file, sizeof(s->conf.key_file)},
                 {"point", s->point, sizeof(s->point)},
                 {"pin", s->pin, sizeof(s->pin)},
                 {"meant", s->meant, sizeof(s->meant)},
                 {"name", s->name, sizeof(s->name)}};

    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (strlen(texts[i].key) == klen && memcmp(texts[i].key, key, klen) == 0)
            return put(texts[i].out, texts[i].size, value, len);
    if (put(text, sizeof(text), value, len) < 0)
        return -E_CORRUPT;
    if (klen == 6 && memcmp(key, "volume", 6) == 0)
        return uuid_parse(text, &s->volume) < 0 ? -E_CORRUPT : 0;
    if (klen == 3 && memcmp(key, "dir", 3) == 0)
        return uuid_parse(text, &s->dir) < 0 ? -E_CORRUPT : 0;
    if (klen == 10 && memcmp(key, "generation", 10) == 0)
        s->generation = strtoull(text, NULL, 10);
    if (klen == 5 && memcmp(key, "ended", 5) == 0) {
        s->ended = true;
        s->ended_ns = strtoll(text, NULL, 10); /* "yes" once */
    }
    return 0; /* of a later version */
}

int recall_source_parse(const void *text, size_t len, struct recall_source *ret)
{
    const char *p = text, *end = p + len;
    size_t head = strlen(FIRST_LINE);
    int r = 0;

    memset(ret, 0, sizeof(*ret));
    if (len < head || memcmp(p, FIRST_LINE, head) != 0)
        return -E_CORRUPT;
    for (p += head; r == 0 && p < end;) {
        const char *nl = memchr(p, '\n', (size_t)(end - p)), *eq;

        if (!nl || !(eq = memchr(p, '=', (size_t)(nl - p))))
            return -E_CORRUPT;
        r = field(ret, p, (size_t)(eq - p), eq + 1, (size_t)(nl - eq - 1));
        p = nl + 1;
    }
    return r < 0 || ret->conf.url[0] ? r : -E_CORRUPT;
}

/* --- all of them ---------------------------------------------------------------------------------------------------- */

struct known {
    uint32_t number;
    struct recall_source src;
};

static int keep_one(void *arg, uint32_t source, const void *text, size_t len)
{
    struct known *k = calloc(1, sizeof(*k));
    int r = k ? recall_source_parse(text, len, &k->src) : -E_NOMEM;

    if (r == 0) {
        k->number = source;
        r = buf_add(arg, k, sizeof(*k));
    }
    free(k);
    if (r == -E_CORRUPT) {
        log_warn("fs", "source", "number=%u is not understood", source);
        r = 0;
    }
    return r;
}

static int all_of(struct store *s, struct buf *ret)
{
    return cold_source_each(s, keep_one, ret);
}

bool recall_any(struct store *s)
{
    return cold_source_any(s) == 1;
}

bool recall_from(struct store *s, const struct vol *v)
{
    cleanup(buf_free) struct buf all = {0};

    if (all_of(s, &all) < 0)
        return false;
    for (size_t at = 0; at < all.len; at += sizeof(struct known))
        if (uuid_equal(&((const struct known *)(all.data + at))->src.volume, &v->rec.uuid))
            return true;
    return false;
}

/* --- from time to time ---------------------------------------------------------------------------------------------- */

static int with_repo(struct recall *rc, const struct known *k, struct pool **ret_pool, struct repo **ret)
{
    cleanup(buf_free) struct buf err = {0};
    struct pool *p;
    int r;

    pthread_mutex_lock(&rc->lock);
    p = pool_find_locked(rc, &k->src.conf);
    pthread_mutex_unlock(&rc->lock);
    r = p ? pool_take(rc, p, clock_mono_ns() + (int64_t)rc->opts.timeout_ms * 1000000, ret, &err) : -E_NOMEM;
    *ret_pool = p;
    return r;
}

static int set(struct recall *rc, const struct known *k)
{
    cleanup(buf_free) struct buf text = {0};
    int r = recall_source_print(&k->src, &text);

    if (r == 0)
        r = cold_source_set(rc->s, k->number, text.data, text.len);
    return r < 0 ? r : store_flush(rc->s);
}

struct mine {
    struct store *s; /* whose sources keep theirs; NULL: they do not */
    const struct pin *own;
    const char *keep, *point;
    struct repo *r;
};

static int names_pin(void *arg, uint32_t number, const struct recall_source *src)
{
    const char *id = arg;

    (void)number;
    return strcmp(src->pin, id) == 0 || strcmp(src->meant, id) == 0;
}

static bool is_mine(const struct pin *own, const struct pin *p)
{
    return uuid_equal(&p->store, &own->store) && uuid_equal(&p->dir, &own->dir) &&
           uuid_equal(&p->volume, &own->volume);
}

static int drop_other(void *arg, const struct pin *p)
{
    struct mine *m = arg;
    char point[SHA_TEXT];
    int r;

    if (!is_mine(m->own, p) || strcmp(p->id, m->keep) == 0)
        return 0;
    pin_first(p, point); /* another source of the volume has a pin of its own, */
    if (strcmp(point, m->point) != 0)
        return 0;
    r = !m->s || BROKEN(VARVE_BREAK_pin_other) ? 0
                                               : recall_sources(m->s, names_pin, (void *)(uintptr_t)p->id);
    return r < 0 ? r : r == 1 ? 0 : pin_drop(m->r, p->id); /* also of the same recovery point */
}

static struct pin pin_for(struct recall *rc, const struct recall_source *src)
{
    struct pin p = {.generation = src->generation, .dir = src->dir, .volume = src->volume};
    struct store_state st;

    store_get_state(rc->s, &st);
    p.store = st.uuid;
    snprintf(p.volume_name, sizeof(p.volume_name), "%s", src->name);
    return p;
}

/* The pins that this store's directory has for the volume, but for the one that counts; all: also those that other sources name. */
static int drop_others(struct recall *rc, struct repo *r, const struct recall_source *src, const char *keep,
                       bool all)
{
    struct pin own = pin_for(rc, src);
    struct mine m = {all ? NULL : rc->s, &own, keep, src->point, r};

    return pins_each(r, drop_other, NULL, &m);
}

/* It was meant to be put by somebody who died: what serves the repository may do so yet. */
static bool may_come(const struct recall_source *src)
{
    return src->meant[0] && clock_wall_ns() - src->ended_ns < LATE_NS && !BROKEN(VARVE_BREAK_pin_comes);
}

/* Nothing names it any more: its pin goes, then its record. */
static int end_source(struct recall *rc, const struct known *k)
{
    struct repo *repo;
    struct pool *p;
    int r = with_repo(rc, k, &p, &repo);

    if (r < 0)
        return r;
    r = drop_others(rc, repo, &k->src, "", false);
    pool_give(rc, p, repo);
    if (r < 0 || may_come(&k->src))
        return r;
    r = cold_source_del(rc->s, k->number);
    if (r == 0)
        log_note("fs", "source-ended", "volume=%s url=%s", k->src.name, k->src.conf.url);
    return r;
}

/* 1: ranges name it. */
static int is_named(struct store *s, uint32_t number)
{
    cleanup(buf_free) struct buf found = {0};
    struct cold_cursor c = {0};
    int r = cold_named(s, number, &c, 1, &found);

    return r < 0 ? r : found.len > 0;
}

/* While somebody imports none goes: he may be about to name it. Nobody begins to until ending_over(). */
static bool ending_begin(struct recall *rc)
{
    bool may;

    pthread_mutex_lock(&rc->lock);
    may = rc->importing == 0;
    rc->ending += may;
    pthread_mutex_unlock(&rc->lock);
    return may;
}

static void ending_over(struct recall *rc)
{
    pthread_mutex_lock(&rc->lock);
    rc->ending--;
    pthread_cond_broadcast(&rc->change);
    pthread_mutex_unlock(&rc->lock);
}

/* A record of its own says that it ended, before the one that ranges named goes: a death between leaves no pin behind. 1: it ended. */
static int note_ended(struct recall *rc, const struct known *k, struct known *ended)
{
    cleanup(buf_free) struct buf text = {0};
    int r = is_named(rc->s, k->number);

    if (r != 0)
        return MIN_OF(r, 0);
    *ended = *k;
    ended->src.ended = true;
    ended->src.ended_ns = clock_wall_ns();
    r = recall_source_print(&ended->src, &text);
    if (r == 0)
        r = cold_source_put(rc->s, text.data, text.len, &ended->number);
    if (r < 0)
        return r;
    r = cold_source_del(rc->s, k->number);
    if (r == 0)
        r = store_flush(rc->s);
    if (r == 0)
        return 1;
    (void)cold_source_del(rc->s, ended->number);
    return r == -E_BUSY ? 0 : r;
}

static int try_end(struct recall *rc, const struct known *k)
{
    struct known ended;
    int r;

    if (k->src.ended)
        return end_source(rc, k);
    if (!ending_begin(rc))
        return 0;
    r = note_ended(rc, k, &ended);
    ending_over(rc);
    return r == 1 ? end_source(rc, &ended) : r;
}

struct meaning {
    struct recall *rc;
    struct known *k; /* as the tables have it until the pin is there */
};

static int on_note(void *arg, const struct pin *pin)
{
    struct meaning *m = arg;

    memcpy(m->k->src.meant, pin->id, sizeof(m->k->src.meant));
    return set(m->rc, m->k);
}

static int pin_anew(struct recall *rc, struct repo *r, struct known *was, struct known *k)
{
    struct pin pin = pin_for(rc, &k->src);
    struct meaning m = {rc, was};
    struct point pt;
    int x = pin_point_get(r, k->src.point, &pt);

    if (x < 0)
        return x;
    x = pin_add(r, &pin, &pt);
    point_release(&pt);
    if (x == 0)
        x = pin_put(r, &pin, false, on_note, &m);
    if (x == 0) {
        memcpy(k->src.pin, pin.id, sizeof(pin.id));
        k->src.meant[0] = 0;
        x = set(rc, k);
    }
    pin_release(&pin);
    return x;
}

/* This directory is another than the one that pinned: a copy of the store, or it was moved. The other's pin stays. */
static int pin_copy(struct recall *rc, struct known *was, const struct uuid *dir)
{
    struct known k = *was;
    struct repo *repo;
    struct pool *p;
    int r = with_repo(rc, &k, &p, &repo);

    if (r < 0)
        return r;
    k.src.dir = *dir;
    k.src.generation++;
    r = pin_anew(rc, repo, was, &k);
    if (r == 0)
        r = drop_others(rc, repo, &k.src, k.src.pin, false);
    pool_give(rc, p, repo);
    if (r == -E_NOENT)
        event_emit(rc->s, "pin-missing", k.src.name,
                   "nothing keeps recovery point %.12s in %.300s for this copy of the store any more: "
                   "hydrate it soon",
                   k.src.point, k.src.conf.url);
    return r;
}

void recall_importing(struct store *s, bool begins)
{
    struct recall *rc = recall_of(s);

    if (!rc)
        return;
    pthread_mutex_lock(&rc->lock);
    while (begins && rc->ending > 0)
        pthread_cond_wait(&rc->change, &rc->lock);
    rc->importing += begins ? 1 : -1u;
    pthread_mutex_unlock(&rc->lock);
}

static int is_source_for(const struct known *k, const struct recall_source *want)
{
    return !k->src.ended && k->src.pin[0] && uuid_equal(&k->src.volume, &want->volume) &&
           uuid_equal(&k->src.dir, &want->dir) && strcmp(k->src.point, want->point) == 0 &&
           strcmp(k->src.conf.url, want->conf.url) == 0;
}

static int source_new(struct recall *rc, struct repo *r, struct known *k)
{
    cleanup(buf_free) struct buf text = {0};
    int x = recall_source_print(&k->src, &text);

    if (x == 0)
        x = cold_source_put(rc->s, text.data, text.len, &k->number);
    return x < 0 ? x : pin_anew(rc, r, k, k);
}

/* The number of a source that says the same, or of a new one. */
static int source_like(struct recall *rc, struct repo *r, const struct conf_repo *place,
                       const struct point *p, struct known *k)
{
    cleanup(buf_free) struct buf all = {0};
    int x = cold_begin(rc->s);

    if (x == 0)
        x = pin_dir(store_path(rc->s), &k->src.dir);
    if (x == 0)
        x = all_of(rc->s, &all);
    if (x < 0)
        return x;
    k->src.conf = *place;
    k->src.generation = 1;
    memcpy(k->src.point, p->id, sizeof(k->src.point));
    for (size_t at = 0; at < all.len; at += sizeof(struct known)) {
        const struct known *other = (const struct known *)(const void *)(all.data + at);

        if (is_source_for(other, &k->src))
            k->number = other->number;
    }
    return k->number ? 0 : source_new(rc, r, k);
}

static int source_of(struct store *s, const struct uuid *volume, const char *name,
                     const struct conf_repo *place, struct repo *r, const struct point *p, uint32_t *ret)
{
    struct recall *rc = recall_of(s);
    struct known *k = calloc(1, sizeof(*k));
    int x = rc && k ? 0 : -E_NOMEM;

    if (x == 0) {
        k->src.volume = *volume;
        snprintf(k->src.name, sizeof(k->src.name), "%s", name);
        x = source_like(rc, r, place, p, k);
    }
    if (x == 0)
        *ret = k->number;
    free(k);
    return x;
}

int recall_source_for(struct store *s, const struct vol *v, const struct conf_repo *place, struct repo *r,
                      const struct point *p, uint32_t *ret)
{
    return source_of(s, &v->rec.uuid, v->rec.name, place, r, p, ret);
}

int recall_source_beside(struct store *s, const struct recall_source *was, const struct conf_repo *place,
                         struct repo *r, const struct point *p, uint32_t *ret)
{
    return source_of(s, &was->volume, was->name, place, r, p, ret);
}

int recall_sources(struct store *s, int (*cb)(void *arg, uint32_t number, const struct recall_source *src),
                   void *arg)
{
    cleanup(buf_free) struct buf all = {0};
    int r = all_of(s, &all);

    for (size_t at = 0; r == 0 && at < all.len; at += sizeof(struct known)) {
        const struct known *k = (const struct known *)(const void *)(all.data + at);

        r = k->src.ended ? 0 : cb(arg, k->number, &k->src);
    }
    return r;
}

void recall_forget(struct store *s)
{
    struct recall *rc = recall_of(s);
    cleanup(buf_free) struct buf list = {0};

    if (!rc || all_of(s, &list) < 0)
        return;
    for (size_t at = 0; at < list.len; at += sizeof(struct known)) {
        const struct known *k = (const struct known *)(list.data + at);
        struct repo *repo;
        struct pool *p;

        if (with_repo(rc, k, &p, &repo) < 0)
            continue;
        (void)drop_others(rc, repo, &k->src, "", true);
        pool_give(rc, p, repo);
    }
}

/* It is not long since somebody died who may have put a pin: what he left is looked at often. */
static bool is_soon(const struct recall *rc, const struct recall_source *src)
{
    int64_t age = src->ended ? clock_wall_ns() - src->ended_ns : clock_mono_ns() - rc->began_ns;

    return src->meant[0] && age >= 0 && age < SOON_NS;
}

static void keep_source(struct recall *rc, struct known *k, const struct uuid *dir, bool seldom)
{
    bool soon = is_soon(rc, &k->src);
    int r = 0;

    if (!uuid_equal(&k->src.dir, dir) && !k->src.ended && k->src.pin[0] && !BROKEN(VARVE_BREAK_pin_copy))
        r = pin_copy(rc, k, dir);
    else if (seldom || soon || (k->src.ended && !may_come(&k->src)))
        r = try_end(rc, k);
    if (r < 0 && r != -E_CANCELED)
        log_warn("fs", "source", "volume=%s url=%s reason=%s", k->src.name, k->src.conf.url, err_name(r));
}

void recall_keep(struct store *s, bool all)
{
    struct recall *rc = recall_of(s);
    cleanup(buf_free) struct buf list = {0};
    int64_t now = clock_mono_ns();
    struct store_state st;
    struct uuid dir;

    store_get_state(s, &st);
    if (!rc || st.mode != STORE_RW || all_of(s, &list) < 0 || list.len == 0)
        return;
    pool_rest(rc);
    pthread_mutex_lock(&rc->lock);
    all = all || rc->looked_ns == 0 || now - rc->looked_ns > SELDOM_NS;
    if (all)
        rc->looked_ns = now;
    pthread_mutex_unlock(&rc->lock);
    if (pin_dir(store_path(s), &dir) < 0)
        return;
    for (size_t at = 0; at < list.len; at += sizeof(struct known)) {
        struct known *k = malloc(sizeof(*k));

        if (!k)
            return;
        memcpy(k, list.data + at, sizeof(*k));
        keep_source(rc, k, &dir, all);
        free(k);
    }
}

int64_t recall_due(struct store *s)
{
    struct recall *rc = recall_of(s);
    cleanup(buf_free) struct buf list = {0};

    if (!rc || all_of(s, &list) < 0)
        return 0;
    for (size_t at = 0; at < list.len; at += sizeof(struct known))
        if (is_soon(rc, &((const struct known *)(const void *)(list.data + at))->src))
            return SOON_S;
    return 0;
}
