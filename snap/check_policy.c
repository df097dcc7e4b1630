/* Pass 12: profiles, and what became of their schedules. */
#include "snap/check_i.h"
#include "snap/policy.h"

static void fix_del(struct check *c, const struct scan_item *it)
{
    fix_key(fix_add(c, FIX_DEL), it->key, it->klen);
}

static int see_profile(void *arg, const struct scan_item *it)
{
    cleanup(profile_free) struct profile *p = NULL;
    cleanup(buf_free) struct buf text = {0}, err = {0};
    char name[PROFILE_NAME_MAX + 1];
    struct check *c = arg;
    uint32_t id, n = 0;
    const char *at;
    size_t len;

    if (it->verdict < 0)
        return 0;
    id = get_be32(it->key + 1);
    for (struct vol *v = vol_first(c->s); v; v = v->next)
        n += v->rec.profile == id;
    if (n == 0) {
        fix_del(c, it);
        return problem(c, "profile %u belongs to no volume", id);
    }
    if (policy_profile_decode(it->val.data, it->val.len, name, &at, &len) < 0 ||
        buf_add(&text, at, len) < 0 || !buf_cstr(&text))
        return problem(c, "profile %u is malformed", id);
    if (profile_parse(buf_cstr(&text), name, &p, &err) < 0)
        return problem(c, "profile %s cannot be read: %s", name, buf_cstr(&err));
    return 0;
}

static int see_volume(void *arg, const struct scan_item *it)
{
    struct check *c = arg;
    struct volume_rec rec;
    uint8_t k[KEY_SIZE_MAX];
    struct txn_val v;

    if (it->verdict < 0 || volume_rec_decode(it->val.data, it->val.len, &rec) < 0) /* said by another pass */
        return 0;
    if (rec.profile && !(rec.flags & VOLUME_GHOST) &&
        txn_get(&c->t, KEEP_PENDING, k, key_u32(k, TAB_PROFILE, rec.profile), &v) == -E_NOENT)
        return problem(c, "volume %s: its profile %u is not there", rec.name, rec.profile);
    return 0;
}

static int see_schedule(void *arg, const struct scan_item *it)
{
    struct check *c = arg;
    uint32_t id = get_be32(it->key + 1);
    struct policy_runs runs;
    bool bad;

    if (it->verdict < 0)
        return 0;
    bad = policy_runs_decode(it->val.data, it->val.len, &runs) < 0;
    if (!bad && vol_by_id(c->s, id))
        return 0;
    fix_del(c, it);
    return bad ? problem(c, "the schedules of volume %u are malformed", id)
               : problem(c, "there are schedules of volume %u, which is not there", id);
}

/* Each place in the queue is one of a file that was read, then or later; and each such file has one. */
static int see_idle(void *arg, const struct scan_item *it)
{
    struct check *c = arg;
    uint8_t k[13] = {TAB_READ};
    struct txn_val v;

    if (it->verdict < 0)
        return 0;
    memcpy(k + 1, it->key + 1, 4);
    memcpy(k + 5, it->key + 13, 8);
    c->idle++;
    if (vol_by_id(c->s, get_be32(it->key + 1)) && txn_get(&c->t, KEEP_PENDING, k, sizeof(k), &v) == 0 &&
        v.len == 8 && get_le64(v.data) >= get_be64(it->key + 5))
        return 0;
    fix_del(c, it);
    return problem(c, "inode %llu of volume %u waits for a policy, and was not read",
                   (unsigned long long)get_be64(it->key + 13), get_be32(it->key + 1));
}

static int see_read(void *arg, const struct scan_item *it)
{
    struct check *c = arg;

    if (it->verdict == 0)
        c->idle--;
    return 0;
}

static int see_sweep(void *arg, const struct scan_item *it)
{
    struct check *c = arg;

    if (it->verdict < 0 || vol_by_id(c->s, get_be32(it->key + 1)))
        return 0;
    fix_del(c, it);
    return problem(c, "a policy has looked at volume %u, which is not there", get_be32(it->key + 1));
}

int check_pass_policy(struct check *c)
{
    static const struct {
        uint8_t tab;
        int (*see)(void *arg, const struct scan_item *it);
    } tabs[] = {{TAB_PROFILE, see_profile}, {TAB_VOLUME, see_volume}, {TAB_SCHEDULE, see_schedule},
                {TAB_IDLE, see_idle},       {TAB_READ, see_read},     {TAB_SWEEP, see_sweep}};
    int r = 0;

    c->idle = 0;
    for (size_t i = 0; i < ARRAY_LEN(tabs) && r == 0; i++)
        r = txn_scan(&c->t, KEEP_PENDING, &tabs[i].tab, 1, tabs[i].see, c);
    if (r == 0 && c->idle)
        r = problem(c, "files that were read and places in the queue are not as many: %lld too many places",
                    (long long)c->idle);
    return r;
}
