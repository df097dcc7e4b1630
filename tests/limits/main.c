/* limits PART ARGUMENT... */
#include <stdarg.h>
#include <stdio.h>

#include "tests/limits/limits.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    int argc; /* at least, the name included */
    const char *args;
} parts[] = {{"files", part_files, 4, "DIR FILES THREADS [ERRNO...]"},
             {"flood", part_flood, 5, "DIR REQUESTS DAEMON_PID WAITING_FILE"},
             {"storm", part_storm, 4, "DIR THREADS SECONDS"},
             {"walk", part_walk, 2, "DIR..."}};

void path_in(char out[512], const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(out, 512, fmt, ap);
    va_end(ap);
    assert(n > 0 && n < 512);
}

int main(int argc, char **argv)
{
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (argc > parts[i].argc - 1 && strcmp(argv[1], parts[i].name) == 0)
            return parts[i].run(argc - 1, argv + 1);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        fprintf(stderr, "limits %s %s\n", parts[i].name, parts[i].args);
    return 2;
}
