/* Directories renamed across each other by many threads: into their own children, exchanged, made and removed, with snapshots taken
 * meanwhile. Afterwards the tree has each directory once, as many as were made and not removed. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/limits/limits.h"

#define FIRST 60u
#define DEEP 14u
#define STUCK_S 20.0

static struct {
    const char *dir;
    double until_s;
    atomic_uint made, removed, over, moved, exchanged, refused, unexpected, name;
} st;

struct mover {
    pthread_t id;
    uint64_t seed;
    _Atomic double last_s; /* when an answer came */
};

/* A directory somewhere in the tree, on the way that dice choose. */
static void somewhere(uint64_t *seed, char out[512])
{
    path_in(out, "%s", st.dir);
    for (unsigned deep = 0; deep < DEEP && test_rand(seed) % 4 != 0; deep++) {
        char name[256] = "", here[512];
        const struct dirent *e;
        unsigned seen = 0;
        DIR *d = opendir(out);

        while (d && (e = readdir(d)))
            if (e->d_name[0] != '.' && test_rand(seed) % ++seen == 0)
                snprintf(name, sizeof(name), "%s", e->d_name);
        if (d)
            closedir(d);
        if (!name[0] || strlen(out) + strlen(name) > 400)
            return;
        memcpy(here, out, sizeof(here));
        path_in(out, "%.400s/%.100s", here, name);
    }
}

/* What another thread's move may do to this one. */
static bool outcome(int r, atomic_uint *count)
{
    if (r == 0) {
        atomic_fetch_add(count, 1);
        return true;
    }
    if (errno == ENOENT || errno == EINVAL || errno == ENOTEMPTY || errno == EEXIST || errno == EBUSY ||
        errno == ENAMETOOLONG)
        atomic_fetch_add(&st.refused, 1);
    else if (atomic_fetch_add(&st.unexpected, 1) < 5)
        printf("  %s\n", strerror(errno));
    return false;
}

static void step(uint64_t *seed)
{
    char a[512], b[512], to[512];

    somewhere(seed, a);
    somewhere(seed, b);
    path_in(to, "%.480s/n%u", b, atomic_fetch_add(&st.name, 1));
    switch (test_rand(seed) % 8) {
    case 0: outcome(mkdir(to, 0755), &st.made); break;
    case 1:
        if (strcmp(a, st.dir) != 0)
            outcome(rmdir(a), &st.removed);
        break;
    case 2:
    case 3:
        if (strcmp(a, st.dir) != 0 && strcmp(b, st.dir) != 0)
            outcome(renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE), &st.exchanged);
        break;
    case 4: /* over another one, which is then gone, or had gone already */
        if (strcmp(a, st.dir) != 0)
            outcome(rename(a, b), &st.over);
        break;
    default:
        if (strcmp(a, st.dir) != 0)
            outcome(rename(a, to), &st.moved);
        break;
    }
}

static void *move(void *arg)
{
    struct mover *m = arg;

    while (now_s() < st.until_s) {
        step(&m->seed);
        m->last_s = now_s();
    }
    m->last_s = 0; /* through */
    return NULL;
}

static void *snapshots(void *arg)
{
    char path[512];

    (void)arg;
    path_in(path, "%s/.snapshots/storm", st.dir);
    while (now_s() < st.until_s) {
        if (mkdir(path, 0755) < 0 || (pause_s(0.02), rmdir(path)) < 0)
            atomic_fetch_add(&st.unexpected, 1);
        pause_s(0.02);
    }
    return NULL;
}

/* Directories below fd, each of which counts its children right; the depth of the deepest. */
static unsigned count_tree(int fd, unsigned deep, unsigned *deepest, unsigned *wrong)
{
    DIR *d = fdopendir(fd);
    const struct dirent *e;
    unsigned n = 0, children = 0;
    struct stat s, up;

    *deepest = MAX_OF(*deepest, deep);
    while (d && (e = readdir(d))) {
        int sub;
        if (e->d_name[0] == '.')
            continue;
        children++;
        sub = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY);
        if (sub < 0 || fstatat(sub, "..", &up, 0) < 0 || fstat(dirfd(d), &s) < 0 || up.st_ino != s.st_ino)
            (*wrong)++;
        n += 1 + (sub < 0 ? 0 : count_tree(sub, deep + 1, deepest, wrong));
    }
    if (d && (fstat(dirfd(d), &s) < 0 || s.st_nlink != 2 + children))
        (*wrong)++;
    if (d)
        closedir(d);
    return n;
}

static int verdict(void)
{
    unsigned deepest = 0, wrong = 0, most = atomic_load(&st.made) - atomic_load(&st.removed),
             least = most - atomic_load(&st.over);
    int fd = open(st.dir, O_RDONLY | O_DIRECTORY);
    unsigned n = fd < 0 ? 0 : count_tree(fd, 0, &deepest, &wrong);

    printf("  %u moved, %u exchanged, %u moved over another, %u made, %u removed, %u refused\n",
           atomic_load(&st.moved), atomic_load(&st.exchanged), atomic_load(&st.over), atomic_load(&st.made),
           atomic_load(&st.removed), atomic_load(&st.refused));
    printf("  %u directories left (%u to %u), %u deep, %u wrong; %u answers not expected\n", n, least, most,
           deepest, wrong, atomic_load(&st.unexpected));
    return n < least || n > most || wrong || atomic_load(&st.unexpected) || atomic_load(&st.moved) == 0;
}

static bool all_move_on(struct mover *m, unsigned n)
{
    double now = now_s();

    for (unsigned i = 0; i < n; i++)
        if (m[i].last_s > 0 && now - m[i].last_s > STUCK_S)
            return false;
    return true;
}

int part_storm(int argc, char **argv)
{
    unsigned n = (unsigned)strtoul(argv[2], NULL, 10);
    struct mover *m = calloc(n, sizeof(*m));
    pthread_t snap;
    char path[512];

    (void)argc;
    st.dir = argv[1];
    mkdir(st.dir, 0755);
    for (unsigned i = 0; i < FIRST; i++) {
        path_in(path, "%s/d%u", st.dir, i);
        outcome(mkdir(path, 0755), &st.made);
    }
    st.until_s = now_s() + strtod(argv[3], NULL);
    if (!m || pthread_create(&snap, NULL, snapshots, NULL) != 0)
        return 1;
    for (unsigned i = 0; i < n; i++) {
        m[i].seed = i + 1;
        m[i].last_s = now_s();
        if (pthread_create(&m[i].id, NULL, move, &m[i]) != 0)
            abort();
    }
    while (now_s() < st.until_s + STUCK_S + 1) {
        bool through = true;
        pause_s(0.1);
        for (unsigned i = 0; i < n; i++)
            through = through && m[i].last_s == 0;
        if (through)
            break;
        if (!all_move_on(m, n)) {
            printf("  a thread got no answer for %.0f s\n", STUCK_S);
            fflush(stdout);
            _exit(1);
        }
    }
    for (unsigned i = 0; i < n; i++)
        pthread_join(m[i].id, NULL);
    pthread_join(snap, NULL);
    free(m);
    return verdict();
}
