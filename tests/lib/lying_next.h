/* tests/lib/lying_next: NEXT(name, type): the definition behind one of ours: libc's, or a sanitizer's. */
#ifndef VARVE_TESTS_LIB_LYING_NEXT_H
#define VARVE_TESTS_LIB_LYING_NEXT_H

#include <dlfcn.h>
#include <stdlib.h>

#define NEXT(name, type)                                                                                     \
    ({                                                                                                       \
        static void *next_;                                                                                  \
        void *fn_ = __atomic_load_n(&next_, __ATOMIC_RELAXED);                                               \
        if (!fn_) {                                                                                          \
            fn_ = dlsym(RTLD_NEXT, name);                                                                    \
            if (!fn_)                                                                                        \
                abort();                                                                                     \
            __atomic_store_n(&next_, fn_, __ATOMIC_RELAXED);                                                 \
        }                                                                                                    \
        (type) fn_;                                                                                          \
    })

#endif
