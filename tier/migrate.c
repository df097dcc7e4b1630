#include "tier/migrate.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/hash.h"

#define FIRST_LINE "varve migration 1\n"
#define MAGIC "varve migration "
#define SUM_LINE (4u + 16u + 1u) /* sum=HEX */
#define FILE_MAX_BYTES (64u << 20)

const char *migrate_state_name(enum migrate_state s)
{
    static const char *const names[] = {"scheduled", "running", "done", "failed", "cancelled"};

    return names[s];
}

const char *migrate_stage_name(enum migrate_stage s)
{
    static const char *const names[] = {"copying", "verifying", "switching", "deleting"};

    return names[s];
}

void migrate_release(struct migrate *m)
{
    buf_free(&m->moved);
}

/* --- which recovery points ------------------------------------------------------------------------------------------------ */

static bool has_label(const struct buf *labels, const char *want)
{
    for (size_t at = 0; at < labels->len; at += strlen((const char *)labels->data + at) + 1)
        if (strcmp((const char *)labels->data + at, want) == 0)
            return true;
    return false;
}

const char *migrate_path(const struct migrate_filter *f)
{
    return f->path[0] ? f->path : NULL;
}

bool migrate_takes(const struct migrate_filter *f, const struct point *p)
{
    return (!f->volume[0] || strcmp(f->volume, p->volume_name) == 0) &&
           (!f->label[0] || has_label(&p->labels, f->label)) &&
           (!f->before_ns || p->taken_ns < f->before_ns) && (!f->since_ns || p->taken_ns >= f->since_ns) &&
           (!f->least_bytes || p->bytes >= f->least_bytes) && (!f->most_bytes || p->bytes <= f->most_bytes);
}

/* --- text ----------------------------------------------------------------------------------------------------------------- */

struct field {
    const char *key;
    enum { TEXT, U64, I64 } kind;
    size_t at, size;
};
#define TEXT_OF(key, member)                                                                                 \
    {                                                                                                        \
        key, TEXT, offsetof(struct migrate, member), sizeof(((struct migrate *)0)->member)                   \
    }
#define U64_OF(key, member)                                                                                  \
    {                                                                                                        \
        key, U64, offsetof(struct migrate, member), sizeof(((struct migrate *)0)->member)                    \
    }
#define I64_OF(key, member)                                                                                  \
    {                                                                                                        \
        key, I64, offsetof(struct migrate, member), sizeof(((struct migrate *)0)->member)                    \
    }
static const struct field fields[] = {
    TEXT_OF("name", name),
    TEXT_OF("from", from.url),
    TEXT_OF("from-passphrase-file", from.passphrase_file),
    TEXT_OF("from-key-file", from.key_file),
    TEXT_OF("to", to.url),
    TEXT_OF("to-passphrase-file", to.passphrase_file),
    TEXT_OF("to-key-file", to.key_file),
    TEXT_OF("volume", filter.volume),
    TEXT_OF("label", filter.label),
    TEXT_OF("path", filter.path),
    I64_OF("before", filter.before_ns),
    I64_OF("since", filter.since_ns),
    U64_OF("larger", filter.least_bytes),
    U64_OF("smaller", filter.most_bytes),
    I64_OF("made", made_ns),
    I64_OF("at", at_ns),
    U64_OF("bandwidth", bandwidth),
    I64_OF("grace", grace_ns),
    U64_OF("there-points", there.points),
    U64_OF("there-pieces", there.pieces),
    U64_OF("there-bytes", there.bytes),
    U64_OF("todo-points", todo.points),
    U64_OF("todo-pieces", todo.pieces),
    U64_OF("todo-bytes", todo.bytes),
    U64_OF("done-points", done.points),
    U64_OF("done-pieces", done.pieces),
    U64_OF("done-bytes", done.bytes),
    U64_OF("sent-bytes", sent_bytes),
    U64_OF("ranges", ranges),
    U64_OF("range-bytes", range_bytes),
    U64_OF("dropped", dropped),
    I64_OF("began", began_ns),
    I64_OF("ended", ended_ns),
    TEXT_OF("why", why),
};

static int field_print(const struct migrate *m, const struct field *f, struct buf *out)
{
    const char *p = (const char *)m + f->at;
    uint64_t u;
    int64_t i;

    if (f->kind == TEXT)
        return !*p ? 0 : strpbrk(p, "\n") ? -E_INVAL : buf_printf(out, "%s=%s\n", f->key, p);
    memcpy(&u, p, sizeof(u));
    memcpy(&i, p, sizeof(i));
    if (u == 0)
        return 0;
    return f->kind == U64 ? buf_printf(out, "%s=%" PRIu64 "\n", f->key, u)
                          : buf_printf(out, "%s=%" PRId64 "\n", f->key, i);
}

int migrate_print(const struct migrate *m, struct buf *out)
{
    size_t from = out->len;
    int r = buf_printf(out, FIRST_LINE "state=%s\nstage=%s\nshare=%.6f\n%s", migrate_state_name(m->state),
                       migrate_stage_name(m->stage), m->share, m->drop_source ? "drop-source=yes\n" : "");

    for (size_t i = 0; r == 0 && i < ARRAY_LEN(fields); i++)
        r = field_print(m, &fields[i], out);
    for (size_t at = 0; r == 0 && at < m->moved.len; at += sizeof(struct migrate_moved)) {
        struct migrate_moved x;
        char a[SHA_TEXT], b[SHA_TEXT];

        memcpy(&x, m->moved.data + at, sizeof(x));
        hex_format(x.from.b, sizeof(x.from.b), a);
        hex_format(x.to.b, sizeof(x.to.b), b);
        r = buf_printf(out, "moved=%s %s\n", a, b);
    }
    return r < 0 ? r
                 : buf_printf(out, "sum=%016" PRIx64 "\n", hash_sum(0, out->data + from, out->len - from));
}

static int word_of(const char *value, const char *(*name)(unsigned i), unsigned n, unsigned *ret)
{
    for (unsigned i = 0; i < n; i++)
        if (strcmp(value, name(i)) == 0) {
            *ret = i;
            return 0;
        }
    return -E_CORRUPT;
}

static const char *state_at(unsigned i)
{
    return migrate_state_name((enum migrate_state)i);
}

static const char *stage_at(unsigned i)
{
    return migrate_stage_name((enum migrate_stage)i);
}

static int moved_parse(struct migrate *m, const char *value)
{
    struct migrate_moved x;
    char a[SHA_TEXT] = "", b[SHA_TEXT] = "";

    if (strlen(value) != 2 * (SHA_TEXT - 1) + 1 || value[SHA_TEXT - 1] != ' ')
        return -E_CORRUPT;
    memcpy(a, value, SHA_TEXT - 1);
    memcpy(b, value + SHA_TEXT, SHA_TEXT - 1);
    if (hex_parse(a, x.from.b, sizeof(x.from.b)) < 0 || hex_parse(b, x.to.b, sizeof(x.to.b)) < 0)
        return -E_CORRUPT;
    return buf_add(&m->moved, &x, sizeof(x));
}

static int number_parse(const struct field *f, const char *value, char *out)
{
    char *end;
    uint64_t u = f->kind == U64 ? strtoull(value, &end, 10) : (uint64_t)strtoll(value, &end, 10);

    memcpy(out, &u, sizeof(u));
    return *end || end == value ? -E_CORRUPT : 0;
}

static int field_parse(struct migrate *m, const char *key, const char *value)
{
    unsigned n = 0;
    int r = 0;

    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        char *out = (char *)m + fields[i].at;

        if (strcmp(key, fields[i].key) != 0)
            continue;
        if (fields[i].kind != TEXT)
            return number_parse(&fields[i], value, out);
        if (strlen(value) >= fields[i].size)
            return -E_CORRUPT;
        memcpy(out, value, strlen(value) + 1);
        return 0;
    }
    if (strcmp(key, "state") == 0 && (r = word_of(value, state_at, MIGRATE_CANCELED + 1, &n)) == 0)
        m->state = (enum migrate_state)n;
    else if (strcmp(key, "stage") == 0 && (r = word_of(value, stage_at, STAGE_DELETE + 1, &n)) == 0)
        m->stage = (enum migrate_stage)n;
    else if (strcmp(key, "share") == 0)
        m->share = strtod(value, NULL);
    else if (strcmp(key, "drop-source") == 0)
        m->drop_source = true;
    else if (strcmp(key, "moved") == 0)
        r = moved_parse(m, value);
    return r; /* others are of a later version */
}

/* The lines between the first and the last, each ended by NUL in place of its newline. */
static int lines_parse(struct migrate *m, char *p, const char *end)
{
    int r = 0;

    while (r == 0 && p < end) {
        char *nl = memchr(p, '\n', (size_t)(end - p)), *eq;

        if (!nl || !(eq = memchr(p, '=', (size_t)(nl - p))) || memchr(p, 0, (size_t)(nl - p)))
            return -E_CORRUPT;
        *eq = *nl = 0;
        r = field_parse(m, p, eq + 1);
        p = nl + 1;
    }
    return r;
}

static int whole(const char *text, size_t len)
{
    size_t head = strlen(FIRST_LINE), body = len - SUM_LINE;
    char sum[SUM_LINE + 1];

    if (len < head + SUM_LINE || memcmp(text, MAGIC, strlen(MAGIC)) != 0)
        return -E_CORRUPT;
    snprintf(sum, sizeof(sum), "sum=%016" PRIx64 "\n", hash_sum(0, text, body));
    if (memcmp(text + body, sum, SUM_LINE) != 0)
        return -E_CORRUPT;
    return memcmp(text, FIRST_LINE, head) == 0 ? 0 : -E_REPO_NEWER;
}

int migrate_parse(const void *text, size_t len, struct migrate *ret)
{
    cleanup(buf_free) struct buf copy = {0};
    struct migrate *m;
    int r = len < SUM_LINE ? -E_CORRUPT : whole(text, len);

    if (r == 0)
        r = buf_add(&copy, text, len - SUM_LINE);
    if (r < 0)
        return r;
    if (!(m = calloc(1, sizeof(*m))))
        return -E_NOMEM;
    r = lines_parse(m, (char *)copy.data + strlen(FIRST_LINE), (char *)copy.data + copy.len);
    if (r == 0 && (!m->name[0] || !m->from.url[0] || !m->to.url[0] || !(m->share > 0 && m->share <= 1)))
        r = -E_CORRUPT;
    if (r == 0)
        *ret = *m;
    else
        migrate_release(m);
    free(m);
    return r;
}

/* --- files ---------------------------------------------------------------------------------------------------------------- */

int migrate_name_check(const char *name)
{
    size_t len = strlen(name);

    if (len > MIGRATE_NAME_MAX ||
        (len >= 4 && strcmp(name + len - 4, ".new") == 0)) /* what io_replace() leaves */
        return -E_NAME;
    return conf_repo_name_check(name);
}

static int path_of(const char *store, const char *name, char out[PATH_MAX])
{
    int n = snprintf(out, PATH_MAX, "%s/migrate%s%s", store, name ? "/" : "", name ? name : "");

    return n >= PATH_MAX ? -E_NAMETOOLONG : 0;
}

int migrate_save(struct io *io, const char *store, const struct migrate *m)
{
    cleanup(buf_free) struct buf text = {0};
    char path[PATH_MAX];
    int r = path_of(store, NULL, path);

    if (r == 0)
        r = io_mkdir(io, path, 0700);
    if (r == 0)
        r = io_sync_dir(io, store);
    if (r == 0 || r == -E_EXIST)
        r = path_of(store, m->name, path);
    if (r == 0)
        r = migrate_print(m, &text);
    return r < 0 ? r : io_replace(io, path, text.data, text.len);
}

int migrate_load(struct io *io, const char *store, const char *name, struct migrate *ret)
{
    cleanup(buf_free) struct buf text = {0};
    char path[PATH_MAX];
    int r = migrate_name_check(name) < 0 ? -E_NOENT : path_of(store, name, path);

    if (r == 0)
        r = io_read_file(io, path, FILE_MAX_BYTES, &text);
    if (r == 0)
        r = migrate_parse(text.data, text.len, ret);
    if (r == 0 && strcmp(ret->name, name) != 0) {
        migrate_release(ret);
        r = -E_CORRUPT;
    }
    return r;
}

static int note_name(void *arg, const char *name)
{
    return migrate_name_check(name) < 0 ? 0 : buf_add(arg, name, strlen(name) + 1);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int names_sorted(struct buf *names, char ***ret, size_t *ret_n)
{
    size_t n = 0, i = 0;
    char **v;

    for (size_t at = 0; at < names->len; at += strlen((char *)names->data + at) + 1)
        n++;
    if (!(v = calloc(n + 1, sizeof(*v))))
        return -E_NOMEM;
    for (size_t at = 0; at < names->len; at += strlen((char *)names->data + at) + 1)
        v[i++] = (char *)names->data + at;
    qsort(v, n, sizeof(*v), by_name);
    *ret = v;
    *ret_n = n;
    return 0;
}

int migrate_each(struct io *io, const char *store, int (*cb)(void *arg, struct migrate *m, int bad),
                 void *arg)
{
    cleanup(buf_free) struct buf names = {0};
    struct migrate *m = calloc(1, sizeof(*m));
    char path[PATH_MAX], **v = NULL;
    size_t n = 0;
    int r = m ? path_of(store, NULL, path) : -E_NOMEM;

    if (r == 0)
        r = io_list(path, note_name, &names);
    if (r == 0)
        r = names_sorted(&names, &v, &n);
    for (size_t i = 0; r == 0 && i < n; i++) {
        int bad = migrate_load(io, store, v[i], m);

        if (bad == -E_NOENT)
            continue;
        if (bad < 0) {
            *m = (struct migrate){.share = 1};
            snprintf(m->name, sizeof(m->name), "%s", v[i]);
        }
        r = cb(arg, m, bad);
        migrate_release(m);
    }
    free(v);
    free(m);
    return r == -E_NOENT ? 0 : r;
}

int migrate_forget(struct io *io, const char *store, const char *name)
{
    char path[PATH_MAX], dir[PATH_MAX];
    int r = migrate_name_check(name) < 0 ? -E_NOENT : path_of(store, name, path);

    if (r == 0)
        r = path_of(store, NULL, dir);
    if (r == 0)
        r = io_unlink(io, path);
    return r < 0 ? r : io_sync_dir(io, dir);
}
