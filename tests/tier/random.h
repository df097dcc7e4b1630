/* tests/tier/random: random work on two stores and two repositories, judged against plain copies. `tier --random`: SEED= the first life's,
 * LIVES=, STEPS= of each. */
#ifndef VARVE_TESTS_TIER_RANDOM_H
#define VARVE_TESTS_TIER_RANDOM_H

int random_main(char *program);

#endif
