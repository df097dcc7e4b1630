/* varve config: tries, shows and takes up the machine's file. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "conf/daemon.h"
#include "fs/verb_profile.h"
#include "fs/verb_runs.h"

PROFILE_LOCAL(config_try)
{
    cleanup(conf_daemon_release) struct conf_daemon c = {.nstores = 0};
    const char *file = verb_text(a, "file");
    char own[PATH_MAX];
    struct jw j;
    int r = conf_daemon_read(file, &c, &ans->err);

    if (r < 0)
        return r;
    if (!file)
        conf_daemon_path(own);
    if (!a->json && !file && access(own, F_OK) < 0)
        return buf_printf(&ans->out, "%s: is not there; what is built in holds\n", own);
    if (!a->json)
        return buf_printf(&ans->out, "%s: right; %zu stores, %zu repositories\n", file ? file : own,
                          c.nstores, c.nrepos);
    j = jw_begin(&ans->out, true);
    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_str(&j, "file", file ? file : own);
    jw_u64(&j, "stores", c.nstores);
    jw_u64(&j, "repositories", c.nrepos);
    jw_close(&j);
    return jw_end(&j);
}

/* --- what holds, and where from ---------------------------------------------------------------------------------------- */

struct showing {
    struct jw j;
    struct show_cols c;
    bool json;
    char path[PATH_MAX];
};

static int row(struct showing *s, const char *group, const char *key, const char *value, const char *file,
               unsigned line)
{
    char where[PATH_MAX + 32];

    if (line)
        snprintf(where, sizeof(where), "%s line %u", file, line);
    else
        snprintf(where, sizeof(where), "built in");
    if (!s->json) {
        show_cell(&s->c, "%s.%s", group, key);
        show_cell(&s->c, "%s", value);
        show_cell(&s->c, "%s", where);
        return s->c.err;
    }
    jw_object(&s->j, NULL);
    jw_name(&s->j, "group", group, strlen(group));
    jw_str(&s->j, "key", key);
    jw_name(&s->j, "value", value, strlen(value));
    jw_name(&s->j, "from", where, strlen(where));
    jw_close(&s->j);
    return 0;
}

static int keys_show(struct showing *s, const char *group, const struct conf_key *keys, size_t n,
                     const void *from, const unsigned *lines, const char *file)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < n; i++) {
        cleanup(buf_free) struct buf value = {0};

        r = lines[i] || !keys[i].built_in || conf_key_set(&keys[i], from)
                ? conf_key_print(&keys[i], from, &value)
                : buf_puts(&value, keys[i].built_in);
        if (r == 0)
            r = buf_cstr(&value) ? row(s, group, keys[i].name, buf_cstr(&value), file, lines[i]) : -E_NOMEM;
    }
    return r;
}

/* The store's own file goes before the machine's. */
static int store_show(struct showing *s, const struct conf_daemon *c, const char *store, struct buf *err)
{
    unsigned own_lines[CONF_STORE_KEYS], none[CONF_STORE_KEYS] = {0};
    const struct conf_stored *m = conf_daemon_store(c, store);
    struct conf_store own, of_machine = m ? m->set : (struct conf_store){0};
    char file[PATH_MAX];
    int r;

    if (snprintf(file, sizeof(file), "%s/config", store) >= (int)sizeof(file))
        return -E_NAMETOOLONG;
    r = conf_store_lines(file, &own, own_lines, err);
    for (size_t i = 0; r == 0 && i < CONF_STORE_KEYS; i++) {
        bool here = own_lines[i] != 0;

        r = keys_show(s, store, &conf_store_keys[i], 1, here ? &own : &of_machine,
                      here ? &own_lines[i]
                      : m  ? &m->lines[i]
                           : &none[i],
                      here ? file : s->path);
    }
    return r;
}

static int repos_show(struct showing *s, const struct conf_daemon *c)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < c->nrepos; i++)
        r = row(s, "repositories", c->repos[i].name, c->repos[i].url, s->path, 1);
    return r;
}

static int show_all(struct showing *s, const struct conf_daemon *c, const char *store, struct buf *err)
{
    char real[PATH_MAX];
    int r = keys_show(s, "daemon", conf_daemon_keys, CONF_DAEMON_KEYS, c, c->lines, s->path);

    if (r == 0)
        r = keys_show(s, "limits", conf_limit_keys, CONF_LIMIT_KEYS, c, c->lines + CONF_DAEMON_KEYS, s->path);
    for (size_t i = 0; r == 0 && !store && i < c->nstores; i++)
        r = store_show(s, c, c->stores[i].path, err);
    if (r == 0 && store && !realpath(store, real)) {
        buf_printf(err, "%s: there is no such directory", store);
        return -E_NOENT;
    }
    if (r == 0 && store)
        r = store_show(s, c, real, err);
    return r < 0 ? r : repos_show(s, c);
}

PROFILE_LOCAL(config_show)
{
    cleanup(conf_daemon_release) struct conf_daemon c = {.nstores = 0};
    struct showing s = {.json = a->json, .c = {.ncols = 3}};
    int r = conf_daemon_read(NULL, &c, &ans->err);

    if (r < 0)
        return r;
    conf_daemon_path(s.path);
    s.j = jw_begin(&ans->out, true);
    if (a->json) {
        jw_object(&s.j, NULL);
        jw_u64(&s.j, "schema", 1);
        jw_name(&s.j, "file", s.path, strlen(s.path));
        jw_array(&s.j, "settings");
    }
    r = show_all(&s, &c, verb_text(a, "store"), &ans->err);
    if (a->json && r == 0) {
        jw_close(&s.j);
        jw_close(&s.j);
        return jw_end(&s.j);
    }
    if (r < 0) {
        buf_free(&s.c.cells);
        buf_reset(&ans->out);
        return r;
    }
    return show_cols_print(&s.c, "", &ans->out);
}

/* --- in the process that serves a store -------------------------------------------------------------------------------- */

/* What of the store's settings would be another one at the next opening. */
static int store_changes(struct verb_ctx *c, const struct conf_daemon *conf, struct buf *said,
                         struct buf *err)
{
    const struct store_settings *has = store_get_settings(c->env->store);
    const struct conf_store now = {.flush_ms = has->flush_ms,
                                   .dirty_bytes = has->dirty_bytes,
                                   .delta_bytes = has->delta_bytes,
                                   .inline_bytes = has->inline_bytes,
                                   .fd_cache = has->fd_cache,
                                   .recall_ms = c->env->recall_ms,
                                   .recall_wait_ms = c->env->recall_wait_ms,
                                   .recall_limit = c->env->recall_limit};
    const struct conf_stored *m = conf_daemon_store(conf, store_path(c->env->store));
    struct conf_store wanted;
    char file[PATH_MAX];
    int r;

    if (snprintf(file, sizeof(file), "%s/config", store_path(c->env->store)) >= (int)sizeof(file))
        return -E_NAMETOOLONG;
    r = conf_store_read(file, &wanted, err);
    if (r == 0 && m)
        conf_store_fill(&wanted, &m->set);
    for (size_t i = 0; r == 0 && i < CONF_STORE_KEYS; i++) {
        const struct conf_key *k = &conf_store_keys[i];

        if (conf_key_set(k, &wanted) &&
            memcmp((const char *)&wanted + k->offset, (const char *)&now + k->offset, k->width) != 0)
            r = buf_printf(said, "store.%s: needs a restart\n", k->name);
    }
    return r;
}

static int reload_answer(struct verb_ctx *c, const char *path, struct buf *said, struct buf *out)
{
    char *save = NULL, *text = said->len ? (char *)(uintptr_t)buf_cstr(said) : NULL;
    struct jw j;

    if (!c->json)
        return said->len ? buf_add(out, said->data, said->len)
                         : buf_printf(out, "%s: nothing changed\n", path);
    j = jw_begin(out, true);
    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_str(&j, "file", path);
    jw_array(&j, "changed");
    for (char *l = text ? strtok_r(text, "\n", &save) : NULL; l; l = strtok_r(NULL, "\n", &save))
        jw_str(&j, NULL, l);
    jw_close(&j);
    jw_close(&j);
    return jw_end(&j);
}

RUN(run_config_reload)
{
    cleanup(conf_daemon_release) struct conf_daemon conf = {.nstores = 0};
    cleanup(buf_free) struct buf said = {0};
    char path[PATH_MAX];
    struct conf_live live;
    int r = conf_daemon_read(NULL, &conf, err);

    (void)a;
    conf_daemon_path(path);
    if (r == 0)
        r = conf_live_reload(&conf, &said);
    if (r == 0)
        r = store_changes(c, &conf, &said, err);
    if (r < 0)
        return r;
    conf_live_get(&live);
    if (c->env->host) /* the command line's own level is its own */
        log_set_level(live.log_level);
    if (said.len)
        event_emit(c->env->store, "config-reloaded", NULL, "%s", path);
    return reload_answer(c, path, &said, out);
}
