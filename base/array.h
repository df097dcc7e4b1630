/* base/array: room in arrays that grow by one element at a time. */
#ifndef VARVE_BASE_ARRAY_H
#define VARVE_BASE_ARRAY_H

#include "base/base.h"

/*
 * array_more(v, n, size): v with room for one more than its n elements of size bytes each; it may have moved. NULL: memory is out, and
 * v is as it was. Room doubles, and n alone tells how much there is: v is NULL, or came from here each time that n grew. It may
 * have shrunk in between. Freed with free().
 */
void *array_more(void *v, size_t n, size_t size);

#endif
