/* The repository: backends, format, tree, backup, restore, verify, without a mount. */
#include "tests/lib/test.h"

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
