/* fs/verb_upgrade: `varve upgrade`: asks the daemon of a store to make room for another program, and waits until that one serves. */
#ifndef VARVE_FS_VERB_UPGRADE_H
#define VARVE_FS_VERB_UPGRADE_H

#include "fs/verb_client.h"

int verb_upgrade(struct verb_args *a, const struct verb_target *t, struct verb_answer *ans);

#endif
