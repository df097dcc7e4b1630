#include "conf/store.h"

#include "conf/table.h"

#define FILE_MAX 65536
#define SAMPLE "conf/store.conf.sample"

const struct conf_key conf_store_keys[CONF_STORE_KEYS] = {
    {.name = "flush_interval",
     .type = CONF_MS,
     CONF_MEMBER(struct conf_store, flush_ms),
     .min = 10,
     .max = 3600000,
     .range = "10ms to 1h",
     .built_in = "\"5s\"",
     .doc = "What was written without fsync reaches the disk within this time: the bound on what a power cut "
            "may take."},
    {.name = "unsynced_limit",
     .type = CONF_SIZE,
     CONF_MEMBER(struct conf_store, dirty_bytes),
     .min = 1 << 20,
     .max = 1ull << 40,
     .range = "1M to 1T",
     .built_in = "\"128M\"",
     .doc = "Bytes written and not yet on the disk before writers wait: every pause for the disk is bounded "
            "by this."},
    {.name = "delta_limit",
     .type = CONF_SIZE,
     CONF_MEMBER(struct conf_store, delta_bytes),
     .min = 1 << 20,
     .max = 1ull << 34,
     .range = "1M to 16G",
     .built_in = "\"32M\"",
     .doc = "Memory of the changes in front of the tables; a checkpoint writes them out when it is full."},
    {.name = "small_file",
     .type = CONF_SIZE,
     CONF_MEMBER(struct conf_store, inline_bytes),
     .min = 0,
     .max = 16384,
     .range = "0 to 16K",
     .built_in = "\"4K\"",
     .doc = "Files up to this size live inside the tables, larger ones in files of their own below "
            "STORE/data. 0: none."},
    {.name = "open_objects",
     .type = CONF_COUNT,
     CONF_MEMBER(struct conf_store, fd_cache),
     .min = 16,
     .max = 65536,
     .range = "16 to 65536",
     .built_in = "1024",
     .doc = "Descriptors of data files kept open for use again; none is held for an idle file."},
    {.name = "recall_timeout",
     .type = CONF_MS,
     CONF_MEMBER(struct conf_store, recall_ms),
     .min = 100,
     .max = 3600000,
     .range = "100ms to 1h",
     .built_in = "\"30s\"",
     .doc = "How long a read waits for bytes that lie in a repository still (varve mount --from); then it "
            "fails."},
    {.name = "recall_wait",
     .type = CONF_MS,
     CONF_MEMBER(struct conf_store, recall_wait_ms),
     .min = 0,
     .max = 86400000,
     .range = "0s to 24h",
     .built_in = "\"0s\"",
     .doc = "How long such a read is tried again when the repository cannot be reached, before it fails. 0s: "
            "it fails at once."},
    {.name = "recall_limit",
     .type = CONF_SIZE,
     CONF_MEMBER(struct conf_store, recall_limit),
     .min = 0,
     .max = 1ull << 50,
     .range = "0 to 1024T",
     .built_in = "\"0\"",
     .doc =
         "What readers of one volume may bring here from repositories in an hour: beyond it they wait, and "
         "fail after recall_timeout. varve hydrate and varve tier recall are not bound. 0: any number."},
};

static int parse(config_t *cfg, const char *text, const char *path, struct conf_store *c, unsigned *lines,
                 struct buf *err)
{
    struct conf_at at = {.path = path, .all = SAMPLE, .err = err};
    int r = conf_text_parse(text, path, cfg, err);

    return r < 0 ? r
                 : conf_group_read(&at, config_root_setting(cfg), conf_store_keys, CONF_STORE_KEYS, c, lines);
}

static int parse_text(const char *text, const char *path, struct conf_store *ret, unsigned *lines,
                      struct buf *err)
{
    struct conf_store c = {0};
    config_t cfg;
    int r;

    config_init(&cfg);
    r = parse(&cfg, text, path, &c, lines, err);
    config_destroy(&cfg);
    if (r == 0)
        *ret = c;
    return r;
}

int conf_store_parse(const char *text, const char *path, struct conf_store *ret, struct buf *err)
{
    return parse_text(text, path, ret, NULL, err);
}

int conf_store_lines(const char *path, struct conf_store *ret, unsigned lines[CONF_STORE_KEYS],
                     struct buf *err)
{
    cleanup(buf_free) struct buf text = {0};
    int r = conf_text_read(path, FILE_MAX, SAMPLE, &text, err);

    memset(lines, 0, CONF_STORE_KEYS * sizeof(*lines));
    if (r == -E_NOENT) {
        *ret = (struct conf_store){0};
        return 0;
    }
    return r < 0 ? r : parse_text(buf_cstr(&text), path, ret, lines, err);
}

int conf_store_read(const char *path, struct conf_store *ret, struct buf *err)
{
    unsigned lines[CONF_STORE_KEYS];

    return conf_store_lines(path, ret, lines, err);
}

void conf_store_fill(struct conf_store *to, const struct conf_store *from)
{
    to->flush_ms = to->flush_ms ? to->flush_ms : from->flush_ms;
    to->dirty_bytes = to->dirty_bytes ? to->dirty_bytes : from->dirty_bytes;
    to->delta_bytes = to->delta_bytes ? to->delta_bytes : from->delta_bytes;
    to->inline_bytes = to->inline_bytes ? to->inline_bytes : from->inline_bytes;
    to->fd_cache = to->fd_cache ? to->fd_cache : from->fd_cache;
    to->recall_ms = to->recall_ms ? to->recall_ms : from->recall_ms;
    to->recall_wait_ms = to->recall_wait_ms ? to->recall_wait_ms : from->recall_wait_ms;
    to->recall_limit = to->recall_limit ? to->recall_limit : from->recall_limit;
}

int conf_store_sample(struct buf *out)
{
    int r = buf_puts(
        out, "# STORE/config: settings of one store. Every line may be left out; the values shown are "
             "the built-in ones.\n"
             "# It is read when the store is opened; an unknown setting keeps it closed, and the "
             "message names the line.\n"
             "# What it does not say is taken from the machine's file (docs/configuration.md).\n\n");

    return r < 0 ? r : conf_sample_keys(conf_store_keys, CONF_STORE_KEYS, "", out);
}
