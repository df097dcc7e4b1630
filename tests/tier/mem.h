/* tests/tier/mem: a backend in memory whose calls fail when told so. The objects outlive the backend: mem_backend() may be opened and
 * closed any number of times on one struct mem. */
#ifndef VARVE_TESTS_TIER_MEM_H
#define VARVE_TESTS_TIER_MEM_H

#include "tier/backend.h"

enum mem_fault {
    MEM_FAIL,        /* nothing is done, -E_IO */
    MEM_UNSURE_DONE, /* it is done, the answer is lost */
    MEM_UNSURE_NOT,  /* it is not done, the answer is lost */
    MEM_CLOSED,      /* nothing is done, -E_CLOSED; all calls after it, too */
};

struct mem;
struct mem *mem_new(void);
void mem_free(struct mem *m);
struct backend *mem_backend(struct mem *m);

/* The n-th call from now on (1: the next) goes wrong; 0: none does. puts_only counts puts. */
void mem_fault(struct mem *m, uint64_t n, enum mem_fault what, bool puts_only);
uint64_t mem_calls(const struct mem *m); /* since mem_fault() */
bool mem_hit(const struct mem *m);       /* it went wrong */

/* Whose names begin so are not deleted: -E_ACCES. "": all but leases; NULL: none. */
void mem_refuse(struct mem *m, const char *prefix);

/* As where a bucket keeps versions: no list has the name, and a put says that it is there. The put after that one finds that somebody put
 * beside just before (NULL: nobody did). name NULL: no more. */
void mem_ghost(struct mem *m, const char *name, const char *beside);

void mem_later(struct mem *m, int64_t ns); /* its clock goes on by so much */

size_t mem_count(const struct mem *m, const char *prefix);
uint64_t mem_bytes(const struct mem *m, const char *prefix);
const char *mem_name(const struct mem *m, const char *prefix, size_t i);
void mem_flip(struct mem *m, const char *name, size_t at); /* one bit */
void mem_cut(struct mem *m, const char *name, size_t len);
void mem_drop(struct mem *m, const char *name);

#endif
