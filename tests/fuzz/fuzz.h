/* tests/fuzz: hostile bytes for everything that parses. One program: with libFuzzer's main (SAN=fuzz CC=clang) it explores one
 * target, with its own (main.c) it replays corpora, mutates them a little, and writes the hand-made seeds.
 *
 * A target takes any bytes and must return: no crash, no assertion, no report of a sanitizer, no hang. What it knows of the
 * right answer it asserts. It leaves nothing behind that the next input could see. */
#ifndef VARVE_TESTS_FUZZ_FUZZ_H
#define VARVE_TESTS_FUZZ_FUZZ_H

#include "base/buf.h"

struct fuzz_target {
    const char *name;
    void (*run)(const uint8_t *p, size_t len);
    void (*seeds)(void); /* calls fuzz_seed() */
    size_t len_max;
    const char *doc;
};

extern const struct fuzz_target fuzz_targets[];
const struct fuzz_target *fuzz_find(const char *name); /* NULL: the end of the table, or no such */

/* While seeds() runs: one more file of the corpus. */
void fuzz_seed(const char *name, const void *p, size_t len);

/* A directory in memory for this process: FUZZ_DIR, or a new one below /dev/shm; removed at the end of the process. */
const char *fuzz_dir(void);

/* Must hold; unlike assert() it says so in any build and names the place. */
#define FUZZ_CHECK(cond)                                                                                     \
    do {                                                                                                     \
        if (!(cond))                                                                                         \
            fuzz_fail(__FILE__, __LINE__, #cond);                                                            \
    } while (0)
void fuzz_fail(const char *file, int line, const char *what) __attribute__((noreturn));

/* A cursor over the input: what is missing reads as zeros. */
struct fuzz_in {
    const uint8_t *p;
    size_t left;
};
uint8_t in_u8(struct fuzz_in *in);
uint16_t in_u16(struct fuzz_in *in);
uint32_t in_u32(struct fuzz_in *in);
uint64_t in_u64(struct fuzz_in *in);
/* At most len bytes; *ret_len as many as there are. */
const uint8_t *in_bytes(struct fuzz_in *in, size_t len, size_t *ret_len);
/* The rest as a text with a NUL; the caller frees it. */
char *in_text(const uint8_t *p, size_t len);

void run_repo(const uint8_t *p, size_t len);
void seeds_repo(void);
void run_s3(const uint8_t *p, size_t len);
void seeds_s3(void);
void run_journal(const uint8_t *p, size_t len);
void seeds_journal(void);
void run_records(const uint8_t *p, size_t len);
void seeds_records(void);
void run_tables(const uint8_t *p, size_t len);
void seeds_tables(void);
void run_control(const uint8_t *p, size_t len);
void seeds_control(void);
void run_words(const uint8_t *p, size_t len);
void seeds_words(void);
void run_names(const uint8_t *p, size_t len);
void seeds_names(void);
void run_config(const uint8_t *p, size_t len);
void seeds_config(void);
void run_session(const uint8_t *p, size_t len);
void seeds_session(void);
void run_grpc(const uint8_t *p, size_t len);
void seeds_grpc(void);
void run_socket(const uint8_t *p, size_t len);
void seeds_socket(void);

#endif
