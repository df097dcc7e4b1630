/* powercut disk FILE BYTES LOG SOCKET | mark SOCKET | points LOG N SEED | marks LOG POS | images LOG OUT MARKS: see powercut.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/powercut/powercut.h"

uint64_t pc_rand(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

void pc_die(const char *what)
{
    fprintf(stderr, "powercut: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t number(const char *s)
{
    char *end;
    uint64_t n = strtoull(s, &end, 0);

    if (!*s || *end) {
        fprintf(stderr, "powercut: %s is no number\n", s);
        exit(2);
    }
    return n;
}

enum pc_way pc_way_of(const char *s)
{
    static const char *const names[PC_WAYS] = {"lost", "prefix", "blocks", "torn", "kept"};

    for (unsigned i = 0; i < PC_WAYS; i++)
        if (strcmp(s, names[i]) == 0)
            return (enum pc_way)i;
    fprintf(stderr, "powercut: %s is no way\n", s);
    exit(2);
}

int main(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";

    if (strcmp(verb, "disk") == 0 && argc == 6)
        return pc_disk(argv[2], number(argv[3]), argv[4], argv[5]);
    if (strcmp(verb, "mark") == 0 && argc == 3)
        return pc_mark(argv[2]);
    if (strcmp(verb, "points") == 0 && argc == 5)
        return pc_points(argv[2], number(argv[3]), number(argv[4]));
    if (strcmp(verb, "marks") == 0 && argc == 4)
        return pc_marks(argv[2], number(argv[3]));
    if (strcmp(verb, "images") == 0 && argc == 5)
        return pc_images(argv[2], argv[3], argv[4]);
    fprintf(stderr,
            "usage: powercut disk FILE BYTES LOG SOCKET | mark SOCKET | points LOG N SEED | marks LOG POS |\n"
            "       images LOG OUT MARKS <<<'POS lost|prefix|blocks|torn|kept SEED'...\n");
    return 2;
}
