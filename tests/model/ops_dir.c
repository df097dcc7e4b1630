/* Listing directories while they change. */
#include "tests/model/model.h"

#include <stdlib.h>

#define SEEN_MAX 512

struct listing {
    struct m_run *m;
    const struct m_vol *mv;
    uint64_t cookie;
    size_t n, room; /* room: entries until this call is full */
    char *name[SEEN_MAX];
    uint64_t ino[SEEN_MAX];
    bool with_attr, changing; /* changing: names come and go while it is listed */
};

static int on_entry(void *arg, const struct vfs_dirent *e)
{
    struct listing *l = arg;

    if (l->room == 0)
        return 1;
    l->room--;
    WANT(l->m, e->cookie > l->cookie, "cookie %llu after %llu", (unsigned long long)e->cookie,
         (unsigned long long)l->cookie);
    l->cookie = e->cookie;
    if (e->cookie <= 2)
        return 0;
    WANT(l->m, l->n < SEEN_MAX, "a listing without end");
    WANT(l->m, e->name_len > 0 && e->name_len <= NAME_LEN_MAX, "an entry of %zu bytes", e->name_len);
    if (l->with_attr)
        WANT(l->m, vfs_node_ino(e->attr.node) == e->ino && (e->attr.mode & S_IFMT) == e->type,
             "entry %.20s: attributes of another inode", e->name);
    l->name[l->n] = strndup(e->name, e->name_len);
    l->ino[l->n++] = e->ino;
    return 0;
}

static bool list_some(struct listing *l, uint64_t dir, size_t room)
{
    l->room = room;
    m_expect(l->m, vfs_readdir(l->mv->v, m_node(l->mv, dir), l->cookie, l->with_attr, on_entry, l), 0,
             "readdir");
    return l->room == 0;
}

static size_t times_seen(const struct listing *l, const char *name, uint64_t ino)
{
    size_t n = 0;

    for (size_t i = 0; i < l->n; i++)
        n += strcmp(l->name[i], name) == 0 && l->ino[i] == ino;
    return n;
}

static bool in_dir(const struct o_ino *d, const char *name, uint64_t ino)
{
    const struct o_ent *e = o_ent_find(d, name);

    return e && e->ino == ino;
}

/* An entry that stays is given exactly once; one that comes or goes meanwhile, at most once. */
static void listing_check(struct listing *l, const struct o_ino *before, const struct o_ino *after)
{
    for (size_t i = 0; i < l->n; i++) {
        size_t n = times_seen(l, l->name[i], l->ino[i]);
        bool was = in_dir(before, l->name[i], l->ino[i]), is = in_dir(after, l->name[i], l->ino[i]);

        WANT(l->m, was || is || l->changing, "listing of %llu gives %.20s, which is not there",
             (unsigned long long)after->ino, l->name[i]);
        WANT(l->m, n == 1, "listing of %llu gives %.20s %zu times", (unsigned long long)after->ino,
             l->name[i], n);
    }
    for (size_t i = 0; i < before->nent; i++) {
        const struct o_ent *e = &before->ent[i];

        if (in_dir(after, e->name, e->ino))
            WANT(l->m, times_seen(l, e->name, e->ino) == 1, "listing of %llu leaves out %.20s",
                 (unsigned long long)after->ino, e->name);
    }
}

void op_readdir(struct m_run *m, struct m_vol *mv)
{
    struct listing l = {.m = m, .mv = mv, .with_attr = m_chance(m, 50), .changing = m_chance(m, 60)};
    uint64_t dir = m_pick_dir(m, mv);
    struct o_tree *before = o_tree_copy(mv->live);

    m_trace(m, "readdir dir=%llu change=%d", (unsigned long long)dir, l.changing);
    while (list_some(&l, dir, 1 + m_rand(m, 6))) {
        if (!l.changing)
            continue;
        if (m_chance(m, 50))
            op_create(m, mv);
        else
            op_unlink(m, mv);
    }
    listing_check(&l, o_get(before, dir), o_get(mv->live, dir));
    o_tree_free(before);
    for (size_t i = 0; i < l.n; i++)
        free(l.name[i]);
}
