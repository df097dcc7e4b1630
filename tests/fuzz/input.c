#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"
#include "tests/lib/tree.h"

const struct fuzz_target fuzz_targets[] = {
    {"journal", run_journal, seeds_journal, 8192,
     "segments and records of the journal: opening, replay, going on"},
    {"records", run_records, seeds_records, 2048, "each decoder of a record, a file or a message"},
    {"tables", run_tables, seeds_tables, 2048,
     "a store whose records lie, with right checksums: used, checked, dumped"},
    {"control", run_control, seeds_control, 2048, "writes to control files, paths below .control"},
    {"words", run_words, seeds_words, 1024, "the command line"},
    {"names", run_names, seeds_names, 512, "names, times, sizes, mount options, attributes' names"},
    {"config", run_config, seeds_config, 4096, "STORE/config"},
    {"repo", run_repo, seeds_repo, 4096, "what comes out of an object store"},
    {"s3", run_s3, seeds_s3, 4096, "what an S3 server answers, URLs, credentials"},
    {"session", run_session, seeds_session, 8192, "requests of the kernel, as bytes, into a connection"},
    {"grpc", run_grpc, seeds_grpc, 4096, "what a client of varve-csi says: HTTP/2, gRPC, messages"},
    {"socket", run_socket, seeds_socket, 4096, "messages over a socket"},
    {0},
};

const struct fuzz_target *fuzz_find(const char *name)
{
    const struct fuzz_target *t;

    for (t = fuzz_targets; t->name; t++)
        if (strcmp(t->name, name) == 0)
            return t;
    return NULL;
}

void fuzz_fail(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
    abort();
}

static char dir[200];

static void dir_remove(void)
{
    (void)tree_remove(dir);
}

const char *fuzz_dir(void)
{
    const char *given = getenv("FUZZ_DIR");

    if (dir[0])
        return dir;
    snprintf(dir, sizeof(dir), "%s/varve-fuzz.XXXXXX",
             given                           ? given
             : access("/dev/shm", W_OK) == 0 ? "/dev/shm"
                                             : "/tmp");
    FUZZ_CHECK(mkdtemp(dir) != NULL);
    atexit(dir_remove);
    return dir;
}

const uint8_t *in_bytes(struct fuzz_in *in, size_t len, size_t *ret_len)
{
    const uint8_t *p = in->p;

    *ret_len = MIN_OF(len, in->left);
    in->p += *ret_len;
    in->left -= *ret_len;
    return p;
}

static void in_copy(struct fuzz_in *in, void *to, size_t len)
{
    size_t n;
    const uint8_t *p = in_bytes(in, len, &n);

    memset(to, 0, len);
    if (n)
        memcpy(to, p, n);
}

uint8_t in_u8(struct fuzz_in *in)
{
    uint8_t v;

    in_copy(in, &v, sizeof(v));
    return v;
}

uint16_t in_u16(struct fuzz_in *in)
{
    uint16_t v;

    in_copy(in, &v, sizeof(v));
    return get_le16(&v);
}

uint32_t in_u32(struct fuzz_in *in)
{
    uint32_t v;

    in_copy(in, &v, sizeof(v));
    return get_le32(&v);
}

uint64_t in_u64(struct fuzz_in *in)
{
    uint64_t v;

    in_copy(in, &v, sizeof(v));
    return get_le64(&v);
}

char *in_text(const uint8_t *p, size_t len)
{
    char *s = malloc(len + 1);

    FUZZ_CHECK(s != NULL);
    if (len)
        memcpy(s, p, len);
    s[len] = 0;
    return s;
}
