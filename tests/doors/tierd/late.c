/* A varve-tierd that is slow with a pin, once: VARVE_LATE names a file; when a pin is about to get its name, the file gets the name
 * FILE.waits and this process's number, and the pin comes when FILE.waits is gone. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void wait_once(const char *order)
{
    const struct timespec wait = {.tv_nsec = 10000000};
    char waits[4096];
    FILE *f;

    snprintf(waits, sizeof(waits), "%s.waits", order);
    f = fopen(order, "r+e");
    if (!f)
        return;
    fprintf(f, "%d\n", (int)getpid());
    fclose(f);
    if (rename(order, waits) < 0)
        return;
    while (access(waits, F_OK) == 0)
        nanosleep(&wait, NULL);
}

int link(const char *from, const char *to)
{
    const char *order = getenv("VARVE_LATE");

    if (order && strstr(to, "/pins/"))
        wait_once(order);
    return (int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
}
