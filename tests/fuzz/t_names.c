/* Everything that is one word of a person's: names of snapshots and volumes, times, sizes, durations, mount options. First
 * byte: which; the rest: the word. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "conf/value.h"
#include "fs/mount.h"
#include "fs/verb_value.h"
#include "snap/ns.h"
#include "tests/fuzz/world.h"

enum { SNAP, VOLUME, TIME, SIZE, COUNT, DURATION, OPTIONS, FIND, NODE, ARG, KINDS };

static void check_time(const char *s)
{
    char text[CLOCK_TEXT_SIZE];
    int64_t ns, again;

    if (clock_parse(s, &ns) < 0)
        return;
    clock_format(ns, text);
    FUZZ_CHECK(clock_parse(text, &again) == 0);
    FUZZ_CHECK(again / 1000000000 == (ns - (ns < 0 && ns % 1000000000 ? 1000000000 : 0)) / 1000000000);
}

static void check_size(const char *s)
{
    char text[CONF_SIZE_TEXT];
    uint64_t n;

    if (conf_size(s, &n) == 0)
        conf_size_text(n, text);
}

static void check_duration(const char *s)
{
    char text[CONF_SIZE_TEXT];
    int64_t ns;

    if (conf_duration(s, &ns) == 0)
        conf_duration_text(ns, text);
}

static void check_options(const char *s)
{
    cleanup(buf_free) struct buf b = {0}, again = {0};
    struct mount_opts o = {0}, p = {0};
    char why[256] = "";

    if (mount_opts_parse(&o, s, why) < 0) {
        FUZZ_CHECK(why[0] != 0);
        return;
    }
    FUZZ_CHECK(mount_opts_print(&b, &o) == 0);
    FUZZ_CHECK(mount_opts_parse(&p, buf_cstr(&b), why) == 0);
    FUZZ_CHECK(mount_opts_print(&again, &p) == 0);
    FUZZ_CHECK(strcmp(buf_cstr(&b), buf_cstr(&again)) == 0);
}

static struct world world;

static void world_gone(void)
{
    world_end(&world);
}

static void find(const char *s)
{
    struct layer_rec rec;
    struct vol *v;
    int r;

    if (!world.v) {
        world_begin(&world);
        atexit(world_gone);
    }
    r = snap_find(world.v, s, &rec);
    FUZZ_CHECK(r == 0 || r == -E_NOENT || r == -E_NAME || r == -E_NAMETOOLONG || r == -E_INVAL);
    r = volume_find(world.env.store, s, &v);
    FUZZ_CHECK(r == 0 || r == -E_NOENT || r == -E_NAME || r == -E_NAMETOOLONG || r == -E_INVAL);
}

static void look(const char *s)
{
    cleanup(buf_free) struct buf b = {0};
    struct vfs_attr a;
    struct ns_name n;

    find("s1");
    if (ns_name_init(s, &n) == 0)
        FUZZ_CHECK(n.len >= 1 && n.len <= NAME_LEN_MAX && !strchr(s, '/'));
    (void)vfs_lookup(world.v, vfs_node_make(0, INO_ROOT), s, &a);
    (void)vfs_getxattr(world.v, vfs_node_make(0, INO_ROOT), s, &b);
}

static void check_arg(const char *s)
{
    static const enum verb_arg_type types[] = {ARG_TEXT,  ARG_SNAP_NEW, ARG_SNAP, ARG_VOLUME, ARG_SIZE,
                                               ARG_COUNT, ARG_ID,       ARG_WHEN, ARG_TAG,    ARG_KEYVALUE};

    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        cleanup(buf_free) struct buf err = {0};
        struct verb_arg arg = {.name = "arg", .type = types[i], .flags = ARG_MANY, .shown = "X", .help = "x"};
        struct verb_val v = {0};
        int r = verb_value_set(&arg, s, &v, "fuzz: --arg", &err);

        FUZZ_CHECK(r == 0 || err.len > 0 || r == -E_NOMEM);
        verb_value_free(&v);
    }
}

void run_names(const uint8_t *p, size_t len)
{
    struct fuzz_in in = {p, len};
    uint8_t kind = in_u8(&in);
    char *s = in_text(in.p, in.left);
    uint64_t n;

    switch (kind % KINDS) {
    case SNAP:
        if (snap_name_check(s) == 0)
            FUZZ_CHECK(*s && !strchr(s, '/') && *s != '.' && *s != '@' && strlen(s) <= NAME_LEN_MAX);
        break;
    case VOLUME:
        if (volume_name_check(s) == 0)
            FUZZ_CHECK(*s && !strpbrk(s, "/@#") && *s != '.' && strlen(s) <= NAME_LEN_MAX);
        break;
    case TIME: check_time(s); break;
    case SIZE: check_size(s); break;
    case COUNT: (void)conf_count(s, &n); break;
    case DURATION: check_duration(s); break;
    case OPTIONS: check_options(s); break;
    case FIND: find(s); break;
    case NODE: look(s); break;
    default: check_arg(s); break;
    }
    free(s);
}

void seeds_names(void)
{
    static const struct {
        uint8_t kind;
        const char *text;
    } seeds[] = {{SNAP, "daily-1"},
                 {SNAP, "@x.json"},
                 {VOLUME, "main"},
                 {VOLUME, "a@b#c"},
                 {TIME, "2026-11-20T22:00:00Z"},
                 {TIME, "2026-11-20T22:00:00+05:30"},
                 {TIME, "0001-01-01"},
                 {TIME, "9999-12-31T23:59:60Z"},
                 {SIZE, "1.5T"},
                 {SIZE, "64KiB"},
                 {SIZE, "18446744073709551615"},
                 {COUNT, "12K"},
                 {DURATION, "250ms"},
                 {DURATION, "2w"},
                 {OPTIONS, "ro,snapdir=visible,control=read,control_gid=12,nosuid"},
                 {OPTIONS, "control=none,,rw,x"},
                 {FIND, "@latest"},
                 {FIND, "@GMT-2026.11.20-22.00.00"},
                 {FIND, "@2026-11-20T22:00:00Z"},
                 {FIND, "s1"},
                 {NODE, "dir"},
                 {NODE, "user.name"},
                 {ARG, "key=value"},
                 {ARG, "+7d"},
                 {ARG, "none"}};
    char name[16], text[100];

    for (size_t i = 0; i < ARRAY_LEN(seeds); i++) {
        snprintf(name, sizeof(name), "%zu", i);
        text[0] = (char)seeds[i].kind;
        snprintf(text + 1, sizeof(text) - 1, "%s", seeds[i].text);
        fuzz_seed(name, text, 1 + strlen(seeds[i].text));
    }
}
