/* base/mark: MARK("room: odd branch") in code is seen by expect_mark() of the test that claims to reach it. Test programs
 * bring mark_hit() along (tests/lib/test.c); elsewhere the symbol is missing and a mark costs one load. Not for hot paths. */
#ifndef VARVE_BASE_MARK_H
#define VARVE_BASE_MARK_H

__attribute__((weak)) void mark_hit(const char *mark);
#define MARK(m)                                                                                              \
    do {                                                                                                     \
        if (mark_hit)                                                                                        \
            mark_hit(m);                                                                                     \
    } while (0)

#endif
