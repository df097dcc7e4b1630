/* tests/tier/tiering_rig: volumes whose bytes are released to the repository in memory, and come back from there. */
#ifndef VARVE_TESTS_TIER_TIERING_RIG_H
#define VARVE_TESTS_TIER_TIERING_RIG_H

#include "tests/tier/rig.h"
#include "tier/release.h"

extern unsigned tiering_fetches; /* since it was set to 0 */

void tiering_connect(struct repo_rig *g); /* after each opening */
int tiering_try(struct repo_rig *g, const char *id, const char *snap, struct release_opts o,
                struct release_result *ret);
struct release_result tiering_released(struct repo_rig *g, const char *id, const char *snap);
uint64_t tiering_remote(struct repo_rig *g); /* bytes */

#endif
