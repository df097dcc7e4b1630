/* Recovery points of repositories, by their global ids: asked of the program varve, which speaks to repositories by itself. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "plugin/csi.h"

#define WORDS_MAX 14
#define GONE "there is no recovery point"

bool csi_point_is(const char *id)
{
    const char *hash = strrchr(id, '#');

    return hash && hash != id && hash[1];
}

static const char *repo_of(struct csi_call *k, const char *id)
{
    return arena_printf(&k->arena, "%.*s", (int)(strrchr(id, '#') - id), id);
}

/* What varve says for a command, with the secrets that it needs: a sentence in *ret_why where it failed. */
static int ask(struct csi_call *k, const char *repo, size_t n, csi_entry *const *secrets,
               const char *const *words, json_t **ret, const char **ret_why)
{
    cleanup(csi_secrets_drop) struct csi_secrets s = {.d = k->d};
    const char *all[WORDS_MAX];
    size_t count = 0;
    int r = repo ? csi_secrets_take(k, repo, n, secrets, &s) : csi_nomem(k);

    while (words[count]) {
        all[count] = words[count];
        count++;
    }
    for (size_t i = 0; i < s.n; i++)
        all[count++] = s.words[i];
    all[count++] = "--json";
    all[count] = NULL;
    assert(count < WORDS_MAX);
    return r < 0 ? r : csi_varve_json(k, all, ret, ret_why);
}

/* The sentences are those of varve itself, which is of the same build. */
static int fail(struct csi_call *k, const char *field, const char *why)
{
    static const struct {
        const char *said;
        enum grpc_code code;
    } codes[] = {{"is no recovery point", GRPC_INVALID_ARGUMENT},
                 {"recovery points begin with", GRPC_INVALID_ARGUMENT},
                 {"there is no repository", GRPC_FAILED_PRECONDITION},
                 {"no passphrase", GRPC_UNAUTHENTICATED},
                 {"wrong passphrase", GRPC_UNAUTHENTICATED}};

    for (size_t i = 0; i < ARRAY_LEN(codes); i++)
        if (strstr(why, codes[i].said))
            return csi_fail(k, codes[i].code, "%s: %s", field, why);
    return csi_fail(k, GRPC_UNAVAILABLE, "%s: %s", field, why);
}

/* What is newest another time is another one: a handle is for one recovery point. */
static int check(struct csi_call *k, const char *field, const char *id)
{
    return strcmp(strrchr(id, '#'), "#latest") == 0
               ? csi_fail(k, GRPC_INVALID_ARGUMENT, "%s: write which recovery point, not latest", field)
               : 0;
}

int csi_point_show(struct csi_call *k, const char *field, const char *id, size_t n, csi_entry *const *secrets,
                   json_t **ret)
{
    const char *const words[] = {"backup", "show", id, NULL};
    const char *why = NULL;
    int r = check(k, field, id);

    *ret = NULL;
    if (r == 0)
        r = ask(k, repo_of(k, id), n, secrets, words, ret, &why);
    if (r < 0 || !why)
        return r;
    return strstr(why, GONE) ? 0 : fail(k, field, why);
}

int csi_point_fill(struct csi_call *k, const char *id, const json_t *point, Csi__V1__Snapshot **ret)
{
    const json_t *p = json_object_get(point, "recovery_point");
    const char *store = json_string_value(json_object_get(p, "store_uuid"));
    const char *volume = json_string_value(json_object_get(p, "volume_uuid"));
    const char *taken = json_string_value(json_object_get(p, "taken"));
    Csi__V1__Snapshot *to = arena_alloc(&k->arena, sizeof(*to));
    int64_t ns = 0;

    if (!to)
        return csi_nomem(k);
    if (!store || !volume || !taken || clock_parse(taken, &ns) < 0)
        return csi_fail(k, GRPC_INTERNAL, "%s tells recovery points in another way", k->d->program);
    csi__v1__snapshot__init(to);
    to->snapshot_id = arena_dup(&k->arena, id);
    to->source_volume_id = arena_printf(&k->arena, "%s/%s", store, volume);
    if (!to->snapshot_id || !to->source_volume_id)
        return csi_nomem(k);
    to->size_bytes = (int64_t)json_integer_value(json_object_get(p, "bytes"));
    to->ready_to_use = true;
    *ret = to;
    return csi_timestamp(k, ns, &to->creation_time);
}

/* By the uuid of a snapshot there may be several. */
int csi_point_delete(struct csi_call *k, const char *field, const char *id, size_t n,
                     csi_entry *const *secrets)
{
    const char *const words[] = {"backup", "delete", id, NULL};
    const char *why = NULL;
    int r = check(k, field, id);

    while (r == 0 && !why) {
        cleanup(csi_json_free) json_t *said = NULL;

        r = ask(k, repo_of(k, id), n, secrets, words, &said, &why);
    }
    return r < 0 || strstr(why, GONE) ? r : fail(k, field, why);
}

int csi_point_create(struct csi_call *k, const char *id, size_t n, csi_entry *const *secrets,
                     const char *const *words, struct csi_result *ret)
{
    cleanup(csi_secrets_drop) struct csi_secrets s = {.d = k->d};
    const char *all[WORDS_MAX], *from = arena_printf(&k->arena, "--from=%s", id), *repo = repo_of(k, id);
    size_t count = 0;
    int r = from && repo ? csi_secrets_take(k, repo, n, secrets, &s) : csi_nomem(k);

    if (r < 0)
        return r;
    while (words[count]) {
        all[count] = words[count];
        count++;
    }
    all[count++] = from;
    for (size_t i = 0; i < s.n; i++)
        all[count++] = s.words[i];
    all[count] = NULL;
    assert(count < WORDS_MAX);
    return csi_verb(k, ret, NULL, all);
}

int csi_repository_check(struct csi_call *k, const char *field, const char *repo)
{
    cleanup(csi_json_free) json_t *j = NULL;
    const char *const words[] = {"repo", "list", repo, "--json", NULL};
    const char *why;
    int r = csi_varve_json(k, words, &j, &why);

    return r < 0 || j ? r : csi_fail(k, GRPC_INVALID_ARGUMENT, "%s: %s", field, why);
}
