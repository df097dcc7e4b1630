/* What bench-backup measures with, the same bytes for the same numbers, wherever it is made.
 *   tree DIR FILES        files as of a home directory: text, tables, what is compressed already, copies of others
 *   db FILE BYTES         a database: pages of 4 KiB with rows of words, numbers, times and keys, and free room
 *   change FILE N SEED    N pages of it anew, anywhere; prints how many bytes they are, plain and compressed in one piece
 *   poke FILE AT          ten bytes at this place
 *   many DIR FILES        small files, a thousand a directory
 *   touch DIR FILES N SEED   N of these anew */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <lz4.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "base/base.h"

#define PAGE 4096u
#define PAGES_AT_ONCE 256u
#define WORDS 3000u
#define FILE_MAX (1u << 20)

static char words[WORDS][12];
static uint8_t room[FILE_MAX + 64];

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "bench-backup: %s: %s\n", what, strerror(errno));
    exit(3);
}

/* --- numbers -------------------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

static uint64_t draw(uint64_t *s)
{
    *s += 0x9e3779b97f4a7c15ull;
    return mix(*s);
}

static uint64_t below(uint64_t *s, uint64_t n)
{
    return draw(s) % n;
}

/* Few words are frequent, many are rare. */
static const char *word(uint64_t *s)
{
    uint64_t r = below(s, WORDS) + 1;

    return words[below(s, r)];
}

static void words_make(void)
{
    static const char syllables[] = "barecidofugahekilomunapesitotuvawezyxo";
    uint64_t s = 7;

    for (unsigned i = 0; i < WORDS; i++) {
        unsigned n = 1 + (unsigned)below(&s, 4) + (i > 50);

        for (unsigned k = 0; k < n && k < 5; k++)
            memcpy(words[i] + 2 * k, syllables + 2 * below(&s, (sizeof(syllables) - 1) / 2), 2);
    }
}

/* --- a page of a table ---------------------------------------------------------------------------------------------- */

struct filling {
    uint8_t *at, *end;
    uint64_t s;
};

static void add(struct filling *f, const void *p, size_t len)
{
    len = MIN_OF(len, (size_t)(f->end - f->at));
    memcpy(f->at, p, len);
    f->at += len;
}

static void add_number(struct filling *f, uint64_t v, size_t len)
{
    uint8_t b[8];

    put_be64(b, v);
    add(f, b + 8 - len, len);
}

static void add_words(struct filling *f, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        const char *w = word(&f->s);

        add(f, w, strlen(w));
        add(f, " ", 1);
    }
}

static void add_row(struct filling *f, uint64_t id)
{
    uint8_t key[10];

    add_number(f, 0x0706000000000000ull | id, 8);
    add_number(f, 1700000000000ull + id * 3000 + below(&f->s, 3000), 6);
    for (size_t i = 0; i < sizeof(key); i++)
        key[i] = (uint8_t)draw(&f->s);
    add(f, key, below(&f->s, 3) ? 4 : sizeof(key));
    add_number(f, below(&f->s, 100000), 4);
    add_words(f, 3 + (unsigned)below(&f->s, 9));
    add(f, below(&f->s, 4) ? "active" : "closed", 6);
}

/* Page `no`, for the `time`-th time. */
static void page(uint8_t *p, uint64_t no, uint64_t time)
{
    struct filling f = {p + 24, p + PAGE - 200 - mix(no * 3 + time) % 1200, mix(no ^ (time << 40)) | 1};
    uint64_t id = no * 40;

    memset(p, 0, PAGE);
    put_be64(p, draw(&f.s) >> 16);
    put_be64(p + 8, no);
    p[16] = 13;
    while (f.at + 40 < f.end)
        add_row(&f, id++);
}

static void write_at(int fd, const void *p, size_t len, uint64_t off, const char *name)
{
    if (pwrite(fd, p, len, (off_t)off) != (ssize_t)len)
        die(name);
}

static int open_as(const char *name, int flags)
{
    int fd = open(name, flags | O_CLOEXEC, 0644);

    if (fd < 0)
        die(name);
    return fd;
}

static void close_all_written(int fd, const char *name)
{
    if (fsync(fd) < 0 || close(fd) < 0)
        die(name);
}

static int cmd_db(char **a)
{
    uint64_t n = strtoull(a[1], NULL, 10) / PAGE;
    int fd = open_as(a[0], O_WRONLY | O_CREAT | O_TRUNC);

    for (uint64_t i = 0; i < n; i += PAGES_AT_ONCE) {
        size_t k = (size_t)MIN_OF((uint64_t)PAGES_AT_ONCE, n - i);

        for (size_t j = 0; j < k; j++)
            page(room + j * PAGE, i + j, 0);
        write_at(fd, room, k * PAGE, i * PAGE, a[0]);
    }
    close_all_written(fd, a[0]);
    return 0;
}

/* --- changing it ---------------------------------------------------------------------------------------------------- */

/* N different pages of all, ascending: each is drawn with the share that is still wanted. */
static uint8_t *choose(uint64_t all, uint64_t n, uint64_t seed, uint64_t *ret)
{
    uint8_t *plain = malloc((size_t)(n * PAGE));
    uint64_t got = 0;

    if (!plain)
        die("memory");
    for (uint64_t i = 0; i < all && got < n; i++)
        if (below(&seed, all - i) < n - got)
            ret[got++] = i;
    return plain;
}

static int cmd_change(char **a)
{
    uint64_t n = strtoull(a[1], NULL, 10), seed = strtoull(a[2], NULL, 10) + 1, *which = calloc(n + 1, 8);
    int fd = open_as(a[0], O_RDWR);
    uint64_t all = (uint64_t)lseek(fd, 0, SEEK_END) / PAGE;
    uint8_t *plain = choose(all, MIN_OF(n, all), seed, which), *z;
    size_t len = (size_t)(MIN_OF(n, all) * PAGE), zstd, lz4;

    for (uint64_t i = 0; i * PAGE < len; i++) {
        page(plain + i * PAGE, which[i], seed);
        write_at(fd, plain + i * PAGE, PAGE, which[i] * PAGE, a[0]);
    }
    close_all_written(fd, a[0]);
    if (!(z = malloc(ZSTD_compressBound(len) + (size_t)LZ4_compressBound((int)len))))
        die("memory");
    zstd = ZSTD_compress(z, ZSTD_compressBound(len), plain, len, 3);
    lz4 = (size_t)LZ4_compress_default((char *)plain, (char *)z, (int)len, LZ4_compressBound((int)len));
    printf("{\"pages\": %zu, \"bytes\": %zu, \"zstd\": %zu, \"lz4\": %zu}\n", len / PAGE, len, zstd, lz4);
    free(z);
    free(plain);
    free(which);
    return 0;
}

static int cmd_poke(char **a)
{
    int fd = open_as(a[0], O_WRONLY);

    write_at(fd, "0123456789", 10, strtoull(a[1], NULL, 10), a[0]);
    close_all_written(fd, a[0]);
    return 0;
}

/* --- a tree --------------------------------------------------------------------------------------------------------- */

enum kind { TEXT, TABLE, DENSE, COPY };

/* Most files are small, few are large. */
static size_t size_of(uint64_t *s)
{
    size_t size = 200 + (size_t)below(s, 3000);

    for (unsigned i = 0; i < 8 && below(s, 2); i++)
        size *= 2;
    return MIN_OF(size, (size_t)FILE_MAX);
}

static void fill(uint8_t *p, size_t len, enum kind k, uint64_t seed)
{
    struct filling f = {p, p + len, seed};

    while (f.at < f.end) {
        char line[80];

        if (k == TEXT) {
            add_words(&f, 6 + (unsigned)below(&f.s, 6));
            add(&f, "\n", 1);
        } else if (k == TABLE) {
            int n =
                snprintf(line, sizeof(line), "{\"id\": %" PRIu64 ", \"name\": \"%s\", \"x\": %" PRIu64 "},\n",
                         below(&f.s, 1000000), word(&f.s), below(&f.s, 10000));
            add(&f, line, (size_t)n);
        } else {
            uint64_t v = draw(&f.s);
            add(&f, &v, 8);
        }
    }
}

static void file_write(const char *name, size_t len)
{
    int fd = open_as(name, O_WRONLY | O_CREAT | O_TRUNC);

    write_at(fd, room, len, 0, name);
    if (close(fd) < 0)
        die(name);
}

static void directory(const char *name)
{
    if (mkdir(name, 0755) < 0 && errno != EEXIST)
        die(name);
}

static int cmd_tree(char **a)
{
    uint64_t n = strtoull(a[1], NULL, 10), s = 11;
    char name[4096];

    directory(a[0]);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t of = i > 20 && below(&s, 20) == 0 ? i - 1 - below(&s, 20) : i, t = mix(of + 1);
        enum kind k = t % 10 < 6 ? TEXT : t % 10 < 8 ? TABLE : DENSE;
        size_t len;

        t >>= 8;
        len = size_of(&t);
        snprintf(name, sizeof(name), "%s/d%03" PRIu64, a[0], i / 100);
        if (i % 100 == 0)
            directory(name);
        fill(room, len, k, t | 1);
        snprintf(name, sizeof(name), "%s/d%03" PRIu64 "/%s-%" PRIu64, a[0], i / 100, words[t % WORDS], i);
        file_write(name, len);
    }
    return 0;
}

static void small(const char *dir, uint64_t i, uint64_t seed)
{
    char name[4096];
    size_t len = 100 + (size_t)(mix(i) % 400);

    snprintf(name, sizeof(name), "%s/%04" PRIu64 "/f%07" PRIu64, dir, i / 1000, i);
    fill(room, len, TEXT, mix(i + seed));
    file_write(name, len);
}

static int cmd_many(char **a)
{
    uint64_t n = strtoull(a[1], NULL, 10);
    char name[4096];

    directory(a[0]);
    for (uint64_t i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "%s/%04" PRIu64, a[0], i / 1000);
        if (i % 1000 == 0)
            directory(name);
        small(a[0], i, 1);
    }
    return 0;
}

static int cmd_touch(char **a)
{
    uint64_t all = strtoull(a[1], NULL, 10), n = strtoull(a[2], NULL, 10), seed = strtoull(a[3], NULL, 10),
             s = seed;

    for (uint64_t i = 0; i < n; i++)
        small(a[0], below(&s, all), seed + 2);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int args;
        int (*run)(char **a);
    } commands[] = {{"tree", 2, cmd_tree}, {"db", 2, cmd_db},     {"change", 3, cmd_change},
                    {"poke", 2, cmd_poke}, {"many", 2, cmd_many}, {"touch", 4, cmd_touch}};

    words_make();
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (argc == commands[i].args + 2 && strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argv + 2);
    fprintf(stderr, "bench-backup: see tests/bench-backup/main.c\n");
    return 2;
}
