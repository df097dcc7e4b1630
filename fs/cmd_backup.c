/* `varve backup run`: a job of the process that has the store open; whoever asked over the socket waits for it. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "conf/value.h"
#include "fs/verb_attach.h"
#include "fs/verb_repo.h"
#include "fs/verb_runs.h"
#include "fs/verb_show.h"
#include "snap/event.h"
#include "snap/policy.h"
#include "snap/schedule.h"
#include "tier/backup.h"

#define AUTO_PREFIX "backup-"
#define AUTO_LABEL "backup"
#define ID_SHOWN 12
#define LABEL_WHOLE 200

/* --- the job -------------------------------------------------------------------------------------------------------- */

/* Backups of a process go one after the other: what the first has put is there for the next. */
static pthread_mutex_t one_lock = PTHREAD_MUTEX_INITIALIZER;
static bool one_busy;

static int turn_take(struct job *j)
{
    for (;;) {
        bool mine;

        pthread_mutex_lock(&one_lock);
        mine = !one_busy;
        one_busy = true;
        pthread_mutex_unlock(&one_lock);
        if (mine)
            return 0;
        if (job_canceled(j))
            return -E_CANCELED;
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
}

static void turn_give(void)
{
    pthread_mutex_lock(&one_lock);
    one_busy = false;
    pthread_mutex_unlock(&one_lock);
}

struct working {
    struct job *j;
    struct store *s;
    struct vol *v;
    struct verb_args a; /* of the job's detail: a line of the control file */
    struct layer_rec rec;
    char tag[32];
    struct backup_result res;
};

static void on_total(void *arg, uint64_t items, uint64_t bytes)
{
    job_total(arg, items, bytes);
}

struct choice {
    const char *word;
    int is;
};

/* What one of the command's words means, one of two; 0: it is not there. -E_USAGE with a sentence. */
static int choice_of(const struct verb_args *a, const char *name, const struct choice c[2], struct buf *err)
{
    const char *text = verb_text(a, name);

    for (size_t i = 0; text && i < 2; i++)
        if (strcmp(text, c[i].word) == 0)
            return c[i].is;
    if (!text)
        return 0;
    buf_printf(err, "backup run: --%s %.20s: write %s or %s", name, text, c[0].word, c[1].word);
    return -E_USAGE;
}

static int codec_of(const struct verb_args *a, enum codec_id *ret, struct buf *err)
{
    static const struct choice codecs[2] = {{"zstd", CODEC_ZSTD}, {"lz4", CODEC_LZ4}};
    int r = choice_of(a, "compression", codecs, err);

    *ret = r < 0 ? CODEC_NONE : (enum codec_id)r;
    return r < 0 ? r : 0;
}

static int domain_of(const struct verb_args *a, enum backup_domain *ret, struct buf *err)
{
    static const struct choice domains[2] = {{"own", BACKUP_OWN}, {"shared", BACKUP_SHARED}};
    int r = choice_of(a, "domain", domains, err);

    *ret = r < 0 ? BACKUP_AS_BEFORE : (enum backup_domain)r;
    return r < 0 ? r : 0;
}

/* Where the command does not say. */
static int domain_by_profile(struct vol *v, enum backup_domain *ret, struct buf *err)
{
    cleanup(profile_free) struct profile *p = NULL;
    int r = policy_get(v, &p, err);

    if (r < 0)
        return r == -E_NODATA ? 0 : r;
    *ret = p->provisioning.domain == 1   ? BACKUP_OWN
           : p->provisioning.domain == 2 ? BACKUP_SHARED
                                         : BACKUP_AS_BEFORE;
    return 0;
}

static int backup_to(struct working *w, struct repo_place *p, struct buf *err)
{
    struct backend_call call = {.canceled = job_stopped, .arg = w->j};
    struct backup_opts o = {
        .full = verb_num(&w->a, "full"), .arg = w->j, .progress = job_step, .total = on_total};
    cleanup(attachments_free) struct attachments attach = {0};
    cleanup(buf_free) struct buf labels = {0};
    cleanup(repo_done) struct repo *repo = NULL;
    int r = repo_place_parse(verb_text(&w->a, "to"), false, &w->a, p, err);

    o.attach = &attach;
    o.labels = &labels;
    if (r == 0)
        r = verb_attach_read(&w->a, &attach, err);
    if (r == 0)
        r = verb_attach_labels(&w->a, &labels);
    if (r == 0)
        r = codec_of(&w->a, &o.codec, err);
    if (r == 0)
        r = domain_of(&w->a, &o.domain, err);
    if (r == 0 && !o.domain)
        r = domain_by_profile(w->v, &o.domain, err);
    if (r == 0)
        r = repo_place_open(p, &call, NULL, &repo, err);
    if (r == 0)
        r = snap_wait_durable(w->v, w->rec.layer);
    if (r == 0)
        r = backup_run(repo, w->v, &w->rec, &o, &w->res);
    return r;
}

/* --- what a next backup goes on from -------------------------------------------------------------------------------- */

/* What a label says of a place: labels are short. */
void backup_place_label(const char *url, char out[NAME_LEN_MAX + 1])
{
    size_t n = strlen(url), shown = strcspn(url, "?");

    if (n <= LABEL_WHOLE)
        snprintf(out, NAME_LEN_MAX + 1, "%s", url);
    else
        snprintf(out, NAME_LEN_MAX + 1, "%.*s #%016" PRIx64, (int)MIN_OF(shown, (size_t)LABEL_WHOLE), url,
                 hash_sum(0, url, n));
}

struct bases {
    const struct working *w;
    char key[32];
    struct buf names; /* each with its NUL */
};

static int has_key(void *arg, const char *what, const char *key, const char *value)
{
    (void)value;
    return strcmp(what, "label") == 0 && strcmp(key, arg) == 0;
}

static int base_one(void *arg, const struct layer_rec *rec, const char *text, size_t len)
{
    struct bases *b = arg;

    if (rec->layer == b->w->rec.layer || show_text_each(text, len, has_key, b->key) != 1)
        return 0;
    return buf_add(&b->names, rec->name, strlen(rec->name) + 1);
}

/* The snapshot is the base of the next one to the same place, and no schedule lets it go; those before are that no more: ret, each with its
 * NUL. */
static void base_mark(struct working *w, struct buf *ret)
{
    const char *url = verb_text(&w->a, "to");
    char place[NAME_LEN_MAX + 1];
    struct bases b = {.w = w};

    backup_place_label(url, place);
    snprintf(b.key, sizeof(b.key), SCHEDULE_BASE "%016" PRIx64, hash_sum(0, url, strlen(url)));
    if (snap_label(w->v, w->rec.name, b.key, place) == 0 && snap_each(w->v, base_one, &b) == 0)
        for (size_t at = 0; at < b.names.len; at += strlen((char *)b.names.data + at) + 1)
            snap_label(w->v, (char *)b.names.data + at, b.key, NULL);
    *ret = b.names;
    policy_backed_up(w->v, w->rec.taken_ns / 1000000000);
}

/* --- snapshots taken for a backup ----------------------------------------------------------------------------------- */

struct older {
    const struct working *w;
    const struct buf *bases; /* what was a base until now */
    bool mine;               /* this one was taken for a backup, too */
    char place[NAME_LEN_MAX + 1];
    struct buf names; /* each with its NUL */
};

static int label_is(void *arg, const char *what, const char *key, const char *value)
{
    return strcmp(what, "label") == 0 && strcmp(key, AUTO_LABEL) == 0 && strcmp(value, arg) == 0;
}

static int label_base(void *arg, const char *what, const char *key, const char *value)
{
    (void)arg, (void)value;
    return strcmp(what, "label") == 0 && strncmp(key, SCHEDULE_BASE, strlen(SCHEDULE_BASE)) == 0;
}

static bool was_base(const struct older *o, const char *name)
{
    for (size_t at = 0; at < o->bases->len; at += strlen((char *)o->bases->data + at) + 1)
        if (strcmp((char *)o->bases->data + at, name) == 0)
            return true;
    return false;
}

static int older_one(void *arg, const struct layer_rec *rec, const char *text, size_t len)
{
    char key[] = AUTO_LABEL;
    struct older *o = arg;

    if (rec->layer >= o->w->rec.layer || rec->holds ||
        strncmp(rec->name, AUTO_PREFIX, strlen(AUTO_PREFIX)) != 0 ||
        (!BROKEN(VARVE_BREAK_base_of_others) && show_text_each(text, len, label_base, NULL) == 1))
        return 0;
    if (!(o->mine && show_text_each(text, len, label_is, o->place) == 1) &&
        !(was_base(o, rec->name) && show_text_each(text, len, has_key, key) == 1))
        return 0;
    return buf_add(&o->names, rec->name, strlen(rec->name) + 1);
}

/* Those before were taken by backups, and only to go on from: no place does that any more. */
static void older_drop(struct working *w, const struct buf *bases)
{
    struct older o = {.w = w, .bases = bases};

    o.mine = strncmp(w->rec.name, AUTO_PREFIX, strlen(AUTO_PREFIX)) == 0;
    backup_place_label(verb_text(&w->a, "to"), o.place);
    if (snap_each(w->v, older_one, &o) == 0)
        for (size_t at = 0; at < o.names.len; at += strlen((char *)o.names.data + at) + 1)
            if (snap_delete(w->v, NULL, (char *)o.names.data + at) == 0)
                event_emit(w->s, "snapshot-deleted", w->v->rec.name, "%s", (char *)o.names.data + at);
    buf_free(&o.names);
}

/* --- what it says --------------------------------------------------------------------------------------------------- */

static void say(struct working *w, const struct repo_place *p)
{
    const struct backup_result *s = &w->res;
    char size[CONF_SIZE_TEXT], read[CONF_SIZE_TEXT], fresh[CONF_SIZE_TEXT], sent[CONF_SIZE_TEXT], line[128];
    const struct {
        const char *name;
        uint64_t n;
    } counts[] = {{"files", s->files},
                  {"directories", s->dirs},
                  {"others", s->others},
                  {"bytes", s->bytes},
                  {"read_items", s->read_items},
                  {"read_bytes", s->read_bytes},
                  {"new_bytes", s->new_bytes},
                  {"sent_bytes", s->sent_bytes},
                  {"gathered_bytes", s->gathered_bytes},
                  {"named_bytes", s->named_bytes}};

    conf_size_text(s->bytes, size);
    conf_size_text(s->read_bytes, read);
    conf_size_text(s->new_bytes, fresh);
    conf_size_text(s->sent_bytes, sent);
    if (s->same)
        job_say(w->j, "%.*s is in %s already: recovery point %.*s", 60, w->rec.name, repo_place_name(p),
                ID_SHOWN, s->id);
    else
        job_say(w->j, "recovery point %.*s of %.60s: %" PRIu64 " files, %s; read %s, new %s, sent %s",
                ID_SHOWN, s->id, w->rec.name, s->files, size, read, fresh, sent);
    snprintf(line, sizeof(line), "id %s", s->id);
    job_report_line(w->j, line);
    snprintf(line, sizeof(line), "base %s", s->base);
    job_report_line(w->j, line);
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        snprintf(line, sizeof(line), "%s %" PRIu64, counts[i].name, counts[i].n);
        job_report_line(w->j, line);
    }
}

static int ended(struct working *w, const struct repo_place *p, int r, struct buf *err)
{
    cleanup(buf_free) struct buf bases = {0};

    if (r == 0) {
        say(w, p);
        event_emit(w->s, "backup-done", w->v->rec.name, "%s: recovery point %.*s", w->rec.name, ID_SHOWN,
                   w->res.id);
        base_mark(w, &bases);
        older_drop(w, &bases);
        return 0;
    }
    if (r != -E_CANCELED) {
        const char *why = err->len ? buf_cstr(err) : backend_text(r);

        job_say(w->j, "%s", why);
        event_emit(w->s, "backup-failed", w->v->rec.name, "%s: %s", w->rec.name, why);
    }
    return r;
}

static int work(struct working *w)
{
    cleanup(repo_place_free) struct repo_place *p = calloc(1, sizeof(*p));
    cleanup(buf_free) struct buf err = {0};
    int r = p ? snap_hold(w->v, w->rec.name, w->tag) : -E_NOMEM;

    if (r == 0)
        r = turn_take(w->j);
    if (r == 0) {
        r = backup_to(w, p, &err);
        turn_give();
    }
    snap_release_all(w->v, w->tag);
    return p ? ended(w, p, r, &err) : r;
}

/* detail: a line as of the control file `backup`, with the snapshot's name. */
int backup_job(struct job *j, struct store *s, const struct job_info *info)
{
    struct working w = {.j = j, .s = s, .v = verb_vol_of_id(s, info->vol)};
    cleanup(buf_free) struct buf err = {0};
    int r = verb_parse_line("backup", info->detail, strlen(info->detail), &w.a, &err);

    if (r == 0 && (!w.a.verb || !verb_given(&w.a, "snap") || !w.v))
        r = -E_INVAL;
    if (r == 0) {
        snprintf(w.tag, sizeof(w.tag), "backup-%" PRIu64, info->id);
        r = snap_find(w.v, verb_text(&w.a, "snap"), &w.rec);
        if (r == -E_NOENT)
            job_say(j, "snapshot %.100s is gone", verb_text(&w.a, "snap"));
    }
    if (r == 0)
        r = work(&w);
    verb_args_free(&w.a);
    return r;
}

/* --- the verb ------------------------------------------------------------------------------------------------------- */

static int detail_of(const struct verb_args *a, const char *snap, struct buf *ret, struct buf *err)
{
    static const char *const keys[] = {"to",          "passphrase-file", "key-file",
                                       "credentials", "compression",     "domain"};
    int r = buf_puts(ret, "run");

    if (r == 0)
        r = verb_line_add(ret, "snap", snap);
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(keys); i++)
        r = verb_line_add(ret, keys[i], verb_text(a, keys[i]));
    for (size_t i = 0; r == 0 && i < verb_val(a, "attach")->ntexts; i++)
        r = verb_line_add(ret, "attach", verb_val(a, "attach")->texts[i]);
    for (size_t i = 0; r == 0 && i < verb_val(a, "label")->ntexts; i++)
        r = verb_line_add(ret, "label", verb_val(a, "label")->texts[i]);
    if (r == 0 && verb_num(a, "full"))
        r = buf_puts(ret, " full");
    return r < 0 ? r
                 : verb_job_fits(ret,
                                 "backup run: the URL, paths, attachments and labels are too long together; "
                                 "use shorter ones",
                                 err);
}

/* A snapshot of its own, where none is named. */
int backup_snapshot(struct verb_ctx *c, const char *to, struct layer_rec *ret, struct buf *err)
{
    struct vfs_ctx who = {.uid = c->uid, .gid = c->gid};
    char name[NAME_LEN_MAX + 1], place[NAME_LEN_MAX + 1], when[CLOCK_TEXT_SIZE];
    int r = -E_EXIST;

    clock_format(clock_wall_ns(), when);
    for (char *p = when; (p = strchr(p, ':'));)
        *p = '-';
    for (unsigned i = 0; r == -E_EXIST && i < 100; i++) {
        if (i == 0)
            snprintf(name, sizeof(name), AUTO_PREFIX "%s", when);
        else
            snprintf(name, sizeof(name), AUTO_PREFIX "%s-%u", when, i);
        r = verb_snap_create(c->env, c->vol, &who, name, ret);
    }
    backup_place_label(to, place);
    if (r == 0)
        r = snap_label(c->vol, ret->name, AUTO_LABEL, place);
    return r < 0 ? verb_snap_complain(r, name, err) : 0;
}

/* The process reads files for who asks: for those only who can read them anyway. What cannot be read is told now, not by the job. */
static int may_attach(const struct verb_ctx *c, const struct verb_args *a, struct buf *err)
{
    cleanup(attachments_free) struct attachments attach = {0};

    if (verb_given(a, "attach") && c->via == VIA_CONTROL && c->uid != 0 && c->uid != (uint32_t)geteuid()) {
        buf_puts(err, "backup run: attachments are for root and the user of the daemon here");
        return -E_PERM;
    }
    return verb_attach_read(a, &attach, err);
}

RUN(run_backup)
{
    struct verb_job_words words = {
        .verb = "backup run", .doing = "backs", .particle = " up", .report = "recovery_point"};
    cleanup(buf_free) struct buf detail = {0};
    const char *snap = verb_text(a, "snap");
    cleanup(repo_place_free) struct repo_place *p = calloc(1, sizeof(*p));
    enum backup_domain domain;
    enum codec_id codec;
    struct layer_rec rec;
    int r = p ? repo_place_parse(verb_text(a, "to"), false, a, p, err) : -E_NOMEM;

    if (r == 0)
        r = codec_of(a, &codec, err);
    if (r == 0)
        r = domain_of(a, &domain, err);
    if (r == 0)
        r = may_attach(c, a, err);
    if (r == 0)
        r = verb_labels_check(c, verb_val(a, "label"), NULL, err);
    if (r < 0)
        return r;
    r = snap ? snap_find(c->vol, snap, &rec) : 0;
    if (r < 0)
        return verb_snap_complain(r, snap, err);
    if (!snap && (r = backup_snapshot(c, verb_text(a, "to"), &rec, err)) < 0)
        return r;
    r = detail_of(a, rec.name, &detail, err);
    words.snap = rec.name;
    return r < 0 ? r : verb_job_run(c, a, "backup", &detail, &words, out, err);
}
