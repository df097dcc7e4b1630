/* The repository: backends, format, tree, backup, restore, verify, without a mount. --random: random work, which is a suite of its own. */
#include "tests/lib/test.h"
#include "tests/tier/random.h"

int main(int argc, char **argv)
{
    return argc == 2 && strcmp(argv[1], "--random") == 0 ? random_main(argv[0]) : test_main(argc, argv);
}
