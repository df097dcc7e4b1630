/* Control files: u8 file, u8 what (0 write, 1 look up, 2 read, 3 list), u16 length, bytes; again and again. */
#include <stdio.h>
#include <stdlib.h>

#include "fs/ctl.h"
#include "tests/fuzz/world.h"

#define STEPS_MAX 24

static const char *const files[] = {"snapshots", "status", "rollback", "jobs",  "error", "changes", "events",
                                    "README",    "space",  "config",   "scrub", "check", "policy",  ""};

static int count(void *arg, const char *name, const struct ctl_node *n)
{
    (void)n;
    *(size_t *)arg += strlen(name);
    return 0;
}

static void step(struct ctl *c, struct fuzz_in *in, uint32_t pid)
{
    cleanup(buf_free) struct buf out = {0};
    const char *file = files[in_u8(in) % ARRAY_LEN(files)];
    uint8_t what = in_u8(in);
    size_t len = in_u16(in), sum = 0;
    const uint8_t *p = in_bytes(in, len, &len);
    char *text = in_text(p, len);
    struct ctl_node n;
    int r;

    switch (what % 4) {
    case 0:
        r = ctl_write(c, 0, 0, pid, file, p, len);
        if (r < 0)
            FUZZ_CHECK(ctl_read(c, "error", &out) == 0 && out.len > 0);
        break;
    case 1:
        if (ctl_lookup(c, text, &n) == 0 && n.kind != CTL_ROOT && n.kind != CTL_DIR)
            (void)ctl_read(c, text, &out);
        break;
    case 2: (void)ctl_read(c, file, &out); break;
    default: (void)ctl_list(c, file, count, &sum); break;
    }
    free(text);
}

void run_control(const uint8_t *p, size_t len)
{
    struct fuzz_in in = {p, len};
    struct world w;
    struct ctl *c;

    world_begin(&w);
    FUZZ_CHECK(ctl_new(&w.env, w.v, ROLE_ADMIN, &c) == 0);
    for (uint32_t i = 0; i < STEPS_MAX && in.left; i++)
        step(c, &in, 100 + i);
    ctl_free(c);
    world_end(&w);
}

static void seed(const char *name, const char *file, uint8_t what, const char *text)
{
    cleanup(buf_free) struct buf b = {0};
    uint8_t head[4] = {0, what};

    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        if (strcmp(files[i], file) == 0)
            head[0] = (uint8_t)i;
    put_le16(head + 2, (uint16_t)strlen(text));
    FUZZ_CHECK(buf_add(&b, head, sizeof(head)) == 0);
    FUZZ_CHECK(buf_puts(&b, text) == 0);
    fuzz_seed(name, b.data, b.len);
}

void seeds_control(void)
{
    seed("create", "snapshots", 0, "create new label=a=b expire=7d hold=x\n# why\ndelete s1\n");
    seed("create-sync", "snapshots", 0, "create new sync=yes");
    seed("rename", "snapshots", 0, "rename s1 to=s9\nhold s9 tag=t\nrelease s9 tag=t\nexpire s9 at=never\n");
    seed("label", "snapshots", 0, "label s2 label=k=v remove=key\n");
    seed("clone", "snapshots", 0, "clone to=third snap=s1\n");
    seed("rollback", "rollback", 0, "rollback s1\n");
    seed("resize", "status", 0, "resize 32M\n");
    seed("wait", "jobs", 0, "wait 1\ncancel 1\n");
    seed("changes", "", 1, "changes/s1..s2");
    seed("changes-json", "", 1, "changes/s1.json");
    seed("events", "", 1, "events-since-1");
    seed("status", "", 1, "status.json");
    seed("read", "snapshots", 2, "");
    seed("list", "changes", 3, "");
    seed("root", "", 3, "");
}
