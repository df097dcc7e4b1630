#include "base/mounts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* \040 and the like, in place. */
static void unescape(char *s)
{
    char *to = s;

    while (*s) {
        if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' && s[3] >= '0' &&
            s[3] <= '7') {
            *to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
            s += 4;
        } else {
            *to++ = *s++;
        }
    }
    *to = 0;
}

/* id parent MAJ:MIN ROOT DIR OPTS [tags] - TYPE SOURCE SUPEROPTS */
static int line_parse(char *text, struct mounts_line *ret)
{
    char *save, *w[6], *dash = strstr(text, " - "), *type, *source;

    if (!dash)
        return -E_PROTO;
    *dash = 0;
    for (size_t i = 0; i < ARRAY_LEN(w); i++)
        if (!(w[i] = strtok_r(i ? NULL : text, " ", &save)))
            return -E_PROTO;
    type = strtok_r(dash + 3, " ", &save);
    source = type ? strtok_r(NULL, " \n", &save) : NULL;
    if (!source || sscanf(w[2], "%u:%u", &ret->major, &ret->minor) != 2)
        return -E_PROTO;
    unescape(w[3]);
    unescape(w[4]);
    unescape(source);
    ret->root = w[3];
    ret->dir = w[4];
    ret->opts = w[5];
    ret->source = source;
    ret->type = type;
    return 0;
}

int mounts_each(int (*cb)(void *arg, const struct mounts_line *l), void *arg)
{
    FILE *f = fopen("/proc/self/mountinfo", "re");
    char *text = NULL;
    size_t cap = 0;
    int r = 0;

    if (!f)
        return err_from_errno(errno);
    while (r == 0 && getline(&text, &cap, f) > 0) {
        struct mounts_line l;

        if (line_parse(text, &l) == 0)
            r = cb(arg, &l);
    }
    free(text);
    fclose(f);
    return r;
}
