/* What an operation is done to. */
#include "tests/model/model.h"

vfs_node m_node(const struct m_vol *mv, uint64_t ino)
{
    return ino == INO_ROOT ? (vfs_node){INO_ROOT} : vfs_node_make(mv->v->rec.live_view, ino);
}

const struct o_ino *m_pick(struct m_run *m, const struct m_vol *mv, uint32_t type)
{
    const struct o_tree *t = mv->live;
    size_t from = m_rand(m, t->n);

    for (size_t i = 0; i < t->n; i++) {
        const struct o_ino *in = t->v[(from + i) % t->n];
        if (in->nlink > 0 && (type == 0 || (in->mode & S_IFMT) == type))
            return in;
    }
    return NULL;
}

const struct o_ino *m_pick_file(struct m_run *m, const struct m_vol *mv)
{
    const struct o_tree *t = mv->live;
    size_t from = m_rand(m, t->n);

    for (size_t i = 0; i < t->n; i++) {
        const struct o_ino *in = t->v[(from + i) % t->n];
        if (S_ISREG(in->mode) && (in->nlink > 0 || m_chance(m, 30)))
            return in;
    }
    return NULL;
}

uint64_t m_pick_dir(struct m_run *m, const struct m_vol *mv)
{
    if (m_chance(m, 30))
        return INO_ROOT;
    return m_pick(m, mv, S_IFDIR)->ino;
}

void m_pick_name(struct m_run *m, char name[NAME_LEN_MAX + 1])
{
    static const char *const odd[] = {"a b",       "\xff\xfe", "...",      "-n",
                                      "line\nend", ".hidden",  "\xc3\xa9", "x@y#z"};

    switch (m_rand(m, 12)) {
    case 0: snprintf(name, NAME_LEN_MAX + 1, "%s", odd[m_rand(m, ARRAY_LEN(odd))]); break;
    case 1: {
        size_t len = 200 + m_rand(m, 56);
        memset(name, 'a' + (int)m_rand(m, 3), len);
        name[len] = 0;
        break;
    }
    default: snprintf(name, NAME_LEN_MAX + 1, "n%u", (unsigned)m_rand(m, 14)); break;
    }
}

const char *m_pick_entry(struct m_run *m, const struct m_vol *mv, uint64_t dir)
{
    const struct o_ino *d = o_get(mv->live, dir);

    return d->nent ? d->ent[m_rand(m, d->nent)].name : NULL;
}

uint64_t m_pick_offset(struct m_run *m, const struct o_ino *in)
{
    uint64_t off;

    switch (m_rand(m, 16)) {
    case 0: return in->size;
    case 1: return in->size / PG_SIZE * PG_SIZE;
    case 2: return m_rand(m, 3u << 20);
    case 3: return (m_rand(m, 3) << 20) - m_rand(m, 2) * m_rand(m, PG_SIZE) + PG_SIZE;
    case 4: return m_rand(m, 32) ? m_rand(m, 1u << 20) : ((uint64_t)8 << 40) + m_rand(m, 1u << 20);
    case 5:
    case 6:
    case 7: return m_rand(m, 24) * PG_SIZE;
    default: off = m_rand(m, in->size + 600); return off > 200000 ? m_rand(m, 200000) : off;
    }
}

size_t m_pick_len(struct m_run *m)
{
    switch (m_rand(m, 12)) {
    case 0: return PG_SIZE;
    case 1: return PG_SIZE * (1 + m_rand(m, 6));
    case 2: return 1 + m_rand(m, 100000);
    case 3:
    case 4: return 1 + m_rand(m, 20000);
    case 5:
    case 6:
    case 7: return 1 + m_rand(m, 5000);
    default: return 1 + m_rand(m, 400);
    }
}

void m_fill(struct m_run *m, void *p, size_t len)
{
    uint8_t *to = p;
    uint64_t x = m->seed * 0x9e3779b97f4a7c15u + m->op;

    for (size_t i = 0; i < len; i += 8) {
        uint64_t w = test_rand(&x) | 0x0101010101010101u; /* no byte is zero */
        memcpy(to + i, &w, MIN_OF(len - i, (size_t)8));
    }
}

struct m_snap *m_pick_snap(struct m_run *m, struct m_vol *mv)
{
    return mv->nsnaps ? &mv->snap[m_rand(m, mv->nsnaps)] : NULL;
}

struct m_snap *m_snap_find(struct m_vol *mv, const char *name)
{
    for (size_t i = 0; i < mv->nsnaps; i++)
        if (strcmp(mv->snap[i].name, name) == 0)
            return &mv->snap[i];
    return NULL;
}
