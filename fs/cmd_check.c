#include "fs/verb_check.h"

#include <inttypes.h>
#include <time.h>

#include "base/clock.h"
#include "fs/verb_runs.h"
#include "fs/verb_show.h"

#define BUSY_WAIT_NS 5000000000

enum { CHECK_CLEAN = 0, CHECK_REPAIRED = 1, CHECK_NOT = 4 };

struct check {
    struct buf *out;
    struct jw j;
    bool json;
    int err;
};

static void say(void *arg, const char *line)
{
    struct check *c = arg;

    if (c->json)
        jw_str(&c->j, NULL, line);
    else if (c->err == 0)
        c->err = buf_printf(c->out, "%s\n", line);
}

static void begin(struct check *c, const char *path)
{
    c->j = jw_begin(c->out, true);
    if (!c->json)
        return;
    jw_object(&c->j, NULL);
    jw_u64(&c->j, "schema", 1);
    jw_name(&c->j, "store", path, strlen(path));
    jw_array(&c->j, "lines");
}

/* Closes what was said, and judges. */
static int end(struct check *c, const struct check_result *res)
{
    int code = res->problems == 0 ? CHECK_CLEAN : res->repaired == res->problems ? CHECK_REPAIRED : CHECK_NOT;
    int r = c->err;

    if (c->json) {
        jw_close(&c->j);
        jw_u64(&c->j, "problems", res->problems);
        jw_u64(&c->j, "repaired", res->repaired);
        jw_str(&c->j, "verdict",
               code == CHECK_CLEAN      ? "clean"
               : code == CHECK_REPAIRED ? "repaired"
                                        : "damaged");
        jw_close(&c->j);
        r = jw_end(&c->j);
    } else if (r == 0) {
        r = buf_printf(c->out, "%" PRIu64 " problems, %" PRIu64 " repaired: %s\n", res->problems,
                       res->repaired,
                       code == CHECK_CLEAN      ? "clean"
                       : code == CHECK_REPAIRED ? "repaired"
                                                : "damaged; varve check --repair puts right what can be");
    }
    return r < 0 ? r : code;
}

int verb_check_path(const char *path, bool repair, bool json, struct buf *out, struct buf *err)
{
    struct check c = {.out = out, .json = json};
    struct check_opts o = {.repair = repair, .say = say, .arg = &c};
    struct check_result res = {0};
    int r;

    /* a daemon that nobody needs any more is closing the store */
    for (int64_t until = clock_mono_ns() + BUSY_WAIT_NS;;
         nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL)) {
        buf_reset(out);
        begin(&c, path);
        r = check_path(io_real(), path, &o, &res);
        if (r != -E_STORE_BUSY || clock_mono_ns() > until)
            break;
    }
    if (r < 0) {
        buf_reset(out);
        buf_printf(err, "check %s: %s%s", path, err_text(r),
                   r == -E_STORE_BUSY ? "; umount its volumes first" : "");
        return r;
    }
    return end(&c, &res);
}

/* Of a store that this process serves: as it lives, nothing is changed. */
RUN(run_check)
{
    const char *path = store_path(c->env->store);
    struct check k = {.out = out, .json = c->json};
    struct check_opts o = {.say = say, .arg = &k};
    struct check_result res = {0};
    int r;

    if (verb_num(a, "repair")) {
        buf_printf(err, "check %s: is in use; umount its volumes, then repair", path);
        return -E_STORE_BUSY;
    }
    begin(&k, path);
    r = check_store(c->env->store, &o, &res);
    if (r < 0) {
        buf_reset(out);
        buf_printf(err, "check %s: %s", path, err_text(r));
        return r;
    }
    return end(&k, &res);
}

int verb_dump_path(const char *path, int argc, char **argv, struct buf *out, struct buf *err)
{
    int r = dump_path(io_real(), path, argc, argv, out);

    if (r == -E_USAGE || r == -E_INVAL) {
        buf_printf(err, "dump: \"%s\" is not understood; varve dump --help lists what can be printed",
                   argv[0]);
        return -E_USAGE;
    }
    if (r < 0)
        buf_printf(err, "dump %s %s: %s%s", path, argv[0], err_text(r),
                   r == -E_STORE_BUSY ? "; umount its volumes first" : "");
    return r;
}
