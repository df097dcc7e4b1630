#include "tier/ahead.h"

#include <pthread.h>
#include <stdlib.h>

#define BLOCK_BYTES (256u << 10)
#define BLOCKS_MAX 4u
#define HEAD 6u /* klen u16, vlen u32; then key and value */

struct ahead {
    struct repo *r;
    const struct tree *t;
    struct buf now;       /* of the reader: being filled */
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t change;
    struct buf full[BLOCKS_MAX];
    unsigned first, n;
    bool stop, over;
    int result;
    struct buf why;
};

/* --- the reader ----------------------------------------------------------------------------------------------------- */

static int hand_over(struct ahead *a)
{
    int r = 0;

    if (a->now.len == 0)
        return 0;
    pthread_mutex_lock(&a->lock);
    while (a->n == BLOCKS_MAX && !a->stop)
        pthread_cond_wait(&a->change, &a->lock);
    if (a->stop) {
        r = -E_CANCELED;
    } else {
        a->full[(a->first + a->n++) % BLOCKS_MAX] = a->now;
        a->now = (struct buf){0};
        pthread_cond_broadcast(&a->change);
    }
    pthread_mutex_unlock(&a->lock);
    return r;
}

static int keep(struct ahead *a, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    uint8_t head[HEAD];
    int r;

    put_le16(head, (uint16_t)klen);
    put_le32(head + 2, (uint32_t)vlen);
    if ((r = buf_add(&a->now, head, sizeof(head))) < 0 || (r = buf_add(&a->now, key, klen)) < 0 ||
        (r = buf_add(&a->now, val, vlen)) < 0)
        return r;
    return a->now.len >= BLOCK_BYTES ? hand_over(a) : 0;
}

static int keep_large(struct ahead *a, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    cleanup(buf_free) struct buf b = {0};
    struct dec d = dec_of(val + 1, vlen - 1);
    struct slice s = slice_decode(&d);
    int r = d.bad ? -E_CORRUPT : buf_add(&b, "", 1);

    if (r == 0)
        r = repo_slice(a->r, &s, true, &b);
    return r < 0 ? r : keep(a, key, klen, b.data, b.len);
}

static int take(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    if (klen > 9 && key[8] == REC_XATTR && vlen > 0 && val[0] == 1)
        return keep_large(arg, key, klen, val, vlen);
    return keep(arg, key, klen, val, vlen);
}

static void *reader_main(void *arg)
{
    struct ahead *a = arg;
    int r = tree_scan(a->r, a->t, NULL, NULL, take, a);

    if (r == 0)
        r = hand_over(a);
    if (r < 0)
        (void)buf_puts(&a->why, backend_text(r));
    buf_free(&a->now);
    pthread_mutex_lock(&a->lock);
    a->over = true;
    a->result = r;
    pthread_cond_broadcast(&a->change);
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

/* --- the other side ------------------------------------------------------------------------------------------------- */

/* False: the reader is through, and there are no more. */
static bool next(struct ahead *a, struct buf *ret)
{
    bool got;

    pthread_mutex_lock(&a->lock);
    while (a->n == 0 && !a->over)
        pthread_cond_wait(&a->change, &a->lock);
    got = a->n > 0;
    if (got) {
        *ret = a->full[a->first];
        a->first = (a->first + 1) % BLOCKS_MAX;
        a->n--;
        pthread_cond_broadcast(&a->change);
    }
    pthread_mutex_unlock(&a->lock);
    return got;
}

static int each(const struct buf *b,
                int (*cb)(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen),
                void *arg)
{
    struct dec d = dec_of(b->data, b->len);
    int r = 0;

    while (r == 0 && d.left) {
        size_t klen = dec_u16(&d), vlen = dec_u32(&d);
        const uint8_t *key = dec_bytes(&d, klen), *val = dec_bytes(&d, vlen);

        assert(!d.bad);
        r = cb(arg, key, klen, val, vlen);
    }
    return r;
}

static int consume(struct ahead *a,
                   int (*cb)(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen),
                   void *arg)
{
    struct buf b;
    int r = 0;

    while (r == 0 && next(a, &b)) {
        r = each(&b, cb, arg);
        buf_free(&b);
    }
    pthread_mutex_lock(&a->lock);
    a->stop = true;
    pthread_cond_broadcast(&a->change);
    pthread_mutex_unlock(&a->lock);
    return r;
}

int tree_scan_ahead(struct repo *r, const struct tree *t,
                    int (*cb)(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen),
                    void *arg)
{
    struct ahead a = {.r = r, .t = t, .lock = PTHREAD_MUTEX_INITIALIZER, .change = PTHREAD_COND_INITIALIZER};
    pthread_t reader;
    int x;

    if (pthread_create(&reader, NULL, reader_main, &a) != 0)
        return -E_NOMEM;
    x = consume(&a, cb, arg);
    pthread_join(reader, NULL);
    if (x == 0 && (x = a.result) < 0 && a.why.len)
        backend_text_set(x, a.why.data, a.why.len);
    for (; a.n > 0; a.n--, a.first = (a.first + 1) % BLOCKS_MAX)
        buf_free(&a.full[a.first]);
    buf_free(&a.why);
    pthread_cond_destroy(&a.change);
    pthread_mutex_destroy(&a.lock);
    return x;
}
