/* base/log: one line an event, `time level room event key=value...`, to a descriptor (standard error until set).
 * Rate limited per call site (10 a second, then a count of what was held back). Never secrets or file contents.
 * Threads: any. */
#ifndef VARVE_BASE_LOG_H
#define VARVE_BASE_LOG_H

#include "base/base.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_NOTE, LOG_DEBUG };

struct log_site {
    uint64_t second;
    uint32_t count;
    uint32_t held;
};

void log_set_fd(int fd); /* lines go there from now on; the caller keeps the descriptor open */
/* log_bound(fd, most, kept): of a regular file that is open for reading and appending and longer than most bytes, the last lines stay,
 * at most kept bytes of them; true: it was. Anything else is left as it is. The log's own file is kept below 8 MiB so. What another
 * process appends at that very moment may be lost. */
bool log_bound(int fd, uint64_t most_bytes, uint64_t kept_bytes);
void log_set_level(enum log_level level); /* default LOG_NOTE */
void log_line(struct log_site *site, enum log_level level, const char *room, const char *event,
              const char *fmt, ...) PRINTF_LIKE(5, 6);

#define LOG_AT(level, room, event, ...)                                                                      \
    do {                                                                                                     \
        static struct log_site site_;                                                                        \
        log_line(&site_, level, room, event, __VA_ARGS__);                                                   \
    } while (0)
#define log_error(room, event, ...) LOG_AT(LOG_ERROR, room, event, __VA_ARGS__)
#define log_warn(room, event, ...) LOG_AT(LOG_WARN, room, event, __VA_ARGS__)
#define log_note(room, event, ...) LOG_AT(LOG_NOTE, room, event, __VA_ARGS__)
#define log_debug(room, event, ...) LOG_AT(LOG_DEBUG, room, event, __VA_ARGS__)

/* log_err(r, room, "k=v", ...): logs the code's name and sentence at LOG_ERROR and gives r back: `return log_err(...)`. */
#define log_err(r, room, fmt, ...)                                                                           \
    ({                                                                                                       \
        int log_r_ = (r);                                                                                    \
        LOG_AT(LOG_ERROR, room, err_name(log_r_), fmt " (%s)" __VA_OPT__(, ) __VA_ARGS__, err_text(log_r_)); \
        log_r_;                                                                                              \
    })

#endif
