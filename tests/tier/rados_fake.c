#include "tests/tier/rados_fake.h"

#include "tests/tier/rados_fake_i.h"

/* --- the test's side ------------------------------------------------------------------------------------------------ */

struct fake *fake_new(void)
{
    struct fake *f = calloc(1, sizeof(*f));

    CHECK(f != NULL);
    pthread_mutex_init(&f->lock, NULL);
    snprintf(f->max_write, sizeof(f->max_write), "90");
    return f;
}

static void object_free(struct object *o)
{
    buf_free(&o->bytes);
    free(o);
}

void fake_write_free(struct write *w)
{
    buf_free(&w->bytes);
}

void fake_free(struct fake *f)
{
    while (f->objects) {
        struct object *o = f->objects;

        f->objects = o->next;
        object_free(o);
    }
    while (f->late) {
        struct late *l = f->late;

        f->late = l->next;
        fake_write_free(&l->w);
        free(l);
    }
    pthread_mutex_destroy(&f->lock);
    free(f);
}

void fake_fault(struct fake *f, unsigned n, unsigned times, enum fake_fault what, bool writes, int error)
{
    f->fault_at = n;
    f->fault_times = times;
    f->counted = 0;
    f->what = what;
    f->writes_only = writes;
    f->error = error;
    f->hit = false;
}

bool fake_hit(const struct fake *f)
{
    return f->hit;
}

void fake_refuse(struct fake *f, int error)
{
    f->refuse = error;
}

void fake_full(struct fake *f, int error)
{
    f->full = error;
}

void fake_pool(struct fake *f, bool there)
{
    f->gone = !there;
}

void fake_clock(struct fake *f, int64_t ahead_ns)
{
    f->ahead_ns = ahead_ns;
}

int64_t fake_now(const struct fake *f)
{
    return clock_wall_ns() + f->ahead_ns;
}

void fake_setting(struct fake *f, const char *max_write)
{
    snprintf(f->max_write, sizeof(f->max_write), "%s", max_write);
}

void fake_older(struct fake *f, int64_t ns)
{
    for (struct object *o = f->objects; o; o = o->next)
        o->mtime -= (time_t)(ns / SECOND);
}

size_t fake_count(const struct fake *f, const char *prefix)
{
    size_t n = 0;

    for (struct object *o = f->objects; o; o = o->next)
        n += strncmp(o->name, prefix, strlen(prefix)) == 0;
    return n;
}

void fake_enter(struct fake *f)
{
    pthread_mutex_lock(&f->lock);
    if (f->enter)
        f->enter(f);
}

void fake_leave(struct fake *f, bool wrote)
{
    if (f->leave)
        f->leave(f, wrote);
    pthread_mutex_unlock(&f->lock);
}

struct object *fake_find(struct fake *f, const char *name)
{
    struct object *o = f->objects;

    while (o && strcmp(o->name, name) != 0)
        o = o->next;
    return o;
}

static struct object *make(struct fake *f, const char *name)
{
    struct object *o = calloc(1, sizeof(*o));

    CHECK(o != NULL);
    snprintf(o->name, sizeof(o->name), "%s", name);
    o->next = f->objects;
    f->objects = o;
    return o;
}

static void drop(struct object **at)
{
    struct object *o = *at;

    *at = o->next;
    object_free(o);
}

void fake_drop(struct fake *f, const char *prefix)
{
    struct object **at = &f->objects;

    while (*at && strncmp((*at)->name, prefix, strlen(prefix)) != 0)
        at = &(*at)->next;
    CHECK(*at != NULL);
    drop(at);
}

static void drop_named(struct fake *f, const char *name)
{
    struct object **at = &f->objects;

    while (strcmp((*at)->name, name) != 0)
        at = &(*at)->next;
    drop(at);
}

void fake_foreign(struct fake *f, const char *name)
{
    make(f, name)->mtime = (time_t)(clock_wall_ns() / SECOND);
}

/* --- the cluster ---------------------------------------------------------------------------------------------------- */

void fake_attr_set(struct attr *v, size_t *n, const struct attr *a)
{
    size_t i = 0;

    while (i < *n && strcmp(v[i].name, a->name) != 0)
        i++;
    CHECK(i < ATTRS);
    *n = MAX_OF(*n, i + 1);
    v[i] = *a;
}

static const struct attr *attr_get(const struct object *o, const char *name)
{
    for (size_t i = 0; o && i < o->nattrs; i++)
        if (strcmp(o->attrs[i].name, name) == 0)
            return &o->attrs[i];
    return NULL;
}

static int compare(const struct object *o, const struct attr *want)
{
    const struct attr *a = attr_get(o, want->name);

    return a && a->len == want->len && memcmp(a->value, want->value, a->len) == 0 ? 0 : -ECANCELED;
}

static int lock_take_shared(struct fake *f, const struct write *w)
{
    unsigned i = f->nlocks++ % LOCKS;

    snprintf(f->locks[i].cookie, sizeof(f->locks[i].cookie), "%s", w->cookie);
    f->locks[i].until_ns = fake_now(f) + w->lasts_s * SECOND;
    return 0;
}

int fake_apply(struct fake *f, const struct write *w, const char *name, time_t mtime)
{
    struct object *o = fake_find(f, name);
    int r;

    if (w->create && w->exclusive && o)
        return -EEXIST;
    if (w->compare && (r = compare(o, &w->compared)) < 0)
        return r;
    if (w->remove && !o)
        return -ENOENT;
    if (w->remove) {
        drop_named(f, name);
        return 0;
    }
    if (!o)
        o = make(f, name);
    o->mtime = mtime;
    if (w->put) {
        buf_reset(&o->bytes);
        CHECK_OK(buf_add(&o->bytes, w->bytes.data, w->bytes.len));
    }
    for (size_t i = 0; i < w->nattrs; i++)
        fake_attr_set(o->attrs, &o->nattrs, &w->attrs[i]);
    return w->lock ? lock_take_shared(f, w) : 0;
}

static void apply_late(struct fake *f, bool thaw)
{
    for (struct late **at = &f->late; *at;) {
        struct late *l = *at;

        if (thaw || l->at < f->ops) {
            *at = l->next;
            (void)fake_apply(f, &l->w, l->name, l->mtime);
            fake_write_free(&l->w);
            free(l);
        } else {
            at = &l->next;
        }
    }
}

void fake_thaw(struct fake *f)
{
    pthread_mutex_lock(&f->lock);
    apply_late(f, true);
    pthread_mutex_unlock(&f->lock);
}

static void keep_late(struct fake *f, struct write *w, const char *name, time_t mtime, bool frozen)
{
    struct late *l = calloc(1, sizeof(*l)), **at = &f->late;

    CHECK(l != NULL);
    l->w = *w;
    memset(w, 0, sizeof(*w));
    snprintf(l->name, sizeof(l->name), "%s", name);
    l->mtime = mtime;
    l->at = frozen ? ~0u : f->ops + 1;
    while (*at)
        at = &(*at)->next;
    *at = l;
}

bool fake_faulty(struct fake *f, bool write)
{
    f->ops++;
    apply_late(f, false);
    if ((f->writes_only && !write) || f->fault_at == 0)
        return false;
    f->counted++;
    if (f->counted < f->fault_at || f->counted >= f->fault_at + f->fault_times)
        return false;
    f->hit = true;
    return true;
}

/* Of a write under its fault; 1: no answer at all. */
int fake_write_fault(struct fake *f, struct write *w, const char *name, time_t mtime)
{
    switch (f->what) {
    case FAKE_ERROR: return -f->error;
    case FAKE_DONE: (void)fake_apply(f, w, name, mtime); return -ETIMEDOUT;
    case FAKE_NOT: return -ETIMEDOUT;
    case FAKE_LATE: keep_late(f, w, name, mtime, false); return -ETIMEDOUT;
    case FAKE_FROZEN: keep_late(f, w, name, mtime, true); return -ETIMEDOUT;
    case FAKE_SILENT: return 1;
    }
    return 0;
}

/* Outside of the lock: the callback belongs to the code under test. */
int fake_answer(struct fake *f, struct completion *c, int result)
{
    if (result == 1) {
        pthread_mutex_lock(&f->lock);
        c->next = f->silent;
        f->silent = c;
        pthread_mutex_unlock(&f->lock);
        return 0;
    }
    c->result = result;
    c->fn(c, c->arg);
    return 0;
}
