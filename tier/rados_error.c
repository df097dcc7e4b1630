/* What librados answers, in words: the cause and what to do. */
#include <errno.h>

#include "tier/rados_i.h"

#ifndef EBLOCKLISTED
#define EBLOCKLISTED 108
#endif

/* clang-format off */
static const struct known {
    int result;
    int code;
    bool undone; /* of a write: it was refused before anything was done */
    const char *cause; /* %d what was being done, %u the user, %w the place, %p the pool */
} known[] = {
    {EPERM, -E_ACCES, true, "permission denied: %u may not %d in %w: give it caps osd 'allow rwx pool=%p'"},
    {EACCES, -E_ACCES, true, "permission denied: %u may not %d in %w: give it caps osd 'allow rwx pool=%p'"},
    {ENOSPC, -E_NOSPC, true, "%w: the cluster or the pool is full"},
    {EDQUOT, -E_NOSPC, true, "%w: the pool's quota is reached"},
    {EFBIG, -E_TOOBIG, true, "%w: the object is larger than the cluster takes: give a smaller part="},
    {EMSGSIZE, -E_TOOBIG, true, "%w: the object is larger than the cluster takes at once: give a smaller part="},
    {E2BIG, -E_TOOBIG, true, "%w: the object is larger than the cluster takes: give a smaller part="},
    {ENAMETOOLONG, -E_NAMETOOLONG, true, "%w: the cluster's OSDs do not take names so long (osd_max_object_name_len)"},
    {EOPNOTSUPP, -E_NOTSUP, true, "%w: the OSDs cannot do what is needed to %d (is the class lock there? osd_class_load_list)"},
    {EINVAL, -E_INVAL, true, "%w: the OSDs refuse to %d: is the pool one for objects?"},
    {EROFS, -E_ACCES, true, "%w: the pool is read only"},
    {ENOENT, -E_IO, true, "%w: the pool is gone"},
    {ENOMEM, -E_NOMEM, true, NULL},
    {EBLOCKLISTED, -E_ACCES, false, "the cluster has shut this client out (blocklisted): see `ceph osd blocklist ls`"},
    {EIO, -E_IO, false, "%w: the OSDs have an error of their own: see `ceph health detail`"},
};
/* clang-format on */

static const char *words(int result)
{
    const char *text = strerrordesc_np(-result);

    return text ? text : "unknown";
}

void rad_where(const struct rad *s, struct buf *out)
{
    buf_printf(out, "pool %s%s%s", s->conf.pool, s->conf.name_space[0] ? ", namespace " : "",
               s->conf.name_space);
}

static void cause_say(const struct rad *s, const char *cause, const char *doing, struct buf *out)
{
    for (const char *p = cause; *p; p++) {
        if (*p != '%') {
            buf_add(out, p, 1);
            continue;
        }
        switch (*++p) {
        case 'd': buf_puts(out, doing); break;
        case 'u': buf_puts(out, s->user); break;
        case 'w': rad_where(s, out); break;
        case 'p': buf_puts(out, s->conf.pool); break;
        }
    }
}

int rad_fail(struct rad *s, const char *doing, int result, bool write)
{
    cleanup(buf_free) struct buf text = {0};
    const struct known *k = NULL;
    int code = -E_IO;

    for (size_t i = 0; i < ARRAY_LEN(known) && !k; i++)
        if (known[i].result == -result)
            k = &known[i];
    if (k)
        code = k->code;
    if (write && (!k || !k->undone))
        code = -E_UNSURE;
    if (k && k->cause) {
        cause_say(s, k->cause, doing, &text);
    } else {
        rad_where(s, &text);
        buf_printf(&text, ": %s: librados answers %d (%s)", doing, result, words(result));
    }
    return why_say(&s->why, code, "%s", text.len && buf_cstr(&text) ? buf_cstr(&text) : err_text(code));
}

/* An operation on an object of a pool that was deleted says the same as one on an object that is not there. */
bool rad_pool_is_gone(struct rad *s)
{
    char name[256];

    if (BROKEN(VARVE_BREAK_rados_pool))
        return false;
    return s->lib->pool_reverse_lookup(s->cluster, s->pool_id, name, sizeof(name)) == -ENOENT;
}

int rad_connect_fail(const struct rad *s, int result, struct buf *err)
{
    const char *id = s->user;

    switch (-result) {
    case ETIMEDOUT:
        buf_printf(err, "rados: no monitor of the cluster answers: check %s and the network",
                   s->conf.monitors[0] ? "monitors=" : "conf=");
        return -E_TIMEOUT;
    case EACCES:
    case EPERM:
        buf_printf(err, "rados: the cluster refuses the key of %s: check id= and keyring=", id);
        return -E_ACCES;
    case ENOENT:
        buf_printf(err, "rados: there is no key of %s: check id=, and give keyring=FILE", id);
        return -E_ACCES;
    case EIO:
        buf_printf(err, "rados: the keyring of %s cannot be understood: check keyring=", id);
        return -E_ACCES;
    case EINVAL:
        buf_printf(err, "rados: the configuration cannot be used: check %s",
                   s->conf.monitors[0] ? "monitors=" : "conf=");
        return -E_USAGE;
    case EOPNOTSUPP:
        buf_printf(err, "rados: the cluster and this client have no way of authentication in common");
        return -E_ACCES;
    }
    buf_printf(err, "rados: connecting as %s: librados answers %d (%s)", id, result, words(result));
    return -E_IO;
}
