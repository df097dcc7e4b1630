/* A varve of a later version: it writes one more kind of record, which older programs must not pass over, and says so in STORE/version
 * before the first one. VARVE_NEXT_FAILS in the environment: it is broken, and never serves. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "snap/store/feature.h"

#define NEXT_KIND 63
#define NEXT_BIT (1ull << 62)

static void write_one(struct store *s)
{
    struct buf tail = {0};
    struct txn t;

    if (txn_begin_freeing(s, (enum op_kind)NEXT_KIND, NULL, &t) < 0)
        return;
    t.must = true;
    if (buf_add(&tail, "\xff\xff\0\0", 4) == 0) { /* an argument of a type that nobody knows */
        t.tail = &tail;
        txn_commit(&t);
    } else {
        txn_abort(&t);
    }
    buf_free(&tail);
}

static void *write_often(void *arg)
{
    for (;;) {
        write_one(arg);
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    return NULL;
}

static void opened(struct store *s)
{
    pthread_t t;

    if (feature_require(s, NEXT_BIT) < 0)
        abort();
    write_one(s);
    if (pthread_create(&t, NULL, write_often, s) == 0) /* a daemon ends by exit, so nobody waits for it */
        pthread_detach(t);
}

__attribute__((constructor)) static void open_door(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "daemon") != 0) {
        feature_door = (struct feature_door){.incompat = NEXT_BIT, .kind = NEXT_KIND};
        return;
    }
    if (getenv("VARVE_NEXT_FAILS"))
        _exit(3);
    feature_door = (struct feature_door){.incompat = NEXT_BIT, .kind = NEXT_KIND, .opened = opened};
}
