/* `varve tier pin` and `unpin`: what is to stay on the local disk. */
#include <inttypes.h>
#include <stdio.h>

#include "base/jw.h"
#include "fs/verb_runs.h"
#include "snap/idle.h"
#include "snap/store/store.h"
#include "snap/tier.h"

int tier_path_find(struct vol *v, const char *path, vfs_node *ret)
{
    vfs_node n = {INO_ROOT};

    while (*path) {
        size_t len = strcspn(path, "/");
        char name[NAME_LEN_MAX + 1];
        struct vfs_attr a;
        int r;

        if (len > NAME_LEN_MAX)
            return -E_NAMETOOLONG;
        snprintf(name, sizeof(name), "%.*s", (int)len, path);
        path += len;
        path += strspn(path, "/");
        if (len == 0 || strcmp(name, ".") == 0)
            continue;
        if ((r = vfs_lookup(v, n, name, &a)) < 0)
            return r;
        n = a.node;
    }
    *ret = n;
    return 0;
}

static int say(struct verb_ctx *c, bool on, uint64_t paths, struct buf *out)
{
    struct jw j;

    if (!c->json)
        return buf_printf(out, "%" PRIu64 " %s %s\n", paths, paths == 1 ? "path is" : "paths are",
                          on ? "pinned: what is here stays here; varve tier recall brings what is not"
                             : "not pinned any more");
    j = jw_begin(out, true);
    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_name(&j, "volume", c->vol->rec.name, strlen(c->vol->rec.name));
    jw_bool(&j, "pinned", on);
    jw_u64(&j, "paths", paths);
    jw_close(&j);
    return jw_end(&j);
}

/* Every path is looked for before anything changes. */
static int nodes(struct verb_ctx *c, const struct verb_val *paths, struct buf *ret, struct buf *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < MAX_OF(paths->ntexts, (size_t)1); i++) {
        const char *path = paths->ntexts ? paths->texts[i] : "";
        vfs_node n = {0};

        r = tier_path_find(c->vol, path, &n);
        if (r == 0)
            r = buf_add(ret, &n, sizeof(n));
        else
            buf_printf(err, "%s: %s", path, err_text(r));
    }
    return r;
}

static int pin_all(struct verb_ctx *c, const struct verb_args *a, bool on, struct buf *out, struct buf *err)
{
    cleanup(buf_free) struct buf found = {0};
    int r = nodes(c, verb_val(a, "path"), &found, err);

    for (size_t at = 0; r == 0 && at < found.len; at += sizeof(vfs_node)) {
        vfs_node n;

        memcpy(&n, found.data + at, sizeof(n));
        r = tier_pin(c->vol, vfs_node_ino(n), on);
    }
    if (r == 0 && !on) /* policies have passed over it */
        r = idle_sweep_reset(c->vol);
    if (r == 0)
        r = store_flush(c->env->store);
    return r < 0 ? r : say(c, on, found.len / sizeof(vfs_node), out);
}

RUN(run_tier_pin)
{
    return pin_all(c, a, true, out, err);
}

RUN(run_tier_unpin)
{
    return pin_all(c, a, false, out, err);
}
