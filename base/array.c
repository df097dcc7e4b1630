#include "base/array.h"

#include <stdlib.h>

enum { FIRST = 4 }; /* elements; a power of two, as each further room is */

void *array_more(void *v, size_t n, size_t size)
{
    if (n == 0)
        return v ? v : reallocarray(NULL, FIRST, size);
    if (n < FIRST || (n & (n - 1)) != 0)
        return v;
    return reallocarray(v, n * 2, size);
}
