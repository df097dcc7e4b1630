/* base/mark: MARK("room: odd branch") in code is seen by expect_mark() of the test that claims to reach it.
 * Costs one store in test builds (-DVARVE_TEST), nothing elsewhere. */
#ifndef VARVE_BASE_MARK_H
#define VARVE_BASE_MARK_H

#ifdef VARVE_TEST
void mark_hit(const char *mark);
#define MARK(m) mark_hit(m)
#else
#define MARK(m) ((void)0)
#endif

#endif
