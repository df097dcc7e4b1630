/* Rows about bytes. */
#include "tests/bench/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define BLOCK 4096u
#define CHUNK (128u * KIB)
#define DEEP 16u

static uint64_t file_bytes(const struct work *w)
{
    return scaled(w, w->row->arg, w->row->arg / 8) * MIB;
}

static int open_data(struct work *w, int flags)
{
    w->fd = open("data", flags | O_CLOEXEC, 0644);
    return w->fd < 0 ? fail(w, "open") : 0;
}

int data_prepare(struct work *w)
{
    return make_file(w, "data", file_bytes(w));
}

static int close_data(struct work *w)
{
    int fd = w->fd;

    w->fd = -1;
    return close(fd) < 0 ? fail(w, "close") : 0;
}

/* --- reads --- */

static int read_through(struct work *w)
{
    static char chunk[CHUNK];

    for (uint64_t off = 0; off < file_bytes(w); off += CHUNK)
        if (pread(w->fd, chunk, CHUNK, (off_t)off) != (ssize_t)CHUNK)
            return fail(w, "read");
    return 0;
}

static int read_at_random(struct work *w, int fd, char *block, unsigned long n, uint64_t *x)
{
    uint64_t blocks = file_bytes(w) / BLOCK;

    for (unsigned long i = 0; i < n; i++)
        if (pread(fd, block, BLOCK, (off_t)(rand_next(x) % blocks * BLOCK)) != (ssize_t)BLOCK)
            return fail(w, "read");
    return 0;
}

int round_rand_read(struct work *w, struct meter *m)
{
    unsigned long n = w->row->drop ? scaled(w, 4000, 200) : scaled(w, 300000, 30000);
    char block[BLOCK];

    if (open_data(w, O_RDONLY) < 0 || (!w->row->drop && read_through(w) < 0))
        return -1;
    meter_start(m);
    if (read_at_random(w, w->fd, block, n, &w->rand) < 0)
        return -1;
    meter_stop(m, n);
    return close_data(w);
}

static int round_seq_read(struct work *w, struct meter *m)
{
    if (open_data(w, O_RDONLY) < 0 || (!w->row->drop && read_through(w) < 0))
        return -1;
    meter_start(m);
    if (read_through(w) < 0)
        return -1;
    meter_stop(m, file_bytes(w) / CHUNK);
    return close_data(w);
}

/* A fresh mapping of bytes that are in memory; each page is touched once, in no order. */
static int round_mmap_read(struct work *w, struct meter *m)
{
    uint64_t pages = file_bytes(w) / BLOCK, at = 0, sum = 0;
    const volatile char *p;

    if (open_data(w, O_RDONLY) < 0 || read_through(w) < 0)
        return -1;
    p = mmap(NULL, file_bytes(w), PROT_READ, MAP_SHARED, w->fd, 0);
    if (p == MAP_FAILED)
        return fail(w, "mmap");
    meter_start(m);
    for (uint64_t i = 0; i < pages; i++) {
        at = (at + 0x9e3779b1u) % pages; /* a prime: every page comes once */
        sum += (uint64_t)p[at * BLOCK];
    }
    meter_stop(m, pages);
    munmap((void *)(uintptr_t)p, file_bytes(w));
    w->rand ^= sum;
    return close_data(w);
}

struct reader {
    struct work *w;
    unsigned long n;
    uint64_t rand;
    int r;
};

static void *read_direct(void *arg)
{
    struct reader *rd = arg;
    void *block = NULL;

    rd->r = posix_memalign(&block, BLOCK, BLOCK) == 0
                ? read_at_random(rd->w, rd->w->fd, block, rd->n, &rd->rand)
                : -1;
    free(block);
    return NULL;
}

static int round_direct_read(struct work *w, struct meter *m)
{
    unsigned deep = w->row->how ? DEEP : 1;
    unsigned long n = scaled(w, 4000, 200);
    struct reader rd[DEEP];
    pthread_t t[DEEP];
    int r = 0;

    if (open_data(w, O_RDONLY | O_DIRECT) < 0)
        return -1;
    meter_start(m);
    for (unsigned i = 0; i < deep; i++) {
        rd[i] = (struct reader){.w = w, .n = n, .rand = rand_next(&w->rand)};
        if (pthread_create(&t[i], NULL, read_direct, &rd[i]) != 0)
            abort();
    }
    for (unsigned i = 0; i < deep; i++) {
        pthread_join(t[i], NULL);
        r = rd[i].r < 0 ? -1 : r;
    }
    meter_stop(m, n * deep);
    return r < 0 ? r : close_data(w);
}

/* --- writes --- */

static int round_overwrite_fsync(struct work *w, struct meter *m)
{
    uint64_t blocks = file_bytes(w) / BLOCK;
    char block[BLOCK] = "varve";

    if (open_data(w, O_WRONLY) < 0)
        return -1;
    for (unsigned long i = 0; i < scaled(w, 1000, 100); i++) {
        off_t off = (off_t)(rand_next(&w->rand) % blocks * BLOCK);
        uint64_t t = now_ns();

        block[100] = (char)i;
        if (pwrite(w->fd, block, BLOCK, off) != (ssize_t)BLOCK || fsync(w->fd) < 0)
            return fail(w, "write, fsync");
        meter_add(m, (double)(now_ns() - t));
    }
    return close_data(w);
}

static int round_append_fdatasync(struct work *w, struct meter *m)
{
    char block[BLOCK] = "varve";

    if (open_data(w, O_WRONLY | O_APPEND | O_CREAT) < 0)
        return -1;
    for (unsigned long i = 0; i < scaled(w, 1000, 100); i++) {
        uint64_t t = now_ns();

        if (write(w->fd, block, BLOCK) != (ssize_t)BLOCK || fdatasync(w->fd) < 0)
            return fail(w, "write, fdatasync");
        meter_add(m, (double)(now_ns() - t));
    }
    return close_data(w);
}

static int round_seq_write(struct work *w, struct meter *m)
{
    static char chunk[MIB];
    unsigned long n = file_bytes(w) / MIB;

    memset(chunk, 'v', sizeof(chunk));
    if (open_data(w, O_WRONLY | O_CREAT | O_TRUNC) < 0)
        return -1;
    meter_start(m);
    for (unsigned long i = 0; i < n; i++)
        if (write(w->fd, chunk, sizeof(chunk)) != (ssize_t)sizeof(chunk))
            return fail(w, "write");
    if (fsync(w->fd) < 0)
        return fail(w, "fsync");
    meter_stop(m, n);
    if (close_data(w) < 0)
        return -1;
    return unlink("data") < 0 ? fail(w, "unlink") : 0;
}

int round_rand_write(struct work *w, struct meter *m)
{
    uint64_t blocks = file_bytes(w) / BLOCK;
    unsigned long n = scaled(w, 30000, 2000);
    char block[BLOCK] = "varve";

    if (open_data(w, O_WRONLY) < 0)
        return -1;
    meter_start(m);
    for (unsigned long i = 0; i < n; i++)
        if (pwrite(w->fd, block, BLOCK, (off_t)(rand_next(&w->rand) % blocks * BLOCK)) != (ssize_t)BLOCK)
            return fail(w, "write");
    if (fsync(w->fd) < 0)
        return fail(w, "fsync");
    meter_stop(m, n);
    return close_data(w);
}

static int round_append(struct work *w, struct meter *m)
{
    unsigned long n = scaled(w, 50000, 5000);
    char block[128] = "varve";

    if (open_data(w, O_WRONLY | O_APPEND | O_CREAT) < 0)
        return -1;
    meter_start(m);
    for (unsigned long i = 0; i < n; i++)
        if (write(w->fd, block, sizeof(block)) != (ssize_t)sizeof(block))
            return fail(w, "write");
    meter_stop(m, n);
    if (close_data(w) < 0)
        return -1;
    return unlink("data") < 0 ? fail(w, "unlink") : 0;
}

const struct row rows_data[] = {
    {"read-rand", "warm 4 KiB random read", KIND_RATE, "1.15", "1.1 / 1.2", data_prepare, round_rand_read,
     .arg = 64},
    {"read-seq", "warm sequential read", KIND_RATE, "1.8", "1.8 / 1.8", data_prepare, round_seq_read,
     .arg = 256},
    {"read-mmap", "warm mmap random read", KIND_RATE, "2.8", "2.8 / 5.1", data_prepare, round_mmap_read,
     .arg = 256},
    {"cold-seq", "cold sequential read", KIND_RATE, "1.4", "2.0 / 1.9", data_prepare, round_seq_read,
     .arg = 512, .drop = 1},
    {"cold-rand", "cold 4 KiB random read", KIND_RATE, "1.4", "1.5 / 3.8", data_prepare, round_rand_read,
     .arg = 512, .drop = 1},
    {"direct-1", "cold O_DIRECT 4 KiB read, depth 1", KIND_RATE, "1.4", "1.4 / 3.7", data_prepare,
     round_direct_read, .arg = 512, .drop = 1},
    {"direct-16", "cold O_DIRECT 4 KiB read, depth 16", KIND_RATE, "1.7", "1.8 / 13", data_prepare,
     round_direct_read, .how = "16", .arg = 512, .drop = 1},
    {"overwrite-fsync", "4 KiB random overwrite + fsync", KIND_RATE, "1.3", "2.4 (passthrough 1.1) / 5.4",
     data_prepare, round_overwrite_fsync, .arg = 64, .needs_disk = 1},
    {"append-fdatasync", "4 KiB append + fdatasync", KIND_RATE, "1.0", "1.2 / 1.8", NULL,
     round_append_fdatasync, .needs_disk = 1},
    {"write-seq", "sequential write 1 GiB + fsync", KIND_RATE, "1.0", "1.1 / 0.7", NULL, round_seq_write,
     .arg = 1024, .needs_disk = 1},
    {"write-rand", "4 KiB buffered random write, fsync at the end", KIND_RATE, "14 io_uring=7 writeback=1.5",
     "1.9 (writeback) / 42", data_prepare, round_rand_write, .arg = 128, .needs_disk = 1},
    {"append-128", "128 B append", KIND_RATE, "35 io_uring=12 writeback=2", "32 (writeback) / 59", NULL,
     round_append, .needs_disk = 1},
    {0},
};
