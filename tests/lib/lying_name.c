/* Names: what the process sees (now), what is durable, and the changes between, of which a power cut leaves some. */
#include "tests/lib/lying_model.h"

#include <stdlib.h>

#include "base/hash.h"

struct lying_node *lying__node_new(bool is_dir, mode_t mode)
{
    struct lying_node *n = lying__alloc(sizeof(*n));

    n->refs = 1;
    n->is_dir = is_dir;
    n->mode = mode;
    return n;
}

struct lying_node *lying__node_ref(struct lying_node *n)
{
    if (n)
        n->refs++;
    return n;
}

void lying__node_unref(struct lying_node *n)
{
    if (!n || --n->refs > 0)
        return;
    assert(!n->has_image);
    lying__content_free(&n->safe);
    lying__content_free(&n->live);
    lying__events_free(n);
    lying__entries_free(&n->now);
    lying__entries_free(&n->durable);
    free(n);
}

static size_t entry_index(const struct lying_entries *es, const char *name)
{
    size_t i = 0;

    while (i < es->n && strcmp(es->e[i].name, name) != 0)
        i++;
    return i;
}

struct lying_node *lying__entry(const struct lying_entries *es, const char *name)
{
    size_t i = entry_index(es, name);

    return i < es->n ? es->e[i].node : NULL;
}

#define WORD_BUCKETS 4096u

struct word {
    struct word *next;
    char name[];
};
static struct word *words[WORD_BUCKETS]; /* guarded by words_lock */
static pthread_mutex_t words_lock = PTHREAD_MUTEX_INITIALIZER;

const char *lying__word(const char *name)
{
    size_t len = strlen(name) + 1;
    struct word **at, *w;

    pthread_mutex_lock(&words_lock);
    at = &words[hash_sum(0, name, len) % WORD_BUCKETS];
    for (w = *at; w && strcmp(w->name, name) != 0;)
        w = w->next;
    if (!w) {
        w = lying__alloc(sizeof(*w) + len);
        memcpy(w->name, name, len);
        w->next = *at;
        *at = w;
    }
    pthread_mutex_unlock(&words_lock);
    return w->name;
}

void lying__entry_add(struct lying_entries *es, const char *word, struct lying_node *n)
{
    es->e = lying__grow(es->e, &es->cap, es->n, sizeof(*es->e));
    es->e[es->n++] = (struct lying_entry){word, lying__node_ref(n)};
}

void lying__entry_set(struct lying_entries *es, const char *name, struct lying_node *n)
{
    size_t i = entry_index(es, name);
    struct lying_node *old = i < es->n ? es->e[i].node : NULL;

    if (i < es->n && n) {
        es->e[i].node = lying__node_ref(n);
    } else if (i < es->n) {
        es->e[i] = es->e[--es->n];
    } else if (n) {
        lying__entry_add(es, lying__word(name), n);
    }
    lying__node_unref(old);
}

void lying__entries_free(struct lying_entries *es)
{
    for (size_t i = 0; i < es->n; i++)
        lying__node_unref(es->e[i].node);
    free(es->e);
    *es = (struct lying_entries){0};
}

struct lying_node *lying__find(struct lying *d, const char *path, struct lying_node **ret_dir,
                               char ret_name[256])
{
    struct lying_node *dir = NULL, *n = d->top;
    const char *p = path + d->root_len;

    ret_name[0] = 0;
    for (;;) {
        size_t len;

        p += strspn(p, "/");
        len = strcspn(p, "/");
        if (len == 0)
            break;
        if (!n || !n->is_dir || len > 255) {
            *ret_dir = NULL;
            return NULL;
        }
        if (len == 1 && p[0] == '.') {
            p++;
            continue;
        }
        assert(len != 2 || p[0] != '.' || p[1] != '.');
        dir = n;
        memcpy(ret_name, p, len);
        ret_name[len] = 0;
        n = lying__entry(&dir->now, ret_name);
        p += len;
    }
    *ret_dir = dir;
    return n;
}

static struct lying_name *name_add(struct lying *d, enum lying_name_kind kind, struct lying_node *dir,
                                   const char *name, struct lying_node *child)
{
    struct lying_name *op;

    d->names = lying__grow(d->names, &d->capnames, d->nnames, sizeof(*d->names));
    op = &d->names[d->nnames++];
    *op = (struct lying_name){
        .kind = kind,
        .seq = ++d->seq,
        .dir = lying__node_ref(dir),
        .name = lying__word(name),
        .child = lying__node_ref(child),
    };
    return op;
}

static void name_free(struct lying_name *op)
{
    lying__node_unref(op->dir);
    lying__node_unref(op->dir2);
    lying__node_unref(op->child);
    lying__node_unref(op->victim);
}

void lying__name_create(struct lying *d, struct lying_node *dir, const char *name, struct lying_node *child)
{
    name_add(d, LYING_NAME_CREATE, dir, name, child);
    lying__entry_set(&dir->now, name, child);
}

void lying__name_remove(struct lying *d, struct lying_node *dir, const char *name)
{
    name_add(d, LYING_NAME_REMOVE, dir, name, lying__entry(&dir->now, name));
    lying__entry_set(&dir->now, name, NULL);
}

void lying__name_rename(struct lying *d, struct lying_node *dir, const char *name, struct lying_node *dir2,
                        const char *name2)
{
    struct lying_node *child = lying__entry(&dir->now, name), *victim = lying__entry(&dir2->now, name2);
    struct lying_name *op;

    if (child == victim)
        return;
    op = name_add(d, LYING_NAME_RENAME, dir, name, child);
    op->dir2 = lying__node_ref(dir2);
    op->name2 = lying__word(name2);
    op->victim = lying__node_ref(victim);
    lying__entry_set(&dir2->now, name2, child);
    lying__entry_set(&dir->now, name, NULL);
}

static void op_apply(const struct lying_name *op, struct lying_entries *dir, struct lying_entries *dir2)
{
    if (op->kind == LYING_NAME_RENAME)
        lying__entry_set(dir2, op->name2, op->child);
    lying__entry_set(dir, op->name, op->kind == LYING_NAME_CREATE ? op->child : NULL);
}

/* The directories whose names an operation depends on: where it happens, and one that it takes away (which must be
 * empty by then). */
static void op_flag(const struct lying_name *op, bool value)
{
    op->dir->flag = value;
    if (op->dir2)
        op->dir2->flag = value;
    if (op->victim)
        op->victim->flag = value;
    if (op->kind == LYING_NAME_REMOVE)
        op->child->flag = value;
}

static bool op_flagged(const struct lying_name *op)
{
    return op->dir->flag || (op->dir2 && op->dir2->flag) || (op->victim && op->victim->flag) ||
           (op->kind == LYING_NAME_REMOVE && op->child->flag);
}

static void flags_clear(struct lying *d)
{
    for (size_t i = 0; i < d->nnames; i++) {
        op_flag(&d->names[i], false);
        d->names[i].child->flag = false;
    }
}

/* Makes durable what lands is set for, in order. */
static void names_land(struct lying *d)
{
    size_t kept = 0;

    for (size_t i = 0; i < d->nnames; i++) {
        struct lying_name *op = &d->names[i];

        if (op->lands) {
            op_apply(op, &op->dir->durable, op->dir2 ? &op->dir2->durable : NULL);
            name_free(op);
        } else {
            d->names[kept++] = *op;
        }
    }
    d->nnames = kept;
}

/* Moves of directories hang together, else a directory could end up below itself. */
static bool moves_dir(const struct lying_name *op)
{
    return op->kind == LYING_NAME_RENAME && op->child->is_dir;
}

void lying__names_sync(struct lying *d, struct lying_node *n)
{
    bool moves = false;

    flags_clear(d);
    n->flag = n->is_dir;
    for (size_t i = d->nnames; i-- > 0;) {
        struct lying_name *op = &d->names[i];

        /* backwards: what is flagged is wanted with all that came before in it */
        op->lands = op->dir->flag || (op->dir2 && op->dir2->flag) ||
                    (op->kind == LYING_NAME_CREATE && (op->child == n || op->child->flag)) ||
                    (moves && moves_dir(op));
        if (op->lands)
            op_flag(op, true);
        moves |= op->lands && moves_dir(op);
    }
    n->flag = false;
    names_land(d);
}

void lying__names_sync_all(struct lying *d)
{
    for (size_t i = 0; i < d->nnames; i++)
        d->names[i].lands = true;
    names_land(d);
}

const struct lying_entries *lying__image(const struct lying_node *dir)
{
    return dir->has_image ? &dir->image : &dir->durable;
}

/* To be changed. */
static struct lying_entries *image_own(struct lying *d, struct lying_node *dir)
{
    if (!dir->has_image) {
        for (size_t i = 0; i < dir->durable.n; i++)
            lying__entry_add(&dir->image, dir->durable.e[i].name, dir->durable.e[i].node);
        dir->has_image = true;
        dir->next_image = d->images;
        d->images = lying__node_ref(dir);
    }
    return &dir->image;
}

void lying__names_unchoose(struct lying *d)
{
    while (d->images) {
        struct lying_node *n = d->images;

        d->images = n->next_image;
        n->next_image = NULL;
        n->has_image = false;
        lying__entries_free(&n->image);
        lying__node_unref(n);
    }
}

/* names_choose_apart(d, c): each directory stops landing at some change of its own; whatever depends on it stops too. */
static void names_choose_apart(struct lying *d, struct lying_choice *c)
{
    uint64_t one_in = 2 + lying__rand_below(c, 15);
    bool move_lost = false;

    flags_clear(d);
    for (size_t i = 0; i < d->nnames; i++) {
        struct lying_name *op = &d->names[i];

        op->lands = !op_flagged(op) && !(move_lost && moves_dir(op)) && lying__rand_below(c, one_in) != 0;
        if (!op->lands) {
            move_lost |= moves_dir(op);
            op_flag(op, true);
            if (op->kind == LYING_NAME_CREATE)
                op->child->flag = true;
        }
    }
}

void lying__names_choose(struct lying *d, struct lying_choice *c)
{
    uint64_t n = d->nnames;

    if (c->mode == LYING_NONE)
        n = 0;
    else if (c->mode != LYING_ALL && c->mode != LYING_PREFIX)
        n = c->one_journal ? lying__rand_below(c, d->nnames + 1) : UINT64_MAX;
    for (size_t i = 0; i < d->nnames; i++)
        d->names[i].lands = c->mode == LYING_PREFIX ? d->names[i].seq < c->cut : i < n;
    if (n == UINT64_MAX)
        names_choose_apart(d, c);
    for (size_t i = 0; i < d->nnames; i++) {
        const struct lying_name *op = &d->names[i];

        if (op->lands)
            op_apply(op, image_own(d, op->dir), op->dir2 ? image_own(d, op->dir2) : NULL);
    }
}

void lying__names_free(struct lying *d)
{
    for (size_t i = 0; i < d->nnames; i++)
        name_free(&d->names[i]);
    free(d->names);
    d->names = NULL;
    d->nnames = d->capnames = 0;
}
