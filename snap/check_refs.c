/* Passes 6, 9, 10, 11: references of objects against a count over all records, the reclaim queue, files in data/, journal. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"
#include "snap/check_i.h"
#include "snap/store/journal.h"

struct ref {
    uint64_t object, ino, n;
    uint32_t branch;
};
struct refs {
    struct check *c;
    struct ref *v;
    size_t n;
    size_t at; /* while comparing */
};

static int ref_order(const void *a, const void *b)
{
    const struct ref *x = a, *y = b;

    if (x->object != y->object)
        return x->object < y->object ? -1 : 1;
    if (x->branch != y->branch)
        return x->branch < y->branch ? -1 : 1;
    return (x->ino > y->ino) - (x->ino < y->ino);
}

static int ref_add(struct refs *rs, struct ref ref)
{
    struct ref *v;

    if (rs->n && ref_order(&rs->v[rs->n - 1], &ref) == 0) {
        rs->v[rs->n - 1].n += ref.n;
        return 0;
    }
    if (!(v = array_more(rs->v, rs->n, sizeof(*v))))
        return -E_NOMEM;
    rs->v = v;
    rs->v[rs->n++] = ref;
    return 0;
}

static int count_record(void *arg, const struct scan_item *it)
{
    struct refs *rs = arg;
    uint64_t objs[RECORD_OBJECTS_MAX];
    uint8_t tab = it->key[0] & (uint8_t)~TAB_HISTORY;
    struct check_object *o;
    int i, n, r = 0;

    if (it->verdict < 0 || (it->val.flags & VAL_TOMB) || !scan_key_ok(it->key, it->klen))
        return 0;
    n = record_objects(tab, it->val.data, it->val.len, objs, RECORD_OBJECTS_MAX);
    if (n < 0)
        return problem(rs->c, "a record of table %s of inode %" PRIu64 " is malformed", scan_table_name(tab),
                       get_be64(it->key + 5));
    for (i = 0; i < n && r == 0; i++) {
        r = ref_add(rs, (struct ref){objs[i], get_be64(it->key + 5), 1, get_be32(it->key + 1)});
        o = idmap_get(&rs->c->objects, objs[i]);
        if (o)
            o->refs++;
    }
    return r;
}

/* Sorted, and equal ones made one. */
static void refs_settle(struct refs *rs)
{
    size_t i, n = 0;

    if (rs->n)
        qsort(rs->v, rs->n, sizeof(*rs->v), ref_order);
    for (i = 0; i < rs->n; i++)
        if (n && ref_order(&rs->v[n - 1], &rs->v[i]) == 0)
            rs->v[n - 1].n += rs->v[i].n;
        else
            rs->v[n++] = rs->v[i];
    rs->n = n;
}

static void ref_wrong(struct refs *rs, const struct ref *ref, uint64_t said)
{
    struct fix *f = fix_add(rs->c, ref->n ? FIX_PUT : FIX_DEL);

    f->klen = key_objref(f->key, ref->object, ref->branch, ref->ino);
    put_le64(f->val, ref->n);
    f->vlen = 8;
    problem(rs->c,
            "object %" PRIx64 ": inode %" PRIu64 " of branch %u counts %" PRIu64
            " records that name it, %" PRIu64 " do",
            ref->object, ref->ino, ref->branch, said, ref->n);
}

static int compare(void *arg, const struct scan_item *it)
{
    struct refs *rs = arg;
    struct ref ref = {0};
    uint64_t said;

    if (it->verdict < 0 || !scan_key_ok(it->key, it->klen))
        return 0;
    ref.object = get_be64(it->key + 1);
    ref.branch = get_be32(it->key + 9);
    ref.ino = get_be64(it->key + 13);
    said = it->val.len == 8 ? get_le64(it->val.data) : 0;
    while (rs->at < rs->n && ref_order(&rs->v[rs->at], &ref) < 0)
        ref_wrong(rs, &rs->v[rs->at++], 0);
    if (rs->at < rs->n && ref_order(&rs->v[rs->at], &ref) == 0)
        ref.n = rs->v[rs->at++].n;
    if (said != ref.n || said == 0)
        ref_wrong(rs, &ref, said);
    return 0;
}

static void see_objects(struct refs *rs)
{
    struct check *c = rs->c;
    uint64_t last = 0;
    size_t i;

    for (i = 0; i < rs->n; i++)
        if (rs->v[i].object != last) {
            last = rs->v[i].object;
            if (!idmap_get(&c->objects, last))
                problem(c, "object %" PRIx64 " is named by inode %" PRIu64 " and has no record", last,
                        rs->v[i].ino);
        }
    idmap_each(&c->objects, k)
    {
        const struct check_object *o = idmap_val(&c->objects, k);

        if (o->refs || idmap_get(&c->unlinks, o->rec.object) || c->unrecovered)
            continue;
        fix_add(c, FIX_UNLINK)->a = o->rec.object;
        problem(c, "object %" PRIx64 " of inode %" PRIu64 " is named by nothing and not queued for removal",
                o->rec.object, o->rec.ino);
    }
}

int check_pass_refs(struct check *c)
{
    static const uint8_t tabs[] = {TAB_INODE, TAB_INODE | TAB_HISTORY, TAB_SPAN, TAB_SPAN | TAB_HISTORY},
                         objref = TAB_OBJREF;
    struct refs rs = {.c = c};
    size_t i;
    int r = 0;

    for (i = 0; i < ARRAY_LEN(tabs) && r == 0; i++)
        r = txn_scan(&c->t, KEEP_PENDING, &tabs[i], 1, count_record, &rs);
    if (r == 0) {
        refs_settle(&rs);
        r = txn_scan(&c->t, KEEP_PENDING, &objref, 1, compare, &rs);
    }
    if (r == 0) {
        while (rs.at < rs.n)
            ref_wrong(&rs, &rs.v[rs.at++], 0);
        see_objects(&rs);
    }
    free(rs.v);
    return r;
}

/* --- the reclaim queue -------------------------------------------------------------------------------------------------- */

static const char *entry_wrong(struct check *c, const struct reclaim_rec *rec)
{
    struct branch_rec b;

    switch (rec->kind) {
    case RECLAIM_UNLINK:
    case RECLAIM_SIFT: return rec->object ? NULL : "names no object";
    case RECLAIM_RELEASE:
    case RECLAIM_PUNCH: return rec->object && rec->count ? NULL : "names no blocks";
    case RECLAIM_BRANCH:
        if (branch_get(c->s, rec->branch, &b) < 0 || !vol_by_id(c->s, b.vol))
            return NULL; /* done already */
        return vol_by_id(c->s, b.vol)->rec.head == b.id &&
                       !(vol_by_id(c->s, b.vol)->rec.flags & (VOLUME_GHOST | VOLUME_DELETED))
                   ? "would remove the branch that its volume writes"
                   : NULL;
    default: return NULL;
    }
}

static int see_entry(void *arg, const struct scan_item *it)
{
    struct check *c = arg;
    struct reclaim_rec rec;
    const char *wrong;

    if (it->verdict < 0)
        return 0;
    wrong = reclaim_rec_decode(it->val.data, it->val.len, &rec) < 0 ? "is malformed" : entry_wrong(c, &rec);
    if (!wrong)
        return 0;
    fix_key(fix_add(c, FIX_DEL), it->key, it->klen);
    return problem(c, "entry %" PRIu64 " %s", get_be64(it->key + 1), wrong);
}

int check_pass_reclaim(struct check *c)
{
    static const uint8_t tab = TAB_RECLAIM;

    return txn_scan(&c->t, KEEP_PENDING, &tab, 1, see_entry, c);
}

/* --- files in data/ ----------------------------------------------------------------------------------------------------- */

struct files {
    struct check *c;
    char dir[4096];
    bool top;
};

static int see_file(void *arg, const char *name)
{
    struct files *f = arg;
    char *end, path[4096 + 256], want[4096];
    uint64_t object = strtoull(name, &end, 16);

    snprintf(path, sizeof(path), "%s/%s", f->dir, name);
    if (*end == 0 && object) {
        object_path(f->c->s, object, want);
        if (strcmp(path, want) != 0)
            return problem(f->c, "%s does not lie where object %" PRIx64 " belongs", path, object);
        if (idmap_get(&f->c->objects, object) || idmap_get(&f->c->unlinks, object))
            return 0;
        fix_add(f->c, FIX_FILE)->a = object;
        return problem(f->c, "%s is no object that a record knows", path);
    }
    return problem(f->c, "%s is no object's file", path);
}

static int see_dir(void *arg, const char *name)
{
    struct check *c = arg;
    struct files f = {.c = c};

    snprintf(f.dir, sizeof(f.dir), "%s/data/%s", store_path(c->s), name);
    return io_list(f.dir, see_file, &f);
}

int check_pass_files(struct check *c)
{
    char dir[4096];

    if (c->mounted || c->unrecovered) { /* a write makes the file before the record */
        if (!c->o->quiet)
            say(c, "files that no record names are not looked for %s",
                c->mounted ? "while a volume is mounted" : "before the store has recovered");
        return 0;
    }
    snprintf(dir, sizeof(dir), "%s/data", store_path(c->s));
    return io_list(dir, see_dir, c);
}

/* --- the journal -------------------------------------------------------------------------------------------------------- */

int check_pass_journal(struct check *c)
{
    struct store_state st;

    store_get_state(c->s, &st);
    if (st.mode == STORE_RO_DAMAGED)
        problem(c, "%s", st.why);
    else if (st.mode == STORE_RO_FAILED)
        problem(c, "the store stopped writing: %s", st.why);
    return 0;
}
