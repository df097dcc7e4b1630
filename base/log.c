#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

#define LINE_MAX_BYTES 1024
#define LINES_PER_SECOND 10
#define FILE_MAX_BYTES (8u << 20)
#define FILE_KEPT_BYTES (2u << 20)
#define LOOK_EACH_BYTES (64u << 10) /* how long the file is */

static pthread_mutex_t site_lock = PTHREAD_MUTEX_INITIALIZER; /* guards every struct log_site */
static atomic_int log_fd = STDERR_FILENO;
static atomic_int log_level = LOG_NOTE;

void log_set_fd(int fd)
{
    atomic_store(&log_fd, fd);
}

void log_set_level(enum log_level level)
{
    atomic_store(&log_level, (int)level);
}

/* site_admit(site, ret_held): whether this call may write a line; held gets the number of lines that were kept back
 * in earlier seconds and have not been told yet. */
static bool site_admit(struct log_site *site, uint32_t *ret_held)
{
    uint64_t second = (uint64_t)clock_mono_ns() / 1000000000 + 1; /* never 0: that is a site's first state */
    bool admit = false;

    pthread_mutex_lock(&site_lock);
    if (site->second != second) {
        site->second = second;
        site->count = 0;
    }
    if (site->count < LINES_PER_SECOND) {
        site->count++;
        *ret_held = site->held;
        site->held = 0;
        admit = true;
    } else {
        site->held++;
    }
    pthread_mutex_unlock(&site_lock);
    return admit;
}

static void write_all(int fd, const char *line, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, line, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return; /* a log that cannot be written has nowhere to say so */
        line += n;
        len -= (size_t)n;
    }
}

bool log_bound(int fd, uint64_t most_bytes, uint64_t kept_bytes)
{
    int flags = fcntl(fd, F_GETFL);
    const char *first;
    struct stat st;
    ssize_t n;
    char *p;

    if (flags < 0 || (flags & O_ACCMODE) != O_RDWR || !(flags & O_APPEND) || fstat(fd, &st) < 0 ||
        !S_ISREG(st.st_mode) || (uint64_t)st.st_size <= most_bytes || BROKEN(VARVE_BREAK_log_endless))
        return false;
    kept_bytes = MIN_OF(kept_bytes, (uint64_t)st.st_size);
    p = malloc(kept_bytes);
    n = p ? pread(fd, p, kept_bytes, st.st_size - (off_t)kept_bytes) : -1;
    first = n > 0 ? memchr(p, '\n', (size_t)n) : NULL;
    if (n >= 0 && ftruncate(fd, 0) == 0 && first)
        write_all(fd, first + 1, (size_t)(p + n - (first + 1)));
    free(p);
    return n >= 0;
}

static void write_line(const char *line, size_t len)
{
    static atomic_uint written;
    int fd = atomic_load(&log_fd);

    write_all(fd, line, len);
    if (atomic_fetch_add(&written, (unsigned)len) % LOOK_EACH_BYTES + len >= LOOK_EACH_BYTES)
        log_bound(fd, FILE_MAX_BYTES, FILE_KEPT_BYTES);
}

static size_t line_add(char *line, size_t len, const char *fmt, ...) PRINTF_LIKE(3, 4);
static size_t line_addv(char *line, size_t len, const char *fmt, va_list ap) PRINTF_LIKE(3, 0);

static size_t line_addv(char *line, size_t len, const char *fmt, va_list ap)
{
    int n = vsnprintf(line + len, LINE_MAX_BYTES - len, fmt, ap);

    if (n < 0)
        return len;
    return MIN_OF(len + (size_t)n, (size_t)LINE_MAX_BYTES - 1);
}

static size_t line_add(char *line, size_t len, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    len = line_addv(line, len, fmt, ap);
    va_end(ap);
    return len;
}

void log_line(struct log_site *site, enum log_level level, const char *room, const char *event,
              const char *fmt, ...)
{
    static const char *const names[] = {"error", "warn", "note", "debug"};
    char line[LINE_MAX_BYTES + 1], when[CLOCK_TEXT_SIZE];
    int saved_errno = errno;
    uint32_t held;
    size_t len;
    va_list ap;

    if ((int)level > atomic_load(&log_level) || !site_admit(site, &held))
        return;
    clock_format(clock_wall_ns(), when);
    len = line_add(line, 0, "%s %s %s %s", when, names[level], room, event);
    if (*fmt)
        len = line_add(line, len, " ");
    va_start(ap, fmt);
    len = line_addv(line, len, fmt, ap);
    va_end(ap);
    if (held > 0)
        len = line_add(line, len, " held_back=%u", held);
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)line[i] < ' ' || line[i] == 127)
            line[i] = '?'; /* a name with a line break in it must not make two lines */
    }
    line[len++] = '\n';
    write_line(line, len);
    errno = saved_errno;
}
